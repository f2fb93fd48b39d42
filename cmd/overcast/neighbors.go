// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"overcast/bpf"
	"overcast/maps"
	"overcast/policy"
)

// neighborRow says whose an address is.
type neighborRow struct {
	Segment string     `json:"segment"` // environment/segment
	Address netip.Addr `json:"address"`
	MAC     string     `json:"mac"`
	Source  string     `json:"source"` // configured or learned
	Kind    string     `json:"kind"`   // port or remote
	Where   string     `json:"where"`  // environment/segment/port, or host
	Router  string     `json:"router"` // yes, no or unknown: what the owner said by ND
	Age     float64    `json:"age"`    // seconds since a learned address was heard
}

// places are where the MACs of a datapath are.
func (v *view) places() (map[bpf.FDBKey]bpf.FDBEntry, error) {
	places, err := v.set.FDBEntries()
	if err != nil {
		return nil, err
	}
	learned, err := v.set.LearnedEntries()
	if err != nil {
		return nil, err
	}
	for key, entry := range learned {
		if _, configured := places[key]; !configured && age(entry.Seen) < maps.LearnedAge.Seconds() {
			places[key] = entry.Where
		}
	}
	return places, nil
}

// age is the time since something was seen, in seconds, on the programs' clock.
func age(seen uint64) float64 {
	return max(float64(int64(maps.Monotonic()-seen))/1e9, 0)
}

// role tells whether an owner of this MAC has said that it is a router.
func role(entry bpf.LearnedNeighbor, mac [6]byte) string {
	switch {
	case entry.Mac != mac || entry.Flags&bpf.NeighborRole == 0:
		return "unknown"
	case entry.Flags&bpf.NeighborRouter != 0:
		return "yes"
	}
	return "no"
}

// readNeighbors leaves out what was learned and is not used any more.
func readNeighbors(v *view, s *scope) ([]neighborRow, error) {
	snapshot, err := v.set.Snapshot()
	if err != nil {
		return nil, err
	}
	learned, err := v.set.LearnedNeighborEntries()
	if err != nil {
		return nil, err
	}
	places, err := v.places()
	if err != nil {
		return nil, err
	}
	n := v.names()
	var rows []neighborRow
	add := func(key bpf.NeighborKey, mac [6]byte, place bpf.FDBEntry, source string, age float64) {
		if s.hasNeighbor(key, mac) {
			where := n.row(bpf.FDBKey{Segment: key.Segment, Mac: mac}, place)
			rows = append(rows, neighborRow{where.Segment, key.Addr.NetAddr(), policy.MAC(mac).String(), source, where.Kind, where.Where, role(learned[key], mac), age})
		}
	}
	for key, entry := range snapshot.Neighbors {
		add(key, entry.Mac, places[bpf.FDBKey{Segment: key.Segment, Mac: entry.Mac}], "configured", 0)
	}
	for key, entry := range learned {
		_, configured := snapshot.Neighbors[key]
		place, known := places[bpf.FDBKey{Segment: key.Segment, Mac: entry.Mac}]
		if heard := age(entry.Seen); known && !configured && heard < maps.NeighborAge.Seconds() {
			add(key, entry.Mac, place, "learned", heard)
		}
	}
	slices.SortFunc(rows, func(a, b neighborRow) int {
		return cmp.Or(cmp.Compare(a.Segment, b.Segment), a.Address.Compare(b.Address))
	})
	return rows, nil
}

func neighborsCommand(o *options) *cobra.Command {
	columns := []column[neighborRow]{
		{"SEGMENT", false, func(r neighborRow) string { return r.Segment }},
		{"ADDRESS", false, func(r neighborRow) string { return addr(r.Address) }},
		{"MAC", false, func(r neighborRow) string { return r.MAC }},
		{"SOURCE", false, func(r neighborRow) string { return r.Source }},
		{"KIND", true, func(r neighborRow) string { return r.Kind }},
		{"WHERE", false, func(r neighborRow) string { return r.Where }},
		{"ROUTER", false, func(r neighborRow) string { return r.Router }},
		{"AGE", true, func(r neighborRow) string {
			if r.Source == "configured" {
				return ""
			}
			return strconv.FormatFloat(r.Age, 'f', 0, 64) + "s"
		}},
	}
	return list(o, verb[neighborRow]{name: "neighbors", short: "Show whose addresses ARP and ND are answered for", rawMaps: []string{"oc_neighbors", "oc_neighbors_learned"}, columns: columns, read: readNeighbors})
}
