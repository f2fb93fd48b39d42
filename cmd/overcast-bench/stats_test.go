// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"
)

func TestSummarize(t *testing.T) {
	count := func(n int) []float64 {
		var all []float64
		for i := range n {
			all = append(all, float64(n-i)) // backwards: order must not matter
		}
		return all
	}
	for _, c := range []struct {
		n    int
		want summary
	}{
		{0, summary{}},
		{1, summary{1, 1, 1}},
		{4, summary{2.5, 1, 4}},
		{5, summary{3, 1, 5}},
		// The ranks of the binomial tables for 95%.
		{6, summary{3.5, 1, 6}},
		{9, summary{5, 2, 8}},
		{10, summary{5.5, 2, 9}},
		{20, summary{10.5, 6, 15}},
		{40, summary{20.5, 14, 27}},
	} {
		if got := summarize(count(c.n)); got != c.want {
			t.Errorf("%d samples: %+v, want %+v", c.n, got, c.want)
		}
	}
}

func TestTurns(t *testing.T) {
	if got, want := turns(3, 4), []int{0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestQuantity(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234: "1.23k", 56_780_000: "56.8M", 9.9e9: "9.90G"} {
		if got := quantity(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}
