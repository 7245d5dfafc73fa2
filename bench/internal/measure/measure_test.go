package measure

import (
	"reflect"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/bench/internal/rig"
)

func TestParseWindow(t *testing.T) {
	for _, test := range []struct {
		text string
		want Window
		ok   bool
	}{
		{"0ms-8ms", Window{0, 8 * time.Millisecond}, true},
		{"1ms-1s", Window{time.Millisecond, time.Second}, true},
		{"8ms", Window{}, false},
		{"8ms-8ms", Window{}, false},
		{"8ms-1ms", Window{}, false},
		{"0-8", Window{}, false},
	} {
		got, err := ParseWindow(test.text)
		if got != test.want || (err == nil) != test.ok {
			t.Errorf("ParseWindow(%q) = %v, %v", test.text, got, err)
		}
	}
}

func TestPairs(t *testing.T) {
	x, y := pairs([]float64{1, 0, 3, 4}, []float64{10, 20, 0, 40})
	if !reflect.DeepEqual(x, []float64{1, 4}) || !reflect.DeepEqual(y, []float64{10, 40}) {
		t.Errorf("pairs = %v, %v", x, y)
	}
}

func TestRow(t *testing.T) {
	base := runs{wall: []float64{10, 10, 10}, gone: []float64{20, 20, 20}, cpu: []float64{5, 5, 5}}
	x := runs{wall: []float64{4, 0, 6}, gone: []float64{10, 0, 10}, cpu: []float64{10, 0, 10}, failures: 1}
	got := x.row(rig.Candidate{Name: "x"}, base)
	if got.Runs != 2 || got.Failures != 1 || got.Median != 5 || got.Ratio.Value != 0.5 || got.RatioGone != 0.5 || got.RatioCPU != 2 {
		t.Errorf("row = %+v", got)
	}
	if got := x.row(rig.Candidate{Name: "x", NotRun: "no x"}, base); got.NotRun != "no x" || got.Runs != 0 {
		t.Errorf("a candidate that was not run: %+v", got)
	}
	none := runs{wall: make([]float64, 3), gone: make([]float64, 3), cpu: make([]float64, 3)}
	if got := x.row(rig.Candidate{Name: "x"}, none); got.Ratio.Value != 0 || got.Median != 5 {
		t.Errorf("without base: %+v", got)
	}
}

func TestTimes(t *testing.T) {
	for ratio, want := range map[float64]string{0: "-", 0.2864: "0.286", 1: "1.000", 2.845: "2.85", 39.64: "39.6"} {
		if got := Times(ratio); got != want {
			t.Errorf("Times(%v) = %q, want %q", ratio, got, want)
		}
	}
}
