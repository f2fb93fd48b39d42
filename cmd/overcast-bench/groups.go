// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"overcast/bpf"
	"overcast/maps"
	"overcast/test/lab"
	"overcast/test/prog"
)

// stageGroups is how many groups the MDB knows of each kind.
const stageGroups = 1000

// groupKind is a kind of group: the third byte from the end of its addresses.
type groupKind byte

const (
	anySourceGroups groupKind = iota + 1 // wanted from every source
	oneSourceGroups                      // wanted from the sender alone
	unwantedGroups                       // known, and wanted by nobody
	unknownGroups
)

// groupAddress is the n-th group of a kind: of an organization's own scope
// (239.0.0.0/8, RFC 2365 6.1) or of a site's (ff05::/16, RFC 4291 2.7).
func groupAddress(family lab.Family, kind groupKind, n int) netip.Addr {
	if family == lab.IPv4 {
		return netip.AddrFrom4([4]byte{239, byte(kind), byte(n >> 8), byte(n)})
	}
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x05, 13: byte(kind), 14: byte(n >> 8), 15: byte(n)})
}

// groupSubject is a frame to one group of a kind after the other.
func groupSubject(family lab.Family, name string, kind groupKind, verdict prog.Verdict) subject {
	group := groupAddress(family, kind, 0)
	mac, at := net.HardwareAddr{0x01, 0x00, 0x5e, byte(kind), 0, 0}, 14+16 // RFC 1112 6.4
	if family == lab.IPv6 {
		mac, at = net.HardwareAddr{0x33, 0x33, 0, byte(kind), 0, 0}, 14+24+12 // RFC 2464 7
	}
	address := group.AsSlice()
	return subject{
		name: name, program: bpf.PortIn, nothing: prog.NothingTC, verdict: verdict, copies: 1,
		packet: fromGuest(
			func(s *stage, _ int) prog.Station { return s.here },
			func(*stage, int) prog.Station { return prog.Station{MAC: mac, IP: group} }),
		among: stageGroups, at: at, first: binary.BigEndian.Uint32(address[len(address)-4:]),
	}
}

// groupSubjects are ways that frames to many take. They differ in what is
// looked up, and all but the last go to the same receivers.
func groupSubjects(family lab.Family, remotes int) (wanted, others []subject) {
	broadcast, to := replication(remotes), ", "+plural(remotes, "remote")
	broadcast.name, broadcast.copies = "broadcast"+to, 1
	wanted = []subject{
		groupSubject(family, "group"+to, anySourceGroups, prog.Redirected),
		groupSubject(family, "group and source"+to, oneSourceGroups, prog.Redirected),
	}
	return wanted, []subject{
		broadcast,
		groupSubject(family, "unknown group"+to, unknownGroups, prog.Redirected),
		groupSubject(family, "drop: group that nobody wants"+to, unwantedGroups, prog.Dropped),
	}
}

// measureGroups measures frames to groups that go by the MDB, beside those that
// go to all.
func measureGroups(r *report, o *options, family lab.Family, remotes, runs int) error {
	s, err := newStage(family, 1, remotes)
	if err != nil {
		return err
	}
	defer s.close()
	mdb, err := s.path.Maps.OpenMDB()
	if err != nil {
		return err
	}
	wanted, others := groupSubjects(family, remotes)
	if err := s.wantGroups(mdb, maps.Receivers{}); err != nil {
		return err
	}
	if err := s.dropsAll(wanted); err != nil {
		return err
	}
	if err := s.wantGroups(mdb, s.everybody()); err != nil {
		return err
	}
	return s.measure(r, o, fmt.Sprintf("%s underlay, groups", family), slices.Concat(others[:2], wanted, others[2:]), runs)
}

// segment is the slot of the only one.
func (s *stage) segment() uint32 {
	for slot := range s.path.Contents.SegmentNames {
		return slot
	}
	return 0
}

// everybody are the receivers of a broadcast of the guest at p1.
func (s *stage) everybody() maps.Receivers {
	to := maps.Receivers{Ports: []uint32{s.Ifindex(prog.Port(2))}}
	for slot := range s.path.Contents.Remotes {
		to.Remotes = append(to.Remotes, slot)
	}
	slices.Sort(to.Remotes)
	return to
}

// wantGroups fills the MDB as the agent does when all of these want the groups.
func (s *stage) wantGroups(mdb *maps.MDB, all maps.Receivers) error {
	put := make(map[bpf.MDBKey]maps.Receivers)
	for n := range stageGroups {
		add := func(kind groupKind, source netip.Addr, to maps.Receivers) {
			put[maps.GroupKey(s.segment(), groupAddress(s.family, kind, n), source)] = to
		}
		add(anySourceGroups, netip.Addr{}, all)
		add(oneSourceGroups, netip.Addr{}, maps.Receivers{})
		add(oneSourceGroups, s.here.IP, all)
		add(unwantedGroups, netip.Addr{}, maps.Receivers{})
	}
	if err := mdb.Apply(put, nil); err != nil {
		return err
	}
	return s.path.Maps.SetSnooping(maps.Monotonic(), map[uint32]maps.Snooping{s.segment(): {Reading: true, Lifetime: 24 * time.Hour}})
}

// dropsAll sees that the entries that nobody is in decide over these frames, and
// so that it is they which are found when somebody is.
func (s *stage) dropsAll(all []subject) error {
	for _, sub := range all {
		packet := sub.packet(s, 0)
		for n := range sub.among {
			sub.vary(packet.Data, n)
			got, err := s.path.Run(sub.program, packet)
			if err != nil {
				return err
			}
			if got.Verdict != prog.Dropped {
				return fmt.Errorf("%s: a frame to the group %d that nobody wants was %s", sub.name, n, got.Verdict)
			}
		}
	}
	return nil
}
