// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"testing"

	"overcast/test/lab"
)

// Whatever a guest's stack makes of its source lists (RFC 3810 7.4, RFC 3376
// 6.4), exactly the sources that it wants come to its device: from lists of
// sources to others, between the modes and back, one source allowed and one
// blocked; with sources behind the same host and behind another.
func TestMulticastSources(t *testing.T) {
	t.Parallel()
	for _, group := range []string{"ff3e::8000:45", "232.1.2.3"} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			p := newParty(t, lab.Options{Hosts: 2}, 6, quick)
			p.start()
			// g1, g3 and g5 are on host a, g2, g4 and g6 on host b.
			sources := []*stream{p.send(p.guest(1), group), p.send(p.guest(2), group), p.send(p.guest(4), group)}
			x, y, z := sources[0].Source, sources[1].Source, sources[2].Source
			// The group stays known, and is not flooded when g3 is out of it.
			keeper := p.receive(p.guest(6), group)
			keeper.done(keeper.Include(address(p.guest(5), sources[0].Group)))
			r := p.receive(p.guest(3), group)
			for _, step := range []struct {
				does string
				do   func() error
				want string // of x, y and z
			}{
				{"INCLUDE(x)", func() error { return r.Include(x) }, "x"},
				{"ALLOW(y)", func() error { return r.JoinSource(y) }, "xy"},
				{"BLOCK(x)", func() error { return r.LeaveSource(x) }, "y"},
				{"INCLUDE(y) to INCLUDE(x, z)", func() error { return r.Include(x, z) }, "xz"},
				{"INCLUDE(x, z) to EXCLUDE(x)", func() error { return r.Exclude(x) }, "yz"},
				{"EXCLUDE(x) to EXCLUDE(y, z)", func() error { return r.Exclude(y, z) }, "x"},
				{"EXCLUDE(y, z), ALLOW(y)", func() error { return r.Unblock(y) }, "xy"},
				{"EXCLUDE(z), BLOCK(x)", func() error { return r.Block(x) }, "y"},
				{"EXCLUDE(x, z) to INCLUDE(x)", func() error { return r.Include(x) }, "x"},
				{"INCLUDE(x) to EXCLUDE()", func() error { return r.Exclude() }, "xyz"},
				{"EXCLUDE() to INCLUDE(y)", func() error { return r.Include(y) }, "y"},
				{"INCLUDE(y) to EXCLUDE(y)", func() error { return r.Exclude(y) }, "xz"},
				{"EXCLUDE(y) to INCLUDE(y, z)", func() error { return r.Include(y, z) }, "yz"},
				{"INCLUDE()", func() error { return r.Include() }, ""},
			} {
				t.Logf("%s: wants %q", step.does, step.want)
				r.done(step.do())
				for i, s := range sources {
					want := []*lab.Guest(nil)
					if slices.Contains([]byte(step.want), "xyz"[i]) {
						want = p.pick(3)
					}
					p.reaches(s, want...)
				}
			}
			p.clean()
		})
	}
}

// Two sockets of a guest, and two guests of a host, want different sources of
// one group: the guest gets what either socket wants, the host what either guest
// wants, and each guest no more than it wants.
func TestMulticastSourcesAreMerged(t *testing.T) {
	t.Parallel()
	for _, group := range []string{"ff3e::8000:45", "232.1.2.3"} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			p := newParty(t, lab.Options{Hosts: 2}, 6, quick)
			p.start()
			first, second, third := p.send(p.guest(1), group), p.send(p.guest(3), group), p.send(p.guest(5), group)
			r2, also := p.receive(p.guest(2), group), p.receive(p.guest(2), group)
			r2.done(r2.Include(first.Source))
			also.done(also.Include(second.Source))
			r4 := p.receive(p.guest(4), group)
			r4.done(r4.Exclude(first.Source))
			p.reaches(first, p.pick(2)...)
			p.reaches(second, p.pick(2, 4)...)
			p.reaches(third, p.pick(4)...)
			also.done(also.Exclude(second.Source))
			p.reaches(first, p.pick(2)...)
			p.reaches(second, p.pick(4)...)
			p.reaches(third, p.pick(2, 4)...)
			r4.done(r4.Close())
			p.reaches(first, p.pick(2)...)
			p.reaches(second)
			p.reaches(third, p.pick(2)...)
			p.clean()
		})
	}
}
