// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"slices"
	"testing"

	"overcast/bpf"
	"overcast/test/lab"
)

// unprovoked are the drop reasons that no test run can provoke, and why.
var unprovoked = map[bpf.Drop]string{
	bpf.DropFrameRunt:   "a test run takes no packet that is shorter than an Ethernet header, and no device gives one to a program; the check is for the verifier's eyes",
	bpf.DropEncapFailed: "what the kernel refuses to lengthen goes by the tunnel device; there is no frame left that it refuses to send; no test provokes it",
	bpf.DropStripFailed: "every packet that the kernel would refuse to strip is left to the tunnel device before (strip_flags, and the truncations here); no test provokes it",
}

// Every drop reason is one that a row provokes, or is listed with the cause
// why none can.
func TestEveryDropReason(t *testing.T) {
	w := newWorld(t, lab.IPv4, nil)
	g := newWorld(t, lab.IPv4, withGeneve)
	y := &way{newZones(t, lab.IPv4, nil), true}
	provoked := reasons(slices.Concat(w.portRows(), w.deviceMissingRows(), w.floodRows(), w.neighborRows(), w.xdpRows(), w.uplinkRows(), w.kernelRows(), w.tunnelRows(),
		w.mdbRows(), rowsOf(w.snoopRows()), rowsOf(w.largeRows()), relayRowsOf(y.relayRows()), newMeter(t, w.Stage).governorRows(), g.uplinkRows(), w.classRows(bpf.UplinkIn, false)))
	for _, reason := range bpf.Drops() {
		why, listed := unprovoked[reason]
		switch {
		case provoked[reason] && listed:
			t.Errorf("%s is provoked, and listed as one that cannot be: %s", reason, why)
		case !provoked[reason] && !listed:
			t.Errorf("no row provokes %s (%s)", reason, reason.Text())
		}
	}
}

func rowsOf(all []heard) []row {
	var rows []row
	for _, h := range all {
		rows = append(rows, h.row)
	}
	return rows
}

func relayRowsOf(all []relayRow) []row {
	var rows []row
	for _, r := range all {
		rows = append(rows, r.row)
	}
	return rows
}
