// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"time"

	"golang.org/x/sys/unix"

	"overcast/bpf"
)

// LearnedAge is how long a learned MAC lives without being seen (FDB_AGE_NS in
// fdb.h; IEEE 802.1Q 8.8.3). The programs do not use an older entry either.
const LearnedAge = 300 * time.Second

// Monotonic is the clock of the programs (bpf_ktime_get_coarse_ns), in
// nanoseconds. The fine clock is up to a tick ahead of it: a time of that would
// be in their future.
func Monotonic() uint64 {
	var now unix.Timespec
	// Cannot fail: the clock exists and the pointer is valid.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now)
	return uint64(now.Nano())
}

// LearnedEntries reads the learned MACs.
func (s *Set) LearnedEntries() (map[bpf.FDBKey]bpf.LearnedEntry, error) {
	return s.learned().all()
}

// SweepLearned removes the learned MACs that are too old at this time (see
// Monotonic) and returns how many those were.
func (s *Set) SweepLearned(now uint64) (int, error) {
	return s.learned().removeThose(func(_ bpf.FDBKey, entry bpf.LearnedEntry) bool {
		return isOlder(entry.Seen, now, LearnedAge)
	})
}

// isOlder tells whether something was last seen longer ago than so long. It may
// have been seen while we looked.
func isOlder(seen, now uint64, age time.Duration) bool {
	return now > seen && now-seen > uint64(age)
}

// forgetLearned removes what was learned in segments and behind remotes (by
// slot) and ports (by ifindex).
func (s *Set) forgetLearned(segments, remotes, ports []uint32) error {
	gone := behind(remotes, ports)
	inSegment := make(map[uint32]bool)
	for _, slot := range segments {
		inSegment[slot] = true
	}
	_, err := s.learned().removeThose(func(key bpf.FDBKey, entry bpf.LearnedEntry) bool {
		return inSegment[key.Segment] || gone[entry.Where]
	})
	return err
}

// behind are the places of remotes (by slot) and ports (by ifindex).
func behind(remotes, ports []uint32) map[bpf.FDBEntry]bool {
	places := make(map[bpf.FDBEntry]bool)
	for _, slot := range remotes {
		places[bpf.FDBEntry{Kind: bpf.KindRemote, Id: slot}] = true
	}
	for _, ifindex := range ports {
		places[bpf.FDBEntry{Kind: bpf.KindPort, Id: ifindex}] = true
	}
	return places
}
