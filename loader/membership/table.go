// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Table is the multicast state of one segment. It is for one goroutine.
//
// Every method that takes a time first does what is due by then; a time before
// the last one counts as the last one. What is to be sent gathers in Outbox,
// what has changed in TakeChanges. What SetMembers and SetConfig make due is
// done by the next Advance, so that an earlier agent's state can be put in by
// Restore and its siblings before anybody is told that there is none.
type Table struct {
	start  time.Time
	now    instant
	cfg    Config
	random *rand.Rand

	members map[Member]*member
	order   []*member // of all members
	groups  map[netip.Addr]*group
	rivals  [2]rival
	queried [2]bool // HasQuerier, as last told
	alarms  alarms

	remotes   [2]*audience
	audiences [2][]*audience // all, those of router ports too

	dirty      map[netip.Addr]bool // groups to tell of; whether a port's state changed
	changed    map[netip.Addr]bool
	everywhere [2]bool
	requeried  [2]bool // families for Changes.Queriers
	overflows  [2]int  // ports to which a limit refused a group
	routers    [2]int  // ports with a router
	unsettled  [2]int  // ports whose first answers may still come
	outbox     []Send
	counters   Counters
}

// New makes the table of a segment that has no members yet.
func New(now time.Time, cfg Config, random *rand.Rand) *Table {
	t := &Table{
		start:   now.Add(-1), // no instant is zero
		cfg:     cfg.complete(),
		random:  random,
		members: make(map[Member]*member),
		groups:  make(map[netip.Addr]*group),
		dirty:   make(map[netip.Addr]bool),
		changed: make(map[netip.Addr]bool),
		counters: Counters{
			Messages:  make(map[MessageKey]uint64),
			Malformed: make(map[MalformedKey]uint64),
			Ignored:   make(map[MemberKind]uint64),
			Limits:    make(map[LimitKey]uint64),
		},
	}
	for _, f := range Families {
		t.rivals[f.slot()].family = f
		t.remotes[f.slot()] = t.newAudience(f, nil)
		t.queried[f.slot()] = t.HasQuerier(f)
	}
	return t
}

// SetConfig takes other settings. What is known stays, also where a limit is
// lower now, and running timers run on; intervals between queries begin anew.
func (t *Table) SetConfig(now time.Time, cfg Config) {
	t.advance(now)
	cfg = cfg.complete()
	if cfg == t.cfg {
		return
	}
	t.cfg = cfg
	for _, f := range Families {
		for _, a := range t.audiences[f.slot()] {
			a.full = nil
		}
		for _, m := range t.order {
			m.links[f.slot()].askAgain(t)
		}
	}
	t.settle()
}

// SetMembers says who the members are. One that is new is asked what it wants,
// with an answer due within a second, and a remote is told what is wanted here;
// a remote counts as unsure until it has told, and a port until it could have.
// Of one that is gone nothing stays. proxies are the Ethernet addresses of the
// agents of Hosts: a Host without one is believed nothing, and one with another
// address than before is another one.
func (t *Table) SetMembers(now time.Time, members []Member, proxies map[Member]MAC) {
	t.advance(now)
	wanted := make(map[Member]bool, len(members))
	for _, m := range members {
		wanted[m] = true
	}
	for _, m := range t.order {
		if !wanted[m.Member] || m.proxy != proxies[m.Member] {
			t.removeMember(m)
		}
	}
	for m := range wanted {
		if t.members[m] == nil {
			t.addMember(m)
		}
		t.members[m].proxy = proxies[m]
	}
	t.order = slices.SortedFunc(maps.Values(t.members), func(a, b *member) int { return a.Compare(b.Member) })
	for _, m := range t.order {
		if m.fresh {
			m.fresh = false
			for _, f := range Families {
				m.links[f.slot()].begin(t)
			}
		}
	}
	for _, f := range Families {
		t.remotes[f.slot()].address(t)
		t.reportUntold(f)
	}
	t.settle()
}

// Receive takes a message from a member.
func (t *Table) Receive(now time.Time, from Member, msg *Message) {
	t.advance(now)
	m := t.members[from]
	if m == nil {
		t.counters.Ignored[from.Kind]++
		return
	}
	t.counters.Messages[MessageKey{msg.Kind, msg.Family, msg.Version, from.Kind}]++
	m.links[msg.Family.slot()].receive(t, msg)
	t.settle()
	t.wakeDue()
}

// Reject counts a frame that Parse has refused.
func (t *Table) Reject(from Member, err error) {
	t.counters.Malformed[MalformedKey{CauseOf(err), from.Kind}]++
}

// Advance does what is due.
func (t *Table) Advance(now time.Time) {
	t.advance(now)
}

// Next is when Advance must be called again, and the zero time if nothing is
// waiting.
func (t *Table) Next() time.Time {
	if len(t.alarms) == 0 {
		return time.Time{}
	}
	return t.start.Add(time.Duration(t.alarms[0].clock().at))
}

// Outbox gives what is to be sent since the last call, in order.
func (t *Table) Outbox() []Send {
	out := t.outbox
	t.outbox = nil
	return out
}

// turn turns the clock.
func (t *Table) turn(now time.Time) {
	t.now = max(t.now, instant(now.Sub(t.start)))
}

// advance turns the clock and does what is due.
func (t *Table) advance(now time.Time) {
	t.turn(now)
	t.wakeDue()
	t.settle()
	t.wakeDue()
}

// settle works out what follows from what has changed.
func (t *Table) settle() {
	t.tellDirty()
	t.noteQueriers()
}

// send puts a frame into the outbox.
func (t *Table) send(to []Member, frame []byte) {
	if len(to) > 0 {
		t.outbox = append(t.outbox, Send{to, frame})
	}
}

// message begins one of the proxy's own.
func (t *Table) message(kind MessageKind, f Family) *Message {
	msg := &Message{Kind: kind, Family: f, Version: newest(f), SourceMAC: t.cfg.ProxyMAC, Source: netip.IPv4Unspecified()}
	if f == IPv6 {
		msg.Source = t.cfg.ProxyAddress
	}
	return msg
}

// within is a random time up to d, and not none.
func (t *Table) within(d time.Duration) instant {
	return t.now + 1 + instant(t.random.Int64N(max(int64(d), 1)))
}
