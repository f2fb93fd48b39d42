// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
)

// learn puts learned MACs there as the programs do.
func learn(t *testing.T, set *Set, entries map[bpf.FDBKey]bpf.LearnedEntry) {
	t.Helper()
	for key, entry := range entries {
		if err := set.Learned.Put(&key, &entry); err != nil {
			t.Fatal(err)
		}
	}
}

// learnedMACs are the last bytes of the MACs that are still learned.
func learnedMACs(t *testing.T, set *Set) []int {
	t.Helper()
	entries, err := set.LearnedEntries()
	if err != nil {
		t.Fatal(err)
	}
	var macs []int
	for key := range entries {
		macs = append(macs, int(key.Mac[5]))
	}
	slices.Sort(macs)
	return macs
}

func TestSweepLearned(t *testing.T) {
	set := newSet(t, small)
	const now = uint64(1000 * time.Second)
	entries := make(map[bpf.FDBKey]bpf.LearnedEntry)
	for i, seen := range []uint64{
		now,                          // 0
		now - uint64(LearnedAge),     // 1: just in time
		now - uint64(LearnedAge) - 1, // 2: too old
		0,                            // 3: ancient
		now + uint64(time.Second),    // 4: seen while we looked
		now - uint64(LearnedAge) + 1, // 5
	} {
		entries[bpf.FDBKey{Segment: uint32(i + 1), Mac: testMAC(i)}] = bpf.LearnedEntry{Where: bpf.FDBEntry{Kind: bpf.KindPort, Id: 100}, Seen: seen}
	}
	learn(t, set, entries)
	if n, err := set.SweepLearned(now); err != nil || n != 2 {
		t.Errorf("swept %d, %v; want 2", n, err)
	}
	if diff := cmp.Diff([]int{0, 1, 4, 5}, learnedMACs(t, set)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	before := set.Writes()
	if n, err := set.SweepLearned(now); err != nil || n != 0 || set.Writes() != before {
		t.Errorf("sweeping again swept %d, %v", n, err)
	}
}

// A slot or ifindex that is given out again must not find what was learned
// of its last holder.
func TestForgetLearned(t *testing.T) {
	set := newSet(t, small)
	before := newState(newSegment("a", 1, []int{2, 3}, 1, 2, 3), newSegment("b", 2, []int{3}, 4))
	want, _ := bring(t, set, before, newFacts(before), small)
	entry := func(kind bpf.Kind, id uint32) bpf.LearnedEntry {
		return bpf.LearnedEntry{Where: bpf.FDBEntry{Kind: kind, Id: id}, Seen: Monotonic()}
	}
	learn(t, set, map[bpf.FDBKey]bpf.LearnedEntry{
		{Segment: 1, Mac: testMAC(51)}: entry(bpf.KindPort, 101),
		{Segment: 1, Mac: testMAC(52)}: entry(bpf.KindPort, 102), // the port goes
		{Segment: 1, Mac: testMAC(53)}: entry(bpf.KindPort, 103), // the port changes its segment
		{Segment: 1, Mac: testMAC(54)}: entry(bpf.KindRemote, 1), // the remote goes
		{Segment: 1, Mac: testMAC(55)}: entry(bpf.KindRemote, 2),
		{Segment: 2, Mac: testMAC(56)}: entry(bpf.KindRemote, 2), // the segment goes
		{Segment: 2, Mac: testMAC(57)}: entry(bpf.KindPort, 104), // the segment goes
		// An id is a port's or a remote's, and the same number means nothing.
		{Segment: 1, Mac: testMAC(58)}: entry(bpf.KindRemote, 102),
	})
	after := newState(newSegment("a", 1, []int{3}, 1), newSegment("c", 3, []int{3}, 3))
	facts := newFacts(after)
	facts.Slots = want.Slots
	bring(t, set, after, facts, small)
	if diff := cmp.Diff([]int{51, 55, 58}, learnedMACs(t, set)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// A change of nothing that was learned of keeps what was learned.
func TestLearnedStays(t *testing.T) {
	set := newSet(t, small)
	state := newState(newSegment("a", 1, []int{2}, 1))
	want, _ := bring(t, set, state, newFacts(state), small)
	learn(t, set, map[bpf.FDBKey]bpf.LearnedEntry{{Segment: 1, Mac: testMAC(51)}: {Where: bpf.FDBEntry{Kind: bpf.KindPort, Id: 101}}})
	state = newState(newSegment("a", 1, []int{2, 3}, 1, 2), newSegment("b", 2, []int{4}))
	facts := newFacts(state)
	facts.Slots = want.Slots
	bring(t, set, state, facts, small)
	if diff := cmp.Diff([]int{51}, learnedMACs(t, set)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
