// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"

	"overcast/bpf"
)

// What a host may have is what the datapath has slots for.
func TestLimitsOfTheDatapath(t *testing.T) {
	if MaxPorts != bpf.MaxPorts-1 || MaxSegments != bpf.MaxSegments-1 {
		t.Errorf("got %d ports and %d segments, want those of the maps without slot 0: %d, %d", MaxPorts, MaxSegments, bpf.MaxPorts-1, bpf.MaxSegments-1)
	}
}

// One more than a host may have is told, once and where it stands; the most
// are fine, and so is a foreign host in any number of segments.
func TestTooMany(t *testing.T) {
	const hosts = "hosts: [{name: a, vtep: 192.0.2.1}, {name: b, vtep: 192.0.2.2}, {name: t, vtep: 192.0.2.9, foreign: true}]\nenvironments:\n  - name: e\n    segments:\n"
	ports := func(n int) string {
		var b strings.Builder
		b.WriteString(hosts + "      - name: s\n        vni: 1\n        ports:\n          - {name: b, host: b, interface: i, mac: \"02:00:00:01:00:00\"}\n")
		for i := range n {
			fmt.Fprintf(&b, "          - {host: a, name: p%d, interface: i%d, mac: \"02:00:00:00:%02x:%02x\"}\n", i, i, i>>8, i&0xff)
		}
		return b.String()
	}
	segments := func(n int) string {
		var b strings.Builder
		b.WriteString(hosts)
		for i := range n {
			fmt.Fprintf(&b, "      - {members: [a, t], learning: true, name: s%d, vni: %d}\n", i, i+1)
		}
		return b.String()
	}
	for name, c := range map[string]struct{ text, want string }{
		"the most ports":    {ports(MaxPorts), ""},
		"two ports more":    {ports(MaxPorts + 2), "a.yaml:4104:20: environments[0].segments[0].ports[4096].host: host a has more ports than it can have; want at most 4095 ports on a host"},
		"the most segments": {segments(MaxSegments), ""},
		"two segments more": {segments(MaxSegments + 2), "a.yaml:4100:20: environments[0].segments[4095].members[0]: host a is in more segments than it can have; want at most 4095 segments on a host"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, c.text)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got  %.500s\nwant %s", got, c.want)
			}
		})
	}
}
