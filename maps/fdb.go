// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"math/bits"
	"sync/atomic"

	"github.com/cilium/ebpf"

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

// ReadFDBSlot reads the two words of a slot of oc_fdb.
func ReadFDBSlot(word, where uint64) (bpf.FDBKey, bpf.FDBEntry) {
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
	return mapped(t.m, func(buckets []bpf.FDBBucket) error { return f(buckets) })
}

// fdbBucketList is the mapped buckets. The programs read them all the time, so
// each word is stored as a whole.
type fdbBucketList []bpf.FDBBucket

// pair returns the two buckets that a key may be in.
func (l fdbBucketList) pair(word uint64) [2]*bpf.FDBBucket {
	hash, mask := fdbHash(word), uint64(len(l)-1)
	return [2]*bpf.FDBBucket{&l[hash&mask], &l[hash>>32&mask]}
}

// reserved marks the key of a slot that is being filled. No program asks for
// such a key, as segments are fewer.
const reserved = 0xf << 60

// sweep empties slots that no program looks into: those that an agent was
// filling when it was killed, and entries that are in neither of their buckets,
// as another version may have left them.
func (l fdbBucketList) sweep() {
	for i := range l {
		for j := range l[i].Slot {
			if slot := &l[i].Slot[j]; slot.Key != 0 && !l.found(&l[i], slot.Key) {
				atomic.StoreUint64(&slot.Key, 0)
			}
		}
	}
}

// found tells whether a program that looks for a key looks into a bucket.
func (l fdbBucketList) found(bucket *bpf.FDBBucket, word uint64) bool {
	pair := l.pair(word)
	return word&reserved == 0 && (bucket == pair[0] || bucket == pair[1])
}

// find returns the slot of a key, and otherwise an empty one of its emptier
// bucket; the first bucket is preferred, as it is read first.
func (l fdbBucketList) find(word uint64) (slot *bpf.FDBSlot, there bool) {
	most := 0
	for _, bucket := range l.pair(word) {
		free, last := 0, 0
		for i := range bucket.Slot {
			switch bucket.Slot[i].Key {
			case word:
				return &bucket.Slot[i], true
			case 0:
				free, last = free+1, i
			}
		}
		// With a slot to spare the first bucket is good enough.
		if free > most && most < 2 {
			most, slot = free, &bucket.Slot[last]
		}
	}
	return slot, false
}

// all reads every entry that a program can find.
func (t fdbTable) all() (map[bpf.FDBKey]bpf.FDBEntry, error) {
	entries, err := t.spill.all()
	if err != nil {
		return nil, err
	}
	return entries, t.mapped(func(buckets fdbBucketList) error {
		for i := range buckets {
			for j := range buckets[i].Slot {
				slot := &buckets[i].Slot[j]
				if word := atomic.LoadUint64(&slot.Key); word != 0 && buckets.found(&buckets[i], word) {
					entries[fdbKeyOf(word)] = fdbEntryOf(atomic.LoadUint64(&slot.Where))
				}
			}
		}
		return nil
	})
}

// put adds or replaces entries in one pass. The keys of new ones follow a grace
// period after their values: a reader that finds the key has not read the value
// of the slot's former entry before, whatever order its processor loads in.
func (t fdbTable) put(entries map[bpf.FDBKey]bpf.FDBEntry) error {
	if len(entries) == 0 {
		return nil
	}
	have, err := t.spill.all()
	if err != nil {
		return err
	}
	spill, unspill := make(map[bpf.FDBKey]bpf.FDBEntry), []bpf.FDBKey{}
	err = t.mapped(func(buckets fdbBucketList) error {
		buckets.sweep()
		fresh := make(map[uint64]*bpf.FDBSlot)
		for key, entry := range entries {
			word := fdbWord(key)
			slot, there := buckets.find(word)
			if slot == nil {
				spill[key] = entry
				continue
			}
			if _, spilled := have[key]; spilled {
				unspill = append(unspill, key)
			}
			atomic.StoreUint64(&slot.Where, fdbWhere(entry))
			if !there {
				atomic.StoreUint64(&slot.Key, word|reserved)
				fresh[word] = slot
			}
			t.writes.Put++
		}
		if len(fresh) > 0 {
			grace()
		}
		for word, slot := range fresh {
			atomic.StoreUint64(&slot.Key, word)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(entries) > 1 {
		t.writes.Batches++
	}
	if len(spill) > 0 {
		if err := putInTurn(t.spill, have, spill); err != nil {
			return err
		}
	}
	// What has found room in a bucket must not come back when it is removed there.
	return t.spill.remove(unspill)
}

// remove deletes entries; one that is not there is fine. A slot keeps its
// .where, for a program that has just read its key.
func (t fdbTable) remove(keys []bpf.FDBKey) error {
	if len(keys) == 0 {
		return nil
	}
	have, err := t.spill.all()
	if err != nil {
		return err
	}
	var spilled []bpf.FDBKey
	err = t.mapped(func(buckets fdbBucketList) error {
		for _, key := range keys {
			if _, also := have[key]; also {
				spilled = append(spilled, key)
			}
			if slot, there := buckets.find(fdbWord(key)); there {
				atomic.StoreUint64(&slot.Key, 0)
				t.writes.Deleted++
			}
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
