// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"overcast/loader/membership"
)

// GroupsReport is what the agent knows of who wants which group, as it writes
// it to run_dir/groups.json. Where frames go meanwhile is in the MDB.
type GroupsReport struct {
	Schema   int                   `json:"schema"`
	Updated  time.Time             `json:"updated"`
	Full     string                `json:"full,omitempty"` // what the MDB has no room for
	Segments []SegmentGroupsReport `json:"segments"`
}

// GroupsSchema is the version of the form of the report.
const GroupsSchema = 1

// SegmentGroupsReport is that of a segment that snoops.
type SegmentGroupsReport struct {
	Environment string               `json:"environment"`
	Segment     string               `json:"segment"`
	Queriers    []QuerierReport      `json:"queriers"` // none of a family that nobody asks in
	Members     []GroupMemberReport  `json:"members"`
	Groups      []GroupReport        `json:"groups"`
	Messages    []MessageCountReport `json:"messages"`
	Malformed   []MalformedReport    `json:"malformed"`
	Limits      []LimitReport        `json:"limits"`
}

// QuerierReport is who asks what the members want. Without port and remote it is
// this host.
type QuerierReport struct {
	Family   string     `json:"family"`
	Port     string     `json:"port,omitempty"`
	Remote   string     `json:"remote,omitempty"`
	MAC      string     `json:"mac"`
	Address  netip.Addr `json:"address"`
	Version  int        `json:"version"`
	Interval float64    `json:"interval_seconds"` // between its queries; 0: it has not told
	Until    *time.Time `json:"until,omitempty"`  // unless it is heard again
}

// GroupMemberReport is what is known of a port or remote for one family.
type GroupMemberReport struct {
	Port       string        `json:"port,omitempty"`   // its name, or
	Remote     string        `json:"remote,omitempty"` // the host's
	Family     string        `json:"family"`           // IPv4 or IPv6
	Groups     int           `json:"groups"`
	Router     *RouterReport `json:"router,omitempty"`     // a multicast router is there
	Version    int           `json:"version"`              // of MLD or IGMP in which it is told what others want
	Everything []FloodReason `json:"everything,omitempty"` // why it gets every group of the family
}

// FloodReason is why a port or remote gets every group of a family.
type FloodReason string

// The reasons.
const (
	FloodRouter FloodReason = "router" // there is a multicast router
	FloodLimit  FloodReason = "limit"  // a limit has refused a group of it
	FloodUnsure FloodReason = "unsure" // it has not told what it wants
)

// FloodReasons are all of them.
var FloodReasons = [...]FloodReason{FloodRouter, FloodLimit, FloodUnsure}

// RouterReport is a multicast router.
type RouterReport struct {
	MAC     string     `json:"mac"`
	Address netip.Addr `json:"address"`
	Until   time.Time  `json:"until"`
}

// GroupReport is a group that somebody wants.
type GroupReport struct {
	Group   netip.Addr          `json:"group"`
	Members []GroupWantedReport `json:"members"`
}

// GroupWantedReport is what a port or remote wants of a group.
type GroupWantedReport struct {
	Port      string           `json:"port,omitempty"`
	Remote    string           `json:"remote,omitempty"`
	Mode      string           `json:"mode"`            // include or exclude
	Until     *time.Time       `json:"until,omitempty"` // of exclude mode
	Sources   []SourceReport   `json:"sources"`
	Version   int              `json:"version"` // of MLD or IGMP that is spoken there
	Reporters []ReporterReport `json:"reporters"`
}

// SourceReport is a source, wanted until then, or in exclude mode not wanted.
type SourceReport struct {
	Address netip.Addr `json:"address"`
	Until   *time.Time `json:"until,omitempty"`
}

// ReporterReport is who has told.
type ReporterReport struct {
	MAC     string     `json:"mac"`
	Address netip.Addr `json:"address"`
	Seen    time.Time  `json:"seen"`
}

// MessageCountReport counts membership messages.
type MessageCountReport struct {
	From    string `json:"from"` // port, host or foreign
	Family  string `json:"family"`
	Kind    string `json:"kind"`
	Version int    `json:"version"`
	Count   uint64 `json:"count"`
}

// MalformedReport counts frames that were taken for such and are none.
type MalformedReport struct {
	From  string `json:"from"`
	Cause string `json:"cause"`
	Count uint64 `json:"count"`
}

// LimitReport counts what a limit has cut.
type LimitReport struct {
	Port   string `json:"port,omitempty"`
	Remote string `json:"remote,omitempty"`
	Limit  string `json:"limit"`
	Count  uint64 `json:"count"`
}

// Object is the segment's full name, environment/segment.
func (s SegmentGroupsReport) Object() string {
	return s.Environment + "/" + s.Segment
}

func groupsReportPath(runDir string) string {
	return filepath.Join(runDir, "groups.json")
}

// ReadGroups reads the last report. The error wraps fs.ErrNotExist if there is none.
func ReadGroups(runDir string) (*GroupsReport, error) {
	text, err := os.ReadFile(groupsReportPath(runDir))
	if err != nil {
		return nil, fmt.Errorf("reading the report of groups: %w", err)
	}
	var r GroupsReport
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("reading the report of groups %s: %w", groupsReportPath(runDir), err)
	}
	return &r, nil
}

// WriteGroups replaces the report in one step.
func WriteGroups(runDir string, r *GroupsReport) error {
	text, err := json.Marshal(r)
	if err == nil {
		err = replaceFile(groupsReportPath(runDir), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing the report of groups: %w", err)
	}
	return nil
}

// report tells what is known now.
func (g *groups) report(now time.Time) *GroupsReport {
	r := &GroupsReport{Schema: GroupsSchema, Updated: now, Full: g.full, Segments: []SegmentGroupsReport{}}
	for _, s := range g.segments {
		environment, segment, _ := strings.Cut(s.object, "/")
		sr := SegmentGroupsReport{Environment: environment, Segment: segment}
		for _, family := range membership.Families {
			if q, asks := s.table.Querier(family); asks {
				sr.Queriers = append(sr.Queriers, g.reportQuerier(now, family, q))
			}
		}
		for _, m := range s.table.Members() {
			sr.Members = append(sr.Members, g.reportMember(now, m))
		}
		for _, state := range s.table.Groups() {
			gr := GroupReport{Group: state.Group}
			for _, m := range state.Members {
				gr.Members = append(gr.Members, g.reportWanted(now, m))
			}
			sr.Groups = append(sr.Groups, gr)
		}
		g.reportCounters(&sr, s.table.Counters())
		r.Segments = append(r.Segments, sr)
	}
	slices.SortFunc(r.Segments, func(a, b SegmentGroupsReport) int { return strings.Compare(a.Object(), b.Object()) })
	return r
}

// name names a member: a port, or a remote. The zero one is this host, and has
// neither name.
func (g *groups) name(m membership.Member) (port, remote string) {
	if m == (membership.Member{}) {
		return "", ""
	}
	if m.Kind != membership.Port {
		return "", g.contents.RemoteNames[m.ID]
	}
	object := g.contents.PortNames[m.ID]
	return object[strings.LastIndexByte(object, '/')+1:], ""
}

// after is the time in so long; nil for no time.
func after(now time.Time, left time.Duration) *time.Time {
	if left <= 0 {
		return nil
	}
	at := now.Add(left)
	return &at
}

func (g *groups) reportQuerier(now time.Time, family membership.Family, q membership.QuerierState) QuerierReport {
	r := QuerierReport{
		Family: family.String(), MAC: q.MAC.String(), Address: q.Addr, Version: q.Version,
		Interval: q.QueryInterval.Seconds(), Until: after(now, q.Left),
	}
	r.Port, r.Remote = g.name(q.Member)
	return r
}

func (g *groups) reportMember(now time.Time, m membership.MemberState) GroupMemberReport {
	r := GroupMemberReport{Family: m.Family.String(), Groups: m.Groups, Version: m.Version}
	r.Port, r.Remote = g.name(m.Member)
	if m.Router > 0 {
		r.Router = &RouterReport{m.RouterMAC.String(), m.RouterAddr, now.Add(m.Router)}
	}
	for _, reason := range []struct {
		holds bool
		name  FloodReason
	}{{m.Router > 0, FloodRouter}, {m.Overflow, FloodLimit}, {m.Unsure, FloodUnsure}} {
		if reason.holds {
			r.Everything = append(r.Everything, reason.name)
		}
	}
	return r
}

func (g *groups) reportWanted(now time.Time, m membership.MemberGroupState) GroupWantedReport {
	r := GroupWantedReport{Mode: m.Mode.String(), Until: after(now, m.Left), Version: m.Version, Sources: []SourceReport{}, Reporters: []ReporterReport{}}
	r.Port, r.Remote = g.name(m.Member)
	for _, source := range m.Sources {
		r.Sources = append(r.Sources, SourceReport{source.Addr, after(now, source.Left)})
	}
	for _, reporter := range m.Reporters {
		r.Reporters = append(r.Reporters, ReporterReport{reporter.MAC.String(), reporter.Addr, now.Add(-reporter.Ago)})
	}
	return r
}

func (g *groups) reportCounters(r *SegmentGroupsReport, c membership.Counters) {
	for key, n := range c.Messages {
		r.Messages = append(r.Messages, MessageCountReport{key.From.String(), key.Family.String(), key.Kind.String(), key.Version, n})
	}
	for key, n := range c.Malformed {
		r.Malformed = append(r.Malformed, MalformedReport{key.From.String(), key.Cause.String(), n})
	}
	for key, n := range c.Limits {
		l := LimitReport{Limit: key.Limit.String(), Count: n}
		l.Port, l.Remote = g.name(key.Member)
		r.Limits = append(r.Limits, l)
	}
}
