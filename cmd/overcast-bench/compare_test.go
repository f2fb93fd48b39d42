// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// scaled is the sample with the figures of one contender multiplied.
func scaled(contender, measure string, factor float64) *report {
	r := sample()
	for _, s := range r.Series {
		if s.Contender == contender && s.Measure == measure {
			for i := range s.Samples {
				s.Samples[i] *= factor
			}
			s.summary = summarize(s.Samples)
		}
	}
	return r
}

func TestCompare(t *testing.T) {
	losing := sample()
	losing.Series[0].Lost, losing.Series[0].Sent = 3, 100
	missing := sample()
	missing.Series = missing.Series[1:]
	for name, c := range map[string]struct {
		after *report
		code  int
		text  string
	}{
		"the same":                {sample(), 0, "Nothing has changed"},
		"slower":                  {scaled("overcast, tc", "time", 1.2), exitWanting, "20.0% worse"},
		"a lower rate":            {scaled("overcast, tc", "rate", 0.5), exitWanting, "50.0% worse"},
		"faster":                  {scaled("overcast, tc", "time", 0.5), 0, "50.0% better"},
		"slower, but allowed":     {scaled("overcast, tc", "time", 1.03), 0, "3.0% worse"},
		"the rival is slower":     {scaled(tuned, "time", 2), 0, "Nothing has changed"},
		"within the spread":       {scaled("overcast, tc", "rate", 0.999), 0, "Nothing has changed"},
		"it loses now":            {losing, exitWanting, "LOSES NOW"},
		"it is not measured more": {missing, exitWanting, "NOT MEASURED"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			before, after := filepath.Join(dir, "a.json"), filepath.Join(dir, "b.json")
			if err := sample().write(before); err != nil {
				t.Fatal(err)
			}
			if err := c.after.write(after); err != nil {
				t.Fatal(err)
			}
			code, out, errs := bench("compare", before, after)
			if code != c.code || !strings.Contains(out, c.text) {
				t.Errorf("exit code %d, want %d; %q should say %q; %s", code, c.code, out, c.text, errs)
			}
		})
	}
}

func TestCompareOthers(t *testing.T) {
	dir := t.TempDir()
	other := sample()
	other.Benchmark = "scale"
	a, b := filepath.Join(dir, "a.json"), filepath.Join(dir, "b.json")
	if err := sample().write(a); err != nil {
		t.Fatal(err)
	}
	if err := other.write(b); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := bench("compare", a, b); code != exitUsage || !strings.Contains(errs, "cannot be compared") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}
