// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"overcast/bpf"
)

// linksDir is the folder, in the pin path, of the pinned links.
const linksDir = "links"

// place is a program on a device.
type place struct {
	program string
	ifindex uint32
}

func (p place) pin(pinPath string) string {
	return filepath.Join(pinPath, linksDir, fmt.Sprintf("%s-%d", p.program, p.ifindex))
}

// placeOf is the reverse of pin. Files of other programs are not ours.
func placeOf(file string) (place, bool) {
	program, number, _ := strings.Cut(file, "-")
	ifindex, err := strconv.ParseUint(number, 10, 32)
	return place{program, uint32(ifindex)}, isOurName(program) && err == nil
}

// hooks puts programs on devices so that they stay when the agent ends.
type hooks struct {
	pinPath string
	tcx     bool                    // else clsact
	mark    ebpf.MapID              // of the markMap in use
	ours    map[ebpf.ProgramID]bool // programs that are known to use it
}

// holds tells whether a program is in its place and stays there without us:
// what was attached may have been taken away by others, and so may its pin.
func (h *hooks) holds(at place, id ebpf.ProgramID) (bool, error) {
	all, err := h.occupants(at)
	if err != nil || !slices.ContainsFunc(all, func(o occupant) bool { return o.id == id }) {
		return false, err
	}
	if at.program != bpf.UplinkXDP && !h.tcx {
		return true, nil
	}
	_, err = os.Stat(at.pin(h.pinPath))
	return err == nil, absent(err)
}

// attach puts a program in its place, or in the stead of an older one there.
// No frame passes between the two without a program. One of another datapath
// stays, and is the error.
func (h *hooks) attach(at place, program *ebpf.Program) error {
	if err := h.stranger(at); err != nil {
		return err
	}
	if at.program != bpf.UplinkXDP && !h.tcx {
		return clsactAttach(at, program)
	}
	done, err := h.update(at, program)
	leaving := false
	if !done && err == nil {
		done, leaving, err = h.adopt(at, program)
	}
	if done || err != nil {
		return err
	}
	fresh, err := attachLink(at, program)
	for tries := 0; err != nil && leaving && tries < leavingTries; tries++ {
		time.Sleep(leavingPause)
		fresh, err = attachLink(at, program)
	}
	if err != nil {
		return fmt.Errorf("attaching %s to device %d: %w", at.program, at.ifindex, err)
	}
	defer fresh.Close()
	if err := fresh.Pin(at.pin(h.pinPath)); err != nil {
		return fmt.Errorf("pinning %s of device %d: %w", at.program, at.ifindex, err)
	}
	return nil
}

// A link whose last pin has just been removed leaves its hook a moment later,
// and until then there is no room for another one of the same program.
const (
	leavingPause = 2 * time.Millisecond
	leavingTries = 100
)

func attachLink(at place, program *ebpf.Program) (link.Link, error) {
	if at.program == bpf.UplinkXDP {
		return link.AttachXDP(link.XDPOptions{Program: program, Interface: int(at.ifindex), Flags: link.XDPDriverMode})
	}
	return link.AttachTCX(link.TCXOptions{Program: program, Interface: int(at.ifindex), Attach: ebpf.AttachTCXIngress})
}

// update replaces the program of a pinned link. It returns false if there is
// none, or only one whose device is gone, which it removes.
func (h *hooks) update(at place, program *ebpf.Program) (bool, error) {
	old, err := link.LoadPinnedLink(at.pin(h.pinPath), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("link of %s on device %d: %w", at.program, at.ifindex, err)
	}
	defer old.Close()
	if linkDevice(old) != at.ifindex {
		return false, unpin(old)
	}
	if err := old.Update(program); err != nil {
		return false, fmt.Errorf("replacing %s on device %d: %w", at.program, at.ifindex, err)
	}
	return true, nil
}

// adopt takes a link of ours that has lost its pin and lives on, as somebody
// else has it open. If there is none, leaving tells of one that is going.
func (h *hooks) adopt(at place, program *ebpf.Program) (done, leaving bool, err error) {
	all, err := h.occupants(at)
	if err != nil {
		return false, false, err
	}
	for _, o := range all {
		name, _, err := programMaps(o.id)
		if err != nil || name != at.program {
			continue // stranger has seen to it that those of this name are ours
		}
		old, err := findLink(o, at.ifindex)
		if err != nil {
			return false, false, fmt.Errorf("link of %s on device %d: %w", at.program, at.ifindex, err)
		}
		if old == nil {
			leaving = true
			continue
		}
		defer old.Close()
		if err := old.Update(program); err != nil {
			return false, false, fmt.Errorf("replacing %s on device %d: %w", at.program, at.ifindex, err)
		}
		if err := old.Pin(at.pin(h.pinPath)); err != nil {
			return false, false, fmt.Errorf("pinning %s of device %d: %w", at.program, at.ifindex, err)
		}
		return true, false, nil
	}
	return false, leaving, nil
}

// linkDevice returns the ifindex that a link is attached to, 0 if its device is gone.
func linkDevice(l link.Link) uint32 {
	info, err := l.Info()
	if err != nil {
		return 0
	}
	if tcx := info.TCX(); tcx != nil {
		return tcx.Ifindex
	}
	if xdp := info.XDP(); xdp != nil {
		return xdp.Ifindex
	}
	return 0
}

func unpin(l link.Link) error {
	if err := l.Unpin(); err != nil {
		return fmt.Errorf("unpinning a link: %w", err)
	}
	return nil
}

// attached lists the places that hold a program of ours.
func (h *hooks) attached() ([]place, error) {
	files, err := os.ReadDir(filepath.Join(h.pinPath, linksDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the links: %w", err)
	}
	var places []place
	for _, file := range files {
		if at, ok := placeOf(file.Name()); ok {
			places = append(places, at)
		}
	}
	if h.tcx {
		return places, nil
	}
	filters, err := clsactPlaces()
	return append(places, filters...), err
}

// detach takes a program away; one that is not there is fine.
func (h *hooks) detach(at place) error {
	if at.program != bpf.UplinkXDP && !h.tcx {
		return clsactDetach(at)
	}
	old, err := link.LoadPinnedLink(at.pin(h.pinPath), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("link of %s on device %d: %w", at.program, at.ifindex, err)
	}
	// The pin is the last reference but ours.
	defer old.Close()
	return unpin(old)
}
