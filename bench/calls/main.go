// Command calls measures what the system call filter costs a call: the same calls
// in sandboxes that differ in security.seccomp alone, interleaved.
//
//	calls -sbx bin/sbx -max 1.3
//
// Of every call it takes the fastest batch: what is slower was disturbed. The exit
// status is 1 if a call that every policy allows, whatever its arguments, costs more
// than -max times what it costs without a filter.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/bench/internal/table"
)

// call is a system call that does next to nothing.
type call struct {
	name, kind string
	nr         uintptr
	args       [3]uintptr
}

const minusOne = ^uintptr(0)

// file stands for a descriptor that is known when it runs.
const file = ^uintptr(1)

var calls = []call{
	{"getppid", always, unix.SYS_GETPPID, [3]uintptr{}},
	{"lseek", always, unix.SYS_LSEEK, [3]uintptr{file, 0, unix.SEEK_CUR}},
	{"ioctl of no file", "by its arguments", unix.SYS_IOCTL, [3]uintptr{minusOne, unix.TCGETS}},
	{"personality, ask", "by its arguments", unix.SYS_PERSONALITY, [3]uintptr{0xffffffff}},
	{"keyctl of no kind", "refused", unix.SYS_KEYCTL, [3]uintptr{9999}},
}

const always = "allowed"

// policies are compared with the first.
var policies = []string{"unconfined", "default", "build", "strict"}

func main() {
	inside := flag.Bool("inside", false, "measure in this process and print nanoseconds")
	sbx := flag.String("sbx", "bin/sbx", "the `binary` to measure with")
	rounds := flag.Int("rounds", 15, "sandboxes of each policy")
	limit := flag.Float64("max", 0, "the highest `ratio` for calls that are allowed; 0 is any")
	flag.Parse()
	err := errors.New("arguments are not known here")
	switch {
	case flag.NArg() > 0:
	case *inside:
		measure()
		return
	default:
		err = run(*sbx, *rounds, *limit)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "calls: %v\n", err)
		os.Exit(1)
	}
}

// measure prints the nanoseconds of each call in the fastest of some batches.
func measure() {
	const batches, batch = 40, 2000
	self, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		fmt.Fprintf(os.Stderr, "calls: opening /proc/self/exe: %v\n", err)
		os.Exit(1)
	}
	for _, c := range calls {
		for i, a := range c.args {
			if a == file {
				c.args[i] = uintptr(self)
			}
		}
		best := time.Duration(1<<63 - 1)
		for range batches {
			start := time.Now()
			for range batch {
				_, _, _ = unix.RawSyscall(c.nr, c.args[0], c.args[1], c.args[2])
			}
			best = min(best, time.Since(start))
		}
		fmt.Printf("%.2f\n", float64(best.Nanoseconds())/batch)
	}
}

func run(sbx string, rounds int, limit float64) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if sbx, err = filepath.Abs(sbx); err != nil {
		return err
	}
	best := make([][]float64, len(policies))
	for range rounds {
		for i, policy := range policies {
			got, err := once(sbx, self, policy)
			if err != nil {
				return err
			}
			if best[i] == nil {
				best[i] = got
			}
			for k := range got {
				best[i][k] = min(best[i][k], got[k])
			}
		}
	}
	return report(best, limit)
}

// once runs the measurement in a sandbox.
func once(sbx, self, policy string) ([]float64, error) {
	cmd := exec.Command(sbx, "run", "-q", "--security-opt", "seccomp="+policy, "-v", self+":/calls", "--", "/calls", "-inside")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", policy, err)
	}
	var list []float64
	for _, word := range strings.Fields(string(out)) {
		ns, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", policy, err)
		}
		list = append(list, ns)
	}
	if len(list) != len(calls) {
		return nil, fmt.Errorf("policy %s: %d figures for %d calls: %q", policy, len(list), len(calls), out)
	}
	return list, nil
}

// report prints the ratios and names those that are over the limit.
func report(best [][]float64, limit float64) error {
	t := table.Table{Head: append([]string{"call", "which is"}, policies...)}
	var over []string
	for k, c := range calls {
		row := []string{c.name, c.kind, fmt.Sprintf("%.0f ns", best[0][k])}
		for i := range policies[1:] {
			ratio := best[i+1][k] / best[0][k]
			row = append(row, fmt.Sprintf("× %.2f", ratio))
			if limit > 0 && c.kind == always && ratio > limit {
				over = append(over, fmt.Sprintf("%s costs × %.2f under %s, the limit is × %.2f", c.name, ratio, policies[i+1], limit))
			}
		}
		t.Add(row...)
	}
	if err := t.Text(os.Stdout); err != nil {
		return err
	}
	if over != nil {
		return errors.New(strings.Join(over, "; "))
	}
	return nil
}
