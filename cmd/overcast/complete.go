// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"
)

// filterFlags adds the flags that choose objects. A verb that has nothing to
// choose from takes them too, to say so, and does not show them.
func filterFlags(o *options, cmd *cobra.Command, hidden bool) {
	flags := cmd.Flags()
	flags.StringVar(&o.filter.environment, "environment", "", "only this environment")
	flags.StringVar(&o.filter.segment, "segment", "", "only this segment, as segment or environment/segment")
	flags.StringVar(&o.filter.port, "port", "", "only this port, as port or environment/segment/port, or what belongs to its segment")
	for _, name := range []string{"environment", "segment", "port"} {
		if hidden {
			must(flags.MarkHidden(name))
		}
		must(cmd.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return o.objects(name), cobra.ShellCompDirectiveNoFileComp
		}))
	}
}

// objects are the names of a kind that the report has: short ones and full
// ones, of what the other flags leave.
func (o *options) objects(kind string) []string {
	report, missing := readReport(o.runDir)
	if missing != "" {
		return nil
	}
	of := o.filter
	names := make(map[string]bool)
	for _, s := range report.Segments {
		switch {
		case kind == "environment":
			names[s.Environment] = true
		case kind == "segment" && (filter{environment: of.environment}).takes(s.Environment, s.Segment, ""):
			names[s.Segment], names[s.Object()] = true, true
		}
	}
	for _, p := range report.Ports {
		if kind == "port" && (filter{of.environment, of.segment, ""}).takes(p.Environment, p.Segment, p.Port) {
			names[p.Port], names[p.Object()] = true, true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
