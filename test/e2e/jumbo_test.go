// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"overcast/test/lab"
)

// On an underlay of 9001 bytes, as EC2 has it, guests use what it leaves to the
// last byte, both ways, and TCP fills it.
func TestJumboFrames(t *testing.T) {
	t.Parallel()
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				t.Parallel()
				const mtu = 9001
				w := &world{Lab: lab.NewTest(t, lab.Options{Underlay: underlay, MTU: mtu, Wire: lab.PlainNIC}), t: t, flags: []string{"--decap", decap}}
				one := w.addGuest(w.Hosts[0], "one", lab.GuestOptions{})
				two := w.addGuest(w.Hosts[1], "two", lab.GuestOptions{Kind: lab.Tap})
				t.Cleanup(w.explain)
				w.start()
				inner := mtu - w.Overhead()
				var ports []struct{ MTU int }
				if w.cli(w.Hosts[0], "ports", &ports); len(ports) != 1 || ports[0].MTU != inner {
					t.Errorf("ports shows %v, should be an MTU of %d", ports, inner)
				}
				for _, c := range []struct {
					from     *lab.Guest
					address  string
					overhead int
				}{
					{one, "10.9.0.2", 28}, {two, "10.9.0.1", 28}, {one, "2001:45::2", 48}, {two, "2001:45::1", 48},
				} {
					w.run(c.from.Namespace, "ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", "-M", "do", "-s", fmt.Sprint(inner-c.overhead), c.address)
				}
				wire, err := w.Capture(w.Hosts[0].Namespace, lab.Uplink, "the uplink")
				if err != nil {
					t.Fatal(err)
				}
				// So do frames of other sizes: XDP has the larger ones in several pages.
				seen := w.capture(two)
				for _, size := range []int{60, 1500, 3498, 3600, 4096, 8192, inner} {
					f := frame(two.MAC, one.MAC, append([]byte{0x88, 0xb5}, payload("jumbo", size-5)...)...)
					if err := one.SendFrame(lab.GuestDevice, f); err != nil {
						t.Fatal(err)
					}
					if err := seen.Await(f); err != nil {
						t.Errorf("%d bytes: %v", size, err)
					}
				}
				w.atomicPackets(wire)
				wire.Stop()
				seen.Stop()
				transferSome(t, one, two, netip.MustParseAddrPort("[2001:45::2]:5001"))
				transferSome(t, two, one, netip.MustParseAddrPort("10.9.0.1:5002"))
				w.noDrops()
				w.clean()
			})
		}
	}
}
