// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"overcast/policy"
)

// newTunnel describes the kernel's device of an encapsulation, in metadata mode:
// remote and VNI come with each frame.
func newTunnel(t policy.Tunnel) netlink.Link {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = TunnelDevice
	if t.Encapsulation == policy.Geneve {
		// It takes packets without an outer checksum over IPv6 by itself, and its
		// source ports are any before 6.15.
		return &netlink.Geneve{LinkAttrs: attrs, FlowBased: true, Dport: t.Port}
	}
	return &netlink.Vxlan{
		LinkAttrs: attrs,
		FlowBased: true,
		Port:      int(t.Port),
		PortLow:   int(t.SourcePorts.First),
		PortHigh:  int(t.SourcePorts.Last),
		// Our own packets have no outer checksum; see outer.h.
		UDP6ZeroCSumRx: true,
	}
}

// knowsTunnel tells whether the kernel has a device for an encapsulation. One
// that cannot be made now, for whatever other reason, is known.
func knowsTunnel(t policy.Tunnel) bool {
	const scratch = TunnelDevice + "-try"
	device := newTunnel(t)
	device.Attrs().Name = scratch
	err := netlink.LinkAdd(device)
	if err == nil {
		_ = netlink.LinkDel(device) // what made it can remove it
	}
	return !errors.Is(err, unix.EOPNOTSUPP)
}

// carrier is what a tunnel device carries.
type carrier struct {
	encapsulation policy.Encapsulation
	port          uint16
	sources       policy.Ports // of VXLAN
}

// carrierOf tells what a device carries, and whether it is in metadata mode. A
// device of any other kind gives port 0.
func carrierOf(device netlink.Link) (carrier, bool) {
	switch d := device.(type) {
	case *netlink.Vxlan:
		return carrier{policy.VXLAN, uint16(d.Port), policy.Ports{First: uint16(d.PortLow), Last: uint16(d.PortHigh)}}, d.FlowBased
	case *netlink.Geneve:
		return carrier{policy.Geneve, d.Dport, policy.Ports{}}, d.FlowBased
	}
	return carrier{}, false
}

// isTunnel tells whether a device is the one that newTunnel describes.
func isTunnel(device netlink.Link, t policy.Tunnel) bool {
	want, _ := carrierOf(newTunnel(t))
	have, flowBased := carrierOf(device)
	return flowBased && have == want
}

// portHolder names the tunnel device that has a UDP port open, as far as it
// can be told: other users of a port do not show their names.
func portHolder(port uint16) string {
	links, err := netlink.LinkList()
	if err != nil {
		return "another device"
	}
	for _, l := range links {
		if l.Attrs().Name == TunnelDevice {
			continue
		}
		// A flow-based one keeps others from being made also while it is down.
		c, flowBased := carrierOf(l)
		if c.port != port || !flowBased && l.Attrs().RawFlags&unix.IFF_UP == 0 {
			continue
		}
		return fmt.Sprintf("the %s device %s", c.encapsulation.Title(), l.Attrs().Name)
	}
	return "another program or device"
}
