// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"overcast/policy"
)

// The range of outer UDP source ports, which carry the inner flows' hashes:
// the dynamic ports, as RFC 7348 section 5 wants it. A hash is masked and added.
const (
	SourcePortMin  = 49152
	SourcePortMask = 16383
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
		PortLow:   SourcePortMin,
		PortHigh:  SourcePortMin + SourcePortMask,
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

// tunnelOf tells what a device carries, and whether it is in metadata mode. A
// device of any other kind gives port 0.
func tunnelOf(device netlink.Link) (policy.Tunnel, bool) {
	switch d := device.(type) {
	case *netlink.Vxlan:
		return policy.Tunnel{Encapsulation: policy.VXLAN, Port: uint16(d.Port)}, d.FlowBased
	case *netlink.Geneve:
		return policy.Tunnel{Encapsulation: policy.Geneve, Port: d.Dport}, d.FlowBased
	}
	return policy.Tunnel{}, false
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
		t, flowBased := tunnelOf(l)
		if t.Port != port || !flowBased && l.Attrs().RawFlags&unix.IFF_UP == 0 {
			continue
		}
		return fmt.Sprintf("the %s device %s", t.Encapsulation.Title(), l.Attrs().Name)
	}
	return "another program or device"
}
