// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"net/netip"
	"testing"

	"overcast/loader/membership"
)

// The checksum holds whatever the number is, also where its sum carries.
func TestEcho(t *testing.T) {
	p := newPinger()
	p.local = netip.MustParseAddr("192.0.2.1")
	for _, id := range []uint16{0, 1, 0xf7ff, 0xf800, 0xffff} {
		p.id = id
		if sum := membership.Checksum(0, p.echo()); sum != 0 {
			t.Errorf("the sum over an echo request of number %#04x is %#04x, should be 0", id, sum)
		}
	}
}
