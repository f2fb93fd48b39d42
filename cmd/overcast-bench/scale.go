// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"overcast/test/lab"
)

var scaleNotes = []string{
	"Loading is what the agent does with a document that it has read: look at what the maps hold, work out what they should hold, and write the difference, here into new maps. A change moves one MAC in a hundred to another remote, or gives one remote in a hundred another next hop. Reading is parsing and checking the document.",
	"Memory is what the kernel accounts to the maps that grow with the entries, at the size that the limit asks for, divided by the entries.",
	"A start is measured from the call that starts overcastd to the first of the frames that the far guest receives, and a take-over from the call to the moment when the new agent says that it is ready, after a SIGKILL, while 10,000 packets a second pass.",
	"A running agent has one port in a segment with all the remotes, in which nobody asks for a group; once a query interval it tells each remote so, for both families, in a packet each. Its CPU time is that of all its threads, with the way of these packets over the wire in it. The interval is 3 s here, to see several; by default it is 125 s, so a minute takes about half of that time. The remotes tell nothing themselves.",
}

// scaleRun is what `scale` measures.
type scaleRun struct {
	*options
	macs, remotes, starts, running []int
}

func scaleCommand() *cobra.Command {
	run := &scaleRun{options: &options{}}
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Measure many MACs and remotes, starting and taking over",
		RunE:  func(cmd *cobra.Command, _ []string) error { return run.run(cmd) },
	}
	cmd.Flags().IntSliceVar(&run.macs, "macs", []int{1000, 10_000, 100_000, 1_000_000}, "load so many MACs")
	cmd.Flags().IntSliceVar(&run.remotes, "remotes", []int{10, 100, 1000, 10_000}, "load so many remotes")
	cmd.Flags().IntSliceVar(&run.starts, "starts", []int{1000, 100_000}, "start with so many MACs")
	cmd.Flags().IntSliceVar(&run.running, "running", []int{10_000}, "run an agent with so many remotes (some 15 s each round)")
	return run.register(cmd)
}

// Names of the figures of `scale` that verdicts are about.
const (
	scaleLoad   = "load"
	scaleMemory = "memory of an entry"
	scaleFirst  = "start to the first frame"
)

func (run *scaleRun) run(cmd *cobra.Command) error {
	o := run.options
	if err := errors.Join(checkCounts("--macs", run.macs, 10_000_000), checkCounts("--remotes", run.remotes, mostCopies),
		checkCounts("--starts", run.starts, 131_000), checkCounts("--running", run.running, mostCopies)); err != nil {
		return err
	}
	r := newReport("scale", o, scaleNotes...)
	if run.quick && !cmd.Flags().Changed("macs") {
		run.macs = []int{1000, 100_000}
	}
	if run.quick && !cmd.Flags().Changed("remotes") {
		run.remotes = []int{10, 1000}
	}
	if run.quick && !cmd.Flags().Changed("starts") {
		run.starts = []int{1000}
	}
	if run.quick && !cmd.Flags().Changed("running") {
		run.running = nil
	}
	for _, n := range run.macs {
		if err := measureLoad(r, o, plural(n, "MAC"), n, 16); err != nil {
			return fmt.Errorf("%d MACs: %w", n, err)
		}
		o.step("%d MACs: lookups", n)
		if err := measureLookup(r, o, n); err != nil {
			return fmt.Errorf("%d MACs: %w", n, err)
		}
	}
	for _, n := range run.remotes {
		if err := measureLoad(r, o, plural(n, "remote"), n, n); err != nil {
			return fmt.Errorf("%d remotes: %w", n, err)
		}
	}
	for _, n := range run.starts {
		o.step("start and take-over with %d MACs, %d rounds", n, o.rounds)
		if err := measureStarts(r, o, n); err != nil {
			return fmt.Errorf("starting with %d MACs: %w", n, err)
		}
	}
	for _, n := range run.running {
		o.step("running with %d remotes, %d rounds", n, o.rounds)
		if err := measureRunning(r, o, n); err != nil {
			return fmt.Errorf("running with %d remotes: %w", n, err)
		}
	}
	group := plural(100_000, "MAC")
	if ms, ok := r.median(group, scaleLoad, "overcast"); ok {
		r.judge(group+": "+scaleLoad, ms, fmt.Sprintf("%.0f ms", ms), "300 ms", "100 ms", ms <= 300, ms <= 100)
	}
	if bytes, ok := r.median(group, scaleMemory, "overcast"); ok {
		r.judge(group+": "+scaleMemory, bytes, fmt.Sprintf("%.0f B", bytes), "136 B", "110 B", bytes <= 136, bytes <= 110)
	}
	for _, group := range r.groups() {
		if ms, ok := r.median(group, scaleFirst, "overcast"); ok {
			r.judge(group+": "+scaleFirst, ms, fmt.Sprintf("%.0f ms", ms), "1 s", "0.3 s", ms <= 1000, ms <= 300)
		}
	}
	return o.finish(r)
}

// measureLookup measures a frame to a remote among so many MACs.
func measureLookup(r *report, o *options, macs int) error {
	s, err := newStage(lab.IPv4, macs, 1)
	if err != nil {
		return err
	}
	defer s.close()
	return s.measure(r, o, plural(macs, "MAC"), subjects(macs)[:1], 2000)
}
