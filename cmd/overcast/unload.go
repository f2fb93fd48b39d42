// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"overcast/loader"
)

func unloadCommand(o *options) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "unload",
		Short: "Take the datapath away: programs, maps and the tunnel device",
		Long: `Take the datapath away: programs, maps and the tunnel device.

It refuses while overcastd runs, which would put everything back; --force takes
it away all the same.`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			lock, err := loader.AcquireLock(o.runDir)
			switch {
			case err == nil:
				defer lock.Release()
				if err := lock.HoldPins(o.pinPath); err != nil && (!force || !errors.Is(err, loader.ErrLocked)) {
					return unlessForced(err)
				}
			case errors.Is(err, loader.ErrLocked) && force:
			default:
				return unlessForced(err)
			}
			return loader.Unload(o.pinPath, o.runDir)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "even while overcastd runs")
	return cmd
}

func unlessForced(err error) error {
	if !errors.Is(err, loader.ErrLocked) {
		return err
	}
	return fmt.Errorf("%w: stop it first, or use --force", err)
}
