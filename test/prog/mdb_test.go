// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"overcast/bpf"
	"overcast/maps"
	"overcast/test/lab"
)

// A frame to a group goes to those whom the MDB names, and to nobody else.
func TestMDB(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			w := newWorld(t, underlay, nil)
			x := w.watch(t, w.devices()...)
			for _, s := range w.mdbScenes() {
				t.Run(s.name, func(t *testing.T) {
					defer told(s.mdb, "shop/wide")(w)()
					for _, r := range s.rows {
						x.run(t, r)
					}
				})
			}
			x.compare(t)
		})
	}
}

// scene is what the MDB holds, and rows that it decides over.
type scene struct {
	name string
	mdb  map[bpf.MDBKey]maps.Receivers
	rows []row
}

func (w *world) mdbScenes() []scene {
	return []scene{w.precedence(), w.unknownGroups(), w.forAll(), w.forms(), w.belief()}
}

func (w *world) mdbRows() []row {
	var rows []row
	for _, s := range w.mdbScenes() {
		rows = append(rows, s.rows...)
	}
	return rows
}

// mdbFamily is what frames of a family have for addresses: their sender, port
// five or a guest of host-b, and another source.
type mdbFamily struct {
	name                string
	ipv6                bool
	from, remote        Station
	elsewhere           Station // the same port's MAC with another address
	video, radio, quiet Station
	nobodys             Station
}

func mdbFamilies() []mdbFamily {
	five, b := mac(0x0a, 5), mac(0x0b, 2)
	return []mdbFamily{
		{"IPv4", false, guest4(five), guest4(b), Station{five, netip.MustParseAddr("10.9.99.99")},
			group("239.4.5.6"), group("232.4.5.6"), group("239.255.255.255"), group("239.77.77.77")},
		{"IPv6", true, guest6(five), guest6(b), Station{five, netip.MustParseAddr("2001:45::99:99")},
			group("ff05::45"), group("ff3e::45"), group("ff0e::ffff"), group("ff05::77")},
	}
}

// everybody is port five's list of all.
var everybody = []string{"host-b", "host-c", "host-d", "host-e"}

// precedence has entries for groups and for sources of them.
func (w *world) precedence() scene {
	s := scene{name: "entries", mdb: make(map[bpf.MDBKey]maps.Receivers)}
	for _, f := range mdbFamilies() {
		put := func(group Station, source string, to maps.Receivers) {
			s.mdb[w.entry("shop/wide", group.IP.String(), source)] = to
		}
		own, others := f.from.IP.String(), f.elsewhere.IP.String()
		// video is wanted by some, and one source of it by others; radio from one
		// source only; quiet by the sender itself, and from another by nobody.
		put(f.video, "", w.receivers([]int{6}, "host-b"))
		put(f.video, others, w.receivers([]int{7}, "host-c", "host-e"))
		put(f.video, f.remote.IP.String(), w.receivers([]int{5, 7}, "host-c"))
		put(f.radio, "", w.receivers(nil))
		put(f.radio, own, w.receivers([]int{6, 7}))
		put(f.quiet, "", w.receivers([]int{5}))
		put(f.quiet, others, w.receivers([]int{5, 6, 7}, everybody...))
		// An entry of another segment is nothing to this one.
		s.mdb[w.entry("shop/lan", f.nobodys.IP.String(), "")] = w.receivers([]int{1})
		s.mdb[w.entry("shop/lan", f.video.IP.String(), own)] = w.receivers([]int{1})
		s.mdb[w.unknown("shop/lan", f.ipv6)] = w.receivers(nil)

		to := func(from, group Station) []byte { return UDP(from, group, 100) }
		name := func(what string) string { return f.name + " " + what }
		alone := w.copied(name("wanted by the sender alone"), to(f.from, f.quiet), nil)
		alone.copies = map[string]bpf.CopyCount{"shop/wide multicast": {Frames: 1}}
		left := w.copied(name("a port of the list has just left the segment"), to(f.from, f.radio), []int{7})
		left.prepare = leaves(6)
		s.rows = append(s.rows,
			w.copied(name("from a source without an entry"), to(f.from, f.video), []int{6}, "host-b"),
			w.copied(name("from a source with one"), to(f.elsewhere, f.video), []int{7}, "host-c", "host-e"),
			w.copied(name("the only source that is wanted"), to(f.from, f.radio), []int{6, 7}),
			w.unwanted(name("another source"), to(f.elsewhere, f.radio)),
			alone,
			w.copied(name("wanted by everybody"), to(f.elsewhere, f.quiet), []int{6, 7}, everybody...),
			left,
			w.flooded(name("a group without an entry"), to(f.from, f.nobodys)),
			w.copiedFromRemote(name("of a remote, from a source without an entry"), to(Station{f.remote.MAC, f.from.IP}, f.video), 6),
			w.copiedFromRemote(name("of a remote, from a source with one"), to(f.remote, f.video), 5, 7),
			w.unwantedFromRemote(name("of a remote, from a source that is not wanted"), to(f.remote, f.radio)),
			w.copiedFromRemote(name("of a remote, to the port that it does not come from"), to(f.remote, f.quiet), 5),
			w.copiedFromRemote(name("of a remote, a group without an entry"), to(f.remote, f.nobodys), 5, 6, 7),
		)
	}
	five := mac(0x0a, 5)
	unspecified, mapped := Station{five, netip.IPv6Unspecified()}, Station{five, netip.AddrFrom16(guest4(five).IP.As16())}
	video6, radio4 := group("ff05::45"), group("232.4.5.6")
	noSource := w.unwanted("an entry with a source that its group's does not tell of", UDP(guest4(five), radio4, 100))
	noSource.prepare = untold(w.entry("shop/wide", "232.4.5.6", ""))
	s.rows = append(s.rows,
		w.copied("IPv6 from ::", UDP(unspecified, video6, 100), []int{6}, "host-b"),
		w.copied("IPv6 from an address in which an IPv4 one is", UDP(mapped, video6, 100), []int{6}, "host-b"),
		noSource,
	)
	return s
}

// untold has a group's entry not tell that there are some with a source.
func untold(key bpf.MDBKey) func(*world) func() {
	return func(w *world) func() {
		var entry bpf.MDBEntry
		var group bpf.Group
		must(w.Maps.MDB.Lookup(key, &entry))
		must(w.Maps.Groups.Lookup(entry.Slot, &group))
		without := group
		without.Sources = 0
		must(w.Maps.Groups.Put(entry.Slot, without))
		return func() { must(w.Maps.Groups.Put(entry.Slot, group)) }
	}
}

// unknownGroups has entries for what nobody has asked for: IPv4's go to one
// port and one remote, IPv6's to nobody.
func (w *world) unknownGroups() scene {
	from4, from6 := guest4(mac(0x0a, 5)), guest6(mac(0x0a, 5))
	s := scene{name: "unknown groups", mdb: map[bpf.MDBKey]maps.Receivers{
		w.unknown("shop/wide", false):                 w.receivers([]int{7}, "host-c"),
		w.unknown("shop/wide", true):                  w.receivers(nil),
		w.entry("shop/wide", "239.4.5.6", ""):         w.receivers([]int{6}),
		w.entry("shop/wide", "ff05::45", ""):          w.receivers([]int{6}),
		w.entry("shop/wide", "ff02::1:ff0a:5", ""):    w.receivers([]int{6}, "host-b"),
		w.entry("shop/wide", "ff05::46", "2001::1"):   w.receivers([]int{6}),
		w.entry("shop/wide", "239.4.5.7", "10.9.9.9"): w.receivers([]int{6}),
	}}
	for _, known := range []struct {
		from Station
		to   string
	}{{from4, "239.4.5.6"}, {from6, "ff05::45"}} {
		s.rows = append(s.rows, w.copied("known: "+known.to, UDP(known.from, group(known.to), 100), []int{6}))
	}
	s.rows = append(s.rows,
		w.copied("a link-local group with an entry", UDP(from6, group("ff02::1:ff0a:5"), 100), []int{6}, "host-b"),
		w.unwanted("IPv6, with an entry for another source alone", UDP(from6, group("ff05::46"), 100)),
		w.copied("IPv4, with an entry for another source alone", UDP(from4, group("239.4.5.7"), 100), []int{7}, "host-c"),
	)
	for _, unknown := range []string{"224.0.1.0", "224.1.0.1", "232.0.0.1", "239.255.255.250"} {
		s.rows = append(s.rows,
			w.copied("unknown: "+unknown, UDP(from4, group(unknown), 100), []int{7}, "host-c"),
			w.copiedFromRemote("unknown, of a remote: "+unknown, UDP(guest4(mac(0x0b, 2)), group(unknown), 100), 7))
	}
	for _, unknown := range []string{"ff03::1", "ff04::1", "ff05::1", "ff08::1", "ff0e::1", "ff15::1", "ff3e::1"} {
		s.rows = append(s.rows,
			w.unwanted("unknown: "+unknown, UDP(from6, group(unknown), 100)),
			w.unwantedFromRemote("unknown, of a remote: "+unknown, UDP(guest6(mac(0x0b, 2)), group(unknown), 100)))
	}
	// ND must work before anybody has told of its groups.
	for _, local := range []string{"ff02::2", "ff02::16", "ff02::fb", "ff02::1:ff0a:6", "ff12::1", "ff32::1"} {
		s.rows = append(s.rows,
			w.flooded("unknown and link-local: "+local, UDP(from6, group(local), 100)),
			w.copiedFromRemote("unknown and link-local, of a remote: "+local, UDP(guest6(mac(0x0b, 2)), group(local), 100), 5, 6, 7))
	}
	return s
}

// forAll has entries that nobody may look at: what is to these groups is flooded.
func (w *world) forAll() scene {
	s := scene{name: "groups of all", mdb: map[bpf.MDBKey]maps.Receivers{
		w.unknown("shop/wide", false): w.receivers(nil), w.unknown("shop/wide", true): w.receivers(nil),
	}}
	for _, address := range []string{"224.0.0.0", "224.0.0.1", "224.0.0.251", "224.0.0.255", "ff02::1", "ff00::5", "ff01::1", "ff11::5", "ff0f::1", "ff3f::5"} {
		to := group(address)
		from, remote := guest4(mac(0x0a, 5)), guest4(mac(0x0b, 2))
		if to.IP.Is6() {
			from, remote = guest6(mac(0x0a, 5)), guest6(mac(0x0b, 2))
		}
		s.mdb[w.entry("shop/wide", address, "")] = w.receivers([]int{6})
		s.rows = append(s.rows, w.flooded(address, UDP(from, to, 100)),
			w.copiedFromRemote(address+" of a remote", UDP(remote, to, 100), 5, 6, 7))
	}
	return s
}

// forms are frames of every form to a group that port six wants, and what looks
// like one of those and is none.
func (w *world) forms() scene {
	five := mac(0x0a, 5)
	from4, from6, video4, video6 := guest4(five), guest6(five), group("239.4.5.6"), group("ff05::45")
	ipv4, ipv6 := UDP(from4, video4, 100), UDP(from6, video6, 100)
	s := scene{name: "forms", mdb: map[bpf.MDBKey]maps.Receivers{
		w.unknown("shop/wide", false):         w.receivers(nil),
		w.unknown("shop/wide", true):          w.receivers(nil),
		w.entry("shop/wide", "239.4.5.6", ""): w.receivers([]int{6}),
		w.entry("shop/wide", "ff05::45", ""):  w.receivers([]int{6}),
	}}
	read := func(name string, frame []byte) { s.rows = append(s.rows, w.copied(name, frame, []int{6})) }
	read("IPv4", ipv4)
	read("IPv6", ipv6)
	read("IPv4 with options", withOptions(ipv4))
	read("an IPv4 header and nothing", ipv4[:14+20])
	read("IPv4, the first fragment", mutated(ipv4, func(p []byte) []byte { p[20] = 0x20; return p }))
	read("IPv4, a later fragment", mutated(ipv4, func(p []byte) []byte { p[20], p[21] = 0x20, 0x40; return p }))
	read("an IPv6 header and nothing", ipv6[:14+40])
	read("IPv6 behind hop-by-hop options", withHopByHop(ipv6))
	read("IPv6 behind more extension headers than are followed", chain(ipv6, 7))
	read("IPv6 with an extension header that is longer than the frame", mutated(withHopByHop(ipv6), func(p []byte) []byte { p[14+40+1] = 255; return p }))
	read("IPv6, the first fragment", withFragment(ipv6, 0, true))
	read("IPv6, a later fragment", withFragment(ipv6, 64, false))
	read("ESP", mutated(ipv6, func(p []byte) []byte { p[20] = byte(layers.IPProtocolESP); return p }))
	read("TCP", TCP(from6, video6, 100))
	read("the MAC of another group", UDP(from6, Station{group("ff05::77").MAC, video6.IP}, 100))
	read("IPv4 in the MAC of an IPv6 group", UDP(from4, Station{video6.MAC, video4.IP}, 100))

	odd := func(name string, frame []byte) { s.rows = append(s.rows, w.flooded(name, frame)) }
	cluster4, cluster6 := Station{video4.MAC, guest4(mac(0x0a, 6)).IP}, Station{video6.MAC, guest6(mac(0x0a, 6)).IP}
	mapped := Station{video6.MAC, netip.AddrFrom16(video4.IP.As16())}
	odd("a group's MAC, and IPv4 to a host", UDP(from4, cluster4, 100))
	odd("a group's MAC, and IPv6 to a host", UDP(from6, cluster6, 100))
	odd("a group's MAC, and IPv6 to an address in which an IPv4 group is", UDP(from6, mapped, 100))
	odd("a group's MAC, and IPv4 to 255.255.255.255", UDP(from4, Station{video4.MAC, netip.MustParseAddr("255.255.255.255")}, 100))
	odd("a group's MAC, and IPv4 to 240.0.0.1", UDP(from4, Station{video4.MAC, netip.MustParseAddr("240.0.0.1")}, 100))
	odd("a group's MAC, and IPv4 to 223.255.255.255", UDP(from4, Station{video4.MAC, netip.MustParseAddr("223.255.255.255")}, 100))
	odd("ARP", ARP(from4, video4))
	odd("LLDP", LLDP(from4, Station{MAC: net.HardwareAddr{0x01, 0x80, 0xc2, 0, 0, 0x0e}}))
	odd("802.3", Ethernet(from4, video4, 60, slices.Repeat([]byte{0x42}, 60)))
	odd("14 bytes", Ethernet(from4, video4, 0x88b6, nil))
	odd("tagged IPv4", tagged(ipv4, 0x8100, 45))
	odd("tagged IPv6", tagged(ipv6, 0x88a8, 45))
	odd("IPv4 of version 6", mutated(ipv4, func(p []byte) []byte { p[14] = 0x65; return p }))
	odd("IPv4 with a header of 16 bytes", mutated(ipv4, func(p []byte) []byte { p[14] = 0x44; return p }))
	odd("IPv4 with a header that is longer than the frame", mutated(ipv4, func(p []byte) []byte { p[14] = 0x4f; return p[:14+59] }))
	odd("IPv6 of version 4", mutated(ipv6, func(p []byte) []byte { p[14] = 0x40; return p }))
	odd("broadcast, and a group's address", UDP(from4, Station{macBroadcast, video4.IP}, 100))
	odd("the MAC of nobody, and a group's address", UDP(from6, Station{macNobody, video6.IP}, 100))
	return s
}

// belief has an entry for one port, and an MDB that may not be believed at times.
func (w *world) belief() scene {
	frame := UDP(guest6(mac(0x0a, 5)), group("ff05::45"), 100)
	s := scene{name: "belief", mdb: map[bpf.MDBKey]maps.Receivers{w.entry("shop/wide", "ff05::45", ""): w.receivers([]int{6})}}
	with := func(r row, prepare func(*world) func()) {
		r.prepare = func(w *world) func() {
			undo := prepare(w)
			return func() { undo(); listens("shop/wide")(w) }
		}
		s.rows = append(s.rows, r)
	}
	read := func(name string) row { return w.copied(name, frame, []int{6}) }
	odd := func(name string) row { return w.flooded(name, frame) }
	with(odd("nobody listens"), snooped(0, 0))
	with(odd("the agent listens to another segment"), snooped(time.Hour, time.Hour, "shop/lan"))
	with(odd("the MDB holds for no time"), snooped(-time.Second, 0, "shop/wide"))
	with(odd("the MDB has held for long enough"), snooped(-2*time.Second, time.Second, "shop/wide"))
	with(read("the MDB holds still"), snooped(-2*time.Second, time.Hour, "shop/wide"))
	// The clock of the programs stands still for a tick.
	with(read("the agent has spoken this very moment"), snooped(10*millisecond, time.Second, "shop/wide"))
	with(odd("a message was missed"), missed("shop/wide"))
	with(read("a message of another segment was missed"), missed("shop/lan"))
	with(odd("the segment does not snoop"), deaf("shop/wide"))
	fromRemote := w.copiedFromRemote("of a remote, and nobody listens", UDP(guest6(mac(0x0b, 2)), group("ff05::45"), 100), 5, 6, 7)
	with(fromRemote, snooped(0, 0))
	return s
}

// missed has the programs have missed a message of a segment.
func missed(segment string) func(*world) func() {
	return func(w *world) func() {
		slot := w.segment(segment)
		var snoop bpf.Snoop
		must(w.Maps.Snoops.Lookup(slot, &snoop))
		snoop.Missed = 1
		must(w.Maps.Snoops.Put(slot, snoop))
		return func() { must(w.Maps.CatchUp(slot, 1)) }
	}
}

// deaf is a segment that does not snoop.
func deaf(segment string) func(*world) func() {
	return func(w *world) func() {
		slot := w.segment(segment)
		without := w.Contents.Segments[slot]
		without.Flags &^= bpf.SegmentSnooping
		must(w.Maps.Segments.Put(slot, without))
		return func() { must(w.Maps.Segments.Put(slot, w.Contents.Segments[slot])) }
	}
}

// Groups with lists that fill chunks, just do not, and just more than do.
func TestGroupOfMany(t *testing.T) {
	stage := newStage(t, 2*bpf.ChunkSize+1)
	for _, n := range []int{1, bpf.ChunkSize - 1, bpf.ChunkSize, bpf.ChunkSize + 1, 2 * bpf.ChunkSize} {
		w := newCrowd(t, stage, 2*bpf.ChunkSize)
		x := w.watch(t, Uplink)
		frame := UDP(guest4(mac(0x0a, 1)), group("239.4.5.6"), 100)
		r := w.sent("to all that want it", 1, "shop/lan/p1", frame)
		size := uint64(len(frame))
		r.stats["shop/lan"] = bpf.Counters{InPackets: 1, InBytes: size, OutPackets: uint64(n), OutBytes: uint64(n) * size}
		var ports []int
		for i := range n {
			ports = append(ports, i+2)
			r.stats["shop/lan/"+Port(i+2)], r.stats[crowdHost(i)] = out(len(frame)), out(len(frame))
			r.bare, r.tunnelled = append(r.bare, Port(i+2)), append(r.tunnelled, crowdHost(i))
		}
		r.prepare = told(map[bpf.MDBKey]maps.Receivers{w.entry("shop/lan", "239.4.5.6", ""): w.receivers(ports, r.tunnelled...)}, "shop/lan")
		r.wrap, r.tunnelled = w.to(crowdHost(n-1), vniLAN), r.tunnelled[:n-1]
		x.run(t, r)
		x.compare(t)
	}
}

// What the kernel untags before a program sees it is in a world of its own.
func TestGroupsOfTaggedFrames(t *testing.T) {
	w := newWorld(t, lab.IPv4, nil)
	defer told(map[bpf.MDBKey]maps.Receivers{w.entry("shop/wide", "239.4.5.6", ""): w.receivers([]int{6})}, "shop/wide")(w)()
	video := UDP(guest4(mac(0x0a, 5)), group("239.4.5.6"), 100)
	w.attachTo(t, Port(5), bpf.PortIn)
	w.arrive(t, w.copied("untagged", video, []int{6}))
	r := w.flooded("tagged", video)
	r.packet.Data = tagged(video, 0x8100, 45)
	w.arrive(t, r)
}
