// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// The rows of RFC 3376 6.4.1 and 6.4.2 and RFC 3810 7.4.1 and 7.4.2. Timers set
// before the record have 250 s left, and the group membership interval has 260.
// In Include mode A is {a, b} and the record's list {b, c}. In Exclude mode X is
// {p, q}, Y is {y, z}, and the list {p, y, n}.
func TestRecords(t *testing.T) {
	type row struct {
		kind RecordType
		want string
		sent []string
	}
	include := []row{
		{ModeIsInclude, "include a:250 b:260 c:260", nil},
		{ModeIsExclude, "exclude 260 b:250 c:-", nil},
		{ChangeToInclude, "include a:2 b:260 c:260", []string{"{a}"}},
		{ChangeToExclude, "exclude 260 b:2 c:-", []string{"{b}"}},
		{AllowNewSources, "include a:250 b:260 c:260", nil},
		{BlockOldSources, "include a:250 b:2", []string{"{b}"}},
	}
	exclude := []row{
		{ModeIsInclude, "exclude 250 n:260 p:260 q:250 y:260 z:-", nil},
		{ModeIsExclude, "exclude 260 n:260 p:250 y:-", nil},
		{ChangeToInclude, "exclude 2 n:260 p:260 q:2 y:260 z:-", []string{"{}", "{q}"}},
		{ChangeToExclude, "exclude 260 n:2 p:2 y:-", []string{"{n p}"}},
		{AllowNewSources, "exclude 250 n:260 p:260 q:250 y:260 z:-", nil},
		{BlockOldSources, "exclude 250 n:2 p:2 q:250 y:- z:-", []string{"{n p}"}},
	}
	// Where nobody asks, timers that "Send Q(G,X)" would shorten stay.
	silentInclude := []row{
		{ChangeToInclude, "include a:250 b:260 c:260", nil},
		{ChangeToExclude, "exclude 260 b:250 c:-", nil},
		{BlockOldSources, "include a:250 b:250", nil},
	}
	silentExclude := []row{
		{ChangeToInclude, "exclude 250 n:260 p:260 q:250 y:260 z:-", nil},
		{ChangeToExclude, "exclude 260 n:250 p:250 y:-", nil},
		{BlockOldSources, "exclude 250 n:250 p:250 q:250 y:- z:-", nil},
	}
	// Where there is one listener, what was asked for goes at once.
	exactInclude := []row{
		{ModeIsInclude, "include a:250 b:260 c:260", nil},
		{ChangeToInclude, "include b:260 c:260", nil},
		{ChangeToExclude, "exclude 260 b:- c:-", nil},
		{BlockOldSources, "include a:250", nil},
	}
	exactExclude := []row{
		{ModeIsExclude, "exclude 260 n:260 p:250 y:-", nil},
		{ChangeToInclude, "include n:260 p:260 y:260", nil},
		{ChangeToExclude, "exclude 260 n:- p:- y:-", nil},
		{BlockOldSources, "exclude 250 n:- p:- q:250 y:- z:-", nil},
	}
	off, fast := testConfig(), testConfig()
	off.Querier, fast.FastLeave = false, true
	for _, f := range Families {
		group, prefix := "239.1.2.3", "10.0.0."
		if f == IPv6 {
			group, prefix = "ff0e::1", "2001:db8::"
		}
		// n < p < q < y < z, as a < b < c.
		names := "abcnpqyz"
		expand := func(text string) string {
			for i, name := range names {
				for _, before := range []string{" ", "{"} {
					for _, behind := range []string{":", "}", " "} {
						text = strings.ReplaceAll(text, before+string(name)+behind, fmt.Sprintf("%s%s%d%s", before, prefix, i+1, behind))
					}
				}
			}
			return text
		}
		list := func(sources string) []string {
			var all []string
			for _, name := range sources {
				all = append(all, fmt.Sprintf("%s%d", prefix, strings.IndexRune(names, name)+1))
			}
			return all
		}
		for _, c := range []struct {
			name string
			cfg  Config
			who  Member
			mode Mode
			rows []row
		}{
			{"querier", testConfig(), port1, Include, include},
			{"querier", testConfig(), port1, Exclude, exclude},
			{"querier", testConfig(), foreign1, Include, include},
			{"querier", testConfig(), foreign1, Exclude, exclude},
			{"no querier", off, port1, Include, silentInclude},
			{"no querier", off, port1, Exclude, silentExclude},
			{"fast leave", fast, port1, Include, exactInclude},
			{"fast leave", fast, port1, Exclude, exactExclude},
			{"host", testConfig(), host1, Include, exactInclude},
			{"host", testConfig(), host1, Exclude, exactExclude},
			{"fast leave is of ports", fast, foreign1, Include, include},
		} {
			for _, row := range c.rows {
				t.Run(fmt.Sprintf("%s/%s/%s/%s/%s", f, c.name, c.who, c.mode, row.kind), func(t *testing.T) {
					r := newRig(t, c.cfg, c.who)
					listed := list("bc")
					if c.mode == Include {
						r.report(c.who, rec(ModeIsInclude, group, list("ab")...))
					} else {
						r.report(c.who, rec(ModeIsExclude, group, list("yz")...))
						r.report(c.who, rec(AllowNewSources, group, list("pq")...))
						listed = list("pyn")
					}
					r.pass(10 * time.Second)
					r.sent()
					r.TakeChanges()
					before := r.shown(group)
					r.report(c.who, rec(row.kind, group, listed...))
					r.want("state", r.state(c.who, group), expand(row.want + " ")[:len(expand(row.want+" "))-1])
					var queries []string
					for _, q := range row.sent {
						queries = append(queries, fmt.Sprintf("%s: query v%d %s %s", c.who, newest(f), group, expand(q)))
					}
					r.wantSent("queries", r.sent("report", "general"), queries...)
					changed := slices.Contains(r.TakeChanges().Groups, addr(group))
					if after := r.shown(group); before != after && !changed {
						t.Errorf("forwarding has changed from %s to %s, and nobody is told", before, after)
					}
				})
			}
		}
	}
}

// shown puts the forwarding of a group into a line.
func (r *rig) shown(group string) string {
	to, _ := r.Forwarding(addr(group))
	return fmt.Sprint(to.Default, to.Sources)
}

// The records that make a filter, those that make none, and what a list with
// one source twice makes.
func TestFirstRecord(t *testing.T) {
	for _, c := range []struct {
		record Record
		want   string
	}{
		{rec(ModeIsInclude, "239.1.2.3"), "nothing"},
		{rec(ChangeToInclude, "239.1.2.3"), "nothing"},
		{rec(AllowNewSources, "239.1.2.3"), "nothing"},
		{rec(BlockOldSources, "239.1.2.3", "10.0.0.1"), "nothing"},
		{rec(ModeIsInclude, "239.1.2.3", "10.0.0.2", "10.0.0.1", "10.0.0.2"), "include 10.0.0.1:260 10.0.0.2:260"},
		{rec(ChangeToInclude, "239.1.2.3", "10.0.0.1"), "include 10.0.0.1:260"},
		{rec(AllowNewSources, "239.1.2.3", "10.0.0.1"), "include 10.0.0.1:260"},
		{rec(ModeIsExclude, "239.1.2.3"), "exclude 260"},
		{rec(ChangeToExclude, "239.1.2.3", "10.0.0.1"), "exclude 260 10.0.0.1:-"},
		{rec(ModeIsExclude, "239.1.2.3", "10.0.0.2", "10.0.0.1", "10.0.0.2"), "exclude 260 10.0.0.1:- 10.0.0.2:-"},
		{rec(ModeIsExclude, "224.0.0.251"), "nothing"},
	} {
		r := newRig(t, testConfig(), port1)
		r.report(port1, c.record)
		group := c.record.Group.String()
		r.want(describe(&Message{Kind: Report, Family: IPv4, Version: 3, Records: []Record{c.record}}), r.state(port1, group), c.want)
		if changed := len(r.TakeChanges().Groups) > 0; changed != (c.want != "nothing") {
			t.Errorf("%s of %s: changed: %v", c.record.Type, group, changed)
		}
		r.wantSent("queries", r.sent())
	}
}

// The timers run out at their instants and not before.
func TestTimersRunOut(t *testing.T) {
	const group, a, b = "ff0e::1", "2001:db8::a", "2001:db8::b"
	almost := func(d time.Duration) time.Duration { return d - time.Nanosecond }

	r := newRig(t, testConfig(), port1)
	r.report(port1, rec(ModeIsInclude, group, a))
	r.pass(100 * time.Second)
	r.report(port1, rec(ModeIsInclude, group, b))
	r.pass(almost(160 * time.Second))
	r.want("before a runs out", r.gets(group, a), "port 1")
	r.TakeChanges()
	r.pass(1)
	r.want("after", r.gets(group, a), "")
	r.want("after", r.state(port1, group), "include 2001:db8::b:100")
	if got := r.TakeChanges().Groups; !slices.Equal(got, addrs(group)) {
		t.Errorf("changes %s", got)
	}
	r.pass(almost(100 * time.Second))
	r.want("before b runs out", r.gets(group, b), "port 1")
	r.pass(1)
	r.want("after", r.gets(group, b), "unknown")

	r = newRig(t, testConfig(), port1)
	r.report(port1, rec(ModeIsExclude, group, b))
	r.pass(almost(260 * time.Second))
	r.want("before the group runs out", r.gets(group, a), "port 1")
	r.want("b, before the group runs out", r.gets(group, b), "")
	r.pass(1)
	r.want("after", r.gets(group, a), "unknown")

	// Sources that are wanted outlast Exclude mode (RFC 3376 6.5).
	r = newRig(t, testConfig(), port1)
	r.report(port1, rec(ModeIsExclude, group, b))
	r.pass(time.Second)
	r.report(port1, rec(AllowNewSources, group, a))
	r.pass(almost(259 * time.Second))
	r.want("before the mode ends", r.gets(group, "2001:db8::c"), "port 1")
	r.pass(1)
	r.want("after", r.state(port1, group), "include 2001:db8::a:1")
	r.want("after", r.gets(group, "2001:db8::c"), "")

	// A requested source that runs out becomes one that is excluded.
	r = newRig(t, testConfig(), port1)
	r.report(port1, rec(ModeIsExclude, group))
	r.report(port1, rec(BlockOldSources, group, a))
	r.pass(almost(2 * time.Second))
	r.want("before the last member query time is over", r.gets(group, a), "port 1")
	r.TakeChanges()
	r.pass(1)
	r.want("after", r.state(port1, group), "exclude 258 2001:db8::a:-")
	r.want("after", r.gets(group, a), "")
	r.want("others", r.gets(group, b), "port 1")
	if got := r.TakeChanges().Groups; !slices.Equal(got, addrs(group)) {
		t.Errorf("changes %s", got)
	}
}

// A time before the last one counts as the last one, and what is late is done.
func TestClock(t *testing.T) {
	r := newRig(t, testConfig(), port1)
	r.report(port1, rec(ModeIsExclude, "ff0e::1"))
	r.Advance(start.Add(-time.Hour))
	r.want("after a step back", r.state(port1, "ff0e::1"), "exclude 260")
	r.now = r.now.Add(time.Hour)
	r.Advance(r.now)
	r.want("an hour later", r.state(port1, "ff0e::1"), "nothing")
	if next := r.Next(); !next.After(r.now) {
		t.Errorf("next is due at %s, an hour late", next)
	}
}
