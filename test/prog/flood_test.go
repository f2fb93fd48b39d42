// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"overcast/bpf"
	"overcast/test/lab"
)

// Every destination gets one copy of what goes to all, and nobody else does.
func TestFlood(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			w := newWorld(t, underlay, nil)
			x := w.watch(t, w.devices()...)
			for _, r := range w.floodRows() {
				x.run(t, r)
			}
			x.compare(t)
		})
	}
}

func (w *world) floodRows() []row {
	var rows []row
	from := mac(0x0a, 5)
	for to, target := range map[string]net.HardwareAddr{"broadcast": macBroadcast, "a group": macAll6, "nobody": macNobody} {
		kinds := frames(from, target)
		for _, name := range sorted(kinds) {
			rows = append(rows, w.floodedFromPort(name+" to "+to, kinds[name]))
		}
		kinds = frames(mac(0x0b, 2), target)
		for _, name := range sorted(kinds) {
			if w.stripsAtTC(kinds[name]) {
				rows = append(rows, w.floodedFromRemote(name+" of a remote to "+to, kinds[name]))
			}
		}
	}
	return slices.Concat(rows, w.fewRows(), w.floodSizeRows(), w.failingRows())
}

// floodedFromPort is a frame of port five to all of its segment: the ports six
// and seven, host-b and host-c by packets of ours, host-e by the device.
func (w *world) floodedFromPort(name string, frame []byte) row {
	r := w.sent(name, 5, "shop/wide/five", frame)
	n := uint64(len(frame))
	r.stats["shop/wide"] = bpf.Counters{InPackets: 1, InBytes: n, OutPackets: 2, OutBytes: 2 * n}
	for _, object := range []string{"shop/wide/six", "shop/wide/seven", "host-b", "host-c", "host-e"} {
		r.stats[object] = out(len(frame))
	}
	// There is no way to host-d, and the others get theirs all the same.
	r.drops = w.dropped(bpf.DropRemoteUnreachable, r.packet.Ifindex, "shop/wide", len(frame))
	r.bare, r.tunnelled = []string{Port(6), Port(7), Tunnel}, []string{"host-b"}
	r.wrap = w.to("host-c", vniWide) // the frame itself
	return r
}

// floodedFromRemote is a frame of host-b to all ports of its segment here.
func (w *world) floodedFromRemote(name string, frame []byte) row {
	r := row{name: name, program: bpf.UplinkIn, verdict: Redirected, data: frame, bare: []string{Port(5), Port(6)}}
	r.packet = Packet{Data: w.from("host-b", vniWide).Wrap(frame), Ifindex: w.Ifindex(Uplink)}
	n := uint64(len(frame))
	r.stats = map[string]bpf.Counters{"host-b": in(len(frame)), "shop/wide": {OutPackets: 3, OutBytes: 3 * n}}
	for _, object := range []string{"shop/wide/five", "shop/wide/six", "shop/wide/seven"} {
		r.stats[object] = out(len(frame))
	}
	return r
}

// fewRows go to few, or to nobody.
func (w *world) fewRows() []row {
	frame := func(last byte) []byte { return ARP(guest4(mac(0x0a, last)), guest4(macBroadcast)) }
	near := w.sent("to the only other port", 11, "shop/near/eleven", frame(0x11))
	near.stats["shop/near"] = bpf.Counters{InPackets: 1, InBytes: 42, OutPackets: 1, OutBytes: 42}
	near.stats["shop/near/twelve"] = out(42)

	// To nobody is no drop: a switch with one port does the same.
	hermit := w.sent("from the only port", 13, "shop/hermit/thirteen", frame(0x13))
	hermit.verdict = Dropped
	hermit.copies = map[string]bpf.CopyCount{"shop/hermit broadcast": {Frames: 1}}

	vague := w.sent("to a remote whose MAC is not known", 14, "shop/vague/fourteen", frame(0x14))
	vague.verdict, vague.bare, vague.stats["host-e"] = Dropped, []string{Tunnel}, out(42)

	ghost := row{name: "to no port here", program: bpf.UplinkIn, verdict: Dropped, data: UDP(guest4(mac(0x0b, 9)), guest4(macBroadcast), 100),
		stats: map[string]bpf.Counters{"host-b": in(114)}}
	ghost.copies = map[string]bpf.CopyCount{"shop/ghost broadcast": {Frames: 1}}
	ghost.packet = Packet{Data: w.from("host-b", vniGhost).Wrap(ghost.data), Ifindex: w.Ifindex(Uplink)}

	lan := w.sent("to two remotes by the device", 1, "shop/lan/one", ARP(guest4(macOne), guest4(macBroadcast)))
	lan.stats["shop/lan"] = bpf.Counters{InPackets: 1, InBytes: 42, OutPackets: 2, OutBytes: 84}
	for _, object := range []string{"shop/lan/two", "shop/lan/list", "host-b", "host-c", "host-e", "host-f"} {
		lan.stats[object] = out(42)
	}
	lan.drops = w.dropped(bpf.DropRemoteUnreachable, lan.packet.Ifindex, "shop/lan", 42)
	lan.bare, lan.tunnelled = []string{Port(2), Port(3), Tunnel, Tunnel}, []string{"host-b"}
	lan.wrap = w.to("host-c", vniLAN)
	return []row{near, hermit, vague, ghost, lan}
}

// floodSizeRows do not fit the tunnel. The ports of this host get them, as from
// any switch; for the rest the sender is told, where it may be.
func (w *world) floodSizeRows() []row {
	from4, from6 := guest4(mac(0x0a, 5)), guest6(mac(0x0a, 5))
	tooBig := func(name string, frame []byte) row {
		r := w.floodedFromPort(name, frame)
		for _, host := range []string{"host-b", "host-c", "host-e"} {
			delete(r.stats, host)
		}
		r.bare, r.tunnelled, r.wrap = []string{Port(6), Port(7)}, nil, nil
		r.prepare = pace(5, 0)
		return r
	}
	answered := func(name string, frame []byte) row {
		r := tooBig(name, frame)
		r.answer, r.drops = true, w.dropped(bpf.DropMTUAnswered, r.packet.Ifindex, "shop/wide", len(frame))
		return r
	}
	refused := func(name string, frame []byte) row {
		r := tooBig(name, frame)
		r.verdict, r.drops = Dropped, w.dropped(bpf.DropMTUUnanswerable, r.packet.Ifindex, "shop/wide", len(frame))
		return r
	}
	group := Station{macAll6, netip.MustParseAddr("ff02::1")}
	return []row{
		w.floodedFromPort("IPv6 to a group that just fits", UDP(from6, group, w.mtu())),
		answered("IPv6 to a group, one byte too big", UDP(from6, group, w.mtu()+1)),
		answered("IPv6 to a MAC of nobody, one byte too big", UDP(from6, guest6(macNobody), w.mtu()+1)),
		answered("IPv4 to a MAC of nobody, one byte too big", UDP(from4, guest4(macNobody), w.mtu()+1)),
		refused("IPv4 to a group, one byte too big", UDP(from4, Station{net.HardwareAddr{1, 0, 0x5e, 0, 0, 5}, netip.MustParseAddr("224.0.0.5")}, w.mtu()+1)),
		refused("IPv4 to broadcast, one byte too big", UDP(from4, Station{macBroadcast, netip.MustParseAddr("255.255.255.255")}, w.mtu()+1)),
		refused("an unknown type to broadcast, one byte too big", Ethernet(from4, Station{MAC: macBroadcast}, 0x88b5, make([]byte, w.mtu()+1))),
	}
}

// failingRows have a copy that cannot be sent: it is counted, and the others go.
func (w *world) failingRows() []row {
	frame := ARP(guest4(mac(0x0a, 5)), guest4(macBroadcast))
	failed := bpf.DropKey{Reason: bpf.DropCopyFailed, Ifindex: w.Ifindex(Port(5)), Segment: w.segment("shop/wide")}
	port := w.floodedFromPort("a port is down", frame)
	port.prepare, port.bare = down(Port(6)), []string{Port(7), Tunnel}
	port.drops[failed] = bpf.DropCount{Packets: 1, Bytes: uint64(len(frame))}

	device := w.floodedFromPort("the tunnel device is down", frame)
	device.prepare, device.bare = down(Tunnel), []string{Port(6), Port(7)}
	device.drops[failed] = bpf.DropCount{Packets: 1, Bytes: uint64(len(frame))}

	uplink := w.floodedFromPort("the uplink is down", frame)
	uplink.prepare, uplink.tunnelled = down(Uplink), nil
	uplink.drops[failed] = bpf.DropCount{Packets: 1, Bytes: uint64(len(frame))}

	stale := w.floodedFromPort("a port has just left the segment", frame)
	stale.prepare, stale.bare = leaves(6), []string{Port(7), Tunnel}
	delete(stale.stats, "shop/wide/six")
	stale.stats["shop/wide"] = bpf.Counters{InPackets: 1, InBytes: uint64(len(frame)), OutPackets: 1, OutBytes: uint64(len(frame))}

	// What adjust_room refuses and is a super-frame besides goes to all by the
	// tunnel device. In a test run that is every super-frame, and the copy fails
	// there, as it is of no kind.
	super := w.sent("a super-frame that adjust_room refuses", 10, "other/lan/ten", UDP(guest4(macTwo), guest4(macBroadcast), 3000))
	super.packet.GSOSize, super.packet.GSOSegs = 1000, 3
	for name, c := range super.stats {
		c.InPackets = 3
		super.stats[name] = c
	}
	super.stats["host-g"] = bpf.Counters{OutPackets: 3, OutBytes: uint64(len(super.packet.Data))}
	super.verdict = Dropped
	super.drops = w.dropped(bpf.DropCopyFailed, super.packet.Ifindex, "other/lan", len(super.packet.Data))
	return []row{port, device, uplink, stale, super}
}

// down sets a device down.
func down(device string) func(*world) func() {
	return func(w *world) func() {
		must(w.Host.LinkDown(device))
		return func() { must(w.Host.LinkUp(device)) }
	}
}

// leaves puts a port into another segment while the lists name it still.
func leaves(port int) func(*world) func() {
	return func(w *world) func() {
		ifindex := w.Ifindex(Port(port))
		was := w.Contents.Ports[ifindex]
		now := was
		now.Segment = w.segment("other/lan")
		must(w.Maps.Ports.Put(ifindex, now))
		return func() { must(w.Maps.Ports.Put(ifindex, was)) }
	}
}

// Lists that fill chunks (bpf.ChunkSize), just do not, and just more than do.
func TestFloodToMany(t *testing.T) {
	stage := newStage(t, 2*bpf.ChunkSize+1)
	for _, n := range []int{1, bpf.ChunkSize - 1, bpf.ChunkSize, bpf.ChunkSize + 1, 2 * bpf.ChunkSize} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newCrowd(t, stage, n)
			x := w.watch(t, Uplink)
			frame := ARP(guest4(mac(0x0a, 1)), guest4(macBroadcast))
			r := w.sent("to all", 1, "shop/lan/p1", frame)
			size := uint64(len(frame))
			r.stats["shop/lan"] = bpf.Counters{InPackets: 1, InBytes: size, OutPackets: uint64(n), OutBytes: uint64(n) * size}
			for i := range n {
				r.stats["shop/lan/"+Port(i+2)], r.stats[crowdHost(i)] = out(len(frame)), out(len(frame))
				r.bare = append(r.bare, Port(i+2))
				r.tunnelled = append(r.tunnelled, crowdHost(i))
			}
			r.wrap = w.to(crowdHost(n-1), vniLAN)
			r.tunnelled = r.tunnelled[:n-1]
			x.run(t, r)
			x.compare(t)
		})
	}
}

func crowdHost(i int) string {
	return fmt.Sprintf("host-%03d", i)
}

// newCrowd is a datapath with n ports beside p1, and n remotes.
func newCrowd(t *testing.T, stage *Stage, n int) *world {
	t.Helper()
	w := &world{Stage: stage, underlay: lab.IPv4}
	var doc strings.Builder
	doc.WriteString("hosts:\n  - {name: host-a, vtep: 192.0.2.1}\n")
	facts := w.Facts()
	var members []string
	for i := range n {
		host := crowdHost(i)
		addr := vtep(lab.IPv4, host)
		facts.Paths[addr], facts.MTUs[addr] = w.Path(addr, w.hop(host)), 1500
		fmt.Fprintf(&doc, "  - {name: %s, vtep: %s}\n", host, addr)
		members = append(members, host)
	}
	fmt.Fprintf(&doc, "environments:\n  - name: shop\n    segments:\n      - name: lan\n        vni: %d\n        members: [%s]\n        ports:\n", vniLAN, strings.Join(members, ", "))
	for i := range n + 1 {
		fmt.Fprintf(&doc, "          - {name: %[1]s, host: host-a, interface: %[1]s, mac: %q}\n", Port(i+1), mac(0x0a, byte(i+1)))
	}
	var err error
	if w.constants, err = w.Constants(vtep(lab.IPv4, "host-a")); err != nil {
		t.Fatal(err)
	}
	if w.Datapath, err = Load(w.Host, Options{Document: doc.String(), Host: "host-a", Facts: facts, Constants: w.constants}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Datapath.Close)
	return w
}
