// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"overcast/bpf"
	"overcast/maps"
	"overcast/policy"
)

var testLimits = maps.Limits{MACs: 64, Learned: 64, Groups: 16, Remotes: 16}

// startDatapath starts one in the namespace of the test.
func startDatapath(t *testing.T, pinPath string, limits maps.Limits, earlier *Report) *Datapath {
	t.Helper()
	d, err := Start(Options{PinPath: pinPath, RunDir: t.TempDir(), Decap: DecapAuto, Limits: limits, Log: slog.New(slog.DiscardHandler)}, earlier)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// testState is a port on p1 and another whose device is missing, and a remote.
func testState() *policy.State {
	port := policy.Port{Name: "web", Interface: "p1", MAC: policy.MAC{2, 0, 0, 0, 0, 1}, HasMAC: true}
	late := policy.Port{Name: "late", Interface: "p9", MAC: policy.MAC{2, 0, 0, 0, 0, 2}, HasMAC: true, ExtraMACs: []policy.MAC{{2, 0, 0, 0, 0, 3}}}
	remote := policy.Remote{Name: "b", VTEP: netip.MustParseAddr("192.0.2.2"), Zone: "az1"}
	return &policy.State{
		Host:    policy.Host{Name: "a", VTEP: netip.MustParseAddr("192.0.2.1")},
		Tunnel:  policy.DefaultTunnel(policy.VXLAN),
		Remotes: []policy.Remote{remote},
		Segments: []policy.Segment{{Environment: "shop", Name: "lan", VNI: 4500, Remotes: []netip.Addr{remote.VTEP}, Ports: []policy.Port{late, port},
			FDB: []policy.Entry{{MAC: port.MAC, Port: "web"}, {MAC: late.MAC, Port: "late"}, {MAC: policy.MAC{2, 0, 0, 0, 0, 9}, VTEP: remote.VTEP}}}},
	}
}

// pins lists what is below a pin path.
func pins(t *testing.T, path string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(path, func(file string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			name, _ := filepath.Rel(path, file)
			names = append(names, name)
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return names
}

// The life of a datapath: what is there after each step, and that nothing is
// after the last.
func TestDatapath(t *testing.T) {
	enterNamespace(t)
	path, runDir := newPinPath(t), t.TempDir()
	uplink := addDevice(t, "u0", 1500, "192.0.2.1/24")
	addNeighbour(t, uplink, "192.0.2.2", "02:00:00:00:00:22")
	addDevice(t, "p1", 1450)

	d := startDatapath(t, path, testLimits, nil)
	defer func() { d.Close() }()
	if got := pins(t, path); len(got) != 0 {
		t.Errorf("pinned before there is a state: %v", got)
	}
	if err := d.Refresh(); err != nil {
		t.Errorf("without a state: %v", err)
	}
	if err := d.Apply(testState()); err != nil {
		t.Fatal(err)
	}
	want := []string{bpf.ConstantsVariable}
	for _, n := range d.Maps().Named() {
		want = append(want, n.Name)
	}
	got := pins(t, path)
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%s is not pinned: %v", name, got)
		}
	}

	report := d.Report()
	if len(report.Ports) != 2 || report.Ports[0].Object() != "shop/lan/late" || report.Ports[0].Ifindex != 0 || report.Ports[1].Object() != "shop/lan/web" || report.Ports[1].Ifindex == 0 ||
		report.Ports[1].MTU != 1450 || report.Ports[1].DeviceMTU != 1450 || report.Ports[1].MAC != "02:00:00:00:00:01" || !cmp.Equal(report.Ports[0].ExtraMACs, []string{"02:00:00:00:00:03"}) {
		t.Errorf("ports: %+v", report.Ports)
	}
	if len(report.Remotes) != 1 || report.Remotes[0].Host != "b" || report.Remotes[0].Uplink != "u0" || report.Remotes[0].MTU != 1500 || report.Remotes[0].Zone != "az1" || report.Remotes[0].Slot != 1 {
		t.Errorf("remotes: %+v", report.Remotes)
	}
	if len(report.Uplinks) != 1 || report.Uplinks[0].Interface != "u0" || report.Uplinks[0].Decap != DecapTC || report.Uplinks[0].Reason == "" {
		t.Errorf("uplinks: %+v", report.Uplinks)
	}
	if len(report.Segments) != 1 || report.Segments[0].Object() != "shop/lan" || report.Segments[0].VNI != 4500 || report.Segments[0].MTU != 1450 {
		t.Errorf("segments: %+v", report.Segments)
	}
	if report.Host != "a" || report.TunnelPort != 4789 || report.Encapsulation != "vxlan" || report.Tunnel.Error != "" || report.Schema != ReportSchema {
		t.Errorf("report: %+v", report)
	}

	// A path that changes is one remote written twice.
	writes := d.Maps().Writes()
	addNeighbour(t, uplink, "192.0.2.2", "02:00:00:00:00:33")
	if n, err := d.RefreshPaths(); err != nil || n != 1 {
		t.Errorf("a new MAC changed %d paths, %v", n, err)
	}
	if n, err := d.RefreshPaths(); err != nil || n != 0 {
		t.Errorf("nothing new changed %d paths, %v", n, err)
	}
	if got := d.Maps().Writes(); got.Put-writes.Put != 2 || got.Deleted != writes.Deleted {
		t.Errorf("wrote %+v and then %+v", writes, got)
	}

	// What cannot be is refused, and what runs stays, also over a refresh.
	before := d.Report()
	bad := testState()
	for i := range 65 {
		bad.Segments[0].FDB = append(bad.Segments[0].FDB, policy.Entry{MAC: policy.MAC{2, 1, 0, 0, 0, byte(i)}, VTEP: bad.Remotes[0].VTEP})
	}
	if err := d.Apply(bad); err == nil || !strings.Contains(err.Error(), "limits.macs is 64; raise it to at least 68") {
		t.Errorf("too many MACs gave %v", err)
	}
	writes = d.Maps().Writes()
	if err := d.Refresh(); err != nil {
		t.Errorf("refreshing after a refusal: %v", err)
	}
	if diff := cmp.Diff(before, d.Report(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("after a refusal (-before +after):\n%s", diff)
	}
	if got := d.Maps().Writes(); got != writes {
		t.Errorf("a refresh wrote %+v and then %+v", writes, got)
	}

	// The device of a port goes and comes.
	drops := func(when string, want uint64) {
		t.Helper()
		counts, err := d.Maps().DropCounts()
		if err != nil {
			t.Fatal(err)
		}
		key, all := bpf.DropKey{Reason: bpf.DropCopyFailed, Ifindex: d.Report().Ports[1].DropsIfindex, Segment: 1}, uint64(0)
		for key, count := range counts {
			if key.Reason == bpf.DropCopyFailed { // of which no others come here
				all += count.Packets
			}
		}
		if got := counts[key].Packets; got != want || all != want {
			t.Errorf("%s: %d drops of the port; all: %v", when, got, counts)
		}
	}
	dropped := make([]bpf.DropCount, ebpf.MustPossibleCPU())
	dropped[0].Packets, dropped[len(dropped)-1].Packets = 2, 3
	if err := d.Maps().Drops.Put(&bpf.DropKey{Reason: bpf.DropCopyFailed, Ifindex: report.Ports[1].Ifindex, Segment: 1}, dropped); err != nil {
		t.Fatal(err)
	}
	drops("at first", 5)
	device, err := netlink.LinkByName("p1")
	if err == nil {
		err = netlink.LinkDel(device)
	}
	if err == nil {
		err = d.Refresh()
	}
	if err != nil {
		t.Fatal(err)
	}
	if ports := d.Report().Ports; ports[1].Ifindex != 0 {
		t.Errorf("without its device: %+v", ports[1])
	}
	drops("without its device", 5)
	addDevice(t, "p1", 1450)
	if err := d.Refresh(); err != nil {
		t.Fatal(err)
	}
	if ports := d.Report().Ports; ports[1].Ifindex == 0 || ports[1].Slot != report.Ports[1].Slot {
		t.Errorf("with its device again: %+v, before: %+v", ports[1], report.Ports[1])
	}
	drops("with its device again", 5)

	report = d.Report()
	if err := WriteReport(runDir, &report); err != nil {
		t.Fatal(err)
	}
	for range 2 { // there may be nothing
		if err := Unload(path, runDir); err != nil {
			t.Error(err)
		}
	}
	if got := pins(t, path); len(got) != 0 {
		t.Errorf("still pinned: %v", got)
	}
	if _, err := netlink.LinkByName(TunnelDevice); err == nil {
		t.Error("the tunnel device is still there")
	}
	if _, err := ReadReport(runDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the report is still there: %v", err)
	}
	h := &hooks{tcx: d.features.TCX}
	for _, name := range []string{"u0", "p1"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if left := attachedPrograms(t, h, link); len(left) != 0 {
			t.Errorf("%s still has programs: %v", name, left)
		}
	}
}

func mapIDs(t *testing.T, set *maps.Set) map[string]ebpf.MapID {
	t.Helper()
	ids := make(map[string]ebpf.MapID)
	for _, n := range set.Named() {
		info, err := (*n.Map).Info()
		if err != nil {
			t.Fatal(err)
		}
		ids[n.Name], _ = info.ID()
	}
	return ids
}

// A restart takes over the maps, the magic and the links; other limits mean
// other maps, and all of them, since one names slots of another.
func TestTakeOver(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	addDevice(t, "u0", 1500, "192.0.2.1/24")
	addDevice(t, "p1", 1450)
	first := startDatapath(t, path, testLimits, nil)
	if err := first.Apply(testState()); err != nil {
		t.Fatal(err)
	}
	ids, slots, magic := mapIDs(t, first.Maps()), first.slots, first.magic
	report := first.Report()
	first.Close()

	second := startDatapath(t, path, testLimits, &report)
	if diff := cmp.Diff(ids, mapIDs(t, second.Maps())); diff != "" {
		t.Errorf("maps (-first +second):\n%s", diff)
	}
	if second.magic != magic || magic == 0 {
		t.Errorf("magic %x and then %x", magic, second.magic)
	}
	if err := second.Apply(testState()); err != nil {
		t.Fatal(err)
	}
	if got := second.Maps().Writes(); got != (maps.Writes{}) {
		t.Errorf("taking over wrote %+v", got)
	}
	if diff := cmp.Diff(slots, second.slots); diff != "" {
		t.Errorf("slots (-first +second):\n%s", diff)
	}
	second.Close()

	larger := testLimits
	larger.MACs *= 2
	third := startDatapath(t, path, larger, &report)
	defer third.Close()
	if err := third.Apply(testState()); err != nil {
		t.Fatal(err)
	}
	for name, id := range mapIDs(t, third.Maps()) {
		if id == ids[name] {
			t.Errorf("%s is still the old map", name)
		}
	}
	pinned, err := maps.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer pinned.Close()
	if diff := cmp.Diff(mapIDs(t, third.Maps()), mapIDs(t, pinned)); diff != "" {
		t.Errorf("pinned are others than are in use (-in use +pinned):\n%s", diff)
	}
	for _, name := range pins(t, path) {
		if strings.HasSuffix(name, staging) {
			t.Errorf("%s was left", name)
		}
	}
	if err := Unload(path, t.TempDir()); err != nil {
		t.Error(err)
	}
}

// Nothing pinned is its own error, with the path.
func TestOpenNothing(t *testing.T) {
	path := newPinPath(t)
	if _, err := maps.Open(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), maps.ErrNotLoaded.Error()) {
		t.Errorf("got %v", err)
	}
}

// Maps of another version, of which some have no counterpart here, are told
// of: what they counted is lost.
func TestMapsOfAnotherVersion(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	d := running(t, path, DecapTC, hasTCX(t))
	report := d.Report()
	if err := os.Remove(filepath.Join(path, "oc_fdb_spill")); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	opts := d.opts
	opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	second, err := Start(opts, &report)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if !strings.Contains(log.String(), "counters and learned MACs start anew") || !second.Ran() {
		t.Errorf("it ran: %t; the log:\n%s", second.Ran(), log.String())
	}
	if err := second.Apply(testState()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(mapIDs(t, second.Maps()), mapIDs(t, d.Maps())); diff == "" {
		t.Error("the old maps are in use")
	}
	if err := Unload(path, opts.RunDir); err != nil {
		t.Error(err)
	}
}

// A new device may have the number that a missing port's had: what is dropped
// there is the new port's.
func TestDropsOfOldNumber(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	d := running(t, path, DecapTC, hasTCX(t))
	old := mustLink(t, "p1")
	if err := netlink.LinkDel(old); err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Index = "p9", 1450, old.Attrs().Index
	addPair(t, attrs)
	if err := d.Refresh(); err != nil {
		t.Fatal(err)
	}
	if ports := d.Report().Ports; ports[0].DropsIfindex != uint32(attrs.Index) || ports[1].DropsIfindex != 0 {
		t.Errorf("ports %+v", ports)
	}
	if err := Unload(path, d.opts.RunDir); err != nil {
		t.Error(err)
	}
}
