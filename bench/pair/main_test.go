package main

import (
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/bench/internal/measure"
	"github.com/sbx-sandbox/sbx/bench/internal/sample"
)

func TestLimits(t *testing.T) {
	report := measure.StartReport{Base: "base", Rows: []measure.StartRow{
		{Name: "x", Ratio: sample.Ratio{Value: 0.9, Low: 0.8, High: 1.0}},
		{Name: "gone", NotRun: "no gone"},
	}}
	for _, test := range []struct{ limit, err string }{
		{"x=0.95", ""},
		{"x=0.85", ""}, // above the limit, but not for sure
		{"x=0.79", "x is 0.900 × base (at least 0.800), the limit is 0.790"},
		{"gone=1", "gone was not measured"},
		{"other=1", "other was not measured"},
	} {
		var l limits
		if err := l.Set(test.limit); err != nil {
			t.Fatal(err)
		}
		err := l.check(report)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v", test.limit, err)
		}
	}
	if err := new(limits).Set("x"); err == nil {
		t.Error("-max x: accepted")
	}
}
