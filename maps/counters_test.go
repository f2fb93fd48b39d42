// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
)

// count puts counters in a slot, on every CPU, as the programs would.
func count(t *testing.T, set *Set, slots ...uint32) {
	t.Helper()
	perCPU := make([]bpf.Counters, ebpf.MustPossibleCPU())
	for i := range perCPU {
		perCPU[i] = bpf.Counters{InPackets: 1, InBytes: 100, OutPackets: 2, OutBytes: 200}
	}
	for _, slot := range slots {
		if err := set.Stats.Put(slot, perCPU); err != nil {
			t.Fatal(err)
		}
	}
}

// counted tells which slots have counts.
func counted(t *testing.T, set *Set, slots ...uint32) map[uint32]bool {
	t.Helper()
	got := make(map[uint32]bool)
	for _, slot := range slots {
		counters, err := set.Counters(slot)
		if err != nil {
			t.Fatal(err)
		}
		got[slot] = counters != bpf.Counters{}
	}
	return got
}

func TestCountersAddUpTheCPUs(t *testing.T) {
	set := newSet(t, small)
	count(t, set, 5)
	n := uint64(ebpf.MustPossibleCPU())
	want := bpf.Counters{InPackets: n, InBytes: 100 * n, OutPackets: 2 * n, OutBytes: 200 * n}
	if got, err := set.Counters(5); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if _, err := set.Counters(set.Stats.MaxEntries()); err == nil {
		t.Error("a slot behind the end has counters")
	}
	// The last remote has a slot.
	count(t, set, bpf.StatsRemotes+small.Remotes)
}

// Slots that become free start from zero when they are given out again; what
// stays goes on counting.
func TestCountersOfFreedSlots(t *testing.T) {
	set := newSet(t, small)
	state := newState(newSegment("a", 1, []int{2, 3}, 1, 2), newSegment("b", 2, []int{4}, 3))
	want, _ := bring(t, set, state, newFacts(state), small)
	slots := []uint32{1, 2, 3, bpf.StatsSegments + 1, bpf.StatsSegments + 2, bpf.StatsRemotes + 1, bpf.StatsRemotes + 2, bpf.StatsRemotes + 3}
	count(t, set, slots...)

	state = newState(newSegment("b", 2, []int{3, 4}, 2, 3))
	facts := newFacts(state)
	facts.Slots = want.Slots
	bring(t, set, state, facts, small)
	// p2 is another port now, that of another segment on the same device.
	if diff := cmp.Diff(map[uint32]bool{
		1: false, 2: false, 3: true,
		bpf.StatsSegments + 1: false, bpf.StatsSegments + 2: true,
		bpf.StatsRemotes + 1: false, bpf.StatsRemotes + 2: true, bpf.StatsRemotes + 3: true,
	}, counted(t, set, slots...)); diff != "" {
		t.Errorf("slots with counts (-want +got):\n%s", diff)
	}
}

// A port keeps its counters while its device is gone. If it is removed from
// the configuration meanwhile, the next port in its slot must not get them.
func TestCountersWithoutDevice(t *testing.T) {
	set := newSet(t, small)
	state := newState(newSegment("a", 1, nil, 1))
	facts := newFacts(state)
	want, _ := bring(t, set, state, facts, small)
	count(t, set, 1)

	present := facts.Ports
	facts.Ports, facts.Slots = nil, want.Slots
	want, _ = bring(t, set, state, facts, small)
	if got := counted(t, set, 1); !got[1] {
		t.Error("the port lost its counters with its device")
	}
	facts.Ports, facts.Slots = present, want.Slots
	facts.Ports["tap1"] = PortFacts{Ifindex: 555}
	bring(t, set, state, facts, small)
	if got := counted(t, set, 1); !got[1] {
		t.Error("the port did not get its counters back with its device")
	}

	facts.Ports = nil
	want, _ = bring(t, set, state, facts, small)
	facts.Slots = want.Slots
	want, _ = bring(t, set, newState(newSegment("a", 1, nil)), facts, small)
	state = newState(newSegment("a", 1, nil, 2))
	facts = newFacts(state)
	facts.Slots = want.Slots
	want, _ = bring(t, set, state, facts, small)
	if slot := want.Slots["env/a/p2"]; slot != 1 {
		t.Fatalf("p2 has slot %d; the test wants the freed one", slot)
	}
	if got := counted(t, set, 1); got[1] {
		t.Error("the new port has the counters of the old one")
	}
}

func TestDropCounts(t *testing.T) {
	set := newSet(t, small)
	if err := set.PrepareDrops(); err != nil {
		t.Fatal(err)
	}
	if got, err := set.DropCounts(); err != nil || len(got) != 0 {
		t.Errorf("drops before any: %v, %v", got, err)
	}
	key := bpf.DropKey{Reason: bpf.DropPortSpoof, Ifindex: 7, Segment: 1}
	alone := bpf.DropKey{Reason: bpf.DropPortSpoof}
	perCPU := make([]bpf.DropCount, ebpf.MustPossibleCPU())
	for i := range perCPU {
		perCPU[i] = bpf.DropCount{Packets: 1, Bytes: 60}
	}
	for _, k := range []bpf.DropKey{key, alone} {
		if err := set.Drops.Put(&k, perCPU); err != nil {
			t.Fatal(err)
		}
	}
	// A start of the agent does not reset what is there.
	if err := set.PrepareDrops(); err != nil {
		t.Fatal(err)
	}
	n := uint64(len(perCPU))
	want := map[bpf.DropKey]bpf.DropCount{key: {Packets: n, Bytes: 60 * n}, alone: {Packets: n, Bytes: 60 * n}}
	got, err := set.DropCounts()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	entries := 0
	var k bpf.DropKey
	var values []bpf.DropCount
	for it := set.Drops.Iterate(); it.Next(&k, &values); {
		entries++
	}
	if want := len(bpf.Drops()) + 1; entries != want {
		t.Errorf("%d entries, want one of each reason and one more: %d", entries, want)
	}
}

// Drops that are moved add up CPU by CPU, and those of other devices stay.
func TestMoveDrops(t *testing.T) {
	set := newSet(t, small)
	cpus := ebpf.MustPossibleCPU()
	put := func(ifindex uint32, reason bpf.Drop, n uint64) {
		t.Helper()
		perCPU := make([]bpf.DropCount, cpus)
		for cpu := range perCPU {
			perCPU[cpu] = bpf.DropCount{Packets: n, Bytes: n * 60}
		}
		if err := set.Drops.Put(&bpf.DropKey{Reason: reason, Ifindex: ifindex, Segment: 1}, perCPU); err != nil {
			t.Fatal(err)
		}
	}
	put(7, bpf.DropPortSpoof, 1)
	put(7, bpf.DropFDBUnknown, 2)
	put(8, bpf.DropPortSpoof, 3)
	put(9, bpf.DropPortSpoof, 4)
	for range 2 { // there may be none
		if err := set.MoveDrops(7, 8); err != nil {
			t.Fatal(err)
		}
	}
	got, err := set.DropCounts()
	if err != nil {
		t.Fatal(err)
	}
	sum := func(n uint64) bpf.DropCount {
		return bpf.DropCount{Packets: n * uint64(cpus), Bytes: n * 60 * uint64(cpus)}
	}
	if diff := cmp.Diff(map[bpf.DropKey]bpf.DropCount{
		{Reason: bpf.DropPortSpoof, Ifindex: 8, Segment: 1}:  sum(4),
		{Reason: bpf.DropFDBUnknown, Ifindex: 8, Segment: 1}: sum(2),
		{Reason: bpf.DropPortSpoof, Ifindex: 9, Segment: 1}:  sum(4),
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
