// SPDX-License-Identifier: Apache-2.0

// Overcast-bench measures the fast path against what people would use instead:
// nothing at all, and the kernel's own VXLAN device and bridge. It builds its
// hosts in namespaces of this machine, so what it can show is the processor's
// work and not a NIC's; docs/benchmarks.md tells how to read it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// Exit codes, as of overcast.
const (
	exitError   = 1
	exitUsage   = 2
	exitWanting = 3 // a regression was found
)

var (
	errUsage   = errors.New("see overcast-bench --help")
	errWanting = errors.New("found wanting")
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments.
func run(args []string, out, errs io.Writer) int {
	root := command()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errWanting):
		return exitWanting // what was found has been printed
	}
	fmt.Fprintln(errs, "overcast-bench:", err)
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitError
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "overcast-bench",
		Short:         "Measure Overcast's fast path against what people would use instead",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w; %w", err, errUsage)
	})
	root.AddCommand(programCommand(), pathCommand(), fanoutCommand(), scaleCommand(), compareCommand(), plotCommand())
	return root
}

// options are what all measuring subcommands take.
type options struct {
	quick  bool
	json   string
	svg    string
	html   string
	rounds int
	length time.Duration // of one measurement, where that is a time
	bin    string

	ctx           context.Context
	out, progress io.Writer
}

// register adds the options to a subcommand, whose RunE is set.
func (o *options) register(cmd *cobra.Command) *cobra.Command {
	flags := cmd.Flags()
	flags.BoolVar(&o.quick, "quick", false, "measure little: ends within a minute, and shows tendencies only")
	flags.StringVar(&o.json, "json", "", "write the result to this file")
	flags.StringVar(&o.svg, "svg", "", "draw the result into this file")
	flags.StringVar(&o.html, "html", "", "write the result as one self-contained page into this file")
	flags.IntVar(&o.rounds, "rounds", 0, "measure every contender so often (default 10, or 4 with --quick)")
	flags.DurationVar(&o.length, "duration", 0, "measure for so long each time, where it is a time (default 800ms, or 250ms with --quick)")
	flags.StringVar(&o.bin, "bin", "", "folder of overcastd (default: that of overcast-bench)")
	cmd.Args = cobra.NoArgs
	inner := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.ctx, o.out, o.progress = cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr()
		if err := o.check(cmd); err != nil {
			return err
		}
		return inner(cmd, args)
	}
	return cmd
}

func (o *options) check(cmd *cobra.Command) error {
	if os.Geteuid() != 0 {
		return errors.New("root is needed: the benchmark makes namespaces and loads BPF programs")
	}
	if cmd.Flags().Changed("rounds") && o.rounds < 2 {
		return fmt.Errorf("--rounds %d: want 2 at least, to go there and back (A B B A); %w", o.rounds, errUsage)
	}
	if o.rounds == 0 {
		o.rounds = 10
		if o.quick {
			o.rounds = 4
		}
	}
	if cmd.Flags().Changed("duration") && o.length < time.Millisecond {
		return fmt.Errorf("--duration %v: want a millisecond at least; %w", o.length, errUsage)
	}
	if o.length == 0 {
		o.length = 800 * time.Millisecond
		if o.quick {
			o.length = 250 * time.Millisecond
		}
	}
	if o.bin == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding overcastd: %w", err)
		}
		o.bin = filepath.Dir(self)
	}
	return nil
}

// overcastd returns the agent's path, and checks that it is there.
func (o *options) overcastd() (string, error) {
	path := filepath.Join(o.bin, "overcastd")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the agent is needed: %w; build it beside overcast-bench (make build) or name its folder with --bin", err)
	}
	return path, nil
}

// finish prints a report and writes the files that were asked for.
func (o *options) finish(r *report) error {
	r.print(o.out)
	if o.json != "" {
		if err := r.write(o.json); err != nil {
			return err
		}
	}
	return o.draw(r)
}

// draw writes the pictures that were asked for.
func (o *options) draw(r *report) error {
	if o.svg != "" {
		if err := os.WriteFile(o.svg, []byte(r.svg()), 0o644); err != nil {
			return fmt.Errorf("drawing: %w", err)
		}
	}
	if o.html != "" {
		if err := os.WriteFile(o.html, []byte(r.page()), 0o644); err != nil {
			return fmt.Errorf("writing the page: %w", err)
		}
	}
	return nil
}

// interrupted is an error once the run is to end; it is asked between any two
// measurements.
func (o *options) interrupted() error {
	if o.ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return nil
}

// step tells that something begins.
func (o *options) step(format string, args ...any) {
	fmt.Fprintf(o.progress, format+"\n", args...)
}

// checkCounts checks a flag that lists sizes.
func checkCounts(flag string, counts []int, most int) error {
	for _, n := range counts {
		if n < 1 || n > most {
			return fmt.Errorf("%s: %d is not from 1 to %d; %w", flag, n, most, errUsage)
		}
	}
	return nil
}
