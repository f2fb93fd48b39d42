// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"overcast/maps"
	"overcast/policy"
)

// prober knows what probes tell of the ways to other hosts: which of them answer,
// and how large a packet arrives there. The latter is what RFC 8899 calls packet
// layer path MTU discovery: it needs no word of a router, and believes one only
// until probes have shown otherwise.
type prober struct {
	interval time.Duration // between the rounds of a way; 0: no probes
	ways     map[netip.Addr]*way
	turns    uint64 // how often what a report tells has changed
	open     bool   // answers are waited for
}

// The times of a way.
const (
	// probeWait is how long an answer may take.
	probeWait = time.Second
	// probeMisses is how many in a row may be lost before that means something
	// (MAX_PROBES of RFC 8899 5.1.2).
	probeMisses = 3
	// raiseRounds is after how many rounds it is tried whether more gets through
	// by now: a minute, by the default interval. Of what a router has said that
	// is tried sooner, as anybody may have said it.
	raiseRounds     = 12
	raiseToldRounds = 2
	// fullRounds is how many rounds there are for one that has a probe of the
	// largest usable size.
	fullRounds = 3
	// toldLifetime is how long a router's word counts for a host that is not
	// probed (RFC 1191 6.3, RFC 8201 4).
	toldLifetime = 10 * time.Minute
)

// Sizes are those of underlay packets, from the outer IP header on, in bytes.
const (
	probeSizes   = 8    // that are tried in one round of a search
	probeLargest = 9216 // bytes of the largest probe's frame: oc_events takes no larger one (SNOOP_LARGE in snoop.h)
)

// sentProbe is one whose answer is waited for.
type sentProbe struct {
	nonce    uint64
	size     int // 0: the smallest frame
	answered bool
}

// way is what is known of the way to a host.
type way struct {
	host     string
	vni      uint32 // a segment that both are members of
	probed   bool
	overhead int // bytes of a packet that are not of a guest's layer 3

	base   int // the least that a segment needs
	limit  int // what the route lets out
	usable int // the largest that arrives, as far as is known
	lost   int // the smallest that is known to be lost; above limit: none

	told   time.Time // when a router has told of .usable; zero: nobody has
	narrow bool      // not even .base arrives

	round     []sentProbe
	began     time.Time // of the round
	searching bool      // the round, or the next one, is of many sizes
	next      time.Time
	raise     time.Time
	full      int // rounds until one with a probe of .usable
	misses    int // rounds in a row without an answer
	bigMisses int // of those with one, rounds in a row without that to the probe of .usable

	alive    bool
	answered time.Time
	rtt      time.Duration // smoothed as TCP does it (RFC 6298 2)
	outcomes uint64        // of the last 64 rounds, the latest lowest; set: lost
	rounds   int           // of those
	heard    time.Time     // when a probe of its own last came
	refused  time.Time     // when it, or a router, last said that there is nobody
	pinged   time.Time     // when it last answered a ping while it answered no probes
}

// want says to which hosts there are ways, and what their routes let out.
func (p *prober) want(now time.Time, state *policy.State, routes map[netip.Addr]int, contents *maps.Contents) {
	p.interval = state.Tunnel.ProbeInterval
	shared := make(map[netip.Addr]uint32, len(state.Remotes))
	for i := range state.Segments {
		for _, vtep := range state.Segments[i].Remotes {
			if _, known := shared[vtep]; !known {
				shared[vtep] = state.Segments[i].VNI
			}
		}
	}
	left := foundBefore(&contents.Snapshot)
	wanted := make(map[netip.Addr]bool, len(state.Remotes))
	for _, remote := range state.Remotes {
		limit, routed := routes[remote.VTEP]
		if !routed {
			continue
		}
		wanted[remote.VTEP] = true
		w := p.ways[remote.VTEP]
		if w == nil {
			overhead := maps.Overhead(remote.VTEP)
			w = &way{overhead: overhead, base: maps.MinMTU + overhead, limit: limit, usable: left.of(remote, limit, state), lost: limit + 1, raise: now}
			p.ways[remote.VTEP] = w
			p.turns++
		}
		w.host, w.vni, w.probed = remote.Name, shared[remote.VTEP], isProbed(remote, state)
		w.bound(now, limit)
		if !w.probed {
			w.round, w.searching, w.alive, w.narrow = nil, false, false, false
		}
	}
	for vtep := range p.ways {
		if !wanted[vtep] {
			delete(p.ways, vtep)
			p.turns++
		}
	}
}

// bound takes what the route lets out now.
func (w *way) bound(now time.Time, limit int) {
	if limit == w.limit {
		return
	}
	if w.usable >= limit || w.usable == w.limit {
		w.usable, w.told = limit, time.Time{}
	} else {
		w.raise = now
	}
	w.limit, w.lost = limit, limit+1
	w.full, w.bigMisses, w.next = 0, 0, now
}

// mtus are the largest packets to the hosts, of those that have a route, by what
// the routes let out now. left is what the maps have from an earlier agent, for
// hosts that are new to this one.
func (p *prober) mtus(now time.Time, routes map[netip.Addr]int, state *policy.State, left *maps.Snapshot) map[netip.Addr]int {
	all, found := make(map[netip.Addr]int, len(routes)), foundBefore(left)
	for _, remote := range state.Remotes {
		limit, routed := routes[remote.VTEP]
		if !routed {
			continue
		}
		if w := p.ways[remote.VTEP]; w != nil {
			w.bound(now, limit)
			all[remote.VTEP] = w.usable
		} else {
			all[remote.VTEP] = found.of(remote, limit, state)
		}
	}
	return all
}

// isProbed tells whether a host is one that probes are sent to.
func isProbed(remote policy.Remote, state *policy.State) bool {
	return !remote.Foreign && state.Tunnel.ProbeInterval > 0
}

// found is what the maps say of the ways to hosts, in bytes of a guest's layer 3.
type found map[netip.Addr]int

func foundBefore(left *maps.Snapshot) found {
	f := make(found, len(left.Remotes))
	for _, remote := range left.Remotes {
		f[remote.Vtep.NetAddr()] = int(remote.Mtu)
	}
	return f
}

// of is the largest packet to a host, in bytes, of those that its route lets out:
// what was found before, which is of use where probes can tell whether it is still
// so, and where the maps have it.
func (f found) of(remote policy.Remote, limit int, state *policy.State) int {
	if mtu := f[remote.VTEP]; mtu != 0 && isProbed(remote, state) {
		return min(limit, mtu+maps.Overhead(remote.VTEP))
	}
	return limit
}

// outgoing is a probe to be sent.
type outgoing struct {
	vtep  netip.Addr
	vni   uint32
	probe probe
}

// due takes what the last rounds have told, and returns the probes of the next
// ones. changed: another size is usable to somebody.
func (p *prober) due(now time.Time, from policy.MAC) (probes []outgoing, changed bool) {
	p.open = false
	for vtep, w := range p.ways {
		if !w.probed {
			if !w.told.IsZero() && now.Sub(w.told) > toldLifetime {
				w.usable, w.told, changed = w.limit, time.Time{}, true
				p.turns++
			}
			continue
		}
		if w.round != nil && (w.isAnswered() || now.Sub(w.began) >= probeWait) {
			changed = p.conclude(now, w) || changed
		}
		if w.round == nil && !now.Before(w.next) {
			p.begin(now, w)
			for _, sent := range w.round {
				size := 0
				if sent.size != 0 {
					size = min(sent.size-w.overhead+ethernetHeader, probeLargest)
				}
				probes = append(probes, outgoing{vtep, w.vni, probe{from: from, nonce: sent.nonce, size: size}})
			}
		}
		p.open = p.open || w.round != nil
	}
	return probes, changed
}

func (w *way) isAnswered() bool {
	for _, sent := range w.round {
		if !sent.answered {
			return false
		}
	}
	return true
}

// begin begins a round: a small probe, and those of the sizes that are in doubt.
func (p *prober) begin(now time.Time, w *way) {
	w.began = now
	add := func(size int) { w.round = append(w.round, sentProbe{nonce: newNonce(), size: size}) }
	add(0)
	if !w.searching && w.usable < w.limit && !now.Before(w.raise) {
		w.searching, w.lost = true, w.limit+1
	}
	switch {
	case w.searching:
		// Twice, as one may be lost by chance.
		for range 2 {
			for _, size := range w.candidates() {
				add(size)
			}
		}
	case w.full <= 0 || w.bigMisses > 0:
		add(w.usable)
		w.full = fullRounds
	}
	w.full--
	w.next = now.Add(time.Duration(float64(p.interval) * (0.9 + 0.2*rand.Float64())))
}

// candidates are sizes between what arrives and what is lost, all of them if
// they are few.
func (w *way) candidates() []int {
	sizes := []int{w.usable}
	step := max((w.lost-w.usable)/(probeSizes+1), 1)
	for size := w.usable + step; size < w.lost-1 && len(sizes) <= probeSizes; size += step {
		sizes = append(sizes, size)
	}
	return append(sizes, w.lost-1)
}

// conclude ends a round, and tells whether another size is usable.
func (p *prober) conclude(now time.Time, w *way) (changed bool) {
	round := w.round
	w.round = nil
	w.outcomes <<= 1
	w.rounds = min(w.rounds+1, 64)
	if !round[0].answered {
		w.outcomes |= 1
		w.misses++
		if w.misses <= probeMisses {
			w.next = now
		}
		if w.misses == probeMisses {
			w.alive = false
			p.turns++
		}
		return false
	}
	w.misses = 0
	if len(round) == 1 {
		return false
	}
	if w.searching {
		return p.narrowDown(now, w, round[1:])
	}
	if round[1].answered || round[1].size != w.usable {
		w.narrow = w.narrow && !round[1].answered
		w.bigMisses = 0
		return false
	}
	w.bigMisses++
	w.next = now
	if w.bigMisses < probeMisses {
		return false
	}
	// What was said to arrive does not: all is in doubt but the least.
	w.bigMisses, w.searching, w.told = 0, true, time.Time{}
	w.lost = w.usable
	changed = w.usable != w.base
	w.usable = w.base
	if w.lost <= w.base {
		w.narrow, w.searching, w.lost = true, false, w.base
		w.raise = now.Add(raiseRounds * p.interval)
	}
	p.turns++
	return changed
}

// narrowDown takes a round of many sizes.
func (p *prober) narrowDown(now time.Time, w *way, round []sentProbe) (changed bool) {
	good := 0
	for _, sent := range round {
		if sent.answered {
			good = max(good, sent.size)
		}
	}
	before, narrow := w.usable, w.narrow
	w.narrow = good < w.base && w.usable == w.base
	w.usable = max(w.usable, good)
	for _, sent := range round {
		if !sent.answered && sent.size > w.usable {
			w.lost = min(w.lost, sent.size)
		}
	}
	if w.usable > before {
		w.told = time.Time{}
	}
	w.next = now
	if w.lost-w.usable <= 1 || good == 0 {
		w.searching = false
		w.raise = now.Add(raiseRounds * p.interval)
	}
	if w.usable != before || w.narrow != narrow {
		p.turns++
	}
	return w.usable != before
}

// answer notes an answer to one of our probes, if it is one.
func (p *prober) answer(now time.Time, vtep netip.Addr, nonce uint64) bool {
	w := p.ways[vtep]
	if w == nil {
		return false
	}
	for i := range w.round {
		sent := &w.round[i]
		if sent.nonce != nonce || sent.answered {
			continue
		}
		sent.answered = true
		if sent.size == 0 {
			w.hearAnswer(now)
		}
		if !w.alive {
			w.alive = true
			p.turns++
		}
		return true
	}
	return false
}

func (w *way) hearAnswer(now time.Time) {
	took := now.Sub(w.began)
	if w.rtt == 0 {
		w.rtt = took
	}
	w.rtt += (took - w.rtt) / 8
	w.answered, w.refused, w.pinged = now, time.Time{}, time.Time{}
}

// hear notes that a probe of the host's own has come.
func (p *prober) hear(now time.Time, vtep netip.Addr) {
	if w := p.ways[vtep]; w != nil {
		w.heard = now
	}
}

// take takes what a router, or the host itself, has said of our packets, and
// tells whether another size is usable.
func (p *prober) take(now time.Time, vtep netip.Addr, said underlayError) (changed bool) {
	w := p.ways[vtep]
	if w == nil {
		return false
	}
	if said.mtu == 0 {
		w.refused = now
		return false
	}
	mtu := max(said.mtu, w.base)
	if mtu >= w.usable {
		return false
	}
	w.usable, w.told, w.searching = mtu, now, false
	w.full, w.bigMisses, w.next = 0, 0, now
	w.raise = now.Add(raiseToldRounds * p.interval)
	p.turns++
	return true
}

// silent are the hosts that answer no probes.
func (p *prober) silent() []netip.Addr {
	var all []netip.Addr
	for vtep, w := range p.ways {
		if w.isSilent() {
			all = append(all, vtep)
		}
	}
	return all
}

// isSilent tells whether a host answers no probes.
func (w *way) isSilent() bool {
	return w.probed && !w.alive && w.misses >= probeMisses
}

// pinged notes that a host that answers no probes has answered a ping.
func (p *prober) pinged(now time.Time, vtep netip.Addr) {
	if w := p.ways[vtep]; w != nil && !w.alive {
		if w.pinged.IsZero() {
			p.turns++
		}
		w.pinged = now
	}
}
