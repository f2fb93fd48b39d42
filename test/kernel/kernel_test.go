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
	work{e2e: floor, prints: []string{"attached by clsact"}}.on(t, "6.1")
}

// work is what a kernel is to do beside loading every program and running the demo.
type work struct {
	e2e     []string // end-to-end tests
	prints  []string // by those
	prog    []string // tests of test/prog
	modules []string // those that not all tests need
	tools   []string // likewise
	files   map[string]string
}

// on boots a kernel of a series and has it do the work.
func (w work) on(t *testing.T, series string) {
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
		Modules: append([]string{"veth", "bridge", "vxlan", "geneve", "tun", "sch_ingress", "cls_bpf"}, w.modules...),
		Files: map[string]string{
			"/init":          Build(t, dir, "init", "build", "overcast/test/kernel/init"),
			"/bin/overcastd": Build(t, dir, "overcastd", "build", "overcast/cmd/overcastd"),
			"/bin/overcast":  Build(t, dir, "overcast", "build", "overcast/cmd/overcast"),
			"/bin/demo":      Build(t, dir, "demo", "build", "overcast/test/demo"),
			"/bin/bpf.test":  Build(t, dir, "bpf.test", "test", "-c", "overcast/bpf"),
		},
		Commands: []plan.Command{
			{Name: "programs", Args: []string{"/bin/bpf.test", "-test.v", "-test.run", "TestLoad"}},
			{Name: "demo", Args: []string{"/bin/demo", "-bin", "/bin", "-out", "/tmp/demo.pcapng"}},
		},
	}
	for _, tool := range append([]string{"ping", "tracepath", "ip", "tc"}, w.tools...) {
		maps.Copy(m.Files, WithLibraries(t, tool))
	}
	maps.Copy(m.Files, w.files)
	want := map[string][]string{
		"programs": {"--- PASS: TestLoad/oc_port_in", "--- PASS: TestLoad/oc_uplink_xdp", "--- PASS: TestLoad/oc_uplink_in", "--- PASS: TestLoad/oc_tunnel_in", "kernel " + image.Release},
		"demo":     {"HTTP 200", "inside IPv4", "2001:45::4 > 2001:45::5"},
		"e2e":      w.prints,
	}
	tests := func(name string, tests []string, env ...string) {
		if len(tests) == 0 {
			return
		}
		m.Files["/bin/"+name+".test"] = Build(t, dir, name+".test", "test", "-c", "overcast/test/"+name)
		m.Commands = append(m.Commands, plan.Command{Name: name, Args: []string{"/bin/" + name + ".test", "-test.v", "-test.run", strings.Join(tests, "|")}, Env: env})
		for _, test := range tests {
			first, _, _ := strings.Cut(test, "/")
			want[name] = append(want[name], "--- PASS: "+strings.TrimSuffix(first, "$"))
		}
	}
	tests("prog", w.prog)
	tests("e2e", w.e2e, "OVERCAST_TEST_BIN=/bin")
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
