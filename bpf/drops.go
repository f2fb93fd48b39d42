// Code generated from drops.h by drops_generate.go. DO NOT EDIT.

package bpf

// The drop reasons.
const (
	DropFrameRunt                 = overcastOcDropDROP_FRAME_RUNT                  // shorter than an Ethernet header
	DropFrameSource               = overcastOcDropDROP_FRAME_SOURCE                // source MAC is a group address or zero
	DropPortUnknown               = overcastOcDropDROP_PORT_UNKNOWN                // came in on a device that is no configured port
	DropPortSpoof                 = overcastOcDropDROP_PORT_SPOOF                  // source MAC is not one of the port's, or is configured elsewhere
	DropPortHairpin               = overcastOcDropDROP_PORT_HAIRPIN                // destination is behind the port that the frame came from
	DropPortGone                  = overcastOcDropDROP_PORT_GONE                   // the FDB names a port that is not in this segment now
	DropSegmentUnknown            = overcastOcDropDROP_SEGMENT_UNKNOWN             // segment is not loaded
	DropFDBUnknown                = overcastOcDropDROP_FDB_UNKNOWN                 // destination MAC is unknown, and the segment drops unknown unicast
	DropFDBRemote                 = overcastOcDropDROP_FDB_REMOTE                  // came from a remote for a MAC behind a remote (never tunnel to tunnel)
	DropMTUAnswered               = overcastOcDropDROP_MTU_ANSWERED                // larger than what fits the tunnel, answered with Packet Too Big or fragmentation needed
	DropMTULimited                = overcastOcDropDROP_MTU_LIMITED                 // larger than what fits the tunnel, not answered: the port's answers are rate-limited
	DropMTUUnanswerable           = overcastOcDropDROP_MTU_UNANSWERABLE            // larger than what fits the tunnel, and of a kind that gets no answer
	DropRemoteUnknown             = overcastOcDropDROP_REMOTE_UNKNOWN              // the FDB names a remote that is not loaded
	DropRemoteUnreachable         = overcastOcDropDROP_REMOTE_UNREACHABLE          // no route to the remote
	DropTunnelTruncated           = overcastOcDropDROP_TUNNEL_TRUNCATED            // tunnel packet cut short
	DropTunnelReserved            = overcastOcDropDROP_TUNNEL_RESERVED             // tunnel header with a reserved bit set, or without a VNI
	DropTunnelKey                 = overcastOcDropDROP_TUNNEL_KEY                  // frame on the tunnel device without a tunnel key
	DropVNIUnknown                = overcastOcDropDROP_VNI_UNKNOWN                 // VNI of no segment here
	DropVTEPUnknown               = overcastOcDropDROP_VTEP_UNKNOWN                // source VTEP is no host that shares a segment with this one
	DropVTEPNotMember             = overcastOcDropDROP_VTEP_NOT_MEMBER             // source VTEP is no member of the segment
	DropEncapFailed               = overcastOcDropDROP_ENCAP_FAILED                // the kernel refused to lengthen or send the frame
	DropStripFailed               = overcastOcDropDROP_STRIP_FAILED                // the kernel refused to strip the outer headers
	DropCopyFailed                = overcastOcDropDROP_COPY_FAILED                 // a copy for one port or remote could not be sent
	DropDeviceMissing             = overcastOcDropDROP_DEVICE_MISSING              // needs the kernel tunnel device, which is not there
	DropFrameCut                  = overcastOcDropDROP_FRAME_CUT                   // claims to be IP and is shorter than an IP header
	DropTunnelAddress             = overcastOcDropDROP_TUNNEL_ADDRESS              // tunnel packet to an address of this host that is not its VTEP
	DropGroupUnwanted             = overcastOcDropDROP_GROUP_UNWANTED              // to a group that nobody here or there wants from this source
	DropSnoopLimited              = overcastOcDropDROP_SNOOP_LIMITED               // membership message beyond what a port or a remote may send
	DropSnoopOversized            = overcastOcDropDROP_SNOOP_OVERSIZED             // membership message larger than any that the agent takes
	DropNeighborAnswered          = overcastOcDropDROP_NEIGHBOR_ANSWERED           // ARP request or neighbour solicitation, answered on its port in the owner's name
	DropPortBroadcast             = overcastOcDropDROP_PORT_BROADCAST              // beyond what the port's governor lets broadcasts cost
	DropPortUnknownUnicast        = overcastOcDropDROP_PORT_UNKNOWN_UNICAST        // beyond what the port's governor lets unknown unicast cost
	DropPortMulticast             = overcastOcDropDROP_PORT_MULTICAST              // beyond what the port's governor lets multicast cost
	DropEnvironmentBroadcast      = overcastOcDropDROP_ENVIRONMENT_BROADCAST       // beyond what the environment's governor lets broadcasts cost
	DropEnvironmentUnknownUnicast = overcastOcDropDROP_ENVIRONMENT_UNKNOWN_UNICAST // beyond what the environment's governor lets unknown unicast cost
	DropEnvironmentMulticast      = overcastOcDropDROP_ENVIRONMENT_MULTICAST       // beyond what the environment's governor lets multicast cost
	DropPortProbe                 = overcastOcDropDROP_PORT_PROBE                  // from a guest to the group MAC at which agents probe each other
	DropProbeUnheard              = overcastOcDropDROP_PROBE_UNHEARD               // from a remote to the group MAC at which agents probe each other, and not for the agent here to hear
	DropTunnelVersion             = overcastOcDropDROP_TUNNEL_VERSION              // Geneve header of a version that is not 0
	DropTunnelControl             = overcastOcDropDROP_TUNNEL_CONTROL              // Geneve control packet, which carries no frame of a guest
	DropTunnelProtocol            = overcastOcDropDROP_TUNNEL_PROTOCOL             // Geneve packet that carries something else than Ethernet
	DropTunnelOption              = overcastOcDropDROP_TUNNEL_OPTION               // Geneve packet with a critical option, of which none is known
	DropTunnelCongested           = overcastOcDropDROP_TUNNEL_CONGESTED            // its packet met congestion, and its flow knows no marks (RFC 6040)
)

var dropReasons = [...]struct{ name, text string }{
	{"NONE", "not a drop"},
	{"FRAME_RUNT", "shorter than an Ethernet header"},
	{"FRAME_SOURCE", "source MAC is a group address or zero"},
	{"PORT_UNKNOWN", "came in on a device that is no configured port"},
	{"PORT_SPOOF", "source MAC is not one of the port's, or is configured elsewhere"},
	{"PORT_HAIRPIN", "destination is behind the port that the frame came from"},
	{"PORT_GONE", "the FDB names a port that is not in this segment now"},
	{"SEGMENT_UNKNOWN", "segment is not loaded"},
	{"FDB_UNKNOWN", "destination MAC is unknown, and the segment drops unknown unicast"},
	{"FDB_REMOTE", "came from a remote for a MAC behind a remote (never tunnel to tunnel)"},
	{"MTU_ANSWERED", "larger than what fits the tunnel, answered with Packet Too Big or fragmentation needed"},
	{"MTU_LIMITED", "larger than what fits the tunnel, not answered: the port's answers are rate-limited"},
	{"MTU_UNANSWERABLE", "larger than what fits the tunnel, and of a kind that gets no answer"},
	{"REMOTE_UNKNOWN", "the FDB names a remote that is not loaded"},
	{"REMOTE_UNREACHABLE", "no route to the remote"},
	{"TUNNEL_TRUNCATED", "tunnel packet cut short"},
	{"TUNNEL_RESERVED", "tunnel header with a reserved bit set, or without a VNI"},
	{"TUNNEL_KEY", "frame on the tunnel device without a tunnel key"},
	{"VNI_UNKNOWN", "VNI of no segment here"},
	{"VTEP_UNKNOWN", "source VTEP is no host that shares a segment with this one"},
	{"VTEP_NOT_MEMBER", "source VTEP is no member of the segment"},
	{"ENCAP_FAILED", "the kernel refused to lengthen or send the frame"},
	{"STRIP_FAILED", "the kernel refused to strip the outer headers"},
	{"COPY_FAILED", "a copy for one port or remote could not be sent"},
	{"DEVICE_MISSING", "needs the kernel tunnel device, which is not there"},
	{"FRAME_CUT", "claims to be IP and is shorter than an IP header"},
	{"TUNNEL_ADDRESS", "tunnel packet to an address of this host that is not its VTEP"},
	{"GROUP_UNWANTED", "to a group that nobody here or there wants from this source"},
	{"SNOOP_LIMITED", "membership message beyond what a port or a remote may send"},
	{"SNOOP_OVERSIZED", "membership message larger than any that the agent takes"},
	{"NEIGHBOR_ANSWERED", "ARP request or neighbour solicitation, answered on its port in the owner's name"},
	{"PORT_BROADCAST", "beyond what the port's governor lets broadcasts cost"},
	{"PORT_UNKNOWN_UNICAST", "beyond what the port's governor lets unknown unicast cost"},
	{"PORT_MULTICAST", "beyond what the port's governor lets multicast cost"},
	{"ENVIRONMENT_BROADCAST", "beyond what the environment's governor lets broadcasts cost"},
	{"ENVIRONMENT_UNKNOWN_UNICAST", "beyond what the environment's governor lets unknown unicast cost"},
	{"ENVIRONMENT_MULTICAST", "beyond what the environment's governor lets multicast cost"},
	{"PORT_PROBE", "from a guest to the group MAC at which agents probe each other"},
	{"PROBE_UNHEARD", "from a remote to the group MAC at which agents probe each other, and not for the agent here to hear"},
	{"TUNNEL_VERSION", "Geneve header of a version that is not 0"},
	{"TUNNEL_CONTROL", "Geneve control packet, which carries no frame of a guest"},
	{"TUNNEL_PROTOCOL", "Geneve packet that carries something else than Ethernet"},
	{"TUNNEL_OPTION", "Geneve packet with a critical option, of which none is known"},
	{"TUNNEL_CONGESTED", "its packet met congestion, and its flow knows no marks (RFC 6040)"},
}
