/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sending a frame to a guest. */
#pragma once

#include <linux/if_packet.h>
#include "segment.h"
#include "verdict.h"

/* The port, if it is in this segment at this moment: a list or an FDB entry
 * may name a device that has just left it, and frames never cross segments. */
static __always_inline struct oc_port *port_in_segment(__u32 ifindex, __u32 segment)
{
	struct oc_port *port = bpf_map_lookup_elem(&oc_ports, &ifindex);

	return port && port->segment == segment ? port : NULL;
}

static __always_inline void port_count_out(const struct __sk_buff *skb, const struct oc_port *port)
{
	stats_out(port->id, skb_packets(skb), skb->len);
	stats_out(OC_STATS_SEGMENTS + port->segment, skb_packets(skb), skb->len);
}

/*
 * Sends a unicast frame to a port. typed: skb->protocol is the frame's own, so
 * that the guest's stack may take it from redirect_peer, which does not look at
 * the EtherType again as a plain redirect to a veth does.
 */
static __always_inline int port_send(struct __sk_buff *skb, __u32 ifindex, __u32 segment, bool typed)
{
	struct oc_port *port = port_in_segment(ifindex, segment);

	if (!port)
		return DROP_PORT_GONE;
	port_count_out(skb, port);
	if (typed && port->flags & OC_PORT_PEER) {
		/* Typed by the uplink's or the port's own MAC it is for somebody
		 * else; only kernels from 6.16 on correct that by themselves. */
		if (skb->pkt_type != PACKET_HOST)
			bpf_skb_change_type(skb, PACKET_HOST);
		return verdict_redirect(bpf_redirect_peer(ifindex, 0));
	}
	return verdict_redirect(bpf_redirect(ifindex, 0));
}
