// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"

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
				p.reaches(s, p.pick(3, 4, 5)...)
				r3.done(r3.Leave())
				p.reaches(s, p.pick(4, 5)...)
				p.clean()
			})
		}
	}
}
