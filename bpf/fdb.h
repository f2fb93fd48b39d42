/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where a MAC is: configured entries first, then, where a segment learns, learned ones. */
#pragma once

#include "maps.h"
#include "segment.h"

#define FDB_AGE_NS (300ULL * 1000000000) /* IEEE 802.1Q 8.8.3: the recommended ageing time */
#define FDB_REFRESH_NS (1ULL * 1000000000)

static __always_inline void fdb_key(struct oc_fdb_key *key, __u32 segment, const __u8 *mac)
{
	key->segment = segment;
	__builtin_memcpy(key->mac, mac, OC_MAC_LEN);
	key->pad = 0;
}

/* An entry that the agent has not swept yet, since it is slow or not there, is old all the same. */
static __always_inline bool fdb_is_fresh(const struct oc_learned_entry *entry)
{
	return bpf_ktime_get_coarse_ns() - entry->seen < FDB_AGE_NS;
}

/* Returns false where nobody knows the MAC. */
static __always_inline bool fdb_find(const struct oc_segment *segment, __u32 id, const __u8 *mac, struct oc_fdb_entry *found)
{
	struct oc_learned_entry *learned;
	struct oc_fdb_entry *entry;
	struct oc_fdb_key key;

	fdb_key(&key, id, mac);
	entry = bpf_map_lookup_elem(&oc_fdb, &key);
	if (entry) {
		*found = *entry;
		return true;
	}
	if (!(segment->flags & OC_SEGMENT_LEARNING))
		return false;
	learned = bpf_map_lookup_elem(&oc_fdb_learned, &key);
	if (!learned || !fdb_is_fresh(learned))
		return false;
	*found = learned->where;
	return true;
}

/* Notes where a MAC was seen, unless it is configured. */
static __always_inline void fdb_learn(__u32 id, const __u8 *mac, __u32 kind, __u32 where)
{
	struct oc_learned_entry *old, fresh = {.where = {.id = where, .kind = kind}};
	struct oc_fdb_key key;

	fdb_key(&key, id, mac);
	if (bpf_map_lookup_elem(&oc_fdb, &key))
		return;
	fresh.seen = bpf_ktime_get_coarse_ns();
	old = bpf_map_lookup_elem(&oc_fdb_learned, &key);
	if (old && old->where.id == where && old->where.kind == kind) {
		/* A store per packet would bounce the cache line between CPUs. */
		if (fresh.seen - old->seen > FDB_REFRESH_NS)
			old->seen = fresh.seen;
		return;
	}
	bpf_map_update_elem(&oc_fdb_learned, &key, &fresh, BPF_ANY);
}
