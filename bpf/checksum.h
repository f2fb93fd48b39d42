/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The internet checksum (RFC 1071). */
#pragma once

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* Folds a sum of words, in network byte order as they were added, into 16 bits. */
static __always_inline __u16 checksum_fold(__u64 sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (sum >> 16) + (sum & 0xffff);
}
