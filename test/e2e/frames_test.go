// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"overcast/test/lab"
)

// frame builds an Ethernet frame from its EtherType (or length) on.
func frame(dst, src string, rest ...byte) []byte {
	d, err := net.ParseMAC(dst)
	if err != nil {
		panic(err)
	}
	s, err := net.ParseMAC(src)
	if err != nil {
		panic(err)
	}
	return append(append(append([]byte{}, d...), s...), rest...)
}

// payload is bytes that name the test, and never the same twice in a test.
func payload(name string, size int) []byte {
	return append([]byte(name), bytes.Repeat([]byte{0xa5}, size)...)
}

func tag(tpid, vid uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, tpid), vid)
}

// kinds are frames of every kind that a switch carries, by name, from the
// EtherType on.
func kinds() map[string][]byte {
	ether := func(t uint16, parts ...[]byte) []byte {
		return append(binary.BigEndian.AppendUint16(nil, t), bytes.Join(parts, nil)...)
	}
	inner := ether(0x88b5, payload("behind tags", 60))
	return map[string][]byte{
		"LLDP":            ether(0x88cc, []byte{0x02, 0x07, 0x04, 2, 0, 0, 0, 1, 1, 0x04, 0x05, 0x05, 'e', 't', 'h', '0', 0x06, 0x02, 0, 120, 0, 0}),
		"experimental":    ether(0x88b5, payload("experimental", 100)),
		"large":           ether(0x88b6, payload("large", 1400)),
		"length 14":       ether(0x88b7),
		"length 20":       ether(0x88b7, []byte{1, 2, 3, 4, 5, 6}),
		"LLC":             ether(38, []byte{0x42, 0x42, 0x03}, bytes.Repeat([]byte{7}, 35)),
		"SNAP":            ether(60, []byte{0xaa, 0xaa, 0x03, 0, 0, 0x0c, 0x20, 0x00}, bytes.Repeat([]byte{8}, 52)),
		"MPLS":            ether(0x8847, payload("mpls", 64)),
		"one tag":         append(tag(0x8100, 100), inner...),
		"priority tag":    append(tag(0x8100, 5<<13), inner...),
		"QinQ":            append(append(tag(0x88a8, 7), tag(0x8100, 100)...), inner...),
		"two C-tags":      append(append(tag(0x8100, 7), tag(0x8100, 100)...), inner...),
		"large, tagged":   append(append(tag(0x8100, 9), ether(0x88b6)...), payload("large tagged", 1400)...),
		"short IPv4":      ether(0x0800, []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2}),
		"IPv6 without":    ether(0x86dd, []byte{0x60, 0, 0, 0, 0, 0, 59, 64}, make([]byte, 32)),
		"PTP":             ether(0x88f7, payload("ptp", 44)),
		"slow protocols":  ether(0x8809, payload("lacp", 108)),
		"flow control":    ether(0x8808, []byte{0, 1, 0xff, 0xff}, make([]byte, 42)),
		"EAPOL":           ether(0x888e, payload("eapol", 10)),
		"zero EtherType":  ether(0, payload("zero", 40)),
		"802.3 jumbo LLC": ether(1400, []byte{0x42, 0x42, 0x03}, bytes.Repeat([]byte{9}, 1397)),
	}
}

// Every kind of Ethernet frame crosses unchanged, as unicast and as multicast,
// in every decap mode, over both underlays; and to a port of the same host.
func TestEveryKindOfFrame(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			for _, kind := range []lab.Kind{lab.Veth, lab.Tap} {
				t.Run(fmt.Sprintf("%s/%s/%s", underlay, decap, kind), func(t *testing.T) {
					w := newWorld(t, lab.Options{Underlay: underlay}, lab.GuestOptions{Kind: kind}, "--decap", decap)
					w.addGuest(w.Hosts[0], "g3", lab.GuestOptions{Kind: kind})
					w.rewrite()
					w.ping(w.guests[0], "2001:45::2")
					far, near := w.capture(w.guests[1]), w.capture(w.guests[2])
					from := w.guests[0]
					for name, rest := range kinds() {
						for dst, seenBy := range map[string][]*lab.Capture{
							w.guests[1].MAC:     {far},
							w.guests[2].MAC:     {near},
							"01:00:5e:7f:00:45": {far, near},
							"ff:ff:ff:ff:ff:ff": {far, near},
							"01:80:c2:00:00:0e": {far, near}, // a bridge would not forward it; a wire does
						} {
							f := frame(dst, from.MAC, rest...)
							if err := from.SendFrame(lab.GuestDevice, f); err != nil {
								t.Fatalf("%s to %s: %v", name, dst, err)
							}
							for _, c := range seenBy {
								if err := c.Await(f); err != nil {
									t.Errorf("%s to %s: %v", name, dst, err)
								}
								if n := c.Count(f); n > 1 {
									t.Errorf("%s to %s: %d copies", name, dst, n)
								}
							}
						}
					}
					w.noDrops()
					w.clean()
				})
			}
		}
	}
}

// cut are frames that claim to be IP and have no IP header.
func cut() map[string][]byte {
	ipv4, ipv6 := []byte{0x08, 0, 0x45, 0, 0}, append([]byte{0x86, 0xdd, 0x60}, make([]byte, 38)...)
	return map[string][]byte{
		"IPv4":         ipv4,
		"IPv6":         ipv6,
		"tagged IPv4":  append(tag(0x8100, 3), ipv4...),
		"tagged IPv6":  append(tag(0x8100, 3), ipv6...),
		"QinQ IPv4":    append(append(tag(0x88a8, 3), tag(0x8100, 4)...), ipv4...),
		"no IPv4":      {0x08, 0},
		"39 byte IPv6": ipv6[:41],
	}
}

// The kernel's tunnel device loses frames without a whole IP header and tells
// nobody, so all modes drop them where they come in, and count them.
func TestCutFramesAreDropped(t *testing.T) {
	for _, decap := range []string{"xdp", "tc", "kernel"} {
		t.Run(decap, func(t *testing.T) {
			w := newWorld(t, lab.Options{}, lab.GuestOptions{}, "--decap", decap)
			w.ping(w.guests[0], "10.9.0.2")
			far := w.capture(w.guests[1])
			var frames [][]byte
			for name, rest := range cut() {
				f := frame(w.guests[1].MAC, w.guests[0].MAC, rest...)
				frames = append(frames, f)
				if err := w.guests[0].SendFrame(lab.GuestDevice, f); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			w.ping(w.guests[0], "10.9.0.2")
			for _, f := range frames {
				if far.Count(f) > 0 {
					t.Errorf("% x arrived", f)
				}
			}
			if drops := w.drops(w.Hosts[0]); drops["DROP_FRAME_CUT"] != uint64(len(frames)) || len(drops) != 1 {
				t.Errorf("dropped %v, should be %d DROP_FRAME_CUT", drops, len(frames))
			}
		})
	}
}

// capture records a guest's device.
func (w *world) capture(g *lab.Guest) *lab.Capture {
	w.t.Helper()
	c, err := w.Capture(g.Namespace, lab.GuestDevice, g.Name)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}
