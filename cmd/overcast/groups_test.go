// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
	"overcast/loader"
	"overcast/maps"
)

var (
	video  = netip.MustParseAddr("ff05::45")
	mdns   = netip.MustParseAddr("ff02::fb")
	feed   = netip.MustParseAddr("239.1.1.1")
	hidden = netip.MustParseAddr("239.9.9.9") // wanted, and without an entry
	camera = netip.MustParseAddr("2001:45::c")
	guest  = netip.MustParseAddr("fe80::1")
)

// pinnedGroups is pinned with groups in the MDB of shop/lan, which snoops, and
// a report of who wants them. The agent said a moment ago that it reads.
func pinnedGroups(t *testing.T) (flags []string, set *maps.Set) {
	t.Helper()
	flags, set = pinned(t)
	mdb, err := set.OpenMDB()
	if err != nil {
		t.Fatal(err)
	}
	err = mdb.Apply(map[bpf.MDBKey]maps.Receivers{
		maps.GroupKey(1, video, netip.Addr{}): {Ports: []uint32{7}, Remotes: []uint32{1}},
		maps.GroupKey(1, video, camera):       {Ports: []uint32{7}},
		maps.GroupKey(1, feed, netip.Addr{}):  {Remotes: []uint32{2, 1 | bpf.Relay}, Zone: []uint32{2}},
		maps.UnknownKey(1, false):             {},
	}, nil)
	now := time.Now()
	in := func(d time.Duration) *time.Time {
		at := now.Add(d)
		return &at
	}
	web := loader.ReporterReport{MAC: "02:00:00:00:00:01", Address: guest, Seen: now.Add(-time.Hour)}
	err = errors.Join(err,
		set.SetSnooping(maps.Monotonic(), map[uint32]maps.Snooping{1: {Reading: true, Lifetime: 100 * time.Hour}}),
		loader.WriteGroups(flags[3], &loader.GroupsReport{Schema: 1, Updated: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Segments: []loader.SegmentGroupsReport{{
			Environment: "shop", Segment: "lan",
			Queriers: []loader.QuerierReport{
				{Family: "IPv4", MAC: "0a:6f:63:00:00:01", Address: netip.IPv4Unspecified(), Version: 3, Interval: 125}},
			Members: []loader.GroupMemberReport{
				{Port: "web", Family: "IPv4", Version: 3, Everything: []loader.FloodReason{loader.FloodLimit}},
				{Remote: "b", Family: "IPv4", Version: 3},
				{Port: "web", Family: "IPv6", Groups: 1, Version: 2},
				{Remote: "b", Family: "IPv6", Version: 2, Router: &loader.RouterReport{MAC: "02:00:00:00:00:09", Address: guest, Until: now.Add(2 * time.Hour)},
					Everything: []loader.FloodReason{loader.FloodRouter, loader.FloodUnsure}}},
			Groups: []loader.GroupReport{
				{Group: hidden, Members: []loader.GroupWantedReport{{Remote: "b", Mode: "exclude", Until: in(2 * time.Hour), Version: 2}}},
				{Group: mdns, Members: []loader.GroupWantedReport{{Port: "web", Mode: "exclude", Until: in(2 * time.Hour), Version: 2}}},
				{Group: video, Members: []loader.GroupWantedReport{
					{Port: "web", Mode: "exclude", Until: in(2 * time.Hour), Version: 2, Reporters: []loader.ReporterReport{web},
						Sources: []loader.SourceReport{{Address: guest}, {Address: camera, Until: in(3 * time.Hour)}}},
					{Remote: "b", Mode: "exclude", Until: in(2 * time.Hour), Version: 2}}},
			},
			Limits: []loader.LimitReport{{Port: "web", Limit: "sources", Count: 1}, {Port: "web", Limit: "groups_per_port", Count: 3}, {Remote: "b", Limit: "groups", Count: 1}},
		}}}))
	if err != nil {
		t.Fatal(err)
	}
	return flags, set
}

func items(all ...any) []any {
	if all == nil {
		return []any{}
	}
	return all
}

func TestGroups(t *testing.T) {
	flags, _ := pinnedGroups(t)
	all := [][]any{
		{"shop/lan", "IPv4", "239.1.1.1", "*", "", items(), items("c"), items("b"), items("c")},
		{"shop/lan", "IPv4", "239.9.9.9", "*", "", items(), items(), items(), items()},
		{"shop/lan", "IPv4", "*", "*", "", items(), items(), items(), items()},
		{"shop/lan", "IPv6", "ff02::fb", "*", "no_querier", items(), items(), items(), items()},
		{"shop/lan", "IPv6", "ff05::45", "*", "", items("shop/lan/web"), items("b"), items(), items()},
		{"shop/lan", "IPv6", "ff05::45", "2001:45::c", "", items("shop/lan/web"), items(), items(), items()},
	}
	keys := strings.Fields("segment family group source flooded ports remotes relays zone")
	for filter, want := range map[string][][]any{
		"":                   all,
		"--environment shop": all,
		"--segment shop/lan": all,
		"--segment lab/lan":  nil,
		"--environment nope": nil,
		"--port web":         all[3:], // what it gets, and what it wants
		"--port late":        all[3:4],
		"--port nope":        nil,
	} {
		got := rows(t, "groups", append(strings.Fields(filter), flags...)...)
		if diff := cmp.Diff(want, pick(got, keys...)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", filter, diff)
		}
	}
	got := rows(t, "groups", flags...)
	members := got[4]["members"].([]any)
	web := members[0].(map[string]any)
	if diff := cmp.Diff([]any{"port", "shop/lan/web", "exclude", 2.0}, pick([]map[string]any{web}, "kind", "where", "mode", "version")[0]); diff != "" || len(members) != 2 {
		t.Errorf("the first of %d members (-want +got):\n%s", len(members), diff)
	}
	sources, reporter := web["sources"].([]any), web["reporters"].([]any)[0].(map[string]any)
	if len(sources) != 2 || !cmp.Equal(sources[0], map[string]any{"address": "fe80::1"}) || sources[1].(map[string]any)["address"] != "2001:45::c" || reporter["mac"] != "02:00:00:00:00:01" || reporter["address"] != "fe80::1" {
		t.Errorf("the member's sources and reporters are %v", web)
	}
	// Times are absolute.
	for _, text := range []any{web["until"], sources[1].(map[string]any)["until"], reporter["seen"]} {
		if _, err := time.Parse(time.RFC3339Nano, text.(string)); err != nil {
			t.Errorf("%v is no time: %v", text, err)
		}
	}
	// A source's row has those that have told of it, with it alone.
	if members := got[5]["members"].([]any); len(members) != 1 || len(members[0].(map[string]any)["sources"].([]any)) != 1 {
		t.Errorf("the source's members are %v", members)
	}
	if members := got[0]["members"].([]any); len(members) != 0 {
		t.Errorf("nobody has told of %s, but %v", feed, members)
	}
}

// snooped are the rows of the second list.
func snooped(t *testing.T, args ...string) []map[string]any {
	t.Helper()
	got := overcast(t, append([]string{"groups", "-o", "json"}, args...)...)
	var document struct{ Segments []map[string]any }
	if err := json.Unmarshal([]byte(got.out), &document); err != nil || got.code != 0 {
		t.Fatalf("%+v: %v", got, err)
	}
	return document.Segments
}

// Whoever asks why everybody gets a group finds out.
func TestGroupsOfSegments(t *testing.T) {
	flags, set := pinnedGroups(t)
	keys := strings.Fields("segment family mdb entries unknown_groups full")
	want := [][]any{
		{"shop/lan", "IPv4", "current", 2.0, "drop", ""}, {"shop/lan", "IPv6", "current", 2.0, "flood", ""},
		{"lab/lan", "IPv4", "off", 0.0, "flood", ""}, {"lab/lan", "IPv6", "off", 0.0, "flood", ""},
	}
	for filter, want := range map[string][][]any{"": want, "--port late": want[:2], "--environment lab": want[2:], "--port nope": nil} {
		if diff := cmp.Diff(want, pick(snooped(t, append(strings.Fields(filter), flags...)...), keys...)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", filter, diff)
		}
	}
	got := snooped(t, flags...)
	for i, wanted := range []struct{ everything, routers, querier any }{
		{items(map[string]any{"kind": "port", "where": "shop/lan/web", "reasons": items("limit"), "limits": items("groups_per_port")}), items(),
			map[string]any{"kind": "host", "where": "a", "mac": "0a:6f:63:00:00:01", "address": "0.0.0.0", "version": 3.0, "interval_seconds": 125.0}},
		{items(map[string]any{"kind": "remote", "where": "b", "reasons": items("router", "unsure"), "limits": items()}),
			items(map[string]any{"kind": "remote", "where": "b", "mac": "02:00:00:00:00:09", "address": "fe80::1"}), nil},
		{items(), items(), nil},
	} {
		for _, router := range got[i]["routers"].([]any) {
			delete(router.(map[string]any), "until")
		}
		if diff := cmp.Diff(wanted.everything, got[i]["everything"]); diff != "" {
			t.Errorf("everything (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(wanted.routers, got[i]["routers"]); diff != "" {
			t.Errorf("routers (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(wanted.querier, got[i]["querier"]); diff != "" {
			t.Errorf("querier (-want +got):\n%s", diff)
		}
	}

	// Where the MDB is not believed, nothing is pruned, and it is said why.
	now := maps.Monotonic()
	for _, c := range []struct {
		snoop      bpf.Snoop
		state, why string
	}{
		{bpf.Snoop{}, "unread", "all flooded: no agent reads what members ask for"},
		{bpf.Snoop{Alive: now, Lifetime: uint64(100 * time.Hour), Missed: now - uint64(time.Minute)}, "missed", `all flooded: a message was missed 1m\d+s ago, and the agent has yet to ask again`},
		{bpf.Snoop{Alive: now - uint64(2*time.Minute), Lifetime: uint64(time.Minute)}, "expired", `all flooded: the agent is silent for 2m\d+s`},
		{bpf.Snoop{Alive: now - uint64(2*time.Minute), Lifetime: uint64(100 * time.Hour)}, "current", `in use; the agent is silent for 2m\d+s, so until 99h5\dm\d+s from now, or the next report`},
	} {
		slot := uint32(1)
		if err := set.Snoops.Put(&slot, &c.snoop); err != nil {
			t.Fatal(err)
		}
		flooded := c.state
		if c.state == "current" {
			flooded = ""
		}
		if got := rows(t, "groups", flags...); got[0]["flooded"] != flooded || snooped(t, flags...)[0]["mdb"] != c.state {
			t.Errorf("%s: got %v, %v", c.state, got[0], snooped(t, flags...)[0])
		}
		got := overcast(t, append([]string{"groups"}, flags...)...)
		if !regexp.MustCompile(c.why).MatchString(got.out) {
			t.Errorf("%s: %q is not in\n%s", c.state, c.why, got.out)
		}
		if flooded != "" && !regexp.MustCompile(`(?m)^shop/lan  239\.1\.1\.1 +\* +all +all *$`).MatchString(got.out) {
			t.Errorf("%s: it is not told that all is flooded:\n%s", c.state, got.out)
		}
	}
}

func TestGroupsTable(t *testing.T) {
	enterNamespace(t)
	flags, _ := pinnedGroups(t)
	lock, err := loader.AcquireLock(flags[3])
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	matches := func(args []string, lines ...string) {
		t.Helper()
		got := overcast(t, append(append([]string{"groups"}, args...), flags...)...)
		if got.code != 0 || got.errs != "" {
			t.Errorf("%+v", got)
		}
		for _, line := range lines {
			if !regexp.MustCompile(`(?m)^` + line + ` *$`).MatchString(got.out) {
				t.Errorf("%v: %q is not in\n%s", args, line, got.out)
			}
		}
	}
	matches(nil,
		`SEGMENT   GROUP       SOURCE      PORTS  REMOTES`,
		`shop/lan  239\.1\.1\.1   \*           -      c, b \(relay\)`,
		`shop/lan  other IPv4  \*           -      -`,
		`shop/lan  ff02::fb    \*           all    all`,
		`shop/lan  ff05::45    \*           web    b`,
		`shop/lan  ff05::45    2001:45::c  web    -`,
		``,
		`SEGMENT   FAMILY  MDB                           UNKNOWN  QUERIER    GET ALL`,
		`shop/lan  IPv4    in use                        dropped  this host  limit groups_per_port: web`,
		`shop/lan  IPv6    in use                        flooded  none       router: b`,
		`                                                                    unsure: b`,
		`lab/lan   IPv4    all flooded: snooping is off  flooded  -          -`)
	matches([]string{"-o", "wide"},
		`shop/lan  239\.1\.1\.1 .* c, b \(relay\)  c .*`,
		`shop/lan  ff05::45    \*  .* web     exclude  (2h0m0s|1h59m\d+s)  not fe80::1, 2001:45::c (3h0m0s|2h59m\d+s)  MLDv2    02:00:00:00:00:01 fe80::1 1h0m\d+s ago`,
		` +b       exclude  (2h0m0s|1h59m\d+s)  -  +MLDv2    -`,
		`shop/lan  IPv6    in use .* b, fe80::1, 02:00:00:00:00:09, (2h0m0s|1h59m\d+s)  router: b`)
}

// What the agent has told is its last word when it is gone, and where there is
// none, groups are shown as the maps have them.
func TestGroupsWithoutAgent(t *testing.T) {
	enterNamespace(t)
	flags, _ := pinnedGroups(t)
	const stale = "overcastd is not running: names, members and times are its last, of 2026-01-02T03:04:05Z; where frames go is live\n"
	if got := overcast(t, append([]string{"groups"}, flags...)...); got.code != 0 || got.errs != stale {
		t.Errorf("got %+v", got)
	}
	path := filepath.Join(flags[3], "groups.json")
	for text, want := range map[string]string{
		"":              "the agent has told nothing of groups",
		"{":             "reading the report of groups " + path + ": unexpected end of JSON input",
		`{"schema": 2}`: "the agent's report of groups has schema 2, and this overcast reads 1",
	} {
		err := os.Remove(path)
		if text != "" {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := overcast(t, append([]string{"groups"}, flags...)...)
		if got.code != 0 || got.errs != want+": who asks for them is not known, where they go is\n" || !regexp.MustCompile(`(?m)^shop/lan  ff05::45 +\* +web +b *$`).MatchString(got.out) {
			t.Errorf("%q: got %+v", text, got)
		}
		if text == "" {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	flags[3] = t.TempDir()
	got := overcast(t, append([]string{"groups", "-o", "json"}, flags...)...)
	want := [][]any{
		{"?/1", "239.1.1.1", items(), items("slot 2"), items("slot 1")}, {"?/1", "*", items(), items(), items()},
		{"?/1", "ff05::45", items("ifindex 7"), items("slot 1"), items()}, {"?/1", "ff05::45", items("ifindex 7"), items(), items()}}
	if diff := cmp.Diff(want, pick(rowsOf(t, "groups", got), "segment", "group", "ports", "remotes", "relays")); diff != "" {
		t.Errorf("by number (-want +got):\n%s", diff)
	}
}

func TestRawGroups(t *testing.T) {
	flags, set := pinnedGroups(t)
	contents := func(filter ...string) map[string][]any {
		all := make(map[string][]any)
		got := rows(t, "groups", append(append(filter, "--raw"), flags...)...)
		if diff := cmp.Diff([][]any{{"oc_mdb", 4.0, 16.0}, {"oc_mdb_floods", 4.0, 64.0}, {"oc_groups", 4.0, 17.0}, {"oc_snoops", 1.0, 4096.0}, {"oc_events", 0.0, float64(set.Events.MaxEntries())}}, pick(got, "map", "entries", "max_entries")); diff != "" {
			t.Errorf("%v (-want +got):\n%s", filter, diff)
		}
		for _, m := range got {
			all[m["map"].(string)] = m["content"].([]any)
		}
		return all
	}
	count := func(contents map[string][]any) map[string]int {
		counts := make(map[string]int)
		for name, content := range contents {
			counts[name] = len(content)
		}
		return counts
	}
	all := contents()
	// An element that is all zeros, as of a group that nobody wants, is in use too.
	for filter, want := range map[string]map[string]int{
		"":                   {"oc_mdb": 4, "oc_mdb_floods": 4, "oc_groups": 4, "oc_snoops": 1, "oc_events": 0},
		"--segment shop/lan": {"oc_mdb": 4, "oc_mdb_floods": 4, "oc_groups": 4, "oc_snoops": 1, "oc_events": 0},
		"--segment lab/lan":  {"oc_mdb": 0, "oc_mdb_floods": 0, "oc_groups": 0, "oc_snoops": 0, "oc_events": 0},
	} {
		if diff := cmp.Diff(want, count(contents(strings.Fields(filter)...))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", filter, diff)
		}
	}
	found := false
	for _, entry := range all["oc_mdb"] {
		key := entry.(map[string]any)["key"]
		found = found || cmp.Equal(key, map[string]any{"segment": 1.0, "group": "ff05::45", "source": "2001:45::c"})
	}
	if !found {
		t.Errorf("the MDB is %v", all["oc_mdb"])
	}
	// The lists that the groups name are filtered by segment too.
	lists := func(filter string) int {
		for _, m := range rows(t, "groups", append([]string{"--raw", "--segment", filter}, flags...)...) {
			if m["map"] == "oc_mdb_floods" {
				return len(m["content"].([]any))
			}
		}
		return -1
	}
	if got := lists("shop/lan"); got != 4 {
		t.Errorf("the groups of shop/lan have %d lists, want four", got)
	}
	if got := lists("lab/lan"); got != 0 {
		t.Errorf("the groups of lab/lan have %d lists, want none", got)
	}
}
