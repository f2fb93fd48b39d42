// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"math"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// print shows a report as tables, one for each group and measure.
func (r *report) print(out io.Writer) {
	m := r.Machine
	fmt.Fprintf(out, "\novercast-bench %s: %s, %d CPUs, kernel %s, %s, overcast %s\n", r.Benchmark, m.CPU, m.CPUs, m.Kernel, m.Congestion, m.Overcast)
	if r.Quick {
		fmt.Fprintln(out, "A quick run: tendencies, not figures.")
	}
	for _, group := range r.groups() {
		for _, p := range r.panels(group) {
			fmt.Fprintf(out, "\n%s\n", heading(group, p.title))
			p.print(out)
		}
	}
	if len(r.Verdicts) > 0 {
		fmt.Fprintln(out, "\nAgainst the marks")
		t := newTable(out)
		t.AppendHeader(table.Row{"FIGURE", "MEASURED", "MUST", "", "AIM", ""})
		for _, v := range r.Verdicts {
			t.AppendRow(table.Row{v.Name, v.Text, v.Must, mark(v.Must, v.Holds), v.Aim, mark(v.Aim, v.Aimed)})
		}
		t.Render()
	}
	for _, note := range r.Notes {
		fmt.Fprintf(out, "\n%s\n", text.WrapSoft(note, 100))
	}
}

func (p panel) print(out io.Writer) {
	t := newTable(out)
	header := table.Row{p.heads, "MEDIAN", "95% INTERVAL", "UNIT"}
	frames, losses := false, false
	for _, s := range p.series {
		frames = frames || s.FrameBytes > 0
		losses = losses || s.Sent > 0
	}
	if p.rivals {
		header = append(header, "AGAINST THE FIRST")
	}
	if frames {
		header = append(header, "FRAME (B)")
	}
	if losses {
		header = append(header, "LOST")
	}
	t.AppendHeader(header)
	columns := []table.ColumnConfig{}
	for i := 2; i <= len(header); i++ {
		if i != 4 {
			columns = append(columns, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	t.SetColumnConfigs(columns)
	for i, s := range p.series {
		row := table.Row{p.labels[i], quantity(s.Median), quantity(s.Low) + " - " + quantity(s.High), s.Unit}
		if p.rivals {
			row = append(row, relation(s.Median, p.series[0].Median))
		}
		if frames {
			row = append(row, fmt.Sprintf("%.0f", s.FrameBytes))
		}
		if losses {
			row = append(row, lossOf(s))
		}
		t.AppendRow(row)
	}
	t.Render()
}

func lossOf(s *series) string {
	if s.Sent == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d", s.Lost, s.Sent)
}

func newTable(out io.Writer) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	style := table.StyleLight
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	return t
}

func mark(what string, holds bool) string {
	switch {
	case what == "":
		return ""
	case holds:
		return "yes"
	}
	return "NO"
}

// quantity writes a number with three significant digits and an SI prefix.
func quantity(v float64) string {
	for _, p := range []struct {
		factor float64
		prefix string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= p.factor {
			return significant(v/p.factor) + p.prefix
		}
	}
	return significant(v)
}

func significant(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func relation(v, base float64) string {
	if base == 0 {
		return ""
	}
	return fmt.Sprintf("%.2fx", v/base)
}
