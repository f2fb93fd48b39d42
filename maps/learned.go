// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"fmt"
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
	return s.removeLearned(func(_ bpf.FDBKey, entry bpf.LearnedEntry) bool {
		return now > entry.Seen && now-entry.Seen > uint64(LearnedAge)
	})
}

// forgetLearned removes what was learned in segments and behind remotes (by
// slot) and ports (by ifindex).
func (s *Set) forgetLearned(segments, remotes, ports []uint32) error {
	gone := behind(remotes, ports)
	inSegment := make(map[uint32]bool)
	for _, slot := range segments {
		inSegment[slot] = true
	}
	_, err := s.removeLearned(func(key bpf.FDBKey, entry bpf.LearnedEntry) bool {
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

func (s *Set) removeLearned(doomed func(bpf.FDBKey, bpf.LearnedEntry) bool) (int, error) {
	entries, err := s.learned().all()
	if err != nil {
		return 0, err
	}
	var keys []bpf.FDBKey
	for key, entry := range entries {
		if doomed(key, entry) {
			keys = append(keys, key)
		}
	}
	if err := s.learned().remove(keys); err != nil {
		return 0, fmt.Errorf("forgetting learned MACs: %w", err)
	}
	return len(keys), nil
}
