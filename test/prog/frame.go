// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Station is an end of a conversation.
type Station struct {
	MAC net.HardwareAddr
	IP  netip.Addr
}

// Ethernet is a frame of any type, or of any length if that is below 1536.
func Ethernet(from, to Station, etherType uint16, rest []byte) []byte {
	frame := append(append(make([]byte, 0, 14+len(rest)), to.MAC...), from.MAC...)
	return append(binary.BigEndian.AppendUint16(frame, etherType), rest...)
}

// UDP is a frame with a datagram of this many bytes from its IP header on, in
// whichever family the stations' addresses are.
func UDP(from, to Station, size int) []byte {
	udp := &layers.UDP{SrcPort: 4000, DstPort: 5000}
	return packet(from, to, layers.IPProtocolUDP, udp, size-ipHeader(to)-8)
}

// TCP is a frame with a segment of this many bytes from its IP header on.
func TCP(from, to Station, size int) []byte {
	tcp := &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 1000, Ack: 2000, ACK: true, PSH: true, Window: 512}
	return packet(from, to, layers.IPProtocolTCP, tcp, size-ipHeader(to)-20)
}

// ARP is a request of one station for the other, unpadded.
func ARP(from, to Station) []byte {
	arp := &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: layers.ARPRequest, SourceHwAddress: from.MAC, SourceProtAddress: from.IP.AsSlice(),
		DstHwAddress: make([]byte, 6), DstProtAddress: to.IP.AsSlice(),
	}
	return Ethernet(from, to, uint16(layers.EthernetTypeARP), serialize(arp))
}

// LLDP is a frame of the link layer discovery protocol (IEEE 802.1AB).
func LLDP(from, to Station) []byte {
	return Ethernet(from, to, uint16(layers.EthernetTypeLinkLayerDiscovery), []byte("\x02\x07\x04\x02\x00\x00\x00\x00\x01\x04\x05\x05eth0\x06\x02\x00\x78\x00\x00"))
}

func ipHeader(s Station) int {
	if s.IP.Is6() {
		return 40
	}
	return 20
}

// checksummed is an upper layer whose checksum covers its IP header's addresses.
type checksummed interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}

// packet puts an upper layer and so many bytes of payload into a frame.
func packet(from, to Station, protocol layers.IPProtocol, upper checksummed, payload int) []byte {
	ip := network(from, to, protocol)
	_ = upper.SetNetworkLayerForChecksum(ip) // knows both families
	return Ethernet(from, to, etherType(to), serialize(ip, upper, gopacket.Payload(bytes.Repeat([]byte{0xa5, 0x5a, 0x3c}, payload/3+1)[:payload])))
}

func etherType(to Station) uint16 {
	if to.IP.Is6() {
		return uint16(layers.EthernetTypeIPv6)
	}
	return uint16(layers.EthernetTypeIPv4)
}

type networkLayer interface {
	gopacket.NetworkLayer
	gopacket.SerializableLayer
}

// network is the IP header between two stations.
func network(from, to Station, protocol layers.IPProtocol) networkLayer {
	if to.IP.Is6() {
		return &layers.IPv6{Version: 6, NextHeader: protocol, HopLimit: 64, SrcIP: from.IP.AsSlice(), DstIP: to.IP.AsSlice()}
	}
	return &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: protocol, Flags: layers.IPv4DontFragment, SrcIP: from.IP.AsSlice(), DstIP: to.IP.AsSlice()}
}

// serialize puts layers together, with lengths and checksums. Layers that do
// not go together are a mistake of the caller, and panic. Ethernet is not among
// them: the library would pad it to 60 bytes.
func serialize(parts ...gopacket.SerializableLayer) []byte {
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		panic(err)
	}
	return bytes.Clone(buffer.Bytes())
}
