// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vishvananda/netlink"
)

// Kind is how a guest is attached.
type Kind int

// The kinds of guests.
const (
	Veth   Kind = iota // as containers are
	Tap                // as virtual machines are: a relay stands in for the machine
	Netkit             // as containers may be since 6.7
)

// String returns veth, tap or netkit.
func (k Kind) String() string {
	return [...]string{"veth", "tap", "netkit"}[k]
}

// GuestDevice is the name of every guest's own device.
const GuestDevice = "eth0"

// GuestOptions describe a guest.
type GuestOptions struct {
	Kind       Kind
	Port       string // name of the host's device; default p1, p2, ...
	MAC        string // default 02:00:00:00:<host>:<guest>
	Addresses  []netip.Prefix
	MTU        int  // bytes; default: what the underlay leaves
	NoOffloads bool // a tap whose guest takes and gives only single, complete frames
}

// Guest is a network stack behind a port.
type Guest struct {
	*Namespace
	Name    string
	Port    string // the host's device, left bare
	MAC     string
	Options GuestOptions

	host  *Host // nil: behind a foreign host
	lab   *Lab
	owner *Namespace
	tap   *os.File // the host's end; nil: a veth
}

// AddGuest adds a guest to a host.
func (h *Host) AddGuest(name string, options GuestOptions) (*Guest, error) {
	h.guests++
	if options.Port == "" {
		options.Port = fmt.Sprintf("p%d", h.guests)
	}
	if options.MAC == "" {
		last := h.VTEP.As16()[15]
		options.MAC = fmt.Sprintf("02:00:00:00:%02x:%02x", last, h.guests)
	}
	g, err := h.lab.newGuest(h.Namespace, name, options)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", name, err)
	}
	g.host = h
	return g, nil
}

func (l *Lab) newGuest(owner *Namespace, name string, options GuestOptions) (*Guest, error) {
	if options.MTU == 0 {
		options.MTU = l.options.MTU - l.Overhead()
	}
	n, err := l.namespace(name)
	if err != nil {
		return nil, err
	}
	g := &Guest{Namespace: n, Name: name, Port: options.Port, MAC: options.MAC, Options: options, lab: l, owner: owner}
	// Guests answer a broadcast ping, so that one shows who is there.
	if err := n.Sysctl("net/ipv4/icmp_echo_ignore_broadcasts", "0"); err != nil {
		return nil, err
	}
	return g, g.Attach()
}

// Attach makes the guest's device and the host's, as they were asked for.
func (g *Guest) Attach() error {
	mac, err := net.ParseMAC(g.MAC)
	if err != nil {
		return err
	}
	switch g.Options.Kind {
	case Tap:
		err = g.attachTap(mac)
	case Netkit:
		err = g.attachNetkit(mac)
	default:
		err = addPair(end{in: g.owner, name: g.Port}, end{in: g.Namespace, name: GuestDevice, mac: mac})
	}
	if err != nil {
		return err
	}
	// A veth takes nothing that is larger than its own MTU allows.
	if g.Options.MTU > 1500 {
		err = g.owner.SetMTU(g.Port, g.Options.MTU)
	}
	if err := errors.Join(err, g.owner.noIPv6(g.Port), g.owner.LinkUp(g.Port)); err != nil {
		return err
	}
	if err := errors.Join(g.SetMTU(GuestDevice, g.Options.MTU), g.quietIPv6(GuestDevice), g.LinkUp(GuestDevice)); err != nil {
		return err
	}
	for _, prefix := range g.Options.Addresses {
		if err := g.AddAddress(GuestDevice, prefix); err != nil {
			return err
		}
	}
	return nil
}

// Detach removes the devices again; Attach brings them back under another index.
func (g *Guest) Detach() error {
	return g.owner.LinkDelete(g.Port)
}

// Ifindex returns the index of the host's device.
func (g *Guest) Ifindex() (int, error) {
	index := 0
	err := g.owner.withLink(g.Port, func(link netlink.Link) error {
		index = link.Attrs().Index
		return nil
	})
	return index, err
}

// StartLogged starts a program in the guest, with its output going to a file
// in the lab's folder. It ends with the lab.
func (g *Guest) StartLogged(log string, cmd *exec.Cmd) (*Process, error) {
	return startLogged(g.Namespace, g.lab, filepath.Join(g.lab.Dir, g.Name+"-"+log), cmd)
}
