// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"overcast/test/lab"
)

// bin is the folder of the agent that the tests start.
var bin string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "overcast-bench-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", dir, "overcast/cmd/overcastd")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building overcastd:", err)
		return 1
	}
	bin = dir
	return m.Run()
}

// bench runs the program and returns what it printed.
func bench(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(args, &o, &e)
	return code, o.String(), e.String()
}

// measured runs a measuring subcommand briefly, and returns its report and what
// it printed.
func measured(t *testing.T, args ...string) (*report, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	code, out, errs := bench(append(args, "--quick", "--rounds", "2", "--duration", "50ms", "--bin", bin, "--json", file)...)
	if code != 0 {
		t.Fatalf("%v: exit code %d\n%s%s", args, code, out, errs)
	}
	r, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	sane(t, r)
	return r, out
}

// sane checks that figures can be what they say: their size is not a test's
// business.
func sane(t *testing.T, r *report) {
	t.Helper()
	if r.Machine.Kernel == "" || r.Machine.CPUs == 0 || r.Started.IsZero() || r.Finished.Before(r.Started) || len(r.Notes) == 0 {
		t.Errorf("the report does not say where and when: %+v", r.Machine)
	}
	for _, s := range r.Series {
		if len(s.Samples) != r.Rounds || s.Unit == "" || (s.Better != higher && s.Better != lower) {
			t.Errorf("%s: %+v", s.key(), s)
		}
		for _, v := range s.Samples {
			if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
				t.Errorf("%s: a sample of %v", s.key(), v)
			}
		}
		if s.Low > s.Median || s.Median > s.High {
			t.Errorf("%s: the median %v is not from %v to %v", s.key(), s.Median, s.Low, s.High)
		}
		// A machine that is busy with other tests may lose a little, and an open
		// flood more. That nothing is lost or doubled is for test/e2e to show.
		if s.Lost*100 > s.Sent && s.Measure != "UDP 64 B, rate" {
			t.Errorf("%s: %d of %d lost", s.key(), s.Lost, s.Sent)
		}
	}
	for _, v := range r.Verdicts {
		if math.IsNaN(v.Value) || math.IsInf(v.Value, 0) || v.Text == "" {
			t.Errorf("verdict %+v", v)
		}
	}
}

// has checks that a group has a measure of exactly these contenders, above zero.
func has(t *testing.T, r *report, group, measure string, contenders ...string) {
	t.Helper()
	var found []string
	for _, s := range r.Series {
		if s.Group == group && s.Measure == measure {
			found = append(found, s.Contender)
			if s.Median <= 0 {
				t.Errorf("%s is %v", s.key(), s.Median)
			}
		}
	}
	if !slices.Equal(found, contenders) {
		t.Errorf("%s, %s is of %q, and should be of %q", group, measure, found, contenders)
	}
}

func TestPath(t *testing.T) {
	for _, wire := range []lab.Wire{lab.PlainNIC, lab.SuperFrames, lab.NativeXDP} {
		t.Run(wire.String(), func(t *testing.T) {
			family := map[bool]string{true: "IPv6", false: "IPv4"}[wire == lab.PlainNIC]
			r, out := measured(t, "path", "--wire", wire.String(), "--family", family)
			group := wire.String() + "/" + family
			var names []string
			for _, c := range contenders(wire) {
				names = append(names, c.name)
			}
			for _, m := range []string{measureStream, "TCP, 8 flows", measureRequest, measureLatency, measurePacket, "UDP 64 B, rate"} {
				has(t, r, group, m, names...)
				if !strings.Contains(out, m) {
					t.Errorf("the tables do not show %s", m)
				}
			}
			for _, name := range names {
				if s := r.find(group, measureStream, name); s.FrameBytes < 100 || s.FrameBytes > 70000 {
					t.Errorf("%s: frames of %v bytes", name, s.FrameBytes)
				}
			}
			if len(r.Verdicts) == 0 || !slices.Equal(r.Done, []string{group}) {
				t.Errorf("verdicts %v, done %v", r.Verdicts, r.Done)
			}
		})
	}
}

// A run that was cut off goes on behind the settings that are whole.
func TestResume(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	args := []string{"path", "--quick", "--rounds", "2", "--duration", "20ms", "--bin", bin, "--only", measurePacket, "--family", "IPv4", "--json", file, "--resume"}
	if code, _, errs := bench(append(args, "--wire", "plain-nic")...); code != 0 {
		t.Fatal(errs)
	}
	r, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	r.add("super-frames/IPv4", measurePacket, bare, "ns", lower, 1) // as if it had been cut off there
	if err := r.write(file); err != nil {
		t.Fatal(err)
	}
	code, _, errs := bench(append(args, "--wire", "plain-nic,super-frames")...)
	if code != 0 || !strings.Contains(errs, "plain-nic/IPv4: done before") {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	again, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	sane(t, again)
	if len(again.Done) != 2 || again.find("plain-nic/IPv4", measurePacket, bare).Median != r.find("plain-nic/IPv4", measurePacket, bare).Median {
		t.Errorf("done: %v", again.Done)
	}
	if code, _, errs := bench("path", "--quick", "--rounds", "3", "--bin", bin, "--json", file, "--resume"); code != exitError || !strings.Contains(errs, "number of rounds") {
		t.Errorf("went on with another number of rounds: %d %s", code, errs)
	}
}

func TestProgram(t *testing.T) {
	r, out := measured(t, "program", "--macs", "1,1000")
	for _, group := range []string{"IPv4 underlay, 1 MAC", "IPv6 underlay, 1000 MACs"} {
		for _, sub := range subjects(1) {
			if r.find(group, sub.name, "overcast") == nil {
				t.Errorf("%s: no %s", group, sub.name)
			}
		}
		has(t, r, group, programEncap, "overcast")
		has(t, r, group, "strip at tc and deliver", "overcast")
	}
	for _, kind := range dropKinds() {
		if r.find("IPv6 underlay, drops", kind.reason.String(), "overcast") == nil {
			t.Errorf("no %s", kind.reason)
		}
	}
	has(t, r, "IPv4 underlay, copies", "replicate to 512 remotes, each copy", "overcast")
	for _, m := range []string{"broadcast, 8 remotes", "unknown group, 8 remotes", "group, 8 remotes", "group and source, 8 remotes", "drop: group that nobody wants, 8 remotes"} {
		has(t, r, "IPv6 underlay, groups", m, "overcast")
	}
	if !strings.Contains(out, "FIGURE") {
		t.Error("the figures of one contender do not stand in one table")
	}
}

func TestFanout(t *testing.T) {
	r, _ := measured(t, "fanout", "--remotes", "1,8", "--ports", "2")
	for _, kind := range []string{"broadcast", "multicast"} {
		has(t, r, kind+" over IPv4", "1 remote, each copy", "overcast", tuned)
		has(t, r, kind+" over IPv4", "8 remotes, each copy", "overcast", tuned)
		has(t, r, kind+" to local ports", "2 local ports, each copy", "overcast", tuned)
	}
	if len(r.Verdicts) != 2 { // of 8 remotes
		t.Errorf("verdicts: %+v", r.Verdicts)
	}
}

// With zones the copies are as many as the zones that have a relay, and the
// members of those that have none.
func TestZones(t *testing.T) {
	r, _ := measured(t, "fanout", "--zones", "2", "--remotes", "4,40,80")
	for _, group := range []string{"broadcast over IPv4, 2 zones", "multicast over IPv4, 2 zones"} {
		for n, relayed := range map[int]float64{4: 4, 40: 2, 80: 2} {
			has(t, r, group, plural(n, "remote")+eachFrame, "overcast", overcastRelays, tuned)
			copies := plural(n, "remote") + ", copies of a frame"
			for contender, want := range map[string]float64{"overcast": float64(n), overcastRelays: relayed, tuned: float64(n)} {
				if s := r.find(group, copies, contender); s == nil || math.Abs(s.Median-want) > want/100 {
					t.Errorf("%s, %s of %s: %+v, and should be %v", group, copies, contender, s, want)
				}
			}
		}
	}
	if len(r.Verdicts) != 2 || r.Benchmark != "fanout --zones 2" { // 80 remotes against 40
		t.Errorf("%s, verdicts: %+v", r.Benchmark, r.Verdicts)
	}
}

func TestScale(t *testing.T) {
	r, _ := measured(t, "scale", "--macs", "1000", "--remotes", "10", "--starts", "10", "--running", "10")
	for _, m := range []string{"read", scaleLoad, "change one in a hundred", scaleMemory, programEncap} {
		has(t, r, "1000 MACs", m, "overcast")
	}
	has(t, r, "10 remotes", scaleLoad, "overcast")
	for _, m := range []string{"start to ready", scaleFirst, "take-over to ready"} {
		has(t, r, "10 MACs, start", m, "overcast")
	}
	has(t, r, "10 remotes, running", "start to ready", "overcast")
	has(t, r, "10 remotes, running", "CPU time of a query interval", "overcast")
}

// What is drawn is well formed, refers to nothing outside, and shows every figure.
func TestDraw(t *testing.T) {
	r := sample()
	dir := t.TempDir()
	file, svg, html := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.svg"), filepath.Join(dir, "r.html")
	if err := r.write(file); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := bench("plot", file, "--svg", svg, "--html", html); code != 0 {
		t.Fatal(errs)
	}
	for _, path := range []string{svg, html} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		outside := strings.ReplaceAll(string(text), `xmlns="http://www.w3.org/2000/svg"`, "")
		for _, link := range []string{"http:", "https:", "src=", "href=", "url("} {
			if strings.Contains(outside, link) {
				t.Errorf("%s refers to something outside (%s)", path, link)
			}
		}
		for _, want := range []string{"a &lt;group&gt;", "overcast, tc", "2.00k"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s does not show %q", path, want)
			}
		}
	}
	text, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	for decoder := xml.NewDecoder(bytes.NewReader(text)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%s: %v", svg, err)
		}
	}
}

func sample() *report {
	r := newReport("path", &options{rounds: 10}, "a note")
	for i := range 10 {
		r.add("a <group>", "time", "overcast, tc", "ns", lower, 2000+float64(i))
		r.add("a <group>", "time", tuned, "ns", lower, 3000+float64(i))
		r.add("a <group>", "rate", "overcast, tc", "bit/s", higher, 100+float64(i))
		r.add("a <group>", "rate", tuned, "bit/s", higher, 90+float64(i))
	}
	return r
}

func TestWrongCalls(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.json")
	if err := os.WriteFile(broken, []byte(`{"schema": 1, "what": 2}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"path", "--wire", "carrier-pigeon"}, exitUsage, "want one of plain-nic, super-frames, native-xdp"},
		{[]string{"path", "--family", "IPv5"}, exitUsage, "want one of IPv4, IPv6"},
		{[]string{"path", "--only", "nothing"}, exitUsage, "no measure begins so"},
		{[]string{"path", "--resume"}, exitUsage, "--json"},
		{[]string{"path", "--bin", "/nonexistent"}, exitError, "make build"},
		{[]string{"path", "--rounds", "1"}, exitUsage, "want 2 at least"},
		{[]string{"path", "--duration", "1ns"}, exitUsage, "want a millisecond"},
		{[]string{"path", "--nope"}, exitUsage, "--nope"},
		{[]string{"fanout", "--remotes", "0"}, exitUsage, "--remotes: 0 is not from 1"},
		{[]string{"fanout", "--zones", "-1"}, exitUsage, "--zones: -1 is not from 0"},
		{[]string{"scale", "--macs", "-1"}, exitUsage, "--macs"},
		{[]string{"compare", "one"}, exitUsage, "two reports"},
		{[]string{"compare", broken, broken}, exitError, "not a report"},
		{[]string{"compare", "/nonexistent", broken}, exitError, "no such file"},
		{[]string{"plot", broken}, exitError, "not a report"},
	} {
		code, _, errs := bench(c.args...)
		if code != c.code || !strings.Contains(errs, c.text) {
			t.Errorf("%v: exit code %d, want %d; %q should say %q", c.args, code, c.code, errs, c.text)
		}
	}
}

// The JSON is a contract.
func TestReportForm(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	if err := sample().write(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var form map[string]any
	if err := json.Unmarshal(text, &form); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"schema", "benchmark", "quick", "rounds", "started", "finished", "machine", "notes", "series"} {
		if _, ok := form[key]; !ok {
			t.Errorf("no %q in the report", key)
		}
	}
	first := form["series"].([]any)[0].(map[string]any)
	for _, key := range []string{"group", "measure", "contender", "unit", "better", "samples", "median", "low", "high", "lost"} {
		if _, ok := first[key]; !ok {
			t.Errorf("no %q in a series", key)
		}
	}
}
