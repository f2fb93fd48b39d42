/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who wants a group: the MDB. An entry for the group and the source comes
 * before one for the group alone, and that before the one for unknown groups.
 * Where nothing says who wants a frame, everybody gets it.
 */
#pragma once

#include "maps.h"
#include "parse.h"

/* Lists of oc_floods. */
struct receivers {
	__u32 ports;
	__u32 remotes;
	__u32 zone;
};

/* To groups of these everybody listens, or nobody may forward them beyond the
 * node, or they are reserved: 224.0.0.0/24 (RFC 4541 2.1.2), ff02::1, and the
 * scopes 0, 1 and 15 (RFC 4291 2.7). The agent tracks none of them. */
static __always_inline bool mdb_is_for_all(const struct oc_addr *group)
{
	const __be32 *w = (const __be32 *)group->b;

	if (group->b[0] != 0xff)
		return (w[3] & bpf_htonl(0xffffff00)) == bpf_htonl(0xe0000000);
	if ((group->b[1] & 0xf) <= 1 || (group->b[1] & 0xf) == 0xf)
		return true;
	return w[0] == bpf_htonl(0xff020000) && !w[1] && !w[2] && w[3] == bpf_htonl(1);
}

static __always_inline bool mdb_is_link_local(const struct oc_addr *group)
{
	return group->b[0] == 0xff && (group->b[1] & 0xf) == 2;
}

/* Reads group and source. Returns false where the frame is to no IP group: an
 * Ethernet group may carry anything, or be a cluster's unicast address. */
static __always_inline bool mdb_read(struct cursor c, struct oc_mdb_key *key)
{
	struct ethhdr *eth = parse_eth(&c);

	if (!eth)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = parse_ipv6(&c);

		if (!ip || ip->daddr.in6_u.u6_addr8[0] != 0xff)
			return false;
		__builtin_memcpy(key->group.b, &ip->daddr, 16);
		__builtin_memcpy(key->source.b, &ip->saddr, 16);
		return true;
	}
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = parse_ipv4(&c);

		if (!ip || (ip->daddr & bpf_htonl(0xf0000000)) != bpf_htonl(0xe0000000))
			return false;
		addr_from_v4(&key->group, ip->daddr);
		addr_from_v4(&key->source, ip->saddr);
		return true;
	}
	return false;
}

/* Has the agent said within this time that it reads oc_events? It may have said
 * so in a tick after the one that is read here. */
static __always_inline bool mdb_is_kept(const struct oc_snoop *snoop, __u64 within)
{
	return snoop->alive && (__s64)(bpf_ktime_get_coarse_ns() - snoop->alive) < (__s64)within;
}

/* The agent may be gone, or have missed what somebody asked for: then all
 * groups are flooded, so that nobody starves. */
static __always_inline bool mdb_is_current(__u32 segment)
{
	struct oc_snoop *snoop = bpf_map_lookup_elem(&oc_snoops, &segment);

	return snoop && !snoop->missed && mdb_is_kept(snoop, snoop->lifetime);
}

static __always_inline struct oc_group *mdb_get(const struct oc_mdb_key *key)
{
	struct oc_mdb_entry *entry = bpf_map_lookup_elem(&oc_mdb, key);
	__u32 slot;

	if (!entry)
		return NULL;
	slot = entry->slot;
	return bpf_map_lookup_elem(&oc_groups, &slot);
}

/*
 * Narrows the receivers of a frame to a group to those who want it. A function
 * of its own to the verifier, which then looks at it once for all its callers.
 * Returns 1 if it has, and 0 if everybody gets the frame.
 */
__attribute__((noinline)) int mdb_find(struct __sk_buff *skb, __u32 segment, struct receivers *to)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	struct oc_mdb_key key = {.segment = segment}, any = {.segment = segment};
	struct oc_group *group;

	if (!to || !mdb_read(c, &key) || mdb_is_for_all(&key.group) || !mdb_is_current(segment))
		return 0;
	any.group = key.group;
	group = mdb_get(&any);
	if (group) {
		struct oc_group *own = group->sources ? mdb_get(&key) : NULL;

		if (own)
			group = own;
	} else {
		/* ND must work before anybody has told of its groups. */
		if (mdb_is_link_local(&key.group))
			return 0;
		if (any.group.b[0] == 0xff)
			__builtin_memset(&any.group, 0, sizeof(any.group));
		else
			addr_from_v4(&any.group, 0);
		group = mdb_get(&any);
		if (!group)
			return 0;
	}
	to->ports = group->ports;
	to->remotes = group->remotes;
	to->zone = group->zone;
	return 1;
}
