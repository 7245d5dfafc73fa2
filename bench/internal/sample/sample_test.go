package sample

import (
	"math"
	"testing"
)

func TestQuantile(t *testing.T) {
	for _, test := range []struct {
		name   string
		values []float64
		q      float64
		want   float64
	}{
		{"none", nil, 0.5, 0},
		{"one", []float64{7}, 0.9, 7},
		{"unsorted odd", []float64{3, 1, 2}, 0.5, 2},
		{"even", []float64{4, 1, 2, 3}, 0.5, 2.5},
		{"least", []float64{4, 1, 2}, 0, 1},
		{"greatest", []float64{4, 1, 2}, 1, 4},
		{"between", []float64{0, 10}, 0.1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Quantile(test.values, test.q); math.Abs(got-test.want) > 1e-9 {
				t.Errorf("Quantile(%v, %v) = %v, want %v", test.values, test.q, got, test.want)
			}
		})
	}
}

func TestQuantileKeepsOrder(t *testing.T) {
	values := []float64{3, 1, 2}
	Quantile(values, 0.5)
	if values[0] != 3 || values[1] != 1 {
		t.Errorf("Quantile sorted its argument: %v", values)
	}
}

func TestRatioOfMedians(t *testing.T) {
	base := make([]float64, 101)
	for i := range base {
		base[i] = float64(100 + i)
	}
	half := make([]float64, len(base))
	for i, v := range base {
		half[i] = v / 2
	}
	// Exactly proportional pairs: every resample has the same ratio.
	if got, want := RatioOfMedians(half, base), (Ratio{0.5, 0.5, 0.5}); got != want {
		t.Errorf("proportional pairs: %v, want %v", got, want)
	}
	half[0], half[1] = 1000, 2000
	got := RatioOfMedians(half, base)
	if got.Low > got.Value || got.High < got.Value || got.Low == got.High {
		t.Errorf("interval [%v %v] around %v", got.Low, got.High, got.Value)
	}
	if again := RatioOfMedians(half, base); again != got {
		t.Errorf("the same samples gave %v and then %v", got, again)
	}
	if got := RatioOfMedians(nil, nil); got != (Ratio{}) {
		t.Errorf("no samples: %v", got)
	}
}
