// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"overcast/bpf"
)

// markMap tells datapaths apart: each has its own, and every program uses it.
const markMap = "oc_drops"

// occupant is a program at a hook.
type occupant struct {
	id   ebpf.ProgramID
	link link.ID // 0 where it came without a link, or that is not told
}

// occupants lists the programs at the hook of a place, whosever they are.
func (h *hooks) occupants(at place) ([]occupant, error) {
	if at.program == bpf.UplinkXDP || !h.tcx {
		device, err := netlink.LinkByIndex(int(at.ifindex))
		if err != nil {
			return nil, fmt.Errorf("device %d: %w", at.ifindex, err)
		}
		if at.program != bpf.UplinkXDP {
			return clsactOccupants(device), nil
		}
		if xdp := device.Attrs().Xdp; xdp != nil && xdp.Attached {
			return []occupant{{id: ebpf.ProgramID(xdp.ProgId)}}, nil
		}
		return nil, nil
	}
	result, err := link.QueryPrograms(link.QueryOptions{Target: int(at.ifindex), Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil, fmt.Errorf("programs on device %d: %w", at.ifindex, err)
	}
	var all []occupant
	for _, p := range result.Programs {
		id, _ := p.LinkID()
		all = append(all, occupant{p.ID, id})
	}
	return all, nil
}

// strangerError is a program of another datapath where one of ours should be.
type strangerError struct {
	program string
	device  string
	pinPath string // of that datapath; empty: not to be found
}

func (e *strangerError) Error() string {
	if e.pinPath == "" {
		return fmt.Sprintf("%s has %s of another datapath, whose pins are not in this mount namespace: unload it where it was loaded", e.device, e.program)
	}
	return fmt.Sprintf("%s has %s of the datapath at %s: unload that first (overcast unload --pin-path %s), or set pin_path to it", e.device, e.program, e.pinPath, e.pinPath)
}

// stranger returns an error if a program of another datapath is at the hook
// of a place: it would go on in front of ours, or ours behind it.
func (h *hooks) stranger(at place) error {
	all, err := h.occupants(at)
	if err != nil {
		return err
	}
	for _, o := range all {
		if h.ours[o.id] {
			continue
		}
		name, used, err := programMaps(o.id)
		if err != nil || !isOurName(name) || h.isOurs(place{name, at.ifindex}, o, used) {
			continue // one that has just gone is no stranger
		}
		found := findPins(used, h.pinPath)
		if found == "" && !h.tcx && name != bpf.UplinkXDP {
			continue // what nobody has pinned is left over, and attach takes its filter
		}
		device := fmt.Sprint("device ", at.ifindex)
		if l, err := netlink.LinkByIndex(int(at.ifindex)); err == nil {
			device = l.Attrs().Name
		}
		return &strangerError{program: name, device: device, pinPath: found}
	}
	return nil
}

// isOurs tells whether a program with one of our names is of this datapath: it
// uses its maps, those in use or those still pinned, or its link is pinned here.
func (h *hooks) isOurs(at place, o occupant, used []ebpf.MapID) bool {
	if slices.Contains(used, h.mark) {
		h.ours[o.id] = true
		return true
	}
	if id, ok := pinnedMap(filepath.Join(h.pinPath, markMap)); ok && slices.Contains(used, id) {
		return true
	}
	pinned, err := link.LoadPinnedLink(at.pin(h.pinPath), nil)
	if err != nil {
		return false
	}
	defer pinned.Close()
	info, err := pinned.Info()
	return err == nil && info.Program == o.id
}

// programMaps returns a program's name and the maps that it uses.
func programMaps(id ebpf.ProgramID) (string, []ebpf.MapID, error) {
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", nil, fmt.Errorf("program %d: %w", id, err)
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return "", nil, fmt.Errorf("program %d: %w", id, err)
	}
	used, _ := info.MapIDs()
	return info.Name, used, nil
}

func pinnedMap(path string) (ebpf.MapID, bool) {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return 0, false
	}
	defer m.Close()
	id, err := mapID(m)
	return id, err == nil
}

func mapID(m *ebpf.Map) (ebpf.MapID, error) {
	info, err := m.Info()
	if err != nil {
		return 0, fmt.Errorf("map %s: %w", m, err)
	}
	id, _ := info.ID()
	return id, nil
}

// findPins looks through the usual BPF file system, and beside our own pin
// path, for the datapath that has one of these maps.
func findPins(used []ebpf.MapID, pinPath string) string {
	found := ""
	for _, root := range []string{defaultBPFFS, filepath.Dir(pinPath)} {
		if is, err := isBPFFS(root); err != nil || !is {
			continue
		}
		// What cannot be read is not what we look for.
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.Name() != markMap {
				return nil
			}
			if id, ok := pinnedMap(path); ok && slices.Contains(used, id) {
				found = filepath.Dir(path)
				return fs.SkipAll
			}
			return nil
		})
	}
	return found
}

// findLink finds the link by which a program is attached to a device, though
// its pin is gone: somebody else still has it open.
func findLink(o occupant, ifindex uint32) (link.Link, error) {
	if o.link != 0 {
		l, err := link.NewFromID(o.link)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // it has just gone
		}
		return l, err
	}
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err == nil && info.Program == o.id && linkDevice(it.Link) == ifindex {
			return it.Take(), nil
		}
	}
	return nil, it.Err()
}
