// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddMacvlan adds a guest on top of this guest's device, with a MAC of its own,
// as containers in a machine have it.
func (g *Guest) AddMacvlan(name, mac string, addresses ...netip.Prefix) (*Guest, error) {
	s, address, err := g.stack(name, mac, addresses)
	if err != nil {
		return nil, err
	}
	err = g.withLink(GuestDevice, func(lower netlink.Link) error {
		attrs := s.attrs(lower, address)
		attrs.Name, attrs.Namespace = GuestDevice, netlink.NsFd(s.handle)
		return netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE})
	})
	if err != nil {
		return nil, fmt.Errorf("macvlan of %s: %w", name, err)
	}
	return s, s.raise()
}

// AddMacvtap is AddMacvlan for a guest that is a virtual machine: its frames
// come and go by the file of a macvtap.
func (g *Guest) AddMacvtap(name, mac string, addresses ...netip.Prefix) (*Guest, error) {
	s, address, err := g.stack(name, mac, addresses)
	if err != nil {
		return nil, err
	}
	err = g.withLink(GuestDevice, func(lower netlink.Link) error {
		attrs := s.attrs(lower, address)
		attrs.Name = name
		tap := &netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}}
		if err := netlink.LinkAdd(tap); err != nil {
			return err
		}
		// It does not know which groups the machine is in.
		return errors.Join(netlink.LinkSetAllmulticastOn(tap), netlink.LinkSetUp(tap))
	})
	if err != nil {
		return nil, fmt.Errorf("macvtap of %s: %w", name, err)
	}
	outside, err := g.openMacvtap(name)
	if err != nil {
		return nil, err
	}
	inside, err := openTap(s.Namespace, GuestDevice, address, true)
	if err != nil {
		outside.Close()
		return nil, err
	}
	g.lab.relays(outside, inside)
	return s, s.raise()
}

// stack makes the namespace of a guest on top of this one.
func (g *Guest) stack(name, mac string, addresses []netip.Prefix) (*Guest, net.HardwareAddr, error) {
	address, err := net.ParseMAC(mac)
	if err != nil {
		return nil, nil, err
	}
	n, err := g.lab.namespace(name)
	if err != nil {
		return nil, nil, err
	}
	options := GuestOptions{MAC: mac, Addresses: addresses, MTU: g.Options.MTU}
	return &Guest{Namespace: n, Name: name, MAC: mac, Options: options, host: g.host, lab: g.lab, owner: g.Namespace}, address, nil
}

func (g *Guest) attrs(lower netlink.Link, address net.HardwareAddr) netlink.LinkAttrs {
	attrs := netlink.NewLinkAttrs()
	attrs.ParentIndex, attrs.HardwareAddr, attrs.MTU = lower.Attrs().Index, address, g.Options.MTU
	return attrs
}

// openMacvtap opens the file of a macvtap. Its name in /dev is made of an index
// that other namespaces have too, so a node of its number is made.
func (g *Guest) openMacvtap(name string) (*os.File, error) {
	sys, node := filepath.Join(g.lab.Dir, name+"-sys"), filepath.Join(g.lab.Dir, name+"-tap")
	var number string
	err := g.Do(func() error {
		if err := os.Mkdir(sys, 0o755); err != nil {
			return err
		}
		// It shows the devices of the namespace in which it is mounted.
		if err := unix.Mount("sysfs", sys, "sysfs", 0, ""); err != nil {
			return fmt.Errorf("mounting sysfs: %w", err)
		}
		defer unix.Unmount(sys, 0)
		found, err := filepath.Glob(filepath.Join(sys, "class/net", name, "tap*/dev"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("%d devices: %w", len(found), err)
		}
		text, err := os.ReadFile(found[0])
		number = strings.TrimSpace(string(text))
		return err
	})
	var major, minor uint32
	if err == nil {
		_, err = fmt.Sscanf(number, "%d:%d", &major, &minor)
	}
	if err == nil {
		err = unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor)))
	}
	if err != nil {
		return nil, fmt.Errorf("macvtap %s: %w", name, err)
	}
	return openTapFile(g.Namespace, node, name, true)
}

// raise sets a stacked guest's device up, with its addresses.
func (g *Guest) raise() error {
	err := errors.Join(g.SetMTU(GuestDevice, g.Options.MTU), g.quietIPv6(GuestDevice), g.LinkUp(GuestDevice))
	for _, prefix := range g.Options.Addresses {
		err = errors.Join(err, g.AddAddress(GuestDevice, prefix))
	}
	return err
}
