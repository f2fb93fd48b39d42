// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"overcast/bpf"
)

// disabledIPv6 is a device's setting, which silence changes.
func disabledIPv6(t *testing.T, device string) string {
	t.Helper()
	text, err := os.ReadFile(ipv6Setting(device, "disable_ipv6"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// A device that the host lives by is refused as a port before anything is
// touched, and what ran before goes on.
func TestHostDevicesAreNoPorts(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	addDevice(t, "u0", 1500, "192.0.2.1/24")
	addDevice(t, "p1", 1450)
	addDevice(t, "a4", 1450)
	d := startDatapath(t, path, testLimits, nil)
	defer d.Close()
	refused := func(want string) {
		t.Helper()
		device, _, _ := strings.Cut(want, " ")
		bad := testState()
		bad.Segments[0].Ports[1].Interface = device
		before := ""
		if device != TunnelDevice {
			before = disabledIPv6(t, device)
		}
		err := d.Apply(bad)
		var refusal *RefusalError
		if !errors.As(err, &refusal) || err.Error() != "port shop/lan/web: "+want+"; want a guest's device" {
			t.Errorf("got %v\nwant %s", err, want)
		}
		if device != TunnelDevice && disabledIPv6(t, device) != before {
			t.Errorf("the IPv6 of %s was switched off", device)
		}
	}
	refused("u0 is this host's uplink")
	refused("lo is the loopback device")
	if got := pins(t, path); len(got) != 0 {
		t.Errorf("a refused state has pinned %v", got)
	}
	if err := d.Apply(testState()); err != nil {
		t.Fatal(err)
	}
	refused("u0 is this host's uplink")
	refused("oc0 is the overlay's tunnel device")
	if got := d.Report().Ports[1]; got.State != PortUp || got.Interface != "p1" {
		t.Errorf("after refusals the port is %+v", got)
	}

	// An address on a device that routes nothing.
	d.opts.Underlay = mustAddr("198.51.100.1")
	addr, err := netlink.ParseAddr("198.51.100.1/32")
	if err == nil {
		err = netlink.AddrAdd(mustLink(t, "a4"), addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	refused("a4 has this host's tunnel address 198.51.100.1")
	if err := Unload(path, t.TempDir()); err != nil {
		t.Error(err)
	}
}

// A port whose device becomes the uplink is a port no more, and is told; when
// the route goes elsewhere again it is one again.
func TestPortBecomesUplink(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	d := running(t, path, DecapTC, hasTCX(t))
	p1 := mustLink(t, "p1")
	at := place{bpf.PortIn, uint32(p1.Attrs().Index)}
	_, net2, _ := net.ParseCIDR("192.0.2.2/32")
	route := &netlink.Route{LinkIndex: p1.Attrs().Index, Dst: net2, Src: net.ParseIP("192.0.2.1"), Scope: netlink.SCOPE_LINK}
	if err := netlink.RouteAdd(route); err != nil {
		t.Fatal(err)
	}
	if _, err := d.RefreshPaths(); err != nil {
		t.Error(err)
	}
	if holds, err := d.hooks.holds(at, d.programs[bpf.PortIn]); err != nil || holds {
		t.Errorf("the uplink has the program of a port: %v", err)
	}
	if got := disabledIPv6(t, "p1"); got != "0" {
		t.Errorf("disable_ipv6 of the uplink is %s", got)
	}
	report := d.Report()
	if want := "port shop/lan/web: p1 is this host's uplink; want a guest's device"; len(report.Problems) != 1 || report.Problems[0] != want {
		t.Errorf("problems are %q", report.Problems)
	}
	if report.Ports[1].State != PortUnattached || report.Uplinks[0].Interface != "p1" {
		t.Errorf("port %+v, uplinks %+v", report.Ports[1], report.Uplinks)
	}
	if err := netlink.RouteDel(route); err != nil {
		t.Fatal(err)
	}
	if _, err := d.RefreshPaths(); err != nil {
		t.Error(err)
	}
	if report := d.Report(); report.Ports[1].State != PortUp || len(report.Problems) > 0 {
		t.Errorf("port %+v, problems %q", report.Ports[1], report.Problems)
	}
	if got := disabledIPv6(t, "p1"); got != "1" {
		t.Errorf("disable_ipv6 of the port is %s", got)
	}
	if err := Unload(path, t.TempDir()); err != nil {
		t.Error(err)
	}
}

// What carries an uplink: the device below a VLAN, the parts of a bond, and a
// bridge's way out; not the guests in that bridge.
func TestCarries(t *testing.T) {
	vlan := device{ifindex: 9, kind: "vlan", lower: 2}
	bond := device{ifindex: 9, kind: "bond"}
	bridge := device{ifindex: 9, kind: "bridge"}
	for name, c := range map[string]struct {
		device, upper device
		want          bool
	}{
		"below a VLAN":        {device{ifindex: 2}, vlan, true},
		"beside a VLAN":       {device{ifindex: 3}, vlan, false},
		"of a bond":           {device{ifindex: 2, master: 9, kind: "veth"}, bond, true},
		"a card of a bridge":  {device{ifindex: 2, master: 9, kind: "device"}, bridge, true},
		"a guest of a bridge": {device{ifindex: 2, master: 9, kind: "tuntap"}, bridge, false},
		"a pair of a bridge":  {device{ifindex: 2, master: 9, kind: "veth"}, bridge, false},
		"of no upper":         {device{ifindex: 2}, device{}, false},
	} {
		if got := carries(c.device, c.upper); got != c.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}
