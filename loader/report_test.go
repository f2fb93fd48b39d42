// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"overcast/bpf"
	"overcast/maps"
	"overcast/policy"
)

// fullReport has no empty field, so that one that is lost shows.
func fullReport() Report {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	addr := netip.MustParseAddr("2001:db8::1")
	return Report{
		Schema: ReportSchema, Version: "v1", PID: 1, Started: at, Updated: at,
		Host: "a", VTEP: netip.MustParseAddr("192.0.2.1"), Underlay: addr, Encapsulation: "vxlan", TunnelPort: 4789,
		Attach: "tcx", Decap: DecapAuto, Features: Features{TCX: true, DecapFlags: true},
		Tunnel:   TunnelReport{Device: "oc0", Ifindex: 3, Error: "held"},
		Uplinks:  []UplinkReport{{"eth0", 2, 1500, DecapTC, "a veth"}},
		Segments: []SegmentReport{{1, "shop", "lan", 4500, 1450, 1400, &RelayReport{4501, 8, []RelayZoneReport{{"az2", true, 9, "c", []RelayCandidateReport{{"c", true}}}}}}},
		Ports: []PortReport{{Slot: 1, Environment: "shop", Segment: "lan", Port: "web", Interface: "tap0", Ifindex: 5, State: PortUp, DropsIfindex: 5, MTU: 1450, DeviceMTU: 1500,
			MAC: "02:00:00:00:00:01", ExtraMACs: []string{"any"}, IPs: []netip.Addr{addr}}},
		Remotes:  []RemoteReport{{1, "b", addr, "az1", true, 1500, "eth0", PathReport{1400, "icmp", "lost"}, &ProbeReport{true, at, 0.5, 0.001}}},
		Config:   ConfigReport{Source: "/etc", Applied: at, Error: "a mistake", ErrorTime: at},
		Problems: []string{"a device is missing"},
		Devices:  []DeviceReport{{"tap0", 5, "0", "0", true}},
	}
}

func TestReportRoundTrip(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadReport(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no report gave %v", err)
	}
	want := fullReport()
	for i, value := range values(reflect.ValueOf(want)) {
		if value.IsZero() {
			t.Fatalf("field %d of the test's report is empty", i)
		}
	}
	for range 2 { // it is replaced
		if err := WriteReport(dir, &want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadReport(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != "state.json" {
		t.Errorf("files %v, %v; want state.json alone", entries, err)
	}
	// Whoever is not root may look at it.
	if info, err := os.Stat(filepath.Join(dir, "state.json")); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func values(v reflect.Value) []reflect.Value {
	var all []reflect.Value
	for i := range v.NumField() {
		all = append(all, v.Field(i))
	}
	return all
}

func TestReportNames(t *testing.T) {
	report := fullReport()
	text, err := json.Marshal(&report)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range regexp.MustCompile(`"([^"]+)":`).FindAllStringSubmatch(string(text), -1) {
		if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(key[1]) {
			t.Errorf("the key %q is not in snake case", key[1])
		}
	}
}

func TestBrokenReport(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte(`{"schema": `), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadReport(dir); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "state.json")) {
		t.Errorf("got %v, want an error that names the file", err)
	}
	// A folder that somebody has removed is made anew; where none can be, that is told.
	if err := WriteReport(filepath.Join(dir, "removed"), &Report{}); err != nil {
		t.Error(err)
	}
	if err := WriteReport(filepath.Join(dir, "state.json"), &Report{}); err == nil {
		t.Error("a report was written below a file")
	}
}

// Slots that no port can have are not taken over, whoever wrote them.
func TestReportSlots(t *testing.T) {
	r := Report{Ports: []PortReport{
		{Environment: "e", Segment: "s", Port: "p", Slot: 1},
		{Environment: "e", Segment: "s", Port: "last", Slot: bpf.MaxPorts - 1},
		{Environment: "e", Segment: "s", Port: "none"},
		{Environment: "e", Segment: "s", Port: "beyond", Slot: bpf.MaxPorts},
	}}
	if diff := cmp.Diff(map[string]uint32{"e/s/p": 1, "e/s/last": bpf.MaxPorts - 1}, r.Slots()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The report tells by whom zones are sent to, and who lives.
func TestReportRelays(t *testing.T) {
	vtep := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }
	state := &policy.State{Host: policy.Host{Name: "a", VTEP: vtep(1), Zone: "az1"}}
	segment := policy.Segment{Environment: "shop", Name: "lan", VNI: 4500, Relay: policy.Relay{VNI: 4501, Threshold: 2}}
	for name, remote := range map[string]policy.Remote{
		"near": {VTEP: vtep(2), Zone: "az1"}, "b": {VTEP: vtep(11), Zone: "az2"}, "c": {VTEP: vtep(12), Zone: "az2"}, "d": {VTEP: vtep(13), Zone: "az2"}, "e": {VTEP: vtep(21), Zone: "az3"},
	} {
		remote.Name = name
		state.Remotes, segment.Remotes = append(state.Remotes, remote), append(segment.Remotes, remote.VTEP)
	}
	state.Segments = []policy.Segment{segment, {Environment: "shop", Name: "plain", VNI: 4502, Remotes: segment.Remotes}}
	d := &Datapath{state: state, groups: &groups{state: state, live: &liveness{ways: make(map[maps.RelayWay]*probedWay)}, paths: &prober{}}, machine: &machine{}, routes: &routes{}}
	compile := func() {
		t.Helper()
		var err error
		if d.contents, err = maps.Compile(state, maps.Facts{MTU: 1500, Alive: d.groups.live.alive()}, &maps.Snapshot{}, testLimits); err != nil {
			t.Fatal(err)
		}
	}
	compile()
	var r Report
	d.reportSegments(&r)
	if len(r.Segments) != 2 || r.Segments[0].Relay == nil || r.Segments[1].Relay != nil {
		t.Fatalf("segments %+v", r.Segments)
	}
	got := r.Segments[0].Relay
	if len(got.Zones) != 3 || len(got.Zones[1].Candidates) != 2 {
		t.Fatalf("relays %+v", got)
	}
	first, second := got.Zones[1].Candidates[0].Host, got.Zones[1].Candidates[1].Host
	want := &RelayReport{VNI: 4501, Threshold: 2, Zones: []RelayZoneReport{
		{"az1", true, 1, "", []RelayCandidateReport{}},
		{"az2", false, 3, "", []RelayCandidateReport{{first, false}, {second, false}}},
		{"az3", false, 1, "", []RelayCandidateReport{}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nobody answers (-want +got):\n%s", diff)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, remote := range state.Remotes {
		switch remote.Name {
		case first:
			d.groups.live.ways[maps.RelayWay{VTEP: remote.VTEP, VNI: 4501}] = &probedWay{}
		case second:
			d.groups.live.ways[maps.RelayWay{VTEP: remote.VTEP, VNI: 4501}] = &probedWay{alive: true, answered: at}
		}
	}
	compile()
	r = Report{}
	d.reportSegments(&r)
	d.reportRemotes(&r)
	want.Zones[1].Relay, want.Zones[1].Candidates[1].Alive = second, true
	if diff := cmp.Diff(want, r.Segments[0].Relay); diff != "" {
		t.Errorf("the backup answers (-want +got):\n%s", diff)
	}
	for _, remote := range r.Remotes {
		var want *ProbeReport
		switch remote.Host {
		case first:
			want = &ProbeReport{}
		case second:
			want = &ProbeReport{Alive: true, Answered: at}
		}
		if diff := cmp.Diff(want, remote.Probe); diff != "" {
			t.Errorf("%s (-want +got):\n%s", remote.Host, diff)
		}
	}
}
