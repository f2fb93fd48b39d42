// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"net/netip"
	"time"
)

// Ask asks all members what they want, with answers due within a second:
// something that they have told was missed.
func (t *Table) Ask(now time.Time) {
	t.advance(now)
	for _, m := range t.order {
		for _, f := range Families {
			l := &m.links[f.slot()]
			msg := l.question(t)
			msg.MaxResponse = joinResponse
			l.put(t, msg)
		}
	}
}

// Known are the groups of which somebody has told, in order.
func (t *Table) Known() []netip.Addr {
	return sortedKeys(t.groups)
}
