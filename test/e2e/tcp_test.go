// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"overcast/test/lab"
)

// segmentSizes are what the SYNs say that a guest's device has received.
func segmentSizes(c *lab.Capture) map[uint16]int {
	sizes := make(map[uint16]int)
	for _, f := range c.Frames() {
		packet := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
		tcp, ok := packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if f.Outgoing || !ok || !tcp.SYN {
			continue
		}
		for _, option := range tcp.Options {
			if option.OptionType == layers.TCPOptionKindMSS && len(option.OptionData) == 2 {
				sizes[binary.BigEndian.Uint16(option.OptionData)]++
			}
		}
	}
	return sizes
}

// With clamp_mss, TCP gets through between guests whose MTU is too large and that
// hear nothing of it, also to one behind a switch that clamps nothing itself.
func TestClampedTCP(t *testing.T) {
	t.Parallel()
	for _, underlay := range []lab.Family{lab.IPv4} { // TestClampMSS has both
		t.Run(underlay.String(), func(t *testing.T) {
			t.Parallel()
			w := buildWorld(t, lab.NewTest(t, lab.Options{Underlay: underlay}), lab.GuestOptions{MTU: 1500})
			w.mix(lab.ForeignOptions{}, lab.GuestOptions{MTU: 1500})
			w.segment += "        clamp_mss: true\n"
			w.start()
			mtu := uint16(1500 - w.Overhead())
			for _, g := range w.guests { // hear nothing
				w.run(g.Namespace, "nft", `table inet filter {
					chain in { type filter hook input priority filter; icmpv6 type packet-too-big drop; icmp type destination-unreachable drop; }
				}`)
			}
			for n, to := range w.guests[1:] {
				near, far := w.capture(w.guests[0]), w.capture(to)
				for i, address := range []string{fmt.Sprintf("2001:45::%d", n+2), fmt.Sprintf("10.9.0.%d", n+2)} {
					haul(t, w.guests[0], to, netip.AddrPortFrom(netip.MustParseAddr(address), uint16(5001+i)))
				}
				for _, c := range []*lab.Capture{near, far} {
					if sizes := segmentSizes(c); len(sizes) != 2 || sizes[mtu-40] == 0 || sizes[mtu-60] == 0 {
						t.Errorf("SYNs say %v, should say %d and %d", sizes, mtu-40, mtu-60)
					}
					c.Stop()
				}
			}
			w.noDrops()
		})
	}
}

// With tunnel.checksum every packet has the checksum that its family defines, and
// the other end's kernel finds it right.
func TestOuterChecksum(t *testing.T) {
	t.Parallel()
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		t.Run(underlay.String(), func(t *testing.T) {
			t.Parallel()
			w := buildWorld(t, lab.NewTest(t, lab.Options{Underlay: underlay, Wire: lab.NoOffloads}), lab.GuestOptions{})
			w.tunnel = "tunnel: {checksum: true}\n"
			if err := w.Hosts[0].WholeChecksums(lab.Uplink); err != nil {
				t.Fatal(err)
			}
			w.start()
			wire, err := w.Capture(w.Hosts[1].Namespace, lab.Uplink, "the uplink")
			if err != nil {
				t.Fatal(err)
			}
			w.ping(w.guests[0], "2001:45::2")
			w.run(w.guests[0].Namespace, "ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", "10.9.0.2")
			packets := 0
			for _, f := range wire.Frames() {
				packet := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
				udp, ok := packet.Layer(layers.LayerTypeUDP).(*layers.UDP)
				if f.Outgoing || !ok || udp.DstPort != 4789 {
					continue
				}
				packets++
				if err := verify(packet, udp); err != nil {
					t.Error(err)
				}
			}
			if packets < 4 {
				t.Errorf("%d tunnel packets on the wire", packets)
			}
			haul(t, w.guests[0], w.guests[1], netip.MustParseAddrPort("[2001:45::2]:5001"))
			haul(t, w.guests[1], w.guests[0], netip.MustParseAddrPort("10.9.0.1:5002"))
			w.noDrops()
			w.clean()
		})
	}
}

// verify computes a datagram's checksum, by a library that is not ours.
func verify(packet gopacket.Packet, udp *layers.UDP) error {
	if udp.Checksum == 0 {
		return fmt.Errorf("a packet without a checksum")
	}
	again := *udp
	if err := again.SetNetworkLayerForChecksum(packet.NetworkLayer()); err != nil {
		return err
	}
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{ComputeChecksums: true}, &again, gopacket.Payload(udp.Payload)); err != nil {
		return err
	}
	if again.Checksum != udp.Checksum {
		return fmt.Errorf("the checksum is %#04x, should be %#04x", udp.Checksum, again.Checksum)
	}
	return nil
}
