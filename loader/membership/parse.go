// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"encoding/binary"
	"net/netip"
)

// Numbers of the headers.
const (
	ethernetBytes = 14
	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd

	protocolIGMP   = 2
	protocolPIM    = 103
	protocolICMPv6 = 58

	headerHopByHop    = 0
	headerRouting     = 43
	headerFragment    = 44
	headerAuth        = 51
	headerDestination = 60

	ipv4Bytes = 20
	ipv6Bytes = 40

	optionPad1           = 0
	optionRouterAlert    = 5 // RFC 2711
	optionRouterAlertMLD = 0
)

// cursor is what is left to read.
type cursor []byte

// take gives the next n bytes, or nothing.
func (c *cursor) take(n int) ([]byte, bool) {
	if n > len(*c) {
		return nil, false
	}
	taken := (*c)[:n]
	*c = (*c)[n:]
	return taken, true
}

// packet is what the IP headers say of a message.
type packet struct {
	source, destination netip.Addr
	hopLimit            byte
	alert               bool // MLD's Router Alert option is there
	protocol            byte
	payload             cursor
}

// Parse reads a whole Ethernet frame, without its FCS; bytes behind the packet
// are padding. The error is a MalformedError.
//
// What is asked of a message is what the kernel's bridge and its own stack ask
// (net/ipv6/mcast_snoop.c, net/ipv4/igmp.c), and where they differ, what does
// not lose a listener: the Router Alert option must be on MLD queries (RFC 3810
// 6.2), but its want is tolerated on reports, as the frame has come here
// already. IGMP's TTL and option are not looked at, as Linux does not.
func Parse(frame []byte) (*Message, error) {
	rest := cursor(frame)
	ethernet, ok := rest.take(ethernetBytes)
	if !ok {
		return nil, refuse(Truncated, "frame of %d bytes: an Ethernet header has %d", len(frame), ethernetBytes)
	}
	msg := &Message{SourceMAC: MAC(ethernet[6:12]), Frame: frame}
	var p packet
	var err error
	switch etherType := binary.BigEndian.Uint16(ethernet[12:]); etherType {
	case etherTypeIPv4:
		msg.Family = IPv4
		p, err = parseIPv4(rest)
	case etherTypeIPv6:
		msg.Family = IPv6
		p, err = parseIPv6(rest)
	default:
		err = refuse(Unrelated, "EtherType %#04x: want IPv4 or IPv6", etherType)
	}
	if err != nil {
		return nil, err
	}
	msg.Source = p.source
	switch {
	case p.protocol == protocolPIM:
		err = msg.parsePIM(p)
	case msg.Family == IPv4 && p.protocol == protocolIGMP:
		err = msg.parseIGMP(p)
	case msg.Family == IPv6 && p.protocol == protocolICMPv6:
		err = msg.parseMLD(p)
	default:
		err = refuse(Unrelated, "%s protocol %d carries no membership", msg.Family, p.protocol)
	}
	if err == nil && msg.Kind == Query {
		err = msg.checkDestination(p, MAC(ethernet[:6]))
	}
	if err != nil {
		return nil, err
	}
	return msg, nil
}

// checkDestination wants a query to go to all nodes, or to the group that it is
// about (RFC 3376 4.1.12, RFC 3810 5.1.15), also as a frame. One that goes
// elsewhere is not heard by the listeners, and would stand for one that is.
func (m *Message) checkDestination(p packet, mac MAC) error {
	want := m.destination()
	if p.destination != want {
		return refuse(BadDestination, "query to %s: want %s", p.destination, want)
	}
	if mac != groupMAC(want) {
		return refuse(BadDestination, "query for %s in a frame to %s: want %s", want, mac, groupMAC(want))
	}
	return nil
}

// checkRouter wants the address of a router to be one that a node can have.
func checkRouter(kind MessageKind, source netip.Addr) error {
	if source.IsUnspecified() || source.IsMulticast() || source.IsLoopback() || source.Is4() && source.As4()[0] == 0 {
		return refuse(BadSource, "%s from %s: want the router's address", kind, source)
	}
	return nil
}

// parseIPv4 reads the header of RFC 791.
func parseIPv4(rest cursor) (packet, error) {
	if len(rest) < ipv4Bytes {
		return packet{}, refuse(Truncated, "IPv4 header of %d bytes: want %d", len(rest), ipv4Bytes)
	}
	bytes, total := int(rest[0]&0xf)*4, int(binary.BigEndian.Uint16(rest[2:]))
	if rest[0]>>4 != 4 || bytes < ipv4Bytes || total < bytes {
		return packet{}, refuse(BadHeader, "IPv4 version %d, header of %d bytes, packet of %d", rest[0]>>4, bytes, total)
	}
	if total > len(rest) {
		return packet{}, refuse(Truncated, "IPv4 packet of %d bytes in %d", total, len(rest))
	}
	header, payload := rest[:bytes], rest[bytes:total]
	if Checksum(0, header) != 0 {
		return packet{}, refuse(BadChecksum, "IPv4 header checksum")
	}
	// All but DF: a reserved bit, MF, the offset.
	if binary.BigEndian.Uint16(header[6:])&^0x4000 != 0 {
		return packet{}, refuse(Fragmented, "IPv4 fragment")
	}
	source := netip.AddrFrom4([4]byte(header[12:]))
	if source.IsMulticast() || source == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return packet{}, refuse(BadSource, "source %s", source)
	}
	return packet{
		source:      source,
		destination: netip.AddrFrom4([4]byte(header[16:])),
		hopLimit:    header[8],
		protocol:    header[9],
		payload:     payload,
	}, nil
}

// parseIPv6 reads the header of RFC 8200 and those behind it.
func parseIPv6(rest cursor) (packet, error) {
	header, ok := rest.take(ipv6Bytes)
	if !ok {
		return packet{}, refuse(Truncated, "IPv6 header of %d bytes: want %d", len(rest), ipv6Bytes)
	}
	length := int(binary.BigEndian.Uint16(header[4:]))
	if header[0]>>4 != 6 {
		return packet{}, refuse(BadHeader, "IPv6 version %d", header[0]>>4)
	}
	if length > len(rest) {
		return packet{}, refuse(Truncated, "IPv6 payload of %d bytes in %d", length, len(rest))
	}
	p := packet{
		source:      netip.AddrFrom16([16]byte(header[8:])),
		destination: netip.AddrFrom16([16]byte(header[24:])),
		hopLimit:    header[7],
		protocol:    header[6],
		payload:     rest[:length],
	}
	for first := true; ; first = false {
		unit, more := 8, 1
		switch p.protocol {
		case headerHopByHop:
			if !first {
				return packet{}, refuse(BadHeader, "hop-by-hop options that are not first")
			}
		case headerRouting, headerDestination:
		case headerAuth:
			unit, more = 4, 2
		case headerFragment:
			return packet{}, refuse(Fragmented, "IPv6 fragment")
		default:
			return p, nil
		}
		if len(p.payload) < 2 {
			return packet{}, refuse(Truncated, "extension header %d has no length", p.protocol)
		}
		extension, ok := p.payload.take((int(p.payload[1]) + more) * unit)
		if !ok {
			return packet{}, refuse(Truncated, "extension header %d is cut short", p.protocol)
		}
		if p.protocol == headerHopByHop {
			p.alert = hasRouterAlert(extension[2:])
		}
		p.protocol = extension[0]
	}
}

// hasRouterAlert looks for MLD's value of the option. Options that are cut
// short end the search: no stack takes such a packet.
func hasRouterAlert(options cursor) bool {
	for len(options) > 0 {
		if options[0] == optionPad1 {
			options = options[1:]
			continue
		}
		head, ok := options.take(2)
		if !ok {
			return false
		}
		value, ok := options.take(int(head[1]))
		if !ok {
			return false
		}
		if head[0] == optionRouterAlert && len(value) == 2 && binary.BigEndian.Uint16(value) == optionRouterAlertMLD {
			return true
		}
	}
	return false
}

// pimHello is the version and the type of a PIM Hello (RFC 7761 4.9).
const pimHello = 0x20

// parsePIM reads a Hello. Nothing in it matters but that it is there.
func (m *Message) parsePIM(p packet) error {
	if len(p.payload) < 4 {
		return refuse(Truncated, "PIM message of %d bytes: want at least 4", len(p.payload))
	}
	if p.payload[0] != pimHello {
		return refuse(Unrelated, "PIM version and type %#02x: only a Hello tells of a router", p.payload[0])
	}
	var seed uint32
	if m.Family == IPv6 {
		seed = pseudoSum(p.source, p.destination, len(p.payload), protocolPIM)
	}
	if Checksum(seed, p.payload) != 0 {
		return refuse(BadChecksum, "PIM checksum")
	}
	m.Kind = Hello
	return checkRouter(m.Kind, p.source)
}
