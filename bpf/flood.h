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

/* A frame for many, and what has become of it. */
struct flood_order {
	struct ethhdr eth __attribute__((aligned(8)));
	__u32 segment;
	__u32 port; /* slot of the port that it came from; 0: it came from a remote */
	struct receivers to;
	__u32 copies; /* made so far */
	bool typed;   /* skb->protocol is the frame's own */
};

/* The list of the hosts that get a frame. Never tunnel to tunnel, but for a
 * relay, which has one for its zone. */
static __always_inline __u32 flood_hosts(const struct flood_order *o)
{
	return o->port ? o->to.remotes : o->to.zone;
}

/* A walk through a list. */
struct flood {
	struct __sk_buff *skb;
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
	 * must begin as a value that the verifier does not know: a zero that comes
	 * out of a map.
	 */
	__u32 pending;
	__u32 copies; /* made so far, with that for .pending */
	__u32 failed; /* of them */
	__u32 packets;
	__u32 bytes;
	bool by_device; /* every copy takes the tunnel device */
	bool rest;      /* of those, only to remotes that BPF could have addressed itself */
	bool resolved;  /* there is a remote that BPF can address itself */
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
		f->failed++;
}

/* Counts the copies that failed, after all of them: in the callbacks there is no
 * stack for it. */
static __always_inline void flood_count_failed(const struct flood *f)
{
	if (f->failed)
		drop_count_all(DROP_COPY_FAILED, f->skb->ifindex, f->segment, f->failed, (__u64)f->failed * f->bytes);
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

/* Copies for the remotes that need the tunnel device. */
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
		f->failed++;
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

/* Notes in .pending whether .skip is in the list. */
static long flood_self(__u32 i, struct flood *f)
{
	if (i >= OC_CHUNK)
		return 1;
	if (f->chunk->id[i] == f->skip)
		f->pending = f->skip;
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

/*
 * Those below that are not inlined are functions of their own to the verifier,
 * which looks at each once, and not again for all that may have happened before.
 */

/* A walk that has not begun. */
static __always_inline struct flood flood_walk(struct __sk_buff *skb, const struct flood_order *o,
					       const struct oc_segment *segment, __u32 list)
{
	return (struct flood){
		.skb = skb,
		.list = list,
		.segment = o->segment,
		.vni = segment->vni,
		.relay_vni = segment->relay_vni,
		.written = segment->vni,
		.skip = o->port ? skb->ifindex : 0,
		.pending = segment->zero,
		.copies = segment->zero,
		.failed = segment->zero,
		.packets = skb_packets(skb),
		.bytes = skb->len,
	};
}

/* Copies to the local ports. Returns the ifindex of the port that still waits
 * for the frame itself, or 0. */
__attribute__((noinline)) int flood_ports(struct __sk_buff *skb, struct flood_order *o)
{
	struct oc_segment *segment = o ? segment_get(o->segment) : NULL;

	if (!segment)
		return 0;
	struct flood f = flood_walk(skb, o, segment, o->to.ports);

	bpf_loop(FLOOD_MAX_CHUNKS, flood_chunk_ports, &f, 0);
	flood_count_failed(&f);
	o->copies += f.copies;
	return f.pending;
}

/*
 * Sends copies to the remotes that need the tunnel device. It wants the bare
 * frame, so they go before anything is put in front of it. rest: to all others,
 * after those. Returns whether there are others.
 */
__attribute__((noinline)) int flood_by_device(struct __sk_buff *skb, struct flood_order *o, bool rest)
{
	struct oc_segment *segment = o ? segment_get(o->segment) : NULL;

	if (!segment)
		return 0;
	struct flood f = flood_walk(skb, o, segment, flood_hosts(o));

	/* What cannot be lengthened. */
	f.by_device = rest || oc_config.checksum || skb->vlan_present || encap_is_too_long(skb) ||
		      (skb->gso_size && skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6));
	f.rest = rest;
	bpf_loop(FLOOD_MAX_CHUNKS, flood_chunk_by_device, &f, 0);
	flood_count_failed(&f);
	o->copies += f.copies;
	return f.resolved;
}

/* Sends to the remotes that BPF itself can address. There is room for the outer
 * headers in front of the frame, and frame is what was read of it before. */
__attribute__((noinline)) int flood_addressed(struct __sk_buff *skb, struct flood_order *o, const struct outer_frame *frame)
{
	struct oc_segment *segment = o ? segment_get(o->segment) : NULL;
	union encap_header h = {};
	__u32 uplink;

	if (!segment || !frame)
		return DROP_SEGMENT_UNKNOWN;
	struct flood f = flood_walk(skb, o, segment, flood_hosts(o));

	f.header = &h;
	f.bytes = frame->length;
	encap_build(&h, &o->eth, frame, f.vni);
	if (encap_write(skb, &h))
		return DROP_ENCAP_FAILED;
	bpf_loop(FLOOD_MAX_CHUNKS, flood_chunk_remotes, &f, 0);
	uplink = f.pending ? flood_address(&f, f.pending) : 0;
	flood_count_failed(&f);
	o->copies += f.copies;
	return uplink ? verdict_redirect(bpf_redirect(uplink, 0)) : VERDICT_SPENT;
}

/* Sends to other hosts; the frame is spent afterwards. */
static __always_inline int flood_remotes(struct __sk_buff *skb, struct flood_order *o)
{
	struct outer_frame frame;

	if (!flood_by_device(skb, o, false))
		return VERDICT_SPENT;
	/* Whether a frame can be lengthened shows only when it is tried. */
	encap_read(skb, &frame);
	if (encap_make_room(skb, o->typed, true) != ENCAP_REFUSED)
		return flood_addressed(skb, o, &frame);
	/* A guest's own tunnel in a super-frame: the frame is as it was. */
	flood_by_device(skb, o, true);
	return VERDICT_SPENT;
}

/* How many destinations a list has. */
static __always_inline __u32 flood_total(__u32 list)
{
	struct oc_flood_key key = {.list = list};
	const struct oc_flood *first = list ? flood_get(&key) : NULL;

	return first ? first->total : 0;
}

/* How many ports a frame goes to: not the sender, which is in the list of its
 * segment, and may be in that of a group. */
__attribute__((noinline)) int flood_others(struct __sk_buff *skb, const struct flood_order *o)
{
	struct oc_segment *segment = o ? segment_get(o->segment) : NULL;
	__u32 total = segment ? flood_total(o->to.ports) : 0;

	if (!total || !o->port)
		return total;
	if (o->to.ports == segment->ports)
		return total - 1;
	struct flood f = flood_walk(skb, o, segment, o->to.ports);

	bpf_loop(FLOOD_MAX_CHUNKS, flood_chunk_self, &f, 0);
	return f.pending ? total - 1 : total;
}

/* May the copies be made? */
__attribute__((noinline)) int flood_judge(struct __sk_buff *skb, const struct flood_order *o)
{
	struct oc_segment *segment = o ? segment_get(o->segment) : NULL;
	__u64 copies, packets = skb_packets(skb);

	if (!segment)
		return DROP_SEGMENT_UNKNOWN;
	copies = flood_others(skb, o);
	if (flood_hosts(o) && pmtu_fits(skb, segment->mtu))
		copies += flood_total(flood_hosts(o));
	return governor_judge(o->port, segment->environment, governor_class(o->eth.h_dest), copies * packets, copies * skb->len);
}

static __always_inline int flood_copies(struct __sk_buff *skb, const struct oc_segment *segment, struct flood_order *o)
{
	__u32 hosts = flood_hosts(o), last = o->to.ports ? flood_ports(skb, o) : 0;

	if (!hosts)
		return last ? verdict_redirect(bpf_redirect(last, 0)) : VERDICT_SPENT;
	if (last && bpf_clone_redirect(skb, last, 0))
		drop_count(DROP_COPY_FAILED, skb->ifindex, o->segment, skb->len);
	return pmtu_fits(skb, segment->mtu) ? flood_remotes(skb, o) : DROP_MTU_UNANSWERABLE;
}

/*
 * Copies a frame to ports, and to hosts: all of a segment or a group if it is a
 * port's; those of this host's zone if it came under the relay's VNI, under the
 * segment's own, with which they send it nowhere. Returns DROP_MTU_UNANSWERABLE
 * where it is too big for the hosts.
 */
static __always_inline int flood_frame(struct __sk_buff *skb, const struct oc_segment *segment, struct flood_order *o)
{
	__u32 packets = skb_packets(skb);
	int verdict;

	if (segment->flags & OC_SEGMENT_GOVERNED) {
		verdict = flood_judge(skb, o);
		if (verdict)
			return verdict;
	}
	verdict = flood_copies(skb, segment, o);
	governor_count(o->segment, governor_class(o->eth.h_dest), packets, o->copies);
	return verdict;
}
