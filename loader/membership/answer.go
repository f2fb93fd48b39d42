// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"net/netip"
	"slices"
	"time"
)

// audience is whom the member is told with, or nil.
func (l *link) audience(t *Table) *audience {
	if l.member.remote() {
		return t.remotes[l.family.slot()]
	}
	return l.told
}

// answerWithin has a full answer sent within a time, and not soon after the
// last one.
func (l *link) answerWithin(t *Table, d time.Duration) {
	at := max(t.within(d), l.answerable)
	l.answerAt = min(l.answerAt, at)
	t.wakeBy(l, l.answerAt)
}

// answer sends the full answer. One of many frames, as in an older version, in
// which each group needs one, is not sent so soon again.
func (l *link) answer(t *Table) {
	frames := 0
	if l.member.remote() {
		frames = l.report(t)
	} else if l.told != nil {
		frames = l.told.tellAll(t, l)
	}
	l.answerAt, l.answerable = never, t.in(max(answerGap, time.Duration(frames)*answerGapFrame))
}

// respond answers a query: a general one as if we were many listeners, within
// its time; a specific one at once (RFC 3376 5.2, RFC 3810 6.2).
func (l *link) respond(t *Table, msg *Message) {
	if !msg.Group.IsValid() {
		l.answerWithin(t, msg.MaxResponse)
		return
	}
	a := l.audience(t)
	c, ok := a.told[msg.Group]
	if !ok {
		return
	}
	if l.version(t) != newest(l.family) {
		a.tellOld(t, l, msg.Group)
		return
	}
	record := c.record(msg.Group)
	if len(msg.Sources) > 0 {
		record.Type = ModeIsInclude
		record.Sources = slices.DeleteFunc(slices.Clone(msg.Sources), func(s netip.Addr) bool {
			return contains(c.sources, s) != (c.mode == Include)
		})
		if len(record.Sources) == 0 {
			return
		}
	}
	for _, frame := range t.reports(l.family, []Record{record}) {
		t.send(l.member.one, frame)
	}
}

// reportInterval is the most that lies between full reports to a remote: the
// kernel's bridges believe one for twice as long (RFC 3376 8.2 and 8.4), whatever
// interval is set here.
const reportInterval = 125 * time.Second

// report sends a remote its periodic full report, and tells how many frames that
// took. The empty report behind it says that this was all. The first of those
// waits until the ports have had the time to tell, lest nothing is taken for all
// that they want; and where nobody asks them, they need not.
func (l *link) report(t *Table) (frames int) {
	slot := l.family.slot()
	frames = t.remotes[slot].tellAll(t, l)
	if t.wantsAll(l) {
		t.advertise(l.family, l.member.one)
	}
	if l.member.Kind == Host && t.HasQuerier(l.family) && (l.ended || t.unsettled[slot] == 0) {
		l.ended = true
		t.send(l.member.one, Build(t.message(Report, l.family)))
	}
	// Never a whole interval, and never many remotes at one time.
	interval := min(t.cfg.QueryInterval, reportInterval)
	l.nextReport = t.within(interval/4) + instant(interval*3/4) - 1
	return frames
}

// reportUntold has the Hosts told that have not been told all yet, once all is
// known.
func (t *Table) reportUntold(f Family) {
	if t.unsettled[f.slot()] == 0 && t.HasQuerier(f) {
		t.reportSoon(f, func(l *link) bool { return l.member.Kind == Host && !l.ended })
	}
}

// reportSoon has some remotes sent a full report soon.
func (t *Table) reportSoon(f Family, which func(*link) bool) {
	spread := max(unsolicited, time.Duration(len(t.remotes[f.slot()].all)*max(len(t.remotes[f.slot()].full), 1))*messageTime)
	for _, m := range t.order {
		if l := &m.links[f.slot()]; m.remote() && which(l) {
			l.nextReport = min(l.nextReport, t.within(spread))
			t.wakeBy(l, l.nextReport)
		}
	}
}
