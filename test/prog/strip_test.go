// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"overcast/test/lab"
)

// stripsAtTC tells whether oc_uplink_in strips the packet of a frame itself:
// what bpf_skb_adjust_room leaves must have room for an IP header.
func (w *world) stripsAtTC(frame []byte) bool {
	ipv6 := frame[12] == 0x86 && frame[13] == 0xdd
	if ipv6 || w.underlay == lab.IPv6 && w.constants.DecapFlags == 0 {
		return len(frame) >= 14+40
	}
	return len(frame) >= 14+20
}
