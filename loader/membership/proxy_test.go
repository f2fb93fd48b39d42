// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Remotes are told of the ports' changes at once, and once more within a
// second; never of what remotes want.
func TestChangesAreTold(t *testing.T) {
	const group, a, b = "ff0e::1", "2001:db8::a", "2001:db8::b"
	r := newRig(t, testConfig(), port1, port2, host1, foreign1)
	told := func() []string {
		r.t.Helper()
		return r.sent("general", "query")
	}
	twice := func(what string, records string) {
		r.t.Helper()
		line := "host 1,foreign 1: report " + records
		r.wantSent(what, told(), line)
		r.pass(time.Second)
		r.wantSent(what+", again", told(), line)
		r.pass(2 * time.Second)
		r.wantSent(what+", afterwards", told())
	}
	r.report(port1, rec(ChangeToExclude, group, a))
	twice("a join", "TO_EX ff0e::1 {2001:db8::a}")
	r.report(port2, rec(ChangeToInclude, group, a))
	twice("what another wants", "ALLOW ff0e::1 {2001:db8::a}")
	r.report(port2, rec(AllowNewSources, group, b))
	r.wantSent("what is wanted already", told())
	r.report(host1, rec(ChangeToExclude, group))
	r.report(foreign1, rec(ChangeToExclude, "ff0e::2"))
	r.wantSent("what remotes want", told())
	r.report(port1, rec(ChangeToInclude, group))
	r.wantSent("a leave that is not sure yet", told())
	r.pass(2 * time.Second)
	twice("a leave", "TO_IN ff0e::1 {2001:db8::a 2001:db8::b}")
	r.report(port2, rec(BlockOldSources, group, b))
	r.pass(2 * time.Second)
	twice("a source", "BLOCK ff0e::1 {2001:db8::b}")
	r.report(port2, rec(BlockOldSources, group, a))
	r.pass(2 * time.Second)
	twice("the last", "TO_IN ff0e::1 {}") // for bridges without sources BLOCK is a wish
	r.want("state", r.state(port2, group), "nothing")

	// What changes before the repeat is told as it is then (RFC 3376 5.1).
	r.report(port1, rec(ChangeToInclude, group, a))
	told()
	r.report(port1, rec(AllowNewSources, group, b))
	r.pass(3 * time.Second)
	got := strings.Join(told(), "\n")
	if strings.Count(got, "2001:db8::b") != 2 || strings.Contains(got, "TO_") {
		t.Errorf("told\n%s", got)
	}
	r.report(port1, rec(AllowNewSources, group, "2001:db8::c"))
	r.report(port1, rec(ChangeToExclude, group))
	r.pass(3 * time.Second)
	for i, line := range told() {
		if i > 0 && line != "host 1,foreign 1: report TO_EX ff0e::1 {}" {
			t.Errorf("told %q, and the mode has changed", line)
		}
	}
}

// A guest that joins and leaves all the time is told of with a gap.
func TestChangesGoTogether(t *testing.T) {
	cfg := testConfig()
	cfg.FastLeave = true
	members := []Member{port1}
	for i := range uint32(100) {
		members = append(members, Member{Host, i})
	}
	r := newRig(t, cfg, members...)
	frames, copies := 0, 0
	for i := range 10000 {
		kind := ChangeToExclude
		if i%2 == 1 {
			kind = ChangeToInclude
		}
		r.report(port1, rec(kind, fmt.Sprintf("239.1.2.%d", i%100/2+1)))
		r.pass(100 * time.Microsecond)
		for _, s := range r.Outbox() {
			frames++
			copies += len(s.To)
		}
	}
	// In one second: 10 ms from one to the next.
	if frames < 50 || frames > 110 || copies > 11000 {
		t.Errorf("%d frames, %d copies in a second", frames, copies)
	}
	r.pass(5 * time.Second)
	r.want("in the end", fmt.Sprint(len(r.Groups())), "0")
	if n := len(r.remotes[0].told) + len(r.remotes[0].pending); n > 0 {
		t.Errorf("%d groups are still told of", n)
	}
}

// twin is another host's table, which hears what the first one sends to it.
// Whatever the first one's ports want, the second one knows of.
func TestTwoHosts(t *testing.T) {
	cfg := testConfig()
	here := newRig(t, cfg, port1, port2, host2)
	cfg.ProxyMAC = hostMAC
	cfg.ProxyAddress = ProxyAddress(hostMAC)
	there := newRig(t, cfg, port1, host1)
	there.SetMembers(there.now, []Member{port1, host1}, map[Member]MAC{host1: here.cfg.ProxyMAC})
	carry := func() {
		for _, s := range here.Outbox() {
			if slices.Contains(s.To, host2) {
				msg, err := Parse(s.Frame)
				if err != nil {
					t.Fatal(err)
				}
				there.now = here.now
				there.Receive(there.now, host1, msg)
			}
		}
	}
	pass := func(d time.Duration) {
		for range int(d / (100 * time.Millisecond)) {
			here.pass(100 * time.Millisecond)
			carry()
		}
	}
	random := here.random
	for step := range 400 {
		kind := RecordType(1 + random.IntN(6))
		r := Record{Type: kind, Group: addr(fmt.Sprintf("ff0e::%d", 1+random.IntN(2)))}
		for i := range 4 {
			if random.IntN(2) == 0 {
				r.Sources = append(r.Sources, addr(fmt.Sprintf("2001:db8::%d", i+1)))
			}
		}
		here.report(Member{Port, uint32(1 + random.IntN(2))}, r)
		carry()
		pass(time.Duration(random.IntN(40)) * 100 * time.Millisecond)
		if step%3 > 0 {
			continue
		}
		pass(200 * time.Millisecond)
		for _, group := range []string{"ff0e::1", "ff0e::2"} {
			for i := range 5 {
				source := fmt.Sprintf("2001:db8::%d", i+1)
				wanted := strings.Contains(here.gets(group, source), "port")
				if known := strings.Contains(there.gets(group, source), "host 1"); known != wanted {
					t.Fatalf("step %d, %s from %s: wanted %v, known %v\nhere %s, %s\nthere %s", step, group, source, wanted, known,
						here.state(port1, group), here.state(port2, group), there.state(host1, group))
				}
			}
		}
	}
}

// Reports that are too long are split, and a Host understands all of them.
func TestLongLists(t *testing.T) {
	cfg := testConfig()
	cfg.Sources, cfg.FastLeave = 300, true
	here := newRig(t, cfg, port1, host2)
	there := newRig(t, cfg, host1)
	there.SetMembers(there.now, []Member{host1}, map[Member]MAC{host1: cfg.ProxyMAC})
	list := rec(ChangeToExclude, "ff0e::1")
	send := func(r Record) {
		msg := from(Report, IPv6, 2)
		msg.Records = []Record{r}
		here.Receive(here.now, port1, &msg)
		here.pass(3 * time.Second)
		for _, s := range here.Outbox() {
			if len(s.Frame) > 1280+14 {
				t.Errorf("a frame of %d bytes", len(s.Frame))
			}
			msg, err := Parse(s.Frame)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(s.To, host2) {
				there.Receive(here.now, host1, msg)
			}
		}
	}
	send(list)
	for i := range 200 {
		a := addr("2001:db8::").As16()
		a[15] = byte(i + 1)
		list.Sources = append(list.Sources, plain(a[:]))
	}
	list.Type = ChangeToInclude
	send(list)
	if got := there.Groups(); len(got) != 1 || got[0].Members[0].Mode != Include || len(got[0].Members[0].Sources) != 200 {
		t.Errorf("the other host knows %+v", got)
	}
	list.Type = BlockOldSources
	send(list)
	there.want("after all are blocked", there.state(host1, "ff0e::1"), "nothing")
}

func TestMerged(t *testing.T) {
	const a, b, c, d = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"
	// The example of RFC 3376 3.2.
	r := newRig(t, testConfig(), port1, port2, port3, host1)
	r.report(port1, rec(ModeIsExclude, "239.1.2.3", a, b, c))
	r.report(port2, rec(ModeIsExclude, "239.1.2.3", b, c, d))
	r.report(port3, rec(ModeIsInclude, "239.1.2.3", "10.0.0.5", "10.0.0.6"))
	r.report(port3, rec(ModeIsInclude, "239.1.2.4", a))
	r.report(host1, rec(ModeIsInclude, "239.1.2.4", b))
	show := func(except ...Member) string {
		return describe(&Message{Kind: Report, Family: IPv4, Version: 3, Records: r.Merged(except...)})
	}
	r.want("all", show(), "report IS_EX 239.1.2.3 {10.0.0.2 10.0.0.3}, IS_IN 239.1.2.4 {10.0.0.1 10.0.0.2}")
	r.want("but port 1", show(port1), "report IS_EX 239.1.2.3 {10.0.0.2 10.0.0.3 10.0.0.4}, IS_IN 239.1.2.4 {10.0.0.1 10.0.0.2}")
	r.want("but ports 1 and 2", show(port1, port2), "report IS_IN 239.1.2.3 {10.0.0.5 10.0.0.6}, IS_IN 239.1.2.4 {10.0.0.1 10.0.0.2}")
	r.want("but all", show(port1, port2, port3, host1), "report")
	r.report(port3, rec(ModeIsInclude, "239.1.2.3", b))
	r.want("one who wants what others exclude", show(host1), "report IS_EX 239.1.2.3 {10.0.0.3}, IS_IN 239.1.2.4 {10.0.0.1}")
	r.report(port2, rec(ModeIsExclude, "239.1.2.3"))
	r.want("one who excludes nothing", show(host1), "report IS_EX 239.1.2.3 {}, IS_IN 239.1.2.4 {10.0.0.1}")
	r.want("who gets what is wanted by all", r.gets("239.1.2.3", d), "port 1,port 2")
	r.want("who gets what is excluded by one", r.gets("239.1.2.3", a), "port 2")
	r.want("who gets what is wanted by name", r.gets("239.1.2.3", b), "port 2,port 3")
}

// What a port and a remote want may end at one instant.
func TestChangesAtOnce(t *testing.T) {
	r := newRig(t, testConfig(), port1, port2, host1, foreign1)
	for i := range 20 {
		for _, m := range []Member{host1, port1, foreign1} {
			r.report(m, rec(ModeIsExclude, fmt.Sprintf("ff0e::%d", i+1)))
		}
	}
	r.pass(260*time.Second - 1)
	r.sent()
	r.pass(1)
	left := strings.Join(r.sent("general"), " ")
	for i := range 20 {
		if want := fmt.Sprintf("TO_IN ff0e::%d {}", i+1); !strings.Contains(left, want) {
			t.Errorf("no %q in %q", want, left)
		}
	}
}

// A change that ends before it is told is not told; what was to be repeated
// before it still is.
func TestChangesAreTakenBack(t *testing.T) {
	const group = "ff0e::1"
	cfg := testConfig()
	cfg.FastLeave = true
	r := newRig(t, cfg, port1, host1)
	told := func(d time.Duration) []string {
		r.pass(d)
		return r.sent("general")
	}
	join := func(name string) { r.report(port1, rec(ChangeToExclude, name)) }
	leave := func(name string) { r.report(port1, rec(ChangeToInclude, name)) }
	join("ff0e::99") // after which it is quiet for 10 ms
	r.wantSent("first", told(0), "host 1: report TO_EX ff0e::99 {}")
	join(group)
	leave(group)
	join("ff0e::2")
	r.wantSent("join and leave", told(10*time.Millisecond), "host 1: report TO_EX ff0e::2 {}")
	leave(group)
	r.wantSent("join and leave, afterwards", told(20*time.Second), "host 1: report TO_EX ff0e::2 {}, TO_EX ff0e::99 {}")

	join(group)
	r.wantSent("a join", told(0), "host 1: report TO_EX ff0e::1 {}")
	leave(group)
	join(group)
	r.wantSent("leave and join", told(10*time.Millisecond))
	r.wantSent("the join again", told(2*time.Second), "host 1: report TO_EX ff0e::1 {}")
	r.wantSent("and then nothing", told(20*time.Second))

	r.report(port1, rec(ChangeToInclude, group, "2001:db8::a"))
	r.wantSent("a source", told(0), "host 1: report TO_IN ff0e::1 {2001:db8::a}")
	r.report(port1, rec(AllowNewSources, group, "2001:db8::b"))
	r.report(port1, rec(AllowNewSources, group, "2001:db8::c"))
	r.report(port1, rec(BlockOldSources, group, "2001:db8::b", "2001:db8::c"))
	r.wantSent("sources that come and go", told(10*time.Millisecond))
	r.wantSent("the first one again", told(2*time.Second), "host 1: report TO_IN ff0e::1 {2001:db8::a}")
	leave(group)
	leave("ff0e::2")
	r.wantSent("leaves", told(0), "host 1: report TO_IN ff0e::1 {}")
	r.wantSent("leaves", told(10*time.Millisecond), "host 1: report TO_IN ff0e::2 {}")
}

// However much a guest changes its mind, one segment has changes told by no more
// than 20,000 messages a second.
func TestMessagesPerSecond(t *testing.T) {
	for _, hosts := range []int{1, 100, 500} {
		cfg := testConfig()
		cfg.FastLeave, cfg.GroupsPerPort = true, 16384
		members := []Member{port1}
		for i := range uint32(hosts) {
			members = append(members, Member{Host, i})
		}
		r := newRig(t, cfg, members...)
		const perReport = 100
		messages := 0
		for i := range 3000 {
			var records []Record
			for j := range perReport {
				kind := ChangeToExclude
				if i%20 >= 10 {
					kind = ChangeToInclude
				}
				records = append(records, Record{Type: kind, Group: addr(fmt.Sprintf("ff05::%x:%x", i%10+1, j))})
			}
			msg := from(Report, IPv6, 2)
			msg.Records = records
			r.Receive(r.now, port1, &msg)
			r.pass(time.Millisecond)
			for _, s := range r.Outbox() {
				messages += len(s.To)
			}
		}
		// The last may be of up to 20 frames to each.
		if messages > 60000+20*hosts || messages == 0 {
			t.Errorf("%d hosts: %d messages in three seconds", hosts, messages)
		}
	}
}

// A foreign remote is told as often as a kernel's bridge wants it, however
// seldom guests are asked.
func TestReportInterval(t *testing.T) {
	cfg := testConfig()
	cfg.QueryInterval = 1000 * time.Second
	r := newRig(t, cfg, port1, foreign1)
	r.report(port1, rec(ModeIsExclude, "239.1.1.1"))
	r.pass(5 * time.Second)
	r.sent()
	last := r.now
	for range 1500 {
		r.pass(time.Second)
		if slices.Contains(r.sent(), "foreign 1: report IS_EX 239.1.1.1 {}") {
			last = r.now
		}
		if gap := r.now.Sub(last); gap > 126*time.Second {
			t.Fatalf("nothing is told for %s", gap)
		}
	}
}

// An older version takes a frame for each group, and a router that asks all the
// time does not get all of them all the time.
func TestOldAnswersRest(t *testing.T) {
	r := newRig(t, testConfig(), port1, host1)
	for i := range 3000 {
		r.report(host1, Record{Type: ModeIsExclude, Group: addr(fmt.Sprintf("239.7.%d.%d", i>>8, i&255))})
	}
	r.Outbox()
	frames := 0
	for range 100 {
		r.hear(port1, query(IPv4, 2, ""))
		r.pass(100 * time.Millisecond)
		for _, s := range r.Outbox() {
			if s.To[0] == port1 {
				frames++
			}
		}
	}
	if frames < 3000 || frames > 12000 {
		t.Errorf("%d frames in 10 s", frames)
	}
}
