// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	yaml "go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"

	"overcast/loader"
)

// result is what a call of overcast does.
type result struct {
	code      int
	out, errs string
}

func overcast(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(args, &out, &errs)
	return result{code, out.String(), errs.String()}
}

// nowhere are the flags of a machine without a datapath.
func nowhere(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	return []string{"--pin-path", filepath.Join(dir, "pins"), "--run-dir", filepath.Join(dir, "run")}
}

func TestWrongUsage(t *testing.T) {
	for call, want := range map[string]string{
		"nosuch":                 `unknown command "nosuch"`,
		"status extra":           `unexpected argument "extra"`,
		"version extra":          `unexpected argument "extra"`,
		"unload extra":           `unexpected argument "extra"`,
		"--nosuch":               "unknown flag: --nosuch",
		"ports --nosuch":         "unknown flag: --nosuch",
		"status --pin-path":      "flag needs an argument: --pin-path",
		"version -o xml":         "-o xml: want table, wide, json or yaml",
		"status -o JSON":         "-o JSON: want table, wide, json or yaml",
		"status --wait 0s":       "--wait 0s: want a time like 10s",
		"status --wait soon":     `invalid argument "soon" for "--wait" flag`,
		"status --port web":      "status shows the host as a whole, of which --environment, --segment and --port choose nothing",
		"check":                  "check wants files or folders",
		"completion tcsh":        `completion for "tcsh": want bash, fish, powershell or zsh`,
		"completion bash extra":  `unexpected argument "extra"`,
		"help nosuch":            `unknown command "nosuch"`,
		"ports --watch=sometime": `invalid argument "sometime" for "-w, --watch" flag`,
	} {
		t.Run(call, func(t *testing.T) {
			got := overcast(t, strings.Fields(call)...)
			if got.code != 2 || got.out != "" || !strings.HasPrefix(got.errs, "overcast: "+want) || !strings.HasSuffix(got.errs, ": see overcast --help\n") {
				t.Errorf("got %+v, want code 2 and %q on stderr alone", got, want)
			}
		})
	}
}

// Where only some maps are pinned, there is a datapath, which is another version's.
func TestMapsOfAnotherVersion(t *testing.T) {
	flags, _ := pinned(t)
	if err := os.Remove(filepath.Join(flags[1], "oc_fdb_spill")); err != nil {
		t.Fatal(err)
	}
	want := "overcast: the maps pinned at " + flags[1] + " are of another version than this overcast, "
	if got := overcast(t, append([]string{"fdb"}, flags...)...); got.code != 1 || got.out != "" || !strings.HasPrefix(got.errs, want) {
		t.Errorf("got %+v, want code 1 and %q", got, want)
	}
}

// Every verb that reads the datapath says that there is none, and how to get one.
func TestNothingLoaded(t *testing.T) {
	flags := nowhere(t)
	want := "overcast: no datapath is loaded at " + flags[1] + ": start overcastd, or set --pin-path\n"
	for _, verb := range []string{"status", "ports", "segments", "remotes", "fdb", "groups", "drops"} {
		for _, more := range [][]string{nil, {"-o", "json"}, {"--raw"}, {"--watch"}} {
			args := append(append([]string{verb}, flags...), more...)
			if got := overcast(t, args...); got.code != 1 || got.out != "" || got.errs != want {
				t.Errorf("%v: got %+v, want code 1 and %q", args, got, want)
			}
		}
	}
	// The same by variables.
	t.Setenv("OVERCAST_PIN_PATH", flags[1])
	t.Setenv("OVERCAST_RUN_DIR", flags[3])
	if got := overcast(t, "status"); got.code != 1 || got.errs != want {
		t.Errorf("by variables: %+v", got)
	}
	// And a flag goes before a variable.
	if got := overcast(t, "status", "--pin-path", "/elsewhere"); got.code != 1 || !strings.Contains(got.errs, "at /elsewhere:") {
		t.Errorf("by flag: %+v", got)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}, {"help"}} {
		got := overcast(t, args...)
		if got.code != 0 || got.errs != "" {
			t.Errorf("%v: %+v", args, got)
		}
		for _, verb := range []string{"check", "completion", "drops", "fdb", "groups", "ports", "remotes", "segments", "status", "unload", "version"} {
			if !regexp.MustCompile(`(?m)^  ` + verb + ` +[A-Z]`).MatchString(got.out) {
				t.Errorf("%v does not list %s", args, verb)
			}
		}
	}
	if got := overcast(t, "help", "unload"); got.code != 0 || !strings.Contains(got.out, "--force") {
		t.Errorf("help unload: %+v", got)
	}
}

func TestCompletion(t *testing.T) {
	for shell, mark := range map[string]string{"bash": "complete -o default", "zsh": "#compdef overcast", "fish": "complete -c overcast", "powershell": "Register-ArgumentCompleter"} {
		if got := overcast(t, "completion", shell); got.code != 0 || got.errs != "" || !strings.Contains(got.out, mark) {
			t.Errorf("%s: code %d, stderr %q, %d bytes without %q", shell, got.code, got.errs, len(got.out), mark)
		}
	}
	// What the scripts ask for.
	if got := overcast(t, "__complete", "status", "-o", ""); got.code != 0 || !strings.HasPrefix(got.out, "table\nwide\njson\nyaml\n:4\n") {
		t.Errorf("formats: %+v", got)
	}
	if got := overcast(t, "__complete", "un"); got.code != 0 || !strings.HasPrefix(got.out, "unload\t") {
		t.Errorf("verbs: %+v", got)
	}
}

func TestVersion(t *testing.T) {
	got := overcast(t, "version", "-o", "json")
	var document struct {
		Schema  int                 `json:"schema"`
		Version []map[string]string `json:"version"`
	}
	if err := json.Unmarshal([]byte(got.out), &document); err != nil || got.code != 0 {
		t.Fatalf("%+v: %v", got, err)
	}
	if document.Schema != 1 || len(document.Version) != 1 || document.Version[0]["version"] == "" {
		t.Errorf("got %s", got.out)
	}
	if table := overcast(t, "version"); table.code != 0 || !strings.Contains(table.out, document.Version[0]["version"]) || !strings.Contains(table.out, "VERSION") {
		t.Errorf("got %+v", table)
	}
}

const (
	goodDocument = "hosts: [{name: a, vtep: 192.0.2.1}]\n"
	badDocument  = "hosts:\n  - {name: a, vtep: 224.0.0.1, zoen: b}\n"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	good, bad, folder := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml"), filepath.Join(dir, "folder")
	more := filepath.Join(folder, "more.yaml")
	empty, other, link, fifo, gre := filepath.Join(dir, "empty"), filepath.Join(dir, "other"), filepath.Join(dir, "link"), filepath.Join(dir, "fifo"), filepath.Join(dir, "gre")
	yml := filepath.Join(other, "a.yml")
	if err := errors.Join(os.Mkdir(folder, 0o755), os.Mkdir(empty, 0o755), os.Mkdir(other, 0o755), os.Symlink(good, link), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{good: goodDocument, bad: badDocument, yml: goodDocument, gre: "tunnel: {encapsulation: gre}\n",
		more: "environments: [{name: e, segments: [{name: s, vni: 1, members: [a]}]}]\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const vtepWant = "a unicast IPv4 or IPv6 address without a zone, like 192.0.2.1"
	problems := bad + ":2:15: hosts[0].vtep: 224.0.0.1 cannot be a tunnel endpoint; want " + vtepWant + "\n" +
		bad + `:2:32: hosts[0].zoen: unknown key "zoen"; want one of name, vtep, zone, foreign (did you mean zone?)` + "\n"
	missing := filepath.Join(dir, "missing.yaml")
	for name, c := range map[string]struct {
		args []string
		want result
	}{
		"good":            {[]string{good}, result{0, "fine: 1 document, 1 host, 0 environments\n", ""}},
		"a folder":        {[]string{good, folder}, result{0, "fine: 2 documents, 1 host, 1 environment\n", ""}},
		"not all of them": {[]string{folder}, result{3, more + `:1:65: environments[0].segments[0].members[0]: there is no host "a"; want a host that is listed under hosts` + "\n", ""}},
		"bad":             {[]string{bad}, result{3, strings.ReplaceAll(problems, ":2:15:", ":2:21:"), ""}},
		"twice":           {[]string{good, good, good}, result{3, good + ": given twice; want it once\n", ""}},
		"by two names":    {[]string{good, link, folder, more}, result{3, link + ": given twice, first as " + good + "; want it once\n" + more + ": given twice; want it once\n", ""}},
		"an empty folder": {[]string{good, empty}, result{3, empty + ": holds no *.yaml; want a document, or a folder with some\n", ""}},
		"other endings":   {[]string{other}, result{3, other + ": holds no *.yaml; want a document, or a folder with some\n", "overcast: " + yml + " is not read: its name does not end in .yaml\n"}},
		"one is enough":   {[]string{yml}, result{0, "fine: 1 document, 1 host, 0 environments\n", ""}},
		"a FIFO":          {[]string{fifo, bad}, result{3, strings.ReplaceAll(problems, ":2:15:", ":2:21:") + fifo + ": cannot be read: a FIFO and not a regular file; want a file that can be read\n", ""}},
		"missing and bad": {[]string{missing, bad, folder}, result{1, strings.ReplaceAll(problems, ":2:15:", ":2:21:"), "overcast: environment documents: stat " + missing + ": no such file or directory\n"}},
		"gre":             {[]string{gre}, result{3, gre + `:1:25: tunnel.encapsulation: "gre"; want vxlan or geneve` + "\n", ""}},
		"missing":         {[]string{good, missing}, result{1, "", "overcast: environment documents: stat " + missing + ": no such file or directory\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, overcast(t, append([]string{"check"}, c.args...)...), cmp.AllowUnexported(result{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}

	// For programs: the same, in fields.
	want := map[string]any{"schema": 1, "check": []any{
		map[string]any{"file": bad, "line": 2, "column": 21, "key": "hosts[0].vtep", "message": "224.0.0.1 cannot be a tunnel endpoint", "want": vtepWant},
		map[string]any{"file": bad, "line": 2, "column": 32, "key": "hosts[0].zoen", "message": `unknown key "zoen"`, "want": "one of name, vtep, zone, foreign (did you mean zone?)"},
	}}
	for _, form := range []string{"json", "yaml"} {
		got := overcast(t, "check", "-o", form, bad)
		var document map[string]any
		if err := yaml.Unmarshal([]byte(got.out), &document); err != nil || got.code != 3 || got.errs != "" {
			t.Fatalf("%+v: %v", got, err)
		}
		if diff := cmp.Diff(want, document); diff != "" {
			t.Errorf("%s (-want +got):\n%s", form, diff)
		}
	}
	if got := overcast(t, "check", "-o", "json", good); got.code != 0 || !strings.Contains(got.out, `"check": []`) {
		t.Errorf("nothing wrong: %+v", got)
	}
}

// The port that has a device goes before one that had its number once.
func TestByIfindex(t *testing.T) {
	got := byIfindex([]loader.PortReport{{Port: "b", Ifindex: 7, DropsIfindex: 7}, {Port: "c", DropsIfindex: 7}, {Port: "d", DropsIfindex: 8}, {Port: "e"}},
		func(p loader.PortReport) string { return p.Port })
	if diff := cmp.Diff(map[uint32]string{7: "b", 8: "d"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
