// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

// routerMAC is a real router's.
var routerMAC = MAC{0x02, 0, 0, 0, 0, 0x99}

// query is one of a real router.
func query(f Family, version int, group string, sources ...string) Message {
	msg := from(Query, f, version)
	msg.SourceMAC, msg.MaxResponse = routerMAC, 10*time.Second
	if group != "" {
		msg.Group, msg.MaxResponse = addr(group), time.Second
	}
	msg.Sources = addrs(sources...)
	if msg.modern() {
		msg.Robustness, msg.QueryInterval = 2, 125*time.Second
	}
	return msg
}

// A router's query makes its member a router port, silences our general
// queries, and goes on unchanged, to whom it has not been.
func TestRealQuerier(t *testing.T) {
	for _, c := range []struct {
		behind Member
		to     string
	}{
		{port1, "port 2,host 1,host 2,foreign 1"},
		{host1, "port 1,port 2"},
		{foreign1, "port 1,port 2"},
	} {
		for _, f := range Families {
			r := newRig(t, testConfig(), port1, port2, host1, host2, foreign1)
			before := r.everywhere(f)
			msg := query(f, newest(f), "")
			frame := Build(&msg)
			got, err := Parse(frame)
			if err != nil {
				t.Fatal(err)
			}
			r.Receive(r.now, c.behind, got)
			sent := r.Outbox()
			clear(frame) // the caller's again
			if len(sent) != 1 || !bytes.Equal(sent[0].Frame, Build(&msg)) {
				t.Fatalf("%s: sent %+v", c.behind, sent)
			}
			r.outbox = sent
			r.wantSent("relayed", r.sent(), c.to+": "+describe(&msg))
			if got, ok := r.Querier(f); !ok || got.Member != c.behind || got.Addr != msg.Source || got.MAC != routerMAC || got.Left != 255*time.Second {
				t.Errorf("querier is %+v", got)
			}
			if !strings.Contains(r.everywhere(f), c.behind.String()) {
				t.Errorf("everywhere is %s", r.everywhere(f))
			}
			general := 0
			for range 254 {
				r.pass(time.Second)
				for _, line := range r.sent("report") {
					if strings.Contains(line, "general query v"+string('0'+byte(newest(f)))) && !strings.HasPrefix(line, "host") {
						general++
					}
				}
			}
			if general > 0 {
				t.Errorf("%s: %d queries of ours", c.behind, general)
			}
			r.pass(time.Second)
			lines := r.sent("report")
			for _, who := range []string{"port 1", "port 2", "foreign 1"} {
				if want := who + ": general query v" + string('0'+byte(newest(f))) + " 10s"; !slices.Contains(lines, want) {
					t.Errorf("%s: no %q when the router is gone: %q", c.behind, want, lines)
				}
			}
			if c.behind == port1 && r.everywhere(f) != before {
				t.Errorf("everywhere is %s", r.everywhere(f))
			}
		}
	}
}

// The lower address is elected, and its times count where they are longer.
func TestElection(t *testing.T) {
	r := newRig(t, testConfig(), port1, port2, port3)
	low, high := query(IPv6, 2, ""), query(IPv6, 2, "")
	low.Source, high.Source = addr("fe80::1"), addr("fe80::9")
	low.QueryInterval, low.Robustness = 256*time.Second, 3
	high.QueryInterval, high.Robustness = time.Second, 1
	r.hear(port2, high)
	r.hear(port1, low)
	r.hear(port2, high)
	if got, _ := r.Querier(IPv6); got.Member != port1 || got.Addr != low.Source || got.Left != 773*time.Second {
		t.Errorf("querier is %+v", got)
	}
	r.report(port3, rec(ModeIsExclude, "ff0e::1"))
	r.want("by the querier's times", r.state(port3, "ff0e::1"), "exclude 778")
	// A guest that says one second takes nothing from others.
	r = newRig(t, testConfig(), port1, port2, port3)
	r.hear(port2, high)
	r.report(port3, rec(ModeIsExclude, "ff0e::1"))
	r.want("by our own", r.state(port3, "ff0e::1"), "exclude 260")
	r.want("the router", r.everywhere(IPv6), "port 2")
	// Ours never wins.
	if ours := testConfig().ProxyAddress; !addr("fe80::ffff:fffe:ffff:ffff").Less(ours) {
		t.Errorf("ours is %s", ours)
	}
}

// Hellos and advertisements tell of routers, queries without a source do not.
func TestRouterPorts(t *testing.T) {
	r := newRig(t, testConfig(), port1, port2, port3)
	r.hear(port1, from(Advertisement, IPv4, 0))
	hello := Message{Kind: Hello, Family: IPv4, SourceMAC: routerMAC, Source: addr("10.9.0.1")}
	r.Receive(r.now, port2, &hello)
	nobody := query(IPv4, 3, "")
	nobody.Source = addr("0.0.0.0")
	r.hear(port3, nobody)
	r.want("everywhere", r.everywhere(IPv4), "port 1,port 2")
	r.want("everywhere, IPv6", r.everywhere(IPv6), "")
	r.wantSent("relayed", r.sent())
	if got, _ := r.Querier(IPv4); got.Member != (Member{}) {
		t.Errorf("querier is %+v", got)
	}
	r.pass(255*time.Second - 1)
	r.want("before 255 s", r.everywhere(IPv4), "port 1,port 2")
	r.TakeChanges()
	r.pass(1)
	r.want("after", r.everywhere(IPv4), "")
	if got := r.TakeChanges().Everywhere; !slices.Equal(got, []Family{IPv4}) {
		t.Errorf("changes %v", got)
	}
}

// A port that asks is told what everybody else wants, in its version, and what
// changes.
func TestRouterIsTold(t *testing.T) {
	const group, other, a = "ff0e::1", "ff0e::2", "2001:db8::a"
	r := newRig(t, testConfig(), port1, port2, port3, host1)
	r.report(port1, rec(ModeIsExclude, "ff0e::99"))
	r.report(port2, rec(ModeIsInclude, group, a))
	r.report(host1, rec(ModeIsExclude, other, a))
	r.report(port3, rec(ModeIsExclude, "ff02::1:ff00:3"))
	r.pass(5 * time.Second)
	r.sent()
	r.hear(port1, query(IPv6, 2, ""))
	r.pass(10 * time.Second)
	toRouter := func() []string {
		return slices.DeleteFunc(r.sent("general"), func(line string) bool { return !strings.HasPrefix(line, "port 1: ") })
	}
	r.wantSent("asked for all", toRouter(), "port 1: report IS_EX ff02::1:ff00:3 {}, IS_IN ff0e::1 {2001:db8::a}, IS_EX ff0e::2 {2001:db8::a}")
	r.hear(port1, query(IPv6, 2, group))
	r.wantSent("asked for one", toRouter(), "port 1: report IS_IN ff0e::1 {2001:db8::a}")
	r.hear(port1, query(IPv6, 2, "ff0e::77"))
	r.hear(port1, query(IPv6, 2, "ff0e::99"))
	r.wantSent("asked for what nobody else wants", toRouter())
	r.hear(port1, query(IPv6, 2, group, a, "2001:db8::b"))
	r.hear(port1, query(IPv6, 2, other, a, "2001:db8::b"))
	r.hear(port1, query(IPv6, 2, other, a))
	r.hear(port1, query(IPv6, 2, "ff02::1:ff00:3"))
	r.wantSent("asked for sources", toRouter(), "port 1: report IS_IN ff0e::1 {2001:db8::a}", "port 1: report IS_IN ff0e::2 {2001:db8::b}", "port 1: report IS_EX ff02::1:ff00:3 {}")
	r.report(port3, rec(ModeIsExclude, "ff02::1:ff00:3"))
	// Whom that was relayed to did not answer: the querier's doubt counts.
	r.pass(1990 * time.Millisecond)
	r.want("doubted", r.gets(group, a), "port 2")
	r.sent()
	r.pass(20 * time.Millisecond)
	r.want("after the doubt", r.gets(group, a), "unknown")
	r.pass(time.Second)
	r.wantSent("gone, twice", toRouter(), "port 1: report BLOCK ff0e::1 {2001:db8::a}", "port 1: report BLOCK ff0e::1 {2001:db8::a}")
	r.want("a Host's is its own", r.state(host1, other), "exclude 241.99 2001:db8::a:-")

	r.hear(port1, query(IPv6, 2, other))
	r.want("nor is it doubted", r.state(host1, other), "exclude 241.99 2001:db8::a:-")

	// The S flag says to let the timers be.
	r.report(port2, rec(ModeIsExclude, group))
	suppress := query(IPv6, 2, group)
	suppress.Suppress = true
	r.hear(port1, suppress)
	r.want("with the S flag", r.state(port2, group), "exclude 260")

	// By the other router's query the first one hears answers too.
	r.pass(5 * time.Second)
	toRouter()
	second := query(IPv6, 2, "")
	second.Source = addr("fe80::3")
	r.hear(port2, second)
	r.pass(10 * time.Second)
	r.wantSent("asked by another", toRouter(), "port 1: report IS_EX ff02::1:ff00:3 {}, IS_EX ff0e::1 {}, IS_EX ff0e::2 {2001:db8::a}")
}

// Routers of older versions are spoken to in theirs, for as long as RFC 3376
// 7.2.1 and RFC 3810 8.2.1 have it.
func TestOlderRouters(t *testing.T) {
	for _, c := range []struct {
		f       Family
		version int
		group   string
		source  string
		report  string
		leave   string
	}{
		{IPv6, 1, "ff0e::1", "2001:db8::1", "report v1 ff0e::1", "leave v1 ff0e::1"},
		{IPv4, 2, "239.1.2.3", "10.0.0.1", "report v2 239.1.2.3", "leave v2 239.1.2.3"},
		{IPv4, 1, "239.1.2.3", "10.0.0.1", "report v1 239.1.2.3", ""},
	} {
		for _, router := range []Member{port1, foreign1} {
			r := newRig(t, testConfig(), port1, port2, foreign1)
			told := func() []string {
				return slices.DeleteFunc(r.sent("general", "query"), func(line string) bool { return !strings.HasPrefix(line, router.String()+": ") })
			}
			line := func(what string) string { return router.String() + ": " + what }
			r.hear(router, query(c.f, c.version, ""))
			r.pass(15 * time.Second)
			told()
			r.report(port2, rec(ChangeToInclude, c.group, c.source))
			r.pass(2 * time.Second)
			r.wantSent("joined", told(), line(c.report), line(c.report))
			r.hear(router, query(c.f, c.version, ""))
			r.pass(10 * time.Second)
			r.wantSent("asked", told(), line(c.report))
			if c.version == 1 && c.f == IPv4 {
				// There are no other queries.
			} else {
				r.hear(router, query(c.f, c.version, c.group))
				r.wantSent("asked for the group", told(), line(c.report))
			}
			r.report(port2, rec(ModeIsInclude, c.group, c.source))
			r.report(port2, rec(BlockOldSources, c.group, c.source))
			r.pass(4 * time.Second)
			if c.leave != "" {
				r.wantSent("left", told(), line(c.leave), line(c.leave))
			} else {
				r.wantSent("left", told())
			}
			r.pass(260 * time.Second)
			told()
			r.hear(router, query(c.f, newest(c.f), "")) // a port is told only if it asks
			r.report(port2, rec(ChangeToExclude, c.group))
			if got, want := told(), line("report TO_EX "+c.group+" {}"); !slices.Contains(got, want) {
				t.Errorf("no %q in %q", want, got)
			}
		}
	}
}

// What a Host passes on of its guests is for its own agent; a proxy's frame
// from anywhere else is of nobody.
func TestIgnored(t *testing.T) {
	r := newRig(t, testConfig(), port1, host1, foreign1)
	report := from(Report, IPv6, 2)
	report.Records = []Record{rec(ModeIsExclude, "ff0e::1")}
	frame := Build(&report)
	msg, err := Parse(frame)
	if err != nil {
		t.Fatal(err)
	}
	r.Receive(r.now, host1, msg)
	nobody := query(IPv4, 3, "")
	nobody.Source = addr("0.0.0.0")
	r.hear(host1, nobody)
	report.SourceMAC = hostMAC
	r.hear(port1, report)
	r.hear(foreign1, report)
	ours := query(IPv6, 2, "")
	ours.SourceMAC = hostMAC
	r.hear(foreign1, ours)
	r.want("state", r.gets("ff0e::1", "fe80::1"), "unknown")
	r.wantSent("sent", r.sent())
	if got := r.Counters().Ignored; got[Port] != 1 || got[Host] != 2 || got[Foreign] != 2 {
		t.Errorf("ignored %v", got)
	}
	r.hear(host1, report)
	r.want("from its host", r.gets("ff0e::1", "fe80::1"), "host 1")
	// Another agent's query is no router's, and is answered.
	r.hear(host1, ours)
	r.pass(10 * time.Second)
	r.wantSent("answered", r.sent("general"), "host 1: report")
	if got, _ := r.Querier(IPv6); got.Member != (Member{}) {
		t.Errorf("querier is %+v", got)
	}
	for key, want := range map[MessageKey]uint64{
		{Report, IPv6, 2, Host}: 2, {Report, IPv6, 2, Port}: 1, {Report, IPv6, 2, Foreign}: 1, {Query, IPv4, 3, Host}: 1, {Query, IPv6, 2, Host}: 1,
	} {
		if got := r.Counters().Messages[key]; got != want {
			t.Errorf("%+v: %d, want %d", key, got, want)
		}
	}
	r.Reject(port1, refuse(BadGroup, "x"))
	if got := r.Counters().Malformed[MalformedKey{BadGroup, Port}]; got != 1 {
		t.Errorf("malformed: %d", got)
	}
}

// Towards bridges our queries of IGMP have a source, towards ports none.
func TestQuerySources(t *testing.T) {
	r := fresh(t, testConfig(), port1, host1, foreign1)
	r.Advance(r.now)
	for _, s := range r.Outbox() {
		msg, err := Parse(s.Frame)
		if err != nil {
			t.Fatal(err)
		}
		if msg.Kind != Query {
			continue
		}
		want := "0.0.0.0"
		switch {
		case msg.Family == IPv6:
			want = testConfig().ProxyAddress.String()
		case s.To[0] == foreign1:
			want = "192.0.0.8"
		}
		if msg.Source.String() != want || msg.SourceMAC != testConfig().ProxyMAC {
			t.Errorf("%v is asked by %s, %s, want %s", s.To, msg.Source, msg.SourceMAC, want)
		}
	}
}

// A listener of IGMPv1 does not answer a specific query, and is not doubted.
func TestOldestListenerIsNotDoubted(t *testing.T) {
	r := newRig(t, testConfig(), port1, port2, port3)
	old := from(Report, IPv4, 1)
	old.Group = addr("239.1.2.3")
	r.hear(port2, old)
	old.Version = 2
	r.hear(port3, old)
	r.hear(port1, query(IPv4, 2, "239.1.2.3"))
	r.want("version 1", r.state(port2, "239.1.2.3"), "exclude 260")
	r.want("version 2", r.state(port3, "239.1.2.3"), "exclude 2")
}

// A port that comes while a router asks does not wait for the router, and is
// asked by us once only.
func TestNewPortBesideRouter(t *testing.T) {
	r := newRig(t, testConfig(), port1)
	r.hear(port1, query(IPv6, 2, ""))
	r.pass(15 * time.Second)
	r.sent()
	r.SetMembers(r.now, []Member{port1, port2})
	r.pass(100 * time.Second)
	r.wantSent("asked", slices.DeleteFunc(r.sent("report", "general query v3"), func(line string) bool { return !strings.HasPrefix(line, "port 2") }), "port 2: general query v2 1s")
}
