// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"overcast/loader"
	"overcast/maps"
)

// view is what there is to see: the pinned maps, and the agent's report that
// gives their contents names.
type view struct {
	set      *maps.Set
	runDir   string
	report   *loader.Report
	numbered bool         // there is no report to go by: it is made of the maps
	alive    bool         // the agent lives; else the report is stale
	holder   int          // its process; 0: not known
	warning  string       // what whoever reads this should know of the names
	known    *knownGroups // once they are asked for
}

// open opens the pinned maps. Without a report everything is shown by number.
func (o *options) open() (*view, error) {
	set, err := maps.Open(o.pinPath)
	if errors.Is(err, maps.ErrNotLoaded) && loader.SomePins(o.pinPath) {
		return nil, fmt.Errorf("the maps pinned at %s are of another version than this overcast, %s: use that of the overcastd that runs, or restart that as this one", o.pinPath, loader.Version())
	}
	if errors.Is(err, maps.ErrNotLoaded) {
		return nil, fmt.Errorf("no datapath is loaded at %s: start overcastd, or set --pin-path", o.pinPath)
	}
	// A BPF file system keeps such names for itself.
	if errors.Is(err, unix.EPERM) && strings.Contains(o.pinPath, ".") {
		return nil, fmt.Errorf("%w: a BPF file system allows no dot in a path: set --pin-path", err)
	}
	if err != nil {
		return nil, err
	}
	v := &view{set: set, runDir: o.runDir}
	if err := v.name(o.runDir); err != nil {
		set.Close()
		return nil, err
	}
	return v, nil
}

// name finds out what the contents of the maps are called, and how sure that is.
func (v *view) name(runDir string) error {
	var err error
	if v.holder, v.alive, err = loader.Holder(runDir); err != nil {
		return err
	}
	var missing string
	if v.report, missing = readReport(runDir); missing == "" {
		if !v.alive {
			v.warning = "overcastd is not running: names and modes are its last, counters are live"
		}
		return nil
	}
	v.numbered, v.warning = true, missing+": everything is shown by number"
	v.report, err = numbered(v.set)
	return err
}

// verb is a reading verb.
type verb[T any] struct {
	name    string
	short   string
	rawMaps []string
	columns []column[T]
	read    func(*view, *scope) ([]T, error)
	beside  func(*view, *scope) (section, error) // one more list, if there is one
	whole   bool                                 // it is about the host as a whole, and nothing of it can be chosen
}

// list makes the command of a reading verb: rows that are read, filtered and
// shown, again and again with --watch, and the maps themselves with --raw.
func list[T any](o *options, verb verb[T]) *cobra.Command {
	cmd := &cobra.Command{Use: verb.name, Short: verb.short, Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions}
	filterFlags(o, cmd, verb.whole)
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "show again every second until interrupted")
	cmd.Flags().BoolVar(&o.raw, "raw", false, "the map entries as they are, their number and memory: "+strings.Join(verb.rawMaps, ", "))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if verb.whole && o.filter != (filter{}) {
			return fmt.Errorf("%s shows the host as a whole, of which --environment, --segment and --port choose nothing: %w", verb.name, errUsage)
		}
		w := &writer{out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), o: o}
		once := func() error {
			v, err := o.open()
			if err != nil {
				return err
			}
			defer v.set.Close()
			s, err := v.scope(o.filter)
			if err != nil {
				return err
			}
			if o.raw {
				if v.numbered && !s.all {
					w.warn(v.warning)
				}
				return showRaw(w.out, o, verb.name, v.set, verb.rawMaps, s)
			}
			rows, err := verb.read(v, s)
			if err != nil {
				return err
			}
			sections := []section{sectionOf(verb.name, verb.columns, rows)}
			if verb.beside != nil {
				more, err := verb.beside(v, s)
				if err != nil {
					return err
				}
				sections = append(sections, more)
			}
			if v.numbered || o.tabular() {
				w.warn(v.warning)
			}
			return showSections(w.out, o, sections...)
		}
		if !o.watch {
			return once()
		}
		return w.again(cmd.Context(), once)
	}
	return cmd
}
