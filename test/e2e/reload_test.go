// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"strings"
	"testing"

	"overcast/test/lab"
)

// state is what `overcast status` says, as far as tests ask for it.
type state struct {
	Agent         string
	Host          string
	Attach        string
	Segments      int
	Ports         int
	PortsMissing  int `json:"ports_missing"`
	Remotes       int
	ConfigApplied string `json:"config_applied"`
	Tunnel        struct{ Error string }
	Config        struct{ Source, Applied, Error string }
	Uplinks       []struct{ Interface, Decap, Reason string }
	Problems      []string
}

// status asks a host for its state.
func (w *world) status(h *lab.Host) state {
	w.t.Helper()
	var rows []state
	w.cli(h, "status", &rows)
	if len(rows) != 1 {
		w.t.Fatalf("status has %d rows", len(rows))
	}
	return rows[0]
}

// rewrite gives the agents the document as it is now and waits until all have
// taken it.
func (w *world) rewrite() {
	w.t.Helper()
	before := w.applied()
	w.write()
	w.taken(before)
}

// applied tells when each agent has taken its document.
func (w *world) applied() []string {
	w.t.Helper()
	times := make([]string, len(w.agents))
	for i := range w.agents {
		times[i] = w.status(w.Hosts[i]).Config.Applied
	}
	return times
}

// taken waits until all agents have taken another document than before.
func (w *world) taken(before []string) {
	w.t.Helper()
	for i := range w.agents {
		w.eventually("reload of "+w.Hosts[i].Name, func() bool { return w.status(w.Hosts[i]).Config.Applied != before[i] })
	}
}

// A reload that adds or removes ports, hosts and segments loses no packet of a
// flow that it does not concern, and those who are added are reached.
func TestReloadLosesNothing(t *testing.T) {
	for _, decap := range []string{"xdp", "tc", "kernel"} {
		t.Run(decap, func(t *testing.T) {
			w := newWorld(t, lab.Options{}, lab.GuestOptions{}, "--decap", decap)
			f := w.flow()

			w.addGuest(w.Hosts[0], "g3", lab.GuestOptions{})
			w.addGuest(w.Hosts[1], "g4", lab.GuestOptions{Kind: lab.Tap})
			w.rewrite()
			w.ping(w.guests[2], "2001:45::4")
			w.ping(w.guests[2], "2001:45::1")

			h, err := w.AddHost()
			if err != nil {
				t.Fatal(err)
			}
			w.addGuest(h, "g5", lab.GuestOptions{})
			w.rewrite()
			w.agents = append(w.agents, w.startAgent(h))
			w.ping(w.guests[4], "2001:45::1")
			w.ping(w.guests[4], "10.9.0.4")

			w.more = "      - {name: dmz, vni: 4501, members: [host-a, host-b, host-c], ports: []}\n"
			w.rewrite()
			if n := w.status(w.Hosts[1]).Segments; n != 2 {
				t.Errorf("%d segments after the reload, not 2", n)
			}

			w.more = ""
			w.ports = slices.DeleteFunc(w.ports, func(p string) bool { return strings.Contains(p, "g3") || strings.Contains(p, "g5") })
			w.rewrite()
			if s := w.status(w.Hosts[0]); s.Ports != 1 || s.Remotes != 1 || s.Segments != 1 {
				t.Errorf("after the removal: %d ports, %d remotes, %d segments; all should be 1", s.Ports, s.Remotes, s.Segments)
			}
			w.silent(w.guests[2], "2001:45::4")

			w.whole("reloads", f)
			w.clean()
		})
	}
}
