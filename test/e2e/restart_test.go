// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"overcast/test/lab"
)

// flow begins a numbered flow from the first guest to the second.
func (w *world) flow() *lab.Flow {
	w.t.Helper()
	// The neighbours know each other first: resolving is not what is measured.
	w.ping(w.guests[0], "2001:45::2")
	f, err := lab.StartFlow(w.guests[0], w.guests[1], netip.MustParseAddrPort("[2001:45::2]:7000"), 200)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// whole ends a flow and fails the test if a packet is missing or came twice.
func (w *world) whole(name string, f *lab.Flow) {
	w.t.Helper()
	result, err := f.Stop()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("%s: %s", name, result)
	if result.Sent == 0 || result.Received != result.Sent || result.Duplicates > 0 {
		w.t.Errorf("%s: %s", name, result)
	}
}

// restart kills every agent and starts it again.
func (w *world) restart() {
	w.t.Helper()
	for i, h := range w.Hosts {
		w.agents[i].Kill()
		w.agents[i] = w.startAgent(h)
	}
}

// interrupt kills every agent, and then the next ones while they take over,
// each a little later than the one before it.
func (w *world) interrupt(times int) {
	w.t.Helper()
	for i, h := range w.Hosts {
		w.agents[i].Kill()
		for n := range times {
			p, err := h.LaunchAgent(nil, overcastd, w.agentFlags()...)
			if err != nil {
				w.t.Fatal(err)
			}
			time.Sleep(time.Duration(n) * 5 * time.Millisecond)
			p.Kill()
		}
		w.agents[i] = w.startAgent(h)
	}
}

// Agents that are killed eight times and take over again lose no packet of a
// flow of 10,000 a second, and neither does a control run that leaves them be.
func TestRestartLosesNothing(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			if underlay == lab.IPv6 && decap != "tc" {
				continue // what differs by mode does not differ by family
			}
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				w := newWorld(t, lab.Options{Underlay: underlay}, lab.GuestOptions{}, "--decap", decap)

				f, start := w.flow(), time.Now()
				for range 8 {
					w.restart()
				}
				killed := time.Since(start)
				w.whole("killed 8 times", f)
				w.noDrops()

				f = w.flow()
				time.Sleep(killed)
				w.whole("control", f)
				f = w.flow()
				w.interrupt(20)
				w.whole("killed while taking over", f)
				w.noDrops()
				w.clean()
			})
		}
	}
}
