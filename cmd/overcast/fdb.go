// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"overcast/bpf"
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

// names gives the contents of the maps their names.
type names struct {
	segments map[uint32][2]string // environment and segment by slot
	ports    map[uint32]string    // port by ifindex
	remotes  map[uint32]string    // host by slot
}

func (v *view) names() names {
	n := names{segments: make(map[uint32][2]string), ports: make(map[uint32]string), remotes: make(map[uint32]string)}
	for _, s := range v.report.Segments {
		n.segments[s.Slot] = [2]string{s.Environment, s.Segment}
	}
	for _, p := range v.report.Ports {
		for _, ifindex := range []uint32{p.DropsIfindex, p.Ifindex} {
			if ifindex != 0 {
				n.ports[ifindex] = p.Port
			}
		}
	}
	for _, r := range v.report.Remotes {
		n.remotes[r.Slot] = r.Host
	}
	return n
}

// segment returns a segment's names; without a report, its number.
func (n names) segment(slot uint32) (environment, segment string) {
	if name, ok := n.segments[slot]; ok {
		return name[0], name[1]
	}
	return "?", strconv.Itoa(int(slot))
}

func (n names) row(key bpf.FDBKey, entry bpf.FDBEntry) (row fdbRow, environment, segment, port string) {
	environment, segment = n.segment(key.Segment)
	row = fdbRow{Segment: environment + "/" + segment, MAC: policy.MAC(key.Mac).String()}
	if entry.Kind == bpf.KindRemote {
		row.Kind, row.Where = "remote", n.remotes[entry.Id]
		if row.Where == "" {
			row.Where = "slot " + strconv.Itoa(int(entry.Id))
		}
		return row, environment, segment, ""
	}
	port = n.ports[entry.Id]
	row.Kind, row.Where = "port", row.Segment+"/"+port
	switch {
	case entry.Id == 0:
		row.Where = "a port without a device"
	case port == "":
		row.Where = "ifindex " + strconv.Itoa(int(entry.Id))
	}
	return row, environment, segment, port
}

func readFDB(v *view, f filter) ([]fdbRow, error) {
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
		row, environment, segment, port := n.row(key, entry)
		if f.takes(environment, segment, port) {
			row.Source, row.Age = source, age
			rows = append(rows, row)
		}
	}
	for key, entry := range snapshot.FDB {
		add(key, entry, "static", 0)
	}
	now := maps.Monotonic()
	for key, entry := range learned {
		if age := float64(int64(now-entry.Seen)) / 1e9; age < maps.LearnedAge.Seconds() {
			add(key, entry.Where, "learned", max(age, 0))
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
	return list(o, "fdb", "Show where each MAC is", []string{"oc_fdb", "oc_fdb_learned"}, columns, readFDB)
}
