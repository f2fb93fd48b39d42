// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"overcast/policy"
	"overcast/test/lab"
)

// probing has the hosts find out about the ways between them as fast as they can.
const probing = "tunnel: {probe_interval: 1s}\n"

// answers waits until a host is known to answer probes, or not to.
func (w *world) answers(h *lab.Host, name string, does bool) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s: %s answers probes: %t", h.Name, name, does), func() bool {
		probe := w.remote(h, name).Probe
		return probe != nil && probe.Alive == does
	})
}

// carries waits until packets of this size, and no larger ones, are known to get
// to a host, and who says so.
func (w *world) carries(h *lab.Host, name string, size int, source string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s: %d bytes to %s by %s", h.Name, size, name, source), func() bool {
		way := w.remote(h, name)
		return way.MTUUsable == size && way.MTUSource == source
	})
}

// troubled waits until this is known to be wrong with the way to a host, in both
// places that tell of it; nothing, if it is empty.
func (w *world) troubled(h *lab.Host, name, trouble string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s: %q", h.Name, trouble), func() bool {
		var status []struct{ Paths []string }
		w.cli(h, "status", &status)
		way := w.remote(h, name)
		told := slices.Contains(status[0].Paths, way.Trouble)
		return strings.Contains(way.Trouble, trouble) && (trouble == "") == (way.Trouble == "") && told == (trouble != "")
	})
}

// viaRouter has the first two hosts reach each other by the third.
func (w *world) viaRouter() *lab.Host {
	w.t.Helper()
	a, b, router := w.Hosts[0], w.Hosts[1], w.Hosts[2]
	for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := router.Sysctl("net/"+key, "1"); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, key := range []string{"all", lab.Uplink} {
		if err := router.Sysctl("net/ipv4/conf/"+key+"/send_redirects", "0"); err != nil {
			w.t.Fatal(err)
		}
	}
	for from, to := range map[*lab.Host]*lab.Host{a: b, b: a} {
		if err := from.AddRoute(lab.Route{To: netip.PrefixFrom(to.VTEP, to.VTEP.BitLen()), Via: router.VTEP, Device: lab.Uplink, Source: from.VTEP}); err != nil {
			w.t.Fatal(err)
		}
	}
	return router
}

// shrinks gives the link between router and host an MTU; 0: that of its device.
func (w *world) shrinks(router, host *lab.Host, mtu int) {
	w.t.Helper()
	args := []string{"route", "replace", netip.PrefixFrom(host.VTEP, host.VTEP.BitLen()).String(), "dev", lab.Uplink}
	if mtu != 0 {
		args = append(args, "mtu", fmt.Sprint(mtu))
	}
	w.run(router.Namespace, "ip", args...)
}

// An underlay that becomes smaller in the middle, and whose router says so, costs
// a TCP transfer nothing but some packets; guests hear of the size, ports of the
// third host do not suffer, and when the underlay grows again that is found.
func TestUnderlayShrinks(t *testing.T) {
	t.Parallel()
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				t.Parallel()
				w := buildWorld(t, lab.NewTest(t, lab.Options{Underlay: underlay, Hosts: 3}), lab.GuestOptions{MTU: 1500}, "--decap", decap)
				w.tunnel = probing
				router := w.viaRouter()
				w.start()
				a, b := w.Hosts[0], w.Hosts[1]
				w.carries(a, b.Name, 1500, "route")
				w.hasMTU(1500-w.Overhead(), fmt.Sprintf("local error: message too long, mtu: %d", 1500-w.Overhead()))

				s := startTransfer(t, w.guests[0], w.guests[1], netip.MustParseAddrPort("[2001:45::2]:5001"))
				s.moves("over the whole underlay")
				w.shrinks(router, b, 1400)
				s.moves("over the smaller one")
				w.carries(a, b.Name, 1400, "icmp")
				w.hasMTU(1400-w.Overhead(), fmt.Sprintf("local error: message too long, mtu: %d", 1400-w.Overhead()))
				w.troubled(a, b.Name, "")
				// Towards the third host, and from there, nothing is smaller.
				w.carries(a, router.Name, 1500, "route")
				w.run(w.guests[0].Namespace, "ping", "-n", "-c", "1", "-W", "2", "-M", "do", "-s", fmt.Sprint(1500-w.Overhead()-48), "2001:45::3")
				w.shrinks(router, b, 0)
				w.carries(a, b.Name, 1500, "route")
				s.moves("over the whole one again")
				s.end()
				w.hasMTU(1500-w.Overhead(), fmt.Sprintf("local error: message too long, mtu: %d", 1500-w.Overhead()))
			})
		}
	}
}

// An underlay that eats large packets without a word is found and named, and a TCP
// transfer goes on.
func TestUnderlayEatsLargePackets(t *testing.T) {
	t.Parallel()
	for _, encapsulation := range []policy.Encapsulation{policy.VXLAN, policy.Geneve} {
		t.Run(encapsulation.String(), func(t *testing.T) {
			t.Parallel()
			w := buildWorld(t, lab.NewTest(t, lab.Options{Wire: lab.PlainNIC}), lab.GuestOptions{MTU: 1500})
			w.tunnel = fmt.Sprintf("tunnel: {encapsulation: %s, probe_interval: 1s}\n", encapsulation)
			w.start()
			a, b := w.Hosts[0], w.Hosts[1]
			s := startTransfer(t, w.guests[0], w.guests[1], netip.MustParseAddrPort("[2001:45::2]:5001"))
			s.moves("over the whole underlay")
			const ethernet = 14
			if err := w.SetFault(a, lab.Fault{MaxFrame: 1357 + ethernet}); err != nil {
				t.Fatal(err)
			}
			w.carries(a, b.Name, 1357, "probes")
			w.troubled(a, b.Name, "packets of more than 1357 bytes to host-b are lost without a word, though its route says 1500")
			s.moves("over what is left of it")
			w.hasMTU(1357-w.Overhead(), fmt.Sprintf("local error: message too long, mtu: %d", 1357-w.Overhead()))
			// Only this way is smaller.
			w.carries(b, a.Name, 1500, "route")
			w.troubled(b, a.Name, "")

			// The next agent knows from the start.
			w.restart()
			w.carries(a, b.Name, 1357, "probes")
			if err := w.SetFault(a, lab.Fault{MaxFrame: 1300 + ethernet}); err != nil {
				t.Fatal(err)
			}
			w.troubled(a, b.Name, "packets of 1330 bytes to host-b are lost, and a segment needs those")
			if err := w.SetFault(a, lab.Fault{}); err != nil {
				t.Fatal(err)
			}
			w.carries(a, b.Name, 1500, "route")
			w.troubled(a, b.Name, "")
			s.moves("over the whole underlay again")
			s.end()
		})
	}
}

// A tunnel port that is eaten on the way is told from a host that is down, and
// from one without an agent.
func TestTunnelPortIsEaten(t *testing.T) {
	t.Parallel()
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		t.Run(underlay.String(), func(t *testing.T) {
			t.Parallel()
			w := buildWorld(t, lab.NewTest(t, lab.Options{Underlay: underlay}), lab.GuestOptions{})
			w.tunnel = probing
			w.start()
			a, b := w.Hosts[0], w.Hosts[1]
			fault := func(h *lab.Host, f lab.Fault) {
				t.Helper()
				if err := w.SetFault(h, f); err != nil {
					t.Fatal(err)
				}
			}
			w.answers(a, b.Name, true)
			w.answers(b, a.Name, true)
			fault(a, lab.Fault{LosePort: 4789})
			w.answers(a, b.Name, false)
			w.troubled(a, b.Name, "host-b does not hear us, though we hear it: packets from here to its UDP port 4789 are lost")
			fault(b, lab.Fault{LosePort: 4789})
			w.troubled(a, b.Name, "host-b answers ping, and nothing on UDP port 4789")
			fault(b, lab.Fault{LoseEvery: 1})
			w.troubled(a, b.Name, "host-b answers no probes")
			fault(a, lab.Fault{})
			fault(b, lab.Fault{})
			w.troubled(a, b.Name, "")
			w.troubled(b, a.Name, "")
			w.agents[1].Kill()
			w.command(b, "unload")
			w.troubled(a, b.Name, "nobody takes packets to UDP port 4789 of host-b")
		})
	}
}
