// SPDX-License-Identifier: Apache-2.0

package membership

import "net/netip"

// Forwarding says who gets the frames of a group, in the order of the members.
// It says false for a group that nobody has told of, for one that is flooded,
// and for all of a family while nobody asks for listeners: they need not tell.
func (t *Table) Forwarding(addr netip.Addr) (Forwarding, bool) {
	g := t.groups[addr]
	if g == nil || !t.HasQuerier(FamilyOf(addr)) {
		return Forwarding{}, false
	}
	var to Forwarding
	for _, f := range g.filters {
		if f.mode == Exclude {
			to.Default = append(to.Default, f.link.member.Member)
		}
		for _, s := range f.sources {
			if f.mode == Include || s.until <= t.now {
				if to.Sources == nil {
					to.Sources = make(map[netip.Addr][]Member)
				}
				to.Sources[s.addr] = nil
			}
		}
	}
	for source := range to.Sources {
		for _, f := range g.filters {
			if f.wants(t, source) {
				to.Sources[source] = append(to.Sources[source], f.link.member.Member)
			}
		}
	}
	if SolicitedNode(addr) {
		remotes := t.remotes[FamilyOf(addr).slot()].all
		to.Default = append(to.Default, remotes...)
		for source := range to.Sources {
			to.Sources[source] = append(to.Sources[source], remotes...)
		}
	}
	return to, true
}

// Everywhere are the members that get all multicast of a family, in order: the
// ways to routers, those of which it is not known what they want, and those of
// which a limit refused a group.
func (t *Table) Everywhere(f Family) []Member {
	var all []Member
	for _, m := range t.order {
		if m.links[f.slot()].floods {
			all = append(all, m.Member)
		}
	}
	return all
}

// TakeChanges gives what has changed since the last call.
func (t *Table) TakeChanges() Changes {
	changes := Changes{Groups: sortedKeys(t.changed)}
	clear(t.changed)
	for _, f := range Families {
		if t.everywhere[f.slot()] {
			changes.Everywhere = append(changes.Everywhere, f)
		}
		if t.requeried[f.slot()] {
			changes.Queriers = append(changes.Queriers, f)
		}
	}
	t.everywhere, t.requeried = [2]bool{}, [2]bool{}
	return changes
}
