// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"
	"time"

	"overcast/test/lab"
)

// Without an agent, on one host or on all of them, guests that ask for a group
// get it, and those that had asked go on getting it; when the agents are back
// groups go only to who has asked for them, whenever that was.
func TestMulticastWithoutAgent(t *testing.T) {
	t.Parallel()
	for _, group := range []string{"ff05::45", "239.1.2.3"} {
		for _, dead := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d", group, dead), func(t *testing.T) {
				t.Parallel()
				p := newParty(t, lab.Options{Hosts: 2}, 6, quick)
				p.start()
				s := p.send(p.guest(1), group)
				r2, r3 := p.join(p.guest(2), group), p.join(p.guest(3), group)
				p.reaches(s, p.pick(2, 3)...)
				p.steady(s, func() {
					for i := range dead {
						p.agents[1-i].Kill() // that of host b, where g2, g4 and g6 are
					}
					for _, g := range p.pick(4, 5) {
						r := p.join(g, group)
						p.eventually("the stream at "+g.Name, func() bool { return len(r.Received(s.Source)) > 10 })
					}
					r2.done(r2.Leave())
				}, r3)
				for i := range dead {
					p.agents[1-i] = p.startAgent(p.Hosts[1-i])
				}
				p.believed()
				p.reaches(s, p.pick(3, 4, 5)...)
				r3.done(r3.Leave())
				p.reaches(s, p.pick(4, 5)...)
				p.clean()
			})
		}
	}
}

// That holds within seconds also where the protocols' intervals are minutes: a
// host without its agent passes on what its guests ask for, so that the other
// hosts know that they do not know, and send it everything.
func TestMulticastWithoutAgentForLong(t *testing.T) {
	t.Parallel()
	for _, group := range []string{"ff05::45", "239.1.2.3"} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			p := newParty(t, lab.Options{Hosts: 2}, 4, "")
			p.start()
			s := p.send(p.guest(1), group)
			p.join(p.guest(3), group) // on host a: the group is known
			p.reaches(s, p.pick(3)...)
			// Host b knows what its own guests want, too.
			p.reaches(p.send(p.guest(2), group), p.pick(3)...)
			p.reaches(p.send(p.guest(4), group), p.pick(3)...)
			p.agents[1].Kill()
			// For some seconds the programs leave it to the agent to read what they hand
			// over; a guest that asks after that is the one to look at.
			r := p.receive(p.guest(2), group)
			p.eventually("the stream", func() bool {
				r.done(r.Join())
				time.Sleep(100 * time.Millisecond)
				n, err := s.Send()
				r.done(err)
				time.Sleep(100 * time.Millisecond)
				if r.Received(s.Source)[n] > 0 {
					return true
				}
				r.done(r.Leave())
				return false
			})
			p.agents[1] = p.startAgent(p.Hosts[1])
			p.believed()
			p.reaches(s, p.pick(2, 3)...)
			p.clean()
		})
	}
}
