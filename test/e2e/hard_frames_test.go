// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"overcast/test/lab"
)

// hard is a world for frames that are hard on a switch: a veth's guest and a
// tap's on two hosts, and a third beside the first.
type hard struct {
	*world
	one, two, near *lab.Guest
	far, beside    *lab.Capture // of two and near
	wire           *lab.Capture // of the uplink of one's host
	out            *lab.Raw     // of one; opening and closing a packet socket takes its time
	uplink         *lab.Raw     // of one's host
	counted        map[*lab.Host]map[string]uint64
	lastPort       uint16
}

func newHard(t *testing.T, underlay lab.Family, decap string) *hard {
	t.Helper()
	w := &world{Lab: lab.NewTest(t, lab.Options{Underlay: underlay}), t: t, flags: []string{"--decap", decap}}
	h := &hard{world: w, counted: make(map[*lab.Host]map[string]uint64)}
	h.one = w.addGuest(w.Hosts[0], "one", lab.GuestOptions{})
	h.two = w.addGuest(w.Hosts[1], "two", lab.GuestOptions{Kind: lab.Tap})
	h.near = w.addGuest(w.Hosts[0], "near", lab.GuestOptions{})
	t.Cleanup(w.explain)
	w.start()
	for _, address := range []string{"10.9.0.2", "2001:45::2", "10.9.0.3", "2001:45::3"} {
		w.ping(h.one, address)
	}
	h.far, h.beside = w.capture(h.two), w.capture(h.near)
	var err error
	if h.wire, err = w.Capture(w.Hosts[0].Namespace, lab.Uplink, "the uplink"); err != nil {
		t.Fatal(err)
	}
	if h.out, err = h.one.OpenRaw(lab.GuestDevice); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.out.Close() })
	if h.uplink, err = w.Hosts[0].OpenRaw(lab.Uplink); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.uplink.Close() })
	return h
}

// What hard frames become, row by row of docs/frames.md, in every decap mode,
// over both underlays. Whatever else they do, they make no host send a fragment.
func TestHardFrames(t *testing.T) {
	t.Parallel()
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				t.Parallel()
				h := newHard(t, underlay, decap)
				for _, c := range []struct {
					name  string
					check func()
				}{
					{"runts", h.runts},
					{"IP headers cut at each byte", h.cutHeaders},
					{"tags cut short", h.cutTags},
					{"lengths that are not the frame's", h.wrongLengths},
					{"IPv4 options", h.options},
					{"IPv6 extension headers", h.extensions},
					{"IPv6 extension headers cut at each byte", h.cutExtensions},
					{"IPv6 jumbogram", h.jumbogram},
					{"UDP checksum of zero", h.zeroChecksums},
					{"fragments", h.fragments},
					{"tunnels of guests", h.tunnels},
					{"UDP super-frames", h.datagramTrains},
					{"super-frames of machines", h.machines},
					{"reserved group addresses", h.reservedGroups},
					{"sources that cannot be", h.impossibleSources},
					{"to the sender itself", h.hairpin},
					{"super-frames of tunnels", h.tunnelSuperFrames},
					{"too big", h.tooBig},
				} {
					t.Run(c.name, func(t *testing.T) {
						was := h.t
						h.t = t
						defer func() { h.t = was }()
						c.check()
					})
				}
				h.atomicPackets(h.wire)
				h.clean()
			})
		}
	}
}

// arrives sends a frame of guest one and waits for it where it should come,
// once and unchanged.
func (h *hard) arrives(name string, f []byte, at ...*lab.Capture) {
	h.t.Helper()
	h.send(h.out, f)
	for _, c := range at {
		if err := c.Await(f); err != nil {
			h.t.Errorf("%s: %v", name, err)
		}
		if n := c.Count(f); n > 1 {
			h.t.Errorf("%s: %d copies at %s", name, n, c.Place)
		}
	}
}

func (h *hard) send(by *lab.Raw, f []byte) {
	h.t.Helper()
	if err := by.Write(f); err != nil {
		h.t.Fatalf("% x: %v", f[:min(len(f), 64)], err)
	}
}

// drop sends frames that a host drops for a reason, all of them and nothing
// else. by: guest one, or its host's uplink.
func (h *hard) drop(host *lab.Host, reason string, by *lab.Raw, frames ...[]byte) {
	h.t.Helper()
	for _, f := range frames {
		h.send(by, f)
	}
	if h.counted[host] == nil {
		h.counted[host] = make(map[string]uint64)
	}
	h.counted[host][reason] += uint64(len(frames))
	h.eventually("the drops", func() bool { return h.drops(host)[reason] >= h.counted[host][reason] })
	h.nothingLost()
}

// nothingLost checks that no host has dropped more than was meant.
func (h *hard) nothingLost() {
	h.t.Helper()
	for _, host := range h.Hosts {
		if got := h.drops(host); len(got) != len(h.counted[host]) || len(got) > 0 && !maps.Equal(got, h.counted[host]) {
			h.t.Errorf("%s dropped %v, should be %v", host.Name, got, h.counted[host])
		}
	}
}

// never checks that frames have arrived nowhere.
func (h *hard) never(frames ...[]byte) {
	h.t.Helper()
	// What is still under way would be in front of these.
	h.ping(h.one, "10.9.0.2")
	h.arrives("a frame behind them", frame("ff:ff:ff:ff:ff:ff", h.one.MAC, append([]byte{0x88, 0xb5}, payload(fmt.Sprint("behind ", h.port()), 50)...)...), h.far, h.beside)
	for _, f := range frames {
		for _, c := range []*lab.Capture{h.far, h.beside} {
			if c.Count(f) > 0 {
				h.t.Errorf("arrived at %s: % x", c.Place, f)
			}
		}
	}
}

// atomicPackets checks that nothing in a capture of an uplink that went out is,
// or could become, a fragment.
func (w *world) atomicPackets(wire *lab.Capture) {
	w.t.Helper()
	n := 0
	for _, f := range wire.Frames() {
		if !f.Outgoing || len(f.Data) < 14+40 {
			continue
		}
		switch etherType := binary.BigEndian.Uint16(f.Data[12:]); {
		case etherType == 0x0800 && f.Data[14+9] == 17:
			if n++; binary.BigEndian.Uint16(f.Data[14+6:]) != 0x4000 {
				w.t.Errorf("a tunnel packet without DF, or a fragment: % x", f.Data[:34])
			}
		case etherType == 0x86dd && f.Data[14+6] == 17:
			n++
		case etherType == 0x86dd && f.Data[14+6] == 44:
			w.t.Errorf("a fragment: % x", f.Data[:54])
		}
	}
	if n == 0 {
		w.t.Error("no tunnel packets on the uplink")
	}
}

// Frames of 14 to 60 bytes are not padded to Ethernet's least length; there are
// no shorter ones.
func (h *hard) runts() {
	if short := frame(h.two.MAC, h.one.MAC, 0x88); h.out.Write(short) == nil || h.two.SendAsMachine([10]byte{}, short) == nil {
		h.t.Error("a device has taken a frame without a whole Ethernet header")
	}
	for n := range 60 - 14 + 1 {
		body := append(binary.BigEndian.AppendUint16(nil, 0x88b5), slices.Repeat([]byte{0x5c}, n)...)
		h.arrives(fmt.Sprint(14+n, " bytes"), frame(h.two.MAC, h.one.MAC, body...), h.far)
		h.arrives(fmt.Sprint(14+n, " bytes beside"), frame(h.near.MAC, h.one.MAC, body...), h.beside)
	}
	h.nothingLost()
}

// shortIP are frames to a MAC that claim to be IP, of each length that is too
// short for its header.
func shortIP(dst, src string) [][]byte {
	var frames [][]byte
	header4 := []byte{0x45, 0, 0, 20, 0x77, 0x78, 0, 0, 64, 253, 1, 1, 10, 9, 0, 1, 10, 9, 0, 2}
	header6 := append([]byte{0x60, 0, 0, 0, 0, 8, 59, 64}, slices.Repeat([]byte{0x20}, 32)...)
	for n := range header4 {
		frames = append(frames, frame(dst, src, append([]byte{0x08, 0x00}, header4[:n]...)...))
	}
	for n := range header6 {
		frames = append(frames, frame(dst, src, append([]byte{0x86, 0xdd}, header6[:n]...)...))
	}
	return frames
}

func (h *hard) cutHeaders() {
	var all [][]byte
	for _, dst := range []string{h.two.MAC, h.near.MAC, "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"} {
		all = append(all, shortIP(dst, h.one.MAC)...)
	}
	h.drop(h.Hosts[0], "DROP_FRAME_CUT", h.out, all...)
	// The same from the other side, in packets that are right.
	from := h.outerBetween(h.Hosts[0].Namespace, h.Hosts[0].VTEP, h.Hosts[1])
	var packets [][]byte
	for _, f := range shortIP(h.two.MAC, h.one.MAC) {
		packets = append(packets, from.wrap(f))
	}
	h.drop(h.Hosts[1], "DROP_FRAME_CUT", h.uplink, packets...)
	h.never(all...)
}

// A tag that is cut short, or with less than two bytes behind it, is lost by the
// kernel where it unpacks tags (skb_vlan_untag), in front of our programs.
func (h *hard) cutTags() {
	var frames [][]byte
	for _, tpid := range []uint16{0x8100, 0x88a8} {
		whole := append(tag(tpid, 3), 0x88, 0xb5, 1)
		for n := 2; n <= len(whole); n++ {
			for _, dst := range []string{h.two.MAC, h.near.MAC} {
				frames = append(frames, frame(dst, h.one.MAC, whole[:n]...))
				h.send(h.out, frames[len(frames)-1])
			}
		}
	}
	h.never(frames...)
	h.nothingLost()
	h.arrives("two bytes behind a tag", frame(h.two.MAC, h.one.MAC, append(tag(0x8100, 3), 0x88, 0xb5, 1, 2)...), h.far)
}

// checksummed is an upper layer whose checksum covers the addresses below it.
type checksummed interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}

// packet is a frame from one guest to another, over the family of the address
// that it goes to.
func (h *hard) packet(e ends, protocol layers.IPProtocol, upper checksummed, payload []byte) []byte {
	h.t.Helper()
	src, err := net.ParseMAC(e.from.MAC)
	if err != nil {
		h.t.Fatal(err)
	}
	dst, err := net.ParseMAC(e.to.MAC)
	if err != nil {
		h.t.Fatal(err)
	}
	eth := &layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: layers.EthernetTypeIPv4}
	source := e.from.Options.Addresses // IPv6, then IPv4
	if e.at.Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, NextHeader: protocol, HopLimit: 64, SrcIP: source[0].Addr().AsSlice(), DstIP: e.at.AsSlice()}
		_ = upper.SetNetworkLayerForChecksum(ip) // knows IPv6
		return serialize(eth, ip, upper, gopacket.Payload(payload))
	}
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: 0x4545, Protocol: protocol, SrcIP: source[1].Addr().AsSlice(), DstIP: e.at.AsSlice()}
	_ = upper.SetNetworkLayerForChecksum(ip) // knows IPv4
	return serialize(eth, ip, upper, gopacket.Payload(payload))
}

// datagram is a frame of guest one to guest two with a UDP datagram in it.
func (h *hard) datagram(to netip.AddrPort, payload []byte) []byte {
	h.t.Helper()
	udp := &layers.UDP{SrcPort: 4000, DstPort: layers.UDPPort(to.Port())}
	return h.packet(ends{h.one, h.two, to.Addr()}, layers.IPProtocolUDP, udp, payload)
}

// two4 is an address of guest two with a port of which nobody has heard yet: a
// process that has just been started may hold the last one's socket open.
func (h *hard) two4() netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("10.9.0.2"), h.port())
}

func (h *hard) two6() netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("2001:45::2"), h.port())
}

func (h *hard) port() uint16 {
	h.lastPort++
	return 7000 + h.lastPort
}

// wrongLengths arrive as they are: no switch looks at what IP says of itself.
func (h *hard) wrongLengths() {
	for _, c := range []struct {
		to      netip.AddrPort
		ip, udp int // where the lengths are
	}{{h.two4(), 14 + 2, 14 + 20 + 4}, {h.two6(), 14 + 4, 14 + 40 + 4}} {
		for _, length := range []int{0, 1, 19, 40, 120, 1000, 65535} {
			for name, at := range map[string]int{"IP": c.ip, "UDP": c.udp} {
				f := h.datagram(c.to, payload(fmt.Sprint(name, length), 60))
				binary.BigEndian.PutUint16(f[at:], uint16(length))
				h.arrives(fmt.Sprintf("to %s, %s of %d bytes", c.to, name, length), f, h.far)
			}
		}
	}
	for ihl := range 16 {
		f := h.datagram(h.two4(), payload(fmt.Sprint("header ", ihl), 20))
		f[14] = 0x40 | byte(ihl)
		h.arrives(fmt.Sprint("IPv4 header of ", 4*ihl, " bytes"), f, h.far)
	}
	// Padding behind the datagram; the guest's stack takes the datagram.
	for _, to := range []netip.AddrPort{h.two4(), h.two6()} {
		said := payload("padded", 20)
		h.heard(to, said, func() {
			h.arrives("padded", append(h.datagram(to, said), 1, 2, 3, 4, 5), h.far)
		})
	}
	h.nothingLost()
}

// heard checks that a socket of guest two gets what is sent to it, and once.
func (h *hard) heard(to netip.AddrPort, said []byte, send func()) {
	h.t.Helper()
	socket, err := h.two.ListenUDP(to)
	if err != nil {
		h.t.Fatal(err)
	}
	defer socket.Close()
	send()
	h.hear(socket, to.String(), said)
}

// options: forty bytes of them, which the guest's stack takes.
func (h *hard) options() {
	said, to := payload("options", 50), h.two4()
	f := h.datagram(to, said)
	f[14] = 0x4f
	binary.BigEndian.PutUint16(f[14+2:], uint16(len(f)-14+40))
	f = slices.Insert(f, 14+20, slices.Repeat([]byte{1}, 40)...)
	copy(f[14+10:], []byte{0, 0})
	binary.BigEndian.PutUint16(f[14+10:], sum(f[14:14+60]))
	h.heard(to, said, func() { h.arrives("options", f, h.far) })
	h.nothingLost()
}

// sum is the Internet checksum.
func sum(b []byte) uint16 {
	s := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

// chained puts extension headers, by their numbers, in front of a datagram over
// IPv6: options of nothing but padding, routing of an experimental type that is
// done, and a whole packet's fragment header (RFC 8200 4, RFC 4727, RFC 6946).
func chained(f []byte, chain ...byte) []byte {
	next, at := f[14+6], 14+40
	f = slices.Clone(f)
	for _, header := range slices.Backward(chain) {
		var b []byte
		switch header {
		case 0, 60:
			b = []byte{next, 0, 1, 4, 0, 0, 0, 0}
		case 43:
			b = append([]byte{next, 2, 253, 0}, make([]byte, 20)...)
		case 44:
			b = []byte{next, 0, 0, 0, 0, 0, 0x45, 0x45}
		}
		f, next = slices.Insert(f, at, b...), header
	}
	f[14+6] = next
	binary.BigEndian.PutUint16(f[14+4:], uint16(len(f)-at))
	return f
}

// chains of extension headers. Our programs follow six.
func chains() map[string][]byte {
	return map[string][]byte{
		"hop-by-hop options":  {0},
		"destination options": {60},
		"a routing header":    {43},
		"an atomic fragment":  {44},
		"one of each":         {0, 60, 43, 44, 60},
		"fourteen":            append([]byte{0}, slices.Repeat([]byte{60}, 13)...),
	}
}

// extensions: the guest's stack takes what is behind them.
func (h *hard) extensions() {
	for name, chain := range chains() {
		said, to := payload(name, 40), h.two6()
		h.heard(to, said, func() { h.arrives(name, chained(h.datagram(to, said), chain...), h.far) })
	}
	h.nothingLost()
}

func (h *hard) cutExtensions() {
	whole := chained(h.datagram(h.two6(), payload("cut chain", 8)), 0, 60, 43, 44, 60)
	for n := 14 + 40; n < len(whole); n++ {
		f := slices.Clone(whole[:n])
		h.arrives(fmt.Sprint("cut at ", n), f, h.far)
		copy(f, []byte{0x33, 0x33, 0, 0, 0, 1})
		copy(f[14+24:], net.ParseIP("ff02::1"))
		h.arrives(fmt.Sprint("to all, cut at ", n), f, h.far, h.beside)
	}
	h.nothingLost()
}

// jumbogram: no segment has room for one, so what there can be says that it is
// one and is shorter (RFC 2675). It is the receiver's to refuse.
func (h *hard) jumbogram() {
	f := chained(h.datagram(h.two6(), payload("jumbogram", 100)), 0)
	copy(f[14+40+2:], []byte{0xc2, 4, 0, 1, 0x11, 0x70})
	binary.BigEndian.PutUint16(f[14+4:], 0)
	h.arrives("jumbogram", f, h.far)
	h.nothingLost()
}

// zeroChecksums are none in IPv4, and the receiver's to refuse in IPv6.
func (h *hard) zeroChecksums() {
	said, to := payload("no checksum", 33), h.two4()
	f := h.datagram(to, said)
	copy(f[14+20+6:], []byte{0, 0})
	h.heard(to, said, func() { h.arrives("IPv4", f, h.far) })
	f = h.datagram(h.two6(), said)
	copy(f[14+40+6:], []byte{0, 0})
	h.arrives("IPv6", f, h.far)
	h.nothingLost()
}

// reservedGroups are addresses that bridges keep to themselves (IEEE 802.1Q
// 8.6.3). The segment is a wire in this: what speaks there (LLDP, LACP, 802.1X,
// STP) reaches everybody else on it.
func (h *hard) reservedGroups() {
	for last := range 16 {
		f := frame(fmt.Sprintf("01:80:c2:00:00:%02x", last), h.one.MAC, append([]byte{0x88, 0xb5}, payload("reserved", last)...)...)
		h.arrives(fmt.Sprint("reserved address ", last), f, h.far, h.beside)
	}
	h.nothingLost()
}

// impossibleSources are dropped, whatever they are sent to, and from remotes too.
func (h *hard) impossibleSources() {
	from := h.outerBetween(h.Hosts[0].Namespace, h.Hosts[0].VTEP, h.Hosts[1])
	var all [][]byte
	for _, source := range []string{"00:00:00:00:00:00", "03:00:00:00:00:01", "01:00:5e:00:00:05", "ff:ff:ff:ff:ff:ff"} {
		var frames [][]byte
		for _, dst := range []string{h.two.MAC, h.near.MAC, "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"} {
			frames = append(frames, frame(dst, source, append([]byte{0x88, 0xb5}, payload("from nobody", 50)...)...))
		}
		h.drop(h.Hosts[0], "DROP_FRAME_SOURCE", h.out, frames...)
		h.drop(h.Hosts[1], "DROP_FRAME_SOURCE", h.uplink, from.wrap(frames[0]), from.wrap(frames[2]))
		all = append(all, frames...)
	}
	h.never(all...)
}

// hairpin: a switch sends nothing back to where it came from.
func (h *hard) hairpin() {
	f := frame(h.one.MAC, h.one.MAC, append([]byte{0x88, 0xb5}, payload("to myself", 50)...)...)
	h.drop(h.Hosts[0], "DROP_PORT_HAIRPIN", h.out, f)
	h.never(f)
}

// tooBig is for the tunnel by one byte. The sender is told where that may be; a
// port of the same host gets what goes to all.
func (h *hard) tooBig() {
	mtu := 1500 - h.Overhead()
	if err := h.one.SetMTU(lab.GuestDevice, mtu+1); err != nil {
		h.t.Fatal(err)
	}
	if err := h.near.SetMTU(lab.GuestDevice, mtu+1); err != nil {
		h.t.Fatal(err)
	}
	// From their EtherType on, of mtu+1 bytes behind it.
	other := append([]byte{0x88, 0xb5}, payload("too big", mtu+1-7)...)
	behindTag := append(tag(0x8100, 3), append([]byte{0x88, 0xb5}, payload("too big, tagged", mtu-3-15)...)...)
	ip := func(to netip.AddrPort) []byte {
		headers := 28
		if to.Addr().Is6() {
			headers = 48
		}
		return h.datagram(to, payload("too big", mtu+1-headers-7))[12:]
	}
	all4, all6 := netip.MustParseAddrPort("224.0.0.77:7000"), netip.MustParseAddrPort("[ff02::1]:7000")
	for _, c := range []struct {
		name, dst, reason string
		rest              []byte
	}{
		{"IPv4", h.two.MAC, "DROP_MTU_ANSWERED", ip(h.two4())},
		{"IPv6", h.two.MAC, "DROP_MTU_ANSWERED", ip(h.two6())},
		{"IPv6 to a group", "33:33:00:00:00:01", "DROP_MTU_ANSWERED", ip(all6)},
		{"IPv4 to a group", "01:00:5e:00:00:4d", "DROP_MTU_UNANSWERABLE", ip(all4)},
		{"another EtherType", h.two.MAC, "DROP_MTU_UNANSWERABLE", other},
		{"another EtherType to a group", "01:00:5e:7f:00:45", "DROP_MTU_UNANSWERABLE", other},
		{"tagged", h.two.MAC, "DROP_MTU_UNANSWERABLE", behindTag},
	} {
		f := frame(c.dst, h.one.MAC, c.rest...)
		h.drop(h.Hosts[0], c.reason, h.out, f)
		if group := f[0]&1 != 0; group {
			if err := h.beside.Await(f); err != nil {
				h.t.Errorf("%s: %v", c.name, err)
			}
		}
		// A byte less is not too big.
		h.arrives(c.name+" that fits", f[:len(f)-1], h.far)
		if h.far.Count(f) > 0 {
			h.t.Errorf("%s: arrived on the other host", c.name)
		}
	}
	h.nothingLost()
}
