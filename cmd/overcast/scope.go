// SPDX-License-Identifier: Apache-2.0

package main

import (
	"overcast/bpf"
	"overcast/maps"
)

// filter chooses objects by name.
type filter struct {
	environment, segment, port string
}

// takes tells whether an object of these names is wanted. A name that the
// object has none of (a host-wide drop has no segment) is not wanted when
// asked for.
func (f filter) takes(environment, segment, port string) bool {
	return (f.environment == "" || f.environment == environment) &&
		(f.segment == "" || f.segment == segment || f.segment == environment+"/"+segment) &&
		(f.port == "" || f.port == port || f.port == environment+"/"+segment+"/"+port)
}

// scope is what a filter leaves of the datapath, in the numbers of the maps.
// A port stands for its segment where segments are asked for, and a segment for
// the remotes that share it.
type scope struct {
	set       *maps.Set
	all       bool // there is no filter
	byPort    bool // a port is asked for, so what has none is not wanted
	segments  map[uint32]bool
	vnis      map[uint32]bool
	ports     map[uint32]bool // by ifindex
	portSlots map[uint32]bool
	remotes   map[uint32]bool
	lists     map[uint32]bool     // replication lists of the segments and their groups
	macs      map[bpf.FDBKey]bool // those behind the wanted ports, if a port is asked for

	environments map[uint32]bool // those of the segments
}

// scope works out what a filter leaves.
func (v *view) scope(f filter) (*scope, error) {
	if f == (filter{}) {
		return &scope{set: v.set, all: true}, nil
	}
	snapshot, err := v.set.Snapshot()
	if err != nil {
		return nil, err
	}
	s := &scope{set: v.set, byPort: f.port != "", segments: make(map[uint32]bool), vnis: make(map[uint32]bool),
		ports: make(map[uint32]bool), portSlots: make(map[uint32]bool), remotes: make(map[uint32]bool), lists: make(map[uint32]bool), environments: make(map[uint32]bool)}
	holds := make(map[string]bool) // segments with a wanted port
	for _, p := range v.report.Ports {
		if f.takes(p.Environment, p.Segment, p.Port) {
			holds[p.Environment+"/"+p.Segment] = true
			s.portSlots[p.Slot] = true
			s.ports[p.Ifindex] = p.Ifindex != 0
			s.ports[p.DropsIfindex] = p.DropsIfindex != 0
		}
	}
	of := filter{f.environment, f.segment, ""}
	for _, segment := range v.report.Segments {
		if of.takes(segment.Environment, segment.Segment, "") && (!s.byPort || holds[segment.Object()]) {
			s.addSegment(segment.Slot, snapshot)
		}
	}
	elements, err := v.set.GroupElements()
	if err != nil {
		return nil, err
	}
	for key, element := range elements {
		if s.segments[key.Segment] {
			s.addLists(element.Group.Ports, element.Group.Remotes, element.Group.Zone)
		}
	}
	for key, member := range snapshot.VTEPs {
		// VNI 0 has all known hosts.
		if key.Vni != 0 && s.segments[member.Segment] {
			s.remotes[member.Remote] = true
		}
	}
	return s, s.addMACs(v)
}

// addMACs finds what is behind the wanted ports.
func (s *scope) addMACs(v *view) error {
	if !s.byPort {
		return nil
	}
	places, err := v.places()
	if err != nil {
		return err
	}
	s.macs = make(map[bpf.FDBKey]bool)
	for key, place := range places {
		s.macs[key] = s.hasMAC(key, place)
	}
	return nil
}

func (s *scope) addSegment(slot uint32, snapshot *maps.Snapshot) {
	value := snapshot.Segments[slot]
	s.segments[slot], s.vnis[value.Vni] = true, true
	s.environments[value.Environment] = true
	if value.RelayVni != 0 {
		s.vnis[value.RelayVni] = true
	}
	s.addLists(value.Ports, value.Remotes, value.Zone)
}

func (s *scope) addLists(lists ...uint32) {
	for _, list := range lists {
		s.lists[list] = list != 0
	}
}

func (s *scope) hasSegment(slot uint32) bool   { return s.all || s.segments[slot] }
func (s *scope) hasPort(slot uint32) bool      { return s.all || s.portSlots[slot] }
func (s *scope) hasRemote(slot uint32) bool    { return s.all || s.remotes[slot] }
func (s *scope) hasDevice(ifindex uint32) bool { return s.all || s.ports[ifindex] }
func (s *scope) hasVNI(vni uint32) bool        { return s.all || s.vnis[vni] }
func (s *scope) hasList(list uint32) bool      { return s.all || s.lists[list] }

// hasMember takes the members of wanted segments.
func (s *scope) hasMember(k bpf.VTEPKey, member bpf.VTEP) bool {
	return s.all || k.Vni != 0 && s.segments[member.Segment]
}

// hasMAC takes the MACs of wanted segments, and of wanted ports alone.
func (s *scope) hasMAC(k bpf.FDBKey, e bpf.FDBEntry) bool {
	return s.hasSegment(k.Segment) && (!s.byPort || e.Kind == bpf.KindPort && s.hasDevice(e.Id))
}

// hasNeighbor takes the addresses of wanted segments, and of wanted ports alone.
func (s *scope) hasNeighbor(k bpf.NeighborKey, mac [6]byte) bool {
	return s.hasSegment(k.Segment) && (!s.byPort || s.macs[bpf.FDBKey{Segment: k.Segment, Mac: mac}])
}

// hasDrop takes what was dropped in a wanted segment, and what came from a
// wanted port, whose segment is known even where that of the frame was not.
func (s *scope) hasDrop(k bpf.DropKey) bool {
	return s.hasDevice(k.Ifindex) || !s.byPort && s.hasSegment(k.Segment)
}

// hasGovernor takes the limits of wanted ports, and of the environments of
// wanted segments, by their element in oc_governors.
func (s *scope) hasGovernor(element uint32) bool {
	if element < bpf.GovernorsEnvironments {
		return s.hasPort(element / bpf.Classes)
	}
	return s.all || s.environments[(element-bpf.GovernorsEnvironments)/bpf.Classes]
}

// hasStats takes the counters of what is wanted, by their slot in oc_stats.
func (s *scope) hasStats(slot uint32) bool {
	switch {
	case slot < bpf.StatsSegments:
		return s.hasPort(slot)
	case slot < bpf.StatsRemotes:
		return s.hasSegment(slot - bpf.StatsSegments)
	}
	return s.hasRemote(slot - bpf.StatsRemotes)
}
