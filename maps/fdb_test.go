// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"maps"
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
