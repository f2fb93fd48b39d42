// SPDX-License-Identifier: Apache-2.0

// Package maps is the typed way to the maps of the datapath: what they hold
// (Snapshot), what they should hold (Contents), and the steps from one to the
// other, in an order in which no frame is lost or crosses segments.
package maps

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"

	"overcast/bpf"
)

// Limits are the sizes of the maps that the configuration decides, in entries.
type Limits struct {
	MACs    uint32 // configured MACs
	Learned uint32 // learned MACs; the least recently used goes first
	Groups  uint32 // multicast groups
	Remotes uint32
}

// Size writes the limits into the specification of the maps.
func Size(spec *ebpf.CollectionSpec, limits Limits) {
	spec.Maps["oc_fdb"].MaxEntries = fdbBuckets(limits.MACs)
	spec.Maps["oc_fdb_learned"].MaxEntries = limits.Learned
	spec.Maps["oc_mdb"].MaxEntries = limits.Groups
	// Some thousands of receivers for as many groups; more share lists.
	spec.Maps["oc_mdb_floods"].MaxEntries = 4 * limits.Groups
	spec.Maps["oc_snoop_pacers"].MaxEntries = bpf.MaxPorts + limits.Remotes + 1
	spec.Maps["oc_events"].MaxEntries = eventBytes(limits.Groups)
	// Slot 0 is never used.
	spec.Maps["oc_groups"].MaxEntries = limits.Groups + 1
	// An address of each family.
	spec.Maps["oc_neighbors"].MaxEntries = 2 * limits.MACs
	spec.Maps["oc_neighbors_learned"].MaxEntries = limits.Learned
	// Slot 0 of the remotes is never used.
	spec.Maps["oc_remotes"].MaxEntries = limits.Remotes + 1
	spec.Maps["oc_stats"].MaxEntries = bpf.StatsRemotes + limits.Remotes + 1
}

// eventBytes is room for the answers to a query after which each of so many
// groups is told of by a message of its own; a ring has a power of two.
func eventBytes(groups uint32) uint32 {
	const message, least, most = 512, 1 << 21, 1 << 26
	bytes := uint32(least)
	for bytes < most && uint64(bytes) < message*uint64(groups) {
		bytes *= 2
	}
	return bytes
}

// Set is the open maps of one datapath. Only one goroutine may change them at a
// time; reading is safe at any time.
type Set struct {
	Ports     *ebpf.Map `ebpf:"oc_ports"`
	VNIs      *ebpf.Map `ebpf:"oc_vnis"`
	Segments  *ebpf.Map `ebpf:"oc_segments"`
	VTEPs     *ebpf.Map `ebpf:"oc_vteps"`
	Remotes   *ebpf.Map `ebpf:"oc_remotes"`
	FDB       *ebpf.Map `ebpf:"oc_fdb"`
	Spill     *ebpf.Map `ebpf:"oc_fdb_spill"`
	Learned   *ebpf.Map `ebpf:"oc_fdb_learned"`
	Floods    *ebpf.Map `ebpf:"oc_floods"`
	MDB       *ebpf.Map `ebpf:"oc_mdb"`
	MDBFloods *ebpf.Map `ebpf:"oc_mdb_floods"`
	Groups    *ebpf.Map `ebpf:"oc_groups"`
	Snoops    *ebpf.Map `ebpf:"oc_snoops"`
	Events    *ebpf.Map `ebpf:"oc_events"`

	Neighbors        *ebpf.Map `ebpf:"oc_neighbors"`
	LearnedNeighbors *ebpf.Map `ebpf:"oc_neighbors_learned"`

	Governors *ebpf.Map `ebpf:"oc_governors"`
	Buckets   *ebpf.Map `ebpf:"oc_buckets"`
	Copies    *ebpf.Map `ebpf:"oc_copies"`

	Stats       *ebpf.Map `ebpf:"oc_stats"`
	Drops       *ebpf.Map `ebpf:"oc_drops"`
	Pacers      *ebpf.Map `ebpf:"oc_pacers"`
	SnoopPacers *ebpf.Map `ebpf:"oc_snoop_pacers"`

	writes Writes
}

// Writes counts what has been written since the set was opened, in entries. A
// batch of a thousand entries counts a thousand.
type Writes struct {
	Put     uint64
	Deleted uint64
	Batches uint64 // steps that carried more than one entry: system calls, or passes over a mapped map
}

// Writes returns what has been written so far.
func (s *Set) Writes() Writes {
	return s.writes
}

// Named is a map and its name.
type Named struct {
	Name string
	Map  **ebpf.Map
}

// Named lists the maps with their names, in the order of the design.
func (s *Set) Named() []Named {
	return []Named{
		{"oc_ports", &s.Ports},
		{"oc_vnis", &s.VNIs},
		{"oc_segments", &s.Segments},
		{"oc_vteps", &s.VTEPs},
		{"oc_remotes", &s.Remotes},
		{"oc_fdb", &s.FDB},
		{"oc_fdb_spill", &s.Spill},
		{"oc_fdb_learned", &s.Learned},
		{"oc_floods", &s.Floods},
		{"oc_mdb", &s.MDB},
		{"oc_mdb_floods", &s.MDBFloods},
		{"oc_groups", &s.Groups},
		{"oc_snoops", &s.Snoops},
		{"oc_events", &s.Events},
		{"oc_neighbors", &s.Neighbors},
		{"oc_neighbors_learned", &s.LearnedNeighbors},
		{"oc_governors", &s.Governors},
		{"oc_buckets", &s.Buckets},
		{"oc_copies", &s.Copies},
		{"oc_stats", &s.Stats},
		{"oc_drops", &s.Drops},
		{"oc_pacers", &s.Pacers},
		{"oc_snoop_pacers", &s.SnoopPacers},
	}
}

// ErrNotLoaded says that no datapath is pinned where one was looked for.
var ErrNotLoaded = errors.New("no datapath is loaded")

// Open opens the pinned maps of a datapath. The error is ErrNotLoaded, wrapped,
// if there are none.
func Open(pinPath string) (*Set, error) {
	var set Set
	for _, n := range set.Named() {
		m, err := ebpf.LoadPinnedMap(filepath.Join(pinPath, n.Name), nil)
		if errors.Is(err, os.ErrNotExist) {
			err = ErrNotLoaded
		}
		if err != nil {
			set.Close()
			return nil, fmt.Errorf("map %s in %s: %w", n.Name, pinPath, err)
		}
		*n.Map = m
	}
	return &set, nil
}

// Close closes the maps; what is pinned stays.
func (s *Set) Close() {
	for _, n := range s.Named() {
		if *n.Map != nil {
			(*n.Map).Close()
			*n.Map = nil
		}
	}
}
