// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"html"
	"strings"

	"github.com/spf13/cobra"
)

func plotCommand() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "plot REPORT.json",
		Short: "Draw a report that was written before",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("plot takes one report, not %d; %w", len(args), errUsage)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := readReport(args[0])
			if err != nil {
				return err
			}
			if o.svg == "" && o.html == "" {
				return errors.Join(errors.New("nothing to draw into: name a file by --svg or --html"), errUsage)
			}
			return o.draw(r)
		},
	}
	cmd.Flags().StringVar(&o.svg, "svg", "", "draw into this file")
	cmd.Flags().StringVar(&o.html, "html", "", "write one self-contained page into this file")
	return cmd
}

// Measures of a drawing, in pixels.
const (
	plotWidth  = 860
	plotLabel  = 250 // left of the bars
	plotValue  = 150 // right of them
	plotTitle  = 34
	plotRow    = 24
	plotBar    = 14
	plotMargin = 16
)

// Colours that can be told apart also without colour vision.
const (
	colourOurs  = "#0072b2"
	colourRival = "#b0b7be"
	colourBare  = "#d9dde1"
	colourText  = "#24292f"
	colourWeak  = "#6a737d"
)

// svg draws all of a report: bars with the 95% interval, a chart for each
// group and measure.
func (r *report) svg() string {
	var b strings.Builder
	height := 0
	for _, group := range r.groups() {
		for _, p := range r.panels(group) {
			height += p.height()
		}
	}
	openSVG(&b, height+plotMargin)
	at := 0
	for _, group := range r.groups() {
		for _, p := range r.panels(group) {
			p.draw(&b, at, heading(group, p.title))
			at += p.height()
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// svg draws a panel by itself.
func (p panel) svg() string {
	var b strings.Builder
	openSVG(&b, p.height())
	p.draw(&b, 0, p.title)
	b.WriteString("</svg>\n")
	return b.String()
}

func openSVG(b *strings.Builder, height int) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" font-size="13">`+"\n",
		plotWidth, height, plotWidth, height)
	fmt.Fprintf(b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", plotWidth, height)
}

func (p panel) height() int {
	return plotTitle + len(p.series)*plotRow + plotMargin
}

// draw draws the bars of a panel at a height.
func (p panel) draw(b *strings.Builder, at int, title string) {
	most, all := 0.0, p.series
	for _, s := range all {
		most = max(most, s.High, s.Median)
	}
	if most == 0 {
		most = 1
	}
	scale := float64(plotWidth-plotLabel-plotValue) / most
	better := "more is better"
	if all[0].Better == lower {
		better = "less is better"
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="600" fill="%s">%s <tspan fill="%s" font-weight="400">(%s, %s)</tspan></text>`+"\n",
		plotMargin, at+22, colourText, html.EscapeString(title), colourWeak, html.EscapeString(all[0].Unit), better)
	for i, s := range all {
		y := at + plotTitle + i*plotRow
		middle := y + plotBar/2
		colour := colourRival
		switch {
		case s.ours():
			colour = colourOurs
		case s.Contender == bare:
			colour = colourBare
		}
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end" fill="%s">%s</text>`+"\n", plotLabel-8, middle+5, colourText, html.EscapeString(p.labels[i]))
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n", plotLabel, y, s.Median*scale, plotBar, colour)
		low, high := plotLabel+s.Low*scale, plotLabel+s.High*scale
		fmt.Fprintf(b, `<path d="M%.1f %d V%d M%.1f %d H%.1f M%.1f %d V%d" stroke="%s" fill="none"/>`+"\n",
			low, middle-4, middle+4, low, middle, high, high, middle-4, middle+4, colourText)
		text := quantity(s.Median)
		if s.Lost > 0 {
			text += fmt.Sprintf(", %d lost", s.Lost)
		}
		fmt.Fprintf(b, `<text x="%.1f" y="%d" fill="%s">%s</text>`+"\n", max(high, plotLabel+s.Median*scale)+8, middle+5, colourText, html.EscapeString(text))
	}
}
