// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"fmt"
	"maps"
	"sync/atomic"

	"overcast/bpf"
)

// Element is the element of oc_groups that an entry of the MDB names.
type Element struct {
	Slot  uint32
	Group bpf.Group
}

// GroupElements reads which elements of oc_groups are in use, and by whose
// entries. Nothing is changed.
func (s *Set) GroupElements() (map[bpf.MDBKey]Element, error) {
	entries, err := s.mdb().all()
	if err != nil {
		return nil, err
	}
	elements := make(map[bpf.MDBKey]Element, len(entries))
	return elements, mapped(s.Groups, func(groups []bpf.Group) error {
		for key, entry := range entries {
			if entry.Slot >= uint32(len(groups)) {
				continue // the programs find none there either
			}
			group := &groups[entry.Slot]
			elements[key] = Element{entry.Slot, bpf.Group{
				Ports:   atomic.LoadUint32(&group.Ports),
				Remotes: atomic.LoadUint32(&group.Remotes),
				Zone:    atomic.LoadUint32(&group.Zone),
				Sources: atomic.LoadUint32(&group.Sources),
			}}
		}
		return nil
	})
}

// readTries is how often the MDB is read until all of it has held still for
// the time of a reading.
const readTries = 20

// ReadGroups reads where frames to groups go, beside an agent that changes it.
// Nothing is changed. Each entry is as it was at some moment meanwhile.
func (s *Set) ReadGroups() (map[bpf.MDBKey]Receivers, error) {
	all := make(map[bpf.MDBKey]Receivers)
	before, err := s.GroupElements()
	if err != nil {
		return nil, err
	}
	for range readTries {
		floods, err := s.mdbFloods().all()
		if err != nil {
			return nil, err
		}
		after, err := s.GroupElements()
		if err != nil {
			return nil, err
		}
		// A list that was named before it was read and after it was whole.
		held := Snapshot{Floods: floods}
		for key, element := range after {
			if element == before[key] {
				group := element.Group
				all[key] = Receivers{held.List(group.Ports), held.List(group.Remotes), held.List(group.Zone)}
			}
		}
		maps.DeleteFunc(all, func(key bpf.MDBKey, _ Receivers) bool { _, there := after[key]; return !there })
		if len(all) == len(after) {
			return all, nil
		}
		before = after
	}
	return nil, fmt.Errorf("reading %s: it changes faster than it can be read: try again", s.MDB)
}
