// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"overcast/bpf"
	"overcast/policy"
)

// A segment that no longer fits the underlay keeps its MTU and is told, and
// nothing else waits for it: a port that is made anew meanwhile works.
func TestSmallUnderlayDoesNotStopTheRest(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	d := running(t, path, DecapTC, hasTCX(t))
	if err := netlink.LinkSetMTU(mustLink(t, "u0"), 1300); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(mustLink(t, "p1")); err != nil {
		t.Fatal(err)
	}
	addDevice(t, "p1", 1450)
	if err := d.Refresh(); err != nil {
		t.Error(err)
	}
	report := d.Report()
	if want := []string{"segment shop/lan: the underlay leaves an MTU of 1250, and IPv6 needs 1280: raise the underlay's MTU by 30; it keeps 1450"}; !slices.Equal(report.Problems, want) {
		t.Errorf("problems are %q", report.Problems)
	}
	if p := report.Ports[1]; p.State != PortUp || p.Ifindex != uint32(mustLink(t, "p1").Attrs().Index) || report.Segments[0].MTU != 1450 {
		t.Errorf("port %+v, segment %+v", p, report.Segments[0])
	}
	if got := disabledIPv6(t, "p1"); got != "1" {
		t.Error("the new device is not silenced")
	}
	// One more segment that cannot be is refused.
	more := testState()
	more.Segments = append(more.Segments, policy.Segment{Environment: "shop", Name: "dmz", VNI: 4501, Remotes: more.Segments[0].Remotes})
	var refusal *RefusalError
	if err := d.Apply(more); !errors.As(err, &refusal) {
		t.Errorf("a new segment: %v", err)
	}
	if err := netlink.LinkSetMTU(mustLink(t, "u0"), 1400); err != nil {
		t.Fatal(err)
	}
	if err := d.Refresh(); err != nil {
		t.Error(err)
	}
	if report := d.Report(); len(report.Problems) > 0 || report.Segments[0].MTU != 1350 {
		t.Errorf("problems %q, segment %+v", report.Problems, report.Segments[0])
	}
	if err := Unload(path, t.TempDir()); err != nil {
		t.Error(err)
	}
}

// A port whose device cannot take a program is told, and the others work.
func TestOneBadPort(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	d := running(t, path, DecapTC, hasTCX(t))
	addDevice(t, "p9", 1450)
	// A program with one of our names, and other maps, is another datapath's.
	other := startDatapath(t, newPinPath(t), testLimits, nil)
	defer other.Close()
	foreign, err := LoadPrograms(other.Maps(), bpf.Constants{})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	if err := ensurePinPath(other.opts.PinPath); err != nil {
		t.Fatal(err)
	}
	at := place{bpf.PortIn, uint32(mustLink(t, "p9").Attrs().Index)}
	if err := commitPins(other.opts.PinPath, other.Maps(), foreign); err != nil {
		t.Fatal(err)
	}
	if err := other.hooks.attach(at, foreign.Programs[bpf.PortIn]); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(mustLink(t, "p1")); err != nil {
		t.Fatal(err)
	}
	addDevice(t, "p1", 1450)
	if err := d.Refresh(); err == nil {
		t.Error("the bad port is no error")
	}
	report := d.Report()
	if report.Ports[0].State != PortUnattached || report.Ports[1].State != PortUp {
		t.Errorf("ports %+v", report.Ports)
	}
	if want := "port shop/lan/late on p9: p9 has oc_port_in of the datapath at " + other.opts.PinPath; len(report.Problems) != 1 || report.Problems[0][:len(want)] != want {
		t.Errorf("problems are %q", report.Problems)
	}
	if got := disabledIPv6(t, "p9"); got != "0" {
		t.Error("the device of another datapath was silenced")
	}
	if err := other.hooks.detach(at); err != nil {
		t.Fatal(err)
	}
	if err := d.Refresh(); err != nil {
		t.Error(err)
	}
	if report := d.Report(); report.Ports[0].State != PortUp || len(report.Problems) > 0 {
		t.Errorf("ports %+v, problems %q", report.Ports, report.Problems)
	}
	// A device that is set down is no port that is up.
	if err := netlink.LinkSetDown(mustLink(t, "p9")); err != nil {
		t.Fatal(err)
	}
	if err := d.Refresh(); err != nil {
		t.Error(err)
	}
	if p := d.Report().Ports[0]; p.State != PortDown {
		t.Errorf("port %+v", p)
	}
	if err := Unload(path, t.TempDir()); err != nil {
		t.Error(err)
	}
}

// A tunnel address or an uplink that is not there is told and followed; an
// address of the wrong family cannot be meant.
func TestFindings(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	u0 := addDevice(t, "u0", 1500)
	addDevice(t, "p1", 1450)
	d := startDatapath(t, path, testLimits, nil)
	defer d.Close()
	d.opts.Underlay = mustAddr("2001:db8::1")
	var refusal *RefusalError
	if err := d.Apply(testState()); !errors.As(err, &refusal) || err.Error() != "underlay 2001:db8::1: the vtep of host a is 192.0.2.1, of the other family; want this machine's address behind it" {
		t.Errorf("got %v", err)
	}
	d.opts.Underlay, d.opts.Uplinks = mustAddr("192.0.2.7"), []string{"u0", "u7"}
	if err := d.Apply(testState()); err != nil {
		t.Fatal(err)
	}
	if got, want := d.Problems(), []string{
		"no device has this host's tunnel address 192.0.2.7: add it, or set underlay to the address that the other hosts' packets for it arrive at",
		"uplink u7: there is no such device",
	}; !slices.Equal(got, want) {
		t.Errorf("problems are %q", got)
	}
	addr, err := netlink.ParseAddr("192.0.2.7/24")
	if err == nil {
		err = netlink.AddrAdd(u0, addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	addDevice(t, "u7", 1500)
	if _, err := d.RefreshPaths(); err != nil {
		t.Fatal(err)
	}
	if report := d.Report(); len(report.Problems) > 0 || report.Remotes[0].Uplink != "u0" {
		t.Errorf("problems %q, remotes %+v", report.Problems, report.Remotes)
	}
	if err := Unload(path, t.TempDir()); err != nil {
		t.Error(err)
	}
}
