// Package measure measures candidates against each other: the time to run a command,
// sandboxes per second, memory of idle sandboxes, and what is left after a kill.
package measure

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/sbx-sandbox/sbx/bench/internal/rig"
	"github.com/sbx-sandbox/sbx/bench/internal/sample"
	"github.com/sbx-sandbox/sbx/bench/internal/table"
)

// StartOptions is how start-up is measured.
type StartOptions struct {
	Rounds int
	Warmup int
	Base   string // the candidate the others are compared with
	Seed   uint64 // of the random order
}

// StartRow is the result of one candidate. Times are microseconds. Ratios are to the
// base in the same rounds and zero if the base was not measured.
type StartRow struct {
	Name     string       `json:"name"`
	NotRun   string       `json:"not_run,omitempty"`
	Runs     int          `json:"runs"`
	Failures int          `json:"failures"`
	Min      float64      `json:"min_us"`
	P10      float64      `json:"p10_us"`
	Median   float64      `json:"median_us"`
	P90      float64      `json:"p90_us"`
	CPU      float64      `json:"cpu_median_us"`
	Gone     float64      `json:"gone_median_us"` // until nothing of it was left
	Ratio    sample.Ratio `json:"ratio"`
	RatioP10 float64      `json:"ratio_p10"`
	// RatioGone compares the time until nothing was left, RatioCPU the user and
	// system time of all processes.
	RatioGone float64 `json:"ratio_gone"`
	RatioCPU  float64 `json:"ratio_cpu"`
}

// StartReport is the result of Start.
type StartReport struct {
	Base   string     `json:"base"`
	Rounds int        `json:"rounds"`
	Seed   uint64     `json:"seed"`
	Rows   []StartRow `json:"rows"`
}

// runs are the samples of one candidate, indexed by round; zero where it did not
// take part or failed.
type runs struct {
	wall, gone, cpu []float64
	failures        int
}

// Start runs every candidate once per round, in a new random order each time, with a
// payload that exits at once. A candidate's next run begins when nothing of the run
// before is left, so nobody pays for another's teardown.
func Start(ctx context.Context, r *rig.Rig, o StartOptions) (StartReport, error) {
	candidates := r.Ready(rig.Start)
	all := make([]runs, len(candidates))
	var order []int
	for i, c := range candidates {
		all[i] = runs{make([]float64, o.Rounds), make([]float64, o.Rounds), make([]float64, o.Rounds), 0}
		if c.NotRun == "" {
			order = append(order, i)
		}
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0))
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // no collection while the clock runs
	for round := -o.Warmup; round < o.Rounds; round++ {
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, i := range order {
			if ctx.Err() != nil {
				return StartReport{}, ctx.Err()
			}
			c := candidates[i]
			if !c.TakesPart(max(round, -round)) {
				continue
			}
			argv, err := r.Command(c, r.True())
			if err != nil {
				return StartReport{}, err
			}
			run, err := r.Run(argv)
			switch {
			case round < 0:
			case err != nil || run.Code != 0:
				all[i].failures++
			default:
				all[i].wall[round] = micro(run.Wall)
				all[i].gone[round] = micro(run.Gone)
				all[i].cpu[round] = micro(run.CPU)
			}
		}
	}
	report := StartReport{Base: o.Base, Rounds: o.Rounds, Seed: o.Seed}
	base := runs{wall: make([]float64, o.Rounds), gone: make([]float64, o.Rounds), cpu: make([]float64, o.Rounds)}
	for i, c := range candidates {
		if c.Name == o.Base {
			base = all[i]
		}
	}
	for i, c := range candidates {
		report.Rows = append(report.Rows, all[i].row(c, base))
	}
	return report, nil
}

func (x runs) row(c rig.Candidate, base runs) StartRow {
	row := StartRow{Name: c.Name, NotRun: c.NotRun, Failures: x.failures}
	if c.NotRun != "" {
		return row
	}
	wall, baseWall := pairs(x.wall, base.wall)
	gone, baseGone := pairs(x.gone, base.gone)
	cpu, baseCPU := pairs(x.cpu, base.cpu)
	own, _ := pairs(x.wall, x.wall)
	ownGone, _ := pairs(x.gone, x.gone)
	ownCPU, _ := pairs(x.cpu, x.cpu)
	row.Runs = len(own)
	row.Min, row.P10 = sample.Quantile(own, 0), sample.Quantile(own, 0.1)
	row.Median, row.P90 = sample.Median(own), sample.Quantile(own, 0.9)
	row.Gone, row.CPU = sample.Median(ownGone), sample.Median(ownCPU)
	row.Ratio = sample.RatioOfMedians(wall, baseWall)
	row.RatioP10 = quotient(sample.Quantile(wall, 0.1), sample.Quantile(baseWall, 0.1))
	row.RatioGone = quotient(sample.Median(gone), sample.Median(baseGone))
	row.RatioCPU = quotient(sample.Median(cpu), sample.Median(baseCPU))
	return row
}

// pairs returns the samples of the rounds in which both have one.
func pairs(a, b []float64) (x, y []float64) {
	for i := range a {
		if a[i] > 0 && b[i] > 0 {
			x, y = append(x, a[i]), append(y, b[i])
		}
	}
	return x, y
}

// Row returns the row of a candidate.
func (s StartReport) Row(name string) (StartRow, bool) {
	for _, row := range s.Rows {
		if row.Name == name {
			return row, true
		}
	}
	return StartRow{}, false
}

// Text writes the report as a table.
func (s StartReport) Text(out io.Writer) error {
	t := table.Table{Head: []string{"start-up, µs", "min", "p10", "median", "p90",
		"ratio", "95 % CI", "p10 ratio", "gone ratio", "CPU ratio", "runs", "failures"}}
	for _, r := range s.Rows {
		if r.NotRun != "" {
			t.Add(r.Name, "not run: "+r.NotRun)
			continue
		}
		t.Add(r.Name, whole(r.Min), whole(r.P10), whole(r.Median), whole(r.P90),
			Times(r.Ratio.Value), Interval(r.Ratio), Times(r.RatioP10), Times(r.RatioGone), Times(r.RatioCPU),
			fmt.Sprint(r.Runs), fmt.Sprint(r.Failures))
	}
	return t.Text(out)
}

// Times formats a ratio, zero as "-".
func Times(r float64) string {
	switch {
	case r == 0:
		return "-"
	case r >= 10:
		return fmt.Sprintf("%.1f", r)
	case r >= 2:
		return fmt.Sprintf("%.2f", r)
	}
	return fmt.Sprintf("%.3f", r)
}

// Interval formats the bounds of a ratio.
func Interval(r sample.Ratio) string {
	if r.Value == 0 {
		return "-"
	}
	return Times(r.Low) + "–" + Times(r.High)
}

func whole(v float64) string { return fmt.Sprintf("%.0f", v) }

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func quotient(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
