// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

const (
	// unsolicited is the unsolicited report interval, within which a report of a
	// change is repeated (RFC 3376 8.11, RFC 3810 9.11).
	unsolicited = time.Second
	// A guest that joins and leaves all the time must not have every remote told
	// each time: changes within a gap go together.
	changeGap = 10 * time.Millisecond
	// messageTime is what each message takes, so that one segment has changes
	// told by at most 20,000 messages a second.
	messageTime = 50 * time.Microsecond
	// answerGap lies between full answers to one member.
	answerGap      = 100 * time.Millisecond
	answerGapFrame = time.Millisecond // or this, for each frame of the last one
)

// audience is whom the proxy tells the same: the remotes, of what the ports
// want, or a port that asks, of what everybody else wants.
type audience struct {
	alarm
	family  Family
	router  *link                // the port; nil: the remotes
	all     []Member             // to be told in any version, in order
	modern  []Member             // of those, who is spoken to in the newest
	old     []*link              // and who is not
	told    map[netip.Addr]claim // what is wanted now, and told or about to be
	pending map[netip.Addr]*change
	first   map[netip.Addr]bool // of pending, not told yet
	repeat  instant             // when pending is told again
	quiet   instant             // until when nothing is told
	full    [][]byte            // frames of a full report; nil: to be made

	adverts    int // advertisements to come, of the remotes
	nextAdvert instant
}

// change is what is still to be told of a change, and how often (RFC 3376 5.1,
// RFC 3810 6.1).
type change struct {
	mode    int
	sources map[netip.Addr]int

	last   claim   // that was told last, where the change has not been told yet
	before *change // what was still to be told then; nil: nothing
}

// more notes that a change is to be told some times.
func (p *change) more(old, now claim, times int) {
	// A report of the mode has the whole list; what was pending of sources ends
	// with it, as it is not told more often. Nothing is always told so: a bridge
	// that takes no sources takes BLOCK for a wish.
	if now.mode != old.mode || now.nothing() {
		p.mode = times
		return
	}
	if p.sources == nil {
		p.sources = make(map[netip.Addr]int)
	}
	for _, s := range old.sources {
		if !contains(now.sources, s) {
			p.sources[s] = times
		}
	}
	for _, s := range now.sources {
		if !contains(old.sources, s) {
			p.sources[s] = times
		}
	}
}

func (a *audience) clock() *alarm { return &a.alarm }

// newAudience makes one, which is told nothing yet.
func (t *Table) newAudience(f Family, router *link) *audience {
	a := &audience{
		family: f, router: router, told: make(map[netip.Addr]claim), pending: make(map[netip.Addr]*change), first: make(map[netip.Addr]bool),
		repeat: never, nextAdvert: never,
	}
	t.audiences[f.slot()] = append(t.audiences[f.slot()], a)
	return a
}

// counts tells whether the audience is told what a member wants. Remotes tell
// each other themselves.
func (a *audience) counts(m *member) bool {
	if a.router == nil {
		return !m.remote()
	}
	return m != a.router.member
}

// address works out whom the audience is.
func (a *audience) address(t *Table) {
	a.all, a.modern, a.old = nil, nil, nil
	for _, m := range t.order {
		if a.router == nil && !m.remote() || a.router != nil && a.router.member != m {
			continue
		}
		l := &m.links[a.family.slot()]
		a.all = append(a.all, m.Member)
		if l.version(t) == newest(a.family) {
			a.modern = append(a.modern, m.Member)
		} else {
			a.old = append(a.old, l)
		}
	}
}

// attend makes the port an audience of its own, for as long as it asks.
func (l *link) attend(t *Table) {
	l.askedTo = t.in(t.timing().absence())
	t.wakeBy(l, l.askedTo)
	if l.told == nil {
		l.told = t.newAudience(l.family, l)
		for addr := range t.groups {
			if c := t.merge(addr, l.told.counts); FamilyOf(addr) == l.family && !c.nothing() {
				l.told.told[addr] = c
			}
		}
	}
	l.told.address(t)
}

// dropAudience ends that.
func (l *link) dropAudience(t *Table) {
	if a := l.told; a != nil {
		t.forget(a)
		slot := l.family.slot()
		t.audiences[slot] = slices.DeleteFunc(t.audiences[slot], func(o *audience) bool { return o == a })
		l.told = nil
	}
}

// tellDirty has the audiences told of the groups that have changed.
func (t *Table) tellDirty() {
	for _, addr := range sortedKeys(t.dirty) {
		for _, a := range t.audiences[FamilyOf(addr).slot()] {
			if a.router != nil || t.dirty[addr] && !SolicitedNode(addr) {
				a.update(t, addr, t.timing().robustness)
			}
		}
	}
	clear(t.dirty)
}

// update looks at a group and has what has changed told some times.
func (a *audience) update(t *Table, addr netip.Addr, times int) {
	old, ok := a.told[addr]
	if !ok {
		old = claim{mode: Include}
	}
	c := t.merge(addr, a.counts)
	if c.equal(old) {
		return
	}
	a.full = nil
	if c.nothing() {
		delete(a.told, addr)
	} else {
		a.told[addr] = c
	}
	if times == 0 {
		return
	}
	p := a.pending[addr]
	switch {
	case !a.first[addr]:
		// A copy, for p to be taken back.
		before := p
		p = &change{last: old, before: before}
		if before != nil {
			p.mode, p.sources = before.mode, maps.Clone(before.sources)
		}
		a.first[addr], a.pending[addr] = true, p
	case c.equal(p.last):
		a.takeBack(addr, p)
		return
	}
	p.more(old, c, times)
	t.wakeBy(a, max(t.now, a.quiet))
}

// takeBack forgets a change that was never told and is none any more.
func (a *audience) takeBack(addr netip.Addr, p *change) {
	delete(a.first, addr)
	if p.before != nil {
		a.pending[addr] = p.before
	} else {
		delete(a.pending, addr)
	}
}

// wake tells what is new, and repeats what is to be repeated.
func (a *audience) wake(t *Table) {
	if a.nextAdvert <= t.now {
		a.advertiseDue(t)
	}
	if a.quiet <= t.now && (len(a.first) > 0 || a.repeat <= t.now) {
		groups := sortedKeys(a.first)
		if a.repeat <= t.now {
			groups, a.repeat = sortedKeys(a.pending), never
		}
		clear(a.first)
		messages := a.tell(t, groups)
		if len(a.pending) > 0 && a.repeat == never {
			a.repeat = t.within(unsolicited)
		}
		a.quiet = t.in(max(changeGap, time.Duration(messages)*messageTime))
	}
	next := a.repeat
	if len(a.first) > 0 {
		next = t.now
	}
	if next != never {
		next = max(next, a.quiet)
	}
	t.wakeBy(a, min(next, a.nextAdvert))
}

// tell reports the changes of some groups, and counts the messages.
func (a *audience) tell(t *Table, groups []netip.Addr) (messages int) {
	if slices.ContainsFunc(a.old, func(l *link) bool { return l.version(t) == newest(a.family) }) {
		a.address(t)
	}
	var records []Record
	for _, addr := range groups {
		p := a.pending[addr]
		p.last, p.before = claim{}, nil
		records = append(records, a.changes(addr, p)...)
		p.mode = max(p.mode-1, 0)
		for s := range p.sources {
			if p.sources[s]--; p.sources[s] == 0 {
				delete(p.sources, s)
			}
		}
		if p.mode == 0 && len(p.sources) == 0 {
			delete(a.pending, addr)
		}
	}
	if len(a.modern) > 0 {
		for _, frame := range t.reports(a.family, records) {
			t.send(a.modern, frame)
			messages += len(a.modern)
		}
	}
	for _, l := range a.old {
		for _, addr := range groups {
			a.tellOld(t, l, addr)
			messages++
		}
	}
	return messages
}

// changes are the records of a change: how the mode has changed, or what the
// sources have that it is about.
func (a *audience) changes(addr netip.Addr, p *change) []Record {
	c, ok := a.told[addr]
	if !ok {
		c = claim{mode: Include}
	}
	if p.mode > 0 {
		kind := ChangeToInclude
		if c.mode == Exclude {
			kind = ChangeToExclude
		}
		return []Record{{kind, addr, c.sources}}
	}
	var allow, block []netip.Addr
	for _, s := range sortedKeys(p.sources) {
		if contains(c.sources, s) == (c.mode == Include) {
			allow = append(allow, s)
		} else {
			block = append(block, s)
		}
	}
	var records []Record
	if len(allow) > 0 {
		records = append(records, Record{AllowNewSources, addr, allow})
	}
	if len(block) > 0 {
		records = append(records, Record{BlockOldSources, addr, block})
	}
	return records
}

// tellOld reports a group to who knows no sources: all of it is wanted or
// nothing. IGMPv1 has no leave.
func (a *audience) tellOld(t *Table, l *link, addr netip.Addr) {
	_, wanted := a.told[addr]
	version := l.version(t)
	msg := t.message(Report, a.family)
	msg.Version, msg.Group = version, addr
	if !wanted {
		if a.family == IPv4 && version == 1 {
			return
		}
		msg.Kind = Leave
	}
	t.send(l.member.one, Build(msg))
}

// reports makes the frames of some records.
func (t *Table) reports(f Family, records []Record) [][]byte {
	var frames [][]byte
	for _, part := range SplitRecords(f, records, t.cfg.MTU) {
		msg := t.message(Report, f)
		msg.Records = part
		frames = append(frames, Build(msg))
	}
	return frames
}

// tellAll sends a member all that is wanted, and tells how many frames that
// took.
func (a *audience) tellAll(t *Table, l *link) (frames int) {
	if l.version(t) != newest(a.family) {
		for _, addr := range sortedKeys(a.told) {
			a.tellOld(t, l, addr)
		}
		return len(a.told)
	}
	if a.full == nil {
		var records []Record
		for _, addr := range sortedKeys(a.told) {
			records = append(records, a.told[addr].record(addr))
		}
		a.full = t.reports(a.family, records)
	}
	for _, frame := range a.full {
		t.send(l.member.one, frame)
	}
	return len(a.full)
}
