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

var (
	port1    = Member{Port, 1}
	port2    = Member{Port, 2}
	port3    = Member{Port, 3}
	host1    = Member{Host, 1}
	host2    = Member{Host, 2}
	foreign1 = Member{Foreign, 1}
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// hostMAC is a proxy's, of another host than this.
var hostMAC = ProxyMAC(addr("192.0.2.2"))

// testConfig has the RFCs' times: a group membership interval of 260 s, a last
// member query time of 2 s, an other querier present interval of 255 s.
func testConfig() Config {
	mac := ProxyMAC(addr("192.0.2.1"))
	return Config{Querier: true, Sources: 64, ProxyMAC: mac, ProxyAddress: ProxyAddress(mac)}
}

// rig is a table with a clock.
type rig struct {
	*Table
	t   *testing.T
	now time.Time
}

// newRig makes a table with members, whose first time is over. The guests are
// awake, and want nothing.
func newRig(t *testing.T, cfg Config, members ...Member) *rig {
	t.Helper()
	r := &rig{New(start, cfg, rand.New(rand.NewPCG(1, 2))), t, start}
	r.setMembers(members...)
	r.Advance(r.now)
	for _, m := range members {
		if m.Kind == Port {
			for _, f := range Families {
				r.hear(m, from(Report, f, newest(f)))
			}
		}
	}
	r.pass(15 * time.Second)
	r.Outbox()
	r.TakeChanges()
	return r
}

// setMembers says who the members are; all Hosts have the same proxy.
func (r *rig) setMembers(members ...Member) {
	proxies := make(map[Member]MAC)
	for _, m := range members {
		if m.Kind == Host {
			proxies[m] = hostMAC
		}
	}
	r.SetMembers(r.now, members, proxies)
}

// told has a Host say, twice, that it has told all.
func (r *rig) told(host Member, f Family) {
	r.t.Helper()
	for range 2 {
		r.hear(host, from(Report, f, newest(f)))
	}
}

// pass lets time go by, doing everything when it is due.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	until := r.now.Add(d)
	for range 1 << 20 {
		next := r.Next()
		if next.IsZero() || next.After(until) {
			r.now = until
			r.Advance(until)
			return
		}
		if next.After(r.now) {
			r.now = next
		}
		r.Advance(r.now)
		if next := r.Next(); !next.IsZero() && !next.After(r.now) {
			r.t.Fatalf("what is due at %s stays due", next.Sub(start))
		}
	}
	r.t.Fatal("there is always something due")
}

// report has a member send a report of the newest version.
func (r *rig) report(who Member, records ...Record) {
	r.t.Helper()
	f := IPv4
	if len(records) > 0 {
		f = FamilyOf(records[0].Group)
	}
	msg := from(Report, f, newest(f))
	msg.Records = records
	r.hear(who, msg)
}

// hear takes a message as it would come: through its bytes.
func (r *rig) hear(who Member, msg Message) {
	r.t.Helper()
	if who.Kind == Host && msg.SourceMAC == guestMAC && msg.Kind != Query && msg.Kind != Advertisement {
		msg.SourceMAC = hostMAC
	}
	got, err := Parse(Build(&msg))
	if err != nil {
		r.t.Fatal(err)
	}
	r.Receive(r.now, who, got)
}

// sent gives what was sent since the last call, a line for each: to whom, what.
// General queries and full reports, which come by the clock, are left out if
// told, and the second of two copies of a query always (TestQuerySources).
func (r *rig) sent(skip ...string) []string {
	r.t.Helper()
	var all []string
	for _, s := range r.Outbox() {
		msg, err := Parse(s.Frame)
		if err != nil {
			r.t.Fatalf("sent to %v: %v", s.To, err)
		}
		line := describe(msg)
		if msg.Kind == Query && msg.Source == dummy4 {
			continue
		}
		if !slices.ContainsFunc(skip, func(p string) bool { return strings.HasPrefix(line, p) }) {
			var to []string
			for _, m := range s.To {
				to = append(to, m.String())
			}
			all = append(all, strings.Join(to, ",")+": "+line)
		}
	}
	return all
}

// describe puts a message into a line.
func describe(m *Message) string {
	text := func(list []netip.Addr) string {
		var all []string
		for _, a := range list {
			all = append(all, a.String())
		}
		return strings.Join(all, " ")
	}
	switch {
	case m.Kind == Query && !m.Group.IsValid():
		return fmt.Sprintf("general query v%d %s", m.Version, m.MaxResponse)
	case m.Kind == Query:
		line := fmt.Sprintf("query v%d %s {%s}", m.Version, m.Group, text(m.Sources))
		if m.Suppress {
			line += " S"
		}
		return line
	case m.modern() && m.Kind == Report:
		var all []string
		for _, r := range m.Records {
			all = append(all, fmt.Sprintf("%s %s {%s}", r.Type, r.Group, text(r.Sources)))
		}
		return strings.TrimSpace("report " + strings.Join(all, ", "))
	}
	return strings.TrimSpace(fmt.Sprintf("%s v%d %s", m.Kind, m.Version, strings.TrimPrefix(m.Group.String(), "invalid IP")))
}

// state shows what a member wants of a group: the mode with its time in seconds,
// and the sources with theirs; - is of the exclude list.
func (r *rig) state(who Member, group string) string {
	for _, g := range r.Groups() {
		for _, m := range g.Members {
			if g.Group == addr(group) && m.Member == who {
				var sources []string
				for _, s := range m.Sources {
					left := "-"
					if s.Left > 0 {
						left = fmt.Sprint(s.Left.Seconds())
					}
					sources = append(sources, fmt.Sprintf("%s:%s", s.Addr, left))
				}
				head := m.Mode.String()
				if m.Mode == Exclude {
					head += fmt.Sprintf(" %v", m.Left.Seconds())
				}
				return strings.TrimSpace(head + " " + strings.Join(sources, " "))
			}
		}
	}
	return "nothing"
}

// gets tells who gets a group's frames from a source, in words.
func (r *rig) gets(group, source string) string {
	to, ok := r.Forwarding(addr(group))
	if !ok {
		return "unknown"
	}
	members, named := to.Sources[addr(source)]
	if !named {
		members = to.Default
	}
	var all []string
	for _, m := range members {
		all = append(all, m.String())
	}
	return strings.Join(all, ",")
}

func (r *rig) everywhere(f Family) string {
	var all []string
	for _, m := range r.Everywhere(f) {
		all = append(all, m.String())
	}
	return strings.Join(all, ",")
}

func (r *rig) want(what, got, want string) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s: %s\nwant %s", what, got, want)
	}
}

func (r *rig) wantSent(what string, got []string, want ...string) {
	r.t.Helper()
	if !slices.Equal(got, want) {
		r.t.Errorf("%s: sent\n\t%s\nwant\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// rec makes a record.
func rec(kind RecordType, group string, sources ...string) Record {
	return Record{kind, addr(group), addrs(sources...)}
}
