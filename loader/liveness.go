// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"overcast/maps"
	"overcast/policy"
)

// liveness knows which relays answer probes. A probe is an Ethernet frame under
// the relay's VNI, so it is lost where what is to be relayed would be; the agent
// there answers under the segment's own.
type liveness struct {
	ways  map[maps.RelayWay]*probedWay
	turns uint64 // how often one has come to life or died, or is probed no more
}

// probedWay is what is known of the way to a relay.
type probedWay struct {
	nonces   [probeTimeout / probeInterval]uint64 // of the last probes; nobody else can answer them
	sent     time.Time
	answered time.Time
	alive    bool
}

// A relay is probed each probeInterval, and is dead when it has not answered
// for probeTimeout.
const (
	probeInterval = time.Second
	probeTimeout  = 3 * probeInterval
)

// probe is a probe or the answer to one, as it is on the wire: behind the
// Ethernet header a mark, the kind, and the nonce in network byte order.
type probe struct {
	from  policy.MAC
	reply bool
	nonce uint64
	size  int // bytes of the frame, if that is more than it needs
}

// The frames of probes: the experimental EtherType (IEEE 802 9.2) to a group
// MAC of our own, so that bridges of foreign hosts do not learn it. snoop.h
// takes them from remotes, and from no port.
const (
	probeEtherType = 0x88b5
	probeMark      = "overcast"
	probeRequest   = 1
	probeReply     = 2
	probeLength    = 14 + len(probeMark) + 1 + 8
)

var probeMAC = policy.MAC{0x0b, 0x6f, 0x63, 0, 0, 1}

func (p probe) frame() []byte {
	frame := append(append(make([]byte, 0, 60), probeMAC[:]...), p.from[:]...)
	frame = binary.BigEndian.AppendUint16(frame, probeEtherType)
	kind := byte(probeRequest)
	if p.reply {
		kind = probeReply
	}
	frame = append(append(frame, probeMark...), kind)
	frame = binary.BigEndian.AppendUint64(frame, p.nonce)
	return append(frame, make([]byte, max(60, p.size)-len(frame))...) // Ethernet's least
}

// parseProbe reads a frame, which is any; false where it is no probe.
func parseProbe(frame []byte) (probe, bool) {
	if len(frame) < probeLength || policy.MAC(frame[:6]) != probeMAC || binary.BigEndian.Uint16(frame[12:]) != probeEtherType {
		return probe{}, false
	}
	body := frame[14:]
	kind := body[len(probeMark)]
	if string(body[:len(probeMark)]) != probeMark || kind != probeRequest && kind != probeReply {
		return probe{}, false
	}
	return probe{policy.MAC(frame[6:12]), kind == probeReply, binary.BigEndian.Uint64(body[len(probeMark)+1:]), len(frame)}, true
}

// newNonce is a number that nobody can guess, and not 0.
func newNonce() uint64 {
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return binary.BigEndian.Uint64(nonce[:]) | 1
}

// want names the ways to probe.
func (l *liveness) want(ways map[maps.RelayWay]bool) {
	for way := range l.ways {
		if !ways[way] {
			delete(l.ways, way)
			l.turns++
		}
	}
	for way := range ways {
		if l.ways[way] == nil {
			l.ways[way] = &probedWay{}
		}
	}
}

// due returns the probes that are to be sent now, and tells whether a relay has
// died. Answers that wait are taken first.
func (l *liveness) due(now time.Time, from policy.MAC) (probes map[maps.RelayWay]probe, died bool) {
	probes = make(map[maps.RelayWay]probe)
	for way, p := range l.ways {
		if p.alive && now.Sub(p.answered) > probeTimeout {
			p.alive, died = false, true
			l.turns++
		}
		if now.Sub(p.sent) < probeInterval {
			continue
		}
		// Where we were busy ourselves for so long, nobody has had a chance to
		// answer since.
		if late := now.Sub(p.sent) - probeInterval; p.alive && late > probeInterval {
			p.answered = p.answered.Add(late)
		}
		copy(p.nonces[1:], p.nonces[:])
		p.sent, p.nonces[0] = now, newNonce()
		probes[way] = probe{from: from, nonce: p.nonces[0]}
	}
	return probes, died
}

// answered notes an answer, and tells whether a relay lives that did not before.
func (l *liveness) answered(now time.Time, way maps.RelayWay, answer probe) bool {
	p := l.ways[way]
	if p == nil || answer.nonce == 0 || !slices.Contains(p.nonces[:], answer.nonce) {
		return false
	}
	p.answered = now
	if p.alive {
		return false
	}
	p.alive = true
	l.turns++
	return true
}

// alive are the relays that answer.
func (l *liveness) alive() map[maps.RelayWay]bool {
	all := make(map[maps.RelayWay]bool)
	for way, p := range l.ways {
		if p.alive {
			all[way] = true
		}
	}
	return all
}

// livesAs tells whether a host answers as a relay, for whichever segment; known
// is false if it is not asked.
func (l *liveness) livesAs(vtep netip.Addr) (alive bool, answered time.Time, known bool) {
	for way, p := range l.ways {
		if way.VTEP == vtep {
			known, alive = true, alive || p.alive
			if p.answered.After(answered) {
				answered = p.answered
			}
		}
	}
	return alive, answered, known
}
