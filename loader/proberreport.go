// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"fmt"
	"math/bits"
	"net/netip"
	"time"
)

// ProbeReport is what probes tell of a host.
type ProbeReport struct {
	Alive    bool      `json:"alive"`
	Answered time.Time `json:"answered,omitzero"` // last; zero: never
	Loss     float64   `json:"loss"`              // of the last 64 probes, from 0 to 1
	RTT      float64   `json:"rtt_seconds"`       // smoothed; 0: never answered
}

// PathReport is how large a packet gets to a host.
type PathReport struct {
	Usable int `json:"mtu_usable"` // bytes of the largest underlay packet that arrives
	// Who says so: the route, a router of the underlay by ICMP, or probes.
	Source  string `json:"mtu_source"`
	Trouble string `json:"trouble,omitempty"` // what is wrong with the way, if that is known
}

// Who has told how large a packet gets to a host.
const (
	byRoute  = "route"
	byRouter = "icmp"
	byProbes = "probes"
)

// report tells of the way to a host; probe is nil where it is not probed, or it
// is not known yet whether it answers.
func (p *prober) report(now time.Time, vtep netip.Addr, port uint16) (probe *ProbeReport, path PathReport) {
	w := p.ways[vtep]
	if w == nil {
		return nil, PathReport{}
	}
	path = PathReport{Usable: w.usable, Source: byProbes, Trouble: p.trouble(now, w, port)}
	switch {
	case w.usable == w.limit:
		path.Source = byRoute
	case !w.told.IsZero():
		path.Source = byRouter
	}
	if unknown := !w.alive && w.answered.IsZero() && !w.isSilent(); unknown || !w.probed {
		return nil, path
	}
	probe = &ProbeReport{Alive: w.alive, Answered: w.answered, RTT: w.rtt.Seconds()}
	if w.rounds > 0 {
		probe.Loss = float64(bits.OnesCount64(w.outcomes&(1<<w.rounds-1))) / float64(w.rounds)
	}
	return probe, path
}

// reportPath tells of the way to a host. One that relays is asked more often.
func (g *groups) reportPath(now time.Time, vtep netip.Addr) (*ProbeReport, PathReport) {
	probe, path := g.paths.report(now, vtep, g.state.Tunnel.Port)
	if alive, answered, known := g.live.livesAs(vtep); known {
		if probe == nil {
			probe = &ProbeReport{}
		}
		probe.Alive = alive
		if answered.After(probe.Answered) {
			probe.Answered = answered
		}
	}
	return probe, path
}

// trouble says what is wrong with the way to a host, empty if nothing is known.
func (p *prober) trouble(now time.Time, w *way, port uint16) string {
	late := (probeMisses+1)*p.interval + probeMisses*probeWait
	recent := func(at time.Time) bool { return !at.IsZero() && now.Sub(at) < late }
	silent := w.isSilent()
	switch {
	case silent && recent(w.refused):
		return fmt.Sprintf("nobody takes packets to UDP port %d of %s, as it or a router says: is its agent, or its tunnel device, there?", port, w.host)
	case silent && recent(w.heard):
		return fmt.Sprintf("%s does not hear us, though we hear it: packets from here to its UDP port %d are lost on the way", w.host, port)
	case silent && recent(w.pinged):
		return fmt.Sprintf("%s answers ping, and nothing on UDP port %d: a firewall or security group eats it, or no agent is there", w.host, port)
	case silent:
		return fmt.Sprintf("%s answers no probes", w.host)
	case w.alive && w.narrow:
		return fmt.Sprintf("packets of %d bytes to %s are lost, and a segment needs those: its MTU cannot be 1280", w.base, w.host)
	case w.alive && w.usable < w.limit && w.told.IsZero() && !w.searching:
		return fmt.Sprintf("packets of more than %d bytes to %s are lost without a word, though its route says %d", w.usable, w.host, w.limit)
	}
	return ""
}
