/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The largest segment that a TCP may send, as its peer says in a SYN (RFC 9293
 * 3.7.1): made to fit the tunnel, where path MTU discovery does not work between
 * guests that filter ICMP.
 */
#pragma once

#include "parse.h"

#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_MSS 2
#define TCP_MAX_OPTIONS 40 /* bytes */

struct mss_option {
	__u8 kind;
	__u8 length;
	__be16 mss;
};

/* Finds the option, in bytes from the frame's start; 0: there is none. */
static __always_inline __u32 mss_find(struct __sk_buff *skb, __u32 at, __u32 end, struct mss_option *option)
{
	for (int i = 0; i < TCP_MAX_OPTIONS; i++) {
		if (at + sizeof(*option) > end || bpf_skb_load_bytes(skb, at, option, sizeof(*option)))
			return 0;
		if (option->kind == TCP_OPTION_NOP) {
			at++;
			continue;
		}
		if (option->kind == TCP_OPTION_MSS && option->length == sizeof(*option))
			return at;
		if (option->kind == TCP_OPTION_END || option->length < 2)
			return 0;
		at += option->length;
	}
	return 0;
}

/*
 * Lowers what a SYN says to what fits a layer-3 packet of this many bytes. A bare
 * frame; what cannot be read is left. A function of its own to the verifier.
 */
__attribute__((noinline)) int mss_clamp(struct __sk_buff *skb, __u32 mtu)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	void *start = c.pos;
	struct ethhdr *eth = parse_eth(&c);
	struct mss_option option;
	struct tcphdr *tcp;
	__u32 tcp_at, at, headers;
	__be16 old, new;
	int proto;

	if (!eth)
		return 0;
	if (skb->vlan_present)
		mtu -= 4;
	headers = sizeof(*tcp) + (eth->h_proto == bpf_htons(ETH_P_IP) ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	proto = parse_upper(&c, eth->h_proto);
	tcp = c.pos;
	if (proto != IPPROTO_TCP || (void *)(tcp + 1) > c.end || !tcp->syn)
		return 0;
	tcp_at = c.pos - start;
	at = mss_find(skb, tcp_at + sizeof(*tcp), tcp_at + tcp->doff * 4, &option);
	if (!at || bpf_ntohs(option.mss) <= mtu - headers)
		return 0;
	at += __builtin_offsetof(struct mss_option, mss);
	old = option.mss;
	new = bpf_htons(mtu - headers);
	if (bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0))
		return 0;
	/* The sum is of the words from the header's start on. */
	if ((at - tcp_at) & 1) {
		old = __builtin_bswap16(old);
		new = __builtin_bswap16(new);
	}
	bpf_l4_csum_replace(skb, tcp_at + __builtin_offsetof(struct tcphdr, check), old, new, sizeof(new));
	return 0;
}
