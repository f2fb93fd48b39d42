// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/vishvananda/netlink"

	"overcast/bpf"
)

// Unload takes the whole datapath away: programs, pins and the tunnel device,
// and gives the ports' devices back as they were.
// It goes on after an error and returns all of them. The caller holds the lock,
// so that no agent lives meanwhile, and works in the namespace of the devices.
// The end of the tunnel device comes last: an agent that does live, where that
// is forced, sees it, and puts all of it back and not a part.
func Unload(pinPath, runDir string) error {
	features, err := Probe()
	if err != nil {
		return err
	}
	if err := checkPins(pinPath); err != nil {
		return err
	}
	h := hooks{pinPath: pinPath, tcx: features.TCX}
	places, err := h.attached()
	errs := []error{err}
	slices.SortFunc(places, func(a, b place) int {
		return boolOrder(a.program == bpf.UplinkXDP, b.program == bpf.UplinkXDP)
	})
	slow := func(at place) bool { return at.program == bpf.TunnelIn }
	for _, at := range places {
		if !slow(at) { // its device must not be up without it
			errs = append(errs, h.detach(at))
		}
	}
	errs = append(errs, removePins(pinPath), restoreDevices(runDir))
	for _, file := range []string{reportPath(runDir), formerPath(runDir), groupsReportPath(runDir), appliedPath(runDir), stagedPath(runDir)} {
		if err := absent(os.Remove(file)); err != nil {
			errs = append(errs, fmt.Errorf("removing the report: %w", err))
		}
	}
	if link, err := netlink.LinkByName(TunnelDevice); err == nil && isTunnelKind(link) {
		if err := netlink.LinkDel(link); err != nil {
			errs = append(errs, fmt.Errorf("removing %s: %w", TunnelDevice, err))
		}
	}
	for _, at := range places {
		if slow(at) {
			errs = append(errs, h.detach(at))
		}
	}
	return errors.Join(append(errs, removePinFolders(pinPath))...)
}

// Abandon takes back what a first start has made that cannot go on: all of it,
// or where no state was taken, the empty folder for the pins. The programs of
// another datapath, for which it may have been refused, stay.
func (d *Datapath) Abandon() error {
	if d.state == nil {
		return removePinFolders(d.opts.PinPath)
	}
	err := Unload(d.opts.PinPath, d.opts.RunDir)
	// No report has told of them yet.
	for _, former := range d.former {
		err = errors.Join(err, former.restore())
	}
	return err
}
