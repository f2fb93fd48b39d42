// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"testing"

	"overcast/policy"
	"overcast/test/lab"
)

// A host of ours and an Open vSwitch with its kernel datapath carry every kind of
// frame and large transfers in both directions, over both encapsulations.
func TestOpenVSwitch(t *testing.T) {
	if _, err := os.Stat("/sys/module/openvswitch"); err != nil {
		t.Skip("this kernel has no datapath of Open vSwitch's")
	}
	if !lab.HasOpenVSwitch() {
		t.Fatal("Open vSwitch's programs are not here: want Debian's openvswitch-switch")
	}
	for _, encapsulation := range []policy.Encapsulation{policy.VXLAN, policy.Geneve} {
		for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
			t.Run(fmt.Sprintf("%s/%s", encapsulation, underlay), func(t *testing.T) {
				w := &world{Lab: lab.NewTest(t, lab.Options{Underlay: underlay, Hosts: 1}), t: t}
				w.tunnel = fmt.Sprintf("tunnel: {encapsulation: %s, checksum: %t}\n", encapsulation, underlay == lab.IPv6)
				w.addGuest(w.Hosts[0], "ours", lab.GuestOptions{})
				w.mix(lab.ForeignOptions{OpenVSwitch: true, Geneve: encapsulation == policy.Geneve}, lab.GuestOptions{})
				w.start()
				w.exchangeEverything()
			})
		}
	}
}
