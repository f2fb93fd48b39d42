// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"time"

	"overcast/bpf"
	"overcast/loader/membership"
	"overcast/maps"
	"overcast/policy"
)

// groups knows who wants which group in this host's segments, and keeps the MDB
// so. It is a part of a Datapath, and works in its goroutine.
type groups struct {
	log    *slog.Logger
	set    *maps.Set
	mdb    *maps.MDB
	events *eventReader
	out    *sender
	live   *liveness

	earlier  []SegmentGroupsReport     // what an earlier agent has told
	state    *policy.State             // in force
	contents *maps.Contents            // of the maps
	remotes  map[uint32]policy.Remote  // by slot
	segments map[uint32]*segmentGroups // by slot, those that snoop
	timer    *time.Timer
	beat     time.Time         // when the programs were last told that we read
	full     string            // what the MDB has no room for
	retry    time.Time         // when that is tried again
	version  uint64            // turns with whatever a report tells
	failed   map[string]string // what failed last, by what was done; the log has it
}

// beatInterval is how often the programs are told that we read oc_events, which
// they believe for ten times as long (SNOOP_DEAD_NS in snoop.h).
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
		live:     &liveness{hosts: make(map[netip.Addr]*probedHost)},
		segments: make(map[uint32]*segmentGroups),
		failed:   make(map[string]string),
		timer:    time.NewTimer(0),
	}
	if earlier, err := ReadGroups(runDir); err == nil {
		g.earlier = earlier.Segments
	} else if !errors.Is(err, fs.ErrNotExist) {
		log.Warn("multicast routers are not known until they are heard again", "error", err)
	}
	return g, nil
}

func (g *groups) close() {
	g.timer.Stop()
	g.events.close()
	g.out.close()
}

// follow takes the state that is in force, and the numbers that it has.
func (g *groups) follow(now time.Time, state *policy.State, contents *maps.Contents, local netip.Addr) error {
	g.state, g.contents = state, contents
	err := g.out.from(local)
	slots := make(map[netip.Addr]uint32, len(contents.Remotes))
	for slot, remote := range contents.Remotes {
		slots[remote.Vtep.NetAddr()] = slot
	}
	g.remotes = make(map[uint32]policy.Remote, len(state.Remotes))
	for _, remote := range state.Remotes {
		g.remotes[slots[remote.VTEP]] = remote
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
		slot := named[segment.Object()]
		if !segment.Multicast.Snooping {
			continue
		}
		snoops[slot] = true
		for _, vtep := range segment.Remotes {
			members[slot] = append(members[slot], g.member(slots[vtep]))
		}
		config := g.tableConfig(segment, int(contents.Segments[slot].Mtu))
		s := g.segments[slot]
		if s == nil || s.object != segment.Object() || s.vni != segment.VNI {
			s = g.track(now, segment.Object(), segment.VNI, slot, config, members[slot])
			g.segments[slot] = s
		}
		s.follow(now, config, members[slot], contents.Relays[slot], segment.Multicast)
	}
	for slot := range g.segments {
		if !snoops[slot] {
			delete(g.segments, slot)
		}
	}
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
	hosts := make(map[netip.Addr]uint32)
	for slot, relays := range g.contents.Relays {
		for _, vteps := range relays.Probe {
			for _, vtep := range vteps {
				hosts[vtep] = g.contents.Segments[slot].Vni
			}
		}
	}
	g.live.want(hosts)
}

// receive takes a frame that the programs have handed over, and tells whether
// a host has come to life by it.
func (g *groups) receive(now time.Time, e Event) (revived bool) {
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

// probed answers a probe, or notes the answer to ours.
func (g *groups) probed(now time.Time, e Event, p probe) (revived bool) {
	remote, known := g.remotes[e.Remote]
	if e.Ifindex != 0 || !known {
		return false
	}
	if p.reply {
		return g.live.answered(now, remote.VTEP, p)
	}
	answer := probe{from: policy.MAC(g.proxy()), reply: true, nonce: p.nonce}
	g.sendToHost(remote.VTEP, g.contents.Segments[e.Segment].Vni, answer.frame())
	return false
}

func (g *groups) sendToHost(vtep netip.Addr, vni uint32, frame []byte) {
	g.out.toHost(netip.AddrPortFrom(vtep, g.state.Tunnel.Port), vni, frame)
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

// tick does what is due, and tells whether a host that was probed has died.
func (g *groups) tick(now time.Time) (died bool, err error) {
	if g.state == nil {
		return false, nil
	}
	probes, died := g.live.due(now, policy.MAC(g.proxy()))
	for vtep, p := range probes {
		g.sendToHost(vtep, g.live.hosts[vtep].vni, p.frame())
	}
	for _, s := range g.segments {
		s.table.Advance(now)
	}
	g.retryFull(now)
	err = g.flush(now)
	if now.Sub(g.beat) >= beatInterval {
		err = errors.Join(err, g.catchUp(now), g.tellPrograms(now))
	}
	return died, err
}

// flush writes what has changed to the MDB, sends what is to be sent, and sets
// the timer for what is due next.
func (g *groups) flush(now time.Time) error {
	put, remove := make(map[bpf.MDBKey]maps.Receivers), []bpf.MDBKey(nil)
	next := now.Add(beatInterval)
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
	if errors.Is(err, maps.ErrGroupsFull) {
		g.full, g.retry = err.Error(), now.Add(retryInterval)
		return nil
	}
	return err
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
		s.all = true
	}
}

func (g *groups) send(s *segmentGroups, message membership.Send) {
	for _, to := range message.To {
		if to.Kind == membership.Port {
			g.note("messages to guests", g.out.toPort(to.ID, message.Frame))
		} else if remote, known := g.remotes[to.ID]; known {
			g.sendToHost(remote.VTEP, s.vni, message.Frame)
		}
	}
}

// tellPrograms says for which segments the MDB may be believed.
func (g *groups) tellPrograms(now time.Time) error {
	g.beat = now
	if !g.events.reads() {
		return nil // they find out by themselves
	}
	snooping := make(map[uint32]maps.Snooping, len(g.segments))
	for slot := range g.contents.Relays {
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

// catchUp asks again in segments where the programs could not hand over a
// membership message. Until the answers are there all groups are flooded.
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
			s.missed = 0
		case s.missed != when:
			s.missed, s.asked = when, now
			s.table.Ask(now)
		case now.Sub(s.asked) >= answered:
			errs = append(errs, g.set.CatchUp(slot, when))
		}
	}
	return errors.Join(errs...)
}
