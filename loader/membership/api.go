// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"
)

// MemberKind says what is behind a member.
type MemberKind uint8

// The kinds of members, in the order in which members are listed.
const (
	// Port is a guest's attachment here.
	Port MemberKind = iota + 1
	// Host is a remote with an agent: one reporter, its proxy, that tells
	// exactly what its ports want.
	Host
	// Foreign is a remote without an agent: any number of reporters.
	Foreign
)

func (k MemberKind) String() string {
	switch k {
	case Port:
		return "port"
	case Host:
		return "host"
	case Foreign:
		return "foreign"
	}
	return fmt.Sprintf("member kind %d", uint8(k))
}

// Member is a port or a remote of the segment. The number is the caller's.
type Member struct {
	Kind MemberKind
	ID   uint32
}

// Compare orders members by kind, then by number.
func (m Member) Compare(o Member) int {
	return cmp.Or(cmp.Compare(m.Kind, o.Kind), cmp.Compare(m.ID, o.ID))
}

func (m Member) String() string {
	return fmt.Sprintf("%s %d", m.Kind, m.ID)
}

// Config is what is set for a segment. A field that is zero and must not be is
// taken as RFC 3376 8 and RFC 3810 9 have it.
type Config struct {
	// Querier: ask the ports and the foreign remotes, unless a real router does.
	Querier bool
	// FastLeave: a port has one listener for each group at most, so its leaves
	// count at once.
	FastLeave bool

	Robustness              int           // messages of which one arrives; 2
	QueryInterval           time.Duration // 125 s
	QueryResponseInterval   time.Duration // 10 s, and shorter than the query interval
	LastMemberQueryInterval time.Duration // 1 s

	GroupsPerPort int // groups of one port, of both families; 1024
	Groups        int // groups of the segment, of both families; 16384
	// Sources of one group at one member. A port has four times GroupsPerPort
	// together. 0: none are kept, and who wants some sources gets all.
	Sources int

	MTU          int        // bytes of a packet without its Ethernet header; 1280
	ProxyMAC     MAC        // who sends what is sent
	ProxyAddress netip.Addr // link-local; the source of MLD
}

// Mode is how a list of sources is meant.
type Mode uint8

// The filter modes (RFC 3376 2).
const (
	Include Mode = iota + 1 // these and no others
	Exclude                 // all but these
)

func (m Mode) String() string {
	switch m {
	case Include:
		return "include"
	case Exclude:
		return "exclude"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Send is a frame that is to be sent to some members.
type Send struct {
	To    []Member // not to be changed, as frames share it
	Frame []byte   // likewise; a whole Ethernet frame without its FCS
}

// Changes are what a caller has to look at anew.
type Changes struct {
	// Groups are those for which Forwarding answers differently, in order.
	Groups []netip.Addr
	// Everywhere are the families for which Everywhere answers differently.
	Everywhere []Family
	// Queriers are the families for which HasQuerier answers differently.
	Queriers []Family
}

// Forwarding says who gets the frames of a group, besides those of Everywhere.
type Forwarding struct {
	// Default are the members that get the frames of sources not named below.
	Default []Member
	// Sources are the members that get a named source's frames, instead of and
	// not besides the default ones.
	Sources map[netip.Addr][]Member
}

// Limit names what a member has run into.
type Limit uint8

// The limits.
const (
	// LimitGroupsPerPort refused a group. All of the family goes to the member.
	LimitGroupsPerPort Limit = iota + 1
	// LimitGroups refused a group. All of the family goes to the member.
	LimitGroups
	// LimitSources cut a list of sources, that of a group or all of a port. The
	// group goes to the member from any.
	LimitSources
	// LimitQueries stopped a router's query from being taken and passed on: there
	// were too many.
	LimitQueries
)

// Limits are all of them, in order.
func Limits() []Limit {
	return []Limit{LimitGroupsPerPort, LimitGroups, LimitSources, LimitQueries}
}

func (l Limit) String() string {
	switch l {
	case LimitGroupsPerPort:
		return "groups_per_port"
	case LimitGroups:
		return "groups"
	case LimitSources:
		return "sources"
	case LimitQueries:
		return "queries"
	}
	return fmt.Sprintf("limit %d", uint8(l))
}

// LimitKey is whom a limit has hit.
type LimitKey struct {
	Member Member
	Limit  Limit
}

// MessageKey is what received messages are counted by.
type MessageKey struct {
	Kind    MessageKind
	Family  Family
	Version int
	From    MemberKind
}

// MalformedKey is what refused frames are counted by.
type MalformedKey struct {
	Cause Cause
	From  MemberKind
}

// Counters only grow. What limits have done to members that have gone is counted
// under the zero Member.
type Counters struct {
	Messages  map[MessageKey]uint64
	Malformed map[MalformedKey]uint64 // frames, and records of frames that count otherwise
	// Ignored are well-formed messages that are no state: those of an agent's
	// proxy from where that cannot be, what a Host passes on of its guests, and
	// those of members that the table does not have.
	Ignored map[MemberKind]uint64
	// Limits counts records cut or refused, and queries not passed on.
	Limits map[LimitKey]uint64
}

// Reporter is who has told.
type Reporter struct {
	MAC  MAC
	Addr netip.Addr // unspecified where it has none
	Ago  time.Duration
}

// SourceState is a source of a group, at one member.
type SourceState struct {
	Addr netip.Addr
	// Left is how long the source is still wanted, unless that is told again. 0
	// is a source that is not wanted, in Exclude mode.
	Left time.Duration
}

// MemberGroupState is what one member has told of a group.
type MemberGroupState struct {
	Member Member
	Mode   Mode
	// Left is how long Exclude mode lasts, unless it is told again. 0 in Include
	// mode.
	Left    time.Duration
	Sources []SourceState // in order
	// Version is the oldest of the protocol that is spoken there for the group.
	Version int
	// Reporters are the last that have told, the newest first.
	Reporters []Reporter
}

// GroupState is what is known of a group.
type GroupState struct {
	Group   netip.Addr
	Members []MemberGroupState // in order
}

// QuerierState is who asks the members of a segment.
type QuerierState struct {
	// Member is that behind which the elected router is, and the zero Member
	// where there is none: then it is this host, if its querier is on.
	Member  Member
	Addr    netip.Addr
	MAC     MAC
	Version int
	// Left is how long the router stays elected, unless it asks again.
	Left time.Duration
	// What the router has told, or this host goes by.
	Robustness    int
	QueryInterval time.Duration
}

// MemberState is what is known of a member for one family.
type MemberState struct {
	Member Member
	Family Family
	Groups int
	// Router is how long the member still counts as a way to a multicast router,
	// RouterAddr and RouterMAC who was last heard of those.
	Router     time.Duration
	RouterAddr netip.Addr
	RouterMAC  MAC
	// Version is that in which the member is told what others want.
	Version int
	// Unsure: what the member wants is not known, and it gets everything.
	Unsure bool
	// Overflow: a limit refused a group of it, and it gets everything.
	Overflow bool
}
