package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"time"

	"github.com/sbx-sandbox/sbx/bench/internal/proc"
	"github.com/sbx-sandbox/sbx/bench/internal/rig"
	"github.com/sbx-sandbox/sbx/bench/internal/table"
)

// MemoryRow is the memory of one idle sandbox without its payload, in KiB: the mean
// of all that were idle at once.
type MemoryRow struct {
	Name      string  `json:"name"`
	NotRun    string  `json:"not_run,omitempty"`
	Processes float64 `json:"processes"` // per sandbox
	PSS       float64 `json:"pss_kib"`   // zero if Closed
	RSS       float64 `json:"rss_kib"`
	Tables    float64 `json:"page_tables_kib"`
	Closed    int     `json:"closed"` // processes whose PSS only root can read
}

// MemoryReport is the result of Memory.
type MemoryReport struct {
	Sandboxes int         `json:"sandboxes"`
	Rows      []MemoryRow `json:"rows"`
}

// Memory starts n sandboxes of each candidate with a payload that sleeps, one
// candidate after the other, and adds up the processes that are not the payload.
func Memory(ctx context.Context, r *rig.Rig, n int) (MemoryReport, error) {
	report := MemoryReport{Sandboxes: n}
	for _, c := range r.Ready(rig.MemoryUse) {
		if ctx.Err() != nil {
			return report, ctx.Err()
		}
		row := MemoryRow{Name: c.Name, NotRun: c.NotRun}
		if c.NotRun == "" {
			if err := row.measure(r, c, n); err != nil {
				row.NotRun = err.Error()
			}
			r.Clear(5 * time.Second)
		}
		report.Rows = append(report.Rows, row)
	}
	return report, nil
}

func (row *MemoryRow) measure(r *rig.Rig, c rig.Candidate, n int) error {
	r.Clear(5 * time.Second) // a helper an earlier candidate left would be counted here
	payload := []string{r.Idle(), strconv.FormatInt(time.Now().UnixNano(), 10)}
	for range n {
		argv, err := r.Command(c, payload...)
		if err != nil {
			return err
		}
		if _, err := r.Starter.Start(argv); err != nil {
			return err
		}
	}
	if err := awaitPayloads(payload, n); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond) // what runs beside the start comes to rest
	var total proc.Memory
	processes := 0
	for pid := range proc.Descendants() {
		if slices.Equal(proc.Argv(pid), payload) {
			continue
		}
		m, err := proc.MemoryOf(pid)
		if errors.Is(err, fs.ErrPermission) {
			row.Closed++
		} else if err != nil {
			return fmt.Errorf("a process ended while it was measured: %w", err)
		}
		processes++
		total.PSS += m.PSS
		total.RSS += m.RSS
		total.Table += m.Table
	}
	each := func(bytes int64) float64 { return float64(bytes) / 1024 / float64(n) }
	row.Processes = float64(processes) / float64(n)
	row.PSS, row.RSS, row.Tables = each(total.PSS), each(total.RSS), each(total.Table)
	if row.Closed > 0 {
		row.PSS = 0 // a part of the sum would read as a good result
	}
	return nil
}

// awaitPayloads waits until n sandboxes run their payload.
func awaitPayloads(payload []string, n int) error {
	var running int
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		running = 0
		for pid := range proc.Descendants() {
			if slices.Equal(proc.Argv(pid), payload) {
				running++
			}
		}
		if running == n {
			return nil
		}
	}
	return fmt.Errorf("%d of %d sandboxes ran their command after 20 s", running, n)
}

// Row returns the row of a candidate.
func (m MemoryReport) Row(name string) (MemoryRow, bool) {
	for _, row := range m.Rows {
		if row.Name == name {
			return row, true
		}
	}
	return MemoryRow{}, false
}

// Text writes the report as a table.
func (m MemoryReport) Text(out io.Writer) error {
	t := table.Table{Head: []string{fmt.Sprintf("%d idle, KiB each", m.Sandboxes), "processes", "PSS", "RSS", "page tables"}}
	for _, r := range m.Rows {
		if r.NotRun != "" {
			t.Add(r.Name, "not run: "+r.NotRun)
			continue
		}
		pss := whole(r.PSS)
		if r.Closed > 0 {
			pss = "needs root"
		}
		t.Add(r.Name, fmt.Sprintf("%.1f", r.Processes), pss, whole(r.RSS), whole(r.Tables))
	}
	return t.Text(out)
}
