// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"overcast/test/lab"
)

// addTor adds a kernel VXLAN switch to the party, with guests behind it. Its
// uplink is watched as a host's is.
func (p *party) addTor(options lab.ForeignOptions, guests int) *lab.Foreign {
	p.t.Helper()
	options.VNI = 4500
	for _, h := range p.Hosts {
		options.Remotes = append(options.Remotes, h.VTEP)
	}
	tor, err := p.AddForeign("tor", options)
	if err != nil {
		p.t.Fatal(err)
	}
	p.uplinks[tor.VTEP] = p.witness(tor.Namespace, lab.Uplink)
	for range guests {
		g, err := tor.AddGuest(fmt.Sprintf("g%d", len(p.guests)+1), lab.GuestOptions{Addresses: p.addresses()})
		if err != nil {
			p.t.Fatal(err)
		}
		p.guests = append(p.guests, g)
		p.watch(g, tor.VTEP)
	}
	p.extra = fmt.Sprintf("  - {name: tor, vtep: %q, foreign: true}\n", tor.VTEP)
	p.segment += "        learning: true\n        unknown_unicast: flood\n        members: [tor]\n"
	return tor
}

// asks is how the switch's bridge asks for memberships.
var asks = lab.BridgeQuerier{Address: netip.MustParsePrefix("10.9.0.254/24"), Interval: 2 * time.Second,
	ResponseInterval: 500 * time.Millisecond, LastMember: 500 * time.Millisecond, MLD: 2, IGMP: 3}

// comes waits until what is sent comes to exactly these guests' devices, with
// whatever copies on the underlay: a kernel switch floods its remotes.
func (p *party) comes(s *stream, want ...*lab.Guest) {
	p.t.Helper()
	p.loose = true
	p.reaches(s, want...)
	p.loose = false
}

// Guests of ours and guests behind a kernel VXLAN switch that snoops get what
// they ask for from the others' side and no more, whether the switch's bridge
// asks for memberships or only our hosts do, and while that changes.
func TestMulticastWithKernelSwitch(t *testing.T) {
	t.Parallel()
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, group := range []string{"ff05::45", "239.1.2.3"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, group), func(t *testing.T) {
				t.Parallel()
				p := newParty(t, lab.Options{Hosts: 2, Underlay: underlay}, 4, quick)
				tor := p.addTor(lab.ForeignOptions{Snooping: true}, 3)
				p.start()
				ours, theirs := p.send(p.guest(1), group), p.send(p.guest(5), group)
				// g3 is on host a with g1, g2 and g4 on host b, g6 and g7 behind the switch.
				r4, r6 := p.join(p.guest(4), group), p.join(p.guest(6), group)
				for _, querier := range []bool{false, true, false} {
					t.Logf("the switch's bridge asks: %t", querier)
					if querier {
						if err := tor.StartQuerier(asks); err != nil {
							t.Fatal(err)
						}
					} else if err := tor.StopQuerier(); err != nil {
						t.Fatal(err)
					}
					p.comes(ours, p.pick(4, 6)...)
					p.comes(theirs, p.pick(4, 6)...)
					r3, r7 := p.join(p.guest(3), group), p.join(p.guest(7), group)
					p.comes(ours, p.pick(3, 4, 6, 7)...)
					p.comes(theirs, p.pick(3, 4, 6, 7)...)
					r3.done(r3.Close())
					r7.done(r7.Close())
					p.comes(ours, p.pick(4, 6)...)
					p.comes(theirs, p.pick(4, 6)...)
					r6.done(r6.Leave())
					p.comes(ours, p.pick(4)...)
					p.comes(theirs, p.pick(4)...)
					r6.done(r6.Join())
					r4.done(r4.Leave())
					p.comes(ours, p.pick(6)...)
					p.comes(theirs, p.pick(6)...)
					r4.done(r4.Join())
				}
				p.clean()
			})
		}
	}
}

// A kernel VXLAN switch that does not snoop passes on what its guests say, so it
// gets what they ask for. One that nothing is heard from gets all groups of the
// family, also those that others have asked for, until something is.
func TestMulticastToPlainSwitch(t *testing.T) {
	t.Parallel()
	for _, group := range []string{"ff05::45", "239.1.2.3"} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			p := newParty(t, lab.Options{Hosts: 2}, 4, quick)
			p.addTor(lab.ForeignOptions{}, 2)
			// A stack without IPv6 is in no group of it; one with it is in some.
			for _, g := range p.pick(5, 6) {
				if err := g.Sysctl("net/ipv6/conf/"+lab.GuestDevice+"/disable_ipv6", "1"); err != nil {
					t.Fatal(err)
				}
			}
			p.start()
			s := p.send(p.guest(1), group)
			p.join(p.guest(2), group)
			p.reaches(s, p.pick(2, 5, 6)...)
			// Something is heard: of other groups.
			if err := p.guest(6).Sysctl("net/ipv6/conf/"+lab.GuestDevice+"/disable_ipv6", "0"); err != nil {
				t.Fatal(err)
			}
			p.join(p.guest(6), "239.7.7.7")
			p.reaches(s, p.pick(2)...)
			p.join(p.guest(6), group)
			p.reaches(s, p.pick(2, 5, 6)...)
			p.clean()
		})
	}
}
