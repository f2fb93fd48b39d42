/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Recognises who asks for groups: MLD (RFC 2710, 3810), IGMP (RFC 1112, 2236,
 * 3376), and what tells of multicast routers: PIM hellos (RFC 7761) and
 * Multicast Router Discovery (RFC 4286). The agent parses them; frames that it
 * takes go no further here.
 */
#pragma once

#include "pace.h"
#include "maps.h"
#include "mdb.h"
#include "parse.h"
#include "verdict.h"

enum snoop {
	SNOOP_NONE,
	SNOOP_TAKE, /* a membership message: the agent's */
	SNOOP_COPY, /* for the agent to see, and forwarded */
};

#define IGMP_QUERY 0x11
#define IGMP_V1_REPORT 0x12
#define IGMP_V2_REPORT 0x16
#define IGMP_LEAVE 0x17
#define IGMP_V3_REPORT 0x22
#define IGMP_ADVERTISEMENT 0x30 /* MRD */

#define MLD_QUERY 130
#define MLD_REPORT 131
#define MLD_DONE 132
#define MLD_V2_REPORT 143
#define MLD_ADVERTISEMENT 151 /* MRD */

#define PIM_HELLO 0x20 /* version 2, type 0 */

/* Frames by which agents see whether another host lives (loader/liveness.go):
 * the experimental EtherType, to a group MAC of our own. */
#define PROBE_ETHERTYPE 0x88b5
#define PROBE_MAC {0x0b, 0x6f, 0x63, 0, 0, 1}

/* One message in a millisecond and a burst of 2,000 from a port or a remote: a
 * guest that is in a thousand groups answers a query of IGMPv2 with as many. A
 * large one counts for as many as its room holds small ones. */
#define SNOOP_INTERVAL_NS 1000000ULL
#define SNOOP_BURST_NS (2000 * SNOOP_INTERVAL_NS)

/* An agent that has not said so for so long may not be reading: what is handed
 * over then is also forwarded, and counts as missed. */
#define SNOOP_LATE_NS (3ULL * 1000000000)

static __always_inline enum snoop snoop_igmp(__u8 type)
{
	switch (type) {
	case IGMP_QUERY:
	case IGMP_V1_REPORT:
	case IGMP_V2_REPORT:
	case IGMP_LEAVE:
	case IGMP_V3_REPORT:
		return SNOOP_TAKE;
	case IGMP_ADVERTISEMENT:
		return SNOOP_COPY;
	}
	return SNOOP_NONE;
}

static __always_inline enum snoop snoop_mld(__u8 type)
{
	switch (type) {
	case MLD_QUERY:
	case MLD_REPORT:
	case MLD_DONE:
	case MLD_V2_REPORT:
		return SNOOP_TAKE;
	case MLD_ADVERTISEMENT:
		return SNOOP_COPY;
	}
	return SNOOP_NONE;
}

/* What is a frame to the agent? A fragment of a message is none: no stack sends one. */
static __always_inline enum snoop snoop_read(struct cursor c, bool from_remote)
{
	const __u8 probe[] = PROBE_MAC;
	struct ethhdr *eth = parse_eth(&c);
	int proto;
	__u8 *type;

	if (!eth)
		return SNOOP_NONE;
	if (eth->h_proto == bpf_htons(PROBE_ETHERTYPE))
		return from_remote && mac_equal(eth->h_dest, probe) ? SNOOP_TAKE : SNOOP_NONE;
	/* Reports have a router alert in front (RFC 3810 5). */
	proto = parse_upper(&c, eth->h_proto);
	type = c.pos;
	if ((void *)(type + 1) > c.end)
		return SNOOP_NONE;
	if (proto == IPPROTO_IGMP)
		return eth->h_proto == bpf_htons(ETH_P_IP) ? snoop_igmp(*type) : SNOOP_NONE;
	if (proto == IPPROTO_ICMPV6)
		return eth->h_proto == bpf_htons(ETH_P_IPV6) ? snoop_mld(*type) : SNOOP_NONE;
	if (proto == IPPROTO_PIM)
		return *type == PIM_HELLO ? SNOOP_COPY : SNOOP_NONE;
	return SNOOP_NONE;
}

/* The room that messages are given. Most are small, few larger than a packet of
 * Ethernet; the largest fits an underlay of 9,001 bytes. */
#define SNOOP_SMALL 512
#define SNOOP_PACKET 1600
#define SNOOP_LARGE 9216

static __always_inline bool snoop_fill(struct __sk_buff *skb, struct oc_event *event, __u32 room,
				       const struct oc_event *head)
{
	__u64 length = head->length;
	bool fits = length >= sizeof(struct ethhdr);

	/* The compiler would make one comparison of two, of which kernels before
	 * 6.4 do not see the lower bound. */
	if (fits) {
		asm volatile("" : "+r"(length));
		fits = length <= room && !bpf_skb_load_bytes(skb, 0, event + 1, length);
	}
	if (!fits) {
		bpf_ringbuf_discard(event, 0);
		return false;
	}
	*event = *head;
	bpf_ringbuf_submit(event, 0);
	return true;
}

/* Hands a frame to the agent; returns 0 if it could not. */
__attribute__((noinline)) int snoop_hand_over(struct __sk_buff *skb, const struct oc_event *head)
{
	struct oc_event *event;

	if (!head)
		return 0;
	if (head->length <= SNOOP_SMALL) {
		event = bpf_ringbuf_reserve(&oc_events, sizeof(*event) + SNOOP_SMALL, 0);
		return event && snoop_fill(skb, event, SNOOP_SMALL, head);
	}
	if (head->length <= SNOOP_PACKET) {
		event = bpf_ringbuf_reserve(&oc_events, sizeof(*event) + SNOOP_PACKET, 0);
		return event && snoop_fill(skb, event, SNOOP_PACKET, head);
	}
	event = bpf_ringbuf_reserve(&oc_events, sizeof(*event) + SNOOP_LARGE, 0);
	return event && snoop_fill(skb, event, SNOOP_LARGE, head);
}

/* May a port or remote send another message? */
static __always_inline bool snoop_pace(__u32 slot, __u32 length)
{
	__u64 interval = SNOOP_INTERVAL_NS;

	if (length > SNOOP_PACKET)
		interval *= SNOOP_LARGE / SNOOP_SMALL;
	else if (length > SNOOP_SMALL)
		interval *= SNOOP_PACKET / SNOOP_SMALL;
	return pace(&oc_snoop_pacers, slot, interval, SNOOP_BURST_NS);
}

/*
 * Looks whether a frame to a group is the agent's. port: the slot of the port
 * that it came from; remote: the remote, where it came from one. Returns
 * VERDICT_PASS if it is to be forwarded, VERDICT_SPENT if the agent has it, or
 * a drop reason. A function of its own to the verifier.
 */
__attribute__((noinline)) int snoop_frame(struct __sk_buff *skb, __u32 segment, __u32 port, __u32 remote)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	struct oc_event head = {.segment = segment, .ifindex = remote ? 0 : skb->ifindex, .remote = remote, .length = skb->len};
	enum snoop what = snoop_read(c, remote);
	struct oc_snoop *snoop;

	if (what == SNOOP_NONE)
		return VERDICT_PASS;
	snoop = bpf_map_lookup_elem(&oc_snoops, &segment);
	if (!snoop)
		return VERDICT_PASS;
	/* What tells of routers is never so large: nothing is missed of it. */
	if (head.length > SNOOP_LARGE)
		return what == SNOOP_TAKE ? DROP_SNOOP_OVERSIZED : VERDICT_PASS;
	if (!snoop_pace(remote ? OC_MAX_PORTS + remote : port, head.length))
		return what == SNOOP_TAKE ? DROP_SNOOP_LIMITED : VERDICT_PASS;
	/* The next agent reads what this one does not. */
	if (snoop_hand_over(skb, &head) && mdb_is_kept(snoop, SNOOP_LATE_NS))
		return what == SNOOP_TAKE ? VERDICT_SPENT : VERDICT_PASS;
	/* It may have asked for what nobody knows of now. */
	snoop->missed = bpf_ktime_get_coarse_ns();
	return VERDICT_PASS;
}
