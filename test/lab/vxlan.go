// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// VXLAN is a point-to-point VXLAN that is not the overlay's.
type VXLAN struct {
	VNI           uint32
	Local, Remote netip.Addr
	MTU           int
	Address       netip.Prefix // of the guest inside it
}

// nestedVXLAN is the name of that device.
const nestedVXLAN = "nested0"

// AddVXLAN gives the namespace a kernel VXLAN device.
func (n *Namespace) AddVXLAN(v VXLAN) error {
	err := n.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = nestedVXLAN, v.MTU
		device := &netlink.Vxlan{
			LinkAttrs: attrs, VxlanId: int(v.VNI), Port: 4789, Learning: true,
			SrcAddr: v.Local.AsSlice(), Group: v.Remote.AsSlice(),
		}
		if err := netlink.LinkAdd(device); err != nil {
			return fmt.Errorf("VXLAN device: %w", err)
		}
		return netlink.LinkSetUp(device)
	})
	if err != nil {
		return err
	}
	return n.AddAddress(nestedVXLAN, v.Address)
}

// HasGeneve tells whether the kernel knows Geneve devices.
func (n *Namespace) HasGeneve() (bool, error) {
	return n.knows(&netlink.Geneve{LinkAttrs: tryAttrs(), FlowBased: true, Dport: 6081})
}

// MetadataVXLAN is the name of the device that [Namespace.AddMetadataVXLAN] makes.
const MetadataVXLAN = "vxlan0"

// AddMetadataVXLAN gives the namespace a VXLAN device in metadata mode: a
// program names the VNI and the remote of each frame.
func (n *Namespace) AddMetadataVXLAN() error {
	err := n.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = MetadataVXLAN
		device := &netlink.Vxlan{LinkAttrs: attrs, FlowBased: true, Port: 4789, UDP6ZeroCSumRx: true}
		if err := netlink.LinkAdd(device); err != nil {
			return fmt.Errorf("VXLAN device: %w", err)
		}
		return netlink.LinkSetUp(device)
	})
	if err != nil {
		return err
	}
	return n.noIPv6(MetadataVXLAN)
}
