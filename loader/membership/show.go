// SPDX-License-Identifier: Apache-2.0

package membership

import "maps"

// Groups are what is known of all groups, in order.
func (t *Table) Groups() []GroupState {
	all := make([]GroupState, 0, len(t.groups))
	for _, addr := range sortedKeys(t.groups) {
		state := GroupState{Group: addr}
		for _, f := range t.groups[addr].filters {
			state.Members = append(state.Members, f.show(t))
		}
		all = append(all, state)
	}
	return all
}

// show is a filter for people.
func (f *filter) show(t *Table) MemberGroupState {
	state := MemberGroupState{Member: f.link.member.Member, Mode: f.mode, Version: f.version(t)}
	if f.mode == Exclude {
		state.Left = t.left(f.until)
	}
	for _, s := range f.sources {
		state.Sources = append(state.Sources, SourceState{s.addr, t.left(s.until)})
	}
	for _, r := range f.reporters {
		state.Reporters = append(state.Reporters, Reporter{r.mac, r.addr, t.left(t.now + t.now - r.at)})
	}
	return state
}

// Members are what is known of all members, in order, IPv4 before IPv6.
func (t *Table) Members() []MemberState {
	all := make([]MemberState, 0, 2*len(t.order))
	for _, m := range t.order {
		for _, f := range Families {
			all = append(all, m.links[f.slot()].show(t))
		}
	}
	return all
}

// show is a member for people.
func (l *link) show(t *Table) MemberState {
	state := MemberState{
		Member:   l.member.Member,
		Family:   l.family,
		Groups:   l.groups,
		Router:   t.left(l.routerTo),
		Version:  l.version(t),
		Unsure:   l.unsure(t),
		Overflow: l.overflow > t.now,
	}
	if l.routerTo > t.now {
		state.RouterAddr, state.RouterMAC = l.routerAddr, l.routerMAC
	}
	return state
}

// Querier is who asks the members in a family. It says false where nobody does.
func (t *Table) Querier(f Family) (QuerierState, bool) {
	r := &t.rivals[f.slot()]
	if r.until > t.now {
		return QuerierState{r.behind.Member, r.addr, r.mac, r.version, t.left(r.until), r.robustness, r.interval}, true
	}
	if !t.cfg.Querier {
		return QuerierState{}, false
	}
	msg := t.message(Query, f)
	return QuerierState{Addr: msg.Source, MAC: msg.SourceMAC, Version: msg.Version, Robustness: t.cfg.Robustness, QueryInterval: t.cfg.QueryInterval}, true
}

// Counters are all counters.
func (t *Table) Counters() Counters {
	return Counters{
		Messages:  maps.Clone(t.counters.Messages),
		Malformed: maps.Clone(t.counters.Malformed),
		Ignored:   maps.Clone(t.counters.Ignored),
		Limits:    maps.Clone(t.counters.Limits),
	}
}
