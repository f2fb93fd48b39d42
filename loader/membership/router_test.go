// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
			before, begun := r.everywhere(f), r.now
			msg := query(f, newest(f), "")
			frame := Build(&msg)
			got, err := Parse(frame)
			if err != nil {
				t.Fatal(err)
			}
			r.Receive(r.now, c.behind, got)
			sent := r.Outbox()
			clear(frame) // the caller's again
			if len(sent) == 0 || !bytes.Equal(sent[0].Frame, Build(&msg)) {
				t.Fatalf("%s: sent %+v", c.behind, sent)
			}
			r.outbox = sent
			r.wantSent("relayed", r.sent("advertisement"), c.to+": "+describe(&msg))
			if got, ok := r.Querier(f); !ok || got.Member != c.behind || got.Addr != msg.Source || got.MAC != routerMAC || got.Left != 255*time.Second {
				t.Errorf("querier is %+v", got)
			}
			if !strings.Contains(r.everywhere(f), c.behind.String()) {
				t.Errorf("everywhere is %s", r.everywhere(f))
			}
			// ours tells when we ask in so many seconds, and with which response.
			ours := func(seconds int) (when []string) {
				for range seconds {
					r.pass(time.Second)
					for _, line := range r.sent("report") {
						if who, what, _ := strings.Cut(line, ": "); who == "port 2" && strings.HasPrefix(what, "general query v"+string('0'+byte(newest(f)))) {
							when = append(when, fmt.Sprintf("%s %s", r.now.Sub(begun), what[len("general query v2 "):]))
						}
					}
				}
				return when
			}
			if got := ours(187); len(got) > 0 {
				t.Errorf("%s: queries of ours %q", c.behind, got)
			}
			// It is late: it need not be the querier of these ports any more.
			r.wantSent("ours", ours(73), "3m8s 1s", "3m15s 1s")
			if _, ok := r.Querier(f); !ok {
				t.Error("nobody is querier")
			}
			if got, _ := r.Querier(f); got.Member != (Member{}) {
				t.Errorf("querier is %+v", got)
			}
			if c.behind == port1 && r.everywhere(f) != before {
				t.Errorf("everywhere is %s", r.everywhere(f))
			}
			// One that asks as often as we would is enough.
			var asked []string
			for range 10 {
				r.hear(c.behind, msg)
				r.sent()
				asked = append(asked, ours(125)...)
			}
			if len(asked) > 0 {
				t.Errorf("%s: queries of ours %q", c.behind, asked)
			}
		}
	}
}

// A router that yields to whatever query comes from 0.0.0.0, as the kernel's
// bridge does, stays the querier: none comes to it from us that need not, and of
// one that crossed its own it is back before we ask again.
func TestYieldingQuerier(t *testing.T) {
	for _, c := range []struct {
		name    string
		crosses bool
	}{{"it begins between our first queries", false}, {"its first query and one of ours cross", true}} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, testConfig(), port1)
			r.setMembers(port1, port2)
			r.pass(500 * time.Millisecond)
			r.sent()
			const second = 2 // in steps
			heard, next, asked := 0, 0, 0
			if c.crosses {
				heard = 255 * second
			}
			for now := range 2000 * second {
				if now >= next && (now >= heard || now == 0) {
					r.hear(port2, query(IPv4, 3, ""))
					next, asked = now+125*second, asked+1
				}
				r.pass(time.Second / second)
				for _, line := range r.sent() {
					if strings.HasPrefix(line, "port 2: general query v3") {
						heard = now + 255*second
					}
				}
			}
			if asked < 14 {
				t.Errorf("it has asked %d times in 2000 s", asked)
			}
		})
	}
}

// A query for a group elects nobody and ends nothing; what a general one tells
// can make nobody's membership shorter, nor keep us from asking.
func TestForgedQueries(t *testing.T) {
	general := func(response, interval time.Duration, robustness int) Message {
		q := query(IPv4, 3, "")
		q.Source, q.MaxResponse, q.QueryInterval, q.Robustness = addr("1.0.0.1"), response, interval, robustness
		return q
	}
	specific := query(IPv4, 3, "239.9.9.9")
	specific.Source, specific.Robustness, specific.QueryInterval = addr("1.0.0.1"), 7, 31744*time.Second
	doubting := query(IPv4, 3, "239.1.1.1")
	doubting.MaxResponse = 0
	for _, c := range []struct {
		name     string
		query    Message
		elected  bool
		lasts    string // what is told afterwards
		queries  int    // of ours in 600 s, at least
		silences bool   // for an interval
	}{
		{"specific", specific, false, "exclude 260", 4, false},
		{"doubting", doubting, false, "exclude 260", 4, false},
		{"long response", general(3174*time.Second, 125*time.Second, 2), true, "exclude 1040", 4, false},
		{"long interval", general(10*time.Second, 1000*time.Second, 2), true, "exclude 1040", 4, false},
		{"somewhat longer interval", general(10*time.Second, 200*time.Second, 2), true, "exclude 410", 4, false},
		{"all at their longest", general(3174*time.Second, 31744*time.Second, 7), true, "exclude 1040", 4, false},
		{"all at their shortest", general(0, time.Second, 1), true, "exclude 260", 3, true},
	} {
		r := newRig(t, testConfig(), port1, port2, host1, foreign1)
		r.told(host1, IPv4)
		r.report(foreign1, rec(ModeIsExclude, "239.1.1.9"))
		r.report(port1, rec(ModeIsExclude, "239.1.1.1"))
		r.hear(port2, c.query)
		r.want(c.name+", what was told", r.state(port1, "239.1.1.1"), "exclude 260")
		if got, _ := r.Querier(IPv4); (got.Member == port2) != c.elected {
			t.Errorf("%s: querier is %+v", c.name, got)
		}
		r.report(port1, rec(ModeIsExclude, "239.1.1.1"))
		r.want(c.name+", what is told", r.state(port1, "239.1.1.1"), c.lasts)
		r.sent()
		queries, early, reports, sure := 0, 0, 0, time.Duration(0)
		for i := range 600 {
			r.pass(time.Second)
			if i == 254 && strings.Contains(r.everywhere(IPv4), "port 2") {
				t.Errorf("%s: a router for more than 255 s", c.name)
			}
			if !strings.Contains(r.everywhere(IPv4), "host 1") {
				sure = r.now.Sub(start)
			}
			for _, line := range r.sent() {
				switch {
				case strings.HasPrefix(line, "port 1: general query v3"):
					queries++
					if i < 150 {
						early++
					}
				case strings.HasPrefix(line, "foreign 1: report IS_EX 239.1.1.1"):
					reports++
				}
			}
		}
		if queries < c.queries || (early == 0) != c.silences {
			t.Errorf("%s: %d queries of ours in 600 s, %d of them in 150 s", c.name, queries, early)
		}
		// As long as it is wanted, bridges are told at least each 125 s.
		if reports < 2 {
			t.Errorf("%s: %d full reports to a foreign remote", c.name, reports)
		}
		if sure > 276*time.Second {
			t.Errorf("%s: a silent host is believed for %s", c.name, sure)
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
	if got, _ := r.Querier(IPv6); got.Member != port1 || got.Addr != low.Source || got.Left != 255*time.Second {
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
	// To whom that was relayed did not answer, and need not have got it.
	r.pass(3 * time.Second)
	r.want("what the router doubts", r.gets(group, a), "port 2")
	r.report(port2, rec(BlockOldSources, group, a))
	r.pass(1990 * time.Millisecond)
	r.want("doubted", r.gets(group, a), "port 2")
	r.sent()
	r.pass(20 * time.Millisecond)
	r.want("after the doubt", r.gets(group, a), "unknown")
	r.pass(time.Second)
	r.wantSent("gone, twice", toRouter(), "port 1: report TO_IN ff0e::1 {}", "port 1: report TO_IN ff0e::1 {}")
	r.report(port2, rec(ModeIsExclude, group))

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
		{Report, IPv6, 2, Host}: 2, {Report, IPv6, 2, Port}: 2, // newRig's is one {Report, IPv6, 2, Foreign}: 1, {Query, IPv4, 3, Host}: 1, {Query, IPv6, 2, Host}: 1,
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

// Behind a foreign remote each query of IGMP comes without and with a source, for
// nodes that filter by reverse path and for bridges; elsewhere without.
func TestQuerySources(t *testing.T) {
	r := fresh(t, testConfig(), port1, host1, foreign1)
	r.Advance(r.now)
	r.report(foreign1, rec(ModeIsExclude, "239.1.2.3"), rec(ModeIsInclude, "239.1.2.4", "10.0.0.1"))
	r.report(foreign1, rec(ChangeToInclude, "239.1.2.3"), rec(BlockOldSources, "239.1.2.4", "10.0.0.1"))
	r.Ask(r.now)
	sources := make(map[string][]string) // by who is asked for what
	for _, s := range r.Outbox() {
		msg, err := Parse(s.Frame)
		if err != nil {
			t.Fatal(err)
		}
		if msg.Kind != Query {
			continue
		}
		if msg.SourceMAC != testConfig().ProxyMAC {
			t.Errorf("%v is asked by %s", s.To, msg.SourceMAC)
		}
		key := fmt.Sprintf("%v: %s", s.To[0], describe(msg))
		sources[key] = append(sources[key], msg.Source.String())
	}
	ours := testConfig().ProxyAddress.String()
	want := map[string][]string{
		"port 1: general query v3 1s":              {"0.0.0.0", "0.0.0.0"},
		"host 1: general query v3 1s":              {"0.0.0.0", "0.0.0.0"},
		"foreign 1: general query v3 1s":           {"0.0.0.0", "192.0.0.8", "0.0.0.0", "192.0.0.8"},
		"foreign 1: query v3 239.1.2.3 {}":         {"0.0.0.0", "192.0.0.8"},
		"foreign 1: query v3 239.1.2.4 {10.0.0.1}": {"0.0.0.0", "192.0.0.8"},
		"port 1: general query v2 1s":              {ours, ours},
		"host 1: general query v2 1s":              {ours, ours},
		"foreign 1: general query v2 1s":           {ours, ours},
	}
	if diff := cmp.Diff(want, sources); diff != "" {
		t.Error(diff)
	}
}

// A port that comes while a router asks does not wait for the router, and is
// asked by us at the start only.
func TestNewPortBesideRouter(t *testing.T) {
	r := newRig(t, testConfig(), port1)
	r.hear(port1, query(IPv6, 2, ""))
	r.pass(15 * time.Second)
	r.sent()
	r.setMembers(port1, port2)
	asked := func(d time.Duration) []string {
		r.pass(d)
		return slices.DeleteFunc(r.sent("report", "general query v3"), func(line string) bool { return !strings.HasPrefix(line, "port 2") })
	}
	r.wantSent("asked", asked(10*time.Second), "port 2: general query v2 1s", "port 2: general query v2 1s", "port 2: general query v2 1s", "port 2: general query v2 1s")
	r.wantSent("asked later", asked(100*time.Second))
}

// The agent of a host behind which there is a router tells Hosts, at once and as
// long as it is there. What Hosts pass on of routers says nothing: it may have
// come through them from another one.
func TestRoutersBehindHosts(t *testing.T) {
	r := newRig(t, testConfig(), port1, port2, host1, foreign1)
	for _, f := range Families {
		r.told(host1, f)
		r.hear(host1, from(Advertisement, f, 0))
	}
	hello := Message{Kind: Hello, Family: IPv4, SourceMAC: routerMAC, Source: addr("10.9.0.1")}
	r.Receive(r.now, host1, &hello)
	r.want("what a Host passes on", r.everywhere(IPv4)+" "+r.everywhere(IPv6), "foreign 1 foreign 1")
	if got := r.Counters().Ignored[Host]; got != 3 {
		t.Errorf("%d ignored", got)
	}
	own := from(Advertisement, IPv4, 0)
	own.SourceMAC = hostMAC
	r.hear(host1, own)
	r.want("what its agent tells", r.everywhere(IPv4), "host 1,foreign 1")

	// Ours tells too, and while there is one router not of a second.
	told := func(d time.Duration) []string {
		r.pass(d)
		return r.sent("report", "general", "query")
	}
	told(time.Second)
	r.Receive(r.now, port1, &hello)
	r.wantSent("at once", told(0), "host 1: advertisement v0")
	r.wantSent("again", told(time.Second), "host 1: advertisement v0")
	r.Receive(r.now, port2, &hello)
	r.wantSent("of another", told(2*time.Second))
	for i := range 3 {
		r.Receive(r.now, port2, &hello)
		if got := told(125 * time.Second); len(got) != 1 || got[0] != "host 1: advertisement v0" {
			t.Errorf("interval %d: told %q", i, got)
		}
	}
	told(130 * time.Second)
	r.wantSent("gone", told(200*time.Second))
	r.Receive(r.now, port2, &hello)
	r.setMembers(port1, host1, foreign1)
	told(0)
	r.wantSent("gone with its port", told(200*time.Second))
}

// A Host is believed what its own agent tells, and no other with such an address.
func TestAnotherAgent(t *testing.T) {
	r := newRig(t, testConfig(), port1, host1)
	r.report(host1, rec(ModeIsExclude, "239.1.1.1"))
	r.told(host1, IPv4)
	forged := from(Report, IPv4, 3)
	forged.SourceMAC = ProxyMAC(addr("192.0.2.3"))
	forged.Records = []Record{rec(ChangeToInclude, "239.1.1.1"), rec(ModeIsExclude, "239.1.1.2")}
	r.hear(host1, forged)
	r.want("a leave", r.state(host1, "239.1.1.1"), "exclude 260")
	r.want("a join", r.state(host1, "239.1.1.2"), "nothing")
	ask := query(IPv4, 3, "")
	ask.SourceMAC = forged.SourceMAC
	r.sent()
	r.hear(host1, ask)
	r.pass(10 * time.Second)
	r.wantSent("a query", r.sent("general"))
	if got := r.Counters().Ignored[Host]; got != 2 {
		t.Errorf("%d ignored", got)
	}
	// With another address it is another host, which has told nothing yet.
	r.want("before", r.everywhere(IPv4), "")
	r.SetMembers(r.now, []Member{port1, host1}, map[Member]MAC{host1: forged.SourceMAC})
	r.want("another host", r.state(host1, "239.1.1.1")+" "+r.everywhere(IPv4), "nothing host 1")
	r.hear(host1, forged)
	r.want("of its own agent", r.state(host1, "239.1.1.2"), "exclude 260")
}

// A querier that takes over wants the answers soon: what was told lasts only
// until the last querier's next query would have been answered.
func TestTakeover(t *testing.T) {
	r := newRig(t, testConfig(), port1, port2)
	r.hear(port2, query(IPv4, 3, ""))
	r.pass(100 * time.Millisecond)
	r.report(port1, rec(ModeIsExclude, "239.1.1.1")) // answers early
	r.pass(10 * time.Second)
	r.sent()
	r.setMembers(port1)
	r.Advance(r.now)
	r.wantSent("gone with its port", r.sent("report", "general query v2"), "port 1: general query v3 1s")
	r.pass(8 * time.Second)
	r.wantSent("once more", r.sent("report", "general query v2"), "port 1: general query v3 1s")
	r.pass(125 * time.Second)
	r.wantSent("later", r.sent("report", "general query v2"), "port 1: general query v3 10s")

	// A silent one is noticed before what it was told runs out, and of our queries
	// one may be lost.
	r = newRig(t, testConfig(), port1, port2)
	r.hear(port2, query(IPv4, 3, ""))
	r.report(port1, rec(ModeIsExclude, "239.1.1.1"))
	r.sent()
	r.pass(250 * time.Second)
	r.wantSent("silent", slices.DeleteFunc(r.sent("report", "general query v2"), func(line string) bool { return !strings.HasPrefix(line, "port 1") }),
		"port 1: general query v3 1s", "port 1: general query v3 1s")
	r.want("what it was told", r.state(port1, "239.1.1.1"), "exclude 10")
}

// Where we are not to ask, we do not, but for members that come and for a
// router that comes, however seldom it asks.
func TestQuerierIsOff(t *testing.T) {
	cfg := testConfig()
	cfg.Querier = false
	r := newRig(t, cfg, port1, port2)
	seldom := query(IPv4, 3, "")
	seldom.QueryInterval = 1000 * time.Second
	r.hear(port2, seldom)
	r.pass(15 * time.Second)
	r.sent()
	r.pass(240 * time.Second)
	r.wantSent("asked", r.sent("report"))
}
