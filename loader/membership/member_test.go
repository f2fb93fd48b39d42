// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// fresh is a table whose members have just come.
func fresh(t *testing.T, cfg Config, members ...Member) *rig {
	t.Helper()
	r := &rig{New(start, cfg, rand.New(rand.NewPCG(3, 4))), t, start}
	r.setMembers(members...)
	return r
}

// A new member is asked at once and some times more, as its guest may sleep, and
// then each query interval; a remote is told what there is. A Host is asked until
// it has told.
func TestNewMembers(t *testing.T) {
	r := fresh(t, testConfig(), port1, host1, foreign1)
	r.wantSent("before Advance", r.sent())
	if next := r.Next(); !next.Equal(r.now) {
		t.Errorf("due at %s, want now", next)
	}
	var got []string
	for range 401 {
		r.pass(0)
		for _, line := range r.sent() {
			if strings.Contains(line, "v2") || strings.Contains(line, "report") {
				got = append(got, fmt.Sprintf("%g s %s", r.now.Sub(start).Seconds(), line))
			}
		}
		r.pass(time.Second)
	}
	want := []string{"0 s %s: general query v2 1s", "1 s %s: general query v2 1s", "3 s %s: general query v2 1s", "10 s %s: general query v2 1s",
		"135 s %s: general query v2 10s", "260 s %s: general query v2 10s", "385 s %s: general query v2 10s"}
	for _, who := range []string{"port 1", "host 1", "foreign 1"} {
		var asked []string
		for _, line := range got {
			if strings.Contains(line, who) && strings.Contains(line, "query") {
				asked = append(asked, line)
			}
		}
		if who == "host 1" {
			want = want[:4]
		}
		var lines []string
		for _, line := range want {
			lines = append(lines, fmt.Sprintf(line, who))
		}
		if who == "host 1" {
			want = want[:7]
		}
		r.wantSent(who, asked, lines...)
	}
	// The port has had its time after 12 s: that is all that is wanted.
	first := slices.IndexFunc(got, func(line string) bool { return strings.Contains(line, "host 1: report") })
	if first < 0 || !strings.HasPrefix(got[first], "12 s ") && !strings.HasPrefix(got[first], "13 s ") {
		t.Errorf("Hosts are told in\n\t%s", strings.Join(got, "\n\t"))
	}
}

// Queries that come often come as often at the start.
func TestNewMembersOften(t *testing.T) {
	cfg := testConfig()
	cfg.QueryInterval, cfg.QueryResponseInterval = 2*time.Second, half
	r := fresh(t, cfg, port1)
	var got []string
	for range 10 {
		r.pass(0)
		for _, line := range r.sent("general query v3") {
			got = append(got, fmt.Sprintf("%g s %s", r.now.Sub(start).Seconds(), line))
		}
		if wants := r.everywhere(IPv6); (wants == "port 1") != (r.now.Sub(start) < 7*time.Second) {
			t.Errorf("everywhere after %s: %q", r.now.Sub(start), wants)
		}
		r.pass(time.Second)
	}
	r.wantSent("asked", got, "0 s port 1: general query v2 1s", "1 s port 1: general query v2 1s", "3 s port 1: general query v2 1s",
		"5 s port 1: general query v2 1s", "7 s port 1: general query v2 500ms", "9 s port 1: general query v2 500ms")
}

// A guest that wakes after its port was made, and does not tell by itself, is
// asked before nothing is taken for what it wants. Once it has told anything it
// is awake, and what it does not answer in the other family it does not want.
func TestLateGuest(t *testing.T) {
	r := fresh(t, testConfig(), port1, port2)
	r.pass(9 * time.Second)
	r.want("asleep", r.everywhere(IPv4), "port 1,port 2")
	r.sent()
	r.pass(time.Second)
	asked := r.sent("general query v2")
	slices.Sort(asked)
	r.wantSent("asked", asked, "port 1: general query v3 1s", "port 2: general query v3 1s")
	r.pass(half)
	r.report(port1, rec(ModeIsExclude, "239.1.1.1"))
	r.pass(half)
	r.report(port1, rec(ModeIsExclude, "239.1.1.2"))
	r.want("others there may still answer", r.everywhere(IPv4), "port 1,port 2")
	r.pass(time.Second)
	r.want("has told", r.everywhere(IPv4), "port 1")
	r.pass(time.Second)
	r.want("has told some time ago", r.everywhere(IPv4), "")
	r.want("and wants", r.gets("239.1.1.1", "10.0.0.1"), "port 1")
	r.want("and IPv6", r.everywhere(IPv6), "")

	// One that sleeps longer is new when it tells first.
	r.pass(time.Hour)
	r.sent()
	r.report(port2, rec(ChangeToExclude, "ff02::1:ff00:7"))
	r.want("waked", r.everywhere(IPv4)+" "+r.everywhere(IPv6), "port 2 port 2")
	got := r.sent()
	slices.Sort(got)
	r.wantSent("waked", got, "port 2: general query v2 1s", "port 2: general query v3 1s")
	r.pass(2 * time.Second)
	r.want("awake", r.everywhere(IPv4)+r.everywhere(IPv6), "")
	r.report(port2, rec(ChangeToExclude, "ff02::1:ff00:8"))
	r.wantSent("awake", r.sent("report"))

	// An agent that is starved asks late, and waits for the answers all the same.
	r = fresh(t, testConfig(), port1)
	r.now = r.now.Add(20 * time.Second)
	r.Advance(r.now)
	r.want("asked late", r.everywhere(IPv4), "port 1")
	r.pass(12*time.Second - 1)
	r.want("asked late, 12 s before", r.everywhere(IPv4), "port 1")
	r.pass(1)
	r.want("asked late, 12 s ago", r.everywhere(IPv4), "")

	// One that is awake from the start does not wait for the last query.
	r = fresh(t, testConfig(), port1)
	r.pass(half)
	r.report(port1, rec(ModeIsExclude, "ff02::1:ff00:7"))
	r.pass(2*time.Second - 1)
	r.want("before two seconds", r.everywhere(IPv4)+" "+r.everywhere(IPv6), "port 1 port 1")
	r.pass(1)
	r.want("after two seconds", r.everywhere(IPv4)+r.everywhere(IPv6), "")
}

// A frame of a Host's report may be lost: it has to tell all twice.
func TestHostTellsTwice(t *testing.T) {
	r := newRig(t, testConfig(), port1, host1)
	r.report(host1, rec(ModeIsExclude, "239.1.1.2")) // that for 239.1.1.1 is lost
	r.told(host1, IPv6)
	r.hear(host1, from(Report, IPv4, 3))
	r.want("told once", r.everywhere(IPv4), "host 1")
	r.sent()
	r.pass(time.Second)
	r.wantSent("asked once more", r.sent("general query v2", "report"), "host 1: general query v3 1s")
	r.report(host1, rec(ModeIsExclude, "239.1.1.1"), rec(ModeIsExclude, "239.1.1.2"))
	r.want("before the end", r.everywhere(IPv4), "host 1")
	r.hear(host1, from(Report, IPv4, 3))
	r.want("told twice", r.everywhere(IPv4), "")
	r.want("what was lost", r.gets("239.1.1.1", "10.0.0.1"), "host 1")
	r.pass(254 * time.Second)
	r.sent()
	r.hear(host1, from(Report, IPv4, 3))
	r.pass(time.Second)
	r.want("told again, once", r.everywhere(IPv4), "")
	r.wantSent("is not asked", r.sent("report"))
	r.pass(255 * time.Second)
	r.want("silent", r.everywhere(IPv4), "host 1")
	r.hear(host1, from(Report, IPv4, 3))
	r.want("once after silence", r.everywhere(IPv4), "host 1")
	r.pass(100 * time.Second) // the answer is lost too
	r.hear(host1, from(Report, IPv4, 3))
	r.want("twice after silence", r.everywhere(IPv4), "")

	// A report of which every record was bad is no end.
	r = newRig(t, testConfig(), host1)
	for range 3 {
		msg := from(Report, IPv4, 3)
		msg.SourceMAC, msg.BadRecords = hostMAC, 1
		r.Receive(r.now, host1, &msg)
	}
	r.want("nothing but bad records", r.everywhere(IPv4), "host 1")
	if got := r.Counters().Malformed[MalformedKey{BadRecord, Host}]; got != 3 {
		t.Errorf("%d bad records are counted", got)
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
	r.told(host1, IPv6)
	r.want("after a report", r.everywhere(IPv6), "port 1,foreign 1")
	r.want("after a report, IPv4", r.everywhere(IPv4), "port 1,host 1,foreign 1")
	if got := r.TakeChanges().Everywhere; !slices.Equal(got, []Family{IPv6}) {
		t.Errorf("changes %v", got)
	}
	// A foreign remote's first answer is not all of them.
	report(foreign1, rec(ModeIsExclude, "ff0e::1"))
	r.want("after the first of many", r.everywhere(IPv6), "port 1,foreign 1")
	report(port1)
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
	r.want("a foreign remote that tells again, perhaps not all", r.everywhere(IPv6), "host 1,foreign 1")
	r.pass(11 * time.Second)
	r.want("a foreign remote that tells again", r.everywhere(IPv6), "host 1")
}

// A host that falls silent gets what it wants all the time: first because it has
// told, then because nobody knows.
func TestSilentHost(t *testing.T) {
	r := newRig(t, testConfig(), port1, host1)
	r.report(host1, rec(ModeIsInclude, "ff0e::1", "fe80::1"))
	r.pass(2 * time.Second) // a long report
	r.told(host1, IPv6)
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
		r.told(host1, f)
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
	r.want("when the agent has told again, once", r.everywhere(IPv6), "host 1")
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

// Nothing is pruned while nobody asks, nor before all could have answered after
// somebody has begun to.
func TestNoQuerier(t *testing.T) {
	cfg := testConfig()
	cfg.Querier = false
	r := newRig(t, cfg, port1, port2, host1, foreign1)
	r.report(port1, rec(ModeIsExclude, "ff02::fb"), rec(ModeIsExclude, "ff0e::1"), rec(ModeIsExclude, "ff02::1:ff00:7"))
	r.wantSent("nothing asked", r.sent("report TO_EX"))
	all := addrs("ff02::fb", "ff02::1:ff00:7", "ff0e::1")
	flooded := func(what string) {
		t.Helper()
		for _, group := range all {
			r.want(fmt.Sprintf("%s, %s", group, what), r.gets(group.String(), "fe80::1"), "unknown")
		}
	}
	flooded("nobody asks")
	r.TakeChanges()
	if r.HasQuerier(IPv6) {
		t.Error("there is a querier")
	}
	r.hear(port2, query(IPv6, 2, ""))
	if !r.HasQuerier(IPv6) || r.HasQuerier(IPv4) {
		t.Error("want a querier of IPv6")
	}
	r.want("asked", r.gets("ff02::fb", "fe80::1")+" "+r.gets("ff0e::1", "fe80::1"), "port 1 port 1")
	r.want("before the answers", r.everywhere(IPv6), "port 1,port 2,host 1,foreign 1")
	changes := func(what string, groups []netip.Addr) {
		t.Helper()
		got := r.TakeChanges()
		if !slices.Equal(got.Groups, groups) || !slices.Equal(got.Queriers, []Family{IPv6}) {
			t.Errorf("%s: changes %+v", what, got)
		}
	}
	changes("asked", all)
	asked := r.sent("report", "advertisement")
	slices.Sort(asked)
	r.wantSent("asked by us too", asked, "foreign 1: general query v2 1s", "port 1,host 1,foreign 1: general query v2 10s", "port 1: general query v2 1s")
	r.pass(half)
	r.report(port1, rec(ModeIsExclude, "ff02::fb"))
	r.pass(1500 * time.Millisecond)
	r.want("one has answered", r.everywhere(IPv6), "port 2,host 1,foreign 1")
	r.pass(98 * time.Second)
	r.report(port1, rec(ModeIsExclude, "ff02::fb"), rec(ModeIsExclude, "ff0e::1"))
	r.pass(155*time.Second - 1)
	r.TakeChanges()
	r.want("before the querier goes", r.gets("ff02::fb", "fe80::1"), "port 1")
	r.pass(1)
	flooded("the querier has gone")
	changes("gone", all)
	// By the settings it is the same.
	r.sent()
	r.SetConfig(r.now, testConfig())
	r.want("with a querier", r.gets("ff02::fb", "fe80::1"), "port 1")
	r.want("with a querier, before the answers", r.everywhere(IPv6), "port 1,port 2,host 1,foreign 1")
	if got := r.TakeChanges(); !slices.Equal(got.Queriers, Families[:]) {
		t.Errorf("changes %+v", got)
	}
	r.Advance(r.now)
	asked = r.sent("report")
	slices.Sort(asked)
	r.wantSent("asked", asked, "foreign 1: general query v2 1s", "foreign 1: general query v3 1s", "port 1: general query v2 1s", "port 1: general query v3 1s", "port 2: general query v3 1s")
	r.pass(12 * time.Second)
	r.wantSent("asked where the querier was", slices.DeleteFunc(r.sent("report"), func(line string) bool { return line != "port 2: general query v2 1s" }),
		"port 2: general query v2 1s", "port 2: general query v2 1s", "port 2: general query v2 1s")
	r.want("silent", r.everywhere(IPv6), "host 1,foreign 1")
}

// Hosts are not told that this was all while nobody asks here: listeners need
// not have told.
func TestNoQuerierIsNotAll(t *testing.T) {
	cfg := testConfig()
	cfg.Querier = false
	r := newRig(t, cfg, port1, host1)
	r.report(port1, rec(ModeIsExclude, "ff0e::1"))
	ends := func(d time.Duration) (n int) {
		r.t.Helper()
		r.sent()
		r.pass(d)
		for _, line := range r.sent() {
			if line == "host 1: report" {
				n++
			}
		}
		return n
	}
	if n := ends(time.Hour); n > 0 {
		t.Errorf("%d reports are ended", n)
	}
	r.SetConfig(r.now, testConfig())
	if n := ends(11 * time.Second); n > 0 {
		t.Errorf("%d reports are ended before the port had its time", n)
	}
	if n := ends(2 * time.Second); n != 2 { // one for each family
		t.Errorf("%d reports are ended after the port had its time", n)
	}
	r.SetConfig(r.now, cfg)
	if n := ends(time.Hour); n > 0 {
		t.Errorf("%d reports are ended after the querier has gone", n)
	}
	r.SetConfig(r.now, testConfig())
	for _, f := range Families {
		ask := query(f, newest(f), "")
		ask.SourceMAC, ask.MaxResponse = hostMAC, time.Second
		r.hear(host1, ask)
	}
	if n := ends(2 * time.Second); n > 0 {
		t.Errorf("%d answers are ended before the port had its time again", n)
	}
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
	r.setMembers(port2, host1)
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
	r.wantSent("we ask again", r.sent("report", "advertisement"), "port 2: general query v2 1s")
	r.report(port1, rec(ModeIsExclude, "ff0e::3"))
	r.want("of whom is no member", r.gets("ff0e::3", "fe80::1"), "unknown")
	if got := r.Counters().Ignored[Port]; got != 1 {
		t.Errorf("%d ignored", got)
	}
	// All goes, and nothing is due.
	r.setMembers()
	r.pass(time.Hour)
	if next := r.Next(); !next.IsZero() || len(r.Groups()) > 0 || len(r.Members()) > 0 {
		t.Errorf("next %s, groups %v", next, r.Groups())
	}
	r.setMembers(port1)
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
	r.report(port2)
	r.want("one that tells again is not new", r.everywhere(IPv6), "host 2,foreign 1")
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
		r.told(host1, f)
	}
	r.sent()
	r.pass(100 * time.Second)
	for _, line := range r.sent() {
		if strings.Contains(line, "query") {
			t.Errorf("%q, and it has told", line)
		}
	}
}
