// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"overcast/bpf"
	"overcast/test/lab"
)

var underlays = []lab.Family{lab.IPv4, lab.IPv6}

// world is a stage with a datapath on it: host-a of the document below.
type world struct {
	*Stage
	*Datapath
	underlay  lab.Family
	constants bpf.Constants
	uplinks   map[string]string // of the hosts that are not reached by the device Uplink
}

// The hosts are numbered by their letters. host-d is not routed to, the MAC of
// host-e is not known, host-f is reached over a device without an Ethernet
// header, and host-g shares only the segment "other" with host-a. host-s is
// known to the packets of the tests and not to the document.
func vtep(underlay lab.Family, host string) netip.Addr {
	n := number(host)
	if underlay == lab.IPv6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%x", n))
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, n})
}

// number is a host's: its letter's, or 100 and its own.
func number(host string) byte {
	name := host[len("host-"):]
	if n, err := strconv.Atoi(name); err == nil {
		return byte(100 + n)
	}
	return name[0] - 'a' + 1
}

// mac is a MAC of the document, by its last two bytes.
func mac(a, b byte) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, 0, a, b}
}

const ports = 14

// document is YAML without its hosts: lan knows every MAC, wide floods what it
// does not know, school learns; near has no remotes, hermit nobody else at all,
// vague only a remote whose MAC is not known, and ghost no ports here. The other
// environment has MACs that are those of shop/lan too. Some ports of lan have
// configured addresses, those that guest4 and guest6 give their MACs.
const document = `
environments:
  - name: shop
    segments:
      - name: lan
        vni: 4500
        ports:
          - {name: one, host: host-a, interface: p1, mac: "02:00:00:00:0a:01", ips: ["10.9.10.1", "2001:45::a:1"]}
          - {name: two, host: host-a, interface: p2, mac: "02:00:00:00:0a:02", ips: ["10.9.10.2", "2001:45::a:2"]}
          - {name: list, host: host-a, interface: p3, mac: "02:00:00:00:0a:03", extra_macs: ["02:00:00:00:ee:01"], ips: ["10.9.10.3", "2001:45::a:3"]}
          - {name: missing, host: host-a, interface: p99, mac: "02:00:00:00:0a:63", ips: ["10.9.10.99"]}
          - {name: b, host: host-b, interface: eth1, mac: "02:00:00:00:0b:01", ips: ["10.9.11.1", "2001:45::b:1", "fe80::b:1"]}
          - {name: c, host: host-c, interface: eth1, mac: "02:00:00:00:0c:01"}
          - {name: d, host: host-d, interface: eth1, mac: "02:00:00:00:0d:01"}
          - {name: e, host: host-e, interface: eth1, mac: "02:00:00:00:0e:01"}
          - {name: f, host: host-f, interface: eth1, mac: "02:00:00:00:0f:01"}
      - name: wide
        vni: 4501
        unknown_unicast: flood
        members: [host-d, host-e]
        ports:
          - {name: five, host: host-a, interface: p5, mac: "02:00:00:00:0a:05"}
          - {name: six, host: host-a, interface: p6, mac: "02:00:00:00:0a:06"}
          - {name: seven, host: host-a, interface: p7, mac: "02:00:00:00:0a:07"}
          - {name: b, host: host-b, interface: eth2, mac: "02:00:00:00:0b:02"}
          - {name: c, host: host-c, interface: eth2, mac: "02:00:00:00:0c:02"}
      - name: school
        vni: 4502
        learning: true
        ports:
          - {name: any, host: host-a, interface: p4, mac: "02:00:00:00:0a:04", extra_macs: any}
          - {name: missing, host: host-a, interface: p98, mac: "02:00:00:00:0a:62"}
          - {name: eight, host: host-a, interface: p8}
          - {name: nine, host: host-a, interface: p9, mac: "02:00:00:00:0a:09"}
          - {name: b, host: host-b, interface: eth3, mac: "02:00:00:00:0b:03"}
          - {name: c, host: host-c, interface: eth3}
      - name: near
        vni: 4504
        ports:
          - {name: eleven, host: host-a, interface: p11, mac: "02:00:00:00:0a:11"}
          - {name: twelve, host: host-a, interface: p12, mac: "02:00:00:00:0a:12"}
      - name: hermit
        vni: 4505
        ports: [{name: thirteen, host: host-a, interface: p13, mac: "02:00:00:00:0a:13"}]
      - name: vague
        vni: 4506
        members: [host-e]
        ports: [{name: fourteen, host: host-a, interface: p14, mac: "02:00:00:00:0a:14"}]
      - {name: ghost, vni: 4507, members: [host-a, host-b], ports: []}
  - name: other
    segments:
      - name: lan
        vni: 4503
        ports:
          - {name: ten, host: host-a, interface: p10, mac: "02:00:00:00:0a:02"}
          - {name: g, host: host-g, interface: eth1, mac: "02:00:00:00:0b:01"}
`

const vniLAN, vniWide, vniSchool, vniOther, vniGhost = 4500, 4501, 4502, 4503, 4507

// hosts is the head of a document.
func hosts(underlay lab.Family, names ...string) string {
	var b strings.Builder
	b.WriteString("hosts:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "  - {name: %s, vtep: %q}\n", name, vtep(underlay, name))
	}
	return b.String()
}

// newStage builds a stage that ends with the test.
func newStage(t *testing.T, ports int) *Stage {
	t.Helper()
	s, err := NewStage(ports)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// newWorld loads the datapath of host-a; change is made to the constants first.
func newWorld(t *testing.T, underlay lab.Family, change func(*bpf.Constants)) *world {
	t.Helper()
	w := &world{Stage: newStage(t, ports), underlay: underlay}
	facts := w.Facts()
	for _, host := range []string{"host-b", "host-c", "host-e", "host-f", "host-g"} {
		addr := vtep(underlay, host)
		path := w.Path(addr, w.hop(host))
		switch host {
		case "host-e":
			path.Flags, path.Dst = bpf.PathEthernet, [6]byte{}
		case "host-f":
			path.Flags, path.Dst, path.Src = 0, [6]byte{}, [6]byte{}
		}
		facts.Paths[addr], facts.MTUs[addr] = path, 1500
	}
	// Port two is a veth whose other end is in another namespace, as it really is.
	two := facts.Ports[Port(2)]
	two.Peer = true
	facts.Ports[Port(2)] = two

	var err error
	if w.constants, err = w.Constants(vtep(underlay, "host-a")); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&w.constants)
	}
	text := hosts(underlay, "host-a", "host-b", "host-c", "host-d", "host-e", "host-f", "host-g") + document
	w.Datapath, err = Load(w.Host, Options{Document: text, Host: "host-a", Facts: facts, Constants: w.constants})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Datapath.Close)
	return w
}

// hop is the MAC of the next hop to a host: a router's, or the host's own.
func (w *world) hop(host string) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, 0xff, 0, number(host)}
}

// uplinkTo is the device by which a host is reached.
func (w *world) uplinkTo(host string) string {
	if device, other := w.uplinks[host]; other {
		return device
	}
	return Uplink
}

// mtu is that of the segments: an underlay of 1500 bytes less the outer headers.
func (w *world) mtu() int {
	if w.underlay == lab.IPv6 {
		return 1500 - 40 - 8 - 8 - 14
	}
	return 1500 - 20 - 8 - 8 - 14
}

// to is the outside of a packet of ours to a host.
func (w *world) to(host string, vni uint32) *Outer {
	o := &Outer{
		From: Station{w.UplinkMAC, vtep(w.underlay, "host-a")},
		To:   Station{w.hop(host), vtep(w.underlay, host)},
		Port: TunnelPort, VNI: vni, Geneve: w.geneve(),
	}
	switch host {
	case "host-e":
		o.To.MAC = make([]byte, 6) // the kernel's neighbour entry decides
	}
	return o
}

// from is the outside of a host's packet to us.
func (w *world) from(host string, vni uint32) Outer {
	return Outer{
		From:   Station{w.hop(host), vtep(w.underlay, host)},
		To:     Station{w.UplinkMAC, vtep(w.underlay, "host-a")},
		Source: 50000, Port: TunnelPort, VNI: vni, Geneve: w.geneve(),
	}
}

// geneve tells whether the tunnels are Geneve's.
func (w *world) geneve() bool {
	return w.constants.Geneve != 0
}

// outerHeaders is what stands in front of a frame in a tunnel packet, in bytes.
func (w *world) outerHeaders() int {
	return len(w.from("host-b", 1).Wrap(nil))
}

// key returns the slot whose name is this one.
func key(names map[uint32]string, name string) uint32 {
	for slot, n := range names {
		if n == name {
			return slot
		}
	}
	panic("nothing is named " + name)
}

func (w *world) segment(name string) uint32 { return key(w.Contents.SegmentNames, name) }
func (w *world) remote(name string) uint32  { return key(w.Contents.RemoteNames, name) }

// guest is a station of a segment: its MAC and, by the MAC, its addresses.
func guest4(m net.HardwareAddr) Station {
	return Station{m, netip.AddrFrom4([4]byte{10, 9, m[4], m[5]})}
}

func guest6(m net.HardwareAddr) Station {
	return Station{m, netip.MustParseAddr(fmt.Sprintf("2001:45::%x:%x", m[4], m[5]))}
}

// frames are a frame of every kind, by name, from one guest to another.
func frames(from, to net.HardwareAddr) map[string][]byte {
	return map[string][]byte{
		"IPv4 UDP":    UDP(guest4(from), guest4(to), 100),
		"IPv4 TCP":    TCP(guest4(from), guest4(to), 1000),
		"IPv6 UDP":    UDP(guest6(from), guest6(to), 100),
		"IPv6 TCP":    TCP(guest6(from), guest6(to), 1000),
		"ARP":         ARP(guest4(from), guest4(to)),
		"LLDP":        LLDP(guest4(from), guest4(to)),
		"unknown":     Ethernet(guest4(from), guest4(to), 0x88b5, slices.Repeat([]byte{0xc5}, 200)),
		"802.3":       Ethernet(guest4(from), guest4(to), 60, slices.Repeat([]byte{0x42}, 60)),
		"14 bytes":    Ethernet(guest4(from), guest4(to), 0x88b6, nil),
		"tagged IPv4": tagged(UDP(guest4(from), guest4(to), 100), 0x8100, 45),
		"QinQ IPv6":   tagged(tagged(UDP(guest6(from), guest6(to), 100), 0x8100, 45), 0x88a8, 9),
		"tagged ARP":  tagged(ARP(guest4(from), guest4(to)), 0x8100, 45),
	}
}

// tagged puts a VLAN tag into a frame. A device would put the outermost tag
// beside the frame; one in it is what a second tag looks like to a program.
func tagged(frame []byte, tpid, vid uint16) []byte {
	return slices.Insert(slices.Clone(frame), 12, byte(tpid>>8), byte(tpid), byte(vid>>8), byte(vid))
}

// mutated is a packet with one change to it.
func mutated(packet []byte, change func(p []byte) []byte) []byte {
	return change(slices.Clone(packet))
}

// sorted are the keys of a table in order, so that tests run in the same one.
func sorted[V any](table map[string]V) []string {
	return slices.Sorted(maps.Keys(table))
}
