// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"overcast/test/lab"
)

// twins are two environments whose guests have the same names, MACs and
// addresses, on the same hosts.
func newTwins(t *testing.T, underlay lab.Family, decap string) (w *world, red, blue []*lab.Guest) {
	t.Helper()
	w = &world{Lab: lab.NewTest(t, lab.Options{Underlay: underlay}), t: t, flags: []string{"--decap", decap}}
	var ports [2][]string
	for color, name := range []string{"red", "blue"} {
		for i, h := range w.Hosts {
			g, err := h.AddGuest(fmt.Sprintf("%s%d", name, i+1), lab.GuestOptions{
				MAC: fmt.Sprintf("02:00:00:00:00:%02x", i+1),
				Addresses: []netip.Prefix{
					netip.MustParsePrefix(fmt.Sprintf("2001:45::%x/64", i+1)),
					netip.MustParsePrefix(fmt.Sprintf("10.9.0.%d/24", i+1)),
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			w.guests = append(w.guests, g)
			ports[color] = append(ports[color], fmt.Sprintf("{name: g%d, host: %s, interface: %s, mac: %q}", i+1, h.Name, g.Port, g.MAC))
		}
	}
	w.ports = ports[0]
	w.more = "  - name: other\n    segments:\n      - name: lan\n        vni: 4501\n        ports:\n          - " +
		strings.Join(ports[1], "\n          - ") + "\n"
	t.Cleanup(w.explain)
	w.start()
	return w, w.guests[:2], w.guests[2:]
}

// Two environments with the same MACs and addresses on the same hosts never
// see a frame of each other: known and unknown unicast, broadcast, multicast,
// from host to host and on one host, also while agents restart and reload.
func TestEnvironmentsAreApart(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				w, red, blue := newTwins(t, underlay, decap)
				captures := make(map[*lab.Guest]*lab.Capture)
				for _, g := range w.guests {
					captures[g] = w.capture(g)
				}
				w.ping(red[0], "2001:45::2")
				w.ping(blue[0], "2001:45::2")

				talk := func(round int) {
					for color, pair := range [][]*lab.Guest{red, blue} {
						for i, from := range pair {
							to := pair[1-i]
							for _, dst := range []string{to.MAC, "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01", "02:00:00:00:77:77"} {
								f := frame(dst, from.MAC, 0x88, 0xb5, 'c', byte(color), byte(round))
								if err := from.SendFrame(lab.GuestDevice, f); err != nil {
									t.Fatal(err)
								}
								if dst == "02:00:00:00:77:77" {
									continue // unknown: dropped
								}
								if err := captures[to].Await(f); err != nil {
									t.Error(err)
								}
							}
						}
					}
				}
				talk(0)
				w.restart()
				talk(1)
				w.ports[0], w.more = strings.Replace(w.ports[0], "name: g1", "name: renamed", 1), w.more+"      - {name: late, vni: 4502, members: [host-a, host-b], ports: []}\n"
				w.rewrite()
				talk(2)

				for color, pair := range [][]*lab.Guest{red, blue} {
					for _, g := range pair {
						for _, f := range captures[g].Frames() {
							if len(f.Data) >= 17 && f.Data[12] == 0x88 && f.Data[13] == 0xb5 && f.Data[15] != byte(color) {
								t.Errorf("%s sees a frame of the other environment: % x", g.Name, f.Data)
							}
						}
					}
				}
				for _, h := range w.Hosts {
					drops := w.drops(h)
					delete(drops, "DROP_FDB_UNKNOWN")
					// Agents tell each other of a new segment; one has it before the other.
					delete(drops, "DROP_VNI_UNKNOWN")
					if len(drops) > 0 {
						t.Errorf("%s dropped %v", h.Name, drops)
					}
				}
				w.clean()
			})
		}
	}
}

// intruder is a datagram to our VTEP and tunnel port that does not belong.
type intruder struct {
	name   string
	packet []byte
	reason string
}

// intruders are the ways in which a tunnel packet may be wrong.
func intruders(member, stranger, outsider outer, inner []byte) []intruder {
	list := []intruder{
		{"from a host of no environment", stranger.wrap(inner), "DROP_VTEP_UNKNOWN"},
		{"from a host that is no member", outsider.wrap(inner), "DROP_VTEP_NOT_MEMBER"},
	}
	unknown := member
	for _, vni := range []uint32{1, 4499, 4502, 0xffffff} {
		unknown.vni = vni
		list = append(list, intruder{fmt.Sprintf("VNI %d", vni), unknown.wrap(inner), "DROP_VNI_UNKNOWN"})
	}
	unknown.vni = 0
	list = append(list, intruder{"VNI 0", unknown.wrap(inner), "DROP_VNI_UNKNOWN"})
	// Every bit of the tunnel header that must be zero, and the one that must not.
	for bit := range 64 {
		if bit >= 32 && bit < 56 {
			continue // the VNI
		}
		header := member.vxlan()
		header[bit/8] ^= 0x80 >> (bit % 8)
		list = append(list, intruder{fmt.Sprintf("bit %d of the tunnel header", bit), member.datagram(append(header, inner...)), "DROP_TUNNEL_RESERVED"})
	}
	// Cut at every byte between the UDP header and a whole inner Ethernet header.
	for n := range 8 + 14 {
		list = append(list, intruder{fmt.Sprintf("%d bytes of payload", n), member.datagram(append(member.vxlan(), inner...)[:n]), "DROP_TUNNEL_TRUNCATED"})
	}
	whole := member.wrap(inner)
	list = append(list,
		intruder{"the last byte missing", whole[:len(whole)-1], "DROP_TUNNEL_TRUNCATED"},
		intruder{"half of the inner frame missing", whole[:len(whole)-len(inner)/2], "DROP_TUNNEL_TRUNCATED"},
	)
	return list
}

// What does not belong is dropped by our programs and counted under the right
// reason in every decap mode; the same packet, made right, is delivered.
func TestIntruders(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"auto", "xdp", "tc", "kernel"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				w := &world{Lab: lab.NewTest(t, lab.Options{Underlay: underlay, Hosts: 4}), t: t, flags: []string{"--decap", decap}}
				a, b, outsider, stranger := w.Hosts[0], w.Hosts[1], w.Hosts[2], w.Hosts[3]
				w.addGuest(a, "g1", lab.GuestOptions{})
				w.addGuest(b, "g2", lab.GuestOptions{})
				w.more = "      - {name: dmz, vni: 4600, members: [host-a, host-c], ports: []}\n"
				document := strings.Replace(w.document(), fmt.Sprintf("  - {name: %s, vtep: %q}\n", stranger.Name, stranger.VTEP), "", 1)
				if err := a.WriteDocument(document); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(w.explain)
				w.agents = append(w.agents, w.startAgent(a))

				from := w.outerBetween(b.Namespace, b.VTEP, a)
				inner := frame(w.guests[0].MAC, w.guests[1].MAC, append([]byte{0x88, 0xb5}, payload("inner", 60)...)...)
				seen := w.capture(w.guests[0])
				send := func(h *lab.Host, packet []byte) {
					if err := h.SendFrame(lab.Uplink, packet); err != nil {
						t.Fatal(err)
					}
				}
				// Proof that these packets are right but for what is made wrong.
				send(b, from.wrap(inner))
				if err := seen.Await(inner); err != nil {
					t.Fatal(err)
				}

				senders := map[string]*lab.Host{"DROP_VTEP_UNKNOWN": stranger, "DROP_VTEP_NOT_MEMBER": outsider}
				want := make(map[string]uint64)
				for _, i := range intruders(from, w.outerBetween(stranger.Namespace, stranger.VTEP, a), w.outerBetween(outsider.Namespace, outsider.VTEP, a), inner) {
					h := b
					if other, ok := senders[i.reason]; ok {
						h = other
					}
					want[i.reason]++
					send(h, i.packet)
					w.eventually(i.name, func() bool { return w.drops(a)[i.reason] >= want[i.reason] })
				}
				if got := w.drops(a); !maps.Equal(got, want) {
					t.Errorf("dropped %v, should be %v", got, want)
				}
				if n := seen.Count(inner); n != 1 {
					t.Errorf("%d copies arrived of the one that belongs", n)
				}
			})
		}
	}
}

// A tunnel packet in outer fragments, with IP options or extension headers, or
// with bytes behind the datagram is the kernel device's: it arrives in every
// decap mode, and only if it belongs.
func TestIrregularTunnelPackets(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				w := newWorld(t, lab.Options{Underlay: underlay}, lab.GuestOptions{}, "--decap", decap)
				from := w.outerBetween(w.Hosts[1].Namespace, w.Hosts[1].VTEP, w.Hosts[0])
				seen := w.capture(w.guests[0])
				inner := func(name string) []byte {
					return frame(w.guests[0].MAC, w.guests[1].MAC, append([]byte{0x88, 0xb5}, payload(name, 100)...)...)
				}
				send := func(packet []byte) {
					if err := w.Hosts[1].SendFrame(lab.Uplink, packet); err != nil {
						t.Fatal(err)
					}
				}
				for _, first := range []int{8, 16, 64} {
					f := inner(fmt.Sprint("fragments ", first))
					for _, part := range from.fragments(append(from.vxlan(), f...), first) {
						send(part)
					}
					if err := seen.Await(f); err != nil {
						t.Errorf("fragments of %d bytes: %v", first, err)
					}
				}
				f := inner("trailer")
				send(append(from.wrap(f), "behind the datagram"...))
				if err := seen.Await(f); err != nil {
					t.Errorf("trailer: %v", err)
				}
				w.noDrops()

				// Reassembled by the kernel, and of no member.
				from.vni = 4777
				f = inner("foreign")
				for _, part := range from.fragments(append(from.vxlan(), f...), 16) {
					send(part)
				}
				w.eventually("the drop", func() bool { return w.drops(w.Hosts[0])["DROP_VNI_UNKNOWN"] == 1 })
				if seen.Count(f) > 0 {
					t.Error("a fragmented packet of another VNI arrived")
				}
			})
		}
	}
}
