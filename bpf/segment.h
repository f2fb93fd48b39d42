/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Segments, who is a member of them, and what is counted for them. */
#pragma once

#include "maps.h"
#include "outer.h"

static __always_inline struct oc_segment *segment_get(__u32 id)
{
	struct oc_segment *segment = bpf_map_lookup_elem(&oc_segments, &id);

	return segment && segment->vni ? segment : NULL;
}

/* Finds the segment and the remote of a tunnel packet: one lookup for the
 * packet that belongs, more to name the reason of one that does not, which spend
 * the key. */
static __always_inline enum oc_drop segment_of(struct oc_vtep_key *from, struct oc_vtep *found)
{
	__u32 vni = from->vni;
	struct oc_vtep *member = vni ? bpf_map_lookup_elem(&oc_vteps, from) : NULL;

	if (member) {
		*found = *member;
		return DROP_NONE;
	}
	if (!bpf_map_lookup_elem(&oc_vnis, &vni))
		return DROP_VNI_UNKNOWN;
	from->vni = 0;
	return bpf_map_lookup_elem(&oc_vteps, from) ? DROP_VTEP_NOT_MEMBER : DROP_VTEP_UNKNOWN;
}

/* A super-frame counts as the packets that it is made of. */
static __always_inline __u32 skb_packets(const struct __sk_buff *skb)
{
	return skb->gso_segs ?: 1;
}

static __always_inline void stats_in(__u32 slot, __u32 packets, __u32 bytes)
{
	struct oc_counters *stats = bpf_map_lookup_elem(&oc_stats, &slot);

	if (stats) {
		stats->in_packets += packets;
		stats->in_bytes += bytes;
	}
}

static __always_inline void stats_out(__u32 slot, __u32 packets, __u32 bytes)
{
	struct oc_counters *stats = bpf_map_lookup_elem(&oc_stats, &slot);

	if (stats) {
		stats->out_packets += packets;
		stats->out_bytes += bytes;
	}
}
