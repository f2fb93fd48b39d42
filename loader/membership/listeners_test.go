// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// listener is a host behind a member, which does what RFC 3376 5 and RFC 3810 6
// want of it, for one group: it tells each change twice and answers queries.
// It knows nothing of the table.
type listener struct {
	member  Member
	exclude bool
	sources map[netip.Addr]bool
	settled time.Time // when its last change has been told twice
}

func (l *listener) wants(source netip.Addr) bool {
	return l.sources[source] != l.exclude
}

// claimed is its state as a record.
func (l *listener) claimed(group netip.Addr) Record {
	kind := ModeIsInclude
	if l.exclude {
		kind = ModeIsExclude
	}
	return Record{kind, group, sortedKeys(l.sources)}
}

// letter is something under way from a listener.
type letter struct {
	at     time.Time
	from   *listener
	record func() (Record, bool) // as it is when it is sent
}

// doubted is what a specific query is about: the group, or a source of it.
type doubted struct {
	member Member
	what   netip.Addr
}

// A segment of listeners that change their minds, over a wire that loses one of
// the two reports of each change, of each two last answers, and of each two
// last questions. Whoever wants a source's frames gets them, always; and who
// does not, soon does not.
func TestListenersAreServed(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { serveListeners(t, seed) })
	}
}

func serveListeners(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 11))
	group := addr("239.1.2.3")
	sources := addrs("10.0.0.1", "10.0.0.2", "10.0.0.3")
	other := addr("10.0.0.9")
	r := newRig(t, testConfig(), port1, port2, foreign1)
	var listeners []*listener
	for _, m := range []Member{port1, port1, port1, port2, foreign1, foreign1} {
		listeners = append(listeners, &listener{member: m, sources: make(map[netip.Addr]bool)})
	}
	var wire []letter
	post := func(l *listener, after time.Duration, record func() (Record, bool)) {
		wire = append(wire, letter{r.now.Add(after), l, record})
	}
	within := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
	// A report at once and one within a second; one of the two is lost at times.
	change := func(l *listener, records ...Record) {
		lost := random.IntN(3) // 0: the first, 1: the second, 2: none
		for i, after := range []time.Duration{0, within(time.Second)} {
			if i == lost {
				continue
			}
			for _, record := range records {
				post(l, after, func() (Record, bool) { return record, true })
			}
		}
		l.settled = r.now.Add(time.Second)
		if lost == 1 {
			l.settled = r.now
		}
	}
	asked := make(map[doubted]time.Time)
	deliver := func() {
		for _, s := range r.Outbox() {
			msg, err := Parse(s.Frame)
			if err != nil {
				t.Fatal(err)
			}
			if msg.Kind != Query || msg.Family != IPv4 || msg.Group.IsValid() && msg.Group != group {
				continue
			}
			if msg.Group.IsValid() && !msg.Suppress {
				// Of the two questions about a doubt the first is lost, at times.
				first := true
				for _, what := range append([]netip.Addr{group}, msg.Sources...)[min(len(msg.Sources), 1):] {
					about := doubted{s.To[0], what}
					first = first && r.now.Sub(asked[about]) > 1500*time.Millisecond
					asked[about] = r.now
				}
				if first && seed%2 == 1 {
					continue
				}
			}
			for _, l := range listeners {
				if !slices.Contains(s.To, l.member) {
					continue
				}
				named := msg.Sources
				post(l, within(msg.MaxResponse), func() (Record, bool) {
					record := l.claimed(group)
					if len(named) > 0 {
						wanted := slices.DeleteFunc(slices.Clone(named), func(a netip.Addr) bool { return !l.wants(a) })
						record = Record{ModeIsInclude, group, wanted}
					}
					return record, record.Type == ModeIsExclude || len(record.Sources) > 0
				})
			}
		}
	}
	unwanted := make(map[Member]map[netip.Addr]time.Time) // since when nobody wants it
	for _, m := range []Member{port1, port2, foreign1} {
		unwanted[m] = make(map[netip.Addr]time.Time)
	}
	served := 0
	check := func() {
		t.Helper()
		to, _ := r.Forwarding(group)
		for m := range unwanted {
			for _, source := range append(slices.Clone(sources), other) {
				wanted, told := false, true
				for _, l := range listeners {
					if l.member == m {
						wanted = wanted || l.wants(source)
						told = told && !l.settled.After(r.now)
					}
				}
				members, named := to.Sources[source]
				if !named {
					members = to.Default
				}
				gets := slices.Contains(members, m)
				if !wanted {
					if _, ok := unwanted[m][source]; !ok {
						unwanted[m][source] = r.now
					}
					// A report, its repeat, two questions; and in Exclude mode, where
					// what another has blocked is not known, a membership interval.
					if since := r.now.Sub(unwanted[m][source]); gets && since > 270*time.Second {
						t.Fatalf("at %s: %s gets %s, and for %s nobody there wants it: %s", r.now.Sub(start), m, source, since, r.state(m, group.String()))
					}
					continue
				}
				delete(unwanted[m], source)
				if told && !gets {
					t.Fatalf("at %s: %s does not get %s, and somebody there wants it: %s", r.now.Sub(start), m, source, r.state(m, group.String()))
				}
				served++
			}
		}
	}
	next := r.now
	for end := r.now.Add(4 * time.Hour); r.now.Before(end); {
		slices.SortStableFunc(wire, func(a, b letter) int { return a.at.Compare(b.at) })
		at := next
		if len(wire) > 0 && wire[0].at.Before(at) {
			at = wire[0].at
		}
		if due := r.Next(); !due.IsZero() && due.Before(at) {
			at = due
		}
		if at.After(r.now) {
			r.now = at
		}
		r.Advance(r.now)
		for len(wire) > 0 && !wire[0].at.After(r.now) {
			mail := wire[0]
			wire = wire[1:]
			if record, ok := mail.record(); ok {
				msg := from(Report, IPv4, 3)
				msg.Records = []Record{record}
				r.hear(mail.from.member, msg)
			}
		}
		deliver()
		check()
		if r.now.Before(next) {
			continue
		}
		next = r.now.Add(time.Second + within(time.Duration(1+random.IntN(60))*time.Second))
		l := listeners[random.IntN(len(listeners))]
		if l.settled.After(r.now) {
			continue // not before its last change is told
		}
		before := listener{exclude: l.exclude, sources: l.sources}
		l.exclude = random.IntN(3) == 0
		l.sources = make(map[netip.Addr]bool)
		for _, s := range sources {
			if random.IntN(3) == 0 {
				l.sources[s] = true
			}
		}
		change(l, changed(&before, l, group)...)
	}
	if served < 10000 {
		t.Errorf("only %d times was anything wanted", served)
	}
}

// changed are the records of a change (RFC 3376 5.1).
func changed(before, after *listener, group netip.Addr) []Record {
	all := sortedKeys(after.sources)
	if before.exclude != after.exclude {
		kind := ChangeToInclude
		if after.exclude {
			kind = ChangeToExclude
		}
		return []Record{{kind, group, all}}
	}
	var records []Record
	for _, kind := range []RecordType{AllowNewSources, BlockOldSources} {
		var list []netip.Addr
		for s := range allOf(before.sources, after.sources) {
			if was, is := before.wants(s), after.wants(s); was != is && is == (kind == AllowNewSources) {
				list = append(list, s)
			}
		}
		if len(list) > 0 {
			slices.SortFunc(list, netip.Addr.Compare)
			records = append(records, Record{kind, group, list})
		}
	}
	slices.SortFunc(records, func(a, b Record) int { return cmp.Compare(a.Type, b.Type) })
	return records
}

// allOf are the keys of both.
func allOf(a, b map[netip.Addr]bool) map[netip.Addr]bool {
	all := make(map[netip.Addr]bool)
	for _, m := range []map[netip.Addr]bool{a, b} {
		for s := range m {
			all[s] = true
		}
	}
	return all
}
