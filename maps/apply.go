// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"errors"
	"net/netip"

	"overcast/bpf"
	"overcast/policy"
)

// Apply takes the maps from what they hold to what they should hold, and
// writes nothing else. Everything that something else refers to is written
// before it and removed after it, so programs that run meanwhile find either
// the old state or the new one. What cannot be held is refused before anything
// is written. Any other error leaves the maps in between, where every entry is
// valid; the next Apply goes on from there.
func (s *Set) Apply(have *Snapshot, want *Contents) error {
	if err := s.Fits(want); err != nil {
		return err
	}
	left, err := s.makeRoom(have, want)
	if err != nil {
		return err
	}
	if err := s.add(left, want); err != nil {
		return err
	}
	if err := s.prune(have, left, want); err != nil {
		// What has been given back may be asked for by the next Apply.
		grace()
		return err
	}
	return nil
}

// Fits checks that the maps can hold what they should.
func (s *Set) Fits(want *Contents) error {
	return errors.Join(
		s.ports().fits(want.Ports),
		s.vnis().fits(want.VNIs),
		s.vteps().fits(want.VTEPs),
		s.fdb().fits(want.FDB),
		s.neighbors().fits(want.Neighbors),
		s.floods().fits(want.Floods),
	)
}

// makeRoom makes room for what a change adds. VNIs, segments and remotes need
// none: they have slots, which Compile gives out only once.
func (s *Set) makeRoom(have *Snapshot, want *Contents) (*Snapshot, error) {
	left := *have
	var err error
	// Ports keep their slots when their devices come back under other indexes.
	if left.Ports, err = makeRoom[uint32, bpf.Port](s.ports(), have.Ports, want.Ports); err != nil {
		return nil, err
	}
	if left.FDB, err = makeRoom[bpf.FDBKey, bpf.FDBEntry](s.fdb(), have.FDB, want.FDB); err != nil {
		return nil, err
	}
	if left.Neighbors, err = makeRoom[bpf.NeighborKey, bpf.Neighbor](s.neighbors(), have.Neighbors, want.Neighbors); err != nil {
		return nil, err
	}
	if left.VTEPs, err = makeRoom[bpf.VTEPKey, bpf.VTEP](s.vteps(), have.VTEPs, want.VTEPs); err != nil {
		return nil, err
	}
	if left.Floods, err = makeRoom[bpf.FloodKey, bpf.Flood](s.floods(), have.Floods, want.Floods); err != nil {
		return nil, err
	}
	return &left, nil
}

func (s *Set) add(have *Snapshot, want *Contents) error {
	if err := s.putRemotes(have.Remotes, want.Remotes); err != nil {
		return err
	}
	if err := s.floods().put(policy.Compare(have.Floods, want.Floods).Put); err != nil {
		return err
	}
	if err := s.putGovernors(have, want); err != nil {
		return err
	}
	if err := s.segments().put(policy.Compare(have.Segments, want.Segments).Put); err != nil {
		return err
	}
	if err := putInTurn(s.vteps(), have.VTEPs, want.VTEPs); err != nil {
		return err
	}
	if err := putInTurn(s.vnis(), have.VNIs, want.VNIs); err != nil {
		return err
	}
	// A configured MAC's entry is one word, and a slot that one has left was
	// given back a grace period ago.
	if err := s.fdb().put(policy.Compare(have.FDB, want.FDB).Put); err != nil {
		return err
	}
	if err := putInTurn(s.neighbors(), have.Neighbors, want.Neighbors); err != nil {
		return err
	}
	// A slot that was a port's whose device had gone was not given back by the
	// change that took the port away, so it may still hold counts.
	if err := s.resetStats(want.freshSlots); err != nil {
		return err
	}
	return putInTurn(s.ports(), have.Ports, want.Ports)
}

// prune removes what is no longer wanted, in the reverse order of add. left is
// what makeRoom has left of what there was.
func (s *Set) prune(have, left *Snapshot, want *Contents) error {
	removed := len(have.Ports) - len(left.Ports)
	if err := removeStale[uint32, bpf.Port](s.ports(), left.Ports, want.Ports, &removed); err != nil {
		return err
	}
	if err := removeStale[bpf.NeighborKey, bpf.Neighbor](s.neighbors(), left.Neighbors, want.Neighbors, &removed); err != nil {
		return err
	}
	if err := removeStale[bpf.FDBKey, bpf.FDBEntry](s.fdb(), left.FDB, want.FDB, &removed); err != nil {
		return err
	}
	if err := removeStale[uint32, bpf.VNI](s.vnis(), left.VNIs, want.VNIs, &removed); err != nil {
		return err
	}
	if err := removeStale[bpf.VTEPKey, bpf.VTEP](s.vteps(), left.VTEPs, want.VTEPs, &removed); err != nil {
		return err
	}
	// Whoever still asks for one of these limits finds none.
	if err := s.setGovernors(zeros[bpf.Governor](policy.Compare(left.Governors, want.Governors).Delete)); err != nil {
		return err
	}
	segments := policy.Compare(left.Segments, want.Segments).Delete
	remotes := policy.Compare(left.Remotes, want.Remotes).Delete
	lists := policy.Compare(left.Floods, want.Floods).Delete
	silent := silenced(have, want)
	if removed+len(segments)+len(remotes)+len(lists)+len(silent) == 0 {
		return nil
	}
	// Nothing may refer to a list, slot or element when it is given back, nor
	// may one be asked for again before its last reader has ended.
	grace()
	if err := s.forgetNeighbors(have, silent, remotes, goneIfindexes(have, want)); err != nil {
		return err
	}
	if err := s.forget(have, want, segments, remotes); err != nil {
		return err
	}
	if err := s.floods().remove(lists); err != nil {
		return err
	}
	if err := s.segments().put(zeros[bpf.Segment](segments)); err != nil {
		return err
	}
	if err := s.remotes().put(zeros[bpf.Remote](remotes)); err != nil {
		return err
	}
	grace()
	return nil
}

// forget removes what was learned and counted for slots that become free.
func (s *Set) forget(have *Snapshot, want *Contents, segments, remotes []uint32) error {
	ports := goneIfindexes(have, want)
	if len(segments)+len(remotes)+len(ports) == 0 {
		return nil
	}
	if err := s.forgetLearned(segments, remotes, ports); err != nil {
		return err
	}
	if err := s.forgetGroups(segments); err != nil {
		return err
	}
	if err := s.resetCopies(segments); err != nil {
		return err
	}
	var stats []uint32
	for _, slot := range segments {
		stats = append(stats, bpf.StatsSegments+slot)
	}
	for _, slot := range remotes {
		stats = append(stats, bpf.StatsRemotes+slot)
	}
	kept := make(map[uint32]bool, len(want.Slots))
	for _, slot := range want.Slots {
		kept[slot] = true
	}
	for _, port := range have.Ports {
		if !kept[port.Id] {
			stats = append(stats, port.Id)
		}
	}
	return s.resetStats(stats)
}

// goneIfindexes are the ports that are gone, or gone from their segment.
func goneIfindexes(have *Snapshot, want *Contents) []uint32 {
	var gone []uint32
	for ifindex, port := range have.Ports {
		if now, ok := want.Ports[ifindex]; !ok || now.Segment != port.Segment {
			gone = append(gone, ifindex)
		}
	}
	return gone
}

// putInTurn adds entries in batches and replaces existing ones one by one with
// a grace period between them, since a replaced element is handed out at once;
// many of them go all together.
// Replacements are rare here: a port that changes its segment, a VNI that is
// given to another one.
func putInTurn[K comparable, V comparable](t table[K, V], have, want map[K]V) error {
	fresh, changed := make(map[K]V), make(map[K]V)
	for k, v := range policy.Compare(have, want).Put {
		if _, ok := have[k]; ok {
			changed[k] = v
		} else {
			fresh[k] = v
		}
	}
	if err := t.put(fresh); err != nil {
		return err
	}
	if len(changed) > fewInTurn {
		return putAfresh(t, changed)
	}
	for k, v := range changed {
		if err := t.putOne(k, v); err != nil {
			return err
		}
		grace()
	}
	return nil
}

// fewInTurn is how many grace periods, of some 10 ms each, a change may take.
const fewInTurn = 16

// putAfresh replaces many entries: all are taken away, and put back with their
// new values when nobody reads the old ones any more. For a grace period there
// are none, and their frames are dropped; in turn, as many would find entries
// that do not go together, and for a thousand of them that takes 10 s.
func putAfresh[K comparable, V any](t table[K, V], entries map[K]V) error {
	keys := make([]K, 0, len(entries))
	for key := range entries {
		keys = append(keys, key)
	}
	if err := t.remove(keys); err != nil {
		return err
	}
	grace()
	return t.put(entries)
}

func removeStale[K, V comparable](t store[K, V], have, want map[K]V, removed *int) error {
	stale := policy.Compare(have, want).Delete
	*removed += len(stale)
	return t.remove(stale)
}

// zeros are the values that empty slots of an array map.
func zeros[V any](slots []uint32) map[uint32]V {
	values := make(map[uint32]V, len(slots))
	for _, slot := range slots {
		var zero V
		values[slot] = zero
	}
	return values
}

// putRemotes writes new remotes, and the changed paths of known ones: first
// into the half that no program reads, then the word that says which half.
func (s *Set) putRemotes(have, want map[uint32]bpf.Remote) error {
	first, second := make(map[uint32]bpf.Remote), make(map[uint32]bpf.Remote)
	for slot, remote := range want {
		old, ok := have[slot]
		if !ok {
			first[slot] = remote
			continue
		}
		path, same := remote.CurrentPath(), old.Mtu == remote.Mtu
		old.Mtu = remote.Mtu
		if old.CurrentPath() == path {
			if !same {
				first[slot] = old
			}
			continue
		}
		idle := 1 - old.Active&1
		old.Path[idle] = path
		first[slot] = old
		old.Active = idle
		second[slot] = old
	}
	if err := s.remotes().put(first); err != nil {
		return err
	}
	return s.remotes().put(second)
}

// SetPaths writes the paths to remotes that have changed, by VTEP; a VTEP that
// is not there has no path. It is the short way for a change of routes and
// neighbours, which touches nothing else. It returns how many it changed.
func (s *Set) SetPaths(paths map[netip.Addr]bpf.Path) (int, error) {
	have, err := s.liveRemotes()
	if err != nil {
		return 0, err
	}
	want := make(map[uint32]bpf.Remote)
	for slot, remote := range have {
		path := paths[remote.Vtep.NetAddr()]
		if remote.CurrentPath() != path {
			want[slot] = bpf.Remote{Vtep: remote.Vtep, Mtu: remote.Mtu, Path: [2]bpf.Path{path}}
		}
	}
	return len(want), s.putRemotes(have, want)
}
