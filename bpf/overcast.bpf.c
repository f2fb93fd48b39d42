//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The four programs. Each takes a frame from one place, asks the helpers what
 * becomes of it, and is the one place where that turns into a verdict of its
 * hook. docs/architecture.md tells the way of a frame through them.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "config.h"
#include "maps.h"
#include "deliver.h"
#include "neigh.h"
#include "policy.h"
#include "strip_tc.h"
#include "strip_xdp.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* What a guest sent. Every frame is forwarded, answered or dropped: nothing
 * from a guest reaches the host's own stack. */
static __always_inline int port_receive(struct __sk_buff *skb, __u32 *segment_id)
{
	__u32 ifindex = skb->ifindex;
	struct oc_port *port = bpf_map_lookup_elem(&oc_ports, &ifindex);
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	struct oc_segment *segment;
	struct oc_fdb_entry where;
	struct ethhdr eth __attribute__((aligned(8))), *at;
	const struct oc_remote *remote;
	enum oc_drop drop;
	__u32 mtu;
	int verdict;

	if (!port)
		return DROP_PORT_UNKNOWN;
	*segment_id = port->segment;
	at = parse_eth(&c);
	if (at) {
		eth_copy(&eth, at);
		fdb_prefetch(port->segment, eth.h_dest);
	}
	stats_in(port->id, skb_packets(skb), skb->len);
	segment = segment_get(port->segment);
	if (!segment)
		return DROP_SEGMENT_UNKNOWN;
	if (!at)
		return DROP_FRAME_RUNT;
	if (parse_is_cut(c, eth.h_proto, skb->len - sizeof(eth)))
		return DROP_FRAME_CUT;
	drop = policy_source(skb, port, segment, &eth);
	if (drop)
		return drop;
	stats_in(OC_STATS_SEGMENTS + port->segment, skb_packets(skb), skb->len);

	verdict = neigh_from_port(skb, &eth, port->segment);
	if (verdict != VERDICT_PASS)
		return verdict;
	mtu = segment->mtu;
	if (mac_is_group(eth.h_dest) || !fdb_find(segment, port->segment, eth.h_dest, &where)) {
		if (!mac_is_group(eth.h_dest) && !(segment->flags & OC_SEGMENT_FLOOD_UNKNOWN))
			return DROP_FDB_UNKNOWN;
		verdict = group_from_port(skb, &eth, segment, port);
	} else if (where.kind == OC_KIND_REMOTE) {
		verdict = remote_send(skb, &eth, port->segment, where.id);
		if (verdict == DROP_MTU_UNANSWERABLE && (remote = remote_get(where.id)))
			mtu = remote_mtu(segment, remote);
	} else {
		return where.id == ifindex ? DROP_PORT_HAIRPIN : port_send(skb, where.id, port->segment, true);
	}
	if (verdict == DROP_MTU_UNANSWERABLE)
		return pmtu_refuse(skb, &eth, mtu, port->id, port->segment);
	return verdict;
}

SEC("tc")
int oc_port_in(struct __sk_buff *skb)
{
	__u32 segment = 0;
	int verdict = port_receive(skb, &segment);

	return verdict_tc(skb, verdict, segment);
}

SEC("xdp.frags")
int oc_uplink_xdp(struct xdp_md *ctx)
{
	return verdict_xdp(ctx, strip_xdp(ctx), 0);
}

/* Reads a frame that is bare already, and decides where it goes. */
static __always_inline int deliver_bare(struct __sk_buff *skb, struct ethhdr *eth, struct delivery *d)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	struct ethhdr *at = parse_eth(&c);
	enum oc_drop drop;

	if (!at)
		return DROP_FRAME_RUNT;
	eth_copy(eth, at);
	drop = deliver_resolve(eth, d);
	return drop ? (int)drop : VERDICT_DELIVER;
}

/* What came over the underlay; all that is not ours passes untouched. */
SEC("tc")
int oc_uplink_in(struct __sk_buff *skb)
{
	struct ethhdr eth __attribute__((aligned(8)));
	struct delivery d = {};
	bool typed = true;
	int verdict = strip_is_done(skb, &d) ? deliver_bare(skb, &eth, &d) : strip_tc(skb, &eth, &d, &typed);

	if (verdict == VERDICT_DELIVER)
		verdict = deliver_send(skb, &eth, &d, typed);
	return verdict_tc(skb, verdict, d.segment);
}

static __always_inline int tunnel_receive(struct __sk_buff *skb, struct ethhdr *eth, struct delivery *d)
{
	struct oc_vtep_key from = {};
	struct oc_vtep found;
	enum oc_drop drop;
	__u8 class;

	drop = tunnel_source(skb, &from, &class);
	if (drop)
		return drop;
	drop = segment_of(&from, &found);
	if (drop)
		return drop;
	deliver_from(d, found.segment, found.remote);
	if (strip_take_dscp(skb, class))
		return DROP_STRIP_FAILED;
	return deliver_bare(skb, eth, d);
}

/* What the kernel's tunnel device stripped. Nothing from it reaches the host's own stack. */
SEC("tc")
int oc_tunnel_in(struct __sk_buff *skb)
{
	struct ethhdr eth __attribute__((aligned(8)));
	struct delivery d = {};
	int verdict = tunnel_receive(skb, &eth, &d);

	if (verdict == VERDICT_DELIVER)
		verdict = deliver_send(skb, &eth, &d, true);
	return verdict_tc(skb, verdict, d.segment);
}
