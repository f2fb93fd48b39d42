// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"overcast/test/lab"
)

// world is a lab with agents, and one environment over all its guests.
type world struct {
	*lab.Lab
	t       *testing.T
	agents  []*lab.Process
	guests  []*lab.Guest
	segment string // settings of the segment, as YAML flow entries
	tunnel  string // the documents' tunnel, as lines of YAML
	extra   string // more of the document's hosts, as lines of YAML
	more    string // more segments, as lines of YAML
	ports   []string
	flags   []string
}

// newWorld builds a lab with one guest a host, dual stack, and starts agents.
func newWorld(t *testing.T, options lab.Options, guest lab.GuestOptions, flags ...string) *world {
	t.Helper()
	w := buildWorld(t, lab.NewTest(t, options), guest, flags...)
	w.start()
	return w
}

// buildWorld is newWorld in a lab that is there, before anything is started.
func buildWorld(t *testing.T, l *lab.Lab, guest lab.GuestOptions, flags ...string) *world {
	t.Helper()
	w := &world{Lab: l, t: t, flags: flags}
	for i, h := range w.Hosts {
		w.addGuest(h, fmt.Sprintf("g%d", i+1), guest)
	}
	t.Cleanup(w.explain)
	return w
}

// explain shows, after a failure, what there is to know of the hosts.
func (w *world) explain() {
	if !w.t.Failed() {
		return
	}
	for i, h := range w.Hosts {
		for _, verb := range []string{"status", "ports", "remotes", "fdb", "groups", "drops"} {
			out, _ := h.Run(context.Background(), overcast, verb, "--pin-path", h.PinPath, "--run-dir", h.RunDir)
			w.t.Logf("%s: overcast %s\n%s", h.Name, verb, out)
		}
		if i < len(w.agents) && w.agents[i] != nil {
			w.t.Logf("%s: overcastd\n%s", h.Name, w.agents[i].Log())
		}
	}
}

// addGuest adds a guest with the next addresses 2001:45::n and 10.9.0.n, and
// its port.
func (w *world) addGuest(h *lab.Host, name string, options lab.GuestOptions) *lab.Guest {
	w.t.Helper()
	options.Addresses = w.addresses()
	g, err := h.AddGuest(name, options)
	if err != nil {
		w.t.Fatal(err)
	}
	w.guests = append(w.guests, g)
	w.ports = append(w.ports, fmt.Sprintf("{name: %s, host: %s, interface: %s, mac: %q}", name, h.Name, g.Port, g.MAC))
	return g
}

// addresses are those of the next guest.
func (w *world) addresses() []netip.Prefix {
	n := len(w.guests) + 1
	return []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("2001:45::%x/64", n)),
		netip.MustParsePrefix(fmt.Sprintf("10.9.0.%d/24", n)),
	}
}

// document is the environment of the world.
func (w *world) document() string {
	var b strings.Builder
	b.WriteString(w.tunnel + "hosts:\n")
	for _, h := range w.Hosts {
		fmt.Fprintf(&b, "  - {name: %s, vtep: %q}\n", h.Name, h.VTEP)
	}
	b.WriteString(w.extra)
	fmt.Fprintf(&b, "environments:\n  - name: shop\n    segments:\n      - name: lan\n        vni: 4500\n%s        ports:\n", w.segment)
	for _, port := range w.ports {
		fmt.Fprintf(&b, "          - %s\n", port)
	}
	b.WriteString(w.more)
	return b.String()
}

// write gives every agent the document.
func (w *world) write() {
	w.t.Helper()
	for _, h := range w.Hosts {
		if err := h.WriteDocument(w.document()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// start starts the agents with the document, all at once.
func (w *world) start() {
	w.t.Helper()
	w.write()
	w.agents = make([]*lab.Process, len(w.Hosts))
	failed := make([]error, len(w.Hosts))
	var all sync.WaitGroup
	for i, h := range w.Hosts {
		all.Go(func() { w.agents[i], failed[i] = h.StartAgent(overcastd, w.agentFlags()...) })
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) agentFlags() []string {
	return append([]string{"--metrics", ""}, w.flags...)
}

// startAgent starts the agent of a host.
func (w *world) startAgent(h *lab.Host) *lab.Process {
	w.t.Helper()
	p, err := h.StartAgent(overcastd, w.agentFlags()...)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// run runs a program in a namespace and fails the test if that fails.
func (w *world) run(n *lab.Namespace, name string, args ...string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := n.Run(ctx, name, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// ping makes one guest ping an address until it answers, a few times.
func (w *world) ping(g *lab.Guest, address string) {
	w.t.Helper()
	w.run(g.Namespace, "ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", address)
}

// silent checks that an address does not answer a guest.
func (w *world) silent(g *lab.Guest, address string) {
	w.t.Helper()
	out, err := g.Run(w.t.Context(), "ping", "-n", "-c", "3", "-i", "0.05", "-W", "0.3", address)
	if err == nil {
		w.t.Errorf("%s of %s should not have been reached:\n%s", address, g.Name, out)
	}
}

// eventually waits for what follows from something that the test did. The
// limit only ends a test that would hang.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			w.t.Fatalf("never came: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// cli asks overcast about a host, as JSON, into a list.
func (w *world) cli(h *lab.Host, verb string, rows any) {
	w.t.Helper()
	out := w.run(h.Namespace, overcast, verb, "-o", "json", "--pin-path", h.PinPath, "--run-dir", h.RunDir)
	var document map[string]json.RawMessage
	if err := json.Unmarshal([]byte(out), &document); err != nil {
		w.t.Fatalf("overcast %s: %v\n%s", verb, err, out)
	}
	if string(document["schema"]) != "1" {
		w.t.Fatalf("overcast %s: schema %s", verb, document["schema"])
	}
	if err := json.Unmarshal(document[verb], rows); err != nil {
		w.t.Fatalf("overcast %s: %v\n%s", verb, err, out)
	}
}

// dropRow is what `overcast drops` says of a reason.
type dropRow struct {
	Reason  string
	Packets uint64
	Bytes   uint64
}

// drops returns a host's drop counts by reason, in packets, without probes of hosts
// that were ready before it was.
func (w *world) drops(h *lab.Host) map[string]uint64 {
	w.t.Helper()
	var rows []dropRow
	w.cli(h, "drops", &rows)
	sums := make(map[string]uint64)
	for _, row := range rows {
		sums[row.Reason] += row.Packets
	}
	delete(sums, "DROP_PROBE_UNHEARD")
	return sums
}

// droppedBytes returns how many bytes a host has dropped for a reason.
func (w *world) droppedBytes(h *lab.Host, reason string) uint64 {
	w.t.Helper()
	var rows []dropRow
	w.cli(h, "drops", &rows)
	sum := uint64(0)
	for _, row := range rows {
		if row.Reason == reason {
			sum += row.Bytes
		}
	}
	return sum
}

// noDrops checks that no host has dropped anything.
func (w *world) noDrops() {
	w.t.Helper()
	for _, h := range w.Hosts {
		if drops := w.drops(h); len(drops) > 0 {
			w.t.Errorf("%s dropped %v", h.Name, drops)
		}
	}
}

// clean checks that the cloud has seen nothing that no cloud carries.
func (w *world) clean() {
	w.t.Helper()
	counts, err := w.Forbidden()
	if err != nil {
		w.t.Fatal(err)
	}
	if len(counts) > 0 {
		w.t.Errorf("frames that no cloud carries: %v", counts)
	}
}
