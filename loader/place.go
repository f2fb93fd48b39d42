// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"overcast/bpf"
	"overcast/policy"
)

// place brings programs, pins and devices in line with what they should be,
// whatever has become of them. What fails does not keep it from the rest, save
// that no program can be loaded before there is a tunnel device.
func (d *Datapath) place() error {
	if err := d.ensurePinPath(); err != nil {
		return err
	}
	errs := []error{d.ensureTunnel()}
	if d.tunnel.link == nil && !d.tunnel.absent {
		return errors.Join(errs...)
	}
	errs = append(errs, d.chooseUplinks())
	if err := d.ensurePrograms(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, d.attachTunnel(), d.attachUplinks(), d.attachPorts(), d.prune(), d.giveBack(),
		commitPins(d.opts.PinPath, d.set, d.collection))
	return errors.Join(errs...)
}

// ensurePinPath makes the pin folder, if it is not there, and locks it.
func (d *Datapath) ensurePinPath() error {
	if err := ensurePinPath(d.opts.PinPath); err != nil {
		return err
	}
	if d.opts.Lock == nil {
		return nil
	}
	return d.opts.Lock.HoldPins(d.opts.PinPath)
}

func (d *Datapath) ensureTunnel() error {
	link, err := ensureTunnel(d.state.Tunnel, int(d.tunnel.ifindex()))
	if errors.Is(err, errNoDevice) {
		d.tunnel = tunnelState{absent: true}
		return nil
	}
	if err != nil {
		return err
	}
	d.tunnel.link, d.tunnel.absent = link, false
	return nil
}

// noDevice says that the kernel does not know an encapsulation.
func noDevice(e policy.Encapsulation) string {
	return fmt.Sprintf("no %s device on this kernel", e.Title())
}

// wantedConstants are the constants for what has been chosen.
func (d *Datapath) wantedConstants() bpf.Constants {
	local := d.local()
	c := bpf.Constants{
		Magic:         d.magic,
		TunnelIfindex: d.tunnel.ifindex(),
		TunnelPortBe:  networkOrder(d.state.Tunnel.Port),
		SourcePortMin: d.state.Tunnel.SourcePorts.First,
		SourcePorts:   uint16(d.state.Tunnel.SourcePorts.Count()),
		HopLimit:      d.state.Tunnel.HopLimit,
		Dscp:          uint8(d.state.Tunnel.DSCP),
		Strip:         bpf.StripTC,
	}
	c.Local.B = bpf.AddrFrom(local).B
	if d.tunnel.held != nil {
		c.TunnelIfindex = 0
	}
	if local.Is6() {
		c.Ipv6 = 1
	}
	if d.state.Tunnel.Encapsulation == policy.Geneve {
		c.Geneve = 1
	}
	if d.state.Tunnel.DSCPBack {
		c.DscpBack = 1
	}
	if d.state.Tunnel.Checksum {
		c.Checksum = 1
	}
	if d.features.DecapFlags {
		c.DecapFlags = 1
	}
	if d.hasNetkit() {
		c.Netkit = 1
	}
	if d.opts.Decap == DecapKernel {
		c.Strip = bpf.StripKernel
	}
	n := 0
	for _, u := range d.uplinks {
		if u.decap == DecapXDP && n < len(c.XdpUplinks) {
			c.XdpUplinks[n] = u.ifindex
			n++
		}
	}
	return c
}

// hasNetkit tells whether a port is a netkit device. Those do not look at a frame
// for its type, as others do, and the type that adjust_room leaves may be that of
// the packet it came in.
func (d *Datapath) hasNetkit() bool {
	for ifindex := range d.contents.Ports {
		if d.machine.byIndex[ifindex].kind == "netkit" {
			return true
		}
	}
	return false
}

// networkOrder returns a 16-bit number whose bytes in memory are big-endian.
func networkOrder(v uint16) uint16 {
	return v<<8 | v>>8
}

// ensurePrograms loads the programs anew if their constants have changed.
// Those on the devices go on until attach replaces them.
func (d *Datapath) ensurePrograms() error {
	constants := d.wantedConstants()
	if d.collection != nil && constants == d.constants {
		return nil
	}
	collection, err := LoadPrograms(d.set, constants)
	if err != nil {
		return err
	}
	if d.collection != nil {
		d.collection.Close()
	}
	clear(d.hooks.ours) // the older ones end now
	d.collection, d.constants, d.programs = collection, constants, make(map[string]ebpf.ProgramID)
	for name, program := range collection.Programs {
		info, err := program.Info()
		if err != nil {
			return fmt.Errorf("program %s: %w", name, err)
		}
		d.programs[name], _ = info.ID()
	}
	return nil
}

// attach puts a program of the collection on a device, if it is not there.
func (d *Datapath) attach(program string, ifindex uint32) error {
	at := place{program, ifindex}
	holds, err := d.hooks.holds(at, d.programs[program])
	if err != nil || holds {
		return err
	}
	if err := d.hooks.attach(at, d.collection.Programs[program]); err != nil {
		return err
	}
	device := d.machine.byIndex[ifindex].name
	if ifindex == d.tunnel.ifindex() {
		device = TunnelDevice // it may have been made after we looked
	}
	switch d.placed[at] {
	case 0:
		d.log.Info("attached", "program", program, "interface", device, "ifindex", ifindex)
	case d.programs[program]:
		d.log.Warn("a program or its pin had been taken away, and is back", "program", program, "interface", device)
	}
	d.placed[at] = d.programs[program]
	return nil
}

// checkStrangers refuses devices on which programs of another datapath are.
func (d *Datapath) checkStrangers() error {
	devices := d.uplinkDevices()
	for name := range d.machine.ports(d.state, d.own) {
		devices = append(devices, d.machine.byName[name])
	}
	if tunnel, ok := d.machine.byName[TunnelDevice]; ok {
		devices = append(devices, tunnel)
	}
	var errs []error
	for _, device := range devices {
		for _, program := range []string{bpf.UplinkXDP, bpf.UplinkIn} { // each for its hook
			if program == bpf.UplinkXDP && !device.xdp {
				continue
			}
			err := d.hooks.stranger(place{program, device.ifindex})
			var stranger *strangerError
			if errors.As(err, &stranger) {
				errs = append(errs, stranger)
			}
		}
	}
	return errors.Join(errs...)
}

// attachTunnel puts the program on the tunnel device and only then sets that
// up: nothing that it receives may get past the program.
func (d *Datapath) attachTunnel() error {
	if d.tunnel.absent {
		return nil
	}
	if err := d.attach(bpf.TunnelIn, d.tunnel.ifindex()); err != nil {
		return err
	}
	err := raiseTunnel(d.tunnel.link, d.state.Tunnel.Port)
	var held *portHeldError
	if err != nil && !errors.As(err, &held) {
		return err
	}
	changed := (err == nil) != (d.tunnel.held == nil)
	d.tunnel.held = err
	if !changed {
		return nil
	}
	if err != nil {
		d.log.Error("this host receives nothing from the tunnels", "error", err)
	}
	if err := d.ensurePrograms(); err != nil {
		return err
	}
	return d.attach(bpf.TunnelIn, d.tunnel.ifindex())
}

// attachPorts puts the program on the ports that are there, and keeps the
// host's own IPv6 off them.
func (d *Datapath) attachPorts() error {
	d.bearing = make(map[uint32]bool)
	silenced, errs := d.silencePorts()
	for ifindex, object := range d.contents.PortNames {
		err := silenced[ifindex]
		if err == nil {
			err = d.attach(bpf.PortIn, ifindex)
		}
		if err == nil {
			d.bearing[ifindex] = true
			continue
		}
		if _, gone := netlink.LinkByIndex(int(ifindex)); gone != nil {
			continue // it went while we looked; its return is an event
		}
		errs = append(errs, fmt.Errorf("port %s on %s: %w", object, d.machine.byIndex[ifindex].name, err))
	}
	return errors.Join(errs...)
}

// silencePorts keeps the host's own IPv6 off the ports, and returns why it
// could not, by ifindex. It does so also where our program is already, as
// others may switch it on again. Ports of another datapath are left alone.
func (d *Datapath) silencePorts() (failed map[uint32]error, errs []error) {
	failed = make(map[uint32]error)
	var links []netlink.Link
	for ifindex := range d.contents.PortNames {
		if err := d.hooks.stranger(place{bpf.PortIn, ifindex}); err != nil {
			failed[ifindex] = err
			continue
		}
		if readIPv6(d.machine.byIndex[ifindex].name).areSilent() {
			continue
		}
		link, err := netlink.LinkByIndex(int(ifindex))
		if err != nil {
			failed[ifindex] = fmt.Errorf("device %d: %w", ifindex, err)
			continue
		}
		d.rememberIPv6(link)
		links = append(links, link)
	}
	// On disk before it is gone from the device.
	errs = append(errs, d.keepFormer())
	for _, link := range links {
		if err := silence(link); err != nil {
			failed[uint32(link.Attrs().Index)] = err
		}
	}
	return failed, errs
}

// prune takes our programs away from where they are not wanted. XDP goes
// first: what it strips would reach the host's own stack.
func (d *Datapath) prune() error {
	places, err := d.hooks.attached()
	if err != nil {
		return err
	}
	slices.SortFunc(places, func(a, b place) int {
		return boolOrder(a.program == bpf.UplinkXDP, b.program == bpf.UplinkXDP)
	})
	var errs []error
	for _, at := range places {
		if d.isWanted(at) {
			continue
		}
		if err := d.hooks.detach(at); err != nil {
			errs = append(errs, err)
			continue
		}
		delete(d.placed, at)
	}
	for at := range d.placed {
		if !d.isWanted(at) {
			delete(d.placed, at) // it went with its device
		}
	}
	return errors.Join(errs...)
}

// boolOrder sorts what is true first.
func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func (d *Datapath) isWanted(at place) bool {
	switch at.program {
	case bpf.PortIn:
		_, ok := d.contents.PortNames[at.ifindex]
		return ok
	case bpf.TunnelIn:
		return at.ifindex == d.tunnel.ifindex()
	}
	return slices.ContainsFunc(d.uplinks, func(u uplink) bool {
		return u.ifindex == at.ifindex && d.tunnel.held == nil && (at.program == bpf.UplinkIn || u.decap == DecapXDP)
	})
}
