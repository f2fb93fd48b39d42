// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"overcast/policy"
	"overcast/test/lab"
)

// WireGuard carries the tunnels: a device without Ethernet headers, and an MTU of
// its own.
func TestWireGuard(t *testing.T) {
	has, err := lab.NewTest(t, lab.Options{}).Hosts[0].HasWireGuard()
	if err != nil {
		t.Fatal(err)
	}
	if !has {
		t.Skip("this kernel has no WireGuard")
	}
	for _, encapsulation := range []policy.Encapsulation{policy.VXLAN, policy.Geneve} {
		for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
			t.Run(fmt.Sprintf("%s/%s", encapsulation, underlay), func(t *testing.T) {
				l := lab.NewTest(t, lab.Options{Underlay: underlay})
				if err := l.AddWireGuard(); err != nil {
					t.Fatal(err)
				}
				w := buildWorld(t, l, lab.GuestOptions{MTU: 1500})
				w.tunnel = fmt.Sprintf("tunnel: {encapsulation: %s, probe_interval: 1s}\n", encapsulation)
				w.start()
				a, b := w.Hosts[0], w.Hosts[1]
				w.ping(w.guests[0], "2001:45::2")
				w.ping(w.guests[1], "10.9.0.1")
				w.carries(a, b.Name, 1420, "route")
				w.answers(a, b.Name, true)
				w.troubled(a, b.Name, "")
				w.hasMTU(1420 - w.Overhead())
				transfer(t, w.guests[0], w.guests[1], netip.MustParseAddrPort("[2001:45::2]:5001"))
				transfer(t, w.guests[1], w.guests[0], netip.MustParseAddrPort("10.9.0.1:5002"))
				for _, name := range []string{"LLDP", "one tag", "QinQ", "length 14"} {
					for _, dst := range []string{w.guests[1].MAC, "ff:ff:ff:ff:ff:ff"} {
						far, f := w.capture(w.guests[1]), frame(dst, w.guests[0].MAC, kinds()[name]...)
						if err := w.guests[0].SendFrame(lab.GuestDevice, f); err != nil {
							t.Fatal(err)
						}
						if err := far.Await(f); err != nil {
							t.Errorf("%s to %s: %v", name, dst, err)
						}
					}
				}
				w.clean()
			})
		}
	}
}
