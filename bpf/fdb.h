/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where a MAC is: configured entries first, then, where a segment learns, learned ones. */
#pragma once

#include "config.h"
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

/* The key of a configured MAC; see struct oc_fdb_slot. */
static __always_inline __u64 fdb_word(__u32 segment, const __u8 *mac)
{
	const __u16 *w = (const __u16 *)mac;

	return (__u64)segment << 48 | (__u64)w[2] << 32 | (__u64)w[1] << 16 | w[0];
}

/* Its two buckets are in the lower and in the upper half of this hash, the
 * finalizer of MurmurHash3. maps/fdb.go computes it too. */
static __always_inline __u64 fdb_hash(__u64 key)
{
	key ^= key >> 33;
	key *= 0xff51afd7ed558ccdULL;
	key ^= key >> 33;
	key *= 0xc4ceb9fe1a85ec53ULL;
	return key ^ key >> 33;
}

static __always_inline bool fdb_in_bucket(__u32 at, __u64 key, struct oc_fdb_entry *found)
{
	const volatile struct oc_fdb_bucket *bucket = bpf_map_lookup_elem(&oc_fdb, &at);
	__u64 where;

	if (!bucket)
		return false;
#pragma unroll
	for (int i = 0; i < OC_FDB_SLOTS; i++) {
		if (bucket->slot[i].key != key)
			continue;
		/* One word, so it is an entry's whole. The agent gives a slot to
		 * another key only when nobody who saw this one is left. */
		where = bucket->slot[i].where;
		found->id = where;
		found->kind = where >> 32;
		return true;
	}
	return false;
}

/* Begins to fetch the bucket that a MAC is most likely in, so that memory works
 * while the frame is looked at. Nothing waits for what this reads. */
static __always_inline void fdb_prefetch(__u32 segment, const __u8 *mac)
{
	__u32 at = fdb_hash(fdb_word(segment, mac)) & oc_config.fdb_mask;
	const volatile struct oc_fdb_bucket *bucket = bpf_map_lookup_elem(&oc_fdb, &at);

	if (bucket)
		(void)bucket->slot[0].key;
}

/* Finds a configured MAC. */
static __always_inline bool fdb_find_configured(__u32 segment, const __u8 *mac, struct oc_fdb_entry *found)
{
	__u64 word = fdb_word(segment, mac), hash = fdb_hash(word);
	struct oc_fdb_entry *spilled;
	struct oc_fdb_key key;

	if (fdb_in_bucket(hash & oc_config.fdb_mask, word, found) ||
	    fdb_in_bucket(hash >> 32 & oc_config.fdb_mask, word, found))
		return true;
	fdb_key(&key, segment, mac);
	spilled = bpf_map_lookup_elem(&oc_fdb_spill, &key);
	if (spilled)
		*found = *spilled;
	return spilled;
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
	struct oc_fdb_key key;

	if (fdb_find_configured(id, mac, found))
		return true;
	if (!(segment->flags & OC_SEGMENT_LEARNING))
		return false;
	fdb_key(&key, id, mac);
	learned = bpf_map_lookup_elem(&oc_fdb_learned, &key);
	if (!learned || !fdb_is_fresh(learned))
		return false;
	*found = learned->where;
	return true;
}

/* Notes where the source MAC of a frame was seen, unless it is configured. A
 * function of its own, to spare the stack of those that learn nothing. */
__attribute__((noinline)) int fdb_learn(__u32 id, const struct ethhdr *eth, __u32 kind, __u32 where)
{
	struct oc_learned_entry *old, fresh = {.where = {.id = where, .kind = kind}};
	struct oc_fdb_entry configured;
	struct oc_fdb_key key;

	if (!eth || fdb_find_configured(id, eth->h_source, &configured))
		return 0;
	fdb_key(&key, id, eth->h_source);
	fresh.seen = bpf_ktime_get_coarse_ns();
	old = bpf_map_lookup_elem(&oc_fdb_learned, &key);
	if (old && old->where.id == where && old->where.kind == kind) {
		/* A store per packet would bounce the cache line between CPUs. */
		if (fresh.seen - old->seen > FDB_REFRESH_NS)
			old->seen = fresh.seen;
		return 0;
	}
	bpf_map_update_elem(&oc_fdb_learned, &key, &fresh, BPF_ANY);
	return 0;
}
