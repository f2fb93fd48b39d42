/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What frames to many may cost, by the number of their copies and by the bytes
 * of these: of one port's frames, and of all that an environment's ports and
 * remotes send to many. A frame is judged before any copy is made, and goes
 * whole or not at all; what is cut costs nothing.
 *
 * A limit is a leaky bucket in one word: the time at which it is empty again.
 * While it holds less than the burst one frame more goes in, whatever that
 * costs. So whoever has the most receivers is not kept out by those with few,
 * and a frame for more receivers than a burst has copies is let through too;
 * the next one has to wait the longer. In t seconds that is never more than
 * rate * (t + burst) and one frame.
 */
#pragma once

#include "maps.h"
#include "parse.h"

#define GOVERNOR_BURST_NS 100000000ULL

/* The most that a frame can cost, in picoseconds: 106 days, and no overflow. */
#define GOVERNOR_DEAREST (1ULL << 63)

/* How often other CPUs may get in between; see governor_charge. */
#define GOVERNOR_TRIES 16

_Static_assert(DROP_PORT_MULTICAST - DROP_PORT_BROADCAST == OC_CLASS_MULTICAST &&
		       DROP_PORT_UNKNOWN_UNICAST - DROP_PORT_BROADCAST == OC_CLASS_UNKNOWN_UNICAST,
	       "a port's reasons are in the order of the classes");
_Static_assert(DROP_ENVIRONMENT_MULTICAST - DROP_ENVIRONMENT_BROADCAST == OC_CLASS_MULTICAST &&
		       DROP_ENVIRONMENT_UNKNOWN_UNICAST - DROP_ENVIRONMENT_BROADCAST == OC_CLASS_UNKNOWN_UNICAST,
	       "an environment's reasons are in the order of the classes");

/* The class of a frame that goes to many, by its destination. */
static __always_inline enum oc_class governor_class(const __u8 *mac)
{
	if (mac_is_broadcast(mac))
		return OC_CLASS_BROADCAST;
	return mac_is_group(mac) ? OC_CLASS_MULTICAST : OC_CLASS_UNKNOWN_UNICAST;
}

/* The price of so many, in nanoseconds of a bucket. */
static __always_inline __u64 governor_cost(__u64 n, __u64 picoseconds)
{
	if (!picoseconds)
		return 0;
	return (n > GOVERNOR_DEAREST / picoseconds ? GOVERNOR_DEAREST : n * picoseconds + 999) / 1000;
}

static __always_inline bool governor_charge(__u64 *empty, __u64 cost, __u64 now)
{
	__u64 was, from;

	if (!cost)
		return true;
	for (int i = 0; i < GOVERNOR_TRIES; i++) {
		was = *(volatile __u64 *)empty;
		from = was > now ? was : now;
		if (from - now >= GOVERNOR_BURST_NS)
			return false;
		if (__sync_val_compare_and_swap(empty, was, from + cost) == was)
			return true;
	}
	/* There was room each time, and somebody else was faster. The CPUs may let
	 * through a frame each that is one too many; none goes uncharged. */
	__sync_fetch_and_add(empty, cost);
	return true;
}

/* Between a charge and this the bucket cannot have run empty but by a hair. */
static __always_inline void governor_refund(__u64 *empty, __u64 cost)
{
	__sync_fetch_and_sub(empty, cost);
}

/* Charges both limits of an element, or none. cost is what was charged. */
static __always_inline bool governor_take(__u32 element, __u64 copies, __u64 bytes, __u64 now, struct oc_bucket *cost)
{
	struct oc_governor *governor = bpf_map_lookup_elem(&oc_governors, &element);
	struct oc_bucket *bucket = bpf_map_lookup_elem(&oc_buckets, &element);

	if (!governor || !bucket)
		return true;
	cost->copies = governor_cost(copies, governor->copy);
	cost->bytes = governor_cost(bytes, governor->byte);
	if (!governor_charge(&bucket->copies, cost->copies, now))
		return false;
	if (governor_charge(&bucket->bytes, cost->bytes, now))
		return true;
	governor_refund(&bucket->copies, cost->copies);
	return false;
}

static __always_inline void governor_give_back(__u32 element, const struct oc_bucket *cost)
{
	struct oc_bucket *bucket = bpf_map_lookup_elem(&oc_buckets, &element);

	if (!bucket)
		return;
	governor_refund(&bucket->copies, cost->copies);
	governor_refund(&bucket->bytes, cost->bytes);
}

/*
 * May so many copies be made, of so many bytes together? port: slot of the port
 * that the frame came from, or 0. Returns why not, or DROP_NONE and has charged
 * them. A function of its own to the verifier, which then looks at it once for
 * all its callers.
 */
__attribute__((noinline)) int governor_judge(__u32 port, __u32 environment, enum oc_class class, __u64 copies, __u64 bytes)
{
	struct oc_bucket cost = {}, whole = {};
	__u64 now = bpf_ktime_get_ns();

	if (port && !governor_take(port * OC_CLASSES + class, copies, bytes, now, &cost))
		return DROP_PORT_BROADCAST + class;
	if (governor_take(OC_GOVERNORS_ENVIRONMENTS + environment * OC_CLASSES + class, copies, bytes, now, &whole))
		return DROP_NONE;
	if (port)
		governor_give_back(port * OC_CLASSES + class, &cost);
	return DROP_ENVIRONMENT_BROADCAST + class;
}

/* Counts what was copied of a frame, in packets. */
static __always_inline void governor_count(__u32 segment, enum oc_class class, __u32 packets, __u32 copies)
{
	__u32 element = segment * OC_CLASSES + class;
	struct oc_copy_count *count = bpf_map_lookup_elem(&oc_copies, &element);

	if (!count)
		return;
	count->frames += packets;
	count->copies += (__u64)copies * packets;
}
