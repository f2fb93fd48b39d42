// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// twin is a document that is wrong in one place, and what to write there to
// make it right. The place is marked with <...>, whose text is the wrong value.
type twin struct {
	name  string
	texts []string // one per file: a.yaml, b.yaml, ...
	right string   // what stands in the place of the wrong value in the right twin
	key   string
	what  string // behind the key; FIRST stands for the place of the mark «...»
}

const (
	hostsAB  = "hosts:\n  - {name: a, vtep: 192.0.2.1}\n  - {name: b, vtep: 192.0.2.2}\n  - {name: t, vtep: 192.0.2.9, foreign: true}\n"
	oneEnv   = hostsAB + "environments:\n  - name: e\n    segments:\n"
	onePorts = oneEnv + "      - name: s\n        vni: 7\n        ports:\n"
	oneLearn = oneEnv + "      - name: s\n        vni: 7\n        learning: true\n        ports:\n"
	zoned    = "hosts:\n  - {name: a, vtep: 192.0.2.1, zone: az1}\n  - {name: b, vtep: 192.0.2.2}\n  - {name: t, vtep: 192.0.2.9, zone: az1, foreign: true}\nenvironments:\n  - name: e\n    segments:\n"
	macA     = `"02:00:00:00:00:01"`
	macB     = `"02:00:00:00:00:02"`
)

const (
	wantName   = "want 1 to 63 letters, digits, dots, dashes and underscores, the first a letter or digit"
	wantVTEP   = "want a unicast IPv4 or IPv6 address without a zone, like 192.0.2.1"
	wantMAC    = `want a unicast MAC like "02:00:00:00:00:0a"`
	wantDevice = "want a device name: 1 to 15 bytes, without slash, colon or space"
	wantRate   = "want a number from 1 to 1000000000000; leave it out for no limit"
	wantIP     = `want a unicast address without a prefix length, like "2001:45::4"`
)

// mark takes the marks out of the texts and returns where the wrong value and
// the first one of a pair are.
func (w twin) mark(t *testing.T, right bool) (docs []Document, at, first string) {
	t.Helper()
	for i, text := range w.texts {
		file := fmt.Sprintf("%c.yaml", 'a'+i)
		if before, _, ok := strings.Cut(text, "«"); ok && first == "" {
			first = place(file, before)
			text = strings.Replace(strings.Replace(text, "«", "", 1), "»", "", 1)
		}
		if before, rest, ok := strings.Cut(text, "<"); ok {
			wrong, after, _ := strings.Cut(rest, ">")
			at = place(file, before)
			if right {
				wrong = w.right
			}
			text = before + wrong + after
		}
		docs = append(docs, Document{Name: file, Data: []byte(text)})
	}
	if at == "" {
		t.Fatal("no mark")
	}
	return docs, at, first
}

// place is the position behind a text.
func place(file, before string) string {
	line := strings.Count(before, "\n") + 1
	return fmt.Sprintf("%s:%d:%d", file, line, len([]rune(before))-len([]rune(before[:strings.LastIndex(before, "\n")+1]))+1)
}

func port(rest string) string {
	return "          - {name: p, host: a, interface: i, " + rest + "}\n"
}

func multicast(rest string) []string {
	return []string{oneEnv + "      - {name: s, vni: 7, multicast: {" + rest + "}}\n"}
}

func governed(rest string) []string {
	return []string{"environments:\n  - name: e\n    governor: {" + rest + "}\n"}
}

func vteps(text string) []string {
	return []string{"hosts:\n  - {name: a, vtep: <" + text + ">}\n"}
}

// Every mistake has a place, a text and a twin that is right.
func TestTwins(t *testing.T) {
	const segments, ports = "environments[0].segments[0]", "environments[0].segments[0].ports"
	for _, c := range []twin{
		// Hosts.
		{"vtep unspecified", vteps("0.0.0.0"), "192.0.2.1", "hosts[0].vtep", "0.0.0.0 cannot be a tunnel endpoint; " + wantVTEP},
		{"vtep unspecified IPv6", vteps(`"::"`), "2001:db8::1", "hosts[0].vtep", ":: cannot be a tunnel endpoint; " + wantVTEP},
		{"vtep loopback", vteps("127.0.0.1"), "192.0.2.1", "hosts[0].vtep", "127.0.0.1 cannot be a tunnel endpoint; " + wantVTEP},
		{"vtep broadcast", vteps("255.255.255.255"), "192.0.2.1", "hosts[0].vtep", "255.255.255.255 cannot be a tunnel endpoint; " + wantVTEP},
		{"vtep link-local", vteps("169.254.0.1"), "192.0.2.1", "hosts[0].vtep", "169.254.0.1 cannot be a tunnel endpoint; " + wantVTEP},
		{"vtep group", vteps("ff02::1"), "2001:db8::1", "hosts[0].vtep", "ff02::1 cannot be a tunnel endpoint; " + wantVTEP},
		{"vtep zone", vteps("2001:db8::1%eth0"), "2001:db8::1", "hosts[0].vtep", `"2001:db8::1%eth0"; ` + wantVTEP},
		{"vtep prefix", vteps("192.0.2.1/24"), "192.0.2.1", "hosts[0].vtep", `"192.0.2.1/24"; ` + wantVTEP},
		{"vtep name", vteps("host-a"), "192.0.2.1", "hosts[0].vtep", `"host-a"; ` + wantVTEP},
		{"vtep list", vteps("[192.0.2.1]"), "192.0.2.1", "hosts[0].vtep", "a list; " + wantVTEP},
		{"zone", []string{"hosts:\n  - {name: a, vtep: 192.0.2.1, zone: <az/1>}\n"}, "az1", "hosts[0].zone", `"az/1"; ` + wantName},
		{"name empty", []string{"hosts:\n  - {name: <\"\">, vtep: 192.0.2.1}\n"}, "a", "hosts[0].name", `""; ` + wantName},
		{"name with a dash first", []string{"hosts:\n  - {name: <-a>, vtep: 192.0.2.1}\n"}, "a-", "hosts[0].name", `"-a"; ` + wantName},
		{"name too long", []string{"hosts:\n  - {name: <" + strings.Repeat("a", 64) + ">, vtep: 192.0.2.1}\n"}, strings.Repeat("a", 63), "hosts[0].name", `"` + strings.Repeat("a", 64) + `"; ` + wantName},
		{"host not a mapping", []string{"hosts:\n  - <a>\n"}, "{name: a, vtep: 192.0.2.1}", "hosts[0]", `"a"; want a mapping with name, vtep, zone, foreign`},
		{"behind wide letters", []string{"hosts: # größer\n  - {zone: ok, name: <ä>, vtep: 192.0.2.1}\n"}, "a", "hosts[0].name", `"ä"; ` + wantName},
		// The tunnel.
		{"tunnel port too large", []string{"tunnel: {port: <65536>}\n"}, "65535", "tunnel.port", `"65536"; want a number from 1 to 65535`},
		{"tunnel port with a zero", []string{"tunnel: {port: <04789>}\n"}, "4789", "tunnel.port", `"04789"; want a number from 1 to 65535`},
		{"encapsulation in capitals", []string{"tunnel: {encapsulation: <VXLAN>}\n"}, "vxlan", "tunnel.encapsulation", `"VXLAN"; want vxlan or geneve`},
		{"tunnels of two files", []string{"tunnel: «{port: 4790}»\n", "tunnel: <{port: 4789}>\n"}, "{encapsulation: vxlan, port: 4790}", "tunnel", "differs from the one at FIRST; want the same for all hosts"},
		// Segments.
		{"vni 0", []string{oneEnv + "      - {name: s, vni: <0>}\n"}, "1", segments + ".vni", `"0"; want a number from 1 to 16777215`},
		{"vni negative", []string{oneEnv + "      - {name: s, vni: <-1>}\n"}, "16777215", segments + ".vni", `"-1"; want a number from 1 to 16777215`},
		{"vni huge", []string{oneEnv + "      - {name: s, vni: <99999999999999999999>}\n"}, "1", segments + ".vni", `"99999999999999999999"; want a number from 1 to 16777215`},
		{"mtu too large", []string{oneEnv + "      - {name: s, vni: 7, mtu: <65466>}\n"}, "65465", segments + ".mtu", `"65466"; want a number from 1280 to 65465`},
		{"mtu too small", []string{oneEnv + "      - {name: s, vni: 7, mtu: <576>}\n"}, "1280", segments + ".mtu", `"576"; want a number from 1280 to 65465`},
		{"mtu with a unit", []string{oneEnv + "      - {name: s, vni: 7, mtu: <1400B>}\n"}, "auto", segments + ".mtu", `"1400B"; want auto, or a number from 1280 to 65465`},
		{"learning list", []string{oneEnv + "      - {name: s, vni: 7, learning: <[true]>}\n"}, "true", segments + ".learning", "a list; want true or false"},
		{"unknown unicast", []string{oneEnv + "      - {name: s, vni: 7, unknown_unicast: <Flood>}\n"}, "flood", segments + ".unknown_unicast", `"Flood"; want drop or flood`},
		{"members not a list", []string{oneEnv + "      - {name: s, vni: 7, members: <a>}\n"}, "[a]", segments + ".members", `"a"; want a list`},
		{"unknown member", []string{oneEnv + "      - {name: s, vni: 7, members: [a, <B>]}\n"}, "b", segments + ".members[1]", `there is no host "B"; want a host that is listed under hosts`},
		{"foreign member", []string{oneEnv + "      - {name: s, vni: 7, members: [a, <t>]}\n"}, "b", segments + ".members[1]", "host t is foreign, so its MACs must be learned; want learning: true in this segment"},
		{"ports not a list", []string{oneEnv + "      - {name: s, vni: 7, ports: <{}>}\n"}, "[]", segments + ".ports", "a mapping; want a list"},
		{"segment key", []string{oneEnv + "      - {name: s, vni: 7, <member>: []}\n"}, "members", segments + ".member", `unknown key "member"; want one of name, vni, mtu, learning, unknown_unicast, multicast, neighbor_answers, relay, clamp_mss, members, ports (did you mean members?)`},
		{"clamping by a number", []string{oneEnv + "      - {name: s, vni: 7, clamp_mss: <1400>}\n"}, "true", segments + ".clamp_mss", `"1400"; want true or false`},
		{"answers in capitals", []string{oneEnv + "      - {name: s, vni: 7, neighbor_answers: <True>}\n"}, "true", segments + ".neighbor_answers", `"True"; want true or false`},
		// Multicast.
		{"multicast of no value", []string{oneEnv + "      - name: s\n        vni: 7\n        multicast: <~>\n"}, "{}", segments + ".multicast", "no value; want a mapping with snooping, unknown_groups, fast_leave, querier, query_interval, query_response_interval, robustness, groups_per_port, groups, sources"},
		{"multicast key", multicast("<fast_leaves>: true"), "fast_leave", segments + ".multicast.fast_leaves", `unknown key "fast_leaves"; want one of snooping, unknown_groups, fast_leave, querier, query_interval, query_response_interval, robustness, groups_per_port, groups, sources (did you mean fast_leave?)`},
		{"snooping", multicast("snooping: <on>"), "false", segments + ".multicast.snooping", `"on"; want true or false`},
		{"unknown groups", multicast("unknown_groups: <routers>"), "drop", segments + ".multicast.unknown_groups", `"routers"; want flood or drop`},
		{"fast leave", multicast("fast_leave: <1>"), "true", segments + ".multicast.fast_leave", `"1"; want true or false`},
		{"querier", multicast("querier: <no>"), "false", segments + ".multicast.querier", `"no"; want true or false`},
		{"query interval without a unit", multicast("query_interval: <125>"), "125s", segments + ".multicast.query_interval", `"125"; want a duration from 1s to 8h49m4s, like 10s`},
		{"query interval too short", multicast("query_interval: <999ms>, query_response_interval: 500ms"), "1000ms", segments + ".multicast.query_interval", `"999ms"; want a duration from 1s to 8h49m4s, like 10s`},
		{"query interval too long", multicast("query_interval: <31744.1s>"), "31744s", segments + ".multicast.query_interval", `"31744.1s"; want a duration from 1s to 8h49m4s, like 10s`},
		{"query interval huge", multicast("query_interval: <9999999999h>"), "8h", segments + ".multicast.query_interval", `"9999999999h"; want a duration from 1s to 8h49m4s, like 10s`},
		{"query interval negative", multicast("query_interval: <-2m>"), "2m", segments + ".multicast.query_interval", `"-2m"; want a duration from 1s to 8h49m4s, like 10s`},
		{"query interval list", multicast("query_interval: <[2m]>"), "2m", segments + ".multicast.query_interval", "a list; want a duration from 1s to 8h49m4s, like 10s"},
		{"response interval too short", multicast("query_response_interval: <99ms>"), "100ms", segments + ".multicast.query_response_interval", `"99ms"; want a duration from 100ms to 52m54.4s, like 10s`},
		{"response interval too long", multicast("query_interval: 8h, query_response_interval: <3175s>"), "3174400ms", segments + ".multicast.query_response_interval", `"3175s"; want a duration from 100ms to 52m54.4s, like 10s`},
		{"response interval of the query interval", multicast("query_interval: 20s, query_response_interval: <20s>"), "19.9s", segments + ".multicast.query_response_interval", "20s with a query_interval of 20s; want less than the query_interval"},
		{"response interval of the default", multicast("query_response_interval: <3m>"), "2m", segments + ".multicast.query_response_interval", "3m0s with a query_interval of 2m5s; want less than the query_interval"},
		{"query interval below the default", multicast("query_interval: <10s>"), "11s", segments + ".multicast.query_interval", "10s with a query_response_interval of 10s; want more than the query_response_interval"},
		{"robustness 0", multicast("robustness: <0>"), "1", segments + ".multicast.robustness", `"0"; want a number from 1 to 7`},
		{"robustness 8", multicast("robustness: <8>"), "7", segments + ".multicast.robustness", `"8"; want a number from 1 to 7`},
		{"groups of a port 0", multicast("groups_per_port: <0>"), "1", segments + ".multicast.groups_per_port", `"0"; want a number from 1 to 65536`},
		{"groups of a port too many", multicast("groups_per_port: <65537>"), "65536", segments + ".multicast.groups_per_port", `"65537"; want a number from 1 to 65536`},
		{"groups 0", multicast("groups: <0>"), "1", segments + ".multicast.groups", `"0"; want a number from 1 to 16777216`},
		{"groups too many", multicast("groups: <16777217>"), "16777216", segments + ".multicast.groups", `"16777217"; want a number from 1 to 16777216`},
		{"sources negative", multicast("sources: <-1>"), "0", segments + ".multicast.sources", `"-1"; want a number from 0 to 1024`},
		{"sources too many", multicast("sources: <1025>"), "1024", segments + ".multicast.sources", `"1025"; want a number from 0 to 1024`},
		// Relays.
		{"relay without vni", []string{zoned + "      - {name: s, vni: 7, members: [a], relay: <{threshold: 2}>}\n"}, "{vni: 8}", segments + ".relay.vni", "missing; want a vni"},
		{"relay of a number", []string{zoned + "      - {name: s, vni: 7, members: [a], relay: <8>}\n"}, "{vni: 8}", segments + ".relay", `"8"; want a mapping with vni, threshold`},
		{"relay vni 0", []string{zoned + "      - {name: s, vni: 7, members: [a], relay: {vni: <0>}}\n"}, "8", segments + ".relay.vni", `"0"; want a number from 1 to 16777215`},
		{"relay vni of its segment", []string{zoned + "      - {name: s, vni: «7», members: [a], relay: {vni: <7>}}\n"}, "8", segments + ".relay.vni", "VNI 7 is used already at FIRST; want another one"},
		{"relay vni of another relay", []string{zoned + "      - {name: s, vni: 7, members: [a], relay: {vni: «9»}}\n      - {name: z, vni: 8, members: [a], relay: {vni: <9>}}\n"}, "10", "environments[0].segments[1].relay.vni", "VNI 9 is used already at FIRST; want another one"},
		{"vni of a relay", []string{zoned + "      - {name: s, vni: 7, members: [a], relay: {vni: «9»}}\n      - {name: z, vni: <9>}\n"}, "10", "environments[0].segments[1].vni", "VNI 9 is used already at FIRST; want another one"},
		{"relay threshold 0", []string{zoned + "      - {name: s, vni: 7, members: [a], relay: {vni: 8, threshold: <0>}}\n"}, "1", segments + ".relay.threshold", `"0"; want a number from 1 to 16777216`},
		{"relay key", []string{zoned + "      - {name: s, vni: 7, members: [a], relay: {vni: 8, <treshold>: 2}}\n"}, "threshold", segments + ".relay.treshold", `unknown key "treshold"; want one of vni, threshold (did you mean threshold?)`},
		{"relay where MACs are learned", []string{zoned + "      - name: s\n        vni: 7\n        members: [a]\n        relay: <{vni: 8}\n        learning: true>\n"}, "{vni: 8}\n        learning: false", segments + ".relay", "relayed frames come from the relay's VTEP, so MACs would be learned behind the wrong host; want learning: false, or no relay in this segment"},
		{"relay and a foreign member", []string{zoned + "      - {name: s, vni: 7, relay: {vni: 8}, members: [a, <t>]}\n"}, "b", segments + ".members[1]", "host t is foreign, so its MACs must be learned; want learning: true and no relay in this segment"},
		{"relay and a port without mac", []string{zoned + "      - {name: s, vni: 7, relay: {vni: 8}, ports: [<{name: p, host: a, interface: i}>]}\n"}, "{name: p, host: a, interface: i, mac: " + macA + "}", ports + "[0]", "port without mac in a segment that does not learn; want a mac, or learning: true and no relay in this segment"},
		{"relay and any MAC", []string{zoned + "      - {name: s, vni: 7, relay: {vni: 8}, ports: [{name: p, host: a, interface: i, mac: " + macA + ", extra_macs: <any>}]}\n"}, "[" + macB + "]", ports + "[0].extra_macs", "any MAC behind a port of a segment that does not learn; want a list of MACs, or learning: true and no relay in this segment"},
		{"relay without zones", []string{zoned + "      - name: s\n        vni: 7\n        members: [b]\n        relay: <{vni: 8}>\n      - {name: z, vni: 9, members: [a]}\n"}, "{vni: 8}\n        ports: [{name: p, host: a, interface: i, mac: " + macA + "}]", segments + ".relay", "no host of this segment has a zone, so none could be reached by a relay; want hosts with a zone, or no relay in this segment"},
		// Governors.
		{"governor of a number", []string{"environments:\n  - {name: e, governor: <100>}\n"}, "{}", "environments[0].governor", `"100"; want a mapping with broadcast, unknown_unicast, multicast`},
		{"governor key", governed("<unicast>: {copies: 1}"), "unknown_unicast", "environments[0].governor.unicast", `unknown key "unicast"; want one of broadcast, unknown_unicast, multicast`},
		{"governor of no class", governed("broadcast: <{}>"), "{copies: 1}", "environments[0].governor.broadcast", "no limit given; want copies, bytes or both; leave the class out for no limit"},
		{"governor class of a number", governed("multicast: <100>"), "{bytes: 100}", "environments[0].governor.multicast", `"100"; want a mapping with copies, bytes`},
		{"governor class key", governed("multicast: {<packets>: 1}"), "copies", "environments[0].governor.multicast.packets", `unknown key "packets"; want one of copies, bytes`},
		{"copies 0", governed("unknown_unicast: {copies: <0>}"), "1", "environments[0].governor.unknown_unicast.copies", `"0"; ` + wantRate},
		{"bytes 0", governed("broadcast: {copies: 1, bytes: <0>}"), "1", "environments[0].governor.broadcast.bytes", `"0"; ` + wantRate},
		{"bytes too many", governed("broadcast: {bytes: <1000000000001>}"), "1000000000000", "environments[0].governor.broadcast.bytes", `"1000000000001"; ` + wantRate},
		{"bytes with a unit", governed("broadcast: {bytes: <10M>}"), "10000000", "environments[0].governor.broadcast.bytes", `"10M"; ` + wantRate},
		{"governor of a port", []string{onePorts + port("mac: "+macA+", governor: {broadcast: {copies: <-1>}}")}, "1", ports + "[0].governor.broadcast.copies", `"-1"; ` + wantRate},
		{"governor of a segment", []string{oneEnv + "      - {name: s, vni: 7, <governor>: auto}\n"}, "mtu", segments + ".governor", `unknown key "governor"; want one of name, vni, mtu, learning, unknown_unicast, multicast, neighbor_answers, relay, clamp_mss, members, ports`},
		// Ports.
		{"port of no host", []string{onePorts + "          - {name: p, host: <c>, interface: i, mac: " + macA + "}\n"}, "b", ports + "[0].host", `there is no host "c"; want a host that is listed under hosts`},
		{"port of a foreign host", []string{oneLearn + "          - {name: p, host: <t>, interface: i}\n"}, "a", ports + "[0].host", "host t is foreign and has no ports of ours; want a host with the agent, or the host under members"},
		{"interface empty", []string{onePorts + "          - {name: p, host: a, interface: <\"\">, mac: " + macA + "}\n"}, "i", ports + "[0].interface", `""; ` + wantDevice},
		{"interface dot", []string{onePorts + "          - {name: p, host: a, interface: <.>, mac: " + macA + "}\n"}, "a.b", ports + "[0].interface", `"."; ` + wantDevice},
		{"interface dots", []string{onePorts + "          - {name: p, host: a, interface: <..>, mac: " + macA + "}\n"}, "...", ports + "[0].interface", `".."; ` + wantDevice},
		{"interface slash", []string{onePorts + "          - {name: p, host: a, interface: <a/b>, mac: " + macA + "}\n"}, "a-b", ports + "[0].interface", `"a/b"; ` + wantDevice},
		{"interface alias", []string{onePorts + "          - {name: p, host: a, interface: <\"eth0:1\">, mac: " + macA + "}\n"}, "eth0.1", ports + "[0].interface", `"eth0:1"; ` + wantDevice},
		{"interface space", []string{onePorts + "          - {name: p, host: a, interface: <a b>, mac: " + macA + "}\n"}, "a_b", ports + "[0].interface", `"a b"; ` + wantDevice},
		{"interface of 16", []string{onePorts + "          - {name: p, host: a, interface: <0123456789abcdef>, mac: " + macA + "}\n"}, "0123456789abcde", ports + "[0].interface", `"0123456789abcdef"; ` + wantDevice},
		{"mac without colons", []string{onePorts + port("mac: <020000000001>")}, macA, ports + "[0].mac", `"020000000001" is not a MAC; ` + wantMAC},
		{"mac with dashes", []string{onePorts + port("mac: <02-00-00-00-00-01>")}, macA, ports + "[0].mac", `"02-00-00-00-00-01" is not a MAC; ` + wantMAC},
		{"mac of other letters", []string{onePorts + port(`mac: <"02:00:00:00:00:0g">`)}, macA, ports + "[0].mac", `"02:00:00:00:00:0g" is not a MAC; ` + wantMAC},
		{"mac too long", []string{onePorts + port(`mac: <"02:00:00:00:00:01:02">`)}, macA, ports + "[0].mac", `"02:00:00:00:00:01:02" is not a MAC; ` + wantMAC},
		{"mac broadcast", []string{onePorts + port(`mac: <"ff:ff:ff:ff:ff:ff">`)}, macA, ports + "[0].mac", "ff:ff:ff:ff:ff:ff is a group address; " + wantMAC},
		{"extra macs word", []string{oneLearn + port("extra_macs: <all>")}, "any", ports + "[0].extra_macs", `"all"; want a list`},
		{"extra mac group", []string{onePorts + port(`mac: `+macA+`, extra_macs: [<"33:33:00:00:00:01">]`)}, macB, ports + "[0].extra_macs[0]", "33:33:00:00:00:01 is a group address; " + wantMAC},
		{"extra mac that is the mac", []string{onePorts + port(`mac: «`+macA+`», extra_macs: [<`+macA+`>]`)}, macB, ports + "[0].extra_macs[0]", "MAC 02:00:00:00:00:01 of this segment is used already at FIRST; want another one"},
		{"extra mac of another port", []string{onePorts + port(`mac: «`+macA+`»`) + "          - {name: q, host: b, interface: i, mac: " + macB + ", extra_macs: [<\"02:00:00:00:00:01\">]}\n"}, `"02:00:00:00:00:03"`, ports + "[1].extra_macs[0]", "MAC 02:00:00:00:00:01 of this segment is used already at FIRST; want another one"},
		{"mac in other letters", []string{onePorts + port(`mac: «"02:00:00:00:00:0a"»`) + "          - {name: q, host: b, interface: i, mac: <\"02:00:00:00:00:0A\">}\n"}, macB, ports + "[1].mac", "MAC 02:00:00:00:00:0a of this segment is used already at FIRST; want another one"},
		{"address of another port", []string{onePorts + port(`mac: `+macA+`, ips: [«10.0.0.1»]`) + "          - {name: q, host: b, interface: i, mac: " + macB + ", ips: [<10.0.0.1>]}\n"}, "10.0.0.2", ports + "[1].ips[0]", "address 10.0.0.1 of this segment is used already at FIRST; want another one"},
		{"address in other letters", []string{onePorts + port(`mac: `+macA+`, ips: [«"2001:45::4"», <"2001:45:0:0::0004">]`)}, `"2001:45::5"`, ports + "[0].ips[1]", "address 2001:45::4 of this segment is used already at FIRST; want another one"},
		{"address unspecified", []string{onePorts + port(`mac: `+macA+`, ips: [<0.0.0.0>]`)}, "10.0.0.1", ports + "[0].ips[0]", "0.0.0.0 cannot be a guest's address; " + wantIP},
		{"address mapped", []string{onePorts + port(`mac: `+macA+`, ips: [<"::ffff:10.0.0.1">]`)}, "10.0.0.1", ports + "[0].ips[0]", `"::ffff:10.0.0.1"; ` + wantIP},
		{"address with a zone", []string{onePorts + port(`mac: `+macA+`, ips: [<"fe80::1%eth0">]`)}, `"fe80::1"`, ports + "[0].ips[0]", `"fe80::1%eth0"; ` + wantIP},
		{"families by ports", []string{"hosts:\n  - {name: a, vtep: 192.0.2.1}\n  - {name: b, vtep: 192.0.2.2}\n  - {name: six, vtep: \"2001:db8::1\"}\nenvironments:\n  - name: e\n    segments:\n      - name: s\n        vni: 7\n        ports:\n" + port("mac: "+macA) + "          - {name: q, host: <six>, interface: i, mac: " + macB + "}\n"}, "b", ports + "[1].host", "host six has another address family than a; want VTEPs of one address family in a segment"},
		// Duplicates over files.
		{"host of two files", []string{"hosts:\n  - {name: «a», vtep: 192.0.2.1}\n", "hosts:\n  - {name: <a>, vtep: 192.0.2.2}\n"}, "b", "hosts[0].name", "host a is used already at FIRST; want another one"},
		{"VTEP of two files", []string{"hosts:\n  - {name: a, vtep: «192.0.2.1»}\n", "hosts:\n  - {name: b, vtep: <192.0.2.1>}\n"}, "192.0.2.2", "hosts[0].vtep", "VTEP 192.0.2.1 is used already at FIRST; want another one"},
		{"environment of two files", []string{"environments:\n  - {name: «e»}\n", "environments:\n  - {name: <e>}\n"}, "f", "environments[0].name", "environment e is used already at FIRST; want another one"},
		{"VNI of two files", []string{"environments: [{name: e, segments: [{name: s, vni: «7»}]}]\n", "environments: [{name: f, segments: [{name: s, vni: <7>}]}]\n"}, "8", segments + ".vni", "VNI 7 is used already at FIRST; want another one"},
		{"interface of two files", []string{hostsAB + "environments: [{name: e, segments: [{name: s, vni: 7, ports: [{name: p, host: a, interface: «i», mac: " + macA + "}]}]}]\n",
			"environments: [{name: f, segments: [{name: s, vni: 8, ports: [{name: p, host: a, interface: <i>, mac: " + macA + "}]}]}]\n"}, "j", ports + "[0].interface", "interface i of host a is used already at FIRST; want another one"},
		// A host may stand in a later file than what names it.
		{"host of a later file", []string{"environments: [{name: e, segments: [{name: s, vni: 7, members: [<c>]}]}]\n", "hosts: [{name: a, vtep: 192.0.2.1}]\n"}, "a", segments + ".members[0]", `there is no host "c"; want a host that is listed under hosts`},
	} {
		t.Run(c.name, func(t *testing.T) {
			docs, at, first := c.mark(t, false)
			_, err := Parse(docs)
			want := at + ": " + c.key + ": " + strings.ReplaceAll(c.what, "FIRST", first)
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want %s", err, want)
			}
			if diff := cmp.Diff([]string{want}, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			docs, _, _ = c.mark(t, true)
			if _, err := Parse(docs); err != nil {
				t.Errorf("the right twin: %v", err)
			}
		})
	}
}

// A host whose entry cannot be read is not called unknown by whoever names it:
// there is one mistake, and it is told alone. A twin of it, in which the hosts
// can be read, has the unknown one.
func TestUnreadHosts(t *testing.T) {
	const port = "environments: [{name: e, segments: [{name: s, vni: 7, ports: [{name: p, host: a, interface: i, mac: " + macA + "}]}]}]\n"
	for name, c := range map[string]struct{ text, want string }{
		"not YAML":        {"hosts: [{name: a vtep: 192.0.2.1}]\n", "b.yaml:1:22: not YAML: did not find expected ',' or '}'; want a YAML document"},
		"not UTF-8":       {"hosts: [{name: a, vtep: 192.0.2.1}] # \xff\n", "b.yaml:1:39: not UTF-8 text; want a YAML document in UTF-8"},
		"anchors":         {"hosts: &x [{name: a, vtep: 192.0.2.1}]\n", "b.yaml:1:8: anchors and aliases are not read; want every value written out"},
		"misspelt":        {"Hosts: [{name: a, vtep: 192.0.2.1}]\n", `b.yaml:1:1: Hosts: unknown key "Hosts"; want one of tunnel, hosts, environments (did you mean hosts?)`},
		"in capitals":     {"HOSTS: [{name: a, vtep: 192.0.2.1}]\n", `b.yaml:1:1: HOSTS: unknown key "HOSTS"; want one of tunnel, hosts, environments (did you mean hosts?)`},
		"a mapping":       {"hosts: {a: 192.0.2.1}\n", "b.yaml:1:8: hosts: a mapping; want a list"},
		"no value":        {"hosts:\n", "b.yaml:1:7: hosts: no value; want a list"},
		"twice":           {"hosts: []\nhosts: [{name: a, vtep: 192.0.2.1}]\n", "b.yaml:2:1: hosts: key given twice, first at line 1; want it once"},
		"a list":          {"- hosts\n", "b.yaml:1:1: a list; want a mapping with tunnel, hosts, environments"},
		"no name":         {"hosts: [{vtep: 192.0.2.1}]\n", "b.yaml:1:9: hosts[0].name: missing; want a name"},
		"a host of text":  {"hosts: [a]\n", `b.yaml:1:9: hosts[0]: "a"; want a mapping with name, vtep, zone, foreign`},
		"in the second":   {"hosts: []\n---\nhosts: [{name: a, vtep: 192.0.2.1}]\n", "b.yaml:2:1: a second YAML document; want one document per file"},
		"can be read":     {"hosts: []\n", `a.yaml:1:79: environments[0].segments[0].ports[0].host: there is no host "a"; want a host that is listed under hosts`},
		"is written well": {"hosts: [{name: a, vtep: 192.0.2.1, zone: 1/2}]\n", `b.yaml:1:42: hosts[0].zone: "1/2"; ` + wantName},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, port, c.text)
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// A relay is not called useless for want of zones while some could not be read,
// nor where nobody is a member yet.
func TestUnreadZones(t *testing.T) {
	const relay = "environments: [{name: e, segments: [{name: s, vni: 7, members: [a], relay: {vni: 8}}]}]\n"
	const useless = "a.yaml:1:76: environments[0].segments[0].relay: no host of this segment has a zone, so none could be reached by a relay; want hosts with a zone, or no relay in this segment"
	for name, c := range map[string]struct{ text, hosts, want string }{
		"misspelt":      {relay, "hosts: [{name: a, vtep: 192.0.2.1, zoen: az1}]\n", `b.yaml:1:36: hosts[0].zoen: unknown key "zoen"; want one of name, vtep, zone, foreign (did you mean zone?)`},
		"bad":           {relay, "hosts: [{name: a, vtep: 192.0.2.1, zone: 1/2}]\n", `b.yaml:1:42: hosts[0].zone: "1/2"; ` + wantName},
		"no value":      {relay, "hosts: [{name: a, vtep: 192.0.2.1, zone: }]\n", "b.yaml:1:42: hosts[0].zone: no value; " + wantName},
		"unread hosts":  {relay, "hosts: [{name: a, vtep: 192.0.2.1}, {vtep: 192.0.2.2}]\n", "b.yaml:1:37: hosts[1].name: missing; want a name"},
		"can be read":   {relay, "hosts: [{name: a, vtep: 192.0.2.1}]\n", useless},
		"another's":     {relay, "hosts: [{name: a, vtep: 192.0.2.1}, {name: b, vtep: 192.0.2.2, zone: az1}]\n", useless},
		"a zone":        {relay, "hosts: [{name: a, vtep: 192.0.2.1, zone: az1}]\n", ""},
		"nobody's yet":  {"environments: [{name: e, segments: [{name: s, vni: 7, relay: {vni: 8}}]}]\n", "hosts: []\n", ""},
		"a port's host": {"environments: [{name: e, segments: [{name: s, vni: 7, relay: {vni: 8}, ports: [{name: p, host: a, interface: i, mac: " + macA + "}]}]}]\n", "hosts: [{name: a, vtep: 192.0.2.1, zone: az1}]\n", ""},
		"a foreign host's alone": {"environments: [{name: e, segments: [{name: s, vni: 7, learning: true, members: [t], relay: {vni: 8}}]}]\n", "hosts: [{name: t, vtep: 192.0.2.9, zone: az1, foreign: true}]\n",
			"a.yaml:1:92: environments[0].segments[0].relay: relayed frames come from the relay's VTEP, so MACs would be learned behind the wrong host; want learning: false, or no relay in this segment\n" +
				strings.Replace(useless, ":76:", ":92:", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if _, err := parse(t, c.text, c.hosts); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// A wrong time is told alone: the other of the pair cannot be judged by it.
func TestWrongIntervals(t *testing.T) {
	const keys = "snooping, unknown_groups, fast_leave, querier, query_interval, query_response_interval, robustness, groups_per_port, groups, sources"
	for text, want := range map[string]string{
		"query_interval: 0s, query_response_interval: 200s":    `55: environments[0].segments[0].multicast.query_interval: "0s"; want a duration from 1s to 8h49m4s, like 10s`,
		"query_interval: 5s, query_response_interval: 0s":      `84: environments[0].segments[0].multicast.query_response_interval: "0s"; want a duration from 100ms to 52m54.4s, like 10s`,
		"query_intervall: 300s, query_response_interval: 200s": `39: environments[0].segments[0].multicast.query_intervall: unknown key "query_intervall"; want one of ` + keys + " (did you mean query_interval?)",
		"query_interval: 5s, query_response_intervall: 100ms":  `59: environments[0].segments[0].multicast.query_response_intervall: unknown key "query_response_intervall"; want one of ` + keys + " (did you mean query_response_interval?)",
	} {
		_, err := parse(t, multicast(text)[0])
		if want = "a.yaml:8:" + want; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// A key and a file's name are shown, and do nothing to whoever looks at them.
func TestControlCharacters(t *testing.T) {
	_, err := Parse([]Document{{Name: "a\x1b[2J.yaml", Data: []byte(`"\e[31mred": 1` + "\n" + `"": 2` + "\n" + `"two words": 3` + "\n")}})
	const known = "want one of tunnel, hosts, environments"
	want := `"a\x1b[2J.yaml":1:1: "\x1b[31mred": unknown key "\x1b[31mred"; ` + known + "\n" +
		`"a\x1b[2J.yaml":2:1: "": unknown key ""; ` + known + "\n" +
		`"a\x1b[2J.yaml":3:1: "two words": unknown key "two words"; ` + known
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// What looks like a duplicate and is none: each name counts in its own scope.
func TestScopes(t *testing.T) {
	model, err := parse(t, hostsAB+`environments:
  - name: e
    segments:
      - {name: s, vni: 7, members: [a, b], ports: [{name: p, host: a, interface: i, mac: `+macA+`, ips: [10.0.0.1]}]}
      - {name: z, vni: 8, ports: [{name: p, host: a, interface: j, mac: `+macA+`, ips: [10.0.0.1]}]}
  - name: f
    segments:
      - {name: s, vni: 9, ports: [{name: p, host: b, interface: i, mac: `+macA+`, ips: [10.0.0.1]}]}
`, "tunnel: {port: 4789}\n", "tunnel: {encapsulation: vxlan}\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(model.Environments) != 2 || len(model.Environments[0].Segments) != 2 {
		t.Errorf("got %+v", model.Environments)
	}
}

// All mistakes are told at once, in the order of files and lines, whatever
// order they are found in.
func TestOrderOfProblems(t *testing.T) {
	_, err := parse(t, "environments:\n  - {name: 1/2}\nhosts:\n  - {name: a, vtep: x}\n", "hosts: 3\ntunnel: 3\n")
	var got []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		at, _, _ := strings.Cut(line, ": ")
		got = append(got, at)
	}
	if diff := cmp.Diff([]string{"a.yaml:2:12", "a.yaml:4:21", "b.yaml:1:8", "b.yaml:2:9"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHint(t *testing.T) {
	known := []string{"members", "name", "vni"}
	for word, want := range map[string]string{
		"member": " (did you mean members?)", "mmebers": " (did you mean members?)", "Name": " (did you mean name?)", "vnis": " (did you mean vni?)",
		"memb": "", "flavour": "", "": "",
	} {
		if got := Hint(word, known); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}

func TestMAC(t *testing.T) {
	for text, group := range map[string]bool{"02:00:5e:00:53:0a": false, "33:33:00:00:00:01": true, "ff:ff:ff:ff:ff:ff": true} {
		mac, err := ParseMAC(text)
		if err != nil || mac.String() != text || mac.IsGroup() != group {
			t.Errorf("%s: got %s, group %t, %v", text, mac, mac.IsGroup(), err)
		}
	}
}
