// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"net/netip"
	"slices"
)

// group is what the members have told of a group. Who has told nothing, or
// wants nothing, has no filter; a group without filters is not there.
type group struct {
	addr    netip.Addr
	filters []*filter // in the order of the members
}

// find is where the filter of a member is, or would be.
func (g *group) find(m *member) (int, bool) {
	return slices.BinarySearchFunc(g.filters, m.Member, func(f *filter, who Member) int { return f.link.member.Compare(who) })
}

// of is the filter of a member, or nil.
func (g *group) of(m *member) *filter {
	if i, ok := g.find(m); ok {
		return g.filters[i]
	}
	return nil
}

// filter is what one member has told of one group: the router's state of RFC
// 3376 6.2 and RFC 3810 7.2.
type filter struct {
	alarm
	link  *link
	group *group

	mode    Mode
	until   instant  // the group timer, in Exclude mode
	sources []source // by address
	held    int      // how many of them the member's are counted with
	plain   instant  // until when a listener there tells no sources: MLDv1, IGMPv2
	mute    instant  // until when a listener there tells no leaves: IGMPv1

	queries   int     // specific queries to come, for the group
	nextQuery instant // of those, and of those for sources

	reporters []reporter // the newest first
}

// source is a source of a filter. In Exclude mode a source whose timer runs is
// of the requested list, and one without is of the exclude list.
type source struct {
	addr    netip.Addr
	until   instant
	queries int // to come
}

// reporter is who has told.
type reporter struct {
	mac  MAC
	addr netip.Addr
	at   instant
}

// maxReporters is how many reporters of a group are kept for each member.
const maxReporters = 4

func (f *filter) clock() *alarm { return &f.alarm }

// filterOf finds a member's filter of a group, or makes one, which wants
// nothing yet. It is nil where a limit refuses it.
func (t *Table) filterOf(l *link, addr netip.Addr) *filter {
	g := t.groups[addr]
	if g != nil {
		if f := g.of(l.member); f != nil {
			return f
		}
	}
	if l.member.Kind == Port && l.member.groups >= t.cfg.GroupsPerPort {
		l.refused(t, LimitGroupsPerPort)
		return nil
	}
	if g == nil {
		if len(t.groups) >= t.cfg.Groups {
			l.refused(t, LimitGroups)
			return nil
		}
		g = &group{addr: addr}
		t.groups[addr] = g
	}
	f := &filter{link: l, group: g, mode: Include, nextQuery: never}
	i, _ := g.find(l.member)
	g.filters = slices.Insert(g.filters, i, f)
	l.groups++
	l.member.groups++
	return f
}

// remove forgets a filter, and the group with the last one.
func (f *filter) remove(t *Table) {
	f.touch(t)
	t.forget(f)
	g := f.group
	if i, ok := g.find(f.link.member); ok {
		g.filters = slices.Delete(g.filters, i, i+1)
	}
	f.link.groups--
	f.link.member.groups--
	if len(g.filters) == 0 {
		delete(t.groups, g.addr)
	}
}

// touch notes that what the filter wants has changed.
func (f *filter) touch(t *Table) {
	addr := f.group.addr
	t.changed[addr] = true
	t.dirty[addr] = t.dirty[addr] || f.link.member.Kind == Port
}

// empty tells whether the filter wants nothing.
func (f *filter) empty() bool {
	return f.mode == Include && len(f.sources) == 0
}

// at is where a source is, or would be.
func (f *filter) at(addr netip.Addr) (int, bool) {
	return slices.BinarySearchFunc(f.sources, addr, func(s source, a netip.Addr) int { return s.addr.Compare(a) })
}

// wants tells whether the filter wants frames from a source.
func (f *filter) wants(t *Table, addr netip.Addr) bool {
	i, ok := f.at(addr)
	if f.mode == Include {
		return ok
	}
	return !ok || f.sources[i].until > t.now
}

// noteReporter keeps who has told last.
func (f *filter) noteReporter(t *Table, msg *Message) {
	f.reporters = slices.DeleteFunc(f.reporters, func(r reporter) bool { return r.mac == msg.SourceMAC && r.addr == msg.Source })
	f.reporters = slices.Insert(f.reporters, 0, reporter{msg.SourceMAC, msg.Source, t.now})
	if len(f.reporters) > maxReporters {
		f.reporters = f.reporters[:maxReporters]
	}
}

// wake runs out what has run out, asks what is to be asked, and forgets the
// filter when nothing is left.
func (f *filter) wake(t *Table) {
	f.expire(t)
	if f.empty() {
		f.remove(t)
		return
	}
	if f.nextQuery <= t.now {
		f.repeatQueries(t)
	}
	f.setAlarm(t)
}

// setAlarm wakes the filter by the first of its timers.
func (f *filter) setAlarm(t *Table) {
	next := f.nextQuery
	if f.mode == Exclude {
		next = min(next, f.until)
	}
	for _, s := range f.sources {
		if s.until > t.now {
			next = min(next, s.until)
		}
	}
	t.wakeBy(f, next)
}

// expire does what the RFCs want when timers run out (RFC 3376 6.3 and 6.5, RFC
// 3810 7.2.3 and 7.5).
func (f *filter) expire(t *Table) {
	before := len(f.sources)
	if f.mode == Exclude && f.until <= t.now {
		// The excluded go, and what is left is wanted by somebody.
		f.mode, f.until, f.queries = Include, 0, 0
		f.touch(t)
	}
	if f.mode == Include {
		f.keep(slices.DeleteFunc(f.sources, func(s source) bool { return s.until <= t.now }))
		if len(f.sources) != before {
			f.touch(t)
		}
		return
	}
	for i := range f.sources {
		if s := &f.sources[i]; s.until != 0 && s.until <= t.now {
			s.until, s.queries = 0, 0
			f.touch(t)
		}
	}
}
