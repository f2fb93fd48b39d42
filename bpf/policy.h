/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a port may send. */
#pragma once

#include "fdb.h"

/* Agents know each other by such MACs (policy/mac.go). */
static __always_inline bool mac_is_agents(const __u8 *mac)
{
	return mac[0] == 0x0a && mac[1] == 0x6f && mac[2] == 0x63;
}

/* Judges the source MAC of a frame from a port, and learns it where that is asked for. */
static __always_inline enum oc_drop policy_source(const struct __sk_buff *skb, const struct oc_port *port,
						  const struct oc_segment *segment, const struct ethhdr *eth)
{
	const __u8 *mac = eth->h_source;
	struct oc_fdb_entry owner;

	if (port->flags & OC_PORT_MAC && mac_equal(mac, port->mac))
		return DROP_NONE;
	if (mac_is_group(mac) || mac_is_zero(mac))
		return DROP_FRAME_SOURCE;
	if (mac_is_agents(mac))
		return DROP_PORT_SPOOF;
	if (fdb_find_configured(port->segment, mac, &owner))
		return owner.kind == OC_KIND_PORT && owner.id == skb->ifindex ? DROP_NONE : DROP_PORT_SPOOF;
	if (port->flags & OC_PORT_MAC && !(port->flags & OC_PORT_ANY))
		return DROP_PORT_SPOOF;
	if (segment->flags & OC_SEGMENT_LEARNING)
		fdb_learn(port->segment, eth, OC_KIND_PORT, skb->ifindex);
	return DROP_NONE;
}
