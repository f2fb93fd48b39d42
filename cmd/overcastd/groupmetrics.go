// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"overcast/loader"
	"overcast/loader/membership"
	"overcast/maps"
)

func groupDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("overcast_"+name, help, append([]string{"environment", "segment"}, labels...), nil)
}

var (
	groupsKnown    = groupDesc("groups", "Groups that somebody wants.", "family")
	groupMembers   = groupDesc("group_members", "Ports and remotes that want a group, summed over the groups.", "family")
	querierPresent = groupDesc("querier_present", "Whether anybody asks the members what they want: this host, or a router.", "family")
	groupFlooded   = groupDesc("group_flooded_members", "Ports and remotes that get every group, by reason.", "family", "reason")
	groupMessages  = groupDesc("membership_messages_total", "Messages of MLD, IGMP, PIM and router discovery that were received, by what they came from.", "family", "kind", "version", "from")
	groupMalformed = groupDesc("membership_malformed_total", "Frames that were taken for such messages and are none, by cause.", "cause")
	groupLimited   = groupDesc("membership_limited_total", "Records and queries that a limit has cut.", "limit")
	groupMissed    = groupDesc("membership_missed", "Whether all groups are flooded as the MDB is not believed: something was missed, or the agent does not read.")
	mdbEntries     = groupDesc("mdb_entries", "Entries of the MDB: groups, their sources, and what becomes of unknown groups.", "family")
	mdbCapacity    = prometheus.NewDesc("overcast_mdb_max_entries", "Entries that the MDB has room for, of all segments (limits.groups).", nil, nil)
	relayAlive     = groupDesc("relay_alive", "Whether a host that may relay to the zone answers probes; if not, each member is sent to.", "zone")
)

func describeGroupMetrics(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{groupsKnown, groupMembers, querierPresent, groupFlooded, groupMessages, groupMalformed, groupLimited, groupMissed, mdbEntries, mdbCapacity, relayAlive} {
		out <- d
	}
}

// groupMetrics are what the agent has told of groups last, and what the
// programs do.
func (m *metrics) groupMetrics(out chan<- prometheus.Metric, report *loader.Report, groups *loader.GroupsReport) {
	for _, s := range report.Segments {
		if s.Relay == nil {
			continue
		}
		for _, zone := range s.Relay.Zones {
			if len(zone.Candidates) > 0 {
				out <- gauge(relayAlive, zone.Relay != "", s.Environment, s.Segment, zone.Zone)
			}
		}
	}
	for i := range groups.Segments {
		segmentGroupMetrics(out, &groups.Segments[i])
	}
	m.mdbMetrics(out, report, groups)
}

// value is a metric with a number.
func value(desc *prometheus.Desc, kind prometheus.ValueType, n uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(desc, kind, float64(n), labels...)
}

func segmentGroupMetrics(out chan<- prometheus.Metric, s *loader.SegmentGroupsReport) {
	for _, family := range membership.Families {
		name := family.String()
		var groups, members uint64
		for _, g := range s.Groups {
			if membership.FamilyOf(g.Group) == family {
				groups++
				members += uint64(len(g.Members))
			}
		}
		flooded, present := make(map[loader.FloodReason]uint64), false
		for _, member := range s.Members {
			if member.Family == name {
				for _, reason := range member.Everything {
					flooded[reason]++
				}
			}
		}
		for _, q := range s.Queriers {
			present = present || q.Family == name
		}
		out <- value(groupsKnown, prometheus.GaugeValue, groups, s.Environment, s.Segment, name)
		out <- value(groupMembers, prometheus.GaugeValue, members, s.Environment, s.Segment, name)
		out <- gauge(querierPresent, present, s.Environment, s.Segment, name)
		for _, reason := range loader.FloodReasons {
			out <- value(groupFlooded, prometheus.GaugeValue, flooded[reason], s.Environment, s.Segment, name, string(reason))
		}
	}
	for _, c := range s.Messages {
		out <- value(groupMessages, prometheus.CounterValue, c.Count, s.Environment, s.Segment, c.Family, c.Kind, strconv.Itoa(c.Version), c.From)
	}
	// Causes and limits are there from the start, so that a rate can be taken of
	// the first of them.
	malformed, limited := make(map[string]uint64), make(map[string]uint64)
	for _, c := range s.Malformed {
		malformed[c.Cause] += c.Count
	}
	for _, c := range s.Limits {
		limited[c.Limit] += c.Count
	}
	for _, cause := range membership.Causes() {
		out <- value(groupMalformed, prometheus.CounterValue, malformed[cause.String()], s.Environment, s.Segment, cause.String())
	}
	for _, limit := range membership.Limits() {
		out <- value(groupLimited, prometheus.CounterValue, limited[limit.String()], s.Environment, s.Segment, limit.String())
	}
}

// mdbMetrics are read from the maps.
func (m *metrics) mdbMetrics(out chan<- prometheus.Metric, report *loader.Report, groups *loader.GroupsReport) {
	out <- value(mdbCapacity, prometheus.GaugeValue, uint64(m.set.MDB.MaxEntries()))
	snoops, err := m.set.ReadSnoops()
	if err != nil {
		m.log.Warn("metrics", "error", err)
		return
	}
	elements, err := m.set.GroupElements()
	if err != nil {
		m.log.Warn("metrics", "error", err)
		return
	}
	type place struct {
		segment uint32
		family  membership.Family
	}
	entries := make(map[place]uint64)
	for key := range elements {
		entries[place{key.Segment, membership.FamilyOf(key.Group.NetAddr())}]++
	}
	slots := make(map[string]uint32)
	for _, s := range report.Segments {
		slots[s.Object()] = s.Slot
	}
	now := maps.Monotonic()
	for _, s := range groups.Segments {
		slot := slots[s.Object()]
		out <- gauge(groupMissed, maps.JudgeMDB(snoops[slot], now) != maps.MDBCurrent, s.Environment, s.Segment)
		for _, family := range membership.Families {
			out <- value(mdbEntries, prometheus.GaugeValue, entries[place{slot, family}], s.Environment, s.Segment, family.String())
		}
	}
}
