// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"net/netip"
	"slices"
)

// claim is what somebody wants of a group: a mode and its sources, in order.
type claim struct {
	mode    Mode
	sources []netip.Addr
}

// nothing tells whether that is nothing.
func (c claim) nothing() bool {
	return c.mode == Include && len(c.sources) == 0
}

func (c claim) equal(o claim) bool {
	return c.mode == o.mode && slices.Equal(c.sources, o.sources)
}

// record is the claim as an answer to a query.
func (c claim) record(group netip.Addr) Record {
	if c.mode == Exclude {
		return Record{ModeIsExclude, group, c.sources}
	}
	return Record{ModeIsInclude, group, c.sources}
}

// merge is what some of a group's members want together (RFC 3376 3.2, RFC 4605
// 4.1): the frames that any of them wants. What is wanted in Exclude mode by
// the requested list is wanted by not being excluded.
func (t *Table) merge(addr netip.Addr, counts func(*member) bool) claim {
	all := claim{mode: Include}
	g := t.groups[addr]
	if g == nil {
		return all
	}
	var included []netip.Addr
	for _, f := range g.filters {
		if !counts(f.link.member) {
			continue
		}
		if f.mode == Include {
			for _, s := range f.sources {
				included = append(included, s.addr)
			}
			continue
		}
		var excluded []netip.Addr
		for _, s := range f.sources {
			if s.until <= t.now && (all.mode == Include || contains(all.sources, s.addr)) {
				excluded = append(excluded, s.addr)
			}
		}
		all = claim{Exclude, excluded}
		if len(excluded) == 0 {
			return all
		}
	}
	slices.SortFunc(included, netip.Addr.Compare)
	included = slices.Compact(included)
	if all.mode == Include {
		all.sources = included
		return all
	}
	all.sources = slices.DeleteFunc(all.sources, func(a netip.Addr) bool { return contains(included, a) })
	return all
}

// contains looks in a sorted list.
func contains(sorted []netip.Addr, addr netip.Addr) bool {
	_, ok := slices.BinarySearchFunc(sorted, addr, netip.Addr.Compare)
	return ok
}

// Merged is what all members but some want together, a record for each group,
// in order.
func (t *Table) Merged(except ...Member) []Record {
	var records []Record
	for _, addr := range sortedKeys(t.groups) {
		c := t.merge(addr, func(m *member) bool { return !slices.Contains(except, m.Member) })
		if !c.nothing() {
			records = append(records, c.record(addr))
		}
	}
	return records
}

// sortedKeys are the addresses of a map, in order.
func sortedKeys[V any](m map[netip.Addr]V) []netip.Addr {
	keys := make([]netip.Addr, 0, len(m))
	for addr := range m {
		keys = append(keys, addr)
	}
	slices.SortFunc(keys, netip.Addr.Compare)
	return keys
}
