// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"net/netip"
	"time"
)

// A new member answers its first query within joinResponse, and the answers
// are in, on a machine that is not starved, joinMargin later.
const (
	joinResponse = time.Second
	joinMargin   = time.Second
)

// member is what is known of a member.
type member struct {
	Member
	one    []Member // itself, to send to
	links  [2]link
	groups int // filters, of both families
	fresh  bool
	relays allowance
}

// remote tells whether the member is behind a tunnel.
func (m *member) remote() bool {
	return m.Kind != Port
}

// link is a member in one family.
type link struct {
	alarm
	member *member
	family Family
	groups int // filters

	// Asking, in querier.go.
	nextQuery instant
	firsts    int  // queries to come of those at the start
	quick     bool // the next is the first

	// What its silence means.
	settles   instant // when its first answers are in
	settling  bool    // a port that is counted in unsettled
	knownTo   instant // until when what it has told is all it wants
	overflow  instant // until when it may want what a limit refused
	overflows bool    // a port that is counted in overflows
	floods    bool    // is in Everywhere

	// The router or querier there, in router.go.
	routerTo   instant
	routerAddr netip.Addr
	routerMAC  MAC
	askedTo    instant    // until when what it asks is answered
	spoken     [3]instant // until when an older version is spoken there; by the version

	// Telling, in proxy.go.
	told       *audience // its own, of a port that asks
	nextReport instant
	answerAt   instant
	answered   instant
	ended      bool // the member, a Host, has been told all
}

func (l *link) clock() *alarm { return &l.alarm }

// addMember makes a member, which begins once all are there.
func (t *Table) addMember(who Member) {
	m := &member{Member: who, one: []Member{who}, fresh: true}
	for _, f := range Families {
		m.links[f.slot()] = link{member: m, family: f, nextQuery: never, nextReport: never, answerAt: never}
	}
	t.members[who] = m
}

// begin asks a new member, and tells it if it is a remote.
func (l *link) begin(t *Table) {
	at := t.timing(l.family)
	l.nextQuery, l.firsts, l.quick = t.now, at.robustness, true
	if l.member.Kind != Host {
		l.settles = t.in(joinResponse + joinMargin)
	}
	if l.member.remote() {
		l.nextReport = t.now
	} else {
		l.knownTo = never
	}
	l.review(t)
	t.wakeBy(l, t.now)
}

// removeMember forgets a member and all it has told. It stays in the order of
// members, which is made anew when all are removed.
func (t *Table) removeMember(m *member) {
	if m.groups > 0 {
		for _, g := range t.groups {
			if f := g.of(m); f != nil {
				f.remove(t)
			}
		}
	}
	for _, f := range Families {
		l := &m.links[f.slot()]
		t.forget(l)
		l.dropAudience(t)
		if l.floods {
			t.everywhere[f.slot()] = true
		}
		if l.settling {
			t.unsettled[f.slot()]--
		}
		if l.overflows {
			t.overflows[f.slot()]--
		}
		t.rivals[f.slot()].lose(t, m)
	}
	delete(t.members, m.Member)
	for key, n := range t.counters.Limits {
		if key.Member == m.Member {
			delete(t.counters.Limits, key)
			t.counters.Limits[LimitKey{Limit: key.Limit}] += n
		}
	}
}

// unsure tells whether what the member wants is not known.
func (l *link) unsure(t *Table) bool {
	return l.settles > t.now || l.knownTo <= t.now
}

// review looks at what the member's timers have made of it.
func (l *link) review(t *Table) {
	slot := l.family.slot()
	if floods := l.unsure(t) || l.routerTo > t.now || l.overflow > t.now; floods != l.floods {
		l.floods = floods
		t.everywhere[slot] = true
	}
	if l.member.remote() {
		return
	}
	if settling := l.settles > t.now; settling != l.settling {
		l.settling = settling
		t.unsettled[slot] += step(settling)
		t.reportUntold(l.family)
	}
	if overflows := l.overflow > t.now; overflows != l.overflows {
		l.overflows = overflows
		t.overflows[slot] += step(overflows)
		if overflows && t.overflows[slot] == 1 {
			t.advertise(l.family, t.remotes[slot].all)
			t.reportSoon(l.family, func(*link) bool { return true })
		}
	}
}

// step is how much one more, or one less, changes a count.
func step(more bool) int {
	if more {
		return 1
	}
	return -1
}

// heard notes that the member has told all it wants, or some of that. What a
// Host has told runs out after it has become unsure: if it were before, as the
// records of a report come before its end, what is wanted there would not be
// sent there for that time.
func (l *link) heard(t *Table) {
	if !l.member.remote() {
		return
	}
	at := t.timing(l.family)
	l.knownTo = t.in(at.listening())
	if l.member.Kind == Host {
		l.knownTo = t.in(at.absence())
	}
	l.review(t)
	t.wakeBy(l, l.knownTo)
}

// mistrust notes that a Host's agent does not know all that is wanted there. It
// is unsure until the agent has told again.
func (l *link) mistrust(t *Table) {
	l.knownTo = t.now
	l.review(t)
}

// refused notes that a group of the member has found no room: it gets all, as
// it may want that group, until it has not asked for it again.
func (l *link) refused(t *Table, limit Limit) {
	t.counters.Limits[LimitKey{l.member.Member, limit}]++
	l.overflow = t.in(t.timing(l.family).listening())
	l.review(t)
	t.wakeBy(l, l.overflow)
}

// wake does what is due for a member.
func (l *link) wake(t *Table) {
	l.review(t)
	if l.askedTo <= t.now {
		l.dropAudience(t)
	}
	if l.nextQuery <= t.now {
		l.ask(t)
	}
	if l.nextReport <= t.now {
		l.report(t)
	}
	if l.answerAt <= t.now {
		l.answer(t)
	}
	next := min(l.nextQuery, l.nextReport, l.answerAt)
	for _, timer := range []instant{l.settles, l.knownTo, l.overflow, l.routerTo, l.askedTo} {
		if timer > t.now {
			next = min(next, timer)
		}
	}
	t.wakeBy(l, next)
}
