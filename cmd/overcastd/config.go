// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"overcast/loader"
	"overcast/maps"
)

// defaultConfigFile is read if it exists; one that --config names must exist.
const defaultConfigFile = "/etc/overcast/overcast.yaml"

// configVariable replaces --config; documentVariable replaces the store.
const (
	configVariable   = "OVERCAST_CONFIG"
	documentVariable = "OVERCAST_DOCUMENT"
)

// rawConfig is the configuration as it is written.
type rawConfig struct {
	Host     string   `mapstructure:"host"`
	Uplink   []string `mapstructure:"uplink"`
	Underlay string   `mapstructure:"underlay"`
	Decap    string   `mapstructure:"decap"`
	Limits   struct {
		// Texts, so that what is no number is told like any other bad value.
		MACs    string `mapstructure:"macs"`
		Learned string `mapstructure:"learned"`
		Groups  string `mapstructure:"groups"`
		Remotes string `mapstructure:"remotes"`
	} `mapstructure:"limits"`
	PinPath string `mapstructure:"pin_path"`
	RunDir  string `mapstructure:"run_dir"`
	Metrics string `mapstructure:"metrics"`
	Log     struct {
		Level  string `mapstructure:"level"`
		Format string `mapstructure:"format"`
	} `mapstructure:"log"`
	Store struct {
		Kind string `mapstructure:"kind"`
		Path string `mapstructure:"path"`
	} `mapstructure:"store"`
}

// Config is the checked configuration.
type Config struct {
	Host      string
	Uplinks   []string
	Underlay  netip.Addr
	Decap     loader.Decap
	Limits    maps.Limits
	PinPath   string
	RunDir    string
	Metrics   string // address; empty: none
	LogLevel  string
	LogFormat string
	StorePath string
	Document  *string // OVERCAST_DOCUMENT, if it is set
}

// setting is one key: its flag has dashes for dots and underscores, its
// variable OVERCAST_ and underscores.
type setting struct {
	key     string
	initial any
	usage   string
}

var settings = []setting{
	{"host", "", "name of this host (default: the machine's hostname)"},
	{"uplink", []string{}, "devices that carry the tunnels (default: those that route to the remotes)"},
	{"underlay", "", "local tunnel address (default: this host's vtep)"},
	{"decap", "auto", "where tunnel packets are stripped: auto, xdp, tc or kernel"},
	{"limits.macs", 131072, "most configured MACs"},
	{"limits.learned", 65536, "most learned MACs"},
	{"limits.groups", 16384, "most multicast groups"},
	{"limits.remotes", 16384, "most remotes"},
	{"pin_path", "/sys/fs/bpf/overcast", "folder of the pinned maps and programs"},
	{"run_dir", "/run/overcast", "folder of the lock and the report"},
	{"metrics", "127.0.0.1:9469", `address of the Prometheus metrics; "" turns them off`},
	{"log.level", "info", "debug, info, warn or error"},
	{"log.format", "text", "text or json"},
	{"store.kind", "file", "where the environment documents are: file"},
	{"store.path", "/etc/overcast/environments.d", "a document, or a folder of *.yaml"},
}

func (s setting) flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(s.key)
}

func (s setting) variable() string {
	return "OVERCAST_" + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

func addFlags(flags *pflag.FlagSet) {
	flags.String("config", "", "configuration file (default "+defaultConfigFile+", if it exists)")
	for _, s := range settings {
		switch initial := s.initial.(type) {
		case string:
			flags.String(s.flag(), initial, s.usage)
		case int:
			// A text, so that what is no number is told with all other mistakes.
			flags.String(s.flag(), strconv.Itoa(initial), s.usage)
		case []string:
			flags.StringSlice(s.flag(), initial, s.usage)
		}
	}
}

// readConfig puts flags, variables, file and defaults together and checks the
// result. The error names every mistake.
func readConfig(flags *pflag.FlagSet) (*Config, error) {
	v := viper.New()
	v.SetConfigType("yaml")
	// Set but empty counts as set: it is how metrics are turned off.
	v.AllowEmptyEnv(true)
	for _, s := range settings {
		v.SetDefault(s.key, s.initial)
		if err := errors.Join(v.BindEnv(s.key, s.variable()), v.BindPFlag(s.key, flags.Lookup(s.flag()))); err != nil {
			return nil, fmt.Errorf("setting %s: %w", s.key, err)
		}
	}
	places, err := readConfigFile(v, flags)
	if err != nil {
		return nil, err
	}
	var raw rawConfig
	split := viper.DecodeHook(mapstructure.StringToSliceHookFunc(","))
	if err := v.UnmarshalExact(&raw, split); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return checkConfig(&raw, func(s setting) string { return s.origin(flags, places) })
}

// origin says where a setting's value comes from: as precedence goes, and as
// whoever set it would look for it.
func (s setting) origin(flags *pflag.FlagSet, places configPlaces) string {
	if flags.Changed(s.flag()) {
		return "flag --" + s.flag()
	}
	if _, set := os.LookupEnv(s.variable()); set {
		return "variable " + s.variable()
	}
	if at, set := places[s.key]; set {
		return at.String() + ": " + s.key
	}
	return "default of " + s.key
}

func readConfigFile(v *viper.Viper, flags *pflag.FlagSet) (configPlaces, error) {
	file, _ := flags.GetString("config")
	if file == "" {
		file = os.Getenv(configVariable)
	}
	named := file != ""
	if !named {
		file = defaultConfigFile
	}
	text, err := os.ReadFile(file)
	if !named && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	places, written, err := placeSettings(file, text)
	if err != nil {
		return nil, fmt.Errorf("configuration:\n%w", err)
	}
	if err := v.ReadConfig(bytes.NewReader(written)); err != nil {
		return nil, fmt.Errorf("configuration file %s: %w", file, err)
	}
	return places, nil
}

// checkConfig makes values of the texts. origin says where a setting comes from.
func checkConfig(raw *rawConfig, origin func(setting) string) (*Config, error) {
	c := &Config{
		Host:      raw.Host,
		Uplinks:   raw.Uplink,
		PinPath:   raw.PinPath,
		RunDir:    raw.RunDir,
		Metrics:   raw.Metrics,
		LogLevel:  raw.Log.Level,
		LogFormat: raw.Log.Format,
		StorePath: raw.Store.Path,
	}
	var errs []error
	wrong := func(key, value, want string) {
		at := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
		from := origin(settings[at])
		err := fmt.Errorf("configuration: %s: %q; want %s", from, value, want)
		if strings.HasPrefix(from, "flag ") {
			err = usageError{err}
		}
		errs = append(errs, err)
	}
	if c.Host == "" {
		hostname, err := os.Hostname()
		if err != nil {
			errs = append(errs, fmt.Errorf("configuration: host: %w; set it", err))
		}
		c.Host = hostname
	}
	if raw.Underlay != "" {
		addr, err := netip.ParseAddr(raw.Underlay)
		if err != nil || addr.IsMulticast() || addr.IsUnspecified() || addr.Zone() != "" || addr.Is4In6() {
			wrong("underlay", raw.Underlay, "a unicast IPv4 or IPv6 address of this machine, without a zone")
		}
		c.Underlay = addr
	}
	var err error
	if c.Decap, err = loader.ParseDecap(raw.Decap); err != nil {
		wrong("decap", raw.Decap, "auto, xdp, tc or kernel")
	}
	limit := func(key, value string) uint32 {
		n, err := strconv.ParseUint(value, 10, 32)
		// 010 is eight to some and ten to others.
		if err != nil || n == 0 || n > 1<<24 || strconv.FormatUint(n, 10) != value {
			wrong(key, value, "a number from 1 to 16777216, in decimal digits and without a zero before them")
		}
		return uint32(n)
	}
	c.Limits = maps.Limits{
		MACs:    limit("limits.macs", raw.Limits.MACs),
		Learned: limit("limits.learned", raw.Limits.Learned),
		Groups:  limit("limits.groups", raw.Limits.Groups),
		Remotes: limit("limits.remotes", raw.Limits.Remotes),
	}
	if _, port, err := net.SplitHostPort(c.Metrics); c.Metrics != "" && (err != nil || port == "") {
		wrong("metrics", c.Metrics, `an address and a port, like 127.0.0.1:9469, or ""`)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		wrong("log.level", c.LogLevel, "debug, info, warn or error")
	}
	if !slices.Contains([]string{"text", "json"}, c.LogFormat) {
		wrong("log.format", c.LogFormat, "text or json")
	}
	if raw.Store.Kind != "file" {
		wrong("store.kind", raw.Store.Kind, "file (this version has no other store)")
	}
	if !filepath.IsAbs(c.PinPath) {
		wrong("pin_path", c.PinPath, "an absolute path")
	} else if dotted(c.PinPath) {
		wrong("pin_path", c.PinPath, "a path without a dot in it: a BPF file system allows none")
	}
	if !filepath.IsAbs(c.RunDir) {
		wrong("run_dir", c.RunDir, "an absolute path")
	}
	if document, ok := os.LookupEnv(documentVariable); ok {
		c.Document = &document
	} else if c.StorePath == "" {
		wrong("store.path", c.StorePath, "a file or a folder")
	}
	return c, errors.Join(errs...)
}

// dotted tells whether a path has a dot where it lies in a BPF file system,
// which keeps such names for itself (kernel/bpf/inode.c, bpf_lookup): not even
// a look at them is permitted. What there is outside may be named as it likes.
func dotted(path string) bool {
	for path = filepath.Clean(path); path != "/"; path = filepath.Dir(path) {
		if _, err := os.Stat(path); err == nil {
			return false
		}
		if strings.Contains(filepath.Base(path), ".") {
			return true
		}
	}
	return false
}
