// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"net/netip"
	"testing"
	"time"

	"overcast/maps"
	"overcast/policy"
)

// A relay lives from its first answer on, until it has been silent for too long,
// and nobody can answer for it who has not seen a probe.
func TestLiveness(t *testing.T) {
	way := maps.RelayWay{VTEP: netip.MustParseAddr("192.0.2.2"), VNI: 100}
	l := &liveness{ways: make(map[maps.RelayWay]*probedWay)}
	l.want(map[maps.RelayWay]bool{way: true})
	now := time.Now()
	ask := func() probe {
		t.Helper()
		probes, _ := l.due(now, policy.MAC{2})
		asked, ok := probes[way]
		if !ok || len(probes) != 1 {
			t.Fatalf("probes %v, want one to %v", probes, way)
		}
		asked.reply = true
		return asked
	}
	asked := ask()
	if l.alive()[way] {
		t.Error("alive before it has answered")
	}
	if probes, _ := l.due(now, policy.MAC{2}); len(probes) != 0 {
		t.Errorf("probed again at once: %v", probes)
	}
	for what, forged := range map[string]probe{"another": {reply: true, nonce: asked.nonce + 1}, "zero, where fewer probes were sent than count": {reply: true}} {
		if l.answered(now, way, forged) || l.alive()[way] {
			t.Errorf("the nonce %s brings it to life", what)
		}
	}
	if l.answered(now, maps.RelayWay{VTEP: way.VTEP, VNI: 101}, asked) {
		t.Error("an answer of another segment brings it to life")
	}
	// It may take a while.
	now = now.Add(probeInterval)
	ask()
	now = now.Add(probeInterval)
	ask()
	if !l.answered(now, way, asked) || !l.alive()[way] {
		t.Error("its answer to the probe before the last does not bring it to life")
	}
	if l.answered(now, way, asked) {
		t.Error("it comes to life twice")
	}
	if l.turns != 1 {
		t.Errorf("it has come to life once, and that is told %d times", l.turns)
	}
	now = now.Add(probeInterval)
	ask()
	if l.answered(now, way, asked); l.ways[way].answered.Equal(now) {
		t.Error("an answer that is too old counts")
	}
	var died bool
	for range 3 {
		if died {
			t.Error("it dies too early")
		}
		now = now.Add(probeInterval)
		_, died = l.due(now, policy.MAC{2})
	}
	if !died || l.alive()[way] {
		t.Error("it does not die")
	}
	if l.turns != 2 {
		t.Errorf("it has come to life and died, and that is told %d times", l.turns)
	}
	l.want(nil)
	if probes, _ := l.due(now.Add(time.Hour), policy.MAC{2}); len(probes) != 0 {
		t.Errorf("probed though nobody wants it: %v", probes)
	}
}

func TestProbeOnTheWire(t *testing.T) {
	for _, p := range []probe{{from: policy.MAC{2, 1}, nonce: 1, size: 60}, {from: policy.MAC{2, 1}, reply: true, nonce: 1<<64 - 1, size: 60}, {from: policy.MAC{2, 1}, nonce: 1, size: 1500}} {
		frame := p.frame()
		if got, ok := parseProbe(frame); !ok || got != p {
			t.Errorf("%v is read as %v, %t", p, got, ok)
		}
		for n := range probeLength {
			if _, ok := parseProbe(frame[:n]); ok {
				t.Errorf("%d bytes are taken for a probe", n)
			}
		}
		for i := range probeLength - 8 {
			if i >= 6 && i < 12 { // the sender's MAC
				continue
			}
			wrong := append([]byte(nil), frame...)
			wrong[i] ^= 0x80
			if _, ok := parseProbe(wrong); ok {
				t.Errorf("taken for a probe with byte %d changed", i)
			}
		}
	}
}
