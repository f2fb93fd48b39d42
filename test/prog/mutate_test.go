// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"overcast/maps"
)

const millisecond = time.Millisecond

// pace makes a port one that may have its next answer only when so much time
// of its burst has passed.
func pace(port int, ahead time.Duration) func(*world) func() {
	return func(w *world) func() {
		slot := w.Contents.Ports[w.Ifindex(Port(port))].Id
		must(w.Maps.Pacers.Put(slot, maps.Monotonic()+uint64(ahead)))
		return func() { must(w.Maps.Pacers.Put(slot, uint64(0))) }
	}
}

// withOptions puts four bytes of IPv4 options into a frame.
func withOptions(frame []byte) []byte {
	return mutated(frame, func(p []byte) []byte {
		p[14] = 0x46
		binary.BigEndian.PutUint16(p[16:], binary.BigEndian.Uint16(p[16:])+4)
		p = slices.Insert(p, 14+20, 1, 1, 1, 1)
		p[24], p[25] = 0, 0
		binary.BigEndian.PutUint16(p[24:], ^onesSum(p[14:14+24]))
		return p
	})
}

// withTCPOptions puts twelve bytes of options into an IPv4 TCP frame.
func withTCPOptions(frame []byte) []byte {
	return mutated(frame, func(p []byte) []byte {
		const tcp = 14 + 20
		p[tcp+12] = 8 << 4
		binary.BigEndian.PutUint16(p[16:], binary.BigEndian.Uint16(p[16:])+12)
		return slices.Insert(p, tcp+20, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2)
	})
}

// withExtension puts an extension header of eight bytes into an IPv6 frame.
func withExtension(frame []byte, kind layers.IPProtocol, rest ...byte) []byte {
	return mutated(frame, func(p []byte) []byte {
		header := append([]byte{p[20]}, rest...)
		p[20] = byte(kind)
		binary.BigEndian.PutUint16(p[18:], binary.BigEndian.Uint16(p[18:])+8)
		return slices.Insert(p, 14+40, header...)
	})
}

// withHopByHop puts a padding option in front of what an IPv6 frame carries.
func withHopByHop(frame []byte) []byte {
	return withExtension(frame, layers.IPProtocolIPv6HopByHop, 0, 1, 4, 0, 0, 0, 0)
}

// withFragment makes an IPv6 frame a fragment; offset is in bytes.
func withFragment(frame []byte, offset uint16, more bool) []byte {
	if more {
		offset |= 1
	}
	return withExtension(frame, layers.IPProtocolIPv6Fragment, 0, byte(offset>>8), byte(offset), 0, 0, 0x0c, 0x0c)
}

// echo4 is a frame with an ICMP message of this type, of so many bytes from its
// IP header on; an error quotes nothing sensible.
func echo4(from, to Station, size int, kind uint8) []byte {
	icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: 7, Seq: 1}
	ip := network(from, to, layers.IPProtocolICMPv4)
	return Ethernet(from, to, etherType(to), serialize(ip, icmp, gopacket.Payload(make([]byte, size-20-8))))
}

// echo6 is the same with ICMPv6.
func echo6(from, to Station, size int, kind uint8) []byte {
	ip := network(from, to, layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip) // knows IPv6
	return Ethernet(from, to, etherType(to), serialize(ip, icmp, gopacket.Payload(make([]byte, size-40-4))))
}
