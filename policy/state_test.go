// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

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
