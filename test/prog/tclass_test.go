// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"fmt"
	"testing"

	"overcast/bpf"
)

// The two lower bits of a traffic class (RFC 3168 5).
const (
	notECT = iota
	ect1
	ect0
	ce
)

var marks = []string{notECT: "Not-ECT", ect1: "ECT(1)", ect0: "ECT(0)", ce: "CE"}

// Code points of the inner and the outer header, shifted to their place.
const (
	af11 = 10 << 2
	ef   = 46 << 2
)

// classed is a frame with another traffic class.
func classed(frame []byte, class byte) []byte {
	return mutated(frame, func(p []byte) []byte {
		if p[14]>>4 == 6 {
			p[14], p[15] = 0x60|class>>4, p[15]&0x0f|class<<4
			return p
		}
		p[15], p[24], p[25] = class, 0, 0
		binary.BigEndian.PutUint16(p[24:], ^onesSum(p[14:14+4*int(p[14]&0xf)]))
		return p
	})
}

// A packet has the marks of the frame in it (RFC 6040 4.1), and the DSCP that is
// set, or the frame's.
func TestTrafficClassOut(t *testing.T) {
	for _, underlay := range underlays {
		for name, dscp := range map[string]uint8{"none": 0, "46": 46, "copy": 0xff} {
			t.Run(fmt.Sprintf("%s/%s", underlay, name), func(t *testing.T) {
				w := newWorld(t, underlay, func(c *bpf.Constants) { c.Dscp = dscp })
				outer := func(class byte) byte {
					if dscp == 0xff {
						return class
					}
					return dscp<<2 | class&3
				}
				for _, ecn := range []byte{notECT, ect1, ect0, ce} {
					for family, frame := range map[string][]byte{
						"IPv4": UDP(guest4(macOne), guest4(macB), 100),
						"IPv6": UDP(guest6(macOne), guest6(macB), 100),
					} {
						for _, class := range []byte{ecn, af11 | ecn, 63<<2 | ecn} {
							r := w.tunnelled(fmt.Sprintf("%s %#02x", family, class), "host-b", classed(frame, class))
							r.wrap.Class = outer(class)
							w.run(t, r)
						}
					}
					// The copies for many are told by the last one.
					group := classed(UDP(guest6(mac(0x0a, 5)), guest6(macAll6), 100), af11|ecn)
					result, err := w.Run(bpf.PortIn, Packet{Data: group, Ifindex: w.Ifindex(Port(5))})
					if err != nil {
						t.Fatal(err)
					}
					if got := classOf(result.Data); got != outer(af11|ecn) {
						t.Errorf("copies of a frame of class %#02x have %#02x, should have %#02x", af11|ecn, got, outer(af11|ecn))
					}
				}
				arp := w.tunnelled("ARP", "host-b", ARP(guest4(macOne), guest4(macB)))
				arp.wrap.Class = outer(0)
				w.run(t, arp)
			})
		}
	}
}

// classOf reads the traffic class of a frame or packet that is IP.
func classOf(frame []byte) byte {
	if frame[14]>>4 == 6 {
		return frame[14]<<4 | frame[15]>>4
	}
	return frame[15]
}

// lost stands for a packet that must be dropped.
const lost = 0xff

// merged is what becomes of a frame's mark, by the frame's and the packet's (RFC
// 6040 4.2, figure 4).
var merged = [4][4]byte{
	notECT: {notECT: notECT, ect1: notECT, ect0: notECT, ce: lost},
	ect1:   {notECT: ect1, ect1: ect1, ect0: ect1, ce: ce},
	ect0:   {notECT: ect0, ect1: ect1, ect0: ect0, ce: ce},
	ce:     {notECT: ce, ect1: ce, ect0: ce, ce: ce},
}

// What a packet has met on its way its frame gets to know, at either hook; the
// DSCP is the frame's own, unless that of the packet is wanted.
func TestTrafficClassIn(t *testing.T) {
	for _, program := range []string{bpf.UplinkXDP, bpf.UplinkIn} {
		for _, underlay := range underlays {
			for _, back := range []uint8{0, 1} {
				t.Run(fmt.Sprintf("%s/%s/%d", program, underlay, back), func(t *testing.T) {
					w := newWorld(t, underlay, func(c *bpf.Constants) { c.DscpBack = back })
					for _, r := range w.classRows(program, back != 0) {
						w.run(t, r)
					}
				})
			}
		}
	}
}

func (w *world) classRows(program string, back bool) []row {
	var rows []row
	for family, frame := range map[string][]byte{
		"IPv4":              UDP(guest4(macB), guest4(macTwo), 100),
		"IPv4 with options": withOptions(UDP(guest4(macB), guest4(macTwo), 100)),
		"IPv6":              UDP(guest6(macB), guest6(macTwo), 100),
	} {
		for inner := range merged {
			for outer, ecn := range merged[inner] {
				o := w.from("host-b", vniLAN)
				o.Class = ef | byte(outer)
				sent := classed(frame, af11|byte(inner))
				name := fmt.Sprintf("%s, %s in %s", family, marks[inner], marks[outer])
				if ecn == lost {
					rows = append(rows, w.denied(program, name, bpf.DropTunnelCongested, "shop/lan", o.Wrap(sent)))
					continue
				}
				dscp := byte(af11)
				if back {
					dscp = ef
				}
				rows = append(rows, w.skipped(program, name, o.Wrap(sent), classed(frame, dscp|ecn)))
			}
		}
	}
	// A frame that is not IP has no marks, and nothing can be told by it.
	o := w.from("host-b", vniLAN)
	o.Class = ef | ce
	lldp := Ethernet(guest4(macB), guest4(macTwo), 0x88b5, make([]byte, 60))
	return append(rows, w.skipped(program, "not IP", o.Wrap(lldp), lldp))
}
