// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// end is one end of a veth pair.
type end struct {
	in   *Namespace
	name string
	mac  net.HardwareAddr // nil: the kernel's choice
	mtu  int
}

// addPair makes a veth pair between two namespaces, down.
func addPair(a, b end) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = a.name, a.mtu, a.mac
	attrs.Namespace = netlink.NsFd(a.in.handle)
	// So many queues as CPUs would slow down the making of hundreds of them.
	attrs.NumTxQueues, attrs.NumRxQueues = 1, 1
	pair := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         b.name,
		PeerHardwareAddr: b.mac,
		PeerMTU:          uint32(b.mtu),
		PeerNamespace:    netlink.NsFd(b.in.handle),
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("joining %s of %s with %s of %s: %w", a.name, a.in.namespace, b.name, b.in.namespace, err)
	}
	return nil
}

// tryAttrs names a device that is made only to see whether it can be.
func tryAttrs() netlink.LinkAttrs {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "try"
	return attrs
}

// knows tells whether the kernel knows a kind of device, by making one.
func (n *Namespace) knows(device netlink.Link) (has bool, err error) {
	err = n.Do(func() error {
		err := netlink.LinkAdd(device)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("making a %s device: %w", device.Type(), err)
		}
		has = true
		return netlink.LinkDel(device)
	})
	return has, err
}

// LinkUp sets a device of the namespace up.
func (n *Namespace) LinkUp(name string) error {
	return n.withLink(name, netlink.LinkSetUp)
}

// LinkDown sets a device of the namespace down.
func (n *Namespace) LinkDown(name string) error {
	return n.withLink(name, netlink.LinkSetDown)
}

// LinkDelete removes a device of the namespace.
func (n *Namespace) LinkDelete(name string) error {
	return n.withLink(name, netlink.LinkDel)
}

// LinkRename gives a device of the namespace another name. It is down for the
// moment.
func (n *Namespace) LinkRename(from, to string) error {
	if err := n.LinkDown(from); err != nil {
		return err
	}
	if err := n.withLink(from, func(link netlink.Link) error { return netlink.LinkSetName(link, to) }); err != nil {
		return err
	}
	return n.LinkUp(to)
}

// SetMTU sets a device's MTU, in bytes.
func (n *Namespace) SetMTU(name string, mtu int) error {
	return n.withLink(name, func(link netlink.Link) error { return netlink.LinkSetMTU(link, mtu) })
}

// AddAddress gives a device an address, usable at once.
func (n *Namespace) AddAddress(name string, prefix netip.Prefix) error {
	return n.withLink(name, func(link netlink.Link) error {
		return netlink.AddrAdd(link, address(prefix))
	})
}

// RemoveAddress takes an address away from a device.
func (n *Namespace) RemoveAddress(name string, prefix netip.Prefix) error {
	return n.withLink(name, func(link netlink.Link) error {
		return netlink.AddrDel(link, address(prefix))
	})
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}

func address(prefix netip.Prefix) *netlink.Addr {
	addr := &netlink.Addr{IPNet: ipNet(prefix)}
	if prefix.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

// HardwareAddr returns a device's MAC.
func (n *Namespace) HardwareAddr(name string) (net.HardwareAddr, error) {
	var mac net.HardwareAddr
	err := n.withLink(name, func(link netlink.Link) error {
		mac = link.Attrs().HardwareAddr
		return nil
	})
	return mac, err
}

// Received is what a device has been given since it was made: a super-frame is
// one frame. Dropped are those that it had no room for.
type Received struct {
	Frames, Bytes, Dropped uint64
}

// Received reads the counters of a device of the namespace.
func (n *Namespace) Received(name string) (Received, error) {
	var r Received
	err := n.withLink(name, func(link netlink.Link) error {
		if s := link.Attrs().Statistics; s != nil {
			r = Received{Frames: s.RxPackets, Bytes: s.RxBytes, Dropped: s.RxDropped}
		}
		return nil
	})
	return r, err
}

// linkLocal is the address that a device's IPv6 gives itself (RFC 4291 2.5.6
// and appendix A).
func (n *Namespace) linkLocal(name string) (netip.Addr, error) {
	addr := [16]byte{0: 0xfe, 1: 0x80, 11: 0xff, 12: 0xfe}
	mac, err := n.HardwareAddr(name)
	if err != nil {
		return netip.Addr{}, err
	}
	copy(addr[8:11], mac[:3])
	copy(addr[13:], mac[3:])
	addr[8] ^= 0x02
	return netip.AddrFrom16(addr), nil
}

// withLink looks a device up inside the namespace and works on it there.
func (n *Namespace) withLink(name string, f func(netlink.Link) error) error {
	return n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("%s: device %s: %w", n.namespace, name, err)
		}
		if err := f(link); err != nil {
			return fmt.Errorf("%s: device %s: %w", n.namespace, name, err)
		}
		return nil
	})
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

// noIPv6 keeps the namespace's own IPv6 off a device.
func (n *Namespace) noIPv6(name string) error {
	return n.ipv6(name, "disable_ipv6", "1")
}

// ipv6 writes a device's IPv6 setting; a kernel without IPv6 has none.
func (n *Namespace) ipv6(name, key, value string) error {
	err := n.Sysctl(filepath.Join("net/ipv6/conf", name, key), value)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// quietIPv6 makes a device's IPv6 usable at once and keeps it from asking for
// routers.
func (n *Namespace) quietIPv6(name string) error {
	return errors.Join(n.ipv6(name, "accept_dad", "0"), n.ipv6(name, "accept_ra", "0"), n.ipv6(name, "router_solicitations", "0"))
}
