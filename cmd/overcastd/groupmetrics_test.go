// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	stdmaps "maps"
	"net/netip"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
	"overcast/loader"
	"overcast/maps"
)

// testGroupMetrics has a segment with groups, whose MDB is believed, and another
// with relays, where a message was missed.
func testGroupMetrics(t *testing.T) *metrics {
	t.Helper()
	m, err := serveMetrics(t.Context(), "", newMaps(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m.describe(&loader.Report{Segments: []loader.SegmentReport{
		{Slot: 1, Environment: "shop", Segment: "lan"},
		{Slot: 2, Environment: "shop", Segment: "wide", Relay: &loader.RelayReport{VNI: 9, Zones: []loader.RelayZoneReport{
			{Zone: "az1", Own: true, Members: 3},
			{Zone: "az2", Members: 9, Relay: "b", Candidates: []loader.RelayCandidateReport{{Host: "b", Alive: true}}},
			{Zone: "az3", Members: 9, Candidates: []loader.RelayCandidateReport{{Host: "c"}}}}}},
		{Slot: 3, Environment: "shop", Segment: "plain"}, // without snooping
	}})
	video, mdns, feed := netip.MustParseAddr("ff05::45"), netip.MustParseAddr("ff02::fb"), netip.MustParseAddr("239.1.1.1")
	wanted := make([]loader.GroupWantedReport, 3)
	m.describeGroups(&loader.GroupsReport{Schema: loader.GroupsSchema, Segments: []loader.SegmentGroupsReport{{
		Environment: "shop", Segment: "lan",
		Queriers: []loader.QuerierReport{{Family: "IPv6"}},
		Members: []loader.GroupMemberReport{
			{Port: "web", Family: "IPv6", Everything: []loader.FloodReason{loader.FloodRouter, loader.FloodUnsure}},
			{Remote: "b", Family: "IPv6", Everything: []loader.FloodReason{loader.FloodUnsure}},
			{Port: "web", Family: "IPv4", Everything: []loader.FloodReason{loader.FloodLimit}},
			{Remote: "b", Family: "IPv4"}},
		Groups:    []loader.GroupReport{{Group: feed, Members: wanted[:1]}, {Group: mdns, Members: wanted[:2]}, {Group: video, Members: wanted}},
		Messages:  []loader.MessageCountReport{{From: "port", Family: "IPv6", Kind: "report", Version: 2, Count: 7}, {From: "foreign", Family: "IPv4", Kind: "query", Version: 3, Count: 8}},
		Malformed: []loader.MalformedReport{{From: "port", Cause: "checksum", Count: 2}, {From: "host", Cause: "checksum", Count: 3}},
		// Of a member that has gone what was counted is still there.
		Limits: []loader.LimitReport{{Port: "web", Limit: "groups_per_port", Count: 4}, {Limit: "groups_per_port", Count: 5}, {Remote: "b", Limit: "queries", Count: 6}},
	}, {Environment: "shop", Segment: "wide"}}})
	mdb, err := m.set.OpenMDB()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []bpf.MDBKey{
		maps.GroupKey(1, video, netip.Addr{}), maps.GroupKey(1, video, netip.MustParseAddr("2001:45::1")), maps.GroupKey(1, feed, netip.Addr{}),
		maps.UnknownKey(1, true), maps.UnknownKey(2, false),
	} {
		if err := mdb.Apply(map[bpf.MDBKey]maps.Receivers{key: {}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for slot, missed := range map[uint32]uint64{1: 0, 2: 1} {
		if err := m.set.Snoops.Put(slot, bpf.Snoop{Alive: maps.Monotonic(), Lifetime: 1 << 60, Missed: missed}); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// wantGroups is what there is to see of that.
func wantGroups() map[string]float64 {
	want := map[string]float64{
		"overcast_relay_alive{environment=shop,segment=wide,zone=az2}": 1,
		"overcast_relay_alive{environment=shop,segment=wide,zone=az3}": 0,

		"overcast_groups{environment=shop,family=IPv4,segment=lan}":  1,
		"overcast_groups{environment=shop,family=IPv6,segment=lan}":  2,
		"overcast_groups{environment=shop,family=IPv4,segment=wide}": 0,
		"overcast_groups{environment=shop,family=IPv6,segment=wide}": 0,

		"overcast_group_members{environment=shop,family=IPv4,segment=lan}":  1,
		"overcast_group_members{environment=shop,family=IPv6,segment=lan}":  5,
		"overcast_group_members{environment=shop,family=IPv4,segment=wide}": 0,
		"overcast_group_members{environment=shop,family=IPv6,segment=wide}": 0,

		"overcast_querier_present{environment=shop,family=IPv4,segment=lan}":  0,
		"overcast_querier_present{environment=shop,family=IPv6,segment=lan}":  1,
		"overcast_querier_present{environment=shop,family=IPv4,segment=wide}": 0,
		"overcast_querier_present{environment=shop,family=IPv6,segment=wide}": 0,

		"overcast_group_flooded_members{environment=shop,family=IPv4,reason=limit,segment=lan}":   1,
		"overcast_group_flooded_members{environment=shop,family=IPv4,reason=router,segment=lan}":  0,
		"overcast_group_flooded_members{environment=shop,family=IPv4,reason=unsure,segment=lan}":  0,
		"overcast_group_flooded_members{environment=shop,family=IPv6,reason=limit,segment=lan}":   0,
		"overcast_group_flooded_members{environment=shop,family=IPv6,reason=router,segment=lan}":  1,
		"overcast_group_flooded_members{environment=shop,family=IPv6,reason=unsure,segment=lan}":  2,
		"overcast_group_flooded_members{environment=shop,family=IPv4,reason=limit,segment=wide}":  0,
		"overcast_group_flooded_members{environment=shop,family=IPv4,reason=router,segment=wide}": 0,
		"overcast_group_flooded_members{environment=shop,family=IPv4,reason=unsure,segment=wide}": 0,
		"overcast_group_flooded_members{environment=shop,family=IPv6,reason=limit,segment=wide}":  0,
		"overcast_group_flooded_members{environment=shop,family=IPv6,reason=router,segment=wide}": 0,
		"overcast_group_flooded_members{environment=shop,family=IPv6,reason=unsure,segment=wide}": 0,

		"overcast_membership_messages_total{environment=shop,family=IPv6,from=port,kind=report,segment=lan,version=2}":   7,
		"overcast_membership_messages_total{environment=shop,family=IPv4,from=foreign,kind=query,segment=lan,version=3}": 8,

		"overcast_membership_missed{environment=shop,segment=lan}":  0,
		"overcast_membership_missed{environment=shop,segment=wide}": 1,

		"overcast_mdb_entries{environment=shop,family=IPv4,segment=lan}":  1,
		"overcast_mdb_entries{environment=shop,family=IPv6,segment=lan}":  3,
		"overcast_mdb_entries{environment=shop,family=IPv4,segment=wide}": 1,
		"overcast_mdb_entries{environment=shop,family=IPv6,segment=wide}": 0,
		"overcast_mdb_max_entries{}":                                      16,
	}
	// Every cause and limit is there from the start.
	for _, segment := range []string{"lan", "wide"} {
		for _, cause := range []string{"unreadable", "unrelated", "truncated", "header", "fragment", "checksum", "hop_limit", "router_alert", "source", "destination", "group", "record"} {
			want["overcast_membership_malformed_total{cause="+cause+",environment=shop,segment="+segment+"}"] = 0
		}
		for _, limit := range []string{"groups_per_port", "groups", "sources", "queries"} {
			want["overcast_membership_limited_total{environment=shop,limit="+limit+",segment="+segment+"}"] = 0
		}
	}
	want["overcast_membership_malformed_total{cause=checksum,environment=shop,segment=lan}"] = 5
	want["overcast_membership_limited_total{environment=shop,limit=groups_per_port,segment=lan}"] = 9
	want["overcast_membership_limited_total{environment=shop,limit=queries,segment=lan}"] = 6
	return want
}

func TestGroupMetrics(t *testing.T) {
	got := samples(gather(t, testGroupMetrics(t)))
	stdmaps.DeleteFunc(got, func(name string, _ float64) bool {
		return !regexp.MustCompile(`^overcast_(group|membership|mdb|querier|relay)`).MatchString(name)
	})
	if diff := cmp.Diff(wantGroups(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
