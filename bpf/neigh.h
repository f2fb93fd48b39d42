/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The neighbour responder. ARP requests (RFC 826) and neighbour solicitations
 * (RFC 4861) from a port are answered on it, in the name of the owner, where
 * that is configured or was learned; and it learns from what is said in the
 * segment. What it does not know, or finds odd, goes on as without it.
 */
#pragma once

#include "arp.h"
#include "nd.h"

/*
 * Learns from a frame that is ARP or ND. A tagged one is in a world of its own.
 * Of IP that is neither this costs a compare or two. Returns whether it is a
 * question that may be answered.
 */
static __always_inline bool neigh_hear(struct __sk_buff *skb, const struct ethhdr *eth, __u32 segment, __u32 remote)
{
	void *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = (void *)(long)skb->data + sizeof(*eth);

	if (eth->h_proto == bpf_htons(ETH_P_ARP))
		return !skb->vlan_present && arp_hear(skb, segment, remote);
	return eth->h_proto == bpf_htons(ETH_P_IPV6) && (void *)(ip + 1) <= end && ip->nexthdr == IPPROTO_ICMPV6 &&
	       ip->hop_limit == ND_HOP_LIMIT && !skb->vlan_present && nd_hear(skb, segment, remote);
}

/*
 * The same for a port's frame, which is answered if it can be. Who asks by
 * unicast wants to know whether the owner is still there, so the owner answers.
 * Returns VERDICT_PASS if the frame goes on.
 */
static __always_inline int neigh_from_port(struct __sk_buff *skb, const struct ethhdr *eth, __u32 segment)
{
	if (!neigh_hear(skb, eth, segment, 0) || !mac_is_group(eth->h_dest))
		return VERDICT_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return nd_answer(skb, segment);
	return mac_is_broadcast(eth->h_dest) ? arp_answer(skb, segment) : VERDICT_PASS;
}
