// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"overcast/bpf"
	"overcast/loader/membership"
	"overcast/maps"
)

// earlierGroups is what an earlier agent has left: what members want is in the
// MDB; which of them had told all, and where routers are, in its report.
type earlierGroups struct {
	entries map[uint32]map[bpf.MDBKey]maps.Receivers // by segment
	members map[string][]GroupMemberReport           // by segment
	told    time.Time
}

func (g *groups) readEarlier(runDir string) *earlierGroups {
	e := &earlierGroups{entries: make(map[uint32]map[bpf.MDBKey]maps.Receivers), members: make(map[string][]GroupMemberReport)}
	for key, to := range g.mdb.Entries() {
		if e.entries[key.Segment] == nil {
			e.entries[key.Segment] = make(map[bpf.MDBKey]maps.Receivers)
		}
		e.entries[key.Segment][key] = to
	}
	report, err := ReadGroups(runDir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			g.log.Warn("what members want, and where multicast routers are, is not known until they tell", "error", err)
		}
		return e
	}
	e.told = report.Updated
	for _, segment := range report.Segments {
		e.members[segment.Object()] = segment.Members
	}
	return e
}

// track begins to track a segment's groups, with what an earlier agent knew.
func (g *groups) track(now time.Time, object string, vni, slot uint32, config membership.Config, members []membership.Member, proxies map[membership.Member]membership.MAC) *segmentGroups {
	s := &segmentGroups{
		slot: slot, object: object, vni: vni, fresh: true,
		table: membership.New(now, config, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))),
		held:  make(map[netip.Addr][]bpf.MDBKey),
	}
	s.table.SetMembers(now, members, proxies)
	if g.earlier != nil {
		relayed := s.restore(now, g.earlier.entries[slot], members)
		g.restoreMembers(now, s, members, relayed)
	}
	return s
}

// restoredGroup is what the MDB has of a group.
type restoredGroup struct {
	any     maps.Receivers
	sources map[netip.Addr]maps.Receivers
}

// restore reads the state of the groups back from the MDB: whoever is in the
// list for all sources wants all but those in whose lists it is not. Who is
// behind a relay wants that too, or not; relayed tells whether there is one.
func (s *segmentGroups) restore(now time.Time, entries map[bpf.MDBKey]maps.Receivers, members []membership.Member) (relayed bool) {
	known := make(map[netip.Addr]*restoredGroup)
	for key, to := range entries {
		group := key.Group.NetAddr()
		s.held[group] = append(s.held[group], key)
		relayed = relayed || len(to.Remotes) > 0 && to.Remotes[len(to.Remotes)-1]&bpf.Relay != 0
		if !group.IsMulticast() {
			continue
		}
		if known[group] == nil {
			known[group] = &restoredGroup{sources: make(map[netip.Addr]maps.Receivers)}
		}
		if source := key.Source.NetAddr(); source.IsValid() {
			known[group].sources[source] = to
		} else {
			known[group].any = to
		}
	}
	for group, g := range known {
		for _, member := range members {
			if mode, sources := g.wanted(member); mode == membership.Exclude || len(sources) > 0 {
				s.table.Restore(now, member, group, mode, sources)
			}
		}
	}
	return relayed
}

// wanted is what a member wanted of a group.
func (g *restoredGroup) wanted(member membership.Member) (membership.Mode, []netip.Addr) {
	mode := membership.Include
	if gets(g.any, member) {
		mode = membership.Exclude
	}
	var sources []netip.Addr
	for source, to := range g.sources {
		if gets(to, member) == (mode == membership.Include) {
			sources = append(sources, source)
		}
	}
	return mode, sources
}

// gets tells whether a member is among the receivers.
func gets(to maps.Receivers, member membership.Member) bool {
	ids := to.Remotes
	if member.Kind == membership.Port {
		ids = to.Ports
	}
	_, there := slices.BinarySearch(ids, member.ID)
	return there
}

// restoreMembers notes who had told all that it wants, and where the multicast
// routers are. The others begin as new ones do: they get everything until they
// have told. So does who is, or may be, behind a relay, where the MDB does not
// say what it wants.
func (g *groups) restoreMembers(now time.Time, s *segmentGroups, members []membership.Member, relayed bool) {
	reports := make(map[[3]string]GroupMemberReport)
	for _, m := range g.earlier.members[s.object] {
		reports[[3]string{m.Port, m.Remote, m.Family}] = m
	}
	for _, member := range members {
		port, remote := g.name(member)
		for _, family := range membership.Families {
			m, told := reports[[3]string{port, remote, family.String()}]
			if !told {
				continue
			}
			if m.Router != nil && m.Router.Until.After(now) {
				s.table.RestoreRouter(now, member, family)
			}
			if len(m.Everything) == 0 && !(relayed && member.Kind == membership.Host) && now.Sub(g.earlier.told) < restoreWithin {
				s.table.RestoreKnown(now, member, family)
			}
		}
	}
}

// restoreWithin is how old what an earlier agent has told may be: guests may
// have joined since, and gone unheard.
const restoreWithin = 10 * time.Minute
