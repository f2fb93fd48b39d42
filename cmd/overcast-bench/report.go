// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// schema is the version of a report's form.
const schema = 1

// direction tells which way is better.
type direction string

// The directions.
const (
	higher direction = "higher"
	lower  direction = "lower"
)

// series is one figure of one contender: all repetitions, and what they say.
type series struct {
	Group     string    `json:"group"`     // what was the same for all contenders: wire, family, size
	Measure   string    `json:"measure"`   // what was measured
	Contender string    `json:"contender"` // what it was measured of
	Unit      string    `json:"unit"`
	Better    direction `json:"better"`
	Samples   []float64 `json:"samples"`
	summary

	// What the receiver counted, so that loss or lost merging cannot hide.
	FrameBytes float64 `json:"frame_bytes,omitempty"` // mean size of the frames that it was given
	Sent       uint64  `json:"sent,omitempty"`        // packets or copies
	Lost       uint64  `json:"lost"`
}

// key identifies a series from one report to the next.
func (s *series) key() string {
	return s.Group + "\t" + s.Measure + "\t" + s.Contender
}

// verdict is a figure that the benchmark exists for, held against its mark.
type verdict struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Text  string  `json:"text"`            // the value as a reader wants it
	Must  string  `json:"must,omitempty"`  // what it must be
	Aim   string  `json:"aim,omitempty"`   // what it should be
	Holds bool    `json:"holds"`           // the must
	Aimed bool    `json:"aimed,omitempty"` // the aim
}

// report is the result of a run.
type report struct {
	Schema    int       `json:"schema"`
	Benchmark string    `json:"benchmark"`
	Quick     bool      `json:"quick"`
	Rounds    int       `json:"rounds"`
	Started   time.Time `json:"started"`
	Finished  time.Time `json:"finished"`
	Machine   machine   `json:"machine"`
	Notes     []string  `json:"notes"` // what a reader must know to believe the figures
	Series    []*series `json:"series"`
	Verdicts  []verdict `json:"verdicts,omitempty"`
	Done      []string  `json:"done,omitempty"` // groups that are complete, for --resume
}

// newReport begins a report.
func newReport(benchmark string, o *options, notes ...string) *report {
	return &report{
		Schema: schema, Benchmark: benchmark, Quick: o.quick, Rounds: o.rounds,
		Started: time.Now().UTC().Truncate(time.Second), Machine: describeMachine(), Notes: notes,
	}
}

// add takes over a repetition.
func (r *report) add(group, measure, contender, unit string, better direction, value float64) *series {
	probe := series{Group: group, Measure: measure, Contender: contender}
	i := slices.IndexFunc(r.Series, func(s *series) bool { return s.key() == probe.key() })
	if i < 0 {
		probe.Unit, probe.Better = unit, better
		r.Series = append(r.Series, &probe)
		i = len(r.Series) - 1
	}
	s := r.Series[i]
	s.Samples = append(s.Samples, value)
	s.summary = summarize(s.Samples)
	return s
}

// find returns a series, or nil.
func (r *report) find(group, measure, contender string) *series {
	for _, s := range r.Series {
		if s.Group == group && s.Measure == measure && s.Contender == contender {
			return s
		}
	}
	return nil
}

// median returns a series' median.
func (r *report) median(group, measure, contender string) (float64, bool) {
	if s := r.find(group, measure, contender); s != nil && s.Median > 0 {
		return s.Median, true
	}
	return 0, false
}

// medians returns the medians of several contenders, if all were measured.
func (r *report) medians(group, measure string, contenders ...string) ([]float64, bool) {
	var medians []float64
	for _, contender := range contenders {
		m, ok := r.median(group, measure, contender)
		if !ok {
			return nil, false
		}
		medians = append(medians, m)
	}
	return medians, true
}

// groups lists the groups in their order.
func (r *report) groups() []string {
	var groups []string
	for _, s := range r.Series {
		if !slices.Contains(groups, s.Group) {
			groups = append(groups, s.Group)
		}
	}
	return groups
}

// measures lists the measures of a group in their order.
func (r *report) measures(group string) []string {
	var measures []string
	for _, s := range r.Series {
		if s.Group == group && !slices.Contains(measures, s.Measure) {
			measures = append(measures, s.Measure)
		}
	}
	return measures
}

// panel is series that belong beside each other, in a table or a chart.
type panel struct {
	title  string
	heads  string // what the labels are
	labels []string
	series []*series
	rivals bool // the series are of rivals, so the first is what the others are held against
}

// panels lists what a reader compares: the contenders of each measure or,
// where there is only one contender, the measures of a group by their units.
func (r *report) panels(group string) []panel {
	var panels []panel
	alone := true
	for _, measure := range r.measures(group) {
		p := panel{title: measure, heads: "CONTENDER", rivals: true}
		for _, s := range r.Series {
			if s.Group == group && s.Measure == measure {
				p.labels, p.series = append(p.labels, s.Contender), append(p.series, s)
			}
		}
		alone = alone && len(p.series) == 1
		panels = append(panels, p)
	}
	if !alone {
		return panels
	}
	var byUnit []panel
	for _, p := range panels {
		s := p.series[0]
		i := slices.IndexFunc(byUnit, func(u panel) bool { return u.series[0].Unit == s.Unit })
		if i < 0 {
			byUnit = append(byUnit, panel{heads: "FIGURE"})
			i = len(byUnit) - 1
		}
		byUnit[i].labels, byUnit[i].series = append(byUnit[i].labels, s.Measure), append(byUnit[i].series, s)
	}
	return byUnit
}

// heading joins a group and a panel's title, which may be empty.
func heading(group, title string) string {
	if title == "" {
		return group
	}
	return group + ": " + title
}

// judge adds a verdict. holds and aimed tell whether the value is as it must
// and as it should be.
func (r *report) judge(name string, value float64, text, must, aim string, holds, aimed bool) {
	r.Verdicts = append(r.Verdicts, verdict{Name: name, Value: value, Text: text, Must: must, Aim: aim, Holds: holds, Aimed: aimed})
}

// write writes the report as JSON, in one step.
func (r *report) write(path string) error {
	r.Finished = time.Now().UTC().Truncate(time.Second)
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	staged := path + ".new"
	if err := os.WriteFile(staged, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := os.Rename(staged, path); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// readReport reads what write has written.
func readReport(path string) (*report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r report
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return nil, fmt.Errorf("%s: not a report of overcast-bench: %w", path, err)
	}
	if r.Schema != schema {
		return nil, fmt.Errorf("%s: a report of schema %d, and this version reads %d", path, r.Schema, schema)
	}
	return &r, nil
}
