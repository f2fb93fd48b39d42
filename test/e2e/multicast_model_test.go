// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"overcast/test/lab"
)

// Where chance takes the world from, and how far: OVERCAST_TEST_SEED repeats a
// run, OVERCAST_TEST_STEPS makes it longer.
const (
	seedVariable  = "OVERCAST_TEST_SEED"
	stepsVariable = "OVERCAST_TEST_STEPS"
)

// In a world of hosts, segments and guests that chance has built, guests ask
// for groups, from any source or some, and leave; they move, lose their port
// and get it back; agents are killed and return; cables are pulled and put in
// again. After each step a packet of each guest to each group comes to the
// devices of exactly those that plain sets say, once; and those that are not
// concerned by the step lose none on the way there.
func TestMulticastModel(t *testing.T) {
	t.Parallel()
	seeds, steps := []uint64{rand.Uint64(), rand.Uint64()}, 20
	if text := os.Getenv(seedVariable); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
		seeds = []uint64{seed}
	}
	if text := os.Getenv(stepsVariable); text != "" {
		var err error
		if steps, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", stepsVariable, err)
		}
	}
	for i, seed := range seeds {
		t.Run(fmt.Sprintf("%d", i+1), func(t *testing.T) {
			t.Parallel()
			t.Logf("%s=%d", seedVariable, seed)
			m := newModel(t, seed)
			m.settle()
			for range steps {
				m.step()
			}
			m.repair()
			m.onlyOnce()
			m.clean()
		})
	}
}

// model is a party, and what is so in it.
type model struct {
	*party
	random   *rand.Rand
	segments []modelSegment
	guests   []*modelGuest
	alive    []bool // agents, by host
	plugged  []bool // cables, by host
	moves    int
	// What has been wanted without a break since all agents lived and knew of it.
	steady map[delivery]bool
}

type modelSegment struct {
	name string
	drop bool // groups that nobody has asked for
}

// modelGuest is a guest, where it is and what it wants.
type modelGuest struct {
	*lab.Guest
	segment, host int
	port          bool // it is in the documents
	old           bool // it speaks versions that have no lists of sources
	wants         map[netip.Addr]want
	receivers     map[netip.Addr]receiver
	senders       map[netip.Addr]*stream
	fence         *stream
}

// want is what a guest has asked for of a group.
type want struct {
	exclude bool
	sources []netip.Addr
}

func (w want) takes(source netip.Addr) bool {
	return slices.Contains(w.sources, source) != w.exclude
}

func (w want) String() string {
	if w.exclude {
		return fmt.Sprintf("EXCLUDE%v", w.sources)
	}
	return fmt.Sprintf("INCLUDE%v", w.sources)
}

// The groups, of which some are always flooded, and one of solicited nodes.
var modelGroups = []netip.Addr{
	netip.MustParseAddr("ff05::1:1"), netip.MustParseAddr("ff3e::8000:2"), netip.MustParseAddr("ff02::4242"),
	netip.MustParseAddr("ff02::1:ff77:7777"), netip.MustParseAddr("239.1.1.1"), netip.MustParseAddr("232.1.1.2"), netip.MustParseAddr("224.0.0.77"),
}

// solicitedNodes are the groups of RFC 4291 2.7.1.
var solicitedNodes = netip.MustParsePrefix("ff02::1:ff00:0/104")

// newModel builds a world by chance.
func newModel(t *testing.T, seed uint64) *model {
	r := rand.New(rand.NewPCG(seed, 0))
	underlay := []lab.Family{lab.IPv4, lab.IPv6}[r.IntN(2)]
	m := &model{random: r, party: newParty(t, lab.Options{Hosts: 2 + r.IntN(2), Underlay: underlay}, 0, quick)}
	for i := range 1 + r.IntN(2) {
		m.segments = append(m.segments, modelSegment{[]string{"lan", "dmz"}[i], r.IntN(3) == 0})
	}
	for i, h := range m.Hosts {
		m.alive, m.plugged = append(m.alive, true), append(m.plugged, true)
		for range 3 + r.IntN(2) {
			m.add(h, i)
		}
	}
	m.compose()
	m.start()
	return m
}

// add adds a guest with its senders and receivers to a host.
func (m *model) add(h *lab.Host, host int) {
	m.t.Helper()
	g := &modelGuest{
		Guest:   m.addGuest(h, fmt.Sprintf("g%d", len(m.guests)+1), lab.GuestOptions{}),
		segment: m.random.IntN(len(m.segments)), host: host, port: true, old: m.random.IntN(6) == 0,
		wants: make(map[netip.Addr]want), receivers: make(map[netip.Addr]receiver), senders: make(map[netip.Addr]*stream),
	}
	if g.old {
		for _, err := range []error{g.SpeakMLD(1), g.SpeakIGMP(2)} {
			if err != nil {
				m.t.Fatal(err)
			}
		}
	}
	m.watch(g.Guest, h.VTEP)
	for _, group := range modelGroups {
		g.senders[group] = m.send(g.Guest, group.String())
		g.receivers[group] = m.receive(g.Guest, group.String())
	}
	g.fence = m.fenceOf(g.Guest)
	m.guests = append(m.guests, g)
	m.t.Logf("%s is on %s, in %s; speaks MLDv1 and IGMPv2: %t", g.Name, h.Name, m.segments[g.segment].name, g.old)
}

// compose writes what is so into the parts of the documents.
func (m *model) compose() {
	m.ports = nil
	var more strings.Builder
	for i, segment := range m.segments {
		settings := quick
		if segment.drop {
			settings += ", unknown_groups: drop"
		}
		settings = "        multicast: {" + settings + "}\n"
		var ports []string
		for _, g := range m.guests {
			if g.segment == i && g.port {
				ports = append(ports, fmt.Sprintf("{name: %s, host: %s, interface: %s, mac: %q}", g.Name, m.Hosts[g.host].Name, g.Port, g.MAC))
			}
		}
		if i == 0 {
			m.segment, m.ports = settings, ports
			continue
		}
		fmt.Fprintf(&more, "      - name: %s\n        vni: %d\n%s        ports:\n", segment.name, 4500+i, settings)
		for _, port := range ports {
			fmt.Fprintf(&more, "          - %s\n", port)
		}
	}
	m.more = more.String()
}

// reconfigure gives the agents the documents anew.
func (m *model) reconfigure() {
	m.compose()
	m.rewrite()
}

// delivery is a group's packets from one guest to another.
type delivery struct {
	from, to *modelGuest
	group    netip.Addr
}

// step does one thing by chance, and waits until the world is as it should be.
func (m *model) step() {
	m.t.Helper()
	whom := m.act()
	for d := range m.steady {
		if whom(d.from, d.to) || !m.wanted(d) {
			delete(m.steady, d)
		}
	}
	m.settle()
}

// sound tells whether all agents and cables are there.
func (m *model) sound() bool {
	return !slices.Contains(m.alive, false) && !slices.Contains(m.plugged, false)
}

// wanted tells whether one guest has asked for what another sends, and can get it.
func (m *model) wanted(d delivery) bool {
	w, asked := d.to.wants[d.group]
	return asked && w.takes(d.from.senders[d.group].Source) && m.linked(d.from, d.to)
}

// act does it, and tells whom it may cost a packet.
func (m *model) act() (concerns func(from, to *modelGuest) bool) {
	m.t.Helper()
	nobody := func(_, _ *modelGuest) bool { return false }
	host := m.random.IntN(len(m.Hosts))
	sound := m.sound()
	switch n := m.random.IntN(20); {
	case n < 4 && !m.alive[host]:
		m.toggleAgent(host)
		return nobody
	case n < 4 && !m.plugged[host]:
		m.toggleCable(host)
		return nobody
	case n < 11:
		m.ask(m.guests[m.random.IntN(len(m.guests))])
		return nobody
	case n < 13 && sound:
		g := m.guests[m.random.IntN(len(m.guests))]
		m.move(g, host)
		return func(from, to *modelGuest) bool { return from == g || to == g }
	case n < 15 && sound:
		g := m.guests[m.random.IntN(len(m.guests))]
		g.port = !g.port
		m.t.Logf("%s has a port: %t", g.Name, g.port)
		m.reconfigure()
		return func(from, to *modelGuest) bool { return from == g || to == g }
	case n < 18 || !m.alive[host]:
		m.toggleAgent(host)
		return nobody
	default:
		m.toggleCable(host)
		return func(from, to *modelGuest) bool { return from.host != to.host && (from.host == host || to.host == host) }
	}
}

// ask changes what a guest asks for of a group.
func (m *model) ask(g *modelGuest) {
	m.t.Helper()
	group := modelGroups[m.random.IntN(len(modelGroups))]
	r, w, joined := g.receivers[group], want{exclude: m.random.IntN(2) == 0}, false
	if _, joined = g.wants[group]; joined && m.random.IntN(3) == 0 {
		m.t.Logf("%s leaves %s", g.Name, group)
		delete(g.wants, group)
		r.done(r.Leave())
		return
	}
	for _, other := range m.guests {
		if m.random.IntN(3) == 0 && other != g && other.segment == g.segment {
			w.sources = append(w.sources, address(other.Guest, group))
		}
	}
	if !w.exclude && len(w.sources) == 0 {
		w.exclude = true // INCLUDE of nothing is to leave
	}
	m.t.Logf("%s asks for %s: %s", g.Name, group, w)
	if w.exclude {
		r.done(r.Exclude(w.sources...))
	} else {
		r.done(r.Include(w.sources...))
	}
	if g.old {
		w = want{exclude: true} // without lists of sources it is told all
	}
	g.wants[group] = w
}

// move takes a guest to a host.
func (m *model) move(g *modelGuest, host int) {
	m.t.Helper()
	m.moves++
	m.t.Logf("%s moves from %s to %s", g.Name, m.Hosts[g.host].Name, m.Hosts[host].Name)
	if err := g.Move(m.Hosts[host], fmt.Sprintf("m%d", m.moves)); err != nil {
		m.t.Fatal(err)
	}
	g.host, m.homes[g.Guest] = host, m.Hosts[host].VTEP
	if g.port { // or the documents are what they were
		m.reconfigure()
	}
}

func (m *model) toggleAgent(host int) {
	m.t.Helper()
	m.t.Logf("the agent of %s lives: %t", m.Hosts[host].Name, !m.alive[host])
	if m.alive[host] {
		m.agents[host].Kill()
	} else {
		m.agents[host] = m.startAgent(m.Hosts[host])
	}
	m.alive[host] = !m.alive[host]
}

func (m *model) toggleCable(host int) {
	m.t.Helper()
	m.t.Logf("the cable of %s is in: %t", m.Hosts[host].Name, !m.plugged[host])
	pull := m.Hosts[host].Unplug
	if !m.plugged[host] {
		pull = m.Hosts[host].Plug
	}
	if err := pull(); err != nil {
		m.t.Fatal(err)
	}
	m.plugged[host] = !m.plugged[host]
	if m.plugged[host] {
		m.meet()
	}
}

// repair ends the run with all agents and cables in place.
func (m *model) repair() {
	m.t.Helper()
	for host := range m.Hosts {
		if !m.alive[host] {
			m.toggleAgent(host)
		}
		if !m.plugged[host] {
			m.toggleCable(host)
		}
	}
	m.settle()
}

// linked tells whether packets can come from one guest to another at all.
func (m *model) linked(from, to *modelGuest) bool {
	return from != to && from.segment == to.segment && from.port && to.port &&
		(from.host == to.host || m.plugged[from.host] && m.plugged[to.host])
}

// flow is the packets of a guest to a group.
type flow struct {
	from  *modelGuest
	group netip.Addr
}

// expected is who gets what, of those that are linked.
func (m *model) expected() map[flow]map[*modelGuest]bool {
	all := make(map[flow]map[*modelGuest]bool)
	for _, from := range m.guests {
		for _, group := range modelGroups {
			all[flow{from, group}] = m.receiversOf(from, group)
		}
	}
	return all
}

// receiversOf is the rule: who has asked for a group gets it; one that nobody
// has asked for goes to everybody, or where the segment drops such, and it is
// not of link-local scope, to nobody. For groups of solicited nodes that is so
// at each host by itself.
func (m *model) receiversOf(from *modelGuest, group netip.Addr) map[*modelGuest]bool {
	flooded := func(at func(*modelGuest) bool) bool {
		if group.Is4() && group.IsLinkLocalMulticast() {
			return true // 224.0.0.0/24
		}
		for _, g := range m.guests {
			if _, asked := g.wants[group]; asked && g.port && g.segment == from.segment && at(g) {
				return false
			}
		}
		return group.IsLinkLocalMulticast() || !m.segments[from.segment].drop
	}
	everywhere := func(*modelGuest) bool { return true }
	get := make(map[*modelGuest]bool)
	for _, g := range m.guests {
		at := everywhere
		if solicitedNodes.Contains(group) {
			at = func(other *modelGuest) bool { return other.host == g.host }
		}
		w, asked := g.wants[group]
		if m.linked(from, g) && (flooded(at) || asked && w.takes(from.senders[group].Source)) {
			get[g] = true
		}
	}
	return get
}

// probe sends a packet of each guest to each group and returns their numbers.
// All have come to where they go.
func (m *model) probe() map[flow]uint64 {
	m.t.Helper()
	numbers, fences := make(map[flow]uint64), make(map[*modelGuest]uint64)
	for _, from := range m.guests {
		for _, group := range modelGroups {
			numbers[flow{from, group}] = m.sent(from.senders[group])
		}
		fences[from] = m.sent(from.fence)
	}
	for _, from := range m.guests {
		for _, to := range m.guests {
			if m.linked(from, to) {
				m.eventually(fmt.Sprintf("a packet to all nodes, from %s, at %s", from.Name, to.Name), func() bool {
					return m.witnesses[to.Guest].Copies(from.fence.Stream, fences[from]) > 0
				})
			}
		}
	}
	return numbers
}

func (m *model) sent(s *stream) uint64 {
	m.t.Helper()
	number, err := s.Send()
	if err != nil {
		m.t.Fatalf("%s: %v", s.from.Name, err)
	}
	return number
}

// meet waits, after a cable is in again, until neighbours have found each other.
func (m *model) meet() {
	m.t.Helper()
	for _, from := range m.guests {
		m.eventually("packets from "+from.Name, func() bool {
			number := m.sent(from.fence)
			time.Sleep(20 * time.Millisecond)
			return !slices.ContainsFunc(m.guests, func(to *modelGuest) bool {
				return m.linked(from, to) && m.witnesses[to.Guest].Copies(from.fence.Stream, number) == 0
			})
		})
	}
}

// settle probes until packets go where they should, and stay so. Meanwhile
// nothing comes twice, nor to where it never may, and what is steady is there.
func (m *model) settle() {
	m.t.Helper()
	expected, good := m.expected(), 0
	for deadline := time.Now().Add(60 * time.Second); good < 3; time.Sleep(50 * time.Millisecond) {
		wrong := m.judge(m.probe(), expected)
		if m.t.Failed() {
			m.t.FailNow()
		}
		if good++; len(wrong) > 0 {
			good = 0
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("the world does not settle:\n%s", strings.Join(wrong, "\n"))
		}
	}
	if !m.sound() {
		return
	}
	m.steady = make(map[delivery]bool)
	for f := range expected {
		for _, to := range m.guests {
			if d := (delivery{f.from, to, f.group}); m.wanted(d) {
				m.steady[d] = true
			}
		}
	}
}

// onlyOnce checks that no packet of the run has come to a guest twice, however
// late.
func (m *model) onlyOnce() {
	m.t.Helper()
	for f := range m.expected() {
		for _, to := range m.guests {
			if n := m.witnesses[to.Guest].Received(f.from.senders[f.group].Stream).Duplicates(); n > 0 {
				m.t.Errorf("%d packets of %s from %s came to %s more than once", n, f.group, f.from.Name, to.Name)
			}
		}
	}
}

// judge compares where packets have come with where they should, and returns
// what is not so yet. In a world that is not sound some may get more.
func (m *model) judge(numbers map[flow]uint64, expected map[flow]map[*modelGuest]bool) (wrong []string) {
	m.t.Helper()
	sound := m.sound()
	for f, number := range numbers {
		for _, to := range m.guests {
			n, should := m.witnesses[to.Guest].Copies(f.from.senders[f.group].Stream, number), expected[f][to]
			what := fmt.Sprintf("%s from %s to %s", f.group, f.from.Name, to.Name)
			switch {
			case n > 1:
				m.t.Errorf("%s came %d times", what, n)
			case n == 1 && (to == f.from || to.segment != f.from.segment):
				m.t.Errorf("%s came, which it never may", what)
			case n == 0 && m.steady[delivery{f.from, to, f.group}]:
				m.t.Errorf("%s was lost, though it has been asked for all the time", what)
			case n == 0 && should:
				wrong = append(wrong, what+" does not come")
			case n == 1 && !should && sound:
				wrong = append(wrong, what+" should not come")
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}
