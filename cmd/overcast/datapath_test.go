// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"
	yaml "go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"

	"overcast/bpf"
	"overcast/loader"
	"overcast/maps"
	"overcast/policy"
)

const bpffs = "/sys/fs/bpf"

// newBPFFolder returns a folder of a BPF file system that is this test's alone.
func newBPFFolder(t *testing.T) string {
	t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(bpffs, &stat); err != nil || stat.Type != unix.BPF_FS_MAGIC {
		if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
			t.Fatalf("BPF file system (root is needed): %v", err)
		}
	}
	dir, err := os.MkdirTemp(bpffs, "oc-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// enterNamespace moves the test into a network namespace of its own, which
// has one lock for agents.
func enterNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	inside, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		inside.Close()
		if err := netns.Set(before); err == nil {
			runtime.UnlockOSThread()
		}
		before.Close()
	})
}

// pinned makes and pins the maps of a datapath with a segment, two ports of
// which one has no device, two remotes, MACs, counters and drops, writes the
// agent's report, and returns the flags that lead there. No program is loaded.
func pinned(t *testing.T) (flags []string, set *maps.Set) {
	t.Helper()
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	limits := maps.Limits{MACs: 16, Learned: 16, Groups: 16, Remotes: 16}
	spec, err := bpf.Spec()
	if err != nil {
		t.Fatal(err)
	}
	maps.Size(spec, limits)
	dir, runDir := newBPFFolder(t), t.TempDir()
	set = &maps.Set{}
	t.Cleanup(set.Close)
	for _, n := range set.Named() {
		if *n.Map, err = ebpf.NewMap(spec.Maps[n.Name]); err == nil {
			err = (*n.Map).Pin(filepath.Join(dir, n.Name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b, c := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	web := policy.Port{Name: "web", Interface: "tap0", MAC: policy.MAC{2, 0, 0, 0, 0, 1}, HasMAC: true,
		Governor: policy.Governor{Broadcast: policy.Rate{Copies: 1000}}}
	late := policy.Port{Name: "late", Interface: "tap1", MAC: policy.MAC{2, 0, 0, 0, 0, 2}, HasMAC: true}
	state := &policy.State{
		Host:    policy.Host{Name: "a", VTEP: netip.MustParseAddr("192.0.2.1")},
		Remotes: []policy.Remote{{Name: "b", VTEP: b}, {Name: "c", VTEP: c, Foreign: true}},
		Segments: []policy.Segment{
			{Environment: "shop", EnvironmentGovernor: policy.Governor{Multicast: policy.Rate{Bytes: 1e6}}, Name: "lan", VNI: 4500, Learning: true, FloodUnknown: true, Multicast: policy.Multicast{Snooping: true}, Remotes: []netip.Addr{b}, Ports: []policy.Port{late, web},
				FDB:             []policy.Entry{{MAC: web.MAC, Port: "web"}, {MAC: late.MAC, Port: "late"}, {MAC: policy.MAC{2, 0, 0, 0, 0, 9}, VTEP: b}},
				NeighborAnswers: true, Neighbors: []policy.Neighbor{{IP: netip.MustParseAddr("10.0.0.1"), MAC: web.MAC, Port: "web"}, {IP: netip.MustParseAddr("10.0.0.2"), MAC: late.MAC, Port: "late"},
					{IP: netip.MustParseAddr("fe80::9"), MAC: policy.MAC{2, 0, 0, 0, 0, 9}, VTEP: b}}},
			{Environment: "lab", Name: "lan", VNI: 4501, Remotes: []netip.Addr{c}},
		},
	}
	path := bpf.Path{Ifindex: 2, Flags: bpf.PathEthernet | bpf.PathMACs, Family: unix.AF_INET, NextHop: [16]byte{192, 0, 2, 254}}
	have, err := set.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	want, err := maps.Compile(state, maps.Facts{Ports: map[string]maps.PortFacts{"tap0": {Ifindex: 7}}, Paths: map[netip.Addr]bpf.Path{b: path}, MTUs: map[netip.Addr]int{b: 1500}, MTU: 1500}, have, limits)
	if err == nil {
		err = set.Apply(have, want)
	}
	if err != nil {
		t.Fatal(err)
	}
	cpus := ebpf.MustPossibleCPU()
	counts, drops := make([]bpf.Counters, cpus), make([]bpf.DropCount, cpus)
	counts[0] = bpf.Counters{InPackets: 1, InBytes: 2, OutPackets: 3, OutBytes: 4}
	drops[0] = bpf.DropCount{Packets: 5, Bytes: 300}
	err = errors.Join(
		set.Stats.Put(want.Slots["shop/lan/web"], counts),
		set.Drops.Put(&bpf.DropKey{Reason: bpf.DropPortSpoof, Ifindex: 7, Segment: 1}, drops),
		set.Drops.Put(&bpf.DropKey{Reason: bpf.DropVNIUnknown, Ifindex: 2}, drops),
		set.Learned.Put(&bpf.FDBKey{Segment: 1, Mac: [6]byte{2, 0, 0, 0, 0, 3}}, &bpf.LearnedEntry{Where: bpf.FDBEntry{Kind: bpf.KindPort, Id: 7}, Seen: maps.Monotonic()}),
		hears(set, "10.0.0.1", 9, bpf.NeighborRole|bpf.NeighborRouter, 0), // no role of its owner
		hears(set, "fe80::9", 9, bpf.NeighborRole|bpf.NeighborRouter, time.Hour),
		hears(set, "10.0.0.3", 3, 0, 7*time.Second),
		hears(set, "2001:db8::3", 3, bpf.NeighborRole, 0),
		hears(set, "10.0.0.4", 3, 0, maps.NeighborAge+time.Second), // not heard for long
		hears(set, "10.0.0.5", 5, 0, 0),                            // its MAC has been forgotten
		loader.WriteReport(runDir, &loader.Report{
			Schema: 1, Host: "a", VTEP: state.Host.VTEP, Underlay: state.Host.VTEP, Encapsulation: "vxlan", TunnelPort: 4789, Attach: "tcx", Decap: loader.DecapAuto,
			Updated: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Version: "v1", PID: 42,
			Tunnel: loader.TunnelReport{Device: "oc0", Ifindex: 3}, Uplinks: []loader.UplinkReport{{Interface: "eth0", Ifindex: 2, MTU: 1500, Decap: loader.DecapTC, Reason: "a veth"}},
			Segments: []loader.SegmentReport{{Slot: 1, Environment: "shop", Segment: "lan", VNI: 4500, MTU: 1450}, {Slot: 2, Environment: "lab", Segment: "lan", VNI: 4501, MTU: 1450}},
			Ports: []loader.PortReport{{Slot: want.Slots["shop/lan/late"], Environment: "shop", Segment: "lan", Port: "late", Interface: "tap1", MTU: 1450, MAC: late.MAC.String()},
				{Slot: want.Slots["shop/lan/web"], Environment: "shop", Segment: "lan", Port: "web", Interface: "tap0", Ifindex: 7, MTU: 1450, DeviceMTU: 1450, MAC: web.MAC.String()}},
			Remotes: []loader.RemoteReport{{Slot: 1, Host: "b", VTEP: b, MTU: 1500, Uplink: "eth0"}, {Slot: 2, Host: "c", VTEP: c, Foreign: true}},
			Config:  loader.ConfigReport{Source: "/etc/x", Error: "a.yaml:1:1: a mistake"}, Problems: []string{"uplink u7: there is no such device"},
		}))
	if err != nil {
		t.Fatal(err)
	}
	return []string{"--pin-path", dir, "--run-dir", runDir}, set
}

// hears notes in shop/lan that an address is at the MAC with this last byte.
func hears(set *maps.Set, ip string, mac byte, flags bpf.NeighborFlags, ago time.Duration) error {
	return set.LearnedNeighbors.Put(&bpf.NeighborKey{Segment: 1, Addr: bpf.AddrFrom(netip.MustParseAddr(ip))},
		&bpf.LearnedNeighbor{Mac: [6]byte{2, 0, 0, 0, 0, mac}, Flags: flags, Seen: maps.Monotonic() - uint64(ago)})
}

// rows runs a verb and returns its objects.
func rows(t *testing.T, verb string, args ...string) []map[string]any {
	t.Helper()
	got := overcast(t, append([]string{verb, "-o", "json"}, args...)...)
	if got.errs != "" {
		t.Errorf("%s %v: %s", verb, args, got.errs)
	}
	return rowsOf(t, verb, got)
}

// rowsOf takes the objects out of what a verb printed as JSON.
func rowsOf(t *testing.T, verb string, got result) []map[string]any {
	t.Helper()
	var document map[string]json.RawMessage
	if err := json.Unmarshal([]byte(got.out), &document); err != nil || got.code != 0 {
		t.Fatalf("%s: %+v: %v", verb, got, err)
	}
	if !strings.HasPrefix(got.out, "{\n  \"schema\": 1,\n  \"") {
		t.Errorf("%s: the schema is not first: %.60s", verb, got.out)
	}
	var list []map[string]any
	delete(document, beside[verb])
	if err := json.Unmarshal(document[verb], &list); err != nil || string(document["schema"]) != "1" || len(document) != 2 {
		t.Fatalf("%s: %v, want schema 1 and a list of %s: %s", verb, err, verb, got.out)
	}
	return list
}

// beside are the lists that verbs have beside the one of their name.
var beside = map[string]string{"groups": "segments"}

func pick(list []map[string]any, keys ...string) [][]any {
	var picked [][]any
	for _, row := range list {
		var values []any
		for _, key := range keys {
			values = append(values, row[key])
		}
		picked = append(picked, values)
	}
	return picked
}

func TestVerbs(t *testing.T) {
	flags, _ := pinned(t)
	for _, c := range []struct {
		verb, filter string
		keys         string
		want         [][]any
	}{
		{"ports", "", "port interface ifindex state mac mtu device_mtu drops in_packets in_bytes out_packets out_bytes", [][]any{
			{"shop/lan/late", "tap1", 0.0, "missing", "02:00:00:00:00:02", 1450.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0},
			{"shop/lan/web", "tap0", 7.0, "up", "02:00:00:00:00:01", 1450.0, 1450.0, 5.0, 1.0, 2.0, 3.0, 4.0}}},
		{"ports", "--port web", "port", [][]any{{"shop/lan/web"}}},
		{"ports", "--port shop/lan/late", "port", [][]any{{"shop/lan/late"}}},
		{"ports", "--environment lab", "port", nil},
		{"segments", "", "segment vni mtu mtu_configured learning unknown_unicast ports remotes", [][]any{
			{"shop/lan", 4500.0, 1450.0, 0.0, true, "flood", 1.0, 1.0}, {"lab/lan", 4501.0, 1450.0, 0.0, false, "drop", 0.0, 1.0}}},
		{"segments", "--segment lan", "segment", [][]any{{"shop/lan"}, {"lab/lan"}}},
		{"segments", "--segment lab/lan", "segment", [][]any{{"lab/lan"}}},
		{"segments", "--port web", "segment", [][]any{{"shop/lan"}}},
		{"segments", "--port shop/lan/late", "segment", [][]any{{"shop/lan"}}},
		{"segments", "--port nope", "segment", nil},
		{"segments", "--environment lab --port web", "segment", nil},
		{"segments", "--environment nope", "segment", nil},
		{"remotes", "--port web", "host", [][]any{{"b"}}},
		{"remotes", "--port nope", "host", nil},
		{"remotes", "--segment lab/lan --port web", "host", nil},
		{"remotes", "--segment nope", "host", nil},
		{"ports", "--port nope", "port", nil},
		{"fdb", "--port web", "mac", [][]any{{"02:00:00:00:00:01"}, {"02:00:00:00:00:03"}}},
		{"fdb", "--port nope", "mac", nil},
		{"drops", "--environment shop", "reason", [][]any{{"DROP_PORT_SPOOF"}}},
		{"drops", "--environment lab", "reason", nil},
		{"drops", "--port nope", "reason", nil},
		{"remotes", "", "host vtep foreign route uplink next_hop mtu", [][]any{
			{"b", "192.0.2.2", false, "resolved", "eth0", "192.0.2.254", 1500.0}, {"c", "192.0.2.3", true, "none", "", "", 0.0}}},
		{"remotes", "--environment shop", "host", [][]any{{"b"}}},
		{"fdb", "", "segment mac source kind where", [][]any{
			{"shop/lan", "02:00:00:00:00:01", "static", "port", "shop/lan/web"}, {"shop/lan", "02:00:00:00:00:02", "static", "port", "a port without a device"},
			{"shop/lan", "02:00:00:00:00:03", "learned", "port", "shop/lan/web"}, {"shop/lan", "02:00:00:00:00:09", "static", "remote", "b"}}},
		{"fdb", "--segment lab/lan", "mac", nil},
		{"neighbors", "", "segment address mac source kind where router", [][]any{
			{"shop/lan", "10.0.0.1", "02:00:00:00:00:01", "configured", "port", "shop/lan/web", "unknown"},
			{"shop/lan", "10.0.0.2", "02:00:00:00:00:02", "configured", "port", "a port without a device", "unknown"},
			{"shop/lan", "10.0.0.3", "02:00:00:00:00:03", "learned", "port", "shop/lan/web", "unknown"},
			{"shop/lan", "2001:db8::3", "02:00:00:00:00:03", "learned", "port", "shop/lan/web", "no"},
			{"shop/lan", "fe80::9", "02:00:00:00:00:09", "configured", "remote", "b", "yes"}}},
		{"neighbors", "--port web", "address", [][]any{{"10.0.0.1"}, {"10.0.0.3"}, {"2001:db8::3"}}},
		{"neighbors", "--port nope", "address", nil},
		{"neighbors", "--segment lab/lan", "address", nil},
		{"drops", "", "reason interface port segment packets bytes", [][]any{
			{"DROP_PORT_SPOOF", "tap0", "shop/lan/web", "shop/lan", 5.0, 300.0}, {"DROP_VNI_UNKNOWN", "eth0", "", "", 5.0, 300.0}}},
		{"drops", "--port web", "reason", [][]any{{"DROP_PORT_SPOOF"}}},
		{"status", "", "host vtep agent pid version encapsulation tunnel_port segments ports ports_missing remotes", [][]any{
			{"a", "192.0.2.1", "stopped", 42.0, "v1", "vxlan", 4789.0, 2.0, 2.0, 1.0, 2.0}}},
	} {
		t.Run(c.verb+" "+c.filter, func(t *testing.T) {
			got := rows(t, c.verb, append(strings.Fields(c.filter), flags...)...)
			if diff := cmp.Diff(c.want, pick(got, strings.Fields(c.keys)...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The JSON is a contract: snake case, lists and never null, and YAML the same.
func TestForms(t *testing.T) {
	flags, _ := pinned(t)
	snake := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	for _, verb := range []string{"status", "ports", "segments", "remotes", "fdb", "groups", "neighbors", "drops"} {
		for _, more := range [][]string{nil, {"--raw"}, {"--environment", "nosuch"}} {
			if verb == "status" && len(more) == 2 {
				continue // it has nothing to choose from
			}
			args := append(append([]string{verb}, more...), flags...)
			text := overcast(t, append(args, "-o", "json")...)
			if text.code != 0 {
				t.Fatalf("%v: %+v", args, text)
			}
			for _, key := range regexp.MustCompile(`"([^"]+)": `).FindAllStringSubmatch(text.out, -1) {
				if !snake.MatchString(key[1]) {
					t.Errorf("%v: the key %q is not in snake case", args, key[1])
				}
			}
			if strings.Contains(text.out, "null") {
				t.Errorf("%v: null in %s", args, text.out)
			}
			if yaml := overcast(t, append(args, "-o", "yaml")...); yaml.code != 0 || !strings.Contains(yaml.out, "schema: 1\n") || strings.Contains(yaml.out, "{\"") {
				t.Errorf("%v as YAML: %+v", args, yaml)
			}
		}
	}
}

func TestRaw(t *testing.T) {
	flags, set := pinned(t)
	list := rows(t, "fdb", append(flags, "--raw")...)
	if diff := cmp.Diff([][]any{{"oc_fdb", "Array", 3.0, 32.0}, {"oc_fdb_spill", "Hash", 0.0, 4096.0}, {"oc_fdb_learned", "LRUHash", 1.0, 16.0}}, pick(list, "map", "type", "entries", "max_entries")); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	entry := map[string]any{"key": map[string]any{"segment": 1.0, "mac": "02:00:00:00:00:01"}, "value": map[string]any{"id": 7.0, "kind": 1.0}}
	if !slices.ContainsFunc(list[0]["content"].([]any), func(e any) bool { return cmp.Equal(entry, e) }) {
		t.Errorf("%v is not in %v", entry, list[0]["content"])
	}
	if memory := list[0]["memory_bytes"].(float64); memory <= 0 {
		t.Errorf("the map takes %v bytes", memory)
	}
	remotes := rows(t, "remotes", append(flags, "--raw")...)
	at := slices.IndexFunc(remotes, func(m map[string]any) bool { return m["map"] == "oc_remotes" })
	value := remotes[at]["content"].([]any)[0].(map[string]any)["value"].(map[string]any)
	path := value["path"].([]any)[0].(map[string]any)
	if value["vtep"] != "192.0.2.2" || path["ifindex"] != 2.0 || path["next_hop"] != "192.0.2.254" {
		t.Errorf("the remote is %v", value)
	}
	// Every map has a reader.
	for _, n := range set.Named() {
		if _, ok := rawReaders[n.Name]; !ok {
			t.Errorf("--raw cannot read %s", n.Name)
		}
	}
}

// People see the same forms as programs, and nothing of how Go keeps them.
func TestRawTable(t *testing.T) {
	flags, _ := pinned(t)
	var all strings.Builder
	for _, verb := range []string{"ports", "segments", "remotes", "fdb", "groups", "neighbors", "drops", "status"} {
		got := overcast(t, append([]string{verb, "--raw"}, flags...)...)
		if got.code != 0 || got.errs != "" || strings.Contains(got.out, "Pad") || strings.Contains(got.out, "map[") || strings.Contains(got.out, "{_") {
			t.Errorf("%s: %+v", verb, got)
		}
		all.WriteString(got.out)
	}
	for _, want := range []string{
		"  {segment: 1, mac: 02:00:00:00:00:01} = {id: 7, kind: 1}\n",
		"  7 = {id: 2, segment: 1, flags: 1, mac: 02:00:00:00:00:01}\n",
		"  {vni: 4500, addr: 192.0.2.2} = {segment: 1, remote: 1}\n",
		"  4500 = {segment: 1, flags: 0}\n",
		"  {segment: 1, addr: 10.0.0.2} = {mac: 02:00:00:00:00:02}\n",
		"  {segment: 1, addr: 2001:db8::3} = {mac: 02:00:00:00:00:03, flags: 1, seen: ",
		"next_hop: 192.0.2.254}, {ifindex: 0,",
	} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("%q is not in\n%s", want, all.String())
		}
	}
}

// copied counts copies of a segment's frames, as the programs would.
func copied(t *testing.T, set *maps.Set, segment uint32, class bpf.Class, frames, copies uint64) {
	t.Helper()
	perCPU := make([]bpf.CopyCount, ebpf.MustPossibleCPU())
	perCPU[0] = bpf.CopyCount{Frames: frames, Copies: copies}
	if err := set.Copies.Put(segment*bpf.Classes+uint32(class), perCPU); err != nil {
		t.Fatal(err)
	}
}

// Segments tell what frames to many cost there, and what was cut.
func TestReplication(t *testing.T) {
	flags, set := pinned(t)
	copied(t, set, 1, bpf.ClassBroadcast, 4, 12)
	copied(t, set, 1, bpf.ClassMulticast, 6, 3)
	copied(t, set, 2, bpf.ClassUnknownUnicast, 1, 100)
	drops := make([]bpf.DropCount, ebpf.MustPossibleCPU())
	for i, reason := range []bpf.Drop{bpf.DropPortBroadcast, bpf.DropEnvironmentBroadcast, bpf.DropPortUnknownUnicast, bpf.DropEnvironmentMulticast} {
		drops[0] = bpf.DropCount{Packets: uint64(i + 1), Bytes: 60}
		for _, ifindex := range []uint32{2, 7} {
			if err := set.Drops.Put(&bpf.DropKey{Reason: reason, Ifindex: ifindex, Segment: 1}, drops); err != nil {
				t.Fatal(err)
			}
		}
	}
	var got [][]any
	for _, row := range rows(t, "segments", flags...) {
		var classes []map[string]any
		for _, class := range row["replication"].([]any) {
			classes = append(classes, class.(map[string]any))
		}
		got = append(got, pick(classes, "class", "frames", "copies", "amplification", "cut")...)
	}
	if diff := cmp.Diff([][]any{
		{"broadcast", 4.0, 12.0, 3.0, 6.0}, {"unknown_unicast", 0.0, 0.0, 0.0, 6.0}, {"multicast", 6.0, 3.0, 0.5, 8.0},
		{"broadcast", 0.0, 0.0, 0.0, 0.0}, {"unknown_unicast", 1.0, 100.0, 100.0, 0.0}, {"multicast", 0.0, 0.0, 0.0, 0.0},
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	table := strings.Split(overcast(t, append([]string{"segments", "-o", "wide"}, flags...)...).out, "\n")
	for i, want := range [][]string{{"COPIED", "COPIES", "AMPLIFICATION", "CUT"}, {"10", "15", "1.5", "20"}, {"1", "100", "100.0", "0"}} {
		if fields := strings.Fields(table[i]); !slices.Equal(fields[len(fields)-4:], want) {
			t.Errorf("line %d ends with %v, should end with %v", i, fields[len(fields)-4:], want)
		}
	}
}

// A filter leaves of each map what belongs to what it chooses; how full a map
// is does not change.
func TestRawFilter(t *testing.T) {
	flags, set := pinned(t)
	verbs := map[string][]string{"ports": {"oc_ports", "oc_stats", "oc_governors", "oc_buckets"}, "segments": {"oc_segments", "oc_vnis", "oc_floods", "oc_stats", "oc_copies"},
		"remotes": {"oc_remotes", "oc_vteps", "oc_stats"}, "fdb": {"oc_fdb", "oc_fdb_spill", "oc_fdb_learned"}, "neighbors": {"oc_neighbors", "oc_neighbors_learned"}, "drops": {"oc_drops"}}
	cpus := make([]bpf.Counters, ebpf.MustPossibleCPU())
	cpus[0].InPackets = 1
	for _, slot := range []uint32{bpf.StatsSegments + 1, bpf.StatsSegments + 2, bpf.StatsRemotes + 1, bpf.StatsRemotes + 2} {
		if err := set.Stats.Put(slot, cpus); err != nil {
			t.Fatal(err)
		}
	}
	held, err := set.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for element := range held.Governors {
		if err := set.Buckets.Put(element, bpf.Bucket{Copies: 1}); err != nil {
			t.Fatal(err)
		}
	}
	for _, segment := range []uint32{1, 2} {
		copied(t, set, segment, bpf.ClassMulticast, 1, 2)
	}
	entries := func(filter string) map[string]int {
		counts := make(map[string]int)
		for verb, names := range verbs {
			all := rows(t, verb, append(flags, "--raw")...)
			got := rows(t, verb, append(strings.Fields(filter), append(flags, "--raw")...)...)
			if diff := cmp.Diff(pick(all, "map", "entries"), pick(got, "map", "entries")); diff != "" || len(got) != len(names) {
				t.Errorf("%s of %s (-all +got):\n%s", verb, filter, diff)
			}
			for _, m := range got {
				counts[m["map"].(string)] = len(m["content"].([]any))
			}
		}
		return counts
	}
	for filter, want := range map[string]map[string]int{
		"":                  {"oc_ports": 1, "oc_vnis": 2, "oc_segments": 2, "oc_vteps": 4, "oc_remotes": 2, "oc_fdb": 3, "oc_fdb_spill": 0, "oc_fdb_learned": 1, "oc_neighbors": 3, "oc_neighbors_learned": 6, "oc_floods": 3, "oc_stats": 5, "oc_drops": 2, "oc_governors": 2, "oc_buckets": 2, "oc_copies": 2},
		"--port web":        {"oc_ports": 1, "oc_vnis": 1, "oc_segments": 1, "oc_vteps": 1, "oc_remotes": 1, "oc_fdb": 1, "oc_fdb_spill": 0, "oc_fdb_learned": 1, "oc_neighbors": 1, "oc_neighbors_learned": 3, "oc_floods": 2, "oc_stats": 3, "oc_drops": 1, "oc_governors": 2, "oc_buckets": 2, "oc_copies": 1},
		"--port late":       {"oc_ports": 0, "oc_vnis": 1, "oc_segments": 1, "oc_vteps": 1, "oc_remotes": 1, "oc_fdb": 0, "oc_fdb_spill": 0, "oc_fdb_learned": 0, "oc_neighbors": 0, "oc_neighbors_learned": 0, "oc_floods": 2, "oc_stats": 2, "oc_drops": 0, "oc_governors": 1, "oc_buckets": 1, "oc_copies": 1},
		"--environment lab": {"oc_ports": 0, "oc_vnis": 1, "oc_segments": 1, "oc_vteps": 1, "oc_remotes": 1, "oc_fdb": 0, "oc_fdb_spill": 0, "oc_fdb_learned": 0, "oc_neighbors": 0, "oc_neighbors_learned": 0, "oc_floods": 1, "oc_stats": 2, "oc_drops": 0, "oc_governors": 0, "oc_buckets": 0, "oc_copies": 1},
		"--segment nope":    {"oc_ports": 0, "oc_vnis": 0, "oc_segments": 0, "oc_vteps": 0, "oc_remotes": 0, "oc_fdb": 0, "oc_fdb_spill": 0, "oc_fdb_learned": 0, "oc_neighbors": 0, "oc_neighbors_learned": 0, "oc_floods": 0, "oc_stats": 0, "oc_drops": 0, "oc_governors": 0, "oc_buckets": 0, "oc_copies": 0},
	} {
		if diff := cmp.Diff(want, entries(filter)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", filter, diff)
		}
	}
	if got := overcast(t, append([]string{"status", "--port", "web", "--raw"}, flags...)...); got.code != 2 || got.out != "" || !strings.Contains(got.errs, "status shows the host as a whole") {
		t.Errorf("status of a port: %+v", got)
	}
}

// Names and modes are the agent's last word; whoever reads a table is told.
func TestStale(t *testing.T) {
	enterNamespace(t)
	flags, _ := pinned(t)
	const stale = "overcastd is not running: names and modes are its last, counters are live\n"
	if got := overcast(t, append([]string{"ports"}, flags...)...); got.code != 0 || got.errs != stale || !strings.Contains(got.out, "shop/lan/web") {
		t.Errorf("without an agent: %+v", got)
	}
	if got := overcast(t, append([]string{"status"}, flags...)...); got.code != 0 || !strings.Contains(got.out, "stopped; this is its report of 2026-01-02T03:04:05Z") || !strings.Contains(got.out, "a.yaml:1:1: a mistake") ||
		!strings.Contains(got.out, "problem       uplink u7: there is no such device") {
		t.Errorf("status: %+v", got)
	}
	lock, err := loader.AcquireLock(flags[3])
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if got := overcast(t, append([]string{"ports"}, flags...)...); got.code != 0 || got.errs != "" {
		t.Errorf("with an agent: %+v", got)
	}
	if got := rows(t, "status", flags...); got[0]["agent"] != "running" {
		t.Errorf("with an agent: %v", got[0]["agent"])
	}
}

// Without a report that can be read everything is there by number, and who
// reads it is told why.
func TestWithoutReport(t *testing.T) {
	flags, _ := pinned(t)
	flags[3] = t.TempDir()
	file := filepath.Join(flags[3], "state.json")
	for _, c := range []struct{ report, warning string }{
		{"", "there is no report of an agent in " + flags[3]},
		{"{", "the agent's report is of no use: reading the report " + file + ": unexpected end of JSON input"},
		{`{"schema": 2, "host": 3}`, "the agent's report is of no use: reading the report " + file + ": json: cannot unmarshal number into Go struct field Report.host of type string"},
		{`{"schema": 2, "host": "a"}`, "the agent's report " + file + " has schema 2, and this overcast reads 1"},
		{`{}`, "the agent's report " + file + " has schema 0, and this overcast reads 1"},
	} {
		if c.report != "" {
			if err := os.WriteFile(file, []byte(c.report), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		warning := c.warning + ": everything is shown by number\n"
		for _, verb := range []struct {
			call, keys string
			want       [][]any
		}{
			{"fdb", "segment kind where", [][]any{{"?/1", "port", "ifindex 7"}, {"?/1", "port", "a port without a device"}, {"?/1", "port", "ifindex 7"}, {"?/1", "remote", "slot 1"}}},
			{"neighbors", "segment address where router", [][]any{{"?/1", "10.0.0.1", "ifindex 7", "unknown"}, {"?/1", "10.0.0.2", "a port without a device", "unknown"}, {"?/1", "10.0.0.3", "ifindex 7", "unknown"},
				{"?/1", "2001:db8::3", "ifindex 7", "no"}, {"?/1", "fe80::9", "slot 1", "yes"}}},
			{"ports", "port interface ifindex state mac mtu drops in_packets", [][]any{{"?/1/7", "ifindex 7", 7.0, "up", "02:00:00:00:00:01", 1450.0, 5.0, 1.0}}},
			{"segments", "segment vni mtu learning ports remotes", [][]any{{"?/1", 4500.0, 1450.0, true, 1.0, 1.0}, {"?/2", 4501.0, 1450.0, false, 0.0, 1.0}}},
			{"remotes", "host vtep route uplink next_hop", [][]any{{"slot 1", "192.0.2.2", "resolved", "ifindex 2", "192.0.2.254"}, {"slot 2", "192.0.2.3", "none", "", ""}}},
			{"drops", "reason interface port segment", [][]any{{"DROP_PORT_SPOOF", "ifindex 7", "", "?/1"}, {"DROP_VNI_UNKNOWN", "ifindex 2", "", ""}}},
			{"status", "host agent segments ports remotes", [][]any{{"", "stopped", 2.0, 1.0, 2.0}}},
			{"segments --port 7", "segment", [][]any{{"?/1"}}},
			{"remotes --segment 2", "host", [][]any{{"slot 2"}}},
		} {
			args := append(append(strings.Fields(verb.call), flags...), "-o", "json")
			got := overcast(t, args...)
			name, _, _ := strings.Cut(verb.call, " ")
			if got.errs != warning {
				t.Errorf("%s: got the warning %q, want %q", verb.call, got.errs, warning)
			}
			if diff := cmp.Diff(verb.want, pick(rowsOf(t, name, got), strings.Fields(verb.keys)...)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", verb.call, diff)
			}
			// Numbers are all that the maps have, so nothing is missing there.
			if got := overcast(t, append([]string{name, "--raw"}, flags...)...); got.code != 0 || got.errs != "" {
				t.Errorf("%s --raw: %+v", name, got)
			}
		}
		got := overcast(t, append([]string{"status"}, flags...)...)
		want := []string{"STATUS", "agent         stopped, and it left no report to go by", "segments      2", "ports         1", "remotes       2", ""}
		lines := strings.Split(got.out, "\n")
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		if diff := cmp.Diff(want, lines); diff != "" || got.errs != warning {
			t.Errorf("status: %q (-want +got):\n%s", got.errs, diff)
		}
	}
	lock, err := loader.AcquireLock(flags[3])
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if got := overcast(t, append([]string{"status"}, flags...)...); !strings.Contains(got.out, "running, and it has left no report to go by") {
		t.Errorf("with an agent: %+v", got)
	}
}

// A watch goes on when the datapath is unloaded and loaded anew, and what it
// prints for programs can be taken apart.
func TestWatch(t *testing.T) {
	for _, form := range []string{"table", "json", "yaml"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			flags, set := pinned(t)
			o := &options{pinPath: flags[1], runDir: flags[3], output: form, watch: true}
			var out, errs bytes.Buffer
			cmd := portsCommand(o)
			cmd.SetOut(&out)
			cmd.SetErr(&errs)
			cmd.SetArgs([]string{"--watch"})
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			steps := 0
			o.shown = func() {
				switch steps++; steps {
				case 1:
					for _, n := range set.Named() {
						if err := (*n.Map).Unpin(); err != nil {
							t.Error(err)
						}
					}
				case 3:
					for _, n := range set.Named() {
						if err := (*n.Map).Pin(filepath.Join(flags[1], n.Name)); err != nil {
							t.Error(err)
						}
					}
				case 4:
					stop()
				}
			}
			if err := cmd.ExecuteContext(ctx); err != nil {
				t.Fatal(err)
			}
			gone := "overcast: no datapath is loaded at " + flags[1] + ": start overcastd, or set --pin-path\n"
			wantErrs := gone
			if form == "table" {
				const stale = "overcastd is not running: names and modes are its last, counters are live\n"
				wantErrs = stale + gone + gone + stale
			}
			if errs.String() != wantErrs {
				t.Errorf("got %q, want %q", errs.String(), wantErrs)
			}
			if got := strings.Count(out.String(), "shop/lan/web"); got != 2 {
				t.Errorf("it showed the port %d times, want 2:\n%s", got, out.String())
			}
			documents := 0
			decode := json.NewDecoder(&out).Decode
			if form == "yaml" {
				decode = yaml.NewDecoder(&out).Decode
			}
			for form != "table" {
				var document map[string]any
				err := decode(&document)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				documents++
			}
			if form != "table" && documents != 2 {
				t.Errorf("got %d documents, want 2", documents)
			}
		})
	}
}

func TestPinPathWithDot(t *testing.T) {
	path := newBPFFolder(t) + "/a.b"
	if got := overcast(t, "ports", "--pin-path", path); got.code != 1 || !strings.HasSuffix(got.errs, "operation not permitted: a BPF file system allows no dot in a path: set --pin-path\n") {
		t.Errorf("got %+v", got)
	}
}

// status --wait waits for what whoever starts an agent waits for, and says what
// did not come.
func TestWait(t *testing.T) {
	flags, _ := pinned(t)
	call := func(patience string) result {
		return overcast(t, append([]string{"status", "--wait", patience}, flags...)...)
	}
	expect := func(want string) {
		t.Helper()
		if got := call("10ms"); got.code != 1 || got.out != "" || got.errs != "overcast: not ready after 10ms: "+want+"\n" {
			t.Errorf("got %+v, want %s", got, want)
		}
	}
	expect("overcastd is not running")
	lock, err := loader.AcquireLock(flags[3])
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	expect("overcastd has just started and has applied nothing yet")
	report, err := loader.ReadReport(flags[3])
	if err != nil {
		t.Fatal(err)
	}
	report.PID = os.Getpid()
	if err := loader.WriteReport(flags[3], report); err != nil {
		t.Fatal(err)
	}
	expect("the configuration is refused: a.yaml:1:1: a mistake")
	report.Config.Error = ""
	if err := loader.WriteReport(flags[3], report); err != nil {
		t.Fatal(err)
	}
	expect("overcastd has applied nothing yet")
	done := make(chan result)
	go func() { done <- call("1m") }()
	report.Config.Applied = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := loader.WriteReport(flags[3], report); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.code != 0 || got.errs != "" || !strings.Contains(got.out, "applied       2026-01-02T03:04:05Z") {
		t.Errorf("got %+v", got)
	}
	if got := overcast(t, append([]string{"status", "--wait", "10ms"}, nowhere(t)...)...); got.code != 1 || !strings.Contains(got.errs, "not ready after 10ms: no datapath is loaded") {
		t.Errorf("got %+v", got)
	}
}

// The shell is offered what there is, and no files.
func TestCompleteFilters(t *testing.T) {
	flags, _ := pinned(t)
	for call, want := range map[string]string{
		"--environment ":                    "lab\nshop\n",
		"--segment ":                        "lab/lan\nlan\nshop/lan\n",
		"--environment shop --segment ":     "lan\nshop/lan\n",
		"--port ":                           "late\nshop/lan/late\nshop/lan/web\nweb\n",
		"--environment lab --port ":         "",
		"--segment shop/lan --port ":        "late\nshop/lan/late\nshop/lan/web\nweb\n",
		"--run-dir /nowhere --environment ": "",
		"":                                  "",
	} {
		args := append(append([]string{"__complete", "fdb"}, flags...), strings.Split(call, " ")...)
		if got := overcast(t, args...); got.code != 0 || !strings.HasPrefix(got.out, want+":4\n") {
			t.Errorf("%q: got %+v, want %q", call, got, want)
		}
	}
	for _, verb := range []string{"unload", "version"} {
		if got := overcast(t, "__complete", verb, ""); !strings.HasPrefix(got.out, ":4\n") {
			t.Errorf("%s: got %+v, want nothing", verb, got)
		}
	}
	if got := overcast(t, "__complete", "ports", "--run-dir", ""); !strings.HasPrefix(got.out, ":16\n") {
		t.Errorf("--run-dir: got %+v, want folders", got)
	}
}

func TestUnload(t *testing.T) {
	// Unload looks for the tunnel device in the namespace that it is called in.
	enterNamespace(t)
	flags, _ := pinned(t)
	call := append([]string{"unload"}, flags...)
	exists := func() bool {
		_, err := os.Stat(filepath.Join(flags[1], "oc_fdb"))
		return err == nil
	}
	lock, err := loader.AcquireLock(flags[3])
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	want := "overcast: lock " + filepath.Join(flags[3], "overcastd.lock") + ": an overcastd is running here: stop it first, or use --force\n"
	if got := overcast(t, call...); got != (result{1, "", want}) || !exists() {
		t.Errorf("with an agent: %+v, want %q; the pins are there: %t", got, want, exists())
	}
	if got := overcast(t, append(call, "--force")...); got != (result{}) || exists() {
		t.Errorf("by force: %+v; the pins are there: %t", got, exists())
	}
	lock.Release()
	if got := overcast(t, call...); got != (result{}) {
		t.Errorf("of nothing: %+v", got)
	}
	// A folder that is none of ours stays.
	elsewhere := t.TempDir()
	file := filepath.Join(elsewhere, "precious")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := overcast(t, "unload", "--pin-path", elsewhere, "--run-dir", flags[3])
	if _, err := os.Stat(file); err != nil || got.code != 1 || !strings.Contains(got.errs, elsewhere+" is not in a BPF file system") {
		t.Errorf("elsewhere: %+v; the file: %v", got, err)
	}
}
