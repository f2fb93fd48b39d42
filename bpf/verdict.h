/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What becomes of a frame. Helpers return a verdict; the entry program counts
 * it if it is a drop and turns it into what its hook understands.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include "maps.h"

/* A verdict is an enum oc_drop, or one of these. */
enum verdict {
	VERDICT_PASS = 0,      /* not ours: on to the next program, untouched */
	VERDICT_REDIRECT = -1, /* bpf_redirect or its kin has been called */
	VERDICT_SPENT = -2,    /* its copies are on their way; free the original */
	VERDICT_DELIVER = -3,  /* bare, and it is known where it goes: to be sent there yet */
};

/* Counts packets and their bytes together. A function of its own to the verifier:
 * what follows does not depend on it. */
__attribute__((noinline)) int drop_count_all(__u32 reason, __u32 ifindex, __u32 segment, __u32 packets, __u64 bytes)
{
	struct oc_drop_key key = {.reason = reason, .ifindex = ifindex, .segment = segment};
	struct oc_drop_count *count, first = {};

	count = bpf_map_lookup_elem(&oc_drops, &key);
	if (!count) {
		bpf_map_update_elem(&oc_drops, &key, &first, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&oc_drops, &key);
	}
	if (!count) {
		/* Full. The agent made an entry for each reason alone. */
		key.ifindex = 0;
		key.segment = 0;
		count = bpf_map_lookup_elem(&oc_drops, &key);
		if (!count)
			return 0;
	}
	count->packets += packets;
	count->bytes += bytes;
	return 0;
}

static __always_inline void drop_count(__u32 reason, __u32 ifindex, __u32 segment, __u32 bytes)
{
	drop_count_all(reason, ifindex, segment, 1, bytes);
}

static __always_inline int verdict_redirect(long ret)
{
	return ret == TC_ACT_REDIRECT ? VERDICT_REDIRECT : DROP_ENCAP_FAILED;
}

static __always_inline int verdict_tc(struct __sk_buff *skb, int verdict, __u32 segment)
{
	switch (verdict) {
	case VERDICT_PASS:
		return TC_ACT_UNSPEC;
	case VERDICT_REDIRECT:
		return TC_ACT_REDIRECT;
	case VERDICT_SPENT:
		return TC_ACT_SHOT;
	}
	drop_count(verdict, skb->ifindex, segment, skb->len);
	return TC_ACT_SHOT;
}

static __always_inline int verdict_xdp(struct xdp_md *ctx, int verdict, __u32 segment)
{
	if (verdict == VERDICT_PASS)
		return XDP_PASS;
	drop_count(verdict, ctx->ingress_ifindex, segment, bpf_xdp_get_buff_len(ctx));
	return XDP_DROP;
}
