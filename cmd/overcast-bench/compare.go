// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
)

// change is a figure in two reports.
type change struct {
	before, after *series
	share         float64 // how much better; below 0: worse
	clear         bool    // beyond the spread of both
}

func compareCommand() *cobra.Command {
	share, all := 0.05, false
	cmd := &cobra.Command{
		Use:   "compare BEFORE.json AFTER.json",
		Short: "Tell what got better or worse between two reports, beyond their spread",
		Long: "Tell what got better or worse between two reports of the same benchmark.\n" +
			"A figure has changed if the 95% intervals of its medians lie apart. If one of Overcast's own\n" +
			"has got worse by more than --share, or is no longer measured, or losses have appeared, the exit code is 3.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("compare takes two reports, not %d; %w", len(args), errUsage)
			}
			if share < 0 || share >= 1 {
				return fmt.Errorf("--share %v: want from 0 to below 1; %w", share, errUsage)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			before, err := readReport(args[0])
			if err != nil {
				return err
			}
			after, err := readReport(args[1])
			if err != nil {
				return err
			}
			return compare(cmd.OutOrStdout(), before, after, share, all)
		},
	}
	cmd.Flags().Float64Var(&share, "share", share, "how much worse is a regression (0.05: 5%)")
	cmd.Flags().BoolVar(&all, "all", false, "show unchanged figures too, and those of the rivals")
	return cmd
}

// compare prints the changes and returns errWanting where there is a regression.
func compare(out io.Writer, before, after *report, share float64, all bool) error {
	if before.Benchmark != after.Benchmark {
		return fmt.Errorf("a report of %s and one of %s cannot be compared; %w", before.Benchmark, after.Benchmark, errUsage)
	}
	if before.Machine.withoutVersion() != after.Machine.withoutVersion() {
		fmt.Fprintln(out, "The machines or their kernels differ; the figures may say more about them than about Overcast.")
	}
	regressions := 0
	t := newTable(out)
	t.AppendHeader(table.Row{"FIGURE", "CONTENDER", "BEFORE", "AFTER", "UNIT", "CHANGE", ""})
	for _, s := range before.Series {
		c := changeOf(s, after.find(s.Group, s.Measure, s.Contender))
		bad := c.regression(share)
		if bad != "" {
			regressions++
		}
		if bad == "" && !all && (!c.clear || !s.ours()) {
			continue
		}
		row := table.Row{s.Group + ": " + s.Measure, s.Contender, quantity(s.Median), "", s.Unit, "", bad}
		if c.after != nil {
			row[3], row[5] = quantity(c.after.Median), c.String()
		}
		t.AppendRow(row)
	}
	if t.Length() == 0 {
		fmt.Fprintln(out, "Nothing has changed beyond the spread.")
	} else {
		t.Render()
	}
	if regressions > 0 {
		fmt.Fprintf(out, "%d worse than allowed (by more than %.0f%%, beyond the spread)\n", regressions, share*100)
		return errWanting
	}
	return nil
}

// withoutVersion is what must be the same for figures to be comparable.
func (m machine) withoutVersion() machine {
	m.Overcast, m.Go = "", ""
	return m
}

// ours tells Overcast's own figures from those of its rivals.
func (s *series) ours() bool {
	return len(s.Contender) >= len("overcast") && s.Contender[:len("overcast")] == "overcast"
}

func changeOf(before, after *series) change {
	c := change{before: before, after: after}
	if after == nil || before.Median == 0 {
		return c
	}
	c.share = after.Median/before.Median - 1
	if before.Better == lower {
		c.share = -c.share
	}
	c.clear = after.Low > before.High || after.High < before.Low
	return c
}

// String says how much better or worse.
func (c change) String() string {
	word := "better"
	if c.share < 0 {
		word = "worse"
	}
	if !c.clear {
		word += ", within the spread"
	}
	return fmt.Sprintf("%.1f%% %s", max(c.share, -c.share)*100, word)
}

// regression says what is worse than allowed, of our own figures.
func (c change) regression(share float64) string {
	switch {
	case !c.before.ours():
		return ""
	case c.after == nil:
		return "NOT MEASURED"
	case c.after.Lost > 0 && c.before.Lost == 0:
		return "LOSES NOW"
	case c.clear && c.share < -share:
		return "WORSE"
	}
	return ""
}
