// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"overcast/test/kernel/plan"
)

// hang ends a machine that would never end by itself.
const hang = 8 * time.Minute

// floor are the end-to-end tests of what the floor's kernel does in its own way:
// clsact, its verifier, stripping without the flags of 6.3.
var floor = []string{
	"TestHook",
	"TestReach/.*/.*/veth",
	"TestFlood/IPv4/tc",
	"TestNeighborAnswers/IPv4/veth",
	"TestEveryKindOfFrame/IPv6/tc/tap",
	"TestTooBigIsAnswered/.*/tc/veth",
	"TestTransfer/IPv4/(tc|xdp)/plain-nic/veth",
	"TestReloadLosesNothing/tc",
	"TestUnload$/xdp",
}

// The floor is real: on Debian 12's 6.1 kernel every program loads, clsact
// takes tcx's place, the demo passes, and guests reach each other in every
// mode.
func TestFloor(t *testing.T) {
	run(t, "6.1", floor, "attached by clsact")
}

// run boots a kernel and has it load every program, run the demo and these
// end-to-end tests, which print what is said.
func run(t *testing.T, series string, tests []string, prints ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	image, err := Fetch(ctx, Cache, series)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("kernel %s", image.Release)
	dir := t.TempDir()
	m := Machine{
		Image:   image,
		Modules: []string{"veth", "bridge", "vxlan", "geneve", "tun", "sch_ingress", "cls_bpf"},
		Files: map[string]string{
			"/init":          Build(t, dir, "init", "build", "overcast/test/kernel/init"),
			"/bin/overcastd": Build(t, dir, "overcastd", "build", "overcast/cmd/overcastd"),
			"/bin/overcast":  Build(t, dir, "overcast", "build", "overcast/cmd/overcast"),
			"/bin/demo":      Build(t, dir, "demo", "build", "overcast/test/demo"),
			"/bin/bpf.test":  Build(t, dir, "bpf.test", "test", "-c", "overcast/bpf"),
			"/bin/e2e.test":  Build(t, dir, "e2e.test", "test", "-c", "overcast/test/e2e"),
		},
		Commands: []plan.Command{
			{Name: "programs", Args: []string{"/bin/bpf.test", "-test.v", "-test.run", "TestLoad"}},
			{Name: "demo", Args: []string{"/bin/demo", "-bin", "/bin", "-out", "/tmp/demo.pcapng"}},
			{Name: "e2e", Args: []string{"/bin/e2e.test", "-test.v", "-test.run", strings.Join(tests, "|")}, Env: []string{"OVERCAST_TEST_BIN=/bin"}},
		},
	}
	for _, tool := range []string{"ping", "tracepath", "ip", "tc"} {
		maps.Copy(m.Files, WithLibraries(t, tool))
	}
	want := map[string][]string{
		"programs": {"--- PASS: TestLoad/oc_port_in", "--- PASS: TestLoad/oc_uplink_xdp", "--- PASS: TestLoad/oc_uplink_in", "--- PASS: TestLoad/oc_tunnel_in", "kernel " + image.Release},
		"demo":     {"HTTP 200", "inside IPv4", "2001:45::4 > 2001:45::5"},
		"e2e":      prints,
	}
	for _, test := range tests {
		name, _, _ := strings.Cut(test, "/")
		want["e2e"] = append(want["e2e"], "--- PASS: "+strings.TrimSuffix(name, "$"))
	}
	results, console, err := m.Run(ctx, dir)
	if err != nil || len(results) != len(m.Commands) {
		t.Fatalf("%v; the console:\n%s", err, console)
	}
	for _, r := range results {
		for _, problem := range r.judge(want[r.Command]) {
			t.Errorf("%s %s:\n%s", r.Command, problem, r.Output)
		}
	}
	if strings.Contains(console, "end trace") || strings.Contains(console, "BUG:") {
		t.Errorf("the kernel complained:\n%s", console)
	}
}

// judge says what is not as it should be.
func (r Result) judge(want []string) []string {
	var problems []string
	if r.Exit != "0" {
		problems = append(problems, "exit "+r.Exit)
	}
	for _, text := range want {
		if !strings.Contains(r.Output, text) {
			problems = append(problems, fmt.Sprintf("did not print %q", text))
		}
	}
	if strings.Contains(r.Output, "--- SKIP") {
		problems = append(problems, "skipped a test")
	}
	return problems
}
