// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"overcast/test/lab"
)

// A stream reaches exactly the guests that have asked for it, and crosses the
// underlay once for each host that has some, for both families and scopes;
// through joins and leaves, a second source, a change of the source, an agent
// that is killed and returns, a host that vanishes and returns, and the move of
// a guest. Members that are not concerned lose nothing by any of it.
func TestMulticastReachesMembers(t *testing.T) {
	t.Parallel()
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, group := range []string{"ff0e::45", "ff05::45", "239.1.2.3"} {
			if underlay == lab.IPv6 && group == "ff05::45" {
				continue // the scope does not meet the underlay anywhere
			}
			t.Run(fmt.Sprintf("%s/%s", underlay, group), func(t *testing.T) {
				t.Parallel()
				p := newParty(t, lab.Options{Hosts: 3, Underlay: underlay}, 12, quick)
				p.start()
				c := p.Hosts[2]
				s := p.send(p.guest(1), group) // on host a, as are g4, g7 and g10

				// Nobody has asked: it is flooded.
				p.reaches(s, p.others(p.guest(1))...)
				r2 := p.join(p.guest(2), group)
				p.reaches(s, p.pick(2)...)
				r4 := p.join(p.guest(4), group)
				r5 := p.join(p.guest(5), group)
				p.reaches(s, p.pick(2, 4, 5)...)
				r3 := p.join(p.guest(3), group)
				p.reaches(s, p.pick(2, 3, 4, 5)...)
				r3.done(r3.Leave())
				p.reaches(s, p.pick(2, 4, 5)...)
				r2.done(r2.Leave())
				p.reaches(s, p.pick(4, 5)...)
				r5.done(r5.Leave())
				p.reaches(s, p.pick(4)...)
				r4.done(r4.Leave())
				p.reaches(s, p.others(p.guest(1))...)

				// A second source, on another host; who has asked for one gets one.
				second := p.send(p.guest(3), group) // on host c
				r2.done(r2.Join())
				r5.done(r5.Include(s.Source))
				r6 := p.receive(p.guest(6), group) // on host c
				r6.done(r6.Include(second.Source))
				p.reaches(s, p.pick(2, 5)...)
				p.reaches(second, p.pick(2, 6)...)
				r5.done(r5.Include(second.Source))
				r6.done(r6.Include(s.Source))
				p.reaches(s, p.pick(2, 6)...)
				p.reaches(second, p.pick(2, 5)...)

				// Agents are killed and return while the streams run.
				p.steady(s, func() {
					for _, i := range []int{0, 1} {
						p.agents[i].Kill()
						p.fence(p.guest(1), p.guests)
						p.agents[i] = p.startAgent(p.Hosts[i])
					}
					p.believed()
					p.reaches(second, p.pick(2, 5)...)
				}, r2, r6)
				p.reaches(s, p.pick(2, 6)...)

				// A host's cable is pulled: the others go on.
				p.steady(s, func() {
					if err := c.Unplug(); err != nil {
						t.Fatal(err)
					}
					n := s.Next()
					p.eventually("ten seconds' worth of packets", func() bool { return s.Next() > n+500 })
					if err := c.Plug(); err != nil {
						t.Fatal(err)
					}
					p.connected()
				}, r2)
				p.reaches(s, p.pick(2, 6)...)

				// g2 moves from host b to host c, sockets and all.
				if err := p.guest(2).Move(c, "moved"); err != nil {
					t.Fatal(err)
				}
				at := slices.IndexFunc(p.ports, func(port string) bool { return strings.Contains(port, "name: g2,") })
				p.ports[at] = fmt.Sprintf("{name: g2, host: %s, interface: moved, mac: %q}", c.Name, p.guest(2).MAC)
				p.homes[p.guest(2)] = c.VTEP
				p.steady(s, p.rewrite, r6)
				p.reaches(s, p.pick(2, 6)...)
				p.reaches(second, p.pick(2, 5)...)
				r2.whole(s, s.Next()-1, s.Next())
				p.clean()
			})
		}
	}
}

// steady runs a stream of 50 packets a second meanwhile, and checks that these
// receivers get all of it.
func (p *party) steady(s *stream, meanwhile func(), receivers ...receiver) {
	p.t.Helper()
	from := s.Next()
	s.Start(20 * time.Millisecond)
	meanwhile()
	to, err := s.Stop()
	if err != nil {
		p.t.Fatal(err)
	}
	p.fence(s.from, p.guests)
	for _, r := range receivers {
		p.eventually("the last packet at "+r.g.Name, func() bool { return r.Received(s.Source)[to-1] > 0 })
		r.whole(s, from, to)
	}
}
