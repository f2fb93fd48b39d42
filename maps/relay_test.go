// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
	"overcast/policy"
)

// relayed is a state of host 1 in zone a, with hosts 2 and 3 in a, 11 to 16 in
// b, 21 to 24 in c, 31 without a zone, and the foreign 17 in b.
func relayed() *policy.State {
	segment := newSegment("a", 1, []int{2, 3, 11, 12, 13, 14, 15, 16, 17, 21, 22, 23, 24, 31}, 1)
	segment.Relay = policy.Relay{VNI: 100, Threshold: 4}
	state := newState(segment)
	state.Host.Zone = "a"
	for i := range state.Remotes {
		remote := &state.Remotes[i]
		switch n := remote.VTEP.As4()[3]; {
		case n < 10:
			remote.Zone = "a"
		case n < 20:
			remote.Zone, remote.Foreign = "b", n == 17
		case n < 30:
			remote.Zone = "c"
		}
	}
	return state
}

// vtepsOf are the hosts of a list by number, a relay by its negative.
func vtepsOf(c *Contents, ids []uint32) []int {
	var hosts []int
	for _, id := range ids {
		n := int(c.Remotes[id&^bpf.Relay].Vtep.NetAddr().As4()[3])
		if id&bpf.Relay != 0 {
			n = -n
		}
		hosts = append(hosts, n)
	}
	slices.Sort(hosts)
	return hosts
}

func TestRelaysAreUsedWhereTheyLive(t *testing.T) {
	state := relayed()
	facts := newFacts(state)
	facts.Alive = map[RelayWay]bool{{testVTEP(11), 1}: true, {testVTEP(12), 1}: true, {testVTEP(13), 1}: true} // another segment's
	contents := compile(t, state, facts, nil, small)
	relays := contents.Relays[1]
	if len(relays.Probe) != 1 || len(relays.Probe["b"]) != relayCandidates {
		t.Fatalf("probed are %v: want two of zone b, whose 6 members are more than the threshold of 4, and none of c", relays.Probe)
	}
	list := func(c *Contents) []int { return vtepsOf(c, c.List(c.Segments[1].Remotes)) }
	all := []int{2, 3, 11, 12, 13, 14, 15, 16, 17, 21, 22, 23, 24, 31}
	if diff := cmp.Diff(all, list(contents)); diff != "" {
		t.Errorf("no relay is known to live (-want +got):\n%s", diff)
	}
	first, backup := relays.Probe["b"][0], relays.Probe["b"][1]
	number := func(vtep netip.Addr) int { return int(vtep.As4()[3]) }
	for _, c := range []struct {
		name  string
		alive []netip.Addr
		relay int
	}{
		{"both live", []netip.Addr{first, backup}, number(first)},
		{"the first has died", []netip.Addr{backup}, number(backup)},
	} {
		facts.Alive = make(map[RelayWay]bool)
		for _, vtep := range c.alive {
			facts.Alive[RelayWay{vtep, 100}] = true
		}
		contents = compile(t, state, facts, &contents.Snapshot, small)
		if diff := cmp.Diff([]int{-c.relay, 2, 3, 17, 21, 22, 23, 24, 31}, list(contents)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if diff := cmp.Diff([]int{2, 3}, vtepsOf(contents, contents.List(contents.Segments[1].Zone))); diff != "" {
			t.Errorf("%s: relayed to in our zone (-want +got):\n%s", c.name, diff)
		}
		if !slices.IsSorted(contents.List(contents.Segments[1].Remotes)) {
			t.Errorf("%s: the list is not in order: an equal one would be written again", c.name)
		}
	}
	want := []RelayZone{{Name: "a", Own: true, Members: 2}, {Name: "b", Members: 6, Candidates: []netip.Addr{first, backup}, Relay: slotOf(contents, number(backup))}, {Name: "c", Members: 4}}
	if diff := cmp.Diff(want, contents.Relays[1].Zones(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || contents.Relays[1].Threshold() != 4 {
		t.Errorf("threshold %d; zones (-want +got):\n%s", contents.Relays[1].Threshold(), diff)
	}
	// A group with few receivers in the zone goes to them.
	relays = contents.Relays[1]
	slot := func(n int) uint32 { return slotOf(contents, n) }
	few := []uint32{slot(2), slot(11), slot(12), slot(13), slot(14)}
	slices.Sort(few)
	if diff := cmp.Diff(few, relays.Via(few)); diff != "" {
		t.Errorf("four of zone b (-want +got):\n%s", diff)
	}
	many := append(slices.Clone(few), slot(15))
	slices.Sort(many)
	if diff := cmp.Diff([]int{-number(backup), 2}, vtepsOf(contents, relays.Via(many))); diff != "" {
		t.Errorf("five of zone b (-want +got):\n%s", diff)
	}
}

func slotOf(c *Contents, n int) uint32 {
	for slot, remote := range c.Remotes {
		if int(remote.Vtep.NetAddr().As4()[3]) == n {
			return slot
		}
	}
	panic("no such remote")
}

// Under the relay's VNI only hosts of other zones are heard.
func TestWhoMayAskARelay(t *testing.T) {
	state := relayed()
	contents := compile(t, state, newFacts(state), nil, small)
	if diff := cmp.Diff(bpf.VNI{Segment: 1, Flags: bpf.VNIRelay}, contents.VNIs[100]); diff != "" {
		t.Errorf("the relay's VNI (-want +got):\n%s", diff)
	}
	var askers []int
	for key, vtep := range contents.VTEPs {
		if key.Vni != 100 {
			continue
		}
		if vtep.Remote&bpf.Relay == 0 || vtep.Segment != 1 {
			t.Errorf("%s is not told as a relay's packet: %+v", key.Addr.NetAddr(), vtep)
		}
		askers = append(askers, int(key.Addr.NetAddr().As4()[3]))
	}
	slices.Sort(askers)
	if diff := cmp.Diff([]int{11, 12, 13, 14, 15, 16, 21, 22, 23, 24, 31}, askers); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	state.Host.Zone = ""
	contents = compile(t, state, newFacts(state), nil, small)
	for key := range contents.VTEPs {
		if key.Vni == 100 {
			t.Errorf("a host without a zone relays for %s", key.Addr.NetAddr())
		}
	}
	if list := contents.List(contents.Segments[1].Zone); len(list) != 0 {
		t.Errorf("a host without a zone relays to %v", vtepsOf(contents, list))
	}
}

// Hosts do not all choose the same relay.
func TestRelaysSpread(t *testing.T) {
	chosen := make(map[netip.Addr]int)
	for n := range 60 {
		state := relayed()
		state.Host.VTEP = testVTEP(100 + n)
		contents := compile(t, state, newFacts(state), nil, small)
		chosen[contents.Relays[1].Probe["b"][0]]++
	}
	if len(chosen) != 6 {
		t.Errorf("60 hosts use %d of 6 relays: %v", len(chosen), chosen)
	}
	for vtep, n := range chosen {
		if n > 30 {
			t.Errorf("%d of 60 hosts use %s", n, vtep)
		}
	}
}
