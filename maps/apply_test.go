// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
	"overcast/policy"
)

// many are the configured MACs of the large tests, and large what holds them.
const many = 100_000

var large = Limits{MACs: 131072, Learned: 64, Groups: 16, Remotes: 16}

// largeState has all MACs but those of one port behind two remotes. The first
// moved MACs are behind the second remote, the others behind the first.
func largeState(name string, moved int) *policy.State {
	segment := newSegment(name, 7, []int{2, 3}, 1)
	for i := range many - 1 {
		entry := policy.Entry{MAC: testMAC(1000 + i), VTEP: testVTEP(2)}
		if i < moved {
			entry.VTEP = testVTEP(3)
		}
		segment.FDB = append(segment.FDB, entry)
	}
	return newState(segment)
}

// What a change costs is what it changes, and large changes go in batches.
func TestApplyWritesOnlyTheDifference(t *testing.T) {
	set := newSet(t, large)
	state := largeState("a", 0)
	_, writes := bring(t, set, state, newFacts(state), large)
	// Beside the MACs: a port, a VNI, a segment, two remotes, their membership
	// in VNI 0 and in the segment, and the lists of ports and of remotes.
	if want := uint64(many + 1 + 1 + 1 + 2 + 4 + 2); writes.Put != want || writes.Deleted != 0 {
		t.Errorf("filling wrote %+v, want %d entries put", writes, want)
	}
	// The MACs, and three small batches: remotes, VTEPs, lists.
	if want := uint64((many+batchSize-1)/batchSize + 3); writes.Batches > want {
		t.Errorf("filling took %d batches, want at most %d", writes.Batches, want)
	}

	if _, writes := bring(t, set, state, newFacts(state), large); writes != (Writes{}) {
		t.Errorf("an unchanged state wrote %+v", writes)
	}

	state = largeState("a", 1000)
	if _, writes := bring(t, set, state, newFacts(state), large); writes != (Writes{Put: 1000, Batches: 1}) {
		t.Errorf("moving 1000 MACs wrote %+v", writes)
	}

	if _, writes := bring(t, set, newState(), Facts{MTU: 1500}, large); writes.Deleted != many+1+1+4+2 {
		t.Errorf("removing everything wrote %+v", writes)
	}
	if left := meaning(t, snapshot(t, set)); len(left) != 0 {
		t.Errorf("%d entries left, the first %q", len(left), left[0])
	}
}

// A change may need more room than either state alone: here all MACs move to
// another segment, which the map has not room for beside the first.
func TestApplyToAnotherStateAsLarge(t *testing.T) {
	set := newSet(t, large)
	state := largeState("a", 0)
	bring(t, set, state, newFacts(state), large)
	state = largeState("b", 0)
	want, _ := bring(t, set, state, newFacts(state), large)
	if got := snapshot(t, set).FDB; !maps.Equal(got, want.FDB) {
		t.Errorf("the map has %d MACs, not the %d wanted ones", len(got), len(want.FDB))
	}
}

// A VNI that goes to another segment replaces the membership of every remote.
// In turn, with a wait behind each, a few are; many are replaced together.
func TestApplyReplacesManyTogether(t *testing.T) {
	limits := small
	limits.Remotes = 200
	for members, together := range map[int]bool{fewInTurn: false, fewInTurn + 1: true, 200: true} {
		t.Run(fmt.Sprint(members), func(t *testing.T) {
			var remotes []int
			for i := range members {
				remotes = append(remotes, i+2)
			}
			set := newSet(t, limits)
			state := newState(newSegment("a", 7, remotes))
			bring(t, set, state, newFacts(state), limits)
			state = newState(newSegment("b", 7, remotes))
			want, writes := bring(t, set, state, newFacts(state), limits)
			// Beside the members: the segment, emptied and made, its VNI, its list.
			lists := uint64(members/bpf.ChunkSize + 1)
			put, deleted := uint64(members)+3+lists, lists
			if together {
				deleted += uint64(members)
			}
			if writes.Put != put || writes.Deleted != deleted {
				t.Errorf("wrote %+v, want %d put and %d deleted", writes, put, deleted)
			}
			if diff := cmp.Diff(meaning(t, &want.Snapshot), meaning(t, snapshot(t, set))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A state that cannot be held is refused with what to raise, and the maps stay
// as they are.
func TestLimits(t *testing.T) {
	limits := Limits{MACs: 4, Learned: 4, Groups: 4, Remotes: 3}
	facing := func(remotes ...int) *policy.State { return newState(newSegment("a", 1, remotes, 1)) }
	before := facing(2, 3)
	macs := facing(2, 3)
	for i := range 4 {
		macs.Segments[0].FDB = append(macs.Segments[0].FDB, policy.Entry{MAC: testMAC(50 + i), VTEP: testVTEP(2)})
	}
	var segments []policy.Segment
	for i := range bpf.MaxSegments {
		segments = append(segments, newSegment(fmt.Sprintf("s%d", i), uint32(i+1), nil))
	}
	var ports []int
	for i := range bpf.MaxPorts {
		ports = append(ports, i)
	}
	crowded := newSegment("crowd", 1, nil, ports...)
	crowded.FDB = nil
	for name, c := range map[string]struct {
		state *policy.State
		want  string
	}{
		"MACs":    {macs, "5 configured MACs: limits.macs is 4; raise it to at least 5"},
		"remotes": {facing(2, 3, 4, 5), "4 remotes, with those that this change takes away: limits.remotes is 3; raise it to at least 4"},
		// The slots of the old ones are free only when the change is done.
		"remotes that change": {facing(4, 5), "4 remotes, with those that this change takes away: limits.remotes is 3; raise it to at least 4"},
		"segments":            {newState(segments...), "segment env/s4095: more than 4095 segments on this host, with those that this change takes away: have fewer, or change them in two steps"},
		"ports":               {newState(crowded), "port env/crowd/p4095: more than 4095 ports on this host, with those that this change takes away: have fewer, or change them in two steps"},
	} {
		t.Run(name, func(t *testing.T) {
			set := newSet(t, limits)
			have := &Snapshot{}
			if strings.HasPrefix(name, "remotes") {
				bring(t, set, before, newFacts(before), limits)
				have = snapshot(t, set)
			}
			_, err := Compile(c.state, newFacts(c.state), have, limits)
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// What the specification of the maps fixes is refused before anything is written.
func TestApplyRefusesWhatDoesNotFit(t *testing.T) {
	set := newSet(t, small)
	state := newState(newSegment("a", 1, []int{2}, 1))
	want, _ := bring(t, set, state, newFacts(state), small)
	before := set.Writes()
	have := snapshot(t, set)

	tooMany := *want
	tooMany.Snapshot = *snapshot(t, set)
	tooMany.VTEPs = make(map[bpf.VTEPKey]bpf.VTEP)
	n := set.VTEPs.MaxEntries() + 1
	for i := range n {
		tooMany.VTEPs[bpf.VTEPKey{Vni: i}] = bpf.VTEP{}
	}
	err := set.Apply(have, &tooMany)
	if want := fmt.Sprintf("oc_vteps would hold %d entries, one per segment and remote, and has room for %d: have fewer members or segments on this host", n, n-1); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	tooMany.VTEPs = have.VTEPs
	tooMany.FDB = make(map[bpf.FDBKey]bpf.FDBEntry)
	for i := range small.MACs + 1 {
		tooMany.FDB[bpf.FDBKey{Segment: i}] = bpf.FDBEntry{}
	}
	err = set.Apply(have, &tooMany)
	if want := "oc_fdb would hold 65 entries, one per configured MAC, and has room for 64: raise limits.macs"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if set.Writes() != before {
		t.Errorf("wrote %+v and then %+v", before, set.Writes())
	}
}

// A map that is full although it should have room, as when something else
// wrote to it, is named with its size and with what helps.
func TestFullMap(t *testing.T) {
	set := newSet(t, small)
	most := set.VNIs.MaxEntries()
	entries := make(map[uint32]bpf.VNI)
	for i := range most + 1 {
		entries[i+1] = bpf.VNI{Segment: 1}
	}
	for name, put := range map[string]func() error{
		"in batches": func() error { return set.vnis().put(entries) },
		"by one":     func() error { return set.vnis().putOne(most+1000, bpf.VNI{}) },
	} {
		if name == "by one" {
			for i := range most {
				// It may be full already; the batches come in any order.
				_ = set.vnis().putOne(i+1, bpf.VNI{})
			}
		}
		err := put()
		if err == nil {
			t.Errorf("%s: an entry more than fits went into the map", name)
			continue
		}
		for _, part := range []string{"oc_vnis", fmt.Sprintf("full at %d entries", most), "have fewer segments"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", name, err, part)
			}
		}
	}
}

// Entries that somebody else has put there or taken away are made right.
func TestApplyHealsDrift(t *testing.T) {
	set := newSet(t, small)
	state := newState(inhabit(newSegment("a", 1, []int{2, 3}, 1, 2)))
	facts := newFacts(state)
	want, _ := bring(t, set, state, facts, small)
	facts.Slots = want.Slots
	intact := meaning(t, snapshot(t, set))
	// A damaged list gets another number.
	list := func() *bpf.FloodKey { return &bpf.FloodKey{List: snapshot(t, set).Segments[1].Remotes} }
	for name, damage := range map[string]func() error{
		"port gone":       func() error { return set.Ports.Delete(uint32(101)) },
		"strange port":    func() error { return set.Ports.Put(uint32(999), &bpf.Port{Id: 77, Segment: 1}) },
		"port changed":    func() error { return set.Ports.Put(uint32(101), &bpf.Port{Id: 1, Segment: 3}) },
		"MAC gone":        func() error { return set.fdb().remove([]bpf.FDBKey{{Segment: 1, Mac: testMAC(1)}}) },
		"strange MAC":     func() error { return set.fdb().put(map[bpf.FDBKey]bpf.FDBEntry{{Segment: 9, Mac: testMAC(1)}: {}}) },
		"address gone":    func() error { return set.Neighbors.Delete(neighborKey(1, 1)) },
		"strange address": func() error { return set.Neighbors.Put(neighborKey(1, 9), &bpf.Neighbor{}) },
		"another's":       func() error { return set.Neighbors.Put(neighborKey(1, 1), &bpf.Neighbor{Mac: testMAC(2)}) },
		"VNI gone":        func() error { return set.VNIs.Delete(uint32(1)) },
		"strange VTEP":    func() error { return set.VTEPs.Put(&bpf.VTEPKey{Vni: 1}, &bpf.VTEP{Segment: 1}) },
		"segment emptied": func() error { return set.Segments.Put(uint32(1), &bpf.Segment{}) },
		"strange segment": func() error { return set.Segments.Put(uint32(9), &bpf.Segment{Vni: 1}) },
		"remote emptied":  func() error { return set.Remotes.Put(uint32(1), &bpf.Remote{}) },
		"list gone":       func() error { return set.Floods.Delete(list()) },
		"list changed":    func() error { return set.Floods.Put(list(), &bpf.Flood{Count: 1}) },
		"strange list":    func() error { return set.Floods.Put(&bpf.FloodKey{List: 99}, &bpf.Flood{}) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			bring(t, set, state, facts, small)
			if diff := cmp.Diff(intact, meaning(t, snapshot(t, set))); diff != "" {
				t.Errorf("(-intact +healed):\n%s", diff)
			}
		})
	}
}
