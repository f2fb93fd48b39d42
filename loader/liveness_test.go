// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"net/netip"
	"testing"
	"time"

	"overcast/policy"
)

// A host lives from its first answer on, until it has been silent for too long,
// and nobody can answer for it who has not seen the probe.
func TestLiveness(t *testing.T) {
	host := netip.MustParseAddr("192.0.2.2")
	l := &liveness{hosts: make(map[netip.Addr]*probedHost)}
	l.want(map[netip.Addr]uint32{host: 4500})
	now := time.Now()
	probes, _ := l.due(now, policy.MAC{2})
	asked, ok := probes[host]
	if !ok || len(probes) != 1 {
		t.Fatalf("probes %v, want one to %s", probes, host)
	}
	if l.alive()[host] {
		t.Error("alive before it has answered")
	}
	if probes, _ := l.due(now, policy.MAC{2}); len(probes) != 0 {
		t.Errorf("probed again at once: %v", probes)
	}
	forged := probe{reply: true, nonce: asked.nonce + 1}
	if l.answered(now, host, forged) || l.alive()[host] {
		t.Error("a forged answer brings it to life")
	}
	if l.answered(now, netip.MustParseAddr("192.0.2.3"), probe{reply: true, nonce: asked.nonce}) {
		t.Error("another host's answer brings it to life")
	}
	if !l.answered(now, host, probe{reply: true, nonce: asked.nonce}) || !l.alive()[host] {
		t.Error("its answer does not bring it to life")
	}
	if l.answered(now, host, probe{reply: true, nonce: asked.nonce}) {
		t.Error("it comes to life twice")
	}
	if l.turns != 1 {
		t.Errorf("it has come to life once, and that is told %d times", l.turns)
	}
	if _, died := l.due(now.Add(probeTimeout), policy.MAC{2}); died || !l.alive()[host] {
		t.Error("it dies too early")
	}
	if _, died := l.due(now.Add(probeTimeout+time.Nanosecond), policy.MAC{2}); !died || l.alive()[host] {
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
	for _, p := range []probe{{from: policy.MAC{2, 1}, nonce: 1}, {from: policy.MAC{2, 1}, reply: true, nonce: 1<<64 - 1}} {
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
