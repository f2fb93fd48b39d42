// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"overcast/bpf"
	"overcast/maps"
	"overcast/policy"
)

// Datapath is the programs and maps of this host. One goroutine works with it.
type Datapath struct {
	opts     Options
	log      *slog.Logger
	features Features
	hooks    hooks
	magic    uint64
	set      *maps.Set

	collection *ebpf.Collection // nil before the first Apply
	constants  bpf.Constants    // those of collection
	placed     map[place]bool   // where the programs of collection are

	state    *policy.State
	contents *maps.Contents
	slots    map[string]uint32
	machine  *machine
	routes   *routes
	uplinks  []uplink
	tunnel   tunnelState
	refused  map[uint32]string // uplinks that refused XDP, and why
	asked    map[string]time.Time
}

// tunnelState is what became of the tunnel device.
type tunnelState struct {
	link netlink.Link
	held error // another device has the port
}

// Start opens the maps that are pinned, or makes new ones. slots are those of
// an earlier run's report, so that ports keep their counters. Nothing in the
// kernel's packet path changes before the first Apply.
func Start(opts Options, slots map[string]uint32) (*Datapath, error) {
	features, err := Probe()
	if err != nil {
		return nil, err
	}
	if err := ensurePinPath(opts.PinPath); err != nil {
		return nil, err
	}
	set, fresh, err := openMaps(opts.PinPath, opts.Limits)
	if err != nil {
		return nil, err
	}
	d := &Datapath{
		opts:     opts,
		log:      opts.Log,
		features: features,
		hooks:    hooks{pinPath: opts.PinPath, tcx: features.TCX},
		set:      set,
		slots:    slots,
		refused:  make(map[uint32]string),
		asked:    make(map[string]time.Time),
	}
	if fresh {
		d.slots = nil
		d.log.Warn("the maps have other sizes than the pinned ones: counters and learned MACs start anew")
	}
	if err := set.PrepareDrops(); err != nil {
		set.Close()
		return nil, err
	}
	if d.magic, err = magic(opts.PinPath); err != nil {
		set.Close()
		return nil, err
	}
	return d, nil
}

// Close lets go of the datapath, which goes on forwarding.
func (d *Datapath) Close() {
	if d.collection != nil {
		d.collection.Close()
	}
	d.set.Close()
}

// Maps returns the maps, for reading.
func (d *Datapath) Maps() *maps.Set {
	return d.set
}

// Contents returns what the maps hold after the last Apply, nil before it.
func (d *Datapath) Contents() *maps.Contents {
	return d.contents
}

// Apply makes this host's part of the datapath what the state says. If it
// fails, what ran before goes on as far as it can, and the state is not taken.
func (d *Datapath) Apply(state *policy.State) error {
	if state.Tunnel.Encapsulation != policy.VXLAN {
		return fmt.Errorf("tunnel.encapsulation %s: this version carries vxlan only", state.Tunnel.Encapsulation)
	}
	previous := d.state
	d.state = state
	if err := d.Refresh(); err != nil {
		d.state = previous
		return err
	}
	return nil
}

// Refresh looks at the machine anew and brings maps and programs in line with
// it and with the state: devices come and go, and whatever has drifted heals.
func (d *Datapath) Refresh() error {
	if d.state == nil {
		return nil
	}
	if err := d.look(); err != nil {
		return err
	}
	if err := d.fill(); err != nil {
		return err
	}
	return d.place()
}

// RefreshPaths follows a change of routes or neighbours and touches only the
// paths to the remotes. It returns how many have changed.
func (d *Datapath) RefreshPaths() (int, error) {
	if d.state == nil || d.contents == nil {
		return 0, nil
	}
	previous := d.routes
	if err := d.look(); err != nil {
		return 0, err
	}
	if !sameUplinks(previous, d.routes) {
		// An uplink more or less, or another MTU: programs and segments change.
		return 0, d.Refresh()
	}
	return d.set.SetPaths(d.routes.paths)
}

// sameUplinks tells whether only next hops and MACs differ.
func sameUplinks(a, b *routes) bool {
	if len(a.paths) != len(b.paths) {
		return false
	}
	for vtep, path := range b.paths {
		old, ok := a.paths[vtep]
		if !ok || old.Ifindex != path.Ifindex || a.mtus[vtep] != b.mtus[vtep] {
			return false
		}
	}
	return true
}

// Sweep forgets learned MACs that are too old.
func (d *Datapath) Sweep() (int, error) {
	return d.set.SweepLearned(maps.Monotonic())
}

// local is the address of our end of the tunnels.
func (d *Datapath) local() netip.Addr {
	if d.opts.Underlay.IsValid() {
		return d.opts.Underlay
	}
	return d.state.Host.VTEP
}

// look reads devices, routes and neighbours.
func (d *Datapath) look() error {
	m, err := readMachine()
	if err != nil {
		return err
	}
	r, err := readRoutes(m, d.local(), d.state.Remotes, d.opts.Uplinks)
	if err != nil {
		return err
	}
	d.machine, d.routes = m, r
	d.resolve(r.unresolved)
	return nil
}

// askAgain is how long we wait before we ask again for a neighbour that does
// not answer. Its failure is itself a change of neighbours, which gets here.
const askAgain = 5 * time.Second

func (d *Datapath) resolve(hops []netlink.Neigh) {
	now := time.Now()
	var due []netlink.Neigh
	for _, hop := range hops {
		key := fmt.Sprint(hop.LinkIndex, hop.IP)
		if now.Sub(d.asked[key]) > askAgain {
			d.asked[key] = now
			due = append(due, hop)
		}
	}
	resolve(due)
}

// fill brings the maps in line.
func (d *Datapath) fill() error {
	have, err := d.set.Snapshot()
	if err != nil {
		return err
	}
	want, err := maps.Compile(d.state, maps.Facts{
		Ports: d.machine.ports(d.state),
		Paths: d.routes.paths,
		MTUs:  d.routes.mtus,
		MTU:   d.underlayMTU(),
		Slots: d.slots,
	}, have, d.opts.Limits)
	if err != nil {
		return err
	}
	if err := d.set.Apply(have, want); err != nil {
		return err
	}
	d.contents, d.slots = want, want.Slots
	return nil
}

// underlayMTU is what a segment without remotes goes by: the smallest MTU of
// the uplinks, or Ethernet's where there is none yet.
func (d *Datapath) underlayMTU() int {
	mtu := 0
	for _, device := range d.uplinkDevices() {
		if mtu == 0 || device.mtu < mtu {
			mtu = device.mtu
		}
	}
	if mtu == 0 {
		return 1500
	}
	return mtu
}

// uplinkDevices are the configured devices, or those that the routes use.
func (d *Datapath) uplinkDevices() []device {
	var devices []device
	add := func(found device) {
		if !slices.ContainsFunc(devices, func(x device) bool { return x.ifindex == found.ifindex }) {
			devices = append(devices, found)
		}
	}
	for _, name := range d.opts.Uplinks {
		if found, ok := d.machine.byName[name]; ok {
			add(found)
		}
	}
	if len(d.opts.Uplinks) == 0 {
		for _, path := range d.routes.paths {
			add(d.machine.byIndex[path.Ifindex])
		}
	}
	slices.SortFunc(devices, func(a, b device) int { return int(a.ifindex) - int(b.ifindex) })
	return devices
}

// place brings programs and devices in line.
func (d *Datapath) place() error {
	if err := d.ensureTunnel(); err != nil {
		return err
	}
	if err := d.chooseUplinks(); err != nil {
		return err
	}
	if err := d.ensurePrograms(); err != nil {
		return err
	}
	if err := d.attachTunnel(); err != nil {
		return err
	}
	if err := d.attachUplinks(); err != nil {
		return err
	}
	if err := d.attachPorts(); err != nil {
		return err
	}
	if err := d.prune(); err != nil {
		return err
	}
	return commitPins(d.opts.PinPath, d.set, d.collection)
}

func (d *Datapath) ensureTunnel() error {
	link, err := ensureTunnel(d.state.Tunnel.Port)
	if err != nil {
		return err
	}
	d.tunnel.link = link
	return nil
}

// wantedConstants are the constants for what has been chosen.
func (d *Datapath) wantedConstants() bpf.Constants {
	local := d.local()
	c := bpf.Constants{
		Magic:          d.magic,
		TunnelIfindex:  uint32(d.tunnel.link.Attrs().Index),
		TunnelPortBe:   networkOrder(d.state.Tunnel.Port),
		SourcePortMin:  SourcePortMin,
		SourcePortMask: SourcePortMask,
		Strip:          bpf.StripTC,
	}
	c.Local.B = bpf.AddrFrom(local).B
	if d.tunnel.held != nil {
		c.TunnelIfindex = 0
	}
	if local.Is6() {
		c.Ipv6 = 1
	}
	if d.features.DecapFlags {
		c.DecapFlags = 1
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
	d.collection, d.constants, d.placed = collection, constants, make(map[place]bool)
	return nil
}

// attach puts a program of the collection on a device, once.
func (d *Datapath) attach(program string, ifindex uint32) error {
	at := place{program, ifindex}
	if d.placed[at] {
		return nil
	}
	if err := d.hooks.attach(at, d.collection.Programs[program]); err != nil {
		return err
	}
	d.placed[at] = true
	return nil
}

// attachTunnel puts the program on the tunnel device and only then sets that
// up: nothing that it receives may get past the program.
func (d *Datapath) attachTunnel() error {
	if err := d.attach(bpf.TunnelIn, uint32(d.tunnel.link.Attrs().Index)); err != nil {
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
	return d.attach(bpf.TunnelIn, uint32(d.tunnel.link.Attrs().Index))
}

// attachPorts puts the program on the ports that are there, and keeps the
// host's own IPv6 off them.
func (d *Datapath) attachPorts() error {
	for ifindex, object := range d.contents.PortNames {
		if d.placed[place{bpf.PortIn, ifindex}] {
			continue
		}
		device := d.machine.byIndex[ifindex]
		link, err := netlink.LinkByIndex(int(ifindex))
		if err == nil {
			err = silence(link)
		}
		if err == nil {
			err = d.attach(bpf.PortIn, ifindex)
		}
		if err != nil {
			if _, gone := netlink.LinkByIndex(int(ifindex)); gone != nil {
				continue // it went while we looked; its return is an event
			}
			return fmt.Errorf("port %s on %s: %w", object, device.name, err)
		}
		d.log.Info("port attached", "port", object, "interface", device.name, "ifindex", ifindex)
	}
	return nil
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
	for _, at := range places {
		if d.isWanted(at) {
			continue
		}
		if err := d.hooks.detach(at); err != nil {
			return err
		}
		delete(d.placed, at)
	}
	return nil
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
		return at.ifindex == uint32(d.tunnel.link.Attrs().Index)
	}
	return slices.ContainsFunc(d.uplinks, func(u uplink) bool {
		return u.ifindex == at.ifindex && d.tunnel.held == nil && (at.program == bpf.UplinkIn || u.decap == DecapXDP)
	})
}
