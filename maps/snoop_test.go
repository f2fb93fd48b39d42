// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
)

// What the agent has told the programs is read back.
func TestReadSnoops(t *testing.T) {
	set := newSet(t, small)
	if err := set.SetSnooping(100, map[uint32]Snooping{1: {Reading: true, Lifetime: time.Second}, 2: {Reading: true}, 3: {Lifetime: time.Second}}); err != nil {
		t.Fatal(err)
	}
	slot, missed := uint32(2), bpf.Snoop{Alive: 100, Missed: 50}
	if err := set.Snoops.Put(&slot, &missed); err != nil {
		t.Fatal(err)
	}
	got, err := set.ReadSnoops()
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint32]bpf.Snoop{1: {Alive: 100, Lifetime: uint64(time.Second)}, 2: missed, 3: {Lifetime: uint64(time.Second)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The MDB is judged as mdb_is_current in mdb.h does.
func TestJudgeMDB(t *testing.T) {
	for _, c := range []struct {
		snoop bpf.Snoop
		now   uint64
		want  MDBState
	}{
		{bpf.Snoop{}, 100, MDBUnread},
		{bpf.Snoop{Lifetime: 1000}, 100, MDBUnread},
		{bpf.Snoop{Alive: 100, Lifetime: 10}, 100, MDBCurrent},
		{bpf.Snoop{Alive: 100, Lifetime: 10}, 109, MDBCurrent},
		{bpf.Snoop{Alive: 100, Lifetime: 10}, 99, MDBCurrent},
		{bpf.Snoop{Alive: 100, Lifetime: 10}, 110, MDBExpired},
		{bpf.Snoop{Alive: 100}, 100, MDBExpired}, // for probes alone
		{bpf.Snoop{Alive: 100, Lifetime: 10, Missed: 1}, 100, MDBMissed},
		{bpf.Snoop{Alive: 100, Lifetime: 10, Missed: 1}, 110, MDBMissed},
	} {
		if got := JudgeMDB(c.snoop, c.now); got != c.want {
			t.Errorf("%+v at %d: %s, want %s", c.snoop, c.now, got, c.want)
		}
	}
}
