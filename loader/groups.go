// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"overcast/bpf"
	"overcast/loader/membership"
	"overcast/maps"
	"overcast/policy"
)

// groups knows who wants which group in this host's segments, and keeps the MDB
// so; and, since that comes by the same ring and goes by the same socket, what
// the ways to the other hosts are like. It is a part of a Datapath, and works in
// its goroutine.
type groups struct {
	log    *slog.Logger
	set    *maps.Set
	mdb    *maps.MDB
	events *eventReader
	out    *sender
	live   *liveness
	paths  *prober
	pings  *pinger

	earlier  *earlierGroups            // nil once the first state is followed
	state    *policy.State             // in force
	contents *maps.Contents            // of the maps
	local    netip.Addr                // our end of the tunnels
	remotes  map[uint32]policy.Remote  // by slot
	segments map[uint32]*segmentGroups // by slot, those that snoop
	timer    *time.Timer
	behind   bool              // what was handed over before we came is not taken yet
	beat     time.Time         // when the programs were last told that we read
	full     string            // what the MDB has no room for
	retry    time.Time         // when that is tried again
	version  uint64            // turns with whatever a report tells
	failed   map[string]string // what failed last, by what was done; the log has it
}

// answerInterval is how often it is looked whether a round of probes is over.
const answerInterval = 100 * time.Millisecond

// beatInterval is how often the programs are told that we read oc_events, which
// they believe for three times as long (SNOOP_LATE_NS in snoop.h).
const beatInterval = time.Second

// openGroups takes over the MDB and what the programs have handed over.
func openGroups(set *maps.Set, runDir string, log *slog.Logger) (*groups, error) {
	mdb, err := set.OpenMDB()
	if err != nil {
		return nil, err
	}
	out, err := openSender()
	if err != nil {
		return nil, err
	}
	events, err := readEvents(set.Events, log)
	if err != nil {
		out.close()
		return nil, err
	}
	g := &groups{
		log: log, set: set, mdb: mdb, events: events, out: out,
		live:     &liveness{ways: make(map[maps.RelayWay]*probedWay)},
		paths:    &prober{ways: make(map[netip.Addr]*way)},
		pings:    newPinger(),
		segments: make(map[uint32]*segmentGroups),
		failed:   make(map[string]string),
		timer:    time.NewTimer(0),
		behind:   true,
	}
	g.earlier = g.readEarlier(runDir)
	return g, nil
}

func (g *groups) close() {
	g.timer.Stop()
	g.events.close()
	g.out.close()
	g.pings.close()
}

// follow takes the state that is in force, the numbers that it has, and how large
// a packet the routes to the remotes let out.
func (g *groups) follow(now time.Time, state *policy.State, contents *maps.Contents, local netip.Addr, routes map[netip.Addr]int) error {
	g.state, g.contents, g.local = state, contents, local
	g.paths.want(now, state, routes, contents)
	err := g.out.from(local, state.Tunnel.Encapsulation)
	slots := make(map[netip.Addr]uint32, len(contents.Remotes))
	for slot, remote := range contents.Remotes {
		slots[remote.Vtep.NetAddr()] = slot
	}
	g.remotes = make(map[uint32]policy.Remote, len(state.Remotes))
	for _, remote := range state.Remotes {
		// Where the maps could not be written, they may lack what is new.
		if slot, there := slots[remote.VTEP]; there {
			g.remotes[slot] = remote
		}
	}
	members := make(map[uint32][]membership.Member) // by segment
	for ifindex, port := range contents.Ports {
		members[port.Segment] = append(members[port.Segment], membership.Member{Kind: membership.Port, ID: ifindex})
	}
	named := make(map[string]uint32, len(contents.SegmentNames))
	for slot, name := range contents.SegmentNames {
		named[name] = slot
	}
	snoops := make(map[uint32]bool)
	for i := range state.Segments {
		segment := &state.Segments[i]
		slot, there := named[segment.Object()]
		if !there || !segment.Multicast.Snooping {
			continue
		}
		snoops[slot] = true
		for _, vtep := range segment.Remotes {
			if remote, there := slots[vtep]; there {
				members[slot] = append(members[slot], g.member(remote))
			}
		}
		slices.SortFunc(members[slot], membership.Member.Compare)
		config, proxies := g.tableConfig(segment, int(contents.Segments[slot].Mtu)), g.proxies(members[slot])
		s := g.segments[slot]
		if s == nil || s.object != segment.Object() || s.vni != segment.VNI {
			s = g.track(now, segment.Object(), segment.VNI, slot, config, members[slot], proxies)
			g.segments[slot] = s
		}
		s.follow(now, config, members[slot], proxies, contents.Relays[slot], segment.Multicast)
	}
	for slot := range g.segments {
		if !snoops[slot] {
			delete(g.segments, slot)
		}
	}
	g.earlier = nil
	g.wantProbes()
	return errors.Join(err, g.removeStrays(), g.flush(now), g.tellPrograms(now))
}

// member is a remote as the table of a segment knows it.
func (g *groups) member(slot uint32) membership.Member {
	kind := membership.Host
	if g.remotes[slot].Foreign {
		kind = membership.Foreign
	}
	return membership.Member{Kind: kind, ID: slot}
}

// proxies are the sources of the frames of other hosts' agents.
func (g *groups) proxies(members []membership.Member) map[membership.Member]membership.MAC {
	proxies := make(map[membership.Member]membership.MAC, len(members))
	for _, m := range members {
		if m.Kind == membership.Host {
			proxies[m] = membership.ProxyMAC(g.remotes[m.ID].VTEP)
		}
	}
	return proxies
}

// proxy is the source of our own frames.
func (g *groups) proxy() membership.MAC {
	return membership.ProxyMAC(g.state.Host.VTEP)
}

func (g *groups) tableConfig(segment *policy.Segment, mtu int) membership.Config {
	m := segment.Multicast
	return membership.Config{
		Querier: m.Querier, FastLeave: m.FastLeave, Robustness: m.Robustness,
		QueryInterval: m.QueryInterval, QueryResponseInterval: m.QueryResponseInterval,
		GroupsPerPort: m.GroupsPerPort, Groups: m.Groups, Sources: m.Sources,
		MTU: mtu, ProxyMAC: g.proxy(), ProxyAddress: membership.ProxyAddress(g.proxy()),
	}
}

// removeStrays removes the entries of segments whose groups nobody tracks any
// more: all are flooded there.
func (g *groups) removeStrays() error {
	var strays []bpf.MDBKey
	for key := range g.mdb.Entries() {
		if g.segments[key.Segment] == nil {
			strays = append(strays, key)
		}
	}
	return g.mdb.Apply(nil, strays)
}

// wantProbes says which hosts are to be probed: those that may relay for us.
func (g *groups) wantProbes() {
	ways := make(map[maps.RelayWay]bool)
	for slot, relays := range g.contents.Relays {
		for _, vteps := range relays.Probe {
			for _, vtep := range vteps {
				ways[maps.RelayWay{VTEP: vtep, VNI: g.contents.Segments[slot].RelayVni}] = true
			}
		}
	}
	g.live.want(ways)
}

// receive takes a frame that the programs have handed over, and tells whether the
// ways to other hosts have changed by it.
func (g *groups) receive(now time.Time, e Event) (changed bool) {
	if e.Frame == nil {
		g.behind = false
		return false
	}
	if e.Segment == 0 {
		said, ok := parseUnderlayError(e.Frame)
		return ok && g.paths.take(now, g.remotes[e.Remote].VTEP, said)
	}
	if p, ok := parseProbe(e.Frame); ok {
		return g.probed(now, e, p)
	}
	s := g.segments[e.Segment]
	if s == nil {
		return false
	}
	g.version++
	from := membership.Member{Kind: membership.Port, ID: e.Ifindex}
	if e.Ifindex == 0 {
		from = g.member(e.Remote)
	}
	message, err := membership.Parse(e.Frame)
	if err != nil {
		s.table.Reject(from, err)
		return false
	}
	s.table.Receive(now, from, message)
	return false
}

// drain receives what waits, but no more than there may be: what comes meanwhile
// can wait for the next time.
func (g *groups) drain(now time.Time) (changed bool) {
	for range eventBacklog {
		select {
		case e := <-g.events.C:
			changed = g.receive(now, e) || changed
		default:
			return changed
		}
	}
	return changed
}

// probed answers a probe, or notes the answer to ours.
func (g *groups) probed(now time.Time, e Event, p probe) (revived bool) {
	remote, known := g.remotes[e.Remote]
	if e.Ifindex != 0 || !known || remote.Foreign {
		return false
	}
	segment := g.contents.Segments[e.Segment]
	if p.reply && g.paths.answer(now, remote.VTEP, p.nonce) {
		return false
	}
	if p.reply {
		return g.live.answered(now, maps.RelayWay{VTEP: remote.VTEP, VNI: segment.RelayVni}, p)
	}
	g.paths.hear(now, remote.VTEP)
	answer := probe{from: policy.MAC(g.proxy()), reply: true, nonce: p.nonce}
	g.out.toHostFirst(g.tunnelOf(remote.VTEP), segment.Vni, answer.frame())
	return false
}

// tunnelOf is where another host takes tunnel packets.
func (g *groups) tunnelOf(vtep netip.Addr) netip.AddrPort {
	return netip.AddrPortFrom(vtep, g.state.Tunnel.Port)
}

// note logs what fails, once until it works again. What could not be sent is
// sent again by the protocols.
func (g *groups) note(what string, err error) {
	if err == nil {
		delete(g.failed, what)
		return
	}
	if g.failed[what] != err.Error() {
		g.failed[what] = err.Error()
		g.log.Warn("cannot send "+what, "error", err)
	}
}

// probe sends the probes that are due, and tells whether the ways to other hosts
// have changed: a relay has died, or another size is usable.
func (g *groups) probe(now time.Time) (changed bool) {
	probes, changed := g.live.due(now, policy.MAC(g.proxy()))
	for way, p := range probes {
		g.out.toHostFirst(g.tunnelOf(way.VTEP), way.VNI, p.frame())
	}
	sizes, resized := g.paths.due(now, policy.MAC(g.proxy()))
	for _, o := range sizes {
		g.out.toHostFirst(g.tunnelOf(o.vtep), o.vni, o.probe.frame())
	}
	answered, err := g.pings.ping(now, g.local, g.paths.silent())
	g.note("pings", err)
	for _, vtep := range answered {
		g.paths.pinged(now, vtep)
	}
	return changed || resized
}

// tick does what is due, and tells whether the ways to other hosts have changed.
// What waits to be received comes before it.
func (g *groups) tick(now time.Time) (changed bool, err error) {
	if g.state == nil {
		return false, nil
	}
	changed = g.probe(now)
	for _, s := range g.segments {
		s.table.Advance(now)
	}
	g.retryFull(now)
	err = g.flush(now)
	if now.Sub(g.beat) >= beatInterval {
		err = errors.Join(err, g.reopen(), g.catchUp(now), g.tellPrograms(now))
	}
	return changed, err
}

// reopen reads oc_events again, if that has ended.
func (g *groups) reopen() error {
	if g.events.reads() {
		return nil
	}
	events, err := readEvents(g.set.Events, g.log)
	if err != nil {
		return err
	}
	g.events.close()
	g.events = events
	return nil
}

// flush writes what has changed to the MDB, sends what is to be sent, and sets
// the timer for what is due next.
func (g *groups) flush(now time.Time) error {
	put, remove := make(map[bpf.MDBKey]maps.Receivers), []bpf.MDBKey(nil)
	next := now.Add(beatInterval)
	if beat := g.beat.Add(beatInterval); !g.beat.IsZero() && beat.Before(next) {
		next = beat // also where messages come all the time
	}
	if soon := now.Add(answerInterval); g.paths.open && soon.Before(next) {
		next = soon
	}
	var whole []*segmentGroups
	begun := time.Now()
	for _, s := range g.segments {
		stale, all := s.changes(now, put)
		remove = append(remove, stale...)
		if all {
			whole = append(whole, s)
			g.version++ // who gets everything, though no entry may tell of it
		} else if s.all && s.wait.Before(next) {
			next = s.wait
		}
		for _, message := range s.table.Outbox() {
			g.send(s, message)
		}
		if due := s.table.Next(); !due.IsZero() && due.Before(next) {
			next = due
		}
	}
	more, failed := g.out.post()
	g.note("messages to other hosts", failed)
	if rest := now.Add(batchInterval); more && rest.Before(next) {
		next = rest
	}
	g.timer.Reset(max(next.Sub(now), 0))
	if len(put)+len(remove) == 0 {
		return nil
	}
	g.version++
	err := g.mdb.Apply(put, remove)
	for _, s := range whole {
		s.rest(time.Since(begun))
	}
	var full *maps.GroupsFullError
	if errors.As(err, &full) {
		g.full, g.retry = full.Error(), now.Add(retryInterval)
		for slot, s := range g.segments {
			// Where unknown groups are dropped, one without an entry would starve.
			if full.Segments[slot] && !s.short {
				s.short, s.all = true, true
			}
		}
		return nil
	}
	if err != nil {
		g.resync()
	}
	return err
}

// resync has everything worked out anew, from what the MDB really holds.
func (g *groups) resync() {
	for _, s := range g.segments {
		s.held, s.all = make(map[netip.Addr][]bpf.MDBKey), true
	}
	for key := range g.mdb.Entries() {
		if s := g.segments[key.Segment]; s != nil {
			group := key.Group.NetAddr()
			s.held[group] = append(s.held[group], key)
		}
	}
}

// retryInterval is how often groups that found no room in the MDB are tried again.
const retryInterval = 10 * time.Second

// retryFull tries again what found no room.
func (g *groups) retryFull(now time.Time) {
	if g.full == "" || now.Before(g.retry) {
		return
	}
	g.full = ""
	for _, s := range g.segments {
		s.all, s.short = true, false
	}
}

func (g *groups) send(s *segmentGroups, message membership.Send) {
	for _, to := range message.To {
		if to.Kind == membership.Port {
			g.note("messages to the guest of "+g.contents.PortNames[to.ID], g.out.toPort(to.ID, message.Frame))
		} else if remote, known := g.remotes[to.ID]; known {
			g.out.toHost(g.tunnelOf(remote.VTEP), s.vni, message.Frame)
		}
	}
}

// begin tells the programs to believe the MDB, when it has what was handed over
// before we came. Without that, who has asked for a group meanwhile, and has got
// it as all groups were flooded, would lose it for a moment.
func (g *groups) begin(now time.Time) error {
	if !g.beat.IsZero() {
		return nil
	}
	return g.tellPrograms(now)
}

// tellPrograms says for which segments the MDB may be believed.
func (g *groups) tellPrograms(now time.Time) error {
	if g.behind {
		return nil
	}
	g.beat = now
	if !g.events.reads() {
		return nil // they find out by themselves
	}
	snooping := make(map[uint32]maps.Snooping, len(g.segments))
	for slot := range g.contents.Segments {
		snooping[slot] = maps.Snooping{Reading: true} // for probes
	}
	for slot, s := range g.segments {
		snooping[slot] = maps.Snooping{Reading: true, Lifetime: s.lifetime}
	}
	return g.set.SetSnooping(maps.Monotonic(), snooping)
}

// answered is how long we wait for the answers to a query of ours that allows
// a second for them.
const answered = 1500 * time.Millisecond

// askAgainMost is how long we wait at most before we ask once more, where
// messages are missed all the time.
const askAgainMost = time.Minute

// catchUp asks again in segments where the programs could not hand over a
// membership message. Until the answers are there all groups are flooded. Where
// the answers are too many to be handed over, asking at once would not help.
func (g *groups) catchUp(now time.Time) error {
	missed, err := g.set.Missed()
	if err != nil {
		return err
	}
	var errs []error
	for slot, s := range g.segments {
		when, some := missed[slot]
		switch {
		case !some:
			if now.Sub(s.asked) > 2*askAgainMost {
				s.pause = 0
			}
		case s.missed != when && now.Sub(s.asked) >= s.pause:
			s.missed, s.asked = when, now
			s.pause = min(max(2*s.pause, answered), askAgainMost)
			s.table.Ask(now)
		case s.missed == when && now.Sub(s.asked) >= answered:
			errs = append(errs, g.set.CatchUp(slot, when))
		}
	}
	return errors.Join(errs...)
}
