// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"overcast/test/lab"
)

// sight is a frame that was seen somewhere.
type sight struct {
	lab.Frame
	outer  string // its outer headers, if it had some
	inner  []gopacket.Layer
	onward int // how far it has come: 0 where it was sent
}

// places are where frames are seen, on the way from client to web.
var places = []string{"client", "underlay", "web"}

// sights puts frames in the order of cause and effect. That is the order of
// time; but the kernel gives a frame its time once as it comes in, so what goes
// on to a guest has the same there. Such frames are in the order of their way.
func sights(frames []lab.Frame, client net.HardwareAddr) []sight {
	var all []sight
	for _, frame := range frames {
		packet := gopacket.NewPacket(frame.Data, layers.LayerTypeEthernet, gopacket.Default)
		s := sight{Frame: frame, onward: slices.Index(places, frame.Place)}
		s.outer, s.inner = split(packet)
		if eth, ok := s.inner[0].(*layers.Ethernet); ok && !bytes.Equal(eth.SrcMAC, client) {
			s.onward = len(places) - 1 - s.onward
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b sight) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.onward, b.onward))
	})
	return all
}

// trace prints frames in their order, and checks that the story is complete: ND,
// TCP and the page, everywhere.
func (s *stage) trace(frames []lab.Frame) error {
	client, err := net.ParseMAC(s.client.MAC)
	if err != nil {
		return err
	}
	seen := make(map[string]bool)
	var start time.Time
	for _, frame := range sights(frames, client) {
		text, mark := describe(frame.inner)
		if frame.Place == "underlay" && frame.outer == "" {
			continue // the hosts' own ARP
		}
		if start.IsZero() {
			start = frame.Time
		}
		if mark != "" {
			seen[frame.Place+" "+mark] = true
		}
		fmt.Printf("%8.3f ms  %-8s  %s\n", float64(frame.Time.Sub(start).Microseconds())/1000, frame.Place, text)
		if frame.outer != "" {
			fmt.Printf("%21s   inside %s\n", "", frame.outer)
		}
	}
	for _, place := range places {
		for _, mark := range []string{"solicitation", "advertisement", "syn", "ok"} {
			if !seen[place+" "+mark] {
				return fmt.Errorf("the trace lacks the %s at %s", mark, place)
			}
		}
	}
	return nil
}

// split takes a tunnel packet's outer headers off and tells what they were.
func split(packet gopacket.Packet) (string, []gopacket.Layer) {
	all := packet.Layers()
	at := slices.IndexFunc(all, func(l gopacket.Layer) bool { return l.LayerType() == layers.LayerTypeVXLAN })
	if at < 0 {
		return "", all
	}
	vxlan := all[at].(*layers.VXLAN)
	var b strings.Builder
	for _, l := range all[:at] {
		switch l := l.(type) {
		case *layers.IPv4:
			fmt.Fprintf(&b, "IPv4 %s > %s, ", l.SrcIP, l.DstIP)
		case *layers.IPv6:
			fmt.Fprintf(&b, "IPv6 %s > %s, ", l.SrcIP, l.DstIP)
		case *layers.UDP:
			fmt.Fprintf(&b, "UDP %d > %d, ", l.SrcPort, l.DstPort)
		}
	}
	fmt.Fprintf(&b, "VXLAN VNI %d", vxlan.VNI)
	return b.String(), all[at+1:]
}

// describe tells what a frame is. The mark names the parts of the story.
func describe(all []gopacket.Layer) (text, mark string) {
	var eth, ip string
	for _, l := range all {
		switch l := l.(type) {
		case *layers.Ethernet:
			eth = fmt.Sprintf("%s > %s", l.SrcMAC, l.DstMAC)
		case *layers.IPv6:
			ip = fmt.Sprintf("%s > %s", l.SrcIP, l.DstIP)
		case *layers.IPv4:
			ip = fmt.Sprintf("%s > %s", l.SrcIP, l.DstIP)
		case *layers.ARP:
			return fmt.Sprintf("%s  ARP", eth), ""
		case *layers.ICMPv6NeighborSolicitation:
			return fmt.Sprintf("%s  %s  Neighbor Solicitation: who has %s?", eth, ip, l.TargetAddress), "solicitation"
		case *layers.ICMPv6NeighborAdvertisement:
			return fmt.Sprintf("%s  %s  Neighbor Advertisement: %s is here", eth, ip, l.TargetAddress), "advertisement"
		case *layers.TCP:
			return describeTCP(ip, l)
		}
	}
	return eth + "  " + ip, ""
}

func describeTCP(ip string, tcp *layers.TCP) (text, mark string) {
	var flags []string
	for _, f := range []struct {
		set  bool
		name string
	}{{tcp.SYN, "SYN"}, {tcp.ACK, "ACK"}, {tcp.PSH, "PSH"}, {tcp.FIN, "FIN"}, {tcp.RST, "RST"}} {
		if f.set {
			flags = append(flags, f.name)
		}
	}
	text = fmt.Sprintf("%s  TCP %d > %d %s, %d bytes", ip, tcp.SrcPort, tcp.DstPort, strings.Join(flags, " "), len(tcp.Payload))
	if tcp.SYN && !tcp.ACK {
		mark = "syn"
	}
	line, _, _ := strings.Cut(string(tcp.Payload), "\r\n")
	if strings.Contains(line, "HTTP/1.1") {
		text += ": " + line
	}
	if strings.HasPrefix(line, "HTTP/1.1 200") {
		mark = "ok"
	}
	return text, mark
}
