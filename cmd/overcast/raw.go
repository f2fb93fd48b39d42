// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"overcast/bpf"
	"overcast/maps"
)

// rawMap is a map as it is. A filter leaves out content; how full the map is
// stays what it is. Of a ring, the entries are bytes.
type rawMap struct {
	Map        string     `json:"map"`
	Type       string     `json:"type"`
	Entries    int        `json:"entries"`
	MaxEntries uint32     `json:"max_entries"`
	Memory     uint64     `json:"memory_bytes"`
	Content    []rawEntry `json:"content"`
}

// rawEntry is a map's entry, in the fields of bpf/types.h.
type rawEntry struct {
	Key   any
	Value any
}

// rawReaders read a map with its own types, and what the scope has of it. Empty
// slots of arrays are left out.
var rawReaders = map[string]func(*ebpf.Map, *scope) ([]rawEntry, int, error){
	"oc_ports":       rawRead(func(s *scope, ifindex uint32, _ bpf.Port) bool { return s.hasDevice(ifindex) }),
	"oc_vnis":        rawRead(func(s *scope, vni uint32, _ bpf.VNI) bool { return s.hasVNI(vni) }),
	"oc_segments":    rawRead(func(s *scope, slot uint32, _ bpf.Segment) bool { return s.hasSegment(slot) }),
	"oc_vteps":       rawRead((*scope).hasMember),
	"oc_remotes":     rawRead(func(s *scope, slot uint32, _ bpf.Remote) bool { return s.hasRemote(slot) }),
	"oc_fdb":         rawReadFDB,
	"oc_fdb_spill":   rawRead((*scope).hasMAC),
	"oc_fdb_learned": rawRead(func(s *scope, k bpf.FDBKey, e bpf.LearnedEntry) bool { return s.hasMAC(k, e.Where) }),
	"oc_floods":      rawRead(func(s *scope, k bpf.FloodKey, _ bpf.Flood) bool { return s.hasList(k.List) }),
	"oc_mdb_floods":  rawRead(func(s *scope, k bpf.FloodKey, _ bpf.Flood) bool { return s.hasList(k.List) }),
	"oc_governors":   rawRead(func(s *scope, element uint32, _ bpf.Governor) bool { return s.hasGovernor(element) }),
	"oc_buckets":     rawRead(func(s *scope, element uint32, _ bpf.Bucket) bool { return s.hasGovernor(element) }),
	"oc_copies":      rawReadPerCPU[uint32, bpf.CopyCount](func(s *scope, element uint32) bool { return s.hasSegment(element / bpf.Classes) }),
	"oc_stats":       rawReadPerCPU[uint32, bpf.Counters]((*scope).hasStats),
	"oc_drops":       rawReadPerCPU[bpf.DropKey, bpf.DropCount]((*scope).hasDrop),
	"oc_pacers":      rawRead(func(s *scope, slot uint32, _ uint64) bool { return s.hasPort(slot) }),

	"oc_mdb":               rawRead(func(s *scope, k bpf.MDBKey, _ bpf.MDBEntry) bool { return s.hasSegment(k.Segment) }),
	"oc_groups":            rawReadGroups,
	"oc_snoops":            rawRead(func(s *scope, slot uint32, _ bpf.Snoop) bool { return s.hasSegment(slot) }),
	"oc_events":            rawReadEvents,
	"oc_snoop_pacers":      rawRead(func(s *scope, slot uint32, _ uint64) bool { return s.hasPort(slot) }),
	"oc_neighbors":         rawRead(func(s *scope, k bpf.NeighborKey, n bpf.Neighbor) bool { return s.hasNeighbor(k, n.Mac) }),
	"oc_neighbors_learned": rawRead(func(s *scope, k bpf.NeighborKey, n bpf.LearnedNeighbor) bool { return s.hasNeighbor(k, n.Mac) }),
}

// rawRead makes a reader: it returns what the scope has, and the number of all.
func rawRead[K any, V comparable](has func(*scope, K, V) bool) func(*ebpf.Map, *scope) ([]rawEntry, int, error) {
	return func(m *ebpf.Map, s *scope) ([]rawEntry, int, error) {
		var (
			entries = []rawEntry{} // [] and not null
			all     int
			key     K
			value   V
			zero    V
		)
		array := m.Type() == ebpf.Array
		it := m.Iterate()
		for it.Next(&key, &value) {
			if array && value == zero {
				continue
			}
			if all++; has(s, key, value) {
				entries = append(entries, rawEntry{key, value})
			}
		}
		return entries, all, it.Err()
	}
}

// rawReadFDB reads the MACs out of the buckets of oc_fdb.
func rawReadFDB(m *ebpf.Map, s *scope) ([]rawEntry, int, error) {
	var (
		entries = []rawEntry{} // [] and not null
		all     int
	)
	buckets, _, err := rawRead(func(*scope, uint32, bpf.FDBBucket) bool { return true })(m, s)
	for _, bucket := range buckets {
		for _, slot := range bucket.Value.(bpf.FDBBucket).Slot {
			if slot.Key == 0 {
				continue
			}
			key, entry := maps.ReadFDBSlot(slot.Key, slot.Where)
			if all++; s.hasMAC(key, entry) {
				entries = append(entries, rawEntry{key, entry})
			}
		}
	}
	return entries, all, err
}

// rawReadGroups reads the elements of oc_groups that are in use. The others keep
// what they had, and one in use may be all zeros: a group that nobody wants.
func rawReadGroups(_ *ebpf.Map, s *scope) ([]rawEntry, int, error) {
	entries := []rawEntry{} // [] and not null
	elements, err := s.set.GroupElements()
	for key, element := range elements {
		if s.hasSegment(key.Segment) {
			entries = append(entries, rawEntry{element.Slot, element.Group})
		}
	}
	slices.SortFunc(entries, func(a, b rawEntry) int { return cmp.Compare(a.Key.(uint32), b.Key.(uint32)) })
	return entries, len(elements), err
}

// rawReadEvents tells how much waits in a ring for the agent; what that is, is
// for the agent alone.
func rawReadEvents(m *ebpf.Map, _ *scope) ([]rawEntry, int, error) {
	reader, err := ringbuf.NewReader(m)
	if err != nil {
		return nil, 0, err
	}
	defer reader.Close()
	return []rawEntry{}, reader.AvailableBytes(), nil
}

func rawReadPerCPU[K any, V comparable](has func(*scope, K) bool) func(*ebpf.Map, *scope) ([]rawEntry, int, error) {
	return func(m *ebpf.Map, s *scope) ([]rawEntry, int, error) {
		var (
			entries = []rawEntry{} // [] and not null
			all     int
			key     K
			zero    V
		)
		it := m.Iterate()
		for {
			var values []V
			if !it.Next(&key, &values) {
				return entries, all, it.Err()
			}
			if !slices.ContainsFunc(values, func(value V) bool { return value != zero }) {
				continue
			}
			if all++; has(s, key) {
				entries = append(entries, rawEntry{key, values})
			}
		}
	}
}

func showRaw(out io.Writer, o *options, verb string, set *maps.Set, names []string, s *scope) error {
	var rows []rawMap
	for _, n := range set.Named() {
		if !slices.Contains(names, n.Name) {
			continue
		}
		info, err := (*n.Map).Info()
		if err != nil {
			return fmt.Errorf("map %s: %w", n.Name, err)
		}
		entries, all, err := rawReaders[n.Name](*n.Map, s)
		if err != nil {
			return fmt.Errorf("map %s: %w", n.Name, err)
		}
		memory, _ := info.Memlock()
		most := (*n.Map).MaxEntries()
		if n.Name == "oc_fdb" {
			most *= bpf.FDBSlots
		}
		rows = append(rows, rawMap{n.Name, (*n.Map).Type().String(), all, most, memory, entries})
	}
	columns := []column[rawMap]{
		{"MAP", false, func(r rawMap) string { return r.Map }},
		{"TYPE", false, func(r rawMap) string { return r.Type }},
		{"ENTRIES", false, func(r rawMap) string { return strconv.Itoa(r.Entries) }},
		{"MAX", false, func(r rawMap) string { return strconv.FormatUint(uint64(r.MaxEntries), 10) }},
		{"MEMORY", false, func(r rawMap) string { return strconv.FormatUint(r.Memory, 10) }},
	}
	if err := show(out, o, verb, columns, rows); err != nil || !o.tabular() {
		return err
	}
	for _, row := range rows {
		fmt.Fprintf(out, "\n%s\n", row.Map)
		for _, entry := range row.Content {
			fmt.Fprintf(out, "  %v\n", entry)
		}
	}
	return nil
}
