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

// agents begins the MACs of agents, by which they know each other. It is locally
// administered.
var agents = [3]byte{0x0a, 0x6f, 0x63}

// AgentMAC is the MAC of agents with this number, of which 24 bits count.
func AgentMAC(n uint32) MAC {
	return MAC{agents[0], agents[1], agents[2], byte(n >> 16), byte(n >> 8), byte(n)}
}

// IsAgents tells whether an agent may have the MAC.
func (m MAC) IsAgents() bool {
	return [3]byte(m[:3]) == agents
}
