/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Outer Ethernet, IP, UDP and tunnel header: built and read, never moved here. */
#pragma once

#include "config.h"
#include "parse.h"
#include "wire_geneve.h"
#include "wire_vxlan.h"

/* Both are as long; Geneve's is sent without options. */
union tunnel_header {
	struct vxlanhdr vxlan;
	struct genevehdr geneve;
};

_Static_assert(sizeof(struct vxlanhdr) == sizeof(struct genevehdr), "one room for both");

static __always_inline void tunnel_build(union tunnel_header *h, __u32 vni)
{
	if (oc_config.geneve)
		geneve_build(&h->geneve, vni);
	else
		vxlan_build(&h->vxlan, vni);
}

/* What goes in front of a frame, from .eth to .inner. The frame's own Ethernet
 * header is written again, since bpf_skb_adjust_room makes room behind it. The
 * pad puts the IP header on a word boundary, so that nothing need be packed. */
struct outer_v4 {
	__u16 pad;
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	union tunnel_header tunnel;
	struct ethhdr inner;
};

struct outer_v6 {
	__u16 pad;
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct udphdr udp;
	union tunnel_header tunnel;
	struct ethhdr inner;
};

#define OUTER_V4_ROOM (sizeof(struct iphdr) + sizeof(struct udphdr) + sizeof(union tunnel_header) + sizeof(struct ethhdr))
#define OUTER_V6_ROOM (sizeof(struct ipv6hdr) + sizeof(struct udphdr) + sizeof(union tunnel_header) + sizeof(struct ethhdr))

/* Bytes that encapsulation adds to a frame. */
static __always_inline __u32 outer_room(void)
{
	return oc_config.ipv6 ? OUTER_V6_ROOM : OUTER_V4_ROOM;
}

static __always_inline bool addr_is_v4(const struct oc_addr *a)
{
	const __u32 *w = (const __u32 *)a->b;

	return !w[0] && !w[1] && w[2] == bpf_htonl(0xffff);
}

static __always_inline __be32 addr_v4(const struct oc_addr *a)
{
	return ((const __u32 *)a->b)[3];
}

static __always_inline void outer_build_eth(struct ethhdr *eth, const struct oc_path *path, __u16 proto)
{
	__builtin_memcpy(eth->h_dest, path->dst, ETH_ALEN);
	__builtin_memcpy(eth->h_source, path->src, ETH_ALEN);
	eth->h_proto = bpf_htons(proto);
}

static __always_inline void outer_build_udp(struct udphdr *udp, __u32 len, __u32 hash)
{
	udp->source = bpf_htons(oc_config.source_port_min + (((__u64)hash * oc_config.source_ports) >> 32));
	udp->dest = oc_config.tunnel_port_be;
	udp->len = bpf_htons(len);
	/* Zero over both families: RFC 7348 wants it so over IPv4, and RFC 6935
	 * allows it over IPv6 for tunnels. A super-frame could have no other. */
	udp->check = 0;
}

static __always_inline __u16 ipv4_checksum(const struct iphdr *ip)
{
	const __u16 *w = (const __u16 *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < (int)sizeof(*ip) / 2; i++)
		sum += w[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Names the destination: all that differs from remote to remote. */
static __always_inline void outer_address_v4(struct outer_v4 *h, const struct oc_path *path, const struct oc_addr *vtep)
{
	outer_build_eth(&h->eth, path, ETH_P_IP);
	h->ip.daddr = addr_v4(vtep);
	h->ip.check = 0;
	h->ip.check = ipv4_checksum(&h->ip);
}

/* What an outer header says of the frame that goes inside. */
struct outer_frame {
	__u32 length; /* bytes, with its Ethernet header */
	__u32 hash;   /* the flow's */
	__u8 class;   /* traffic class of the packet */
};

static __always_inline void outer_build_v4(struct outer_v4 *h, const struct ethhdr *inner, const struct outer_frame *f, __u32 vni)
{
	__u32 udp_len = f->length + sizeof(h->udp) + sizeof(h->tunnel);

	h->ip.version = 4;
	h->ip.ihl = 5;
	h->ip.tos = f->class;
	h->ip.tot_len = bpf_htons(udp_len + sizeof(h->ip));
	h->ip.id = 0; /* atomic datagram: DF is set (RFC 6864) */
	h->ip.frag_off = bpf_htons(IP_DF);
	h->ip.ttl = oc_config.hop_limit;
	h->ip.protocol = IPPROTO_UDP;
	h->ip.saddr = config_local_v4();
	outer_build_udp(&h->udp, udp_len, f->hash);
	tunnel_build(&h->tunnel, vni);
	h->inner = *inner;
}

static __always_inline void outer_address_v6(struct outer_v6 *h, const struct oc_path *path, const struct oc_addr *vtep)
{
	outer_build_eth(&h->eth, path, ETH_P_IPV6);
	__builtin_memcpy(&h->ip.daddr, vtep->b, 16);
}

static __always_inline void outer_build_v6(struct outer_v6 *h, const struct ethhdr *inner, const struct outer_frame *f, __u32 vni)
{
	__u32 udp_len = f->length + sizeof(h->udp) + sizeof(h->tunnel);

	*(__be32 *)&h->ip = bpf_htonl(6 << 28 | (__u32)f->class << 20);
	h->ip.payload_len = bpf_htons(udp_len);
	h->ip.nexthdr = IPPROTO_UDP;
	h->ip.hop_limit = oc_config.hop_limit;
	config_local_v6(&h->ip.saddr);
	outer_build_udp(&h->udp, udp_len, f->hash);
	tunnel_build(&h->tunnel, vni);
	h->inner = *inner;
}

/* An outer packet that was read. */
struct outer {
	struct oc_vtep_key from;
	__u32 room;     /* bytes in front of the inner frame */
	__u8 class;     /* traffic class */
	bool ours;      /* to our VTEP and tunnel port */
	bool irregular; /* options, or bytes behind the datagram: the kernel's own device takes it */
};

/* Reads the UDP and tunnel headers; payload is what IP says that follows it. */
static __always_inline enum oc_drop outer_read_udp(struct cursor *c, void *start, __u32 payload, struct outer *o)
{
	struct udphdr *udp = c->pos;
	enum oc_drop drop;
	__u32 len;

	/* The ports are enough to know a datagram of ours that is cut short. */
	if ((void *)&udp->len > c->end || udp->dest != oc_config.tunnel_port_be)
		return DROP_NONE;
	o->ours = true;
	if (!parse_bytes(c, sizeof(*udp)))
		return DROP_TUNNEL_TRUNCATED;
	len = bpf_ntohs(udp->len);
	if (len < sizeof(*udp) + sizeof(union tunnel_header) + sizeof(struct ethhdr) || len > payload)
		return DROP_TUNNEL_TRUNCATED;
	if (len != payload)
		o->irregular = true;
	drop = oc_config.geneve ? geneve_read(c, len - sizeof(*udp), &o->from.vni) : vxlan_read(c, &o->from.vni);
	o->room = c->pos - start;
	return drop;
}

/*
 * Reads an outer packet from its Ethernet header on. frame is its length,
 * which may be more than lies between the cursor's ends. Where !o->ours the
 * packet is somebody else's and the return value is DROP_NONE; every outer
 * fragment counts as such, since a first fragment looks like a whole packet.
 */
static __always_inline enum oc_drop outer_read(struct cursor *c, __u32 frame, struct outer *o)
{
	struct ethhdr *eth;
	void *start = c->pos;
	__u32 payload, have = frame - sizeof(*eth);

	o->ours = false;
	o->irregular = false;
	eth = parse_eth(c);
	if (!eth)
		return DROP_NONE;

	if (oc_config.ipv6) {
		struct ipv6hdr *ip;
		__u32 behind;

		if (eth->h_proto != bpf_htons(ETH_P_IPV6) || !(ip = parse_ipv6(c)))
			return DROP_NONE;
		if (!config_is_local_v6(&ip->daddr))
			return DROP_NONE;
		__builtin_memcpy(o->from.addr.b, &ip->saddr, 16);
		o->class = bpf_ntohs(*(__be16 *)ip) >> 4;
		payload = bpf_ntohs(ip->payload_len);
		behind = have - sizeof(*ip);
		if (parse_ipv6_extensions(c, ip->nexthdr) != IPPROTO_UDP)
			return DROP_NONE;
		__u32 extensions = c->pos - (void *)(ip + 1);
		if (extensions)
			o->irregular = true;
		if (payload != behind)
			o->irregular = true;
		enum oc_drop drop = outer_read_udp(c, start, payload - extensions, o);
		if (o->ours && (payload > behind || extensions > payload))
			return DROP_TUNNEL_TRUNCATED;
		return drop;
	}

	struct iphdr *ip;
	__u32 head, total;

	if (eth->h_proto != bpf_htons(ETH_P_IP) || !(ip = parse_ipv4(c)))
		return DROP_NONE;
	if (ip->daddr != config_local_v4() ||
	    ip->protocol != IPPROTO_UDP || ipv4_is_fragment(ip))
		return DROP_NONE;
	addr_from_v4(&o->from.addr, ip->saddr);
	o->class = ip->tos;
	head = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (head != sizeof(*ip) || total != have)
		o->irregular = true;
	enum oc_drop drop = outer_read_udp(c, start, total - head, o);
	if (o->ours && (total > have || head > total))
		return DROP_TUNNEL_TRUNCATED;
	return drop;
}
