// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"overcast/bpf"
	"overcast/loader"
)

// dropRow counts frames that ended here.
type dropRow struct {
	Reason    string `json:"reason"`
	Interface string `json:"interface"` // the device that they came in on
	Port      string `json:"port"`      // environment/segment/port, if that is one
	Segment   string `json:"segment"`   // environment/segment, if it was known
	Packets   uint64 `json:"packets"`
	Bytes     uint64 `json:"bytes"`
	Text      string `json:"text"`
}

func readDrops(v *view, s *scope) ([]dropRow, error) {
	counts, err := v.set.DropCounts()
	if err != nil {
		return nil, err
	}
	n := v.names()
	devices := v.devices()
	var rows []dropRow
	for key, count := range counts {
		if !s.hasDrop(key) {
			continue
		}
		row := dropRow{Reason: key.Reason.String(), Text: key.Reason.Text(), Packets: count.Packets, Bytes: count.Bytes,
			Interface: devices[key.Ifindex], Port: n.ports[key.Ifindex]}
		if key.Segment != 0 {
			row.Segment = n.segment(key.Segment)
		}
		if row.Interface == "" && key.Ifindex != 0 {
			row.Interface = device(key.Ifindex)
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b dropRow) int {
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Segment, b.Segment))
	})
	return rows, nil
}

// devices names the devices of the report by ifindex.
func (v *view) devices() map[uint32]string {
	devices := byIfindex(v.report.Ports, func(p loader.PortReport) string { return p.Interface })
	devices[v.report.Tunnel.Ifindex] = v.report.Tunnel.Device
	for _, u := range v.report.Uplinks {
		devices[u.Ifindex] = u.Interface
	}
	delete(devices, 0)
	return devices
}

func dropsCommand(o *options) *cobra.Command {
	columns := []column[dropRow]{
		{"REASON", false, func(r dropRow) string { return r.Reason }},
		{"INTERFACE", false, func(r dropRow) string { return r.Interface }},
		{"PORT", true, func(r dropRow) string { return r.Port }},
		{"SEGMENT", false, func(r dropRow) string { return r.Segment }},
		{"PACKETS", false, func(r dropRow) string { return number(r.Packets) }},
		{"BYTES", true, func(r dropRow) string { return number(r.Bytes) }},
		{"THE FRAME", false, func(r dropRow) string { return r.Text }},
	}
	cmd := list(o, verb[dropRow]{name: "drops", short: "Show what was dropped, and why", rawMaps: []string{"oc_drops"}, columns: columns, read: readDrops})
	cmd.Long = "Show what was dropped, and why. There are " + strconv.Itoa(len(bpf.Drops())) + " reasons; docs/drops.md has them all."
	return cmd
}
