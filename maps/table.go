// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"overcast/bpf"
)

// batchSize is how many entries one system call carries: enough to make the
// call's own cost small, few enough to keep its buffers in the cache.
const batchSize = 4096

// table is typed access to one hash or array map.
type table[K comparable, V any] struct {
	m      *ebpf.Map
	writes *Writes
	room   room
}

// all reads every entry. Entries that programs add or remove meanwhile may be
// seen or not.
func (t table[K, V]) all() (map[K]V, error) {
	entries := make(map[K]V)
	keys, values := make([]K, batchSize), make([]V, batchSize)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := t.m.BatchLookup(&cursor, keys, values, nil)
		if errors.Is(err, ebpf.ErrNotSupported) {
			return t.allByOne()
		}
		for i := range n {
			entries[keys[i]] = values[i]
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return entries, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", t.m, err)
		}
	}
}

func (t table[K, V]) allByOne() (map[K]V, error) {
	entries := make(map[K]V)
	var key K
	var value V
	it := t.m.Iterate()
	for it.Next(&key, &value) {
		entries[key] = value
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", t.m, err)
	}
	return entries, nil
}

// put adds or replaces entries, in batches where the kernel has them. Entries
// before one that fails stay written.
func (t table[K, V]) put(entries map[K]V) error {
	keys, values := make([]K, 0, len(entries)), make([]V, 0, len(entries))
	for k, v := range entries {
		keys, values = append(keys, k), append(values, v)
	}
	for len(keys) > 1 {
		n := min(len(keys), batchSize)
		done, err := t.m.BatchUpdate(keys[:n], values[:n], nil)
		if errors.Is(err, ebpf.ErrNotSupported) {
			break
		}
		t.writes.Put += uint64(done)
		if err != nil {
			return fmt.Errorf("writing %d entries to %s: %w", len(keys), t.m, t.explain(err))
		}
		t.writes.Batches++
		keys, values = keys[n:], values[n:]
	}
	for i := range keys {
		if err := t.putOne(keys[i], values[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t table[K, V]) putOne(key K, value V) error {
	if err := t.m.Put(&key, &value); err != nil {
		return fmt.Errorf("writing %v to %s: %w", key, t.m, t.explain(err))
	}
	t.writes.Put++
	return nil
}

// remove deletes entries; one that is not there is fine.
func (t table[K, V]) remove(keys []K) error {
	for len(keys) > 1 {
		n := min(len(keys), batchSize)
		done, err := t.m.BatchDelete(keys[:n], nil)
		t.writes.Deleted += uint64(done)
		if err != nil {
			// Not known to this kernel, or an entry of the batch is gone: by one.
			keys = keys[done:]
			break
		}
		t.writes.Batches++
		keys = keys[n:]
	}
	for _, key := range keys {
		err := t.m.Delete(&key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("removing %v from %s: %w", key, t.m, err)
		}
		t.writes.Deleted++
	}
	return nil
}

// removeThose deletes the entries that are doomed and returns how many those were.
func (t table[K, V]) removeThose(doomed func(K, V) bool) (int, error) {
	entries, err := t.all()
	if err != nil {
		return 0, err
	}
	var keys []K
	for key, entry := range entries {
		if doomed(key, entry) {
			keys = append(keys, key)
		}
	}
	return len(keys), t.remove(keys)
}

func (s *Set) ports() table[uint32, bpf.Port] {
	return table[uint32, bpf.Port]{s.Ports, &s.writes, portRoom}
}
func (s *Set) vnis() table[uint32, bpf.VNI] {
	return table[uint32, bpf.VNI]{s.VNIs, &s.writes, vniRoom}
}
func (s *Set) segments() table[uint32, bpf.Segment] {
	return table[uint32, bpf.Segment]{s.Segments, &s.writes, segmentRoom}
}
func (s *Set) vteps() table[bpf.VTEPKey, bpf.VTEP] {
	return table[bpf.VTEPKey, bpf.VTEP]{s.VTEPs, &s.writes, vtepRoom}
}
func (s *Set) remotes() table[uint32, bpf.Remote] {
	return table[uint32, bpf.Remote]{s.Remotes, &s.writes, remoteRoom}
}
func (s *Set) floods() table[bpf.FloodKey, bpf.Flood] {
	return table[bpf.FloodKey, bpf.Flood]{s.Floods, &s.writes, floodRoom}
}
func (s *Set) mdb() table[bpf.MDBKey, bpf.MDBEntry] {
	return table[bpf.MDBKey, bpf.MDBEntry]{s.MDB, &s.writes, groupRoom}
}
func (s *Set) mdbFloods() table[bpf.FloodKey, bpf.Flood] {
	return table[bpf.FloodKey, bpf.Flood]{s.MDBFloods, &s.writes, groupListRoom}
}
func (s *Set) learned() table[bpf.FDBKey, bpf.LearnedEntry] {
	return table[bpf.FDBKey, bpf.LearnedEntry]{s.Learned, &s.writes, learnedRoom}
}
