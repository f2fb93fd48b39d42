// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"overcast/bpf"
	"overcast/loader"
)

// counters are packets and bytes, in from and out to the object.
type counters struct {
	InPackets  uint64 `json:"in_packets"`
	InBytes    uint64 `json:"in_bytes"`
	OutPackets uint64 `json:"out_packets"`
	OutBytes   uint64 `json:"out_bytes"`
}

func (v *view) counters(slot uint32) (counters, error) {
	c, err := v.set.Counters(slot)
	return counters{c.InPackets, c.InBytes, c.OutPackets, c.OutBytes}, err
}

// counterColumns end the tables of what has counters.
func counterColumns[T any](of func(T) counters) []column[T] {
	return []column[T]{
		{"IN", false, func(t T) string { return number(of(t).InPackets) }},
		{"IN BYTES", true, func(t T) string { return number(of(t).InBytes) }},
		{"OUT", false, func(t T) string { return number(of(t).OutPackets) }},
		{"OUT BYTES", true, func(t T) string { return number(of(t).OutBytes) }},
	}
}

func number[N uint16 | uint32 | uint64 | int](n N) string {
	return strconv.FormatUint(uint64(n), 10)
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// portRow is a port of this host.
type portRow struct {
	Port      string       `json:"port"` // environment/segment/port
	Interface string       `json:"interface"`
	Ifindex   uint32       `json:"ifindex"` // 0: the device is missing
	State     string       `json:"state"`   // up, down, unattached or missing
	MAC       string       `json:"mac"`
	ExtraMACs []string     `json:"extra_macs"`
	IPs       []netip.Addr `json:"ips"`
	MTU       int          `json:"mtu"` // bytes; what the guest should have
	DeviceMTU int          `json:"device_mtu"`
	Drops     uint64       `json:"drops"`
	counters
}

func readPorts(v *view, s *scope) ([]portRow, error) {
	drops, err := v.set.DropCounts()
	if err != nil {
		return nil, err
	}
	byDevice := make(map[uint32]uint64)
	for key, count := range drops {
		byDevice[key.Ifindex] += count.Packets
	}
	var rows []portRow
	for _, p := range v.report.Ports {
		if !s.hasPort(p.Slot) {
			continue
		}
		row := portRow{Port: p.Object(), Interface: p.Interface, Ifindex: p.Ifindex, State: string(p.State), MAC: p.MAC,
			ExtraMACs: orEmpty(p.ExtraMACs), IPs: orEmpty(p.IPs), MTU: p.MTU, DeviceMTU: p.DeviceMTU}
		if p.DropsIfindex != 0 {
			row.Drops = byDevice[p.DropsIfindex]
		}
		if row.counters, err = v.counters(p.Slot); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func portsCommand(o *options) *cobra.Command {
	columns := append([]column[portRow]{
		{"PORT", false, func(r portRow) string { return r.Port }},
		{"INTERFACE", false, func(r portRow) string { return r.Interface }},
		{"STATE", false, func(r portRow) string { return r.State }},
		{"MAC", false, func(r portRow) string { return r.MAC }},
		{"EXTRA MACS", true, func(r portRow) string { return strings.Join(r.ExtraMACs, ",") }},
		{"ADDRESSES", true, func(r portRow) string { return join(r.IPs) }},
		{"MTU", false, func(r portRow) string { return number(r.MTU) }},
		{"DEVICE MTU", true, func(r portRow) string { return number(r.DeviceMTU) }},
	}, append(counterColumns(func(r portRow) counters { return r.counters }),
		column[portRow]{"DROPS", false, func(r portRow) string { return number(r.Drops) }})...)
	return list(o, verb[portRow]{name: "ports", short: "Show this host's ports, the MTU their guests should have, and their traffic", rawMaps: []string{"oc_ports", "oc_stats", "oc_governors", "oc_buckets"}, columns: columns, read: readPorts})
}

func join(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, ",")
}

// segmentRow is a segment that this host is a member of.
type segmentRow struct {
	Segment        string `json:"segment"` // environment/segment
	VNI            uint32 `json:"vni"`
	MTU            int    `json:"mtu"`            // bytes of layer 3, in force
	MTUConfigured  int    `json:"mtu_configured"` // 0: auto
	Learning       bool   `json:"learning"`
	UnknownUnicast string `json:"unknown_unicast"`
	Ports          int    `json:"ports"`
	Remotes        int    `json:"remotes"`
	// Absent where the segment has no relays.
	Relay *loader.RelayReport `json:"relay,omitempty"`
	counters
	Replication []replication `json:"replication"` // by class
}

func readSegments(v *view, sc *scope) ([]segmentRow, error) {
	snapshot, err := v.set.Snapshot()
	if err != nil {
		return nil, err
	}
	drops, err := v.set.DropCounts()
	if err != nil {
		return nil, err
	}
	// The list of remotes has a relay in the place of those that it sends to.
	members := make(map[uint32]int)
	for key, member := range snapshot.VTEPs {
		if key.Vni != 0 && member.Remote&bpf.Relay == 0 {
			members[member.Segment]++
		}
	}
	var rows []segmentRow
	for _, s := range v.report.Segments {
		if !sc.hasSegment(s.Slot) {
			continue
		}
		value := snapshot.Segments[s.Slot]
		row := segmentRow{
			Segment: s.Object(), VNI: s.VNI, MTU: int(value.Mtu), MTUConfigured: s.Configured,
			Learning: value.Flags&bpf.SegmentLearning != 0, UnknownUnicast: "drop",
			Ports: len(snapshot.List(value.Ports)), Remotes: members[s.Slot], Relay: s.Relay,
		}
		if value.Flags&bpf.SegmentFloodUnknown != 0 {
			row.UnknownUnicast = "flood"
		}
		if row.counters, err = v.counters(bpf.StatsSegments + s.Slot); err != nil {
			return nil, err
		}
		if row.Replication, err = v.replications(s.Slot, drops); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// zones tells in a line each how zones are sent to.
func zones(relay *loader.RelayReport) string {
	if relay == nil {
		return ""
	}
	lines := make([]string, len(relay.Zones))
	for i, zone := range relay.Zones {
		lines[i] = zone.Zone + ", " + number(zone.Members) + " hosts: " + zoneWay(zone)
	}
	return strings.Join(lines, "\n")
}

func zoneWay(zone loader.RelayZoneReport) string {
	switch {
	case zone.Own:
		return "this host's own"
	case len(zone.Candidates) == 0:
		return "one by one"
	}
	hosts := make([]string, len(zone.Candidates))
	for i, candidate := range zone.Candidates {
		switch {
		case candidate.Host == zone.Relay:
			hosts[i] = "by " + candidate.Host
		case candidate.Alive:
			hosts[i] = candidate.Host + " is backup"
		default:
			hosts[i] = candidate.Host + " is silent"
		}
	}
	way := strings.Join(hosts, ", ")
	if zone.Relay == "" {
		way = "one by one, as " + way
	}
	return way
}

func segmentsCommand(o *options) *cobra.Command {
	columns := append([]column[segmentRow]{
		{"SEGMENT", false, func(r segmentRow) string { return r.Segment }},
		{"VNI", false, func(r segmentRow) string { return number(r.VNI) }},
		{"MTU", false, func(r segmentRow) string { return number(r.MTU) }},
		{"LEARNING", true, func(r segmentRow) string { return strconv.FormatBool(r.Learning) }},
		{"UNKNOWN", true, func(r segmentRow) string { return r.UnknownUnicast }},
		{"PORTS", false, func(r segmentRow) string { return number(r.Ports) }},
		{"REMOTES", false, func(r segmentRow) string { return number(r.Remotes) }},
		{"RELAY VNI", true, func(r segmentRow) string {
			if r.Relay == nil {
				return ""
			}
			return number(r.Relay.VNI)
		}},
		{"THRESHOLD", true, func(r segmentRow) string {
			if r.Relay == nil {
				return ""
			}
			return number(r.Relay.Threshold)
		}},
		{"ZONES", true, func(r segmentRow) string { return zones(r.Relay) }},
	}, slices.Concat(counterColumns(func(r segmentRow) counters { return r.counters }),
		replicationColumns(func(r segmentRow) []replication { return r.Replication }))...)
	return list(o, verb[segmentRow]{name: "segments", short: "Show the segments that this host is a member of", rawMaps: []string{"oc_segments", "oc_vnis", "oc_floods", "oc_stats", "oc_copies"}, columns: columns, read: readSegments})
}

// remoteRow is another host.
type remoteRow struct {
	Host    string `json:"host"`
	VTEP    string `json:"vtep"`
	Zone    string `json:"zone"`
	Foreign bool   `json:"foreign"`
	Route   string `json:"route"` // resolved, by device, or none
	Uplink  string `json:"uplink"`
	NextHop string `json:"next_hop"`
	MTU     int    `json:"mtu"` // bytes of the largest underlay packet, as the route has it
	loader.PathReport
	// Absent where the host is not probed, or not yet known to answer or not.
	Probe *loader.ProbeReport `json:"probe,omitempty"`
	counters
}

func readRemotes(v *view, s *scope) ([]remoteRow, error) {
	snapshot, err := v.set.Snapshot()
	if err != nil {
		return nil, err
	}
	var rows []remoteRow
	for _, r := range v.report.Remotes {
		if !s.hasRemote(r.Slot) {
			continue
		}
		value := snapshot.Remotes[r.Slot]
		path := value.CurrentPath()
		row := remoteRow{Host: r.Host, VTEP: addr(r.VTEP), Zone: r.Zone, Foreign: r.Foreign, Uplink: r.Uplink, MTU: r.MTU, PathReport: r.PathReport, Probe: r.Probe, Route: "none"}
		if path.Ifindex != 0 {
			row.Route, row.NextHop = "resolved", nextHop(path)
			if path.Flags&bpf.PathMACs == 0 {
				row.Route = "by device"
			}
		}
		if row.counters, err = v.counters(bpf.StatsRemotes + r.Slot); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func nextHop(path bpf.Path) string {
	const inet = 2 // AF_INET
	switch {
	case path.NextHop == [16]byte{}:
		return ""
	case path.Family == inet:
		return netip.AddrFrom4([4]byte(path.NextHop[:4])).String()
	}
	return netip.AddrFrom16(path.NextHop).String()
}

// probed is a column about what probes tell.
func probed(show func(*loader.ProbeReport) string) func(remoteRow) string {
	return func(r remoteRow) string {
		if r.Probe == nil {
			return ""
		}
		return show(r.Probe)
	}
}

func remotesCommand(o *options) *cobra.Command {
	columns := append([]column[remoteRow]{
		{"HOST", false, func(r remoteRow) string { return r.Host }},
		{"VTEP", false, func(r remoteRow) string { return r.VTEP }},
		{"ZONE", true, func(r remoteRow) string { return r.Zone }},
		{"FOREIGN", true, func(r remoteRow) string { return strconv.FormatBool(r.Foreign) }},
		{"ALIVE", false, probed(func(p *loader.ProbeReport) string { return strconv.FormatBool(p.Alive) })},
		{"LOSS", false, probed(func(p *loader.ProbeReport) string { return fmt.Sprintf("%.0f%%", p.Loss*100) })},
		{"RTT", true, probed(func(p *loader.ProbeReport) string {
			if p.RTT == 0 {
				return ""
			}
			return time.Duration(p.RTT * float64(time.Second)).Round(time.Microsecond).String()
		})},
		{"ROUTE", false, func(r remoteRow) string { return r.Route }},
		{"UPLINK", false, func(r remoteRow) string { return r.Uplink }},
		{"NEXT HOP", true, func(r remoteRow) string { return r.NextHop }},
		{"MTU", true, func(r remoteRow) string { return number(r.MTU) }},
		{"USABLE", false, func(r remoteRow) string { return number(r.Usable) }},
		{"BY", true, func(r remoteRow) string { return r.Source }},
		{"TROUBLE", true, func(r remoteRow) string { return r.Trouble }},
	}, counterColumns(func(r remoteRow) counters { return r.counters })...)
	return list(o, verb[remoteRow]{name: "remotes", short: "Show the other hosts and the ways to them", rawMaps: []string{"oc_remotes", "oc_vteps", "oc_stats"}, columns: columns, read: readRemotes})
}
