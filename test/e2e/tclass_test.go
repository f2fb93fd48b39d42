// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"overcast/test/lab"
)

// Packets have the traffic class, the hop limit and the source ports that the
// documents want, and a guest gets the class that another one sent, in every
// decap mode, over both underlays.
func TestOuterSettings(t *testing.T) {
	const class = 46<<2 | 1 // expedited forwarding, ECT(1)
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				w := buildWorld(t, lab.NewTest(t, lab.Options{Underlay: underlay}), lab.GuestOptions{}, "--decap", decap)
				w.tunnel = "tunnel: {dscp: copy, dscp_back: true, hop_limit: 33, source_ports: 40000-40003}\n"
				w.start()
				far := w.capture(w.guests[1])
				wire, err := w.Capture(w.Hosts[0].Namespace, lab.Uplink, "the uplink")
				if err != nil {
					t.Fatal(err)
				}
				for _, address := range []string{"10.9.0.2", "2001:45::2"} {
					w.run(w.guests[0].Namespace, "ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", "-Q", fmt.Sprint(class), address)
				}
				if n := countEchoes(far, class); n != 6 {
					t.Errorf("%d echo requests of class %#x at %s, should be 6", n, class, w.guests[1].Name)
				}
				n := 0
				for _, f := range wire.Frames() {
					packet := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
					udp, ok := packet.Layer(layers.LayerTypeUDP).(*layers.UDP)
					if !f.Outgoing || !ok || udp.DstPort != 4789 || !isEcho(packet) {
						continue
					}
					n++
					tos, hops := outerClass(packet)
					if tos != class || hops != 33 || udp.SrcPort < 40000 || udp.SrcPort > 40003 {
						t.Errorf("a packet has the class %#x, the hop limit %d and the source port %d", tos, hops, udp.SrcPort)
					}
				}
				if n != 6 {
					t.Errorf("%d echo requests on the wire, should be 6", n)
				}
				w.noDrops()
				w.clean()
			})
		}
	}
}

// isEcho tells whether a frame is, or carries, an echo request.
func isEcho(packet gopacket.Packet) bool {
	if icmp, ok := packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		return icmp.TypeCode.Type() == layers.ICMPv4TypeEchoRequest
	}
	icmp, ok := packet.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	return ok && icmp.TypeCode.Type() == layers.ICMPv6TypeEchoRequest
}

// outerClass reads the traffic class and the hop limit of the first IP header.
func outerClass(packet gopacket.Packet) (class, hops uint8) {
	switch ip := packet.NetworkLayer().(type) {
	case *layers.IPv4:
		return ip.TOS, ip.TTL
	case *layers.IPv6:
		return ip.TrafficClass, ip.HopLimit
	}
	return 0, 0
}

// countEchoes counts the echo requests with a traffic class that a device got.
func countEchoes(c *lab.Capture, class uint8) int {
	n := 0
	for _, f := range c.Frames() {
		packet := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
		if tos, _ := outerClass(packet); !f.Outgoing && isEcho(packet) && tos == class {
			n++
		}
	}
	return n
}
