// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"overcast/test/lab"
)

// With unknown_groups: drop a group that nobody has asked for goes nowhere, and
// is counted as dropped; one of link-local scope still goes to everybody.
func TestUnknownGroupsDropped(t *testing.T) {
	t.Parallel()
	for _, family := range []struct{ group, local string }{{"ff05::45", "ff02::4545"}, {"239.1.2.3", "224.0.0.45"}} {
		t.Run(family.group, func(t *testing.T) {
			t.Parallel()
			p := newParty(t, lab.Options{Hosts: 2}, 4, quick+", unknown_groups: drop")
			p.start()
			s, local := p.send(p.guest(1), family.group), p.send(p.guest(1), family.local)
			p.reaches(s)
			// On a busy machine the other host may not have told for so long that it
			// gets everything again for a moment.
			p.eventually("one packet dropped as unwanted for one that was sent", func() bool {
				before := p.drops(p.Hosts[0])["DROP_GROUP_UNWANTED"]
				p.probe(s)
				return p.drops(p.Hosts[0])["DROP_GROUP_UNWANTED"] == before+1
			})
			p.reaches(local, p.others(p.guest(1))...)
			r := p.join(p.guest(2), family.group)
			p.reaches(s, p.pick(2)...)
			r.done(r.Leave())
			p.reaches(s)
			p.clean()
		})
	}
}

// With snooping: false groups are flooded, whoever has asked for what, and
// guests see each other's reports, as on a plain switch. A change of the
// setting takes hold.
func TestSnoopingOff(t *testing.T) {
	t.Parallel()
	p := newParty(t, lab.Options{Hosts: 2}, 4, quick+", snooping: false")
	p.start()
	six, four := p.send(p.guest(1), "ff05::45"), p.send(p.guest(1), "239.1.2.3")
	heard := p.capture(p.guest(4))
	p.join(p.guest(2), "ff05::45")
	p.join(p.guest(2), "239.1.2.3")
	p.eventually("g2's reports at g4", func() bool {
		return len(reportsOf(heard, "ff05::45")) > 0 && len(reportsOf(heard, "239.1.2.3")) > 0
	})
	for range 20 {
		p.reaches(six, p.others(p.guest(1))...)
		p.reaches(four, p.others(p.guest(1))...)
	}
	p.segment = "        multicast: {" + quick + "}\n"
	p.rewrite()
	p.reaches(six, p.pick(2)...)
	p.reaches(four, p.pick(2)...)
	p.segment = "        multicast: {snooping: false}\n"
	p.rewrite()
	p.reaches(six, p.others(p.guest(1))...)
	p.reaches(four, p.others(p.guest(1))...)
	p.clean()
}

// reportsOf are the captured reports that name a group, in MLDv2 or IGMPv3.
func reportsOf(c *lab.Capture, group string) []lab.Frame {
	g := netip.MustParseAddr(group)
	return slices.DeleteFunc(c.Frames(), func(f lab.Frame) bool {
		packet := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
		if report, ok := packet.Layer(layers.LayerTypeMLDv2MulticastListenerReport).(*layers.MLDv2MulticastListenerReportMessage); ok {
			return !slices.ContainsFunc(report.MulticastAddressRecords, func(r layers.MLDv2MulticastAddressRecord) bool {
				return r.MulticastAddress.Equal(g.AsSlice())
			})
		}
		if report, ok := packet.Layer(layers.LayerTypeIGMP).(*layers.IGMP); ok {
			return !slices.ContainsFunc(report.GroupRecords, func(r layers.IGMPv3GroupRecord) bool {
				return r.MulticastAddress.Equal(g.AsSlice())
			})
		}
		return true
	})
}

// queriesFor are the captured queries for a group.
func queriesFor(c *lab.Capture, group string) []lab.Frame {
	g := netip.MustParseAddr(group)
	return slices.DeleteFunc(c.Frames(), func(f lab.Frame) bool {
		packet := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
		if query, ok := packet.Layer(layers.LayerTypeMLDv2MulticastListenerQuery).(*layers.MLDv2MulticastListenerQueryMessage); ok {
			return !query.MulticastAddress.Equal(g.AsSlice())
		}
		if query, ok := packet.Layer(layers.LayerTypeMLDv1MulticastListenerQuery).(*layers.MLDv1MulticastListenerQueryMessage); ok {
			return !query.MulticastAddress.Equal(g.AsSlice())
		}
		// Both kinds of IGMP message are of this layer.
		switch query := packet.Layer(layers.LayerTypeIGMP).(type) {
		case *layers.IGMP:
			return query.Type != layers.IGMPMembershipQuery || !query.GroupAddress.Equal(g.AsSlice())
		case *layers.IGMPv1or2:
			return query.Type != layers.IGMPMembershipQuery || !query.GroupAddress.Equal(g.AsSlice())
		}
		return true
	})
}

// With fast_leave a leave counts at once; without, the guest is asked whether
// another listener is behind its port.
func TestFastLeave(t *testing.T) {
	t.Parallel()
	for _, group := range []string{"ff05::45", "239.1.2.3"} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			p := newParty(t, lab.Options{Hosts: 2}, 4, quick+", fast_leave: true")
			p.start()
			s := p.send(p.guest(1), group)
			p.join(p.guest(3), group) // keeps the group known
			asked := p.capture(p.guest(2))
			r := p.join(p.guest(2), group)
			p.reaches(s, p.pick(2, 3)...)
			r.done(r.Leave())
			p.reaches(s, p.pick(3)...)
			if n := len(queriesFor(asked, group)); n > 0 {
				t.Errorf("g2 was asked %d times for %s that it left", n, group)
			}

			p.segment = "        multicast: {" + quick + "}\n"
			p.rewrite()
			r.done(r.Join())
			p.reaches(s, p.pick(2, 3)...)
			r.done(r.Leave())
			p.reaches(s, p.pick(3)...)
			if len(queriesFor(asked, group)) == 0 {
				t.Errorf("g2 was not asked for %s that it left", group)
			}
			p.clean()
		})
	}
}

// Guests that speak older versions get what they ask for until they leave, or,
// where the version has no leave, until they have been silent for long; others
// are not concerned, and lists of sources go on to work at other ports.
func TestOlderVersions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, group string
		speak       func(*lab.Guest) error
	}{
		{"MLDv1", "ff05::45", func(g *lab.Guest) error { return g.SpeakMLD(1) }},
		{"IGMPv2", "239.1.2.3", func(g *lab.Guest) error { return g.SpeakIGMP(2) }},
		{"IGMPv1", "239.1.2.3", func(g *lab.Guest) error { return g.SpeakIGMP(1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newParty(t, lab.Options{Hosts: 2}, 6, quick)
			for _, g := range p.pick(2, 3) {
				if err := c.speak(g); err != nil {
					t.Fatal(err)
				}
			}
			p.start()
			s, second := p.send(p.guest(1), c.group), p.send(p.guest(5), c.group)
			r2, r3 := p.join(p.guest(2), c.group), p.join(p.guest(3), c.group)
			r4 := p.receive(p.guest(4), c.group)
			r4.done(r4.Include(second.Source))
			p.reaches(s, p.pick(2, 3)...)
			p.reaches(second, p.pick(2, 3, 4)...)
			r2.done(r2.Leave())
			p.reaches(s, p.pick(3)...)
			p.reaches(second, p.pick(3, 4)...)
			r2.done(r2.Join())
			p.reaches(s, p.pick(2, 3)...)
			r2.done(r2.Leave())
			r3.done(r3.Leave())
			p.reaches(s)
			p.reaches(second, p.pick(4)...)
			p.clean()
		})
	}
}

// A guest whose link-local address is still tentative asks for groups from `::`
// (RFC 3810 5.2.13), and gets them.
func TestReportsWithoutAddress(t *testing.T) {
	t.Parallel()
	const group = "ff05::45"
	p := newParty(t, lab.Options{Hosts: 2}, 4, quick)
	for _, g := range p.pick(2, 3) {
		// Duplicate address detection that takes ten minutes.
		for key, value := range map[string]string{"accept_dad": "1", "dad_transmits": "600", "disable_ipv6": "1"} {
			if err := g.Sysctl("net/ipv6/conf/"+lab.GuestDevice+"/"+key, value); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.Sysctl("net/ipv6/conf/"+lab.GuestDevice+"/disable_ipv6", "0"); err != nil {
			t.Fatal(err)
		}
	}
	p.start()
	s := p.send(p.guest(1), group)
	sent := p.capture(p.guest(2))
	r2 := p.join(p.guest(2), group)
	p.join(p.guest(3), group)
	p.reaches(s, p.pick(2, 3)...)
	r2.done(r2.Leave())
	p.reaches(s, p.pick(3)...)
	reports := reportsOf(sent, group)
	if len(reports) == 0 {
		t.Fatal("g2 has sent no report")
	}
	for _, f := range reports {
		if !f.Outgoing {
			continue // what the other host tells, before the agent here reads
		}
		packet := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
		if ip, ok := packet.NetworkLayer().(*layers.IPv6); !ok || !ip.SrcIP.IsUnspecified() {
			t.Errorf("a report of g2 is from %v: the test is none", packet.NetworkLayer().NetworkFlow().Src())
		}
	}
	p.clean()
}
