/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Frames that do not fit the way to where they go, and the answer to them: ICMPv6
 * Packet Too Big (RFC 4443 3.2) or ICMPv4 fragmentation needed (RFC 1191 4),
 * sent back to the port in the name of the destination, as the kernel's own
 * tunnels do (net/ipv4/ip_tunnel_core.c, iptunnel_pmtud_build_icmp*).
 */
#pragma once

#include "checksum.h"
#include "pace.h"
#include "parse.h"
#include "verdict.h"

/* RFC 792 and RFC 4443; <linux/icmp.h> cannot be included without a libc. */
#define ICMPV4_DEST_UNREACH 3
#define ICMPV4_FRAG_NEEDED 4
#define ICMPV4_SOURCE_QUENCH 4
#define ICMPV4_REDIRECT 5
#define ICMPV4_TIME_EXCEEDED 11
#define ICMPV4_PARAMETER_PROBLEM 12
#define ICMPV6_PACKET_TOO_BIG 2
#define ICMPV6_INFORMATIONAL 0x80

/* The header of both answers; IPv4's MTU is the lower half of the last word. */
struct icmp_error {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 mtu;
};

/* One answer in 10 ms and a burst of 10 to a port. */
#define PMTU_INTERVAL_NS 10000000ULL
#define PMTU_BURST_NS (10 * PMTU_INTERVAL_NS)

/* How much of the frame an answer quotes: the IPv6 minimum MTU and IPv4's 576
 * bytes less the answer's headers, in whole 32-bit words. A frame that is too
 * big is always longer, since no segment's MTU is below 1280. */
#define PMTU_QUOTE_V6 (1280 - sizeof(struct ipv6hdr) - sizeof(struct icmp_error))
#define PMTU_QUOTE_V4 ((576 - sizeof(struct iphdr) - sizeof(struct icmp_error)) & ~3U)

#define PMTU_GSO_BY_FRAGS 0xffff /* SCTP's: the fragments are the segments */

/* Padded as struct outer_v4 is. */
struct pmtu_answer_v6 {
	__u16 pad;
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct icmp_error icmp;
};

struct pmtu_answer_v4 {
	__u16 pad;
	struct ethhdr eth;
	struct iphdr ip;
	struct icmp_error icmp;
};

/* Bytes of a super-frame's headers, each of its segments has them. 0: unknown. */
static __always_inline __u32 pmtu_gso_headers(struct __sk_buff *skb)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	void *start = c.pos;
	struct ethhdr *eth = parse_eth(&c);
	struct tcphdr *tcp;
	int proto;

	if (!eth)
		return 0;
	proto = parse_upper(&c, eth->h_proto);
	/* Two kinds look alike: datagrams of this size (UDP_L4), and one datagram to be
	 * cut into IP fragments, which old guests leave to us. Fragments are of whole
	 * words of eight bytes, and in IPv4 only the first has the UDP header, as a part
	 * of its size. In IPv6 they have a fragment header, which is as long. */
	if (proto == IPPROTO_UDP)
		return c.pos - start + (eth->h_proto == bpf_htons(ETH_P_IP) && !(skb->gso_size & 7) ? 0 : sizeof(struct udphdr));
	tcp = c.pos;
	if (proto != IPPROTO_TCP || (void *)(tcp + 1) > c.end)
		return 0;
	return c.pos - start + tcp->doff * 4;
}

/* Does each segment of a super-frame fit? One whose headers we do not know takes
 * the kernel's tunnel device, which judges it. A function of its own to the
 * verifier. */
__attribute__((noinline)) int pmtu_segments_fit(struct __sk_buff *skb, __u32 room)
{
	__u32 size = skb->gso_size, headers;

	if (size == PMTU_GSO_BY_FRAGS)
		return true;
	headers = pmtu_gso_headers(skb);
	return !headers || headers + size <= room;
}

/* Does the frame fit, or each segment of a super-frame? */
static __always_inline bool pmtu_fits(struct __sk_buff *skb, __u32 mtu)
{
	__u32 room = mtu + sizeof(struct ethhdr) - (skb->vlan_present ? 4 : 0);

	return skb->len <= room || (skb->gso_size && pmtu_segments_fit(skb, room));
}

struct pmtu_sum {
	struct __sk_buff *skb;
	__u32 upper_at;
	__u64 all;
	__u64 upper; /* from the upper layer's header on */
};

/* Adds a 32-bit word of the quote. A callback, since the verifier would follow
 * a plain loop through every word of it. */
static long pmtu_sum_word(__u32 i, struct pmtu_sum *sum)
{
	void *data = (void *)(long)sum->skb->data, *end = (void *)(long)sum->skb->data_end;
	__u32 *word;

	if (i >= PMTU_QUOTE_V6 / 4)
		return 1;
	word = data + sizeof(struct ethhdr) + i * 4;
	if ((void *)(word + 1) > end)
		return 1;
	sum->all += *word;
	if (i * 4 >= sum->upper_at)
		sum->upper += *word;
	return 0;
}

/*
 * Makes the quoted upper-layer checksum one that holds. A frame from a local
 * stack has only the pseudo header's sum in there and says CHECKSUM_PARTIAL,
 * which no helper can take back: a device without checksum offload would later
 * finish that sum inside our quote and so break the ICMP checksum around it.
 * With the value F = -S/2 (S: the sum of all but the field, in ones' complement
 * arithmetic, where halving is a rotation) the finished sum ~(S + F) is F
 * again: finishing it changes nothing. Returns the new sum of the quote.
 */
static __always_inline __u64 pmtu_settle(const struct pmtu_sum *sum, __u32 field_at)
{
	__u16 old, half, settled;

	if (bpf_skb_load_bytes(sum->skb, sizeof(struct ethhdr) + field_at, &old, sizeof(old)))
		return sum->all;
	half = ~checksum_fold(sum->upper + (__u16)~old);
	settled = half >> 1 | half << 15;
	if (bpf_skb_store_bytes(sum->skb, sizeof(struct ethhdr) + field_at, &settled, sizeof(settled), 0))
		return sum->all;
	return sum->all + (__u16)~old + settled;
}

/* Where the checksum stands in an upper-layer header, 0 where we know of none. */
static __always_inline __u32 pmtu_checksum_offset(int proto)
{
	if (proto == IPPROTO_TCP)
		return __builtin_offsetof(struct tcphdr, check);
	if (proto == IPPROTO_UDP)
		return __builtin_offsetof(struct udphdr, check);
	return 0;
}

/* Cuts the frame to what is quoted and returns the quote's sum in *total. */
static __always_inline bool pmtu_quote(struct __sk_buff *skb, __u32 quote, __u32 upper_at, int proto, __u64 *total)
{
	struct pmtu_sum sum = {.skb = skb, .upper_at = upper_at};
	__u32 field = pmtu_checksum_offset(proto);

	/* This also ends a super-frame's life as such. */
	if (bpf_skb_change_tail(skb, sizeof(struct ethhdr) + quote, 0) ||
	    bpf_skb_pull_data(skb, sizeof(struct ethhdr) + quote))
		return false;
	bpf_loop(quote / 4, pmtu_sum_word, &sum, 0);
	*total = field && upper_at + field + 2 <= quote ? pmtu_settle(&sum, upper_at + field) : sum.all;
	return true;
}

static __always_inline __u64 pmtu_sum_addresses_v6(const struct in6_addr *src, const struct in6_addr *dst)
{
	const __u32 *a = (const __u32 *)src, *b = (const __u32 *)dst;

	return (__u64)a[0] + a[1] + a[2] + a[3] + b[0] + b[1] + b[2] + b[3];
}

static __always_inline int pmtu_answer_v6(struct __sk_buff *skb, const struct ethhdr *eth, __u32 mtu, __u32 port)
{
	struct pmtu_answer_v6 a = {};
	struct cursor c = {.pos = (void *)(long)skb->data + sizeof(*eth), .end = (void *)(long)skb->data_end};
	struct ipv6hdr *ip = parse_ipv6(&c);
	__u32 upper_at;
	__u64 sum;
	int proto;

	if (!ip)
		return DROP_MTU_UNANSWERABLE;
	proto = parse_ipv6_extensions(&c, ip->nexthdr);
	upper_at = c.pos - (void *)ip;
	/* RFC 4443 2.4(e): not to an error, nor to one who is not a single node. */
	if (proto == IPPROTO_ICMPV6) {
		__u8 *type = c.pos;

		if ((void *)(type + 1) > c.end || !(*type & ICMPV6_INFORMATIONAL))
			return DROP_MTU_UNANSWERABLE;
	}
	if (ip->saddr.in6_u.u6_addr8[0] == 0xff ||
	    !(ip->saddr.in6_u.u6_addr32[0] | ip->saddr.in6_u.u6_addr32[1] |
	      ip->saddr.in6_u.u6_addr32[2] | ip->saddr.in6_u.u6_addr32[3]))
		return DROP_MTU_UNANSWERABLE;
	if (!pace(&oc_pacers, port, PMTU_INTERVAL_NS, PMTU_BURST_NS))
		return DROP_MTU_LIMITED;

	__builtin_memcpy(a.eth.h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(a.eth.h_source, eth->h_dest, ETH_ALEN);
	a.eth.h_proto = bpf_htons(ETH_P_IPV6);
	*(__be32 *)&a.ip = bpf_htonl(6 << 28);
	a.ip.payload_len = bpf_htons(sizeof(a.icmp) + PMTU_QUOTE_V6);
	a.ip.nexthdr = IPPROTO_ICMPV6;
	a.ip.hop_limit = 255;
	a.ip.daddr = ip->saddr;
	a.ip.saddr = ip->daddr;
	if (mac_is_group(eth->h_dest)) {
		/* Answered too (RFC 4443 2.4(e.3)), but a group is nobody's name: the
		 * sender's own MAC and address stand for the segment. */
		a.ip.saddr = ip->saddr;
		__builtin_memcpy(a.eth.h_source, eth->h_source, ETH_ALEN);
		a.eth.h_source[0] ^= 2;
	}
	a.icmp.type = ICMPV6_PACKET_TOO_BIG;
	a.icmp.mtu = bpf_htonl(mtu);

	if (!pmtu_quote(skb, PMTU_QUOTE_V6, upper_at, proto, &sum))
		return DROP_MTU_UNANSWERABLE;
	sum += pmtu_sum_addresses_v6(&a.ip.saddr, &a.ip.daddr);
	sum += bpf_htonl(sizeof(a.icmp) + PMTU_QUOTE_V6) + (__u64)bpf_htonl(IPPROTO_ICMPV6);
	sum += bpf_htons(ICMPV6_PACKET_TOO_BIG << 8) + (__u64)a.icmp.mtu;
	a.icmp.checksum = ~checksum_fold(sum);

	if (bpf_skb_change_head(skb, sizeof(a.ip) + sizeof(a.icmp), 0) ||
	    bpf_skb_store_bytes(skb, 0, &a.eth, sizeof(a.eth) + sizeof(a.ip) + sizeof(a.icmp), 0))
		return DROP_MTU_UNANSWERABLE;
	return verdict_redirect(bpf_redirect(skb->ifindex, 0));
}

static __always_inline bool pmtu_icmpv4_is_error(__u8 type)
{
	return type == ICMPV4_DEST_UNREACH || type == ICMPV4_SOURCE_QUENCH || type == ICMPV4_REDIRECT ||
	       type == ICMPV4_TIME_EXCEEDED || type == ICMPV4_PARAMETER_PROBLEM;
}

static __always_inline int pmtu_answer_v4(struct __sk_buff *skb, const struct ethhdr *eth, __u32 mtu, __u32 port)
{
	struct pmtu_answer_v4 a = {};
	struct cursor c = {.pos = (void *)(long)skb->data + sizeof(*eth), .end = (void *)(long)skb->data_end};
	struct iphdr *ip = parse_ipv4(&c);
	__u32 upper_at;
	__u64 sum;
	int proto;

	/* RFC 1122 3.2.2: not to an error, a later fragment, a group or a broadcast. */
	if (!ip || mac_is_group(eth->h_dest) || ip->frag_off & bpf_htons(IP_OFFSET))
		return DROP_MTU_UNANSWERABLE;
	proto = ip->protocol;
	upper_at = ip->ihl * 4;
	if (proto == IPPROTO_ICMP) {
		__u8 *type = c.pos;

		if ((void *)(type + 1) > c.end || pmtu_icmpv4_is_error(*type))
			return DROP_MTU_UNANSWERABLE;
	}
	if (!ip->saddr || bpf_ntohl(ip->saddr) >= 0xe0000000)
		return DROP_MTU_UNANSWERABLE;
	if (!pace(&oc_pacers, port, PMTU_INTERVAL_NS, PMTU_BURST_NS))
		return DROP_MTU_LIMITED;

	__builtin_memcpy(a.eth.h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(a.eth.h_source, eth->h_dest, ETH_ALEN);
	a.eth.h_proto = bpf_htons(ETH_P_IP);
	a.ip.version = 4;
	a.ip.ihl = 5;
	a.ip.tot_len = bpf_htons(sizeof(a.ip) + sizeof(a.icmp) + PMTU_QUOTE_V4);
	a.ip.frag_off = bpf_htons(IP_DF);
	a.ip.ttl = 64;
	a.ip.protocol = IPPROTO_ICMP;
	a.ip.saddr = ip->daddr;
	a.ip.daddr = ip->saddr;
	a.ip.check = ipv4_checksum(&a.ip);
	a.icmp.type = ICMPV4_DEST_UNREACH;
	a.icmp.code = ICMPV4_FRAG_NEEDED;
	a.icmp.mtu = bpf_htonl(mtu & 0xffff);

	if (!pmtu_quote(skb, PMTU_QUOTE_V4, upper_at, proto, &sum))
		return DROP_MTU_UNANSWERABLE;
	sum += bpf_htons(ICMPV4_DEST_UNREACH << 8 | ICMPV4_FRAG_NEEDED) + (__u64)a.icmp.mtu;
	a.icmp.checksum = ~checksum_fold(sum);

	if (bpf_skb_change_head(skb, sizeof(a.ip) + sizeof(a.icmp), 0) ||
	    bpf_skb_store_bytes(skb, 0, &a.eth, sizeof(a.eth) + sizeof(a.ip) + sizeof(a.icmp), 0))
		return DROP_MTU_UNANSWERABLE;
	return verdict_redirect(bpf_redirect(skb->ifindex, 0));
}

/*
 * Answers a frame that does not fit this MTU, and counts it as
 * dropped: the answer takes its place. slot: the port's. A function of its own
 * to the verifier, which then looks at it once for all its callers.
 */
__attribute__((noinline)) int pmtu_refuse(struct __sk_buff *skb, const struct ethhdr *eth, __u32 mtu, __u32 slot, __u32 segment)
{
	int verdict = DROP_MTU_UNANSWERABLE;
	__u32 bytes = skb->len;

	if (!eth)
		return verdict;
	if (skb->vlan_present)
		mtu -= 4;
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		verdict = pmtu_answer_v6(skb, eth, mtu, slot);
	else if (eth->h_proto == bpf_htons(ETH_P_IP))
		verdict = pmtu_answer_v4(skb, eth, mtu, slot);
	if (verdict == VERDICT_REDIRECT)
		drop_count(DROP_MTU_ANSWERED, skb->ifindex, segment, bytes);
	return verdict;
}
