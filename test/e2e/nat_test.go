// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"overcast/test/lab"
)

// A host behind 1:1 NAT, as a cloud's public addresses are, is reached at the
// address that the others know, and hears what routers on both sides say.
func TestHostBehindNAT(t *testing.T) {
	t.Parallel()
	w := buildWorld(t, lab.NewTest(t, lab.Options{Hosts: 3}), lab.GuestOptions{MTU: 1500})
	w.tunnel = probing
	a, b, router := w.Hosts[0], w.Hosts[1], w.Hosts[2]
	private, public := a.VTEP, netip.MustParseAddr("192.0.2.201")
	w.viaRouter()
	if err := w.AddHostAddress(router, netip.PrefixFrom(public, 32)); err != nil {
		t.Fatal(err)
	}
	w.run(router.Namespace, "nft", fmt.Sprintf(`table ip nat {
		chain in { type nat hook prerouting priority dstnat; ip daddr %s dnat to %s; }
		chain out { type nat hook postrouting priority srcnat; ip saddr %s snat to %s; }
	}`, public, private, private, public))
	if err := b.AddRoute(lab.Route{To: netip.PrefixFrom(public, 32), Via: router.VTEP, Device: lab.Uplink, Source: b.VTEP}); err != nil {
		t.Fatal(err)
	}
	a.VTEP = public
	w.write()
	for _, h := range []*lab.Host{a, b} {
		flags := w.agentFlags()
		if h == a {
			flags = append(flags, "--underlay", private.String())
		}
		agent, err := h.StartAgent(overcastd, flags...)
		if err != nil {
			t.Fatal(err)
		}
		w.agents = append(w.agents, agent)
	}
	for _, address := range []string{"10.9.0.2", "2001:45::2"} {
		w.ping(w.guests[0], address)
	}
	w.carries(a, b.Name, 1500, "route")
	w.carries(b, a.Name, 1500, "route")
	w.run(router.Namespace, "ip", "route", "replace", private.String()+"/32", "dev", lab.Uplink, "mtu", "1400")
	w.shrinks(router, b, 1380)
	haul(t, w.guests[0], w.guests[1], netip.MustParseAddrPort("[2001:45::2]:5001"))
	haul(t, w.guests[1], w.guests[0], netip.MustParseAddrPort("10.9.0.1:5002"))
	w.carries(a, b.Name, 1380, "icmp")
	w.carries(b, a.Name, 1400, "icmp")
	w.hasMTU(1380 - w.Overhead())
}

// A host whose address changes while its agent runs is followed by all, its own
// agent included, and guests that stay reach each other all the time.
func TestVTEPChanges(t *testing.T) {
	t.Parallel()
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		t.Run(underlay.String(), func(t *testing.T) {
			t.Parallel()
			w := buildWorld(t, lab.NewTest(t, lab.Options{Hosts: 3, Underlay: underlay}), lab.GuestOptions{})
			w.tunnel = probing
			w.start()
			a, b := w.Hosts[0], w.Hosts[1]
			w.ping(w.guests[0], "2001:45::2")
			w.ping(w.guests[0], "2001:45::3")
			f, err := lab.StartFlow(w.guests[0], w.guests[2], netip.MustParseAddrPort("[2001:45::3]:7000"), 200)
			if err != nil {
				t.Fatal(err)
			}
			old := b.VTEP
			fresh := netip.MustParsePrefix("192.0.2.77/24")
			if underlay == lab.IPv6 {
				fresh = netip.MustParsePrefix("2001:db8:1::77/64")
			}
			if err := w.AddHostAddress(b, fresh); err != nil {
				t.Fatal(err)
			}
			// Else the kernel takes all addresses of the prefix with the first one.
			if underlay == lab.IPv4 {
				if err := b.Sysctl("net/ipv4/conf/all/promote_secondaries", "1"); err != nil {
					t.Fatal(err)
				}
			}
			w.run(b.Namespace, "ip", "address", "delete", netip.PrefixFrom(old, fresh.Bits()).String(), "dev", lab.Uplink)
			b.VTEP = fresh.Addr()
			w.write()
			for _, h := range w.Hosts {
				w.eventually(h.Name+": the new address", func() bool {
					var status []struct{ VTEP string }
					if h == b {
						w.cli(h, "status", &status)
						return status[0].VTEP == fresh.Addr().String()
					}
					var remotes []struct{ VTEP string }
					w.cli(h, "remotes", &remotes)
					for _, r := range remotes {
						if r.VTEP == fresh.Addr().String() {
							return true
						}
					}
					return false
				})
			}
			for _, to := range []string{"2001:45::2", "10.9.0.2"} {
				w.ping(w.guests[0], to)
				w.ping(w.guests[2], to)
			}
			w.answers(a, b.Name, true)
			w.answers(b, a.Name, true)
			w.whole("between the others", f)
			w.clean()
		})
	}
}
