// SPDX-License-Identifier: Apache-2.0

// Overcast shows what the datapath of this host holds and does. It reads the
// pinned maps and the agent's report, so it answers when the agent is down.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"

	"github.com/spf13/cobra"

	"overcast/loader"
)

// Exit codes.
const (
	exitError   = 1
	exitUsage   = 2
	exitWanting = 3 // checked, and found wanting
)

// errUsage marks a wrong call, errWanting a check that did not hold.
var (
	errUsage   = errors.New("see overcast --help")
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
	strictBuiltins(root)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errWanting):
		return exitWanting // what was found has been printed
	}
	fmt.Fprintln(errs, "overcast:", err)
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitError
}

// options are the flags that all verbs share.
type options struct {
	pinPath string
	runDir  string
	output  string
	watch   bool
	raw     bool
	filter  filter
	shown   func() // if set, called after each time that --watch has shown
}

var outputs = []string{"table", "wide", "json", "yaml"}

func command() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:           "overcast",
		Short:         "Show what the overlay's datapath on this host holds and does",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q: %w", args[0], errUsage)
			}
			return nil
		},
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains(outputs, o.output) {
				return fmt.Errorf("-o %s: want table, wide, json or yaml: %w", o.output, errUsage)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", err, errUsage) })
	flags := root.PersistentFlags()
	flags.StringVar(&o.pinPath, "pin-path", setting("OVERCAST_PIN_PATH", "/sys/fs/bpf/overcast"), "folder of the pinned maps")
	flags.StringVar(&o.runDir, "run-dir", setting("OVERCAST_RUN_DIR", "/run/overcast"), "folder of the agent's report")
	flags.StringVarP(&o.output, "output", "o", "table", "table, wide, json or yaml")
	must(root.MarkPersistentFlagDirname("pin-path"))
	must(root.MarkPersistentFlagDirname("run-dir"))
	must(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp)))
	root.AddCommand(
		statusCommand(o), portsCommand(o), segmentsCommand(o), remotesCommand(o), fdbCommand(o), groupsCommand(o), neighborsCommand(o), dropsCommand(o),
		checkCommand(o), unloadCommand(o), versionCommand(o),
	)
	return root
}

// strictBuiltins makes cobra's own verbs refuse what they do not know, as ours
// do. They keep the output that is set now.
func strictBuiltins(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = func(_ *cobra.Command, args []string) error {
				if found, _, err := root.Find(args); len(args) > 0 && (err != nil || found == root) {
					return fmt.Errorf("unknown command %q: %w", args[0], errUsage)
				}
				return nil
			}
		case "completion":
			cmd.Args = func(_ *cobra.Command, args []string) error {
				if len(args) > 0 {
					return fmt.Errorf("completion for %q: want bash, fish, powershell or zsh: %w", args[0], errUsage)
				}
				return nil
			}
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				shell.Args = noArgs
			}
		}
	}
}

// setting is a variable's value; set but empty counts as set.
func setting(variable, initial string) string {
	if value, ok := os.LookupEnv(variable); ok {
		return value
	}
	return initial
}

// must is for what can only fail by a mistake in this program.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func versionCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Show the version of this program",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			type version struct {
				Version string `json:"version"`
			}
			rows := []version{{loader.Version()}}
			return show(cmd.OutOrStdout(), o, "version", []column[version]{{"VERSION", false, func(v version) string { return v.Version }}}, rows)
		},
	}
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q: %w", args[0], errUsage)
	}
	return nil
}
