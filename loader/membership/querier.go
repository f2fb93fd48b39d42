// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"net/netip"
	"time"
)

// rival is the elected querier among the real routers of the segment. Ours
// loses against any.
type rival struct {
	alarm
	family     Family
	until      instant
	behind     *member
	addr       netip.Addr
	mac        MAC
	version    int
	robustness int
	interval   time.Duration
	response   time.Duration
}

func (r *rival) clock() *alarm { return &r.alarm }

// hear takes a query of a real router. Of two the lower address is elected
// (RFC 3376 6.6.2).
func (r *rival) hear(t *Table, from *member, msg *Message) {
	if r.until > t.now {
		if r.addr.Less(msg.Source) {
			return
		}
	} else {
		r.response = 0
	}
	r.behind, r.addr, r.mac, r.version = from, msg.Source, msg.SourceMAC, msg.Version
	r.robustness, r.interval = msg.Robustness, msg.QueryInterval
	if !msg.Group.IsValid() {
		r.response = msg.MaxResponse
	}
	r.until = never // its own timing counts for this
	r.until = t.in(t.timing(r.family).absence())
	t.wakeBy(r, r.until)
}

// lose ends the time of a querier that goes with its member.
func (r *rival) lose(t *Table, m *member) {
	if r.behind == m && r.until > t.now {
		r.behind, r.until = nil, t.now
		t.wakeBy(r, t.now)
	}
}

// wake asks in the place of a querier that is silent.
func (r *rival) wake(t *Table) {
	if r.until > t.now {
		t.wakeBy(r, r.until)
		return
	}
	for _, m := range t.order {
		m.links[r.family.slot()].askAgain(t)
	}
}

// HasQuerier tells whether anybody asks the members what they want. Where
// nobody does, listeners need not report, and nothing link-local is pruned.
func (t *Table) HasQuerier(f Family) bool {
	return t.cfg.Querier || t.rivals[f.slot()].until > t.now
}

// noteQueriers notes what comes and goes with a querier.
func (t *Table) noteQueriers() {
	for _, f := range Families {
		if has := t.HasQuerier(f); has != t.queried[f.slot()] {
			t.queried[f.slot()] = has
			for addr := range t.groups {
				if FamilyOf(addr) == f && LinkLocal(addr) {
					t.changed[addr] = true
				}
			}
		}
	}
}

// askAgain begins the member's interval of queries anew.
func (l *link) askAgain(t *Table) {
	if l.member.Kind != Host {
		l.nextQuery = min(l.nextQuery, t.now)
		t.wakeBy(l, l.nextQuery)
	}
}

// ask sends a general query if one is to be sent, and says when the next is
// due. A real querier's queries are relayed, and ours cease but for the first,
// which a new member would wait for. A Host is asked at the start only, as it
// tells by itself.
func (l *link) ask(t *Table) {
	at := t.timing(l.family)
	quick := l.quick
	l.quick = false
	l.nextQuery = never
	switch {
	case l.member.Kind == Host:
		if l.firsts == 0 || !quick && !l.unsure(t) {
			return
		}
	case !t.HasQuerier(l.family):
		return
	case t.rivals[l.family.slot()].until > t.now:
		l.firsts = 0
		if !quick {
			return
		}
	}
	msg := l.question(t, at)
	msg.MaxResponse = at.response
	if quick || l.member.Kind == Host {
		msg.MaxResponse = joinResponse
	}
	t.send(l.member.one, Build(msg))
	if l.told != nil {
		l.answerWithin(t, msg.MaxResponse)
	}
	l.firsts = max(l.firsts-1, 0)
	switch {
	case l.firsts > 0:
		l.nextQuery = t.in(at.startup())
	case l.member.Kind != Host && t.rivals[l.family.slot()].until <= t.now:
		l.nextQuery = t.in(at.interval)
	}
}

// question begins a query to the member. A bridge takes a port for one that
// wants reports only if its query has a source (RFC 4541 2.1.1 1 b), and so a
// foreign remote's has; a port's has none, as an address would win elections.
func (l *link) question(t *Table, at timing) *Message {
	msg := t.message(Query, l.family)
	if l.family == IPv4 && l.member.Kind == Foreign {
		msg.Source = dummy4
	}
	msg.Robustness, msg.QueryInterval = at.robustness, at.interval
	return msg
}
