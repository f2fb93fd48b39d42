/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The VXLAN header, RFC 7348 section 5. */
#pragma once

#include <bpf/bpf_endian.h>
#include "parse.h"
#include "types.h"

#define VXLAN_VNI_VALID 0x08000000 /* the I flag */

struct vxlanhdr {
	__be32 flags;
	__be32 vni; /* 24 bits of VNI, 8 reserved */
};

static __always_inline void vxlan_build(struct vxlanhdr *h, __u32 vni)
{
	h->flags = bpf_htonl(VXLAN_VNI_VALID);
	h->vni = bpf_htonl(vni << 8);
}

/* Reads the VNI. All 39 reserved bits must be zero, as the kernel's device has
 * it: a bit that we do not know may change what the packet is. */
static __always_inline enum oc_drop vxlan_read(struct cursor *c, __u32 *vni)
{
	struct vxlanhdr *h = parse_bytes(c, sizeof(*h));
	__u32 word;

	if (!h)
		return DROP_TUNNEL_TRUNCATED;
	word = bpf_ntohl(h->vni);
	if (h->flags != bpf_htonl(VXLAN_VNI_VALID) || word & 0xff)
		return DROP_TUNNEL_RESERVED;
	*vni = word >> 8;
	return DROP_NONE;
}
