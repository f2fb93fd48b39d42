// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"overcast/bpf"
)

// fdbTable is typed access to the configured MACs, which are in two maps: the
// buckets of oc_fdb, written through a mapping, and oc_fdb_spill for the few
// whose two buckets are full. See types.h for the form and for what the
// programs rely on when they read meanwhile.
type fdbTable struct {
	m      *ebpf.Map
	spill  table[bpf.FDBKey, bpf.FDBEntry]
	writes *Writes
}

func (s *Set) fdb() fdbTable {
	return fdbTable{s.FDB, table[bpf.FDBKey, bpf.FDBEntry]{s.Spill, &s.writes, spillRoom}, &s.writes}
}

// fdbEntriesPerBucket is how full the buckets may get on average: with half of
// their slots taken hardly any entry finds both of its buckets full.
const fdbEntriesPerBucket = bpf.FDBSlots / 2

// fdbBuckets is how many buckets hold so many MACs, a power of two.
func fdbBuckets(macs uint32) uint32 {
	buckets := max((macs+fdbEntriesPerBucket-1)/fdbEntriesPerBucket, 1)
	return 1 << bits.Len32(buckets-1)
}

// fdbWord is the key of a MAC's slot.
func fdbWord(key bpf.FDBKey) uint64 {
	word := uint64(key.Segment) << 48
	for i, b := range key.Mac {
		word |= uint64(b) << (8 * i)
	}
	return word
}

func fdbKeyOf(word uint64) bpf.FDBKey {
	key := bpf.FDBKey{Segment: uint32(word >> 48)}
	for i := range key.Mac {
		key.Mac[i] = byte(word >> (8 * i))
	}
	return key
}

// fdbHash is fdb_hash of fdb.h.
func fdbHash(word uint64) uint64 {
	word ^= word >> 33
	word *= 0xff51afd7ed558ccd
	word ^= word >> 33
	word *= 0xc4ceb9fe1a85ec53
	return word ^ word>>33
}

// FDBSlot reads the two words of a slot of oc_fdb.
func FDBSlot(word, where uint64) (bpf.FDBKey, bpf.FDBEntry) {
	return fdbKeyOf(word), fdbEntryOf(where)
}

func fdbWhere(entry bpf.FDBEntry) uint64 {
	return uint64(entry.Kind)<<32 | uint64(entry.Id)
}

func fdbEntryOf(where uint64) bpf.FDBEntry {
	return bpf.FDBEntry{Id: uint32(where), Kind: bpf.Kind(where >> 32)}
}

// mapped runs a function on the buckets.
func (t fdbTable) mapped(f func(fdbBucketList) error) error {
	page := os.Getpagesize()
	size := (int(t.m.MaxEntries())*int(t.m.ValueSize()) + page - 1) &^ (page - 1)
	memory, err := unix.Mmap(t.m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("mapping oc_fdb: %w", err)
	}
	buckets := unsafe.Slice((*bpf.FDBBucket)(unsafe.Pointer(unsafe.SliceData(memory))), t.m.MaxEntries())
	return errors.Join(f(buckets), unix.Munmap(memory))
}

// fdbBucketList is the mapped buckets. The programs read them all the time, so
// each word is stored as a whole.
type fdbBucketList []bpf.FDBBucket

// pair returns the two buckets that a key may be in.
func (l fdbBucketList) pair(word uint64) [2]*bpf.FDBBucket {
	hash, mask := fdbHash(word), uint64(len(l)-1)
	return [2]*bpf.FDBBucket{&l[hash&mask], &l[hash>>32&mask]}
}

type fdbSlot = struct{ key, where *uint64 }

// find returns the slot of a key, and otherwise an empty one of its emptier
// bucket; the first bucket is preferred, as it is read first.
func (l fdbBucketList) find(word uint64) (slot fdbSlot, there, room bool) {
	most := 0
	for _, bucket := range l.pair(word) {
		free, last := 0, 0
		for i := range bucket.Slot {
			switch bucket.Slot[i].Key {
			case word:
				return fdbSlot{&bucket.Slot[i].Key, &bucket.Slot[i].Where}, true, true
			case 0:
				free, last = free+1, i
			}
		}
		// With a slot to spare the first bucket is good enough.
		if free > most && (most < 2) {
			most, room = free, true
			slot = fdbSlot{&bucket.Slot[last].Key, &bucket.Slot[last].Where}
		}
	}
	return slot, false, room
}

// all reads every entry.
func (t fdbTable) all() (map[bpf.FDBKey]bpf.FDBEntry, error) {
	entries, err := t.spill.all()
	if err != nil {
		return nil, err
	}
	return entries, t.mapped(func(buckets fdbBucketList) error {
		for i := range buckets {
			for j := range buckets[i].Slot {
				slot := &buckets[i].Slot[j]
				if word := atomic.LoadUint64(&slot.Key); word != 0 {
					entries[fdbKeyOf(word)] = fdbEntryOf(atomic.LoadUint64(&slot.Where))
				}
			}
		}
		return nil
	})
}

// put adds or replaces entries in one pass.
func (t fdbTable) put(entries map[bpf.FDBKey]bpf.FDBEntry) error {
	if len(entries) == 0 {
		return nil
	}
	spilled := make(map[bpf.FDBKey]bpf.FDBEntry)
	err := t.mapped(func(buckets fdbBucketList) error {
		for key, entry := range entries {
			word := fdbWord(key)
			slot, there, room := buckets.find(word)
			if !room {
				spilled[key] = entry
				continue
			}
			atomic.StoreUint64(slot.where, fdbWhere(entry))
			if !there {
				atomic.StoreUint64(slot.key, word)
			}
			t.writes.Put++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(entries) > 1 {
		t.writes.Batches++
	}
	// One that has spilled stays in the spill, where the programs look last.
	return t.spill.put(spilled)
}

// remove deletes entries; one that is not there is fine. A slot keeps its
// .where, for a program that has just read its key.
func (t fdbTable) remove(keys []bpf.FDBKey) error {
	if len(keys) == 0 {
		return nil
	}
	var spilled []bpf.FDBKey
	err := t.mapped(func(buckets fdbBucketList) error {
		for _, key := range keys {
			slot, there, _ := buckets.find(fdbWord(key))
			if !there {
				spilled = append(spilled, key)
				continue
			}
			atomic.StoreUint64(slot.key, 0)
			t.writes.Deleted++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(keys) > 1 {
		t.writes.Batches++
	}
	return t.spill.remove(spilled)
}

// capacity is how many entries the buckets are made for.
func (t fdbTable) capacity() int {
	return int(t.m.MaxEntries()) * fdbEntriesPerBucket
}

func (t fdbTable) fits(want map[bpf.FDBKey]bpf.FDBEntry) error {
	return fits(fdbRoom, len(want), t.capacity())
}

// FDBEntries reads the configured MACs.
func (s *Set) FDBEntries() (map[bpf.FDBKey]bpf.FDBEntry, error) {
	return s.fdb().all()
}

// PutFDB adds or replaces configured MACs by the side of Apply, which puts
// right again what a state does not say.
func (s *Set) PutFDB(entries map[bpf.FDBKey]bpf.FDBEntry) error {
	return s.fdb().put(entries)
}

// RemoveFDB removes configured MACs by the side of Apply.
func (s *Set) RemoveFDB(keys ...bpf.FDBKey) error {
	return s.fdb().remove(keys)
}
