/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sending a frame to another host. */
#pragma once

#include "encap.h"
#include "mss.h"
#include "pmtu.h"
#include "segment.h"
#include "tunnel.h"
#include "verdict.h"

static __always_inline struct oc_remote *remote_get(__u32 id)
{
	return id ? bpf_map_lookup_elem(&oc_remotes, &id) : NULL;
}

static __always_inline const struct oc_path *remote_path(const struct oc_remote *remote)
{
	return remote->active & 1 ? &remote->path[1] : &remote->path[0];
}

/* Can BPF itself address a packet to it, MACs and all? */
static __always_inline bool remote_is_resolved(const struct oc_path *path)
{
	return (path->flags & (OC_PATH_ETHERNET | OC_PATH_MACS)) == (OC_PATH_ETHERNET | OC_PATH_MACS);
}

static __always_inline void remote_count_out(const struct __sk_buff *skb, __u32 id, __u32 packets, __u32 bytes)
{
	stats_out(OC_STATS_REMOTES + id, packets, bytes);
}

static __always_inline int remote_send_by_device(struct __sk_buff *skb, __u32 vni, const struct oc_addr *vtep)
{
	enum oc_drop drop = tunnel_address(skb, vni, vtep);

	return drop ? (int)drop : verdict_redirect(bpf_redirect(oc_config.tunnel_ifindex, 0));
}

/* Hands an encapsulated packet to the uplink. */
static __always_inline int remote_redirect(const struct oc_path *path, enum encap_room room)
{
	struct bpf_redir_neigh hop = {.nh_family = path->family};

	if (room == ENCAP_PLAIN)
		return verdict_redirect(bpf_redirect(path->ifindex, 0));
	/* The kernel's own neighbour entry: right even when a MAC has just changed. */
	__builtin_memcpy(hop.ipv6_nh, path->next_hop, sizeof(hop.ipv6_nh));
	return verdict_redirect(bpf_redirect_neigh(path->ifindex, &hop, sizeof(hop), 0));
}

/* The largest layer-3 packet of a segment that goes to a remote. */
static __always_inline __u32 remote_mtu(const struct oc_segment *segment, const struct oc_remote *remote)
{
	return remote->mtu < segment->mtu_most ? remote->mtu : segment->mtu_most;
}

/* Has a SYN say what fits the way to a remote. A function of its own to the
 * verifier. */
__attribute__((noinline)) int remote_clamp(struct __sk_buff *skb, __u32 id, __u32 to)
{
	struct oc_segment *segment = segment_get(id);
	struct oc_remote *remote = remote_get(to);

	if (segment && remote)
		mss_clamp(skb, remote_mtu(segment, remote));
	return 0;
}

/* Sends a unicast frame of a segment to a remote. Returns DROP_MTU_UNANSWERABLE
 * if it is too big. A function of its own to the verifier. */
__attribute__((noinline)) int remote_send(struct __sk_buff *skb, const struct ethhdr *eth, __u32 id, __u32 to)
{
	struct oc_segment *segment = segment_get(id);
	struct oc_remote *remote = remote_get(to);
	struct outer_frame f;
	__u32 vni;
	const struct oc_path *path;
	union encap_header h = {};
	enum encap_room room;

	if (!segment || !eth)
		return DROP_SEGMENT_UNKNOWN;
	if (!remote)
		return DROP_REMOTE_UNKNOWN;
	vni = segment->vni;
	path = remote_path(remote);
	if (!path->ifindex)
		return DROP_REMOTE_UNREACHABLE;
	if (!pmtu_fits(skb, remote_mtu(segment, remote)))
		return DROP_MTU_UNANSWERABLE;
	if (segment->flags & OC_SEGMENT_CLAMP_MSS)
		remote_clamp(skb, id, to);
	remote_count_out(skb, to, skb_packets(skb), skb->len);
	encap_read(skb, &f);
	room = path->flags & OC_PATH_ETHERNET && !oc_config.checksum ? encap_make_room(skb, true, path->flags & OC_PATH_MACS) : ENCAP_REFUSED;
	if (room == ENCAP_REFUSED)
		return remote_send_by_device(skb, vni, &remote->vtep);
	encap_build(&h, eth, &f, vni);
	encap_address(&h, path, &remote->vtep);
	if (encap_write(skb, &h))
		return DROP_ENCAP_FAILED;
	return remote_redirect(path, room);
}
