// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"overcast/bpf"
)

// Counters returns a slot's packets and bytes, summed over the CPUs. Slots of
// segments start at bpf.StatsSegments, those of remotes at bpf.StatsRemotes.
func (s *Set) Counters(slot uint32) (bpf.Counters, error) {
	var perCPU []bpf.Counters
	if err := s.Stats.Lookup(&slot, &perCPU); err != nil {
		return bpf.Counters{}, fmt.Errorf("counters of slot %d: %w", slot, err)
	}
	var sum bpf.Counters
	for _, c := range perCPU {
		sum.InPackets += c.InPackets
		sum.InBytes += c.InBytes
		sum.OutPackets += c.OutPackets
		sum.OutBytes += c.OutBytes
	}
	return sum, nil
}

func (s *Set) resetStats(slots []uint32) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("counting the CPUs: %w", err)
	}
	zero := make([]bpf.Counters, cpus)
	for _, slot := range slots {
		if err := s.Stats.Put(&slot, zero); err != nil {
			return fmt.Errorf("resetting the counters of slot %d: %w", slot, err)
		}
	}
	return nil
}

// CopyCounts returns what was copied of a segment's frames, by class, summed over
// the CPUs.
func (s *Set) CopyCounts(segment uint32) (map[bpf.Class]bpf.CopyCount, error) {
	sums := make(map[bpf.Class]bpf.CopyCount, bpf.Classes)
	for class := range bpf.Class(bpf.Classes) {
		element := segment*bpf.Classes + uint32(class)
		var perCPU []bpf.CopyCount
		if err := s.Copies.Lookup(&element, &perCPU); err != nil {
			return nil, fmt.Errorf("copies of slot %d, %s: %w", segment, class, err)
		}
		var sum bpf.CopyCount
		for _, c := range perCPU {
			sum.Frames += c.Frames
			sum.Copies += c.Copies
		}
		sums[class] = sum
	}
	return sums, nil
}

func (s *Set) resetCopies(segments []uint32) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("counting the CPUs: %w", err)
	}
	zero := make([]bpf.CopyCount, cpus)
	for _, slot := range segments {
		for element := slot * bpf.Classes; element < (slot+1)*bpf.Classes; element++ {
			if err := s.Copies.Put(&element, zero); err != nil {
				return fmt.Errorf("resetting the copies of slot %d: %w", slot, err)
			}
		}
	}
	return nil
}

// DropCounts returns the dropped packets and bytes, summed over the CPUs.
func (s *Set) DropCounts() (map[bpf.DropKey]bpf.DropCount, error) {
	drops := make(map[bpf.DropKey]bpf.DropCount)
	var (
		key    bpf.DropKey
		perCPU []bpf.DropCount
	)
	it := s.Drops.Iterate()
	for it.Next(&key, &perCPU) {
		var sum bpf.DropCount
		for _, c := range perCPU {
			sum.Packets += c.Packets
			sum.Bytes += c.Bytes
		}
		if sum.Packets > 0 {
			drops[key] = sum
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("reading the drops: %w", err)
	}
	return drops, nil
}

// MoveDrops counts what was dropped at one device under another one, as when
// a port's device is made anew. No program may run on either meanwhile, or what
// it counts is lost.
func (s *Set) MoveDrops(from, to uint32) error {
	counts, err := s.DropCounts()
	if err != nil {
		return err
	}
	for key := range counts {
		if key.Ifindex != from {
			continue
		}
		moved := key
		moved.Ifindex = to
		if err := s.addDrops(moved, key); err != nil {
			return fmt.Errorf("moving the drops of device %d to %d: %w", from, to, err)
		}
	}
	return nil
}

// addDrops adds one entry to another, CPU by CPU, and removes it.
func (s *Set) addDrops(to, from bpf.DropKey) error {
	var sum, more []bpf.DropCount
	if err := s.Drops.Lookup(&from, &more); err != nil {
		return err
	}
	if err := s.Drops.Lookup(&to, &sum); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	for cpu := range sum {
		more[cpu].Packets += sum[cpu].Packets
		more[cpu].Bytes += sum[cpu].Bytes
	}
	if err := s.Drops.Put(&to, more); err != nil {
		return err
	}
	return s.Drops.Delete(&from)
}

// PrepareDrops makes the entry of each reason alone, which the programs count
// under when the map has no room for a new port or segment.
func (s *Set) PrepareDrops() error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("counting the CPUs: %w", err)
	}
	zero := make([]bpf.DropCount, cpus)
	for _, reason := range bpf.Drops() {
		err := s.Drops.Update(&bpf.DropKey{Reason: reason}, zero, ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("preparing the count of %s: %w", reason, err)
		}
	}
	return nil
}
