// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"overcast/test/lab"
)

var pingSums = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// allAnswered stops a ping and fails the test if it has not had every answer but
// one that may be under way.
func (p *party) allAnswered(ping *lab.Process) {
	p.t.Helper()
	_ = ping.Signal(unix.SIGINT)
	p.eventually("the end of ping", func() bool { ended, _ := ping.Ended(); return ended })
	sums := pingSums.FindStringSubmatch(ping.Log())
	var sent, received int
	if sums != nil {
		_, _ = fmt.Sscan(sums[1], &sent)
		_, _ = fmt.Sscan(sums[2], &received)
	}
	if received < sent-1 || received == 0 {
		p.t.Errorf("of %d pings %d were answered:\n%s", sent, received, ping.Log())
	}
}

// While others talk, a port's device is renamed, its guest moves between hosts,
// and it is removed, by the documents and in fact. The others lose nothing, every
// host sends to the new place soon, and from then on nowhere else; to a MAC that
// is configured never anywhere else.
func TestPortsMoveUnderTraffic(t *testing.T) {
	for _, learned := range []bool{false, true} {
		name := "configured"
		if learned {
			name = "learned"
		}
		t.Run(name, func(t *testing.T) {
			p := newParty(t, lab.Options{Hosts: 3}, 6, "")
			const moverPort = 2
			if learned {
				p.segment += "        learning: true\n        unknown_unicast: flood\n"
				p.ports[moverPort] = "{name: g3, host: host-c, interface: " + p.guest(3).Port + "}"
			}
			// g1 and g4 are on host a, g2 and g5 on b, g3 and g6 on c.
			a, c := p.Hosts[0], p.Hosts[2]
			mover := p.guest(3)
			p.start()
			senders := make(map[*lab.Host]*stream)
			for _, g := range p.pick(4, 5, 6) {
				p.ping(g, "2001:45::3")
				senders[p.hostOf(g)] = p.send(g, "2001:45::3")
			}

			flow := p.flow()
			transfer := startTransfer(t, p.guest(4), p.guest(5), netip.MustParseAddrPort("[2001:45::5]:5001"))
			ping := p.launch(p.guest(6), "ping", "-n", "-q", "-i", "0.01", "10.9.0.4")

			// place tells all agents of the mover's port.
			place := func(h *lab.Host, device string) {
				t.Helper()
				p.ports[moverPort] = fmt.Sprintf("{name: g3, host: %s, interface: %s, mac: %q}", h.Name, device, mover.MAC)
				if learned {
					p.ports[moverPort] = fmt.Sprintf("{name: g3, host: %s, interface: %s}", h.Name, device)
				}
				p.write()
			}
			// As a machine's monitor does after its migration.
			announcement := frame("ff:ff:ff:ff:ff:ff", mover.MAC, 0x88, 0xb5)
			// settled checks that everybody's packets go to the mover and nowhere else.
			settled := func() {
				t.Helper()
				p.eventually("the port", func() bool { return p.up(p.hostOf(mover), "g3", mover.Port) })
				if err := mover.SendFrame(lab.GuestDevice, announcement); err != nil {
					t.Fatal(err)
				}
				for _, s := range senders {
					p.reaches(s, mover)
				}
			}
			settled()

			if err := c.LinkRename(mover.Port, "renamed"); err != nil {
				t.Fatal(err)
			}
			mover.Port = "renamed"
			place(c, "renamed")
			settled()

			var fastest time.Duration
			for i, to := range []*lab.Host{a, c, a} {
				device := fmt.Sprintf("moved%d", i)
				first := make(map[*lab.Host]uint64)
				for h, s := range senders {
					first[h] = s.Next()
					s.Start(time.Millisecond)
				}
				before, start := p.applied(), time.Now()
				place(to, device)
				if !learned {
					p.eventually("packets from all hosts to "+to.Name, func() bool {
						for h, s := range senders {
							if h != to && !p.tunnelled(h, s, first[h], to) {
								return false
							}
						}
						return true
					})
					took := time.Since(start)
					t.Logf("the others send to %s %s after the documents say so", to.Name, took.Round(time.Millisecond))
					if i == 0 || took < fastest {
						fastest = took
					}
				}
				// Another host's program on the device would be a stranger's.
				p.taken(before)
				if err := mover.Move(to, device); err != nil {
					t.Fatal(err)
				}
				p.homes[mover] = to.VTEP
				for _, s := range senders {
					if _, err := s.Stop(); err != nil {
						t.Fatal(err)
					}
				}
				settled()
			}
			if fastest > time.Second {
				t.Errorf("of three moves none was known to other hosts within a second, the fastest took %s", fastest)
			}

			p.ports = slices.Delete(p.ports, moverPort, moverPort+1)
			p.rewrite()
			for _, s := range senders {
				if _, err := s.Send(); err != nil {
					t.Fatal(err)
				}
				p.fence(s.from, p.others(mover))
			}
			p.whole("moves", flow)
			transfer.end()
			p.allAnswered(ping)
			if !learned {
				for _, s := range senders {
					for _, g := range p.others(mover) {
						if n := len(p.witnesses[g].Received(s.Stream)); n > 0 {
							t.Errorf("%s has got %d packets from %s to %s", g.Name, n, s.from.Name, mover.Name)
						}
					}
				}
			}
			p.clean()
		})
	}
}

// hostOf is the host that a guest is on.
func (p *party) hostOf(g *lab.Guest) *lab.Host {
	return p.Hosts[slices.IndexFunc(p.Hosts, func(h *lab.Host) bool { return h.VTEP == p.homes[g] })]
}

// tunnelled tells whether a stream's packets, from this one on, have left a host
// in tunnels to another one.
func (p *party) tunnelled(from *lab.Host, s *stream, first uint64, to *lab.Host) bool {
	way := lab.Tunnel{From: from.VTEP, To: to.VTEP, VNI: 4500}
	for number := range p.uplinks[from.VTEP].Carried(s.Stream)[way] {
		if number >= first {
			return true
		}
	}
	return false
}
