// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"

	"overcast/test/lab"
)

// A broadcast, a multicast and an unknown unicast of each guest reach every
// other guest of the segment exactly once, whatever host it is on, and never
// come back; IP and other frames, small and large, tagged and not.
func TestFlood(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				w := &world{Lab: lab.NewTest(t, lab.Options{Underlay: underlay, Hosts: 3}), t: t, flags: []string{"--decap", decap}}
				w.segment = "        unknown_unicast: flood\n"
				for i := range 6 {
					w.addGuest(w.Hosts[i%3], fmt.Sprintf("g%d", i+1), lab.GuestOptions{Kind: lab.Kind(i / 3)})
				}
				t.Cleanup(w.explain)
				w.start()
				var captures []*lab.Capture
				for _, g := range w.guests {
					captures = append(captures, w.capture(g))
				}
				for i, from := range w.guests {
					for _, dst := range []string{"ff:ff:ff:ff:ff:ff", "33:33:00:00:00:45", "02:00:00:00:77:77"} {
						for name, rest := range map[string][]byte{
							"ARP":          append([]byte{0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 9}, make([]byte, 20)...),
							"IPv4":         append([]byte{0x08, 0, 0x45, 0, 0, 28, 0, byte(i), 0, 0, 1, 253}, make([]byte, 18)...),
							"IPv6":         append([]byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 253, 1}, make([]byte, 40)...),
							"experimental": append([]byte{0x88, 0xb5}, payload(dst, 1400)...),
							"tagged":       append(append(tag(0x8100, 45), 0x88, 0xb5), payload("tagged", i+2)...),
						} {
							f := frame(dst, from.MAC, rest...)
							if err := from.SendFrame(lab.GuestDevice, f); err != nil {
								t.Fatalf("%s to %s: %v", name, dst, err)
							}
							for j, c := range captures {
								if err := c.Await(f); err != nil {
									t.Fatalf("%s from %s to %s: %v", name, from.Name, dst, err)
								}
								// The sender's own capture sees it once, as it leaves.
								if n := c.Count(f); n != 1 {
									t.Errorf("%s from %s to %s: %d times at %s", name, from.Name, dst, n, w.guests[j].Name)
								}
							}
						}
					}
				}
				w.noDrops()
				w.clean()
			})
		}
	}
}
