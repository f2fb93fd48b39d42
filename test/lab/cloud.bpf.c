//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The cloud's door: what a host may put on the underlay. It passes unicast IP
 * between hosts, and the ARP and ND that hosts need to find each other, and
 * drops and counts everything else, as clouds do.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual BSD/GPL";

enum cloud_class {
	CLOUD_PASSED,    /* unicast IP between hosts */
	CLOUD_RESOLVED,  /* ARP or ND between hosts */
	CLOUD_HOUSEKEEPING, /* MLD and router solicitations of a host's own stack: dropped */
	CLOUD_BROADCAST, /* dropped, as all that follow */
	CLOUD_MULTICAST,
	CLOUD_ETHERTYPE, /* neither IP nor ARP */
	CLOUD_TAGGED,
	CLOUD_ADDRESS, /* from or to an address of no host */
	CLOUD_FAULT,   /* a fault that the test asked for */
	CLOUD_CLASSES,
};

struct cloud_addr {
	__u8 b[16]; /* IPv4 as ::ffff:a.b.c.d */
};

/* What goes wrong on a wire, by the ifindex of the cloud's end of it. */
struct cloud_fault {
	__u32 max_frame;  /* longer frames are lost; 0: none */
	__u32 lose_every; /* each n-th IP packet is lost; 0: none */
	__u32 lose_port;  /* datagrams to this UDP port are lost; 0: none */
	__u32 seen;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct cloud_addr);
	__type(value, __u32);
} cloud_hosts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CLOUD_CLASSES);
	__type(key, enum cloud_class);
	__type(value, __u64);
} cloud_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct cloud_fault);
} cloud_faults SEC(".maps");

static __always_inline bool is_host(const void *v6)
{
	struct cloud_addr a;

	__builtin_memcpy(a.b, v6, sizeof(a.b));
	return bpf_map_lookup_elem(&cloud_hosts, &a);
}

static __always_inline bool is_host_v4(const void *v4)
{
	struct cloud_addr a = {.b = {[10] = 0xff, [11] = 0xff}};

	__builtin_memcpy(a.b + 12, v4, 4);
	return bpf_map_lookup_elem(&cloud_hosts, &a);
}

struct arp_v4 {
	__u16 hardware, protocol;
	__u8 hardware_len, protocol_len;
	__u16 operation;
	__u8 sender_mac[6], sender[4], target_mac[6], target[4];
} __attribute__((packed));

static __always_inline enum cloud_class classify_icmpv6(void *at, void *end)
{
	__u8 *type = at;

	if (at + 24 > end)
		return CLOUD_MULTICAST;
	if (*type == 135 || *type == 136)
		return is_host(at + 8) ? CLOUD_RESOLVED : CLOUD_ADDRESS;
	return *type == 133 ? CLOUD_HOUSEKEEPING : CLOUD_MULTICAST;
}

static __always_inline enum cloud_class classify(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	bool group;

	if ((void *)(eth + 1) > end)
		return CLOUD_ETHERTYPE;
	if (skb->vlan_present || eth->h_proto == bpf_htons(ETH_P_8021Q) || eth->h_proto == bpf_htons(ETH_P_8021AD))
		return CLOUD_TAGGED;
	group = eth->h_dest[0] & 1;
	if (eth->h_proto == bpf_htons(ETH_P_ARP)) {
		struct arp_v4 *arp = (void *)(eth + 1);

		if ((void *)(arp + 1) > end)
			return CLOUD_ETHERTYPE;
		return is_host_v4(arp->sender) && is_host_v4(arp->target) ? CLOUD_RESOLVED : CLOUD_ADDRESS;
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return CLOUD_ETHERTYPE;
		if (ip->nexthdr == IPPROTO_HOPOPTS && group)
			return CLOUD_HOUSEKEEPING; /* MLD reports of the host's own stack */
		if (ip->nexthdr == IPPROTO_ICMPV6 && (group || !is_host(&ip->saddr)))
			return classify_icmpv6(ip + 1, end);
		if (group || ip->daddr.in6_u.u6_addr8[0] == 0xff)
			return CLOUD_MULTICAST;
		return is_host(&ip->saddr) && is_host(&ip->daddr) ? CLOUD_PASSED : CLOUD_ADDRESS;
	}
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return CLOUD_ETHERTYPE;
		if (eth->h_dest[0] == 0xff || ip->daddr == 0xffffffff)
			return CLOUD_BROADCAST;
		if (group || (bpf_ntohl(ip->daddr) >> 28) == 14)
			return CLOUD_MULTICAST;
		return is_host_v4(&ip->saddr) && is_host_v4(&ip->daddr) ? CLOUD_PASSED : CLOUD_ADDRESS;
	}
	if (eth->h_dest[0] == 0xff)
		return CLOUD_BROADCAST;
	return group ? CLOUD_MULTICAST : CLOUD_ETHERTYPE;
}

/* The UDP port that a packet is for, 0 if it is no datagram. */
static __always_inline __u32 udp_port(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *at = data + sizeof(struct ethhdr);
	struct ethhdr *eth = data;
	struct udphdr *udp;
	__u8 proto;

	if (at + sizeof(struct ipv6hdr) + sizeof(*udp) > end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		proto = ((struct iphdr *)at)->protocol;
		udp = at + sizeof(struct iphdr);
	} else {
		proto = ((struct ipv6hdr *)at)->nexthdr;
		udp = at + sizeof(struct ipv6hdr);
	}
	return proto == IPPROTO_UDP ? bpf_ntohs(udp->dest) : 0;
}

static __always_inline bool is_lost(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct cloud_fault *fault = bpf_map_lookup_elem(&cloud_faults, &ifindex);

	if (!fault)
		return false;
	if (fault->max_frame && skb->len > fault->max_frame)
		return true;
	if (fault->lose_port && fault->lose_port == udp_port(skb))
		return true;
	return fault->lose_every && __sync_fetch_and_add(&fault->seen, 1) % fault->lose_every == fault->lose_every - 1;
}

SEC("tc")
int cloud_in(struct __sk_buff *skb)
{
	enum cloud_class class = classify(skb);
	__u64 *count;

	if (class == CLOUD_PASSED && is_lost(skb))
		class = CLOUD_FAULT;
	count = bpf_map_lookup_elem(&cloud_counts, &class);
	if (count)
		*count += 1;
	return class <= CLOUD_RESOLVED ? TC_ACT_OK : TC_ACT_SHOT;
}
