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
	serves     instant // until when its queries do for ours
	behind     *member
	addr       netip.Addr
	mac        MAC
	version    int
	robustness int
	interval   time.Duration
	response   time.Duration
}

func (r *rival) clock() *alarm { return &r.alarm }

// hear takes a general query of a real router: specific ones elect nobody, as
// for the kernel's bridge (br_multicast_query_received in br_multicast.c). Of
// two the lower address is elected (RFC 3376 6.6.2). Its queries do for ours
// only if they come as often and give no more time to answer; and, as one may be
// late, for half an interval more.
func (r *rival) hear(t *Table, from *member, msg *Message) {
	if r.until > t.now && r.addr.Less(msg.Source) {
		return
	}
	at := t.timing()
	r.behind, r.addr, r.mac, r.version = from, msg.Source, msg.SourceMAC, msg.Version
	r.robustness, r.interval, r.response = msg.Robustness, msg.QueryInterval, msg.MaxResponse
	r.until, r.serves = t.in(at.absence()), 0
	if r.interval <= at.interval && r.response <= at.response {
		r.serves = t.in(at.interval * 3 / 2)
	}
	t.wakeBy(r, r.until)
}

// yields is until when nothing of ours is asked where the querier is. One that
// has lost an election that it need not have lost, as the kernel's bridge does
// against 0.0.0.0 (br_ip4_multicast_select_querier in br_multicast.c), by a query
// of ours that crossed its first, asks again once it has heard none for its other
// querier present interval. What was told to it lasts longer than that.
func (r *rival) yields(t *Table) instant {
	return r.until + instant(t.timing().response/4)
}

// lose ends the time of a querier that goes with its member.
func (r *rival) lose(t *Table, m *member) {
	if r.behind != m || r.until <= t.now {
		return
	}
	r.behind, r.until, r.serves = nil, t.now, t.now
	t.wakeBy(r, t.now)
}

// wake asks in the place of a querier that has gone. In that of one that is
// silent, it has been asked already.
func (r *rival) wake(t *Table) {
	if r.until > t.now {
		t.wakeBy(r, r.until)
	} else if r.behind == nil {
		for _, m := range t.order {
			m.links[r.family.slot()].takesOver = true
			m.links[r.family.slot()].askAgain(t)
		}
	}
}

// HasQuerier tells whether anybody asks the members what they want. Where
// nobody does, listeners need not report, and nothing is pruned.
func (t *Table) HasQuerier(f Family) bool {
	return t.cfg.Querier || t.rivals[f.slot()].until > t.now
}

// noteQueriers notes what comes and goes with a querier. When one comes, what
// is known may be little of what is wanted, until all have been asked; when the
// last one goes, Hosts have to be told anew that what they know is all.
func (t *Table) noteQueriers() {
	for _, f := range Families {
		has := t.HasQuerier(f)
		if has == t.queried[f.slot()] {
			continue
		}
		t.queried[f.slot()], t.requeried[f.slot()] = has, true
		for addr := range t.groups {
			if FamilyOf(addr) == f {
				t.changed[addr] = true
			}
		}
		for _, m := range t.order {
			l := &m.links[f.slot()]
			if !has {
				l.ended = false
			} else if m.Kind != Host {
				l.startAsking(t)
				at := t.timing()
				l.settleBy(t, t.in(max(at.startup()+joinResponse, at.response)+joinMargin))
			}
		}
		t.reportUntold(f)
	}
}

// startupGaps lie between the first queries to a member, which give joinResponse
// to answer: a guest is often asleep when its port is made, and need not tell
// when it wakes. Each may be lost, and those of RFC 3376 8.6 are far between.
var startupGaps = [...]time.Duration{time.Second, 2 * time.Second, 7 * time.Second}

// startup is how long the first queries take.
func (at timing) startup() time.Duration {
	var all time.Duration
	for _, gap := range startupGaps {
		all += min(gap, at.interval)
	}
	return all
}

// startAsking begins with the first queries.
func (l *link) startAsking(t *Table) {
	l.nextQuery, l.firsts, l.silent = t.now, len(startupGaps)+1, true
	t.wakeBy(l, t.now)
}

// askAgain asks now, and begins the member's interval of queries anew.
func (l *link) askAgain(t *Table) {
	if l.member.Kind != Host {
		l.nextQuery = t.now
		t.wakeBy(l, t.now)
	}
}

// ask sends a general query if one is to be sent, and says when the next is
// due. A real querier's queries are relayed, and ours cease but for the first
// ones, which a new member would wait for, unless the querier is there. A Host is
// asked at the start only, as it tells by itself.
func (l *link) ask(t *Table) {
	at, r := t.timing(), &t.rivals[l.family.slot()]
	first := l.firsts > 0
	l.nextQuery = never
	switch {
	case l.member.Kind == Host:
		if !first || l.firsts <= len(startupGaps) && !l.unsure(t) {
			return
		}
	case !t.HasQuerier(l.family):
		return
	case r.behind == l.member && r.yields(t) > t.now:
		l.nextQuery, l.takesOver = r.yields(t), true
		return
	case !first && r.serves > t.now:
		l.nextQuery, l.takesOver = r.serves, true
		return
	case !first && !t.cfg.Querier:
		return
	}
	if l.takesOver {
		// What was told to the other querier does not last much longer.
		l.takesOver, first = false, true
		l.firsts = max(l.firsts, min(at.robustness, len(startupGaps)+1))
	}
	msg := l.question(t)
	if first {
		msg.MaxResponse, l.asked = joinResponse, t.now
	}
	l.put(t, msg)
	if l.silent && l.member.Kind != Host {
		// On a machine that is starved the query may be late.
		l.settleBy(t, t.in(joinResponse+joinMargin))
		l.silent = l.firsts > 1
	}
	if l.told != nil {
		l.answerWithin(t, msg.MaxResponse)
	}
	switch {
	case l.firsts > 1:
		l.nextQuery = t.in(min(startupGaps[len(startupGaps)+1-l.firsts], at.interval))
	case l.member.Kind != Host:
		l.nextQuery = t.in(at.interval)
	}
	l.firsts = max(l.firsts-1, 0)
}

// question begins a query to the member. It has no address of IPv4, which would
// win elections.
func (l *link) question(t *Table) *Message {
	at := t.timing()
	msg := t.message(Query, l.family)
	msg.MaxResponse, msg.Robustness, msg.QueryInterval = at.response, at.robustness, at.interval
	return msg
}

// put sends a query to the member. Behind a foreign remote there may be nodes
// that filter by reverse path, and so answer no address that they have no route
// to, and a bridge, which takes its port for one that wants reports only by a
// query that has an address (RFC 4541 2.1.1 1 b): it gets both.
func (l *link) put(t *Table, msg *Message) {
	t.send(l.member.one, Build(msg))
	if l.family == IPv4 && l.member.Kind == Foreign {
		msg.Source = dummy4
		t.send(l.member.one, Build(msg))
	}
}
