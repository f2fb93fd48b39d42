// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// How much of a packet the answers quote, in bytes: RFC 4443 3.2 (the answer has
// IPv6's least MTU) and RFC 1812 4.3.2.3 (576 bytes in all, in whole words).
const (
	quote6 = 1280 - 40 - 8
	quote4 = (576 - 20 - 8) / 4 * 4
)

// answerTo builds the Packet Too Big, or the "fragmentation needed", that a
// frame must be answered with. got is what came: of it only the checksum inside
// the quote is taken, after a look whether it may be what it is (settled).
func answerTo(t *testing.T, sent []byte, mtu int, got []byte) []byte {
	t.Helper()
	from, to := Station{MAC: sent[6:12]}, Station{MAC: slices.Clone(sent[0:6])}
	if binary.BigEndian.Uint16(sent[12:]) == uint16(layers.EthernetTypeIPv4) {
		from.IP, to.IP = netip.AddrFrom4([4]byte(sent[26:30])), netip.AddrFrom4([4]byte(sent[30:34]))
		quote := settled(t, sent[14:14+quote4], int(sent[14]&0xf)*4, sent[23], got[min(len(got), 14+20+8):])
		icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded), Seq: uint16(mtu)}
		ip := network(to, from, layers.IPProtocolICMPv4)
		return Ethernet(to, from, etherType(from), serialize(ip, icmp, gopacket.Payload(quote)))
	}
	from.IP, to.IP = netip.AddrFrom16([16]byte(sent[22:38])), netip.AddrFrom16([16]byte(sent[38:54]))
	if sent[0]&1 != 0 {
		// A group is nobody's name: the sender's own address, and a MAC that is
		// not the sender's, stand for the segment.
		to = Station{MAC: slices.Clone(from.MAC), IP: from.IP}
		to.MAC[0] ^= 2
	}
	upper, protocol := 40, sent[20]
	for protocol == uint8(layers.IPProtocolIPv6HopByHop) {
		protocol, upper = sent[14+upper], upper+8+8*int(sent[14+upper+1])
	}
	quote := settled(t, sent[14:14+quote6], upper, protocol, got[min(len(got), 14+40+8):])
	ip := network(to, from, layers.IPProtocolICMPv6).(*layers.IPv6)
	ip.HopLimit = 255
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypePacketTooBig, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip) // knows IPv6
	body := append(binary.BigEndian.AppendUint32(nil, uint32(mtu)), quote...)
	return Ethernet(to, from, etherType(from), serialize(ip, icmp, gopacket.Payload(body)))
}

// settled is a quote as it must be: the packet, but with a TCP or UDP checksum
// that is its own end. A device that finishes a partial checksum over what is
// quoted of the upper layer must write what stands there already, or it would
// break the checksum of the answer (pmtu_settle in bpf/pmtu.h).
func settled(t *testing.T, packet []byte, upper int, protocol uint8, got []byte) []byte {
	t.Helper()
	quote := slices.Clone(packet)
	field := upper
	switch layers.IPProtocol(protocol) {
	case layers.IPProtocolTCP:
		field += 16
	case layers.IPProtocolUDP:
		field += 6
	default:
		return quote
	}
	if len(got) < field+2 {
		t.Errorf("the answer has no quote")
		return quote
	}
	copy(quote[field:], got[field:field+2])
	finished := ^onesSum(quote[upper:])
	// Ones' complement arithmetic has two zeros.
	if stands := binary.BigEndian.Uint16(quote[field:]); finished%0xffff != stands%0xffff {
		t.Errorf("the quoted checksum is %#04x, and finishing it makes it %#04x", stands, finished)
	}
	return quote
}

// onesSum is the ones' complement sum of 16-bit words (RFC 1071).
func onesSum(data []byte) uint16 {
	sum := uint32(0)
	for i, b := range data {
		sum += uint32(b) << (8 * (1 - i%2))
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}
