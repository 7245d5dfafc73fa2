// Package life starts, joins, stops and kills sandboxes that go on without a
// caller, many at once and at every moment: what is told of them has to be
// right, and nothing may be left.
package life

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// sbx calls sbx and wants a status.
func sbx(t *testing.T, w *world.World, code int, args ...string) string {
	t.Helper()
	got := w.Run(t, append([]string{w.Sbx}, args...)...)
	if got.Code != code {
		t.Fatalf("sbx %q: status %d, want %d: %s%s", args, got.Code, code, got.Out, got.Err)
	}
	return strings.TrimSpace(got.Out)
}

// record is what inspect says of a sandbox.
type record struct {
	ID    string
	Name  string
	State struct {
		Status        string
		PID           int `json:"pid"`
		SupervisorPID int `json:"supervisor_pid"`
		ExitCode      int `json:"exit_code"`
		Error         string
	}
}

func inspect(t *testing.T, w *world.World, name string) record {
	t.Helper()
	var list []record
	if err := json.Unmarshal([]byte(sbx(t, w, 0, "inspect", name)), &list); err != nil || len(list) != 1 {
		t.Fatalf("inspect: %v, %v", list, err)
	}
	return list[0]
}

// empty fails the test if a sandbox, or anything in the runtime directory that
// belongs to one, is left after a moment.
func empty(t *testing.T, w *world.World) {
	t.Helper()
	var left []string
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		out := sbx(t, w, 0, "ps", "-aq")
		left = slices.DeleteFunc(world.Runtime(w.Home), func(n string) bool { return n == "lock" || n == "names" || n == "events" || n == "events.1" })
		names, _ := os.ReadDir(w.Home + "/run/sbx/names")
		if len(left)+len(names) == 0 && out == "" {
			return
		}
	}
	t.Errorf("left: %v", left)
}

// TestMany: two hundred at once are listed, counted and stopped.
func TestMany(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	many := 200
	if testing.Short() {
		many = 50
	}
	var wg sync.WaitGroup
	for i := range many {
		if i%10 == 9 {
			wg.Wait()
		}
		wg.Go(func() { sbx(t, w, 0, "run", "-d", "--name", fmt.Sprintf("n%d", i), "--", "sleep", "100") })
	}
	wg.Wait()
	began := time.Now()
	ids := strings.Fields(sbx(t, w, 0, "ps", "-q"))
	t.Logf("ps of %d takes %v", len(ids), time.Since(began).Round(time.Millisecond))
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) != many {
		t.Errorf("ps shows %d of %d", len(ids), many)
	}
	total, most := 0, 0
	for i := range many {
		r := inspect(t, w, fmt.Sprintf("n%d", i))
		if p := pss(t, r.State.SupervisorPID); p > 0 {
			total += p
			most = max(most, p)
		}
	}
	t.Logf("a supervisor has %d KiB (PSS) on average, %d at most", total/many, most)
	if total/many > 6<<10 {
		t.Errorf("a supervisor takes %d KiB", total/many)
	}
	sbx(t, w, 0, "stats", "--no-stream")
	sbx(t, w, 0, "stop", "-t", "5", "--all")
	if out := sbx(t, w, 0, "ps", "-q"); out != "" {
		t.Errorf("after stop: %s", out)
	}
	sbx(t, w, 0, "rm", "--all")
	empty(t, w)
}

// pss is the proportional set size of a process in KiB, proc_pid_smaps(5).
func pss(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Log(err)
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	return 0
}

// TestOneName: of fifty that start at the same time under one name one starts.
func TestOneName(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	const many = 50
	var mu sync.Mutex
	var wg sync.WaitGroup
	won, taken := 0, 0
	for range many {
		wg.Go(func() {
			got := w.Run(t, w.Sbx, "run", "-d", "--name", "one", "--", "sleep", "100")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case got.Code == 0:
				won++
			case got.Code == 125 && strings.Contains(got.Err, "the name one is taken"):
				taken++
			default:
				t.Errorf("status %d: %s", got.Code, got.Err)
			}
		})
	}
	wg.Wait()
	if won != 1 || taken != many-1 {
		t.Errorf("%d started, %d were told that the name is taken", won, taken)
	}
	if n := len(strings.Fields(sbx(t, w, 0, "ps", "-aq"))); n != 1 {
		t.Errorf("ps shows %d", n)
	}
	sbx(t, w, 0, "rm", "-f", "one")
	empty(t, w)
}

// TestExecMany: many commands at once in one sandbox each have their own status
// and output, and none is mixed up.
func TestExecMany(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--name", "busy", "--", "sleep", "100")
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			got := w.Run(t, w.Sbx, "exec", "busy", "sh", "-c", fmt.Sprintf("echo %d; sleep 0.%d; exit %d", i, i%10, i))
			if got.Code != i || got.Out != fmt.Sprintf("%d\n", i) {
				t.Errorf("number %d: status %d, %q, %s", i, got.Code, got.Out, got.Err)
			}
			got = w.Run(t, w.Sbx, "exec", "busy", "/no/such")
			if got.Code != 127 {
				t.Errorf("number %d: status %d of what is not there: %s", i, got.Code, got.Err)
			}
		})
	}
	wg.Wait()
	// Who waited for a command ends a little after its status is known.
	waitFor(t, "the end of all of them", func() bool { return sbx(t, w, 0, "top", "busy", "--format", "{{.Name}}") == "sbx-init\nsleep" })
	// A command line with much in it.
	long := strings.Repeat("x", 100<<10)
	if out := sbx(t, w, 0, "exec", "-e", "LONG="+long, "busy", "sh", "-c", "echo ${#LONG}"); out != strconv.Itoa(len(long)) {
		t.Errorf("a long variable has %s characters", out)
	}
	sbx(t, w, 125, "exec", "-e", "LONG="+strings.Repeat("x", 100<<10), "-e", "MORE="+strings.Repeat("y", 100<<10), "busy", "true")
	sbx(t, w, 0, "exec", "busy", "true")
	sbx(t, w, 0, "rm", "-f", "busy")
	empty(t, w)
}

// TestExecEnds: a further command ends with who asked for it, and with the
// sandbox.
func TestExecEnds(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--name", "s", "--", "sleep", "100")
	start := func() *exec.Cmd {
		c := w.Command(w.Sbx, "exec", "s", "sleep", "77")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the command", func() bool { return strings.Contains(sbx(t, w, 0, "top", "s"), "sleep 77") })
		return c
	}
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGINT} {
		c := start()
		_ = c.Process.Signal(sig)
		_ = c.Wait()
		waitFor(t, "the end after "+unix.SignalName(sig), func() bool { return !strings.Contains(sbx(t, w, 0, "top", "s"), "sleep 77") })
	}
	c := start()
	sbx(t, w, 0, "stop", "-t", "5", "s")
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != 137 {
		t.Errorf("after the sandbox's end its status is %d", code)
	}
	sbx(t, w, 0, "rm", "s")
	empty(t, w)
}

// TestExecStopped: what is inside can stop the process that waits for a further command,
// and keeps nobody by it who asked for one.
func TestExecStopped(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--name", "s", "--", "sleep", "100")
	start := func(command string) *exec.Cmd {
		c := w.Command(w.Sbx, "exec", "s", "sh", "-c", command)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	const others = `for p in /proc/[0-9]*; do read name <$p/comm; [ $name != sbx-init ] || [ $p = /proc/1 ] || kill -STOP ${p#/proc/}; done 2>/dev/null`
	// By mistake, and it hears how its command ended.
	if code := ends(t, start("kill -STOP -1; exit 7")); code != 7 {
		t.Errorf("after kill -STOP -1 its status is %d, not 7", code)
	}
	// While it is paused nobody is continued.
	c := start("sleep 2; exit 8")
	waitFor(t, "the command", func() bool { return strings.Contains(sbx(t, w, 0, "top", "s"), "sleep 2") })
	sbx(t, w, 0, "pause", "s")
	time.Sleep(2500 * time.Millisecond)
	if states := sbx(t, w, 0, "top", "--format={{.Name}} {{.State}}", "s"); strings.Count(states, "sbx-init T") != 1 {
		t.Errorf("while it is paused:\n%s", states)
	}
	sbx(t, w, 0, "unpause", "s")
	if code := ends(t, c); code != 8 {
		t.Errorf("after a pause its status is %d, not 8", code)
	}
	// On purpose, as long as it is there.
	c = start("while :; do " + others + "; done")
	if code := ends(t, c); code != 137 {
		t.Errorf("the status of who stops it again and again is %d, not 137", code)
	}
	sbx(t, w, 0, "rm", "-f", "s")
	empty(t, w)
}

// TestExecFull: where a sandbox has as many processes as it may have, who asks for
// another one hears why there is none, and the sandbox can be ended.
func TestExecFull(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--name", "s", "--set", "limits.processes=3", "--", "sh", "-c", "sleep 100; true")
	waitFor(t, "all of its processes", func() bool { return strings.Contains(sbx(t, w, 0, "top", "s"), "sleep 100") })
	for _, args := range [][]string{{"exec", "s", "true"}, {"cp", "s:/etc/hosts", "-"}} {
		got := w.Run(t, append([]string{w.Sbx}, args...)...)
		if want := "limits.processes"; got.Code != 125 || !strings.Contains(got.Err, want) {
			t.Errorf("%q: status %d, %q, want %q", args, got.Code, got.Err, want)
		}
	}
	sbx(t, w, 0, "stop", "-t", "1", "s")
	sbx(t, w, 0, "rm", "s")
	empty(t, w)
}

// TestExecKilledEarly: also when who asked for it is killed at any moment of its
// start, nothing of a further command is left.
func TestExecKilledEarly(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--name", "s", "--", "sleep", "100")
	for i := range 150 {
		c := w.Command(w.Sbx, "exec", "s", "sleep", "77")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 200 * time.Microsecond) // from before it has connected until the command runs
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	waitFor(t, "the end of all further commands", func() bool { return sbx(t, w, 0, "top", "--format={{.Inside}}", "s") == "1\n2" })
	sbx(t, w, 0, "rm", "-f", "s")
	empty(t, w)
}

// TestRestartMany: while a sandbox is started again and again, everybody who asks
// something of it hears an answer, and it is there afterwards; who asks for its end
// in between gets that.
func TestRestartMany(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--name", "s", "--restart", "always", "--", "sleep", "0.3")
	begun := time.Now()
	over := func() bool { return time.Since(begun) > 4*time.Second }
	var all sync.WaitGroup
	ask := func(args []string) {
		c := w.Command(append([]string{w.Sbx}, args...)...)
		if err := c.Start(); err != nil {
			t.Error(err)
			return
		}
		stuck := time.AfterFunc(30*time.Second, func() {
			t.Errorf("%q got no answer", args)
			_ = c.Process.Kill()
		})
		_ = c.Wait() // it may have failed, as the command was gone
		stuck.Stop()
	}
	for _, turn := range [][][]string{
		{{"restart", "-t", "0", "s"}}, {{"restart", "-t", "0", "s"}}, {{"exec", "s", "true"}}, {{"exec", "s", "true"}}, {{"exec", "s", "sleep", "0.05"}},
		{{"pause", "s"}, {"unpause", "s"}}, // the last is never the first: nobody gets an answer of a command that is paused
		{{"unpause", "s"}}, {{"kill", "-s", "WINCH", "s"}},
	} {
		all.Add(1)
		go func() {
			defer all.Done()
			for !over() {
				for _, args := range turn {
					ask(args)
				}
			}
		}()
	}
	all.Wait()
	_ = w.Run(t, w.Sbx, "unpause", "s")
	waitFor(t, "the command", func() bool { return inspect(t, w, "s").State.Status == "running" })
	waitFor(t, "a further command", func() bool { return w.Run(t, w.Sbx, "exec", "s", "true").Code == 0 })
	sbx(t, w, 0, "rm", "-f", "s")
	empty(t, w)
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
	}
}

// TestKilled kills the processes of a detached sandbox at random moments.
func TestKilled(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	n := 6
	if s := os.Getenv("SBX_FAULT_RUNS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	victims := []string{"supervisor", "init", "command", "exec", "cli", "helper"}
	for i := range n * len(victims) {
		victim := victims[i%len(victims)]
		name := fmt.Sprintf("k%d", i)
		start := w.Command(w.Sbx, "run", "-d", "--name", name, "--", "sh", "-c", "sleep 100 & (sleep 100 &); wait")
		if victim == "helper" {
			helperKilled(t, w, name)
			continue
		}
		if victim == "cli" {
			if err := start.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
			_ = start.Process.Kill()
			_ = start.Wait()
			// It runs, or it does not: what is told of it has to be true.
			time.Sleep(100 * time.Millisecond)
			w.Run(t, w.Sbx, "rm", "-f", name)
			empty(t, w)
			continue
		}
		if out, err := start.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		r := inspect(t, w, name)
		more := w.Command(w.Sbx, "exec", name, "sleep", "50")
		if err := more.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
		switch victim {
		case "supervisor":
			_ = unix.Kill(r.State.SupervisorPID, unix.SIGKILL)
		case "init":
			_ = unix.Kill(r.State.PID, unix.SIGKILL)
		case "command":
			sbx(t, w, 0, "kill", name)
		case "exec":
			_ = more.Process.Kill()
			_ = more.Wait()
			if out := sbx(t, w, 0, "exec", name, "echo", "still here"); out != "still here" {
				t.Errorf("after an exec was killed: %q", out)
			}
			sbx(t, w, 0, "stop", "-t", "0", name)
		}
		_ = more.Wait()
		waitFor(t, "the end of "+victim, func() bool { return inspect(t, w, name).State.Status == "exited" })
		if r := inspect(t, w, name); r.State.ExitCode != 137 {
			t.Errorf("%s killed: the status is %d (%s)", victim, r.State.ExitCode, r.State.Error)
		}
		waitFor(t, "the end of what ran in it", func() bool { return len(descendants(t, r.State.PID)) == 0 })
		sbx(t, w, 0, "rm", name)
	}
	empty(t, w)
}

// helperKilled kills the network's program of a sandbox: the command goes on, and
// nothing is left of either.
func helperKilled(t *testing.T, w *world.World, name string) {
	t.Helper()
	sbx(t, w, 0, "run", "-d", "--name", name, "-p", "127.0.0.1:0:80", "--", "sleep", "100")
	r := inspect(t, w, name)
	found := 0
	for _, pid := range descendants(t, r.State.SupervisorPID) {
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && strings.TrimSpace(string(comm)) == "sbx-net" {
			found++
			time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	if found == 0 {
		t.Error("there is no sbx-net to kill")
	}
	waitFor(t, "the sandbox to know of it", func() bool { return w.Run(t, w.Sbx, "port", name).Code != 0 })
	if out := sbx(t, w, 0, "exec", name, "echo", "still here"); out != "still here" {
		t.Errorf("after its network was killed: %q", out)
	}
	sbx(t, w, 0, "rm", "-f", name)
	waitFor(t, "the end of what ran in it", func() bool { return len(descendants(t, r.State.SupervisorPID)) == 0 })
}

// descendants are the processes that have a parent.
func descendants(t *testing.T, parent int) (list []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(f) > 1 && f[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			list = append(list, pid)
		}
	}
	return list
}

// TestRuntimeGone: a sandbox is found and stopped after its records were
// removed, as they are with the user's last session.
func TestRuntimeGone(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--name", "lost", "--rm", "--", "sleep", "100")
	// The sandbox writes there too, so that the directory may fill while it goes.
	waitFor(t, "its records to be gone", func() bool { return os.RemoveAll(w.Home+"/run/sbx") == nil })
	ids := strings.Fields(sbx(t, w, 0, "ps", "-q"))
	if len(ids) != 1 {
		t.Fatalf("ps shows %q", ids)
	}
	if out := sbx(t, w, 0, "exec", ids[0], "echo", "found"); out != "found" {
		t.Errorf("exec: %q", out)
	}
	if r := inspect(t, w, "lost"); r.State.Status != "running" {
		t.Errorf("its record, made again: %+v", r)
	}
	sbx(t, w, 0, "stop", "-t", "5", "lost")
	empty(t, w)
}

// TestForeground: a sandbox that somebody sits in front of has no record until
// it is asked for one, and none afterwards.
func TestForeground(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	c := w.Command(w.Sbx, "run", "--", "sh", "-c", "sleep 100; exit 0")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the sandbox", func() bool { return sbx(t, w, 0, "ps", "-q") != "" })
	id := sbx(t, w, 0, "ps", "-q")
	if left := world.Runtime(w.Home); len(left) > 0 {
		t.Errorf("it has a record: %v", left)
	}
	waitFor(t, "top to show PID 1 and the command", func() bool {
		return strings.HasPrefix(sbx(t, w, 0, "top", id, "--format", "{{.Inside}}"), "1\n2")
	})
	sbx(t, w, 0, "rename", id, "named")
	sbx(t, w, 125, "attach", "named")
	sbx(t, w, 125, "restart", "named")
	sbx(t, w, 0, "stop", "-t", "5", "named")
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != 143 {
		t.Errorf("its status is %d", code)
	}
	empty(t, w)
}

// TestNoRoom: without room for records a detached sandbox does not start, one in
// the foreground does; and a full log stops nothing.
func TestNoRoom(t *testing.T) {
	sbxtest.Leftovers(t)
	sbxtest.Require(t, sbxtest.Tool("unshare"))
	w := world.New(t)
	script := `mount -t tmpfs -o size=4k,mode=0700 none "$XDG_RUNTIME_DIR" || exit 99
mkdir -m 0700 "$XDG_RUNTIME_DIR/sbx"
dd if=/dev/zero of="$XDG_RUNTIME_DIR/fill" bs=4k count=1 2>/dev/null
"$0" run -d -- sleep 100; echo "detached $?"
"$0" run -- true; echo "foreground $?"
rm "$XDG_RUNTIME_DIR/fill"; mount -o remount,size=12k "$XDG_RUNTIME_DIR"
"$0" run -d --name loud -- sh -c 'i=0; while [ $i -lt 2000 ]; do echo "$i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"; i=$((i+1)); done; exit 6' >/dev/null; echo "loud $?"
"$0" wait loud; "$0" rm -f loud; "$0" ps -aq`
	got := w.Run(t, "unshare", "-Umc", "--keep-caps", "sh", "-c", script, w.Sbx)
	if got.Code == 99 || strings.Contains(got.Err, "unshare") {
		sbxtest.Require(t, sbxtest.Missing("a mount of one's own", strings.TrimSpace(got.Err)))
	}
	if !strings.HasPrefix(got.Out, "detached 125\nforeground 0\n") || !strings.Contains(got.Err, "no space left on device") {
		t.Errorf("%s%s", got.Out, got.Err)
	}
	if strings.Contains(got.Out, "loud 0") && !strings.Contains(got.Out, "\n6\n") {
		t.Errorf("with a full log: %s%s", got.Out, got.Err)
	}
}
