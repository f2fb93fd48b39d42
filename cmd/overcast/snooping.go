// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"time"

	"overcast/loader"
	"overcast/loader/membership"
	"overcast/maps"
)

const groupsHelp = `Show where frames to multicast groups go, and who asked for them.

The first list has the groups that go to some and not to all. The second says for
each segment why a group may go to more than those who asked for it:

  MDB       in use, or why all groups go to everybody for now
  UNKNOWN   what becomes of groups that are not in the first list: they are flooded,
            or dropped, and go only to those that get all; link-local ones are
            always flooded
  QUERIER   who asks the members; where nobody does, all link-local groups are flooded
  GET ALL   members that get every group: a multicast router was heard there (router),
            it has not told what it wants (unsure), a limit refused a group (limit)

224.0.0.0/24, ff02::1 and the scopes ff00::/16, ff01::/16 and ff0f::/16 always go
to everybody.
With -o wide also: what each member wants, how long that still holds, and who told.`

// snoopingRow is how groups are treated in a segment, for one family.
type snoopingRow struct {
	Segment string `json:"segment"` // environment/segment
	Family  string `json:"family"`  // IPv4 or IPv6
	// current: frames go where the MDB says. Else to everybody, since the segment
	// does not snoop (off), no agent has said that it reads what members ask for
	// (unread), a message could not be handed to it (missed), or it is silent for
	// longer than memberships last (expired).
	MDB           maps.MDBState   `json:"mdb"`
	MDBUntil      *time.Time      `json:"mdb_until,omitempty"`  // so long it holds if the agent is silent
	AgentRead     *time.Time      `json:"agent_read,omitempty"` // when the agent last said that it reads
	Missed        *time.Time      `json:"missed,omitempty"`     // when a message could not be handed to it
	Entries       int             `json:"entries"`              // in the MDB
	Full          string          `json:"full"`                 // what it has no room for
	UnknownGroups string          `json:"unknown_groups"`       // flood, or drop: only to those that get everything
	Told          *time.Time      `json:"told,omitempty"`       // when the agent has told what follows
	Querier       *querierOf      `json:"querier,omitempty"`
	Routers       []routerOf      `json:"routers"`
	Everything    []everythingFor `json:"everything"`

	known *knownGroups
}

// querierOf is who asks the members what they want.
type querierOf struct {
	memberName
	MAC      string     `json:"mac"`
	Address  string     `json:"address"`
	Version  int        `json:"version"`
	Interval float64    `json:"interval_seconds"` // between its queries; 0: not known
	Until    *time.Time `json:"until,omitempty"`  // unless it is heard again
}

// routerOf is a multicast router that was heard.
type routerOf struct {
	memberName
	MAC     string    `json:"mac"`
	Address string    `json:"address"`
	Until   time.Time `json:"until"` // unless it is heard again
}

// everythingFor is a member that gets every group.
type everythingFor struct {
	memberName
	Reasons []loader.FloodReason `json:"reasons"` // router, limit or unsure
	Limits  []string             `json:"limits"`  // those that it has run into, of both families
}

func readSnooping(v *view, s *scope) (section, error) {
	known, err := v.groups()
	if err != nil {
		return section{}, err
	}
	entries := make(map[segmentFamily]int)
	for key := range known.mdb {
		entries[segmentFamily{key.Segment, membership.FamilyOf(key.Group.NetAddr())}]++
	}
	var rows []snoopingRow
	for _, segment := range v.report.Segments {
		if !s.hasSegment(segment.Slot) {
			continue
		}
		for _, family := range membership.Families {
			row := known.snooping(segment, family)
			row.Entries = entries[segmentFamily{segment.Slot, family}]
			row.tell(v.report.Host, known.told[segment.Object()])
			rows = append(rows, row)
		}
	}
	return sectionOf("segments", snoopingColumns, rows), nil
}

// segmentFamily is a segment, by slot, and one of the families.
type segmentFamily struct {
	segment uint32
	family  membership.Family
}

// snooping is what the maps say of a segment.
func (k *knownGroups) snooping(segment loader.SegmentReport, family membership.Family) snoopingRow {
	row := snoopingRow{Segment: segment.Object(), Family: family.String(), MDB: k.state(segment.Slot), UnknownGroups: "flood",
		Routers: []routerOf{}, Everything: []everythingFor{}, known: k}
	if _, pruned := k.unknown(segment.Slot, family); pruned {
		row.UnknownGroups = "drop"
	}
	if row.MDB == mdbOff {
		return row
	}
	snoop := k.snoops[segment.Slot]
	if snoop.Alive != 0 {
		read, until := k.at(snoop.Alive), k.at(snoop.Alive+snoop.Lifetime)
		row.AgentRead, row.MDBUntil = &read, &until
	}
	if snoop.Missed != 0 {
		missed := k.at(snoop.Missed)
		row.Missed = &missed
	}
	return row
}

// tell adds what the agent has told of the segment.
func (r *snoopingRow) tell(host string, told *loader.SegmentGroupsReport) {
	if told == nil || r.MDB == mdbOff {
		return
	}
	r.Told, r.Full = &r.known.updated, r.known.full
	for _, q := range told.Queriers {
		if q.Family != r.Family {
			continue
		}
		name := memberName{"host", host}
		if q.Port != "" || q.Remote != "" {
			name = nameMember(r.Segment, q.Port, q.Remote)
		}
		r.Querier = &querierOf{name, q.MAC, addr(q.Address), q.Version, q.Interval, q.Until}
	}
	for _, m := range told.Members {
		if m.Family != r.Family {
			continue
		}
		name := nameMember(r.Segment, m.Port, m.Remote)
		if m.Router != nil {
			r.Routers = append(r.Routers, routerOf{name, m.Router.MAC, addr(m.Router.Address), m.Router.Until})
		}
		if len(m.Everything) == 0 {
			continue
		}
		row := everythingFor{name, m.Everything, []string{}}
		for _, l := range told.Limits {
			if l.Port == m.Port && l.Remote == m.Remote && slices.Contains(refusing, l.Limit) && slices.Contains(m.Everything, loader.FloodLimit) {
				row.Limits = append(row.Limits, l.Limit)
			}
		}
		slices.Sort(row.Limits)
		r.Everything = append(r.Everything, row)
	}
}

// refusing are the limits that refuse a group.
var refusing = []string{membership.LimitGroupsPerPort.String(), membership.LimitGroups.String()}

var snoopingColumns = []column[snoopingRow]{
	{"SEGMENT", false, func(r snoopingRow) string { return r.Segment }},
	{"FAMILY", false, func(r snoopingRow) string { return r.Family }},
	{"MDB", false, snoopingRow.mdb},
	{"ENTRIES", true, func(r snoopingRow) string { return number(r.Entries) }},
	{"UNKNOWN", false, snoopingRow.unknown},
	{"QUERIER", false, snoopingRow.querier},
	{"ROUTERS", true, snoopingRow.routers},
	{"GET ALL", false, snoopingRow.everything},
}

func (r snoopingRow) mdb() string {
	switch r.MDB {
	case mdbOff:
		return "all flooded: snooping is off"
	case maps.MDBUnread:
		return "all flooded: no agent reads what members ask for"
	case maps.MDBMissed:
		return "all flooded: a message was missed " + span(r.known.now.Sub(*r.Missed)) + " ago, and the agent has yet to ask again"
	case maps.MDBExpired:
		return "all flooded: the agent is silent for " + span(r.known.now.Sub(*r.AgentRead))
	}
	text := "in use"
	if silent := r.known.now.Sub(*r.AgentRead); silent > agentBeats {
		text += "; the agent is silent for " + span(silent) + ", so until " + span(r.MDBUntil.Sub(r.known.now)) + " from now, or the next report"
	}
	if r.Full != "" {
		text += "; " + r.Full
	}
	return text
}

// agentBeats is longer than an agent that lives is ever silent (SNOOP_DEAD_NS in
// snoop.h): after that the programs hand it nothing.
const agentBeats = 10 * time.Second

func (r snoopingRow) unknown() string {
	if r.MDB != maps.MDBCurrent || r.UnknownGroups == "flood" {
		return "flooded"
	}
	return "dropped" // but for those who get all
}

func (r snoopingRow) querier() string {
	switch q := r.Querier; {
	case r.Told == nil:
		return ""
	case q == nil:
		return "none"
	case q.Kind == "host":
		return "this host"
	default:
		text := q.short() + ", " + q.Address + ", " + protocol(r.Family, q.Version)
		if q.Until != nil {
			text += ", " + r.known.left(q.Until)
		}
		return text
	}
}

func (r snoopingRow) routers() string {
	lines := make([]string, len(r.Routers))
	for i, router := range r.Routers {
		lines[i] = router.short() + ", " + router.Address + ", " + router.MAC + ", " + r.known.left(&router.Until)
	}
	return strings.Join(lines, "\n")
}

// everything lists the members by what makes them get all.
func (r snoopingRow) everything() string {
	members := make(map[string][]string)
	var reasons []string
	for _, m := range r.Everything {
		for _, reason := range m.Reasons {
			text := string(reason)
			if reason == loader.FloodLimit && len(m.Limits) > 0 {
				text += " " + strings.Join(m.Limits, " and ")
			}
			if members[text] == nil {
				reasons = append(reasons, text)
			}
			members[text] = append(members[text], m.short())
		}
	}
	lines := make([]string, len(reasons))
	for i, reason := range reasons {
		lines[i] = reason + ": " + strings.Join(members[reason], ", ")
	}
	return strings.Join(lines, "\n")
}
