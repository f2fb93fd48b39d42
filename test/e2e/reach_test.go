// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"

	"overcast/test/lab"
)

// Every decap mode, underlay family and kind of guest carries ARP, ND and ping
// both ways, and nothing but unicast IP crosses the cloud.
func TestReach(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"auto", "xdp", "tc", "kernel"} {
			for _, kind := range []lab.Kind{lab.Veth, lab.Tap} {
				t.Run(fmt.Sprintf("%s/%s/%s", underlay, decap, kind), func(t *testing.T) {
					w := newWorld(t, lab.Options{Underlay: underlay}, lab.GuestOptions{Kind: kind}, "--decap", decap)
					w.ping(w.guests[0], "2001:45::2")
					w.ping(w.guests[0], "10.9.0.2")
					w.ping(w.guests[1], "10.9.0.1")
					w.noDrops()
					w.clean()
				})
			}
		}
	}
}
