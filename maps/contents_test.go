// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
	"overcast/policy"
)

// recompile compiles a state upon the contents of an earlier one.
func recompile(t *testing.T, have *Contents, state *policy.State, facts Facts) *Contents {
	t.Helper()
	facts.Slots = have.Slots
	return compile(t, state, facts, &have.Snapshot, small)
}

// slotsOf are the slots of a state's objects by name.
func slotsOf(c *Contents) map[string]uint32 {
	slots := make(map[string]uint32)
	for slot, name := range c.SegmentNames {
		slots["segment "+name] = slot
	}
	for slot, name := range c.RemoteNames {
		slots["remote "+name] = slot
	}
	for name, slot := range c.Slots {
		slots["port "+name] = slot
	}
	return slots
}

func TestSlotsStay(t *testing.T) {
	state := newState(newSegment("a", 1, []int{2, 3}, 1, 2), newSegment("b", 2, []int{4}, 3))
	first := compile(t, state, newFacts(state), nil, small)
	if diff := cmp.Diff(map[string]uint32{
		"segment env/a": 1, "segment env/b": 2,
		"remote host-192.0.2.2": 1, "remote host-192.0.2.3": 2, "remote host-192.0.2.4": 3,
		"port env/a/p1": 1, "port env/a/p2": 2, "port env/b/p3": 3,
	}, slotsOf(first)); diff != "" {
		t.Fatalf("first (-want +got):\n%s", diff)
	}

	// The first of each kind goes and another comes: what stays keeps its slot,
	// and the freed ones are not given out before they have been given back.
	state = newState(newSegment("c", 3, []int{3, 4, 5}, 2, 4), newSegment("b", 2, []int{4}, 3))
	second := recompile(t, first, state, newFacts(state))
	want := map[string]uint32{
		"segment env/b": 2, "segment env/c": 3,
		"remote host-192.0.2.3": 2, "remote host-192.0.2.4": 3, "remote host-192.0.2.5": 4,
		"port env/b/p3": 3, "port env/c/p2": 4, "port env/c/p4": 5,
	}
	if diff := cmp.Diff(want, slotsOf(second)); diff != "" {
		t.Fatalf("second (-want +got):\n%s", diff)
	}

	// Now they are free.
	state = newState(newSegment("c", 3, []int{3, 4, 5, 6}, 2, 4, 5), newSegment("b", 2, []int{4}, 3), newSegment("d", 4, nil))
	want["segment env/d"], want["remote host-192.0.2.6"], want["port env/c/p5"] = 1, 1, 1
	if diff := cmp.Diff(want, slotsOf(recompile(t, second, state, newFacts(state)))); diff != "" {
		t.Fatalf("third (-want +got):\n%s", diff)
	}
}

// Without the report of an earlier run the ports keep the counters that stand
// in the maps; a port that is new on a known device does not get another's.
func TestPortSlotsOfDevices(t *testing.T) {
	state := newState(newSegment("a", 1, nil, 1, 2, 3))
	first := compile(t, state, newFacts(state), nil, small)
	for slot := range first.Ports {
		port := first.Ports[slot]
		port.Id += 10
		first.Ports[slot] = port
	}
	facts := newFacts(state)
	if diff := cmp.Diff(map[string]uint32{"env/a/p1": 11, "env/a/p2": 12, "env/a/p3": 13}, compile(t, state, facts, &first.Snapshot, small).Slots); diff != "" {
		t.Errorf("without a report (-want +got):\n%s", diff)
	}
	// p1 moves to another device and a new port takes tap1.
	segment := newSegment("a", 1, nil, 2, 3)
	segment.Ports = append([]policy.Port{{Name: "new", Interface: "tap1", MAC: testMAC(9), HasMAC: true}}, segment.Ports...)
	segment.Ports = append(segment.Ports, policy.Port{Name: "p1", Interface: "tap8", MAC: testMAC(1), HasMAC: true})
	state = newState(segment)
	facts = newFacts(state)
	facts.Slots = map[string]uint32{"env/a/p1": 11, "env/a/p2": 12, "env/a/p3": 13}
	if diff := cmp.Diff(map[string]uint32{"env/a/new": 1, "env/a/p1": 11, "env/a/p2": 12, "env/a/p3": 13}, compile(t, state, facts, &first.Snapshot, small).Slots); diff != "" {
		t.Errorf("with a report (-want +got):\n%s", diff)
	}
}

func TestVNIOfAnotherSegment(t *testing.T) {
	state := newState(newSegment("old", 7, []int{2}, 1))
	first := compile(t, state, newFacts(state), nil, small)
	state = newState(newSegment("new", 7, []int{2}, 1))
	second := recompile(t, first, state, newFacts(state))
	if got := second.VNIs[7].Segment; got != 2 || second.SegmentNames[2] != "env/new" {
		t.Errorf("VNI 7 leads to slot %d (%v), want a new one", got, second.SegmentNames)
	}
	if _, ok := second.Segments[1]; ok {
		t.Error("the old segment is still there")
	}
	if got := second.VTEPs[bpf.VTEPKey{Vni: 7, Addr: bpf.AddrFrom(testVTEP(2))}]; got != (bpf.VTEP{Segment: 2, Remote: 1}) {
		t.Errorf("the member leads to %+v", got)
	}
	// The same segment under another VNI is another one, too.
	state = newState(newSegment("old", 8, []int{2}, 1))
	if got := recompile(t, first, state, newFacts(state)).VNIs[8].Segment; got != 2 {
		t.Errorf("VNI 8 leads to slot %d, want a new one", got)
	}
}

func TestLists(t *testing.T) {
	state := newState(newSegment("a", 1, []int{2, 3}, 1, 2))
	first := compile(t, state, newFacts(state), nil, small)
	a := first.Segments[1]
	if diff := cmp.Diff([][]uint32{{101, 102}, {1, 2}}, [][]uint32{first.List(a.Ports), first.List(a.Remotes)}); diff != "" || a.Ports == a.Remotes {
		t.Fatalf("lists %d and %d (-want +got):\n%s", a.Ports, a.Remotes, diff)
	}

	// One more port: the list of the ports is a new one, that of the remotes
	// the same, and the old list is not wanted any more.
	state = newState(newSegment("a", 1, []int{2, 3}, 1, 2, 3))
	second := recompile(t, first, state, newFacts(state))
	b := second.Segments[1]
	if b.Remotes != a.Remotes {
		t.Errorf("the unchanged list went from %d to %d", a.Remotes, b.Remotes)
	}
	if b.Ports == a.Ports || b.Ports == a.Remotes || b.Ports == 0 {
		t.Errorf("the changed list kept the number %d", b.Ports)
	}
	if diff := cmp.Diff([]uint32{101, 102, 103}, second.List(b.Ports)); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	if len(second.Floods) != 2 {
		t.Errorf("%d chunks, want one of each list", len(second.Floods))
	}

	// A missing device is in no list, and no list is number 0.
	facts := newFacts(state)
	clear(facts.Ports)
	third := recompile(t, second, state, facts)
	if got := third.Segments[1]; got.Ports != 0 || third.List(0) != nil {
		t.Errorf("the empty list has number %d and holds %v", got.Ports, third.List(got.Ports))
	}
	if len(third.Ports) != 0 || len(third.PortNames) != 0 {
		t.Errorf("ports without a device are in the maps: %v", third.Ports)
	}
	if diff := cmp.Diff(second.Slots, third.Slots); diff != "" {
		t.Errorf("ports without a device lost their counters (-want +got):\n%s", diff)
	}
}

func TestChunks(t *testing.T) {
	for _, c := range []struct {
		members int
		chunks  []uint32 // their counts
	}{
		{0, nil},
		{1, []uint32{1}},
		{61, []uint32{61}},
		// The last chunk is the first that is not full.
		{62, []uint32{62, 0}},
		{63, []uint32{62, 1}},
		{123, []uint32{62, 61}},
		{124, []uint32{62, 62, 0}},
		{125, []uint32{62, 62, 1}},
	} {
		t.Run(fmt.Sprint(c.members), func(t *testing.T) {
			var remotes []int
			for i := range c.members {
				remotes = append(remotes, i+2)
			}
			state := newState(newSegment("a", 1, remotes))
			limits := small
			limits.Remotes = 200
			want := compile(t, state, newFacts(state), nil, limits)
			list := want.Segments[1].Remotes
			var chunks, ids []uint32
			for i := range len(want.Floods) {
				flood := want.Floods[bpf.FloodKey{List: list, Chunk: uint32(i)}]
				chunks = append(chunks, flood.Count)
				ids = append(ids, flood.Id[:flood.Count]...)
				for _, id := range flood.Id[flood.Count:] {
					if id != 0 {
						t.Errorf("chunk %d has id %d behind its end", i, id)
					}
				}
			}
			if diff := cmp.Diff(c.chunks, chunks); diff != "" {
				t.Errorf("chunks (-want +got):\n%s", diff)
			}
			if len(ids) != c.members || !slices.Equal(ids, want.List(list)) {
				t.Errorf("%d ids in the chunks, %d in the list, want %d", len(ids), len(want.List(list)), c.members)
			}
			for i, id := range ids {
				if id != uint32(i+1) {
					t.Fatalf("id %d at %d: every remote must be there once", id, i)
				}
			}
		})
	}
}

func TestContentsOfSegment(t *testing.T) {
	segment := newSegment("a", 7, []int{2, 9}, 1)
	segment.Learning, segment.FloodUnknown = true, true
	segment.Ports = append(segment.Ports,
		policy.Port{Name: "any", Interface: "tap2", AnyMAC: true},
		policy.Port{Name: "late", Interface: "tap3", MAC: testMAC(3), HasMAC: true})
	segment.FDB = append(segment.FDB, policy.Entry{MAC: testMAC(3), Port: "late"}, policy.Entry{MAC: testMAC(20), VTEP: testVTEP(2)})
	state := newState(segment)
	facts := newFacts(state)
	facts.Ports["tap1"] = PortFacts{Ifindex: 101, Peer: true}
	delete(facts.Ports, "tap3")
	delete(facts.Paths, testVTEP(9))
	delete(facts.MTUs, testVTEP(9))
	want := compile(t, state, facts, nil, small)

	if diff := cmp.Diff(map[uint32]bpf.Port{
		101: {Id: 1, Segment: 1, Flags: bpf.PortMAC | bpf.PortPeer, Mac: testMAC(1)},
		102: {Id: 2, Segment: 1, Flags: bpf.PortAny},
	}, want.Ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[bpf.FDBKey]bpf.FDBEntry{
		{Segment: 1, Mac: testMAC(1)}: {Kind: bpf.KindPort, Id: 101},
		// A port without a device keeps its MAC.
		{Segment: 1, Mac: testMAC(3)}:  {Kind: bpf.KindPort, Id: 0},
		{Segment: 1, Mac: testMAC(20)}: {Kind: bpf.KindRemote, Id: 1},
	}, want.FDB); diff != "" {
		t.Errorf("FDB (-want +got):\n%s", diff)
	}
	// VNI 0 lists the hosts, VNI 7 the members of the segment.
	addrs := []bpf.Addr{bpf.AddrFrom(testVTEP(2)), bpf.AddrFrom(testVTEP(9))}
	if diff := cmp.Diff(map[bpf.VTEPKey]bpf.VTEP{
		{Addr: addrs[0]}: {Remote: 1}, {Addr: addrs[1]}: {Remote: 2},
		{Vni: 7, Addr: addrs[0]}: {Segment: 1, Remote: 1}, {Vni: 7, Addr: addrs[1]}: {Segment: 1, Remote: 2},
	}, want.VTEPs); diff != "" {
		t.Errorf("VTEPs (-want +got):\n%s", diff)
	}
	// A remote without a route is there, with no path.
	if diff := cmp.Diff(map[uint32]bpf.Remote{
		1: {Vtep: addrs[0], Mtu: 1450, Path: [2]bpf.Path{testPath(2)}}, 2: {Vtep: addrs[1], Mtu: MinMTU},
	}, want.Remotes); diff != "" {
		t.Errorf("remotes (-want +got):\n%s", diff)
	}
	if got := want.Segments[1]; got.Vni != 7 || got.Mtu != 1450 || got.MtuMost != 65535 || got.Flags != bpf.SegmentLearning|bpf.SegmentFloodUnknown || got.Identity != identity("env/a") {
		t.Errorf("segment %+v", got)
	}
	if got := want.VNIs[7]; got != (bpf.VNI{Segment: 1}) {
		t.Errorf("VNI %+v", got)
	}
	if diff := cmp.Diff(map[uint32]string{101: "env/a/p1", 102: "env/a/any"}, want.PortNames); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// A host that is a member of no segment but shares the model has no way in.
func TestOnlyMembersAreKnown(t *testing.T) {
	state := newState(newSegment("a", 1, []int{2}), newSegment("b", 2, []int{3}))
	want := compile(t, state, newFacts(state), nil, small)
	for key := range map[bpf.VTEPKey]bool{
		{Vni: 1, Addr: bpf.AddrFrom(testVTEP(3))}: true,
		{Vni: 2, Addr: bpf.AddrFrom(testVTEP(2))}: true,
		{Vni: 1, Addr: bpf.AddrFrom(testVTEP(1))}: true, // ourselves
	} {
		if got, ok := want.VTEPs[key]; ok {
			t.Errorf("%s is a member of VNI %d: %+v", key.Addr.NetAddr(), key.Vni, got)
		}
	}
	if len(want.VTEPs) != 4 {
		t.Errorf("%d VTEP entries, want two hosts and two members", len(want.VTEPs))
	}
}

func TestIPv6Underlay(t *testing.T) {
	vtep := netip.MustParseAddr("2001:db8::2")
	segment := policy.Segment{Environment: "env", Name: "a", VNI: 1, Remotes: []netip.Addr{vtep}}
	state := &policy.State{
		Host:    policy.Host{Name: "host-1", VTEP: netip.MustParseAddr("2001:db8::1")},
		Remotes: []policy.Remote{{Name: "host-2", VTEP: vtep}}, Segments: []policy.Segment{segment},
	}
	want := compile(t, state, Facts{MTUs: map[netip.Addr]int{vtep: 1500}, MTU: 9000}, nil, small)
	if got := want.Remotes[1].Vtep.NetAddr(); got != vtep {
		t.Errorf("the remote is %s", got)
	}
	if got := want.Segments[1].Mtu; got != 1430 {
		t.Errorf("MTU %d", got)
	}
}
