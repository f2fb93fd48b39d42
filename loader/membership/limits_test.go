// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A group that finds no room makes its port get everything until it does not
// ask for it any more, and tells the remotes that everything is wanted here.
func TestGroupsRunOut(t *testing.T) {
	for _, c := range []struct {
		limit Limit
		set   func(*Config)
	}{
		{LimitGroupsPerPort, func(c *Config) { c.GroupsPerPort = 2 }},
		{LimitGroups, func(c *Config) { c.Groups = 2 }},
	} {
		cfg := testConfig()
		c.set(&cfg)
		r := newRig(t, cfg, port1, port2, host1, foreign1)
		r.hear(port2, from(Advertisement, IPv6, 0)) // a router, which has to hear of it
		r.pass(2 * time.Second)
		r.wantSent("Hosts hear of the router", r.sent("report", "general"), "host 1: advertisement v0", "host 1: advertisement v0")
		r.report(port1, rec(ModeIsExclude, "ff0e::1"), rec(ModeIsExclude, "ff0e::2"))
		r.pass(3 * time.Second)
		r.sent()
		r.TakeChanges()
		r.report(port1, rec(ModeIsExclude, "ff0e::1"), rec(ModeIsExclude, "ff0e::3"), rec(ModeIsInclude, "ff0e::4", "2001:db8::1"))
		if got := r.Counters().Limits; got[LimitKey{port1, c.limit}] != 2 || len(got) != 1 {
			t.Errorf("limits %v", got)
		}
		r.want("everywhere", r.everywhere(IPv6), "port 1,port 2,host 1,foreign 1")
		r.want("IPv4", r.everywhere(IPv4), "host 1,foreign 1")
		if got := r.TakeChanges().Everywhere; !slices.Equal(got, []Family{IPv6}) {
			t.Errorf("changes %v", got)
		}
		r.wantSent("told", r.sent(), "port 2: report IS_EX ff0e::1 {}, IS_EX ff0e::3 {}, IS_IN ff0e::4 {2001:db8::1}", "host 1,foreign 1: advertisement v0")
		// What a limit does not concern works on.
		r.report(port1, rec(ChangeToInclude, "ff0e::1"))
		r.pass(2 * time.Second)
		r.want("a leave", r.gets("ff0e::1", "fe80::1"), "unknown")
		// There is room now, and yet the port may want what was refused.
		r.want("everywhere", r.everywhere(IPv6), "port 1,port 2,host 1,foreign 1")
		r.report(port1, rec(ModeIsExclude, "ff0e::3"))
		r.want("there is room", r.gets("ff0e::3", "fe80::1"), "port 1")
		r.sent()
		for range 251 {
			r.pass(time.Second)
			r.hear(port2, from(Advertisement, IPv6, 0))
		}
		got := r.sent()
		for _, who := range []string{"host 1", "foreign 1"} {
			n := 0
			for _, line := range got {
				if line == who+": advertisement v0" {
					n++
				}
			}
			if n < 2 || n > 3 {
				t.Errorf("%s is told %d times that all is wanted", who, n)
			}
		}
		r.want("before it runs out", r.everywhere(IPv6), "port 1,port 2,host 1,foreign 1")
		r.pass(7 * time.Second)
		r.want("after 260 s", r.everywhere(IPv6), "port 2,host 1,foreign 1")
		r.sent()
		r.pass(125 * time.Second)
		for _, line := range r.sent() {
			if strings.Contains(line, "foreign 1: advertisement") {
				t.Errorf("%q, and all has room", line)
			}
		}
	}
}

// An advertisement of another agent says that everything is wanted there.
func TestOverflowElsewhere(t *testing.T) {
	r := newRig(t, testConfig(), port1, host1)
	for _, f := range Families {
		r.told(host1, f)
		r.want("a host", r.everywhere(f), "")
		advertisement := from(Advertisement, f, 0)
		advertisement.SourceMAC = hostMAC
		r.hear(host1, advertisement)
		r.want("a host that wants all", r.everywhere(f), "host 1")
	}
}

// A list of sources that is too long makes the member get the group from all.
func TestSourcesRunOut(t *testing.T) {
	const group, a, b, c, d = "239.1.2.3", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"
	cfg := testConfig()
	cfg.Sources = 2
	for _, row := range []struct {
		name   string
		first  Record
		second Record
		want   string
	}{
		{"include", rec(ModeIsInclude, group, a, b), rec(AllowNewSources, group, b, c), "exclude 260"},
		{"to include", rec(ModeIsInclude, group, a, b), rec(ChangeToInclude, group, c, d), "exclude 260"},
		{"many at once", rec(ModeIsInclude, group, a), rec(ModeIsInclude, group, b, c, d), "exclude 260"},
		{"as many as may be", rec(ModeIsInclude, group, a), rec(ModeIsInclude, group, b), "include 10.0.0.1:250 10.0.0.2:260"},
		{"exclude", rec(ModeIsInclude, group, a, b), rec(ModeIsExclude, group, b, c, d), "exclude 260 10.0.0.2:250 10.0.0.3:-"},
		{"allowed in exclude mode", rec(ModeIsExclude, group, a, b), rec(AllowNewSources, group, a, c, d), "exclude 260 10.0.0.1:260 10.0.0.2:-"},
		{"to include, in exclude mode", rec(ModeIsExclude, group, a, b), rec(ChangeToInclude, group, a, c), "exclude 260 10.0.0.1:260 10.0.0.2:-"},
		{"blocked in exclude mode", rec(ModeIsExclude, group, a), rec(BlockOldSources, group, b, c), "exclude 250 10.0.0.1:- 10.0.0.2:2"},
	} {
		r := newRig(t, cfg, port1)
		r.report(port1, row.first)
		r.pass(10 * time.Second)
		r.report(port1, row.second)
		r.want(row.name, r.state(port1, group), row.want)
		want := uint64(1)
		if row.name == "as many as may be" {
			want = 0
		}
		if got := r.Counters().Limits[LimitKey{port1, LimitSources}]; got != want {
			t.Errorf("%s: counted %d times", row.name, got)
		}
	}
}

// A guest that joins a million groups costs no more than its limit.
func TestFlood(t *testing.T) {
	cfg := testConfig()
	cfg.GroupsPerPort = 100
	r := newRig(t, cfg, port1, port2)
	msg := from(Report, IPv6, 2)
	r.Outbox()
	for i := range 100000 {
		a := addr("ff0e::").As16()
		a[13], a[14], a[15] = byte(i>>16), byte(i>>8), byte(i)
		msg.Records = append(msg.Records, Record{ModeIsExclude, plain(a[:]), nil})
		if len(msg.Records) == 100 {
			r.Receive(r.now, port1, &msg)
			msg.Records = nil
		}
	}
	if n := len(r.Groups()); n != 100 || len(r.alarms) > 100+10 || len(r.changed) > 100 {
		t.Errorf("%d groups, %d alarms, %d changes", n, len(r.alarms), len(r.changed))
	}
	if got := r.Counters().Limits[LimitKey{port1, LimitGroupsPerPort}]; got != 99900 {
		t.Errorf("%d refused", got)
	}
	r.report(port2, rec(ModeIsExclude, "ff0e::ffff:1"))
	r.want("another port", r.gets("ff0e::ffff:1", "fe80::1"), "port 2")
	r.want("everywhere", r.everywhere(IPv6), "port 1")
}

// Reporters are kept up to a number, the newest first.
func TestReporters(t *testing.T) {
	r := newRig(t, testConfig(), foreign1)
	for _, last := range []byte{1, 2, 3, 4, 5, 3} {
		msg := from(Report, IPv4, 3)
		msg.SourceMAC[5] = last
		msg.Source = addr(fmt.Sprintf("10.9.0.%d", last))
		msg.Records = []Record{rec(ModeIsExclude, "239.1.2.3")}
		r.hear(foreign1, msg)
		r.pass(time.Second)
	}
	var got []string
	for _, who := range r.Groups()[0].Members[0].Reporters {
		got = append(got, fmt.Sprintf("%s %s %s", who.MAC, who.Addr, who.Ago))
	}
	r.wantSent("reporters", got, "02:00:00:00:00:03 10.9.0.3 1s", "02:00:00:00:00:05 10.9.0.5 2s", "02:00:00:00:00:04 10.9.0.4 3s", "02:00:00:00:00:02 10.9.0.2 5s")
}

// A guest that asks all the time is not relayed all the time, and the same query
// tells nothing new so soon.
func TestQueriesRunOut(t *testing.T) {
	for _, c := range []struct {
		name        string
		remotes     int
		ask         func(i int) Message
		least, most int // relayed in a second
		counted     bool
	}{
		{"general, the same", 0, func(int) Message { return query(IPv6, 2, "") }, 2, 2, false},
		{"specific, the same", 0, func(int) Message { return query(IPv6, 2, "ff0e::1") }, 2, 2, false},
		{"general", 0, func(i int) Message {
			q := query(IPv6, 2, "")
			q.MaxResponse = time.Duration(i%1000) * time.Millisecond
			return q
		}, 11, 12, true},
		{"specific", 0, func(i int) Message { return query(IPv6, 2, fmt.Sprintf("ff0e::%x", i+1)) }, 69, 70, true},
		{"specific, to many", 5000, func(i int) Message { return query(IPv6, 2, fmt.Sprintf("ff0e::%x", i+1)) }, 13, 14, true},
		{"general, to very many", 20000, func(i int) Message {
			q := query(IPv6, 2, "")
			q.MaxResponse = time.Duration(i%1000) * time.Millisecond
			return q
		}, 1, 1, true},
	} {
		members := []Member{port1, port2, port3}
		for i := range uint32(c.remotes) {
			members = append(members, Member{Host, i})
		}
		r := newRig(t, testConfig(), members...)
		relayed, answered, refused := 0, 0, 0
		for i := range 1000 {
			r.hear(port1, c.ask(i))
			r.pass(time.Millisecond)
			for _, s := range r.Outbox() {
				msg, err := Parse(s.Frame)
				if err != nil {
					t.Fatal(err)
				}
				if s.To[0] == port2 && msg.SourceMAC == routerMAC {
					relayed++
				} else if s.To[0] == port1 {
					answered++
				}
			}
		}
		if relayed < c.least || relayed > c.most || answered > 11 {
			t.Errorf("%s: %d relayed, %d answered in a second", c.name, relayed, answered)
		}
		if c.counted {
			refused = 1000 - relayed
		}
		if got := r.Counters().Limits[LimitKey{port1, LimitQueries}]; got != uint64(refused) {
			t.Errorf("%s: %d counted, want %d", c.name, got, refused)
		}
		// After a rest there is some again.
		r.pass(time.Minute)
		r.sent()
		r.hear(port1, c.ask(0))
		if lines := r.sent("report", "advertisement"); len(lines) != 1 {
			t.Errorf("%s: after a rest %q", c.name, lines)
		}
	}
}

// What a router's own port has refused does not go back to it, and of a port
// that goes nothing is wanted any more.
func TestOverflowGoes(t *testing.T) {
	cfg := testConfig()
	cfg.GroupsPerPort = 1
	r := newRig(t, cfg, port1, port2, host1)
	r.hear(port1, from(Advertisement, IPv6, 0))
	r.pass(2 * time.Second)
	r.sent()
	r.report(port1, rec(ModeIsExclude, "ff0e::1"), rec(ModeIsExclude, "ff0e::2"))
	r.wantSent("told", r.sent(), "host 1: advertisement v0", "host 1: report TO_EX ff0e::1 {}")
	r.setMembers(port2, host1)
	r.sent()
	r.pass(200 * time.Second)
	for _, line := range r.sent() {
		if strings.Contains(line, "advertisement") {
			t.Errorf("%q, of a port that has gone", line)
		}
	}
}

// A port has so many sources in all its groups together; beyond that it gets
// groups from any source.
func TestSourcesOfPort(t *testing.T) {
	cfg := testConfig()
	cfg.GroupsPerPort, cfg.Sources = 10, 8
	r := newRig(t, cfg, port1, port2, foreign1)
	var sources []string
	for i := range 8 {
		sources = append(sources, fmt.Sprintf("10.0.0.%d", i+1))
	}
	group := func(i int) string { return fmt.Sprintf("232.1.1.%d", i+1) }
	const kept = "include 10.0.0.1:260 10.0.0.2:260 10.0.0.3:260 10.0.0.4:260 10.0.0.5:260 10.0.0.6:260 10.0.0.7:260 10.0.0.8:260"
	for _, m := range []Member{port1, port2, foreign1} {
		for i := range 6 {
			r.report(m, rec(ModeIsInclude, group(i), sources...))
			want := kept
			if m.Kind == Port && i == 5 {
				want = "exclude 260"
			}
			r.want(fmt.Sprintf("%s, group %d", m, i), r.state(m, group(i)), want)
		}
	}
	if got := r.Counters().Limits; got[LimitKey{port1, LimitSources}] != 1 || got[LimitKey{foreign1, LimitSources}] != 0 {
		t.Errorf("limits %v", got)
	}
	// An exclude list is cut.
	r.report(port1, rec(ModeIsExclude, group(6), sources...))
	r.want("exclude", r.state(port1, group(6)), "exclude 260")
	// What is not wanted any more makes room.
	r.report(port1, rec(ChangeToInclude, group(0)))
	r.report(port1, rec(ModeIsExclude, group(1)))
	r.pass(3 * time.Second)
	r.report(port1, rec(ModeIsInclude, group(7), sources...))
	r.want("after a leave", r.state(port1, group(7)), kept)
	r.report(port1, rec(ModeIsExclude, group(6), sources...))
	r.want("exclude after a leave", r.state(port1, group(6)), strings.Replace(kept, "include", "exclude 260", 1))
	r.report(port1, rec(BlockOldSources, group(5), sources...))
	r.want("no room to note what is blocked", r.state(port1, group(5)), "exclude 257")
	r.pass(300 * time.Second)
	if m := r.members[port1]; m.sources != 0 || m.groups != 0 {
		t.Errorf("%d sources and %d groups are counted, and nothing is wanted", m.sources, m.groups)
	}
}

// With no room for sources at all, who wants some gets all.
func TestNoSources(t *testing.T) {
	const group, a, b = "239.1.2.3", "10.0.0.1", "10.0.0.2"
	cfg := testConfig()
	cfg.Sources = 0
	for _, kind := range []RecordType{ModeIsInclude, ModeIsExclude, ChangeToInclude, ChangeToExclude, AllowNewSources} {
		r := newRig(t, cfg, port1, host1)
		r.sent()
		r.report(port1, rec(kind, group, a, b))
		r.want(kind.String(), r.state(port1, group), "exclude 260")
		r.wantSent(kind.String(), r.sent("general"), "host 1: report TO_EX 239.1.2.3 {}")
		r.report(port1, rec(BlockOldSources, group, a))
		r.want("BLOCK", r.state(port1, group), "exclude 260")
		r.report(port1, rec(ChangeToInclude, group))
		r.pass(2 * time.Second)
		r.want("a leave", r.state(port1, group), "nothing")
	}
}
