// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Outer is the outside of a tunnel packet, written by a library that is not
// ours and as the kernel's tunnel devices have it without a UDP checksum.
type Outer struct {
	From, To Station // devices and VTEPs
	Source   uint16  // UDP source port
	Port     uint16  // UDP destination port
	VNI      uint32
	Geneve   bool   // else VXLAN
	Options  []byte // of Geneve, in whole words
	Class    byte   // traffic class, the TOS of IPv4
}

// Header is the tunnel header (RFC 7348 5, RFC 8926 3.4).
func (o Outer) Header() []byte {
	first := []byte{0x08, 0, 0, 0}
	if o.Geneve {
		first = []byte{byte(len(o.Options) / 4), 0, 0x65, 0x58}
	}
	return append(binary.BigEndian.AppendUint32(first, o.VNI<<8), o.Options...)
}

// Datagram builds a packet with this UDP payload.
func (o Outer) Datagram(payload []byte) []byte {
	udp := binary.BigEndian.AppendUint16(nil, o.Source)
	udp = binary.BigEndian.AppendUint16(udp, o.Port)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(udp, 0, 0)
	ip := network(o.From, o.To, layers.IPProtocolUDP)
	switch ip := ip.(type) {
	case *layers.IPv4:
		ip.TOS = o.Class
	case *layers.IPv6:
		ip.TrafficClass = o.Class
	}
	return Ethernet(o.From, o.To, etherType(o.To), serialize(ip, gopacket.Payload(append(udp, payload...))))
}

// Wrap builds the tunnel packet of a frame.
func (o Outer) Wrap(frame []byte) []byte {
	return o.Datagram(append(o.Header(), frame...))
}
