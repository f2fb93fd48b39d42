// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"net/netip"

	"github.com/cilium/ebpf"
)

// The keys and values of the maps, as types.h has them and explains them.
// Numbers are in host byte order, addresses and MACs in wire order.
type (
	Addr            = overcastOcAddr
	Bucket          = overcastOcBucket
	Class           = overcastOcClass
	Constants       = overcastOcConstants
	CopyCount       = overcastOcCopyCount
	Counters        = overcastOcCounters
	Drop            = overcastOcDrop
	DropCount       = overcastOcDropCount
	DropKey         = overcastOcDropKey
	Event           = overcastOcEvent
	FDBBucket       = overcastOcFdbBucket
	FDBEntry        = overcastOcFdbEntry
	FDBKey          = overcastOcFdbKey
	FDBSlot         = overcastOcFdbSlot
	Flood           = overcastOcFlood
	FloodKey        = overcastOcFloodKey
	Governor        = overcastOcGovernor
	Group           = overcastOcGroup
	Kind            = overcastOcKind
	LearnedEntry    = overcastOcLearnedEntry
	LearnedNeighbor = overcastOcLearnedNeighbor
	MDBEntry        = overcastOcMdbEntry
	MDBKey          = overcastOcMdbKey
	Neighbor        = overcastOcNeighbor
	NeighborFlags   = overcastOcNeighborFlags
	NeighborKey     = overcastOcNeighborKey
	Path            = overcastOcPath
	Port            = overcastOcPort
	Remote          = overcastOcRemote
	Segment         = overcastOcSegment
	Snoop           = overcastOcSnoop
	VNI             = overcastOcVni
	VTEP            = overcastOcVtep
	VTEPKey         = overcastOcVtepKey
)

// Where a MAC is (Kind).
const (
	KindPort   = overcastOcKindOC_KIND_PORT
	KindRemote = overcastOcKindOC_KIND_REMOTE
)

// Flags of a Port.
const (
	PortMAC  = overcastOcPortFlagsOC_PORT_MAC
	PortAny  = overcastOcPortFlagsOC_PORT_ANY
	PortPeer = overcastOcPortFlagsOC_PORT_PEER
)

// Flags of a Segment.
const (
	SegmentLearning     = overcastOcSegmentFlagsOC_SEGMENT_LEARNING
	SegmentFloodUnknown = overcastOcSegmentFlagsOC_SEGMENT_FLOOD_UNKNOWN
	SegmentSnooping     = overcastOcSegmentFlagsOC_SEGMENT_SNOOPING
	SegmentNeighbors    = overcastOcSegmentFlagsOC_SEGMENT_NEIGHBORS
	SegmentGoverned     = overcastOcSegmentFlagsOC_SEGMENT_GOVERNED
	SegmentClampMSS     = overcastOcSegmentFlagsOC_SEGMENT_CLAMP_MSS
)

// Classes of frames of which copies are made (Class).
const (
	ClassBroadcast      = overcastOcClassOC_CLASS_BROADCAST
	ClassUnknownUnicast = overcastOcClassOC_CLASS_UNKNOWN_UNICAST
	ClassMulticast      = overcastOcClassOC_CLASS_MULTICAST
)

// Flags of a LearnedNeighbor.
const (
	NeighborRole   = overcastOcNeighborFlagsOC_NEIGHBOR_ROLE
	NeighborRouter = overcastOcNeighborFlagsOC_NEIGHBOR_ROUTER
)

// Flags of a VNI.
const VNIRelay = overcastOcVniFlagsOC_VNI_RELAY

// Flags of a Path.
const (
	PathEthernet = overcastOcPathFlagsOC_PATH_ETHERNET
	PathMACs     = overcastOcPathFlagsOC_PATH_MACS
)

// What oc_uplink_in strips (Constants.Strip).
const (
	StripKernel = uint32(overcastOcStripOC_STRIP_KERNEL)
	StripTC     = uint32(overcastOcStripOC_STRIP_TC)
)

// Sizes that types.h and config.h fix.
const (
	MaxPorts      = 4096
	MaxSegments   = 4096
	MaxXDPUplinks = 4
	ChunkSize     = 62
	FDBSlots      = 4
	Classes       = 3

	MaxEnvironments = 4096

	Relay       = 1 << 31 // in the number of a remote
	ListsGroups = 1 << 31 // first list of the MDB in oc_floods

	GovernorsEnvironments = MaxPorts * Classes // first element of an environment in oc_governors

	StatsSegments = MaxPorts               // first slot of a segment in oc_stats
	StatsRemotes  = MaxPorts + MaxSegments // first slot of a remote in oc_stats
)

// Names of the programs.
const (
	PortIn    = "oc_port_in"
	UplinkXDP = "oc_uplink_xdp"
	UplinkIn  = "oc_uplink_in"
	TunnelIn  = "oc_tunnel_in"
)

// ConstantsVariable is the name of the load-time constants in the object, and
// of the pin of the map that holds them.
const ConstantsVariable = "oc_config"

// Spec returns the programs and maps of the committed object.
func Spec() (*ebpf.CollectionSpec, error) {
	return loadOvercast()
}

// AddrFrom returns an address in the form of the maps: IPv4 as ::ffff:a.b.c.d.
func AddrFrom(a netip.Addr) Addr {
	return Addr{B: a.As16()}
}

// NetAddr is the reverse of [AddrFrom]; the zero Addr gives the zero netip.Addr.
func (a overcastOcAddr) NetAddr() netip.Addr {
	if a.B == [16]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom16(a.B).Unmap()
}

// String returns the reason's name, DROP_<OBJECT>_<FAULT>.
func (d overcastOcDrop) String() string {
	if int(d) >= len(dropReasons) {
		return "DROP_UNKNOWN"
	}
	return "DROP_" + dropReasons[d].name
}

// String returns the class's name in documents, metrics and JSON.
func (c overcastOcClass) String() string {
	switch c {
	case ClassBroadcast:
		return "broadcast"
	case ClassUnknownUnicast:
		return "unknown_unicast"
	case ClassMulticast:
		return "multicast"
	}
	return "unknown"
}

// DropPort is the reason of frames of a class that are beyond their port's governor.
func (c overcastOcClass) DropPort() Drop {
	return DropPortBroadcast + Drop(c)
}

// DropEnvironment is the same for their environment's governor.
func (c overcastOcClass) DropEnvironment() Drop {
	return DropEnvironmentBroadcast + Drop(c)
}

// Text says in plain words what the reason means.
func (d overcastOcDrop) Text() string {
	if int(d) >= len(dropReasons) {
		return "a reason that this version does not know"
	}
	return dropReasons[d].text
}

// Drops lists all reasons.
func Drops() []Drop {
	all := make([]Drop, 0, len(dropReasons)-1)
	for d := range dropReasons[1:] {
		all = append(all, Drop(d+1))
	}
	return all
}

// CurrentPath returns the path that the programs use.
func (r *overcastOcRemote) CurrentPath() Path {
	return r.Path[r.Active&1]
}
