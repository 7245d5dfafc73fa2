package measure

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/sbx-sandbox/sbx/bench/internal/proc"
	"github.com/sbx-sandbox/sbx/bench/internal/rig"
	"github.com/sbx-sandbox/sbx/bench/internal/table"
)

// Window is the time after the start within which the front process is killed.
type Window struct {
	From time.Duration `json:"from_ns"`
	To   time.Duration `json:"to_ns"`
}

func (w Window) String() string { return w.From.String() + "–" + w.To.String() }

// ParseWindow reads "FROM-TO", two durations as time.ParseDuration has them.
func ParseWindow(text string) (Window, error) {
	from, to, found := strings.Cut(text, "-")
	if !found {
		return Window{}, fmt.Errorf("window %q: want FROM-TO, as 0ms-8ms", text)
	}
	a, err := time.ParseDuration(from)
	if err != nil {
		return Window{}, fmt.Errorf("window %q: %w", text, err)
	}
	b, err := time.ParseDuration(to)
	if err != nil {
		return Window{}, fmt.Errorf("window %q: %w", text, err)
	}
	if a < 0 || b <= a {
		return Window{}, fmt.Errorf("window %q is empty", text)
	}
	return Window{a, b}, nil
}

// OrphanOptions is how the orphan gate is run.
type OrphanOptions struct {
	Trials  int // kills per candidate and window
	Windows []Window
	Seed    uint64
}

// OrphanRow is what one candidate left in one window.
type OrphanRow struct {
	Name      string `json:"name"`
	NotRun    string `json:"not_run,omitempty"`
	Window    Window `json:"window"`
	Trials    int    `json:"trials"`    // front processes that were killed
	Early     int    `json:"early"`     // front processes that had ended by themselves: not a trial
	Sandboxes int    `json:"sandboxes"` // sandboxes of which something was left
	Running   int    `json:"running"`   // of these, the ones whose command still ran
	Processes int    `json:"processes"` // all that was left
	Escaped   int    `json:"escaped"`   // of these, commands that are no descendants: left running
}

// OrphanReport is the result of Orphans.
type OrphanReport struct {
	Seed uint64      `json:"seed"`
	Rows []OrphanRow `json:"rows"`
}

const (
	orphanBatch = 25          // kills before one look
	grace       = time.Second // what a sandbox has to be gone in
)

// Orphans starts each candidate again and again, kills the process it started with
// SIGKILL at a random moment, and counts what is left a second after the last kill of
// a batch.
//
// What is left is found as the caller's descendants: see [proc.Starter]. That holds for
// every process but one that another process was asked to start; such a one is found
// by its arguments if it is the payload.
func Orphans(ctx context.Context, r *rig.Rig, o OrphanOptions) (OrphanReport, error) {
	report := OrphanReport{Seed: o.Seed}
	rng := rand.New(rand.NewPCG(o.Seed, 0))
	for _, c := range r.Ready(rig.Orphans) {
		for _, w := range o.Windows {
			row := OrphanRow{Name: c.Name, NotRun: c.NotRun, Window: w}
			for c.NotRun == "" && row.Trials+row.Early < o.Trials {
				if ctx.Err() != nil {
					return report, ctx.Err()
				}
				n := min(orphanBatch, o.Trials-row.Trials-row.Early)
				if err := row.batch(r, c, n, rng); err != nil {
					return report, fmt.Errorf("%s: %w", c.Name, err)
				}
			}
			report.Rows = append(report.Rows, row)
		}
	}
	return report, nil
}

func (row *OrphanRow) batch(r *rig.Rig, c rig.Candidate, n int, rng *rand.Rand) error {
	if left := r.Clear(5 * time.Second); left > 0 {
		return fmt.Errorf("%d processes of an earlier run can't be ended", left)
	}
	// sleep(1) takes fractions of seconds: a mark that stays with the payload alone.
	payload := []string{"/bin/sleep", fmt.Sprintf("3600.%d%d", time.Now().UnixNano(), rng.Uint32())}
	for range n {
		argv, err := r.Command(c, payload...)
		if err != nil {
			return err
		}
		wait := row.Window.From + time.Duration(rng.Int64N(int64(row.Window.To-row.Window.From)))
		pid, err := r.Starter.Start(argv)
		if err != nil {
			return err
		}
		proc.Nap(wait)
		running, err := r.Kill(pid)
		if err != nil {
			return err
		}
		if running {
			row.Trials++
		} else {
			row.Early++
		}
	}
	time.Sleep(grace)
	r.Reap()
	below := proc.Descendants()
	heads, running := map[int]bool{}, map[int]bool{}
	for _, head := range below {
		heads[head] = true
	}
	row.Processes += len(below)
	for _, pid := range proc.WithArgv(payload) {
		head, ours := below[pid]
		if !ours { // a sandbox of its own, which we may count but not kill
			head = pid
			row.Escaped++
			row.Processes++
		}
		heads[head], running[head] = true, true
	}
	row.Sandboxes += len(heads)
	row.Running += len(running)
	return nil
}

// Survivors returns how many sandboxes of a candidate were left, of how many trials.
func (o OrphanReport) Survivors(name string) (left, trials int) {
	for _, row := range o.Rows {
		if row.Name == name {
			left += row.Sandboxes
			trials += row.Trials
		}
	}
	return left, trials
}

// Text writes the report as a table.
func (o OrphanReport) Text(out io.Writer) error {
	t := table.Table{Head: []string{"killed at a random moment", "within", "kills", "ended before", "sandboxes left", "with command", "processes", "out of reach"}}
	for _, r := range o.Rows {
		if r.NotRun != "" {
			t.Add(r.Name, r.Window.String(), "not run: "+r.NotRun)
			continue
		}
		t.Add(r.Name, r.Window.String(), fmt.Sprint(r.Trials), fmt.Sprint(r.Early),
			fmt.Sprint(r.Sandboxes), fmt.Sprint(r.Running), fmt.Sprint(r.Processes), fmt.Sprint(r.Escaped))
	}
	return t.Text(out)
}
