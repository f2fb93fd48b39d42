// SPDX-License-Identifier: Apache-2.0

package loader

import (
	gomaps "maps"
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
	members  []membership.Member
	proxies  map[membership.Member]membership.MAC // of the agents of members
	relays   *maps.Relays
	fresh    bool          // nothing of the state has been taken yet
	lifetime time.Duration // of the MDB without us: the group membership interval

	held map[netip.Addr][]bpf.MDBKey // entries in the MDB, by group
	all  bool                        // what is said of every group may have changed
	wait time.Time                   // until then that can wait

	short bool // the MDB has no room for all of its groups

	missed uint64        // what the programs could not hand over, as they have noted it
	asked  time.Time     // when we asked again
	pause  time.Duration // until we would ask once more
}

// follow takes the settings and members of the state in force. What they change
// is not made to wait: a number may soon be another's.
func (s *segmentGroups) follow(now time.Time, config membership.Config, members []membership.Member, proxies map[membership.Member]membership.MAC, relays *maps.Relays, settings policy.Multicast) {
	s.table.SetConfig(now, config)
	s.lifetime = time.Duration(settings.Robustness)*settings.QueryInterval + settings.QueryResponseInterval
	if slices.Equal(s.members, members) && gomaps.Equal(s.proxies, proxies) && s.settings == settings && s.relays.Equal(relays) && !s.fresh {
		return
	}
	s.table.SetMembers(now, members, proxies)
	s.members, s.proxies, s.settings, s.relays = members, proxies, settings, relays
	s.all, s.wait, s.fresh = true, time.Time{}, false
}

// changes adds what the MDB should hold now and does not, and returns the
// entries that it should no longer hold. all tells whether that was worked out
// for every group.
func (s *segmentGroups) changes(now time.Time, put map[bpf.MDBKey]maps.Receivers) (remove []bpf.MDBKey, all bool) {
	changed := s.table.TakeChanges()
	groups := changed.Groups
	s.all = s.all || len(changed.Everywhere)+len(changed.Queriers) > 0
	if all = s.all && !now.Before(s.wait); all {
		s.all = false
		groups = s.table.Known()
		for group := range s.held {
			if group.IsMulticast() {
				groups = append(groups, group)
			}
		}
	}
	if len(groups) == 0 && !all {
		return nil, false
	}
	bases := s.bases()
	if all {
		remove = append(remove, s.unknown(bases, put)...)
	}
	for _, group := range groups {
		remove = append(remove, s.replace(group, s.entries(group, bases[membership.FamilyOf(group)]), put)...)
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

// entries are those of a group. base is whoever gets everything of its family.
func (s *segmentGroups) entries(group netip.Addr, base *baseReceivers) map[bpf.MDBKey]maps.Receivers {
	forwarding, known := s.table.Forwarding(group)
	if !known {
		return nil
	}
	entries := map[bpf.MDBKey]maps.Receivers{
		maps.GroupKey(s.slot, group, netip.Addr{}): s.receivers(forwarding.Default, base),
	}
	for source, members := range forwarding.Sources {
		entries[maps.GroupKey(s.slot, group, source)] = s.receivers(members, base)
	}
	return entries
}

// unknown puts or removes the entries for unknown groups. Where nobody asks,
// listeners need not tell, and no group is known enough to be dropped.
func (s *segmentGroups) unknown(bases map[membership.Family]*baseReceivers, put map[bpf.MDBKey]maps.Receivers) (remove []bpf.MDBKey) {
	for _, family := range membership.Families {
		key := maps.UnknownKey(s.slot, family == membership.IPv6)
		var want map[bpf.MDBKey]maps.Receivers
		if s.settings.DropUnknown && !s.short && s.table.HasQuerier(family) {
			want = map[bpf.MDBKey]maps.Receivers{key: s.receivers(nil, bases[family])}
		}
		remove = append(remove, s.replace(key.Group.NetAddr(), want, put)...)
	}
	return remove
}

// baseReceivers are those who get everything of a family. With thousands of
// remotes that have not told yet they are most of every list.
type baseReceivers struct {
	ports, remotes []uint32 // in ascending order
	to             maps.Receivers
}

func (s *segmentGroups) bases() map[membership.Family]*baseReceivers {
	all := make(map[membership.Family]*baseReceivers)
	for _, family := range membership.Families {
		base := &baseReceivers{}
		base.ports, base.remotes = split(s.table.Everywhere(family))
		base.to = s.lists(base.ports, base.remotes)
		all[family] = base
	}
	return all
}

// split parts ports from remotes, each in ascending order.
func split(members []membership.Member) (ports, remotes []uint32) {
	for _, member := range members {
		if member.Kind == membership.Port {
			ports = append(ports, member.ID)
		} else {
			remotes = append(remotes, member.ID)
		}
	}
	slices.Sort(ports)
	slices.Sort(remotes)
	return ports, remotes
}

// receivers are these members and those of the base.
func (s *segmentGroups) receivers(members []membership.Member, base *baseReceivers) maps.Receivers {
	ports, remotes := split(members)
	without := func(ids, known []uint32) []uint32 {
		return slices.DeleteFunc(ids, func(id uint32) bool {
			_, there := slices.BinarySearch(known, id)
			return there
		})
	}
	ports, remotes = without(slices.Compact(ports), base.ports), without(slices.Compact(remotes), base.remotes)
	if len(ports)+len(remotes) == 0 {
		return base.to
	}
	ports, remotes = append(ports, base.ports...), append(remotes, base.remotes...)
	slices.Sort(ports)
	slices.Sort(remotes)
	return s.lists(ports, remotes)
}

func (s *segmentGroups) lists(ports, remotes []uint32) maps.Receivers {
	return maps.Receivers{Ports: ports, Remotes: s.relays.Via(remotes), Zone: s.relays.InZone(remotes)}
}
