// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// VXLAN is a point-to-point VXLAN of a guest's own.
type VXLAN struct {
	VNI           uint32
	Local, Remote netip.Addr
	Address       netip.Prefix // of the guest inside it
}

// nestedVXLAN is the name of a guest's own VXLAN device.
const nestedVXLAN = "nested0"

// AddVXLAN gives the guest a kernel VXLAN device of its own.
func (g *Guest) AddVXLAN(v VXLAN) error {
	err := g.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = nestedVXLAN, g.Options.MTU-50
		device := &netlink.Vxlan{
			LinkAttrs: attrs, VxlanId: int(v.VNI), Port: 4789, Learning: true,
			SrcAddr: v.Local.AsSlice(), Group: v.Remote.AsSlice(),
		}
		if err := netlink.LinkAdd(device); err != nil {
			return fmt.Errorf("guest's VXLAN: %w", err)
		}
		return netlink.LinkSetUp(device)
	})
	if err != nil {
		return err
	}
	return g.AddAddress(nestedVXLAN, v.Address)
}
