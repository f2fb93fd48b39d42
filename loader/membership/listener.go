// SPDX-License-Identifier: Apache-2.0

package membership

import "slices"

// listen takes a report or a leave. The older versions' messages are records
// of the newest (RFC 3376 7.3.2, RFC 3810 8.3.2).
func (l *link) listen(t *Table, msg *Message) {
	records := msg.Records
	switch {
	case msg.modern():
	case msg.Kind == Leave:
		records = []Record{{Type: ChangeToInclude, Group: msg.Group}}
	default:
		records = []Record{{Type: ModeIsExclude, Group: msg.Group}}
	}
	l.heard(t)
	// Reports of a Host come in several frames, and changes between them: only
	// the empty one, which ends them, says that this was all.
	if l.member.Kind == Host && msg.modern() && len(records)+msg.BadRecords == 0 {
		l.heardAll(t)
	}
	if msg.BadRecords > 0 {
		t.counters.Malformed[MalformedKey{BadRecord, l.member.Kind}] += uint64(msg.BadRecords)
	}
	if l.member.Kind == Foreign && msg.Kind == Report && !msg.modern() {
		t.suppressed(l, msg)
	}
	refused := false
	for _, r := range records {
		// Remotes get what is for a node of theirs in any case.
		if AlwaysFlooded(r.Group) || l.member.remote() && SolicitedNode(r.Group) {
			continue
		}
		if !l.take(t, r, msg) {
			refused = true
		}
	}
	// What found no room here, a router still has to hear of.
	if refused {
		frame := slices.Clone(msg.Frame)
		for _, a := range t.audiences[l.family.slot()] {
			if a.router != nil && a.router != l {
				t.send(a.router.member.one, frame)
			}
		}
	}
}

// take does what a record does to the member's filter of its group. It says
// false where a limit refuses the group.
func (l *link) take(t *Table, r Record, msg *Message) bool {
	var f *filter
	if g := t.groups[r.Group]; g != nil {
		f = g.of(l.member)
	}
	if f == nil {
		joins := len(r.Sources) > 0 && r.Type != BlockOldSources
		if !joins && r.Type != ModeIsExclude && r.Type != ChangeToExclude {
			return true
		}
		if f = t.filterOf(l, r.Group); f == nil {
			return false
		}
	}
	f.noteReporter(t, msg)
	if msg.Kind == Report && !msg.modern() {
		f.noteVersion(t, msg)
	}
	if r, ok := f.understood(t, r); ok {
		f.apply(t, r, t.in(t.listeningTo(msg)))
	}
	if f.empty() {
		f.remove(t)
	} else {
		f.setAlarm(t)
	}
	return true
}

// suppressed counts an older version's report of a foreign remote for the
// others too: they send each other what their listeners tell, and those that
// hear another want the group do not tell it themselves (RFC 2236 3, RFC 2710 4).
func (t *Table) suppressed(from *link, msg *Message) {
	g := t.groups[msg.Group]
	if g == nil {
		return
	}
	for _, f := range g.filters {
		if f.link != from && f.link.member.Kind == Foreign && f.mode == Exclude {
			f.until = t.in(t.listeningTo(msg))
			f.noteVersion(t, msg)
		}
	}
}

// noteVersion keeps for how long there may be a listener of an older version.
func (f *filter) noteVersion(t *Table, msg *Message) {
	until := t.in(t.listeningTo(msg))
	if msg.Family == IPv4 && msg.Version == 1 {
		f.mute = until
	} else {
		f.plain = until
	}
}

// understood is what a record means where listeners of older versions are
// (RFC 3376 7.3.2, RFC 3810 8.3.2): they want all sources, and cannot object
// when others want fewer. The RFCs ignore the lists of TO_EX there and not those
// of IS_EX, which would take a source from the older listeners a membership
// interval later.
func (f *filter) understood(t *Table, r Record) (Record, bool) {
	mute := f.mute > t.now
	if !mute && f.plain <= t.now {
		return r, true
	}
	switch r.Type {
	case BlockOldSources:
		return r, false
	case ChangeToInclude:
		return r, !mute
	case ChangeToExclude, ModeIsExclude:
		r.Sources = nil
	}
	return r, true
}

// version is the oldest version that a listener of the filter speaks.
func (f *filter) version(t *Table) int {
	switch {
	case f.mute > t.now:
		return 1
	case f.plain > t.now:
		return newest(f.link.family) - 1
	}
	return newest(f.link.family)
}
