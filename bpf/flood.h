/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Head-end replication: a copy for each destination of a list. A copy that
 * cannot be sent is counted and the next one is made. The last copy is not a
 * copy: the frame itself goes, so each step sends for the step before it.
 */
#pragma once

#include "governor.h"
#include "mdb.h"
#include "port.h"
#include "remote.h"

#define FLOOD_MAX_CHUNKS 1024

struct flood {
	struct __sk_buff *skb;
	const struct ethhdr *eth;
	struct oc_flood *chunk;
	union encap_header *header;
	__u32 list;
	__u32 segment;
	__u32 vni;
	__u32 relay_vni;
	__u32 written; /* the VNI that stands in the header now */
	__u32 skip;    /* the port that the frame came from */
	/*
	 * The destination whose copy is not made yet. Kernels before 6.7 verify a
	 * callback of bpf_loop as if it ran once, from the state that it is first
	 * called with, and take away the branches which that run does not enter
	 * (mended by Linux commit ab5cfac139ab). So what one run leaves for the next
	 * must begin as a value that the verifier does not know: .nothing, a zero
	 * that comes out of a map.
	 */
	__u32 pending;
	__u32 nothing;
	__u32 copies; /* made so far, with that for .pending */
	__u32 self;   /* the sender, if it is in the list that was searched for it */
	__u32 packets;
	__u32 bytes;
	enum oc_class class;
	bool by_device; /* every copy takes the tunnel device */
	bool rest;      /* of those, only to remotes that BPF could have addressed itself */
	bool resolved;  /* there is a remote that BPF can address itself */
	bool typed;     /* skb->protocol is the frame's own */
};

/* A list's entry, as the remote's slot and the VNI that its copy goes under. */
static __always_inline __u32 flood_vni(const struct flood *f, __u32 entry)
{
	return entry & OC_RELAY ? f->relay_vni : f->vni;
}

static __always_inline void flood_copy(struct flood *f, __u32 ifindex)
{
	/* Positive results are the qdisc's or the device's: lost all the same. */
	if (bpf_clone_redirect(f->skb, ifindex, 0))
		drop_count(DROP_COPY_FAILED, f->skb->ifindex, f->segment, f->bytes);
}

static long flood_port(__u32 i, struct flood *f)
{
	struct oc_port *port;
	__u32 ifindex;

	if (i >= OC_CHUNK)
		return 1;
	ifindex = f->chunk->id[i];
	if (ifindex == f->skip)
		return 0;
	port = port_in_segment(ifindex, f->segment);
	if (!port)
		return 0;
	stats_out(port->id, f->packets, f->bytes);
	stats_out(OC_STATS_SEGMENTS + f->segment, f->packets, f->bytes);
	f->copies++;
	if (f->pending)
		flood_copy(f, f->pending);
	f->pending = ifindex;
	return 0;
}

/* Copies for the remotes that need the tunnel device: it wants the bare frame,
 * so they go before anything is put in front of it. */
static long flood_remote_by_device(__u32 i, struct flood *f)
{
	const struct oc_path *path;
	struct oc_remote *remote;
	enum oc_drop drop;
	__u32 id;

	if (i >= OC_CHUNK)
		return 1;
	id = f->chunk->id[i];
	remote = remote_get(id & ~OC_RELAY);
	if (!remote)
		return 0;
	path = remote_path(remote);
	if (f->rest && !remote_is_resolved(path))
		return 0;
	if (!f->by_device && remote_is_resolved(path)) {
		f->resolved = true;
		return 0;
	}
	if (!path->ifindex) {
		drop_count(DROP_REMOTE_UNREACHABLE, f->skb->ifindex, f->segment, f->bytes);
		return 0;
	}
	drop = tunnel_address(f->skb, flood_vni(f, id), &remote->vtep);
	if (drop) {
		drop_count(drop, f->skb->ifindex, f->segment, f->bytes);
		return 0;
	}
	remote_count_out(f->skb, id & ~OC_RELAY, f->packets, f->bytes);
	f->copies++;
	flood_copy(f, oc_config.tunnel_ifindex);
	return 0;
}

/* Addresses the encapsulated frame to a remote. Returns the uplink, or 0. */
static __always_inline __u32 flood_address(struct flood *f, __u32 id)
{
	struct oc_remote *remote = remote_get(id & ~OC_RELAY);
	__u32 vni = flood_vni(f, id);
	const struct oc_path *path;
	long failed;

	if (!remote)
		return 0;
	path = remote_path(remote);
	/* Resolved a moment ago; if it is not now, the device is next frame's way. */
	encap_address(f->header, path, &remote->vtep);
	if (vni == f->written) {
		failed = encap_rewrite(f->skb, f->header);
	} else {
		/* Entries for relays stand together in a list. */
		f->written = vni;
		encap_name(f->header, vni);
		failed = encap_write(f->skb, f->header);
	}
	if (failed || !remote_is_resolved(path)) {
		drop_count(DROP_COPY_FAILED, f->skb->ifindex, f->segment, f->bytes);
		return 0;
	}
	remote_count_out(f->skb, id & ~OC_RELAY, f->packets, f->bytes);
	f->copies++;
	return path->ifindex;
}

static long flood_remote(__u32 i, struct flood *f)
{
	struct oc_remote *remote;
	__u32 id, uplink;

	if (i >= OC_CHUNK)
		return 1;
	id = f->chunk->id[i];
	remote = remote_get(id & ~OC_RELAY);
	if (!remote || !remote_is_resolved(remote_path(remote)))
		return 0;
	if (f->pending) {
		uplink = flood_address(f, f->pending);
		if (uplink)
			flood_copy(f, uplink);
	}
	f->pending = id;
	return 0;
}

static __always_inline struct oc_flood *flood_get(const struct oc_flood_key *key)
{
	if (key->list >= OC_LISTS_GROUPS)
		return bpf_map_lookup_elem(&oc_mdb_floods, key);
	return bpf_map_lookup_elem(&oc_floods, key);
}

static __always_inline long flood_chunk(__u32 i, struct flood *f, long (*step)(__u32, struct flood *))
{
	struct oc_flood_key key = {.list = f->list, .chunk = i};

	f->chunk = flood_get(&key);
	if (!f->chunk)
		return 1;
	bpf_loop(f->chunk->count, step, f, 0);
	return f->chunk->count < OC_CHUNK;
}

static long flood_self(__u32 i, struct flood *f)
{
	if (i >= OC_CHUNK)
		return 1;
	if (f->chunk->id[i] == f->skip)
		f->self = f->skip;
	return 0;
}

static long flood_chunk_self(__u32 i, struct flood *f)
{
	return flood_chunk(i, f, flood_self);
}

static long flood_chunk_ports(__u32 i, struct flood *f)
{
	return flood_chunk(i, f, flood_port);
}

static long flood_chunk_by_device(__u32 i, struct flood *f)
{
	return flood_chunk(i, f, flood_remote_by_device);
}

static long flood_chunk_remotes(__u32 i, struct flood *f)
{
	return flood_chunk(i, f, flood_remote);
}

/* Copies to the local ports of the segment. Returns the port that still waits
 * for the frame itself, or 0. */
static __always_inline __u32 flood_ports(struct flood *f, __u32 list)
{
	f->pending = f->nothing;
	f->list = list;
	if (list)
		bpf_loop(FLOOD_MAX_CHUNKS, flood_chunk_ports, f, 0);
	return f->pending;
}

/* Sends to the remotes of f->list; the frame is spent afterwards. */
static __always_inline int flood_remotes(struct flood *f)
{
	struct __sk_buff *skb = f->skb;
	union encap_header h = {};
	enum encap_room room;
	__u32 hash, uplink;

	/* What cannot be lengthened goes by the device, to all. Whether the frame
	 * is one of those shows only when it is tried, so the remotes that need
	 * the device anyhow come first. */
	f->by_device = skb->vlan_present || encap_is_too_long(skb) ||
		       (skb->gso_size && skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6));
	bpf_loop(FLOOD_MAX_CHUNKS, flood_chunk_by_device, f, 0);
	if (!f->resolved)
		return VERDICT_SPENT;

	hash = encap_hash(skb);
	room = encap_make_room(skb, f->typed, true);
	if (room == ENCAP_REFUSED) {
		/* A guest's own tunnel in a super-frame: the frame is as it was. */
		f->by_device = true;
		f->rest = true;
		bpf_loop(FLOOD_MAX_CHUNKS, flood_chunk_by_device, f, 0);
		return VERDICT_SPENT;
	}
	encap_build(&h, f->eth, f->bytes, f->vni, hash);
	f->written = f->vni;
	f->header = &h;
	f->pending = f->nothing;
	if (encap_write(skb, &h))
		return DROP_ENCAP_FAILED;
	bpf_loop(FLOOD_MAX_CHUNKS, flood_chunk_remotes, f, 0);
	uplink = f->pending ? flood_address(f, f->pending) : 0;
	return uplink ? verdict_redirect(bpf_redirect(uplink, 0)) : VERDICT_SPENT;
}

/* How many destinations a list has. */
static __always_inline __u32 flood_total(__u32 list)
{
	struct oc_flood_key key = {.list = list};
	const struct oc_flood *first = list ? flood_get(&key) : NULL;

	return first ? first->total : 0;
}

/* How many ports a list has beside the sender, which is in the list of its
 * segment, and may be in that of a group. */
static __always_inline __u32 flood_others(struct flood *f, const struct oc_segment *segment, __u32 list)
{
	__u32 total = flood_total(list);

	f->self = f->nothing;
	if (!total)
		return 0;
	if (list == segment->ports)
		return total - 1;
	f->list = list;
	bpf_loop(FLOOD_MAX_CHUNKS, flood_chunk_self, f, 0);
	return f->self ? total - 1 : total;
}

/* May the copies be made? port: slot of the port that the frame came from, or 0. */
static __always_inline int flood_judge(const struct flood *f, const struct oc_segment *segment, __u32 port, __u32 copies)
{
	struct replication r = {
		.port = port,
		.environment = segment->environment,
		.class = f->class,
		.copies = (__u64)copies * f->packets,
		.bytes = (__u64)copies * f->bytes,
	};

	return governor_judge(&r);
}

static __always_inline int flood_to_zone(struct flood *f, const struct oc_segment *segment,
					 const struct receivers *to, bool relay)
{
	__u32 last = flood_ports(f, to->ports);

	if (!relay || !to->zone)
		return last ? verdict_redirect(bpf_redirect(last, 0)) : VERDICT_SPENT;
	if (last)
		flood_copy(f, last);
	if (!pmtu_fits(f->skb, segment->mtu))
		return DROP_MTU_UNANSWERABLE;
	f->list = to->zone;
	return flood_remotes(f);
}

/*
 * A frame of a remote, to local ports only: never tunnel to tunnel. But one that
 * came under the relay's VNI goes on under the segment's own, to the remotes of
 * this host's zone, which send it nowhere. typed: see struct flood.
 */
static __always_inline int flood_from_remote(struct __sk_buff *skb, const struct ethhdr *eth,
					     const struct oc_segment *segment, __u32 id,
					     const struct receivers *to, bool relay, bool typed)
{
	struct flood f = {
		.skb = skb,
		.eth = eth,
		.segment = id,
		.vni = segment->vni,
		.nothing = segment->zero,
		.copies = segment->zero,
		.packets = skb_packets(skb),
		.bytes = skb->len,
		.class = governor_class(eth->h_dest),
		.typed = typed,
	};
	int verdict;

	if (segment->flags & OC_SEGMENT_GOVERNED) {
		__u32 copies = flood_total(to->ports);

		if (relay && pmtu_fits(skb, segment->mtu))
			copies += flood_total(to->zone);
		verdict = flood_judge(&f, segment, 0, copies);
		if (verdict)
			return verdict;
	}
	verdict = flood_to_zone(&f, segment, to, relay);
	governor_count(id, f.class, f.packets, f.copies);
	return verdict;
}

static __always_inline int flood_to_all(struct flood *f, const struct oc_segment *segment, const struct oc_port *port,
					const struct receivers *to)
{
	__u32 last = flood_ports(f, to->ports);

	if (!to->remotes)
		return last ? verdict_redirect(bpf_redirect(last, 0)) : VERDICT_SPENT;
	if (last)
		flood_copy(f, last);
	if (!pmtu_fits(f->skb, segment->mtu))
		return pmtu_refuse(f->skb, f->eth, segment->mtu, port->id, port->segment);
	f->list = to->remotes;
	return flood_remotes(f);
}

/* A frame of a port, to other ports and to remotes. */
static __always_inline int flood_from_port(struct __sk_buff *skb, const struct ethhdr *eth,
					   const struct oc_segment *segment, const struct oc_port *port,
					   const struct receivers *to)
{
	struct flood f = {
		.skb = skb,
		.eth = eth,
		.segment = port->segment,
		.vni = segment->vni,
		.relay_vni = segment->relay_vni,
		.skip = skb->ifindex,
		.nothing = segment->zero,
		.copies = segment->zero,
		.packets = skb_packets(skb),
		.bytes = skb->len,
		.class = governor_class(eth->h_dest),
		.typed = true,
	};
	int verdict;

	if (segment->flags & OC_SEGMENT_GOVERNED) {
		__u32 copies = flood_others(&f, segment, to->ports);

		if (to->remotes && pmtu_fits(skb, segment->mtu))
			copies += flood_total(to->remotes);
		verdict = flood_judge(&f, segment, port->id, copies);
		if (verdict)
			return verdict;
	}
	verdict = flood_to_all(&f, segment, port, to);
	governor_count(f.segment, f.class, f.packets, f.copies);
	return verdict;
}
