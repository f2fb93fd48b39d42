// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// underlayError is what a router of the underlay, or a host, has said of a packet
// of ours.
type underlayError struct {
	mtu int // bytes of the largest packet that gets further; 0: none does
}

// ICMP's numbers (RFC 792, RFC 4443).
const (
	icmp4Unreachable, icmp4FragmentationNeeded = 3, 4
	icmp6Unreachable, icmp6TooBig              = 1, 2

	ethernetHeader, ipv6Header, icmpHeader = 14, 40, 8
)

// plateaus are common MTUs (RFC 1191 7.1), for routers that do not say theirs.
var plateaus = [...]int{32000, 17914, 8166, 4352, 2002, 1492, 1006}

// parseUnderlayError reads an ICMP error that underlay.h has handed over, from the
// Ethernet header on; false where it is none, or says nothing of use.
func parseUnderlayError(frame []byte) (underlayError, bool) {
	if len(frame) < ethernetHeader+1 {
		return underlayError{}, false
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_IP:
		return parseUnderlayError4(frame[ethernetHeader:])
	case unix.ETH_P_IPV6:
		if packet := frame[ethernetHeader:]; len(packet) >= ipv6Header+icmpHeader {
			return parseUnderlayError6(packet[ipv6Header:])
		}
	}
	return underlayError{}, false
}

func parseUnderlayError4(packet []byte) (underlayError, bool) {
	header := int(packet[0]&0xf) * 4
	if len(packet) < header+icmpHeader+4 || packet[header] != icmp4Unreachable {
		return underlayError{}, false
	}
	icmp := packet[header:]
	if icmp[1] != icmp4FragmentationNeeded {
		return underlayError{}, true
	}
	if mtu := int(binary.BigEndian.Uint16(icmp[6:])); mtu != 0 {
		return underlayError{mtu}, true
	}
	sent := int(binary.BigEndian.Uint16(icmp[icmpHeader+2:]))
	for _, mtu := range plateaus {
		if mtu < sent {
			return underlayError{mtu}, true
		}
	}
	return underlayError{}, false
}

func parseUnderlayError6(icmp []byte) (underlayError, bool) {
	switch icmp[0] {
	case icmp6Unreachable:
		return underlayError{}, true
	case icmp6TooBig:
		// No link of IPv6 has less than 1280 (RFC 8200 5), and one that says 0 lies.
		mtu := int(min(binary.BigEndian.Uint32(icmp[4:]), 1<<16))
		return underlayError{mtu}, mtu > 0
	}
	return underlayError{}, false
}
