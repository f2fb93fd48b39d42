// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"encoding/binary"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	"overcast/bpf"
	"overcast/policy"
)

// Relays says by whom the remotes of one segment are sent to. A zone that has
// more receivers than the threshold gets one copy, for a relay there that makes
// the others. nil is a segment without relays.
type Relays struct {
	threshold int
	zone      string                  // this host's
	zones     map[uint32]string       // by slot of a remote; foreign ones and those without a zone are not here
	relay     map[string]uint32       // by zone: the relay's slot; absent where none is known to live
	Probe     map[string][]netip.Addr // by zone: who may become its relay, in the order of preference
}

// RelayWay is the way to a relay: it may be known there for one segment and not
// for another.
type RelayWay struct {
	VTEP netip.Addr
	VNI  uint32 // the relay's
}

// relayCandidates is how many hosts of a zone are probed: the relay and its backup.
const relayCandidates = 2

// planRelays chooses the relays of a segment. Hosts choose by a hash, so that
// not all use the same, and know by probes which of their choices live; where
// none does, a zone's remotes are sent to one by one.
func (c *compiler) planRelays(segment *policy.Segment) *Relays {
	if segment.Relay.VNI == 0 {
		return nil
	}
	r := &Relays{
		threshold: segment.Relay.Threshold,
		zone:      c.state.Host.Zone,
		zones:     make(map[uint32]string),
		relay:     make(map[string]uint32),
		Probe:     make(map[string][]netip.Addr),
	}
	for _, vtep := range segment.Remotes {
		remote := c.hosts[vtep]
		if remote.Zone == "" || remote.Foreign {
			continue
		}
		r.zones[c.remotes[vtep]] = remote.Zone
		if remote.Zone != r.zone {
			r.Probe[remote.Zone] = append(r.Probe[remote.Zone], vtep)
		}
	}
	for zone, vteps := range r.Probe {
		if len(vteps) <= r.threshold {
			delete(r.Probe, zone)
			continue
		}
		slices.SortFunc(vteps, func(a, b netip.Addr) int {
			return compareWeights(c.weight(segment.VNI, a), c.weight(segment.VNI, b), a, b)
		})
		r.Probe[zone] = vteps[:min(len(vteps), relayCandidates)]
		for _, vtep := range r.Probe[zone] {
			if c.facts.Alive[RelayWay{vtep, segment.Relay.VNI}] {
				r.relay[zone] = c.remotes[vtep]
				break
			}
		}
	}
	return r
}

// weight is how much this host prefers a relay (rendezvous hashing): another
// one that comes or goes changes nobody else's choice.
func (c *compiler) weight(vni uint32, vtep netip.Addr) uint64 {
	h := fnv.New64a()
	h.Write(binary.BigEndian.AppendUint32(nil, vni))
	h.Write(c.state.Host.VTEP.AsSlice())
	h.Write(vtep.AsSlice())
	return fdbHash(h.Sum64()) // FNV alone hardly mixes the last bytes
}

func compareWeights(a, b uint64, x, y netip.Addr) int {
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return x.Compare(y)
}

// RelayZone is a zone of a segment with relays, as this host sends to it.
type RelayZone struct {
	Name       string
	Own        bool         // this host's, which is sent to directly
	Members    int          // hosts of the segment there, without this one
	Candidates []netip.Addr // VTEPs of its relay and backup, in the order of preference; none where one by one is cheap
	Relay      uint32       // slot of the one in use; 0: none is known to live
}

// Zones returns the zones of the segment's other hosts, by name.
func (r *Relays) Zones() []RelayZone {
	members := make(map[string]int)
	for _, zone := range r.zones {
		members[zone]++
	}
	var all []RelayZone
	for _, name := range slices.Sorted(maps.Keys(members)) {
		all = append(all, RelayZone{name, name == r.zone, members[name], r.Probe[name], r.relay[name]})
	}
	return all
}

// Threshold is how many members of a zone are sent to directly at most.
func (r *Relays) Threshold() int {
	return r.threshold
}

// Via returns the destinations by which remotes are reached, in ascending order.
func (r *Relays) Via(remotes []uint32) []uint32 {
	if r == nil || len(r.relay) == 0 {
		return remotes
	}
	members, sent := make(map[string]int), make(map[string]bool)
	for _, slot := range remotes {
		members[r.zones[slot]]++
	}
	var direct, relays []uint32
	for _, slot := range remotes {
		zone := r.zones[slot]
		relay, there := r.relay[zone]
		switch {
		case !there || members[zone] <= r.threshold:
			direct = append(direct, slot)
		case !sent[zone]:
			relays, sent[zone] = append(relays, relay|bpf.Relay), true
		}
	}
	slices.Sort(direct)
	slices.Sort(relays)
	return append(direct, relays...)
}

// InZone returns those of the remotes that this host copies to as a relay.
func (r *Relays) InZone(remotes []uint32) []uint32 {
	if r == nil || r.zone == "" {
		return nil
	}
	var near []uint32
	for _, slot := range remotes {
		if r.zones[slot] == r.zone {
			near = append(near, slot)
		}
	}
	return near
}

// mayAsk tells whether this host relays for another: it has a zone, and the
// other one is not in it.
func (r *Relays) mayAsk(host policy.Remote) bool {
	return r.zone != "" && host.Zone != r.zone && !host.Foreign
}

// Equal tells whether two plans come to the same.
func (r *Relays) Equal(o *Relays) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r.threshold == o.threshold && r.zone == o.zone && maps.Equal(r.zones, o.zones) && maps.Equal(r.relay, o.relay)
}
