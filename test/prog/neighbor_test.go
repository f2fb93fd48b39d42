// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"overcast/bpf"
	"overcast/maps"
)

// What is asked of the neighbour responder, and by whom it is answered.
func TestNeighborAnswers(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			w := newWorld(t, underlay, nil)
			for _, r := range w.neighborRows() {
				w.run(t, r)
			}
		})
	}
}

// Addresses of the tests. Those of one, two, list, missing and b are configured.
var (
	one4, two4, list4, b4, c4 = guest4(macOne), guest4(macTwo), guest4(mac(0x0a, 3)), guest4(macB), guest4(macC)
	one6, two6, list6, b6, c6 = guest6(macOne), guest6(macTwo), guest6(mac(0x0a, 3)), guest6(macB), guest6(macC)

	linkLocalB = Station{macB, netip.MustParseAddr("fe80::b:1")}
	linkLocalC = Station{macC, netip.MustParseAddr("fe80::c:1")}
	any4, any6 = netip.IPv4Unspecified(), netip.IPv6Unspecified()
	allNodes   = Station{macAll6, netip.MustParseAddr("ff02::1")}
	nonce      = layers.ICMPv6Option{Type: 14, Data: []byte{1, 2, 3, 4, 5, 6}}
)

// arpFor is a request that goes to all.
func arpFor(asker Station, target netip.Addr) []byte {
	return ARPFrame(asker.MAC, macBroadcast, layers.ARPRequest, asker, Station{macZero, target})
}

// arpFrom is the reply to it.
func arpFrom(owner, asker Station) []byte {
	return ARPFrame(owner.MAC, asker.MAC, layers.ARPReply, owner, asker)
}

// solicit asks as a stack does that knows nobody's MAC.
func solicit(asker Station, target netip.Addr, more ...layers.ICMPv6Option) []byte {
	return Solicitation(asker, SolicitedNode(target), target, append([]layers.ICMPv6Option{LinkOption(layers.ICMPv6OptSourceAddress, asker.MAC)}, more...)...)
}

// detect asks whether an address is free (RFC 4862 5.4.2, RFC 7527).
func detect(mac net.HardwareAddr, target netip.Addr, options ...layers.ICMPv6Option) []byte {
	return Solicitation(Station{mac, any6}, SolicitedNode(target), target, options...)
}

// advertise is an answer in the owner's name.
func advertise(owner, to Station, flags uint8) []byte {
	return Advertisement(owner, to, owner.IP, flags, LinkOption(layers.ICMPv6OptTargetAddress, owner.MAC))
}

// fromLAN is a frame of a port of lan to all of it.
func (w *world) fromLAN(name string, port int, object string, frame []byte) row {
	r := w.sent(name, port, object, frame)
	n := uint64(len(frame))
	r.stats["shop/lan"] = bpf.Counters{InPackets: 1, InBytes: n, OutPackets: 2, OutBytes: 2 * n}
	for _, to := range []string{"shop/lan/one", "shop/lan/two", "shop/lan/list", "host-b", "host-c", "host-e", "host-f"} {
		if to != object {
			r.stats[to] = out(len(frame))
		}
	}
	r.drops = w.dropped(bpf.DropRemoteUnreachable, r.packet.Ifindex, "shop/lan", len(frame))
	r.wrap = w.to("host-c", vniLAN)
	return r
}

// asked is a question of port one that goes on.
func (w *world) asked(name string, frame []byte) row {
	return w.fromLAN(name, 1, "shop/lan/one", frame)
}

// told is one that is answered in its place.
func (w *world) told(name string, frame, answer []byte) row {
	r := w.sent(name, 1, "shop/lan/one", frame)
	r.data = answer
	r.drops = w.dropped(bpf.DropNeighborAnswered, r.packet.Ifindex, "shop/lan", len(frame))
	return r
}

// with runs a row with an address learned some time ago.
func with(r row, addr netip.Addr, mac net.HardwareAddr, flags bpf.NeighborFlags, age time.Duration) row {
	r.prepare = func(w *world) func() {
		key := bpf.NeighborKey{Segment: w.segment("shop/lan"), Addr: bpf.AddrFrom(addr)}
		must(w.Maps.LearnedNeighbors.Put(key, bpf.LearnedNeighbor{Mac: [6]byte(mac), Flags: flags, Seen: maps.Monotonic() - uint64(age)}))
		return func() { forgetNeighbors(w) }
	}
	return r
}

// alone runs a row with nothing learned before or after.
func alone(r row) row {
	r.prepare = func(w *world) func() {
		forgetNeighbors(w)
		return func() { forgetNeighbors(w) }
	}
	return r
}

func forgetNeighbors(w *world) {
	entries, err := w.Maps.LearnedNeighborEntries()
	must(err)
	for key := range entries {
		must(w.Maps.LearnedNeighbors.Delete(key))
	}
}

// answersOff runs a row in a segment that does not answer.
func answersOff(r row) row {
	r.prepare = func(w *world) func() {
		slot := w.segment("shop/lan")
		value := w.Contents.Segments[slot]
		value.Flags &^= bpf.SegmentNeighbors
		must(w.Maps.Segments.Put(slot, value))
		return func() { must(w.Maps.Segments.Put(slot, w.Contents.Segments[slot])) }
	}
	return r
}

func (w *world) neighborRows() []row {
	return slices.Concat(w.arpRows(), w.oddARPRows(), w.solicitationRows(), w.detectionRows(), w.routerRows(), w.oddSolicitationRows(), w.learnedRows())
}

func (w *world) arpRows() []row {
	missing4, stranger, probe := guest4(macMissing), guest4(macOne), Station{macOne, any4}
	stranger.IP = netip.MustParseAddr("10.9.200.1")
	padded := func(frame []byte) []byte { return append(frame, make([]byte, 60-len(frame))...) }
	near := w.sent("ARP for an address of another segment", 11, "shop/near/eleven", arpFor(guest4(mac(0x0a, 0x11)), b4.IP))
	near.stats["shop/near"] = bpf.Counters{InPackets: 1, InBytes: 42, OutPackets: 1, OutBytes: 42}
	near.stats["shop/near/twelve"] = out(42)
	toB := w.tunnelled("ARP to the owner alone", "host-b", ARPFrame(macOne, macB, layers.ARPRequest, one4, b4))
	return []row{
		w.told("ARP for a guest of a remote", arpFor(one4, b4.IP), arpFrom(b4, one4)),
		w.told("ARP for a guest of this host", arpFor(one4, two4.IP), arpFrom(two4, one4)),
		w.told("ARP for a guest whose device is missing", arpFor(one4, missing4.IP), arpFrom(missing4, one4)),
		w.told("padded ARP", padded(arpFor(one4, b4.IP)), padded(arpFrom(b4, one4))),
		alone(w.told("ARP from an address that is not configured", arpFor(stranger, b4.IP), arpFrom(b4, stranger))),
		w.told("ARP probe for an address that is configured", arpFor(probe, b4.IP), arpFrom(b4, probe)),

		w.asked("ARP for an address of nobody", arpFor(one4, netip.MustParseAddr("10.9.0.77"))),
		w.asked("ARP for one's own address", arpFor(Station{macOne, netip.MustParseAddr("10.9.200.1")}, one4.IP)),
		w.asked("ARP probe for one's own address", arpFor(probe, one4.IP)),
		w.asked("announcement", arpFor(one4, one4.IP)),
		w.asked("announcement of another's address", arpFor(Station{macOne, b4.IP}, b4.IP)),
		w.asked("announcement by a reply", ARPFrame(macOne, macBroadcast, layers.ARPReply, one4, one4)),
		w.fromLAN("ARP of a second MAC for the port's own address", 3, "shop/lan/list", arpFor(Station{mac(0xee, 1), netip.MustParseAddr("10.9.200.2")}, list4.IP)),
		w.fromLAN("ARP probe of a second MAC for the port's own address", 3, "shop/lan/list", arpFor(Station{mac(0xee, 1), any4}, list4.IP)),
		answersOff(w.asked("ARP where nothing is answered", arpFor(one4, b4.IP))),
		near, toB,
	}
}

// oddARPRows are no requests that are answered.
func (w *world) oddARPRows() []row {
	odd := func(name string, change func(p []byte) []byte) row {
		return w.asked(name, mutated(arpFor(one4, b4.IP), change))
	}
	set := func(name string, at int, value byte) row {
		return odd(name, func(p []byte) []byte { p[at] = value; return p })
	}
	return []row{
		set("ARP of another hardware", 14+1, 6),
		set("ARP of another protocol", 14+2, 0x86),
		set("ARP with short MACs", 14+4, 5),
		set("ARP with long addresses", 14+5, 16),
		set("ARP that is neither request nor reply", 14+7, 3),
		set("RARP", 13, 0x35),
		set("ARP from another MAC than the frame", 14+8+5, 9),
		set("ARP from a group", 14+14, 224),
		set("ARP from 255.x", 14+14, 255),
		set("ARP from 0.x", 14+14, 0),
		set("ARP to a group that is not broadcast", 0, 0x01),
		odd("ARP cut short", func(p []byte) []byte { return p[:len(p)-1] }),
		odd("ARP without anything", func(p []byte) []byte { return p[:14] }),
		odd("tagged ARP", func(p []byte) []byte { return tagged(p, 0x8100, 45) }),
	}
}

func (w *world) solicitationRows() []row {
	solicited := uint8(FlagSolicited | FlagOverride)
	group := func(frame []byte, to Station) []byte { // to another group
		return Solicitation(one6, to, netip.AddrFrom16([16]byte(frame[14+40+8:14+40+24])), LinkOption(layers.ICMPv6OptSourceAddress, macOne))
	}
	toB := w.tunnelled("solicitation of the owner alone", "host-b", Solicitation(one6, b6, b6.IP, LinkOption(layers.ICMPv6OptSourceAddress, macOne)))
	return []row{
		w.told("solicitation of a guest of a remote", solicit(one6, b6.IP), advertise(b6, one6, solicited)),
		w.told("solicitation of a guest of this host", solicit(one6, two6.IP), advertise(two6, one6, solicited)),
		w.told("solicitation by ff02::1", group(solicit(one6, b6.IP), allNodes), advertise(b6, one6, solicited)),
		w.asked("solicitation of an address of nobody", solicit(one6, netip.MustParseAddr("2001:45::77:77"))),
		w.asked("solicitation of one's own address", solicit(Station{macOne, netip.MustParseAddr("fe80::a:1")}, one6.IP)),
		w.asked("solicitation of the address that asks", solicit(one6, one6.IP)),
		w.fromLAN("solicitation by a second MAC of the port's own address", 3, "shop/lan/list", solicit(Station{mac(0xee, 1), netip.MustParseAddr("fe80::ee:1")}, list6.IP)),
		answersOff(w.asked("solicitation where nothing is answered", solicit(one6, b6.IP))),
		toB,
	}
}

func (w *world) detectionRows() []row {
	conflict := advertise(b6, Station{macAll6, allNodes.IP}, FlagOverride)
	return []row{
		w.told("DAD of an address that is another's", detect(macOne, b6.IP), conflict),
		w.told("DAD with a nonce", detect(macOne, b6.IP, nonce), conflict),
		w.asked("DAD of one's own address", detect(macOne, one6.IP, nonce)),
		w.fromLAN("DAD by a second MAC of the port's own address", 3, "shop/lan/list", detect(mac(0xee, 1), list6.IP)),
		w.asked("DAD of an address of nobody", detect(macOne, netip.MustParseAddr("2001:45::77:77"))),
		w.asked("DAD that names a MAC", detect(macOne, b6.IP, LinkOption(layers.ICMPv6OptSourceAddress, macOne))),
		with(w.asked("DAD of an address that was learned", detect(macOne, c6.IP)), c6.IP, macC, bpf.NeighborRole, time.Second),
		with(w.asked("ARP probe for an address that was learned", arpFor(Station{macOne, any4}, c4.IP)), c4.IP, macC, 0, time.Second),
	}
}

// routerRows: a link-local address, which may be a default router's, is answered
// for only as what it is.
func (w *world) routerRows() []row {
	const flags = FlagSolicited | FlagOverride
	const router, host = bpf.NeighborRole | bpf.NeighborRouter, bpf.NeighborRole
	return []row{
		alone(w.asked("solicitation of a configured link-local address, whose role nobody knows", solicit(one6, linkLocalB.IP))),
		alone(w.asked("DAD of it", detect(macOne, linkLocalB.IP))),
		with(w.told("solicitation of one that is a router", solicit(one6, linkLocalB.IP), advertise(linkLocalB, one6, flags|FlagRouter)), linkLocalB.IP, macB, router, time.Second),
		with(w.told("solicitation of one that is none", solicit(one6, linkLocalB.IP), advertise(linkLocalB, one6, flags)), linkLocalB.IP, macB, host, time.Second),
		with(w.told("DAD of one that is a router", detect(macOne, linkLocalB.IP), advertise(linkLocalB, allNodes, FlagOverride|FlagRouter)), linkLocalB.IP, macB, router, time.Second),
		with(w.told("solicitation of a configured address of a router", solicit(one6, b6.IP), advertise(b6, one6, flags|FlagRouter)), b6.IP, macB, router, time.Second),
		with(w.told("the role is remembered for long", solicit(one6, b6.IP), advertise(b6, one6, flags|FlagRouter)), b6.IP, macB, router, maps.RoleAge),
		with(w.told("another MAC's role is not the owner's", solicit(one6, b6.IP), advertise(b6, one6, flags)), b6.IP, macC, router, time.Second),
		with(w.asked("another MAC's role is not the owner's, link-local", solicit(one6, linkLocalB.IP)), linkLocalB.IP, macC, router, time.Second),
	}
}

// checksummedND makes the checksum of a message right again.
func checksummedND(p []byte) []byte {
	const icmp = 14 + 40
	binary.BigEndian.PutUint16(p[icmp+2:], 0)
	length := len(p) - icmp
	pseudo := slices.Concat(p[22:54], binary.BigEndian.AppendUint32(nil, uint32(length)), []byte{0, 0, 0, 58}, p[icmp:])
	binary.BigEndian.PutUint16(p[icmp+2:], ^onesSum(pseudo))
	return p
}

// oddSolicitationRows go on, though the answer is known.
func (w *world) oddSolicitationRows() []row {
	odd := func(name string, change func(p []byte) []byte) row {
		return w.asked(name, mutated(solicit(one6, b6.IP), change))
	}
	const icmp = 14 + 40
	set := func(name string, at int, value byte) row {
		return odd(name, func(p []byte) []byte { p[at] = value; return checksummedND(p) })
	}
	option := func(name string, options ...layers.ICMPv6Option) row {
		return w.asked("solicitation with "+name, Solicitation(one6, SolicitedNode(b6.IP), b6.IP, options...))
	}
	link := LinkOption(layers.ICMPv6OptSourceAddress, macOne)
	return []row{
		set("solicitation that was routed", 21, 254),
		set("solicitation with a code", icmp+1, 1),
		odd("solicitation with a wrong checksum", func(p []byte) []byte { p[icmp+2] ^= 1; return p }),
		odd("solicitation whose checksum is left to the device", func(p []byte) []byte { // the pseudo header's sum alone
			pseudo := slices.Concat(p[22:54], []byte{0, 0, 0, 32, 0, 0, 0, 58})
			binary.BigEndian.PutUint16(p[icmp+2:], onesSum(pseudo))
			return p
		}),
		set("solicitation of a group", icmp+8, 0xff),
		set("solicitation from a group", 22, 0xff),
		set("solicitation to a unicast address by a group MAC", 38, 0x20),
		set("solicitation with an option of no length", icmp+25, 0),
		set("solicitation with an option that is longer than it", icmp+25, 2),
		odd("solicitation cut short", func(p []byte) []byte { return p[:len(p)-1] }),
		odd("solicitation of 23 bytes", func(p []byte) []byte { p = p[:icmp+23]; p[19] = 23; return checksummedND(p) }),
		odd("solicitation with half an option", func(p []byte) []byte { p = p[:icmp+28]; p[19] = 28; return checksummedND(p) }),
		odd("solicitation behind hop-by-hop options", withHopByHop),
		odd("tagged solicitation", func(p []byte) []byte { return tagged(p, 0x8100, 45) }),
		option("no MAC"),
		option("another's MAC", LinkOption(layers.ICMPv6OptSourceAddress, macTwo)),
		option("a nonce, as SEND has it", link, nonce),
		option("an option that is not known", link, layers.ICMPv6Option{Type: 13, Data: make([]byte, 14)}),
		option("more options than are read", link, nonce, nonce),
		w.asked("advertisement to all", advertise(one6, allNodes, FlagOverride)),
		w.asked("echo to a group", echo6(one6, SolicitedNode(b6.IP), 100, 128)),
	}
}

// learnedRows are answered from what was learned, as long as that is believed.
func (w *world) learnedRows() []row {
	const role = bpf.NeighborRole
	old := maps.NeighborAge + time.Second
	moved := Station{macOne, netip.MustParseAddr("10.9.200.1")}
	moved6 := Station{macOne, netip.MustParseAddr("2001:45::200:1")}
	return []row{
		with(w.told("ARP for a learned address", arpFor(one4, c4.IP), arpFrom(c4, one4)), c4.IP, macC, 0, time.Second),
		with(w.told("ARP for an address that was heard just in time", arpFor(one4, c4.IP), arpFrom(c4, one4)), c4.IP, macC, 0, maps.NeighborAge-5*time.Second),
		with(w.asked("ARP for an address that was not heard for long", arpFor(one4, c4.IP)), c4.IP, macC, 0, old),
		with(w.asked("ARP for a learned address whose MAC has gone", arpFor(one4, c4.IP)), c4.IP, macNobody, 0, time.Second),
		with(w.asked("ARP for a learned address behind the port that asks", arpFor(Station{macOne, moved.IP}, c4.IP)), c4.IP, macOne, 0, time.Second),
		with(w.told("configured addresses go before learned ones", arpFor(one4, b4.IP), arpFrom(b4, one4)), b4.IP, macC, 0, time.Second),
		with(w.asked("ARP of an address that has just moved", arpFor(moved, b4.IP)), moved.IP, macC, 0, time.Second),
		with(w.told("ARP of an address that moved long ago", arpFor(moved, b4.IP), arpFrom(b4, moved)), moved.IP, macC, 0, old),
		with(w.asked("solicitation by an address that has just moved", solicit(moved6, b6.IP)), moved6.IP, macC, role, time.Second),

		with(w.told("solicitation of a learned address", solicit(one6, c6.IP), advertise(c6, one6, FlagSolicited)), c6.IP, macC, role, time.Second),
		with(w.told("solicitation of a learned router", solicit(one6, linkLocalC.IP), advertise(linkLocalC, one6, FlagSolicited|FlagRouter)), linkLocalC.IP, macC, role|bpf.NeighborRouter, time.Second),
		with(w.asked("solicitation of a learned address whose role is not known", solicit(one6, c6.IP)), c6.IP, macC, 0, time.Second),
		with(w.asked("solicitation of an address that was not heard for long", solicit(one6, c6.IP)), c6.IP, macC, role, old),
		with(w.asked("solicitation of a learned address whose MAC has gone", solicit(one6, c6.IP)), c6.IP, macNobody, role, time.Second),
	}
}
