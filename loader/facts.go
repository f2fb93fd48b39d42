// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"overcast/bpf"
	"overcast/maps"
	"overcast/policy"
)

// device is what is known of a network device.
type device struct {
	name     string
	ifindex  uint32
	kind     string // netlink's name of its type: veth, tuntap, ...
	mtu      int
	ethernet bool
	mac      [6]byte
	peer     bool // its other end is in another namespace
	up       bool // as whoever runs the machine has set it
	loopback bool
	xdp      bool   // has an XDP program
	master   uint32 // of what bridge or bond it is a part; 0: of none
	lower    uint32 // the device below a VLAN and its like; 0: none that is here
}

// machine is what the datapath needs to know of the machine at one moment.
type machine struct {
	byName  map[string]device
	byIndex map[uint32]device
	holders map[netip.Addr][]uint32 // devices by their addresses
}

// dumpTries is how often a list is asked for that changes while it is told.
const dumpTries = 10

// dump asks for a list until nothing has changed meanwhile: half of one would
// be taken for devices that have gone.
func dump[T any](list func() ([]T, error)) (all []T, err error) {
	for range dumpTries {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// readMachine lists the devices of this namespace.
func readMachine() (*machine, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing the devices: %w", err)
	}
	m := &machine{byName: make(map[string]device), byIndex: make(map[uint32]device), holders: make(map[netip.Addr][]uint32)}
	for _, l := range links {
		attrs := l.Attrs()
		d := device{
			name:     attrs.Name,
			ifindex:  uint32(attrs.Index),
			kind:     l.Type(),
			mtu:      attrs.MTU,
			ethernet: attrs.EncapType == "ether",
			// redirect_peer drops what would stay in one namespace.
			peer:     isPair(l.Type()) && attrs.NetNsID >= 0,
			up:       attrs.Flags&net.FlagUp != 0,
			loopback: attrs.Flags&net.FlagLoopback != 0,
			xdp:      attrs.Xdp != nil && attrs.Xdp.Attached,
			master:   uint32(attrs.MasterIndex),
		}
		// For a pair, the link is its other end.
		if !isPair(l.Type()) && attrs.NetNsID < 0 {
			d.lower = uint32(attrs.ParentIndex)
		}
		copy(d.mac[:], attrs.HardwareAddr)
		m.byName[d.name], m.byIndex[d.ifindex] = d, d
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("listing the addresses: %w", err)
	}
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			m.holders[addr.Unmap()] = append(m.holders[addr.Unmap()], uint32(a.LinkIndex))
		}
	}
	return m, nil
}

// isPair tells whether a kind of device has another end that is a device too.
func isPair(kind string) bool {
	return kind == "veth" || kind == "netkit"
}

// ports are the facts of the ports whose devices are there and may be ports.
func (m *machine) ports(state *policy.State, own map[uint32]string) map[string]maps.PortFacts {
	ports := make(map[string]maps.PortFacts)
	for _, segment := range state.Segments {
		for _, port := range segment.Ports {
			d, ok := m.byName[port.Interface]
			if _, barred := own[d.ifindex]; ok && !barred {
				ports[port.Interface] = maps.PortFacts{Ifindex: d.ifindex, Peer: d.peer}
			}
		}
	}
	return ports
}

// routes are the ways to the remotes.
type routes struct {
	paths map[netip.Addr]bpf.Path // by VTEP
	mtus  map[netip.Addr]int      // by VTEP: bytes of the largest underlay packet
	// Next hops whose MAC is not known, by uplink: whoever asks the kernel to
	// resolve them hears of it as a change of neighbours.
	unresolved []netlink.Neigh
}

// readRoutes asks the kernel for the way to each remote. A remote to which
// there is none, or none over an allowed uplink, has no path.
func readRoutes(m *machine, local netip.Addr, remotes []policy.Remote, uplinks []string) (*routes, error) {
	r := &routes{paths: make(map[netip.Addr]bpf.Path), mtus: make(map[netip.Addr]int)}
	neighbours, err := readNeighbours()
	if err != nil {
		return nil, err
	}
	for _, remote := range remotes {
		route, ok := routeTo(remote.VTEP, local)
		if !ok {
			continue
		}
		uplink, ok := m.byIndex[uint32(route.LinkIndex)]
		if !ok || (len(uplinks) > 0 && !slices.Contains(uplinks, uplink.name)) {
			continue
		}
		r.add(remote.VTEP, local, route, uplink, neighbours)
	}
	return r, nil
}

// routeTo asks for the route to a VTEP from our own address.
func routeTo(vtep, local netip.Addr) (netlink.Route, bool) {
	found, err := netlink.RouteGetWithOptions(vtep.AsSlice(), &netlink.RouteGetOptions{SrcAddr: local.AsSlice()})
	if err != nil || len(found) == 0 || found[0].Type != unix.RTN_UNICAST {
		return netlink.Route{}, false
	}
	return found[0], true
}

func (r *routes) add(vtep, local netip.Addr, route netlink.Route, uplink device, neighbours map[neighbourKey]netlink.Neigh) {
	hop := nextHop(vtep, route)
	path := bpf.Path{Ifindex: uplink.ifindex, Family: unix.AF_INET6, Src: uplink.mac}
	if hop.Is4() {
		path.Family = unix.AF_INET
	}
	copy(path.NextHop[:], hop.AsSlice())
	if uplink.ethernet {
		path.Flags |= bpf.PathEthernet
		neighbour, ok := neighbours[neighbourKey{uplink.ifindex, hop}]
		if ok && len(neighbour.HardwareAddr) == len(path.Dst) {
			copy(path.Dst[:], neighbour.HardwareAddr)
			path.Flags |= bpf.PathMACs
		} else {
			r.unresolved = append(r.unresolved, netlink.Neigh{LinkIndex: int(uplink.ifindex), IP: hop.AsSlice()})
		}
	}
	r.paths[vtep] = path
	r.mtus[vtep] = uplink.mtu
	// What the kernel has heard of routers is in the answer too, for ten minutes;
	// but that we hear ourselves, and find out when it is no longer so.
	if route.MTU > 0 {
		if mtu := configuredMTU(vtep, local); mtu > 0 {
			r.mtus[vtep] = min(uplink.mtu, mtu)
		}
	}
}

// configuredMTU is what the route to a VTEP allows by its settings, in bytes; 0:
// it says nothing.
func configuredMTU(vtep, local netip.Addr) int {
	found, err := netlink.RouteGetWithOptions(vtep.AsSlice(), &netlink.RouteGetOptions{SrcAddr: local.AsSlice(), FIBMatch: true})
	if err != nil || len(found) == 0 {
		return 0
	}
	return found[0].MTU
}

// nextHop is the neighbour that a packet to a VTEP is handed to: the gateway,
// which may be of the other family (RFC 5549), or the VTEP itself on the link.
func nextHop(vtep netip.Addr, route netlink.Route) netip.Addr {
	if gw, ok := netip.AddrFromSlice(route.Gw); ok {
		return gw.Unmap()
	}
	if via, ok := route.Via.(*netlink.Via); ok {
		if gw, ok := netip.AddrFromSlice(via.Addr); ok {
			return gw.Unmap()
		}
	}
	return vtep
}

type neighbourKey struct {
	ifindex uint32
	addr    netip.Addr
}

// usable are the states in which a neighbour's MAC may be used.
const usable = netlink.NUD_PERMANENT | netlink.NUD_NOARP | netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE

func readNeighbours() (map[neighbourKey]netlink.Neigh, error) {
	list, err := dump(func() ([]netlink.Neigh, error) { return netlink.NeighList(0, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("listing the neighbours: %w", err)
	}
	neighbours := make(map[neighbourKey]netlink.Neigh)
	for _, n := range list {
		addr, ok := netip.AddrFromSlice(n.IP)
		if ok && n.State&usable != 0 {
			neighbours[neighbourKey{uint32(n.LinkIndex), addr.Unmap()}] = n
		}
	}
	return neighbours, nil
}

// resolve asks the kernel to find the MACs of next hops, as if a packet were
// waiting for them. Failing to ask is no harm: the first frame asks again.
func resolve(hops []netlink.Neigh) {
	for _, hop := range hops {
		hop.Flags = netlink.NTF_USE
		hop.State = netlink.NUD_NONE
		_ = netlink.NeighSet(&hop)
	}
}
