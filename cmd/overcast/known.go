// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"overcast/bpf"
	"overcast/loader"
	"overcast/loader/membership"
	"overcast/maps"
)

// knownGroups is what is known of groups: where their frames go, which the maps
// say, and who wants them, which the agent has told.
type knownGroups struct {
	now      time.Time // of what follows
	clock    uint64    // the same on the clock of the programs
	segments map[uint32]bpf.Segment
	snoops   map[uint32]bpf.Snoop
	mdb      map[bpf.MDBKey]maps.Receivers
	updated  time.Time // when the agent told; zero: it has not
	full     string
	told     map[string]*loader.SegmentGroupsReport // by object
	wanted   map[wantedGroup][]loader.GroupWantedReport
}

// wantedGroup is a group of a segment.
type wantedGroup struct {
	segment string // object
	group   netip.Addr
}

// groups reads what is known of groups, once for all lists of a verb.
func (v *view) groups() (*knownGroups, error) {
	if v.known != nil {
		return v.known, nil
	}
	snapshot, err := v.set.Snapshot()
	if err != nil {
		return nil, err
	}
	k := &knownGroups{segments: snapshot.Segments, told: make(map[string]*loader.SegmentGroupsReport), wanted: make(map[wantedGroup][]loader.GroupWantedReport)}
	if k.mdb, err = v.set.ReadGroups(); err != nil {
		return nil, err
	}
	if k.snoops, err = v.set.ReadSnoops(); err != nil {
		return nil, err
	}
	k.now, k.clock = time.Now(), maps.Monotonic()
	if !v.numbered {
		v.tellGroups(k)
	}
	v.known = k
	return k, nil
}

// tellGroups takes what the agent has told, or warns that it is not known.
func (v *view) tellGroups(k *knownGroups) {
	report, err := loader.ReadGroups(v.runDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("the agent has told nothing of groups")
	case err == nil && report.Schema != loader.GroupsSchema:
		err = fmt.Errorf("the agent's report of groups has schema %d, and this overcast reads %d", report.Schema, loader.GroupsSchema)
	}
	if err != nil {
		v.warning = err.Error() + ": who asks for them is not known, where they go is"
		return
	}
	k.updated, k.full = report.Updated, report.Full
	for i := range report.Segments {
		segment := &report.Segments[i]
		k.told[segment.Object()] = segment
		for _, group := range segment.Groups {
			k.wanted[wantedGroup{segment.Object(), group.Group}] = group.Members
		}
	}
	if !v.alive {
		v.warning = "overcastd is not running: names, members and times are its last, of " + report.Updated.Format(time.RFC3339) + "; where frames go is live"
	}
}

// mdbOff is the state of an MDB that is not asked: the segment does not snoop.
const mdbOff maps.MDBState = "off"

// state is whether a segment's frames go where the MDB says.
func (k *knownGroups) state(slot uint32) maps.MDBState {
	if k.segments[slot].Flags&bpf.SegmentSnooping == 0 {
		return mdbOff
	}
	return maps.JudgeMDB(k.snoops[slot], k.clock)
}

// unknown is where frames to groups go that have no entry; false: to everybody.
func (k *knownGroups) unknown(slot uint32, family membership.Family) (maps.Receivers, bool) {
	to, there := k.mdb[maps.UnknownKey(slot, family == membership.IPv6)]
	return to, there
}

// queried tells whether anybody asks the members of a segment, as far as that
// is known.
func (k *knownGroups) queried(object string, family membership.Family) bool {
	told := k.told[object]
	if told == nil {
		return true
	}
	for _, q := range told.Queriers {
		if q.Family == family.String() {
			return true
		}
	}
	return false
}

// at is the time of the wall that a time of the programs' clock is.
func (k *knownGroups) at(clock uint64) time.Time {
	return k.now.Add(time.Duration(clock - k.clock))
}

// left is how long it still is until then.
func (k *knownGroups) left(until *time.Time) string {
	if until == nil {
		return ""
	}
	return span(until.Sub(k.now))
}

// span is a time as people read it, like 4m12s.
func span(d time.Duration) string {
	return max(d, 0).Round(time.Second).String()
}

// protocol names what members speak, like MLDv2.
func protocol(family string, version int) string {
	name := "MLDv"
	if family == membership.IPv4.String() {
		name = "IGMPv"
	}
	return name + number(version)
}
