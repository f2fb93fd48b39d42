// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket/layers"

	"overcast/bpf"
	"overcast/test/lab"
)

// stripsAtTC tells whether oc_uplink_in strips the packet of a frame itself:
// what bpf_skb_adjust_room leaves must have room for an IP header.
func (w *world) stripsAtTC(frame []byte) bool {
	ipv6 := frame[12] == 0x86 && frame[13] == 0xdd
	if ipv6 || w.underlay == lab.IPv6 && w.constants.DecapFlags == 0 {
		return len(frame) >= 14+40
	}
	return len(frame) >= 14+20
}

// arrived is a packet on the uplink that passes as it is, counted nowhere.
func (w *world) arrived(program, name string, packet []byte) row {
	return row{name: name, program: program, packet: Packet{Data: packet, Ifindex: w.Ifindex(Uplink)}, verdict: Passed}
}

// denied is a packet on the uplink that is dropped as it is. segment: where it
// is known by then; XDP counts without.
func (w *world) denied(program, name string, reason bpf.Drop, segment string, packet []byte) row {
	r := w.arrived(program, name, packet)
	if program == bpf.UplinkXDP {
		segment = ""
	}
	r.verdict, r.drops = Dropped, w.dropped(reason, r.packet.Ifindex, segment, len(packet))
	return r
}

// strangerRows are packets that are not ours in any way.
func (w *world) strangerRows(program string) []row {
	inner := UDP(guest4(macB), guest4(macTwo), 100)
	ours := w.from("host-b", vniLAN)
	other, elsewhere, back := ours, ours, ours
	other.Port = 4790
	elsewhere.To.IP = elsewhere.To.IP.Next()
	back.Source, back.Port = TunnelPort, 50000
	group := ours
	group.To = Station{macBroadcast, netip.MustParseAddr("255.255.255.255")}
	if w.underlay == lab.IPv6 {
		group.To = Station{macAll6, netip.MustParseAddr("ff02::1")}
	}
	whole, ip := ours.Wrap(inner), 14
	rows := []row{
		w.arrived(program, "ARP", ARP(guest4(macB), guest4(macBroadcast))),
		w.arrived(program, "LLDP", LLDP(guest4(macB), guest4(macBroadcast))),
		w.arrived(program, "14 bytes", Ethernet(ours.From, ours.To, 0x88b5, nil)),
		w.arrived(program, "another UDP port", other.Wrap(inner)),
		w.arrived(program, "from the tunnel port to another", back.Wrap(inner)),
		w.arrived(program, "another address", elsewhere.Wrap(inner)),
		w.arrived(program, "a group", group.Wrap(inner)),
		w.arrived(program, "TCP", TCP(ours.From, ours.To, 500)),
		w.arrived(program, "a guest's own IPv4", UDP(guest4(macB), guest4(macTwo), 100)),
		w.arrived(program, "a guest's own IPv6", UDP(guest6(macB), guest6(macTwo), 100)),
		w.arrived(program, "tagged", tagged(whole, 0x8100, 45)),
		w.arrived(program, "QinQ", tagged(tagged(whole, 0x8100, 45), 0x88a8, 9)),
		w.arrived(program, "another EtherType", mutated(whole, func(p []byte) []byte { p[12] = 0x77; return p })),
		w.arrived(program, "another IP version", mutated(whole, func(p []byte) []byte { p[ip] ^= 0x10; return p })),
	}
	if w.underlay == lab.IPv6 {
		return append(rows,
			w.arrived(program, "the other family", mutated(whole, func(p []byte) []byte { p[12], p[13] = 0x08, 0x00; return p })),
			w.arrived(program, "TCP to the tunnel port", mutated(whole, func(p []byte) []byte { p[20] = 6; return p })),
			w.arrived(program, "no next header", mutated(whole, func(p []byte) []byte { p[20] = 59; return p })),
			w.arrived(program, "ESP", mutated(whole, func(p []byte) []byte { p[20] = 50; return p })),
			w.arrived(program, "more extension headers than are followed", chain(whole, 7)),
			w.arrived(program, "an extension header that is longer than the packet", mutated(withHopByHop(whole), func(p []byte) []byte { p[14+40+1] = 255; return p })),
		)
	}
	return append(rows,
		w.arrived(program, "the other family", mutated(whole, func(p []byte) []byte { p[12], p[13] = 0x86, 0xdd; return p })),
		w.arrived(program, "TCP to the tunnel port", mutated(whole, func(p []byte) []byte { p[23] = 6; return p })),
		w.arrived(program, "a header of 16 bytes", mutated(whole, func(p []byte) []byte { p[14] = 0x44; return p })),
		w.arrived(program, "UDP-Lite", mutated(whole, func(p []byte) []byte { p[23] = 136; return p })),
	)
}

// chain puts so many extension headers into an IPv6 frame.
func chain(frame []byte, n int) []byte {
	for range n {
		frame = withExtension(frame, layers.IPProtocolIPv6Destination, 0, 1, 4, 0, 0, 0, 0)
	}
	return frame
}

// leftRows are tunnel packets that are left to the kernel's tunnel device.
func (w *world) leftRows(program string) []row {
	inner := UDP(guest4(macB), guest4(macTwo), 600)
	ours := w.from("host-b", vniLAN)
	whole := ours.Wrap(inner)
	udp := w.outerHeaders() - 16
	rows := []row{
		w.arrived(program, "a byte behind the packet", append(slices.Clone(whole), 0)),
		w.arrived(program, "padding behind the packet", append(slices.Clone(whole), make([]byte, 30)...)),
		w.arrived(program, "a byte behind the datagram", mutated(whole, func(p []byte) []byte {
			binary.BigEndian.PutUint16(p[udp+4:], uint16(len(p)-udp-1))
			return p
		})),
	}
	if w.underlay == lab.IPv6 {
		return append(rows,
			w.arrived(program, "hop-by-hop options", withHopByHop(whole)),
			w.arrived(program, "five extension headers", chain(whole, 5)),
			w.arrived(program, "a routing header", withExtension(whole, layers.IPProtocolIPv6Routing, 0, 0, 0, 0, 0, 0, 0)),
			w.arrived(program, "a whole packet with a fragment header", withFragment(whole, 0, false)),
			w.arrived(program, "the first fragment", withFragment(whole[:14+40+64], 0, true)),
			w.arrived(program, "a middle fragment", withFragment(whole, 64, true)),
			w.arrived(program, "the last fragment", withFragment(whole, 64, false)),
			w.arrived(program, "the first fragment behind options", withHopByHop(withFragment(whole, 0, true))),
		)
	}
	fragment := func(flags byte, offset uint16) []byte {
		return mutated(whole, func(p []byte) []byte {
			binary.BigEndian.PutUint16(p[20:], offset/8)
			p[20] |= flags
			return p
		})
	}
	return append(rows,
		w.arrived(program, "IP options", withOptions(whole)),
		w.arrived(program, "the first fragment", fragment(0x20, 0)),
		w.arrived(program, "a middle fragment", fragment(0x20, 64)),
		w.arrived(program, "the last fragment", fragment(0, 64)),
		w.arrived(program, "the last fragment of the longest packet", fragment(0, 65528)),
		w.arrived(program, "a fragment with DF", fragment(0x60, 0)),
	)
}

// deniedRows are tunnel packets to us that do not belong, or are no good.
func (w *world) deniedRows(program string) []row {
	inner := UDP(guest4(macB), guest4(macTwo), 100)
	ours := w.from("host-b", vniLAN)
	vni := func(host string, vni uint32) []byte { return w.from(host, vni).Wrap(inner) }
	rows := []row{
		w.denied(program, "VNI 0", bpf.DropVNIUnknown, "", vni("host-b", 0)),
		w.denied(program, "VNI 1", bpf.DropVNIUnknown, "", vni("host-b", 1)),
		w.denied(program, "the VNI before", bpf.DropVNIUnknown, "", vni("host-b", vniLAN-1)),
		w.denied(program, "the largest VNI", bpf.DropVNIUnknown, "", vni("host-b", 1<<24-1)),
		w.denied(program, "an unknown VNI from a stranger", bpf.DropVNIUnknown, "", vni("host-s", 1)),
		w.denied(program, "a stranger", bpf.DropVTEPUnknown, "", vni("host-s", vniLAN)),
		w.denied(program, "ourselves", bpf.DropVTEPUnknown, "", vni("host-a", vniLAN)),
		w.denied(program, "a host that is no member", bpf.DropVTEPNotMember, "", vni("host-g", vniLAN)),
		w.denied(program, "a member of another segment of the environment", bpf.DropVTEPNotMember, "", vni("host-d", vniSchool)),
		w.denied(program, "a member, in another environment's segment", bpf.DropVTEPNotMember, "", vni("host-b", vniOther)),
		w.denied(program, "a stranger's byte behind the packet", bpf.DropVTEPUnknown, "", append(vni("host-s", vniLAN), 0)),
	}
	for _, cut := range cutFrames(macB, macTwo) {
		rows = append(rows, w.denied(program, "an inner frame of "+cut.name, bpf.DropFrameCut, "shop/lan", ours.Wrap(cut.frame)))
	}
	if w.geneve() {
		return slices.Concat(rows, w.geneveRows(program), w.lengthRows(program))
	}
	return slices.Concat(rows, w.reservedRows(program), w.lengthRows(program))
}

// reservedRows are all the bits that RFC 7348 reserves, each by itself.
func (w *world) reservedRows(program string) []row {
	var rows []row
	whole := w.from("host-b", vniLAN).Wrap(UDP(guest4(macB), guest4(macTwo), 100))
	header := w.outerHeaders() - 8
	rows = append(rows, w.denied(program, "a header without the VNI flag", bpf.DropTunnelReserved, "",
		mutated(whole, func(p []byte) []byte { p[header] = 0; return p })))
	for bit := range 64 {
		if bit == 4 || bit >= 32 && bit < 56 {
			continue // the VNI flag, and the VNI
		}
		rows = append(rows, w.denied(program, fmt.Sprintf("reserved bit %d", bit), bpf.DropTunnelReserved, "",
			mutated(whole, func(p []byte) []byte { p[header+bit/8] ^= 0x80 >> (bit % 8); return p })))
	}
	if len(rows) != 1+39 {
		panic(fmt.Sprintf("%d reserved bits, should be 39", len(rows)-1))
	}
	return rows
}

// lengthRows have a length that does not fit the packet.
func (w *world) lengthRows(program string) []row {
	whole := w.from("host-b", vniLAN).Wrap(UDP(guest4(macB), guest4(macTwo), 100))
	udp := w.outerHeaders() - 16
	set := func(at int, value int) []byte {
		return mutated(whole, func(p []byte) []byte { binary.BigEndian.PutUint16(p[at:], uint16(value)); return p })
	}
	truncated := func(name string, packet []byte) row {
		return w.denied(program, name, bpf.DropTunnelTruncated, "", packet)
	}
	rows := []row{
		truncated("UDP of 0 bytes", set(udp+4, 0)),
		truncated("UDP of 7 bytes", set(udp+4, 7)),
		truncated("UDP and nothing in it", set(udp+4, 8)),
		truncated("a tunnel header and nothing behind it", set(udp+4, 16)),
		truncated("an inner frame of 13 bytes", set(udp+4, 16+13)),
		truncated("UDP of one byte more than there is", set(udp+4, len(whole)-udp+1)),
		truncated("UDP of 65535 bytes", set(udp+4, 65535)),
	}
	// The length that the IP header tells, and how it would have to be.
	at, right := 16, len(whole)-14
	if w.underlay == lab.IPv6 {
		at, right = 18, len(whole)-14-40
	}
	return append(rows,
		truncated("IP of one byte more than there is", set(at, right+1)),
		truncated("IP of one byte less than UDP", set(at, right-1)),
		truncated("IP of no bytes", set(at, 0)),
		truncated("IP of 8 bytes", set(at, 8)),
		truncated("IP of 65535 bytes", set(at, 65535)),
	)
}

// truncations are all lengths of a packet from so many bytes up to one less
// than it has.
func (w *world) truncations(program string, least int) []row {
	whole := w.from("host-b", vniLAN).Wrap(UDP(guest4(macB), guest4(macTwo), 100))
	ports := w.outerHeaders() - 16 + 4 // bytes that show where a packet goes
	var rows []row
	for n := least; n < len(whole); n++ {
		name := fmt.Sprintf("%d bytes of %d", n, len(whole))
		if n < ports {
			rows = append(rows, w.arrived(program, name, whole[:n]))
		} else {
			rows = append(rows, w.denied(program, name, bpf.DropTunnelTruncated, "", whole[:n]))
		}
	}
	return rows
}
