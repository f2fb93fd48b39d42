/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Stripping at XDP. The driver then merges the inner frames (GRO), which is
 * what makes this fast; where they go is oc_uplink_in's business.
 */
#pragma once

#include "checksum.h"
#include "segment.h"
#include "tclass.h"
#include "verdict.h"

/* Gives the inner frame the traffic class that follows from the packet's. The
 * cursor stands behind its Ethernet header. Returns false if it must be lost. */
static __always_inline bool strip_class(struct cursor c, __be16 proto, __u8 outer)
{
	struct iphdr *ip = c.pos; /* of an IPv6 header only the first word is used */
	__be16 *word = c.pos, old;
	int class;

	if (!tclass_is_ip(proto) || (void *)(ip + 1) > c.end)
		return true;
	old = *word;
	class = tclass_inner(tclass_of(old, proto), outer);
	if (class < 0)
		return false;
	if (class == tclass_of(old, proto))
		return true;
	if (proto == bpf_htons(ETH_P_IPV6)) {
		*word = tclass_in_v6(old, class);
		return true;
	}
	ip->tos = class;
	/* RFC 1624. */
	ip->check = ~checksum_fold((__u64)(__u16)~ip->check + (__u16)~old + *word);
	return true;
}

static __always_inline int strip_xdp(struct xdp_md *ctx)
{
	struct cursor c = {.pos = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end};
	struct oc_vtep found;
	struct oc_meta *meta;
	struct ethhdr *eth;
	struct outer o;
	__u32 len = bpf_xdp_get_buff_len(ctx);
	enum oc_drop drop = outer_read(&c, len, &o);

	if (!o.ours)
		return VERDICT_PASS;
	if (drop)
		return drop;
	drop = segment_of(&o.from, &found);
	if (drop)
		return drop;
	eth = parse_eth(&c);
	if (eth && parse_is_cut(c, eth->h_proto, len - o.room - sizeof(*eth)))
		return DROP_FRAME_CUT;
	/* oc_uplink_in and the tunnel device take what is not plain, and all of it
	 * where the driver has no room for metadata. */
	if (o.irregular || !eth)
		return VERDICT_PASS;
	if (!strip_class(c, eth->h_proto, o.class))
		return DROP_TUNNEL_CONGESTED;
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return VERDICT_PASS;
	if (bpf_xdp_adjust_head(ctx, o.room))
		return DROP_STRIP_FAILED;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return DROP_STRIP_FAILED;
	meta->magic = oc_config.magic;
	meta->segment = found.segment;
	meta->remote = found.remote;
	return VERDICT_PASS;
}
