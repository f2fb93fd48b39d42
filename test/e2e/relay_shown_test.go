// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"overcast/test/lab"
)

// `overcast segments` and `remotes` show by whom a zone is sent to and who of
// the relays lives, soon after that has changed.
func TestRelaysAreShown(t *testing.T) {
	t.Parallel()
	w := &world{Lab: lab.NewTest(t, lab.Options{Hosts: 4}), t: t, segment: "        relay: {vni: 4600, threshold: 1}\n"}
	here := w.Hosts[0]
	for i, h := range w.Hosts {
		w.addGuest(h, fmt.Sprintf("g%d", i+1), lab.GuestOptions{})
	}
	t.Cleanup(w.explain)
	document := w.document()
	for i, h := range w.Hosts {
		zone := "az2"
		if i == 0 {
			zone = "az1"
		}
		document = strings.Replace(document, fmt.Sprintf("{name: %s, vtep: %q}", h.Name, h.VTEP), fmt.Sprintf("{name: %s, vtep: %q, zone: %s}", h.Name, h.VTEP, zone), 1)
	}
	agents := make(map[string]*lab.Process)
	for _, h := range w.Hosts {
		if err := h.WriteDocument(document); err != nil {
			t.Fatal(err)
		}
		agents[h.Name] = w.startAgent(h)
	}

	// relay waits until the zone has a relay that is not this one, and returns
	// it and the other candidate.
	relay := func(but string) (relay, other string) {
		t.Helper()
		w.eventually("a relay of az2, and not "+but, func() bool {
			var segments []struct {
				Relay struct {
					Zones []struct {
						Zone, Relay string
						Members     int
						Candidates  []struct {
							Host  string
							Alive bool
						}
					}
				}
			}
			w.cli(here, "segments", &segments)
			zones := segments[0].Relay.Zones
			if len(zones) != 1 || zones[0].Zone != "az2" || zones[0].Members != 3 || len(zones[0].Candidates) != 2 {
				t.Fatalf("zones %+v, want az2 with three hosts and two candidates", zones)
			}
			relay, other = zones[0].Relay, ""
			alive := make(map[string]bool)
			for _, c := range zones[0].Candidates {
				alive[c.Host] = c.Alive
				if c.Host != relay {
					other = c.Host
				}
			}
			return relay != "" && relay != but && alive[relay] && (but == "") == alive[other]
		})
		return relay, other
	}
	lives := func(host string) bool {
		t.Helper()
		var remotes []struct {
			Host  string
			Probe *struct{ Alive bool }
		}
		w.cli(here, "remotes", &remotes)
		for _, r := range remotes {
			if r.Host == host && r.Probe != nil {
				return r.Probe.Alive
			}
		}
		return false
	}
	first, backup := relay("")
	for _, h := range w.Hosts[1:] {
		w.eventually(h.Name+" shown alive", func() bool { return lives(h.Name) })
	}
	agents[first].Kill()
	if second, dead := relay(first); second != backup || dead != first {
		t.Errorf("the relay is %s beside %s, want the backup %s beside %s", second, dead, backup, first)
	}
	if lives(first) {
		t.Errorf("%s has no agent, and is shown as one that lives", first)
	}
}
