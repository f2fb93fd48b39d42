// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"net/netip"
	"time"
)

// Restore puts in what an earlier agent knew that a member wants of a group, as
// if it had been told now. It and its siblings belong between SetMembers and
// the first Advance; what is not a member's, or never pruned, is passed over.
func (t *Table) Restore(now time.Time, who Member, group netip.Addr, mode Mode, sources []netip.Addr) {
	l := t.restored(now, who, FamilyOf(group))
	if l == nil || !group.IsMulticast() || AlwaysFlooded(group) || l.member.remote() && SolicitedNode(group) {
		return
	}
	kind := ModeIsInclude
	if mode == Exclude {
		kind = ModeIsExclude
	} else if len(sources) == 0 {
		return
	}
	f := t.filterOf(l, group)
	if f == nil {
		return
	}
	l.member.awake = true
	f.apply(t, Record{kind, group, sources}, t.in(t.listening(f.link.family)))
	f.setAlarm(t)
	// The first full report tells of it; it is no change.
	for _, a := range t.audiences[l.family.slot()] {
		if a.router != nil || l.member.Kind == Port && !SolicitedNode(group) {
			a.update(t, group, 0)
		}
	}
	delete(t.dirty, group)
}

// RestoreKnown says that what an earlier agent knew of a member's groups of a
// family was all: the member is not unsure.
func (t *Table) RestoreKnown(now time.Time, who Member, f Family) {
	if l := t.restored(now, who, f); l != nil {
		l.settles, l.silent, l.member.awake = 0, false, true
		l.known(t)
		l.review(t)
	}
}

// RestoreRouter says that an earlier agent had heard a router behind a member.
func (t *Table) RestoreRouter(now time.Time, who Member, f Family) {
	if l := t.restored(now, who, f); l != nil {
		l.routerTo = t.in(t.timing().absence())
		l.review(t)
		t.wakeBy(l, l.routerTo)
	}
}

// restored is a member in a family, or nil. Nothing is done that is due.
func (t *Table) restored(now time.Time, who Member, f Family) *link {
	t.turn(now)
	if m := t.members[who]; m != nil {
		return &m.links[f.slot()]
	}
	return nil
}
