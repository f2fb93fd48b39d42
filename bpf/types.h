/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Keys and values of the maps. Go gets these structs from the object's BTF
 * (bpf2go -type), so padding is spelled out: two equal keys are equal bytes.
 *
 * Numbers are in host byte order unless a name ends in _be; addresses and MACs
 * are byte arrays in wire order. An IPv4 address is kept as ::ffff:a.b.c.d.
 */
#pragma once

#include <linux/types.h>
#include "drops.h"

#define OC_MAC_LEN 6

struct oc_addr {
	__u8 b[16];
};

/* Where a MAC is. */
enum oc_kind {
	OC_KIND_NONE,
	OC_KIND_PORT,   /* id is the port's ifindex */
	OC_KIND_REMOTE, /* id is the remote's slot in oc_remotes */
};

/* oc_ports: ifindex -> port. */
enum oc_port_flags {
	OC_PORT_MAC = 1 << 0,  /* the source must be .mac, or a MAC of oc_fdb that names this port */
	OC_PORT_ANY = 1 << 1,  /* any source that is not configured elsewhere (extra_macs: any) */
	OC_PORT_PEER = 1 << 2, /* redirect_peer reaches the guest: a veth whose peer is in another namespace */
};

struct oc_port {
	__u32 id; /* slot in oc_stats and oc_pacers */
	__u32 segment;
	enum oc_port_flags flags;
	__u8 mac[OC_MAC_LEN];
	__u16 pad;
};

/* oc_vnis: VNI -> segment. A segment with relays has a second VNI. */
enum oc_vni_flags {
	OC_VNI_RELAY = 1 << 0,
};

struct oc_vni {
	__u32 segment;
	enum oc_vni_flags flags;
};

/* In the number of a remote: its copy is the relay's, under the relay's VNI (in
 * lists), or the packet came under it (in oc_vteps and in XDP's metadata). */
#define OC_RELAY (1U << 31)

/* oc_segments: slot -> segment. A slot of vni 0 is empty; slot 0 is never used. */
enum oc_segment_flags {
	OC_SEGMENT_LEARNING = 1 << 0,
	OC_SEGMENT_FLOOD_UNKNOWN = 1 << 1,
	OC_SEGMENT_SNOOPING = 1 << 2,  /* groups go where oc_mdb says */
	OC_SEGMENT_NEIGHBORS = 1 << 3, /* ARP and ND are answered */
	OC_SEGMENT_GOVERNED = 1 << 4,  /* its environment or a port of it has a limit in oc_governors */
	OC_SEGMENT_CLAMP_MSS = 1 << 5, /* SYNs to and from remotes say what fits the way there */
};

struct oc_segment {
	__u32 vni;
	/* Bytes of layer 3; one VLAN tag more is four bytes less. What goes to many
	 * must fit the way to each, and what goes to one only the way there. */
	__u32 mtu;
	enum oc_segment_flags flags;
	__u32 zero; /* always; but the verifier cannot know that, see flood.h */
	/* Lists of oc_floods. Each is one aligned word and a list is never changed
	 * once it is named here, so a reader sees an old list or a new one, whole. */
	__u32 ports;
	__u32 remotes;
	__u32 zone;        /* the remotes of this host's zone, for what it relays */
	__u32 relay_vni;   /* 0: no relays */
	__u32 environment; /* the environment's number in oc_governors */
	__u32 mtu_most;    /* of a frame to one remote: what is configured, or all that fits */
	/* Hash of "environment/segment": a VNI that is given to another segment
	 * gets a new slot, so that what the old one learned is not found by it. */
	__u64 identity;
};

/* oc_vteps: (VNI, source VTEP) -> segment and remote. VNI 0 lists the hosts
 * themselves, to tell a stranger from a host that is no member. */
struct oc_vtep_key {
	__u32 vni;
	struct oc_addr addr;
};

struct oc_vtep {
	__u32 segment;
	__u32 remote; /* with OC_RELAY: for the relay's VNI */
};

/* oc_remotes: slot -> remote. A slot whose address is zero is empty; slot 0 is never used. */
enum oc_path_flags {
	OC_PATH_ETHERNET = 1 << 0, /* the uplink has an Ethernet header */
	OC_PATH_MACS = 1 << 1,     /* .dst and .src are the next hop's and the uplink's MACs */
};

struct oc_path {
	__u32 ifindex; /* the uplink; 0: no route */
	enum oc_path_flags flags;
	__u32 family; /* AF_INET or AF_INET6, of .next_hop */
	__u8 dst[OC_MAC_LEN];
	__u8 src[OC_MAC_LEN];
	__u8 next_hop[16]; /* IPv4: the first four bytes */
};

struct oc_remote {
	struct oc_addr vtep;
	/* An array map is overwritten in place, and a path is read whole: the
	 * agent writes the path that is not in use and then turns .active. */
	__u32 active;
	__u32 mtu; /* bytes of layer 3 of a guest that fit the way there */
	struct oc_path path[2];
};

/* (segment, MAC) -> port or remote, of oc_fdb_spill and oc_fdb_learned. */
struct oc_fdb_key {
	__u32 segment;
	__u8 mac[OC_MAC_LEN];
	__u16 pad;
};

struct oc_fdb_entry {
	__u32 id;
	enum oc_kind kind;
};

/*
 * oc_fdb: the same for configured MACs, in buckets of one cache line. An entry
 * is in one of the two buckets that its key's hash names (fdb.h), or, where
 * both were full, in oc_fdb_spill. The agent writes through a mapping of the
 * map, a word at a time: .where first and then .key, which makes the entry.
 */
#define OC_FDB_SLOTS 4

struct oc_fdb_slot {
	__u64 key;   /* segment << 48 | the MAC's six bytes, the first one lowest; 0: empty */
	__u64 where; /* kind << 32 | id */
};

struct oc_fdb_bucket {
	struct oc_fdb_slot slot[OC_FDB_SLOTS];
};

struct oc_learned_entry {
	struct oc_fdb_entry where;
	__u64 seen; /* CLOCK_MONOTONIC nanoseconds, to a second */
};

/* oc_floods and oc_mdb_floods: (list, chunk) -> up to OC_CHUNK destinations. The
 * last chunk of a list is the first that is not full. Lists from OC_LISTS_GROUPS
 * on are those of the MDB. */
#define OC_LISTS_GROUPS (1U << 31)
#define OC_CHUNK 62

struct oc_flood_key {
	__u32 list;
	__u32 chunk;
};

struct oc_flood {
	__u32 count; /* in this chunk */
	__u32 total; /* in all chunks of the list */
	__u32 id[OC_CHUNK]; /* ifindexes of ports, or slots of remotes with or without OC_RELAY */
};

/*
 * oc_mdb: (segment, group, source) -> slot in oc_groups. The source is zero in
 * the entry for all sources that have none of their own. The group is zero
 * (::, or ::ffff:0.0.0.0) in the entry for groups that have none of their own,
 * where those are not to be flooded. An entry is added and removed, and never
 * changed: what changes is its slot, in place and a word at a time.
 */
struct oc_mdb_key {
	__u32 segment;
	struct oc_addr group;
	struct oc_addr source;
};

struct oc_mdb_entry {
	__u32 slot;
};

/* oc_groups: slot -> lists of oc_mdb_floods, 0 for an empty one. A list is never
 * changed once it is named here. */
struct oc_group {
	__u32 ports;
	__u32 remotes;
	__u32 zone;    /* those of the remotes that are in this host's zone, for what it relays */
	__u32 sources; /* there are entries of this group with a source: look for one */
};

/* oc_snoops: slot of a segment -> may its MDB be believed? Times are in
 * CLOCK_MONOTONIC nanoseconds. The first two words are the agent's. */
struct oc_snoop {
	__u64 alive;    /* when the agent last said that it reads oc_events; 0: never */
	__u64 lifetime; /* how long the MDB holds without it: the protocols' group membership interval */
	__u64 missed;   /* when a membership message could not be handed over; the agent sets it back */
};

/* oc_events: a frame for the agent, whole. */
struct oc_event {
	__u32 segment; /* 0: a router of the underlay has sent it, of packets to a remote */
	__u32 ifindex; /* the port that it came in on; 0: it came from a remote */
	__u32 remote;  /* that remote's slot, or the one that the packets were for */
	__u32 length;  /* bytes of the frame, behind this header */
};

/*
 * (segment, address) -> MAC, of oc_neighbors (configured) and of
 * oc_neighbors_learned. For a configured address the latter has what its owner
 * has told of its role, and nothing else of it is believed.
 */
struct oc_neighbor_key {
	__u32 segment;
	struct oc_addr addr;
};

struct oc_neighbor {
	__u8 mac[OC_MAC_LEN];
	__u16 pad;
};

enum oc_neighbor_flags {
	OC_NEIGHBOR_ROLE = 1 << 0,   /* the owner has said by ND whether it is a router */
	OC_NEIGHBOR_ROUTER = 1 << 1, /* and it is one */
};

struct oc_learned_neighbor {
	__u8 mac[OC_MAC_LEN];
	__u8 pad[6];
	enum oc_neighbor_flags flags;
	__u64 seen; /* CLOCK_MONOTONIC nanoseconds, to a second */
};

/* The classes of frames of which copies are made. */
enum oc_class {
	OC_CLASS_BROADCAST,
	OC_CLASS_UNKNOWN_UNICAST,
	OC_CLASS_MULTICAST,
	OC_CLASSES,
};

/* oc_governors and oc_buckets: for each port, and behind the ports for each
 * environment, an element for each class of frames. */
#define OC_MAX_ENVIRONMENTS 4096
#define OC_GOVERNORS_ENVIRONMENTS (OC_MAX_PORTS * OC_CLASSES)

/* What a copy and a byte of one cost, in picoseconds; 0: no limit. */
struct oc_governor {
	__u64 copy;
	__u64 byte;
};

/* When the copies and the bytes that were let through are worked off, in
 * CLOCK_MONOTONIC nanoseconds. */
struct oc_bucket {
	__u64 copies;
	__u64 bytes;
};

/* oc_copies: per CPU, slot of a segment * OC_CLASSES + class -> what was copied.
 * A super-frame counts as the packets that it is made of. */
struct oc_copy_count {
	__u64 frames; /* that were to be copied, without those that a governor cut */
	__u64 copies; /* that were made of them */
};

/* oc_stats: per CPU; the slots of ports, segments and remotes stand behind one
 * another. In is towards the overlay's switch, out is away from it: a port's in
 * is what its guest sent, a remote's in is what came from it. A segment's in is
 * what its ports here sent, its out what was sent to them. */
#define OC_MAX_PORTS 4096
#define OC_MAX_SEGMENTS 4096
#define OC_STATS_SEGMENTS OC_MAX_PORTS
#define OC_STATS_REMOTES (OC_MAX_PORTS + OC_MAX_SEGMENTS)

struct oc_counters {
	__u64 in_packets;
	__u64 in_bytes;
	__u64 out_packets;
	__u64 out_bytes;
};

/* oc_drops: per CPU. Where the map is full, the reason alone is counted. */
struct oc_drop_key {
	enum oc_drop reason;
	__u32 ifindex; /* the device that the frame came in on */
	__u32 segment; /* 0: not known yet */
};

struct oc_drop_count {
	__u64 packets;
	__u64 bytes;
};

/* What oc_uplink_xdp hands to oc_uplink_in. Nothing in it may change from
 * packet to packet of a flow, or GRO stops merging. */
struct oc_meta {
	__u64 magic;
	__u32 segment;
	__u32 remote;
};
