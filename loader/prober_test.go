// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"overcast/bpf"
	"overcast/maps"
	"overcast/policy"
)

// proberWorld is the way to one host, and time that passes there.
type proberWorld struct {
	*prober
	t     *testing.T
	now   time.Time
	state *policy.State
	vtep  netip.Addr
	route int // what it lets out

	carries int     // bytes of the largest packet that arrives; 0: none does
	loss    float64 // of packets
	icmp    bool    // a router tells of what is too large
	refuses bool    // the host says that there is nobody
	seed    *rand.Rand
	changes int // how often another size became usable
	sent    int // probes
}

func newProberWorld(t *testing.T, vtep string, route, carries int) *proberWorld {
	w := &proberWorld{
		prober: &prober{ways: make(map[netip.Addr]*way)},
		t:      t, now: time.Now(), vtep: netip.MustParseAddr(vtep), route: route, carries: carries,
		seed: rand.New(rand.NewPCG(1, 2)),
	}
	w.state = &policy.State{
		Tunnel:   policy.DefaultTunnel(policy.VXLAN),
		Remotes:  []policy.Remote{{Name: "b", VTEP: w.vtep}},
		Segments: []policy.Segment{{VNI: 4500, Remotes: []netip.Addr{w.vtep}}},
	}
	w.follow(0)
	return w
}

// follow takes the state and the route as they are; left is what the maps say.
func (w *proberWorld) follow(left int) {
	w.want(w.now, w.state, map[netip.Addr]int{w.vtep: w.route}, &maps.Contents{
		Snapshot: maps.Snapshot{Remotes: map[uint32]bpf.Remote{1: {Vtep: bpf.AddrFrom(w.vtep), Mtu: uint32(left)}}},
	})
}

// size is what a probe is on the underlay, in bytes.
func (w *proberWorld) size(p probe) int {
	return len(p.frame()) - ethernetHeader + maps.Overhead(w.vtep)
}

// pass lets time go by.
func (w *proberWorld) pass(d time.Duration) {
	w.t.Helper()
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(answerInterval) {
		probes, changed := w.due(w.now, policy.MAC{2})
		for _, o := range probes {
			if o.vtep != w.vtep || o.vni != 4500 {
				w.t.Fatalf("a probe to %s under VNI %d", o.vtep, o.vni)
			}
			w.sent++
			switch size := w.size(o.probe); {
			case size > w.route:
				w.t.Fatalf("a probe of %d bytes, where the route says %d", size, w.route)
			case w.refuses:
				changed = w.take(w.now, w.vtep, underlayError{}) || changed
			case size > w.carries:
				if w.icmp {
					changed = w.take(w.now, w.vtep, underlayError{w.carries}) || changed
				}
			case w.seed.Float64() >= w.loss:
				w.answer(w.now.Add(time.Millisecond), w.vtep, o.probe.nonce)
			}
		}
		if changed {
			w.changes++
		}
	}
}

func (w *proberWorld) wants(what string, usable int, source string, alive bool, trouble string) {
	w.t.Helper()
	probe, path := w.report(w.now, w.vtep, 4789)
	if path.Usable != usable || path.Source != source || !strings.Contains(path.Trouble, trouble) || (trouble == "") != (path.Trouble == "") {
		w.t.Errorf("%s: %+v, want %d by %s, trouble %q", what, path, usable, source, trouble)
	}
	if probe == nil || probe.Alive != alive {
		w.t.Errorf("%s: %+v, want alive %t", what, probe, alive)
	}
	if got := w.mtus(w.now, map[netip.Addr]int{w.vtep: w.route}, w.state, &maps.Snapshot{})[w.vtep]; got != usable {
		w.t.Errorf("%s: guests are to have packets of %d bytes, want %d", what, got, usable)
	}
}

// What arrives is found to the byte, with and without a word of routers, also as
// it changes.
func TestProbedSize(t *testing.T) {
	for _, vtep := range []string{"192.0.2.2", "2001:db8::2"} {
		for _, c := range []struct{ route, carries int }{{1500, 1400}, {9001, 1500}, {9001, 9000}, {9001, 8999}, {1500, 1499}, {65535, 1500}, {1500, 1351}} {
			w := newProberWorld(t, vtep, c.route, c.carries)
			w.pass(time.Second)
			w.wants("before anybody knows", c.route, byRoute, true, "")
			w.pass(20 * time.Second)
			w.wants("eaten", c.carries, byProbes, true, "lost without a word")
			if w.changes > 8 {
				t.Errorf("%d changes", w.changes)
			}
			w.carries = min(c.route, probeLargest)
			w.pass(80 * time.Second)
			if c.route <= probeLargest {
				w.wants("no more", c.route, byRoute, true, "")
			}
			w.carries, w.icmp = c.carries, true
			w.pass(20 * time.Second)
			w.wants("told", c.carries, byRouter, true, "")
			w.carries = c.route
			w.pass(80 * time.Second)
			if c.route <= probeLargest {
				w.wants("the bottleneck has gone", c.route, byRoute, true, "")
			}
		}
	}
}

// Losses by chance make nothing smaller for long, and are told.
func TestProbeLoss(t *testing.T) {
	w := newProberWorld(t, "192.0.2.2", 1500, 1500)
	w.loss = 0.2
	w.pass(20 * time.Minute)
	probe, path := w.report(w.now, w.vtep, 4789)
	if !probe.Alive || probe.Loss < 0.05 || probe.Loss > 0.4 || probe.RTT <= 0 || probe.RTT > 0.01 {
		t.Errorf("%+v", probe)
	}
	w.loss = 0
	w.pass(3 * time.Minute)
	w.wants("without losses", 1500, byRoute, true, "")
	if path.Usable < 1330 {
		t.Errorf("%d bytes usable", path.Usable)
	}
	w.pass(6 * time.Minute)
	if probe, _ = w.report(w.now, w.vtep, 4789); probe.Loss != 0 {
		t.Errorf("a loss of %f is still told", probe.Loss)
	}
}

// A lie about the size costs seconds, and nobody can lie below what IPv6 needs.
func TestForgedSize(t *testing.T) {
	w := newProberWorld(t, "192.0.2.2", 1500, 1500)
	w.pass(10 * time.Second)
	if !w.take(w.now, w.vtep, underlayError{600}) {
		t.Error("nothing has changed")
	}
	w.wants("believed", 1330, byRouter, true, "")
	w.pass(15 * time.Second)
	w.wants("found out", 1500, byRoute, true, "")
	if w.take(w.now, w.vtep, underlayError{1500}) || w.take(w.now, w.vtep, underlayError{9000}) || w.take(w.now, netip.MustParseAddr("192.0.2.3"), underlayError{1400}) {
		t.Error("what changes nothing is taken for a change")
	}
	if w.answer(w.now, w.vtep, 0) || w.answer(w.now, w.vtep, 1) || w.answer(w.now, netip.MustParseAddr("192.0.2.3"), 1) {
		t.Error("an answer to no probe of ours is taken")
	}
}

// What is wrong with a way is named.
func TestPathTrouble(t *testing.T) {
	w := newProberWorld(t, "192.0.2.2", 1500, 1500)
	if probe, _ := w.report(w.now, w.vtep, 4789); probe != nil {
		t.Errorf("%+v before the first probe", probe)
	}
	w.pass(10 * time.Second)
	w.carries = 0
	w.pass(10 * time.Second)
	w.wants("down", 1500, byRoute, false, "b answers no probes")
	if hosts := w.silent(); len(hosts) != 1 || hosts[0] != w.vtep {
		t.Errorf("silent are %v", hosts)
	}
	w.pinged(w.now, w.vtep)
	w.wants("the port is eaten", 1500, byRoute, false, "answers ping, and nothing on UDP port 4789")
	w.hear(w.now, w.vtep)
	w.wants("one way", 1500, byRoute, false, "does not hear us, though we hear it")
	w.refuses = true
	w.pass(6 * time.Second)
	w.wants("no agent", 1500, byRoute, false, "nobody takes packets to UDP port 4789 of b")
	w.refuses, w.carries = false, 1500
	w.pass(6 * time.Second)
	w.wants("back", 1500, byRoute, true, "")
	if hosts := w.silent(); len(hosts) != 0 {
		t.Errorf("silent are %v", hosts)
	}
	w.carries = 1300
	w.pass(20 * time.Second)
	w.wants("too small", 1330, byProbes, true, "packets of 1330 bytes to b are lost")
	w.carries = 1500
	w.pass(80 * time.Second)
	w.wants("large again", 1500, byRoute, true, "")
}

// What an agent has found is known to the next one, which looks at once whether
// it is still so.
func TestProberRestart(t *testing.T) {
	w := newProberWorld(t, "192.0.2.2", 1500, 1400)
	w.pass(20 * time.Second)
	w.prober = &prober{ways: make(map[netip.Addr]*way)}
	left := &maps.Snapshot{Remotes: map[uint32]bpf.Remote{1: {Vtep: bpf.AddrFrom(w.vtep), Mtu: 1350}}}
	if got := w.mtus(w.now, map[netip.Addr]int{w.vtep: 1500}, w.state, left)[w.vtep]; got != 1400 {
		t.Errorf("before its first probe %d bytes are usable", got)
	}
	w.follow(1350)
	w.pass(4 * time.Second)
	w.wants("still so", 1400, byProbes, true, "lost without a word")
	w.carries = 1500
	w.prober = &prober{ways: make(map[netip.Addr]*way)}
	w.follow(1350)
	w.pass(4 * time.Second)
	w.wants("no more", 1500, byRoute, true, "")
}

// Who is not probed is believed what routers say, for ten minutes; a route with
// another MTU counts at once.
func TestUnprobed(t *testing.T) {
	w := newProberWorld(t, "192.0.2.2", 1500, 1500)
	w.state.Remotes[0].Foreign = true
	w.follow(1300) // of no use for one that cannot be asked
	usable := func() int { _, path := w.report(w.now, w.vtep, 4789); return path.Usable }
	w.take(w.now, w.vtep, underlayError{1400})
	w.pass(9 * time.Minute)
	if w.sent > 0 || usable() != 1400 {
		t.Errorf("%d probes, %d bytes usable", w.sent, usable())
	}
	w.pass(2 * time.Minute)
	if usable() != 1500 {
		t.Errorf("%d bytes usable", usable())
	}
	w.state.Remotes[0].Foreign = false
	w.route = 9001
	w.follow(0)
	if usable() != 9001 {
		t.Errorf("the route says more: %d bytes usable", usable())
	}
	w.carries, w.icmp = 1450, true
	w.pass(10 * time.Second)
	w.route = 1420
	w.follow(0)
	if usable() != 1420 {
		t.Errorf("the route says less: %d bytes usable", usable())
	}
	w.route = 9001
	w.follow(0)
	w.pass(10 * time.Second)
	w.wants("more again", 1450, byRouter, true, "")
	w.state.Tunnel.ProbeInterval = 0
	w.follow(0)
	if probe, _ := w.report(w.now, w.vtep, 4789); probe != nil {
		t.Errorf("%+v of one that is not probed", probe)
	}
}
