/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Stripping at tc, and reading what XDP left where it has stripped already. */
#pragma once

#include "deliver.h"
#include "underlay.h"

#ifndef BPF_F_ADJ_ROOM_DECAP_L3_IPV4 /* 6.3; the build's headers are 6.1's */
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV4 (1ULL << 7)
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)
#endif

/* All that is in front of the inner IP header, and the word of that with the
 * traffic class. */
#define STRIP_LINEAR (OUTER_V6_ROOM + sizeof(struct ethhdr) + (oc_config.geneve ? GENEVE_MAX_OPTIONS * 4 : 0) + sizeof(__be16))

static __always_inline bool strip_is_xdp_uplink(__u32 ifindex)
{
#pragma unroll
	for (int i = 0; i < OC_MAX_XDP_UPLINKS; i++)
		if (oc_config.xdp_uplinks[i] && oc_config.xdp_uplinks[i] == ifindex)
			return true;
	return false;
}

/* Has oc_uplink_xdp stripped this frame? Metadata survives a redirect through
 * a veth, so it could be forged there: hence the magic and the device. */
static __always_inline bool strip_is_done(struct __sk_buff *skb, struct delivery *d)
{
	struct oc_meta *meta = (void *)(long)skb->data_meta;

	if ((void *)(meta + 1) > (void *)(long)skb->data || meta->magic != oc_config.magic ||
	    !strip_is_xdp_uplink(skb->ifindex))
		return false;
	deliver_from(d, meta->segment, meta->remote);
	return true;
}

/*
 * The flags with which bpf_skb_adjust_room strips a packet whose inner frame
 * is of this type and length, or 0 where it would refuse or leave the frame
 * wrong: the tunnel device takes that. It wants a whole IP header to be left,
 * an IPv6 one under an IPv6 outer header unless told otherwise.
 */
static __always_inline bool strip_flags(__be16 proto, __u32 frame, __u64 *flags, bool *typed)
{
	__u32 left = frame - sizeof(struct ethhdr);

	*flags = 0;
	*typed = false;
	if (oc_config.decap_flags) {
		*typed = proto == bpf_htons(ETH_P_IP) || proto == bpf_htons(ETH_P_IPV6);
		if (oc_config.ipv6 && proto != bpf_htons(ETH_P_IPV6))
			*flags = BPF_F_ADJ_ROOM_DECAP_L3_IPV4;
		if (!oc_config.ipv6 && proto == bpf_htons(ETH_P_IPV6))
			*flags = BPF_F_ADJ_ROOM_DECAP_L3_IPV6;
	} else {
		*typed = proto == (oc_config.ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP));
	}
	if (proto == bpf_htons(ETH_P_IPV6) || (oc_config.ipv6 && !oc_config.decap_flags))
		return left >= sizeof(struct ipv6hdr);
	return left >= sizeof(struct iphdr);
}

/* Gives a bare frame another traffic class. */
static __always_inline long strip_store_class(struct __sk_buff *skb, __be16 proto, __u8 class)
{
	const __u32 at = sizeof(struct ethhdr);
	__be16 old, new;

	if (bpf_skb_load_bytes(skb, at, &old, sizeof(old)))
		return -1;
	if (proto == bpf_htons(ETH_P_IPV6)) {
		new = tclass_in_v6(old, class);
		return bpf_skb_store_bytes(skb, at, &new, sizeof(new), BPF_F_RECOMPUTE_CSUM);
	}
	new = (old & bpf_htons(0xff00)) | bpf_htons(class);
	return bpf_l3_csum_replace(skb, at + __builtin_offsetof(struct iphdr, check), old, new, sizeof(new)) ?:
	       bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0);
}

/* Gives a frame that the tunnel device has stripped the DSCP of its packet, where
 * that is wanted. The device has seen to the marks. */
static __always_inline long strip_take_dscp(struct __sk_buff *skb, __u8 outer)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	struct ethhdr *eth = parse_eth(&c);
	__u8 class, now;

	if (!oc_config.dscp_back || !eth || !tclass_is_ip(eth->h_proto))
		return 0;
	class = tclass_read(c, eth->h_proto);
	now = (outer & ~TCLASS_ECN) | (class & TCLASS_ECN);
	return now == class ? 0 : strip_store_class(skb, eth->h_proto, now);
}

/* Strips a packet of ours. inner, typed: of the frame that is left; see port_send. */
static __always_inline int strip_tc(struct __sk_buff *skb, struct ethhdr *inner, struct delivery *d, bool *typed)
{
	struct oc_vtep found;
	struct ethhdr *eth;
	struct outer o;
	struct cursor c;
	enum oc_drop drop;
	__u64 flags;
	__u8 class;
	int now;

	if (skb->vlan_present)
		return VERDICT_PASS;
	parse_pull(skb, STRIP_LINEAR);
	c.pos = (void *)(long)skb->data;
	c.end = (void *)(long)skb->data_end;
	drop = outer_read(&c, skb->len, &o);
	if (!o.ours) {
		underlay_hear(skb);
		return VERDICT_PASS;
	}
	if (drop)
		return drop;
	drop = segment_of(&o.from, &found);
	if (drop)
		return drop;
	deliver_from(d, found.segment, found.remote);

	eth = parse_eth(&c);
	if (eth && parse_is_cut(c, eth->h_proto, skb->len - o.room - sizeof(*eth)))
		return DROP_FRAME_CUT;
	/* A merged frame keeps the marks of its tunnel through adjust_room, so a
	 * tap or a forwarding guest would get it wrong. */
	if (oc_config.strip != OC_STRIP_TC || o.irregular || skb->gso_size || !eth ||
	    !strip_flags(eth->h_proto, skb->len - o.room, &flags, typed) || (oc_config.netkit && !*typed))
		return oc_config.tunnel_ifindex ? VERDICT_PASS : DROP_DEVICE_MISSING;

	class = tclass_read(c, eth->h_proto);
	now = tclass_is_ip(eth->h_proto) ? tclass_inner(class, o.class) : class;
	if (now < 0)
		return DROP_TUNNEL_CONGESTED;
	eth_copy(inner, eth);
	drop = deliver_resolve(inner, d);
	if (drop)
		return drop;
	/* It takes away what is behind the outer Ethernet header, which then
	 * becomes the inner one. */
	if (bpf_skb_adjust_room(skb, -(int)o.room, BPF_ADJ_ROOM_MAC, flags) ||
	    bpf_skb_store_bytes(skb, 0, inner, sizeof(*inner), 0) ||
	    (now != class && strip_store_class(skb, inner->h_proto, now)))
		return DROP_STRIP_FAILED;
	return VERDICT_DELIVER;
}
