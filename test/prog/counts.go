// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"overcast/bpf"
)

// Counts is what the programs have counted.
type Counts struct {
	// By object (environment/segment/port, environment/segment) or remote host.
	// Objects of which nothing was counted are left out.
	Stats  map[string]bpf.Counters
	Copies map[string]bpf.CopyCount // by segment and class: "environment/segment broadcast"
	Drops  map[bpf.DropKey]bpf.DropCount
}

// Counts reads the counters.
func (d *Datapath) Counts() (Counts, error) {
	c := Counts{Stats: make(map[string]bpf.Counters), Copies: make(map[string]bpf.CopyCount)}
	names := make(map[uint32]string)
	for ifindex, name := range d.Contents.PortNames {
		names[d.Contents.Ports[ifindex].Id] = name
	}
	for slot, name := range d.Contents.SegmentNames {
		names[bpf.StatsSegments+slot] = name
	}
	for slot, name := range d.Contents.RemoteNames {
		names[bpf.StatsRemotes+slot] = name
	}
	for slot, name := range names {
		counters, err := d.Maps.Counters(slot)
		if err != nil {
			return Counts{}, err
		}
		if counters != (bpf.Counters{}) {
			c.Stats[name] = counters
		}
	}
	for slot, name := range d.Contents.SegmentNames {
		copies, err := d.Maps.CopyCounts(slot)
		if err != nil {
			return Counts{}, err
		}
		for class, count := range copies {
			if count != (bpf.CopyCount{}) {
				c.Copies[name+" "+class.String()] = count
			}
		}
	}
	var err error
	c.Drops, err = d.Maps.DropCounts()
	return c, err
}

// Since is what has been counted after an earlier reading.
func (c Counts) Since(before Counts) Counts {
	more := Counts{Stats: make(map[string]bpf.Counters), Copies: make(map[string]bpf.CopyCount), Drops: make(map[bpf.DropKey]bpf.DropCount)}
	for name, now := range c.Stats {
		then := before.Stats[name]
		now.InPackets -= then.InPackets
		now.InBytes -= then.InBytes
		now.OutPackets -= then.OutPackets
		now.OutBytes -= then.OutBytes
		if now != (bpf.Counters{}) {
			more.Stats[name] = now
		}
	}
	for name, now := range c.Copies {
		then := before.Copies[name]
		now.Frames -= then.Frames
		now.Copies -= then.Copies
		if now != (bpf.CopyCount{}) {
			more.Copies[name] = now
		}
	}
	for key, now := range c.Drops {
		then := before.Drops[key]
		now.Packets -= then.Packets
		now.Bytes -= then.Bytes
		if now != (bpf.DropCount{}) {
			more.Drops[key] = now
		}
	}
	return more
}
