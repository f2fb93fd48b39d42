// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"fmt"
	"slices"
	"testing"

	"overcast/bpf"
	"overcast/policy"
)

// meaning tells what maps hold as the programs would find it, without the
// numbers of slots and lists, which depend on what was there before.
func meaning(t testing.TB, s *Snapshot) []string {
	t.Helper()
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	segment := func(slot uint32) string {
		value, ok := s.Segments[slot]
		if !ok {
			return "nothing"
		}
		return fmt.Sprintf("%d/%x", value.Vni, value.Identity)
	}
	remote := func(slot uint32) string {
		value := s.Remotes[slot]
		return value.Vtep.NetAddr().String()
	}
	ids := make(map[uint32]uint32)
	for ifindex, port := range s.Ports {
		if other, twice := ids[port.Id]; twice || port.Id == 0 || port.Id >= bpf.MaxPorts {
			t.Errorf("port %d has counter slot %d, that of port %d or none", ifindex, port.Id, other)
		}
		ids[port.Id] = ifindex
		say("port %d in %s flags %d mac %s", ifindex, segment(port.Segment), port.Flags, policy.MAC(port.Mac))
	}
	for vni, value := range s.VNIs {
		say("vni %d is %s", vni, segment(value.Segment))
	}
	for key, value := range s.VTEPs {
		say("vtep %d/%s is %s in %s", key.Vni, key.Addr.NetAddr(), remote(value.Remote), segment(value.Segment))
	}
	chunks := 0
	for slot, value := range s.Segments {
		ports, remotes := s.List(value.Ports), s.List(value.Remotes)
		for _, list := range [][]uint32{ports, remotes} {
			if len(list) > 0 {
				chunks += len(list)/bpf.ChunkSize + 1
			}
		}
		var vteps []string
		for _, id := range remotes {
			vteps = append(vteps, remote(id))
		}
		slices.Sort(vteps)
		say("segment %s mtu %d flags %d ports %v remotes %v", segment(slot), value.Mtu, value.Flags, ports, vteps)
	}
	if chunks != len(s.Floods) {
		t.Errorf("%d chunks, and the lists of the segments have %d", len(s.Floods), chunks)
	}
	for _, value := range s.Remotes {
		say("remote %s by %+v", value.Vtep.NetAddr(), value.CurrentPath())
	}
	for key, value := range s.FDB {
		where := fmt.Sprintf("port %d", value.Id)
		if value.Kind == bpf.KindRemote {
			where = "remote " + remote(value.Id)
		}
		say("mac %s in %s is behind %s", policy.MAC(key.Mac), segment(key.Segment), where)
	}
	for key, value := range s.Neighbors {
		say("address %s in %s is %s", key.Addr.NetAddr(), segment(key.Segment), policy.MAC(value.Mac))
	}
	slices.Sort(lines)
	return lines
}
