// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/hex"
	"fmt"
)

// MAC is an EUI-48, in wire order.
type MAC [6]byte

// ParseMAC reads six pairs of hexadecimal digits with colons between them.
func ParseMAC(s string) (MAC, error) {
	var mac MAC
	if len(s) != 17 {
		return MAC{}, fmt.Errorf("%q is not a MAC", s)
	}
	for i := range mac {
		pair := s[i*3 : i*3+2]
		if _, err := hex.Decode(mac[i:i+1], []byte(pair)); err != nil || (i < 5 && s[i*3+2] != ':') {
			return MAC{}, fmt.Errorf("%q is not a MAC", s)
		}
	}
	return mac, nil
}

// String returns the form that ParseMAC reads, in lower case.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// IsGroup tells a multicast or broadcast address (IEEE 802.3 3.2.3).
func (m MAC) IsGroup() bool {
	return m[0]&1 != 0
}

// IsAgents tells whether an agent may have the MAC: they know each other by
// those that begin so.
func (m MAC) IsAgents() bool {
	return m[0] == 0x0a && m[1] == 0x6f && m[2] == 0x63
}
