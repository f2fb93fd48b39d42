// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"overcast/loader"
	"overcast/test/lab"
)

// setting is what is the same for all contenders that are compared.
type setting struct {
	wire   lab.Wire
	family lab.Family // of the underlay, and of what the guests talk
}

// String names the setting as a group of a report.
func (s setting) String() string {
	return fmt.Sprintf("%s/%s", s.wire, s.family)
}

// pair is two hosts on a wire with a guest each, joined by a contender.
type pair struct {
	*lab.Lab
	setting
	from, to *lab.Guest
	close    []func() error
}

// vni is the contenders' one segment.
const vni = 4500

// contender is a way to join two guests on two hosts.
type contender struct {
	name    string
	ownXDP  bool // brings an XDP program of its own
	connect func(*pair, *options) error
}

// bare, tuned and overcast name the contenders that verdicts are about.
const (
	bare       = "no overlay"
	tuned      = "kernel, tuned"
	overcastTC = "overcast, tc"
	overcastX  = "overcast, xdp"
)

// contenders lists all that can run over a kind of wire. The first is what
// there is without an overlay.
func contenders(wire lab.Wire) []contender {
	all := []contender{{name: bare, connect: connectBare}}
	if wire == lab.NativeXDP {
		all = append(all, contender{overcastX, true, connectOvercast(loader.DecapXDP)})
	}
	all = append(all,
		contender{overcastTC, false, connectOvercast(loader.DecapTC)},
		contender{"overcast, kernel", false, connectOvercast(loader.DecapKernel)},
		contender{"kernel, as it comes", false, connectKernelAsItComes},
		contender{tuned, false, connectKernelTuned},
		contender{"kernel, metadata", false, connectMetadata},
	)
	// A packet socket takes its frames before XDP's kind of wire matters.
	if lab.HasOpenVSwitch() && wire == lab.PlainNIC {
		all = append(all, contender{openVSwitch, false, connectOVS})
	}
	return all
}

// build makes the hosts and guests of a contender and joins them.
func (c contender) build(s setting, o *options) (*pair, error) {
	l, err := lab.New(lab.Options{Hosts: 2, Underlay: s.family, Wire: s.wire, Direct: true})
	if err != nil {
		return nil, err
	}
	p := &pair{Lab: l, setting: s}
	if err := p.populate(c, o); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.name, err), p.Close())
	}
	return p, nil
}

func (p *pair) populate(c contender, o *options) error {
	guests := make([]*lab.Guest, len(p.Hosts))
	for i, h := range p.Hosts {
		var err error
		guests[i], err = h.AddGuest(fmt.Sprintf("g%d", i+1), lab.GuestOptions{Addresses: []netip.Prefix{
			netip.PrefixFrom(guestAddress(lab.IPv4, i), 24), netip.PrefixFrom(guestAddress(lab.IPv6, i), 64)}})
		if err != nil {
			return err
		}
	}
	p.from, p.to = guests[0], guests[1]
	if p.wire == lab.NativeXDP && !c.ownXDP {
		for _, h := range p.Hosts {
			if err := p.attachXDP(h); err != nil {
				return err
			}
		}
	}
	return c.connect(p, o)
}

// guestAddress is the address of the guest on the i-th host.
func guestAddress(family lab.Family, i int) netip.Addr {
	if family == lab.IPv4 {
		return netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)})
	}
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x00, 0x45, 15: byte(i + 1)})
}

// target is where the receiving guest is reached.
func (p *pair) target(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(guestAddress(p.family, 1), port)
}

// Close takes the contender away.
func (p *pair) Close() error {
	var errs []error
	for _, f := range p.close {
		errs = append(errs, f())
	}
	return errors.Join(append(errs, p.Lab.Close())...)
}

// programs loads the contender programs with their constants. They live until
// the pair is closed.
func (p *pair) programs(config contenderContenderConfig) (*contenderPrograms, error) {
	spec, err := loadContender()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables["contender"].Set(config); err != nil {
		return nil, err
	}
	var objects contenderObjects
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		return nil, fmt.Errorf("loading the contender's programs: %w", err)
	}
	p.close = append(p.close, objects.Close)
	return &objects.contenderPrograms, nil
}

// attachTC puts a program at a device's tcx ingress.
func (p *pair) attachTC(n *lab.Namespace, device string, program *ebpf.Program) error {
	index, err := n.LinkIndex(device)
	if err != nil {
		return err
	}
	return n.Do(func() error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: int(index), Program: program, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return fmt.Errorf("attaching to %s: %w", device, err)
		}
		p.close = append(p.close, l.Close)
		return nil
	})
}

// attachXDP puts a host's uplink into native XDP.
func (p *pair) attachXDP(h *lab.Host) error {
	programs, err := p.programs(contenderContenderConfig{})
	if err != nil {
		return err
	}
	index, err := h.LinkIndex(lab.Uplink)
	if err != nil {
		return err
	}
	return h.Do(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Interface: int(index), Program: programs.Pass, Flags: link.XDPDriverMode})
		if err != nil {
			return fmt.Errorf("native XDP on %s: %w", lab.Uplink, err)
		}
		p.close = append(p.close, l.Close)
		return nil
	})
}

// connectBare hands frames from guest to wire and from wire to guest.
func connectBare(p *pair, _ *options) error {
	for i, h := range p.Hosts {
		port := p.guest(i).Port
		uplink, err := h.LinkIndex(lab.Uplink)
		if err != nil {
			return err
		}
		index, err := h.LinkIndex(port)
		if err != nil {
			return err
		}
		programs, err := p.programs(contenderContenderConfig{To: uplink, Port: index})
		if err != nil {
			return err
		}
		if err := errors.Join(
			p.attachTC(h.Namespace, port, programs.BareOut),
			p.attachTC(h.Namespace, lab.Uplink, programs.ToGuest),
		); err != nil {
			return err
		}
	}
	return nil
}

func (p *pair) guest(i int) *lab.Guest {
	if i == 0 {
		return p.from
	}
	return p.to
}

// connectOvercast starts the agents.
func connectOvercast(decap loader.Decap) func(*pair, *options) error {
	return func(p *pair, o *options) error {
		overcastd, err := o.overcastd()
		if err != nil {
			return err
		}
		document := "hosts:\n"
		for _, h := range p.Hosts {
			document += fmt.Sprintf("  - {name: %s, vtep: %q}\n", h.Name, h.VTEP)
		}
		document += fmt.Sprintf("environments:\n  - name: bench\n    segments:\n      - name: lan\n        vni: %d\n        ports:\n", vni)
		for i, h := range p.Hosts {
			g := p.guest(i)
			document += fmt.Sprintf("          - {name: %s, host: %s, interface: %s, mac: %q}\n", g.Name, h.Name, g.Port, g.MAC)
		}
		for _, h := range p.Hosts {
			if err := h.WriteDocument(document); err != nil {
				return err
			}
			if _, err := h.StartAgent(overcastd, "--metrics", "", "--decap", string(decap)); err != nil {
				return err
			}
		}
		return nil
	}
}

// connectKernelAsItComes joins the guests by bridges and VXLAN devices that
// learn, with every setting as the kernel has it.
func connectKernelAsItComes(p *pair, _ *options) error {
	return p.connectKernel(func(i int) lab.Switch {
		return lab.Switch{Remotes: []netip.Addr{p.Hosts[1-i].VTEP}, Learning: true, Snooping: true, Checksum: true}
	})
}

// connectKernelTuned is the same with all that costs and is not needed off: the
// bridge's netfilter calls and snooping, outer checksums, and learning, in
// place of which the stations are known.
func connectKernelTuned(p *pair, _ *options) error {
	for _, h := range p.Hosts {
		if err := h.BridgeNetfilterOff(); err != nil {
			return err
		}
	}
	return p.connectKernel(func(i int) lab.Switch {
		return lab.Switch{
			Remotes:  []netip.Addr{p.Hosts[1-i].VTEP},
			Stations: map[string]netip.Addr{p.guest(1 - i).MAC: p.Hosts[1-i].VTEP},
		}
	})
}

func (p *pair) connectKernel(settings func(i int) lab.Switch) error {
	for i, h := range p.Hosts {
		s := settings(i)
		s.VNI, s.Local, s.MTU = vni, h.VTEP, 1500-p.Overhead()
		if err := h.AddSwitch(s); err != nil {
			return err
		}
		var stations []string
		if !s.Learning {
			stations = append(stations, p.guest(i).MAC)
		}
		if err := h.PlugIntoSwitch(p.guest(i).Port, stations...); err != nil {
			return err
		}
	}
	return nil
}

// connectMetadata joins the guests by the kernel's VXLAN device in metadata
// mode, with the least of BPF around it.
func connectMetadata(p *pair, _ *options) error {
	for i, h := range p.Hosts {
		if err := h.AddMetadataVXLAN(); err != nil {
			return err
		}
		config := contenderContenderConfig{Vni: vni, LocalV6: h.VTEP.As16(), RemoteV6: p.Hosts[1-i].VTEP.As16()}
		if p.family == lab.IPv6 {
			config.Ipv6 = 1
		} else {
			config.LocalV4, config.RemoteV4 = number(h.VTEP), number(p.Hosts[1-i].VTEP)
		}
		var err error
		if config.To, err = h.LinkIndex(lab.MetadataVXLAN); err != nil {
			return err
		}
		if config.Port, err = h.LinkIndex(p.guest(i).Port); err != nil {
			return err
		}
		programs, err := p.programs(config)
		if err != nil {
			return err
		}
		if err := errors.Join(
			p.attachTC(h.Namespace, p.guest(i).Port, programs.MetadataOut),
			p.attachTC(h.Namespace, lab.MetadataVXLAN, programs.ToGuest),
		); err != nil {
			return err
		}
	}
	return nil
}

// number is an IPv4 address in host byte order.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}
