// SPDX-License-Identifier: Apache-2.0

package maps

import "overcast/bpf"

// Snapshot is what the maps that the agent writes hold. Empty slots of the
// array maps are left out.
type Snapshot struct {
	Ports    map[uint32]bpf.Port // by ifindex
	VNIs     map[uint32]bpf.VNI
	Segments map[uint32]bpf.Segment // by slot
	VTEPs    map[bpf.VTEPKey]bpf.VTEP
	Remotes  map[uint32]bpf.Remote // by slot
	FDB      map[bpf.FDBKey]bpf.FDBEntry
	Floods   map[bpf.FloodKey]bpf.Flood

	Governors map[uint32]bpf.Governor          // by element of oc_governors
	Neighbors map[bpf.NeighborKey]bpf.Neighbor // configured addresses
}

// Snapshot reads the maps.
func (s *Set) Snapshot() (*Snapshot, error) {
	var (
		snap Snapshot
		err  error
	)
	if snap.Ports, err = s.ports().all(); err != nil {
		return nil, err
	}
	if snap.VNIs, err = s.vnis().all(); err != nil {
		return nil, err
	}
	if snap.Segments, err = s.segments().all(); err != nil {
		return nil, err
	}
	for slot, segment := range snap.Segments {
		if segment.Vni == 0 {
			delete(snap.Segments, slot)
		}
	}
	if snap.VTEPs, err = s.vteps().all(); err != nil {
		return nil, err
	}
	if snap.Remotes, err = s.liveRemotes(); err != nil {
		return nil, err
	}
	if snap.FDB, err = s.fdb().all(); err != nil {
		return nil, err
	}
	if snap.Neighbors, err = s.neighbors().all(); err != nil {
		return nil, err
	}
	if snap.Floods, err = s.floods().all(); err != nil {
		return nil, err
	}
	if snap.Governors, err = s.governors(); err != nil {
		return nil, err
	}
	return &snap, nil
}

func (s *Set) liveRemotes() (map[uint32]bpf.Remote, error) {
	remotes, err := s.remotes().all()
	if err != nil {
		return nil, err
	}
	for slot, remote := range remotes {
		if remote.Vtep == (bpf.Addr{}) {
			delete(remotes, slot)
		}
	}
	return remotes, nil
}

// List puts the chunks of a replication list together.
func (s *Snapshot) List(list uint32) []uint32 {
	var ids []uint32
	if list == 0 {
		return nil
	}
	for chunk := uint32(0); ; chunk++ {
		flood, ok := s.Floods[bpf.FloodKey{List: list, Chunk: chunk}]
		if !ok {
			return ids
		}
		ids = append(ids, flood.Id[:min(flood.Count, bpf.ChunkSize)]...)
		if flood.Count < bpf.ChunkSize {
			return ids
		}
	}
}
