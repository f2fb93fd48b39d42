// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"overcast/loader/membership"
	"overcast/policy"
)

// toldGroups is the report of a world in which the port one wants a group and
// is over its limit, a router is heard behind two, b is silent and c wants a
// source.
func toldGroups(t *testing.T) (*groupsWorld, *GroupsReport) {
	t.Helper()
	multicast := policy.DefaultMulticast()
	multicast.GroupsPerPort = 1
	w := newGroupsWorld(t, multicast)
	w.told(onHost(w.c), record(membership.ModeIsInclude, camera))
	w.toldAll(onHost(w.c))
	w.told(onPort(12))
	w.told(onPort(11))
	w.later(startup)
	w.told(onPort(11), record(membership.ChangeToExclude, studio))
	w.told(onPort(11), membership.Record{Type: membership.ChangeToExclude, Group: netip.MustParseAddr("ff05::46")})
	query := &membership.Message{Kind: membership.Query, Family: membership.IPv6, Version: 2, SourceMAC: membership.MAC{2, 0, 0, 0, 0, 9},
		Source: netip.MustParseAddr("fe80::9"), MaxResponse: 10 * time.Second, Robustness: 2, QueryInterval: 125 * time.Second}
	w.receive(w.now, Event{Segment: w.segment, Ifindex: 12, Frame: membership.Build(query)})
	w.receive(w.now, Event{Segment: w.segment, Ifindex: 12, Frame: membership.Build(query)[:40]})
	return w, w.report(w.now)
}

var compareAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestGroupsReport(t *testing.T) {
	w, r := toldGroups(t)
	if r.Schema != GroupsSchema || !r.Updated.Equal(w.now) || len(r.Segments) != 1 || r.Segments[0].Object() != "shop/lan" {
		t.Fatalf("report %+v", r)
	}
	s := r.Segments[0]
	in := func(d time.Duration) *time.Time {
		at := w.now.Add(d)
		return &at
	}
	const listening, absence = 260 * time.Second, 255 * time.Second
	want := []GroupReport{{Group: video, Members: []GroupWantedReport{
		{Port: "one", Mode: "exclude", Until: in(listening), Sources: []SourceReport{{Address: studio}}, Version: 2,
			Reporters: []ReporterReport{{MAC: "02:00:00:00:00:01", Address: membership.ProxyAddress(membership.MAC{2, 0, 0, 0, 0, 1}), Seen: w.now}}},
		{Remote: "c", Mode: "include", Sources: []SourceReport{{Address: camera, Until: in(listening - startup)}}, Version: 2,
			Reporters: []ReporterReport{{MAC: membership.ProxyMAC(w.remotes[w.c].VTEP).String(), Address: membership.ProxyAddress(membership.ProxyMAC(w.remotes[w.c].VTEP)), Seen: w.now.Add(-startup)}}},
	}}}
	if diff := cmp.Diff(want, s.Groups, compareAddrs, cmpopts.EquateApproxTime(time.Microsecond)); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	queriers := []QuerierReport{
		{Family: "IPv4", MAC: w.proxy().String(), Address: netip.IPv4Unspecified(), Version: 3, Interval: 125},
		{Family: "IPv6", Port: "two", MAC: "02:00:00:00:00:09", Address: netip.MustParseAddr("fe80::9"), Version: 2, Interval: 125, Until: in(absence)},
	}
	if diff := cmp.Diff(queriers, s.Queriers, compareAddrs, cmpopts.EquateApproxTime(time.Microsecond)); diff != "" {
		t.Errorf("queriers (-want +got):\n%s", diff)
	}
	everything := make(map[string][]FloodReason)
	for _, m := range s.Members {
		if len(m.Everything) > 0 {
			everything[m.Family+" "+m.Port+m.Remote] = m.Everything
		}
		if (m.Router != nil) != (m.Port == "two" && m.Family == "IPv6") {
			t.Errorf("the router of %+v is %+v", m, m.Router)
		}
	}
	reasons := map[string][]FloodReason{"IPv4 b": {FloodUnsure}, "IPv4 c": {FloodUnsure}, "IPv6 b": {FloodUnsure}, "IPv6 one": {FloodLimit}, "IPv6 two": {FloodRouter}}
	if diff := cmp.Diff(reasons, everything); diff != "" {
		t.Errorf("who gets everything (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]LimitReport{{Port: "one", Limit: "groups_per_port", Count: 1}}, s.Limits); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	if len(s.Malformed) != 1 || s.Malformed[0].From != "port" || s.Malformed[0].Count != 1 {
		t.Errorf("malformed: %+v", s.Malformed)
	}
	messages := make(map[MessageCountReport]bool)
	for _, m := range s.Messages {
		messages[m] = true
	}
	counted := map[MessageCountReport]bool{{"port", "IPv6", "report", 2, 4}: true, {"host", "IPv6", "report", 2, 3}: true, {"port", "IPv6", "query", 2, 1}: true}
	if diff := cmp.Diff(counted, messages); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

func TestGroupsReportOnDisk(t *testing.T) {
	_, want := toldGroups(t)
	want.Full = "no room"
	dir := t.TempDir()
	if _, err := ReadGroups(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no report gave %v", err)
	}
	for range 2 { // it is replaced
		if err := WriteGroups(dir, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadGroups(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, compareAddrs, cmpopts.EquateEmpty(), cmpopts.EquateApproxTime(0)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range regexp.MustCompile(`"([^"]+)":`).FindAllStringSubmatch(string(text), -1) {
		if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(key[1]) {
			t.Errorf("the key %q is not in snake case", key[1])
		}
	}
	path := filepath.Join(dir, "groups.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadGroups(dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

// What a report would tell anew turns its version, also where the MDB stays as
// it is: here nobody wants a group.
func TestGroupsVersion(t *testing.T) {
	w := newGroupsWorld(t, policy.DefaultMulticast())
	w.toldAll(onHost(w.b))
	w.later(startup)
	unsure := func() bool {
		for _, m := range w.report(w.now).Segments[0].Members {
			if m.Remote == "b" && m.Family == "IPv6" {
				return len(m.Everything) > 0
			}
		}
		t.Fatal("b is no member")
		return false
	}
	before := w.version
	w.later(time.Second)
	if unsure() || w.version != before {
		t.Errorf("unsure: %t; version %d, was %d; want no change", unsure(), w.version, before)
	}
	w.later(5 * time.Minute)
	if !unsure() || w.version == before {
		t.Errorf("b has been silent; unsure: %t; version %d, was %d", unsure(), w.version, before)
	}
}

// What the MDB has no room for is told until there is room.
func TestGroupsReportOfAFullMDB(t *testing.T) {
	w := newGroupsWorld(t, policy.DefaultMulticast())
	for i := range byte(testLimits.Groups + 1) {
		group := netip.AddrFrom16([16]byte{0: 0xff, 1: 5, 15: i + 1})
		w.told(onPort(11), membership.Record{Type: membership.ChangeToExclude, Group: group})
	}
	if got := w.report(w.now).Full; !strings.Contains(got, "raise limits.groups") {
		t.Errorf("full: %q", got)
	}
	w.told(onPort(11), membership.Record{Type: membership.ChangeToInclude, Group: netip.AddrFrom16([16]byte{0: 0xff, 1: 5, 15: 1})})
	w.later(5 * time.Second)
	w.later(2 * retryInterval)
	if got := w.report(w.now).Full; got != "" {
		t.Errorf("there is room: %q", got)
	}
}
