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
	"overcast/policy"
)

// segmentGroups is who wants which group in one segment, and what of it the MDB
// holds.
type segmentGroups struct {
	slot     uint32
	object   string
	vni      uint32
	table    *membership.Table
	settings policy.Multicast
	relays   *maps.Relays
	remotes  []membership.Member
	lifetime time.Duration // of the MDB without us: the group membership interval

	held map[netip.Addr][]bpf.MDBKey // entries in the MDB, by group
	all  bool                        // what is said of every group may have changed

	missed uint64    // what the programs could not hand over, as they have noted it
	asked  time.Time // when we asked again
}

// track begins to track a segment's groups, with what the MDB knows of them:
// an earlier agent has written that.
func (g *groups) track(now time.Time, segment *policy.Segment, slot uint32, config membership.Config, members []membership.Member) *segmentGroups {
	s := &segmentGroups{
		slot: slot, object: segment.Object(), vni: segment.VNI,
		table: membership.NewTable(config, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))),
		held:  make(map[netip.Addr][]bpf.MDBKey),
	}
	s.table.SetMembers(now, members)
	s.restore(now, g.mdb.Entries(), members)
	return s
}

// restore reads the state of the groups back from the MDB. Whoever is in the
// list for all sources wants all but those in whose lists it is not.
func (s *segmentGroups) restore(now time.Time, entries map[bpf.MDBKey]maps.Receivers, members []membership.Member) {
	type lists struct {
		any     *maps.Receivers
		sources map[netip.Addr]maps.Receivers
	}
	known := make(map[netip.Addr]*lists)
	for key, to := range entries {
		group := key.Group.NetAddr()
		if key.Segment != s.slot {
			continue
		}
		s.held[group] = append(s.held[group], key)
		if !group.IsMulticast() {
			continue
		}
		if known[group] == nil {
			known[group] = &lists{sources: make(map[netip.Addr]maps.Receivers)}
		}
		if source := key.Source.NetAddr(); source.IsValid() {
			known[group].sources[source] = to
		} else {
			known[group].any = &to
		}
	}
	for group, l := range known {
		if l.any == nil {
			continue
		}
		for _, member := range members {
			mode := membership.Include
			if gets(*l.any, member) {
				mode = membership.Exclude
			}
			var sources []netip.Addr
			for source, to := range l.sources {
				if gets(to, member) == (mode == membership.Include) {
					sources = append(sources, source)
				}
			}
			if mode == membership.Exclude || len(sources) > 0 {
				s.table.Restore(now, member, group, mode, sources)
			}
		}
	}
}

func gets(to maps.Receivers, member membership.Member) bool {
	if member.Kind == membership.Port {
		return slices.Contains(to.Ports, member.ID)
	}
	return slices.Contains(to.Remotes, member.ID)
}

// follow takes the settings and members of the state in force.
func (s *segmentGroups) follow(now time.Time, config membership.Config, members []membership.Member, relays *maps.Relays, settings policy.Multicast) {
	s.table.SetConfig(now, config)
	s.table.SetMembers(now, members)
	s.settings, s.relays, s.all = settings, relays, true
	s.lifetime = time.Duration(settings.Robustness)*settings.QueryInterval + settings.QueryResponseInterval
	s.remotes = nil
	for _, member := range members {
		if member.Kind != membership.Port {
			s.remotes = append(s.remotes, member)
		}
	}
}

// changes adds what the MDB should hold now and does not, and returns the
// entries that it should no longer hold.
func (s *segmentGroups) changes(put map[bpf.MDBKey]maps.Receivers) (remove []bpf.MDBKey) {
	changed := s.table.TakeChanges()
	groups := changed.Groups
	if s.all || len(changed.Everywhere) > 0 {
		s.all = false
		groups = s.table.Known()
		for group := range s.held {
			if group.IsMulticast() {
				groups = append(groups, group)
			}
		}
		remove = append(remove, s.unknown(put)...)
	}
	for _, group := range groups {
		remove = append(remove, s.replace(group, s.entries(group), put)...)
	}
	return remove
}

// replace notes what a group's entries are now, and returns those that are gone.
func (s *segmentGroups) replace(group netip.Addr, want map[bpf.MDBKey]maps.Receivers, put map[bpf.MDBKey]maps.Receivers) (gone []bpf.MDBKey) {
	for _, key := range s.held[group] {
		if _, stays := want[key]; !stays {
			gone = append(gone, key)
		}
	}
	delete(s.held, group)
	for key, to := range want {
		put[key] = to
		s.held[group] = append(s.held[group], key)
	}
	return gone
}

// entries are those of a group. One of link-local scope has none where nobody
// asks for memberships: not even ND would work otherwise.
func (s *segmentGroups) entries(group netip.Addr) map[bpf.MDBKey]maps.Receivers {
	forwarding, known := s.table.Forwarding(group)
	family := membership.FamilyOf(group)
	if !known || membership.LinkLocal(group) && !s.table.HasQuerier(family) {
		return nil
	}
	everywhere := s.table.Everywhere(family)
	if membership.SolicitedNode(group) {
		everywhere = append(slices.Clone(everywhere), s.remotes...)
	}
	entries := map[bpf.MDBKey]maps.Receivers{
		maps.GroupKey(s.slot, group, netip.Addr{}): s.receivers(forwarding.Default, everywhere),
	}
	for source, members := range forwarding.Sources {
		entries[maps.GroupKey(s.slot, group, source)] = s.receivers(members, everywhere)
	}
	return entries
}

// unknown puts or removes the entries for unknown groups.
func (s *segmentGroups) unknown(put map[bpf.MDBKey]maps.Receivers) (remove []bpf.MDBKey) {
	for _, family := range membership.Families {
		key := maps.UnknownKey(s.slot, family == membership.IPv6)
		var want map[bpf.MDBKey]maps.Receivers
		if s.settings.DropUnknown {
			want = map[bpf.MDBKey]maps.Receivers{key: s.receivers(nil, s.table.Everywhere(family))}
		}
		remove = append(remove, s.replace(key.Group.NetAddr(), want, put)...)
	}
	return remove
}

// receivers turns members into lists.
func (s *segmentGroups) receivers(members, everywhere []membership.Member) maps.Receivers {
	var to maps.Receivers
	var remotes []uint32
	for _, list := range [][]membership.Member{members, everywhere} {
		for _, member := range list {
			if member.Kind == membership.Port {
				to.Ports = append(to.Ports, member.ID)
			} else {
				remotes = append(remotes, member.ID)
			}
		}
	}
	slices.Sort(to.Ports)
	slices.Sort(remotes)
	to.Ports, remotes = slices.Compact(to.Ports), slices.Compact(remotes)
	to.Remotes, to.Zone = s.relays.Via(remotes), s.relays.InZone(remotes)
	return to
}
