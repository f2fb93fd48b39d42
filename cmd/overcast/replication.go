// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"

	"overcast/bpf"
)

// replication is what a segment's frames of one class to many have cost here.
type replication struct {
	Class         string  `json:"class"`  // broadcast, unknown_unicast or multicast
	Frames        uint64  `json:"frames"` // that were copied, in packets
	Copies        uint64  `json:"copies"` // that were made of them
	Amplification float64 `json:"amplification"`
	Cut           uint64  `json:"cut"` // frames that a governor did not let through
}

// amplify is how many copies a frame is made into, on the average.
func amplify(frames, copies uint64) float64 {
	if frames == 0 {
		return 0
	}
	return float64(copies) / float64(frames)
}

// replications reads those of a segment, by class.
func (v *view) replications(slot uint32, drops map[bpf.DropKey]bpf.DropCount) ([]replication, error) {
	counts, err := v.set.CopyCounts(slot)
	if err != nil {
		return nil, err
	}
	var all []replication
	for class := range bpf.Class(bpf.Classes) {
		c := counts[class]
		r := replication{Class: class.String(), Frames: c.Frames, Copies: c.Copies, Amplification: amplify(c.Frames, c.Copies)}
		for key, count := range drops {
			if key.Segment == slot && (key.Reason == class.DropPort() || key.Reason == class.DropEnvironment()) {
				r.Cut += count.Packets
			}
		}
		all = append(all, r)
	}
	return all, nil
}

// sumReplications is the same of all classes together.
func sumReplications(classes []replication) replication {
	var sum replication
	for _, r := range classes {
		sum.Frames += r.Frames
		sum.Copies += r.Copies
		sum.Cut += r.Cut
	}
	sum.Amplification = amplify(sum.Frames, sum.Copies)
	return sum
}

// replicationColumns end the wide table of what has replications.
func replicationColumns[T any](of func(T) []replication) []column[T] {
	return []column[T]{
		{"COPIED", true, func(t T) string { return number(sumReplications(of(t)).Frames) }},
		{"COPIES", true, func(t T) string { return number(sumReplications(of(t)).Copies) }},
		{"AMPLIFICATION", true, func(t T) string {
			return strconv.FormatFloat(sumReplications(of(t)).Amplification, 'f', 1, 64)
		}},
		{"CUT", true, func(t T) string { return number(sumReplications(of(t)).Cut) }},
	}
}
