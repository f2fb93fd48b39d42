// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Switch is what the kernel has for the overlay's job: a bridge with a VXLAN
// device. A bridge's netfilter calls are as the namespace has them; see
// [Namespace.BridgeNetfilterOff].
type Switch struct {
	VNI      uint32
	Local    netip.Addr
	MTU      int                   // of the VXLAN device, in bytes
	Remotes  []netip.Addr          // flooded to (head-end replication)
	Stations map[string]netip.Addr // MACs behind remotes, known from the start
	Learning bool                  // of the VXLAN device
	Snooping bool                  // of the bridge
}

const (
	switchBridge = "br0"
	switchVXLAN  = "vxlan0"
)

// AddSwitch makes a switch in the namespace, whose uplink is [Uplink].
func (n *Namespace) AddSwitch(s Switch) error {
	if err := n.Do(s.add); err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	return errors.Join(n.noIPv6(switchBridge), n.noIPv6(switchVXLAN))
}

func (s Switch) add() error {
	uplink, err := netlink.LinkByName(Uplink)
	if err != nil {
		return fmt.Errorf("device %s: %w", Uplink, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = switchBridge
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &s.Snooping}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	attrs = netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = switchVXLAN, s.MTU
	vxlan := &netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: int(s.VNI), Port: 4789, Learning: s.Learning,
		VtepDevIndex: uplink.Attrs().Index, SrcAddr: s.Local.AsSlice(),
		// Our packets have no outer checksum over IPv6 (RFC 6935).
		UDP6ZeroCSumRx: true, UDP6ZeroCSumTx: true,
	}
	if err := netlink.LinkAdd(vxlan); err != nil {
		return fmt.Errorf("VXLAN device: %w", err)
	}
	if err := netlink.LinkSetMaster(vxlan, bridge); err != nil {
		return err
	}
	for _, remote := range s.Remotes {
		flood := &netlink.Neigh{
			LinkIndex: vxlan.Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT,
			IP: remote.AsSlice(), HardwareAddr: make(net.HardwareAddr, 6),
		}
		if err := netlink.NeighAppend(flood); err != nil {
			return fmt.Errorf("flood entry for %s: %w", remote, err)
		}
	}
	for station, remote := range s.Stations {
		if err := addStation(vxlan, station, remote); err != nil {
			return fmt.Errorf("station %s: %w", station, err)
		}
	}
	return errors.Join(netlink.LinkSetUp(bridge), netlink.LinkSetUp(vxlan))
}

// addStation tells the VXLAN device the remote of a MAC, and the bridge that it
// is behind the VXLAN device.
func addStation(vxlan *netlink.Vxlan, station string, remote netip.Addr) error {
	mac, err := net.ParseMAC(station)
	if err != nil {
		return err
	}
	entry := netlink.Neigh{LinkIndex: vxlan.Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT,
		IP: remote.AsSlice(), HardwareAddr: mac}
	if err := netlink.NeighAppend(&entry); err != nil {
		return err
	}
	return netlink.NeighSet(&netlink.Neigh{LinkIndex: vxlan.Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER,
		State: netlink.NUD_NOARP, HardwareAddr: mac})
}

// PlugIntoSwitch makes a device a port of the namespace's switch.
func (n *Namespace) PlugIntoSwitch(device string) error {
	return n.withLink(device, func(link netlink.Link) error {
		bridge, err := netlink.LinkByName(switchBridge)
		if err != nil {
			return fmt.Errorf("the switch's bridge: %w", err)
		}
		return netlink.LinkSetMaster(link, bridge)
	})
}
