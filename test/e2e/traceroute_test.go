// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"testing"

	"overcast/test/lab"
)

// Between two segments that a guest on another host routes between, traceroute
// (UDP, ICMP, TCP) and tracepath show that guest, and then who was asked for.
func TestTraceroute(t *testing.T) {
	t.Parallel()
	w := buildWorld(t, lab.NewTest(t, lab.Options{}), lab.GuestOptions{})
	from, router := w.guests[0], w.guests[1]
	to, err := w.Hosts[0].AddGuest("far", lab.GuestOptions{Addresses: []netip.Prefix{
		netip.MustParsePrefix("2001:46::3/64"), netip.MustParsePrefix("10.10.0.3/24")}})
	if err != nil {
		t.Fatal(err)
	}
	w.more = fmt.Sprintf("      - name: dmz\n        vni: 4501\n        ports:\n          - {name: far, host: host-a, interface: %s, mac: %q}\n          - %s\n",
		to.Port, to.MAC, w.secondLeg(router, w.Hosts[1], "dmz", "2001:46::2/64", "10.10.0.2/24"))
	w.start()
	for _, g := range []*lab.Guest{router, to} {
		// An error is told for each probe.
		if err := errors.Join(g.Sysctl("net/ipv4/icmp_ratelimit", "0"), g.Sysctl("net/ipv6/icmp/ratelimit", "0")); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(router.Sysctl("net/ipv4/ip_forward", "1"), router.Sysctl("net/ipv6/conf/all/forwarding", "1")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ there, back, far, near, address string }{
		{"10.10.0.0/24", "10.9.0.0/24", "10.10.0.2", "10.9.0.2", "10.10.0.3"},
		{"2001:46::/64", "2001:45::/64", "2001:46::2", "2001:45::2", "2001:46::3"},
	} {
		if err := errors.Join(
			from.AddRoute(lab.Route{To: netip.MustParsePrefix(c.there), Via: netip.MustParseAddr(c.near), Device: lab.GuestDevice}),
			to.AddRoute(lab.Route{To: netip.MustParsePrefix(c.back), Via: netip.MustParseAddr(c.far), Device: lab.GuestDevice})); err != nil {
			t.Fatal(err)
		}
		w.ping(from, c.address)
		for _, program := range [][]string{
			{"traceroute", "-n"}, {"traceroute", "-n", "-I"}, {"traceroute", "-n", "-T"}, {"tracepath", "-n"},
		} {
			out := w.run(from.Namespace, program[0], append(program[1:], c.address)...)
			if hops := hopsOf(out); !slices.Equal(hops, []string{c.near, c.address}) {
				t.Errorf("%v shows the hops %v, should be %s and %s:\n%s", program, hops, c.near, c.address, out)
			}
		}
	}
	w.clean()
}

// secondLeg gives a guest of a host one more device, with addresses, and
// returns its port.
func (w *world) secondLeg(g *lab.Guest, h *lab.Host, name string, addresses ...string) string {
	w.t.Helper()
	if err := lab.Join(h.Namespace, g.Namespace, name); err != nil {
		w.t.Fatal(err)
	}
	if err := errors.Join(g.Sysctl("net/ipv6/conf/"+name+"/accept_dad", "0"), g.Sysctl("net/ipv6/conf/"+name+"/disable_ipv6", "0"),
		g.SetMTU(name, g.Options.MTU)); err != nil {
		w.t.Fatal(err)
	}
	for _, address := range addresses {
		if err := g.AddAddress(name, netip.MustParsePrefix(address)); err != nil {
			w.t.Fatal(err)
		}
	}
	mac, err := g.HardwareAddr(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprintf("{name: %s-%s, host: %s, interface: %s, mac: %q}", g.Name, name, h.Name, name, mac)
}

var hop = regexp.MustCompile(`(?m)^ *\d+:? +([0-9a-f.:]+|\*)`)

// hopsOf are the hops that traceroute or tracepath has printed, one after the
// other; tracepath repeats one that tells it of another MTU.
func hopsOf(out string) []string {
	var hops []string
	for _, m := range hop.FindAllStringSubmatch(out, -1) {
		hops = append(hops, m[1])
	}
	return slices.Compact(hops)
}
