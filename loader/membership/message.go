// SPDX-License-Identifier: Apache-2.0

// Package membership reads and writes the messages by which hosts tell what
// multicast they want, MLD and IGMP, and keeps what the members of a segment
// have told. It knows no kernel and no clock: frames, times and chance come
// from the caller, and what is to be sent goes back to it.
package membership

import (
	"fmt"
	"net/netip"
	"time"

	"overcast/policy"
)

// Family is IPv4 (IGMP) or IPv6 (MLD).
type Family uint8

// The families, numbered as the versions of IP are.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

func (f Family) String() string {
	return fmt.Sprintf("IPv%d", uint8(f))
}

// Families are both, in order.
var Families = [2]Family{IPv4, IPv6}

// FamilyOf tells the family of an address.
func FamilyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return IPv4
	}
	return IPv6
}

// slot is the place of a family in arrays that have one for each.
func (f Family) slot() int {
	if f == IPv4 {
		return 0
	}
	return 1
}

// MessageKind says what a message is for.
type MessageKind uint8

// The kinds of messages.
const (
	Query         MessageKind = iota + 1 // a router asks
	Report                               // a listener tells
	Leave                                // MLDv1's Done, IGMPv2's Leave Group
	Hello                                // of PIM: there is a router
	Advertisement                        // of Multicast Router Discovery (RFC 4286): there is a router
)

func (k MessageKind) String() string {
	switch k {
	case Query:
		return "query"
	case Report:
		return "report"
	case Leave:
		return "leave"
	case Hello:
		return "hello"
	case Advertisement:
		return "advertisement"
	}
	return fmt.Sprintf("message kind %d", uint8(k))
}

// RecordType is the type of a group record, with the numbers of the wire
// (RFC 3376 4.2.12, RFC 3810 5.2.12).
type RecordType uint8

// The types of group records.
const (
	ModeIsInclude   RecordType = iota + 1 // IS_IN
	ModeIsExclude                         // IS_EX
	ChangeToInclude                       // TO_IN
	ChangeToExclude                       // TO_EX
	AllowNewSources                       // ALLOW
	BlockOldSources                       // BLOCK
)

func (t RecordType) String() string {
	switch t {
	case ModeIsInclude:
		return "IS_IN"
	case ModeIsExclude:
		return "IS_EX"
	case ChangeToInclude:
		return "TO_IN"
	case ChangeToExclude:
		return "TO_EX"
	case AllowNewSources:
		return "ALLOW"
	case BlockOldSources:
		return "BLOCK"
	}
	return fmt.Sprintf("record type %d", uint8(t))
}

// Record is what a report tells of one group.
type Record struct {
	Type    RecordType
	Group   netip.Addr
	Sources []netip.Addr
}

// MAC is an Ethernet address.
type MAC = policy.MAC

// Message is a membership message, read from a frame.
type Message struct {
	Kind   MessageKind
	Family Family
	// Version is that of the protocol: 1 or 2 for MLD, 1 to 3 for IGMP. It is 0
	// for a Hello and an Advertisement.
	Version int

	SourceMAC MAC
	Source    netip.Addr // unspecified where the sender has none

	// Group is what a query asks for, and what an MLDv1, IGMPv1 or IGMPv2 report
	// or a leave tells. It is not valid in a general query.
	Group netip.Addr
	// Sources are those of a group-and-source-specific query.
	Sources []netip.Addr
	// Records are those of an MLDv2 or IGMPv3 report; it may have none.
	Records []Record
	// BadRecords is how many others it had, of a group that is no multicast
	// address or with a source that is no unicast address.
	BadRecords int

	// What only a query has. Robustness and QueryInterval are zero where the
	// version has none or the querier tells none.
	MaxResponse   time.Duration
	Suppress      bool // the S flag: routers shall not lower their timers
	Robustness    int
	QueryInterval time.Duration

	// Frame is the whole Ethernet frame that this was read from, not a copy.
	Frame []byte
}

// modern tells whether the version carries sources.
func (m *Message) modern() bool {
	return m.Version == newest(m.Family)
}

// newest is the version of a family that carries sources.
func newest(f Family) int {
	if f == IPv4 {
		return 3
	}
	return 2
}
