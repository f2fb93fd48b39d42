// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"overcast/bpf"
)

// crowd returns MACs of which all have the same two buckets.
func crowd(t *testing.T, set *Set, n int) map[bpf.FDBKey]bpf.FDBEntry {
	t.Helper()
	mask := uint64(set.FDB.MaxEntries() - 1)
	home := func(key bpf.FDBKey) [2]uint64 {
		hash := fdbHash(fdbWord(key))
		return [2]uint64{hash & mask, hash >> 32 & mask}
	}
	entries := make(map[bpf.FDBKey]bpf.FDBEntry)
	var first [2]uint64
	for i := 0; len(entries) < n; i++ {
		key := bpf.FDBKey{Segment: 1, Mac: testMAC(i)}
		if i == 0 {
			first = home(key)
		}
		if home(key) == first {
			entries[key] = bpf.FDBEntry{Id: uint32(i), Kind: bpf.KindRemote}
		}
	}
	return entries
}

// What finds both of its buckets full is in the spill, is found, replaced and
// removed there, and counts as an entry like any other.
func TestFDBSpills(t *testing.T) {
	set := newSet(t, small)
	entries := crowd(t, set, 3*bpf.FDBSlots)
	if err := set.fdb().put(entries); err != nil {
		t.Fatal(err)
	}
	spilled, err := set.fdb().spill.all()
	if err != nil {
		t.Fatal(err)
	}
	// The two buckets may be one and the same.
	if n := len(spilled); n != bpf.FDBSlots && n != 2*bpf.FDBSlots {
		t.Errorf("%d of %d entries spilled", n, len(entries))
	}
	if writes := set.Writes(); writes.Put != uint64(len(entries)) {
		t.Errorf("wrote %+v for %d entries", writes, len(entries))
	}
	check := func() {
		t.Helper()
		if got, err := set.FDBEntries(); err != nil || !maps.Equal(got, entries) {
			t.Errorf("the maps hold %v (%v), want %v", got, err, entries)
		}
	}
	check()
	for key := range entries {
		entries[key] = bpf.FDBEntry{Id: 7, Kind: bpf.KindPort}
	}
	if err := set.fdb().put(entries); err != nil {
		t.Fatal(err)
	}
	check()
	var gone []bpf.FDBKey
	for key := range entries {
		if len(gone) < len(entries)/2 {
			gone = append(gone, key)
		}
	}
	if err := set.fdb().remove(append(gone, bpf.FDBKey{Segment: 3})); err != nil {
		t.Fatal(err)
	}
	for _, key := range gone {
		delete(entries, key)
	}
	check()
}

// Hardly anything spills at the size that the limit asks for.
func TestFDBIsWideEnough(t *testing.T) {
	set := newSet(t, large)
	entries := make(map[bpf.FDBKey]bpf.FDBEntry)
	for i := range int(large.MACs) {
		// MACs as people give them: a few vendors, numbered through.
		entries[bpf.FDBKey{Segment: uint32(i%7 + 1), Mac: testMAC(i)}] = bpf.FDBEntry{Id: uint32(i), Kind: bpf.KindRemote}
	}
	if err := set.fdb().put(entries); err != nil {
		t.Fatal(err)
	}
	spilled, err := set.fdb().spill.all()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(spilled); n > 64 {
		t.Errorf("%d of %d entries spilled", n, len(entries))
	}
	if got, err := set.FDBEntries(); err != nil || !maps.Equal(got, entries) {
		t.Errorf("%d entries came back (%v)", len(got), err)
	}
}

// Where the spill is full too, the error says so and what to raise.
func TestFDBFull(t *testing.T) {
	set := newSet(t, small)
	filler := make(map[bpf.FDBKey]bpf.FDBEntry)
	for i := range set.Spill.MaxEntries() {
		filler[bpf.FDBKey{Segment: 2, Mac: testMAC(int(i))}] = bpf.FDBEntry{}
	}
	if err := set.fdb().spill.put(filler); err != nil {
		t.Fatal(err)
	}
	err := set.fdb().put(crowd(t, set, 3*bpf.FDBSlots))
	if err == nil || !strings.Contains(err.Error(), "oc_fdb_spill is full") || !strings.Contains(err.Error(), "raise limits.macs") {
		t.Errorf("got %v", err)
	}
}

// A MAC that has spilled, and later finds room in a bucket, is nowhere else: the
// spilled entry does not come back when it is removed.
func TestFDBLeavesTheSpill(t *testing.T) {
	set := newSet(t, small)
	entries := crowd(t, set, 3*bpf.FDBSlots)
	if err := set.fdb().put(entries); err != nil {
		t.Fatal(err)
	}
	spilled, err := set.fdb().spill.all()
	if err != nil {
		t.Fatal(err)
	}
	var gone []bpf.FDBKey
	for key := range entries {
		if _, there := spilled[key]; !there {
			gone = append(gone, key)
		}
	}
	if err := set.fdb().remove(gone); err != nil {
		t.Fatal(err)
	}
	moved := make(map[bpf.FDBKey]bpf.FDBEntry)
	for key := range spilled {
		moved[key] = bpf.FDBEntry{Id: 9, Kind: bpf.KindPort}
	}
	if err := set.fdb().put(moved); err != nil {
		t.Fatal(err)
	}
	if got, err := set.FDBEntries(); err != nil || !maps.Equal(got, moved) {
		t.Errorf("the maps hold %v (%v), want %v", got, err, moved)
	}
	if err := set.fdb().remove(slices.Collect(maps.Keys(moved))); err != nil {
		t.Fatal(err)
	}
	if got, err := set.FDBEntries(); err != nil || len(got) > 0 {
		t.Errorf("%v came back (%v)", got, err)
	}
}

// What no program can find is no entry, and its slot is used again.
func TestFDBStrays(t *testing.T) {
	set := newSet(t, small)
	err := set.fdb().mapped(func(buckets fdbBucketList) error {
		for i := range buckets {
			for j := range buckets[i].Slot {
				// One that was being filled, and one in the wrong bucket.
				buckets[i].Slot[j].Key = fdbWord(bpf.FDBKey{Segment: 1, Mac: testMAC(i)}) | reserved
				if word := fdbWord(bpf.FDBKey{Segment: 1, Mac: testMAC(j)}); !buckets.found(&buckets[i], word) {
					buckets[i].Slot[j].Key = word
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := set.FDBEntries(); err != nil || len(got) > 0 {
		t.Errorf("strays are entries: %v (%v)", got, err)
	}
	entries := crowd(t, set, bpf.FDBSlots)
	if err := set.fdb().put(entries); err != nil {
		t.Fatal(err)
	}
	if got, err := set.FDBEntries(); err != nil || !maps.Equal(got, entries) {
		t.Errorf("the maps hold %v (%v), want %v", got, err, entries)
	}
	if spilled, err := set.fdb().spill.all(); err != nil || len(spilled) > 0 {
		t.Errorf("strays took the room of %v (%v)", spilled, err)
	}
}
