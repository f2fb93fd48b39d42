// SPDX-License-Identifier: Apache-2.0

package membership

import "slices"

// receive takes a message of the member.
func (l *link) receive(t *Table, msg *Message) {
	proxy, host := msg.SourceMAC.IsAgents(), l.member.Kind == Host
	// A proxy's frame that has found another way is of nobody here.
	stray := proxy && (!host || msg.SourceMAC != l.member.proxy)
	// What a Host passes on of its guests is for its own agent to know, which then
	// tells; also where routers are, as what is flooded may have come through this
	// Host from another one. Only routers' queries are passed on by the agents.
	guests := host && !proxy && (msg.Kind != Query || msg.Source.IsUnspecified())
	if stray || guests {
		t.counters.Ignored[l.member.Kind]++
		// That a report is passed on says that the agent has not taken it.
		if guests && msg.Kind == Report {
			l.mistrust(t)
		}
		return
	}
	switch {
	case msg.Kind == Report || msg.Kind == Leave:
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
	if l.repeated(t, msg) {
		return
	}
	if !l.member.allows(t, msg) {
		t.counters.Limits[LimitKey{l.member.Member, LimitQueries}]++
		return
	}
	if l.queries == nil {
		l.queries = make(map[string]instant)
	}
	l.queries[string(msg.Frame)] = t.now
	if l.member.Kind != Host && !msg.modern() {
		l.spoken[msg.Version] = t.in(t.timing().listening())
		t.remotes[l.family.slot()].address(t)
	}
	if !msg.Source.IsUnspecified() {
		l.routes(t, msg)
		if !msg.Group.IsValid() {
			t.rivals[l.family.slot()].hear(t, l.member, msg)
		}
		l.relay(t, msg)
	}
	if l.member.Kind == Port {
		l.attend(t)
	}
	l.respond(t, msg)
}

// routes notes that there is a router behind the member.
func (l *link) routes(t *Table, msg *Message) {
	l.routerTo = t.in(t.timing().absence())
	l.routerAddr, l.routerMAC = msg.Source, msg.SourceMAC
	l.review(t)
	t.wakeBy(l, l.routerTo)
}

// relay sends a router's query on, unchanged: to the other ports, and from a
// port to the remotes, whose agents send it to their ports. It shortens no
// timers, as RFC 3376 6.6.1 would have it: the query may be lost on the way, or
// forged, and of every leave here we ask ourselves.
func (l *link) relay(t *Table, msg *Message) {
	frame := slices.Clone(msg.Frame)
	var to []Member
	for _, m := range t.order {
		if m == l.member || m.remote() && l.member.remote() {
			continue
		}
		to = append(to, m.Member)
		// Another router hears the answers to this one's queries.
		if other := &m.links[l.family.slot()]; !msg.Group.IsValid() && other.told != nil {
			other.answerWithin(t, msg.MaxResponse)
		}
	}
	t.send(to, frame)
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
