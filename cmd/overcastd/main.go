// SPDX-License-Identifier: Apache-2.0

// Overcastd is the agent: it keeps this host's part of the overlay as the
// environment documents want it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"overcast/loader"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "overcastd:", err)
		stop()
		os.Exit(1)
	}
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
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       loader.Version(),
	}
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
