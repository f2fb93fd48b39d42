// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
)

func TestReadGroups(t *testing.T) {
	set := newSet(t, small)
	m := newMDB(t, set)
	any, one, unknown := GroupKey(1, video, netip.Addr{}), GroupKey(1, video, camera), UnknownKey(2, true)
	many := make([]uint32, bpf.ChunkSize+1)
	for i := range many {
		many[i] = uint32(i + 1)
	}
	want := map[bpf.MDBKey]Receivers{any: {Ports: []uint32{7}, Remotes: many}, one: {Ports: []uint32{7}, Zone: []uint32{2}}, unknown: {}}
	if err := m.Apply(want, nil); err != nil {
		t.Fatal(err)
	}
	// What an agent would clear away when it starts is left alone.
	stray := GroupKey(3, video, netip.Addr{})
	if err := set.mdb().putOne(stray, bpf.MDBEntry{Slot: set.Groups.MaxEntries()}); err != nil {
		t.Fatal(err)
	}
	writes := set.Writes()
	got, err := set.ReadGroups()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-put +read):\n%s", diff)
	}
	elements, err := set.GroupElements()
	if err != nil {
		t.Fatal(err)
	}
	if len(elements) != len(want) || elements[any].Group.Sources != 1 || elements[one].Group.Sources != 0 || elements[any].Slot == elements[one].Slot {
		t.Errorf("elements %v", elements)
	}
	var entry bpf.MDBEntry
	if err := set.MDB.Lookup(&stray, &entry); err != nil || set.Writes() != writes {
		t.Errorf("reading has changed something: %v, %+v", err, set.Writes())
	}
}

// Beside an agent that changes lists all the time, each entry is read as it was
// at some moment: one of the states that it has had, and never a part of one.
func TestReadGroupsWhileTheyChange(t *testing.T) {
	set := newSet(t, small)
	m := newMDB(t, set)
	first, second := GroupKey(1, video, netip.Addr{}), GroupKey(1, netip.MustParseAddr("ff05::46"), netip.Addr{})
	states := []map[bpf.MDBKey]Receivers{
		{first: {Ports: []uint32{1, 2}, Remotes: []uint32{1}}, second: {Ports: []uint32{1, 2}}},
		{first: {Ports: []uint32{3}, Remotes: []uint32{2, 3}}, second: {Remotes: []uint32{5}}},
	}
	if err := m.Apply(states[0], nil); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := m.Apply(states[i%2], nil); err != nil {
				done <- err
				return
			}
		}
	}()
	// What has changed all the time of a reading is an error, and no guess.
	read := 0
	for range 2000 {
		got, err := set.ReadGroups()
		if err != nil {
			continue
		}
		read++
		for key, to := range got {
			if !cmp.Equal(to, states[0][key]) && !cmp.Equal(to, states[1][key]) {
				t.Fatalf("%v was never %+v", key, to)
			}
		}
		if len(got) != 2 {
			t.Fatalf("read %v, want both groups", got)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if read == 0 {
		t.Error("nothing could be read")
	}
	t.Logf("%d of 2000 readings", read)
}
