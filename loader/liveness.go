// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"time"

	"overcast/policy"
)

// liveness knows which hosts answer probes. A probe is an Ethernet frame in the
// tunnel, so it goes the way of the segment's frames; the agent there answers.
type liveness struct {
	hosts map[netip.Addr]*probedHost // by VTEP
	turns uint64                     // how often one has come to life or died, or is probed no more
}

// probedHost is what is known of a host.
type probedHost struct {
	vni      uint32 // of a segment that both are in
	nonce    uint64 // of the last probe; nobody else can answer it
	sent     time.Time
	answered time.Time
	alive    bool
}

// A host is probed each probeInterval, and is dead when it has not answered for
// probeTimeout.
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
	return append(frame, make([]byte, 60-len(frame))...) // Ethernet's least
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
	return probe{policy.MAC(frame[6:12]), kind == probeReply, binary.BigEndian.Uint64(body[len(probeMark)+1:])}, true
}

// want names the hosts to probe, each with a VNI that it shares with us.
func (l *liveness) want(hosts map[netip.Addr]uint32) {
	for vtep := range l.hosts {
		if _, wanted := hosts[vtep]; !wanted {
			delete(l.hosts, vtep)
			l.turns++
		}
	}
	for vtep, vni := range hosts {
		if l.hosts[vtep] == nil {
			l.hosts[vtep] = &probedHost{}
		}
		l.hosts[vtep].vni = vni
	}
}

// due returns the probes that are to be sent now, and tells whether a host has died.
func (l *liveness) due(now time.Time, from policy.MAC) (probes map[netip.Addr]probe, changed bool) {
	probes = make(map[netip.Addr]probe)
	for vtep, host := range l.hosts {
		if host.alive && now.Sub(host.answered) > probeTimeout {
			host.alive, changed = false, true
			l.turns++
		}
		if now.Sub(host.sent) >= probeInterval {
			var nonce [8]byte
			_, _ = rand.Read(nonce[:]) // never fails
			host.sent, host.nonce = now, binary.BigEndian.Uint64(nonce[:])
			probes[vtep] = probe{from: from, nonce: host.nonce}
		}
	}
	return probes, changed
}

// answered notes an answer, and tells whether a host lives that did not before.
func (l *liveness) answered(now time.Time, vtep netip.Addr, p probe) bool {
	host := l.hosts[vtep]
	if host == nil || p.nonce != host.nonce {
		return false
	}
	host.answered = now
	if host.alive {
		return false
	}
	host.alive = true
	l.turns++
	return true
}

// alive are the hosts that answer, by VTEP.
func (l *liveness) alive() map[netip.Addr]bool {
	all := make(map[netip.Addr]bool)
	for vtep, host := range l.hosts {
		if host.alive {
			all[vtep] = true
		}
	}
	return all
}
