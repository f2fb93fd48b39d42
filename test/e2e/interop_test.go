// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"overcast/test/lab"
)

// newMixed builds a world of one host of ours and one foreign one, a kernel
// VXLAN device and bridge, with a guest behind each.
func newMixed(t *testing.T, options lab.Options, guest lab.GuestOptions, flags ...string) *world {
	t.Helper()
	options.Hosts = 1
	w := &world{Lab: lab.NewTest(t, options), t: t, flags: flags}
	w.addGuest(w.Hosts[0], "ours", guest)
	w.mix(lab.ForeignOptions{}, guest)
	w.start()
	return w
}

// mix adds a foreign host, with a guest behind it, to a world of one host.
func (w *world) mix(options lab.ForeignOptions, guest lab.GuestOptions) *lab.Foreign {
	w.t.Helper()
	options.VNI, options.Remotes = 4500, []netip.Addr{w.Hosts[0].VTEP}
	foreign, err := w.AddForeign("tor", options)
	if err != nil {
		w.t.Fatal(err)
	}
	guest.Addresses = w.addresses()
	theirs, err := foreign.AddGuest("theirs", guest)
	if err != nil {
		w.t.Fatal(err)
	}
	w.guests = append(w.guests, theirs)
	w.extra = fmt.Sprintf("  - {name: tor, vtep: %q, foreign: true}\n", foreign.VTEP)
	w.segment = "        learning: true\n        unknown_unicast: flood\n        members: [tor]\n"
	w.t.Cleanup(w.explain)
	return foreign
}

// A host of ours and a kernel VXLAN switch carry ARP, ND, ping and TCP in both
// directions, over both underlays, in every decap mode, over each wire.
func TestKernelVXLAN(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			for _, wire := range []lab.Wire{lab.SuperFrames, lab.PlainNIC, lab.NoOffloads} {
				t.Run(fmt.Sprintf("%s/%s/%s", underlay, decap, wire), func(t *testing.T) {
					w := newMixed(t, lab.Options{Underlay: underlay, Wire: wire}, lab.GuestOptions{}, "--decap", decap)
					ours, theirs := w.guests[0], w.guests[1]
					w.ping(ours, "2001:45::2")
					w.ping(theirs, "10.9.0.1")
					w.ping(ours, "10.9.0.2")
					w.ping(theirs, "2001:45::1")
					transfer(t, ours, theirs, netip.MustParseAddrPort("[2001:45::2]:5001"))
					transfer(t, theirs, ours, netip.MustParseAddrPort("[2001:45::1]:5002"))
					transfer(t, ours, theirs, netip.MustParseAddrPort("10.9.0.2:5003"))
					transfer(t, theirs, ours, netip.MustParseAddrPort("10.9.0.1:5004"))
					w.learned(w.Hosts[0], theirs.MAC, "tor")
					w.noDrops()
					w.clean()
				})
			}
		}
	}
}

// Frames of every kind, tagged ones among them, cross between a host of ours
// and a kernel VXLAN switch, both ways. What a bridge never forwards (IEEE
// 802.1D table 7-10) is not sent to it.
func TestKernelVXLANEveryKindOfFrame(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				w := newMixed(t, lab.Options{Underlay: underlay}, lab.GuestOptions{}, "--decap", decap)
				w.ping(w.guests[0], "10.9.0.2")
				w.exchangeEveryKind()
				w.noDrops()
				w.clean()
			})
		}
	}
}

// exchangeEverything has a guest of ours and one behind a foreign host ping each
// other, send each other large transfers and frames of every kind, and lose
// nothing.
func (w *world) exchangeEverything() {
	w.t.Helper()
	ours, theirs := w.guests[0], w.guests[1]
	w.ping(ours, "2001:45::2")
	w.ping(theirs, "10.9.0.1")
	transfer(w.t, ours, theirs, netip.MustParseAddrPort("[2001:45::2]:5001"))
	transfer(w.t, theirs, ours, netip.MustParseAddrPort("10.9.0.1:5002"))
	w.exchangeEveryKind()
	w.learned(w.Hosts[0], theirs.MAC, "tor")
	w.noDrops()
	w.clean()
}

// exchangeEveryKind sends a frame of every kind from each of two guests to the
// other one, and to all.
func (w *world) exchangeEveryKind() {
	w.t.Helper()
	captures := []*lab.Capture{w.capture(w.guests[0]), w.capture(w.guests[1])}
	for i, from := range w.guests {
		far := captures[1-i]
		for name, rest := range kinds() {
			for _, dst := range []string{w.guests[1-i].MAC, "01:00:5e:7f:00:45", "ff:ff:ff:ff:ff:ff"} {
				f := frame(dst, from.MAC, rest...)
				if err := from.SendFrame(lab.GuestDevice, f); err != nil {
					w.t.Fatalf("%s to %s: %v", name, dst, err)
				}
				if err := far.Await(f); err != nil {
					w.t.Errorf("%s from %s to %s: %v", name, from.Name, dst, err)
				}
				if n := far.Count(f); n > 1 {
					w.t.Errorf("%s from %s to %s: %d copies", name, from.Name, dst, n)
				}
			}
		}
	}
}

// A guest's own VXLAN, with its own super-frames, works inside the overlay.
func TestNestedVXLAN(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			for _, foreign := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/foreign=%t", underlay, decap, foreign), func(t *testing.T) {
					build := newWorld
					if foreign {
						build = newMixed
					}
					w := build(t, lab.Options{Underlay: underlay}, lab.GuestOptions{}, "--decap", decap)
					w.ping(w.guests[0], "10.9.0.2")
					for i, g := range w.guests {
						if err := g.AddVXLAN(lab.VXLAN{
							VNI:     77,
							MTU:     1500 - w.Overhead() - 50,
							Local:   netip.AddrFrom4([4]byte{10, 9, 0, byte(1 + i)}),
							Remote:  netip.AddrFrom4([4]byte{10, 9, 0, byte(2 - i)}),
							Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, 0, byte(1 + i)}), 24),
						}); err != nil {
							t.Fatal(err)
						}
					}
					w.ping(w.guests[0], "172.16.0.2")
					transfer(t, w.guests[0], w.guests[1], netip.MustParseAddrPort("172.16.0.2:5001"))
					transfer(t, w.guests[1], w.guests[0], netip.MustParseAddrPort("172.16.0.1:5002"))
					w.noDrops()
					w.clean()
				})
			}
		}
	}
}
