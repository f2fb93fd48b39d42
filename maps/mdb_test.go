// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
)

var (
	video  = netip.MustParseAddr("ff05::45")
	camera = netip.MustParseAddr("2001:45::1")
	studio = netip.MustParseAddr("2001:45::2")
)

func newMDB(t *testing.T, set *Set) *MDB {
	t.Helper()
	m, err := set.OpenMDB()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// read is what the programs find: each entry's lists, put together.
func read(t *testing.T, set *Set) map[bpf.MDBKey]Receivers {
	t.Helper()
	entries, err := set.mdb().all()
	if err != nil {
		t.Fatal(err)
	}
	floods, err := set.floods().all()
	if err != nil {
		t.Fatal(err)
	}
	held, all := Snapshot{Floods: floods}, make(map[bpf.MDBKey]Receivers)
	named := make(map[uint32]bool)
	err = mapped(set.Groups, func(groups []bpf.Group) error {
		for key, entry := range entries {
			group := groups[entry.Slot]
			all[key] = Receivers{held.List(group.Ports), held.List(group.Remotes), held.List(group.Zone)}
			for _, list := range []uint32{group.Ports, group.Remotes, group.Zone} {
				named[list] = true
			}
			if key == anySource(key) {
				has := slices.ContainsFunc(keysOf(entries), func(k bpf.MDBKey) bool { return k != key && anySource(k) == key })
				if has != (group.Sources == 1) {
					t.Errorf("%v: sources %d, and it has some: %t", key, group.Sources, has)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, flood := range floods {
		if !named[key.List] {
			t.Errorf("nothing names list %d", key.List)
		}
		if int(flood.Total) != len(held.List(key.List)) {
			t.Errorf("list %d tells of %d and has %d", key.List, flood.Total, len(held.List(key.List)))
		}
	}
	return all
}

func keysOf[K comparable, V any](m map[K]V) []K {
	var keys []K
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

func TestMDBHoldsWhatIsPut(t *testing.T) {
	set := newSet(t, small)
	m := newMDB(t, set)
	any, one, other := GroupKey(1, video, netip.Addr{}), GroupKey(1, video, camera), GroupKey(1, video, studio)
	unknown := UnknownKey(1, false)
	for _, step := range []struct {
		name   string
		put    map[bpf.MDBKey]Receivers
		remove []bpf.MDBKey
	}{
		{name: "a group", put: map[bpf.MDBKey]Receivers{any: {Ports: []uint32{7}, Remotes: []uint32{1, 2}}}},
		{name: "others for it", put: map[bpf.MDBKey]Receivers{any: {Ports: []uint32{7, 8}, Remotes: []uint32{2}, Zone: []uint32{2}}}},
		{name: "a source", put: map[bpf.MDBKey]Receivers{any: {}, one: {Ports: []uint32{7, 8}}}},
		{name: "another", put: map[bpf.MDBKey]Receivers{any: {}, one: {Ports: []uint32{7, 8}}, other: {Ports: []uint32{8}}}},
		{name: "one less", put: map[bpf.MDBKey]Receivers{any: {}, other: {Ports: []uint32{8}}}, remove: []bpf.MDBKey{one}},
		{name: "none", put: map[bpf.MDBKey]Receivers{any: {Ports: []uint32{8}}}, remove: []bpf.MDBKey{other}},
		{name: "unknown groups", put: map[bpf.MDBKey]Receivers{unknown: {Remotes: []uint32{3}}}},
		{name: "nothing", remove: []bpf.MDBKey{any, unknown, one}},
	} {
		if err := m.Apply(step.put, step.remove); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if diff := cmp.Diff(m.Entries(), read(t, set)); diff != "" {
			t.Errorf("%s (-told +held):\n%s", step.name, diff)
		}
		for key, to := range step.put {
			if diff := cmp.Diff(to, m.Entries()[key]); diff != "" {
				t.Errorf("%s: %v (-put +held):\n%s", step.name, key, diff)
			}
		}
		for _, key := range step.remove {
			if _, there := m.Entries()[key]; there {
				t.Errorf("%s: %v is still there", step.name, key)
			}
		}
		if diff := cmp.Diff(m.Entries(), newMDB(t, set).Entries()); diff != "" {
			t.Errorf("%s: an agent that starts finds something else (-want +got):\n%s", step.name, diff)
		}
	}
	if len(m.lists) != 0 || len(m.sources) != 0 || len(m.free) != int(small.Groups) {
		t.Errorf("%d lists, %d groups with sources and %d free slots are left of nothing", len(m.lists), len(m.sources), len(m.free))
	}
}

// Groups with the same receivers share lists, however many there are.
func TestMDBListsAreShared(t *testing.T) {
	limits := small
	limits.Groups = 1000
	set := newSet(t, limits)
	m := newMDB(t, set)
	many := make([]uint32, 100)
	for i := range many {
		many[i] = uint32(i + 1)
	}
	put := make(map[bpf.MDBKey]Receivers)
	for i := range 1000 {
		put[GroupKey(1, netip.AddrFrom4([4]byte{239, 1, byte(i >> 8), byte(i)}), netip.Addr{})] = Receivers{Ports: many[:3], Remotes: many}
	}
	if err := m.Apply(put, nil); err != nil {
		t.Fatal(err)
	}
	floods, err := set.floods().all()
	if err != nil {
		t.Fatal(err)
	}
	if len(floods) != 1+2 {
		t.Errorf("%d chunks for a list of 3 and one of 100", len(floods))
	}
	if diff := cmp.Diff(put, read(t, set)); diff != "" {
		t.Errorf("(-put +held):\n%s", diff)
	}
}

// A group for which there is no room has no entry at all, and the others are
// what they should be.
func TestMDBWithoutRoom(t *testing.T) {
	limits := small
	limits.Groups = 3
	set := newSet(t, limits)
	m := newMDB(t, set)
	any, one := GroupKey(1, video, netip.Addr{}), GroupKey(1, video, camera)
	first := map[bpf.MDBKey]Receivers{any: {}, one: {Ports: []uint32{7}}}
	if err := m.Apply(first, nil); err != nil {
		t.Fatal(err)
	}
	// Another source fits, and the one after it does not.
	two, three := GroupKey(1, video, studio), GroupKey(1, video, netip.MustParseAddr("2001:45::3"))
	if err := m.Apply(map[bpf.MDBKey]Receivers{any: {}, one: {Ports: []uint32{7}}, two: {Ports: []uint32{7}}}, nil); err != nil {
		t.Fatal(err)
	}
	err := m.Apply(map[bpf.MDBKey]Receivers{any: {}, one: {Ports: []uint32{7}}, two: {Ports: []uint32{7}}, three: {Ports: []uint32{7}}}, nil)
	if !errors.Is(err, ErrGroupsFull) {
		t.Fatalf("no room: %v", err)
	}
	if left := read(t, set); len(left) != 0 {
		t.Errorf("some of a group is left, and who wants the rest of it would starve: %v", left)
	}
	if err := m.Apply(first, nil); err != nil {
		t.Fatalf("there is room again: %v", err)
	}
	if diff := cmp.Diff(first, read(t, set)); diff != "" {
		t.Errorf("(-put +held):\n%s", diff)
	}
}

// Whatever changes, the maps hold what was put, and nothing else.
func TestMDBProperty(t *testing.T) {
	limits := small
	limits.Groups = 60
	set := newSet(t, limits)
	m, want := newMDB(t, set), make(map[bpf.MDBKey]Receivers)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	some := func(n int) []uint32 {
		var ids []uint32
		for id := range uint32(n) {
			if random.IntN(3) == 0 {
				ids = append(ids, id+1)
			}
		}
		return ids
	}
	for step := range 60 {
		put, remove := make(map[bpf.MDBKey]Receivers), []bpf.MDBKey(nil)
		for range random.IntN(4) {
			group := netip.MustParseAddr(fmt.Sprintf("ff05::%x", random.IntN(8)))
			next := make(map[bpf.MDBKey]Receivers)
			if random.IntN(4) > 0 {
				next[GroupKey(1, group, netip.Addr{})] = Receivers{some(5), some(130), nil}
				for source := range random.IntN(4) {
					next[GroupKey(1, group, netip.MustParseAddr(fmt.Sprintf("2001:45::%x", source+1)))] = Receivers{some(5), some(4), some(4)}
				}
			}
			for key := range want {
				if _, stays := next[key]; !stays && key.Group == bpf.AddrFrom(group) {
					remove = append(remove, key)
					delete(want, key)
				}
			}
			for key := range put {
				if _, stays := next[key]; !stays && key.Group == bpf.AddrFrom(group) {
					delete(put, key)
				}
			}
			for key, to := range next {
				put[key], want[key] = to, to
				remove = slices.DeleteFunc(remove, func(k bpf.MDBKey) bool { return k == key })
			}
		}
		if err := m.Apply(put, remove); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		if diff := cmp.Diff(want, read(t, set)); diff != "" {
			t.Fatalf("step %d (-put +held):\n%s", step, diff)
		}
		if random.IntN(5) == 0 {
			m = newMDB(t, set) // another agent
		}
	}
}
