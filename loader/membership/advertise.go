// SPDX-License-Identifier: Apache-2.0

package membership

// wantsAll tells whether a remote has to send all of the family here. A port may
// want a group that found no room, which no report can tell. And a router wants
// all; remotes without an agent see it themselves.
func (t *Table) wantsAll(remote *link) bool {
	slot := remote.family.slot()
	return t.overflows[slot] > 0 || t.routers[slot] > 0 && remote.member.Kind == Host
}

// advertiseAnew has the remotes told at once that all is wanted here, and again
// as often as a change is.
func (a *audience) advertiseAnew(t *Table) {
	a.adverts, a.nextAdvert = t.timing().robustness, t.now
	t.wakeBy(a, t.now)
}

// advertiseDue tells those to whom that still applies.
func (a *audience) advertiseDue(t *Table) {
	var to []Member
	for _, m := range a.all {
		if l := &t.members[m].links[a.family.slot()]; t.wantsAll(l) {
			to = append(to, m)
		}
	}
	t.advertise(a.family, to)
	a.adverts--
	a.nextAdvert = never
	if a.adverts > 0 {
		a.nextAdvert = t.within(unsolicited)
	}
}

// advertise says that all groups are wanted here, as a router does (RFC 4286).
func (t *Table) advertise(f Family, to []Member) {
	at := t.timing()
	msg := t.message(Advertisement, f)
	if f == IPv4 {
		msg.Source = dummy4
	}
	msg.Robustness, msg.QueryInterval = at.robustness, at.interval
	t.send(to, Build(msg))
}
