/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Stripping at XDP. The driver then merges the inner frames (GRO), which is
 * what makes this fast; where they go is oc_uplink_in's business.
 */
#pragma once

#include "segment.h"
#include "verdict.h"

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
	drop = segment_of(o.vni, &o.src, &found);
	if (drop)
		return drop;
	eth = parse_eth(&c);
	if (eth && parse_is_cut(c, eth->h_proto, len - o.room - sizeof(*eth)))
		return DROP_FRAME_CUT;
	/* oc_uplink_in and the tunnel device take what is not plain, and all of it
	 * where the driver has no room for metadata. */
	if (o.irregular || !eth ||
	    bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
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
