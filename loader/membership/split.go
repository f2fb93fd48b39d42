// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"net/netip"
	"slices"
)

// SplitRecords deals records out to reports, none of which makes a packet of
// more than mtu bytes. What is too long for one report becomes several records
// (RFC 3376 4.2.16, RFC 3810 5.2.15); of an exclude list, which cannot be
// split, the first sources are kept, and more is then sent than is wanted.
func SplitRecords(f Family, records []Record, mtu int) [][]Record {
	head, addr, room := recordBytesIPv4, addressBytesIPv4, mtu-ipv4AlertBytes-reportHeadBytes
	if f == IPv6 {
		head, addr, room = recordBytesIPv6, addressBytesIPv6, mtu-ipv6Bytes-hopByHopBytes-reportHeadBytes
	}
	most := max((room-head)/addr, 1) // sources of one record
	var reports [][]Record
	left := 0
	for _, record := range records {
		for _, r := range splitRecord(record, most) {
			bytes := head + len(r.Sources)*addr
			if len(reports) == 0 || bytes > left {
				reports = append(reports, nil)
				left = room
			}
			reports[len(reports)-1] = append(reports[len(reports)-1], r)
			left -= bytes
		}
	}
	return reports
}

// splitRecord makes records of at most some sources of one. A second TO_IN
// would take back the first at whoever takes it literally, so what follows a
// TO_IN is ALLOW, which for a router is the same.
func splitRecord(r Record, most int) []Record {
	if len(r.Sources) <= most {
		return []Record{r}
	}
	if r.Type == ModeIsExclude || r.Type == ChangeToExclude {
		r.Sources = r.Sources[:most]
		return []Record{r}
	}
	var all []Record
	for rest := r.Sources; len(rest) > 0; {
		n := min(most, len(rest))
		all = append(all, Record{r.Type, r.Group, rest[:n:n]})
		rest = rest[n:]
		if r.Type == ChangeToInclude {
			r.Type = AllowNewSources
		}
	}
	return all
}

// splitSources deals sources out to queries that make packets of at most mtu
// bytes.
func splitSources(f Family, sources []netip.Addr, mtu int) [][]netip.Addr {
	most := (mtu - ipv4AlertBytes - igmpQueryBytes) / addressBytesIPv4
	if f == IPv6 {
		most = (mtu - ipv6Bytes - hopByHopBytes - mldQueryBytes) / addressBytesIPv6
	}
	return slices.Collect(slices.Chunk(sources, max(most, 1)))
}
