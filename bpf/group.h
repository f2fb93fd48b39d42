/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames to many: who of the segment gets them. */
#pragma once

#include "flood.h"
#include "mdb.h"
#include "snoop.h"

/* What is read of a frame to a group: addresses, extension headers and the
 * first bytes of what is behind them. */
#define GROUP_LINEAR 512

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
	struct flood_order o = {
		.segment = port->segment,
		.port = port->id,
		.to = {.ports = segment->ports, .remotes = segment->remotes},
		.typed = true,
	};
	int verdict;

	if (group_is_probe(eth))
		return DROP_PORT_PROBE;
	eth_copy(&o.eth, eth);
	if (group_is_snooped(skb, segment, eth)) {
		parse_pull(skb, GROUP_LINEAR);
		verdict = snoop_frame(skb, o.segment, o.port, 0);
		if (verdict != VERDICT_PASS)
			return verdict;
		if (mdb_find(skb, o.segment, &o.to) && !o.to.ports && !o.to.remotes)
			return DROP_GROUP_UNWANTED;
	}
	return flood_frame(skb, segment, &o);
}

/* The same of a remote, stripped. relay: it came under the relay's VNI. */
static __always_inline int group_from_remote(struct __sk_buff *skb, const struct ethhdr *eth,
					     const struct oc_segment *segment, __u32 id, __u32 remote,
					     bool relay, bool typed)
{
	struct flood_order o = {
		.segment = id,
		.to = {.ports = segment->ports, .zone = segment->zone},
		.typed = typed,
	};
	int verdict;

	eth_copy(&o.eth, eth);
	/* A probe under the relay's VNI asks just whether that way is open. Other
	 * frames there are for the zone too, and agents tell each other directly. */
	if (group_is_probe(eth) && !skb->vlan_present) {
		parse_pull(skb, GROUP_LINEAR);
		verdict = snoop_frame(skb, id, 0, remote);
		return verdict == VERDICT_PASS ? DROP_PROBE_UNHEARD : verdict;
	}
	if (group_is_snooped(skb, segment, eth)) {
		parse_pull(skb, GROUP_LINEAR);
		verdict = relay ? VERDICT_PASS : snoop_frame(skb, id, 0, remote);
		if (verdict != VERDICT_PASS)
			return verdict;
		if (mdb_find(skb, id, &o.to) && !o.to.ports && !(relay && o.to.zone))
			return DROP_GROUP_UNWANTED;
	}
	if (!relay)
		o.to.zone = 0;
	return flood_frame(skb, segment, &o);
}
