// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"overcast/loader"
)

// cleanEnvironment takes the settings of whoever runs the tests away.
func cleanEnvironment(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OVERCAST_") {
			t.Setenv(name, value) // puts it back at the end
			os.Unsetenv(name)
		}
	}
}

// writeConfig makes a configuration file and returns its path.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "overcast.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// configOf reads the configuration as overcastd does with these arguments.
func configOf(t *testing.T, args ...string) (*Config, error) {
	t.Helper()
	flags := command().Flags()
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	return readConfig(flags)
}

// settingCase has three values of a setting, each as text and as YAML, and how
// a configuration shows it.
type settingCase struct {
	initial string
	values  [3]string
	get     func(*Config) string
}

func number(get func(*Config) uint32) func(*Config) string {
	return func(c *Config) string { return fmt.Sprint(get(c)) }
}

func settingCases(t *testing.T) map[string]settingCase {
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]settingCase{
		"host":           {hostname, [3]string{"one", "two", "three"}, func(c *Config) string { return c.Host }},
		"uplink":         {"", [3]string{"eth1,eth2", "eth3", "eth4,eth5"}, func(c *Config) string { return strings.Join(c.Uplinks, ",") }},
		"underlay":       {"invalid IP", [3]string{"192.0.2.1", "2001:db8::2", "192.0.2.3"}, func(c *Config) string { return c.Underlay.String() }},
		"decap":          {"auto", [3]string{"xdp", "tc", "kernel"}, func(c *Config) string { return string(c.Decap) }},
		"limits.macs":    {"131072", [3]string{"1", "2", "16777216"}, number(func(c *Config) uint32 { return c.Limits.MACs })},
		"limits.learned": {"65536", [3]string{"1", "2", "3"}, number(func(c *Config) uint32 { return c.Limits.Learned })},
		"limits.groups":  {"16384", [3]string{"1", "2", "3"}, number(func(c *Config) uint32 { return c.Limits.Groups })},
		"limits.remotes": {"16384", [3]string{"1", "2", "3"}, number(func(c *Config) uint32 { return c.Limits.Remotes })},
		"pin_path":       {"/sys/fs/bpf/overcast", [3]string{"/a", "/b", "/c"}, func(c *Config) string { return c.PinPath }},
		"run_dir":        {"/run/overcast", [3]string{"/a", "/b", "/c"}, func(c *Config) string { return c.RunDir }},
		"metrics":        {"127.0.0.1:9469", [3]string{"127.0.0.1:1", "[::1]:2", ":3"}, func(c *Config) string { return c.Metrics }},
		"log.level":      {"info", [3]string{"debug", "warn", "error"}, func(c *Config) string { return c.LogLevel }},
		// There are two, so the neighbours of the order differ.
		"log.format": {"text", [3]string{"json", "text", "json"}, func(c *Config) string { return c.LogFormat }},
		// There is one.
		"store.kind": {"file", [3]string{"file", "file", "file"}, func(*Config) string { return "file" }},
		"store.path": {"/etc/overcast/environments.d", [3]string{"/a", "/b", "/c"}, func(c *Config) string { return c.StorePath }},
	}
}

// inFile is a configuration file that sets a key.
func inFile(key, value string) string {
	if section, rest, ok := strings.Cut(key, "."); ok {
		return fmt.Sprintf("%s:\n  %s: %q\n", section, rest, value)
	}
	return fmt.Sprintf("%s: %q\n", key, value)
}

// A flag goes before a variable, a variable before the file, the file before
// the default: for every setting, whichever of the three are given.
func TestPrecedence(t *testing.T) {
	cleanEnvironment(t)
	cases := settingCases(t)
	for _, s := range settings {
		c, ok := cases[s.key]
		if !ok {
			t.Errorf("%s has no case here", s.key)
			continue
		}
		for given := range 8 {
			t.Run(fmt.Sprintf("%s/%03b", s.key, given), func(t *testing.T) {
				want, text := c.initial, ""
				var args []string
				if given&1 != 0 {
					text, want = inFile(s.key, c.values[0]), c.values[0]
				}
				if given&2 != 0 {
					t.Setenv(s.variable(), c.values[1])
					want = c.values[1]
				}
				if given&4 != 0 {
					args = []string{"--" + s.flag(), c.values[2]}
					want = c.values[2]
				}
				config, err := configOf(t, append(args, "--config", writeConfig(t, text))...)
				if err != nil {
					t.Fatal(err)
				}
				if got := c.get(config); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
	}
}

// The names of flags and variables are a promise.
func TestNames(t *testing.T) {
	got := make(map[string]string)
	for _, s := range settings {
		got[s.key] = "--" + s.flag() + " " + s.variable()
	}
	want := map[string]string{
		"host": "--host OVERCAST_HOST", "uplink": "--uplink OVERCAST_UPLINK", "underlay": "--underlay OVERCAST_UNDERLAY",
		"decap": "--decap OVERCAST_DECAP", "limits.macs": "--limits-macs OVERCAST_LIMITS_MACS",
		"limits.learned": "--limits-learned OVERCAST_LIMITS_LEARNED", "limits.groups": "--limits-groups OVERCAST_LIMITS_GROUPS",
		"limits.remotes": "--limits-remotes OVERCAST_LIMITS_REMOTES", "pin_path": "--pin-path OVERCAST_PIN_PATH",
		"run_dir": "--run-dir OVERCAST_RUN_DIR", "metrics": "--metrics OVERCAST_METRICS", "log.level": "--log-level OVERCAST_LOG_LEVEL",
		"log.format": "--log-format OVERCAST_LOG_FORMAT", "store.kind": "--store-kind OVERCAST_STORE_KIND", "store.path": "--store-path OVERCAST_STORE_PATH",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Set but empty counts as set: it takes the file's value away.
func TestEmptyVariable(t *testing.T) {
	cleanEnvironment(t)
	file := writeConfig(t, "metrics: 127.0.0.1:1\nuplink: [eth1]\nunderlay: 192.0.2.1\n")
	for _, name := range []string{"OVERCAST_METRICS", "OVERCAST_UPLINK", "OVERCAST_UNDERLAY"} {
		t.Setenv(name, "")
	}
	config, err := configOf(t, "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	if config.Metrics != "" || len(config.Uplinks) != 0 || config.Underlay != (netip.Addr{}) {
		t.Errorf("got metrics %q, uplinks %q, underlay %s; want none", config.Metrics, config.Uplinks, config.Underlay)
	}
	// Where nothing is no value, it is an error and not the file's.
	t.Setenv("OVERCAST_DECAP", "")
	if _, err := configOf(t, "--config", writeConfig(t, "decap: tc\n")); err == nil || err.Error() != `configuration: variable OVERCAST_DECAP: ""; want auto, xdp, tc or kernel` {
		t.Errorf("got %v", err)
	}
}

func TestConfigForms(t *testing.T) {
	cleanEnvironment(t)
	for name, c := range map[string]struct {
		text string
		get  func(*Config) any
		want any
	}{
		"list":         {"uplink: [eth1, eth2]\n", func(c *Config) any { return c.Uplinks }, []string{"eth1", "eth2"}},
		"block list":   {"uplink:\n  - eth1\n", func(c *Config) any { return c.Uplinks }, []string{"eth1"}},
		"one name":     {"uplink: eth1\n", func(c *Config) any { return c.Uplinks }, []string{"eth1"}},
		"number":       {"limits: {macs: 1000}\n", func(c *Config) any { return c.Limits.MACs }, uint32(1000)},
		"no value":     {"limits:\ndecap:\n", func(c *Config) any { return c.Decap }, loader.DecapAuto},
		"nothing":      {"", func(c *Config) any { return c.Decap }, loader.DecapAuto},
		"comment":      {"# nothing\n", func(c *Config) any { return c.Decap }, loader.DecapAuto},
		"null":         {"---\n", func(c *Config) any { return c.Decap }, loader.DecapAuto},
		"upper case":   {"host: Host-A\n", func(c *Config) any { return c.Host }, "Host-A"},
		"dots":         {"host: a.example.org\n", func(c *Config) any { return c.Host }, "a.example.org"},
		"a number":     {"host: 42\n", func(c *Config) any { return c.Host }, "42"},
		"octal":        {"host: 010\n", func(c *Config) any { return c.Host }, "010"},
		"a word":       {"host: yes\n", func(c *Config) any { return c.Host }, "yes"},
		"metrics none": {"metrics: \"\"\n", func(c *Config) any { return c.Metrics }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := configOf(t, "--config", writeConfig(t, c.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, c.get(config)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Each mistake in the file is told with its line and column and with what would
// be right, all at once. FILE stands for its path.
func TestConfigFileProblems(t *testing.T) {
	cleanEnvironment(t)
	const keys = "host, uplink, underlay, decap, limits, pin_path, run_dir, metrics, log, store"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"unknown key":           {"hots: a\n", []string{"configuration:", `FILE:1:1: hots: unknown key "hots"; want one of ` + keys + " (did you mean host?)"}},
		"nothing near":          {"flavour: a\n", []string{"configuration:", `FILE:1:1: flavour: unknown key "flavour"; want one of ` + keys}},
		"unknown in a section":  {"limits:\n  mac: 3\n", []string{"configuration:", `FILE:2:3: limits.mac: unknown key "mac"; want one of macs, learned, groups, remotes (did you mean macs?)`}},
		"upper case":            {"Host: a\n", []string{"configuration:", `FILE:1:1: Host: unknown key "Host"; want one of ` + keys + " (did you mean host?)"}},
		"dots":                  {"log.level: info\n", []string{"configuration:", `FILE:1:1: log.level: unknown key "log.level"; want one of ` + keys}},
		"two at once":           {"hots: a\nlog: {levle: info}\n", []string{"configuration:", `FILE:1:1: hots: unknown key "hots"; want one of ` + keys + " (did you mean host?)", `FILE:2:7: log.levle: unknown key "levle"; want one of level, format (did you mean level?)`}},
		"twice":                 {"host: a\nhost: b\n", []string{"configuration:", "FILE:2:1: host: key given twice, first at line 1; want it once"}},
		"section without keys":  {"limits: 3\n", []string{"configuration:", `FILE:1:9: limits: "3"; want a mapping with macs, learned, groups, remotes`}},
		"list":                  {"host: [a]\n", []string{"configuration:", "FILE:1:7: host: a list; want one value"}},
		"mapping":               {"uplink: {a: b}\n", []string{"configuration:", "FILE:1:9: uplink: a mapping; want a list of names"}},
		"list of lists":         {"uplink: [[a]]\n", []string{"configuration:", "FILE:1:9: uplink: a list; want a list of names"}},
		"not a mapping":         {"- a\n", []string{"configuration:", "FILE:1:1: a list; want a mapping with " + keys}},
		"two documents":         {"host: a\n---\nhost: b\n", []string{"configuration:", "FILE:2:1: a second YAML document; want one document"}},
		"syntax":                {"host: a\n  b: [\n", []string{"configuration:", "FILE:2:4: not YAML: mapping values are not allowed in this context; want a YAML document"}},
		"syntax, then":          {"host: a\n---\nuplink: [a\n", []string{"configuration:", "FILE:3:9: not YAML: what begins here goes wrong at line 4: did not find expected ',' or ']'; want a YAML document"}},
		"a key with an escape":  {"\"\\e[31m\": a\n", []string{"configuration:", `FILE:1:1: "\x1b[31m": unknown key "\x1b[31m"; want one of ` + keys}},
		"other numbers":         {"limits: {remotes: 010, learned: 0x100, macs: \"07\", groups: 1_000}\n", []string{`configuration: FILE:1:46: limits.macs: "07"; want a number from 1 to 16777216, in decimal digits and without a zero before them`, `configuration: FILE:1:33: limits.learned: "0x100"; want a number from 1 to 16777216, in decimal digits and without a zero before them`, `configuration: FILE:1:60: limits.groups: "1_000"; want a number from 1 to 16777216, in decimal digits and without a zero before them`, `configuration: FILE:1:19: limits.remotes: "010"; want a number from 1 to 16777216, in decimal digits and without a zero before them`}},
		"bad values, all":       {"decap: both\nlimits: {macs: 0, remotes: 16777217, learned: many, groups: -1}\n", []string{`configuration: FILE:1:8: decap: "both"; want auto, xdp, tc or kernel`, `configuration: FILE:2:16: limits.macs: "0"; want a number from 1 to 16777216, in decimal digits and without a zero before them`, `configuration: FILE:2:47: limits.learned: "many"; want a number from 1 to 16777216, in decimal digits and without a zero before them`, `configuration: FILE:2:61: limits.groups: "-1"; want a number from 1 to 16777216, in decimal digits and without a zero before them`, `configuration: FILE:2:28: limits.remotes: "16777217"; want a number from 1 to 16777216, in decimal digits and without a zero before them`}},
		"bad words":             {"log: {level: loud, format: xml}\nstore: {kind: etcd}\n", []string{`configuration: FILE:1:14: log.level: "loud"; want debug, info, warn or error`, `configuration: FILE:1:28: log.format: "xml"; want text or json`, `configuration: FILE:2:15: store.kind: "etcd"; want file (this version has no other store)`}},
		"group underlay":        {"underlay: 224.0.0.1\n", []string{`configuration: FILE:1:11: underlay: "224.0.0.1"; want a unicast IPv4 or IPv6 address of this machine, without a zone`}},
		"mapped underlay":       {"underlay: \"::ffff:192.0.2.1\"\n", []string{`configuration: FILE:1:11: underlay: "::ffff:192.0.2.1"; want a unicast IPv4 or IPv6 address of this machine, without a zone`}},
		"metrics without port":  {"metrics: localhost\n", []string{`configuration: FILE:1:10: metrics: "localhost"; want an address and a port, like 127.0.0.1:9469, or ""`}},
		"folders":               {"pin_path: here\nrun_dir: \"\"\nstore: {path: \"\"}\n", []string{`configuration: FILE:1:11: pin_path: "here"; want an absolute path`, `configuration: FILE:2:10: run_dir: ""; want an absolute path`, `configuration: FILE:3:15: store.path: ""; want a file or a folder`}},
		"a port instead of all": {"metrics: 9469\n", []string{`configuration: FILE:1:10: metrics: "9469"; want an address and a port, like 127.0.0.1:9469, or ""`}},
	} {
		t.Run(name, func(t *testing.T) {
			file := writeConfig(t, c.text)
			_, err := configOf(t, "--config", file)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(c.want, strings.Split(strings.ReplaceAll(err.Error(), file, "FILE"), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A bad value is named as it was given.
func TestBadValueNamesItsSource(t *testing.T) {
	cleanEnvironment(t)
	for _, s := range settings {
		bad, ok := map[string]string{
			"underlay": "here", "decap": "both", "limits.macs": "0", "limits.learned": "0", "limits.groups": "0", "limits.remotes": "0",
			"pin_path": "here", "run_dir": "here", "metrics": "here", "log.level": "loud", "log.format": "xml", "store.kind": "etcd", "store.path": "",
		}[s.key]
		if !ok {
			continue // any name is good
		}
		t.Run(s.key, func(t *testing.T) {
			expect := func(err error, source string) {
				t.Helper()
				if want := fmt.Sprintf("configuration: %s: %q; want ", source, bad); err == nil || !strings.HasPrefix(err.Error(), want) || len(err.Error()) == len(want) {
					t.Errorf("got %v, want %s and what would be right", err, want)
				}
			}
			file := writeConfig(t, inFile(s.key, bad))
			line := 1 + strings.Count(s.key, ".")
			column := strings.Index(strings.Split(inFile(s.key, bad), "\n")[line-1], ": ") + 3
			_, err := configOf(t, "--config", file)
			expect(err, fmt.Sprintf("%s:%d:%d: %s", file, line, column, s.key))
			t.Setenv(s.variable(), bad)
			_, err = configOf(t, "--config", os.DevNull)
			expect(err, "variable "+s.variable())
			_, err = configOf(t, "--config", os.DevNull, "--"+s.flag(), bad)
			expect(err, "flag --"+s.flag())
		})
	}
}

func TestConfigFileByName(t *testing.T) {
	cleanEnvironment(t)
	byFlag, byVariable := writeConfig(t, "host: by-flag\n"), writeConfig(t, "host: by-variable\n")
	t.Setenv("OVERCAST_CONFIG", byVariable)
	if c, err := configOf(t); err != nil || c.Host != "by-variable" {
		t.Errorf("got %+v, %v", c, err)
	}
	if c, err := configOf(t, "--config", byFlag); err != nil || c.Host != "by-flag" {
		t.Errorf("got %+v, %v", c, err)
	}
	// One that is named must exist.
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	if _, err := configOf(t, "--config", missing); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("got %v, want an error that names %s", err, missing)
	}
}

// A wrong call is told in plain words, every mistake of it, and has its own exit
// code; a mistake in the file is none of the call.
func TestExitCodes(t *testing.T) {
	cleanEnvironment(t)
	const numbers = "; want a number from 1 to 16777216, in decimal digits and without a zero before them\n"
	file := writeConfig(t, "decap: both\n")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"--no-such-flag", 2, "unknown flag: --no-such-flag: see overcastd --help\n"},
		{"--host", 2, "flag needs an argument: --host: see overcastd --help\n"},
		{"extra", 2, `unexpected argument "extra": see overcastd --help` + "\n"},
		{"--limits-macs lots --limits-learned 0x10 --decap both", 2, `configuration: flag --decap: "both"; want auto, xdp, tc or kernel` + "\n" +
			`configuration: flag --limits-macs: "lots"` + numbers + `configuration: flag --limits-learned: "0x10"` + numbers},
		{"--config " + file, 1, "configuration: " + file + `:1:8: decap: "both"; want auto, xdp, tc or kernel` + "\n"},
		{"--config " + file + " --limits-macs 0", 2, "configuration: " + file + `:1:8: decap: "both"; want auto, xdp, tc or kernel` + "\n" + `configuration: flag --limits-macs: "0"` + numbers},
	} {
		var errs bytes.Buffer
		args := strings.Fields(c.args)
		if !strings.Contains(c.args, "--config") {
			args = append(args, "--config="+os.DevNull)
			if strings.HasSuffix(c.args, "--host") {
				args = args[:1]
			}
		}
		if code := start(args, &errs); code != c.code || errs.String() != "overcastd: "+c.want {
			t.Errorf("%s: got code %d and %q, want %d and %q", c.args, code, errs.String(), c.code, c.want)
		}
	}
}

// A BPF file system permits no dots; what it lies in may have some.
func TestPinPathWithDots(t *testing.T) {
	cleanEnvironment(t)
	outside := filepath.Join(t.TempDir(), "a.b")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, good := range map[string]bool{
		"/sys/fs/bpf/over.cast": false, "/sys/fs/bpf/a.b/overcast": false, "/sys/fs/bpf/.overcast": false,
		"/sys/fs/bpf/../bpf/overcast": true, outside + "/overcast": true, "/sys/fs/bpf/overcast": true,
	} {
		_, err := configOf(t, "--config", os.DevNull, "--pin-path", path)
		want := fmt.Sprintf("configuration: flag --pin-path: %q; want a path without a dot in it: a BPF file system allows none", path)
		if good && err != nil || !good && (err == nil || err.Error() != want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// OVERCAST_DOCUMENT replaces the store, also when it is empty.
func TestDocumentVariable(t *testing.T) {
	cleanEnvironment(t)
	store := t.TempDir()
	if err := os.WriteFile(filepath.Join(store, "a.yaml"), []byte("hosts: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--config", os.DevNull, "--store-path", store}
	config, err := configOf(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := config.documents()
	if err != nil || len(docs) != 1 || docs[0].Name != filepath.Join(store, "a.yaml") || config.source() != store {
		t.Errorf("without the variable: %v from %s, %v", docs, config.source(), err)
	}
	for _, text := range []string{"hosts: [{name: a, vtep: 192.0.2.1}]\n", ""} {
		t.Setenv("OVERCAST_DOCUMENT", text)
		if config, err = configOf(t, args...); err != nil {
			t.Fatal(err)
		}
		docs, err := config.documents()
		if err != nil || len(docs) != 1 || docs[0].Name != "OVERCAST_DOCUMENT" || string(docs[0].Data) != text || config.source() != "OVERCAST_DOCUMENT" {
			t.Errorf("with %q: %v from %s, %v", text, docs, config.source(), err)
		}
	}
}
