// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"maps"
	"math/bits"
	"sync/atomic"

	"overcast/bpf"
	"overcast/policy"
)

// compileEnvironments gives each environment a number. One that has a segment
// here already keeps the number that this segment knows, so that a change of
// the others lets no frame be judged by another environment's limits. Numbers
// that the maps still hold are not given out: they may be given back in this
// very change.
func (c *compiler) compileEnvironments() {
	free := newSlots(bpf.MaxEnvironments - 1)
	held := make(map[uint64]uint32) // by the identity of a segment
	for _, segment := range c.have.Segments {
		free.taken[segment.Environment] = true
		held[segment.Identity] = segment.Environment
	}
	given := make(map[uint32]bool)
	for i := range c.state.Segments {
		segment := &c.state.Segments[i]
		number := held[identity(segment.Object())]
		if _, ok := c.environments[segment.Environment]; ok || number == 0 || given[number] {
			continue
		}
		c.environments[segment.Environment], given[number] = number, true
	}
	for i := range c.state.Segments {
		segment := &c.state.Segments[i]
		number, ok := c.environments[segment.Environment]
		if !ok {
			// There are as many numbers as slots of segments, which are given out
			// in the same way, so that what is too many is refused there.
			number, _ = free.next()
			c.environments[segment.Environment] = number
			c.want.freshGovernors = append(c.want.freshGovernors, environmentGovernor(number))
		}
		c.compileGovernor(environmentGovernor(number), segment.EnvironmentGovernor)
	}
}

// portGovernor is the first element of a port in oc_governors.
func portGovernor(slot uint32) uint32 {
	return slot * bpf.Classes
}

// environmentGovernor is the first element of an environment.
func environmentGovernor(number uint32) uint32 {
	return bpf.GovernorsEnvironments + number*bpf.Classes
}

func (c *compiler) compileGovernor(first uint32, governor policy.Governor) {
	for class, rate := range map[bpf.Class]policy.Rate{
		bpf.ClassBroadcast:      governor.Broadcast,
		bpf.ClassUnknownUnicast: governor.UnknownUnicast,
		bpf.ClassMulticast:      governor.Multicast,
	} {
		if rate != (policy.Rate{}) {
			c.want.Governors[first+uint32(class)] = bpf.Governor{Copy: price(rate.Copies), Byte: price(rate.Bytes)}
		}
	}
}

// isGoverned tells whether the programs have to look for limits at all.
func isGoverned(segment *policy.Segment) bool {
	for i := range segment.Ports {
		if segment.Ports[i].Governor != (policy.Governor{}) {
			return true
		}
	}
	return segment.EnvironmentGovernor != (policy.Governor{})
}

// price is what one of so many a second costs, in picoseconds, rounded so that
// never more go through; 0 for no limit.
func price(perSecond uint64) uint64 {
	const second = 1_000_000_000_000
	if perSecond == 0 {
		return 0
	}
	return (second + perSecond - 1) / perSecond
}

// governors reads the limits that there are.
func (s *Set) governors() (map[uint32]bpf.Governor, error) {
	limits := make(map[uint32]bpf.Governor)
	return limits, mapped(s.Governors, func(governors []bpf.Governor) error {
		for element, governor := range governors {
			if governor != (bpf.Governor{}) {
				limits[uint32(element)] = governor
			}
		}
		return nil
	})
}

// putGovernors writes the limits that are new or have changed, before there are
// ports and segments that ask for them. Where an agent was killed between, a
// port or environment may find another one's limits in its place: those go first.
func (s *Set) putGovernors(have *Snapshot, want *Contents) error {
	left, stale := maps.Clone(have.Governors), []uint32{}
	for _, first := range want.freshGovernors {
		for element := first; element < first+bpf.Classes; element++ {
			if _, there := left[element]; there {
				delete(left, element)
				stale = append(stale, element)
			}
		}
	}
	if err := s.setGovernors(zeros[bpf.Governor](stale)); err != nil {
		return err
	}
	return s.setGovernors(policy.Compare(left, want.Governors).Put)
}

// setGovernors writes limits while the programs judge by them.
func (s *Set) setGovernors(put map[uint32]bpf.Governor) error {
	if len(put) == 0 {
		return nil
	}
	now := Monotonic()
	err := mapped(s.Governors, func(governors []bpf.Governor) error {
		return mapped(s.Buckets, func(buckets []bpf.Bucket) error {
			for element, limit := range put {
				setLimit(&governors[element].Copy, &buckets[element].Copies, limit.Copy, now)
				setLimit(&governors[element].Byte, &buckets[element].Bytes, limit.Byte, now)
				s.writes.Put++
			}
			return nil
		})
	})
	if err == nil && len(put) > 1 {
		s.writes.Batches++
	}
	return err
}

// setLimit changes a limit, which is a price in picoseconds, and its bucket, in
// nanoseconds of CLOCK_MONOTONIC. A limit that was not there begins with an
// empty bucket. One that is raised works off at the new rate what it holds. One
// that is lowered takes as long for that as it would have: what was let through
// was within its limit, and is not judged again.
func setLimit(limit, empty *uint64, want, now uint64) {
	was := atomic.LoadUint64(limit)
	switch {
	case was == want:
	case was == 0:
		atomic.StoreUint64(empty, 0)
		atomic.StoreUint64(limit, want)
	case want == 0:
		atomic.StoreUint64(limit, 0)
		atomic.StoreUint64(empty, 0)
	case want > was:
		atomic.StoreUint64(limit, want)
	default:
		atomic.StoreUint64(limit, want)
		rescale(empty, want, was, now)
	}
}

// rescale makes what a bucket holds take want / was of the time, where want is
// less. What the programs put in meanwhile stays in.
func rescale(empty *uint64, want, was, now uint64) {
	for {
		full := atomic.LoadUint64(empty)
		if full <= now {
			return
		}
		high, low := bits.Mul64(full-now, want)
		left, _ := bits.Div64(high, low, was)
		if atomic.CompareAndSwapUint64(empty, full, now+left) {
			return
		}
	}
}
