// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"slices"
	"time"
)

// receive takes a message of the member.
func (l *link) receive(t *Table, msg *Message) {
	proxy, host := IsProxyMAC(msg.SourceMAC), l.member.Kind == Host
	listens := msg.Kind == Report || msg.Kind == Leave
	if proxy != host {
		// A proxy's frame that has found another way is of nobody here. What a
		// Host passes on of its guests is for its own agent to know, which then
		// tells; only of routers do all learn so. But that it is passed on says
		// that the agent has not taken it.
		if proxy || listens || msg.Kind == Query && msg.Source.IsUnspecified() {
			t.counters.Ignored[l.member.Kind]++
			if host && msg.Kind == Report {
				l.mistrust(t)
			}
			return
		}
	}
	switch {
	case listens:
		l.listen(t, msg)
	case msg.Kind != Query:
		l.routes(t, msg)
		if l.member.Kind == Port {
			l.attend(t)
			l.answerWithin(t, joinResponse)
		}
	case proxy:
		l.respond(t, msg)
	default:
		l.questioned(t, msg)
	}
}

// questioned takes a query that is no agent's. One without a source is of a
// switch that wants to know where listeners are, and is answered; one with a
// source is of a router (RFC 4541 2.1.1 1).
func (l *link) questioned(t *Table, msg *Message) {
	if !l.member.relays.take(t.now) {
		t.counters.Limits[LimitKey{l.member.Member, LimitQueries}]++
		return
	}
	if l.member.Kind != Host && !msg.modern() {
		l.spoken[msg.Version] = t.in(t.timing(l.family).listening())
		t.remotes[l.family.slot()].address(t)
	}
	if !msg.Source.IsUnspecified() {
		l.routes(t, msg)
		t.rivals[l.family.slot()].hear(t, l.member, msg)
		l.relay(t, msg)
	}
	if l.member.Kind == Port {
		l.attend(t)
	}
	l.respond(t, msg)
}

// routes notes that there is a router behind the member.
func (l *link) routes(t *Table, msg *Message) {
	l.routerTo = t.in(t.timing(l.family).absence())
	l.routerAddr, l.routerMAC = msg.Source, msg.SourceMAC
	l.review(t)
	t.wakeBy(l, l.routerTo)
}

// relay sends a router's query on, unchanged: to the other ports, and from a
// port to the remotes, whose agents send it to their ports.
func (l *link) relay(t *Table, msg *Message) {
	frame := slices.Clone(msg.Frame)
	var to []Member
	for _, m := range t.order {
		if m == l.member || m.remote() && l.member.remote() {
			continue
		}
		to = append(to, m.Member)
		other := &m.links[l.family.slot()]
		switch {
		case !msg.Group.IsValid():
			// Another router hears the answers to this one's queries.
			if other.told != nil {
				other.answerWithin(t, msg.MaxResponse)
			}
		case !msg.Suppress && m.Kind != Host:
			other.lowerFor(t, msg)
		}
	}
	t.send(to, frame)
}

// lowerFor shortens the timers of what a querier doubts (RFC 3376 6.6.1).
func (l *link) lowerFor(t *Table, msg *Message) {
	g := t.groups[msg.Group]
	if g == nil {
		return
	}
	f := g.of(l.member)
	// An IGMPv1 listener does not answer specific queries.
	if f == nil || f.mute > t.now {
		return
	}
	at := t.timing(l.family)
	window := max(at.lastMemberWindow, msg.MaxResponse*time.Duration(at.robustness))
	asked := func(s source) bool { return slices.Contains(msg.Sources, s.addr) }
	f.lower(t.in(window), 0, asked, len(msg.Sources) == 0)
	f.setAlarm(t)
}

// version is that in which the member is spoken to: the oldest that a querier
// there has spoken of late (RFC 3376 7.2.1, RFC 3810 8.2.1).
func (l *link) version(t *Table) int {
	for v, until := range l.spoken {
		if until > t.now {
			return v
		}
	}
	return newest(l.family)
}

// allowance bounds how often something may happen: allowanceBurst times at
// once, and then again after allowanceInterval each.
type allowance struct {
	used instant // what is used up, as time to come
}

const (
	allowanceBurst    = 200
	allowanceInterval = 10 * time.Millisecond
)

// take uses one, if there is one.
func (a *allowance) take(now instant) bool {
	used := max(a.used, now) + instant(allowanceInterval)
	if used-now > instant(allowanceBurst*allowanceInterval) {
		return false
	}
	a.used = used
	return true
}
