// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"overcast/bpf"
	"overcast/maps"
)

// Whose an address is, is learned from what is said, step by step.
func TestNeighborLearning(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			s := &street{world: newWorld(t, underlay, nil)}
			s.learnFromARP(t)
			s.learnFromND(t)
			s.keepRoles(t)
			s.followMoves(t)
			s.believeNobody(t)
			s.learnWhereMACsAreLearned(t)
			s.stayFresh(t)
		})
	}
}

// street is a world in which frames are heard.
type street struct {
	*world
}

// resident is what is known of an address.
type resident struct {
	IP    netip.Addr
	MAC   string
	Flags bpf.NeighborFlags
}

// from sends a frame from a port, or from a host's tunnel if there is one of
// that name, and returns whether it was answered.
func (s *street) from(t *testing.T, who string, frame []byte) bool {
	t.Helper()
	program, packet := bpf.PortIn, Packet{Data: frame, Ifindex: s.Ifindex(who)}
	if packet.Ifindex == 0 {
		program, packet = bpf.UplinkIn, Packet{Data: s.world.from(who, vniLAN).Wrap(frame), Ifindex: s.Ifindex(Uplink)}
	}
	return s.sent(t, program, packet)
}

func (s *street) sent(t *testing.T, program string, packet Packet) bool {
	t.Helper()
	before, err := s.Counts()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(program, packet); err != nil {
		t.Fatal(err)
	}
	after, err := s.Counts()
	if err != nil {
		t.Fatal(err)
	}
	for key := range after.Since(before).Drops {
		if key.Reason == bpf.DropNeighborAnswered {
			return true
		}
	}
	return false
}

// known compares what is known in a segment.
func (s *street) known(t *testing.T, segment, when string, want ...resident) {
	t.Helper()
	entries, err := s.Maps.LearnedNeighborEntries()
	if err != nil {
		t.Fatal(err)
	}
	all, got := make(map[netip.Addr]resident), make(map[netip.Addr]resident)
	for _, r := range want {
		all[r.IP] = r
	}
	for key, entry := range entries {
		if key.Segment == s.segment(segment) {
			ip := key.Addr.NetAddr()
			got[ip] = resident{ip, net.HardwareAddr(entry.Mac[:]).String(), entry.Flags}
		}
	}
	if diff := cmp.Diff(all, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("%s, - should be known, + is:\n%s", when, diff)
	}
}

func at(s Station, flags bpf.NeighborFlags) resident {
	return resident{s.IP, s.MAC.String(), flags}
}

const lan = "shop/lan"

// Addresses that no port is configured with.
var (
	oneToo = Station{macOne, netip.MustParseAddr("10.9.200.1")}
	oneNew = Station{macOne, netip.MustParseAddr("2001:45::200:1")}
)

func (s *street) learnFromARP(t *testing.T) {
	s.from(t, Port(1), arpFor(one4, b4.IP))
	s.known(t, lan, "after a request of a configured address")
	s.from(t, Port(1), arpFor(oneToo, b4.IP))
	s.known(t, lan, "after a request", at(oneToo, 0))
	forgetNeighbors(s.world)
	s.from(t, Port(1), ARPFrame(macOne, macB, layers.ARPReply, oneToo, b4))
	s.known(t, lan, "after a reply to one", at(oneToo, 0))
	forgetNeighbors(s.world)
	s.from(t, Port(1), ARPFrame(macOne, macB, layers.ARPRequest, oneToo, b4))
	s.known(t, lan, "after a question to one", at(oneToo, 0))
	s.from(t, "host-c", arpFor(c4, c4.IP))
	s.known(t, lan, "after the announcement of a remote's guest", at(oneToo, 0), at(c4, 0))
	forgetNeighbors(s.world)
	s.from(t, "host-c", ARPFrame(macC, macOne, layers.ARPReply, c4, one4))
	s.known(t, lan, "after the reply of a remote's guest", at(c4, 0))
	if !s.from(t, Port(1), arpFor(one4, c4.IP)) {
		t.Error("who has just been learned is not answered for")
	}
	forgetNeighbors(s.world)
}

func (s *street) learnFromND(t *testing.T) {
	const role = bpf.NeighborRole
	s.from(t, Port(1), solicit(oneNew, b6.IP))
	s.known(t, lan, "after a solicitation", at(oneNew, 0))
	if s.from(t, Port(2), solicit(two6, oneNew.IP)) {
		t.Error("somebody is answered for whose role is not known")
	}
	s.from(t, Port(1), Advertisement(oneNew, b6, oneNew.IP, FlagSolicited|FlagOverride))
	s.known(t, lan, "after an advertisement without an option", at(oneNew, role))
	if !s.from(t, Port(2), solicit(two6, oneNew.IP)) {
		t.Error("somebody is not answered for whose role is known")
	}
	s.from(t, Port(1), solicit(oneNew, c6.IP))
	s.known(t, lan, "after a solicitation of one whose role is known", at(oneNew, role))
	s.from(t, "host-c", advertise(c6, allNodes, FlagOverride))
	s.known(t, lan, "after an unsolicited advertisement", at(oneNew, role), at(c6, role))
	forgetNeighbors(s.world)
	s.from(t, Port(1), Solicitation(oneNew, b6, b6.IP, LinkOption(layers.ICMPv6OptSourceAddress, macOne)))
	s.known(t, lan, "after a solicitation of one", at(oneNew, 0))
	s.from(t, "host-c", Solicitation(c6, oneNew, oneNew.IP, LinkOption(layers.ICMPv6OptSourceAddress, macC)))
	s.known(t, lan, "after the solicitation of a remote's guest", at(oneNew, 0), at(c6, 0))
	forgetNeighbors(s.world)
}

func (s *street) keepRoles(t *testing.T) {
	const role, router = bpf.NeighborRole, bpf.NeighborRole | bpf.NeighborRouter
	s.from(t, "host-b", advertise(b6, one6, FlagSolicited|FlagOverride|FlagRouter))
	s.known(t, lan, "after the advertisement of a configured router", at(b6, router))
	s.from(t, "host-c", advertise(Station{macC, b6.IP}, allNodes, FlagOverride))
	s.known(t, lan, "after another's advertisement of its address", at(b6, router))
	s.from(t, "host-b", solicit(b6, one6.IP))
	s.known(t, lan, "after its solicitation", at(b6, router))
	s.from(t, "host-b", advertise(b6, one6, FlagSolicited|FlagOverride))
	s.known(t, lan, "when it is no router any more", at(b6, role))
	s.from(t, "host-b", RouterAdvertisement(linkLocalB, allNodes, 1800, LinkOption(layers.ICMPv6OptSourceAddress, macB),
		layers.ICMPv6Option{Type: layers.ICMPv6OptMTU, Data: make([]byte, 6)}, layers.ICMPv6Option{Type: layers.ICMPv6OptPrefixInfo, Data: make([]byte, 30)}))
	s.known(t, lan, "after a router advertisement", at(b6, role), at(linkLocalB, router))
	s.from(t, "host-c", RouterAdvertisement(linkLocalC, allNodes, 0))
	s.known(t, lan, "after the last of a router that is not configured", at(b6, role), at(linkLocalB, router), at(linkLocalC, router))
	s.from(t, "host-c", RouterAdvertisement(c6, allNodes, 1800))
	s.known(t, lan, "after one from an address that is not link-local", at(b6, role), at(linkLocalB, router), at(linkLocalC, router))
	forgetNeighbors(s.world)
}

func (s *street) followMoves(t *testing.T) {
	const role = bpf.NeighborRole
	here, there := Station{macOne, c4.IP}, Station{macC, c4.IP}
	s.from(t, "host-c", arpFor(there, there.IP))
	s.from(t, Port(1), arpFor(here, here.IP))
	s.known(t, lan, "when an address moves here", at(here, 0))
	s.from(t, "host-c", ARPFrame(macC, macBroadcast, layers.ARPReply, there, there))
	s.known(t, lan, "when it moves back", at(there, 0))
	if s.from(t, Port(1), arpFor(here, b4.IP)) {
		t.Error("the first word of one who has moved goes no further")
	}
	s.known(t, lan, "when it moves without saying so", at(here, 0))
	if !s.from(t, Port(1), arpFor(here, b4.IP)) {
		t.Error("its second is not answered")
	}
	s.from(t, Port(2), arpFor(Station{macTwo, any4}, here.IP))
	s.known(t, lan, "when somebody else wants it")
	s.from(t, Port(1), arpFor(here, here.IP))
	s.from(t, Port(1), arpFor(Station{macOne, any4}, here.IP))
	s.known(t, lan, "when its owner asks for it again", at(here, 0))
	forgetNeighbors(s.world)

	here, there = Station{macOne, c6.IP}, Station{macC, c6.IP}
	s.from(t, "host-c", advertise(there, allNodes, FlagOverride))
	s.from(t, Port(1), advertise(here, allNodes, 0))
	s.known(t, lan, "when somebody stands in for it", at(there, role))
	s.from(t, Port(1), advertise(here, allNodes, FlagOverride))
	s.known(t, lan, "when it moves here", at(here, role))
	s.from(t, "host-c", detect(macC, c6.IP, nonce))
	s.known(t, lan, "when it is about to move")
	s.from(t, "host-c", solicit(there, one6.IP))
	s.known(t, lan, "when it has moved", at(there, 0))
	forgetNeighbors(s.world)

	s.from(t, "host-b", advertise(linkLocalB, allNodes, FlagOverride|FlagRouter))
	s.from(t, Port(1), detect(macOne, linkLocalB.IP))
	s.known(t, lan, "when somebody else wants what is configured", at(linkLocalB, role|bpf.NeighborRouter))
	forgetNeighbors(s.world)
}

// believeNobody has frames that say nothing that is learned.
func (s *street) believeNobody(t *testing.T) {
	slot := s.segment(lan)
	for name, frame := range map[string]struct {
		from string
		data []byte
	}{
		"ARP that names another MAC":             {Port(1), ARPFrame(macOne, macBroadcast, layers.ARPRequest, Station{macTwo, oneToo.IP}, two4)},
		"ARP from 0.0.0.1":                       {Port(1), arpFor(Station{macOne, netip.MustParseAddr("0.0.0.1")}, two4.IP)},
		"ARP from 224.0.0.5":                     {Port(1), arpFor(Station{macOne, netip.MustParseAddr("224.0.0.5")}, two4.IP)},
		"ARP from 255.255.255.255":               {Port(1), arpFor(Station{macOne, netip.MustParseAddr("255.255.255.255")}, two4.IP)},
		"a reply from 0.0.0.0":                   {Port(1), ARPFrame(macOne, macBroadcast, layers.ARPReply, Station{macOne, any4}, two4)},
		"ARP of a MAC that nobody knows":         {"host-c", arpFor(Station{macNobody, oneToo.IP}, two4.IP)},
		"ARP of a port's MAC from a remote":      {"host-c", arpFor(oneToo, two4.IP)},
		"ARP of a configured address":            {"host-c", arpFor(Station{macC, b4.IP}, b4.IP)},
		"an advertisement of another's MAC":      {Port(1), Advertisement(oneNew, allNodes, oneNew.IP, FlagOverride, LinkOption(layers.ICMPv6OptTargetAddress, macTwo))},
		"a solicited one to all":                 {Port(1), advertise(oneNew, allNodes, FlagSolicited|FlagOverride)},
		"one with an unknown option":             {Port(1), Advertisement(oneNew, allNodes, oneNew.IP, FlagOverride, layers.ICMPv6Option{Type: 11, Data: make([]byte, 14)})},
		"one of a group":                         {Port(1), Advertisement(oneNew, allNodes, netip.MustParseAddr("ff02::5"), FlagOverride)},
		"one with a wrong checksum":              {Port(1), mutated(advertise(oneNew, allNodes, FlagOverride), func(p []byte) []byte { p[14+40+2] ^= 1; return p })},
		"one that was routed":                    {Port(1), mutated(advertise(oneNew, allNodes, FlagOverride), func(p []byte) []byte { p[21] = 64; return p })},
		"one with a code":                        {Port(1), mutated(advertise(oneNew, allNodes, FlagOverride), func(p []byte) []byte { p[14+40+1] = 1; return checksummedND(p) })},
		"one of a configured address":            {"host-c", advertise(Station{macC, b6.IP}, allNodes, FlagOverride)},
		"one cut short":                          {Port(1), mutated(advertise(oneNew, allNodes, FlagOverride), func(p []byte) []byte { return p[:len(p)-8] })},
		"a solicitation without a MAC":           {Port(1), Solicitation(oneNew, SolicitedNode(two6.IP), two6.IP)},
		"a solicitation of another's MAC":        {Port(1), Solicitation(oneNew, SolicitedNode(two6.IP), two6.IP, LinkOption(layers.ICMPv6OptSourceAddress, macTwo))},
		"DAD":                                    {Port(1), detect(macOne, oneNew.IP)},
		"DAD that names a MAC":                   {Port(1), detect(macOne, oneNew.IP, LinkOption(layers.ICMPv6OptSourceAddress, macOne))},
		"a router advertisement of 15 bytes":     {Port(1), mutated(RouterAdvertisement(linkLocalC, allNodes, 1800), func(p []byte) []byte { p[19] = 15; return p })},
		"a router advertisement that was routed": {"host-c", mutated(RouterAdvertisement(linkLocalC, allNodes, 1800), func(p []byte) []byte { p[21] = 64; return p })},
	} {
		s.from(t, frame.from, frame.data)
		s.known(t, lan, "after "+name)
	}
	value := s.Contents.Segments[slot]
	value.Flags &^= bpf.SegmentNeighbors
	must(s.Maps.Segments.Put(slot, value))
	s.from(t, Port(1), arpFor(oneToo, b4.IP))
	s.from(t, Port(1), advertise(oneNew, allNodes, FlagOverride))
	s.known(t, lan, "where nothing is answered")
	must(s.Maps.Segments.Put(slot, s.Contents.Segments[slot]))
}

// learnWhereMACsAreLearned: a MAC that was learned is as good as a configured one.
func (s *street) learnWhereMACsAreLearned(t *testing.T) {
	const school = "shop/school"
	x, y := guest4(macX), guest4(macY)
	s.sent(t, bpf.PortIn, Packet{Data: arpFor(x, y.IP), Ifindex: s.Ifindex(Port(8))})
	s.known(t, school, "after the first frame of a station", at(x, 0))
	s.sent(t, bpf.UplinkIn, Packet{Data: s.world.from("host-c", vniSchool).Wrap(arpFor(y, y.IP)), Ifindex: s.Ifindex(Uplink)})
	s.known(t, school, "after the first of a remote's", at(x, 0), at(y, 0))
	ask := Packet{Data: arpFor(guest4(macNine), y.IP), Ifindex: s.Ifindex(Port(9))}
	if !s.sent(t, bpf.PortIn, ask) {
		t.Error("a station that was learned is not answered for")
	}
	must(s.Maps.Learned.Delete(bpf.FDBKey{Segment: s.segment(school), Mac: [6]byte(macY)}))
	if s.sent(t, bpf.PortIn, ask) {
		t.Error("a station whose MAC has been forgotten is answered for")
	}
	forgetNeighbors(s.world)
}

// stayFresh has an address grow old, and be heard again.
func (s *street) stayFresh(t *testing.T) {
	second := uint64(time.Second)
	key := bpf.NeighborKey{Segment: s.segment(lan), Addr: bpf.AddrFrom(oneToo.IP)}
	seen := func(ago uint64) (written uint64) {
		written = maps.Monotonic() - ago
		must(s.Maps.LearnedNeighbors.Put(key, bpf.LearnedNeighbor{Mac: [6]byte(macOne), Seen: written}))
		return written
	}
	seenNow := func() uint64 {
		var entry bpf.LearnedNeighbor
		must(s.Maps.LearnedNeighbors.Lookup(key, &entry))
		return entry.Seen
	}
	before := seen(20 * second)
	if !s.from(t, Port(2), arpFor(two4, oneToo.IP)) || seenNow() != before {
		t.Error("being asked for makes an address fresh, or is not answered")
	}
	s.from(t, Port(1), arpFor(oneToo, b4.IP))
	if age := maps.Monotonic() - seenNow(); age > 5*second {
		t.Errorf("it was heard %v ago", time.Duration(age))
	}
	before = seen(second / 5)
	s.from(t, Port(1), arpFor(oneToo, b4.IP))
	if now := seenNow(); now != before && now-before < second {
		t.Errorf("a fresh entry is written again, %v later", time.Duration(now-before))
	}
	forgetNeighbors(s.world)
}
