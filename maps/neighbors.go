// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"time"

	"overcast/bpf"
	"overcast/policy"
)

// NeighborAge is how long a learned address is used without its owner being
// heard (NEIGH_AGE_NS in owner.h; RFC 4861 10, REACHABLE_TIME).
const NeighborAge = 30 * time.Second

// RoleAge is how long it is remembered whether the owner of a configured address
// is a router: no host keeps a default router for longer after its last
// advertisement (RFC 4861 6.2.1, AdvDefaultLifetime).
const RoleAge = 9000 * time.Second

func (s *Set) neighbors() table[bpf.NeighborKey, bpf.Neighbor] {
	return table[bpf.NeighborKey, bpf.Neighbor]{s.Neighbors, &s.writes, neighborRoom}
}

func (s *Set) learnedNeighbors() table[bpf.NeighborKey, bpf.LearnedNeighbor] {
	return table[bpf.NeighborKey, bpf.LearnedNeighbor]{s.LearnedNeighbors, &s.writes, learnedNeighborRoom}
}

// compileNeighbors adds the configured addresses of a segment that answers.
func (c *compiler) compileNeighbors(segment *policy.Segment, slot uint32) {
	if !segment.NeighborAnswers {
		return
	}
	for _, n := range segment.Neighbors {
		c.want.Neighbors[bpf.NeighborKey{Segment: slot, Addr: bpf.AddrFrom(n.IP)}] = bpf.Neighbor{Mac: n.MAC}
	}
}

// LearnedNeighborEntries reads what was learned of addresses. For a configured
// one that is only the role of its owner.
func (s *Set) LearnedNeighborEntries() (map[bpf.NeighborKey]bpf.LearnedNeighbor, error) {
	return s.learnedNeighbors().all()
}

// NeighborCount is how many addresses of a segment are known.
type NeighborCount struct {
	Configured int
	Learned    int // and young enough to be used
}

// CountNeighbors counts the addresses that are known at this time (see
// [Monotonic]), by slot of the segment.
func (s *Set) CountNeighbors(now uint64) (map[uint32]NeighborCount, error) {
	configured, err := s.neighbors().all()
	if err != nil {
		return nil, err
	}
	learned, err := s.learnedNeighbors().all()
	if err != nil {
		return nil, err
	}
	counts := make(map[uint32]NeighborCount)
	for key := range configured {
		count := counts[key.Segment]
		count.Configured++
		counts[key.Segment] = count
	}
	for key, entry := range learned {
		// Of a configured one only the role was learned.
		if _, twice := configured[key]; twice || isOlder(entry.Seen, now, NeighborAge) {
			continue
		}
		count := counts[key.Segment]
		count.Learned++
		counts[key.Segment] = count
	}
	return counts, nil
}

// SweepNeighbors removes the learned addresses that are too old at this time
// (see [Monotonic]), and the roles of configured ones, and returns how many
// those were.
func (s *Set) SweepNeighbors(now uint64) (int, error) {
	configured, err := s.neighbors().all()
	if err != nil {
		return 0, err
	}
	return s.learnedNeighbors().removeThose(func(key bpf.NeighborKey, entry bpf.LearnedNeighbor) bool {
		age := NeighborAge
		if mac, ok := configured[key]; ok && mac.Mac == entry.Mac {
			age = RoleAge
		}
		return isOlder(entry.Seen, now, age)
	})
}

// forgetNeighbors removes the addresses that were learned in segments (by
// slot), and those of the MACs that were behind remotes (by slot) and ports (by
// ifindex). It looks at the learned MACs, so these are to be forgotten after.
func (s *Set) forgetNeighbors(have *Snapshot, segments, remotes, ports []uint32) error {
	if len(segments)+len(remotes)+len(ports) == 0 {
		return nil
	}
	isGone := behind(remotes, ports)
	gone := make(map[bpf.FDBKey]bool)
	for key, entry := range have.FDB {
		gone[key] = isGone[entry]
	}
	learned, err := s.learned().all()
	if err != nil {
		return err
	}
	for key, entry := range learned {
		gone[key] = gone[key] || isGone[entry.Where]
	}
	inSegment := make(map[uint32]bool)
	for _, slot := range segments {
		inSegment[slot] = true
	}
	_, err = s.learnedNeighbors().removeThose(func(key bpf.NeighborKey, entry bpf.LearnedNeighbor) bool {
		return inSegment[key.Segment] || gone[bpf.FDBKey{Segment: key.Segment, Mac: entry.Mac}]
	})
	return err
}

// silenced are the segments that answered, and do not any more: what was learned
// in them is not kept up to date from then on.
func silenced(have *Snapshot, want *Contents) []uint32 {
	var slots []uint32
	for slot, segment := range have.Segments {
		if segment.Flags&bpf.SegmentNeighbors != 0 && want.Segments[slot].Flags&bpf.SegmentNeighbors == 0 {
			slots = append(slots, slot)
		}
	}
	return slots
}
