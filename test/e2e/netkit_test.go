// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"testing"

	"overcast/test/lab"
)

// Guests behind netkit devices are reached like those behind veths.
func TestNetkit(t *testing.T) {
	has, err := lab.NewTest(t, lab.Options{}).Hosts[0].HasNetkit()
	if err != nil {
		t.Fatal(err)
	}
	if !has {
		t.Skip("this kernel has no netkit devices")
	}
	for _, decap := range []string{"auto", "xdp", "kernel"} {
		t.Run(decap, func(t *testing.T) {
			w := newWorld(t, lab.Options{}, lab.GuestOptions{Kind: lab.Netkit}, "--decap", decap)
			near := w.addGuest(w.Hosts[0], "near", lab.GuestOptions{Kind: lab.Netkit})
			w.rewrite()
			for _, address := range []string{"2001:45::2", "10.9.0.2", "2001:45::3", "10.9.0.3"} {
				w.ping(w.guests[0], address)
			}
			transfer(t, w.guests[0], w.guests[1], netip.MustParseAddrPort("[2001:45::2]:5001"))
			transfer(t, w.guests[1], w.guests[0], netip.MustParseAddrPort("10.9.0.1:5002"))
			transfer(t, w.guests[0], near, netip.MustParseAddrPort("[2001:45::3]:5003"))
			w.noDrops()
			w.clean()
		})
	}
}
