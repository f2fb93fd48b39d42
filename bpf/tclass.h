/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The traffic class (RFC 8200 7; IPv4's TOS) of inner and outer headers:
 * congestion marks cross between them after RFC 6040, and the DSCP is the
 * settings' (RFC 2983).
 */
#pragma once

#include "config.h"
#include "parse.h"

#define TCLASS_ECN 3 /* the two lower bits; what is above is the DSCP */
#define ECN_ECT1 1
#define ECN_ECT0 2
#define ECN_CE 3

/* Of an IP header that begins with this word; proto: its EtherType. */
static __always_inline __u8 tclass_of(__be16 word, __be16 proto)
{
	return proto == bpf_htons(ETH_P_IPV6) ? bpf_ntohs(word) >> 4 : bpf_ntohs(word);
}

static __always_inline bool tclass_is_ip(__be16 proto)
{
	return proto == bpf_htons(ETH_P_IP) || proto == bpf_htons(ETH_P_IPV6);
}

/* Of the header behind an Ethernet header with this type, 0 if it is not IP. */
static __always_inline __u8 tclass_read(struct cursor c, __be16 proto)
{
	__be16 *word = parse_bytes(&c, sizeof(*word));

	return word && tclass_is_ip(proto) ? tclass_of(*word, proto) : 0;
}

/* Of the packet that a frame goes out in: the frame's own marks, as RFC 6040 4.1
 * has it in normal mode. */
static __always_inline __u8 tclass_outer(const struct __sk_buff *skb)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	struct ethhdr *eth = parse_eth(&c);
	__u8 inner = eth ? tclass_read(c, eth->h_proto) : 0;

	return oc_config.dscp == OC_DSCP_COPY ? inner : oc_config.dscp << 2 | (inner & TCLASS_ECN);
}

/* What a frame's class becomes that came in a packet with this one. Returns -1
 * where that says that it met congestion, and the frame is of a flow that marks
 * mean nothing to: then it must be lost (RFC 6040 4.2). */
static __always_inline int tclass_inner(__u8 inner, __u8 outer)
{
	__u8 ecn = inner & TCLASS_ECN;

	if ((outer & TCLASS_ECN) == ECN_CE) {
		if (!ecn)
			return -1;
		ecn = ECN_CE;
	} else if ((outer & TCLASS_ECN) == ECN_ECT1 && ecn == ECN_ECT0) {
		ecn = ECN_ECT1;
	}
	return ((oc_config.dscp_back ? outer : inner) & ~TCLASS_ECN) | ecn;
}

/* The first 16 bits of an IPv6 header with another class. */
static __always_inline __be16 tclass_in_v6(__be16 word, __u8 class)
{
	return (word & bpf_htons(0xf00f)) | bpf_htons((__u16)class << 4);
}
