// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"slices"

	"github.com/gopacket/gopacket/layers"

	"overcast/test/lab"
)

// Kinds of super-frames in a virtio_net_hdr (linux/virtio_net.h).
const (
	virtioTCP4  = 1
	virtioUDP   = 3 // whose pieces are fragments
	virtioTCP6  = 4
	virtioUDPL4 = 5 // whose pieces are datagrams
)

// virtioHeader describes a super-frame whose upper layer begins at a byte, with
// its checksum so many bytes further on and left to whoever sends it.
func virtioHeader(kind byte, upper, checksum, header, size int) (h [10]byte) {
	h[0], h[1] = 1, kind
	for i, v := range []int{header, size, upper, checksum} {
		binary.NativeEndian.PutUint16(h[2+2*i:], uint16(v))
	}
	return h
}

// unfinished makes the checksum of a frame's upper layer that of its pseudo
// header, as a stack leaves it to a device.
func unfinished(f []byte, ipv6 bool, upper, checksum int) {
	pseudo := []byte{0, f[upper-20+9]}
	addresses := f[upper-8 : upper]
	if ipv6 {
		pseudo, addresses = []byte{0, f[upper-40+6]}, f[upper-32:upper]
	}
	pseudo = append(binary.BigEndian.AppendUint16(pseudo, uint16(len(f)-upper)), addresses...)
	binary.BigEndian.PutUint16(f[upper+checksum:], ^sum(pseudo))
}

// machines send super-frames that no kernel of today makes, or that ours has no
// devices for: UDP that is to be fragmented (of older systems), and TCP
// behind tags.
func (h *hard) machines() {
	mtu := 1500 - h.Overhead()
	send := func(name string, header [10]byte, f []byte) {
		h.t.Helper()
		if err := h.two.SendAsMachine(header, f); err != nil {
			h.t.Fatalf("%s: %v", name, err)
		}
	}
	for _, e := range h.eachWay() {
		if e.from.Options.Kind != lab.Tap {
			continue
		}
		ipv6, ip := e.at.Is6(), 20
		if ipv6 {
			ip = 40
		}
		upper := 14 + ip
		_, to := h.pair(e)
		said := payload("a machine's", 5000)
		f := h.packet(e, layers.IPProtocolUDP, &layers.UDP{SrcPort: 4000, DstPort: layers.UDPPort(to.LocalAddr().(*net.UDPAddr).Port)}, said)
		unfinished(f, ipv6, upper, 6)
		piece := (mtu - ip) &^ 7
		if ipv6 {
			piece -= 8 // the fragment header
		}
		send("UDP, to be fragmented", virtioHeader(virtioUDP, upper, 6, upper+8, piece), f)
		h.hear(to, "fragments of a machine", said)
		send("UDP, datagrams", virtioHeader(virtioUDPL4, upper, 6, upper+8, mtu-ip-8), f)
		for rest := said; len(rest) > 0; {
			n := min(len(rest), mtu-ip-8)
			h.hear(to, "datagrams of a machine", rest[:n])
			rest = rest[n:]
		}

		kind := byte(virtioTCP4)
		if ipv6 {
			kind = virtioTCP6
		}
		for _, tags := range [][]byte{nil, tag(0x8100, 100), append(tag(0x88a8, 7), tag(0x8100, 100)...)} {
			seen := h.capture(h.one)
			said := payload(fmt.Sprintf("behind % x", tags), 5000)
			tcp := &layers.TCP{SrcPort: 4000, DstPort: 81, Seq: 1000, ACK: true, Window: 512}
			f := slices.Insert(h.packet(e, layers.IPProtocolTCP, tcp, said), 12, tags...)
			upper := upper + len(tags)
			unfinished(f, ipv6, upper, 16)
			send("TCP", virtioHeader(kind, upper, 16, upper+20, mtu-ip-20-len(tags)), f)
			h.eventually(fmt.Sprintf("TCP behind % x", tags), func() bool {
				return bytes.Equal(streamOf(seen, tags, ip), said)
			})
		}
	}
	h.nothingLost()
}

// streamOf is what came in TCP segments behind these tags.
func streamOf(seen *lab.Capture, tags []byte, ip int) []byte {
	stream := make([]byte, 0, 6000)
	for _, f := range seen.Frames() {
		at := 12 + len(tags) + 2 + ip
		if f.Outgoing || len(f.Data) < at+20 || !bytes.Equal(f.Data[12:12+len(tags)], tags) || binary.BigEndian.Uint16(f.Data[at+2:]) != 81 {
			continue
		}
		if int(binary.BigEndian.Uint32(f.Data[at+4:])) == 1000+len(stream) {
			stream = append(stream, f.Data[at+20:]...)
		}
	}
	return stream
}
