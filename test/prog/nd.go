// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// ARPFrame is an ARP frame between two MACs (RFC 826). What it says of sender
// and target may be something else.
func ARPFrame(from, to net.HardwareAddr, operation uint16, sender, target Station) []byte {
	arp := &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: operation, SourceHwAddress: sender.MAC, SourceProtAddress: sender.IP.AsSlice(),
		DstHwAddress: target.MAC, DstProtAddress: target.IP.AsSlice(),
	}
	return Ethernet(Station{MAC: from}, Station{MAC: to}, uint16(layers.EthernetTypeARP), serialize(arp))
}

// SolicitedNode is the group that listens for solicitations of an address, and
// its MAC (RFC 4291 2.7.1, RFC 2464 7).
func SolicitedNode(target netip.Addr) Station {
	a := target.As16()
	group := netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
	return Station{net.HardwareAddr{0x33, 0x33, 0xff, a[13], a[14], a[15]}, group}
}

// LinkOption is the option of ND that names a MAC (RFC 4861 4.6.1).
func LinkOption(kind layers.ICMPv6Opt, mac net.HardwareAddr) layers.ICMPv6Option {
	return layers.ICMPv6Option{Type: kind, Data: mac}
}

// Solicitation is a neighbour solicitation for a target (RFC 4861 4.3).
func Solicitation(from, to Station, target netip.Addr, options ...layers.ICMPv6Option) []byte {
	return neighborDiscovery(from, to, layers.ICMPv6TypeNeighborSolicitation,
		&layers.ICMPv6NeighborSolicitation{TargetAddress: target.AsSlice(), Options: options})
}

// The flags of an advertisement (RFC 4861 4.4).
const (
	FlagRouter    = 0x80
	FlagSolicited = 0x40
	FlagOverride  = 0x20
)

// Advertisement is a neighbour advertisement of a target (RFC 4861 4.4).
func Advertisement(from, to Station, target netip.Addr, flags uint8, options ...layers.ICMPv6Option) []byte {
	return neighborDiscovery(from, to, layers.ICMPv6TypeNeighborAdvertisement,
		&layers.ICMPv6NeighborAdvertisement{Flags: flags, TargetAddress: target.AsSlice(), Options: options})
}

// RouterAdvertisement is that of a default router (RFC 4861 4.2). lifetime is
// in seconds.
func RouterAdvertisement(from, to Station, lifetime uint16, options ...layers.ICMPv6Option) []byte {
	return neighborDiscovery(from, to, layers.ICMPv6TypeRouterAdvertisement,
		&layers.ICMPv6RouterAdvertisement{HopLimit: 64, RouterLifetime: lifetime, Options: options})
}

func neighborDiscovery(from, to Station, kind uint8, message gopacket.SerializableLayer) []byte {
	ip := network(from, to, layers.IPProtocolICMPv6).(*layers.IPv6)
	ip.HopLimit = 255
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip) // knows IPv6
	return Ethernet(from, to, etherType(to), serialize(ip, icmp, message))
}
