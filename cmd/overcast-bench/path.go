// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"overcast/test/lab"
)

// guestDevice is the device of every guest.
const guestDevice = lab.GuestDevice

// pathNotes are what the lab cannot show.
var pathNotes = []string{
	"Two hosts in namespaces of one machine, on a veth for a wire: every figure is processor work. There is no DMA, no receive-side scaling over queues, no NIC that computes checksums or segments tunnels, and no distance, so a latency here is software alone and a rate here is not a NIC's.",
	"TCP streams and floods: the sender, both hosts and the wire on CPU 0, the reader on CPU 1. Requests and CPU time per packet: everything on CPU 0. FRAME is the mean size of the frames that the receiving guest's device was given: a contender whose packets are no longer merged shows it there.",
	"The tax of an overlay is its CPU time for a packet less that of no overlay.",
}

// measure is one thing that is measured of every contender in turns.
type measure struct {
	name   string
	record func(r *report, group, contender string, p *pair, warm, duration time.Duration) error
}

// Names of the measures that verdicts are about.
const (
	measureStream  = "TCP, 1 flow"
	measureRequest = "TCP requests on one CPU"
	measureLatency = "TCP request latency, median"
	measurePacket  = "UDP 64 B, CPU time per packet"
)

var measures = []measure{
	{measureStream, recordStream(measureStream, 1)},
	{"TCP, 8 flows", recordStream("TCP, 8 flows", 8)},
	{measureRequest, recordRequests},
	{measurePacket, recordPacket},
	{"UDP 64 B, rate", recordFlood},
}

func recordStream(name string, flows int) func(*report, string, string, *pair, time.Duration, time.Duration) error {
	return func(r *report, group, contender string, p *pair, warm, duration time.Duration) error {
		rate, got, err := p.stream(flows, warm, duration)
		if err != nil {
			return err
		}
		s := r.add(group, name, contender, "bit/s", higher, rate)
		s.FrameBytes = got.frameBytes
		return nil
	}
}

func recordRequests(r *report, group, contender string, p *pair, warm, duration time.Duration) error {
	got, err := p.requestResponse(warm, duration)
	if err != nil {
		return err
	}
	r.add(group, measureRequest, contender, "1/s", higher, got.rate)
	r.add(group, measureLatency, contender, "us", lower, got.p50*1e6)
	r.add(group, "TCP request latency, 90%", contender, "us", lower, got.p90*1e6)
	r.add(group, "TCP request latency, 99%", contender, "us", lower, got.p99*1e6)
	return nil
}

func recordPacket(r *report, group, contender string, p *pair, warm, duration time.Duration) error {
	cost, got, err := p.perPacket(warm, duration)
	if err != nil {
		return err
	}
	s := r.add(group, measurePacket, contender, "ns", lower, cost*1e9)
	s.Sent, s.Lost = s.Sent+got.sent, s.Lost+got.lost
	return nil
}

func recordFlood(r *report, group, contender string, p *pair, warm, duration time.Duration) error {
	got, err := p.flood(warm, duration)
	if err != nil {
		return err
	}
	s := r.add(group, "UDP 64 B, rate", contender, "packet/s", higher, got.rate)
	s.Sent, s.Lost = s.Sent+got.sent, s.Lost+got.lost
	return nil
}

// pathRun is what `path` measures.
type pathRun struct {
	*options
	wires, families, only []string
	resume                bool
}

func pathCommand() *cobra.Command {
	run := &pathRun{options: &options{}}
	cmd := &cobra.Command{
		Use:   "path",
		Short: "Measure the way from guest to guest, against the kernel's VXLAN and no overlay",
		Long: "Measure the way from guest to guest over two hosts, against no overlay and the kernel's own VXLAN.\n" +
			"All contenders of a setting stand side by side and are measured in turns (A B B A).",
		RunE: func(*cobra.Command, []string) error { return run.run() },
	}
	cmd.Flags().StringSliceVar(&run.wires, "wire", nil, "kinds of wire: super-frames, plain-nic, native-xdp (default all; with --quick plain-nic)")
	cmd.Flags().StringSliceVar(&run.families, "family", nil, "address families: IPv4, IPv6 (default both; with --quick IPv4)")
	cmd.Flags().StringArrayVar(&run.only, "only", nil, "measure only what begins so, such as \"TCP, 1\"; may be given again")
	cmd.Flags().BoolVar(&run.resume, "resume", false, "go on where the run that wrote the --json file was cut off")
	return run.register(cmd)
}

func (run *pathRun) run() error {
	settings, err := run.settings()
	if err != nil {
		return err
	}
	chosen := run.chosen()
	if len(chosen) == 0 {
		return fmt.Errorf("--only %s: no measure begins so; %w", strings.Join(run.only, ","), errUsage)
	}
	r, err := run.begin()
	if err != nil {
		return err
	}
	for _, s := range settings {
		if slices.Contains(r.Done, s.String()) {
			run.step("%s: done before", s)
			continue
		}
		if err := run.measureSetting(r, s, chosen); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		r.Done = append(r.Done, s.String())
		if run.json != "" {
			if err := r.write(run.json); err != nil {
				return err
			}
		}
	}
	r.Verdicts = nil
	for _, s := range settings {
		judgePath(r, s)
	}
	return run.finish(r)
}

// begin returns a new report, or the one that is gone on with.
func (run *pathRun) begin() (*report, error) {
	fresh := newReport("path", run.options, append(slices.Clone(pathNotes), ovsNote())...)
	if !run.resume {
		return fresh, nil
	}
	if run.json == "" {
		return nil, fmt.Errorf("--resume: name the file to go on with by --json; %w", errUsage)
	}
	r, err := readReport(run.json)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return nil, err
	}
	if r.Benchmark != "path" || r.Machine != fresh.Machine || r.Rounds != fresh.Rounds || r.Quick != fresh.Quick {
		return nil, fmt.Errorf("--resume: %s is of another benchmark, machine, version or number of rounds; start anew with another file", run.json)
	}
	// A setting that was cut off is measured again from its beginning.
	r.Series = slices.DeleteFunc(r.Series, func(s *series) bool { return !slices.Contains(r.Done, s.Group) })
	return r, nil
}

func (run *pathRun) settings() ([]setting, error) {
	wires, families := []lab.Wire{lab.PlainNIC, lab.SuperFrames, lab.NativeXDP}, []lab.Family{lab.IPv4, lab.IPv6}
	if run.quick {
		wires, families = wires[:1], families[:1]
	}
	var err error
	if len(run.wires) > 0 {
		if wires, err = choose("--wire", run.wires, []lab.Wire{lab.PlainNIC, lab.SuperFrames, lab.NativeXDP}); err != nil {
			return nil, err
		}
	}
	if len(run.families) > 0 {
		if families, err = choose("--family", run.families, []lab.Family{lab.IPv4, lab.IPv6}); err != nil {
			return nil, err
		}
	}
	var settings []setting
	for _, wire := range wires {
		for _, family := range families {
			settings = append(settings, setting{wire, family})
		}
	}
	return settings, nil
}

// choose finds values by their names.
func choose[T fmt.Stringer](flag string, names []string, known []T) ([]T, error) {
	var chosen []T
	for _, name := range names {
		i := slices.IndexFunc(known, func(k T) bool { return strings.EqualFold(k.String(), name) })
		if i < 0 {
			var all []string
			for _, k := range known {
				all = append(all, k.String())
			}
			return nil, fmt.Errorf("%s %s: want one of %s; %w", flag, name, strings.Join(all, ", "), errUsage)
		}
		chosen = append(chosen, known[i])
	}
	return chosen, nil
}

func (run *pathRun) chosen() []measure {
	if len(run.only) == 0 {
		return measures
	}
	return slices.DeleteFunc(slices.Clone(measures), func(m measure) bool {
		return !slices.ContainsFunc(run.only, func(prefix string) bool { return strings.HasPrefix(m.name, prefix) })
	})
}

// measureSetting builds all contenders of a setting and measures them in turns.
func (run *pathRun) measureSetting(r *report, s setting, chosen []measure) (err error) {
	all := contenders(s.wire)
	pairs := make([]*pair, len(all))
	defer func() {
		for _, p := range pairs {
			if p != nil {
				err = errors.Join(err, p.Close())
			}
		}
	}()
	run.step("%s: building %d contenders", s, len(all))
	for i, c := range all {
		if pairs[i], err = c.build(s, run.options); err != nil {
			return err
		}
	}
	for _, m := range chosen {
		run.step("%s: %s, %d rounds of %d contenders", s, m.name, run.rounds, len(all))
		for _, i := range turns(len(all), run.rounds) {
			if err := run.interrupted(); err != nil {
				return err
			}
			if err := m.record(r, s.String(), all[i].name, pairs[i], run.length/4, run.length); err != nil {
				return fmt.Errorf("%s: %s: %w", all[i].name, m.name, err)
			}
		}
	}
	return nil
}

// equalShare is the ratio above which medians whose intervals overlap are taken
// for equal.
const equalShare = 0.97

// judgePath holds a setting's figures against the marks.
func judgePath(r *report, s setting) {
	group, ours := s.String(), overcastTC
	if s.wire == lab.NativeXDP {
		ours = overcastX
	}
	if m, ok := r.medians(group, measureStream, ours, tuned, bare); ok {
		kernel, none := m[0]/m[1], m[0]/m[2]
		text := fmt.Sprintf("%.2fx of the tuned kernel, %.2fx of no overlay", kernel, none)
		// Both do the same to a super-frame, so their order may be chance.
		equal := kernel < 1 && kernel >= equalShare && r.find(group, measureStream, ours).High >= r.find(group, measureStream, tuned).Low
		if equal {
			text += " (the intervals overlap)"
		}
		r.judge(group+": "+measureStream, kernel, text, "1.0x", "1.2x, and 0.9x of no overlay", kernel >= 1 || equal, kernel >= 1.2 && none >= 0.9)
	}
	if s.wire != lab.PlainNIC {
		return
	}
	rate, ok := r.medians(group, measureRequest, ours, tuned)
	if latency, also := r.medians(group, measureLatency, ours, bare); ok && also {
		kernel, none := rate[0]/rate[1], latency[0]/latency[1]
		r.judge(group+": "+measureRequest, kernel, fmt.Sprintf("%.2fx of the tuned kernel, latency %.2fx of no overlay", kernel, none),
			"1.2x", "1.4x, and latency 1.05x", kernel >= 1.2, kernel >= 1.4 && none <= 1.05)
	}
	if m, ok := r.medians(group, measurePacket, ours, tuned, bare); ok && m[1] > m[2] {
		tax, kernels := m[0]-m[2], m[1]-m[2]
		r.judge(group+": UDP tax", tax/kernels, fmt.Sprintf("%.0f ns a packet, %.0f%% of the tuned kernel's %.0f ns", tax, tax/kernels*100, kernels),
			"50%", "25%", tax <= kernels/2, tax <= kernels/4)
	}
}
