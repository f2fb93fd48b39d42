// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"overcast/policy"
)

// randomState makes segments that share VNIs, hosts, interfaces and MACs with
// those of other random states, so that a change from one to the other moves
// everything that can move. Some ports have no device and some remotes no route.
func randomState(r *rand.Rand) (*policy.State, Facts) {
	var segments []policy.Segment
	vnis, taps := r.Perm(5), r.Perm(8)
	for i := range r.IntN(4) {
		// Names and VNIs are drawn apart, so that VNIs change their owner.
		var remotes, ports []int
		for _, n := range r.Perm(4)[:r.IntN(5)] {
			remotes = append(remotes, n+2)
		}
		for range r.IntN(3) {
			ports, taps = append(ports, taps[0]), taps[1:]
		}
		s := newSegment(fmt.Sprintf("s%d", i), uint32(vnis[i]+1), remotes, ports...)
		s.Learning, s.FloodUnknown = r.IntN(2) == 0, r.IntN(2) == 0
		for n := 20; n < 26 && len(s.Remotes) > 0; n++ {
			if r.IntN(2) == 0 {
				s.FDB = append(s.FDB, policy.Entry{MAC: testMAC(n), VTEP: s.Remotes[r.IntN(len(s.Remotes))]})
			}
		}
		for n := range 6 {
			if len(s.FDB) > 0 && r.IntN(2) == 0 {
				owner := s.FDB[r.IntN(len(s.FDB))]
				s.Neighbors = append(s.Neighbors, policy.Neighbor{IP: testIP(n), MAC: owner.MAC, Port: owner.Port, VTEP: owner.VTEP})
			}
		}
		s.NeighborAnswers = r.IntN(3) > 0
		segments = append(segments, s)
	}
	state := newState(segments...)
	facts := newFacts(state)
	for name := range facts.Ports {
		if r.IntN(5) == 0 {
			delete(facts.Ports, name)
		}
	}
	for vtep := range facts.Paths {
		switch r.IntN(4) {
		case 0:
			delete(facts.Paths, vtep)
			delete(facts.MTUs, vtep)
		case 1:
			facts.Paths[vtep] = testPath(r.IntN(200) + 1)
		}
	}
	return state, facts
}

// Whatever was there before, the maps mean in the end what they would mean had
// they been empty; and doing it once more writes nothing.
func TestApplyReachesTheSameFromAnywhere(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			changed := newSet(t, small)
			var slots map[string]uint32
			for step := range 3 {
				state, facts := randomState(r)
				fresh := newSet(t, small)
				bring(t, fresh, state, facts, small)
				// The loader remembers the slots of the state before.
				facts.Slots = slots
				want, _ := bring(t, changed, state, facts, small)
				slots = want.Slots
				facts.Slots = slots

				if diff := cmp.Diff(meaning(t, snapshot(t, fresh)), meaning(t, snapshot(t, changed))); diff != "" {
					t.Fatalf("step %d: from empty maps (-) and from others (+):\n%s", step, diff)
				}
				if diff := cmp.Diff(meaning(t, &want.Snapshot), meaning(t, snapshot(t, changed))); diff != "" {
					t.Fatalf("step %d: wanted (-) and in the maps (+):\n%s", step, diff)
				}
				if _, writes := bring(t, changed, state, facts, small); writes != (Writes{}) {
					t.Fatalf("step %d: the same state again wrote %+v", step, writes)
				}
			}
			bring(t, changed, newState(), Facts{MTU: 1500}, small)
			if left := meaning(t, snapshot(t, changed)); len(left) != 0 {
				t.Fatalf("left of nothing: %v", left)
			}
		})
	}
}
