// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"overcast/bpf"
	"overcast/maps"
	"overcast/test/lab"
)

// zones is a world whose hosts are in zones, and whose tunnel device tells what
// is sent by it and is told what comes by it.
type zones struct {
	*world
	west, south string // the relays of those zones, of this host's choice

	keysSent  *ebpf.Map // struct bpf_tunnel_key of each frame that was sent by the tunnel device
	keyOfNext *ebpf.Map // the one of the next frame to come by it
}

// zoneOf are the zones. In our own, east, host-c is reached by another device,
// host-d is not routed to, and the MAC of host-e is not known; nor are those of
// the south. host-q has no zone; host-g is in shop/plain alone.
var zoneOf = map[string]string{
	"host-a": "east", "host-b": "east", "host-c": "east", "host-d": "east", "host-e": "east",
	"host-n": "north", "host-o": "north", "host-q": "", "host-g": "north",
	"host-u": "west", "host-v": "west", "host-w": "west",
	"host-x": "south", "host-y": "south", "host-z": "south",
}

const zonePorts, secondUplink = 9, "p9"

// zonesDocument is YAML without its hosts. flat floods what it does not know
// and does not snoop, lone has nobody else in this zone, void no ports here, and
// plain no relays.
const zonesDocument = `
environments:
  - name: shop
    segments:
      - name: lan
        vni: 4500
        relay: {vni: 4600, threshold: 2}
        members: [host-c, host-d, host-e, host-n, host-o, host-q, host-u, host-v, host-w, host-x, host-y, host-z]
        ports:
          - {name: one, host: host-a, interface: p1, mac: "02:00:00:00:0a:01"}
          - {name: two, host: host-a, interface: p2, mac: "02:00:00:00:0a:02"}
          - {name: three, host: host-a, interface: p3, mac: "02:00:00:00:0a:03"}
          - {name: b, host: host-b, interface: eth1, mac: "02:00:00:00:0b:01"}
      - name: flat
        vni: 4501
        relay: {vni: 4601, threshold: 2}
        unknown_unicast: flood
        multicast: {snooping: false}
        members: [host-b, host-c, host-u, host-v, host-w]
        ports:
          - {name: four, host: host-a, interface: p4, mac: "02:00:00:00:0a:04"}
          - {name: five, host: host-a, interface: p5, mac: "02:00:00:00:0a:05"}
      - name: lone
        vni: 4502
        relay: {vni: 4602, threshold: 2}
        members: [host-u, host-v, host-w]
        ports: [{name: six, host: host-a, interface: p6, mac: "02:00:00:00:0a:06"}]
      - {name: void, vni: 4503, relay: {vni: 4603, threshold: 2}, members: [host-a, host-b, host-u, host-v, host-w], ports: []}
      - name: plain
        vni: 4504
        members: [host-b, host-g, host-u]
        ports:
          - {name: seven, host: host-a, interface: p7, mac: "02:00:00:00:0a:07"}
          - {name: eight, host: host-a, interface: p8, mac: "02:00:00:00:0a:08"}
`

func newZones(t *testing.T, underlay lab.Family, change func(*bpf.Constants)) *zones {
	t.Helper()
	z := &zones{world: &world{Stage: newStage(t, zonePorts), underlay: underlay, uplinks: map[string]string{"host-c": secondUplink}}}
	facts := z.Facts()
	facts.Alive = make(map[maps.RelayWay]bool)
	text := strings.Builder{}
	text.WriteString("hosts:\n")
	for _, host := range sorted(zoneOf) {
		addr := vtep(underlay, host)
		fmt.Fprintf(&text, "  - {name: %s, vtep: %q, zone: %q}\n", host, addr, zoneOf[host])
		path := z.Path(addr, z.hop(host))
		path.Ifindex = z.Ifindex(z.uplinkTo(host))
		if z.takesDevice(host) {
			path.Flags, path.Dst = bpf.PathEthernet, [6]byte{}
		}
		if host != "host-a" && host != "host-d" {
			facts.Paths[addr], facts.MTUs[addr] = path, 1500
		}
		for _, vni := range []uint32{vniRelay, vniFlatRelay, vniLoneRelay, vniVoidRelay} {
			facts.Alive[maps.RelayWay{VTEP: addr, VNI: vni}] = true
		}
	}
	var err error
	if z.constants, err = z.Constants(vtep(underlay, "host-a")); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&z.constants)
	}
	document := strings.ReplaceAll(text.String(), `, zone: ""`, "") + zonesDocument
	z.Datapath, err = Load(z.Host, Options{Document: document, Host: "host-a", Facts: facts, Constants: z.constants})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Datapath.Close)
	z.west, z.south = z.relay("shop/lan", "west"), z.relay("shop/lan", "south")
	z.watchTunnel(t)
	return z
}

// takesDevice tells whether frames to a host take the tunnel device.
func (z *zones) takesDevice(host string) bool {
	return host == "host-e" || zoneOf[host] == "south"
}

// relay is the host by which a zone's members of a segment are sent to.
func (z *zones) relay(segment, zone string) string {
	for _, id := range z.Contents.List(z.Contents.Segments[z.segment(segment)].Remotes) {
		if host := z.Contents.RemoteNames[id&^bpf.Relay]; id&bpf.Relay != 0 && zoneOf[host] == zone {
			return host
		}
	}
	panic(segment + " has no relay in " + zone)
}

// relayRow is a row, what the agent hears of it, and what is sent by the tunnel
// device.
type relayRow struct {
	heard
	byDevice []destination
}

// spread notes the copies that a frame of a row has for ports and hosts, all in
// the order of their lists, where relays come last.
func (z *zones) spread(r *relayRow, segment string, ports []int, hosts, relays []string) {
	frame, own := r.frame(), z.Contents.Segments[z.segment(segment)]
	r.under = make(map[string]uint32)
	for _, port := range ports {
		c := r.stats[segment]
		c.OutPackets, c.OutBytes = c.OutPackets+1, c.OutBytes+uint64(len(frame))
		r.stats[segment], r.stats[z.Contents.PortNames[z.Ifindex(Port(port))]] = c, out(len(frame))
		r.bare = append(r.bare, Port(port))
	}
	copyTo := func(host string, vni uint32) {
		if host == "host-d" {
			r.drops = z.dropped(bpf.DropRemoteUnreachable, r.packet.Ifindex, segment, len(frame))
			return
		}
		r.stats[host], r.under[host] = out(len(frame)), vni
		if z.takesDevice(host) {
			r.bare, r.byDevice = append(r.bare, Tunnel), append(r.byDevice, destination{host, vni})
		} else {
			r.tunnelled = append(r.tunnelled, host)
		}
	}
	for _, host := range hosts {
		copyTo(host, own.Vni)
	}
	for _, host := range relays {
		copyTo(host, own.RelayVni)
	}
	// The last copy is the frame itself, if it is one for BPF to send.
	switch n := len(r.tunnelled); {
	case n > 0:
		last := r.tunnelled[n-1]
		r.verdict, r.wrap, r.tunnelled = Redirected, z.to(last, r.under[last]), r.tunnelled[:n-1]
	case len(hosts)+len(relays) == 0 && len(ports) > 0:
		r.verdict, r.bare = Redirected, r.bare[:len(r.bare)-1]
	default:
		r.verdict = Dropped
	}
}

// fromPort is a frame of a port that goes to other ports, to hosts, and to
// relays for their zones.
func (z *zones) fromPort(name string, port int, frame []byte, ports []int, hosts, relays []string) relayRow {
	object := z.Contents.PortNames[z.Ifindex(Port(port))]
	segment, _ := splitObject(object)
	r := relayRow{heard: heard{row: z.sent(name, port, object, frame)}}
	z.spread(&r, segment, ports, hosts, relays)
	return r
}

// way is how the frames of other hosts come: in packets to the uplink, or bare
// by the tunnel device.
type way struct {
	*zones
	byDevice bool
}

// incoming is a frame of a host that is counted nowhere yet.
func (y *way) incoming(name, host string, vni uint32, frame []byte) relayRow {
	if !y.byDevice {
		return relayRow{heard: heard{row: y.arrived(bpf.UplinkIn, name, y.from(host, vni).Wrap(frame))}}
	}
	return relayRow{heard: heard{row: row{name: name, program: tunnelIn, packet: Packet{Data: frame, Ifindex: y.Ifindex(Tunnel)}, verdict: Passed,
		prepare: y.keyed(host, vni, vtep(y.underlay, "host-a"))}}}
}

// fromHost is a frame of a host that goes to ports, and to hosts of this zone.
func (y *way) fromHost(name, host string, vni uint32, frame []byte, ports []int, hosts ...string) relayRow {
	r := y.incoming(name, host, vni, frame)
	if !y.byDevice && !y.stripsAtTC(frame) {
		return r // the tunnel device strips it
	}
	segment := y.Contents.SegmentNames[y.Contents.VNIs[vni].Segment]
	r.data, r.stats = frame, map[string]bpf.Counters{host: in(len(frame))}
	y.spread(&r, segment, ports, hosts, nil)
	if len(ports) == 0 && len(hosts) > 0 {
		r.copies = map[string]bpf.CopyCount{segment + " " + class(frame): {Frames: 1, Copies: uint64(len(hosts))}}
	}
	return r
}

// refused is a frame of a host that is dropped as it is. segment: where it is
// known by then.
func (y *way) refused(name string, reason bpf.Drop, host, segment string, vni uint32, frame []byte) relayRow {
	r := y.incoming(name, host, vni, frame)
	r.verdict, r.drops = Dropped, y.dropped(reason, r.packet.Ifindex, segment, len(r.packet.Data))
	return r
}

// lost is a frame of a host that is dropped when it has been stripped, and for
// some ports has been copied.
func (y *way) lost(name string, reason bpf.Drop, host, segment string, vni uint32, frame []byte, ports ...int) relayRow {
	r := y.fromHost(name, host, vni, frame, ports)
	if r.verdict == Passed {
		return r
	}
	if r.verdict == Redirected {
		r.verdict, r.bare = Dropped, append(r.bare, Port(ports[len(ports)-1]))
	}
	r.drops = y.dropped(reason, r.packet.Ifindex, segment, len(frame))
	return r
}

// when has something be so for a row, too.
func when(r relayRow, prepare func(*world) func()) relayRow {
	if r.prepare != nil {
		prepare = both(r.prepare, prepare)
	}
	r.prepare = prepare
	return r
}
