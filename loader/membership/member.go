// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"net/netip"
	"slices"
	"time"
)

// A new member answers its first query within joinResponse, and the answers
// are in, on a machine that is not starved, joinMargin later.
const (
	joinResponse = time.Second
	joinMargin   = time.Second
	// allAgain is how long after it has told all a Host is asked once more.
	allAgain = time.Second
)

// member is what is known of a member.
type member struct {
	Member
	proxy   MAC      // of the agent of a Host
	one     []Member // itself, to send to
	links   [2]link
	groups  int // filters, of both families
	sources int // of those
	fresh   bool
	awake   bool // a port whose guest has told anything

	general, specific allowance // of routers' queries
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
	firsts    int     // queries to come of those at the start
	takesOver bool    // the next takes over from another querier
	asked     instant // when joinResponse was last given to answer

	// What its silence means.
	settles   instant // when its first answers are in
	settling  bool    // a port that is counted in unsettled
	knownTo   instant // until when what it has told is all it wants
	allAt     instant // when a Host first said that it has told all
	overflow  instant // until when it may want what a limit refused
	overflows bool    // a port that is counted in overflows
	floods    bool    // is in Everywhere

	// The router or querier there, in router.go.
	routerTo   instant
	routerAddr netip.Addr
	routerMAC  MAC
	askedTo    instant            // until when what it asks is answered
	spoken     [3]instant         // until when an older version is spoken there; by the version
	routed     bool               // a port that is counted in routers
	queries    map[string]instant // when those of late came, by frame

	// Telling, in proxy.go.
	told       *audience // its own, of a port that asks
	nextReport instant
	answerAt   instant
	answerable instant // until when no full answer is sent
	ended      bool    // the member, a Host, has been told all
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
	l.startAsking(t)
	switch l.member.Kind {
	case Port:
		l.settles = t.in(t.timing().startup() + joinResponse + joinMargin)
	case Foreign:
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
	var filters []*filter
	if m.groups > 0 {
		for _, g := range t.groups {
			if f := g.of(m); f != nil {
				filters = append(filters, f)
			}
		}
	}
	slices.SortFunc(filters, func(a, b *filter) int { return a.group.addr.Compare(b.group.addr) })
	for _, f := range filters {
		f.remove(t)
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
		if l.routed {
			t.routers[f.slot()]--
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
			t.remotes[slot].advertiseAnew(t)
		}
	}
	if routed := l.routerTo > t.now; routed != l.routed {
		l.routed = routed
		t.routers[slot] += step(routed)
		if routed && t.routers[slot] == 1 {
			t.remotes[slot].advertiseAnew(t)
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

// settleBy gives the member's first answers until then.
func (l *link) settleBy(t *Table, at instant) {
	l.settles = max(l.settles, at)
	l.review(t)
	t.wakeBy(l, l.settles)
}

// known notes that what a remote has told is all it wants, or for a foreign one
// that it tells. What a Host has told runs out after it has become unsure: if it
// were before, as the records of a report come before its end, what is wanted
// there would not be sent there for that time.
func (l *link) known(t *Table) {
	if !l.member.remote() {
		return
	}
	at := t.timing()
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
	l.knownTo, l.allAt = t.now, 0
	l.review(t)
}

// heard notes that the member tells.
func (l *link) heard(t *Table) {
	switch l.member.Kind {
	case Port:
		l.heardPort(t)
	case Foreign:
		// The first that tells is not the only one there.
		if l.knownTo <= t.now {
			wait := t.timing().response
			if l.firsts > 0 {
				wait = joinResponse
			}
			l.settleBy(t, t.in(wait+joinMargin))
		}
		l.known(t)
	}
}

// heardPort notes that a guest tells. With the answers to the last of the first
// queries it has told all. One that tells for the first time may just have
// waked: it is asked in the other family too, as it need not tell by itself.
func (l *link) heardPort(t *Table) {
	if l.settles > t.now {
		l.settles = min(l.settles, max(l.asked+instant(joinResponse+joinMargin), t.now))
		l.review(t)
		t.wakeBy(l, l.settles)
	}
	if l.member.awake {
		return
	}
	l.member.awake = true
	for _, f := range Families {
		o := &l.member.links[f.slot()]
		o.settles = t.in(joinResponse + joinMargin)
		o.review(t)
		t.wakeBy(o, o.settles)
		o.firsts = max(o.firsts, 1)
		o.nextQuery = t.now
		t.wakeBy(o, t.now)
	}
}

// heardAll notes that a Host says that it has told all. A frame of that may have
// been lost: it has to say so twice, and is asked once more for that.
func (l *link) heardAll(t *Table) {
	told := l.allAt != 0 && l.allAt+instant(t.timing().absence()) > t.now
	if l.knownTo <= t.now && !told {
		l.allAt = t.now
		l.firsts = max(l.firsts, 1)
		l.nextQuery = min(l.nextQuery, t.in(allAgain))
		t.wakeBy(l, l.nextQuery)
		return
	}
	l.known(t)
}

// refused notes that a group of the member has found no room: it gets all, as
// it may want that group, until it has not asked for it again.
func (l *link) refused(t *Table, limit Limit) {
	t.counters.Limits[LimitKey{l.member.Member, limit}]++
	l.overflow = t.in(t.listening(l.family))
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
