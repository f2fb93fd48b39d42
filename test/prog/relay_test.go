// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"overcast/bpf"
	"overcast/maps"
	"overcast/test/lab"
)

// Of what a port sends to many a zone with a relay gets one copy, under the
// relay's VNI, and everybody else one under the segment's.
func TestCopiesForRelays(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			z := newZones(t, underlay, nil)
			z.runAll(t, slices.Concat(z.toRelayRows(), z.toRelayGroupRows(), z.toRelaySizeRows()))
		})
	}
}

// A frame that comes under a relay's VNI is delivered here and sent on to this
// zone; one that comes under the segment's VNI is sent nowhere.
func TestRelay(t *testing.T) {
	for _, underlay := range underlays {
		for name, byDevice := range map[string]bool{"tc": false, "kernel": true} {
			t.Run(underlay.String()+"/"+name, func(t *testing.T) {
				y := &way{newZones(t, underlay, nil), byDevice}
				y.runAll(t, y.relayRows())
			})
		}
	}
}

// runAll runs rows, and compares all that was sent by any device.
func (z *zones) runAll(t *testing.T, rows []relayRow) {
	t.Helper()
	l := newListener(t, z.world, "shop/lan", z.west)
	l.x = z.watch(t, z.devices()...)
	for _, r := range rows {
		l.step(t, r.heard)
		if got := z.sentByDevice(t); !slices.Equal(got, r.byDevice) {
			t.Errorf("%s: by the tunnel device %v, should be %v", r.name, got, r.byDevice)
		}
	}
	l.x.compare(t)
}

// What is in the lists of shop/lan, in their order.
var (
	lanPorts = []int{1, 2, 3}
	lanHosts = []string{"host-b", "host-c", "host-d", "host-e", "host-n", "host-o", "host-q"} // that are no relays
	lanZone  = []string{"host-b", "host-c", "host-d", "host-e"}
)

const (
	vniRelay                                     = 4600
	vniFlat, vniFlatRelay                        = 4501, 4601
	vniLone, vniLoneRelay, vniVoid, vniVoidRelay = 4502, 4602, 4503, 4603
)

func (z *zones) toRelayRows() []relayRow {
	var rows []relayRow
	relays := []string{z.west, z.south}
	for to, target := range map[string]net.HardwareAddr{"broadcast": macBroadcast, "a group": macAll6} {
		kinds := frames(macOne, target)
		for _, name := range sorted(kinds) {
			rows = append(rows, z.fromPort(name+" to "+to, 1, kinds[name], []int{2, 3}, lanHosts, relays))
		}
	}
	kinds := frames(mac(0x0a, 4), macNobody)
	for _, name := range sorted(kinds) {
		rows = append(rows, z.fromPort(name+" to nobody", 4, kinds[name], []int{5}, []string{"host-b", "host-c"}, []string{z.relay("shop/flat", "west")}))
	}
	known := relayRow{heard: heard{row: z.tunnelled("unicast", "host-b", UDP(guest4(macOne), guest4(macB), 100))}}
	failing := z.fromPort("the uplink is down", 1, UDP(guest4(macOne), guest4(macBroadcast), 100), []int{2, 3}, lanHosts, relays)
	failing.prepare, failing.tunnelled = down(Uplink), []string{"host-c"}
	failing.drops[z.failed(failing.row, "shop/lan")] = bpf.DropCount{Packets: 4, Bytes: 4 * 114}
	return append(rows, known, failing,
		z.fromPort("to a relay alone", 6, UDP(guest4(mac(0x0a, 6)), guest4(macBroadcast), 100), nil, nil, []string{z.relay("shop/lone", "west")}),
		z.fromPort("in a segment without relays", 7, UDP(guest4(mac(0x0a, 7)), guest4(macBroadcast), 100), []int{8}, []string{"host-b", "host-g", "host-u"}, nil))
}

// failed is the key of copies of a row that could not be sent.
func (z *zones) failed(r row, segment string) bpf.DropKey {
	return bpf.DropKey{Reason: bpf.DropCopyFailed, Ifindex: r.packet.Ifindex, Segment: z.segment(segment)}
}

// relayed are the receivers of a group of shop/lan, of which some are relays.
func (z *zones) relayed(ports []int, hosts, relays, zone []string) maps.Receivers {
	to := z.receivers(ports, hosts...)
	for _, id := range z.remoteIDs(relays) {
		to.Remotes = append(to.Remotes, id|bpf.Relay)
	}
	to.Zone = z.remoteIDs(zone)
	return to
}

// groups are what the MDB holds for shop/lan.
func (z *zones) groups() map[bpf.MDBKey]maps.Receivers {
	entry := func(group, source string) bpf.MDBKey { return z.entry("shop/lan", group, source) }
	source := guest6(z.guest(z.west)).IP.String()
	return map[bpf.MDBKey]maps.Receivers{
		entry("ff05::45", ""):        z.relayed([]int{2}, []string{"host-b", "host-e"}, []string{z.west, z.south}, []string{"host-b", "host-e"}),
		entry("ff05::45", "2001::1"): z.relayed([]int{3}, []string{"host-c"}, []string{z.west}, []string{"host-c"}),
		entry("ff05::46", ""):        z.relayed(nil, nil, []string{z.west}, []string{"host-b", "host-c"}),
		entry("ff05::46", source):    z.relayed(nil, []string{"host-n"}, []string{z.west}, nil),
		entry("239.4.5.6", ""):       z.relayed([]int{1, 2, 3}, nil, []string{z.south}, []string{"host-e"}),
		z.unknown("shop/lan", true):  z.relayed([]int{3}, nil, nil, []string{"host-c"}),
	}
}

// guest is the MAC of a guest of a host.
func (z *zones) guest(host string) net.HardwareAddr {
	return mac(number(host), 1)
}

func (z *zones) toRelayGroupRows() []relayRow {
	from4, from6 := guest4(macOne), guest6(macOne)
	other := Station{macOne, netip.MustParseAddr("2001::1")}
	rows := []relayRow{
		z.fromPort("a group", 1, UDP(from6, video6, 100), []int{2}, []string{"host-b", "host-e"}, []string{z.west, z.south}),
		z.fromPort("a group, from a source with an entry", 1, UDP(other, video6, 100), []int{3}, []string{"host-c"}, []string{z.west}),
		z.fromPort("a group that a relay alone wants", 1, UDP(from6, group("ff05::46"), 100), nil, nil, []string{z.west}),
		z.fromPort("a group that ports want, and a relay by the tunnel device", 1, UDP(from4, video4, 100), []int{2, 3}, nil, []string{z.south}),
		z.fromPort("an unknown group", 1, UDP(from6, group("ff05::47"), 100), []int{3}, nil, nil),
		z.fromPort("a group of all", 1, UDP(from6, allNodes6, 100), []int{2, 3}, lanHosts, []string{z.west, z.south}),
	}
	for i, r := range rows {
		rows[i] = when(r, told(z.groups(), "shop/lan"))
	}
	return rows
}

func (z *zones) toRelaySizeRows() []relayRow {
	from, relays := guest6(macOne), []string{z.west, z.south}
	answered := z.fromPort("one byte too big", 1, UDP(from, allNodes6, z.mtu()+1), []int{2, 3}, nil, nil)
	answered.bare, answered.answer, answered.prepare = []string{Port(2), Port(3)}, true, pace(1, 0)
	answered.drops = z.dropped(bpf.DropMTUAnswered, answered.packet.Ifindex, "shop/lan", len(answered.packet.Data))
	return []relayRow{z.fromPort("just fits", 1, UDP(from, allNodes6, z.mtu()), []int{2, 3}, lanHosts, relays), answered}
}

func (y *way) relayRows() []relayRow {
	return slices.Concat(y.everyKindRows(), y.otherSegmentRows(), y.unicastRelayRows(), y.outsiderRows(), y.groupRelayRows(), y.snoopRelayRows(), y.sizeRelayRows())
}

// everyKindRows are frames of every kind to many.
func (y *way) everyKindRows() []relayRow {
	var rows []relayRow
	west := y.guest(y.west)
	for to, target := range map[string]net.HardwareAddr{"broadcast": macBroadcast, "a group": macAll6} {
		kinds := frames(west, target)
		for _, name := range sorted(kinds) {
			rows = append(rows,
				y.fromHost(name+" to "+to, y.west, vniRelay, kinds[name], lanPorts, lanZone...),
				y.fromHost(name+" to "+to+", under the segment's own VNI", y.west, vniLAN, kinds[name], lanPorts))
		}
	}
	frame := UDP(guest4(west), guest4(macBroadcast), 100)
	failing := y.fromHost("the uplink is down", y.west, vniRelay, frame, lanPorts, lanZone...)
	failing.tunnelled, failing.drops[y.failed(failing.row, "shop/lan")] = nil, bpf.DropCount{Packets: 1, Bytes: 114}
	return append(rows, when(failing, down(Uplink)),
		y.fromHost("of a host of no zone", "host-q", vniRelay, frame, lanPorts, lanZone...),
		y.fromHost("of a host of a zone that is small", "host-n", vniRelay, frame, lanPorts, lanZone...),
		y.fromHost("of this zone, under the segment's own VNI", "host-b", vniLAN, frame, lanPorts))
}

// otherSegmentRows are of segments in which there is less to do.
func (y *way) otherSegmentRows() []relayRow {
	frame := UDP(guest4(y.guest("host-u")), guest4(macBroadcast), 100)
	return []relayRow{
		y.fromHost("nobody else is in this zone", "host-u", vniLoneRelay, frame, []int{6}),
		y.fromHost("nobody else is in this zone, under the segment's own VNI", "host-u", vniLone, frame, []int{6}),
		y.fromHost("no port is here", "host-u", vniVoidRelay, frame, nil, "host-b"),
		toNobody(y.fromHost("no port is here, under the segment's own VNI", "host-u", vniVoid, frame, nil), "shop/void"),
	}
}

// toNobody is a frame to many, of which there is none.
func toNobody(r relayRow, segment string) relayRow {
	r.copies = map[string]bpf.CopyCount{segment + " " + class(r.frame()): {Frames: 1}}
	return r
}

// unicastRelayRows are to a single MAC. A relay is sent only what goes to many,
// so who sent it did not know the MAC.
func (y *way) unicastRelayRows() []relayRow {
	frame := func(to net.HardwareAddr) []byte { return UDP(guest4(y.guest("host-u")), guest4(to), 100) }
	four := y.fromHost("unicast to a port, where unknown is flooded", "host-u", vniFlatRelay, frame(mac(0x0a, 4)), []int{4, 5}, "host-b", "host-c")
	four.copies = map[string]bpf.CopyCount{"shop/flat unknown_unicast": {Frames: 1, Copies: 4}}
	one := y.fromHost("unicast to a port, under the segment's own VNI", "host-u", vniLAN, frame(macOne), []int{1})
	one.copies = map[string]bpf.CopyCount{}
	group := UDP(guest4(macAll6), guest4(macBroadcast), 100)
	return []relayRow{
		y.fromHost("unicast to nobody, where unknown is flooded", "host-u", vniFlatRelay, frame(macNobody), []int{4, 5}, "host-b", "host-c"),
		y.fromHost("the same under the segment's own VNI", "host-u", vniFlat, frame(macNobody), []int{4, 5}),
		four, one,
		y.refused("unicast to a port, where unknown is dropped", bpf.DropFDBUnknown, "host-u", "shop/lan", vniRelay, frame(macOne)),
		y.refused("unicast to nobody", bpf.DropFDBUnknown, "host-u", "shop/lan", vniRelay, frame(macNobody)),
		y.refused("unicast to a host of this zone", bpf.DropFDBUnknown, "host-u", "shop/lan", vniRelay, frame(macB)),
		y.refused("from a group", bpf.DropFrameSource, "host-u", "shop/lan", vniRelay, group),
		when(y.refused("the segment has been taken away", bpf.DropSegmentUnknown, "host-u", "shop/lan", vniRelay, frame(macBroadcast)), emptySegment("shop/lan")),
	}
}

// outsiderRows are of hosts that nothing is relayed for.
func (y *way) outsiderRows() []relayRow {
	frame := UDP(guest4(y.guest("host-u")), guest4(macBroadcast), 100)
	rows := []relayRow{
		y.refused("of a host of this zone", bpf.DropVTEPNotMember, "host-b", "", vniRelay, frame),
		y.refused("of a host of this zone that is not routed to", bpf.DropVTEPNotMember, "host-d", "", vniRelay, frame),
		y.refused("of a host that is no member", bpf.DropVTEPNotMember, "host-g", "", vniRelay, frame),
		y.refused("of a member of another segment", bpf.DropVTEPNotMember, "host-n", "", vniFlatRelay, frame),
		y.refused("of a stranger", bpf.DropVTEPUnknown, "host-s", "", vniRelay, frame),
		y.refused("of ourselves", bpf.DropVTEPUnknown, "host-a", "", vniRelay, frame),
		y.refused("under the VNI of no relay", bpf.DropVNIUnknown, "host-u", "", 4604, frame),
	}
	if y.byDevice {
		elsewhere := y.refused("to another address of this host", bpf.DropTunnelAddress, "host-u", "", vniRelay, frame)
		elsewhere.prepare = y.keyed("host-u", vniRelay, vtep(y.underlay, "host-b"))
		rows = append(rows, elsewhere)
	}
	return rows
}

// groupRelayRows are to groups, for which the MDB says who in this zone wants them.
func (y *way) groupRelayRows() []relayRow {
	from4, from6 := guest4(y.guest(y.west)), guest6(y.guest(y.west))
	other := Station{from6.MAC, netip.MustParseAddr("2001::1")}
	video, radio, unknown := UDP(from6, video6, 100), UDP(from6, group("ff05::46"), 100), UDP(from6, group("ff05::47"), 100)
	radioOther := UDP(other, group("ff05::46"), 100)
	rows := []relayRow{
		y.fromHost("a group", y.west, vniRelay, video, []int{2}, "host-b", "host-e"),
		y.fromHost("a group, under the segment's own VNI", y.west, vniLAN, video, []int{2}),
		y.fromHost("a group, from a source with an entry", y.west, vniRelay, UDP(other, video6, 100), []int{3}, "host-c"),
		y.fromHost("a group that is wanted here by ports alone, and by the tunnel device", y.west, vniRelay, UDP(from4, video4, 100), lanPorts, "host-e"),
		y.fromHost("a group that no port wants", y.west, vniRelay, radioOther, nil, "host-b", "host-c"),
		y.lost("a group that no port wants, under the segment's own VNI", bpf.DropGroupUnwanted, y.west, "shop/lan", vniLAN, radioOther),
		y.lost("a group that nobody in this zone wants", bpf.DropGroupUnwanted, y.west, "shop/lan", vniRelay, radio),
		y.fromHost("an unknown group", y.west, vniRelay, unknown, []int{3}, "host-c"),
		y.fromHost("an unknown group, under the segment's own VNI", y.west, vniLAN, unknown, []int{3}),
		y.fromHost("a group of all", y.west, vniRelay, UDP(from6, allNodes6, 100), lanPorts, lanZone...),
	}
	for i, r := range rows {
		rows[i] = when(r, told(y.groups(), "shop/lan"))
	}
	nobody := y.fromHost("a group, and nobody listens", y.west, vniRelay, video, lanPorts, lanZone...)
	return append(rows, when(nobody, both(told(y.groups(), "shop/lan"), snooped(0, 0))))
}

// snoopRelayRows are what an agent would take. What a relay passes on is not
// said by the host that it came from.
func (y *way) snoopRelayRows() []relayRow {
	var rows []relayRow
	listening := listens("shop/lan", "shop/flat")
	west := y.guest(y.west)
	taken := func(name, host, segment string, vni uint32, frame []byte) {
		r := when(y.fromHost(name, host, vni, frame, nil), listening)
		if r.verdict == Dropped {
			r.event, r.heard.segment = frame, segment
		}
		rows = append(rows, r)
	}
	messages := map[string][]byte{"a report": memberships(west)["MLDv2 report"], "a query": memberships(west)["IGMPv3 query"]}
	for _, name := range sorted(messages) {
		frame := messages[name]
		taken(name+" under the segment's own VNI", y.west, "shop/lan", vniLAN, frame)
		rows = append(rows,
			when(y.fromHost(name, y.west, vniRelay, frame, lanPorts, lanZone...), listening),
			y.fromHost(name+", nobody listens", y.west, vniRelay, frame, lanPorts, lanZone...))
	}
	hello := y.fromHost("a hello", y.west, vniRelay, routers(west)["PIM hello over IPv6"], lanPorts, lanZone...)
	rows = append(rows, when(hello, listening),
		when(y.fromHost("a report in a segment that does not snoop", y.west, vniFlat, messages["a report"], []int{4, 5}), listening))

	// A probe asks whether this very way is open.
	taken("a probe", y.west, "shop/lan", vniRelay, probe(west))
	taken("a probe under the segment's own VNI", y.west, "shop/lan", vniLAN, probe(west))
	taken("a probe in a segment that does not snoop", y.west, "shop/flat", vniFlatRelay, probe(west))
	taken("a probe under the segment's own VNI, where it does not snoop", y.west, "shop/flat", vniFlat, probe(west))
	return append(rows, when(y.lost("a tagged probe", bpf.DropProbeUnheard, y.west, "shop/lan", vniRelay, tagged(probe(west), 0x8100, 45)), listening))
}

// sizeRelayRows are as large as what can be sent on, and larger. The ports here
// get both.
func (y *way) sizeRelayRows() []relayRow {
	from, b := guest6(y.guest("host-u")), guest4(macBroadcast)
	from4 := guest4(y.guest("host-u"))
	return []relayRow{
		y.fromHost("just fits", "host-u", vniRelay, UDP(from, allNodes6, y.mtu()), lanPorts, lanZone...),
		y.lost("one byte too big for the way on", bpf.DropMTUUnanswerable, "host-u", "shop/lan", vniRelay, UDP(from, allNodes6, y.mtu()+1), lanPorts...),
		y.lost("IPv4, one byte too big for the way on", bpf.DropMTUUnanswerable, "host-u", "shop/lan", vniRelay, UDP(from4, b, y.mtu()+1), lanPorts...),
		toNobody(y.lost("too big, and no port is here", bpf.DropMTUUnanswerable, "host-u", "shop/void", vniVoidRelay, UDP(from4, b, y.mtu()+1)), "shop/void"),
		y.fromHost("too big for the way on, under the segment's own VNI", "host-u", vniLAN, UDP(from, allNodes6, y.mtu()+1), lanPorts),
		y.fromHost("too big for the way on, and nobody is there", "host-u", vniLoneRelay, UDP(from4, b, y.mtu()+1), []int{6}),
	}
}

// In mode kernel what is to be relayed is left to the tunnel device, and what is
// not is dropped all the same.
func TestRelayInModeKernel(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			z := newZones(t, underlay, func(c *bpf.Constants) { c.Strip = bpf.StripKernel })
			frame := UDP(guest4(z.guest("host-u")), guest4(macBroadcast), 100)
			rows := []relayRow{
				{heard: heard{row: z.arrived(bpf.UplinkIn, "under the relay's VNI", z.from("host-u", vniRelay).Wrap(frame))}},
				{heard: heard{row: z.arrived(bpf.UplinkIn, "under the segment's own VNI", z.from("host-u", vniLAN).Wrap(frame))}},
			}
			z.runAll(t, append(rows, (&way{zones: z}).outsiderRows()...))
		})
	}
}

// The metadata of XDP tell what came under the relay's VNI, and the program
// behind it sends that on.
func TestRelayInModeXDP(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			z := newZones(t, underlay, nil)
			for _, r := range z.relayXDPRows() {
				z.run(t, r)
			}
			z.attach(t, z.Program(bpf.UplinkXDP))
			y := &way{zones: z}
			video := UDP(guest6(z.guest("host-u")), video6, 100)
			all := UDP(guest4(z.guest("host-u")), guest4(macBroadcast), 100)
			defer told(z.groups(), "shop/lan")(z.world)()
			for _, r := range []relayRow{
				y.fromHost("to all", "host-u", vniRelay, all, lanPorts, lanZone...),
				y.fromHost("to all, under the segment's own VNI", "host-u", vniLAN, all, lanPorts),
				y.fromHost("to a group", "host-u", vniRelay, video, []int{2}, "host-b", "host-e"),
				y.fromHost("to a group, under the segment's own VNI", "host-u", vniLAN, video, []int{2}),
			} {
				t.Run(r.name, func(t *testing.T) { z.comes(t, r) })
			}
		})
	}
}

func (z *zones) relayXDPRows() []row {
	frame := UDP(guest4(z.guest("host-u")), guest4(macBroadcast), 100)
	stripped := func(name, host, segment string, vni, flag uint32) row {
		r := z.arrived(bpf.UplinkXDP, name, z.from(host, vni).Wrap(frame))
		r.data, r.meta = frame, z.metadata(segment, host)
		binary.NativeEndian.PutUint32(r.meta[12:], z.remote(host)|flag)
		return r
	}
	denied := func(name string, reason bpf.Drop, host string, vni uint32) row {
		return z.denied(bpf.UplinkXDP, name, reason, "", z.from(host, vni).Wrap(frame))
	}
	return []row{
		stripped("under the relay's VNI", "host-u", "shop/lan", vniRelay, bpf.Relay),
		stripped("under the segment's own VNI", "host-u", "shop/lan", vniLAN, 0),
		stripped("under the relay's VNI of another segment", "host-u", "shop/flat", vniFlatRelay, bpf.Relay),
		stripped("of a host of no zone", "host-q", "shop/lan", vniRelay, bpf.Relay),
		stripped("of this zone, under the segment's own VNI", "host-b", "shop/lan", vniLAN, 0),
		denied("of a host of this zone", bpf.DropVTEPNotMember, "host-b", vniRelay),
		denied("of a host that is no member", bpf.DropVTEPNotMember, "host-g", vniRelay),
		denied("of a stranger", bpf.DropVTEPUnknown, "host-s", vniRelay),
		denied("under the VNI of no relay", bpf.DropVNIUnknown, "host-u", 4604),
	}
}

// comes sends a row's packet to the uplink, where programs are attached, and
// compares what is counted and what each device sends, the last copy too.
func (z *zones) comes(t *testing.T, r relayRow) {
	t.Helper()
	before, captures := z.sentPackets(t), make(map[string]*lab.Capture)
	for _, device := range z.devices() {
		c, err := z.Capture(z.Far, device, device)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Stop()
		captures[device] = c
	}
	z.arrive(t, r.row)
	want := z.sentOf(r)
	for _, device := range z.devices() {
		n := 0
		for _, copies := range want[device] {
			n += copies
		}
		if sent := z.sentPackets(t)[device] - before[device]; sent != n {
			t.Errorf("%s: %d frames were sent, should be %d", device, sent, n)
		}
		if device == Uplink {
			n++ // the packet that came
		}
		got := make(map[string]int)
		for frame, copies := range await(t, captures[device], n) {
			if frame == string(r.packet.Data) {
				continue
			}
			if device == z.uplinkTo("host-b") || device == z.uplinkTo("host-c") {
				frame = string(z.withoutSource([]byte(frame)))
			}
			got[frame] += copies
		}
		for _, problem := range differences(want[device], got) {
			t.Errorf("%s: %s", device, problem)
		}
	}
	if got := z.sentByDevice(t); !slices.Equal(got, r.byDevice) {
		t.Errorf("by the tunnel device %v, should be %v", got, r.byDevice)
	}
}

// sentOf are the frames that each device sends of a row's, by frame: tunnel
// packets without their source ports.
func (z *zones) sentOf(r relayRow) map[string]map[string]int {
	sent := make(map[string]map[string]int)
	add := func(device string, frame []byte) {
		if sent[device] == nil {
			sent[device] = make(map[string]int)
		}
		sent[device][string(frame)]++
	}
	for object, count := range r.stats {
		for ifindex, port := range z.Contents.PortNames {
			if object == port && count.OutPackets > 0 {
				add(z.device(ifindex), r.frame())
			}
		}
	}
	for host, vni := range r.under {
		if z.takesDevice(host) {
			add(Tunnel, r.frame())
		} else {
			add(z.uplinkTo(host), z.to(host, vni).Wrap(r.frame()))
		}
	}
	return sent
}

// withoutSource is a tunnel packet with the UDP source port 0.
func (z *zones) withoutSource(packet []byte) []byte {
	return mutated(packet, func(p []byte) []byte {
		if at := z.outerHeaders() - 16; len(p) > at+2 {
			p[at], p[at+1] = 0, 0
		}
		return p
	})
}
