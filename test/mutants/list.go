// SPDX-License-Identifier: Apache-2.0

package main

// mutant is one way to break the code, and the test that must see it.
type mutant struct {
	name     string
	file     string
	old, new string // text that is there once, and what takes its place
	pkg      string
	test     string // expression for go test -run
}

const (
	e2e    = "./test/e2e"
	progs  = "./test/prog"
	mapsPk = "./maps"
)

var mutants = []mutant{
	// The datapath.
	{"outer fragments are stripped", "bpf/outer.h",
		"ip->protocol != IPPROTO_UDP || ipv4_is_fragment(ip))", "ip->protocol != IPPROTO_UDP)",
		e2e, "TestIrregularTunnelPackets/IPv4/tc"},
	{"reserved bits do not matter", "bpf/wire_vxlan.h",
		"h->flags != bpf_htonl(VXLAN_VNI_VALID) || word & 0xff", "!(h->flags & bpf_htonl(VXLAN_VNI_VALID))",
		e2e, "TestIntruders/IPv4/tc"},
	{"VNI 0 is looked up", "bpf/segment.h",
		"vni ? bpf_map_lookup_elem(&oc_vteps, &key) : NULL", "bpf_map_lookup_elem(&oc_vteps, &key)",
		e2e, "TestIntruders/IPv4/tc"},
	{"strangers are called non-members", "bpf/segment.h",
		"? DROP_VTEP_NOT_MEMBER : DROP_VTEP_UNKNOWN", "? DROP_VTEP_NOT_MEMBER : DROP_VTEP_NOT_MEMBER",
		e2e, "TestIntruders/IPv6/xdp"},
	{"drops are not counted", "bpf/verdict.h",
		"drop_count(verdict, skb->ifindex, segment, skb->len);\n\treturn TC_ACT_SHOT;", "return TC_ACT_SHOT;",
		e2e, "TestIntruders/IPv4/kernel"},
	{"a cut datagram is believed", "bpf/outer.h",
		"|| len > payload)", ")",
		progs, "TestUplink"},
	{"the tunnel port of any address", "bpf/tunnel.h",
		"return key.local_ipv4 == bpf_ntohl(config_local_v4()) ? DROP_NONE : DROP_TUNNEL_ADDRESS;", "return DROP_NONE;",
		e2e, "TestUplinkTrafficPassesUntouched/IPv4/tc"},
	{"any destination address is ours", "bpf/outer.h",
		"if (ip->daddr != config_local_v4() ||\n\t    ", "if (",
		e2e, "TestUplinkTrafficPassesUntouched/IPv4/xdp"},
	{"floods come back to their port", "bpf/flood.h",
		"if (ifindex == f->skip)\n\t\treturn 0;", "",
		e2e, "TestFlood/IPv4/tc"},
	{"only the last copy is sent", "bpf/flood.h",
		"if (f->pending)\n\t\tflood_copy(f, f->pending);\n\tf->pending = ifindex;", "f->pending = ifindex;",
		e2e, "TestFlood/IPv4/tc"},
	{"the last remote gets no copy", "bpf/flood.h",
		"return uplink ? verdict_redirect(bpf_redirect(uplink, 0)) : VERDICT_SPENT;", "return uplink ? VERDICT_SPENT : VERDICT_SPENT;",
		e2e, "TestFlood/IPv6/kernel"},
	{"unknown unicast is always flooded", "bpf/overcast.bpf.c",
		"if (segment->flags & OC_SEGMENT_FLOOD_UNKNOWN)\n\t\t\treturn flood_from_port", "if (1)\n\t\t\treturn flood_from_port",
		e2e, "TestMetrics"},
	{"a configured MAC may be taken", "bpf/policy.h",
		"owner.id == skb->ifindex ? DROP_NONE : DROP_PORT_SPOOF", "owner.id == skb->ifindex ? DROP_NONE : DROP_NONE",
		e2e, "TestSourceMACs"},
	{"any source MAC may be sent", "bpf/policy.h",
		"if (port->flags & OC_PORT_MAC && !(port->flags & OC_PORT_ANY))\n\t\treturn DROP_PORT_SPOOF;", "",
		e2e, "TestSourceMACs"},
	{"learned MACs live for ever", "bpf/fdb.h",
		"return bpf_ktime_get_coarse_ns() - entry->seen < FDB_AGE_NS;", "return true;",
		e2e, "TestAgeing"},
	{"stations never move", "bpf/fdb.h",
		"if (old && old->where.id == where && old->where.kind == kind) {", "if (old) {",
		e2e, "TestLearning/tc"},
	{"tags end up on the outer frame", "bpf/encap.h",
		"if (skb->vlan_present || encap_is_too_long(skb))", "if (encap_is_too_long(skb))",
		e2e, "TestEveryKindOfFrame/IPv4/tc/veth"},
	{"no outer IPv4 checksum", "bpf/outer.h",
		"h->ip.check = ipv4_checksum(&h->ip);", "",
		e2e, "TestReach/IPv4/tc/veth"},
	{"another VNI on the wire", "bpf/wire_vxlan.h",
		"h->vni = bpf_htonl(vni << 8);", "h->vni = bpf_htonl((vni ^ 1) << 8);",
		e2e, "TestKernelVXLAN/IPv4/tc/super-frames"},
	{"everything fits", "bpf/remote.h",
		"if (!pmtu_fits(skb, segment->mtu))", "if (0)",
		e2e, "TestTooBigIsAnswered/IPv4/tc/veth"},
	{"cut IP frames are carried", "bpf/overcast.bpf.c",
		"if (parse_is_cut(c, eth.h_proto, skb->len - sizeof(eth)))\n\t\treturn DROP_FRAME_CUT;", "",
		e2e, "TestCutFramesAreDropped/tc"},
	{"metadata without the magic", "bpf/strip_xdp.h",
		"meta->magic = oc_config.magic;", "meta->magic = 0;",
		e2e, "TestReach/IPv4/xdp/veth"},

	{"a missing port's frames go to all", "bpf/deliver.h",
		"if (!where.id)\n\t\treturn DROP_PORT_GONE;", "",
		progs, "TestUplinkIn"},
	{"the second bucket is not looked at", "bpf/fdb.h",
		"fdb_in_bucket(hash >> 32 & oc_config.fdb_mask, word, found))", "false)",
		progs, "TestCrowdedFDB"},
	{"super-frame headers are not counted", "bpf/pmtu.h",
		"return !headers || headers + size <= room;", "return !headers || size <= room;",
		progs, "TestPortIn"},
	{"no limit to answers", "bpf/pmtu.h",
		"if (next - now > PMTU_BURST_NS - PMTU_INTERVAL_NS)\n\t\treturn false;", "",
		progs, "TestAnswersAreLimited"},

	// The maps.
	{"paths are overwritten in place", "maps/apply.go",
		"idle := 1 - old.Active&1", "idle := old.Active & 1",
		mapsPk, "."},
	{"members are not told to the programs", "maps/contents.go",
		"c.want.VTEPs[bpf.VTEPKey{Vni: segment.VNI, Addr: bpf.AddrFrom(vtep)}] =", "_ =",
		e2e, "TestReach/IPv4/tc/veth"},
	{"the tunnel is smaller than it is", "maps/contents.go",
		"return 20 + 8 + 8 + 14", "return 20 + 8 + 8",
		e2e, "TestTooBigIsAnswered/IPv4/tc/veth"},
	{"one entry a system call", "maps/table.go",
		"const batchSize = 4096", "const batchSize = 1",
		mapsPk, "."},
	{"everything is written each time", "policy/difference.go",
		"!ok || old != value", "!ok || old == value || old != value",
		mapsPk, "."},
	{"a missing port gives its MAC away", "maps/contents.go",
		"c.want.FDB[bpf.FDBKey{Segment: slot, Mac: entry.MAC}] = value", "if value.Id != 0 {\n\t\t\tc.want.FDB[bpf.FDBKey{Segment: slot, Mac: entry.MAC}] = value\n\t\t}",
		e2e, "TestPortsComeAndGo/veth"},

	// The documents.
	{"members have no remotes", "policy/state.go",
		"if name == host {\n\t\t\tcontinue", "if name != host {\n\t\t\tcontinue",
		e2e, "TestReach/IPv4/tc/veth"},

	// The loader.
	{"each start has its own magic", "loader/collection.go",
		"if err == nil && len(value) >= 8 {", "if err != nil && len(value) >= 8 {",
		e2e, "TestRestartLosesNothing/IPv4/xdp"},
	{"strips beside another tunnel device", "loader/uplink.go",
		"if d.tunnel.held != nil {\n\t\treturn nil //", "if false {\n\t\treturn nil //",
		e2e, "TestPortHeldByAnotherDevice"},
	{"routes are not followed", "loader/watch.go",
		"case _, open = <-r.routes:\n\t\t\tchange = ChangePaths", "case _, open = <-r.routes:\n\t\t\tchange = 0",
		e2e, "TestUnreachableRemote"},
	{"no zero checksums over IPv6", "loader/tunnel.go",
		"UDP6ZeroCSumRx: true,", "UDP6ZeroCSumRx: false,",
		e2e, "TestReach/IPv6/kernel/veth"},

	{"what is attached is remembered", "loader/place.go",
		"holds, err := d.hooks.holds(at, d.programs[program])", "holds, err := d.placed[at] != 0, error(nil)",
		"./loader", "TestRefreshPutsBack"},
	{"the uplink may be a port", "loader/own.go",
		"own[device.ifindex] = \"is this host's uplink\"", "_ = device",
		"./loader", "TestPortBecomesUplink"},
	{"programs of other pin paths are replaced", "loader/stranger.go",
		"return &strangerError{", "_ = &strangerError{",
		"./loader", "TestStrangers"},
	{"devices are not given back", "loader/place.go",
		"d.prune(), d.giveBack(),", "d.prune(),",
		"./loader", "TestDevicesAreGivenBack"},

	// The commands.
	{"a restart forgets what runs", "cmd/overcastd/agent.go",
		"	a.resume()\n", "",
		e2e, "TestRestartWithWrongDocument"},
	{"a refused document is not told", "cmd/overcastd/agent.go",
		"a.status.Error, a.status.ErrorTime = err.Error(), time.Now()", "a.status.ErrorTime = time.Now()",
		e2e, "TestWrongDocument/a_bad_value"},
	{"a refused document counts as applied", "cmd/overcastd/metrics.go",
		"m.configOK.Set(0)", "m.configOK.Set(1)",
		e2e, "TestWrongDocument/a_bad_value"},
}
