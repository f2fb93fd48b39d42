/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Neighbour discovery (RFC 4861): learning from it, and answering it. */
#pragma once

#include "checksum.h"
#include "owner.h"

/* RFC 4861 4; the nonce is RFC 3971's and RFC 7527's. */
#define ND_ROUTER_ADVERT 134
#define ND_SOLICIT 135
#define ND_ADVERT 136
#define ND_HOP_LIMIT 255
#define ND_SOURCE_LINK 1
#define ND_TARGET_LINK 2
#define ND_NONCE 14
#define ND_ROUTER 0x80
#define ND_SOLICITED 0x40
#define ND_OVERRIDE 0x20

struct nd_head {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__u8 flags;
	__u8 reserved[3];
};

/* A solicitation or an advertisement, without options. */
struct nd_message {
	struct nd_head head;
	struct oc_addr target;
};

struct nd_option {
	__u8 type;
	__u8 length; /* in units of 8 bytes */
	__u8 mac[OC_MAC_LEN];
};

/* Options that are read, in units of 8 bytes. */
#define ND_OPTIONS 2
#define ND_HEADERS (sizeof(struct ethhdr) + sizeof(struct ipv6hdr))
#define ND_ROUTER_ADVERT_MIN 16

/* Padded as struct outer_v4 is. */
struct nd_frame {
	__u16 pad;
	struct ethhdr eth;
	struct ipv6hdr ip;
};

static __always_inline bool nd_is_link_local(const __u8 *addr)
{
	return addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80;
}

static __always_inline bool nd_is_unspecified(const struct in6_addr *addr)
{
	const __u32 *w = addr->in6_u.u6_addr32;

	return !(w[0] | w[1] | w[2] | w[3]);
}

/* What stands in front of the sum in a pseudo header, less the addresses (RFC 8200 8.1). */
static __always_inline __wsum nd_pseudo(__u32 length)
{
	return bpf_htonl(length) + bpf_htonl(IPPROTO_ICMPV6);
}

/* What the options of a message say. */
struct nd_said {
	bool link;  /* they name the frame's own MAC */
	bool nonce;
};

/*
 * Reads the options of a message and checks its sum. kind: the option that names
 * a MAC. Returns false where it is not whole, where the MAC is another than the
 * frame's, or where there is an option that is not known: what it asks for only
 * the owner can give, as those of SEND (RFC 3971).
 */
static __always_inline bool nd_read(struct cursor c, const struct ethhdr *eth, const struct ipv6hdr *ip,
				    const struct nd_message *nd, __u8 kind, struct nd_said *said)
{
	__u32 left = bpf_ntohs(ip->payload_len) - sizeof(*nd), next = 0;
	__u32 sum = bpf_csum_diff(NULL, 0, (__be32 *)&ip->saddr, 2 * sizeof(ip->saddr) + sizeof(*nd),
				  nd_pseudo(bpf_ntohs(ip->payload_len)));

#pragma unroll
	for (__u32 i = 0; i < ND_OPTIONS; i++) {
		struct nd_option *option;

		if (i * sizeof(*option) >= left)
			continue;
		option = parse_bytes(&c, sizeof(*option));
		if (!option)
			return false;
		sum = bpf_csum_diff(NULL, 0, (__be32 *)option, sizeof(*option), sum);
		if (i != next)
			continue;
		if (option->type == kind && option->length == 1 && mac_equal(option->mac, eth->h_source))
			said->link = true;
		else if (option->type == ND_NONCE)
			said->nonce = true;
		else
			return false;
		next = i + option->length;
	}
	/* A sum that the sender left to its device does not hold either. */
	return next * sizeof(struct nd_option) == left && checksum_fold(sum) == 0xffff;
}

/* What a message says of an address, and whether it may be answered. */
struct nd_claim {
	const void *addr; /* NULL: nothing */
	__u32 flags;
	bool override;
	bool probe; /* the sender wants the address for itself */
	bool ask;
};

static __always_inline void nd_solicited(const struct ipv6hdr *ip, const struct nd_message *nd, const struct nd_said *said,
					 struct nd_claim *claim)
{
	claim->ask = ip->daddr.in6_u.u6_addr8[0] == 0xff;
	if (nd_is_unspecified(&ip->saddr)) {
		/* Duplicate address detection (RFC 4862 5.4); its nonce wants no
		 * answer (RFC 7527), and a MAC is not allowed (RFC 4861 7.1.1). */
		claim->probe = true;
		claim->addr = said->link ? NULL : &nd->target;
	} else if (said->link) {
		/* One to be answered by multicast names its MAC (RFC 4861 4.3). */
		claim->override = true;
		claim->ask &= !said->nonce;
		claim->addr = &ip->saddr;
	}
}

/* RFC 4861 7.1.2. */
static __always_inline void nd_advertised(const struct ipv6hdr *ip, const struct nd_message *nd, struct nd_claim *claim)
{
	if (nd->head.flags & ND_SOLICITED && ip->daddr.in6_u.u6_addr8[0] == 0xff)
		return;
	claim->flags = OC_NEIGHBOR_ROLE | (nd->head.flags & ND_ROUTER ? OC_NEIGHBOR_ROUTER : 0);
	claim->override = nd->head.flags & ND_OVERRIDE;
	claim->addr = &nd->target;
}

/* It says that its sender is a router (RFC 4861 6.1.2). */
static __always_inline void nd_routed(const struct ipv6hdr *ip, struct nd_claim *claim)
{
	if (!nd_is_link_local(ip->saddr.in6_u.u6_addr8))
		return;
	claim->flags = OC_NEIGHBOR_ROLE | OC_NEIGHBOR_ROUTER;
	claim->override = true;
	claim->addr = &ip->saddr;
}

/* Reads a message. The cursor stands behind the IPv6 header. */
static __always_inline void nd_judge(struct cursor c, const struct ethhdr *eth, const struct ipv6hdr *ip, struct nd_claim *claim)
{
	struct nd_message *nd = parse_bytes(&c, ND_ROUTER_ADVERT_MIN);
	__u32 length = bpf_ntohs(ip->payload_len);
	struct nd_said said = {};

	if (!nd || nd->head.code || length < ND_ROUTER_ADVERT_MIN)
		return;
	if (nd->head.type == ND_ROUTER_ADVERT) {
		nd_routed(ip, claim);
		return;
	}
	if ((nd->head.type != ND_SOLICIT && nd->head.type != ND_ADVERT) || length < sizeof(*nd) ||
	    !parse_bytes(&c, sizeof(*nd) - ND_ROUTER_ADVERT_MIN) || nd->target.b[0] == 0xff ||
	    !nd_read(c, eth, ip, nd, nd->head.type == ND_SOLICIT ? ND_SOURCE_LINK : ND_TARGET_LINK, &said))
		return;
	if (nd->head.type == ND_SOLICIT)
		nd_solicited(ip, nd, &said, claim);
	else
		nd_advertised(ip, nd, claim);
}

/* The same as arp_hear for ND. */
__attribute__((noinline)) int nd_hear(struct __sk_buff *skb, __u32 id, __u32 remote)
{
	const __u32 most = ND_HEADERS + sizeof(struct nd_message) + ND_OPTIONS * sizeof(struct nd_option);
	struct oc_neighbor_key key = {.segment = id};
	struct oc_segment *segment = neigh_segment(id);
	struct nd_claim claim = {};
	struct ipv6hdr *ip;
	struct ethhdr *eth;
	struct cursor c;

	if (!segment || bpf_skb_pull_data(skb, skb->len < most ? skb->len : most))
		return 0;
	c.pos = (void *)(long)skb->data;
	c.end = (void *)(long)skb->data_end;
	eth = parse_eth(&c);
	ip = eth ? parse_ipv6(&c) : NULL;
	if (!ip || ND_HEADERS + bpf_ntohs(ip->payload_len) > skb->len)
		return 0;
	nd_judge(c, eth, ip, &claim);
	if (!claim.addr)
		return 0;
	__builtin_memcpy(&key.addr, claim.addr, sizeof(key.addr));
	if (claim.probe) {
		neigh_doubt(&key, eth->h_source);
		return claim.ask;
	}
	if (key.addr.b[0] == 0xff)
		return 0;
	/* Who has moved must be heard by all. */
	return !neigh_learn(segment, &key, eth->h_source, remote, claim.flags, claim.override) && claim.ask;
}

/*
 * Puts the advertisement in the solicitation's place (RFC 4861 7.2.4). What was
 * only learned changes nothing that the asker knows: no override flag. To one
 * who wants the address for itself it is the owner's defence (RFC 4862 5.4.3).
 */
static __always_inline int nd_advertise(struct __sk_buff *skb, const struct ethhdr *eth, const struct ipv6hdr *ip,
					const struct oc_addr *target, const struct neigh_owner *owner, __u32 segment)
{
	const __u32 length = sizeof(struct nd_message) + sizeof(struct nd_option);
	const __u32 option_at = ND_HEADERS + sizeof(struct nd_message);
	struct nd_option option = {.type = ND_TARGET_LINK, .length = 1};
	struct nd_head head = {.type = ND_ADVERT};
	struct nd_frame f = {
		.eth.h_proto = bpf_htons(ETH_P_IPV6),
		.ip.payload_len = bpf_htons(length),
		.ip.nexthdr = IPPROTO_ICMPV6,
		.ip.hop_limit = ND_HOP_LIMIT,
	};
	__u32 bytes = skb->len, sum;

	*(__be32 *)&f.ip = bpf_htonl(6 << 28);
	if (nd_is_unspecified(&ip->saddr)) {
		f.eth.h_dest[0] = f.eth.h_dest[1] = 0x33;
		f.eth.h_dest[5] = 1;
		f.ip.daddr.in6_u.u6_addr32[0] = bpf_htonl(0xff020000);
		f.ip.daddr.in6_u.u6_addr32[3] = bpf_htonl(1);
	} else {
		__builtin_memcpy(f.eth.h_dest, eth->h_source, ETH_ALEN);
		f.ip.daddr = ip->saddr;
		head.flags = ND_SOLICITED;
	}
	if (owner->flags & OC_NEIGHBOR_ROUTER)
		head.flags |= ND_ROUTER;
	if (owner->configured)
		head.flags |= ND_OVERRIDE;
	__builtin_memcpy(f.eth.h_source, owner->mac, ETH_ALEN);
	__builtin_memcpy(option.mac, owner->mac, OC_MAC_LEN);
	__builtin_memcpy(&f.ip.saddr, target, sizeof(*target));
	/* The target counts twice, since it is the source as well. */
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&f.ip.saddr, 2 * sizeof(f.ip.saddr), nd_pseudo(length));
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&f.ip.saddr, sizeof(f.ip.saddr), sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&option, sizeof(option), sum);
	head.checksum = ~checksum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&head, sizeof(head), sum));

	if (bpf_skb_change_tail(skb, option_at + sizeof(option), 0))
		return VERDICT_PASS;
	/* The target stands in both messages at the same place. */
	if (bpf_skb_store_bytes(skb, 0, &f.eth, ND_HEADERS, 0) || bpf_skb_store_bytes(skb, ND_HEADERS, &head, sizeof(head), 0) ||
	    bpf_skb_store_bytes(skb, option_at, &option, sizeof(option), 0))
		return DROP_ENCAP_FAILED;
	return neigh_return(skb, segment, bytes);
}

/* Answers a question that nd_hear has looked at, if the answer is known. */
__attribute__((noinline)) int nd_answer(struct __sk_buff *skb, __u32 id)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	struct oc_segment *segment = neigh_segment(id);
	struct ethhdr *eth = parse_eth(&c);
	struct ipv6hdr *ip = eth ? parse_ipv6(&c) : NULL;
	struct nd_message *nd = ip ? parse_bytes(&c, sizeof(*nd)) : NULL;
	struct neigh_owner owner = {};

	if (!segment || !nd || !neigh_find_v6(skb, segment, id, &nd->target, &owner))
		return VERDICT_PASS;
	/* An advertisement that says that a router is none has it taken off the
	 * asker's list of default routers (RFC 4861 7.2.5), which has link-local
	 * addresses alone. So only a configured address that cannot be on it is
	 * answered for before its owner has told of its role. */
	if (!(owner.flags & OC_NEIGHBOR_ROLE) && (!owner.configured || nd_is_link_local(nd->target.b)))
		return VERDICT_PASS;
	return nd_advertise(skb, eth, ip, &nd->target, &owner, id);
}
