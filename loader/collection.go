// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"

	"overcast/bpf"
	"overcast/maps"
)

// rodata is the name of the map in which the object keeps its constants.
const rodata = ".rodata"

// pinned is what openMaps has found.
type pinned uint8

const (
	pinsNone  pinned = iota
	pinsUnfit        // maps of other forms, or not all of them: the new ones are empty
	pinsTaken
)

// openMaps opens the pinned maps, if all are there and of the right form, and
// else makes new ones, which commitPins pins later.
func openMaps(pinPath string, limits maps.Limits) (*maps.Set, pinned, error) {
	found := pinsNone
	spec, err := sizedSpec(limits)
	if err != nil {
		return nil, found, err
	}
	set, err := maps.Open(pinPath)
	if err == nil {
		if compatible(spec, set) {
			return set, pinsTaken, nil
		}
		set.Close()
		found = pinsUnfit
	} else if !errors.Is(err, maps.ErrNotLoaded) {
		return nil, found, err
	} else if SomePins(pinPath) {
		found = pinsUnfit
	}

	// Entries of one map name slots of another, so it is all or none.
	if set, err = NewMaps(limits); err != nil {
		return nil, found, err
	}
	return set, found, nil
}

// SomePins tells whether any map of ours is pinned. Where some are and others
// are not, they are those of another version.
func SomePins(pinPath string) bool {
	for _, n := range (&maps.Set{}).Named() {
		if _, err := os.Lstat(filepath.Join(pinPath, n.Name)); err == nil {
			return true
		}
	}
	return false
}

func sizedSpec(limits maps.Limits) (*ebpf.CollectionSpec, error) {
	spec, err := bpf.Spec()
	if err != nil {
		return nil, fmt.Errorf("reading the BPF object: %w", err)
	}
	maps.Size(spec, limits)
	return spec, nil
}

// NewMaps makes empty maps that are pinned nowhere.
func NewMaps(limits maps.Limits) (*maps.Set, error) {
	spec, err := sizedSpec(limits)
	if err != nil {
		return nil, err
	}
	set := &maps.Set{}
	for _, n := range set.Named() {
		if *n.Map, err = ebpf.NewMap(spec.Maps[n.Name]); err != nil {
			set.Close()
			return nil, fmt.Errorf("creating map %s with %d entries: %w", n.Name, spec.Maps[n.Name].MaxEntries, err)
		}
	}
	return set, nil
}

func compatible(spec *ebpf.CollectionSpec, set *maps.Set) bool {
	for _, n := range set.Named() {
		if spec.Maps[n.Name].Compatible(*n.Map) != nil {
			return false
		}
	}
	return true
}

// LoadPrograms loads the programs for a set of maps and constants. They are
// attached to nothing.
func LoadPrograms(set *maps.Set, constants bpf.Constants) (*ebpf.Collection, error) {
	spec, err := bpf.Spec()
	if err != nil {
		return nil, fmt.Errorf("reading the BPF object: %w", err)
	}
	replacements := make(map[string]*ebpf.Map)
	for _, n := range set.Named() {
		replacements[n.Name] = *n.Map
		spec.Maps[n.Name].MaxEntries = (*n.Map).MaxEntries()
	}
	constants.FdbMask = set.FDB.MaxEntries() - 1
	if err := spec.Variables[bpf.ConstantsVariable].Set(constants); err != nil {
		return nil, fmt.Errorf("setting the constants: %w", err)
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		return nil, fmt.Errorf("loading the programs: %w", err)
	}
	return collection, nil
}

// commitPins pins the maps in use, and the one with the constants, under their
// names. Each name turns from an old map to a new one in a single step.
func commitPins(pinPath string, set *maps.Set, collection *ebpf.Collection) error {
	for _, n := range set.Named() {
		if err := pinMap(pinPath, n.Name, *n.Map); err != nil {
			return err
		}
	}
	return pinMap(pinPath, bpf.ConstantsVariable, collection.Maps[rodata])
}

// staging ends the name of a pin that is not in use yet. No dots: bpffs does
// not allow them in names.
const staging = "-new"

func pinMap(pinPath, name string, m *ebpf.Map) error {
	path := filepath.Join(pinPath, name)
	if same, err := isPinned(path, m); err != nil || same {
		return err
	}
	staged := path + staging
	if err := os.Remove(staged); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a stale pin: %w", err)
	}
	clone, err := m.Clone()
	if err != nil {
		return fmt.Errorf("pinning map %s: %w", name, err)
	}
	defer clone.Close()
	if err := clone.Pin(staged); err != nil {
		return fmt.Errorf("pinning map %s: %w", name, err)
	}
	if err := os.Rename(staged, path); err != nil {
		return fmt.Errorf("pinning map %s: %w", name, err)
	}
	return nil
}

func isPinned(path string, m *ebpf.Map) (bool, error) {
	pinned, err := ebpf.LoadPinnedMap(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("pin %s: %w", path, err)
	}
	defer pinned.Close()
	have, err := pinned.Info()
	if err != nil {
		return false, fmt.Errorf("pin %s: %w", path, err)
	}
	want, err := m.Info()
	if err != nil {
		return false, fmt.Errorf("map for pin %s: %w", path, err)
	}
	a, _ := have.ID()
	b, _ := want.ID()
	return a == b, nil
}

// magic returns the proof of our XDP metadata: that of the programs which run
// already, since old and new ones work together for a moment, else a new one.
func magic(pinPath string) (uint64, error) {
	pinned, err := ebpf.LoadPinnedMap(filepath.Join(pinPath, bpf.ConstantsVariable), nil)
	if err == nil {
		defer pinned.Close()
		value, err := pinned.LookupBytes(uint32(0))
		// It stands first in struct oc_constants.
		if err == nil && len(value) >= 8 {
			return binary.NativeEndian.Uint64(value), nil
		}
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return 0, fmt.Errorf("random magic: %w", err)
	}
	return binary.NativeEndian.Uint64(random[:]), nil
}
