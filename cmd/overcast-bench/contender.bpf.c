//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What the rivals of the benchmark need: frames handed on with nothing done to
 * them, the kernel's VXLAN device in metadata mode, an XDP program that passes
 * everything, a sink that counts, and hosts that are not there but answer.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual BSD/GPL";

struct contender_config {
	__u32 to;   /* ifindex that frames of a guest go to */
	__u32 port; /* ifindex of the guest's port */
	__u32 vni;
	__u32 ipv6; /* the underlay is IPv6 */
	__u32 end;  /* how a sink ends a copy: a TC_ACT_* */
	__u32 local_v4; /* host byte order */
	__u32 remote_v4;
	__u8 local_v6[16];
	__u8 remote_v6[16];
};

volatile const struct contender_config contender = {};

/* No overlay: on to the wire as it is. */
SEC("tc")
int bare_out(struct __sk_buff *skb)
{
	return bpf_redirect(contender.to, 0);
}

/* To the guest by the fastest way that there is. */
SEC("tc")
int to_guest(struct __sk_buff *skb)
{
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(contender.port, 0);
}

/* The kernel's VXLAN device in metadata mode. */
SEC("tc")
int metadata_out(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = {.tunnel_id = contender.vni, .tunnel_ttl = 64};
	__u64 flags = BPF_F_ZERO_CSUM_TX;

	if (contender.ipv6) {
		flags |= BPF_F_TUNINFO_IPV6;
		for (int i = 0; i < 4; i++) {
			key.remote_ipv6[i] = ((const volatile __u32 *)contender.remote_v6)[i];
			key.local_ipv6[i] = ((const volatile __u32 *)contender.local_v6)[i];
		}
	} else {
		key.remote_ipv4 = contender.remote_v4;
		key.local_ipv4 = contender.local_v4;
	}
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags))
		return TC_ACT_SHOT;
	return bpf_redirect(contender.to, 0);
}

/* Puts a driver into native XDP and does nothing else. */
SEC("xdp.frags")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* Copies that a sink has taken, by CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sink_total SEC(".maps");

/* The same by the last four bytes of the outer destination, or by device. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, __u64);
} sink_each SEC(".maps");

#define SINK_TUNNEL_PORT 4789
/* IEEE Std 802: the second of the local experimental ones; the first is the
 * probes' (loader/liveness.go). */
#define SINK_ETHERTYPE 0x88b6

struct vxlan_header {
	__be32 flags;
	__be32 vni;
};

/*
 * Finds the frame in a tunnel packet, and to whom the packet goes: the last
 * four bytes of the outer destination, in host byte order. NULL: it is none, or
 * is cut short. The lab sends neither IPv4 options nor extension headers.
 */
static __always_inline struct ethhdr *tunnel_inner(void *data, void *end, __u32 *to)
{
	struct ethhdr *eth = data, *inner;
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp;

	if ((void *)(ip + 1) > end)
		return NULL;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		if (ip->protocol != IPPROTO_UDP)
			return NULL;
		*to = bpf_ntohl(ip->daddr);
		udp = (void *)(ip + 1);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		if ((void *)(ip6 + 1) > end || ip6->nexthdr != IPPROTO_UDP)
			return NULL;
		*to = bpf_ntohl(ip6->daddr.in6_u.u6_addr32[3]);
		udp = (void *)(ip6 + 1);
	} else {
		return NULL;
	}
	inner = (void *)(udp + 1) + sizeof(struct vxlan_header);
	if ((void *)(inner + 1) > end || udp->dest != bpf_htons(SINK_TUNNEL_PORT))
		return NULL;
	return inner;
}

/* Is this a copy? Then to whom. */
static __always_inline bool sink_takes(struct __sk_buff *skb, __u32 *to)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return false;
	if (eth->h_proto == bpf_htons(SINK_ETHERTYPE)) {
		*to = skb->ifindex;
		return true;
	}
	eth = tunnel_inner(data, end, to);
	return eth && eth->h_proto == bpf_htons(SINK_ETHERTYPE);
}

/* Counts copies and ends them; all else passes. */
SEC("tc")
int sink(struct __sk_buff *skb)
{
	__u32 to, zero = 0;
	__u64 *count;

	if (!sink_takes(skb, &to))
		return TC_ACT_UNSPEC;
	count = bpf_map_lookup_elem(&sink_total, &zero);
	if (count)
		++*count;
	return contender.end;
}

/* Counts them one by one as well. */
SEC("tc")
int sink_apart(struct __sk_buff *skb)
{
	__u64 *count, one = 1;
	__u32 to;

	if (!sink_takes(skb, &to))
		return TC_ACT_UNSPEC;
	count = bpf_map_lookup_elem(&sink_each, &to);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&sink_each, &to, &one, BPF_ANY);
	return contender.end;
}

/* A probe, as loader/liveness.go writes it. */
struct probe {
	struct ethhdr eth;
	char mark[8];
	__u8 kind;
	__u8 nonce[8];
} __attribute__((packed));

#define PROBE_ETHERTYPE 0x88b5
#define PROBE_REQUEST 1
#define PROBE_REPLY 2

static __always_inline void swap_addresses(struct ethhdr *eth)
{
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct iphdr *ip = (void *)(eth + 1);
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		__be32 addr = ip->daddr;

		ip->daddr = ip->saddr;
		ip->saddr = addr;
	} else {
		struct in6_addr addr = ip6->daddr;

		ip6->daddr = ip6->saddr;
		ip6->saddr = addr;
	}
}

/*
 * The hosts that are not there: answers the probes for all of them, so that
 * they are taken for relays that live. A probe comes under the relay's VNI, and
 * its answer goes under the segment's. What else agents tell them ends here.
 */
SEC("tc")
int answer(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *outer = data, *inner;
	struct probe *probe;
	__u32 to, at, checksum;
	__be32 relay, segment = bpf_htonl(contender.vni << 8);
	__be16 old, new;

	inner = tunnel_inner(data, end, &to);
	if (!inner)
		return TC_ACT_UNSPEC;
	probe = (void *)inner;
	if ((void *)(probe + 1) > end || inner->h_proto != bpf_htons(PROBE_ETHERTYPE) || probe->kind != PROBE_REQUEST)
		return TC_ACT_SHOT;
	at = sizeof(*outer) + sizeof(struct udphdr) + sizeof(struct vxlan_header) + offsetof(struct probe, kind);
	checksum = sizeof(*outer) + offsetof(struct udphdr, check);
	if (outer->h_proto == bpf_htons(ETH_P_IP)) {
		at += sizeof(struct iphdr);
		checksum += sizeof(struct iphdr);
	} else {
		at += sizeof(struct ipv6hdr);
		checksum += sizeof(struct ipv6hdr);
	}
	swap_addresses(outer);
	relay = ((struct vxlan_header *)inner - 1)->vni;
	/* The kind is the first byte of a word of the checksum. */
	old = bpf_htons(PROBE_REQUEST << 8 | probe->nonce[0]);
	new = bpf_htons(PROBE_REPLY << 8 | probe->nonce[0]);
	if (bpf_l4_csum_replace(skb, checksum, old, new, BPF_F_MARK_MANGLED_0 | sizeof(new)) ||
	    bpf_l4_csum_replace(skb, checksum, relay, segment, BPF_F_MARK_MANGLED_0 | sizeof(segment)) ||
	    bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0) ||
	    bpf_skb_store_bytes(skb, at - offsetof(struct probe, kind) - sizeof(segment), &segment, sizeof(segment), 0))
		return TC_ACT_SHOT;
	return bpf_redirect(skb->ifindex, 0);
}
