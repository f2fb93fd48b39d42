// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"overcast/test/lab"
)

// outer builds tunnel packets from one host to another, by a library that is
// not ours.
type outer struct {
	srcMAC, dstMAC net.HardwareAddr
	src, dst       netip.Addr
	vni            uint32
	port           uint16
}

// outerBetween prepares tunnel packets from a host to another.
func (w *world) outerBetween(from *lab.Namespace, src netip.Addr, to *lab.Host) outer {
	w.t.Helper()
	o := outer{src: src, dst: to.VTEP, vni: 4500, port: 4789}
	var err error
	if o.srcMAC, err = from.HardwareAddr(lab.Uplink); err != nil {
		w.t.Fatal(err)
	}
	if o.dstMAC, err = to.HardwareAddr(lab.Uplink); err != nil {
		w.t.Fatal(err)
	}
	return o
}

// headers are the layers in front of the UDP payload.
func (o outer) headers() (*layers.Ethernet, gopacket.SerializableLayer, *layers.UDP) {
	eth := &layers.Ethernet{SrcMAC: o.srcMAC, DstMAC: o.dstMAC, EthernetType: layers.EthernetTypeIPv4}
	udp := &layers.UDP{SrcPort: 50000, DstPort: layers.UDPPort(o.port)}
	if o.src.Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolUDP, HopLimit: 64, SrcIP: o.src.AsSlice(), DstIP: o.dst.AsSlice()}
		_ = udp.SetNetworkLayerForChecksum(ip) // knows IPv6
		return eth, ip, udp
	}
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, Flags: layers.IPv4DontFragment, SrcIP: o.src.AsSlice(), DstIP: o.dst.AsSlice()}
	_ = udp.SetNetworkLayerForChecksum(ip) // knows IPv4
	return eth, ip, udp
}

// datagram builds a packet with this UDP payload.
func (o outer) datagram(payload []byte) []byte {
	eth, ip, udp := o.headers()
	return serialize(eth, ip, udp, gopacket.Payload(payload))
}

// wrap builds the tunnel packet of a frame.
func (o outer) wrap(inner []byte) []byte {
	return o.datagram(append(o.vxlan(), inner...))
}

// vxlan is the tunnel header.
func (o outer) vxlan() []byte {
	header := []byte{0x08, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(header[4:], o.vni<<8)
	return header
}

func serialize(parts ...gopacket.SerializableLayer) []byte {
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		panic(err)
	}
	return buffer.Bytes()
}

// fragments cuts a packet into two outer fragments, the first of this many
// bytes behind the IP header (a multiple of eight).
func (o outer) fragments(payload []byte, first int) [][]byte {
	eth, _, udp := o.headers()
	whole := o.datagram(payload)
	if o.src.Is6() {
		body := whole[14+40:]
		next := func(offset int, more bool, part []byte) []byte {
			header := make([]byte, 8)
			header[0] = byte(layers.IPProtocolUDP)
			binary.BigEndian.PutUint16(header[2:], uint16(offset))
			if more {
				header[3] |= 1
			}
			binary.BigEndian.PutUint32(header[4:], 0x0c0c)
			ip := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolIPv6Fragment, HopLimit: 64, SrcIP: o.src.AsSlice(), DstIP: o.dst.AsSlice()}
			return serialize(eth, ip, gopacket.Payload(append(header, part...)))
		}
		return [][]byte{next(0, true, body[:first]), next(first, false, body[first:])}
	}
	_ = udp
	body := whole[14+20:]
	next := func(offset int, flags layers.IPv4Flag, part []byte) []byte {
		ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: 0x0c0c, Protocol: layers.IPProtocolUDP, Flags: flags,
			FragOffset: uint16(offset / 8), SrcIP: o.src.AsSlice(), DstIP: o.dst.AsSlice()}
		return serialize(eth, ip, gopacket.Payload(part))
	}
	return [][]byte{next(0, layers.IPv4MoreFragments, body[:first]), next(first, 0, body[first:])}
}
