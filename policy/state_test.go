// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const threeHosts = `hosts:
  - {name: a, vtep: 192.0.2.1}
  - {name: b, vtep: 192.0.2.2}
  - {name: c, vtep: 192.0.2.3}
  - {name: idle, vtep: 192.0.2.4}
  - {name: tor, vtep: 192.0.2.9, foreign: true}
environments:
  - name: two
    segments:
      - {name: ab, vni: 20, mtu: 1400, unknown_unicast: flood, ports: [{name: y, host: b, interface: y, mac: "02:00:00:00:00:0b"}, {name: x, host: a, interface: x, mac: "02:00:00:00:00:0a"}]}
  - name: one
    segments:
      - {name: bc, vni: 10, learning: true, members: [tor, b, c]}
      - {name: nobody, vni: 5}
`

// Each host has the segments that it is a member of, the remotes that it shares
// one with, and nothing of anybody else's.
func TestStatesOfMembers(t *testing.T) {
	model, err := parse(t, threeHosts)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string][]string{
		"a":    {"remote b", "20 two/ab: remotes [192.0.2.2] ports [x] fdb [02:00:00:00:00:0a>x 02:00:00:00:00:0b>192.0.2.2]"},
		"b":    {"remote a", "remote c", "remote tor", "10 one/bc: remotes [192.0.2.3 192.0.2.9] ports [] fdb []", "20 two/ab: remotes [192.0.2.1] ports [y] fdb [02:00:00:00:00:0a>192.0.2.1 02:00:00:00:00:0b>y]"},
		"c":    {"remote b", "remote tor", "10 one/bc: remotes [192.0.2.2 192.0.2.9] ports [] fdb []"},
		"idle": nil,
	} {
		state, err := model.State(host)
		if err != nil {
			t.Fatal(err)
		}
		if state.Host.Name != host {
			t.Errorf("the state of %s is %s's", host, state.Host.Name)
		}
		if diff := cmp.Diff(want, describeState(state)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", host, diff)
		}
	}
	state, err := model.State("a")
	if err != nil {
		t.Fatal(err)
	}
	if s := state.Segments[0]; s.MTU != 1400 || !s.FloodUnknown || s.Learning {
		t.Errorf("settings of the segment: %+v", s)
	}
}

func describeState(s *State) []string {
	var lines []string
	for _, r := range s.Remotes {
		lines = append(lines, "remote "+r.Name)
	}
	for _, segment := range s.Segments {
		ports, fdb := []string{}, []string{}
		for _, p := range segment.Ports {
			ports = append(ports, p.Name)
		}
		for _, e := range segment.FDB {
			where := e.Port
			if where == "" {
				where = e.VTEP.String()
			}
			fdb = append(fdb, e.MAC.String()+">"+where)
		}
		lines = append(lines, fmt.Sprintf("%d %s: remotes %v ports %v fdb %v", segment.VNI, segment.Object(), segment.Remotes, ports, fdb))
	}
	return lines
}

// settled has a value of its own for each setting of groups, neighbours, relays
// and governors.
const settled = `hosts:
  - {name: a, vtep: 192.0.2.1, zone: az1}
  - {name: b, vtep: 192.0.2.2}
environments:
  - name: e
    governor: {broadcast: {copies: 1, bytes: 2}, unknown_unicast: {copies: 3, bytes: 4}, multicast: {bytes: 1000000000000}}
    segments:
      - name: s
        vni: 7
        learning: false
        multicast: {snooping: false, unknown_groups: drop, fast_leave: true, querier: false, query_interval: 2m, query_response_interval: 500ms, robustness: 7, groups_per_port: 5, groups: 6, sources: 0}
        neighbor_answers: false
        relay: {vni: 8, threshold: 9}
        ports:
          - {name: q, host: b, interface: q, mac: "02:00:00:00:00:02", ips: ["fe80::2", "10.0.0.2", "2001:db8::2", "10.0.0.10"]}
          - {name: p, host: a, interface: p, mac: "02:00:00:00:00:03", ips: ["10.0.0.3"], governor: {multicast: {copies: 10}}}
      - name: z
        vni: 9
        learning: true
        multicast: {snooping: true, unknown_groups: flood, querier: true, query_response_interval: 2m}
        neighbor_answers: true
        ports:
          - {name: unknown, host: a, interface: z0, ips: ["10.0.0.1"]}
          - {name: extra, host: a, interface: z1, extra_macs: ["02:00:00:00:00:04"], ips: ["10.0.0.4"]}
      - {name: relayed, vni: 10, members: [a], relay: {vni: 11}}
  - name: f
    segments: [{name: s, vni: 12, members: [a], multicast: {}}]
`

// Each setting is found in the state, and in no other segment or port.
func TestSettings(t *testing.T) {
	model, err := parse(t, settled)
	if err != nil {
		t.Fatal(err)
	}
	state, err := model.State("a")
	if err != nil {
		t.Fatal(err)
	}
	b, mac := netip.MustParseAddr("192.0.2.2"), func(n byte) MAC { return MAC{2, 0, 0, 0, 0, n} }
	ip := netip.MustParseAddr
	governor := Governor{Broadcast: Rate{1, 2}, UnknownUnicast: Rate{3, 4}, Multicast: Rate{Bytes: 1e12}}
	asking := DefaultMulticast()
	asking.QueryResponseInterval = 2 * time.Minute
	want := []Segment{
		{Environment: "e", EnvironmentGovernor: governor, Name: "s", VNI: 7,
			Multicast: Multicast{Snooping: false, DropUnknown: true, FastLeave: true, Querier: false, QueryInterval: 2 * time.Minute,
				QueryResponseInterval: 500 * time.Millisecond, Robustness: 7, GroupsPerPort: 5, Groups: 6, Sources: 0},
			Relay: Relay{VNI: 8, Threshold: 9}, Remotes: []netip.Addr{b},
			Ports: []Port{{Name: "p", Interface: "p", MAC: mac(3), HasMAC: true, IPs: []netip.Addr{ip("10.0.0.3")}, Governor: Governor{Multicast: Rate{Copies: 10}}}},
			FDB:   []Entry{{MAC: mac(2), VTEP: b}, {MAC: mac(3), Port: "p"}},
			Neighbors: []Neighbor{{IP: ip("10.0.0.2"), MAC: mac(2), VTEP: b}, {IP: ip("10.0.0.3"), MAC: mac(3), Port: "p"}, {IP: ip("10.0.0.10"), MAC: mac(2), VTEP: b},
				{IP: ip("2001:db8::2"), MAC: mac(2), VTEP: b}, {IP: ip("fe80::2"), MAC: mac(2), VTEP: b}}},
		// Addresses without a mac are nobody's to answer for.
		{Environment: "e", EnvironmentGovernor: governor, Name: "z", VNI: 9, Learning: true, Multicast: asking, NeighborAnswers: true,
			Ports: []Port{{Name: "extra", Interface: "z1", ExtraMACs: []MAC{mac(4)}, IPs: []netip.Addr{ip("10.0.0.4")}}, {Name: "unknown", Interface: "z0", IPs: []netip.Addr{ip("10.0.0.1")}}},
			FDB:   []Entry{{MAC: mac(4), Port: "extra"}}},
		{Environment: "e", EnvironmentGovernor: governor, Name: "relayed", VNI: 10, Multicast: DefaultMulticast(), NeighborAnswers: true, Relay: Relay{VNI: 11, Threshold: 8}},
		{Environment: "f", Name: "s", VNI: 12, Multicast: DefaultMulticast(), NeighborAnswers: true},
	}
	if diff := cmp.Diff(want, state.Segments, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if state.Host.Zone != "az1" || len(state.Remotes) != 1 || state.Remotes[0].Zone != "" {
		t.Errorf("zones of %+v and %+v", state.Host, state.Remotes)
	}
}

// The defaults are those of the documentation.
func TestDefaultMulticast(t *testing.T) {
	const defaults = "snooping: true, unknown_groups: flood, fast_leave: false, querier: true, query_interval: 125s, query_response_interval: 10s, robustness: 2, groups_per_port: 1024, groups: 8192, sources: 64"
	model, err := parse(t, multicast(defaults)[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := model.Environments[0].Segments[0].Multicast; got != DefaultMulticast() {
		t.Errorf("got %+v, want %+v", DefaultMulticast(), got)
	}
}

// The order of a document's lists and its spreading over files mean nothing.
func TestStateDoesNotDependOnOrder(t *testing.T) {
	hosts := []string{"{name: a, vtep: 192.0.2.1}", "{name: b, vtep: 192.0.2.2}", "{name: c, vtep: 192.0.2.3}"}
	port := func(i int) string {
		return fmt.Sprintf(`{name: p%d, host: %c, interface: i%d, mac: "02:00:00:00:00:0%d"}`, i, 'a'+i%3, i, i)
	}
	document := func(hosts []string, ports []int) (string, string) {
		first, second := "hosts:\n", "environments:\n  - name: e\n    segments:\n      - name: s\n        vni: 7\n        ports:\n"
		for _, h := range hosts {
			first += "  - " + h + "\n"
		}
		for _, i := range ports {
			second += "          - " + port(i) + "\n"
		}
		return first, second
	}
	states := func(texts ...string) []*State {
		model, err := parse(t, texts...)
		if err != nil {
			t.Fatal(err)
		}
		var all []*State
		for _, host := range []string{"a", "b", "c"} {
			state, err := model.State(host)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, state)
		}
		return all
	}
	first, second := document(hosts, []int{0, 1, 2, 3, 4, 5})
	want := states(first, second)
	slices.Reverse(hosts)
	first, second = document(hosts, []int{4, 2, 0, 5, 3, 1})
	for name, got := range map[string][]*State{"other order": states(first, second), "other files": states(second, first), "one file": states(first + second)} {
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestCompareEdges(t *testing.T) {
	full := map[int]int{1: 1, 2: 2}
	for name, c := range map[string]struct {
		have, want map[int]int
		put        map[int]int
		gone       []int
	}{
		"same":         {full, full, map[int]int{}, nil},
		"from nothing": {nil, full, full, nil},
		"to nothing":   {full, nil, map[int]int{}, []int{1, 2}},
		"zero value":   {map[int]int{}, map[int]int{1: 0}, map[int]int{1: 0}, nil},
	} {
		d := Compare(c.have, c.want)
		slices.Sort(d.Delete)
		if diff := cmp.Diff(Difference[int, int]{c.put, c.gone}, d); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
