package measure

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/sbx-sandbox/sbx/bench/internal/rig"
	"github.com/sbx-sandbox/sbx/bench/internal/sample"
	"github.com/sbx-sandbox/sbx/bench/internal/table"
)

// ThroughputOptions is how throughput is measured.
type ThroughputOptions struct {
	Widths []int // how many run at once
	Batch  int   // sandboxes per batch
	Rounds int   // batches per candidate and width
	Base   string
}

// ThroughputRow is the result of one candidate at one width.
type ThroughputRow struct {
	Name     string  `json:"name"`
	NotRun   string  `json:"not_run,omitempty"`
	Width    int     `json:"width"`
	PerSec   float64 `json:"per_second"` // median of the batches
	Ratio    float64 `json:"ratio"`
	Failures int     `json:"failures"`
}

// ThroughputReport is the result of Throughput.
type ThroughputReport struct {
	Base   string          `json:"base"`
	Batch  int             `json:"batch"`
	Rounds int             `json:"rounds"`
	Rows   []ThroughputRow `json:"rows"`
}

// Throughput runs batches of sandboxes whose payload exits at once, so many at a time,
// the candidates in rotating order. A batch ends when nothing of it is left.
func Throughput(ctx context.Context, r *rig.Rig, o ThroughputOptions) (ThroughputReport, error) {
	candidates := r.Ready(rig.Throughput)
	report := ThroughputReport{Base: o.Base, Batch: o.Batch, Rounds: o.Rounds}
	for _, width := range o.Widths {
		rates := make([][]float64, len(candidates))
		failures := make([]int, len(candidates))
		for round := range o.Rounds {
			for k := range candidates {
				if ctx.Err() != nil {
					return report, ctx.Err()
				}
				i := (k + round) % len(candidates)
				if candidates[i].NotRun != "" {
					continue
				}
				took, failed, err := batch(r, candidates[i], o.Batch, width)
				if err != nil {
					return report, fmt.Errorf("%s: %w", candidates[i].Name, err)
				}
				rates[i] = append(rates[i], float64(o.Batch)/took.Seconds())
				failures[i] += failed
			}
		}
		var base float64
		for i, c := range candidates {
			if c.Name == o.Base {
				base = sample.Median(rates[i])
			}
		}
		for i, c := range candidates {
			rate := sample.Median(rates[i])
			report.Rows = append(report.Rows, ThroughputRow{Name: c.Name, NotRun: c.NotRun, Width: width,
				PerSec: rate, Ratio: quotient(rate, base), Failures: failures[i]})
		}
	}
	return report, nil
}

// batch runs n sandboxes of c, width at a time.
func batch(r *rig.Rig, c rig.Candidate, n, width int) (took time.Duration, failed int, err error) {
	live := map[int]bool{}
	begin := time.Now()
	for started := 0; started < n || len(live) > 0; {
		if started < n && len(live) < width {
			argv, err := r.Command(c, r.True())
			if err != nil {
				return 0, 0, err
			}
			pid, err := r.Starter.Start(argv)
			if err != nil {
				return 0, 0, err
			}
			live[pid] = true
			started++
			continue
		}
		pid, status, err := r.Any()
		if err != nil {
			return 0, 0, err
		}
		if live[pid] && status != 0 {
			failed++
		}
		delete(live, pid) // others are what a front process left to us
	}
	r.Settle(2 * time.Second)
	took = time.Since(begin)
	// Network namespaces are taken down by a kernel thread later: let it catch up, so
	// the next candidate does not wait for this one's.
	time.Sleep(300 * time.Millisecond)
	return took, failed, nil
}

// Row returns the row of a candidate.
func (t ThroughputReport) Row(name string, width int) (ThroughputRow, bool) {
	for _, row := range t.Rows {
		if row.Name == name && row.Width == width {
			return row, true
		}
	}
	return ThroughputRow{}, false
}

// Text writes the report as a table.
func (t ThroughputReport) Text(out io.Writer) error {
	tab := table.Table{Head: []string{"throughput", "at once", "per second", "ratio", "failures"}}
	for _, r := range t.Rows {
		if r.NotRun != "" {
			tab.Add(r.Name, fmt.Sprint(r.Width), "not run: "+r.NotRun)
			continue
		}
		tab.Add(r.Name, fmt.Sprint(r.Width), whole(r.PerSec), Times(r.Ratio), fmt.Sprint(r.Failures))
	}
	return tab.Text(out)
}
