package entry

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// up starts a sandbox called s that ends with the test. Its sbx has the entry.
func up(t *testing.T) *world.World {
	t.Helper()
	sbxtest.Leftovers(t)
	w := world.New(t)
	w.Sbx = link(t, "-ldflags=-E=sbx_entry")
	if r := w.Run(t, w.Sbx, "run", "-d", "--name", "s", "--", "sleep", "1000"); r.Code != 0 {
		t.Fatalf("run -d: %+v", r)
	}
	t.Cleanup(func() { w.Run(t, w.Sbx, "rm", "-f", "s") })
	return w
}

// TestExec: a further command is asked for and waited for without the Go runtime,
// which takes over where there is something to say or do.
func TestExec(t *testing.T) {
	sbxtest.Require(t, sbxtest.Tool("strace"), sbxtest.Tool("script"))
	w := up(t)
	w.Write(t, w.Work+"/in", "of a file\n")
	for _, tt := range []struct {
		name    string
		shell   string // SBX is the traced sbx
		runtime bool   // it is started
		status  int
		out     string // what is said, or the beginning of it
	}{
		{"a command", "SBX exec s echo it runs", false, 0, "it runs\n"},
		{"dashes", "SBX exec s -- echo it runs", false, 0, "it runs\n"},
		{"its status", "SBX exec s sh -c 'exit 3'", false, 3, ""},
		{"a signal of its own", "SBX exec s sh -c 'kill -SEGV $$'", false, 139, ""},
		{"its status is sbx's", "SBX exec s sh -c 'echo it ran; exit 125'", true, 125, "it ran\n"},
		{"no such command", "SBX exec s nothing-of-this-name", true, 127, "sbx: "},
		{"no such sandbox", "SBX exec t true", true, 125, "sbx: no sandbox is called t"},
		{"null", "SBX exec s cat </dev/null >/dev/null", false, 0, ""},
		{"no input without -i", "SBX exec s cat <in", false, 0, ""},
		{"-i", "SBX exec -i s cat <in", false, 0, "of a file\n"},
		{"-i of a pipe", "cat in | SBX exec -i s cat | cat", false, 0, "of a file\n"},
		{"-i without a command", "SBX exec -i s", true, 125, "sbx: what command?"},
		{"-t", "SBX exec -t s true </dev/null", true, 0, ""},
		{"sbx-sh with a script of that name", "ln -sf $(command -v sbx) sbx-sh; printf 'echo script $1\\n' >exec; STRACE ./sbx-sh exec s", true, 0, "script s\n"},
		{"into a file", "SBX exec s echo it runs >out; st=$?; cat out; exit $st", false, 0, "it runs\n"},
		{"standard error", "SBX exec s sh -c 'echo it runs >&2' 2>&1 | cat", false, 0, "it runs\n"},
		{"another device", "SBX exec s echo >/dev/zero", true, 0, ""},
		{"a terminal", "script -qec 'SBX exec s test -t 0' /dev/null </dev/null >/dev/null", true, 0, ""},
		{"a variable", "SBX exec -e A=b s sh -c 'echo $A'", true, 0, "b\n"},
		{"other alphabets", "SBX exec s echo Käse", true, 0, "Käse\n"},
		{"a verb like it", "SBX execs s true", true, 2, "sbx: no such verb: execs"},
		{"too few words", "SBX exec s", true, 125, "sbx: what command?"},
		{"ignored signals", "trap '' INT; SBX exec s echo it runs", true, 0, "it runs\n"},
		{"another runtime directory", "XDG_RUNTIME_DIR=/nowhere SBX exec s true", true, 125, "sbx: no sandbox is called s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trace := filepath.Join(t.TempDir(), "trace")
			strace := "strace -qqq -e trace=sched_getaffinity -o " + trace
			r := w.Run(t, "sh", "-c", strings.NewReplacer("STRACE", strace, "SBX", strace+" "+w.Sbx, "$(command -v sbx)", w.Sbx).Replace(tt.shell))
			if said := r.Out + r.Err; r.Code != tt.status || !strings.HasPrefix(said, tt.out) || tt.out == "" && said != "" && tt.status == 0 {
				t.Errorf("status %d instead of %d: %q", r.Code, tt.status, said)
			}
			text, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			if got := runtime.Match(text); got != tt.runtime {
				t.Errorf("the runtime was started: %v", got)
			}
		})
	}
}

// TestExecSignals: a signal reaches the command although the runtime starts only
// then.
func TestExecSignals(t *testing.T) {
	w := up(t)
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2} {
		name := unix.SignalName(sig)
		t.Run(name, func(t *testing.T) {
			short := strings.TrimPrefix(name, "SIG")
			c := w.Command(w.Sbx, "exec", "s", "sh", "-c", "trap 'echo came >>it; exit 5' "+short+"; >ready; while :; do sleep 0.05; done")
			_ = os.Remove(w.Work + "/it")
			_ = os.Remove(w.Work + "/ready")
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				if _, err := os.Stat(w.Work + "/ready"); err == nil {
					break
				}
				if time.Now().After(end) {
					t.Fatal("the command does not run")
				}
			}
			if err := c.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			stuck := time.AfterFunc(20*time.Second, func() { _ = c.Process.Kill() })
			_ = c.Wait()
			stuck.Stop()
			said, _ := os.ReadFile(w.Work + "/it")
			if code := world.Code(c); code != 5 || string(said) != "came\n" {
				t.Errorf("status %d, and the command heard %q", code, said)
			}
		})
	}
	if r := w.Run(t, w.Sbx, "top", "--format={{.Inside}}", "s"); strings.Count(strings.TrimSpace(r.Out), "\n") != 1 {
		t.Errorf("in the sandbox are still: %q", r.Out)
	}
}

// TestExecStopped: it stops with its command, and goes on with it.
func TestExecStopped(t *testing.T) {
	w := up(t)
	c := w.Command(w.Sbx, "exec", "s", "sh", "-c", "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo $i >count; sleep 0.05; done; exit 7")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	count := func() string {
		text, _ := os.ReadFile(w.Work + "/count")
		return string(text)
	}
	state := func() string {
		text, _ := os.ReadFile("/proc/" + strconv.Itoa(c.Process.Pid) + "/stat")
		_, after, _ := strings.Cut(string(text), ") ")
		return after[:min(1, len(after))]
	}
	wait := func(what string, done func() bool) {
		for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s did not come", what)
			}
		}
	}
	wait("the command", func() bool { return count() != "" })
	_ = c.Process.Signal(unix.SIGTSTP)
	wait("the stop", func() bool { return state() == "T" })
	time.Sleep(200 * time.Millisecond)
	at := count()
	time.Sleep(300 * time.Millisecond)
	if now := count(); now != at {
		t.Errorf("stopped, the command went on from %q to %q", at, now)
	}
	_ = c.Process.Signal(unix.SIGCONT)
	_ = c.Wait()
	if code := world.Code(c); code != 7 || count() != "40\n" {
		t.Errorf("status %d at %q", code, count())
	}
}

// TestExecEnds: with who asked for it, and with the sandbox.
func TestExecEnds(t *testing.T) {
	w := up(t)
	until := func(runs bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); strings.Contains(w.Run(t, w.Sbx, "top", "s").Out, "sleep 77") != runs; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("that the command runs is not %v", runs)
			}
		}
	}
	start := func() *exec.Cmd {
		c := w.Command(w.Sbx, "exec", "s", "sleep", "77")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		until(true)
		return c
	}
	c := start()
	_ = c.Process.Kill()
	_ = c.Wait()
	until(false)
	c = start()
	if r := w.Run(t, w.Sbx, "stop", "-t", "5", "s"); r.Code != 0 {
		t.Fatalf("stop: %+v", r)
	}
	_ = c.Wait()
	if code := world.Code(c); code != 137 {
		t.Errorf("after the sandbox's end its status is %d", code)
	}
}
