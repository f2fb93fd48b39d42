/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames to many: who of the segment gets them. */
#pragma once

#include "flood.h"
#include "mdb.h"
#include "snoop.h"

/* What is read of a frame to a group: addresses, extension headers and the
 * first bytes of what is behind them. */
#define GROUP_LINEAR 512

/* The headers into the linear part: a driver or the strip may have left none there. */
static __always_inline void group_pull(struct __sk_buff *skb)
{
	__u32 linear = skb->data_end - skb->data;

	if (linear < GROUP_LINEAR && linear < skb->len)
		bpf_skb_pull_data(skb, skb->len < GROUP_LINEAR ? skb->len : GROUP_LINEAR);
}

/* Does the MDB decide over this frame? A tagged one is in a world of its own,
 * whose members nobody here tracks. */
static __always_inline bool group_is_snooped(const struct __sk_buff *skb, const struct oc_segment *segment,
					     const struct ethhdr *eth)
{
	return segment->flags & OC_SEGMENT_SNOOPING && !skb->vlan_present && mac_is_group(eth->h_dest) &&
	       !mac_is_broadcast(eth->h_dest);
}

/* Is this to the group at which agents probe each other? */
static __always_inline bool group_is_probe(const struct ethhdr *eth)
{
	const __u8 probe[] = PROBE_MAC;

	return mac_equal(eth->h_dest, probe);
}

/* A frame of a port to a group or to a MAC that nobody knows. */
static __always_inline int group_from_port(struct __sk_buff *skb, const struct ethhdr *eth,
					   const struct oc_segment *segment, const struct oc_port *port)
{
	struct receivers to = {.ports = segment->ports, .remotes = segment->remotes};
	int verdict;

	if (group_is_probe(eth))
		return DROP_PORT_PROBE;
	if (group_is_snooped(skb, segment, eth)) {
		group_pull(skb);
		verdict = snoop_frame(skb, port->segment, port->id, 0);
		if (verdict != VERDICT_PASS)
			return verdict;
		if (mdb_find(skb, port->segment, &to) && !to.ports && !to.remotes)
			return DROP_GROUP_UNWANTED;
	}
	return flood_from_port(skb, eth, segment, port, &to);
}

/* The same of a remote, stripped. relay: it came under the relay's VNI. */
static __always_inline int group_from_remote(struct __sk_buff *skb, const struct ethhdr *eth,
					     const struct oc_segment *segment, __u32 id, __u32 remote,
					     bool relay, bool typed)
{
	struct receivers to = {.ports = segment->ports, .zone = segment->zone};
	int verdict;

	/* A probe under the relay's VNI asks just whether that way is open. Other
	 * frames there are for the zone too, and agents tell each other directly. */
	if (group_is_probe(eth) && !skb->vlan_present) {
		group_pull(skb);
		verdict = snoop_frame(skb, id, 0, remote);
		return verdict == VERDICT_PASS ? DROP_PROBE_UNHEARD : verdict;
	}
	if (group_is_snooped(skb, segment, eth)) {
		group_pull(skb);
		verdict = relay ? VERDICT_PASS : snoop_frame(skb, id, 0, remote);
		if (verdict != VERDICT_PASS)
			return verdict;
		if (mdb_find(skb, id, &to) && !to.ports && !(relay && to.zone))
			return DROP_GROUP_UNWANTED;
	}
	return flood_from_remote(skb, eth, segment, id, &to, relay, typed);
}
