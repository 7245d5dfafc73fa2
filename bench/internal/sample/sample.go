// Package sample holds the statistics of the benchmarks: quantiles, and the ratio
// of two medians with a bootstrap confidence interval.
package sample

import (
	"math/rand/v2"
	"slices"
)

// Quantile returns the q-quantile (0..1) of values, linear between neighbours, and
// zero if there are none. The order of values does not matter.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return quantileSorted(slices.Sorted(slices.Values(values)), q)
}

// Median is the 0.5-quantile.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

func quantileSorted(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i >= len(sorted)-1 {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// Ratio is a ratio of medians and the bounds of its 95 % confidence interval.
type Ratio struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

const resamples = 1000

// RatioOfMedians returns median(a)/median(b). The samples are pairs: a[i] and b[i]
// were measured in the same round, so the bootstrap draws rounds, and load that hit
// a whole round does not widen the interval. The same samples give the same interval.
//
// Precondition: a and b have the same length.
func RatioOfMedians(a, b []float64) Ratio {
	if len(a) == 0 || Median(b) == 0 {
		return Ratio{}
	}
	rng := rand.New(rand.NewPCG(1, uint64(len(a))))
	ratios := make([]float64, resamples)
	drawnA, drawnB := make([]float64, len(a)), make([]float64, len(b))
	for i := range ratios {
		for j := range drawnA {
			k := rng.IntN(len(a))
			drawnA[j], drawnB[j] = a[k], b[k]
		}
		slices.Sort(drawnA)
		slices.Sort(drawnB)
		ratios[i] = quantileSorted(drawnA, 0.5) / quantileSorted(drawnB, 0.5)
	}
	return Ratio{
		Value: Median(a) / Median(b),
		Low:   Quantile(ratios, 0.025),
		High:  Quantile(ratios, 0.975),
	}
}
