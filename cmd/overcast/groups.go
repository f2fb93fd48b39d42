// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"overcast/bpf"
	"overcast/loader"
	"overcast/loader/membership"
	"overcast/maps"
)

// groupRow says where frames to a group go, of one source or of all that have
// no row of their own, and who has asked for that.
type groupRow struct {
	Segment string `json:"segment"` // environment/segment
	Family  string `json:"family"`  // IPv4 or IPv6
	Group   string `json:"group"`   // *: those that have no entry
	Source  string `json:"source"`  // *: those that have no row
	// Why frames go to everybody and not where the MDB says: off, unread, missed,
	// expired, no_querier, no_entry. Empty: they go to those below.
	Flooded string          `json:"flooded"`
	Ports   []string        `json:"ports"`   // environment/segment/port
	Remotes []string        `json:"remotes"` // hosts
	Relays  []string        `json:"relays"`  // hosts that pass it on to their zones
	Zone    []string        `json:"zone"`    // hosts that this one passes it on to, as a relay
	Members []groupMemberOf `json:"members"`

	addr, source netip.Addr
	known        *knownGroups
}

// groupMemberOf is what a port or remote wants, as the agent has told.
type groupMemberOf struct {
	memberName
	Mode      string                  `json:"mode"`            // include or exclude
	Until     *time.Time              `json:"until,omitempty"` // of exclude mode
	Sources   []loader.SourceReport   `json:"sources"`         // wanted, or in exclude mode those without a time not
	Version   int                     `json:"version"`         // of MLD or IGMP
	Reporters []loader.ReporterReport `json:"reporters"`       // the newest first
}

// memberName names a port or a remote of a segment, or this host.
type memberName struct {
	Kind  string `json:"kind"`  // port, remote or host
	Where string `json:"where"` // environment/segment/port, or host
}

// nameMember names what the report names by port or remote.
func nameMember(segment, port, remote string) memberName {
	if remote != "" {
		return memberName{"remote", remote}
	}
	return memberName{"port", segment + "/" + port}
}

// short is the name within its segment.
func (m memberName) short() string {
	return shortPort(m.Where)
}

// shortPort is a port's name within its segment; others stay as they are.
func shortPort(name string) string {
	return name[strings.LastIndexByte(name, '/')+1:]
}

// Why frames of a group go to everybody though the MDB is current.
const (
	noQuerier = "no_querier" // nobody asks, so nobody need tell
	noEntry   = "no_entry"   // somebody wants it, and the MDB has no room, or not yet
)

func readGroups(v *view, s *scope) ([]groupRow, error) {
	known, err := v.groups()
	if err != nil {
		return nil, err
	}
	n := v.names()
	var rows []groupRow
	add := func(row groupRow, ports []uint32) {
		if s.byPort && row.Flooded == "" && !slices.ContainsFunc(ports, s.hasDevice) && !row.wantedBy(v.report.Ports, s) {
			return
		}
		rows = append(rows, row)
	}
	for key, to := range known.mdb {
		if s.hasSegment(key.Segment) {
			add(known.row(n, key, to), to.Ports)
		}
	}
	for _, segment := range v.report.Segments {
		if told := known.told[segment.Object()]; told != nil && s.hasSegment(segment.Slot) {
			for _, group := range told.Groups {
				key := maps.GroupKey(segment.Slot, group.Group, netip.Addr{})
				if _, there := known.mdb[key]; !there {
					row, to := known.missing(n, key)
					add(row, to.Ports)
				}
			}
		}
	}
	slices.SortFunc(rows, func(a, b groupRow) int {
		return cmp.Or(cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Family, b.Family), compareLast(a.addr, b.addr), a.source.Compare(b.source))
	})
	return rows, nil
}

// compareLast orders addresses, what stands for all others last.
func compareLast(a, b netip.Addr) int {
	if a.IsMulticast() != b.IsMulticast() {
		if a.IsMulticast() {
			return -1
		}
		return 1
	}
	return a.Compare(b)
}

// row is what becomes of the frames that an entry of the MDB is for.
func (k *knownGroups) row(n names, key bpf.MDBKey, to maps.Receivers) groupRow {
	row := groupRow{Segment: n.segment(key.Segment), Group: "*", Source: "*", addr: key.Group.NetAddr(), source: key.Source.NetAddr(),
		Ports: []string{}, Remotes: []string{}, Relays: []string{}, Zone: []string{}, Members: []groupMemberOf{}, known: k}
	row.Family = membership.FamilyOf(row.addr).String()
	if row.addr.IsMulticast() {
		row.Group = row.addr.String()
	}
	if row.source.IsValid() {
		row.Source = row.source.String()
	}
	if state := k.state(key.Segment); state != maps.MDBCurrent {
		row.Flooded = string(state)
	}
	for _, ifindex := range to.Ports {
		row.Ports = append(row.Ports, n.port(ifindex))
	}
	for _, slot := range to.Remotes {
		if slot&bpf.Relay != 0 {
			row.Relays = append(row.Relays, n.remote(slot&^bpf.Relay))
		} else {
			row.Remotes = append(row.Remotes, n.remote(slot))
		}
	}
	for _, slot := range to.Zone {
		row.Zone = append(row.Zone, n.remote(slot))
	}
	for _, list := range [][]string{row.Ports, row.Remotes, row.Relays, row.Zone} {
		slices.Sort(list)
	}
	row.tell()
	return row
}

// missing is what becomes of a group that somebody wants and that the MDB has
// no entry for.
func (k *knownGroups) missing(n names, key bpf.MDBKey) (groupRow, maps.Receivers) {
	group := key.Group.NetAddr()
	family := membership.FamilyOf(group)
	to, pruned := k.unknown(key.Segment, family)
	why := noEntry
	queried := k.queried(n.segment(key.Segment), family)
	if !queried {
		why = noQuerier
	}
	if !queried || membership.LinkLocal(group) {
		to, pruned = maps.Receivers{}, false
	}
	row := k.row(n, key, to)
	if row.Flooded == "" && !pruned {
		row.Flooded = why
	}
	return row, to
}

// tell adds the members that have told of the group; for a source, those that
// have told of that.
func (r *groupRow) tell() {
	for _, m := range r.known.wanted[wantedGroup{r.Segment, r.addr}] {
		sources := m.Sources
		if r.source.IsValid() {
			index := slices.IndexFunc(sources, func(s loader.SourceReport) bool { return s.Address == r.source })
			if index < 0 {
				continue
			}
			sources = sources[index : index+1]
		}
		r.Members = append(r.Members, groupMemberOf{nameMember(r.Segment, m.Port, m.Remote), m.Mode, m.Until, orEmpty(sources), m.Version, orEmpty(m.Reporters)})
	}
}

// wantedBy tells whether a port of the scope is among the members.
func (r *groupRow) wantedBy(ports []loader.PortReport, s *scope) bool {
	return slices.ContainsFunc(ports, func(p loader.PortReport) bool {
		return s.hasPort(p.Slot) && slices.ContainsFunc(r.Members, func(m groupMemberOf) bool { return m.Kind == "port" && m.Where == p.Object() })
	})
}

// receivers are those of a row, for people.
func (r *groupRow) receivers(names []string) string {
	if r.Flooded != "" {
		return "all"
	}
	short := make([]string, len(names))
	for i, name := range names {
		short[i] = shortPort(name)
	}
	return strings.Join(short, ", ")
}

// memberLines are lines of a cell, one for each member.
func memberLines(line func(groupRow, groupMemberOf) string) func(groupRow) string {
	return func(r groupRow) string {
		lines := make([]string, len(r.Members))
		for i, m := range r.Members {
			lines[i] = orDash(line(r, m))
		}
		return strings.Join(lines, "\n")
	}
}

func (r *groupRow) sources(m groupMemberOf) string {
	texts := make([]string, len(m.Sources))
	for i, source := range m.Sources {
		texts[i] = source.Address.String()
		switch {
		case source.Until != nil:
			texts[i] += " " + r.known.left(source.Until)
		case m.Mode == membership.Exclude.String():
			texts[i] = "not " + texts[i]
		}
	}
	return strings.Join(texts, ", ")
}

func (r *groupRow) reporters(m groupMemberOf) string {
	texts := make([]string, len(m.Reporters))
	for i, reporter := range m.Reporters {
		texts[i] = reporter.MAC
		if reporter.Address.IsValid() {
			texts[i] += " " + reporter.Address.String()
		}
		texts[i] += " " + span(r.known.now.Sub(reporter.Seen)) + " ago"
	}
	return strings.Join(texts, ", ")
}

func groupsCommand(o *options) *cobra.Command {
	columns := []column[groupRow]{
		{"SEGMENT", false, func(r groupRow) string { return r.Segment }},
		{"GROUP", false, func(r groupRow) string {
			if r.Group == "*" {
				return "other " + r.Family
			}
			return r.Group
		}},
		{"SOURCE", false, func(r groupRow) string { return r.Source }},
		{"PORTS", false, func(r groupRow) string { return r.receivers(r.Ports) }},
		{"REMOTES", false, func(r groupRow) string {
			remotes := slices.Clone(r.Remotes)
			for _, relay := range r.Relays {
				remotes = append(remotes, relay+" (relay)")
			}
			return r.receivers(remotes)
		}},
		{"AS RELAY TO", true, func(r groupRow) string { return strings.Join(r.Zone, ", ") }},
		{"MEMBER", true, memberLines(func(_ groupRow, m groupMemberOf) string { return m.short() })},
		{"MODE", true, memberLines(func(_ groupRow, m groupMemberOf) string { return m.Mode })},
		{"LEFT", true, memberLines(func(r groupRow, m groupMemberOf) string { return r.known.left(m.Until) })},
		{"SOURCES", true, memberLines(func(r groupRow, m groupMemberOf) string { return r.sources(m) })},
		{"VERSION", true, memberLines(func(r groupRow, m groupMemberOf) string { return protocol(r.Family, m.Version) })},
		{"REPORTERS", true, memberLines(func(r groupRow, m groupMemberOf) string { return r.reporters(m) })},
	}
	cmd := list(o, verb[groupRow]{name: "groups", short: "Show where frames to multicast groups go, and who asked for them",
		rawMaps: []string{"oc_mdb", "oc_groups", "oc_mdb_floods", "oc_snoops", "oc_events"}, columns: columns, read: readGroups, beside: readSnooping})
	cmd.Long = groupsHelp
	return cmd
}
