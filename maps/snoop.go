// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"slices"
	"sync/atomic"
	"time"

	"overcast/bpf"
)

// Snooping is what the agent tells the programs about a segment.
type Snooping struct {
	Reading  bool          // the agent reads oc_events
	Lifetime time.Duration // how long the MDB holds without it; 0: it does not hold, all groups are flooded
}

// SetSnooping says for each segment, by slot, whether its MDB may be believed.
// The others have none. It has to be said again every second or so.
func (s *Set) SetSnooping(now uint64, segments map[uint32]Snooping) error {
	return mapped(s.Snoops, func(snoops []bpf.Snoop) error {
		for slot := range snoops {
			snooping, alive := segments[uint32(slot)], uint64(0)
			if snooping.Reading {
				alive = now
			}
			snoop := &snoops[slot]
			if snooping == (Snooping{}) && snoop.Alive == 0 {
				continue
			}
			atomic.StoreUint64(&snoop.Lifetime, uint64(snooping.Lifetime))
			atomic.StoreUint64(&snoop.Alive, alive)
		}
		return nil
	})
}

// Missed returns the segments, by slot, of which the programs could not hand
// over a membership message, and when that was last.
func (s *Set) Missed() (map[uint32]uint64, error) {
	missed := make(map[uint32]uint64)
	return missed, mapped(s.Snoops, func(snoops []bpf.Snoop) error {
		for slot := range snoops {
			if when := atomic.LoadUint64(&snoops[slot].Missed); when != 0 {
				missed[uint32(slot)] = when
			}
		}
		return nil
	})
}

// CatchUp says that what the programs missed until then has been asked for
// again. What they have missed since remains.
func (s *Set) CatchUp(slot uint32, missed uint64) error {
	return mapped(s.Snoops, func(snoops []bpf.Snoop) error {
		atomic.CompareAndSwapUint64(&snoops[slot].Missed, missed, 0)
		return nil
	})
}

// forgetGroups has nothing believed of segments whose slots become free. The MDB
// of the agent that tracks them follows.
func (s *Set) forgetGroups(segments []uint32) error {
	if len(segments) == 0 {
		return nil
	}
	err := mapped(s.Snoops, func(snoops []bpf.Snoop) error {
		for _, slot := range segments {
			atomic.StoreUint64(&snoops[slot].Alive, 0)
			atomic.StoreUint64(&snoops[slot].Missed, 0)
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = s.mdb().removeThose(func(key bpf.MDBKey, _ bpf.MDBEntry) bool {
		return slices.Contains(segments, key.Segment)
	})
	return err
}

// ReadSnoops reads what the programs know of the MDB of each segment, by slot.
// Segments of which nothing was ever said are left out. Nothing is changed.
func (s *Set) ReadSnoops() (map[uint32]bpf.Snoop, error) {
	all := make(map[uint32]bpf.Snoop)
	return all, mapped(s.Snoops, func(snoops []bpf.Snoop) error {
		for slot := range snoops {
			snoop := &snoops[slot]
			read := bpf.Snoop{
				Alive:    atomic.LoadUint64(&snoop.Alive),
				Lifetime: atomic.LoadUint64(&snoop.Lifetime),
				Missed:   atomic.LoadUint64(&snoop.Missed),
			}
			if read != (bpf.Snoop{}) {
				all[uint32(slot)] = read
			}
		}
		return nil
	})
}

// MDBState is whether the programs go by the MDB of a segment, and if not, why:
// then they flood all of its groups.
type MDBState string

// The states of an MDB.
const (
	MDBCurrent MDBState = "current" // what it says is done
	MDBUnread  MDBState = "unread"  // no agent has said that it reads what members ask for
	MDBMissed  MDBState = "missed"  // a membership message could not be handed to the agent, which has yet to ask again
	MDBExpired MDBState = "expired" // the agent is silent for longer than memberships last
)

// JudgeMDB judges as the programs do (mdb_is_current in mdb.h); now is as
// Monotonic tells it.
func JudgeMDB(snoop bpf.Snoop, now uint64) MDBState {
	switch {
	case snoop.Alive == 0:
		return MDBUnread
	case snoop.Missed != 0:
		return MDBMissed
	case int64(now-snoop.Alive) >= int64(snoop.Lifetime): // the agent may be a tick ahead
		return MDBExpired
	}
	return MDBCurrent
}
