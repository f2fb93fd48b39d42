/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the underlay's routers and hosts say of our packets: that one was too big
 * for a link (RFC 1191 4, RFC 4443 3.2), or had nowhere to go. The agent reads it,
 * and what is not of a packet of ours is nothing to us. The host's own stack gets
 * it too.
 */
#pragma once

#include "config.h"
#include "outer.h"
#include "pace.h"
#include "parse.h"
#include "pmtu.h"
#include "snoop.h"

#define ICMPV6_UNREACHABLE 1

/* One message in a millisecond and a burst of 1,000, of all remotes. They stand
 * in oc_pacers where no port is. */
#define UNDERLAY_PACER 0
#define UNDERLAY_INTERVAL_NS 1000000ULL
#define UNDERLAY_BURST_NS (1000 * UNDERLAY_INTERVAL_NS)

/* What is quoted of a packet of ours: at least its addresses and ports. */
struct underlay_error_v4 {
	struct icmp_error icmp;
	struct iphdr ip;
	struct udphdr udp;
};

struct underlay_error_v6 {
	struct icmp_error icmp;
	struct ipv6hdr ip;
	struct udphdr udp;
};

/* Where an ICMP error begins, in bytes from the frame's start; 0: it is none. */
static __always_inline __u32 underlay_error_at(const struct __sk_buff *skb)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	void *start = c.pos;
	struct ethhdr *eth = parse_eth(&c);
	__u8 *type;

	if (!eth || skb->vlan_present)
		return 0;
	if (oc_config.ipv6) {
		struct ipv6hdr *ip;

		if (eth->h_proto != bpf_htons(ETH_P_IPV6) || !(ip = parse_ipv6(&c)) || ip->nexthdr != IPPROTO_ICMPV6)
			return 0;
		type = c.pos;
		if ((void *)(type + 1) > c.end || (*type != ICMPV6_UNREACHABLE && *type != ICMPV6_PACKET_TOO_BIG))
			return 0;
	} else {
		struct iphdr *ip;

		if (eth->h_proto != bpf_htons(ETH_P_IP) || !(ip = parse_ipv4(&c)) || ip->protocol != IPPROTO_ICMP ||
		    ipv4_is_fragment(ip))
			return 0;
		type = c.pos;
		if ((void *)(type + 1) > c.end || *type != ICMPV4_DEST_UNREACH)
			return 0;
	}
	return c.pos - start;
}

/* The remote for which the packet was that an error speaks of; 0: none of ours. */
static __always_inline __u32 underlay_remote(struct __sk_buff *skb, __u32 at)
{
	struct oc_vtep_key to = {};
	struct oc_vtep *host;
	__be16 port;

	if (oc_config.ipv6) {
		struct underlay_error_v6 e;

		if (bpf_skb_load_bytes(skb, at, &e, sizeof(e)) || e.ip.nexthdr != IPPROTO_UDP || !config_is_local_v6(&e.ip.saddr))
			return 0;
		__builtin_memcpy(to.addr.b, &e.ip.daddr, sizeof(to.addr.b));
		port = e.udp.dest;
	} else {
		struct underlay_error_v4 e;

		/* Ours have no options. */
		if (bpf_skb_load_bytes(skb, at, &e, sizeof(e)) || e.ip.ihl != 5 || e.ip.protocol != IPPROTO_UDP ||
		    e.ip.saddr != config_local_v4())
			return 0;
		addr_from_v4(&to.addr, e.ip.daddr);
		port = e.udp.dest;
	}
	host = port == oc_config.tunnel_port_be ? bpf_map_lookup_elem(&oc_vteps, &to) : NULL;
	return host ? host->remote : 0;
}

/* Hands what is said of a packet of ours to the agent. A function of its own to
 * the verifier. */
__attribute__((noinline)) int underlay_hear(struct __sk_buff *skb)
{
	struct oc_event head = {.length = skb->len < SNOOP_SMALL ? skb->len : SNOOP_SMALL};
	__u32 at = underlay_error_at(skb);

	if (!at)
		return 0;
	head.remote = underlay_remote(skb, at);
	if (head.remote && pace(&oc_pacers, UNDERLAY_PACER, UNDERLAY_INTERVAL_NS, UNDERLAY_BURST_NS))
		snoop_hand_over(skb, &head);
	return 0;
}
