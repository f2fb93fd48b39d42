// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"fmt"
	"hash/fnv"
	"math"
	"net/netip"
	"slices"

	"overcast/bpf"
	"overcast/policy"
)

// Facts are what the state needs to know of this machine.
type Facts struct {
	Ports map[string]PortFacts    // by interface; absent while the device is
	Paths map[netip.Addr]bpf.Path // by VTEP; absent while there is no route
	MTUs  map[netip.Addr]int      // by VTEP: bytes of the largest underlay packet
	MTU   int                     // the same for a segment that has no remotes
	Alive map[RelayWay]bool       // relays that answer probes
	Slots map[string]uint32       // by port object: slots given out earlier, kept while the port is configured
}

// PortFacts are what is known of a port's device.
type PortFacts struct {
	Ifindex uint32
	Peer    bool // redirect_peer reaches the guest
}

// Contents is what the maps should hold, and the names of what they hold.
type Contents struct {
	Snapshot

	SegmentNames map[uint32]string  // "environment/segment" by slot
	PortNames    map[uint32]string  // "environment/segment/port" by ifindex
	RemoteNames  map[uint32]string  // host by slot
	Slots        map[string]uint32  // slots of the ports by object, also of those whose device is missing
	Relays       map[uint32]*Relays // by slot of the segment; absent where it has none
	Problems     []string           // segments that this machine cannot carry as it should

	freshSlots     []uint32 // those of Slots that no port had before
	freshGovernors []uint32 // first elements of oc_governors of ports and environments that had none before
}

// Overhead is what the tunnel adds to a layer-3 packet of a guest, in bytes:
// the outer IP header, UDP, VXLAN and the inner Ethernet header.
func Overhead(vtep netip.Addr) int {
	if vtep.Is4() {
		return 20 + 8 + 8 + 14
	}
	return 40 + 8 + 8 + 14
}

// MinMTU is the least MTU of a segment: IPv6's (RFC 8200 5).
const MinMTU = 1280

// identity tells a segment from another that is later given its VNI.
func identity(object string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(object))
	return h.Sum64()
}

// compiler turns a state into contents. Slots and lists that exist already
// keep their numbers, so that nothing is written that has not changed.
type compiler struct {
	state   *policy.State
	facts   Facts
	have    *Snapshot
	limits  Limits
	want    *Contents
	remotes map[netip.Addr]uint32 // slots
	hosts   map[netip.Addr]policy.Remote
	list    uint32 // the last list number given out

	environments map[string]uint32 // numbers
}

// Compile computes what the maps should hold for a state on this machine.
// Errors name the limit that the state exceeds or the segment that cannot be.
func Compile(state *policy.State, facts Facts, have *Snapshot, limits Limits) (*Contents, error) {
	c := &compiler{
		state:  state,
		facts:  facts,
		have:   have,
		limits: limits,
		want: &Contents{
			Snapshot: Snapshot{
				Ports:    make(map[uint32]bpf.Port),
				VNIs:     make(map[uint32]bpf.VNI),
				Segments: make(map[uint32]bpf.Segment),
				VTEPs:    make(map[bpf.VTEPKey]bpf.VTEP),
				Remotes:  make(map[uint32]bpf.Remote),
				FDB:      make(map[bpf.FDBKey]bpf.FDBEntry),
				Floods:   make(map[bpf.FloodKey]bpf.Flood),

				Governors: make(map[uint32]bpf.Governor),
				Neighbors: make(map[bpf.NeighborKey]bpf.Neighbor),
			},
			SegmentNames: make(map[uint32]string),
			PortNames:    make(map[uint32]string),
			RemoteNames:  make(map[uint32]string),
			Slots:        make(map[string]uint32),
			Relays:       make(map[uint32]*Relays),
		},
		remotes: make(map[netip.Addr]uint32),
		hosts:   make(map[netip.Addr]policy.Remote),

		environments: make(map[string]uint32),
	}
	for key := range have.Floods {
		c.list = max(c.list, key.List)
	}
	if err := c.compileRemotes(); err != nil {
		return nil, err
	}
	if err := c.compilePortSlots(); err != nil {
		return nil, err
	}
	c.compileEnvironments()
	if err := c.compileSegments(); err != nil {
		return nil, err
	}
	if n := len(c.want.FDB); n > int(limits.MACs) {
		return nil, fmt.Errorf("%d configured MACs: limits.macs is %d; raise it to at least %d", n, limits.MACs, n)
	}
	return c.want, nil
}

// slots gives out the lowest free slots from 1 on. Slots that the maps still
// hold are not free: they may be given back in this very change.
type slots struct {
	taken map[uint32]bool
	last  uint32
	max   uint32
}

func newSlots(max uint32) *slots {
	return &slots{taken: make(map[uint32]bool), max: max}
}

func (s *slots) next() (uint32, bool) {
	for s.last++; s.last <= s.max; s.last++ {
		if !s.taken[s.last] {
			s.taken[s.last] = true
			return s.last, true
		}
	}
	return 0, false
}

func (c *compiler) compileRemotes() error {
	free := newSlots(c.limits.Remotes)
	for slot, remote := range c.have.Remotes {
		free.taken[slot] = true
		c.remotes[remote.Vtep.NetAddr()] = slot
	}
	for _, remote := range c.state.Remotes {
		slot, ok := c.remotes[remote.VTEP]
		if !ok {
			if slot, ok = free.next(); !ok {
				n := c.countRemotes()
				return fmt.Errorf("%d remotes, with those that this change takes away: limits.remotes is %d; raise it to at least %d", n, c.limits.Remotes, n)
			}
			c.remotes[remote.VTEP] = slot
		}
		addr := bpf.AddrFrom(remote.VTEP)
		c.want.Remotes[slot] = bpf.Remote{Vtep: addr, Mtu: c.remoteMTU(remote.VTEP), Path: [2]bpf.Path{c.facts.Paths[remote.VTEP]}}
		c.want.RemoteNames[slot] = remote.Name
		c.hosts[remote.VTEP] = remote
		// VNI 0 lists the hosts themselves, to tell strangers from non-members.
		c.want.VTEPs[bpf.VTEPKey{Addr: addr}] = bpf.VTEP{Remote: slot}
	}
	return nil
}

// countRemotes counts those that are and those that should be.
func (c *compiler) countRemotes() int {
	all := make(map[netip.Addr]bool)
	for _, remote := range c.have.Remotes {
		all[remote.Vtep.NetAddr()] = true
	}
	for _, remote := range c.state.Remotes {
		all[remote.VTEP] = true
	}
	return len(all)
}

func (c *compiler) compilePortSlots() error {
	free := newSlots(bpf.MaxPorts - 1)
	byIfindex := make(map[uint32]uint32)
	for ifindex, port := range c.have.Ports {
		free.taken[port.Id] = true
		byIfindex[ifindex] = port.Id
	}
	claimed := make(map[uint32]bool)
	for _, slot := range c.facts.Slots {
		free.taken[slot], claimed[slot] = true, true
	}
	given := make(map[uint32]bool)
	for i := range c.state.Segments {
		segment := &c.state.Segments[i]
		for _, port := range segment.Ports {
			object := segment.Object() + "/" + port.Name
			slot, ok := c.facts.Slots[object]
			if !ok {
				// Where no report says whose counters those of the device were,
				// they are this port's; another port's are not.
				slot, ok = byIfindex[c.facts.Ports[port.Interface].Ifindex]
				ok = ok && !claimed[slot]
			}
			if !ok || given[slot] {
				if slot, ok = free.next(); !ok {
					return fmt.Errorf("port %s: more than %d ports on this host, with those that this change takes away: have fewer, or change them in two steps", object, bpf.MaxPorts-1)
				}
				c.want.freshSlots = append(c.want.freshSlots, slot)
				c.want.freshGovernors = append(c.want.freshGovernors, portGovernor(slot))
			}
			given[slot] = true
			c.want.Slots[object] = slot
			c.compileGovernor(portGovernor(slot), port.Governor)
		}
	}
	return nil
}

func (c *compiler) compileSegments() error {
	free := newSlots(bpf.MaxSegments - 1)
	known := make(map[bpf.Segment]uint32) // by VNI and identity
	for slot, segment := range c.have.Segments {
		free.taken[slot] = true
		known[bpf.Segment{Vni: segment.Vni, Identity: segment.Identity}] = slot
	}
	for i := range c.state.Segments {
		segment := &c.state.Segments[i]
		key := bpf.Segment{Vni: segment.VNI, Identity: identity(segment.Object())}
		slot, ok := known[key]
		if !ok {
			if slot, ok = free.next(); !ok {
				return fmt.Errorf("segment %s: more than %d segments on this host, with those that this change takes away: have fewer, or change them in two steps", segment.Object(), bpf.MaxSegments-1)
			}
		}
		if err := c.compileSegment(segment, slot); err != nil {
			return fmt.Errorf("segment %s: %w", segment.Object(), err)
		}
	}
	return nil
}

func (c *compiler) compileSegment(segment *policy.Segment, slot uint32) error {
	mtu, err := c.mtu(segment)
	if err != nil {
		// A segment that is new is refused. One that runs goes on with the MTU
		// that it has: what is small still arrives, and other segments are well.
		have, runs := c.have.Segments[slot]
		if !runs {
			return err
		}
		mtu = int(have.Mtu)
		c.want.Problems = append(c.want.Problems, fmt.Sprintf("segment %s: %v; it keeps %d", segment.Object(), err, mtu))
	}
	value := bpf.Segment{Vni: segment.VNI, Mtu: uint32(mtu), MtuMost: mostMTU(segment), Environment: c.environments[segment.Environment], Identity: identity(segment.Object())}
	if segment.Learning {
		value.Flags |= bpf.SegmentLearning
	}
	if segment.FloodUnknown {
		value.Flags |= bpf.SegmentFloodUnknown
	}
	if segment.Multicast.Snooping {
		value.Flags |= bpf.SegmentSnooping
	}
	if isGoverned(segment) {
		value.Flags |= bpf.SegmentGoverned
	}
	if segment.NeighborAnswers {
		value.Flags |= bpf.SegmentNeighbors
	}
	if segment.ClampMSS {
		value.Flags |= bpf.SegmentClampMSS
	}
	var remotes []uint32
	for _, vtep := range segment.Remotes {
		remotes = append(remotes, c.remotes[vtep])
		c.want.VTEPs[bpf.VTEPKey{Vni: segment.VNI, Addr: bpf.AddrFrom(vtep)}] = bpf.VTEP{Segment: slot, Remote: c.remotes[vtep]}
	}
	slices.Sort(remotes)
	relays := c.planRelays(segment)
	if relays != nil {
		value.RelayVni = segment.Relay.VNI
		c.want.VNIs[segment.Relay.VNI] = bpf.VNI{Segment: slot, Flags: bpf.VNIRelay}
		c.want.Relays[slot] = relays
		for _, vtep := range segment.Remotes {
			if relays.mayAsk(c.hosts[vtep]) {
				c.want.VTEPs[bpf.VTEPKey{Vni: segment.Relay.VNI, Addr: bpf.AddrFrom(vtep)}] = bpf.VTEP{Segment: slot, Remote: c.remotes[vtep] | bpf.Relay}
			}
		}
	}
	have := c.have.Segments[slot]
	value.Ports = c.compileList(have.Ports, c.compilePorts(segment, slot))
	value.Remotes = c.compileList(have.Remotes, relays.Via(remotes))
	value.Zone = c.compileList(have.Zone, relays.InZone(remotes))
	c.want.Segments[slot] = value
	c.want.SegmentNames[slot] = segment.Object()
	c.want.VNIs[segment.VNI] = bpf.VNI{Segment: slot}
	c.compileFDB(segment, slot)
	c.compileNeighbors(segment, slot)
	return nil
}

// mtu is the largest layer-3 packet of a guest that fits the tunnel to every
// remote of the segment; a configured one that is larger is cut to it.
func (c *compiler) mtu(segment *policy.Segment) (int, error) {
	fits := 0
	for _, vtep := range segment.Remotes {
		underlay, ok := c.facts.MTUs[vtep]
		if !ok {
			continue // no route: nothing is sent there
		}
		if room := underlay - Overhead(vtep); fits == 0 || room < fits {
			fits = room
		}
	}
	if fits == 0 {
		fits = c.facts.MTU - Overhead(c.state.Host.VTEP)
	}
	if fits < MinMTU {
		return 0, fmt.Errorf("the underlay leaves an MTU of %d, and IPv6 needs %d: raise the underlay's MTU by %d", fits, MinMTU, MinMTU-fits)
	}
	if segment.MTU != 0 && segment.MTU < fits {
		return segment.MTU, nil
	}
	return fits, nil
}

// remoteMTU is the largest layer-3 packet of a guest that fits the way to one
// remote. A way that does not carry what IPv6 needs is a problem of its segments.
func (c *compiler) remoteMTU(vtep netip.Addr) uint32 {
	underlay, ok := c.facts.MTUs[vtep]
	if !ok {
		return MinMTU // nothing is sent there
	}
	return uint32(max(underlay-Overhead(vtep), MinMTU))
}

// mostMTU bounds what goes to one remote, however much fits the way there.
func mostMTU(segment *policy.Segment) uint32 {
	if segment.MTU != 0 {
		return uint32(segment.MTU)
	}
	return math.MaxUint16
}

// compilePorts returns the ifindexes of the segment's ports that are there.
func (c *compiler) compilePorts(segment *policy.Segment, slot uint32) []uint32 {
	var ifindexes []uint32
	for _, port := range segment.Ports {
		facts, ok := c.facts.Ports[port.Interface]
		if !ok {
			continue
		}
		object := segment.Object() + "/" + port.Name
		value := bpf.Port{Id: c.want.Slots[object], Segment: slot, Mac: port.MAC}
		if port.HasMAC {
			value.Flags |= bpf.PortMAC
		}
		if port.AnyMAC {
			value.Flags |= bpf.PortAny
		}
		if facts.Peer {
			value.Flags |= bpf.PortPeer
		}
		c.want.Ports[facts.Ifindex] = value
		c.want.PortNames[facts.Ifindex] = object
		ifindexes = append(ifindexes, facts.Ifindex)
	}
	return ifindexes
}

func (c *compiler) compileFDB(segment *policy.Segment, slot uint32) {
	interfaces := make(map[string]string, len(segment.Ports))
	for _, port := range segment.Ports {
		interfaces[port.Name] = port.Interface
	}
	for _, entry := range segment.FDB {
		value := bpf.FDBEntry{Kind: bpf.KindRemote, Id: c.remotes[entry.VTEP]}
		if entry.Port != "" {
			// A port whose device is missing keeps its MAC, at ifindex 0 which is
			// no port: nobody else may take the MAC over meanwhile.
			value = bpf.FDBEntry{Kind: bpf.KindPort, Id: c.facts.Ports[interfaces[entry.Port]].Ifindex}
		}
		c.want.FDB[bpf.FDBKey{Segment: slot, Mac: entry.MAC}] = value
	}
}

// compileList returns the number of a list with these ids: that of the list
// which the segment has now, if it holds the same, else a new one.
func (c *compiler) compileList(have uint32, ids []uint32) uint32 {
	if len(ids) == 0 {
		return 0
	}
	slices.Sort(ids)
	list := have
	if list == 0 || !slices.Equal(c.have.List(list), ids) {
		c.list++
		list = c.list
	}
	putList(c.want.Floods, list, ids)
	return list
}
