// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/cilium/ebpf"

	"overcast/bpf"
	"overcast/maps"
)

// rawMap is a map as it is.
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

// rawReaders read a map with its own types. Empty slots of arrays are left out.
var rawReaders = map[string]func(*ebpf.Map) ([]rawEntry, error){
	"oc_ports":       rawRead[uint32, bpf.Port],
	"oc_vnis":        rawRead[uint32, bpf.VNI],
	"oc_segments":    rawRead[uint32, bpf.Segment],
	"oc_vteps":       rawRead[bpf.VTEPKey, bpf.VTEP],
	"oc_remotes":     rawRead[uint32, bpf.Remote],
	"oc_fdb":         rawReadFDB,
	"oc_fdb_spill":   rawRead[bpf.FDBKey, bpf.FDBEntry],
	"oc_fdb_learned": rawRead[bpf.FDBKey, bpf.LearnedEntry],
	"oc_floods":      rawRead[bpf.FloodKey, bpf.Flood],
	"oc_stats":       rawReadPerCPU[uint32, bpf.Counters],
	"oc_drops":       rawReadPerCPU[bpf.DropKey, bpf.DropCount],
	"oc_pacers":      rawRead[uint32, uint64],
}

func rawRead[K any, V comparable](m *ebpf.Map) ([]rawEntry, error) {
	var (
		entries = []rawEntry{} // [] and not null
		key     K
		value   V
		zero    V
	)
	array := m.Type() == ebpf.Array
	it := m.Iterate()
	for it.Next(&key, &value) {
		if !array || value != zero {
			entries = append(entries, rawEntry{key, value})
		}
	}
	return entries, it.Err()
}

// rawReadFDB reads the MACs out of the buckets of oc_fdb.
func rawReadFDB(m *ebpf.Map) ([]rawEntry, error) {
	entries := []rawEntry{} // [] and not null
	buckets, err := rawRead[uint32, bpf.FDBBucket](m)
	for _, bucket := range buckets {
		for _, slot := range bucket.Value.(bpf.FDBBucket).Slot {
			if slot.Key != 0 {
				key, entry := maps.FDBSlot(slot.Key, slot.Where)
				entries = append(entries, rawEntry{key, entry})
			}
		}
	}
	return entries, err
}

func rawReadPerCPU[K any, V comparable](m *ebpf.Map) ([]rawEntry, error) {
	var (
		entries = []rawEntry{} // [] and not null
		key     K
		zero    V
	)
	it := m.Iterate()
	for {
		var values []V
		if !it.Next(&key, &values) {
			return entries, it.Err()
		}
		for _, value := range values {
			if value != zero {
				entries = append(entries, rawEntry{key, values})
				break
			}
		}
	}
}

func showRaw(out io.Writer, o *options, set *maps.Set, names []string) error {
	var rows []rawMap
	for _, n := range set.Named() {
		if !slices.Contains(names, n.Name) {
			continue
		}
		info, err := (*n.Map).Info()
		if err != nil {
			return fmt.Errorf("map %s: %w", n.Name, err)
		}
		entries, err := rawReaders[n.Name](*n.Map)
		if err != nil {
			return fmt.Errorf("map %s: %w", n.Name, err)
		}
		memory, _ := info.Memlock()
		most := (*n.Map).MaxEntries()
		if n.Name == "oc_fdb" {
			most *= bpf.FDBSlots
		}
		rows = append(rows, rawMap{n.Name, (*n.Map).Type().String(), len(entries), most, memory, entries})
	}
	columns := []column[rawMap]{
		{"MAP", false, func(r rawMap) string { return r.Map }},
		{"TYPE", false, func(r rawMap) string { return r.Type }},
		{"ENTRIES", false, func(r rawMap) string { return strconv.Itoa(r.Entries) }},
		{"MAX", false, func(r rawMap) string { return strconv.FormatUint(uint64(r.MaxEntries), 10) }},
		{"MEMORY", false, func(r rawMap) string { return strconv.FormatUint(r.Memory, 10) }},
	}
	if err := show(out, o, "raw", columns, rows); err != nil || o.output == "json" || o.output == "yaml" {
		return err
	}
	for _, row := range rows {
		fmt.Fprintf(out, "\n%s\n", row.Map)
		for _, entry := range row.Content {
			fmt.Fprintf(out, "  %+v = %+v\n", entry.Key, entry.Value)
		}
	}
	return nil
}
