// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is a route of a host.
type Route struct {
	To        netip.Prefix
	Via       netip.Addr // zero: on the link
	Device    string
	Source    netip.Addr // preferred source address; zero: the kernel's choice
	Blackhole bool       // silently nowhere; the other fields but To do not matter
	Local     bool       // every address of it is the namespace's own; likewise
	MTU       int        // what is larger is cut on its way out; 0: that of the device
}

// AddRoute adds a route, or replaces that to the same destination.
func (n *Namespace) AddRoute(r Route) error {
	route := netlink.Route{Dst: ipNet(r.To), MTU: r.MTU}
	if r.Blackhole {
		route.Type = unix.RTN_BLACKHOLE
		return n.Do(func() error { return netlink.RouteReplace(&route) })
	}
	if r.Local {
		route.Type, route.Scope, route.Table = unix.RTN_LOCAL, netlink.SCOPE_HOST, unix.RT_TABLE_LOCAL
		return n.withLink("lo", func(link netlink.Link) error {
			route.LinkIndex = link.Attrs().Index
			return netlink.RouteReplace(&route)
		})
	}
	if r.Via.IsValid() {
		route.Gw = r.Via.AsSlice()
	} else {
		route.Scope = netlink.SCOPE_LINK
	}
	if r.Source.IsValid() {
		route.Src = r.Source.AsSlice()
	}
	return n.withLink(r.Device, func(link netlink.Link) error {
		route.LinkIndex = link.Attrs().Index
		return netlink.RouteReplace(&route)
	})
}

// RemoveRoute removes the route to a destination.
func (n *Namespace) RemoveRoute(to netip.Prefix) error {
	return n.Do(func() error {
		if err := netlink.RouteDel(&netlink.Route{Dst: ipNet(to), Scope: netlink.SCOPE_NOWHERE}); err != nil {
			return fmt.Errorf("%s: removing the route to %s: %w", n.namespace, to, err)
		}
		return nil
	})
}

// SetNeighbour fixes the MAC of a neighbour.
func (n *Namespace) SetNeighbour(device string, addr netip.Addr, mac string) error {
	hardware, err := net.ParseMAC(mac)
	if err != nil {
		return err
	}
	return n.withLink(device, func(link netlink.Link) error {
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: hardware})
	})
}

// AddUplink gives a host one more device on the underlay.
func (l *Lab) AddUplink(h *Host, name string, prefix netip.Prefix) error {
	_, err := l.connect(h.Namespace, name, prefix)
	return err
}
