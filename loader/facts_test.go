// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"overcast/bpf"
	"overcast/maps"
	"overcast/policy"
)

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestReadMachine(t *testing.T) {
	enterNamespace(t)
	device := addDevice(t, "d0", 9000)
	m, err := readMachine()
	if err != nil {
		t.Fatal(err)
	}
	d0 := m.byName["d0"]
	if d0.ifindex != uint32(device.Attrs().Index) || d0.mtu != 9000 || !d0.ethernet || d0.kind != "veth" || m.byIndex[d0.ifindex] != d0 {
		t.Errorf("d0 is %+v", d0)
	}
	if net.HardwareAddr(d0.mac[:]).String() != device.Attrs().HardwareAddr.String() {
		t.Errorf("d0 has the MAC %x", d0.mac)
	}
	// redirect_peer does not reach a peer of the same namespace.
	if d0.peer {
		t.Error("the peer of d0 is said to be in another namespace")
	}
	if lo := m.byName["lo"]; lo.ethernet {
		t.Errorf("lo is %+v", lo)
	}
	state := &policy.State{Segments: []policy.Segment{{Ports: []policy.Port{{Name: "a", Interface: "d0"}, {Name: "b", Interface: "late"}}}}}
	if diff := cmp.Diff(map[string]maps.PortFacts{"d0": {Ifindex: d0.ifindex}}, m.ports(state, nil)); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
}

func TestRoutes(t *testing.T) {
	enterNamespace(t)
	d0 := addDevice(t, "d0", 9000, "192.0.2.1/24", "2001:db8::1/64")
	d1 := addDevice(t, "d1", 1500, "198.51.100.1/24")
	addNeighbour(t, d0, "192.0.2.2", "02:00:00:00:00:02")
	addNeighbour(t, d0, "2001:db8::2", "02:00:00:00:00:06")
	_, far, _ := net.ParseCIDR("203.0.113.0/24")
	_, black, _ := net.ParseCIDR("203.0.114.0/24")
	for _, route := range []*netlink.Route{
		{Dst: far, Gw: net.ParseIP("192.0.2.2"), MTU: 1400},
		{Dst: black, Type: unix.RTN_BLACKHOLE},
	} {
		if err := netlink.RouteAdd(route); err != nil {
			t.Fatal(err)
		}
	}
	m, err := readMachine()
	if err != nil {
		t.Fatal(err)
	}
	read := func(local string, uplinks []string, vteps ...string) *routes {
		t.Helper()
		var remotes []policy.Remote
		for _, vtep := range vteps {
			remotes = append(remotes, policy.Remote{Name: vtep, VTEP: mustAddr(vtep)})
		}
		r, err := readRoutes(m, mustAddr(local), remotes, uplinks)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	path := func(family uint32, hop, mac string) bpf.Path {
		p := bpf.Path{Ifindex: uint32(d0.Attrs().Index), Family: family, Flags: bpf.PathEthernet, Src: m.byName["d0"].mac}
		copy(p.NextHop[:], mustAddr(hop).AsSlice())
		if mac != "" {
			hardware, _ := net.ParseMAC(mac)
			copy(p.Dst[:], hardware)
			p.Flags |= bpf.PathMACs
		}
		return p
	}

	r := read("192.0.2.1", nil, "192.0.2.2", "192.0.2.3", "203.0.113.9", "203.0.114.9", "8.8.8.8", "192.0.2.1")
	if diff := cmp.Diff(map[netip.Addr]bpf.Path{
		mustAddr("192.0.2.2"):   path(unix.AF_INET, "192.0.2.2", "02:00:00:00:00:02"),
		mustAddr("192.0.2.3"):   path(unix.AF_INET, "192.0.2.3", ""), // nobody has answered for it
		mustAddr("203.0.113.9"): path(unix.AF_INET, "192.0.2.2", "02:00:00:00:00:02"),
		// A black hole, no route, and ourselves are no ways.
	}, r.paths, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[netip.Addr]int{mustAddr("192.0.2.2"): 9000, mustAddr("192.0.2.3"): 9000, mustAddr("203.0.113.9"): 1400}, r.mtus, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("MTUs (-want +got):\n%s", diff)
	}
	if len(r.unresolved) != 1 || r.unresolved[0].IP.String() != "192.0.2.3" || r.unresolved[0].LinkIndex != d0.Attrs().Index {
		t.Errorf("to be resolved: %v", r.unresolved)
	}

	r = read("2001:db8::1", nil, "2001:db8::2")
	if diff := cmp.Diff(path(unix.AF_INET6, "2001:db8::2", "02:00:00:00:00:06"), r.paths[mustAddr("2001:db8::2")]); diff != "" {
		t.Errorf("IPv6 path (-want +got):\n%s", diff)
	}

	// Only over the uplinks that are configured.
	if r := read("192.0.2.1", []string{"d1"}, "192.0.2.2"); len(r.paths) != 0 {
		t.Errorf("a way over another device: %v", r.paths)
	}
	if r := read("198.51.100.1", []string{"d1"}, "198.51.100.2"); r.paths[mustAddr("198.51.100.2")].Ifindex != uint32(d1.Attrs().Index) {
		t.Errorf("no way over the uplink: %v", r.paths)
	}
}

func TestNextHop(t *testing.T) {
	vtep := mustAddr("192.0.2.9")
	for name, c := range map[string]struct {
		route netlink.Route
		want  string
	}{
		"on the link":            {netlink.Route{}, "192.0.2.9"},
		"a gateway":              {netlink.Route{Gw: net.ParseIP("192.0.2.1")}, "192.0.2.1"},
		"of the other family":    {netlink.Route{Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: net.ParseIP("fe80::1")}}, "fe80::1"},
		"a gateway, in 16 bytes": {netlink.Route{Gw: net.ParseIP("192.0.2.1").To16()}, "192.0.2.1"},
	} {
		if got := nextHop(vtep, c.route); got != mustAddr(c.want) {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestSameUplinks(t *testing.T) {
	a, b := mustAddr("192.0.2.2"), mustAddr("192.0.2.3")
	base := func() *routes {
		return &routes{paths: map[netip.Addr]bpf.Path{a: {Ifindex: 1}}, mtus: map[netip.Addr]int{a: 1500}}
	}
	for name, c := range map[string]struct {
		change func(*routes)
		want   bool
	}{
		"nothing":       {func(*routes) {}, true},
		"next hop":      {func(r *routes) { r.paths[a] = bpf.Path{Ifindex: 1, NextHop: [16]byte{1}} }, true},
		"MAC":           {func(r *routes) { r.paths[a] = bpf.Path{Ifindex: 1, Dst: [6]byte{1}} }, true},
		"uplink":        {func(r *routes) { r.paths[a] = bpf.Path{Ifindex: 2} }, false},
		"MTU":           {func(r *routes) { r.mtus[a] = 1400 }, false},
		"a route more":  {func(r *routes) { r.paths[b] = bpf.Path{Ifindex: 1} }, false},
		"a route less":  {func(r *routes) { delete(r.paths, a) }, false},
		"another route": {func(r *routes) { delete(r.paths, a); r.paths[b] = bpf.Path{Ifindex: 1} }, false},
	} {
		changed := base()
		c.change(changed)
		if got := sameUplinks(base(), changed); got != c.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// A list that changed while it was told is asked for again, not for ever.
func TestDump(t *testing.T) {
	for name, c := range map[string]struct {
		interrupted, calls int
		fails              bool
	}{"at once": {0, 1, false}, "changed twice": {2, 3, false}, "never still": {99, dumpTries, true}} {
		calls := 0
		got, err := dump(func() ([]int, error) {
			if calls++; calls <= c.interrupted {
				return nil, netlink.ErrDumpInterrupted
			}
			return []int{calls}, nil
		})
		if calls != c.calls || (err != nil) != c.fails || (!c.fails && got[0] != c.calls) {
			t.Errorf("%s: %v, %v after %d calls", name, got, err, calls)
		}
	}
}
