// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"overcast/bpf"
)

// What oc_uplink_in makes of what comes over the underlay, with and without
// the kernel's flags for stripping.
//
// All of it comes without metadata: the kernel takes none for the skb of a test
// run (convert___skb_to_skb in net/bpf/test_run.c wants data_meta to be zero).
// TestMetadata sends frames that have some.
func TestUplinkIn(t *testing.T) {
	for _, underlay := range underlays {
		for _, flags := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/flags %t", underlay, flags), func(t *testing.T) {
				w := newWorld(t, underlay, func(c *bpf.Constants) {
					if !flags {
						c.DecapFlags = 0
					}
				})
				for _, r := range w.uplinkRows() {
					w.run(t, r)
				}
			})
		}
	}
}

// In mode kernel nothing is stripped, and what does not belong is dropped all
// the same.
func TestUplinkInModeKernel(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			w := newWorld(t, underlay, func(c *bpf.Constants) { c.Strip = bpf.StripKernel })
			for _, r := range w.kernelRows() {
				w.run(t, r)
			}
		})
	}
}

// A frame that comes without a tunnel key cannot be from the tunnel device, and
// no frame of a test run has one. test/e2e has the rest of oc_tunnel_in.
func TestTunnelIn(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			w := newWorld(t, underlay, nil)
			for _, r := range w.tunnelRows() {
				w.run(t, r)
			}
		})
	}
}

// leastSKB is the least outer packet that newer kernels make an skb of for a
// test run: an Ethernet and an IP header.
func (w *world) leastSKB() int {
	return w.outerHeaders() - 16
}

func (w *world) uplinkRows() []row {
	return slices.Concat(w.deliveredRows(), w.undeliverableRows(), w.strangerRows(bpf.UplinkIn), w.leftRows(bpf.UplinkIn),
		w.deniedRows(bpf.UplinkIn), w.truncations(bpf.UplinkIn, w.leastSKB()))
}

func (w *world) kernelRows() []row {
	var rows []row
	for to, target := range map[string]net.HardwareAddr{"a port": macTwo, "nobody": macNobody, "a remote": macC, "all": macBroadcast} {
		kinds := frames(macB, target)
		for _, name := range sorted(kinds) {
			rows = append(rows, w.arrived(bpf.UplinkIn, name+" to "+to, w.from("host-b", vniLAN).Wrap(kinds[name])))
		}
	}
	return slices.Concat(rows, w.strangerRows(bpf.UplinkIn), w.leftRows(bpf.UplinkIn),
		w.deniedRows(bpf.UplinkIn), w.truncations(bpf.UplinkIn, w.leastSKB()))
}

// delivered is a frame of a remote to a port of lan.
func (w *world) delivered(name, host, object string, frame []byte) row {
	segment, _ := splitObject(object)
	vni := w.Contents.Segments[w.segment(segment)].Vni
	r := w.arrived(bpf.UplinkIn, name, w.from(host, vni).Wrap(frame))
	r.verdict, r.data = Redirected, frame
	r.stats = map[string]bpf.Counters{host: in(len(frame)), object: out(len(frame)), segment: out(len(frame))}
	return r
}

// deliveredRows go to a port, or are left to the tunnel device if they are too
// short to be stripped here.
func (w *world) deliveredRows() []row {
	var rows []row
	for object, target := range map[string]net.HardwareAddr{"shop/lan/one": macOne, "shop/lan/two": macTwo, "shop/lan/list": mac(0xee, 1)} {
		kinds := frames(macB, target)
		for _, name := range sorted(kinds) {
			if w.stripsAtTC(kinds[name]) {
				rows = append(rows, w.delivered(name+" to "+object, "host-b", object, kinds[name]))
			} else {
				rows = append(rows, w.arrived(bpf.UplinkIn, name+" to "+object, w.from("host-b", vniLAN).Wrap(kinds[name])))
			}
		}
	}
	rows = append(rows, w.shortRows()...)
	merged := w.arrived(bpf.UplinkIn, "packets that GRO has merged", w.from("host-b", vniLAN).Wrap(TCP(guest4(macB), guest4(macTwo), 3000)))
	merged.packet.GSOSize, merged.packet.GSOSegs = 1000, 3
	return append(rows, merged,
		w.delivered("another environment", "host-g", "other/lan/ten", UDP(guest4(macB), guest4(macTwo), 100)),
		w.delivered("a host without a route", "host-d", "shop/lan/two", UDP(guest4(macD), guest4(macTwo), 100)),
		w.delivered("a MAC of nobody behind a remote", "host-b", "shop/lan/two", UDP(guest4(macNobody), guest4(macTwo), 100)),
		w.delivered("a large frame", "host-b", "shop/lan/two", TCP(guest6(macB), guest6(macTwo), 3000)))
}

// shortRows are frames of every length about the least that can be stripped.
func (w *world) shortRows() []row {
	var rows []row
	from, to := guest4(macB), guest4(macTwo)
	for size := range 60 {
		frame := Ethernet(from, to, 0x88b5, slices.Repeat([]byte{0x5c}, size))
		name := fmt.Sprintf("%d bytes behind the Ethernet header", size)
		if w.stripsAtTC(frame) {
			rows = append(rows, w.delivered(name, "host-b", "shop/lan/two", frame))
		} else {
			rows = append(rows, w.arrived(bpf.UplinkIn, name, w.from("host-b", vniLAN).Wrap(frame)))
		}
	}
	ipv4, ipv6 := UDP(from, to, 28)[:14+20], UDP(guest6(macB), guest6(macTwo), 48)[:14+40]
	for name, frame := range map[string][]byte{"an IPv4 header": ipv4, "an IPv6 header": ipv6} {
		if w.stripsAtTC(frame) {
			rows = append(rows, w.delivered(name, "host-b", "shop/lan/two", frame))
		} else {
			rows = append(rows, w.arrived(bpf.UplinkIn, name, w.from("host-b", vniLAN).Wrap(frame)))
		}
	}
	return rows
}

// undeliverableRows come from a member and go nowhere. All but the last two are
// told before the packet is changed.
func (w *world) undeliverableRows() []row {
	refused := func(name string, reason bpf.Drop, from, to net.HardwareAddr) row {
		return w.denied(bpf.UplinkIn, name, reason, "shop/lan", w.from("host-b", vniLAN).Wrap(UDP(guest4(from), guest4(to), 100)))
	}
	rows := []row{
		refused("to a MAC of nobody", bpf.DropFDBUnknown, macB, macNobody),
		refused("to a MAC of another segment", bpf.DropFDBUnknown, macB, mac(0x0a, 5)),
		refused("to a MAC behind another remote", bpf.DropFDBRemote, macB, macC),
		refused("to a MAC behind the same remote", bpf.DropFDBRemote, macC, macB),
		refused("to a MAC behind a remote without a route", bpf.DropFDBRemote, macB, macD),
		refused("from a group", bpf.DropFrameSource, macAll6, macTwo),
		refused("from broadcast", bpf.DropFrameSource, macBroadcast, macTwo),
		refused("from zero", bpf.DropFrameSource, macZero, macTwo),
		refused("from a group to a group", bpf.DropFrameSource, macAll6, macAll6),
	}
	wide := w.denied(bpf.UplinkIn, "to a MAC behind a remote, where unknown ones are flooded", bpf.DropFDBRemote, "shop/wide",
		w.from("host-b", vniWide).Wrap(UDP(guest4(mac(0x0b, 2)), guest4(mac(0x0c, 2)), 100)))
	gone := refused("the segment has been taken away", bpf.DropSegmentUnknown, macB, macTwo)
	gone.prepare = emptySegment("shop/lan")
	return append(rows, wide, gone,
		refused("to a port whose device is missing", bpf.DropPortGone, macB, macMissing),
		w.lostAtPort("the FDB names a port of another segment", macNobody, putFDB("shop/lan", macNobody, bpf.FDBEntry{Kind: bpf.KindPort, Id: w.Ifindex(Port(5))})),
		w.lostAtPort("the FDB names the uplink", macNobody, putFDB("shop/lan", macNobody, bpf.FDBEntry{Kind: bpf.KindPort, Id: w.Ifindex(Uplink)})))
}

// lostAtPort is a frame that is stripped before it turns out that its port has
// gone.
func (w *world) lostAtPort(name string, to net.HardwareAddr, prepare func(*world) func()) row {
	frame := UDP(guest4(macB), guest4(to), 100)
	r := w.denied(bpf.UplinkIn, name, bpf.DropPortGone, "shop/lan", w.from("host-b", vniLAN).Wrap(frame))
	r.data, r.prepare = frame, prepare
	r.drops = w.dropped(bpf.DropPortGone, r.packet.Ifindex, "shop/lan", len(frame))
	r.stats = map[string]bpf.Counters{"host-b": in(len(frame))}
	return r
}

func (w *world) tunnelRows() []row {
	var rows []row
	all := frames(macB, macTwo)
	for _, name := range sorted(all) {
		rows = append(rows, row{name: name, program: bpf.TunnelIn, packet: Packet{Data: all[name], Ifindex: w.Ifindex(Tunnel)}, verdict: Dropped,
			drops: w.dropped(bpf.DropTunnelKey, w.Ifindex(Tunnel), "", len(all[name]))})
	}
	return rows
}
