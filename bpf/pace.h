/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How often something may happen. */
#pragma once

#include <stdbool.h>
#include "maps.h"

/*
 * May it happen once more? A leaky bucket in one word of an array map: the time
 * at which the bucket is empty again, in CLOCK_MONOTONIC nanoseconds. Two CPUs
 * may both see it unchanged and let one through more; no harm.
 */
static __always_inline bool pace(void *map, __u32 slot, __u64 interval, __u64 burst)
{
	__u64 now = bpf_ktime_get_ns(), *empty = bpf_map_lookup_elem(map, &slot);
	__u64 next;

	if (!empty)
		return false;
	next = *empty > now ? *empty : now;
	if (next - now > burst - interval)
		return false;
	*empty = next + interval;
	return true;
}
