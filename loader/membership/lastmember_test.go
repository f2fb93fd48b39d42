// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

const half = 500 * time.Millisecond

// A leave is asked about twice, a second apart, and counts two seconds after.
func TestLeave(t *testing.T) {
	const group = "ff0e::1"
	r := newRig(t, testConfig(), port1)
	r.report(port1, rec(ChangeToExclude, group))
	r.report(port1, rec(ChangeToInclude, group))
	r.wantSent("at once", r.sent("general"), "port 1: query v2 ff0e::1 {}")
	r.pass(time.Second - 1)
	r.wantSent("before a second", r.sent("general"))
	r.pass(1)
	r.wantSent("after a second", r.sent("general"), "port 1: query v2 ff0e::1 {}")
	r.pass(time.Second - 1)
	r.want("before two seconds", r.gets(group, "2001:db8::1"), "port 1")
	r.pass(1)
	r.want("after two seconds", r.gets(group, "2001:db8::1"), "unknown")
	r.pass(5 * time.Second)
	r.wantSent("afterwards", r.sent("general"))

	// One who answers in time keeps it, and the query that is still to come
	// tells other routers to let their timers be.
	r.report(port1, rec(ChangeToExclude, group))
	r.report(port1, rec(ChangeToInclude, group))
	r.sent()
	r.pass(half)
	r.report(port1, rec(ModeIsExclude, group))
	r.pass(half)
	r.wantSent("after an answer", r.sent("general"), "port 1: query v2 ff0e::1 {} S")
	r.pass(10 * time.Second)
	r.want("after an answer", r.gets(group, "2001:db8::1"), "port 1")

	// A second leave while the first is asked about asks no more.
	r.report(port1, rec(ChangeToInclude, group))
	r.pass(half)
	r.report(port1, rec(ChangeToInclude, group))
	r.wantSent("two leaves", r.sent("general"), "port 1: query v2 ff0e::1 {}")
	r.pass(2*time.Second - half)
	r.want("two seconds after the first", r.gets(group, "2001:db8::1"), "unknown")
}

func TestLeaveOfSources(t *testing.T) {
	const group, a, b, c = "239.1.2.3", "10.0.0.1", "10.0.0.2", "10.0.0.3"
	r := newRig(t, testConfig(), port1)
	r.report(port1, rec(ModeIsInclude, group, a, b, c))
	r.report(port1, rec(BlockOldSources, group, a, b))
	r.wantSent("at once", r.sent("general"), "port 1: query v3 239.1.2.3 {10.0.0.1 10.0.0.2}")
	r.pass(half)
	r.report(port1, rec(ModeIsInclude, group, a))
	// c is doubted half a second later, and goes with the others' second query.
	r.report(port1, rec(BlockOldSources, group, c))
	r.wantSent("c is doubted", r.sent("general"), "port 1: query v3 239.1.2.3 {10.0.0.2 10.0.0.3}", "port 1: query v3 239.1.2.3 {10.0.0.1} S")
	r.pass(10 * time.Second)
	r.wantSent("the second of c", r.sent("general"), "port 1: query v3 239.1.2.3 {10.0.0.3}")
	r.want("state", r.state(port1, group), "include 10.0.0.1:250")

	// Beside a query for the group, that for what is wanted again is left out.
	r.report(port1, rec(ModeIsExclude, group))
	r.report(port1, rec(AllowNewSources, group, a, b))
	r.report(port1, rec(ChangeToInclude, group))
	r.report(port1, rec(ModeIsInclude, group, b))
	r.sent()
	r.pass(time.Second)
	r.wantSent("after b is wanted", r.sent("general"), "port 1: query v3 239.1.2.3 {}", "port 1: query v3 239.1.2.3 {10.0.0.1}")
	r.pass(time.Second)
	r.want("after b is wanted", r.state(port1, group), "include 10.0.0.2:258")
}

// Queries of many sources are split to fit.
func TestLongQuery(t *testing.T) {
	cfg := testConfig()
	cfg.Sources, cfg.MTU = 200, 1280
	r := newRig(t, cfg, port1)
	list := rec(ModeIsInclude, "ff0e::1")
	for i := range 150 {
		a := addr("2001:db8::").As16()
		a[15] = byte(i + 1)
		list.Sources = append(list.Sources, netip.AddrFrom16(a))
	}
	msg := from(Report, IPv6, 2)
	msg.Records = []Record{list}
	r.Receive(r.now, port1, &msg)
	r.sent()
	list.Type = BlockOldSources
	msg.Records = []Record{list}
	r.Receive(r.now, port1, &msg)
	asked := 0
	for _, s := range r.Outbox() {
		if len(s.Frame) > 1280+14 {
			t.Errorf("a frame of %d bytes", len(s.Frame))
		}
		msg, err := Parse(s.Frame)
		if err != nil {
			t.Fatal(err)
		}
		asked += len(msg.Sources)
	}
	if asked != 150 {
		t.Errorf("%d sources are asked for, of 150", asked)
	}
}

// RFC 3376 7.3.2, RFC 3810 8.3.2: what older listeners cannot take back stays.
func TestOlderListeners(t *testing.T) {
	const a = "10.0.0.1"
	old := func(kind MessageKind, version int, group string) Message {
		msg := from(kind, FamilyOf(addr(group)), version)
		msg.Group = addr(group)
		return msg
	}
	version := func(r *rig) int { return r.Groups()[0].Members[0].Version }
	for _, c := range []struct {
		group   string
		version int
		source  string
	}{{"239.1.2.3", 2, a}, {"ff0e::1", 1, "2001:db8::1"}} {
		r := newRig(t, testConfig(), port1)
		r.hear(port1, old(Report, c.version, c.group))
		r.want("an old report", r.state(port1, c.group), "exclude 260")
		if got := version(r); got != c.version {
			t.Errorf("%s: version %d", c.group, got)
		}
		r.report(port1, rec(BlockOldSources, c.group, c.source))
		r.want("BLOCK", r.state(port1, c.group), "exclude 260")
		r.report(port1, rec(ChangeToExclude, c.group, c.source))
		r.want("TO_EX", r.state(port1, c.group), "exclude 260")
		r.report(port1, rec(ModeIsExclude, c.group, c.source))
		r.want("IS_EX", r.state(port1, c.group), "exclude 260")
		r.report(port1, rec(AllowNewSources, c.group, c.source))
		r.want("ALLOW", r.state(port1, c.group), "exclude 260 "+c.source+":260")
		r.sent()
		r.hear(port1, old(Leave, c.version, c.group))
		r.want("a leave", r.state(port1, c.group), "exclude 2 "+c.source+":2")
		if got := r.sent("general"); len(got) == 0 {
			t.Error("nobody is asked about a leave")
		}
		r.pass(3 * time.Second)
		r.want("after a leave", r.state(port1, c.group), "nothing")

		// The old listener counts as there for 260 s.
		r.hear(port1, old(Report, c.version, c.group))
		r.pass(259 * time.Second)
		r.report(port1, rec(ModeIsExclude, c.group))
		r.report(port1, rec(ChangeToExclude, c.group, c.source))
		r.want("TO_EX before it ends", r.state(port1, c.group), "exclude 260")
		r.pass(time.Second)
		r.report(port1, rec(ChangeToExclude, c.group, c.source))
		r.want("TO_EX after", r.state(port1, c.group), "exclude 260 "+c.source+":2")
		if got := version(r); got != c.version+1 {
			t.Errorf("%s: version %d", c.group, got)
		}
	}

	// One of IGMPv1 takes ten seconds to answer, however little it is given, and is
	// not forgotten before.
	quick := testConfig()
	quick.QueryInterval, quick.QueryResponseInterval = 2*time.Second, 500*time.Millisecond
	for version, lasts := range map[int]string{1: "exclude 14", 2: "exclude 4.5"} {
		r := newRig(t, quick, port1)
		r.hear(port1, old(Report, version, "239.1.2.3"))
		r.want(fmt.Sprintf("IGMPv%d by quick queries", version), r.state(port1, "239.1.2.3"), lasts)
	}

	// A listener of IGMPv1 cannot leave: nobody's leave counts.
	for _, c := range []struct {
		name string
		cfg  func(*Config)
	}{{"asking", func(*Config) {}}, {"fast leave", func(c *Config) { c.FastLeave = true }}} {
		cfg := testConfig()
		c.cfg(&cfg)
		r := newRig(t, cfg, port1)
		r.hear(port1, old(Report, 1, "239.1.2.3"))
		r.hear(port1, old(Report, 2, "239.1.2.3"))
		r.hear(port1, old(Leave, 2, "239.1.2.3"))
		r.report(port1, rec(ChangeToInclude, "239.1.2.3"))
		r.want(c.name, r.state(port1, "239.1.2.3"), "exclude 260")
		r.wantSent(c.name, r.sent("general"))
		if got := version(r); got != 1 {
			t.Errorf("version %d", got)
		}
		r.pass(260 * time.Second)
		r.want(c.name+", 260 s later", r.state(port1, "239.1.2.3"), "nothing")
	}
}

func TestFastLeave(t *testing.T) {
	cfg := testConfig()
	cfg.FastLeave = true
	r := newRig(t, cfg, port1, foreign1)
	for _, who := range []Member{port1, foreign1} {
		r.report(who, rec(ModeIsExclude, "239.1.2.3"))
	}
	r.sent()
	r.TakeChanges()
	leave := from(Leave, IPv4, 2)
	leave.Group = addr("239.1.2.3")
	r.hear(port1, leave)
	r.hear(foreign1, leave)
	r.want("the port's", r.state(port1, "239.1.2.3"), "nothing")
	r.want("a foreign remote's", r.state(foreign1, "239.1.2.3"), "exclude 2")
	r.wantSent("queries", r.sent("report", "general"), "foreign 1: query v3 239.1.2.3 {}")
	if got := r.TakeChanges().Groups; len(got) != 1 {
		t.Errorf("changes %s", got)
	}
}

// Foreign remotes send each other what their listeners tell. Listeners of older
// versions that hear another's report do not tell themselves.
func TestSuppressedListeners(t *testing.T) {
	const group = "239.1.2.3"
	foreign2 := Member{Foreign, 2}
	old := from(Report, IPv4, 2)
	old.Group = addr(group)
	r := newRig(t, testConfig(), port1, foreign1, foreign2)
	r.hear(foreign2, old)
	r.hear(port1, old)
	for range 4 {
		r.hear(foreign1, old)
		r.pass(125 * time.Second)
	}
	r.want("who hears the other's", r.state(foreign2, group), "exclude 135")
	r.want("who hears nothing", r.state(port1, group), "nothing")
	// Also where it answers the question about a leave.
	leave := from(Leave, IPv4, 2)
	leave.Group = addr(group)
	r.hear(foreign2, leave)
	r.pass(time.Second)
	r.hear(foreign1, old)
	r.pass(10 * time.Second)
	r.want("after a leave", r.state(foreign2, group), "exclude 250")
	// A report of the newest version suppresses nobody's, and one that nobody
	// wants there is not wanted for another's sake.
	r.report(foreign1, rec(ModeIsExclude, group), rec(ModeIsExclude, "239.1.2.4"))
	old.Group = addr("239.1.2.5")
	r.hear(foreign1, old)
	r.want("the newest version", r.state(foreign2, group), "exclude 250")
	r.want("another group", r.state(foreign2, "239.1.2.4")+" "+r.state(foreign2, "239.1.2.5"), "nothing nothing")
}
