// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"

	"overcast/policy"
)

var (
	allNodes4      = netip.AddrFrom4([4]byte{224, 0, 0, 1})
	allRouters4    = netip.AddrFrom4([4]byte{224, 0, 0, 2})
	allReports4    = netip.AddrFrom4([4]byte{224, 0, 0, 22})  // RFC 3376 4.2.14
	allSnoopers4   = netip.AddrFrom4([4]byte{224, 0, 0, 106}) // RFC 4286 9
	allNodes6      = netip.MustParseAddr("ff02::1")
	allRouters6    = netip.MustParseAddr("ff02::2")
	allReports6    = netip.MustParseAddr("ff02::16") // RFC 3810 5.2.14
	allSnoopers6   = netip.MustParseAddr("ff02::6a")
	solicitedNodes = netip.MustParsePrefix("ff02::1:ff00:0/104")
	localNetwork4  = netip.MustParsePrefix("224.0.0.0/24")
	// dummy4 is what an IPv4 sender without an address may use (RFC 7600 4.8).
	dummy4 = netip.AddrFrom4([4]byte{192, 0, 0, 8})
)

// ProxyMAC is the Ethernet address of the proxy of the host with this VTEP.
func ProxyMAC(vtep netip.Addr) MAC {
	h := fnv.New32a()
	addr := vtep.As16()
	h.Write(addr[:])
	return policy.AgentMAC(h.Sum32())
}

// ProxyAddress is the link-local address of the proxy with this Ethernet
// address. The lowest address is elected querier (RFC 3810 7.1), and so the
// upper bits of the interface identifier are all ones: a real router wins.
func ProxyAddress(mac MAC) netip.Addr {
	addr := [16]byte{0: 0xfe, 1: 0x80, 8: 0xff, 9: 0xff, 10: 0xff, 11: 0xff, 12: 0xff}
	copy(addr[13:], mac[3:])
	return netip.AddrFrom16(addr)
}

// AlwaysFlooded tells whether a group is never pruned: no listener need report
// all nodes and the groups of node-local and reserved scopes (RFC 3810 6), nor
// those of 224.0.0.0/24 reliably (RFC 4541 2.1.2).
func AlwaysFlooded(group netip.Addr) bool {
	if !group.IsMulticast() {
		return false
	}
	if group.Is4() {
		return localNetwork4.Contains(group)
	}
	switch scope(group) {
	case 0x0, 0x1, 0xf:
		return true
	}
	return group == allNodes6
}

// LinkLocal tells whether a group is of link-local scope.
func LinkLocal(group netip.Addr) bool {
	if group.Is4() {
		return localNetwork4.Contains(group)
	}
	return group.IsMulticast() && scope(group) == 0x2
}

// SolicitedNode tells whether a group is one that a node joins for each of its
// addresses (RFC 4291 2.7.1). Remotes are not told of these, nor pruned for
// them: there are as many as guests.
func SolicitedNode(group netip.Addr) bool {
	return solicitedNodes.Contains(group)
}

// scope is that of an IPv6 group (RFC 7346).
func scope(group netip.Addr) byte {
	return group.As16()[1] & 0xf
}

// groupMAC is the Ethernet address that a group's frames go to (RFC 1112 6.4,
// RFC 2464 7).
func groupMAC(group netip.Addr) MAC {
	if group.Is4() {
		low := binary.BigEndian.Uint32(group.AsSlice()) & 0x7fffff
		return MAC{0x01, 0x00, 0x5e, byte(low >> 16), byte(low >> 8), byte(low)}
	}
	mac := MAC{0x33, 0x33}
	copy(mac[2:], group.AsSlice()[12:])
	return mac
}
