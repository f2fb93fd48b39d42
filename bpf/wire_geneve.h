/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The Geneve header, RFC 8926 section 3.4, and its options, 3.5. */
#pragma once

#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include "parse.h"
#include "types.h"

#define GENEVE_VERSION 0xc0
#define GENEVE_LENGTH 0x3f
#define GENEVE_CONTROL 0x80  /* the O flag */
#define GENEVE_CRITICAL 0x40 /* the C flag */
#define GENEVE_ETHERNET 0x6558 /* Trans Ether Bridging */
#define GENEVE_OPTION_CRITICAL 0x80
#define GENEVE_OPTION_LENGTH 0x1f

/* In front of a frame: 63 words of options, and none is shorter than a word. */
#define GENEVE_MAX_OPTIONS 63

struct genevehdr {
	__u8 first; /* 2 bits of version, 6 of the options' length in words */
	__u8 flags;
	__be16 proto;
	__be32 vni; /* 24 bits of VNI, 8 reserved */
};

struct geneve_option {
	__be16 class;
	__u8 type;
	__u8 length; /* 3 reserved bits, 5 of what follows in words */
};

static __always_inline void geneve_build(struct genevehdr *h, __u32 vni)
{
	h->first = 0;
	h->flags = 0;
	h->proto = bpf_htons(GENEVE_ETHERNET);
	h->vni = bpf_htonl(vni << 8);
}

/* A walk over the options. */
struct geneve_walk {
	void *options;
	void *end;
	__u32 at;   /* offset of the next one, in bytes */
	__u32 left; /* bytes of those to come */
	enum oc_drop drop;
};

/* One option. A callback, since the verifier would follow a plain loop through
 * every length that each of them may have. */
static long geneve_option(__u32 i, struct geneve_walk *w)
{
	struct geneve_option *option = w->options + (w->at & 0xff);
	__u32 size;

	if (!w->left)
		return 1;
	if ((void *)(option + 1) > w->end) {
		w->drop = DROP_TUNNEL_TRUNCATED;
		return 1;
	}
	size = sizeof(*option) + (option->length & GENEVE_OPTION_LENGTH) * 4;
	if (option->type & GENEVE_OPTION_CRITICAL)
		w->drop = DROP_TUNNEL_OPTION;
	else if (size > w->left)
		w->drop = DROP_TUNNEL_TRUNCATED;
	if (w->drop)
		return 1;
	w->at += size;
	w->left -= size;
	return 0;
}

/*
 * Reads the header and steps over the options. We know none, so any may be
 * skipped that is not critical. left: what the datagram has from the header on.
 * Reserved bits are ignored, as the RFC wants it; a control packet carries no
 * frame of a guest.
 */
static __always_inline enum oc_drop geneve_read(struct cursor *c, __u32 left, __u32 *vni)
{
	struct genevehdr *h = parse_bytes(c, sizeof(*h));
	struct geneve_walk w = {.end = c->end};

	if (!h)
		return DROP_TUNNEL_TRUNCATED;
	if (h->first & GENEVE_VERSION)
		return DROP_TUNNEL_VERSION;
	if (h->flags & GENEVE_CONTROL)
		return DROP_TUNNEL_CONTROL;
	if (h->flags & GENEVE_CRITICAL)
		return DROP_TUNNEL_OPTION;
	if (h->proto != bpf_htons(GENEVE_ETHERNET))
		return DROP_TUNNEL_PROTOCOL;
	*vni = bpf_ntohl(h->vni) >> 8;
	w.left = (h->first & GENEVE_LENGTH) * 4;
	if (!w.left)
		return DROP_NONE;
	w.options = c->pos;
	if (left < sizeof(*h) + w.left + sizeof(struct ethhdr) || !parse_bytes(c, w.left))
		return DROP_TUNNEL_TRUNCATED;
	bpf_loop(GENEVE_MAX_OPTIONS, geneve_option, &w, 0);
	return w.drop;
}
