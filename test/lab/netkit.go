// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// attachNetkit makes a pair of netkit devices, the first one on the host.
func (g *Guest) attachNetkit(mac net.HardwareAddr) error {
	attrs, peer := netlink.NewLinkAttrs(), netlink.NewLinkAttrs()
	attrs.Name, attrs.Namespace = g.Port, netlink.NsFd(g.owner.handle)
	peer.Name, peer.Namespace, peer.HardwareAddr = GuestDevice, netlink.NsFd(g.handle), mac
	pair := &netlink.Netkit{LinkAttrs: attrs, Mode: netlink.NETKIT_MODE_L2}
	pair.SetPeerAttrs(&peer)
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("netkit devices of %s: %w", g.Name, err)
	}
	return nil
}

// HasNetkit tells whether the kernel knows netkit devices.
func (n *Namespace) HasNetkit() (bool, error) {
	pair, peer := &netlink.Netkit{LinkAttrs: tryAttrs()}, netlink.NewLinkAttrs()
	peer.Name = "try-peer"
	pair.SetPeerAttrs(&peer)
	return n.knows(pair)
}
