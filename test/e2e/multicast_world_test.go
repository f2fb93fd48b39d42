// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	datapath "overcast/maps"
	"overcast/test/lab"
)

// quick are times of the membership protocols that a test can wait for. What a
// host has not said for 4.5 s (RFC 3376 8.4) it is not believed to want or not.
const quick = "query_interval: 2s, query_response_interval: 500ms"

// party is a world with a witness at every guest and at every host's uplink.
type party struct {
	*world
	witnesses map[*lab.Guest]*lab.Witness
	uplinks   map[netip.Addr]*lab.Witness // by VTEP
	homes     map[*lab.Guest]netip.Addr   // the VTEP of each guest's host
	fences    map[*lab.Guest]*stream
	loose     bool // copies on the underlay are not looked at
}

// newParty builds a world of so many guests, g1 on the first host, g2 on the
// next one and so on, and does not start its agents yet. multicast are the
// settings of the segment.
func newParty(t *testing.T, options lab.Options, guests int, multicast string, flags ...string) *party {
	t.Helper()
	p := &party{
		world:     &world{Lab: lab.NewTest(t, options), t: t, flags: flags},
		witnesses: make(map[*lab.Guest]*lab.Witness),
		uplinks:   make(map[netip.Addr]*lab.Witness),
		homes:     make(map[*lab.Guest]netip.Addr),
		fences:    make(map[*lab.Guest]*stream),
	}
	p.segment = "        multicast: {" + multicast + "}\n"
	for _, h := range p.Hosts {
		p.uplinks[h.VTEP] = p.witness(h.Namespace, lab.Uplink)
	}
	for i := range guests {
		h := p.Hosts[i%len(p.Hosts)]
		p.watch(p.addGuest(h, fmt.Sprintf("g%d", i+1), lab.GuestOptions{}), h.VTEP)
	}
	t.Cleanup(p.explain)
	t.Cleanup(p.explainGroups)
	return p
}

// explainGroups shows, after a failure, what the agents know of the groups.
func (p *party) explainGroups() {
	if !p.t.Failed() {
		return
	}
	for _, h := range p.Hosts {
		text, err := os.ReadFile(filepath.Join(h.RunDir, "groups.json"))
		p.t.Logf("%s: groups.json %v\n%s", h.Name, err, text)
	}
	for from, f := range p.fences {
		last := f.Next() - 1
		for _, g := range p.guests {
			p.t.Logf("packet %d to all nodes from %s: %d times at %s", last, from.Name, p.witnesses[g].Copies(f.Stream, last), g.Name)
		}
		for vtep, uplink := range p.uplinks {
			p.t.Logf("packet %d to all nodes from %s: in tunnels at %s: %v", last, from.Name, vtep, uplink.Ways(f.Stream, last))
		}
	}
}

func (p *party) witness(n *lab.Namespace, device string) *lab.Witness {
	p.t.Helper()
	w, err := p.Witness(n, device)
	if err != nil {
		p.t.Fatal(err)
	}
	return w
}

// watch begins to watch a guest, which is behind this VTEP.
func (p *party) watch(g *lab.Guest, home netip.Addr) {
	p.t.Helper()
	p.homes[g] = home
	p.witnesses[g] = p.witness(g.Namespace, lab.GuestDevice)
}

// guest is the i-th, counted from 1, as its name is.
func (p *party) guest(i int) *lab.Guest {
	return p.guests[i-1]
}

// pick are some of the guests by number, counted from 1.
func (p *party) pick(numbers ...int) []*lab.Guest {
	var picked []*lab.Guest
	for _, i := range numbers {
		picked = append(picked, p.guest(i))
	}
	return picked
}

// others are all guests but these.
func (p *party) others(but ...*lab.Guest) []*lab.Guest {
	return slices.DeleteFunc(slices.Clone(p.guests), func(g *lab.Guest) bool { return slices.Contains(but, g) })
}

// address is the guest's of the same family.
func address(g *lab.Guest, family netip.Addr) netip.Addr {
	for _, prefix := range g.Options.Addresses {
		if prefix.Addr().Is4() == family.Is4() {
			return prefix.Addr()
		}
	}
	return netip.Addr{}
}

// groupPort is the UDP port of all streams.
const groupPort = 5000

// stream is a sender in a guest.
type stream struct {
	*lab.Sender
	lab.Stream
	from *lab.Guest
}

// send opens a sender from a guest to a group.
func (p *party) send(from *lab.Guest, group string) *stream {
	p.t.Helper()
	g := netip.MustParseAddr(group)
	s := lab.Stream{Source: address(from, g), Group: g}
	sender, err := from.OpenSender(s.Source, netip.AddrPortFrom(g, groupPort), 100)
	if err != nil {
		p.t.Fatal(err)
	}
	return &stream{sender, s, from}
}

// receiver is one that reports errors to the test.
type receiver struct {
	*lab.Receiver
	t *testing.T
	g *lab.Guest
}

// receive opens a receiver in a guest. It asks for nothing yet.
func (p *party) receive(g *lab.Guest, group string) receiver {
	p.t.Helper()
	r, err := g.OpenReceiver(netip.AddrPortFrom(netip.MustParseAddr(group), groupPort))
	if err != nil {
		p.t.Fatal(err)
	}
	return receiver{r, p.t, g}
}

// join opens a receiver and joins.
func (p *party) join(g *lab.Guest, group string) receiver {
	p.t.Helper()
	r := p.receive(g, group)
	r.done(r.Join())
	return r
}

// done fails the test for an error.
func (r receiver) done(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%s: %v", r.g.Name, err)
	}
}

// fence sends a packet that every guest gets, and waits until these have it, and
// the uplink that it goes out of: what a guest has sent before is there then, or
// does not come. It is that guest's, since two senders' packets may overtake
// each other. A machine on which dozens of hosts run loses one now and then, and
// the next one is a fence as well.
func (p *party) fence(from *lab.Guest, at []*lab.Guest) {
	p.t.Helper()
	f := p.fenceOf(from)
	for range 3 {
		n, err := f.Send()
		if err != nil {
			p.t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if p.passed(f, n, at) {
				return
			}
		}
		p.t.Logf("packet %d to all nodes from %s did not come to all", n, from.Name)
	}
	p.t.Fatalf("never came: a packet to all nodes from %s", from.Name)
}

// passed tells whether a fence has come to guests, and been seen on the uplink if
// some are behind it: that has a witness of its own, which may be behind theirs.
func (p *party) passed(f *stream, n uint64, at []*lab.Guest) bool {
	home, beyond := p.homes[f.from], false
	for _, g := range at {
		if g != f.from && p.witnesses[g].Copies(f.Stream, n) == 0 {
			return false
		}
		beyond = beyond || p.homes[g] != home
	}
	if !beyond {
		return true
	}
	for tunnel, tally := range p.uplinks[home].Carried(f.Stream) {
		if tunnel.From == home && tally[n] > 0 {
			return true
		}
	}
	return false
}

// reaches waits until what is sent comes to exactly these guests' devices, and
// crosses the underlay once for each other host that has some of them, and
// checks that it stays so.
func (p *party) reaches(s *stream, want ...*lab.Guest) {
	p.t.Helper()
	good := p.aim(want)
	var now landing
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if now = p.probe(s); now.equal(good, p.homes[s.from]) {
			break
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s to %s reaches %s, should reach %s", s.from.Name, s.Group, now, good)
		}
	}
	for range 3 {
		if now = p.probe(s); !now.equal(good, p.homes[s.from]) {
			p.t.Fatalf("%s to %s reached %s, and then %s", s.from.Name, s.Group, good, now)
		}
	}
}

// fenceOf is the sender of a guest's fences.
func (p *party) fenceOf(from *lab.Guest) *stream {
	p.t.Helper()
	if p.fences[from] == nil {
		p.fences[from] = p.send(from, "ff02::1")
	}
	return p.fences[from]
}

// connected waits until packets of each guest come to all others: after a cable
// is in again, what waits for a neighbour that is given up yet is lost.
func (p *party) connected() {
	p.t.Helper()
	for _, from := range p.guests {
		f := p.fenceOf(from)
		p.eventually("packets from "+from.Name+" everywhere", func() bool {
			n, err := f.Send()
			if err != nil {
				p.t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			return !slices.ContainsFunc(p.guests, func(g *lab.Guest) bool {
				return g != from && p.witnesses[g].Copies(f.Stream, n) == 0
			})
		})
	}
}

// believed waits until the programs of all hosts believe what they are told of
// groups. An agent that was away asks first for what it may have missed, and
// all groups are flooded meanwhile.
func (p *party) believed() {
	p.t.Helper()
	for _, h := range p.Hosts {
		set, err := datapath.Open(h.PinPath)
		if err != nil {
			p.t.Fatal(err)
		}
		defer set.Close()
		p.eventually("what "+h.Name+" missed", func() bool {
			missed, err := set.Missed()
			if err != nil {
				p.t.Fatal(err)
			}
			return len(missed) == 0
		})
	}
}

// landing is where a packet comes to.
type landing struct {
	guests []*lab.Guest
	copies map[netip.Addr]int // that the sender's host has sent, by VTEP
}

// aim is where a packet for these guests should come to.
func (p *party) aim(want []*lab.Guest) landing {
	l := landing{copies: make(map[netip.Addr]int)}
	for _, g := range p.guests {
		if slices.Contains(want, g) {
			l.guests = append(l.guests, g)
			if !p.loose {
				l.copies[p.homes[g]] = 1
			}
		}
	}
	return l
}

// equal compares a packet's landing with that aimed at, seen from a VTEP.
func (l landing) equal(aim landing, from netip.Addr) bool {
	copies := maps.Clone(aim.copies)
	delete(copies, from)
	return slices.Equal(l.guests, aim.guests) && maps.Equal(l.copies, copies)
}

func (l landing) String() string {
	return fmt.Sprintf("%s over %v", names(l.guests), l.copies)
}

// probe sends a packet and tells where it comes to. No packet comes twice or
// back.
func (p *party) probe(s *stream) landing {
	p.t.Helper()
	number, err := s.Send()
	if err != nil {
		p.t.Fatal(err)
	}
	p.fence(s.from, p.guests)
	l := landing{copies: make(map[netip.Addr]int)}
	for _, g := range p.guests {
		n := p.witnesses[g].Copies(s.Stream, number)
		if n > 1 || n > 0 && g == s.from {
			p.t.Errorf("packet %d of %s to %s came %d times to %s", number, s.from.Name, s.Group, n, g.Name)
		}
		if n > 0 {
			l.guests = append(l.guests, g)
		}
	}
	if p.loose {
		return l
	}
	from := p.homes[s.from]
	for tunnel, n := range p.uplinks[from].Ways(s.Stream, number) {
		if tunnel.From == from {
			l.copies[tunnel.To] = n
		}
	}
	return l
}

func names(guests []*lab.Guest) string {
	var all []string
	for _, g := range guests {
		all = append(all, g.Name)
	}
	return "[" + strings.Join(all, " ") + "]"
}

// whole checks that a receiver has got each packet from one number to before
// another, once.
func (r receiver) whole(s *stream, from, to uint64) {
	r.t.Helper()
	tally := r.Received(s.Source)
	if lost := tally.Lost(from, to); len(lost) > 0 || tally.Duplicates() > 0 {
		r.t.Errorf("%s of %d to %d from %s: %s; lost %v", r.g.Name, from, to, s.from.Name, tally, lost[:min(len(lost), 20)])
	}
}
