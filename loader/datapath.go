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

	collection *ebpf.Collection          // nil before the first Apply
	programs   map[string]ebpf.ProgramID // of collection, by name
	constants  bpf.Constants             // those of collection
	placed     map[place]ebpf.ProgramID  // what has been put where; whether it is still there is asked
	bearing    map[uint32]bool           // the ports that have theirs, by ifindex

	state    *policy.State
	contents *maps.Contents
	slots    map[string]uint32
	machine  *machine
	routes   *routes
	own      map[uint32]string // devices that cannot be ports, and why
	barred   []string          // what to say of the ports that are such devices
	uplinks  []uplink
	tunnel   tunnelState
	refused  map[uint32]refusal // uplinks that refused XDP, by ifindex
	asked    map[string]time.Time
	counted  map[string]uint32       // by port object: the ifindex that its drops are counted under
	former   map[uint32]DeviceReport // what devices were like before us
	kept     []DeviceReport          // what the file of them has, as far as we wrote it
	failures []string                // what the machine refused the last time
	ran      bool                    // a datapath was pinned when we started
	groups   *groups
}

// tunnelState is what became of the tunnel device.
type tunnelState struct {
	link   netlink.Link // nil: none yet, or absent
	absent bool         // the kernel does not know the encapsulation
	held   error        // another device has the port
}

// ifindex is the device's, 0 if there is none.
func (t tunnelState) ifindex() uint32 {
	if t.link == nil {
		return 0
	}
	return uint32(t.link.Attrs().Index)
}

// Start opens the maps that are pinned, or makes new ones. earlier is an
// earlier run's report, if there is one, so that ports keep their counters.
// Nothing in the kernel's packet path changes before the first Apply.
func Start(opts Options, earlier *Report) (*Datapath, error) {
	features, err := Probe()
	if err != nil {
		return nil, err
	}
	d := &Datapath{
		opts:     opts,
		log:      opts.Log,
		features: features,
		hooks:    hooks{pinPath: opts.PinPath, tcx: features.TCX, ours: make(map[ebpf.ProgramID]bool)},
		placed:   make(map[place]ebpf.ProgramID),
		refused:  make(map[uint32]refusal),
		asked:    make(map[string]time.Time),
		counted:  make(map[string]uint32),
		former:   make(map[uint32]DeviceReport),
	}
	if err := d.ensurePinPath(); err != nil {
		return nil, err
	}
	if !machineSees(opts.PinPath) {
		d.log.Warn("the BPF file system is only in a mount namespace of our own, and the datapath ends with that: mount one on the host first, and enter network namespaces by nsenter --net, not by ip netns exec", "pin_path", opts.PinPath)
	}
	if err := d.takeFormer(earlier); err != nil {
		return nil, err
	}
	set, found, err := openMaps(opts.PinPath, opts.Limits)
	if err != nil {
		return nil, err
	}
	d.set = set
	places, err := d.hooks.attached()
	if err != nil {
		set.Close()
		return nil, err
	}
	// Programs run on without the pins of their maps.
	d.ran = found != pinsNone || len(places) > 0
	if earlier != nil {
		d.slots = earlier.Slots()
		for _, port := range earlier.Ports {
			d.counted[port.Object()] = port.DropsIfindex
		}
	}
	if found == pinsUnfit {
		d.slots = nil
		d.log.Warn("the pinned maps have other sizes or are of another version: counters and learned MACs start anew")
	}
	err = d.prepare()
	if err == nil {
		d.groups, err = openGroups(set, opts.RunDir, d.log)
	}
	if err != nil {
		set.Close()
		return nil, err
	}
	return d, nil
}

// prepare fills what the maps need from the start.
func (d *Datapath) prepare() error {
	if err := d.set.PrepareDrops(); err != nil {
		return err
	}
	var err error
	if d.hooks.mark, err = mapID(d.set.Drops); err != nil {
		return err
	}
	d.magic, err = magic(d.opts.PinPath)
	return err
}

// Ran tells whether there was a datapath before this one, which it continues.
func (d *Datapath) Ran() bool {
	return d.ran
}

// Close lets go of the datapath, which goes on forwarding.
func (d *Datapath) Close() {
	if d.collection != nil {
		d.collection.Close()
	}
	d.groups.close()
	d.set.Close()
}

// Maps returns the maps, for reading.
func (d *Datapath) Maps() *maps.Set {
	return d.set
}

// State returns the state in force, nil before there is one.
func (d *Datapath) State() *policy.State {
	return d.state
}

// Contents returns what the maps hold after the last Apply, nil before it.
func (d *Datapath) Contents() *maps.Contents {
	return d.contents
}

// Apply makes this host's part of the datapath what the state says. If the
// state cannot be here, the error is a RefusalError, and what ran before goes
// on, untouched. Any other error tells what the machine refused; the rest is
// in force, and Refresh tries again.
func (d *Datapath) Apply(state *policy.State) error {
	return d.take(state, func() error { return errors.Join(d.checkPorts(), d.checkStrangers()) })
}

// Resume is Apply for a state that was in force before this agent started:
// where the machine has changed since, the rest of the state stays in force.
func (d *Datapath) Resume(state *policy.State) error {
	return d.take(state, func() error { return nil })
}

func (d *Datapath) take(state *policy.State, fits func() error) error {
	previous := d.state
	d.state = state
	refuse := func(err error) error {
		if d.state = previous; previous != nil {
			err = errors.Join(err, d.look())
		}
		return &RefusalError{err}
	}
	if err := d.check(state); err != nil {
		return refuse(err)
	}
	if err := d.look(); err != nil {
		return refuse(err)
	}
	if err := fits(); err != nil {
		return refuse(err)
	}
	have, want, err := d.plan()
	if err != nil {
		return refuse(err)
	}
	return d.settle(have, want)
}

// Refresh looks at the machine anew and brings maps and programs in line with
// it and with the state: devices come and go, and whatever has drifted heals.
// What cannot be done does not keep it from the rest.
func (d *Datapath) Refresh() error {
	if d.state == nil {
		return nil
	}
	if err := d.look(); err != nil {
		return d.noteFailure(err)
	}
	have, want, err := d.plan()
	if err != nil {
		if d.contents != nil {
			err = errors.Join(err, d.place())
		}
		return d.noteFailure(err)
	}
	return d.settle(have, want)
}

// settle writes the maps and puts the programs in their places.
func (d *Datapath) settle(have *maps.Snapshot, want *maps.Contents) error {
	err := d.set.Apply(have, want)
	if err == nil || d.contents == nil { // the maps hold no others
		d.contents, d.slots = want, want.Slots
	}
	return d.noteFailure(errors.Join(err, d.groups.follow(time.Now(), d.state, d.contents, d.local(), d.routes.mtus), d.moveDrops(), d.place()))
}

// moveDrops lets a port keep its drops when its device is made anew. It comes
// before the programs: none runs on the new device yet, nor on the old one.
func (d *Datapath) moveDrops() error {
	kept := make(map[string]uint32)
	var errs []error
	d.eachPort(func(object string, _ *policy.Port) {
		kept[object] = d.counted[object]
	})
	for ifindex, object := range d.contents.PortNames {
		last := kept[object]
		_, lives := d.machine.byIndex[last]
		if last != 0 && last != ifindex && !lives {
			errs = append(errs, d.set.MoveDrops(last, ifindex))
		}
		if _, ok := kept[object]; ok {
			kept[object] = ifindex
		}
	}
	for object, ifindex := range kept {
		// A new device may have the old number: what it drops is not this port's.
		if holder, taken := d.contents.PortNames[ifindex]; taken && holder != object {
			kept[object] = 0
		}
	}
	d.counted = kept
	return errors.Join(errs...)
}

// RefreshPaths follows a change of routes or neighbours and touches only the
// paths to the remotes. It returns how many have changed.
func (d *Datapath) RefreshPaths() (int, error) {
	if d.state == nil || d.contents == nil {
		return 0, nil
	}
	previous, barred := d.routes, d.barred
	if err := d.look(); err != nil {
		return 0, d.noteFailure(err)
	}
	if !sameUplinks(previous, d.routes) || !slices.Equal(barred, d.barred) {
		// An uplink more or less, or another MTU: programs and segments change.
		return 0, d.Refresh()
	}
	changed, err := d.set.SetPaths(d.routes.paths)
	if err != nil {
		return changed, d.noteFailure(err)
	}
	return changed, nil
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

// Sweep forgets learned MACs and addresses that are too old, and returns how
// many those were.
func (d *Datapath) Sweep() (int, error) {
	now := maps.Monotonic()
	macs, err := d.set.SweepLearned(now)
	addresses, also := d.set.SweepNeighbors(now)
	return macs + addresses, errors.Join(err, also)
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
	d.own = d.hostDevices()
	d.barred = d.barredPorts()
	for ifindex := range d.refused {
		if _, there := m.byIndex[ifindex]; !there {
			delete(d.refused, ifindex)
		}
	}
	d.resolve(r.unresolved)
	return nil
}

// askAgain is how long we wait before we ask again for a neighbour that does
// not answer. Its failure is itself a change of neighbours, which gets here.
const askAgain = 5 * time.Second

func (d *Datapath) resolve(hops []netlink.Neigh) {
	now := time.Now()
	for key, asked := range d.asked {
		if now.Sub(asked) > askAgain {
			delete(d.asked, key)
		}
	}
	var due []netlink.Neigh
	for _, hop := range hops {
		key := fmt.Sprint(hop.LinkIndex, hop.IP)
		if _, waits := d.asked[key]; !waits {
			d.asked[key] = now
			due = append(due, hop)
		}
	}
	resolve(due)
}

// plan works out what the maps hold and what they should, and refuses what they
// cannot. Nothing is written.
func (d *Datapath) plan() (*maps.Snapshot, *maps.Contents, error) {
	have, err := d.set.Snapshot()
	if err != nil {
		return nil, nil, err
	}
	want, err := maps.Compile(d.state, maps.Facts{
		Ports: d.machine.ports(d.state, d.own),
		Paths: d.routes.paths,
		MTUs:  d.groups.paths.mtus(time.Now(), d.routes.mtus, d.state, have),
		MTU:   d.underlayMTU(),
		Slots: d.slots,
		Alive: d.groups.live.alive(),
	}, have, d.opts.Limits)
	if err != nil {
		return nil, nil, err
	}
	return have, want, d.set.Fits(want)
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
