// Command changes measures sbx diff and sbx apply on a large tree of which little
// was changed, beside git status and rsync -n, which find out the same about a
// copy: all in one run, interleaved.
//
//	changes -sbx bin/sbx -files 200000 -changes 100 -max 1
//
// The exit status is 1 if sbx diff takes more than -max times the processor time of
// git status, or more user time than -user-max.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sbx-sandbox/sbx/bench/internal/sample"
	"github.com/sbx-sandbox/sbx/bench/internal/table"
)

type options struct {
	sbx     string
	files   int
	changes int
	rounds  int
	limit   float64
	user    time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.sbx, "sbx", "bin/sbx", "the `binary` to measure")
	flag.IntVar(&o.files, "files", 200_000, "files of the tree")
	flag.IntVar(&o.changes, "changes", 100, "how many of them are changed")
	flag.IntVar(&o.rounds, "rounds", 7, "how often each is measured")
	flag.Float64Var(&o.limit, "max", 0, "the highest `ratio` of processor time to git status; 0 is any")
	flag.DurationVar(&o.user, "user-max", 0, "the most user time of sbx diff; 0 is any")
	flag.Parse()
	if err := run(&o); err != nil {
		fmt.Fprintf(os.Stderr, "changes: %v\n", err)
		os.Exit(1)
	}
}

// way is one way to find out what was changed.
type way struct {
	name   string
	argv   []string
	dir    string
	user   []float64 // milliseconds
	system []float64
	wall   []float64
}

func run(o *options) error {
	sbx, err := filepath.Abs(o.sbx)
	if err != nil {
		return err
	}
	top, err := os.MkdirTemp("", "sbx-bench-changes-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	tree, twin := top+"/tree", top+"/twin"
	env := append(os.Environ(), "XDG_DATA_HOME="+top+"/data", "XDG_CONFIG_HOME="+top+"/config", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	if err := plant(tree, o.files); err != nil {
		return err
	}
	step := max(o.files/o.changes, 1)
	// The sandbox writes to the overlay what the twin gets in place.
	script := fmt.Sprintf(`i=0; while [ $i -lt %d ]; do f=$(printf 'd%%03d/f%%06d' $((i / 500)) $i); echo changed >$f.new; mv $f.new $f; i=$((i + %d)); done`, o.files, step)
	for _, c := range []struct {
		dir  string
		argv []string
	}{
		{top, []string{"cp", "-al", tree, twin}},
		{twin, []string{"git", "init", "-q", "."}},
		{twin, []string{"git", "add", "-A"}},
		{twin, []string{"git", "-c", "user.name=b", "-c", "user.email=b@localhost", "-c", "gc.auto=0", "commit", "-qm", "tree"}},
		{twin, []string{"sh", "-c", script}},
		{tree, []string{sbx, "run", "-q", "--overlay=bench", "build", "--", "sh", "-c", script}},
	} {
		if err := quiet(c.dir, env, c.argv); err != nil {
			return err
		}
	}
	ways := []*way{
		{name: "sbx diff", argv: []string{sbx, "diff", "bench", "--exit-code", "--name-only"}, dir: tree},
		{name: "sbx diff --patch", argv: []string{sbx, "diff", "bench", "--patch"}, dir: tree},
		{name: "sbx apply --dry-run", argv: []string{sbx, "apply", "bench", "--dry-run"}, dir: tree},
		{name: "git status", argv: []string{"git", "status", "--porcelain"}, dir: twin},
		{name: "rsync -n", argv: []string{"rsync", "-ain", "--delete", "--exclude=/.git", twin + "/", tree + "/"}, dir: top},
	}
	for round := range o.rounds + 1 {
		for _, w := range ways {
			if err := w.measure(env, o.changes, round > 0); err != nil {
				return err
			}
		}
	}
	return report(o, ways, env, tree, sbx)
}

// plant makes the tree: directories of 500 small files.
func plant(tree string, files int) error {
	for i := range files {
		dir := fmt.Sprintf("%s/d%03d", tree, i/500)
		if i%500 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(fmt.Sprintf("%s/f%06d", dir, i), fmt.Appendf(nil, "file %d\n", i), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func quiet(dir string, env, argv []string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv[:2], " "), err, out)
	}
	return nil
}

// measure runs a way once, and makes sure that it found what there is.
func (w *way) measure(env []string, changes int, counts bool) error {
	cmd := exec.Command(w.argv[0], w.argv[1:]...)
	cmd.Dir, cmd.Env = w.dir, env
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	begin := time.Now()
	err := cmd.Run()
	took := time.Since(begin)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	if n := strings.Count(out.String(), "\n"); n < changes {
		return fmt.Errorf("%s found %d changes, there are %d:\n%s", w.name, n, changes, out.String())
	}
	if counts {
		ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
		w.user = append(w.user, ms(cmd.ProcessState.UserTime()))
		w.system = append(w.system, ms(cmd.ProcessState.SystemTime()))
		w.wall = append(w.wall, ms(took))
	}
	return nil
}

func sum(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] + b[i]
	}
	return out
}

func report(o *options, ways []*way, env []string, tree, sbx string) error {
	git := sum(ways[3].user, ways[3].system)
	tab := table.Table{Head: []string{fmt.Sprintf("%d of %d files changed", o.changes, o.files), "user ms", "system ms", "wall ms", "processor time, git status = 1"}}
	for _, w := range ways {
		tab.Add(w.name, fmt.Sprintf("%.1f", sample.Median(w.user)), fmt.Sprintf("%.1f", sample.Median(w.system)), fmt.Sprintf("%.1f", sample.Median(w.wall)),
			fmt.Sprintf("%.3f", sample.RatioOfMedians(sum(w.user, w.system), git).Value))
	}
	last := &way{name: "sbx apply, once", argv: []string{sbx, "apply", "bench"}, dir: tree}
	if err := last.measure(env, 1, true); err != nil {
		return err
	}
	tab.Add(last.name, fmt.Sprintf("%.1f", last.user[0]), fmt.Sprintf("%.1f", last.system[0]), fmt.Sprintf("%.1f", last.wall[0]), "")
	if err := tab.Text(os.Stdout); err != nil {
		return err
	}
	diff := ways[0]
	if r := sample.RatioOfMedians(sum(diff.user, diff.system), git).Value; o.limit > 0 && r > o.limit {
		return fmt.Errorf("sbx diff takes %.2f times the processor time of git status, more than %.2f", r, o.limit)
	}
	if ms := sample.Median(diff.user); o.user > 0 && ms > float64(o.user)/float64(time.Millisecond) {
		return fmt.Errorf("sbx diff takes %.1f ms of user time, more than %v", ms, o.user)
	}
	return nil
}
