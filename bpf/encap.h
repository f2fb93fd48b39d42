/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Makes room for the outer headers and writes them. */
#pragma once

#include "config.h"
#include "outer.h"
#include "tclass.h"

enum encap_room {
	/* The kernel knows that this is an IP packet in a tunnel now: a
	 * super-frame stays whole and redirect_neigh takes it. */
	ENCAP_TYPED,
	/* Only bytes in front: skb->protocol is still the inner frame's, so the
	 * MACs must be known and a plain redirect sends it. Not for super-frames. */
	ENCAP_PLAIN,
	/* Neither works; the frame is untouched and the tunnel device takes it. */
	ENCAP_REFUSED,
};

/* The outer lengths are 16 bits wide; a super-frame may come close. */
static __always_inline bool encap_is_too_long(const struct __sk_buff *skb)
{
	return skb->len + outer_room() > 0xffff;
}

/* typed: skb->protocol is the frame's own. macs: those of the next hop are known. */
static __always_inline enum encap_room encap_make_room(struct __sk_buff *skb, bool typed, bool macs)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
		      BPF_F_ADJ_ROOM_ENCAP_L2(sizeof(struct ethhdr)) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;

	/* A tag in the metadata would end up on the outer frame. */
	if (skb->vlan_present || encap_is_too_long(skb))
		return ENCAP_REFUSED;
	flags |= oc_config.ipv6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
	/* Refuses what is not IP and, with EALREADY, a guest's own tunnel. */
	if (typed && (skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6)) &&
	    !bpf_skb_adjust_room(skb, outer_room(), BPF_ADJ_ROOM_MAC, flags))
		return ENCAP_TYPED;
	if (!macs || skb->gso_size || bpf_skb_change_head(skb, outer_room(), 0))
		return ENCAP_REFUSED;
	return ENCAP_PLAIN;
}

/* What the outer header says of a frame. The flow's hash is for the source port:
 * the sender's stack often has it ready, and an inner fragment is hashed by its
 * addresses only. To be read before there is room in front of the frame. */
static __always_inline void encap_read(struct __sk_buff *skb, struct outer_frame *f)
{
	f->length = skb->len;
	f->class = tclass_outer(skb);
	f->hash = skb->hash ?: bpf_get_hash_recalc(skb);
}

/* An outer header in the making, of whichever family the underlay has. */
union encap_header {
	struct outer_v4 v4;
	struct outer_v6 v6;
};

static __always_inline void encap_build(union encap_header *h, const struct ethhdr *inner, const struct outer_frame *f, __u32 vni)
{
	if (oc_config.ipv6)
		outer_build_v6(&h->v6, inner, f, vni);
	else
		outer_build_v4(&h->v4, inner, f, vni);
}

/* Names another VNI in the header. */
static __always_inline void encap_name(union encap_header *h, __u32 vni)
{
	tunnel_build(oc_config.ipv6 ? &h->v6.tunnel : &h->v4.tunnel, vni);
}

/* Names the destination in the header. */
static __always_inline void encap_address(union encap_header *h, const struct oc_path *path, const struct oc_addr *vtep)
{
	if (oc_config.ipv6)
		outer_address_v6(&h->v6, path, vtep);
	else
		outer_address_v4(&h->v4, path, vtep);
}

/* Writes the whole header over the room that was made. */
static __always_inline long encap_write(struct __sk_buff *skb, const union encap_header *h)
{
	if (oc_config.ipv6)
		return bpf_skb_store_bytes(skb, 0, &h->v6.eth, OUTER_V6_ROOM + sizeof(struct ethhdr), 0);
	return bpf_skb_store_bytes(skb, 0, &h->v4.eth, OUTER_V4_ROOM + sizeof(struct ethhdr), 0);
}

/* Writes only what differs from destination to destination. */
static __always_inline long encap_rewrite(struct __sk_buff *skb, const union encap_header *h)
{
	if (oc_config.ipv6)
		return bpf_skb_store_bytes(skb, 0, &h->v6.eth, sizeof(h->v6.eth) + sizeof(h->v6.ip), 0);
	return bpf_skb_store_bytes(skb, 0, &h->v4.eth, sizeof(h->v4.eth) + sizeof(h->v4.ip), 0);
}
