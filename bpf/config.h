/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Load-time constants. The agent sets them before the programs are loaded, the
 * verifier knows their values and removes the branches they rule out. The map
 * that holds them (.rodata) is pinned as `oc_config`: a restarted agent takes
 * the magic from it, since old and new programs run side by side for a moment.
 */
#pragma once

#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include "types.h"

#define OC_MAX_XDP_UPLINKS 4

#define OC_DSCP_COPY 0xff

enum oc_strip {
	OC_STRIP_KERNEL, /* leave every frame to the tunnel device */
	OC_STRIP_TC,     /* strip in oc_uplink_in what can be stripped there */
};

struct oc_constants {
	__u64 magic; /* random; proves that metadata is ours */
	struct oc_addr local; /* source of our tunnel packets, and the destination we accept */
	__u32 tunnel_ifindex; /* oc0; 0: there is none that receives */
	__u16 tunnel_port_be;
	__u16 source_port_min; /* entropy: the flow's hash chooses among so many from there on */
	__u16 source_ports;
	__u8 ipv6; /* the underlay is IPv6 */
	__u8 hop_limit; /* of our packets */
	__u8 dscp;      /* of our packets; OC_DSCP_COPY: the frame's own */
	__u8 dscp_back; /* a frame gets that of the packet it came in */
	__u8 geneve; /* the encapsulation is Geneve; else VXLAN */
	__u8 checksum; /* our packets have UDP checksums, which the tunnel device makes */
	__u8 decap_flags; /* BPF_F_ADJ_ROOM_DECAP_L3_* is known to this kernel (6.3) */
	__u8 netkit; /* a port hands frames on with the type that they have: they must have their own */
	__u8 pad[2];
	enum oc_strip strip;
	__u32 fdb_mask; /* buckets of oc_fdb, a power of two, less one */
	__u32 xdp_uplinks[OC_MAX_XDP_UPLINKS]; /* devices that run oc_uplink_xdp; metadata is believed only there */
};

volatile const struct oc_constants oc_config = {};

/* Our VTEP. Read as volatile like every constant: the compiler sees zeros, and
 * would believe them if a cast took the word away. */
static __always_inline __be32 config_local_v4(void)
{
	return ((const volatile __u32 *)oc_config.local.b)[3];
}

static __always_inline void config_local_v6(void *to)
{
	const volatile __u32 *from = (const volatile __u32 *)oc_config.local.b;
	__u32 *words = to;

	words[0] = from[0];
	words[1] = from[1];
	words[2] = from[2];
	words[3] = from[3];
}

static __always_inline bool config_is_local_v6(const void *addr)
{
	const volatile __u32 *local = (const volatile __u32 *)oc_config.local.b;
	const __u32 *words = addr;

	return words[0] == local[0] && words[1] == local[1] && words[2] == local[2] && words[3] == local[3];
}
