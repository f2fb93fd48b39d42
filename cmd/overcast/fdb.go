// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"overcast/bpf"
	"overcast/loader"
	"overcast/maps"
	"overcast/policy"
)

// fdbRow says where a MAC is.
type fdbRow struct {
	Segment string  `json:"segment"` // environment/segment
	MAC     string  `json:"mac"`
	Source  string  `json:"source"` // static or learned
	Kind    string  `json:"kind"`   // port or remote
	Where   string  `json:"where"`  // environment/segment/port, or host
	Age     float64 `json:"age"`    // seconds since a learned MAC was seen
}

// names gives the contents of the maps their full names.
type names struct {
	segments map[uint32]string // by slot
	ports    map[uint32]string // by ifindex
	remotes  map[uint32]string // host by slot
}

func (v *view) names() names {
	n := names{segments: make(map[uint32]string), ports: make(map[uint32]string), remotes: make(map[uint32]string)}
	if v.numbered {
		return n // a number says of what kind it is
	}
	for _, s := range v.report.Segments {
		n.segments[s.Slot] = s.Object()
	}
	n.ports = byIfindex(v.report.Ports, loader.PortReport.Object)
	for _, r := range v.report.Remotes {
		n.remotes[r.Slot] = r.Host
	}
	return n
}

// byIfindex tells something of the ports by their ifindexes. One that has the
// device now goes before one whose drops were counted there once.
func byIfindex(ports []loader.PortReport, of func(loader.PortReport) string) map[uint32]string {
	all := make(map[uint32]string)
	for _, p := range ports {
		all[p.DropsIfindex] = of(p)
	}
	for _, p := range ports {
		all[p.Ifindex] = of(p)
	}
	delete(all, 0)
	return all
}

// segment returns a segment's name; without a report, its number.
func (n names) segment(slot uint32) string {
	if name, ok := n.segments[slot]; ok {
		return name
	}
	return "?/" + number(slot)
}

func (n names) row(key bpf.FDBKey, entry bpf.FDBEntry) fdbRow {
	row := fdbRow{Segment: n.segment(key.Segment), MAC: policy.MAC(key.Mac).String()}
	if entry.Kind == bpf.KindRemote {
		row.Kind, row.Where = "remote", n.remote(entry.Id)
		return row
	}
	row.Kind, row.Where = "port", n.port(entry.Id)
	if entry.Id == 0 {
		row.Where = "a port without a device"
	}
	return row
}

// port returns a port's name; without a report, its ifindex.
func (n names) port(ifindex uint32) string {
	if name, ok := n.ports[ifindex]; ok {
		return name
	}
	return device(ifindex)
}

// remote returns a remote's host; without a report, its slot.
func (n names) remote(slot uint32) string {
	if name, ok := n.remotes[slot]; ok {
		return name
	}
	return "slot " + number(slot)
}

func readFDB(v *view, s *scope) ([]fdbRow, error) {
	snapshot, err := v.set.Snapshot()
	if err != nil {
		return nil, err
	}
	learned, err := v.set.LearnedEntries()
	if err != nil {
		return nil, err
	}
	n := v.names()
	var rows []fdbRow
	add := func(key bpf.FDBKey, entry bpf.FDBEntry, source string, age float64) {
		if s.hasMAC(key, entry) {
			row := n.row(key, entry)
			row.Source, row.Age = source, age
			rows = append(rows, row)
		}
	}
	for key, entry := range snapshot.FDB {
		add(key, entry, "static", 0)
	}
	for key, entry := range learned {
		if seconds := age(entry.Seen); seconds < maps.LearnedAge.Seconds() {
			add(key, entry.Where, "learned", seconds)
		}
	}
	slices.SortFunc(rows, func(a, b fdbRow) int { return cmp.Or(cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.MAC, b.MAC)) })
	return rows, nil
}

func fdbCommand(o *options) *cobra.Command {
	columns := []column[fdbRow]{
		{"SEGMENT", false, func(r fdbRow) string { return r.Segment }},
		{"MAC", false, func(r fdbRow) string { return r.MAC }},
		{"SOURCE", false, func(r fdbRow) string { return r.Source }},
		{"KIND", false, func(r fdbRow) string { return r.Kind }},
		{"WHERE", false, func(r fdbRow) string { return r.Where }},
		{"AGE", true, func(r fdbRow) string {
			if r.Source == "static" {
				return ""
			}
			return strconv.FormatFloat(r.Age, 'f', 0, 64) + "s"
		}},
	}
	return list(o, verb[fdbRow]{name: "fdb", short: "Show where each MAC is", rawMaps: []string{"oc_fdb", "oc_fdb_spill", "oc_fdb_learned"}, columns: columns, read: readFDB})
}
