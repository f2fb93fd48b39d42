// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"net/netip"
	"testing"

	"overcast/test/lab"
)

// tunnelPackets counts a capture's frames to a MAC with the underlay's tunnel port.
func tunnelPackets(c *lab.Capture, dst string) int {
	n := 0
	for _, f := range c.Frames() {
		// Ethernet, IPv4 without options, UDP: destination port 4789.
		if len(f.Data) > 50 && net.HardwareAddr(f.Data[:6]).String() == dst && f.Data[23] == 17 && f.Data[36] == 0x12 && f.Data[37] == 0xb5 {
			n++
		}
	}
	return n
}

// A route that moves to another uplink or next hop, and back, is followed at
// once, for unicast and for copies, and loses no packet of a flow; programs
// follow to the new uplink.
func TestRoutesAreFollowed(t *testing.T) {
	for _, decap := range []string{"xdp", "tc", "kernel"} {
		t.Run(decap, func(t *testing.T) {
			w := newWorld(t, lab.Options{Hosts: 3}, lab.GuestOptions{}, "--decap", decap)
			a, b, router := w.Hosts[0], w.Hosts[1], w.Hosts[2]
			for key, value := range map[string]string{"ip_forward": "1", "conf/all/send_redirects": "0", "conf/eth0/send_redirects": "0"} {
				if err := router.Sysctl("net/ipv4/"+key, value); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.AddUplink(a, "eth1", netip.MustParsePrefix("192.0.2.101/24")); err != nil {
				t.Fatal(err)
			}
			hop := func(n *lab.Namespace, device string) string {
				m, err := n.HardwareAddr(device)
				if err != nil {
					t.Fatal(err)
				}
				return m.String()
			}
			toB, toRouter := hop(b.Namespace, lab.Uplink), hop(router.Namespace, lab.Uplink)
			first, err := w.Capture(a.Namespace, lab.Uplink, "eth0")
			if err != nil {
				t.Fatal(err)
			}
			second, err := w.Capture(a.Namespace, "eth1", "eth1")
			if err != nil {
				t.Fatal(err)
			}
			f := w.flow()
			w.eventually("the direct way", func() bool { return tunnelPackets(first, toB) > 100 })

			if err := a.AddRoute(lab.Route{To: netip.PrefixFrom(b.VTEP, 32), Via: router.VTEP, Device: lab.Uplink, Source: a.VTEP}); err != nil {
				t.Fatal(err)
			}
			w.eventually("the way by a router", func() bool { return tunnelPackets(first, toRouter) > 100 })

			if err := a.AddRoute(lab.Route{To: netip.PrefixFrom(b.VTEP, 32), Device: "eth1", Source: a.VTEP}); err != nil {
				t.Fatal(err)
			}
			w.eventually("the way by the other uplink", func() bool { return tunnelPackets(second, toB) > 100 })
			w.eventually("the report", func() bool { return w.remote(a, "host-b").Uplink == "eth1" })

			// Copies go the same way.
			before := tunnelPackets(first, toB)
			far := w.capture(w.guests[1])
			copies := frame("ff:ff:ff:ff:ff:ff", w.guests[0].MAC, 0x88, 0xb5, 'c')
			if err := w.guests[0].SendFrame(lab.GuestDevice, copies); err != nil {
				t.Fatal(err)
			}
			if err := far.Await(copies); err != nil {
				t.Error(err)
			}
			if after := tunnelPackets(first, toB); after != before {
				t.Errorf("%d frames still take the old uplink", after-before)
			}

			// Answers may come in by the new uplink too: it strips.
			if err := b.SetNeighbour(lab.Uplink, a.VTEP, hop(a.Namespace, "eth1")); err != nil {
				t.Fatal(err)
			}
			sent, err := w.Capture(b.Namespace, lab.Uplink, "host-b")
			if err != nil {
				t.Fatal(err)
			}
			w.ping(w.guests[1], "2001:45::1")
			if n := tunnelPackets(sent, hop(a.Namespace, "eth1")); n == 0 {
				t.Error("no tunnel packet went to the new uplink")
			}

			if err := a.RemoveRoute(netip.PrefixFrom(b.VTEP, 32)); err != nil {
				t.Fatal(err)
			}
			before = tunnelPackets(first, toB)
			w.eventually("the direct way again", func() bool { return tunnelPackets(first, toB) > before+100 })
			w.whole("while routes moved", f)
		})
	}
}

// A neighbour's new MAC is used at once for copies, which do not ask the kernel.
func TestNeighboursAreFollowed(t *testing.T) {
	w := newWorld(t, lab.Options{}, lab.GuestOptions{})
	a, b := w.Hosts[0], w.Hosts[1]
	w.ping(w.guests[0], "10.9.0.2")
	const moved = "02:00:00:00:aa:aa"
	seen, err := w.Capture(a.Namespace, lab.Uplink, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.SetNeighbour(lab.Uplink, b.VTEP, moved); err != nil {
		t.Fatal(err)
	}
	w.eventually("a copy to the new MAC", func() bool {
		if err := w.guests[0].SendFrame(lab.GuestDevice, frame("ff:ff:ff:ff:ff:ff", w.guests[0].MAC, 0x88, 0xb5)); err != nil {
			t.Fatal(err)
		}
		return tunnelPackets(seen, moved) > 0
	})
}

// A remote without a route is told apart: its frames are dropped and counted,
// and it is reached again when there is one.
func TestUnreachableRemote(t *testing.T) {
	w := newWorld(t, lab.Options{}, lab.GuestOptions{})
	a, b := w.Hosts[0], w.Hosts[1]
	w.ping(w.guests[0], "2001:45::2")
	if err := a.AddRoute(lab.Route{To: netip.PrefixFrom(b.VTEP, 32), Blackhole: true}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the loss of the route", func() bool { return w.remote(a, "host-b").Route == "none" })
	for _, dst := range []string{w.guests[1].MAC, "ff:ff:ff:ff:ff:ff"} {
		// The guests' kernels send MLD reports when they like, and those are
		// dropped and counted too, so a long frame is told by its bytes.
		before := w.droppedBytes(a, "DROP_REMOTE_UNREACHABLE")
		f := frame(dst, w.guests[0].MAC, append([]byte{0x88, 0xb5}, payload("unreachable", 1000)...)...)
		if err := w.guests[0].SendFrame(lab.GuestDevice, f); err != nil {
			t.Fatal(err)
		}
		w.eventually("the drop", func() bool { return w.droppedBytes(a, "DROP_REMOTE_UNREACHABLE") >= before+uint64(len(f)) })
	}
	if err := a.RemoveRoute(netip.PrefixFrom(b.VTEP, 32)); err != nil {
		t.Fatal(err)
	}
	w.eventually("the route", func() bool { return w.remote(a, "host-b").Route == "resolved" })
	w.ping(w.guests[0], "2001:45::2")
}

// remoteState is what `overcast remotes` says of a remote.
type remoteState struct {
	Host, Route, Uplink string

	MTUUsable int    `json:"mtu_usable"`
	MTUSource string `json:"mtu_source"`
	Trouble   string
	Probe     *struct{ Alive bool }
}

func (w *world) remote(h *lab.Host, name string) remoteState {
	w.t.Helper()
	var rows []remoteState
	w.cli(h, "remotes", &rows)
	for _, row := range rows {
		if row.Host == name {
			return row
		}
	}
	w.t.Fatalf("%s has no remote %s: %v", h.Name, name, rows)
	return remoteState{}
}
