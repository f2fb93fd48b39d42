// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"overcast/test/lab"
)

const relayVNI = 4600

// inZones gives each host of a document its zone.
func (p *party) inZones(zones ...string) {
	p.t.Helper()
	document := p.document()
	for i, h := range p.Hosts {
		plain := fmt.Sprintf("{name: %s, vtep: %q}", h.Name, h.VTEP)
		document = strings.Replace(document, plain, strings.TrimSuffix(plain, "}")+", zone: "+zones[i]+"}", 1)
	}
	for _, h := range p.Hosts {
		if err := h.WriteDocument(document); err != nil {
			p.t.Fatal(err)
		}
	}
}

// crossings are the ways that a packet of a stream took between hosts.
func (p *party) crossings(s *stream, number uint64) map[lab.Tunnel]int {
	all := make(map[lab.Tunnel]int)
	for vtep, witness := range p.uplinks {
		for tunnel, tally := range witness.Carried(s.Stream) {
			// Each is seen at both ends.
			if tunnel.From == vtep && tally[number] > 0 {
				all[tunnel] += tally[number]
			}
		}
	}
	return all
}

// A zone with more receivers than the threshold gets one copy, whose relay makes
// the others; each guest gets one. A relay that dies is replaced by the other,
// and where both are dead each host is sent to. Broadcasts and unknown groups go
// the same way, groups with few receivers do not, and nothing crosses a zone twice.
func TestMulticastByRelays(t *testing.T) {
	t.Parallel()
	for _, family := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			if family == lab.IPv6 && decap != "tc" {
				continue // what differs by mode does not differ by family
			}
			t.Run(fmt.Sprintf("%s/%s", family, decap), func(t *testing.T) { relayed(t, family, decap) })
		}
	}
}

func relayed(t *testing.T, family lab.Family, decap string) {
	t.Parallel()
	p := newParty(t, lab.Options{Hosts: 6, Underlay: family}, 6, quick, "--decap", decap)
	p.segment += fmt.Sprintf("        relay: {vni: %d, threshold: 2}\n", relayVNI)
	p.inZones("west", "west", "east", "east", "east", "north")
	agents := make(map[netip.Addr]*lab.Process)
	for _, h := range p.Hosts {
		agents[h.VTEP] = p.startAgent(h)
	}
	t.Cleanup(func() {
		for vtep, a := range agents {
			if t.Failed() {
				t.Logf("%s:\n%s", vtep, a.Log())
			}
		}
	})
	west, east, north := p.Hosts[1].VTEP, []netip.Addr{p.Hosts[2].VTEP, p.Hosts[3].VTEP, p.Hosts[4].VTEP}, p.Hosts[5].VTEP
	here := p.Hosts[0].VTEP

	// by sends packets until they go by these ways alone, and by another relay in
	// the east than one that is dead. It returns the relay; it is the zero address
	// where the hosts of the east are sent to directly.
	by := func(what string, s *stream, direct []netip.Addr, toEast bool, dead netip.Addr) (relay netip.Addr) {
		t.Helper()
		var last map[lab.Tunnel]int
		deadline := time.Now().Add(30 * time.Second)
		for good := 0; good < 3; time.Sleep(20 * time.Millisecond) {
			n, err := s.Send()
			if err != nil {
				t.Fatal(err)
			}
			p.fence(s.from, p.guests[:2])
			time.Sleep(20 * time.Millisecond)
			last = p.crossings(s, n)
			want := make(map[lab.Tunnel]int)
			for _, to := range direct {
				want[lab.Tunnel{From: here, To: to, VNI: 4500}] = 1
			}
			relay = netip.Addr{}
			for tunnel := range last {
				if tunnel.VNI == relayVNI {
					relay = tunnel.To
				}
			}
			if toEast && relay.IsValid() {
				want[lab.Tunnel{From: here, To: relay, VNI: relayVNI}] = 1
				for _, to := range east {
					if to != relay {
						want[lab.Tunnel{From: relay, To: to, VNI: 4500}] = 1
					}
				}
			}
			if fmt.Sprint(want) == fmt.Sprint(last) && toEast == relay.IsValid() && (!toEast || relay != dead) {
				good++
				for _, g := range p.guests[1:] {
					if copies := p.witnesses[g].Copies(s.Stream, n); copies > 1 {
						t.Errorf("%s: packet %d came %d times to %s", what, n, copies, g.Name)
					}
				}
				continue
			}
			good = 0
			if time.Now().After(deadline) {
				t.Fatalf("%s: a packet crosses %v, and should cross %v", what, last, want)
			}
		}
		return relay
	}

	group := p.send(p.guest(1), "ff05::45")
	for _, i := range []int{2, 3, 4, 5, 6} {
		p.join(p.guest(i), "ff05::45")
	}
	first := by("a group that all want", group, []netip.Addr{west, north}, true, netip.Addr{})
	if !slices.Contains(east, first) {
		t.Errorf("the relay %s is not in the zone", first)
	}
	unknown := p.send(p.guest(1), "ff05::99")
	by("a group that nobody asked for", unknown, []netip.Addr{west, north}, true, netip.Addr{})

	few := p.send(p.guest(1), "ff05::46")
	p.join(p.guest(3), "ff05::46")
	p.join(p.guest(4), "ff05::46")
	by("a group that two of the zone want", few, []netip.Addr{east[0], east[1]}, false, netip.Addr{})

	agents[first].Kill()
	second := by("the relay has died", group, []netip.Addr{west, north}, true, first)
	agents[second].Kill()
	by("the backup has died too", group, append([]netip.Addr{west, north}, east...), false, netip.Addr{})
	for _, h := range p.Hosts {
		if h.VTEP == first {
			agents[first] = p.startAgent(h)
		}
	}
	if again := by("the relay is back", group, []netip.Addr{west, north}, true, second); again != first {
		t.Errorf("the relay is %s, and should be %s again", again, first)
	}
	p.clean()
}
