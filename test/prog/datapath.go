// SPDX-License-Identifier: Apache-2.0

// Package prog runs the programs of the datapath one packet at a time, by the
// kernel's BPF_PROG_TEST_RUN, for tests and for the benchmark. The programs are
// attached to nothing and their maps are pinned nowhere; the maps are filled in
// the agent's own way, from a document and from facts that the caller makes up.
//
// What the kernel does not do in a test run: a redirect is only its verdict, so
// the counters must tell where a frame went, while bpf_clone_redirect really
// sends. The packet has no tunnel key, no VLAN tag beside it, no XDP metadata
// and no kind of super-frame, and at least an Ethernet header (net/bpf/test_run.c).
package prog

import (
	"fmt"

	"github.com/cilium/ebpf"

	"overcast/bpf"
	"overcast/loader"
	"overcast/maps"
	"overcast/policy"
	"overcast/test/lab"
)

// Options say what a datapath is loaded with.
type Options struct {
	Document  string // an environment document, in YAML
	Host      string // the host of it that this is
	Facts     maps.Facts
	Constants bpf.Constants
	Limits    maps.Limits // the zero value: DefaultLimits
}

// DefaultLimits are room enough for tests, and quickly made.
var DefaultLimits = maps.Limits{MACs: 1024, Learned: 256, Groups: 64, Remotes: 256}

// Datapath is loaded programs and their maps.
type Datapath struct {
	Maps     *maps.Set
	Contents *maps.Contents // what the maps have been filled with, and the names of it

	namespace *lab.Namespace
	programs  *ebpf.Collection
	limits    maps.Limits
}

// Load makes maps, fills them and loads the programs. The programs run in this
// namespace, whose devices the facts and the constants name.
func Load(namespace *lab.Namespace, o Options) (*Datapath, error) {
	if o.Limits == (maps.Limits{}) {
		o.Limits = DefaultLimits
	}
	set, err := loader.NewMaps(o.Limits)
	if err != nil {
		return nil, err
	}
	d := &Datapath{Maps: set, namespace: namespace, limits: o.Limits}
	if err := d.load(o); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Datapath) load(o Options) error {
	if err := d.Maps.PrepareDrops(); err != nil {
		return err
	}
	if err := d.Fill(o.Document, o.Host, o.Facts); err != nil {
		return err
	}
	return d.Reload(o.Constants)
}

// Reload loads the programs with other constants; the maps stay.
func (d *Datapath) Reload(constants bpf.Constants) error {
	programs, err := loader.LoadPrograms(d.Maps, constants)
	if err != nil {
		return err
	}
	if d.programs != nil {
		d.programs.Close()
	}
	d.programs = programs
	return nil
}

// Fill takes the maps to another document or to other facts, as a change of
// them does in the agent: what stays keeps its numbers and counters.
func (d *Datapath) Fill(document, host string, facts maps.Facts) error {
	model, err := policy.Parse([]policy.Document{{Name: "document", Data: []byte(document)}})
	if err != nil {
		return fmt.Errorf("environment document: %w", err)
	}
	state, err := model.State(host)
	if err != nil {
		return err
	}
	have, err := d.Maps.Snapshot()
	if err != nil {
		return err
	}
	want, err := maps.Compile(state, facts, have, d.limits)
	if err != nil {
		return err
	}
	if err := d.Maps.Apply(have, want); err != nil {
		return err
	}
	d.Contents = want
	return nil
}

// Program returns a loaded program, nil where there is none of this name.
func (d *Datapath) Program(name string) *ebpf.Program {
	return d.programs.Programs[name]
}

// Close unloads programs and maps.
func (d *Datapath) Close() {
	if d.programs != nil {
		d.programs.Close()
	}
	d.Maps.Close()
}
