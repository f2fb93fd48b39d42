// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Numbers of the protocols that layers does not name.
const (
	protocolPIM = layers.IPProtocol(103)
	pimHello    = 0x20 // version 2, type 0
)

// icmp6 is a frame with an ICMPv6 message of this type; body is what stands
// behind its checksum.
func icmp6(from, to Station, kind uint8, body []byte) []byte {
	ip := network(from, to, layers.IPProtocolICMPv6).(*layers.IPv6)
	ip.HopLimit = 1
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip) // knows IPv6
	return Ethernet(from, to, etherType(to), serialize(ip, icmp, gopacket.Payload(body)))
}

// igmp is a frame with an IGMP message of this type; code and body are what
// stands before and behind its checksum.
func igmp(from, to Station, kind, code uint8, body []byte) []byte {
	message := append([]byte{kind, code, 0, 0}, body...)
	binary.BigEndian.PutUint16(message[2:], ^onesSum(message))
	return overIP(from, to, layers.IPProtocolIGMP, message)
}

// pim is a frame with a PIM message of this version and type (RFC 7761 4.9),
// of so many bytes.
func pim(from, to Station, kind uint8, size int) []byte {
	message := make([]byte, size)
	message[0] = kind
	binary.BigEndian.PutUint16(message[2:], ^onesSum(message))
	return overIP(from, to, protocolPIM, message)
}

// overIP is a frame with an IP packet of this protocol, of hop limit 1.
func overIP(from, to Station, protocol layers.IPProtocol, payload []byte) []byte {
	ip := network(from, to, protocol)
	switch ip := ip.(type) {
	case *layers.IPv4:
		ip.TTL = 1
	case *layers.IPv6:
		ip.HopLimit = 1
	}
	return Ethernet(from, to, etherType(to), serialize(ip, gopacket.Payload(payload)))
}

// alerted puts a router alert into a frame, as every stack does with membership
// messages but IGMPv1's (RFC 2113, RFC 2711).
func alerted(frame []byte) []byte {
	if frame[12] == 0x86 {
		return withExtension(frame, layers.IPProtocolIPv6HopByHop, 0, 5, 2, 0, 0, 1, 0)
	}
	return mutated(withOptions(frame), func(p []byte) []byte {
		copy(p[14+20:], []byte{148, 4, 0, 0})
		p[24], p[25] = 0, 0
		binary.BigEndian.PutUint16(p[24:], ^onesSum(p[14:14+24]))
		return p
	})
}

// The groups that messages are sent to, and one that they are about.
var (
	allHosts4, allRouters4, igmpRouters = group("224.0.0.1"), group("224.0.0.2"), group("224.0.0.22")
	allNodes6, allRouters6, mldRouters  = group("ff02::1"), group("ff02::2"), group("ff02::16")
	video4, video6                      = group("239.4.5.6"), group("ff05::45")
)

// memberships are messages of every kind that the agent takes, from a guest of
// this MAC, by name.
func memberships(from net.HardwareAddr) map[string][]byte {
	from4, from6 := guest4(from), Station{from, netip.MustParseAddr("fe80::5")}
	v4, v6 := video4.IP.AsSlice(), video6.IP.AsSlice()
	word := func(b ...byte) []byte { return b }
	return map[string][]byte{
		"MLDv1 query":             icmp6(from6, allNodes6, 130, slices.Concat(word(0x27, 0x10, 0, 0), make([]byte, 16))),
		"MLDv1 group query":       icmp6(from6, video6, 130, slices.Concat(word(0x03, 0xe8, 0, 0), v6)),
		"MLDv1 report":            icmp6(from6, video6, 131, slices.Concat(word(0, 0, 0, 0), v6)),
		"MLDv1 done":              icmp6(from6, allRouters6, 132, slices.Concat(word(0, 0, 0, 0), v6)),
		"MLDv2 query":             icmp6(from6, allNodes6, 130, slices.Concat(word(0x27, 0x10, 0, 0), make([]byte, 16), word(2, 125, 0, 0))),
		"MLDv2 report":            icmp6(from6, mldRouters, 143, slices.Concat(word(0, 0, 0, 1, 4, 0, 0, 0), v6)),
		"MLDv2 report of nothing": icmp6(from6, mldRouters, 143, word(0, 0, 0, 0)),

		"IGMPv1 query":             igmp(from4, allHosts4, 0x11, 0, make([]byte, 4)),
		"IGMPv1 report":            igmp(from4, video4, 0x12, 0, v4),
		"IGMPv2 query":             igmp(from4, allHosts4, 0x11, 100, make([]byte, 4)),
		"IGMPv2 group query":       igmp(from4, video4, 0x11, 10, v4),
		"IGMPv2 report":            igmp(from4, video4, 0x16, 0, v4),
		"IGMPv2 leave":             igmp(from4, allRouters4, 0x17, 0, v4),
		"IGMPv3 query":             igmp(from4, allHosts4, 0x11, 100, slices.Concat(make([]byte, 4), word(2, 125, 0, 0))),
		"IGMPv3 report":            igmp(from4, igmpRouters, 0x22, 0, slices.Concat(word(0, 0, 0, 1, 4, 0, 0, 0), v4)),
		"IGMPv3 report of nothing": igmp(from4, igmpRouters, 0x22, 0, word(0, 0, 0, 0)),
	}
}

// routers are messages that tell of multicast routers.
func routers(from net.HardwareAddr) map[string][]byte {
	from4, from6 := guest4(from), Station{from, netip.MustParseAddr("fe80::5")}
	return map[string][]byte{
		"PIM hello over IPv4":    pim(from4, group("224.0.0.13"), pimHello, 34),
		"PIM hello over IPv6":    pim(from6, group("ff02::d"), pimHello, 34),
		"MRD over IPv4":          igmp(from4, group("224.0.0.106"), 0x30, 20, []byte{0, 125, 0, 2}),
		"MRD over IPv6":          icmp6(from6, group("ff02::6a"), 151, []byte{0, 125, 0, 2}),
		"MRD over IPv6, alerted": alerted(icmp6(from6, group("ff02::6a"), 151, []byte{0, 125, 0, 2})),
	}
}

// ordinary are frames to groups that are nothing to the agent, however much
// they look like what is.
func ordinary(from net.HardwareAddr) map[string][]byte {
	from4, from6 := guest4(from), Station{from, netip.MustParseAddr("fe80::5")}
	report6, report4 := memberships(from)["MLDv2 report"], memberships(from)["IGMPv3 report"]
	frames := map[string][]byte{
		"neighbour solicitation":       icmp6(from6, group("ff02::1:ff0a:6"), 135, append(make([]byte, 4), guest6(mac(0x0a, 6)).IP.AsSlice()...)),
		"neighbour advertisement":      icmp6(from6, allNodes6, 136, append([]byte{0x20, 0, 0, 0}, from6.IP.AsSlice()...)),
		"router solicitation":          icmp6(from6, allRouters6, 133, make([]byte, 4)),
		"router advertisement":         icmp6(from6, allNodes6, 134, make([]byte, 12)),
		"echo request to a group":      icmp6(from6, allNodes6, 128, []byte{0, 7, 0, 1, 0x82}),
		"UDP that begins like a query": overIP(from6, allNodes6, layers.IPProtocolUDP, []byte{130, 0, 0x12, 0xb5, 0, 8, 0, 0}),

		"MLD in IPv4":        overIP(from4, igmpRouters, layers.IPProtocolICMPv6, []byte{143, 0, 0, 0, 0, 0, 0, 0}),
		"IGMP in IPv6":       overIP(from6, mldRouters, layers.IPProtocolIGMP, []byte{0x22, 0, 0, 0, 0, 0, 0, 0}),
		"ICMPv6 and nothing": report6[:14+40],
		"IGMP and nothing":   report4[:14+20],

		"the first fragment of a report":                       withFragment(report6, 0, true),
		"a report with a fragment header":                      withFragment(report6, 0, false),
		"a fragment behind a router alert":                     alerted(withFragment(report6, 0, true)),
		"the first fragment over IPv4":                         mutated(report4, func(p []byte) []byte { p[20] = 0x20; return p }),
		"a later fragment over IPv4":                           mutated(report4, func(p []byte) []byte { p[20], p[21] = 0, 1; return p }),
		"a report in more extension headers than are followed": chain(report6, 6),
		"a report behind options that are longer than it":      mutated(alerted(report6), func(p []byte) []byte { p[14+40+1] = 255; return p }),
		"a report behind half of an extension header":          mutated(report6, func(p []byte) []byte { p[20] = 0; return p[:14+40+1] }),
		"IGMP behind options that are longer than it":          mutated(report4, func(p []byte) []byte { p[14] = 0x4f; return p }),
		"a report in IPv6 of version 4":                        mutated(report6, func(p []byte) []byte { p[14] = 0x40; return p }),

		"a tagged report":               tagged(report6, 0x8100, 45),
		"a report to the MAC of all":    mutated(report6, func(p []byte) []byte { copy(p, macBroadcast); return p }),
		"IGMP to the MAC of all":        mutated(report4, func(p []byte) []byte { copy(p, macBroadcast); return p }),
		"a report to the MAC of nobody": mutated(report6, func(p []byte) []byte { copy(p, macNobody); return p }),
	}
	for _, kind := range []uint8{129, 133, 142, 144, 150, 152, 153} {
		frames["ICMPv6 of type "+decimal(kind)] = icmp6(from6, allNodes6, kind, make([]byte, 20))
	}
	for _, kind := range []uint8{0x10, 0x13, 0x14, 0x15, 0x18, 0x1e, 0x21, 0x23, 0x31, 0x32} {
		frames["IGMP of type "+decimal(kind)] = igmp(from4, allHosts4, kind, 0, make([]byte, 4))
	}
	for _, kind := range []uint8{0x10, 0x21, 0x23, 0x28, 0x30} {
		frames["PIM of type "+decimal(kind)] = pim(from4, group("224.0.0.13"), kind, 34)
	}
	return frames
}

// decimal writes a number of a protocol.
func decimal(n uint8) string {
	return string([]byte{'0' + n/100, '0' + n/10%10, '0' + n%10})
}

// report is an MLDv2 report of one record whose frame has so many bytes; what
// the record does not take is additional data (RFC 3810 5.2.11).
func report(from net.HardwareAddr, size int) []byte {
	body := slices.Concat([]byte{0, 0, 0, 1, 4, 0, 0, 0}, video6.IP.AsSlice())
	rest := size - 14 - 40 - 8 - 4 - len(body)
	for i := range rest {
		body = append(body, byte(i))
	}
	return alerted(icmp6(Station{from, netip.MustParseAddr("fe80::5")}, mldRouters, 143, body))
}

// probe is the frame by which agents see whether a host lives (probe.go in loader).
func probe(from net.HardwareAddr) []byte {
	return Ethernet(Station{MAC: from}, Station{MAC: probeMAC}, 0x88b5, slices.Concat([]byte("overcast\x01"), make([]byte, 37)))
}

var probeMAC = net.HardwareAddr{0x0b, 0x6f, 0x63, 0, 0, 1}
