// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"overcast/bpf"
	"overcast/loader/membership"
	"overcast/maps"
)

// track begins to track a segment's groups, with what an earlier agent knew of
// them: what members want is in the MDB, where routers are in its report.
func (g *groups) track(now time.Time, object string, vni, slot uint32, config membership.Config, members []membership.Member) *segmentGroups {
	s := &segmentGroups{
		slot: slot, object: object, vni: vni,
		table: membership.New(now, config, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))),
		held:  make(map[netip.Addr][]bpf.MDBKey),
	}
	s.table.SetMembers(now, members)
	s.restore(now, g.mdb.Entries(), members)
	g.restoreRouters(now, s, members)
	return s
}

// restoredGroup is what the MDB has of a group.
type restoredGroup struct {
	any     maps.Receivers
	sources map[netip.Addr]maps.Receivers
}

// restore reads the state of the groups back from the MDB. Whoever is in the
// list for all sources wants all but those in whose lists it is not. A member
// that is in every list may be there whatever it wants, and is asked first.
func (s *segmentGroups) restore(now time.Time, entries map[bpf.MDBKey]maps.Receivers, members []membership.Member) {
	known := make(map[netip.Addr]*restoredGroup)
	everywhere := make(map[membership.Family]map[membership.Member]bool)
	for _, family := range membership.Families {
		everywhere[family] = make(map[membership.Member]bool)
		for _, member := range members {
			everywhere[family][member] = true
		}
	}
	for key, to := range entries {
		if key.Segment != s.slot {
			continue
		}
		group := key.Group.NetAddr()
		s.held[group] = append(s.held[group], key)
		family := membership.FamilyOf(group)
		for member := range everywhere[family] {
			if !gets(to, member) {
				delete(everywhere[family], member)
			}
		}
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
			mode, sources := g.wanted(member)
			s.table.Restore(now, member, group, mode, sources)
		}
	}
	for family, unknown := range everywhere {
		for _, member := range members {
			if !unknown[member] {
				s.table.RestoreKnown(now, member, family)
			}
		}
	}
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

// gets tells whether a member is among the receivers. One that a relay sends to
// is not, and so is asked first.
func gets(to maps.Receivers, member membership.Member) bool {
	if member.Kind == membership.Port {
		return slices.Contains(to.Ports, member.ID)
	}
	return slices.Contains(to.Remotes, member.ID)
}

// restoreRouters notes the multicast routers that an earlier agent has heard.
// Whoever is silent for so long that its time is over is none any more.
func (g *groups) restoreRouters(now time.Time, s *segmentGroups, members []membership.Member) {
	for _, r := range g.earlier {
		if r.Object() != s.object {
			continue
		}
		for _, m := range r.Members {
			if m.Router == nil || m.Router.Until.Before(now) {
				continue
			}
			for _, member := range members {
				port, remote := g.name(member)
				for _, family := range membership.Families {
					if port == m.Port && remote == m.Remote && family.String() == m.Family {
						s.table.RestoreRouter(now, member, family)
					}
				}
			}
		}
	}
}
