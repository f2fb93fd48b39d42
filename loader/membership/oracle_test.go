// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// set is a set of names of sources.
type set map[int]bool

func (a set) plus(b set) set {
	c := make(set)
	for _, s := range []set{a, b} {
		for x := range s {
			c[x] = true
		}
	}
	return c
}

func (a set) minus(b set) set {
	c := make(set)
	for x := range a {
		if !b[x] {
			c[x] = true
		}
	}
	return c
}

func (a set) and(b set) set {
	return a.minus(a.minus(b))
}

// Times of the oracle, in milliseconds.
const (
	oracleGMI  = 260000
	oracleLMQT = 2000
)

// oracle is the state of one member and group, written down from the tables of
// RFC 3376 6.2 to 6.5 with sets of sources and times of their ends.
type oracle struct {
	exact   bool // leaves count at once
	exclude bool
	a, x, y set // the sets of the tables: a in Include mode, x and y in Exclude mode
	ends    map[int]int
	group   int // end of the group timer
	old     int // until when an older listener is there
}

func newOracle(exact bool) *oracle {
	return &oracle{exact: exact, a: set{}, x: set{}, y: set{}, ends: map[int]int{}}
}

func (o *oracle) wants(source int) bool {
	if o.exclude {
		return !o.y[source]
	}
	return o.a[source]
}

// record is a row of 6.4.1 or 6.4.2.
func (o *oracle) record(now int, kind RecordType, b set) {
	timers := func(s set, end int) {
		for x := range s {
			o.ends[x] = end
		}
	}
	query := func(s set) {
		for x := range s {
			if limit := now + oracleLMQT; o.exact {
				o.ends[x] = now
			} else if o.ends[x] > limit {
				o.ends[x] = limit
			}
		}
	}
	const gmi = oracleGMI
	if now < o.old {
		switch kind {
		case BlockOldSources:
			return
		case ChangeToExclude, ModeIsExclude:
			b = set{}
		}
	}
	if !o.exclude {
		a := o.a
		switch kind {
		case ModeIsInclude, AllowNewSources:
			o.a = a.plus(b)
			timers(b, now+gmi)
		case ModeIsExclude:
			o.exclude, o.x, o.y, o.group = true, a.and(b), b.minus(a), now+gmi
		case ChangeToInclude:
			o.a = a.plus(b)
			timers(b, now+gmi)
			query(a.minus(b))
		case ChangeToExclude:
			o.exclude, o.x, o.y = true, a.and(b), b.minus(a)
			query(a.and(b))
			o.group = now + gmi
		case BlockOldSources:
			query(a.and(b))
		}
	} else {
		x, y := o.x, o.y
		switch kind {
		case ModeIsInclude, AllowNewSources:
			o.x, o.y = x.plus(b), y.minus(b)
			timers(b, now+gmi)
		case ModeIsExclude:
			o.x, o.y = b.minus(y), y.and(b)
			timers(b.minus(x).minus(y), now+gmi)
			o.group = now + gmi
		case ChangeToInclude:
			o.x, o.y = x.plus(b), y.minus(b)
			timers(b, now+gmi)
			query(x.minus(b))
			if limit := now + oracleLMQT; o.exact {
				o.group = now
			} else if o.group > limit {
				o.group = limit
			}
		case ChangeToExclude:
			o.x, o.y = b.minus(y), y.and(b)
			timers(b.minus(x).minus(y), o.group)
			query(b.minus(y))
			o.group = now + gmi
		case BlockOldSources:
			o.x = x.plus(b.minus(y))
			timers(b.minus(x).minus(y), o.group)
			query(b.minus(y))
		}
	}
	o.tick(now)
}

// tick does what 6.3 and 6.5 want when a timer has run out.
func (o *oracle) tick(now int) {
	over := func(s set) set {
		c := make(set)
		for x := range s {
			if o.ends[x] <= now {
				c[x] = true
			}
		}
		return c
	}
	if o.exclude && o.group <= now {
		o.exclude, o.a, o.x, o.y = false, o.x, set{}, set{}
	}
	if !o.exclude {
		o.a = o.a.minus(over(o.a))
		if len(o.a) == 0 {
			o.old = 0 // nothing is left that could remember it
		}
		return
	}
	gone := over(o.x)
	o.x, o.y = o.x.minus(gone), o.y.plus(gone)
}

// Whatever members tell, at whatever times, what is forwarded is what the RFCs'
// tables say; whoever looks only at the changes sees every one.
func TestAgainstTheTables(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { compareWithTables(t, seed) })
	}
}

func compareWithTables(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 7))
	members := []Member{port1, port2, host1, foreign1}
	groups := []string{"ff0e::1", "ff0e::2"}
	source := func(i int) string { return fmt.Sprintf("2001:db8::%d", i+1) }
	const sources = 4
	cfg := testConfig()
	cfg.FastLeave = seed%4 == 3
	r := newRig(t, cfg, members...)
	begin := r.now
	oracles := make(map[Member]map[string]*oracle)
	for _, m := range members {
		oracles[m] = make(map[string]*oracle)
		for _, g := range groups {
			oracles[m][g] = newOracle(m.Kind == Host || cfg.FastLeave && m.Kind == Port)
		}
	}
	now := 0
	last := make(map[string]string)
	check := func(after string) {
		t.Helper()
		changed := r.TakeChanges().Groups
		for _, g := range groups {
			all := ""
			for i := range sources + 1 { // and one that nobody names
				var want []Member
				inPorts := false
				for _, m := range members {
					if oracles[m][g].wants(i) {
						want = append(want, m)
						inPorts = inPorts || m.Kind == Port
					}
				}
				to, _ := r.Forwarding(addr(g))
				got, named := to.Sources[addr(source(i))]
				if !named {
					got = to.Default
				}
				if !slices.Equal(got, want) {
					t.Fatalf("at %d ms, after %s: %s from %s goes to %v, want %v", now, after, g, source(i), got, want)
				}
				all += fmt.Sprint(got)
				if merged := accepts(r.Merged(host1, foreign1), g, source(i)); merged != inPorts {
					t.Fatalf("at %d ms, after %s: %s from %s is wanted by the ports: %v, merged: %v", now, after, g, source(i), inPorts, merged)
				}
			}
			if last[g] != all && last[g] != "" && !slices.Contains(changed, addr(g)) {
				t.Fatalf("at %d ms, after %s: %s has changed, and nobody is told", now, after, g)
			}
			last[g] = all
		}
	}
	pass := func(ms int) {
		for end := now + ms; now < end; {
			// To the next end of a timer, which is its exact instant.
			next := end
			for _, m := range members {
				for _, o := range oracles[m] {
					ends := []int{o.group}
					for _, e := range o.ends {
						ends = append(ends, e)
					}
					for _, e := range ends {
						if e > now && e < next {
							next = e
						}
					}
				}
			}
			if next-1 > now {
				now = next - 1
				r.pass(begin.Add(time.Duration(now) * time.Millisecond).Sub(r.now))
				check("a while")
			}
			now = next
			for _, m := range members {
				for _, o := range oracles[m] {
					o.tick(now)
				}
			}
			r.pass(begin.Add(time.Duration(now) * time.Millisecond).Sub(r.now))
			check("the end of a timer")
		}
	}
	for range 400 {
		m := members[random.IntN(len(members))]
		g := groups[random.IntN(len(groups))]
		o := oracles[m][g]
		switch random.IntN(12) {
		case 0, 1:
			if m.Kind == Host {
				continue // an agent speaks the newest version
			}
			msg := from(Report, IPv6, 1)
			msg.Group = addr(g)
			o.old = now + oracleGMI
			o.record(now, ModeIsExclude, set{})
			r.hear(m, msg)
			check("an old report of " + m.String())
		case 2:
			if m.Kind == Host {
				continue
			}
			msg := from(Leave, IPv6, 1)
			msg.Group = addr(g)
			o.record(now, ChangeToInclude, set{})
			r.hear(m, msg)
			check("an old leave of " + m.String())
		default:
			kind := RecordType(1 + random.IntN(6))
			list := make(set)
			var texts []string
			for i := range sources {
				if random.IntN(2) == 0 {
					list[i] = true
					texts = append(texts, source(i))
				}
			}
			o.record(now, kind, list)
			r.report(m, rec(kind, g, texts...))
			check(fmt.Sprintf("%s of %s", kind, m))
		}
		switch random.IntN(4) {
		case 0:
			pass(random.IntN(3000))
		case 1:
			pass(random.IntN(100000))
		case 2:
			pass(1000 * random.IntN(4))
		}
	}
	pass(2 * oracleGMI)
	if n := len(r.Groups()); n > 0 {
		t.Errorf("%d groups are left", n)
	}
}

// accepts tells whether records of claims take a source's frames.
func accepts(records []Record, group, source string) bool {
	for _, r := range records {
		if r.Group == addr(group) {
			return slices.Contains(r.Sources, addr(source)) == (r.Type == ModeIsInclude)
		}
	}
	return false
}
