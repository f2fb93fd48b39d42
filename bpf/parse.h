/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Cursor parsers: each checks that its header is there, steps over it and
 * returns it, or returns NULL and leaves the cursor where it was.
 */
#pragma once

#include <stdbool.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "types.h"

#define IP_MF 0x2000
#define IP_OFFSET 0x1fff
#define IP_DF 0x4000

/* IPv6 extension headers that are stepped over; more of them is a doubt. */
#define PARSE_MAX_EXTENSIONS 6

static __always_inline void addr_from_v4(struct oc_addr *a, __be32 v4)
{
	__u32 *w = (__u32 *)a->b;

	w[0] = 0;
	w[1] = 0;
	w[2] = bpf_htonl(0xffff);
	w[3] = v4;
}

struct cursor {
	void *pos;
	void *end;
};

/* So many bytes of the frame into the linear part: a driver or a strip may have
 * left none of the headers there. It ends every cursor. */
static __always_inline void parse_pull(struct __sk_buff *skb, __u32 most)
{
	__u32 linear = skb->data_end - skb->data;

	if (linear < most && linear < skb->len)
		bpf_skb_pull_data(skb, skb->len < most ? skb->len : most);
}

static __always_inline void *parse_bytes(struct cursor *c, __u32 size)
{
	void *p = c->pos;

	if (p + size > c->end)
		return NULL;
	c->pos = p + size;
	return p;
}

static __always_inline struct ethhdr *parse_eth(struct cursor *c)
{
	return parse_bytes(c, sizeof(struct ethhdr));
}

/* Copies an Ethernet header in three words. The compiler would copy a packed
 * struct byte by byte; every machine that we run on loads words from anywhere. */
static __always_inline void eth_copy(struct ethhdr *to, const struct ethhdr *from)
{
	*(__u64 *)to = *(const __u64 *)from;
	*(__u32 *)((void *)to + 8) = *(const __u32 *)((const void *)from + 8);
	to->h_proto = *(const __be16 *)((const void *)from + 12);
}

struct vlan_tag {
	__be16 tci;
	__be16 proto; /* of what follows */
};

#define PARSE_MAX_TAGS 3

/*
 * Is this a frame that claims to be IP and has no room for an IP header? The
 * kernel's tunnel device drops those without a word (skb_vlan_inet_prepare in
 * include/net/ip_tunnels.h, from 6.9 on), so no path carries them. The cursor
 * stands behind the Ethernet header with this EtherType; rest is the length of
 * what follows, which may be more than lies between the cursor's ends.
 */
static __always_inline bool parse_is_cut(struct cursor c, __be16 proto, __u32 rest)
{
	for (int i = 0; i < PARSE_MAX_TAGS; i++) {
		struct vlan_tag *tag;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		tag = parse_bytes(&c, sizeof(*tag));
		if (!tag)
			return false;
		proto = tag->proto;
		rest -= sizeof(*tag);
	}
	return (proto == bpf_htons(ETH_P_IP) && rest < sizeof(struct iphdr)) ||
	       (proto == bpf_htons(ETH_P_IPV6) && rest < sizeof(struct ipv6hdr));
}

/* Steps over the options too. */
static __always_inline struct iphdr *parse_ipv4(struct cursor *c)
{
	struct iphdr *ip = c->pos;
	__u32 size;

	if ((void *)(ip + 1) > c->end)
		return NULL;
	size = ip->ihl * 4;
	if (ip->version != 4 || size < sizeof(*ip) || c->pos + size > c->end)
		return NULL;
	c->pos += size;
	return ip;
}

static __always_inline bool ipv4_is_fragment(const struct iphdr *ip)
{
	return ip->frag_off & bpf_htons(IP_MF | IP_OFFSET);
}

static __always_inline struct ipv6hdr *parse_ipv6(struct cursor *c)
{
	struct ipv6hdr *ip = parse_bytes(c, sizeof(*ip));

	return ip && ip->version == 6 ? ip : NULL;
}

/* Steps over the extension headers that follow an IPv6 header. Returns the
 * upper layer's protocol, IPPROTO_FRAGMENT in front of a fragment header, or a
 * negative number where the chain is cut short or too long (RFC 8200 4). */
static __always_inline int parse_ipv6_extensions(struct cursor *c, __u8 next)
{
	for (int i = 0; i < PARSE_MAX_EXTENSIONS; i++) {
		struct ipv6_opt_hdr *opt;
		__u32 size;

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			return next;
		opt = c->pos;
		if ((void *)(opt + 1) > c->end)
			return -1;
		size = (opt->hdrlen + 1) * 8;
		if (c->pos + size > c->end)
			return -1;
		next = opt->nexthdr;
		c->pos += size;
	}
	return -1;
}

/* Takes the cursor from the end of the Ethernet header to the upper layer. Returns
 * its protocol, or -1 where there is none: a frame that is not IP, one that is cut
 * short, a fragment of IPv4 (one of IPv6 has a header that is no upper layer's). */
static __always_inline int parse_upper(struct cursor *c, __be16 proto)
{
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = parse_ipv4(c);

		return ip && !ipv4_is_fragment(ip) ? ip->protocol : -1;
	}
	if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = parse_ipv6(c);

		return ip ? parse_ipv6_extensions(c, ip->nexthdr) : -1;
	}
	return -1;
}

/* IEEE 802.3: the first bit on the wire of a group address is set. */
static __always_inline bool mac_is_group(const __u8 *mac)
{
	return mac[0] & 1;
}

static __always_inline bool mac_is_broadcast(const __u8 *mac)
{
	return (mac[0] & mac[1] & mac[2] & mac[3] & mac[4] & mac[5]) == 0xff;
}

static __always_inline bool mac_is_zero(const __u8 *mac)
{
	return !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]);
}

static __always_inline bool mac_equal(const __u8 *a, const __u8 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] &&
	       a[3] == b[3] && a[4] == b[4] && a[5] == b[5];
}
