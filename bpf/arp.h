/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ARP (RFC 826): learning from it, and answering it. */
#pragma once

#include "owner.h"

#define ARP_ETHERNET 1
#define ARP_REQUEST 1
#define ARP_REPLY 2

struct arp_message {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[OC_MAC_LEN];
	__u8 sender[4];
	__u8 target_mac[OC_MAC_LEN];
	__u8 target[4];
};

/* Padded as struct outer_v4 is. */
struct arp_frame {
	__u16 pad;
	struct ethhdr eth;
	struct arp_message arp;
};

/* Reads the addresses of an ARP frame. */
static __always_inline struct arp_message *arp_parse(struct cursor *c, struct ethhdr **eth, __be32 *from, __be32 *to)
{
	struct arp_message *arp;

	*eth = parse_eth(c);
	arp = *eth ? parse_bytes(c, sizeof(*arp)) : NULL;
	if (arp) {
		__builtin_memcpy(from, arp->sender, sizeof(*from));
		__builtin_memcpy(to, arp->target, sizeof(*to));
	}
	return arp;
}

/*
 * Learns from an ARP frame. remote: the slot of the remote that it came from;
 * 0: it is a port's. Returns 1 if it is a question that may be answered. A
 * function of its own to the verifier, as the three below.
 */
__attribute__((noinline)) int arp_hear(struct __sk_buff *skb, __u32 id, __u32 remote)
{
	const __u32 most = sizeof(struct ethhdr) + sizeof(struct arp_message);
	struct oc_neighbor_key key = {.segment = id};
	struct oc_segment *segment = neigh_segment(id);
	struct arp_message *arp;
	struct ethhdr *eth;
	struct cursor c;
	__be32 from, to;
	bool ask;

	if (!segment || skb->len < most || bpf_skb_pull_data(skb, most))
		return 0;
	c.pos = (void *)(long)skb->data;
	c.end = (void *)(long)skb->data_end;
	arp = arp_parse(&c, &eth, &from, &to);
	/* A sender that names another station's MAC speaks for that one. */
	if (!arp || arp->hardware != bpf_htons(ARP_ETHERNET) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->hardware_length != OC_MAC_LEN || arp->protocol_length != sizeof(arp->sender) ||
	    !mac_equal(arp->sender_mac, eth->h_source))
		return 0;
	ask = arp->operation == bpf_htons(ARP_REQUEST);
	if (!ask && arp->operation != bpf_htons(ARP_REPLY))
		return 0;
	if (!from) {
		/* A probe (RFC 5227 2.1.1). */
		addr_from_v4(&key.addr, to);
		if (ask)
			neigh_doubt(&key, eth->h_source);
		return ask;
	}
	/* No station has an address of 0.0.0.0/8, or of 224.0.0.0 or above. */
	if (!arp->sender[0] || arp->sender[0] >= 224)
		return 0;
	addr_from_v4(&key.addr, from);
	/* Who has moved must be heard by all. An announcement asks nothing. */
	return !neigh_learn(segment, &key, eth->h_source, remote, 0, true) && ask && from != to;
}

/* Puts the reply in the frame's place. */
static __always_inline int arp_reply(struct __sk_buff *skb, const __u8 *asker, __be32 from, __be32 to,
				     const struct neigh_owner *owner, __u32 segment)
{
	struct arp_frame f = {
		.eth.h_proto = bpf_htons(ETH_P_ARP),
		.arp.hardware = bpf_htons(ARP_ETHERNET),
		.arp.protocol = bpf_htons(ETH_P_IP),
		.arp.hardware_length = OC_MAC_LEN,
		.arp.protocol_length = sizeof(f.arp.sender),
		.arp.operation = bpf_htons(ARP_REPLY),
	};

	__builtin_memcpy(f.eth.h_dest, asker, ETH_ALEN);
	__builtin_memcpy(f.eth.h_source, owner->mac, ETH_ALEN);
	__builtin_memcpy(f.arp.sender_mac, owner->mac, OC_MAC_LEN);
	__builtin_memcpy(f.arp.sender, &to, sizeof(to));
	__builtin_memcpy(f.arp.target_mac, asker, OC_MAC_LEN);
	__builtin_memcpy(f.arp.target, &from, sizeof(from));
	if (bpf_skb_store_bytes(skb, 0, &f.eth, sizeof(f) - sizeof(f.pad), 0))
		return VERDICT_PASS;
	return neigh_return(skb, segment, skb->len);
}

/* Answers a question that arp_hear has looked at, if the answer is known. */
__attribute__((noinline)) int arp_answer(struct __sk_buff *skb, __u32 id)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	struct oc_segment *segment = neigh_segment(id);
	struct neigh_owner owner = {};
	struct ethhdr *eth;
	__be32 from, to;

	if (!segment || !arp_parse(&c, &eth, &from, &to) || !neigh_find_v4(skb, segment, id, to, &owner))
		return VERDICT_PASS;
	return arp_reply(skb, eth->h_source, from, to, &owner, id);
}
