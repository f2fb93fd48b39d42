// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Sizes in bytes of what is built.
const (
	ipv4AlertBytes   = 24 // the header with the Router Alert option of RFC 2113
	hopByHopBytes    = 8
	reportHeadBytes  = 8
	recordBytesIPv4  = 8  // of a record without sources
	recordBytesIPv6  = 20 // likewise
	addressBytesIPv4 = 4
	addressBytesIPv6 = 16
)

// Build makes the frame of a query, a report, a leave or an advertisement. It
// needs what Parse would read, but for Frame; the destinations follow from the
// kind, the version and the group (RFC 3376 4, RFC 3810 5, RFC 2236 9). Times
// that a message cannot tell are shortened. A Hello cannot be built, as nobody
// here is a router: Build panics, as for a family, kind or version that is none.
func Build(m *Message) []byte {
	if m.Family == IPv4 {
		return frameIPv4(m, m.destination(), m.igmp())
	}
	return frameIPv6(m, m.destination(), m.mld())
}

// destination is whom a message is for.
func (m *Message) destination() netip.Addr {
	pick := func(four, six netip.Addr) netip.Addr {
		if m.Family == IPv4 {
			return four
		}
		return six
	}
	switch {
	case m.Kind == Advertisement:
		return pick(allSnoopers4, allSnoopers6)
	case m.Kind == Leave:
		return pick(allRouters4, allRouters6)
	case m.Kind == Report && m.modern():
		return pick(allReports4, allReports6)
	case m.Group.IsValid():
		return m.Group
	}
	return pick(allNodes4, allNodes6)
}

// igmp is the IGMP message.
func (m *Message) igmp() []byte {
	var data []byte
	switch {
	case m.Kind == Query && m.Version == 3:
		code := encodeCode(units(m.MaxResponse, igmpUnit), shortMantissa)
		data = appendGroup([]byte{igmpQuery, byte(code), 0, 0}, m.Group, addressBytesIPv4)
		data = m.appendQueryTail(data)
	case m.Kind == Query:
		code := min(units(m.MaxResponse, igmpUnit), 255)
		if m.Version == 1 {
			code = 0
		}
		data = appendGroup([]byte{igmpQuery, byte(code), 0, 0}, m.Group, addressBytesIPv4)
	case m.Kind == Report && m.Version == 3:
		data = m.appendRecords([]byte{igmpReportV3, 0, 0, 0, 0, 0})
	case m.Kind == Report && m.Version == 2:
		data = appendGroup([]byte{igmpReportV2, 0, 0, 0}, m.Group, addressBytesIPv4)
	case m.Kind == Report && m.Version == 1:
		data = appendGroup([]byte{igmpReportV1, 0, 0, 0}, m.Group, addressBytesIPv4)
	case m.Kind == Leave:
		data = appendGroup([]byte{igmpLeave, 0, 0, 0}, m.Group, addressBytesIPv4)
	case m.Kind == Advertisement:
		data = m.advertisement(igmpAdvertisement)
	default:
		panic(fmt.Sprintf("membership: cannot build %s %s of version %d", m.Family, m.Kind, m.Version))
	}
	binary.BigEndian.PutUint16(data[2:], Checksum(0, data))
	return data
}

// mld is the ICMPv6 message.
func (m *Message) mld() []byte {
	var data []byte
	switch {
	case m.Kind == Query && m.Version == 2:
		code := encodeCode(units(m.MaxResponse, mldUnit), longMantissa)
		data = appendGroup([]byte{mldQuery, 0, 0, 0, byte(code >> 8), byte(code), 0, 0}, m.Group, addressBytesIPv6)
		data = m.appendQueryTail(data)
	case m.Kind == Query && m.Version == 1:
		code := min(units(m.MaxResponse, mldUnit), 0xffff)
		data = appendGroup([]byte{mldQuery, 0, 0, 0, byte(code >> 8), byte(code), 0, 0}, m.Group, addressBytesIPv6)
	case m.Kind == Report && m.Version == 2:
		data = m.appendRecords([]byte{mldReportV2, 0, 0, 0, 0, 0})
	case m.Kind == Report && m.Version == 1:
		data = appendGroup([]byte{mldReportV1, 0, 0, 0, 0, 0, 0, 0}, m.Group, addressBytesIPv6)
	case m.Kind == Leave:
		data = appendGroup([]byte{mldDone, 0, 0, 0, 0, 0, 0, 0}, m.Group, addressBytesIPv6)
	case m.Kind == Advertisement:
		data = m.advertisement(mrdAdvertisement)
	default:
		panic(fmt.Sprintf("membership: cannot build %s %s of version %d", m.Family, m.Kind, m.Version))
	}
	binary.BigEndian.PutUint16(data[2:], Checksum(pseudoSum(m.Source, m.destination(), len(data), protocolICMPv6), data))
	return data
}

// mrdInterval is how often a router advertises itself, in seconds (RFC 4286
// 7.1): the longest that can be told, for the least to send.
const mrdInterval = 180

// advertisement is alike in both families (RFC 4286 3.1).
func (m *Message) advertisement(kind byte) []byte {
	interval := min(units(m.QueryInterval, time.Second), 0xffff)
	return []byte{kind, mrdInterval, 0, 0, byte(interval >> 8), byte(interval), 0, byte(m.Robustness)}
}

// appendGroup appends a group, or zeroes for none.
func appendGroup(data []byte, group netip.Addr, bytes int) []byte {
	if !group.IsValid() {
		return append(data, make([]byte, bytes)...)
	}
	return append(data, group.AsSlice()...)
}

// appendQueryTail appends what parseQueryTail reads.
func (m *Message) appendQueryTail(data []byte) []byte {
	var flags byte
	if m.Suppress {
		flags = 0x8
	}
	// What does not fit in three bits is told as zero (RFC 3376 4.1.6).
	if m.Robustness <= 7 {
		flags |= byte(m.Robustness)
	}
	data = append(data, flags, byte(encodeCode(units(m.QueryInterval, intervalUnit), shortMantissa)))
	return appendSources(data, m.Sources)
}

// appendSources appends the number of sources, and behind it the sources.
func appendSources(data []byte, sources []netip.Addr) []byte {
	data = binary.BigEndian.AppendUint16(data, uint16(len(sources)))
	for _, s := range sources {
		data = append(data, s.AsSlice()...)
	}
	return data
}

// appendRecords appends what parseRecords reads.
func (m *Message) appendRecords(data []byte) []byte {
	data = binary.BigEndian.AppendUint16(data, uint16(len(m.Records)))
	for _, r := range m.Records {
		data = append(data, byte(r.Type), 0)
		data = binary.BigEndian.AppendUint16(data, uint16(len(r.Sources)))
		data = append(data, r.Group.AsSlice()...)
		for _, s := range r.Sources {
			data = append(data, s.AsSlice()...)
		}
	}
	return data
}

// ethernet begins a frame.
func ethernet(from MAC, destination netip.Addr, etherType uint16, room int) []byte {
	to := groupMAC(destination)
	frame := make([]byte, 0, ethernetBytes+room)
	frame = append(append(frame, to[:]...), from[:]...)
	return binary.BigEndian.AppendUint16(frame, etherType)
}

// frameIPv4 puts an IGMP message into a packet with the Router Alert option, of
// precedence internetwork control and with TTL 1 (RFC 3376 4).
func frameIPv4(m *Message, destination netip.Addr, message []byte) []byte {
	frame := ethernet(m.SourceMAC, destination, etherTypeIPv4, ipv4AlertBytes+len(message))
	frame = append(frame, 4<<4|ipv4AlertBytes/4, 0xc0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(ipv4AlertBytes+len(message)))
	frame = append(frame, 0, 0, 0x40, 0, 1, protocolIGMP, 0, 0) // DF
	frame = append(frame, m.Source.AsSlice()...)
	frame = append(frame, destination.AsSlice()...)
	frame = append(frame, 0x94, 4, 0, 0)
	header := frame[ethernetBytes:]
	binary.BigEndian.PutUint16(header[10:], Checksum(0, header))
	return append(frame, message...)
}

// frameIPv6 puts an MLD message into a packet with the Router Alert option and
// with hop limit 1 (RFC 3810 5).
func frameIPv6(m *Message, destination netip.Addr, message []byte) []byte {
	frame := ethernet(m.SourceMAC, destination, etherTypeIPv6, ipv6Bytes+hopByHopBytes+len(message))
	frame = append(frame, 6<<4, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(hopByHopBytes+len(message)))
	frame = append(frame, headerHopByHop, 1)
	frame = append(frame, m.Source.AsSlice()...)
	frame = append(frame, destination.AsSlice()...)
	frame = append(frame, protocolICMPv6, 0, optionRouterAlert, 2, 0, optionRouterAlertMLD, 1, 0) // and PadN
	return append(frame, message...)
}
