// Package faults breaks sandboxes at every moment of their lives: nothing may
// be left behind, nothing of the command may run in half a sandbox, and the
// caller's terminal and exit status have to be right.
package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// runs is how often something random is tried: SBX_FAULT_RUNS, 1000 for a
// thorough pass, else few.
func runs(t *testing.T, few int) int {
	t.Helper()
	if s := os.Getenv("SBX_FAULT_RUNS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("SBX_FAULT_RUNS: %v", err)
		}
		return n
	}
	if testing.Short() {
		return few / 4
	}
	return few
}

// busy is a command with a child, an orphan and a process in another session.
// It says "up" when all are there.
const busy = `sleep 100 & (sleep 100 &) ; setsid sleep 100 & echo up; wait`

// startTime is how long a sandbox takes to start and end.
func startTime(t *testing.T, w *world.World, argv []string) time.Duration {
	t.Helper()
	best := time.Hour
	for range 3 {
		begin := time.Now()
		if got := w.Run(t, argv...); got.Code != 0 {
			t.Fatalf("status %d: %s", got.Code, got.Err)
		}
		best = min(best, time.Since(begin))
	}
	return best
}

func TestKilled(t *testing.T) {
	single, ranged := "", "[user]\nmap = \"range\"\n"
	for _, tt := range []struct {
		name, profile string
		needs         []sbxtest.Feature
		// victim picks what to kill of the processes below sbx, 0 for none yet.
		// No victim is the helper.
		victim func(sbx int, below []world.Process) int
		helper bool // kill when newuidmap or newgidmap runs
		during bool // kill when the command runs, else while the sandbox is starting
		bare   bool // the host refuses user namespaces
		anew   bool // sbx may begin the sandbox once more: what was killed is not all of it
	}{
		{name: "supervisor at start", profile: single, victim: supervisor},
		{name: "supervisor at start, range of ids", profile: ranged, needs: []sbxtest.Feature{sbxtest.Subuid}, victim: supervisor},
		{name: "supervisor during the run", profile: single, victim: supervisor, during: true},
		{name: "init at start", profile: single, victim: initOf("sbx-init", "sbx")},
		{name: "init during the run", profile: single, victim: initOf("sbx-init"), during: true},
		{name: "the command during the run", profile: single, victim: command, during: true},
		{name: "supervisor while newuidmap runs", profile: ranged, needs: []sbxtest.Feature{sbxtest.Subuid}, helper: true, victim: supervisor},
		{name: "newuidmap", helper: true, profile: ranged, needs: []sbxtest.Feature{sbxtest.Subuid}},
		{name: "init at start, range of ids", profile: ranged, needs: []sbxtest.Feature{sbxtest.Subuid}, victim: initOf("sbx-init")},
		{name: "who maps the inner ids", profile: ranged, needs: []sbxtest.Feature{sbxtest.Subuid}, victim: mapper, anew: true},
		{name: "supervisor at start, no namespaces", bare: true, profile: fallback, needs: bareNeeds, victim: supervisor},
		{name: "supervisor during the run, no namespaces", bare: true, profile: fallback, needs: bareNeeds, victim: supervisor, during: true},
		{name: "ward at start, no namespaces", bare: true, profile: fallback, needs: bareNeeds, victim: named("sbx-ward")},
		{name: "ward during the run, no namespaces", bare: true, profile: fallback, needs: bareNeeds, victim: named("sbx-ward"), during: true},
		{name: "init at start, no namespaces", bare: true, profile: fallback, needs: bareNeeds, victim: named("sbx-init")},
		{name: "init during the run, no namespaces", bare: true, profile: fallback, needs: bareNeeds, victim: named("sbx-init"), during: true},
		{name: "the command during the run, no namespaces", bare: true, profile: fallback, needs: bareNeeds, victim: named("sh"), during: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sbxtest.Require(t, tt.needs...)
			w := world.New(t)
			sbxtest.Leftovers(t)
			world.Adopt(t)
			p := w.Profile(t, tt.profile)
			sandboxed := w.Sandboxed
			if tt.bare {
				sandboxed = func(p string, argv ...string) []string { return world.Refused(w.Sandboxed(p, argv...)...) }
			}
			span := 2 * startTime(t, w, sandboxed(p, "true"))
			hit, codes := 0, map[int]int{}
			// Some live so short that few of many tries meet them.
			for i, n := 0, runs(t, 60); i < n || hit == 0 && i < 20*n; i++ {
				cmd := w.Command(sandboxed(p, "sh", "-c", busy)...)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				switch {
				case tt.helper:
					if pid := helper(cmd.Process.Pid); pid != 0 && tt.victim == nil && unix.Kill(pid, unix.SIGKILL) == nil {
						hit++
					}
				case tt.during:
					// The pipe ends with whoever holds it.
					if _, err := out.Read(make([]byte, 3)); err != nil {
						t.Fatalf("run %d: the command did not start: %v", i, err)
					}
				default:
					time.Sleep(rand.N(span))
				}
				switch {
				case tt.victim == nil: // killed already, and sbx ends by itself
				case kill(t, cmd, tt.victim):
					hit++
				default:
					_ = cmd.Process.Kill()
				}
				stuck := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill(); t.Errorf("run %d: sbx was stuck", i) })
				if tt.victim == nil || tt.anew { // where the kill came too late the command runs
					done := time.AfterFunc(300*time.Millisecond, func() { _ = cmd.Process.Kill() })
					defer done.Stop()
				}
				_ = cmd.Wait()
				stuck.Stop()
				codes[world.Code(cmd)]++
				if end, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && end.Signaled() && end.Signal() != unix.SIGKILL {
					t.Errorf("run %d: sbx itself was ended by %v", i, end.Signal())
				}
				if left := world.Gone(t); len(left) > 0 {
					t.Fatalf("run %d: a second after the kill there are %v", i, left)
				}
			}
			if hit == 0 {
				t.Error("nothing was ever killed")
			}
			t.Logf("killed %d times; sbx ended with %v", hit, codes)
			if tt.bare { // a supervisor that was killed left its directory to the next one
				w.Run(t, sandboxed(p, "true")...)
			}
			if names := world.Runtime(w.Home); len(names) > 0 {
				t.Errorf("the runtime directory holds %v", names)
			}
		})
	}
}

// helper waits until a process has newuidmap or newgidmap as its child. It
// looks without pause, since they run for a millisecond.
func helper(sbx int) (pid int) {
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", sbx))
		for _, l := range lists {
			text, _ := os.ReadFile(l)
			for _, pid := range strings.Fields(string(text)) {
				comm, _ := os.ReadFile("/proc/" + pid + "/comm")
				if s := strings.TrimSpace(string(comm)); s == "newuidmap" || s == "newgidmap" {
					n, _ := strconv.Atoi(pid)
					return n
				}
			}
		}
	}
	return 0
}

func supervisor(sbx int, _ []world.Process) int { return sbx }

// command is the process that PID 1 started: process 2 inside. Those that it
// forks have its name until they execute another program.
func command(_ int, below []world.Process) int {
	for _, p := range below {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
		if _, ids, ok := strings.Cut(string(status), "\nNSpid:"); ok {
			line, _, _ := strings.Cut(ids, "\n")
			if f := strings.Fields(line); len(f) > 1 && f[len(f)-1] == "2" {
				return p.PID
			}
		}
	}
	return 0
}

// initOf picks PID 1 of the sandbox, which is sbx's own child: what that forks has its
// name for a moment.
func initOf(names ...string) func(int, []world.Process) int {
	return func(sbx int, below []world.Process) int {
		return named(names...)(sbx, slices.DeleteFunc(slices.Clone(below), func(p world.Process) bool { return p.Parent != sbx }))
	}
}

// mapper picks what PID 1 forks to map the ids of the inner user namespace.
func mapper(sbx int, below []world.Process) int {
	return named("sbx-init")(sbx, slices.DeleteFunc(slices.Clone(below), func(p world.Process) bool { return p.Parent == sbx }))
}

func named(names ...string) func(int, []world.Process) int {
	return func(_ int, below []world.Process) int {
		for _, p := range below {
			for _, n := range names {
				if p.Name == n {
					return p.PID
				}
			}
		}
		return 0
	}
}

// kill kills the victim as soon as it is there. It returns false if sbx ended
// or began to wait for the command without one.
func kill(t *testing.T, cmd *exec.Cmd, victim func(int, []world.Process) int) bool {
	t.Helper()
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		below := world.Below(t, cmd.Process.Pid)
		if pid := victim(cmd.Process.Pid, below); pid != 0 {
			return unix.Kill(pid, unix.SIGKILL) == nil
		}
		if named("sleep")(0, below) != 0 {
			return false // started, the moment is over
		}
	}
	return false
}

// TestOneAfterAnother starts many and looks for what adds up.
func TestOneAfterAnother(t *testing.T) {
	w := world.New(t)
	sbxtest.Leftovers(t)
	world.Adopt(t)
	p := w.Profile(t, "")
	w.Run(t, w.Sandboxed(p, "false")...) // leaves what sbx why tells of the last that failed
	before := len(files(t, w.Home))
	for i := range runs(t, 100) {
		if got := w.Run(t, w.Sandboxed(p, "sh", "-c", fmt.Sprintf("setsid sleep 100 & exit %d", i%100))...); got.Code != i%100 {
			t.Fatalf("run %d: status %d: %s", i, got.Code, got.Err)
		}
	}
	if left := world.Gone(t); len(left) > 0 {
		t.Errorf("there are %v", left)
	}
	if names := world.Runtime(w.Home); len(names) > 0 {
		t.Errorf("the runtime directory holds %v", names)
	}
	if after := files(t, w.Home); len(after) != before {
		t.Errorf("the home has %d files, before %d: %v", len(after), before, after)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	out, err := exec.Command("find", dir, "-path", "*/run/sbx", "-prune", "-o", "-print").Output() // see Runtime
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range splitLines(string(out)) {
		list = append(list, line)
	}
	return list
}
