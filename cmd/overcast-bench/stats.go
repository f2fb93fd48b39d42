// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
)

// summary is what repetitions say together.
type summary struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`  // the 95% interval of the median
	High   float64 `json:"high"` // as above
}

// summarize returns the median and its 95% interval. The interval is between
// two of the samples, chosen by the binomial distribution: it needs no idea of
// how the samples are distributed (Conover, Practical Nonparametric Statistics,
// 3.2). With fewer than six samples it is all of them, and covers less.
func summarize(samples []float64) summary {
	if len(samples) == 0 {
		return summary{}
	}
	sorted := slices.Sorted(slices.Values(samples))
	k := intervalRank(len(sorted))
	return summary{Median: medianOf(sorted), Low: sorted[k], High: sorted[len(sorted)-1-k]}
}

func medianOf(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// intervalRank is how many samples may be left out at each end.
func intervalRank(n int) int {
	// The chance that at most k of n samples are below the median.
	tail, rank := 0.0, 0
	for k := 0; k < n/2; k++ {
		tail += math.Exp(logChoose(n, k) - float64(n)*math.Ln2)
		if tail > 0.025 {
			break
		}
		rank = k + 1
	}
	return max(rank-1, 0)
}

func logChoose(n, k int) float64 {
	lg := func(x int) float64 {
		v, _ := math.Lgamma(float64(x) + 1)
		return v
	}
	return lg(n) - lg(k) - lg(n-k)
}

// quantile returns the value below which this share of the sorted values lies.
func quantile(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}
