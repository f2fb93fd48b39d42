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

// Foreign is a VTEP without our agent: the kernel's own VXLAN device and
// bridge. It is the oracle of interoperation.
type Foreign struct {
	*Namespace
	Name   string
	VTEP   netip.Addr
	lab    *Lab
	door   string
	guests int
}

// ForeignOptions describe a foreign VTEP.
type ForeignOptions struct {
	VNI      uint32
	Remotes  []netip.Addr // flooded to (head-end replication)
	Snooping bool
}

const (
	foreignBridge = "br0"
	foreignVXLAN  = "vxlan0"
)

// AddForeign adds a host with a kernel VXLAN switch to the underlay.
func (l *Lab) AddForeign(name string, options ForeignOptions) (*Foreign, error) {
	n, err := l.namespace(name)
	if err != nil {
		return nil, err
	}
	prefix := l.vtep(200 + len(name)%40)
	f := &Foreign{Namespace: n, Name: name, VTEP: prefix.Addr(), lab: l}
	if f.door, err = l.connect(n, Uplink, prefix); err != nil {
		return nil, err
	}
	if err := n.bridgeNetfilterOff(); err != nil {
		return nil, err
	}
	if err := n.Do(func() error { return f.addSwitch(options) }); err != nil {
		return nil, fmt.Errorf("foreign host %s: %w", name, err)
	}
	return f, errors.Join(n.noIPv6(foreignBridge), n.noIPv6(foreignVXLAN))
}

func (f *Foreign) addSwitch(options ForeignOptions) error {
	uplink, err := netlink.LinkByName(Uplink)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = foreignBridge
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &options.Snooping}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	attrs = netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = foreignVXLAN, f.lab.options.MTU-f.lab.Overhead()
	vxlan := &netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: int(options.VNI), Port: 4789, Learning: true,
		VtepDevIndex: uplink.Attrs().Index, SrcAddr: f.VTEP.AsSlice(),
		// Our packets have no outer checksum over IPv6 (RFC 6935).
		UDP6ZeroCSumRx: true, UDP6ZeroCSumTx: true,
	}
	if err := netlink.LinkAdd(vxlan); err != nil {
		return fmt.Errorf("VXLAN device: %w", err)
	}
	if err := netlink.LinkSetMaster(vxlan, bridge); err != nil {
		return err
	}
	for _, remote := range options.Remotes {
		flood := &netlink.Neigh{
			LinkIndex: vxlan.Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT,
			IP: remote.AsSlice(), HardwareAddr: make(net.HardwareAddr, 6),
		}
		if err := netlink.NeighAppend(flood); err != nil {
			return fmt.Errorf("flood entry for %s: %w", remote, err)
		}
	}
	return errors.Join(netlink.LinkSetUp(bridge), netlink.LinkSetUp(vxlan))
}

// AddGuest adds a guest behind the foreign switch.
func (f *Foreign) AddGuest(name string, options GuestOptions) (*Guest, error) {
	f.guests++
	if options.Port == "" {
		options.Port = fmt.Sprintf("p%d", f.guests)
	}
	if options.MAC == "" {
		options.MAC = fmt.Sprintf("02:00:00:01:%02x:%02x", f.VTEP.As16()[15], f.guests)
	}
	g, err := f.lab.newGuest(f.Namespace, name, options)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", name, err)
	}
	return g, f.withLink(g.Port, func(link netlink.Link) error {
		bridge, err := netlink.LinkByName(foreignBridge)
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(link, bridge)
	})
}
