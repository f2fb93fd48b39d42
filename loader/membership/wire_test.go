// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var compareAddrs = cmpopts.EquateComparable(netip.Addr{})

func addrs(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

func addr(text string) netip.Addr {
	return netip.MustParseAddr(text)
}

var guestMAC = MAC{0x02, 0, 0, 0, 0, 0x0b}

// from begins a message of a guest.
func from(kind MessageKind, f Family, version int) Message {
	source := addr("10.9.0.2")
	if f == IPv6 {
		source = addr("fe80::2")
	}
	return Message{Kind: kind, Family: f, Version: version, SourceMAC: guestMAC, Source: source}
}

// built are messages of all kinds, as Parse reads them.
func built() map[string]Message {
	with := func(m Message, change func(*Message)) Message {
		change(&m)
		return m
	}
	all := make(map[string]Message)
	for _, f := range Families {
		group, sources := addr("239.1.2.3"), addrs("10.1.0.1", "10.1.0.2", "10.1.0.3")
		if f == IPv6 {
			group, sources = addr("ff0e::1:3"), addrs("2001:db8::1", "2001:db8::2", "2001:db8::3")
		}
		name := func(what string) string { return fmt.Sprintf("%s %s", f, what) }
		all[name("general query")] = with(from(Query, f, newest(f)), func(m *Message) {
			m.MaxResponse, m.Robustness, m.QueryInterval = 10*time.Second, 2, 125*time.Second
		})
		all[name("general query, long times")] = with(from(Query, f, newest(f)), func(m *Message) {
			m.MaxResponse, m.Robustness, m.QueryInterval = 51200*time.Millisecond, 7, 4096*time.Second
		})
		all[name("group query")] = with(from(Query, f, newest(f)), func(m *Message) {
			m.Group, m.MaxResponse, m.Suppress, m.Robustness, m.QueryInterval = group, time.Second, true, 3, 20*time.Second
		})
		all[name("source query")] = with(from(Query, f, newest(f)), func(m *Message) {
			m.Group, m.Sources, m.MaxResponse = group, sources, time.Second
		})
		all[name("empty report")] = from(Report, f, newest(f))
		all[name("report")] = with(from(Report, f, newest(f)), func(m *Message) {
			for kind := ModeIsInclude; kind <= BlockOldSources; kind++ {
				m.Records = append(m.Records, Record{kind, group, sources[:kind%4]})
			}
			m.Records[3].Sources = nil
		})
		all[name("advertisement")] = from(Advertisement, f, 0)
		old := newest(f) - 1
		all[name("old report")] = with(from(Report, f, old), func(m *Message) { m.Group = group })
		all[name("old leave")] = with(from(Leave, f, old), func(m *Message) { m.Group = group })
		all[name("old general query")] = with(from(Query, f, old), func(m *Message) { m.MaxResponse = 10 * time.Second })
		all[name("old group query")] = with(from(Query, f, old), func(m *Message) { m.Group, m.MaxResponse = group, time.Second })
	}
	all["IGMPv1 report"] = with(from(Report, IPv4, 1), func(m *Message) { m.Group = addr("239.1.2.3") })
	all["IGMPv1 query"] = with(from(Query, IPv4, 1), func(m *Message) { m.MaxResponse = 10 * time.Second })
	all["report without an address"] = with(from(Report, IPv6, 2), func(m *Message) {
		m.Source, m.Records = netip.IPv6Unspecified(), []Record{{ChangeToExclude, addr("ff02::1:ff00:2"), nil}}
	})
	all["query without an address"] = with(from(Query, IPv4, 3), func(m *Message) {
		m.Source = netip.IPv4Unspecified()
	})
	return all
}

func TestRoundTrip(t *testing.T) {
	for name, want := range built() {
		t.Run(name, func(t *testing.T) {
			frame := Build(&want)
			got, err := Parse(frame)
			if err != nil {
				t.Fatal(err)
			}
			want.Frame = frame
			if diff := cmp.Diff(want, *got, compareAddrs, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			// Padding to Ethernet's least length is no part of the message.
			if _, err := Parse(append(bytes.Clone(frame), make([]byte, 20)...)); err != nil {
				t.Errorf("padded: %v", err)
			}
		})
	}
}

// What is built is also what a decoder of others reads, and what it computes
// for checksums. Its times of IGMP are left out: it takes the mantissa of RFC
// 3376 4.1.1 for the exponent.
func TestBuildAgainstGopacket(t *testing.T) {
	for name, msg := range built() {
		t.Run(name, func(t *testing.T) {
			frame := Build(&msg)
			p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
			if p.ErrorLayer() != nil && msg.Kind != Advertisement {
				t.Fatal(p.ErrorLayer().Error())
			}
			ethernet := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
			var destination net.IP
			if msg.Family == IPv4 {
				ip := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
				destination = ip.DstIP
				if ip.TTL != 1 || len(ip.Options) < 1 || ip.Options[0].OptionType != 148 || ip.Options[0].OptionLength != 4 {
					t.Errorf("TTL %d, options %v", ip.TTL, ip.Options)
				}
				again := serialize(t, ip, gopacket.Payload(ip.Payload))
				if !bytes.Equal(again, frame[14:]) {
					t.Errorf("header is %x, want %x", frame[14:38], again[:24])
				}
				if got := sumOf(ip.Payload); got != 0xffff {
					t.Errorf("the message sums up to %#x", got)
				}
			} else {
				ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
				destination = ip.DstIP
				hop := p.Layer(layers.LayerTypeIPv6HopByHop).(*layers.IPv6HopByHop)
				if ip.HopLimit != 1 || hop.Options[0].OptionType != 5 || !bytes.Equal(hop.Options[0].OptionData, []byte{0, 0}) {
					t.Errorf("hop limit %d, options %v", ip.HopLimit, hop.Options)
				}
				icmp := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
				_ = icmp.SetNetworkLayerForChecksum(ip)
				again := serialize(t, icmp, gopacket.Payload(icmp.Payload))
				if got := frame[62:]; !bytes.Equal(again, got) {
					t.Errorf("message is %x, want %x", got, again)
				}
			}
			if want := destinationsOf(msg); !destination.Equal(net.ParseIP(want[0])) || ethernet.DstMAC.String() != want[1] {
				t.Errorf("sent to %s, %s, want %s", destination, ethernet.DstMAC, want)
			}
			if msg.Kind != Advertisement {
				checkDecoded(t, p, msg)
			}
		})
	}
}

// destinationsOf are where RFC 3376, RFC 3810, RFC 2236, RFC 2710 and RFC 4286
// have a message of built go.
func destinationsOf(m Message) [2]string {
	group := m.Group.IsValid()
	if m.Family == IPv4 {
		switch {
		case m.Kind == Advertisement:
			return [2]string{"224.0.0.106", "01:00:5e:00:00:6a"}
		case m.Kind == Leave:
			return [2]string{"224.0.0.2", "01:00:5e:00:00:02"}
		case m.Kind == Report && m.Version == 3:
			return [2]string{"224.0.0.22", "01:00:5e:00:00:16"}
		case group:
			return [2]string{"239.1.2.3", "01:00:5e:01:02:03"}
		}
		return [2]string{"224.0.0.1", "01:00:5e:00:00:01"}
	}
	switch {
	case m.Kind == Advertisement:
		return [2]string{"ff02::6a", "33:33:00:00:00:6a"}
	case m.Kind == Leave:
		return [2]string{"ff02::2", "33:33:00:00:00:02"}
	case m.Kind == Report && m.Version == 2:
		return [2]string{"ff02::16", "33:33:00:00:00:16"}
	case group:
		return [2]string{"ff0e::1:3", "33:33:00:01:00:03"}
	}
	return [2]string{"ff02::1", "33:33:00:00:00:01"}
}

// checkDecoded compares a message with what gopacket makes of its frame.
func checkDecoded(t *testing.T, p gopacket.Packet, msg Message) {
	t.Helper()
	var group net.IP
	var sources []net.IP
	var records []Record
	switch l := p.Layers()[len(p.Layers())-1].(type) {
	case *layers.IGMP:
		group, sources = l.GroupAddress, l.SourceAddresses
		for _, r := range l.GroupRecords {
			records = append(records, Record{RecordType(r.Type), plain(r.MulticastAddress), plains(r.SourceAddresses)})
		}
		if l.SupressRouterProcessing != msg.Suppress || int(l.RobustnessValue) != msg.Robustness {
			t.Errorf("S %v, QRV %d", l.SupressRouterProcessing, l.RobustnessValue)
		}
	case *layers.IGMPv1or2:
		group = l.GroupAddress
	case *layers.MLDv2MulticastListenerQueryMessage:
		group, sources = l.MulticastAddress, l.SourceAddresses
		if l.MaximumResponseDelay() != msg.MaxResponse || l.QQI() != msg.QueryInterval || l.SuppressRoutersideProcessing != msg.Suppress || int(l.QueriersRobustnessVariable) != msg.Robustness {
			t.Errorf("%+v, max response %s, interval %s", l, l.MaximumResponseDelay(), l.QQI())
		}
	case *layers.MLDv2MulticastListenerReportMessage:
		for _, r := range l.MulticastAddressRecords {
			records = append(records, Record{RecordType(r.RecordType), plain(r.MulticastAddress), plains(r.SourceAddresses)})
		}
	case *layers.MLDv1MulticastListenerQueryMessage:
		group = l.MulticastAddress
		if l.MaximumResponseDelay != msg.MaxResponse {
			t.Errorf("max response %s", l.MaximumResponseDelay)
		}
	case *layers.MLDv1MulticastListenerReportMessage:
		group = l.MulticastAddress
	case *layers.MLDv1MulticastListenerDoneMessage:
		group = l.MulticastAddress
	default:
		t.Fatalf("decoded as %T", l)
	}
	if len(msg.Records) == 0 && msg.Group != plain(group) && (msg.Group.IsValid() || len(group) > 0 && !group.IsUnspecified()) {
		t.Errorf("group %s", group)
	}
	if diff := cmp.Diff(msg.Sources, plains(sources), compareAddrs, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(msg.Records, records, compareAddrs, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func plain(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a
}

func plains(ips []net.IP) []netip.Addr {
	var all []netip.Addr
	for _, ip := range ips {
		all = append(all, plain(ip))
	}
	return all
}

// serialize has gopacket compute lengths and checksums.
func serialize(t *testing.T, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// sumOf is the ones' complement sum of data of an even length.
func sumOf(data []byte) int {
	sum := 0
	for ; len(data) > 0; data = data[2:] {
		if sum += int(binary.BigEndian.Uint16(data)); sum > 0xffff {
			sum -= 0xffff
		}
	}
	return sum
}

// The values are worked out from the formula of RFC 3376 4.1.1 and RFC 3810
// 5.1.3, (mant | 0x10) << (exp + 3), not by the code.
func TestCodes(t *testing.T) {
	for _, c := range []struct {
		mantissa    uint
		code, value uint32
	}{
		{4, 0, 0}, {4, 127, 127}, {4, 0x80, 128}, {4, 0x81, 136}, {4, 0x8f, 248}, {4, 0x90, 256}, {4, 0xff, 31744},
		{12, 0x7fff, 32767}, {12, 0x8000, 32768}, {12, 0x8001, 32776}, {12, 0x9000, 65536}, {12, 0xffff, 8387584},
	} {
		if got := decodeCode(c.code, c.mantissa); got != c.value {
			t.Errorf("code %#x is %d, want %d", c.code, got, c.value)
		}
		if got := encodeCode(c.value, c.mantissa); got != c.code {
			t.Errorf("%d is code %#x, want %#x", c.value, got, c.code)
		}
		if next := decodeCode(min(c.code+1, 1<<(c.mantissa+4)-1), c.mantissa); next > c.value+1 {
			if got := encodeCode(next-1, c.mantissa); got != c.code {
				t.Errorf("%d is code %#x, want %#x, the greatest below", next-1, got, c.code)
			}
		}
	}
	if got := encodeCode(1<<32-1, shortMantissa); got != 0xff {
		t.Errorf("the longest time is code %#x", got)
	}
}

// Each row breaks one valid frame in one way.
func TestParseRefuses(t *testing.T) {
	type change func(frame []byte) []byte
	set := func(at int, value ...byte) change {
		return func(frame []byte) []byte {
			copy(frame[at:], value)
			return frame
		}
	}
	// The offsets: Ethernet 14, IPv4 24, IPv6 40 and 8.
	for _, c := range []struct {
		name, message string
		change        change
		want          Cause
	}{
		{"no Ethernet header", "IPv4 report", func(f []byte) []byte { return f[:13] }, Truncated},
		{"ARP", "IPv4 report", set(12, 0x08, 0x06), Unrelated},
		{"a tag", "IPv4 report", set(12, 0x81, 0x00), Unrelated},
		{"no IPv4 header", "IPv4 report", func(f []byte) []byte { return f[:33] }, Truncated},
		{"IP version 5", "IPv4 report", set(14, 0x56), BadHeader},
		{"IHL 4", "IPv4 report", set(14, 0x44), BadHeader},
		{"IHL past the end", "IPv4 empty report", fixed(set(14, 0x4f)), BadHeader},
		{"total length below the header's", "IPv4 report", fixed(set(16, 0, 23)), BadHeader},
		{"total length past the end", "IPv4 report", func(f []byte) []byte { return f[:len(f)-1] }, Truncated},
		{"IPv4 header checksum", "IPv4 report", set(24, 0, 0), BadChecksum},
		{"first fragment", "IPv4 report", fixed(set(20, 0x20, 0)), Fragmented},
		{"last fragment", "IPv4 report", fixed(set(20, 0, 1)), Fragmented},
		{"UDP", "IPv4 report", fixed(set(23, 17)), Unrelated},
		{"multicast source", "IPv4 report", fixed(set(26, 224, 0, 0, 9)), BadSource},
		{"broadcast source", "IPv4 report", fixed(set(26, 255, 255, 255, 255)), BadSource},
		{"IGMP of 7 bytes", "IPv4 empty report", fixed(set(16, 0, 31)), Truncated},
		{"IGMP checksum", "IPv4 report", set(40, 0xde, 0xad), BadChecksum},
		{"IGMP type", "IPv4 report", fixed(set(38, 0x14)), Unrelated},
		{"more records than there are", "IPv4 report", fixed(set(44, 0, 7)), Truncated},
		{"more sources than there are", "IPv4 report", fixed(set(48, 0xff, 0xff)), Truncated},
		{"more auxiliary data than there is", "IPv4 report", fixed(set(47, 0xff)), Truncated},
		{"query source that is a group", "IPv4 source query", fixed(set(50, 239)), BadRecord},
		{"query source that is none", "IPv4 source query", fixed(set(50, 0, 0, 0, 0)), BadRecord},
		{"report of group 0", "IPv4 old report", fixed(set(42, 0, 0, 0, 0)), BadGroup},
		{"leave of a unicast address", "IPv4 old leave", fixed(set(42, 10)), BadGroup},
		{"query for a unicast address", "IPv4 group query", fixed(set(42, 10)), BadGroup},
		{"query of 9 bytes", "IPv4 general query", fixed(set(16, 0, 33)), Truncated},
		{"general query to a group", "IPv4 general query", fixed(set(30, 239, 1, 2, 3)), BadDestination},
		{"old general query to a group", "IPv4 old general query", fixed(set(30, 239, 1, 2, 3)), BadDestination},
		{"oldest general query to a group", "IGMPv1 query", fixed(set(30, 239, 1, 2, 3)), BadDestination},
		{"group query to another group", "IPv4 group query", fixed(set(30, 239, 1, 2, 4)), BadDestination},
		{"group query to all nodes", "IPv4 old group query", fixed(set(30, 224, 0, 0, 1)), BadDestination},
		{"group query in a frame for another group", "IPv4 group query", set(5, 4), BadDestination},
		{"general query in a frame for one node", "IPv4 general query", set(0, 2), BadDestination},
		{"loopback querier", "IPv4 group query", fixed(set(26, 127, 0, 0, 1)), BadSource},
		{"querier that is no node", "IPv4 general query", fixed(set(26, 0, 0, 0, 1)), BadSource},
		{"loopback router", "IPv4 advertisement", fixed(set(26, 127, 0, 0, 1)), BadSource},
		{"query sources past the end", "IPv4 source query", fixed(set(48, 0, 4)), Truncated},
		{"sources of no group", "IPv4 source query", fixed(set(42, 0, 0, 0, 0), set(30, 224, 0, 0, 1)), BadGroup},
		{"advertisement of nobody", "IPv4 advertisement", fixed(set(26, 0, 0, 0, 0)), BadSource},

		{"no IPv6 header", "IPv6 report", func(f []byte) []byte { return f[:53] }, Truncated},
		{"IP version 4", "IPv6 report", set(14, 0x40), BadHeader},
		{"payload length past the end", "IPv6 report", func(f []byte) []byte { return f[:len(f)-1] }, Truncated},
		{"extension header past the end", "IPv6 report", set(55, 0xff), Truncated},
		{"extension header without a length", "IPv6 report", set(18, 0, 1), Truncated},
		{"second hop-by-hop header", "IPv6 report", set(54, 0), BadHeader},
		{"IPv6 fragment", "IPv6 report", set(54, 44), Fragmented},
		{"TCP", "IPv6 report", set(54, 6), Unrelated},
		{"no next header", "IPv6 report", set(54, 59), Unrelated},
		{"ICMPv6 of 7 bytes", "IPv6 report", set(18, 0, 15), Truncated},
		{"ICMPv6 type", "IPv6 report", set(62, 128), Unrelated},
		{"ICMPv6 checksum", "IPv6 report", set(64, 0xde, 0xad), BadChecksum},
		{"checksum of another address", "IPv6 report", set(53, 0x17), BadChecksum},
		{"hop limit", "IPv6 report", set(21, 2), BadHopLimit},
		{"hop limit of a query", "IPv6 general query", set(21, 255), BadHopLimit},
		{"global source", "IPv6 report", fixed(set(22, 0x20, 0x01)), BadSource},
		{"query from nobody", "IPv6 general query", fixed(set(22, make([]byte, 16)...)), BadSource},
		{"advertisement of nobody, IPv6", "IPv6 advertisement", fixed(set(22, make([]byte, 16)...)), BadSource},
		{"query without router alert", "IPv6 general query", set(56, 1, 4, 0, 0, 0, 0), NoRouterAlert},
		{"query with another alert", "IPv6 general query", set(56, 5, 2, 0, 1), NoRouterAlert},
		{"query with an option past the end", "IPv6 general query", set(56, 5, 9), NoRouterAlert},
		{"query of 25 bytes", "IPv6 general query", fixed(set(18, 0, 33)), Truncated},
		{"old report of 23 bytes", "IPv6 old report", fixed(set(18, 0, 31)), Truncated},
		{"general query to a group, IPv6", "IPv6 general query", fixed(set(38, 0xff, 0x0e)), BadDestination},
		{"group query to another group, IPv6", "IPv6 group query", fixed(set(53, 4)), BadDestination},
		{"group query in a frame for another group, IPv6", "IPv6 source query", set(5, 4), BadDestination},
		{"query source that is a group, IPv6", "IPv6 source query", fixed(set(90, 0xff)), BadRecord},
		{"more sources than there are, IPv6", "IPv6 report", fixed(set(72, 0xff, 0xff)), Truncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			msg, ok := built()[c.message]
			if !ok {
				t.Fatalf("no message %q", c.message)
			}
			if got, err := Parse(c.change(Build(&msg))); CauseOf(err) != c.want {
				t.Errorf("%+v, %s, %v, want %s", got, CauseOf(err), err, c.want)
			} else if err.Error() == "" {
				t.Error("the error says nothing")
			}
		})
	}
	if got := CauseOf(fmt.Errorf("reading: %w", refuse(BadGroup, "x"))); got != BadGroup {
		t.Errorf("a wrapped error is of cause %s", got)
	}
	if got := CauseOf(net.ErrClosed); got != Unreadable {
		t.Errorf("another error is of cause %s", got)
	}
	seen := make(map[string]bool)
	for _, c := range Causes() {
		if seen[c.String()] {
			t.Errorf("two causes are called %s", c)
		}
		seen[c.String()] = true
	}
}

// fixed makes changes and then the checksums right, as far as there are headers.
func fixed(changes ...func([]byte) []byte) func([]byte) []byte {
	return func(frame []byte) []byte {
		for _, change := range changes {
			frame = change(frame)
		}
		put := func(at int, sum int) { binary.BigEndian.PutUint16(frame[at:], uint16(0xffff-sum)) }
		even := func(data []byte) []byte {
			if len(data)%2 == 1 {
				data = append(bytes.Clone(data), 0)
			}
			return data
		}
		if frame[14]>>4 == 4 {
			put(24, 0)
			binary.BigEndian.PutUint16(frame[24:], 0)
			header := min(14+int(frame[14]&0xf)*4, len(frame))
			put(24, sumOf(frame[14:header]))
			end := 14 + int(binary.BigEndian.Uint16(frame[16:]))
			if end >= 42 {
				binary.BigEndian.PutUint16(frame[40:], 0)
				put(40, sumOf(even(frame[38:end])))
			}
			return frame
		}
		end := 54 + int(binary.BigEndian.Uint16(frame[18:]))
		binary.BigEndian.PutUint16(frame[64:], 0)
		pseudo := slices.Concat(frame[22:54], []byte{0, 0, byte((end - 62) >> 8), byte(end - 62), 0, 0, 0, 58})
		put(64, sumOf(even(slices.Concat(pseudo, frame[62:end]))))
		return frame
	}
}

// What the kernel's stacks send or take, and what is not how we would send it.
func TestParseTolerates(t *testing.T) {
	for _, c := range []struct {
		name, message string
		change        func([]byte) []byte
	}{
		{"IGMP with another TTL", "IPv4 report", fixed(func(f []byte) []byte { f[22] = 64; return f })},
		{"IGMP without options", "IPv4 old report", func(f []byte) []byte {
			f[14], f[17] = 0x45, f[17]-4
			binary.BigEndian.PutUint16(f[24:], 0)
			binary.BigEndian.PutUint16(f[24:], uint16(0xffff-sumOf(f[14:34])))
			return slices.Concat(f[:34], f[38:])
		}},
		{"a report without router alert", "IPv6 report", func(f []byte) []byte { copy(f[56:], []byte{1, 4, 0, 0, 0, 0}); return f }},
		{"a report without hop-by-hop options", "IPv6 report", func(f []byte) []byte {
			f[20] = 58
			binary.BigEndian.PutUint16(f[18:], binary.BigEndian.Uint16(f[18:])-8)
			return slices.Concat(f[:54], f[62:])
		}},
		{"destination options behind hop-by-hop", "IPv6 general query", func(f []byte) []byte {
			binary.BigEndian.PutUint16(f[18:], binary.BigEndian.Uint16(f[18:])+16)
			f[54] = 60
			return slices.Concat(f[:62], []byte{58, 1, 1, 12}, make([]byte, 12), f[62:])
		}},
		{"an authentication header", "IPv6 report", func(f []byte) []byte {
			binary.BigEndian.PutUint16(f[18:], binary.BigEndian.Uint16(f[18:])+24)
			f[54] = 51
			return slices.Concat(f[:62], []byte{58, 4}, make([]byte, 22), f[62:])
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := built()[c.message]
			frame := Build(&want)
			got, err := Parse(c.change(frame))
			if err != nil {
				t.Fatal(err)
			}
			got.Frame = nil
			if diff := cmp.Diff(want, *got, compareAddrs, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Auxiliary data and records of unknown types are passed over (RFC 3376 4.2.6
// and 4.2.12).
func TestParsePassesOver(t *testing.T) {
	for _, f := range Families {
		msg := built()[fmt.Sprintf("%s report", f)]
		msg.Records = msg.Records[:2]
		frame := Build(&msg)
		// The second record becomes one of type 9 with two words behind it, and a
		// third is appended.
		message, head, addrBytes := 38, 8, 4
		if f == IPv6 {
			message, head, addrBytes = 62, 20, 16
		}
		second := message + 8 + head + addrBytes
		frame[second], frame[second+1] = 9, 2
		third := slices.Clone(frame[message+8 : second])
		third[0] = byte(BlockOldSources)
		frame = slices.Concat(frame, []byte("whatever"), third)
		frame[message+7] = 3
		if f == IPv4 {
			binary.BigEndian.PutUint16(frame[16:], uint16(len(frame)-14))
		} else {
			binary.BigEndian.PutUint16(frame[18:], uint16(len(frame)-54))
		}
		got, err := Parse(fixed()(frame))
		if err != nil {
			t.Fatal(err)
		}
		want := []Record{msg.Records[0], {BlockOldSources, msg.Records[0].Group, msg.Records[0].Sources}}
		if diff := cmp.Diff(want, got.Records, compareAddrs); diff != "" {
			t.Errorf("%s: %s", f, diff)
		}
	}
}

// A record that says what cannot be does not take the others with it.
func TestParseSkipsBadRecords(t *testing.T) {
	for _, c := range []struct {
		name, message string
		at            int // where the first record's address is
		value         []byte
	}{
		{"group that is none", "IPv4 report", 50, []byte{10}},
		{"source that is a group", "IPv4 report", 54, []byte{239}},
		{"source that is none", "IPv4 report", 54, []byte{0, 0, 0, 0}},
		{"group that is none, IPv6", "IPv6 report", 74, []byte{0xfe, 0x80}},
		{"source that is a group, IPv6", "IPv6 report", 90, []byte{0xff}},
		{"source that is none, IPv6", "IPv6 report", 90, make([]byte, 16)},
	} {
		msg := built()[c.message]
		frame := Build(&msg)
		copy(frame[c.at:], c.value)
		got, err := Parse(fixed()(frame))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(msg.Records[1:], got.Records, compareAddrs, cmpopts.EquateEmpty()); diff != "" || got.BadRecords != 1 {
			t.Errorf("%s: %d bad records, %s", c.name, got.BadRecords, diff)
		}
	}
}

func TestParseHello(t *testing.T) {
	hello := []byte{0x20, 0, 0, 0, 0, 1, 0, 2, 0, 105}
	message := func(kind byte, source string, wrong byte) []byte {
		data := bytes.Clone(hello)
		data[0] = kind
		ethernet := &layers.Ethernet{SrcMAC: guestMAC[:], DstMAC: net.HardwareAddr{1, 0, 0x5e, 0, 0, 13}, EthernetType: layers.EthernetTypeIPv4}
		if addr(source).Is4() {
			binary.BigEndian.PutUint16(data[2:], uint16(0xffff-sumOf(data))^uint16(wrong))
			ip := &layers.IPv4{Version: 4, TTL: 1, Protocol: 103, SrcIP: net.ParseIP(source), DstIP: net.ParseIP("224.0.0.13")}
			return serialize(t, ethernet, ip, gopacket.Payload(data))
		}
		ethernet.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: 103, SrcIP: net.ParseIP(source), DstIP: net.ParseIP("ff02::d")}
		pseudo := slices.Concat(ip.SrcIP, ip.DstIP, []byte{0, 0, 0, byte(len(data)), 0, 0, 0, 103})
		binary.BigEndian.PutUint16(data[2:], uint16(0xffff-sumOf(slices.Concat(pseudo, data)))^uint16(wrong))
		return serialize(t, ethernet, ip, gopacket.Payload(data))
	}
	for _, source := range []string{"10.9.0.1", "fe80::1"} {
		got, err := Parse(message(0x20, source, 0))
		if err != nil {
			t.Fatal(err)
		}
		if got.Kind != Hello || got.Source != addr(source) || got.SourceMAC != guestMAC || got.Family != FamilyOf(addr(source)) {
			t.Errorf("%+v", got)
		}
		if _, err := Parse(message(0x23, source, 0)); CauseOf(err) != Unrelated {
			t.Errorf("a Join: %v", err)
		}
		if _, err := Parse(message(0x20, source, 1)); CauseOf(err) != BadChecksum {
			t.Errorf("a wrong checksum: %v", err)
		}
	}
	for _, source := range []string{"0.0.0.0", "127.0.0.1", "::1"} {
		if _, err := Parse(message(0x20, source, 0)); CauseOf(err) != BadSource {
			t.Errorf("from %s: %v", source, err)
		}
	}
}

// No bytes make Parse read past their end, and what it takes is sound: it can
// be built again, where it is of a kind that can, and then says the same.
func FuzzParse(f *testing.F) {
	for _, msg := range built() {
		f.Add(Build(&msg))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		// The capacity ends with the frame, for a read past it to panic.
		frame = slices.Clip(bytes.Clone(frame))
		msg, err := Parse(frame)
		if CauseOf(err) == BadChecksum && plainHeaders(frame) {
			// Chance does not find what is behind a checksum.
			frame = fixed()(frame)
			msg, err = Parse(frame)
		}
		if err != nil {
			if CauseOf(err) == Unreadable {
				t.Fatalf("%v has no cause", err)
			}
			return
		}
		for _, a := range append([]netip.Addr{msg.Group}, msg.Sources...) {
			if a.IsValid() && FamilyOf(a) != msg.Family {
				t.Fatalf("%+v", msg)
			}
		}
		if msg.Kind == Hello {
			return
		}
		again, err := Parse(Build(msg))
		if err != nil {
			t.Fatalf("%+v, built again: %v", msg, err)
		}
		again.Frame, again.BadRecords = msg.Frame, msg.BadRecords
		if diff := cmp.Diff(msg, again, compareAddrs, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// plainHeaders tells whether a frame has the headers that Build makes, and all
// of its message.
func plainHeaders(frame []byte) bool {
	if frame[14]>>4 == 4 {
		end := 14 + int(binary.BigEndian.Uint16(frame[16:]))
		return frame[14] == 0x46 && frame[23] == 2 && end >= 46 && end <= len(frame)
	}
	end := 54 + int(binary.BigEndian.Uint16(frame[18:]))
	return frame[20] == 0 && frame[54] == 58 && frame[55] == 0 && end >= 70 && end <= len(frame)
}

// What is split makes packets that fit, and tells what the whole told.
func TestSplitRecords(t *testing.T) {
	sources := func(f Family, n int) []netip.Addr {
		var all []netip.Addr
		for i := range n {
			a := addr("10.0.0.1").As4()
			binary.BigEndian.PutUint16(a[2:], uint16(i+1))
			if f == IPv4 {
				all = append(all, netip.AddrFrom4(a))
			} else {
				all = append(all, netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 14: a[2], 15: a[3]}))
			}
		}
		return all
	}
	for _, f := range Families {
		group := addr("239.1.2.3")
		if f == IPv6 {
			group = addr("ff0e::1")
		}
		for _, mtu := range []int{576, 1280, 1450, 8951} {
			for _, n := range []int{0, 1, 50, 76, 77, 356, 357, 3000} {
				var records []Record
				for kind := ModeIsInclude; kind <= BlockOldSources; kind++ {
					records = append(records, Record{kind, group, sources(f, n)})
				}
				// Small ones of two sizes, to fill a packet in any way.
				for i := range 100 {
					records = append(records, Record{99, group, sources(f, i%2)})
				}
				told := make(map[RecordType][]netip.Addr)
				for _, part := range SplitRecords(f, records, mtu) {
					msg := from(Report, f, newest(f))
					msg.Records = part
					frame := Build(&msg)
					if len(frame) > mtu+14 {
						t.Fatalf("%s: a packet of %d bytes, of at most %d", f, len(frame)-14, mtu)
					}
					read, err := Parse(frame)
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range read.Records {
						if _, twice := told[r.Type]; twice && (r.Type == ChangeToInclude || r.Type == ChangeToExclude || r.Type == ModeIsExclude) {
							t.Fatalf("%s: a second %s", f, r.Type)
						}
						told[r.Type] = append(told[r.Type], r.Sources...)
					}
				}
				// What follows TO_IN is ALLOW.
				most := len(told[ChangeToInclude])
				allowed := slices.Concat(told[ChangeToInclude], told[AllowNewSources])
				if !slices.Equal(allowed, slices.Concat(sources(f, n), sources(f, n))) {
					t.Fatalf("%s, mtu %d, %d sources: TO_IN and ALLOW tell of %d", f, mtu, n, len(allowed))
				}
				for _, kind := range []RecordType{ModeIsInclude, BlockOldSources} {
					if !slices.Equal(told[kind], sources(f, n)) {
						t.Fatalf("%s, mtu %d: %s tells of %d sources of %d", f, mtu, kind, len(told[kind]), n)
					}
				}
				for _, kind := range []RecordType{ModeIsExclude, ChangeToExclude} {
					if !slices.Equal(told[kind], sources(f, n)[:most]) {
						t.Fatalf("%s, mtu %d: %s tells of %d sources, and %d fit", f, mtu, kind, len(told[kind]), most)
					}
				}
			}
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		group                 string
		always, local, solely bool
	}{
		{"ff02::1", true, true, false},
		{"ff02::2", false, true, false},
		{"ff12::1", false, true, false},
		{"ff02::1:ff00:1", false, true, true},
		{"ff02::1:feff:1", false, true, false},
		{"ff00::5", true, false, false},
		{"ff01::101", true, false, false},
		{"ff31::1", true, false, false},
		{"ff0f::1", true, false, false},
		{"ff05::2", false, false, false},
		{"ff0e::1:ff00:1", false, false, false},
		{"fe80::1", false, false, false},
		{"224.0.0.1", true, true, false},
		{"224.0.0.251", true, true, false},
		{"224.0.1.1", false, false, false},
		{"239.255.255.250", false, false, false},
		{"10.0.0.1", false, false, false},
	} {
		if got := AlwaysFlooded(addr(c.group)); got != c.always {
			t.Errorf("%s is always flooded: %v", c.group, got)
		}
		if got := LinkLocal(addr(c.group)); got != c.local {
			t.Errorf("%s is link-local: %v", c.group, got)
		}
		if got := SolicitedNode(addr(c.group)); got != c.solely {
			t.Errorf("%s is a solicited-node group: %v", c.group, got)
		}
	}
	mac := ProxyMAC(addr("192.0.2.1"))
	if !mac.IsAgents() || guestMAC.IsAgents() || mac == ProxyMAC(addr("192.0.2.2")) || mac != ProxyMAC(addr("192.0.2.1")) {
		t.Errorf("the proxy's MAC is %s", mac)
	}
	if got := ProxyAddress(mac); !got.IsLinkLocalUnicast() || !addr("fe80::ffff:ffff:feff:0").Less(got) {
		t.Errorf("the proxy's address is %s, which a router's could be above", got)
	}
}
