// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"overcast/test/lab"
)

// hear waits until a socket has got a datagram, and checks that no other byte
// came with it.
func (h *hard) hear(socket net.PacketConn, from string, said []byte) {
	h.t.Helper()
	// The limit only ends a test that would hang.
	if err := socket.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		h.t.Fatal(err)
	}
	got := make([]byte, 65536)
	n, _, err := socket.ReadFrom(got)
	if err != nil {
		h.t.Errorf("%s never heard % x: %v", from, said[:min(len(said), 16)], err)
		return
	}
	if !bytes.Equal(got[:n], said) {
		h.t.Errorf("%s heard %d bytes, should be %d:\n% x\n% x", from, n, len(said), got[:min(n, 64)], said[:min(len(said), 64)])
	}
}

// ends are guest one and two, and the other way round, over both families.
type ends struct {
	from, to *lab.Guest
	at       netip.Addr
}

func (h *hard) eachWay() []ends {
	return []ends{
		{h.one, h.two, netip.MustParseAddr("10.9.0.2")},
		{h.two, h.one, netip.MustParseAddr("10.9.0.1")},
		{h.one, h.two, netip.MustParseAddr("2001:45::2")},
		{h.two, h.one, netip.MustParseAddr("2001:45::1")},
	}
}

// pair opens a socket at each end; the sender's is connected.
func (h *hard) pair(e ends) (from, to *net.UDPConn) {
	h.t.Helper()
	port := h.port()
	to, err := e.to.ListenUDP(netip.AddrPortFrom(e.at, port))
	if err == nil {
		err = e.from.Do(func() (err error) {
			from, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.at, port)))
			return err
		})
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { from.Close(); to.Close() })
	return from, to
}

// fragments of the guests' stacks: they arrive, the other stack puts them
// together, and all of a datagram go one way through the cloud, the first of
// them, which alone has ports, with the later ones.
func (h *hard) fragments() {
	sent := h.capture(h.one)
	for i, e := range h.eachWay() {
		from, to := h.pair(e)
		for n := range 4 {
			said := payload(fmt.Sprint("fragments ", i, n), 3000+500*n)
			if _, err := from.Write(said); err != nil {
				h.t.Fatal(err)
			}
			h.hear(to, e.to.Name, said)
		}
		if e.from != h.one {
			continue
		}
		// The last one once more, as frames of which no stack knows the flow: the
		// programs must find their way by what they see of each.
		said := payload(fmt.Sprint("fragments ", i, 3), 4500)
		for _, f := range h.fragmentsOf(said, sent) {
			h.send(h.out, another(f))
		}
		h.hear(to, e.to.Name, said)
	}
	h.nothingLost()

	var ports map[string]map[uint16]bool
	h.eventually("fragments of ten datagrams on the uplink", func() bool {
		ports = h.fragmentPorts()
		return len(ports) == 10
	})
	for datagram, of := range ports {
		if len(of) != 1 {
			h.t.Errorf("the fragments of % x went out from the ports %v", datagram, of)
		}
	}
}

// fragmentPorts are the outer source ports of the fragments that went out over
// the uplink, by their datagrams.
func (h *hard) fragmentPorts() map[string]map[uint16]bool {
	ports := make(map[string]map[uint16]bool)
	for _, f := range h.wire.Frames() {
		source, inner := h.unwrap(f.Data)
		datagram := fragmentOf(inner)
		if !f.Outgoing || datagram == "" {
			continue
		}
		if ports[datagram] == nil {
			ports[datagram] = make(map[uint16]bool)
		}
		ports[datagram][source] = true
	}
	return ports
}

// fragmentsOf are the fragments in which something was sent.
func (h *hard) fragmentsOf(said []byte, sent *lab.Capture) [][]byte {
	h.t.Helper()
	var fragments [][]byte
	h.eventually("the fragments", func() bool {
		fragments = nil
		datagram, size := "", 0
		for _, f := range sent.Frames() {
			if bytes.Contains(f.Data, said[:16]) {
				datagram = fragmentOf(f.Data)
			}
			if datagram != "" && fragmentOf(f.Data) == datagram {
				fragments, size = append(fragments, f.Data), size+len(f.Data)
			}
		}
		return size > len(said)
	})
	return fragments
}

// another is a fragment that belongs to another datagram of the same flow.
func another(f []byte) []byte {
	f = slices.Clone(f)
	if f[12] == 0x86 {
		f[14+47] ^= 0x55
		return f
	}
	f[14+5] ^= 0x55
	copy(f[14+10:], []byte{0, 0})
	binary.BigEndian.PutUint16(f[14+10:], sum(f[14:14+20]))
	return f
}

// fragmentOf names the datagram that a frame is a fragment of, if it is one.
func fragmentOf(f []byte) string {
	if len(f) >= 14+20 && f[12] == 0x08 && f[13] == 0 && binary.BigEndian.Uint16(f[14+6:])&0x3fff != 0 {
		return string(f[14+12:14+20]) + string(f[14+4:14+6])
	}
	if len(f) >= 14+48 && f[12] == 0x86 && f[13] == 0xdd && f[14+6] == 44 && binary.BigEndian.Uint16(f[14+42:])&0xfff9 != 0 {
		return string(f[14+8:14+40]) + string(f[14+44:14+48])
	}
	return ""
}

// unwrap returns the source port of a tunnel packet on the wire, and its frame.
func (h *hard) unwrap(packet []byte) (source uint16, inner []byte) {
	at := h.Overhead() - 14 - 16 // of the outer IP header
	if len(packet) < 14+at+16 || binary.BigEndian.Uint16(packet[14+at+2:]) != 4789 {
		return 0, nil
	}
	return binary.BigEndian.Uint16(packet[14+at:]), packet[14+at+16:]
}

// tunnels of guests that this kernel has no devices for. Raw sockets of the
// guests' stacks send and take their packets. TestNestedVXLAN has the kernel's
// VXLAN, with its super-frames.
func (h *hard) tunnels() {
	inner4 := h.datagram(h.two4(), payload("in a tunnel", 1000))[14:]
	inner6 := h.datagram(h.two6(), payload("in a tunnel", 1000))[14:]
	esp := append([]byte{0, 0, 0x45, 0, 0, 0, 0, 1}, payload("no more to be seen", 1100)...)
	for name, c := range map[string]struct {
		protocol int
		packet   []byte
	}{
		"GRE":                {47, append([]byte{0, 0, 0x08, 0}, inner4...)},
		"GRE with key":       {47, append([]byte{0x20, 0, 0x86, 0xdd, 0, 0, 0, 9}, inner6...)},
		"GRE with Ethernet":  {47, append([]byte{0, 0, 0x65, 0x58}, h.datagram(h.two4(), payload("bridged", 900))...)},
		"GRE cut short":      {47, []byte{0xb0, 0, 0x08}},
		"IPIP":               {4, inner4},
		"IPIP, nothing else": {4, inner4[:20]},
		"6in4":               {41, inner6},
		"ESP":                {50, esp},
		"AH":                 {51, append([]byte{4, 4, 0, 0}, esp...)},
		"SCTP":               {132, append([]byte{0x1b, 0x58, 0x1b, 0x58}, esp...)},
	} {
		for _, e := range h.eachWay() {
			network := fmt.Sprintf("ip4:%d", c.protocol)
			if e.at.Is6() {
				network = fmt.Sprintf("ip6:%d", c.protocol)
			}
			address := &net.IPAddr{IP: e.at.AsSlice()}
			var from, to *net.IPConn
			err := e.to.Do(func() (err error) {
				to, err = net.ListenIP(network, address)
				return err
			})
			if err == nil {
				err = e.from.Do(func() (err error) {
					from, err = net.DialIP(network, nil, address)
					return err
				})
			}
			if err == nil {
				_, err = from.Write(c.packet)
			}
			if err != nil {
				h.t.Fatalf("%s over %s: %v", name, network, err)
			}
			h.hear(to, name, c.packet)
			from.Close()
			to.Close()
		}
	}
	h.nothingLost()
}

// datagramTrains are what a guest's stack makes of one write with UDP_SEGMENT:
// super-frames, as large as datagrams may be that just fit.
func (h *hard) datagramTrains() {
	mtu := 1500 - h.Overhead()
	sent := h.capture(h.one)
	for i, e := range h.eachWay() {
		size := mtu - 28
		if e.at.Is6() {
			size = mtu - 48
		}
		from, to := h.pair(e)
		raw, err := from.SyscallConn()
		if err != nil {
			h.t.Fatal(err)
		}
		var failed error
		if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size) }); err != nil || failed != nil {
			h.t.Fatal(err, failed)
		}
		// The last is shorter.
		var train []byte
		var said [][]byte
		for n := range 20 {
			p := payload(fmt.Sprintf("datagram %d %2d", i, n), size-13)
			if n == 19 {
				p = p[:40]
			}
			said, train = append(said, p), append(train, p...)
		}
		if _, err := from.Write(train); err != nil {
			h.t.Fatal(err)
		}
		for _, p := range said {
			h.hear(to, e.to.Name, p)
		}
	}
	h.nothingLost()
	h.eventually("a super-frame", func() bool {
		return slices.ContainsFunc(sent.Frames(), func(f lab.Frame) bool { return f.Outgoing && len(f.Data) > 20000 })
	})
}
