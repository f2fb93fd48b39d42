/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Why a frame ended here. This list is the only home of the drop reasons: the
 * C enum is made from it below, and `go generate` makes the Go constants, the
 * texts of the command line, the metric labels and docs/drops.md from it.
 * Append only: a running overcast reads the numbers out of the pinned maps.
 */
#pragma once

#define OC_DROP_REASONS(X) \
	X(FRAME_RUNT,          "shorter than an Ethernet header") \
	X(FRAME_SOURCE,        "source MAC is a group address or zero") \
	X(PORT_UNKNOWN,        "came in on a device that is no configured port") \
	X(PORT_SPOOF,          "source MAC is not one of the port's, or is configured elsewhere") \
	X(PORT_HAIRPIN,        "destination is behind the port that the frame came from") \
	X(PORT_GONE,           "the FDB names a port that is not in this segment now") \
	X(SEGMENT_UNKNOWN,     "segment is not loaded") \
	X(FDB_UNKNOWN,         "destination MAC is unknown, and the segment drops unknown unicast") \
	X(FDB_REMOTE,          "came from a remote for a MAC behind a remote (never tunnel to tunnel)") \
	X(MTU_ANSWERED,        "larger than what fits the tunnel, answered with Packet Too Big or fragmentation needed") \
	X(MTU_LIMITED,         "larger than what fits the tunnel, not answered: the port's answers are rate-limited") \
	X(MTU_UNANSWERABLE,    "larger than what fits the tunnel, and of a kind that gets no answer") \
	X(REMOTE_UNKNOWN,      "the FDB names a remote that is not loaded") \
	X(REMOTE_UNREACHABLE,  "no route to the remote") \
	X(TUNNEL_TRUNCATED,    "tunnel packet cut short") \
	X(TUNNEL_RESERVED,     "tunnel header with a reserved bit set, or without a VNI") \
	X(TUNNEL_KEY,          "frame on the tunnel device without a tunnel key") \
	X(VNI_UNKNOWN,         "VNI of no segment here") \
	X(VTEP_UNKNOWN,        "source VTEP is no host that shares a segment with this one") \
	X(VTEP_NOT_MEMBER,     "source VTEP is no member of the segment") \
	X(ENCAP_FAILED,        "the kernel refused to lengthen or send the frame") \
	X(STRIP_FAILED,        "the kernel refused to strip the outer headers") \
	X(COPY_FAILED,         "a copy for one port or remote could not be sent") \
	X(DEVICE_MISSING,      "needs the kernel tunnel device, which is not there") \
	X(FRAME_CUT,           "claims to be IP and is shorter than an IP header") \
	X(TUNNEL_ADDRESS,      "tunnel packet to an address of this host that is not its VTEP") \
	X(GROUP_UNWANTED,      "to a group that nobody here or there wants from this source") \
	X(SNOOP_LIMITED,       "membership message beyond what a port or a remote may send") \
	X(SNOOP_OVERSIZED,     "membership message larger than any that the agent takes") \
	X(NEIGHBOR_ANSWERED,   "ARP request or neighbour solicitation, answered on its port in the owner's name") \
	X(PORT_BROADCAST,      "beyond what the port's governor lets broadcasts cost") \
	X(PORT_UNKNOWN_UNICAST, "beyond what the port's governor lets unknown unicast cost") \
	X(PORT_MULTICAST,      "beyond what the port's governor lets multicast cost") \
	X(ENVIRONMENT_BROADCAST, "beyond what the environment's governor lets broadcasts cost") \
	X(ENVIRONMENT_UNKNOWN_UNICAST, "beyond what the environment's governor lets unknown unicast cost") \
	X(ENVIRONMENT_MULTICAST, "beyond what the environment's governor lets multicast cost") \
	X(PORT_PROBE,          "from a guest to the group MAC at which agents probe each other") \
	X(PROBE_UNHEARD,       "from a remote to the group MAC at which agents probe each other, and not for the agent here to hear") \
	X(TUNNEL_VERSION,      "Geneve header of a version that is not 0") \
	X(TUNNEL_CONTROL,      "Geneve control packet, which carries no frame of a guest") \
	X(TUNNEL_PROTOCOL,     "Geneve packet that carries something else than Ethernet") \
	X(TUNNEL_OPTION,       "Geneve packet with a critical option, of which none is known") \
	X(TUNNEL_CONGESTED,    "its packet met congestion, and its flow knows no marks (RFC 6040)")

enum oc_drop {
	DROP_NONE, /* not a drop */
#define X(name, text) DROP_##name,
	OC_DROP_REASONS(X)
#undef X
	DROP_COUNT,
};
