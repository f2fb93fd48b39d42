/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map. All are pinned in the agent's pin path under their own names, so
 * that frames flow and `overcast` answers without the agent. Sizes marked
 * (limits) are set from the configuration when the maps are made.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "types.h"

/* Writer: agent. Readers: all programs but XDP. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OC_MAX_PORTS);
	__type(key, __u32);
	__type(value, struct oc_port);
} oc_ports SEC(".maps");

/* Writer: agent. Readers: the uplink programs, to name the reason of a drop.
 * A segment with relays has two. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OC_MAX_SEGMENTS * 2);
	__type(key, __u32);
	__type(value, struct oc_vni);
} oc_vnis SEC(".maps");

/* Writer: agent. Readers: all programs but XDP. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OC_MAX_SEGMENTS);
	__type(key, __u32);
	__type(value, struct oc_segment);
} oc_segments SEC(".maps");

/* Writer: agent. Readers: the uplink and tunnel programs. Not preallocated:
 * the product of segments and members may be large and is mostly not. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct oc_vtep_key);
	__type(value, struct oc_vtep);
} oc_vteps SEC(".maps");

/* Writer: agent. Reader: oc_port_in. (limits) */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct oc_remote);
} oc_remotes SEC(".maps");

/* Configured MACs. Writer: agent. Readers: all programs but XDP. (limits) An
 * array that can be mapped begins on a page, so each bucket is a cache line. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct oc_fdb_bucket);
} oc_fdb SEC(".maps");

/* Configured MACs that found no room in their buckets: a handful at most.
 * Writer: agent. Readers: all programs but XDP. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct oc_fdb_key);
	__type(value, struct oc_fdb_entry);
} oc_fdb_spill SEC(".maps");

/* Learned MACs. Writers: the programs; the agent only removes. (limits) */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct oc_fdb_key);
	__type(value, struct oc_learned_entry);
} oc_fdb_learned SEC(".maps");

/* Replication lists of the segments. Writer: agent. Readers: all programs but XDP. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct oc_flood_key);
	__type(value, struct oc_flood);
} oc_floods SEC(".maps");

/* Those of the MDB, apart: groups that fill it must not keep a segment's list
 * from being written. Writer: agent. Readers: all programs but XDP. (limits) */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct oc_flood_key);
	__type(value, struct oc_flood);
} oc_mdb_floods SEC(".maps");

/* Writers: the programs. Readers: agent, overcast. (limits) */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OC_STATS_REMOTES + 16384);
	__type(key, __u32);
	__type(value, struct oc_counters);
} oc_stats SEC(".maps");

/* Writers: the programs. Readers: agent, overcast. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct oc_drop_key);
	__type(value, struct oc_drop_count);
} oc_drops SEC(".maps");

/* Groups. Writer: agent. Readers: all programs but XDP. (limits) */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct oc_mdb_key);
	__type(value, struct oc_mdb_entry);
} oc_mdb SEC(".maps");

/* What the entries of oc_mdb name. Writer: agent, through a mapping. Readers:
 * all programs but XDP. (limits) */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16385);
	__type(key, __u32);
	__type(value, struct oc_group);
} oc_groups SEC(".maps");

/* Writers: agent, through a mapping; the programs note what they missed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, OC_MAX_SEGMENTS);
	__type(key, __u32);
	__type(value, struct oc_snoop);
} oc_snoops SEC(".maps");

/* Frames for the agent. Writers: all programs but XDP. Reader: agent. (limits) */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 23);
} oc_events SEC(".maps");

/* Configured addresses of guests. Writer: agent. Reader: oc_port_in. (limits) */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct oc_neighbor_key);
	__type(value, struct oc_neighbor);
} oc_neighbors SEC(".maps");

/* Learned addresses of guests. Writers: the programs; the agent only removes. (limits) */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct oc_neighbor_key);
	__type(value, struct oc_learned_neighbor);
} oc_neighbors_learned SEC(".maps");

/* What frames to many may cost. Writer: agent, through a mapping. Readers: all
 * programs but XDP. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, (OC_MAX_PORTS + OC_MAX_ENVIRONMENTS) * OC_CLASSES);
	__type(key, __u32);
	__type(value, struct oc_governor);
} oc_governors SEC(".maps");

/* What they have cost. Writers: all programs but XDP, and the agent, through a
 * mapping, where a limit changes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, (OC_MAX_PORTS + OC_MAX_ENVIRONMENTS) * OC_CLASSES);
	__type(key, __u32);
	__type(value, struct oc_bucket);
} oc_buckets SEC(".maps");

/* Writers: all programs but XDP. Readers: agent, overcast. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OC_MAX_SEGMENTS * OC_CLASSES);
	__type(key, __u32);
	__type(value, struct oc_copy_count);
} oc_copies SEC(".maps");

/* When a port may be sent its next ICMP error, in CLOCK_MONOTONIC nanoseconds.
 * Writer and reader: oc_port_in. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OC_MAX_PORTS);
	__type(key, __u32);
	__type(value, __u64);
} oc_pacers SEC(".maps");

/* The same for membership messages, of ports and, behind these, of remotes.
 * Writers and readers: all programs but XDP. (limits) */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OC_MAX_PORTS + 16384);
	__type(key, __u32);
	__type(value, __u64);
} oc_snoop_pacers SEC(".maps");
