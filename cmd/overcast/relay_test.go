// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
	"overcast/loader"
	"overcast/maps"
)

// pinnedRelays is pinned with relays in shop/lan: in az2 the backup is used, in
// az3 none lives.
func pinnedRelays(t *testing.T) (flags []string, set *maps.Set) {
	t.Helper()
	flags, set = pinned(t)
	report, err := loader.ReadReport(flags[3])
	if err != nil {
		t.Fatal(err)
	}
	host := func(name string, alive bool) loader.RelayCandidateReport {
		return loader.RelayCandidateReport{Host: name, Alive: alive}
	}
	none := []loader.RelayCandidateReport{}
	report.Segments[0].Relay = &loader.RelayReport{VNI: 4600, Threshold: 2, Zones: []loader.RelayZoneReport{
		{Zone: "az1", Own: true, Members: 3, Candidates: none},
		{Zone: "az2", Members: 4, Relay: "b", Candidates: []loader.RelayCandidateReport{host("d", false), host("b", true)}},
		{Zone: "az3", Members: 5, Candidates: []loader.RelayCandidateReport{host("e", false), host("f", false)}},
		{Zone: "az4", Members: 6, Relay: "g", Candidates: []loader.RelayCandidateReport{host("g", true), host("h", true)}},
		{Zone: "az5", Members: 2, Candidates: none},
	}}
	report.Remotes[0].Zone = "az2"
	report.Remotes[0].Probe = &loader.ProbeReport{Alive: true, Answered: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Loss: 0.25, RTT: 0.0012}
	report.Remotes[0].PathReport = loader.PathReport{Usable: 1400, Source: "probes", Trouble: "packets of more than 1400 bytes to b are lost"}
	if err := loader.WriteReport(flags[3], report); err != nil {
		t.Fatal(err)
	}
	return flags, set
}

func TestRelays(t *testing.T) {
	flags, set := pinnedRelays(t)
	var want any
	if err := json.Unmarshal([]byte(`{"vni": 4600, "threshold": 2, "zones": [
		{"zone": "az1", "own": true, "members": 3, "relay": "", "candidates": []},
		{"zone": "az2", "own": false, "members": 4, "relay": "b", "candidates": [{"host": "d", "alive": false}, {"host": "b", "alive": true}]},
		{"zone": "az3", "own": false, "members": 5, "relay": "", "candidates": [{"host": "e", "alive": false}, {"host": "f", "alive": false}]},
		{"zone": "az4", "own": false, "members": 6, "relay": "g", "candidates": [{"host": "g", "alive": true}, {"host": "h", "alive": true}]},
		{"zone": "az5", "own": false, "members": 2, "relay": "", "candidates": []}]}`), &want); err != nil {
		t.Fatal(err)
	}
	// Whoever a relay sends to is a remote all the same.
	segments := rows(t, "segments", flags...)
	if diff := cmp.Diff(want, segments[0]["relay"]); diff != "" || segments[1]["relay"] != nil || segments[0]["remotes"] != 1.0 {
		t.Errorf("%v remotes; relays (-want +got):\n%s", segments[0]["remotes"], diff)
	}
	remotes := rows(t, "remotes", flags...)
	if diff := cmp.Diff(map[string]any{"alive": true, "answered": "2026-01-02T03:04:05Z", "loss": 0.25, "rtt_seconds": 0.0012}, remotes[0]["probe"]); diff != "" || remotes[1]["probe"] != nil {
		t.Errorf("probe (-want +got):\n%s", diff)
	}
	got := overcast(t, append([]string{"segments", "-o", "wide"}, flags...)...)
	for _, line := range []string{
		`shop/lan .* 4600 +2 +az1, 3 hosts: this host's own `,
		` +az2, 4 hosts: d is silent, by b `,
		` +az3, 5 hosts: one by one, as e is silent, f is silent `,
		` +az4, 6 hosts: by g, h is backup `,
		` +az5, 2 hosts: one by one `,
	} {
		if !regexp.MustCompile(`(?m)^` + line).MatchString(got.out) {
			t.Errorf("%q is not in\n%s", line, got.out)
		}
	}
	if status := rows(t, "status", flags...); !slices.Equal(status[0]["paths"].([]any), []any{"packets of more than 1400 bytes to b are lost"}) {
		t.Errorf("status tells of the paths %v", status[0]["paths"])
	}
	got = overcast(t, append([]string{"remotes", "-o", "wide"}, flags...)...)
	for _, line := range []string{`HOST  VTEP       ZONE  FOREIGN  ALIVE  LOSS  RTT `, `b     192\.0\.2\.2  az2   false    true   25%   1\.2ms .* 1400 +probes +packets of more than 1400 bytes to b are lost `, `c     192\.0\.2\.3  -     true     -      - `} {
		if !regexp.MustCompile(`(?m)^` + line).MatchString(got.out) {
			t.Errorf("%q is not in\n%s", line, got.out)
		}
	}

	// The relay's VNI is the segment's too.
	slot, vni, value := uint32(1), uint32(4600), bpf.VNI{Segment: 1, Flags: bpf.VNIRelay}
	var segment bpf.Segment
	if err := set.Segments.Lookup(slot, &segment); err != nil {
		t.Fatal(err)
	}
	segment.RelayVni = vni
	if err := set.Segments.Put(slot, segment); err != nil {
		t.Fatal(err)
	}
	if err := set.VNIs.Put(vni, value); err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[string]int{"--segment shop/lan": 2, "--segment lab/lan": 1} {
		for _, m := range rows(t, "segments", append(append(strings.Fields(filter), "--raw"), flags...)...) {
			if content := m["content"].([]any); m["map"] == "oc_vnis" && len(content) != want {
				t.Errorf("%s: VNIs %v, want %d", filter, content, want)
			}
		}
	}
}
