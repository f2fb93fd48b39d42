// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// State is what the model means for one host.
type State struct {
	Host     Host
	Tunnel   Tunnel
	Remotes  []Remote  // the hosts that share a segment with this one, by VTEP
	Segments []Segment // those that this host is a member of, by VNI
}

// Remote is another host, as seen from this one.
type Remote = Host

// Segment is a segment as seen from one host.
type Segment struct {
	Environment         string
	EnvironmentGovernor Governor // the same in all segments of the environment
	Name                string
	VNI                 uint32
	MTU                 int // bytes of layer 3; 0: auto
	Learning            bool
	FloodUnknown        bool
	Multicast           Multicast
	NeighborAnswers     bool // ARP and ND are answered where the answer is known
	Relay               Relay
	ClampMSS            bool         // SYNs to and from other hosts say what fits the tunnel
	Remotes             []netip.Addr // VTEPs of the other members, sorted
	Ports               []Port       // those on this host, by name
	FDB                 []Entry      // every configured MAC of the segment, sorted
	Neighbors           []Neighbor   // every configured address whose MAC is configured, sorted
}

// Entry says where a configured MAC is.
type Entry struct {
	MAC  MAC
	Port string     // the local port's name, or empty
	VTEP netip.Addr // the remote's, or zero
}

// Neighbor says whose a configured address is.
type Neighbor struct {
	IP   netip.Addr
	MAC  MAC
	Port string     // the local port's name, or empty
	VTEP netip.Addr // the remote's, or zero
}

// Object is the segment's full name, environment/segment.
func (s *Segment) Object() string {
	return s.Environment + "/" + s.Name
}

// State works out what the model means for a host. The error names the hosts
// that there are.
func (m *Model) State(host string) (*State, error) {
	index, ok := m.hosts[host]
	if !ok {
		names := slices.Sorted(maps.Keys(m.hosts))
		if len(names) == 0 {
			names = []string{"there are none"}
		}
		return nil, fmt.Errorf("host %q is not among the configured hosts (%s): add it, or set host", host, strings.Join(names, ", "))
	}
	if m.Hosts[index].Foreign {
		return nil, fmt.Errorf("host %q is configured as foreign, a VTEP without this agent: remove foreign, or set host", host)
	}
	s := &State{Host: m.Hosts[index], Tunnel: m.Tunnel}
	remotes := make(map[netip.Addr]Remote)
	for _, environment := range m.Environments {
		for i := range environment.Segments {
			if segment, ok := m.segmentFor(host, &environment, &environment.Segments[i], remotes); ok {
				s.Segments = append(s.Segments, segment)
			}
		}
	}
	slices.SortFunc(s.Segments, func(a, b Segment) int { return cmp.Compare(a.VNI, b.VNI) })
	s.Remotes = slices.SortedFunc(maps.Values(remotes), func(a, b Remote) int { return a.VTEP.Compare(b.VTEP) })
	return s, nil
}

// segmentFor works out a segment for a member of it, and notes the remotes.
func (m *Model) segmentFor(host string, environment *Environment, spec *SegmentSpec, remotes map[netip.Addr]Remote) (Segment, bool) {
	members := spec.memberHosts()
	if !members[host] {
		return Segment{}, false
	}
	s := Segment{
		Environment:         environment.Name,
		EnvironmentGovernor: environment.Governor,
		Name:                spec.Name,
		VNI:                 spec.VNI,
		MTU:                 spec.MTU,
		Learning:            spec.Learning,
		FloodUnknown:        spec.FloodUnknown,
		Multicast:           spec.Multicast,
		NeighborAnswers:     spec.NeighborAnswers,
		Relay:               spec.Relay,
		ClampMSS:            spec.ClampMSS,
	}
	for name := range members {
		if name == host {
			continue
		}
		remote := m.Hosts[m.hosts[name]]
		remotes[remote.VTEP] = remote
		s.Remotes = append(s.Remotes, remote.VTEP)
	}
	slices.SortFunc(s.Remotes, netip.Addr.Compare)
	for i := range spec.Ports {
		port := &spec.Ports[i]
		entry := Entry{VTEP: m.Hosts[m.hosts[port.Host]].VTEP}
		if port.Host == host {
			entry = Entry{Port: port.Name}
			s.Ports = append(s.Ports, port.Port)
		}
		for _, mac := range port.configured() {
			entry.MAC = mac
			s.FDB = append(s.FDB, entry)
		}
		// Without a MAC there is nothing to answer.
		if port.HasMAC {
			for _, ip := range port.IPs {
				s.Neighbors = append(s.Neighbors, Neighbor{IP: ip, MAC: port.MAC, Port: entry.Port, VTEP: entry.VTEP})
			}
		}
	}
	slices.SortFunc(s.Ports, func(a, b Port) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.FDB, func(a, b Entry) int { return bytes.Compare(a.MAC[:], b.MAC[:]) })
	slices.SortFunc(s.Neighbors, func(a, b Neighbor) int { return a.IP.Compare(b.IP) })
	return s, true
}

// memberHosts are the hosts with a port in the segment, and the named members.
func (s *SegmentSpec) memberHosts() map[string]bool {
	members := make(map[string]bool)
	for _, name := range s.Members {
		members[name] = true
	}
	for _, port := range s.Ports {
		members[port.Host] = true
	}
	return members
}
