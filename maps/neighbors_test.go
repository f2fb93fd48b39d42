// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
	"overcast/policy"
)

// testIP is the address of station i of the tests, of either family by turns.
func testIP(i int) netip.Addr {
	if i%2 == 0 {
		return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
	}
	return netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i))
}

// inhabit gives the MACs of a segment's FDB an address each.
func inhabit(s policy.Segment) policy.Segment {
	s.NeighborAnswers = true
	for _, entry := range s.FDB {
		s.Neighbors = append(s.Neighbors, policy.Neighbor{IP: testIP(int(entry.MAC[5])), MAC: entry.MAC, Port: entry.Port, VTEP: entry.VTEP})
	}
	return s
}

func neighborKey(segment uint32, i int) bpf.NeighborKey {
	return bpf.NeighborKey{Segment: segment, Addr: bpf.AddrFrom(testIP(i))}
}

// hear puts learned addresses there as the programs do.
func hear(t *testing.T, set *Set, entries map[bpf.NeighborKey]bpf.LearnedNeighbor) {
	t.Helper()
	for key, entry := range entries {
		if err := set.LearnedNeighbors.Put(&key, &entry); err != nil {
			t.Fatal(err)
		}
	}
}

// heard are the addresses that are still learned.
func heard(t *testing.T, set *Set) map[netip.Addr]bool {
	t.Helper()
	entries, err := set.LearnedNeighborEntries()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[netip.Addr]bool)
	for key := range entries {
		all[key.Addr.NetAddr()] = true
	}
	return all
}

func addresses(numbers ...int) map[netip.Addr]bool {
	all := make(map[netip.Addr]bool)
	for _, i := range numbers {
		all[testIP(i)] = true
	}
	return all
}

var compareAddresses = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// Configured addresses are in the map where a segment answers, and follow the
// state: one that changes its MAC, one that goes, a segment that falls silent.
func TestNeighbors(t *testing.T) {
	set := newSet(t, small)
	step := func(name string, segment policy.Segment, want map[bpf.NeighborKey]bpf.Neighbor, writes Writes) {
		t.Helper()
		state := newState(segment)
		_, wrote := bring(t, set, state, newFacts(state), small)
		snap := snapshot(t, set)
		if diff := cmp.Diff(want, snap.Neighbors); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if answers := snap.Segments[1].Flags&bpf.SegmentNeighbors != 0; answers != segment.NeighborAnswers {
			t.Errorf("%s: the segment's flag is %t", name, answers)
		}
		if wrote != writes {
			t.Errorf("%s wrote %+v, should be %+v", name, wrote, writes)
		}
		if _, again := bring(t, set, state, newFacts(state), small); again != (Writes{}) {
			t.Errorf("%s once more wrote %+v", name, again)
		}
	}
	base := newSegment("a", 1, nil, 1, 2)
	bring(t, set, newState(base), newFacts(newState(base)), small)
	both := inhabit(base)
	step("two", both, map[bpf.NeighborKey]bpf.Neighbor{neighborKey(1, 1): {Mac: testMAC(1)}, neighborKey(1, 2): {Mac: testMAC(2)}}, Writes{Put: 3, Batches: 1})
	swapped := inhabit(base)
	swapped.Neighbors = []policy.Neighbor{{IP: testIP(1), MAC: testMAC(2), Port: "p2"}, {IP: testIP(2), MAC: testMAC(2), Port: "p2"}}
	step("another owner", swapped, map[bpf.NeighborKey]bpf.Neighbor{neighborKey(1, 1): {Mac: testMAC(2)}, neighborKey(1, 2): {Mac: testMAC(2)}}, Writes{Put: 1})
	one := inhabit(base)
	one.Neighbors = one.Neighbors[:1]
	step("one", one, map[bpf.NeighborKey]bpf.Neighbor{neighborKey(1, 1): {Mac: testMAC(1)}}, Writes{Put: 1, Deleted: 1})
	silent := inhabit(base)
	silent.NeighborAnswers = false
	step("silence", silent, map[bpf.NeighborKey]bpf.Neighbor{}, Writes{Put: 1, Deleted: 1})
}

// An address of each family fits for each MAC, and what does not is refused.
func TestNeighborsFit(t *testing.T) {
	set := newSet(t, small)
	s := newSegment("a", 1, []int{2})
	s.NeighborAnswers = true
	fill := func(n int) *policy.State {
		s.Neighbors = nil
		for i := range n {
			s.Neighbors = append(s.Neighbors, policy.Neighbor{IP: testIP(i), MAC: testMAC(1), VTEP: testVTEP(2)})
		}
		return newState(s)
	}
	most := 2 * int(small.MACs)
	bring(t, set, fill(most), newFacts(fill(most)), small)
	have, before := snapshot(t, set), set.Writes()
	want := compile(t, fill(most+1), newFacts(fill(most+1)), have, small)
	err := set.Apply(have, want)
	const text = "oc_neighbors would hold 129 entries, one per configured address, and has room for 128: raise limits.macs, of which each has room for two"
	if err == nil || err.Error() != text {
		t.Errorf("got  %v\nwant %s", err, text)
	}
	if set.Writes() != before {
		t.Errorf("wrote %+v and then %+v", before, set.Writes())
	}
	// As many others have room when these have gone.
	for i := range s.Neighbors {
		s.Neighbors[i].IP = testIP(i + 1000)
	}
	s.Neighbors = s.Neighbors[:most]
	bring(t, set, newState(s), newFacts(newState(s)), small)
	if n := len(snapshot(t, set).Neighbors); n != most {
		t.Errorf("%d addresses, want %d", n, most)
	}
}

func TestSweepNeighbors(t *testing.T) {
	set := newSet(t, small)
	state := newState(inhabit(newSegment("a", 1, nil, 1, 2, 3)))
	bring(t, set, state, newFacts(state), small)
	const now = uint64(100000 * time.Second)
	entry := func(mac int, seen uint64) bpf.LearnedNeighbor {
		return bpf.LearnedNeighbor{Mac: testMAC(mac), Seen: seen}
	}
	hear(t, set, map[bpf.NeighborKey]bpf.LearnedNeighbor{
		neighborKey(1, 1):  entry(1, now-uint64(RoleAge)),       // a role, just in time
		neighborKey(1, 2):  entry(2, now-uint64(RoleAge)-1),     // a role, too old
		neighborKey(1, 3):  entry(9, now-uint64(NeighborAge)-1), // another MAC's, from before it was configured
		neighborKey(1, 10): entry(1, now-uint64(NeighborAge)),   // just in time
		neighborKey(1, 11): entry(1, now-uint64(NeighborAge)-1), // too old
		neighborKey(2, 12): entry(1, now+uint64(time.Second)),   // heard while we looked
		neighborKey(2, 1):  entry(1, now-uint64(RoleAge)),       // of a segment where it is not configured
	})
	if n, err := set.CountNeighbors(now); err != nil || n[1] != (NeighborCount{3, 1}) || n[2] != (NeighborCount{0, 1}) {
		t.Errorf("counted %v, %v", n, err)
	}
	if n, err := set.SweepNeighbors(now); err != nil || n != 4 {
		t.Errorf("swept %d, %v; want 4", n, err)
	}
	if diff := cmp.Diff(addresses(1, 10, 12), heard(t, set), compareAddresses); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	before := set.Writes()
	if n, err := set.SweepNeighbors(now); err != nil || n != 0 || set.Writes() != before {
		t.Errorf("sweeping again swept %d, %v", n, err)
	}
}

// What was learned goes with the segment, the port or the remote that its MAC
// was behind, and when the segment falls silent.
func TestForgetNeighbors(t *testing.T) {
	set := newSet(t, small)
	a := inhabit(newSegment("a", 1, []int{2, 3}, 1, 2))
	a.FDB = append(a.FDB, policy.Entry{MAC: testMAC(20), VTEP: testVTEP(2)}, policy.Entry{MAC: testMAC(21), VTEP: testVTEP(3)})
	before := newState(a, inhabit(newSegment("b", 2, []int{3}, 3)), inhabit(newSegment("c", 3, []int{3}, 4)))
	want, _ := bring(t, set, before, newFacts(before), small)
	learn(t, set, map[bpf.FDBKey]bpf.LearnedEntry{
		{Segment: 1, Mac: testMAC(51)}: {Where: bpf.FDBEntry{Kind: bpf.KindPort, Id: 102}, Seen: Monotonic()},
		{Segment: 1, Mac: testMAC(52)}: {Where: bpf.FDBEntry{Kind: bpf.KindPort, Id: 101}, Seen: Monotonic()},
	})
	entry := func(mac int) bpf.LearnedNeighbor { return bpf.LearnedNeighbor{Mac: testMAC(mac), Seen: Monotonic()} }
	hear(t, set, map[bpf.NeighborKey]bpf.LearnedNeighbor{
		neighborKey(1, 31): entry(1),
		neighborKey(1, 32): entry(2),  // the port goes
		neighborKey(1, 33): entry(20), // the remote goes
		neighborKey(1, 34): entry(21),
		neighborKey(1, 35): entry(51), // a MAC that was learned behind the port that goes
		neighborKey(1, 36): entry(52),
		neighborKey(2, 37): entry(3), // the segment goes
		neighborKey(3, 38): entry(4), // the segment falls silent
	})
	a = inhabit(newSegment("a", 1, []int{3}, 1))
	a.FDB = append(a.FDB, policy.Entry{MAC: testMAC(21), VTEP: testVTEP(3)})
	c := newSegment("c", 3, []int{3}, 4)
	after := newState(a, c)
	facts := newFacts(after)
	facts.Slots = want.Slots
	bring(t, set, after, facts, small)
	if diff := cmp.Diff(addresses(31, 34, 36), heard(t, set), compareAddresses); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
