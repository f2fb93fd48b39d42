// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
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
	web := policy.Port{Name: "web", Interface: "tap0", MAC: policy.MAC{2, 0, 0, 0, 0, 1}, HasMAC: true}
	late := policy.Port{Name: "late", Interface: "tap1", MAC: policy.MAC{2, 0, 0, 0, 0, 2}, HasMAC: true}
	state := &policy.State{
		Host:    policy.Host{Name: "a", VTEP: netip.MustParseAddr("192.0.2.1")},
		Remotes: []policy.Remote{{Name: "b", VTEP: b}, {Name: "c", VTEP: c, Foreign: true}},
		Segments: []policy.Segment{
			{Environment: "shop", Name: "lan", VNI: 4500, Learning: true, FloodUnknown: true, Remotes: []netip.Addr{b}, Ports: []policy.Port{late, web},
				FDB: []policy.Entry{{MAC: web.MAC, Port: "web"}, {MAC: late.MAC, Port: "late"}, {MAC: policy.MAC{2, 0, 0, 0, 0, 9}, VTEP: b}}},
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

// rows runs a verb and returns its objects.
func rows(t *testing.T, verb string, args ...string) []map[string]any {
	t.Helper()
	got := overcast(t, append([]string{verb, "-o", "json"}, args...)...)
	var document map[string]json.RawMessage
	if err := json.Unmarshal([]byte(got.out), &document); err != nil || got.code != 0 || got.errs != "" {
		t.Fatalf("%s %v: %+v: %v", verb, args, got, err)
	}
	key := verb
	if slices.Contains(args, "--raw") {
		key = "raw"
	}
	var list []map[string]any
	if err := json.Unmarshal(document[key], &list); err != nil || string(document["schema"]) != "1" || len(document) != 2 {
		t.Fatalf("%s: %v, want schema 1 and a list of %s: %s", verb, err, key, got.out)
	}
	return list
}

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
		{"remotes", "", "host vtep foreign route uplink next_hop mtu", [][]any{
			{"b", "192.0.2.2", false, "resolved", "eth0", "192.0.2.254", 1500.0}, {"c", "192.0.2.3", true, "none", "", "", 0.0}}},
		{"remotes", "--environment shop", "host", [][]any{{"b"}}},
		{"fdb", "", "segment mac source kind where", [][]any{
			{"shop/lan", "02:00:00:00:00:01", "static", "port", "shop/lan/web"}, {"shop/lan", "02:00:00:00:00:02", "static", "port", "a port without a device"},
			{"shop/lan", "02:00:00:00:00:03", "learned", "port", "shop/lan/web"}, {"shop/lan", "02:00:00:00:00:09", "static", "remote", "b"}}},
		{"fdb", "--segment lab/lan", "mac", nil},
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
	for _, verb := range []string{"status", "ports", "segments", "remotes", "fdb", "drops"} {
		for _, more := range [][]string{nil, {"--raw"}, {"--environment", "nosuch"}} {
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
	if diff := cmp.Diff([][]any{{"oc_fdb", "Hash", 3.0, 16.0}, {"oc_fdb_learned", "LRUHash", 1.0, 16.0}}, pick(list, "map", "type", "entries", "max_entries")); diff != "" {
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
	if value["vtep"] != "192.0.2.2" || value["path"].([]any)[0].(map[string]any)["ifindex"] != 2.0 {
		t.Errorf("the remote is %v", value)
	}
	// Every map has a reader.
	for _, n := range set.Named() {
		if _, ok := rawReaders[n.Name]; !ok {
			t.Errorf("--raw cannot read %s", n.Name)
		}
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

// Without any report everything is there by number.
func TestWithoutReport(t *testing.T) {
	flags, _ := pinned(t)
	flags[3] = t.TempDir()
	want := [][]any{{"?/1", "port", "ifindex 7"}, {"?/1", "port", "a port without a device"}, {"?/1", "port", "ifindex 7"}, {"?/1", "remote", "slot 1"}}
	if diff := cmp.Diff(want, pick(rows(t, "fdb", flags...), "segment", "kind", "where")); diff != "" {
		t.Errorf("fdb (-want +got):\n%s", diff)
	}
	if got := overcast(t, append([]string{"status"}, flags...)...); got.code != 0 || !strings.Contains(got.out, "stopped, and it left no report") {
		t.Errorf("status: %+v", got)
	}
	// One that cannot be read is an error that names it.
	file := filepath.Join(flags[3], "state.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := overcast(t, append([]string{"status"}, flags...)...); got.code != 1 || got.out != "" || !strings.Contains(got.errs, file) {
		t.Errorf("with a broken report: %+v", got)
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
