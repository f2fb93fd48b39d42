// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
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
		MACs    uint32 `mapstructure:"macs"`
		Learned uint32 `mapstructure:"learned"`
		Groups  uint32 `mapstructure:"groups"`
		Remotes uint32 `mapstructure:"remotes"`
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
			flags.Uint32(s.flag(), uint32(initial), s.usage)
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
	if err := readConfigFile(v, flags); err != nil {
		return nil, err
	}
	var raw rawConfig
	split := viper.DecodeHook(mapstructure.StringToSliceHookFunc(","))
	if err := v.UnmarshalExact(&raw, split); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return checkConfig(&raw)
}

func readConfigFile(v *viper.Viper, flags *pflag.FlagSet) error {
	file, _ := flags.GetString("config")
	if file == "" {
		file = os.Getenv(configVariable)
	}
	named := file != ""
	if !named {
		file = defaultConfigFile
	}
	v.SetConfigFile(file)
	err := v.ReadInConfig()
	if !named && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("configuration file %s: %w", file, err)
	}
	return nil
}

func checkConfig(raw *rawConfig) (*Config, error) {
	c := &Config{
		Host:      raw.Host,
		Uplinks:   raw.Uplink,
		Limits:    maps.Limits{MACs: raw.Limits.MACs, Learned: raw.Limits.Learned, Groups: raw.Limits.Groups, Remotes: raw.Limits.Remotes},
		PinPath:   raw.PinPath,
		RunDir:    raw.RunDir,
		Metrics:   raw.Metrics,
		LogLevel:  raw.Log.Level,
		LogFormat: raw.Log.Format,
		StorePath: raw.Store.Path,
	}
	var errs []error
	wrong := func(key, value, want string) {
		errs = append(errs, fmt.Errorf("configuration: %s: %q; want %s", key, value, want))
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
		if err != nil || addr.IsMulticast() || addr.IsUnspecified() {
			wrong("underlay", raw.Underlay, "a unicast address of this machine")
		}
		c.Underlay = addr
	}
	var err error
	if c.Decap, err = loader.ParseDecap(raw.Decap); err != nil {
		wrong("decap", raw.Decap, "auto, xdp, tc or kernel")
	}
	for key, value := range map[string]uint32{"macs": c.Limits.MACs, "learned": c.Limits.Learned, "groups": c.Limits.Groups, "remotes": c.Limits.Remotes} {
		if value == 0 || value > 1<<24 {
			wrong("limits."+key, fmt.Sprint(value), "a number from 1 to 16777216")
		}
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
	if c.PinPath == "" || c.RunDir == "" {
		errs = append(errs, errors.New("configuration: pin_path and run_dir cannot be empty"))
	}
	if document, ok := os.LookupEnv(documentVariable); ok {
		c.Document = &document
	}
	return c, errors.Join(errs...)
}
