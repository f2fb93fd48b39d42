// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"overcast/loader"
	"overcast/maps"
)

// view is what there is to see: the pinned maps, and the agent's report that
// gives their contents names.
type view struct {
	set    *maps.Set
	report *loader.Report
	alive  bool // the agent lives; else the report is stale
}

// open opens the pinned maps. Without a report everything is shown by number.
func (o *options) open() (*view, error) {
	set, err := maps.Open(o.pinPath)
	if errors.Is(err, maps.ErrNotLoaded) {
		return nil, fmt.Errorf("no datapath is loaded at %s: start overcastd, or set --pin-path", o.pinPath)
	}
	if err != nil {
		return nil, err
	}
	v := &view{set: set}
	if v.report, err = loader.ReadReport(o.runDir); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			set.Close()
			return nil, err
		}
		v.report = &loader.Report{}
	}
	if v.alive, err = loader.IsLocked(o.runDir); err != nil {
		set.Close()
		return nil, err
	}
	return v, nil
}

// filter chooses objects by name.
type filter struct {
	environment, segment, port string
}

// takes tells whether an object of these names is wanted. A name that the
// object has none of (a host-wide drop has no segment) is not wanted when
// asked for.
func (f filter) takes(environment, segment, port string) bool {
	return (f.environment == "" || f.environment == environment) &&
		(f.segment == "" || f.segment == segment || f.segment == environment+"/"+segment) &&
		(f.port == "" || f.port == port || f.port == environment+"/"+segment+"/"+port)
}

// list makes a reading verb: rows that are read, filtered and shown, again and
// again with --watch, and the maps themselves with --raw.
func list[T any](o *options, verb, short string, rawMaps []string, columns []column[T], read func(*view, filter) ([]T, error)) *cobra.Command {
	cmd := &cobra.Command{Use: verb, Short: short, Args: noArgs}
	cmd.Flags().StringVar(&o.filter.environment, "environment", "", "only this environment")
	cmd.Flags().StringVar(&o.filter.segment, "segment", "", "only this segment, as segment or environment/segment")
	cmd.Flags().StringVar(&o.filter.port, "port", "", "only this port, as port or environment/segment/port")
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "show again every second until interrupted")
	cmd.Flags().BoolVar(&o.raw, "raw", false, "the map entries as they are, their number and memory: "+strings.Join(rawMaps, ", "))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		once := func() error {
			v, err := o.open()
			if err != nil {
				return err
			}
			defer v.set.Close()
			if o.raw {
				return showRaw(cmd.OutOrStdout(), o, v.set, rawMaps)
			}
			rows, err := read(v, o.filter)
			if err != nil {
				return err
			}
			if !v.alive && (o.output == "table" || o.output == "wide") {
				fmt.Fprintln(cmd.ErrOrStderr(), "overcastd is not running: names and modes are its last, counters are live")
			}
			return show(cmd.OutOrStdout(), o, verb, columns, rows)
		}
		for {
			if err := once(); err != nil || !o.watch {
				return err
			}
			select {
			case <-cmd.Context().Done():
				return nil
			case <-time.After(time.Second):
			}
			if o.output == "table" || o.output == "wide" {
				fmt.Fprint(cmd.OutOrStdout(), "\x1b[H\x1b[2J")
			}
		}
	}
	return cmd
}
