// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"overcast/test/lab"
)

// A guest whose MTU is too large hears of it: ping and tracepath report the
// segment's MTU, and TCP gets through at once. `ports` shows what the guest
// should have.
func TestTooBigIsAnswered(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			for _, kind := range []lab.Kind{lab.Veth, lab.Tap} {
				t.Run(fmt.Sprintf("%s/%s/%s", underlay, decap, kind), func(t *testing.T) {
					w := newWorld(t, lab.Options{Underlay: underlay}, lab.GuestOptions{Kind: kind, MTU: 1500}, "--decap", decap)
					mtu := 1500 - w.Overhead()
					var ports []struct{ MTU int }
					if w.cli(w.Hosts[0], "ports", &ports); len(ports) != 1 || ports[0].MTU != mtu {
						t.Errorf("ports shows %v, should be an MTU of %d", ports, mtu)
					}

					w.hasMTU(mtu)
					// The other way, where nothing has been learned yet.
					transfer(t, w.guests[1], w.guests[0], netip.MustParseAddrPort("[2001:45::1]:5001"))
					transfer(t, w.guests[1], w.guests[0], netip.MustParseAddrPort("10.9.0.1:5002"))
					w.clean()
				})
			}
		}
	}
}

// hasMTU asserts what the first guest hears of the way to the second: IPv6 and IPv4
// of one size get through, of one byte more get an answer that says so, and
// tracepath finds it. also are other words for that answer.
func (w *world) hasMTU(mtu int, also ...string) {
	w.t.Helper()
	g := w.guests[0]
	for _, c := range []struct {
		address  string
		overhead int
		answer   string
	}{
		{"10.9.0.2", 28, fmt.Sprintf("Frag needed and DF set (mtu = %d)", mtu)},
		{"2001:45::2", 48, fmt.Sprintf("Packet too big: mtu=%d", mtu)},
	} {
		// What the guest's kernel has heard before would keep it from asking.
		for _, family := range []string{"-4", "-6"} {
			w.run(g.Namespace, "ip", family, "route", "flush", "cache")
		}
		ping := func(size int) (string, error) {
			return g.Run(w.t.Context(), "ping", "-n", "-c", "1", "-W", "2", "-M", "do", "-s", fmt.Sprint(size-c.overhead), c.address)
		}
		if out, err := ping(mtu); err != nil {
			w.t.Errorf("%d bytes should fit: %v\n%s", mtu, err, out)
		}
		says := func(out string) bool {
			return slices.ContainsFunc(append(also, c.answer), func(answer string) bool { return strings.Contains(out, answer) })
		}
		if out, err := ping(mtu + 1); err == nil || !says(out) {
			w.t.Errorf("%d bytes to %s: wanted %q, got\n%s", mtu+1, c.address, c.answer, out)
		}
		if out := w.run(g.Namespace, "tracepath", "-n", c.address); !strings.Contains(out, fmt.Sprintf("pmtu %d", mtu)) {
			w.t.Errorf("tracepath to %s does not find %d:\n%s", c.address, mtu, out)
		}
	}
}

// Ports of one host reach each other with frames that no tunnel could carry.
func TestLocalSwitching(t *testing.T) {
	for _, kind := range []lab.Kind{lab.Veth, lab.Tap} {
		t.Run(kind.String(), func(t *testing.T) {
			w := newWorld(t, lab.Options{}, lab.GuestOptions{Kind: kind, MTU: 1500})
			w.addGuest(w.Hosts[0], "near", lab.GuestOptions{Kind: lab.Veth, MTU: 1500})
			w.rewrite()
			far := w.capture(w.guests[1])
			w.ping(w.guests[0], "10.9.0.3")
			w.run(w.guests[0].Namespace, "ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", "-M", "do", "-s", "1452", "2001:45::3")
			transfer(t, w.guests[0], w.guests[2], netip.MustParseAddrPort("[2001:45::3]:5001"))
			transfer(t, w.guests[2], w.guests[0], netip.MustParseAddrPort("10.9.0.1:5001"))
			w.noDrops()
			for _, f := range far.Frames() {
				if len(f.Data) > 1000 {
					t.Fatalf("the other host's guest saw %d bytes of a local transfer", len(f.Data))
				}
			}
		})
	}
}
