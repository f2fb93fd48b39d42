// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"maps"
	"time"
)

// allowance bounds how often something may happen.
type allowance struct {
	used instant // what is used up, as time to come
}

// rate is what an allowance allows: so many at once, and then one in each
// interval.
type rate struct {
	burst    int
	interval time.Duration
}

// What a router needs at most: a few general queries when it starts, and
// specific ones for groups that its listeners leave.
var (
	generalRate  = rate{10, 500 * time.Millisecond}
	specificRate = rate{50, 50 * time.Millisecond}
)

// take uses one, if there is one. Each costs so many intervals.
func (a *allowance) take(now instant, r rate, cost int) bool {
	used := max(a.used, now) + instant(r.interval)*instant(cost)
	if used-now > instant(r.interval)*instant(max(r.burst, cost)) {
		return false
	}
	a.used = used
	return true
}

// remotesPerQuery is to how many remotes a query may be relayed at the full
// rate.
const remotesPerQuery = 1000

// allows tells whether a query may be taken. One for very many remotes is as
// good as several.
func (m *member) allows(t *Table, msg *Message) bool {
	cost := max(len(t.remotes[msg.Family.slot()].all)/remotesPerQuery, 1)
	if msg.Group.IsValid() {
		return m.specific.take(t.now, specificRate, cost)
	}
	return m.general.take(t.now, generalRate, cost)
}

// repeatedWithin is how soon the same query tells nothing new. A router's two
// last member queries are a second apart (RFC 3376 8.8), and the second is there
// for when the first is lost.
const repeatedWithin = 500 * time.Millisecond

// repeated tells whether the member has just sent the same query.
func (l *link) repeated(t *Table, msg *Message) bool {
	maps.DeleteFunc(l.queries, func(_ string, at instant) bool { return at+instant(repeatedWithin) <= t.now })
	_, again := l.queries[string(msg.Frame)]
	return again
}
