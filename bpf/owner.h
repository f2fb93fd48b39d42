/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whose an address is: configured ones first, then learned ones. And how an
 * answer in the owner's name goes out.
 */
#pragma once

#include "fdb.h"
#include "parse.h"
#include "verdict.h"

/*
 * How long a learned address is answered for after it was last seen: as long as
 * RFC 4861 10 (REACHABLE_TIME) takes a neighbour for reachable. An owner that
 * has gone without a word is forgotten then, and one that is asked for by
 * unicast, as everybody is who is spoken to, is seen anew each time it answers.
 */
#define NEIGH_AGE_NS (30ULL * 1000000000)
#define NEIGH_REFRESH_NS (1ULL * 1000000000)

/* The owner of an address. */
struct neigh_owner {
	__u8 mac[OC_MAC_LEN];
	bool configured;
	__u32 flags; /* enum oc_neighbor_flags */
};

static __always_inline bool neigh_is_fresh(const struct oc_learned_neighbor *neighbor)
{
	return bpf_ktime_get_coarse_ns() - neighbor->seen < NEIGH_AGE_NS;
}

static __always_inline struct oc_segment *neigh_segment(__u32 id)
{
	struct oc_segment *segment = segment_get(id);

	return segment && segment->flags & OC_SEGMENT_NEIGHBORS ? segment : NULL;
}

/*
 * Notes that an address is at a MAC that the segment knows on this side: a
 * remote does not speak for a port. flags: the owner's role; 0: not said.
 * override: another MAC gives way (RFC 4861 7.2.5). Of a configured address
 * only the role is noted. Returns true where the address was just elsewhere.
 */
static __always_inline bool neigh_learn(const struct oc_segment *segment, const struct oc_neighbor_key *key,
					const __u8 *mac, __u32 remote, __u32 flags, bool override)
{
	struct oc_learned_neighbor *old, fresh = {.flags = flags};
	struct oc_neighbor *configured = bpf_map_lookup_elem(&oc_neighbors, key);
	struct oc_fdb_entry where;
	bool moved = false;

	if (configured && (!flags || !mac_equal(configured->mac, mac)))
		return false;
	if (!fdb_find(segment, key->segment, mac, &where) || where.kind != (remote ? OC_KIND_REMOTE : OC_KIND_PORT))
		return false;
	fresh.seen = bpf_ktime_get_coarse_ns();
	old = bpf_map_lookup_elem(&oc_neighbors_learned, key);
	if (old && mac_equal(old->mac, mac)) {
		if (!flags)
			fresh.flags = old->flags;
		if (fresh.flags == old->flags) {
			/* As in fdb_learn. */
			if (fresh.seen - old->seen > NEIGH_REFRESH_NS)
				old->seen = fresh.seen;
			return false;
		}
	} else if (old && neigh_is_fresh(old)) {
		if (!override)
			return false;
		moved = true;
	}
	__builtin_memcpy(fresh.mac, mac, OC_MAC_LEN);
	bpf_map_update_elem(&oc_neighbors_learned, key, &fresh, BPF_ANY);
	return moved;
}

/* Somebody is about to take an address. A learned owner is forgotten, and so not
 * answered for: it must say itself that it is still there, and is then learned
 * again; or one that has gone would keep the address. */
static __always_inline void neigh_doubt(const struct oc_neighbor_key *key, const __u8 *mac)
{
	struct oc_learned_neighbor *learned = bpf_map_lookup_elem(&oc_neighbors_learned, key);

	if (learned && !mac_equal(learned->mac, mac) && !bpf_map_lookup_elem(&oc_neighbors, key))
		bpf_map_delete_elem(&oc_neighbors_learned, key);
}

/*
 * Finds in whose name a question from a port is answered. Behind the port that
 * asks the owner has heard the question; this is also who asks for its own
 * address.
 */
static __always_inline bool neigh_find(const struct __sk_buff *skb, const struct oc_segment *segment,
				       const struct oc_neighbor_key *key, struct neigh_owner *owner)
{
	struct oc_learned_neighbor *learned = bpf_map_lookup_elem(&oc_neighbors_learned, key);
	struct oc_neighbor *configured = bpf_map_lookup_elem(&oc_neighbors, key);
	struct oc_fdb_entry where;

	owner->configured = configured;
	owner->flags = 0;
	if (configured) {
		__builtin_memcpy(owner->mac, configured->mac, OC_MAC_LEN);
		if (learned && mac_equal(learned->mac, owner->mac))
			owner->flags = learned->flags;
	} else {
		if (!learned || !neigh_is_fresh(learned))
			return false;
		__builtin_memcpy(owner->mac, learned->mac, OC_MAC_LEN);
		owner->flags = learned->flags;
	}
	return fdb_find(segment, key->segment, owner->mac, &where) &&
	       !(where.kind == OC_KIND_PORT && where.id == skb->ifindex);
}

static __always_inline bool neigh_find_v4(const struct __sk_buff *skb, const struct oc_segment *segment, __u32 id,
					  __be32 addr, struct neigh_owner *owner)
{
	struct oc_neighbor_key key = {.segment = id};

	addr_from_v4(&key.addr, addr);
	return neigh_find(skb, segment, &key, owner);
}

static __always_inline bool neigh_find_v6(const struct __sk_buff *skb, const struct oc_segment *segment, __u32 id,
					  const struct oc_addr *addr, struct neigh_owner *owner)
{
	struct oc_neighbor_key key = {.segment = id, .addr = *addr};

	return neigh_find(skb, segment, &key, owner);
}

/* Sends what stands in the frame's place back to the port that it came from. */
static __always_inline int neigh_return(struct __sk_buff *skb, __u32 segment, __u32 bytes)
{
	int verdict = verdict_redirect(bpf_redirect(skb->ifindex, 0));

	if (verdict == VERDICT_REDIRECT)
		drop_count(DROP_NEIGHBOR_ANSWERED, skb->ifindex, segment, bytes);
	return verdict;
}
