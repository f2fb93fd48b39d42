// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"errors"
	"fmt"
	"maps"

	"golang.org/x/sys/unix"

	"overcast/policy"
)

// room says what a map has one entry for, and what helps when there are too many.
type room struct {
	name, per, help string
}

var (
	portRoom      = room{"oc_ports", "port", "have fewer ports on this host"}
	vniRoom       = room{"oc_vnis", "segment", "have fewer segments on this host"}
	segmentRoom   = room{"oc_segments", "segment", "have fewer segments on this host"}
	vtepRoom      = room{"oc_vteps", "segment and remote", "have fewer members or segments on this host"}
	remoteRoom    = room{"oc_remotes", "remote", "raise limits.remotes"}
	fdbRoom       = room{"oc_fdb", "configured MAC", "raise limits.macs"}
	spillRoom     = room{"oc_fdb_spill", "configured MAC whose buckets are full", "raise limits.macs"}
	learnedRoom   = room{"oc_fdb_learned", "learned MAC", "raise limits.learned"}
	groupRoom     = room{"oc_mdb", "group or source of one", "raise limits.groups"}
	groupListRoom = room{"oc_mdb_floods", "62 receivers of a group", "raise limits.groups"}
	floodRoom     = room{"oc_floods", "62 members of a segment", "have fewer members or segments on this host"}

	neighborRoom        = room{"oc_neighbors", "configured address", "raise limits.macs, of which each has room for two"}
	learnedNeighborRoom = room{"oc_neighbors_learned", "learned address", "raise limits.learned"}
)

// store is a map that entries are put into and removed from.
type store[K, V comparable] interface {
	put(map[K]V) error
	remove([]K) error
	capacity() int // entries
}

func (t table[K, V]) capacity() int {
	return int(t.m.MaxEntries())
}

// fits refuses contents that a map has not room for, before anything is changed.
func (t table[K, V]) fits(want map[K]V) error {
	return fits(t.room, len(want), t.capacity())
}

func fits(r room, n, most int) error {
	if n > most {
		return fmt.Errorf("%s would hold %d entries, one per %s, and has room for %d: %s", r.name, n, r.per, most, r.help)
	}
	return nil
}

// makeRoom removes what is not wanted ahead of its turn, if what is wanted has
// not room beside it: for a moment there is too little instead of never enough.
// It returns what is there then.
func makeRoom[K, V comparable](t store[K, V], have, want map[K]V) (map[K]V, error) {
	stale := policy.Compare(have, want).Delete
	if len(stale)+len(want) <= t.capacity() {
		return have, nil
	}
	if err := t.remove(stale); err != nil {
		return nil, err
	}
	// Nor may an element be given out again while it is read.
	grace()
	left := maps.Clone(have)
	for _, key := range stale {
		delete(left, key)
	}
	return left, nil
}

// explain says what a full map means to whoever set its size.
func (t table[K, V]) explain(err error) error {
	if errors.Is(err, unix.E2BIG) {
		return fmt.Errorf("%s is full at %d entries, one per %s; %s: %w", t.room.name, t.m.MaxEntries(), t.room.per, t.room.help, err)
	}
	return err
}
