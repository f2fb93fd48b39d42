// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"testing"

	"overcast/test/lab"
)

// becomeQuerier makes a guest a multicast router as far as anybody can tell: a
// kernel bridge over its device that asks for memberships.
func (p *party) becomeQuerier(g *lab.Guest, q lab.BridgeQuerier) {
	p.t.Helper()
	p.run(g.Namespace, "ip", "link", "add", "br0", "address", g.MAC, "type", "bridge", "mcast_snooping", "1")
	p.run(g.Namespace, "ip", "link", "set", lab.GuestDevice, "master", "br0")
	p.run(g.Namespace, "ip", "link", "set", "br0", "up")
	if err := g.StartQuerier(q); err != nil {
		p.t.Fatal(err)
	}
}

// told are the groups that a guest's bridge has been told of over its device.
func (p *party) told(g *lab.Guest) []string {
	p.t.Helper()
	var bridges []struct {
		MDB []struct{ Port, Grp string }
	}
	out := p.run(g.Namespace, "bridge", "-j", "mdb", "show")
	if err := json.Unmarshal([]byte(out), &bridges); err != nil {
		p.t.Fatalf("bridge mdb: %v\n%s", err, out)
	}
	var groups []string
	for _, b := range bridges {
		for _, entry := range b.MDB {
			if entry.Port == lab.GuestDevice {
				groups = append(groups, entry.Grp)
			}
		}
	}
	return groups
}

// askers are the MACs that captured general queries of a group's family are from.
func askers(c *lab.Capture, group string) []string {
	all := "0.0.0.0"
	if netip.MustParseAddr(group).Is6() {
		all = "::"
	}
	var macs []string
	for _, f := range queriesFor(c, all) {
		macs = append(macs, net.HardwareAddr(f.Data[6:12]).String())
	}
	return macs
}

// A multicast router among the guests gets every group of its family, known or
// not, from all hosts; it is told what is wanted behind all other ports and
// hosts, in the version that it speaks, and when it no longer is; and its
// queries take the place of ours at every port.
func TestMulticastRouter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, group, unknown string
		querier              lab.BridgeQuerier
	}{
		{"MLDv2", "ff05::45", "ff05::77", asks},
		{"MLDv1", "ff05::45", "ff05::77", version(1, 3)},
		{"IGMPv3", "239.1.2.3", "239.7.7.7", asks},
		{"IGMPv2", "239.1.2.3", "239.7.7.7", version(2, 2)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newParty(t, lab.Options{Hosts: 2}, 6, quick+", unknown_groups: drop")
			router := p.guest(6) // on host b
			p.start()
			near, far := p.send(p.guest(2), c.group), p.send(p.guest(1), c.group)
			unknown := p.send(p.guest(1), c.unknown)
			r3, r4 := p.join(p.guest(3), c.group), p.join(p.guest(4), c.group)
			p.reaches(near, p.pick(3, 4)...)
			p.reaches(far, p.pick(3, 4)...)
			p.reaches(unknown)

			p.becomeQuerier(router, c.querier)
			p.reaches(near, p.pick(3, 4, 6)...)
			p.reaches(far, p.pick(3, 4, 6)...)
			p.reaches(unknown, router)
			for _, g := range p.pick(1, 4) {
				heard := p.capture(g)
				// The first queries to a new port are ours, but where the router is.
				p.eventually("queries of the router and nobody else at "+g.Name, func() bool {
					macs := askers(heard, c.group)
					return len(macs) >= 3 && !slices.ContainsFunc(macs[len(macs)-3:], func(mac string) bool { return mac != router.MAC })
				})
				heard.Stop()
			}
			p.eventually("what the router is told", func() bool { return slices.Contains(p.told(router), c.group) })
			r3.done(r3.Leave())
			p.reaches(far, p.pick(4, 6)...)
			if !slices.Contains(p.told(router), c.group) {
				t.Errorf("g4 wants %s, and the router knows of %v", c.group, p.told(router))
			}
			r4.done(r4.Leave())
			p.reaches(far, router)
			p.eventually("the router's knowing that nobody is left", func() bool { return !slices.Contains(p.told(router), c.group) })
			r3.done(r3.Join())
			p.reaches(near, p.pick(3, 6)...)
			p.eventually("what the router is told of host a", func() bool { return slices.Contains(p.told(router), c.group) })
			p.clean()
		})
	}
}

// version is a querier of these versions.
func version(mld, igmp uint8) lab.BridgeQuerier {
	q := asks
	q.MLD, q.IGMP = mld, igmp
	return q
}
