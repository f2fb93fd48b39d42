// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// Types of ICMPv6, and the lengths of MLD's messages in bytes.
const (
	mldQuery         = 130
	mldReportV1      = 131
	mldDone          = 132
	mldReportV2      = 143
	mrdAdvertisement = 151 // RFC 4286 3.1

	mldBytes      = 24 // of MLDv1 (RFC 2710 3)
	mldQueryBytes = 28 // of MLDv2's query without sources (RFC 3810 5.1)
	mrdBytes      = 8
)

// parseMLD reads an ICMPv6 message.
func (m *Message) parseMLD(p packet) error {
	data := p.payload
	if len(data) < 8 {
		return refuse(Truncated, "ICMPv6 message of %d bytes: want at least 8", len(data))
	}
	switch data[0] {
	case mldQuery:
		m.Kind, m.Version = Query, 1
		if len(data) >= mldQueryBytes {
			m.Version = 2
		}
	case mldReportV1:
		m.Kind, m.Version = Report, 1
	case mldDone:
		m.Kind, m.Version = Leave, 1
	case mldReportV2:
		m.Kind, m.Version = Report, 2
	case mrdAdvertisement:
		m.Kind = Advertisement
	default:
		return refuse(Unrelated, "ICMPv6 type %d carries no membership", data[0])
	}
	if Checksum(pseudoSum(p.source, p.destination, len(data), protocolICMPv6), data) != 0 {
		return refuse(BadChecksum, "ICMPv6 checksum")
	}
	if p.hopLimit != 1 {
		return refuse(BadHopLimit, "%s with hop limit %d: want 1", m.Kind, p.hopLimit)
	}
	// A node may report before it has an address (RFC 3590 4), and only then.
	from := m.Kind == Report || m.Kind == Leave
	if !p.source.IsLinkLocalUnicast() && (!from || !p.source.IsUnspecified()) {
		return refuse(BadSource, "%s from %s: want a link-local address", m.Kind, p.source)
	}
	switch {
	case m.Kind == Advertisement:
		return nil
	case m.Kind == Report && m.Version == 2:
		return m.parseRecords(data[6:], 16)
	case len(data) < mldBytes:
		return refuse(Truncated, "%s of %d bytes: want at least %d", m.Kind, len(data), mldBytes)
	}
	group, err := readGroup(data[8:24], m.Kind == Query)
	m.Group = group
	if err != nil || m.Kind != Query {
		return err
	}
	if !p.alert {
		return refuse(NoRouterAlert, "query without the Router Alert option")
	}
	// The lengths between are to be ignored (RFC 3810 8.1).
	if len(data) > mldBytes && len(data) < mldQueryBytes {
		return refuse(Truncated, "query of %d bytes: want %d, or at least %d", len(data), mldBytes, mldQueryBytes)
	}
	code := uint32(binary.BigEndian.Uint16(data[4:]))
	if m.Version == 1 {
		m.MaxResponse = time.Duration(code) * mldUnit
		return nil
	}
	m.MaxResponse = time.Duration(decodeCode(code, longMantissa)) * mldUnit
	return m.parseQueryTail(data[mldBytes:], 16)
}

// readGroup reads the group of a message, which only a general query has not.
func readGroup(data []byte, query bool) (netip.Addr, error) {
	group, _ := netip.AddrFromSlice(data)
	if query && group.IsUnspecified() {
		return netip.Addr{}, nil
	}
	if !group.IsMulticast() {
		return netip.Addr{}, refuse(BadGroup, "group %s is no multicast address", group)
	}
	return group, nil
}

// parseQueryTail reads what MLDv2 and IGMPv3 have alike behind a query's group:
// S and QRV, QQIC, and the sources, of some bytes each.
func (m *Message) parseQueryTail(rest cursor, addrBytes int) error {
	m.Suppress, m.Robustness = rest[0]&0x8 != 0, int(rest[0]&0x7)
	m.QueryInterval = time.Duration(decodeCode(uint32(rest[1]), shortMantissa)) * intervalUnit
	count := int(binary.BigEndian.Uint16(rest[2:]))
	rest = rest[4:]
	if count > 0 && !m.Group.IsValid() {
		return refuse(BadGroup, "query for %d sources of no group", count)
	}
	sources, ok := rest.takeSources(count, addrBytes)
	if !ok {
		return refuse(Truncated, "%d sources in %d bytes", count, len(rest))
	}
	if i := slices.IndexFunc(sources, isNoSource); i >= 0 {
		return refuse(BadRecord, "source %s is no unicast address", sources[i])
	}
	m.Sources = sources
	return nil
}

// isNoSource tells whether an address cannot be that of a sender.
func isNoSource(a netip.Addr) bool {
	return a.IsMulticast() || a.IsUnspecified()
}

// takeSources reads a list of addresses of some bytes each.
func (c *cursor) takeSources(count, addrBytes int) ([]netip.Addr, bool) {
	data, ok := c.take(count * addrBytes)
	if !ok || count == 0 {
		return nil, ok
	}
	sources := make([]netip.Addr, 0, count)
	for ; len(data) > 0; data = data[addrBytes:] {
		source, _ := netip.AddrFromSlice(data[:addrBytes])
		sources = append(sources, source)
	}
	return sources, true
}

// parseRecords reads what MLDv2 and IGMPv3 have alike in a report, from the
// number of records on. A record that says what cannot be does not take the
// others with it, which are of other groups.
func (m *Message) parseRecords(rest cursor, addrBytes int) error {
	count := int(binary.BigEndian.Uint16(rest))
	rest = rest[2:]
	for i := range count {
		head, ok := rest.take(4)
		if !ok {
			return refuse(Truncated, "record %d of %d is cut short", i+1, count)
		}
		addr, ok := rest.take(addrBytes)
		if !ok {
			return refuse(Truncated, "record %d of %d is cut short", i+1, count)
		}
		listed := int(binary.BigEndian.Uint16(head[2:]))
		sources, ok := rest.takeSources(listed, addrBytes)
		if !ok {
			return refuse(Truncated, "%d sources of record %d of %d in %d bytes", listed, i+1, count, len(rest))
		}
		if _, ok := rest.take(int(head[1]) * 4); !ok { // auxiliary data, which nothing uses
			return refuse(Truncated, "the auxiliary data of record %d of %d is cut short", i+1, count)
		}
		// Types to come are to be ignored (RFC 3376 4.2.12).
		kind := RecordType(head[0])
		if kind < ModeIsInclude || kind > BlockOldSources {
			continue
		}
		group, err := readGroup(addr, false)
		if err != nil || slices.ContainsFunc(sources, isNoSource) {
			m.BadRecords++
			continue
		}
		m.Records = append(m.Records, Record{kind, group, sources})
	}
	return nil
}
