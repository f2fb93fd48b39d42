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
	floods, err := set.mdbFloods().all()
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
	floods, err := set.mdbFloods().all()
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

// A group for which there is too little room goes to all that want it from any
// source, and the others are what they should be.
func TestMDBWithoutRoom(t *testing.T) {
	limits := small
	limits.Groups = 3
	set := newSet(t, limits)
	m := newMDB(t, set)
	any, one, two := GroupKey(1, video, netip.Addr{}), GroupKey(1, video, camera), GroupKey(1, video, studio)
	three := GroupKey(1, video, netip.MustParseAddr("2001:45::3"))
	first := map[bpf.MDBKey]Receivers{any: {}, one: {Ports: []uint32{7}}}
	if err := m.Apply(first, nil); err != nil {
		t.Fatal(err)
	}
	full := func(err error, segments ...uint32) {
		t.Helper()
		var is *GroupsFullError
		if !errors.As(err, &is) || is.Groups != len(segments) {
			t.Fatalf("no room: %v", err)
		}
		for _, segment := range segments {
			if !is.Segments[segment] {
				t.Errorf("segment %d is not told to be short: %+v", segment, is)
			}
		}
	}
	full(m.Apply(map[bpf.MDBKey]Receivers{any: {}, one: {Ports: []uint32{7}}, two: {Ports: []uint32{8}}, three: {Ports: []uint32{7, 9}}}, nil), 1)
	want := map[bpf.MDBKey]Receivers{any: {Ports: []uint32{7, 8, 9}}}
	if diff := cmp.Diff(want, read(t, set)); diff != "" {
		t.Errorf("one entry for all (-want +held):\n%s", diff)
	}
	other, third, last := GroupKey(2, video, netip.Addr{}), GroupKey(3, video, netip.Addr{}), GroupKey(4, video, netip.Addr{})
	more := map[bpf.MDBKey]Receivers{other: {Ports: []uint32{1}}, third: {Ports: []uint32{1}}}
	if err := m.Apply(more, nil); err != nil {
		t.Fatal(err)
	}
	full(m.Apply(map[bpf.MDBKey]Receivers{last: {Ports: []uint32{1}}}, nil), 4)
	if _, there := read(t, set)[last]; there {
		t.Error("there is an entry for which there is no room")
	}
	if err := m.Apply(map[bpf.MDBKey]Receivers{last: {Ports: []uint32{1}}}, []bpf.MDBKey{any}); err == nil {
		t.Error("what a change gives back is used in it, while it may be read")
	}
	if err := m.Apply(map[bpf.MDBKey]Receivers{last: {Ports: []uint32{1}}}, nil); err != nil {
		t.Errorf("there is room again: %v", err)
	}
}

// Sources leave room for groups, and lists that are too many hurt only those
// whose they are.
func TestMDBRoomIsKept(t *testing.T) {
	limits := small
	limits.Groups = 100
	set := newSet(t, limits)
	m := newMDB(t, set)
	greedy := map[bpf.MDBKey]Receivers{GroupKey(1, video, netip.Addr{}): {}}
	for i := range 90 {
		greedy[GroupKey(1, video, netip.MustParseAddr(fmt.Sprintf("2001:45::%x", i+1)))] = Receivers{Ports: []uint32{uint32(i + 1)}}
	}
	if err := m.Apply(greedy, nil); err == nil {
		t.Error("90 sources of a group find room where the last quarter of 100 entries is kept for groups")
	}
	long := make([]uint32, 390*bpf.ChunkSize) // nearly all chunks that there are
	for i := range long {
		long[i] = uint32(i + 1)
	}
	huge, tiny := GroupKey(1, studio, netip.Addr{}), GroupKey(2, video, netip.Addr{})
	put := map[bpf.MDBKey]Receivers{tiny: {Ports: []uint32{1}}, GroupKey(1, camera, netip.Addr{}): {Remotes: long}, huge: {Remotes: long[1:]}}
	var full *GroupsFullError
	if err := m.Apply(put, nil); !errors.As(err, &full) || full.Groups != 1 {
		t.Errorf("two lists of some 390 chunks: %v", err)
	}
	if _, there := read(t, set)[tiny]; !there {
		t.Error("a group with one receiver finds no room beside one with too many")
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
