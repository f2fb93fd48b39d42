// SPDX-License-Identifier: Apache-2.0

// Overcastd is the agent: it keeps this host's part of the overlay as the
// environment documents want it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"overcast/loader"
)

// Exit codes.
const (
	exitError = 1
	exitUsage = 2
)

// usageError is a wrong call.
type usageError struct{ error }

// Unwrap returns what was wrong with it.
func (e usageError) Unwrap() error { return e.error }

func main() {
	os.Exit(start(os.Args[1:], os.Stderr))
}

// start is main with its surroundings as arguments.
func start(args []string, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	cmd := command()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(errs, "overcastd:", err)
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitError
}

func command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "overcastd",
		Short: "Keep this host's part of the overlay running",
		Long: `Overcastd loads the datapath and keeps it as the environment documents want it.

It runs until SIGTERM and leaves the datapath forwarding; started again it takes
it over. SIGHUP, or a change of the documents, reloads them.

Every setting is also a variable OVERCAST_<SETTING>, and a key of the
configuration file. A flag goes before a variable, a variable before the file.
OVERCAST_DOCUMENT may hold a whole environment document; it replaces the store.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unexpected argument %q: see overcastd --help", args[0])}
			}
			return nil
		},
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       loader.Version(),
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w: see overcastd --help", err)}
	})
	addFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		config, err := readConfig(cmd.Flags())
		if err != nil {
			return err
		}
		return run(cmd.Context(), config)
	}
	return cmd
}
