// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"net/netip"
	"time"
)

// Types of IGMP, and the lengths of its messages in bytes.
const (
	igmpQuery         = 0x11
	igmpReportV1      = 0x12
	igmpReportV2      = 0x16
	igmpLeave         = 0x17
	igmpReportV3      = 0x22
	igmpAdvertisement = 0x30 // RFC 4286 3.1

	igmpBytes      = 8  // of versions 1 and 2 (RFC 2236 2)
	igmpQueryBytes = 12 // of version 3's query without sources (RFC 3376 4.1)
)

// igmpV1Response is what a query of version 1, which tells none, gives its
// listeners (RFC 1112 appendix I).
const igmpV1Response = 10 * time.Second

// parseIGMP reads an IGMP message.
func (m *Message) parseIGMP(p packet) error {
	data := p.payload
	if len(data) < igmpBytes {
		return refuse(Truncated, "IGMP message of %d bytes: want at least %d", len(data), igmpBytes)
	}
	switch data[0] {
	case igmpQuery:
		m.Kind = Query
	case igmpReportV1:
		m.Kind, m.Version = Report, 1
	case igmpReportV2:
		m.Kind, m.Version = Report, 2
	case igmpLeave:
		m.Kind, m.Version = Leave, 2
	case igmpReportV3:
		m.Kind, m.Version = Report, 3
	case igmpAdvertisement:
		m.Kind = Advertisement
	default:
		return refuse(Unrelated, "IGMP type %#02x carries no membership", data[0])
	}
	if Checksum(0, data) != 0 {
		return refuse(BadChecksum, "IGMP checksum")
	}
	switch {
	case m.Kind == Advertisement:
		return checkRouter(m.Kind, p.source)
	case m.Kind == Query:
		return m.parseIGMPQuery(p)
	case m.Version == 3:
		return m.parseRecords(data[6:], 4)
	}
	group, err := readGroup(data[4:8], false)
	m.Group = group
	return err
}

// parseIGMPQuery reads a query, whose length tells its version (RFC 3376 7.1).
func (m *Message) parseIGMPQuery(p packet) error {
	data := p.payload
	if !p.source.IsUnspecified() {
		if err := checkRouter(m.Kind, p.source); err != nil {
			return err
		}
	}
	group, err := readGroup(data[4:8], true)
	if err != nil {
		return err
	}
	m.Group = group
	if len(data) > igmpBytes && len(data) < igmpQueryBytes {
		return refuse(Truncated, "query of %d bytes: want %d, or at least %d", len(data), igmpBytes, igmpQueryBytes)
	}
	code := uint32(data[1])
	switch {
	case len(data) >= igmpQueryBytes:
		m.Version = 3
		m.MaxResponse = time.Duration(decodeCode(code, shortMantissa)) * igmpUnit
		return m.parseQueryTail(data[igmpBytes:], 4)
	case code == 0:
		// Version 1 has only general queries; its group field is to be ignored.
		m.Version, m.MaxResponse = 1, igmpV1Response
		m.Group = netip.Addr{}
	default:
		m.Version, m.MaxResponse = 2, time.Duration(code)*igmpUnit
	}
	return nil
}
