/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's own tunnel device: the slow path, which can carry every frame. */
#pragma once

#include "config.h"
#include "segment.h"
#include "tclass.h"

/* TUNNEL_OAM and TUNNEL_CRIT_OPT of linux/if_tunnel.h, which cannot be included
 * without a libc. */
#define TUNNEL_CONTROL 0x0200
#define TUNNEL_CRITICAL 0x0400

/* Names remote and VNI to the tunnel device. */
static __always_inline enum oc_drop tunnel_address(struct __sk_buff *skb, __u32 vni, const struct oc_addr *vtep)
{
	/* Without DONT_FRAGMENT the device would send outer fragments. */
	__u64 flags = (oc_config.checksum ? 0 : BPF_F_ZERO_CSUM_TX) | BPF_F_DONT_FRAGMENT;
	struct bpf_tunnel_key key = {.tunnel_id = vni, .tunnel_ttl = oc_config.hop_limit, .tunnel_tos = tclass_outer(skb)};

	if (!oc_config.tunnel_ifindex)
		return DROP_DEVICE_MISSING;
	if (oc_config.ipv6) {
		flags |= BPF_F_TUNINFO_IPV6;
		__builtin_memcpy(key.remote_ipv6, vtep->b, 16);
		config_local_v6(key.local_ipv6);
	} else {
		key.remote_ipv4 = bpf_ntohl(addr_v4(vtep));
		key.local_ipv4 = bpf_ntohl(config_local_v4());
	}
	return bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags) ? DROP_ENCAP_FAILED : DROP_NONE;
}

/* Reads who sent a frame that the tunnel device has stripped, and the traffic
 * class of the packet; its marks are the frame's already. */
static __always_inline enum oc_drop tunnel_source(struct __sk_buff *skb, struct oc_vtep_key *from, __u8 *class)
{
	struct bpf_tunnel_key key = {};

	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_FLAGS | (oc_config.ipv6 ? BPF_F_TUNINFO_IPV6 : 0)))
		return DROP_TUNNEL_KEY;
	/* What oc_uplink_in could not see, as it came in fragments; the device leaves
	 * it to who uses it. */
	if (oc_config.geneve && key.tunnel_flags & bpf_htons(TUNNEL_CONTROL))
		return DROP_TUNNEL_CONTROL;
	if (oc_config.geneve && key.tunnel_flags & bpf_htons(TUNNEL_CRITICAL))
		return DROP_TUNNEL_OPTION;
	from->vni = key.tunnel_id;
	*class = key.tunnel_tos;
	/* The device takes its port on every address of the host. */
	if (oc_config.ipv6) {
		__builtin_memcpy(from->addr.b, key.remote_ipv6, 16);
		return config_is_local_v6(key.local_ipv6) ? DROP_NONE : DROP_TUNNEL_ADDRESS;
	}
	addr_from_v4(&from->addr, bpf_htonl(key.remote_ipv4));
	return key.local_ipv4 == bpf_ntohl(config_local_v4()) ? DROP_NONE : DROP_TUNNEL_ADDRESS;
}
