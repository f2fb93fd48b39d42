// SPDX-License-Identifier: Apache-2.0

// Package loader brings the datapath into the kernel and keeps it right: it
// loads and attaches the programs, pins what must outlive the agent, makes the
// tunnel device, and follows the machine's links, routes and neighbours.
package loader

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"overcast/maps"
)

// Decap is where tunnel packets are stripped.
type Decap string

// The ways to strip. All deliver the same frames.
const (
	DecapAuto   Decap = "auto"   // native XDP where it helps, else tc
	DecapXDP    Decap = "xdp"    // native XDP; an uplink without it is an error
	DecapTC     Decap = "tc"     // in the uplink's tc program
	DecapKernel Decap = "kernel" // by the kernel's tunnel device
)

// ParseDecap checks a configured value.
func ParseDecap(s string) (Decap, error) {
	d := Decap(s)
	if !slices.Contains([]Decap{DecapAuto, DecapXDP, DecapTC, DecapKernel}, d) {
		return "", fmt.Errorf("decap %q: want auto, xdp, tc or kernel", s)
	}
	return d, nil
}

// Options are the parts of the agent's configuration that concern this host.
type Options struct {
	PinPath  string     // folder in a bpffs
	RunDir   string     // lock and state.json
	Uplinks  []string   // device names; empty: the devices that route to the remotes
	Underlay netip.Addr // local tunnel address; zero: this host's VTEP
	Decap    Decap
	Limits   maps.Limits
	Log      *slog.Logger
	Lock     *Lock // that of the run folder, to which that of the pin folder is added
}
