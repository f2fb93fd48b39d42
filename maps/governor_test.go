// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
	"overcast/policy"
)

// governed is a segment of an environment with a limit of its own.
func governed(environment, name string, vni uint32, copies uint64, ports ...int) policy.Segment {
	s := newSegment(name, vni, nil, ports...)
	s.Environment = environment
	s.EnvironmentGovernor.Broadcast.Copies = copies
	return s
}

// limits tells what the programs find: by environment or port object, by class.
func limits(t *testing.T, set *Set, want *Contents) map[string]bpf.Governor {
	t.Helper()
	got := make(map[string]bpf.Governor)
	held := snapshot(t, set)
	find := func(name string, first uint32) {
		for class := range bpf.Class(bpf.Classes) {
			element := first + uint32(class)
			if limit, ok := held.Governors[element]; ok {
				got[name+" "+class.String()] = limit
				delete(held.Governors, element)
			}
		}
	}
	for slot, object := range want.SegmentNames {
		find(object, environmentGovernor(held.Segments[slot].Environment))
	}
	for object, slot := range want.Slots {
		find(object, portGovernor(slot))
	}
	for element := range held.Governors {
		t.Errorf("element %d has a limit that is nobody's", element)
	}
	return got
}

func TestGovernors(t *testing.T) {
	set := newSet(t, small)
	a := governed("a", "s", 1, 1000, 1, 2)
	a.EnvironmentGovernor.Multicast = policy.Rate{Copies: 3, Bytes: 1e12}
	a.Ports[1].Governor.UnknownUnicast.Bytes = 250_000
	b := newSegment("s", 2, nil, 3)
	b.Environment = "b"
	b.Ports[0].Governor.Broadcast.Copies = 1
	free := newSegment("s", 3, nil, 4)
	free.Environment = "free"
	state := newState(a, b, free)
	facts := newFacts(state)
	delete(facts.Ports, "tap2") // a limit waits for its device
	want, _ := bring(t, set, state, facts, small)

	second := uint64(time.Second / time.Nanosecond * 1000)
	if diff := cmp.Diff(map[string]bpf.Governor{
		"a/s broadcast":          {Copy: second / 1000},
		"a/s multicast":          {Copy: second/3 + 1, Byte: 1},
		"a/s/p2 unknown_unicast": {Byte: second / 250_000},
		"b/s/p3 broadcast":       {Copy: second},
	}, limits(t, set, want)); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	flags := make(map[string]bool)
	for slot, segment := range snapshot(t, set).Segments {
		flags[want.SegmentNames[slot]] = segment.Flags&bpf.SegmentGoverned != 0
	}
	if diff := cmp.Diff(map[string]bool{"a/s": true, "b/s": true, "free/s": false}, flags); diff != "" {
		t.Errorf("governed segments (-want +got):\n%s", diff)
	}

	facts.Slots = want.Slots
	if _, writes := bring(t, set, state, facts, small); writes != (Writes{}) {
		t.Errorf("the same again wrote %+v", writes)
	}
	bring(t, set, newState(), Facts{MTU: 1500}, small)
	if left := snapshot(t, set).Governors; len(left) != 0 {
		t.Errorf("limits left of nothing: %v", left)
	}
}

// An environment keeps its number, and with it its limits and what it has spent,
// whatever others come before it or go.
func TestEnvironmentsKeepTheirNumbers(t *testing.T) {
	set := newSet(t, small)
	number := func(want *Contents, object string) uint32 {
		t.Helper()
		for slot, name := range want.SegmentNames {
			if name == object {
				return snapshot(t, set).Segments[slot].Environment
			}
		}
		t.Fatalf("there is no %s", object)
		return 0
	}
	bringTo := func(segments ...policy.Segment) *Contents {
		t.Helper()
		state := newState(segments...)
		want, _ := bring(t, set, state, newFacts(state), small)
		return want
	}
	want := bringTo(governed("m", "s", 10, 1000), governed("m", "t", 11, 1000), governed("z", "s", 12, 2000))
	m, z := number(want, "m/s"), number(want, "z/s")
	if m == 0 || z == 0 || m == z || number(want, "m/t") != m {
		t.Fatalf("numbers %d of m/s, %d of m/t, %d of z/s", m, number(want, "m/t"), z)
	}
	// One more, that comes first in every order; one segment of m is left.
	want = bringTo(governed("a", "s", 5, 3000), governed("m", "t", 11, 1000), governed("z", "s", 12, 2000))
	a := number(want, "a/s")
	if number(want, "m/t") != m || number(want, "z/s") != z || a == m || a == z {
		t.Errorf("m had %d and has %d, z had %d and has %d, a has %d", m, number(want, "m/t"), z, number(want, "z/s"), a)
	}
	// One goes and another comes: not under its number, which programs may still use.
	want = bringTo(governed("b", "s", 6, 4000), governed("m", "t", 11, 1000), governed("z", "s", 12, 2000))
	if b := number(want, "b/s"); b == a || b == m || b == z {
		t.Errorf("b has %d, at once after a=%d, beside m=%d and z=%d", b, a, m, z)
	}
	if diff := cmp.Diff(map[string]bpf.Governor{
		"b/s broadcast": {Copy: 250_000_000}, "m/t broadcast": {Copy: 1_000_000_000}, "z/s broadcast": {Copy: 500_000_000},
	}, limits(t, set, want)); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	// A VNI that is given to another environment does not take its number along.
	want = bringTo(governed("m", "t", 11, 1000), governed("n", "s", 12, 2000))
	if n := number(want, "n/s"); n == z {
		t.Errorf("n has %d, that of z whose VNI it took", n)
	}
}

// fill puts something into the buckets of an element, as the programs would.
func fill(t *testing.T, set *Set, element uint32, until uint64) {
	t.Helper()
	if err := set.Buckets.Put(element, bpf.Bucket{Copies: until, Bytes: until}); err != nil {
		t.Fatal(err)
	}
}

func bucket(t *testing.T, set *Set, element uint32) bpf.Bucket {
	t.Helper()
	var b bpf.Bucket
	if err := set.Buckets.Lookup(element, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// What a bucket holds when its limit changes. An hour is long enough that the
// time which the test takes does not matter.
func TestLimitChanges(t *testing.T) {
	const hour = uint64(time.Hour)
	for _, row := range []struct {
		from, to uint64 // copies a second, and bytes; 0: no limit
		left     uint64
	}{
		{from: 100, to: 100, left: hour},
		{from: 100, to: 400, left: hour / 4},
		{from: 1, to: 1e12, left: hour / 1e12},
		{from: 400, to: 100, left: hour},
		{from: 100, to: 0, left: 0},
		{from: 0, to: 100, left: 0},
	} {
		t.Run(fmt.Sprintf("%d to %d", row.from, row.to), func(t *testing.T) {
			set := newSet(t, small)
			segment := newSegment("s", 1, nil, 1)
			other := policy.Rate{Copies: 7}
			segment.Ports[0].Governor = policy.Governor{Broadcast: policy.Rate{Copies: row.from, Bytes: row.from}, Multicast: other}
			state := newState(segment)
			want, _ := bring(t, set, state, newFacts(state), small)
			element := portGovernor(want.Slots["env/s/p1"])
			beside := element + uint32(bpf.ClassMulticast)

			before := Monotonic()
			fill(t, set, element, before+hour)
			fill(t, set, beside, before+hour)
			segment.Ports[0].Governor.Broadcast = policy.Rate{Copies: row.to, Bytes: row.to}
			state = newState(segment)
			bring(t, set, state, newFacts(state), small)
			after := Monotonic()

			got := bucket(t, set, element)
			for name, until := range map[string]uint64{"copies": got.Copies, "bytes": got.Bytes} {
				switch {
				case row.left == 0 && until != 0:
					t.Errorf("%s: something is left until %d", name, until)
				case row.left > 0 && (until < before+row.left || until > after+row.left):
					t.Errorf("%s: %s left, want %s", name, time.Duration(until-before), time.Duration(row.left))
				}
			}
			if got := bucket(t, set, beside).Copies; got != before+hour {
				t.Errorf("the bucket of a limit that stays was %d and is %d", before+hour, got)
			}
		})
	}
}

// A full bucket is worked off faster the higher the limit becomes, never
// beyond what 64 bits hold.
func TestRescale(t *testing.T) {
	const now = uint64(1) << 40
	for _, row := range []struct{ left, want, was, then uint64 }{
		{0, 1, 2, 0},
		{10, 1, 2, 5},
		{1 << 53, 999_999_999_999, 1_000_000_000_000, 1<<53/1_000_000_000_000*999_999_999_999 + 1<<53%1_000_000_000_000*999_999_999_999/1_000_000_000_000},
		{1 << 63, 1, 1_000_000_000_000, 1 << 63 / 1_000_000_000_000},
	} {
		empty := now + row.left
		rescale(&empty, row.want, row.was, now)
		if empty != now+row.then {
			t.Errorf("%d at %d of %d: %d left, want %d", row.left, row.want, row.was, empty-now, row.then)
		}
	}
	past := now - 5
	if rescale(&past, 1, 2, now); past != now-5 {
		t.Errorf("a bucket that was empty at %d is now at %d", now-5, past)
	}
}

// A slot that a killed agent has left limits and counts in is given out clean.
func TestGovernorOfAnother(t *testing.T) {
	set := newSet(t, small)
	for _, element := range []uint32{portGovernor(1), environmentGovernor(1)} {
		if err := set.Governors.Put(element, bpf.Governor{Copy: 1_000_000_000}); err != nil {
			t.Fatal(err)
		}
		fill(t, set, element, Monotonic()+uint64(time.Hour))
	}
	// With the same limit as the other had, and without.
	segment := governed("env", "s", 1, 1000, 1)
	state := newState(segment)
	want, _ := bring(t, set, state, newFacts(state), small)
	if slot := want.Slots["env/s/p1"]; slot != 1 {
		t.Fatalf("the port has slot %d, not 1", slot)
	}
	if diff := cmp.Diff(map[string]bpf.Governor{"env/s broadcast": {Copy: 1_000_000_000}}, limits(t, set, want)); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	for _, element := range []uint32{portGovernor(1), environmentGovernor(1)} {
		if got := bucket(t, set, element).Copies; got != 0 {
			t.Errorf("the bucket of element %d is full until %d", element, got)
		}
	}
}

// What was copied of a segment's frames is added up over the CPUs, and is not
// another's who gets its slot.
func TestCopyCounts(t *testing.T) {
	set := newSet(t, small)
	state := newState(newSegment("a", 1, nil, 1), newSegment("b", 2, nil, 2))
	bring(t, set, state, newFacts(state), small)
	perCPU := make([]bpf.CopyCount, ebpf.MustPossibleCPU())
	for i := range perCPU {
		perCPU[i] = bpf.CopyCount{Frames: 1, Copies: 5}
	}
	for slot := range uint32(4) {
		if err := set.Copies.Put(slot*bpf.Classes+uint32(bpf.ClassMulticast), perCPU); err != nil {
			t.Fatal(err)
		}
	}
	n := uint64(len(perCPU))
	some := map[bpf.Class]bpf.CopyCount{bpf.ClassBroadcast: {}, bpf.ClassUnknownUnicast: {}, bpf.ClassMulticast: {Frames: n, Copies: 5 * n}}
	none := map[bpf.Class]bpf.CopyCount{bpf.ClassBroadcast: {}, bpf.ClassUnknownUnicast: {}, bpf.ClassMulticast: {}}
	check := func(when string, slot uint32, want map[bpf.Class]bpf.CopyCount) {
		t.Helper()
		got, err := set.CopyCounts(slot)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, slot %d (-want +got):\n%s", when, slot, diff)
		}
	}
	check("counted", 1, some)
	check("counted", 2, some)
	state = newState(newSegment("b", 2, nil, 2))
	bring(t, set, state, newFacts(state), small)
	check("one has gone", 1, none)
	check("one has gone", 2, some)
	check("one has gone", 3, some)
	if _, err := set.CopyCounts(bpf.MaxSegments); err == nil {
		t.Error("a slot behind the end has counts")
	}
}
