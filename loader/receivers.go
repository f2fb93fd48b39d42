// SPDX-License-Identifier: Apache-2.0

package loader

import (
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
	lifetime time.Duration // of the MDB without us: the group membership interval

	held map[netip.Addr][]bpf.MDBKey // entries in the MDB, by group
	all  bool                        // what is said of every group may have changed
	wait time.Time                   // until then that can wait

	missed uint64    // what the programs could not hand over, as they have noted it
	asked  time.Time // when we asked again
}

// follow takes the settings and members of the state in force.
func (s *segmentGroups) follow(now time.Time, config membership.Config, members []membership.Member, relays *maps.Relays, settings policy.Multicast) {
	s.table.SetConfig(now, config)
	s.table.SetMembers(now, members)
	s.settings, s.relays, s.all = settings, relays, true
	s.lifetime = time.Duration(settings.Robustness)*settings.QueryInterval + settings.QueryResponseInterval
}

// changes adds what the MDB should hold now and does not, and returns the
// entries that it should no longer hold. all tells whether that was worked out
// for every group.
func (s *segmentGroups) changes(now time.Time, put map[bpf.MDBKey]maps.Receivers) (remove []bpf.MDBKey, all bool) {
	changed := s.table.TakeChanges()
	groups := changed.Groups
	s.all = s.all || len(changed.Everywhere) > 0
	if all = s.all && !now.Before(s.wait); all {
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
	return remove, all
}

// soon is how long a change of every group may take without another one having
// to wait for it: mostly it takes a few grace periods.
const soon = 100 * time.Millisecond

// rest lets the next change of every group wait, when this one took so long:
// thousands of remotes that tell one after another what they want would keep
// us busy with nothing else.
func (s *segmentGroups) rest(took time.Duration) {
	s.wait = time.Now().Add(min(4*max(took-soon, 0), time.Second))
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

// entries are those of a group.
func (s *segmentGroups) entries(group netip.Addr) map[bpf.MDBKey]maps.Receivers {
	forwarding, known := s.table.Forwarding(group)
	if !known {
		return nil
	}
	everywhere := s.table.Everywhere(membership.FamilyOf(group))
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
