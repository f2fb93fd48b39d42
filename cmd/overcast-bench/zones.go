// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"overcast/test/lab"
)

var zonesNotes = []string{
	"One guest sends frames to a group. The remotes are spread evenly over the zones, and the sender's host is in none of these: to the members of its own zone a host always sends directly. Where a zone has more than 8 members (the default threshold), a host there relays, so the sender makes one copy for it; nobody is there, but the far end of the wire answers the probes in the name of every remote.",
	"Every copy is counted and ended where it leaves the sender's host, behind all that the host does to it, since the queue between two devices does not hold the copies of one frame for 10,000 remotes. So the figures are of the sender's work alone, and are not to be held against those of fanout without zones, which have the way over the wire in them. What a relay does for its zone is a frame to as many remotes over again, on another host. Before the measurement each remote, or one in each zone that has a relay, is seen to get exactly one copy.",
	"The kernel floods by a bridge whose VXLAN device has an entry for the zero MAC for each remote; netfilter calls, snooping, learning and outer checksums are off.",
}

// zonedRemotes are how many remotes there are by default.
var zonedRemotes = []int{10, 100, 1000, 10_000}

const (
	overcastRelays = "overcast, relays"
	eachFrame      = ", each frame"

	mostZones      = 1000
	relayThreshold = 8 // the default
	relayVNI       = vni + 1
)

// zoneOf is the zone of a remote, which is known by the last bytes of its VTEP.
func (f fan) zoneOf(vtep uint32) int {
	if f.zones == 0 {
		return 0
	}
	return (int(vtep&0xffff) - 1) % f.zones
}

// zoneKey puts the i-th remote into a zone.
func (f fan) zoneKey(i int) string {
	if f.zones == 0 {
		return ""
	}
	return fmt.Sprintf(", zone: z%d", i%f.zones)
}

// copies is how many copies of a frame there should be, by zone. Without zones
// all are in one.
func (rep *replicator) copies() []int {
	if rep.zones == 0 {
		return []int{max(rep.remotes, rep.ports)}
	}
	copies := make([]int, rep.zones)
	for i := range rep.remotes {
		copies[i%rep.zones]++
	}
	for zone, members := range copies {
		if rep.relays && members > relayThreshold {
			copies[zone] = 1
		}
	}
	return copies
}

// answerProbes makes the far end of the wire answer for every remote.
func (rep *replicator) answerProbes() error {
	answers, err := rep.Hosts[1].AttachIngress(lab.Uplink, rep.sinks.Answer)
	if err != nil {
		return fmt.Errorf("answering probes: %w", err)
	}
	rep.close = append(rep.close, answers.Close)
	return nil
}

// judgeRelays holds the cost of a frame to the most remotes against that to the
// fewest of which every zone has enough for a relay.
func judgeRelays(r *report, group string, remotes []int, zones int) {
	few, most := 0, 0
	for _, n := range remotes {
		if n/max(zones, 1) <= relayThreshold {
			continue
		}
		if few == 0 || n < few {
			few = n
		}
		most = max(most, n)
	}
	if zones == 0 || few == most {
		return
	}
	name := plural(most, "remote") + eachFrame
	small, large := r.find(group, plural(few, "remote")+eachFrame, overcastRelays), r.find(group, name, overcastRelays)
	if small == nil || large == nil || small.Median == 0 {
		return
	}
	ratio, lost := large.Median/small.Median, small.Lost+large.Lost
	r.judge(group+", "+name+" with relays", ratio, fmt.Sprintf("%.2fx of that to %d, %d lost", ratio, few, lost), "1.5x, none lost", "1.1x, none lost",
		ratio <= 1.5 && lost == 0, ratio <= 1.1 && lost == 0)
}
