// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"

	"overcast/bpf"
	"overcast/loader"
	"overcast/maps"
	"overcast/policy"
)

// readReport reads the agent's report, or says why there is none to go by.
func readReport(runDir string) (report *loader.Report, missing string) {
	report, err := loader.ReadReport(runDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "there is no report of an agent in " + runDir
	case err != nil:
		return nil, "the agent's report is of no use: " + err.Error()
	case report.Schema != loader.ReportSchema:
		return nil, fmt.Sprintf("the agent's report %s has schema %d, and this overcast reads %d", filepath.Join(runDir, "state.json"), report.Schema, loader.ReportSchema)
	}
	return report, ""
}

// numbered is the report that the maps themselves give: where a name would
// stand there is a number, the slot of a segment or remote, and the ifindex of a
// port. Ports whose devices are missing are in no map.
func numbered(set *maps.Set) (*loader.Report, error) {
	snapshot, err := set.Snapshot()
	if err != nil {
		return nil, err
	}
	r := &loader.Report{}
	for slot, s := range snapshot.Segments {
		r.Segments = append(r.Segments, loader.SegmentReport{Slot: slot, Environment: "?", Segment: number(slot), VNI: s.Vni, MTU: int(s.Mtu)})
	}
	for ifindex, p := range snapshot.Ports {
		row := loader.PortReport{Slot: p.Id, Environment: "?", Segment: number(p.Segment), Port: number(ifindex),
			Interface: device(ifindex), Ifindex: ifindex, DropsIfindex: ifindex, State: loader.PortUp, MTU: int(snapshot.Segments[p.Segment].Mtu)}
		if p.Flags&bpf.PortMAC != 0 {
			row.MAC = policy.MAC(p.Mac).String()
		}
		if p.Flags&bpf.PortAny != 0 {
			row.ExtraMACs = []string{"any"}
		}
		r.Ports = append(r.Ports, row)
	}
	for slot, remote := range snapshot.Remotes {
		row := loader.RemoteReport{Slot: slot, Host: "slot " + number(slot), VTEP: remote.Vtep.NetAddr()}
		if path := remote.CurrentPath(); path.Ifindex != 0 {
			row.Uplink = device(path.Ifindex)
		}
		r.Remotes = append(r.Remotes, row)
	}
	slices.SortFunc(r.Segments, func(a, b loader.SegmentReport) int { return cmp.Compare(a.Slot, b.Slot) })
	slices.SortFunc(r.Ports, func(a, b loader.PortReport) int { return cmp.Compare(a.Ifindex, b.Ifindex) })
	slices.SortFunc(r.Remotes, func(a, b loader.RemoteReport) int { return cmp.Compare(a.Slot, b.Slot) })
	return r, nil
}

// device is what a device without a name is called.
func device(ifindex uint32) string {
	return "ifindex " + strconv.Itoa(int(ifindex))
}
