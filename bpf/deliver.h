/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A frame that came from a remote, to the ports of its segment. */
#pragma once

#include "fdb.h"
#include "group.h"
#include "neigh.h"

/* What is known before the first change to the packet. */
struct delivery {
	__u32 segment;
	__u32 remote;
	__u32 port; /* ifindex; 0: all that want it */
	bool relay; /* it came under the relay's VNI */
	bool clamp; /* a SYN is to say what fits the way back */
};

/* Notes who a packet is from, as oc_vteps and XDP's metadata say it. */
static __always_inline void deliver_from(struct delivery *d, __u32 segment, __u32 remote)
{
	d->segment = segment;
	d->remote = remote & ~OC_RELAY;
	d->relay = remote & OC_RELAY;
}

/* Decides where a frame goes, without touching it. */
static __always_inline enum oc_drop deliver_resolve(const struct ethhdr *eth, struct delivery *d)
{
	struct oc_segment *segment = segment_get(d->segment);
	struct oc_fdb_entry where;

	if (!segment)
		return DROP_SEGMENT_UNKNOWN;
	if (mac_is_group(eth->h_source) || mac_is_zero(eth->h_source))
		return DROP_FRAME_SOURCE;
	if (segment->flags & OC_SEGMENT_LEARNING)
		fdb_learn(d->segment, eth, OC_KIND_REMOTE, d->remote);
	d->port = 0;
	if (mac_is_group(eth->h_dest))
		return DROP_NONE;
	/* Only what goes to many is sent to a relay. */
	if (d->relay)
		return segment->flags & OC_SEGMENT_FLOOD_UNKNOWN ? DROP_NONE : DROP_FDB_UNKNOWN;
	if (!fdb_find(segment, d->segment, eth->h_dest, &where))
		return segment->flags & OC_SEGMENT_FLOOD_UNKNOWN ? DROP_NONE : DROP_FDB_UNKNOWN;
	if (where.kind != OC_KIND_PORT)
		return DROP_FDB_REMOTE;
	/* The port's device is missing, and 0 would mean every port. */
	if (!where.id)
		return DROP_PORT_GONE;
	d->port = where.id;
	d->clamp = segment->flags & OC_SEGMENT_CLAMP_MSS;
	return DROP_NONE;
}

/* Sends a stripped frame on its way. typed: see port_send. */
static __always_inline int deliver_send(struct __sk_buff *skb, const struct ethhdr *eth, const struct delivery *d, bool typed)
{
	struct oc_segment *segment;

	stats_in(OC_STATS_REMOTES + d->remote, skb_packets(skb), skb->len);
	/* What is asked there was not answered where it was asked. */
	(void)neigh_hear(skb, eth, d->segment, d->remote);
	if (d->port) {
		if (d->clamp)
			remote_clamp(skb, d->segment, d->remote);
		return port_send(skb, d->port, d->segment, typed);
	}
	segment = segment_get(d->segment);
	if (!segment)
		return DROP_SEGMENT_UNKNOWN;
	return group_from_remote(skb, eth, segment, d->segment, d->remote, d->relay, typed);
}
