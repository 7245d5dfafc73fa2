package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sbx-sandbox/sbx/bench/internal/measure"
	"github.com/sbx-sandbox/sbx/bench/internal/section"
	"github.com/sbx-sandbox/sbx/bench/internal/table"
)

// table joins the measurements: a row for each candidate.
func (r report) table() *table.Table {
	base := r.Start.Base
	t := &table.Table{Head: []string{"", "start × " + base, "95 % CI", "p10 ×", "gone ×", "CPU ×", "failures"}}
	for _, w := range widths {
		t.Head = append(t.Head, fmt.Sprintf("per second, %d at once ×", w))
	}
	t.Head = append(t.Head, "idle PSS, KiB", "left after kill")
	for _, s := range r.Start.Rows {
		if s.NotRun != "" {
			t.Add(s.Name, "not run: "+s.NotRun)
			continue
		}
		row := []string{s.Name, measure.Times(s.Ratio.Value), measure.Interval(s.Ratio),
			measure.Times(s.RatioP10), measure.Times(s.RatioGone), measure.Times(s.RatioCPU),
			fmt.Sprintf("%d/%d", s.Failures, s.Failures+s.Runs)}
		for _, w := range widths {
			rate, _ := r.Throughput.Row(s.Name, w)
			row = append(row, measure.Times(rate.Ratio))
		}
		pss := "-"
		if m, ok := r.Memory.Row(s.Name); ok && m.PSS > 0 {
			pss = fmt.Sprintf("%.0f", m.PSS)
		} else if m.Closed > 0 {
			pss = "needs root"
		}
		orphans := "-"
		if left, trials := r.Orphans.Survivors(s.Name); trials > 0 {
			orphans = fmt.Sprintf("%d/%d", left, trials)
		}
		t.Add(append(row, pss, orphans)...)
	}
	return t
}

// legend says what the columns and rows are.
func (r report) legend() string {
	var b strings.Builder
	for _, line := range r.columns() {
		b.WriteString(line + "\n")
	}
	b.WriteString("\n")
	for _, s := range r.Start.Rows {
		fmt.Fprintf(&b, "%-15s %s\n", s.Name, r.Notes[s.Name])
	}
	fmt.Fprintf(&b, "\n%s\n", r.Machine)
	return b.String()
}

func (r report) columns() []string {
	lines := []string{
		fmt.Sprintf("start: median time to run a command that exits at once, ÷ %s; with a bootstrap interval over %d rounds.", r.Start.Base, r.Start.Rounds),
		"p10: the same for the tenth percentile, which a busy machine moves less.",
		"gone: until no process of the sandbox is left. CPU: user and system time of all its processes.",
		fmt.Sprintf("per second: sandboxes finished, median of %d batches of %d, × %s: higher is better.", r.Throughput.Rounds, r.Throughput.Batch, r.Throughput.Base),
		fmt.Sprintf("idle PSS: supervisor and first process, without the command, of one of %d idle sandboxes.", r.Memory.Sandboxes),
	}
	if windows := r.windows(); windows != "" {
		lines = append(lines, "left after kill: sandboxes still there 1 s after SIGKILL of the front process at a random moment after its start, "+windows+".")
	}
	if r.PureCgroup {
		lines = append(lines, "All ran in a private mount namespace with cgroup v2 on /sys/fs/cgroup, which this host does not have.")
	}
	return lines
}

// windows names the windows of the orphan gate.
func (r report) windows() string {
	var list []string
	for _, o := range r.Orphans.Rows {
		if w := o.Window.String(); !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return strings.Join(list, " and ")
}

// write writes the report as a Markdown document.
func (r report) write(path string) error {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\nWritten by `make bench BENCHFLAGS=-write`; do not edit. ")
	b.WriteString("Only the ratios mean anything beyond this machine: every candidate ran in every round, in random order.\n\n")
	if err := r.table().Markdown(&b); err != nil {
		return err
	}
	b.WriteString("\n")
	for _, line := range r.columns() {
		b.WriteString("- " + line + "\n")
	}
	b.WriteString("\n## Candidates\n\n")
	for _, s := range r.Start.Rows {
		fmt.Fprintf(&b, "- **%s**: %s.\n", s.Name, r.Notes[s.Name])
	}
	b.WriteString("\nThe command lines are in `bench/internal/rig/standard.json`.\n\n## Machine\n\n")
	fmt.Fprintf(&b, "%s.\n\n", r.Machine)
	for _, v := range r.Versions {
		fmt.Fprintf(&b, "- %s\n", v)
	}
	b.WriteString("\n## Details\n\n")
	for _, text := range []func(io.Writer) error{r.Start.Text, r.Throughput.Text, r.Memory.Text, r.Orphans.Text} {
		b.WriteString("```text\n")
		if err := text(&b); err != nil {
			return err
		}
		b.WriteString("```\n\n")
	}
	b.WriteString(method)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	others, err := section.Tail(path, section.Networks, section.Layers)
	if err != nil {
		return err
	}
	if others != "" {
		others = "\n" + others
	}
	return os.WriteFile(path, []byte(b.String()+others), 0o644)
}

const method = "## Method\n\n" +
	`- A round runs every candidate once, in a new random order; podman takes part in every tenth.
- A candidate is started by fork and exec from one program that does nothing else, with an
  empty home, a fixed environment and its standard files on /dev/null. Time runs until wait4
  returns. The next one starts when nothing of the one before is left.
- The command is a static program of a few hundred bytes that exits at once; for memory one that pauses.
- A ratio is that of the medians over the rounds both took part in. Its interval comes from
  resampling whole rounds. Failed runs are counted and not timed.
- The measuring program adopts what loses its parent below it, so processor time, teardown and
  survivors are complete whatever namespace a process is in, and only its own children are killed.
- Memory is the sum of Pss in smaps_rollup over all processes of the sandboxes but the
  commands, divided by the number of sandboxes. The kernel's own memory is not in it.

### What it does not show

- The peers isolate differently; only bwrap, sbx equal and floor build the same sandbox.
  The remark at each candidate says what is missing.
- The network namespace is a large part of every start, and is torn down by the kernel later.
- Absolute times depend on the machine and on what else it does. p10 and min are the steadiest.
`
