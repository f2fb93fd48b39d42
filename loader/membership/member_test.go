// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// fresh is a table whose members have just come.
func fresh(t *testing.T, cfg Config, members ...Member) *rig {
	t.Helper()
	r := &rig{New(start, cfg, rand.New(rand.NewPCG(3, 4))), t, start}
	r.SetMembers(r.now, members)
	return r
}

// A new member is asked at once, and again as RFC 3376 8.6 and 8.7 have it; a
// remote is told what there is. A Host is asked until it has told.
func TestNewMembers(t *testing.T) {
	r := fresh(t, testConfig(), port1, host1, foreign1)
	r.wantSent("before Advance", r.sent())
	if next := r.Next(); !next.Equal(r.now) {
		t.Errorf("due at %s, want now", next)
	}
	r.Advance(r.now)
	got := r.sent()
	slices.Sort(got)
	r.wantSent("at once", got,
		"foreign 1: general query v2 1s", "foreign 1: general query v3 1s",
		"host 1: general query v2 1s", "host 1: general query v3 1s",
		"port 1: general query v2 1s", "port 1: general query v3 1s",
	)
	// Ports have had their time: that is all that is wanted.
	r.pass(4 * time.Second)
	got = r.sent()
	slices.Sort(got)
	r.wantSent("when the ports have had their time", got, "host 1: report", "host 1: report")
	var queries []string
	for range 400 {
		r.pass(time.Second)
		for _, line := range r.sent("report") {
			queries = append(queries, fmt.Sprintf("%g s %s", r.now.Sub(start).Seconds(), line))
		}
	}
	for _, want := range []string{
		"32 s port 1: general query v3 10s", "157 s port 1: general query v3 10s", "282 s port 1: general query v3 10s",
		"32 s foreign 1: general query v3 10s", "32 s host 1: general query v2 1s",
	} {
		if !slices.Contains(queries, want) {
			t.Errorf("no %q in\n\t%s", want, strings.Join(queries, "\n\t"))
		}
	}
	for _, line := range queries {
		if strings.Contains(line, "host") && !strings.HasPrefix(line, "32 s") {
			t.Errorf("%q, and a Host tells by itself", line)
		}
	}
}

// A remote is told all at least each query interval, and the end of it.
func TestPeriodicReports(t *testing.T) {
	r := newRig(t, testConfig(), port1, host1, foreign1)
	r.report(port1, rec(ModeIsExclude, "ff0e::1"), rec(ModeIsExclude, "ff02::1:ff00:1"), rec(ModeIsInclude, "ff0e::2", "2001:db8::1"))
	r.pass(2 * time.Second)
	r.sent()
	last, n := r.now, 0
	for range 1000 {
		r.pass(time.Second)
		r.report(port1, rec(ModeIsExclude, "ff0e::1"), rec(ModeIsInclude, "ff0e::2", "2001:db8::1"))
		got := slices.DeleteFunc(r.sent("general"), func(line string) bool { return !strings.HasPrefix(line, "host 1") })
		if i := slices.Index(got, "host 1: report IS_EX ff0e::1 {}, IS_IN ff0e::2 {2001:db8::1}"); i >= 0 {
			if i+1 >= len(got) || got[i+1] != "host 1: report" {
				t.Errorf("nothing ends the report: %q", got)
			}
			if gap := r.now.Sub(last); gap > 126*time.Second || gap < 90*time.Second && n > 0 {
				t.Errorf("%s between reports", gap)
			}
			last, n = r.now, n+1
		}
	}
	if n < 8 || n > 11 {
		t.Errorf("%d reports in 1000 s", n)
	}
}

// Many remotes are not told in one moment, but for the first time.
func TestReportsAreSpread(t *testing.T) {
	members := []Member{port1}
	for i := range uint32(1000) {
		members = append(members, Member{Host, i})
	}
	r := newRig(t, testConfig(), members...)
	r.report(port1, rec(ModeIsExclude, "ff0e::1"))
	r.pass(60 * time.Second)
	r.sent()
	most := 0
	for range 150 {
		r.pass(time.Second)
		r.report(port1, rec(ModeIsExclude, "ff0e::1"))
		n := 0
		for _, line := range r.sent() {
			if strings.Contains(line, "IS_EX") {
				n++
			}
		}
		most = max(most, n)
	}
	if most > 100 || most < 10 {
		t.Errorf("up to %d remotes are told in one second", most)
	}
}

// Who gets everything because it is not known what they want.
func TestUnsure(t *testing.T) {
	r := fresh(t, testConfig(), port1, host1, foreign1)
	r.Advance(r.now)
	r.want("at first", r.everywhere(IPv6), "port 1,host 1,foreign 1")
	r.TakeChanges()

	// A change says nothing about the rest; the end of a report does.
	report := func(who Member, records ...Record) {
		msg := from(Report, IPv6, 2)
		msg.Records = records
		r.hear(who, msg)
	}
	report(host1, rec(ChangeToExclude, "ff0e::1"))
	r.want("after a change", r.everywhere(IPv6), "port 1,host 1,foreign 1")
	report(host1)
	r.want("after a report", r.everywhere(IPv6), "port 1,foreign 1")
	r.want("after a report, IPv4", r.everywhere(IPv4), "port 1,host 1,foreign 1")
	if got := r.TakeChanges().Everywhere; !slices.Equal(got, []Family{IPv6}) {
		t.Errorf("changes %v", got)
	}
	// A foreign remote's first answer is not all of them.
	report(foreign1, rec(ModeIsExclude, "ff0e::1"))
	r.want("after the first of many", r.everywhere(IPv6), "port 1,foreign 1")
	r.pass(2 * time.Second)
	r.want("when answers are in", r.everywhere(IPv6), "")
	r.want("when answers are in, IPv4", r.everywhere(IPv4), "host 1,foreign 1")
	r.pass(253*time.Second - 1)
	r.want("before 255 s of silence", r.everywhere(IPv6), "")
	r.pass(1)
	r.want("after 255 s of silence", r.everywhere(IPv6), "host 1")
	r.pass(5*time.Second - 1)
	r.want("before 260 s of silence", r.everywhere(IPv6), "host 1")
	r.pass(1)
	r.want("after 260 s of silence", r.everywhere(IPv6), "host 1,foreign 1")
	report(foreign1, rec(ModeIsInclude, "ff02::1:ff00:7"))
	r.want("a foreign remote that tells again", r.everywhere(IPv6), "host 1")
}

// A host that falls silent gets what it wants all the time: first because it has
// told, then because nobody knows.
func TestSilentHost(t *testing.T) {
	r := newRig(t, testConfig(), port1, host1)
	r.report(host1, rec(ModeIsInclude, "ff0e::1", "fe80::1"))
	r.pass(2 * time.Second) // a long report
	r.hear(host1, from(Report, IPv6, 2))
	r.want("the host", r.gets("ff0e::1", "fe80::1"), "host 1")
	r.want("everywhere", r.everywhere(IPv6), "")
	for range 300 {
		r.report(port1, rec(ModeIsExclude, "ff0e::1"))
		r.pass(time.Second)
		if all := r.gets("ff0e::1", "fe80::1") + "," + r.everywhere(IPv6); !strings.Contains(all, "host 1") {
			t.Fatalf("%s after the start the group goes to %s", r.now.Sub(start), all)
		}
	}
}

// A host that passes on its guests' reports has no agent that takes them: it gets
// everything of the family until the agent tells again.
func TestHostWithoutAgent(t *testing.T) {
	r := newRig(t, testConfig(), port1, host1)
	for _, f := range Families {
		r.hear(host1, from(Report, f, newest(f)))
	}
	r.want("a host that has told", r.everywhere(IPv6), "")
	report := from(Report, IPv6, 2)
	report.Records = []Record{rec(ModeIsExclude, "ff0e::1")}
	got, err := Parse(Build(&report))
	if err != nil {
		t.Fatal(err)
	}
	r.Receive(r.now, host1, got)
	r.want("the guest's group", r.gets("ff0e::1", "fe80::1"), "unknown")
	r.want("after a guest's report", r.everywhere(IPv6), "host 1")
	r.want("after a guest's report, IPv4", r.everywhere(IPv4), "")
	r.hear(host1, from(Report, IPv6, 2))
	r.want("when the agent has told again", r.everywhere(IPv6), "")
}

// Remotes of solicited-node groups are flooded to, and nobody is told of them
// but ports.
func TestSolicitedNodes(t *testing.T) {
	const group = "ff02::1:ff00:7"
	r := newRig(t, testConfig(), port1, port2, host1, foreign1)
	r.report(port1, rec(ModeIsExclude, group))
	r.report(foreign1, rec(ModeIsExclude, group))
	r.report(host1, rec(ModeIsExclude, group))
	r.want("who gets it", r.gets(group, "fe80::1"), "port 1,host 1,foreign 1")
	r.want("a remote's", r.state(foreign1, group), "nothing")
	r.wantSent("told", r.sent())
	r.report(port1, rec(ModeIsInclude, group, "fe80::5"), rec(BlockOldSources, group, "fe80::6"))
	r.pass(3 * time.Second)
	r.want("who gets a named source's", r.gets(group, "fe80::6"), "host 1,foreign 1")
	r.report(port1, rec(ChangeToInclude, group))
	r.pass(3 * time.Second)
	r.want("when nobody is left", r.gets(group, "fe80::1"), "unknown")
}

// Nothing link-local is pruned while nobody asks.
func TestNoQuerier(t *testing.T) {
	cfg := testConfig()
	cfg.Querier = false
	r := newRig(t, cfg, port1, port2)
	r.report(port1, rec(ModeIsExclude, "ff02::fb"), rec(ModeIsExclude, "ff0e::1"))
	r.wantSent("nothing asked", r.sent())
	r.want("link-local", r.gets("ff02::fb", "fe80::1"), "unknown")
	r.want("global", r.gets("ff0e::1", "fe80::1"), "port 1")
	r.TakeChanges()
	if r.HasQuerier(IPv6) {
		t.Error("there is a querier")
	}
	query := from(Query, IPv6, 2)
	query.Robustness, query.QueryInterval, query.MaxResponse = 2, 125*time.Second, 10*time.Second
	r.hear(port2, query)
	if !r.HasQuerier(IPv6) || r.HasQuerier(IPv4) {
		t.Error("want a querier of IPv6")
	}
	r.want("link-local, asked", r.gets("ff02::fb", "fe80::1"), "port 1")
	if got := r.TakeChanges().Groups; !slices.Equal(got, addrs("ff02::fb")) {
		t.Errorf("changes %s", got)
	}
	r.pass(100 * time.Second)
	r.report(port1, rec(ModeIsExclude, "ff02::fb"), rec(ModeIsExclude, "ff0e::1"))
	r.pass(155*time.Second - 1)
	r.TakeChanges()
	r.want("before the querier goes", r.gets("ff02::fb", "fe80::1"), "port 1")
	r.pass(1)
	r.want("after", r.gets("ff02::fb", "fe80::1"), "unknown")
	if got := r.TakeChanges().Groups; !slices.Equal(got, addrs("ff02::fb")) {
		t.Errorf("changes %s", got)
	}
	// By the settings it is the same.
	r.sent()
	r.SetConfig(r.now, testConfig())
	r.want("with a querier", r.gets("ff02::fb", "fe80::1"), "port 1")
	if got := r.TakeChanges().Groups; !slices.Equal(got, addrs("ff02::fb")) {
		t.Errorf("changes %s", got)
	}
	r.Advance(r.now)
	asked := r.sent("report")
	slices.Sort(asked)
	r.wantSent("asked", asked, "port 1: general query v2 10s", "port 1: general query v3 10s", "port 2: general query v2 10s", "port 2: general query v3 10s")
}

// Of a member that goes nothing stays but what has been counted.
func TestMemberGoes(t *testing.T) {
	cfg := testConfig()
	cfg.GroupsPerPort = 1
	r := newRig(t, cfg, port1, port2, host1)
	query := from(Query, IPv6, 2)
	r.report(port1, rec(ModeIsExclude, "ff0e::1"), rec(ModeIsExclude, "ff0e::2"))
	r.report(port2, rec(ModeIsExclude, "ff0e::1"))
	r.hear(port1, query)
	r.pass(5 * time.Second)
	r.TakeChanges()
	r.sent()
	r.SetMembers(r.now, []Member{port2, host1})
	r.Advance(r.now)
	r.want("group 1", r.gets("ff0e::1", "fe80::1"), "port 2")
	r.want("everywhere", r.everywhere(IPv6), "host 1")
	if got := r.TakeChanges(); !slices.Equal(got.Groups, addrs("ff0e::1")) || !slices.Equal(got.Everywhere, []Family{IPv6}) {
		t.Errorf("changes %+v", got)
	}
	if got := r.Counters().Limits; len(got) != 1 || got[LimitKey{Limit: LimitGroupsPerPort}] != 1 {
		t.Errorf("limits %v, want the one that was hit, of nobody", got)
	}
	if _, ok := r.Querier(IPv4); !ok {
		t.Error("nobody is querier")
	}
	if got, _ := r.Querier(IPv6); got.Member != (Member{}) {
		t.Errorf("querier is %+v, which has gone", got)
	}
	r.wantSent("we ask again", r.sent("report"), "port 2: general query v2 10s")
	r.report(port1, rec(ModeIsExclude, "ff0e::3"))
	r.want("of whom is no member", r.gets("ff0e::3", "fe80::1"), "unknown")
	if got := r.Counters().Ignored[Port]; got != 1 {
		t.Errorf("%d ignored", got)
	}
	// All goes, and nothing is due.
	r.SetMembers(r.now, nil)
	r.pass(time.Hour)
	if next := r.Next(); !next.IsZero() || len(r.Groups()) > 0 || len(r.Members()) > 0 {
		t.Errorf("next %s, groups %v", next, r.Groups())
	}
	r.SetMembers(r.now, []Member{port1})
	r.want("a member that comes again", r.state(port1, "ff0e::1"), "nothing")
}

func TestRestore(t *testing.T) {
	r := fresh(t, testConfig(), port1, port2, host1, host2, foreign1)
	r.Restore(r.now, port1, addr("ff0e::1"), Exclude, addrs("2001:db8::9"))
	r.Restore(r.now, port1, addr("ff02::1:ff00:1"), Exclude, nil)
	r.Restore(r.now, host1, addr("ff0e::1"), Include, addrs("2001:db8::2", "2001:db8::1"))
	r.Restore(r.now, host1, addr("ff02::1:ff00:1"), Exclude, nil)
	r.Restore(r.now, host1, addr("ff02::1"), Exclude, nil)
	r.Restore(r.now, host1, addr("2001:db8::1"), Exclude, nil)
	r.Restore(r.now, host1, addr("ff0e::2"), Include, nil)
	r.Restore(r.now, port3, addr("ff0e::3"), Exclude, nil)
	for _, m := range []Member{port1, port2, host1} {
		r.RestoreKnown(r.now, m, IPv6)
	}
	r.RestoreRouter(r.now, host2, IPv6)
	r.RestoreKnown(r.now, host2, IPv6)
	r.want("port 1", r.state(port1, "ff0e::1"), "exclude 260 2001:db8::9:-")
	r.want("host 1", r.state(host1, "ff0e::1"), "include 2001:db8::1:260 2001:db8::2:260")
	if got := len(r.Groups()); got != 2 {
		t.Errorf("%d groups", got)
	}
	r.want("everywhere", r.everywhere(IPv6), "host 2,foreign 1")
	r.want("everywhere, IPv4", r.everywhere(IPv4), "port 1,port 2,host 1,host 2,foreign 1")
	r.wantSent("before Advance", r.sent())
	r.Advance(r.now)
	got := r.sent()
	// All is told at once, with its end, and not as a change.
	for _, want := range []string{
		"host 1: report IS_EX ff0e::1 {2001:db8::9}", "host 2: report IS_EX ff0e::1 {2001:db8::9}",
		"foreign 1: report IS_EX ff0e::1 {2001:db8::9}", "host 1: report", "host 2: report", "port 1: general query v2 1s",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in\n\t%s", want, strings.Join(got, "\n\t"))
		}
	}
	r.pass(20 * time.Second)
	for _, line := range r.sent() {
		if strings.Contains(line, "TO_EX") {
			t.Errorf("%q, of what is no change", line)
		}
	}
	r.pass(240*time.Second - 1)
	r.want("before it runs out", r.state(port1, "ff0e::1"), "exclude 1e-09 2001:db8::9:-")
	r.want("the router has gone, and hosts are silent", r.everywhere(IPv6), "host 1,host 2,foreign 1")
	r.pass(1)
	r.want("after", r.state(port1, "ff0e::1"), "nothing")
}

// A Host that has told is not asked again.
func TestHostHasTold(t *testing.T) {
	r := fresh(t, testConfig(), host1)
	r.Advance(r.now)
	for _, f := range Families {
		msg := from(Report, f, newest(f))
		r.hear(host1, msg)
	}
	r.sent()
	r.pass(100 * time.Second)
	for _, line := range r.sent() {
		if strings.Contains(line, "query") {
			t.Errorf("%q, and it has told", line)
		}
	}
}
