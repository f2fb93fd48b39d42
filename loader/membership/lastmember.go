// SPDX-License-Identifier: Apache-2.0

package membership

import "net/netip"

// exact tells whether there is one listener, so that a leave needs no question
// whether another is left.
func (f *filter) exact(t *Table) bool {
	kind := f.link.member.Kind
	return kind == Host || kind == Port && t.cfg.FastLeave
}

// doubt is the tables' "Send Q(G,X)", and "Send Q(G)" for the group: what
// somebody does not want any more goes, unless somebody else says in time that
// it is wanted (RFC 3376 6.6.3, RFC 3810 7.6.3). We ask also where a real router
// is querier, as it does not see the leaves; where nobody is, what is doubted
// lasts its time.
func (f *filter) doubt(t *Table, which func(source) bool, group bool) {
	if f.exact(t) {
		f.lower(t.now, 0, which, group)
		f.expire(t)
		return
	}
	if !t.HasQuerier(f.link.family) {
		return
	}
	at := t.timing()
	if f.lower(t.in(at.lastMemberWindow), at.robustness, which, group) {
		f.repeatQueries(t)
	}
}

// lower makes timers that run longer end at a deadline, and has what they are
// of asked for some times. It tells whether there were any.
func (f *filter) lower(deadline instant, queries int, which func(source) bool, group bool) bool {
	lowered := false
	for i := range f.sources {
		if s := &f.sources[i]; s.until > deadline && which(*s) {
			s.until, s.queries, lowered = deadline, queries, true
		}
	}
	if group && f.mode == Exclude && f.until > deadline {
		f.until, f.queries, lowered = deadline, queries, true
	}
	return lowered
}

// repeatQueries sends the specific queries that are still to be sent, one of
// each. What has been told wanted since is asked for with the S flag, lest a
// router that has heard that lowers its timer again (RFC 3376 6.6.3.1 and 2).
func (f *filter) repeatQueries(t *Table) {
	at := t.timing()
	deadline := t.in(at.lastMemberWindow)
	query := func(sources []netip.Addr, suppress bool) {
		msg := f.link.question(t)
		msg.Group, msg.Sources, msg.MaxResponse, msg.Suppress = f.group.addr, sources, at.lastMember, suppress
		f.link.put(t, msg)
	}
	more := false
	group := f.queries > 0
	if group {
		query(nil, f.until > deadline)
		f.queries--
		more = f.queries > 0
	}
	var doubted, wanted []netip.Addr
	for i := range f.sources {
		s := &f.sources[i]
		if s.queries == 0 {
			continue
		}
		if s.until > deadline {
			wanted = append(wanted, s.addr)
		} else {
			doubted = append(doubted, s.addr)
		}
		s.queries--
		more = more || s.queries > 0
	}
	// Beside a query for the group, that with the S flag may be left out.
	if group {
		wanted = nil
	}
	for _, part := range splitSources(f.link.family, doubted, t.cfg.MTU) {
		query(part, false)
	}
	for _, part := range splitSources(f.link.family, wanted, t.cfg.MTU) {
		query(part, true)
	}
	f.nextQuery = never
	if more {
		f.nextQuery = t.in(at.lastMember)
	}
}
