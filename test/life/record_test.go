package life

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestToldAtTheEnd: SIGTERM to the supervisor ends a sandbox for good also when its
// command has just ended, and it looks at what that has left in the project.
func TestToldAtTheEnd(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--name", "s", "--restart", "always", "--", "sleep", "100")
	r := inspect(t, w, "s").State
	var command int
	waitFor(t, "the command", func() bool {
		list := descendants(t, r.PID)
		if len(list) == 1 {
			command = list[0]
		}
		return command != 0
	})
	stopProcess(t, r.SupervisorPID)
	_ = unix.Kill(command, unix.SIGKILL)
	waitFor(t, "the command's end", func() bool { return len(descendants(t, r.PID)) == 0 })
	_ = unix.Kill(r.SupervisorPID, unix.SIGTERM)
	_ = unix.Kill(r.SupervisorPID, unix.SIGCONT)
	waitFor(t, "the end", func() bool { return inspect(t, w, "s").State.Status == "exited" })
	sbx(t, w, 0, "rm", "s")
	empty(t, w)
}

// TestRestartReloaded: a command that was told to read its configuration again, by
// SIGHUP to its supervisor, or to end and did not, is started again for who asks.
func TestRestartReloaded(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			sbx(t, w, 0, "run", "-d", "--name", "s", "--restart", "on-failure", "--", "sh", "-c",
				`trap "echo reloaded" HUP INT QUIT; trap "exit 3" USR1; echo ready; while :; do sleep .05; done`)
			said := func(text string) {
				t.Helper()
				waitFor(t, text, func() bool { return strings.HasSuffix(sbx(t, w, 0, "logs", "s"), text) })
			}
			said("ready")
			_ = unix.Kill(inspect(t, w, "s").State.SupervisorPID, sig)
			said("reloaded")
			sbx(t, w, 0, "restart", "s")
			said("ready")
			if sig == unix.SIGHUP { // nor does it keep the policy from anything
				_ = unix.Kill(inspect(t, w, "s").State.SupervisorPID, sig)
				said("reloaded")
			}
			sbx(t, w, 0, "kill", "-s", "USR1", "s")
			waitFor(t, "another start", func() bool {
				return sbx(t, w, 0, "inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "s") == "2 running"
			})
			sbx(t, w, 0, "rm", "-f", "s")
		})
	}
	empty(t, w)
}

// between waits until a command that fails at once is waited for longer each time.
func between(t *testing.T, w *world.World) {
	t.Helper()
	sbx(t, w, 0, "run", "-d", "--name", "s", "--restart", "always", "--", "false")
	waitFor(t, "a long wait", func() bool {
		return sbx(t, w, 0, "ps", "-a", "--format", "{{.Restarts}} {{.State}}") == "6 starting"
	})
}

// TestKillBetween: what asks a command to end ends the sandbox also between two runs;
// another signal is for nobody then.
func TestKillBetween(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	between(t, w)
	for _, x := range []struct{ verb, want string }{
		{"kill -s HUP s", "no command of s is there to have the signal 1: it is about to be started again; sbx stop s ends it"},
		{"exec s true", "s is about to be started again; try again when sbx ps says that it is up, or end it with sbx stop s"},
	} {
		if got := w.Run(t, append([]string{w.Sbx}, strings.Fields(x.verb)...)...); got.Code != 125 || !strings.Contains(got.Err, x.want) {
			t.Errorf("%s: status %d: %s, want %s", x.verb, got.Code, got.Err, x.want)
		}
	}
	_ = unix.Kill(inspect(t, w, "s").State.SupervisorPID, unix.SIGHUP)
	time.Sleep(100 * time.Millisecond)
	if status := inspect(t, w, "s").State.Status; status != "starting" {
		t.Errorf("after SIGHUP to the supervisor it is %s", status)
	}
	sbx(t, w, 0, "kill", "-s", "TERM", "s")
	waitFor(t, "the end", func() bool { return inspect(t, w, "s").State.Status == "exited" })
	sbx(t, w, 0, "rm", "s")
	empty(t, w)
}

// TestRestartBetween: who starts a command that is waited for has it waited for as at
// first.
func TestRestartBetween(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	between(t, w) // for 3.2 s
	sbx(t, w, 0, "restart", "s")
	begun := time.Now()
	waitFor(t, "two more starts", func() bool {
		n, _ := strconv.Atoi(sbx(t, w, 0, "inspect", "-f", "{{.RestartCount}}", "s"))
		return n >= 8
	})
	if d := time.Since(begun); d > 3*time.Second {
		t.Errorf("they took %v", d)
	}
	sbx(t, w, 0, "rm", "-f", "s")
	empty(t, w)
}

// TestSummonedEarly: a record that is asked for while the sandbox is being built says
// so, and says when the command runs that it does, and since when.
func TestSummonedEarly(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	w.Env = append(w.Env, "SBX_KEEP=off") // a start that was kept has no Go runtime to wait for
	for range 10 {
		c := w.Command(w.Sbx, "run", "--", "sleep", "100")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		proc := fmt.Sprintf("/proc/%d/", c.Process.Pid)
		// Before the Go runtime is there, the signal would end it.
		waitFor(t, "who catches the signal", func() bool {
			text, _ := os.ReadFile(proc + "status")
			_, mask, _ := bytes.Cut(text, []byte("SigCgt:"))
			mask, _, _ = bytes.Cut(mask, []byte("\n"))
			caught, _ := strconv.ParseUint(string(bytes.TrimSpace(mask)), 16, 64)
			return caught&(1<<(state.SignalRecord-1)) != 0
		})
		for end := time.Now().Add(10 * time.Second); ; { // it is built in some milliseconds
			_ = c.Process.Signal(state.SignalRecord)
			if list, _ := filepath.Glob(w.Home + "/run/sbx/*/state.json"); len(list) > 0 {
				var r state.Record
				text, err := os.ReadFile(list[0])
				if err == nil {
					err = json.Unmarshal(text, &r)
				}
				if err != nil || (r.Status == state.Running) == r.Started.IsZero() {
					t.Errorf("%v: it is %s since %v", err, r.Status, r.Started)
				}
				break
			}
			if time.Now().After(end) {
				t.Fatal("the record did not come")
			}
		}
		waitFor(t, "the command", func() bool { return sbx(t, w, 0, "ps", "--format", "{{.State}}") == "running" })
		id := sbx(t, w, 0, "ps", "-q")
		since, err := time.Parse(time.RFC3339Nano, sbx(t, w, 0, "inspect", "-f", "{{.State.StartedAt}}", id))
		if err != nil || time.Since(since) > time.Minute {
			t.Errorf("it runs since %v, %v", since, err)
		}
		sbx(t, w, 0, "rm", "-f", id)
		_ = c.Wait()
	}
	empty(t, w)
}

// TestRecordAgain: a record that was lost says, when it is made again, what it said
// before, and has the plan beside it.
func TestRecordAgain(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	c := w.Command(w.Sbx, "run", "--name", "lost", "--", "sleep", "100")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the plan", func() bool { return w.Run(t, w.Sbx, "port", "lost").Code == 0 }) // it comes last
	const when = "{{.Created}} {{.State.StartedAt}}"
	before := sbx(t, w, 0, "inspect", "-f", when, "lost")
	lose := func() {
		t.Helper()
		waitFor(t, "its records to be gone", func() bool { return os.RemoveAll(w.Home+"/run/sbx") == nil })
	}
	lose()
	sbx(t, w, 0, "generate", "kube", sbx(t, w, 0, "ps", "-q")) // by its id, from the plan
	sbx(t, w, 0, "port", "lost")
	if after := sbx(t, w, 0, "inspect", "-f", when, "lost"); after != before {
		t.Errorf("it was made and started %s, and before %s", after, before)
	}
	sbx(t, w, 0, "pause", "lost")
	lose()
	sbx(t, w, 0, "port", sbx(t, w, 0, "ps", "-q"))
	if out := sbx(t, w, 0, "ps", "--format", "{{.Status}}"); !strings.HasSuffix(out, " (Paused)") {
		t.Errorf("it is paused, and %q", out)
	}
	sbx(t, w, 0, "unpause", "lost")
	sbx(t, w, 0, "rm", "-f", "lost")
	_ = c.Wait()
	empty(t, w)
}

// TestPlanLater: a sandbox has a plan from when it has a name, and what is said of one
// that is missing is so.
func TestPlanLater(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	c, id := foreground(t, w, "sleep", "100")
	refuses := func(name, want string) {
		t.Helper()
		if got := w.Run(t, w.Sbx, "port", name); got.Code != 125 || !strings.Contains(got.Err, want) {
			t.Errorf("status %d: %s, want %s", got.Code, got.Err, want)
		}
	}
	refuses(id, "it has no name and is not detached; start it with --name, or give it one: sbx rename run-")
	waitFor(t, "the command", func() bool { return sbx(t, w, 0, "ps", "--format", "{{.State}}") == "running" })
	sbx(t, w, 0, "rename", id, "fg")
	sbx(t, w, 0, "port", "fg")
	plan := func(name string) string { return w.Home + "/run/sbx/names/" + name + "/" + state.PlanFile }
	if err := os.Remove(plan("fg")); err != nil {
		t.Fatal(err)
	}
	refuses("fg", "the plan of fg is gone: open ")
	sbx(t, w, 0, "rm", "-f", "fg")
	_ = c.Wait()
	sbx(t, w, 0, "run", "-d", "--name", "bg", "--", "sleep", "100")
	if err := os.Remove(plan("bg")); err != nil {
		t.Fatal(err)
	}
	refuses("bg", "no such file or directory; sbx restart bg writes it again")
	sbx(t, w, 0, "restart", "-t", "0", "bg")
	sbx(t, w, 0, "port", "bg")
	sbx(t, w, 0, "rm", "-f", "bg")
	empty(t, w)
}

// TestExecInterrupted: who is interrupted before the further command was started hears
// that, and not of a sandbox that is being built.
func TestExecInterrupted(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--name", "s", "--", "sleep", "100")
	supervisor := inspect(t, w, "s").State.SupervisorPID
	stopProcess(t, supervisor)
	exec := w.Command(w.Sbx, "exec", "s", "true")
	said, err := os.Create(filepath.Join(t.TempDir(), "stderr")) // no pipe: the supervisor holds it, too
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	exec.Stderr = said
	if err := exec.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // until it has asked
	_ = exec.Process.Signal(unix.SIGTERM)
	const want = "sbx: ended by SIGTERM while the command was being started in the sandbox; it did not run\n"
	code := ends(t, exec)
	text, err := os.ReadFile(said.Name())
	switch {
	case code == 125 && strings.Contains(string(text), "is stopped and does not answer"): // only the entry that make links asks without a look
	case code != 143 || string(text) != want:
		t.Errorf("status %d, %v: %q, want %q", code, err, text, want)
	}
	_ = unix.Kill(supervisor, unix.SIGCONT)
	sbx(t, w, 0, "rm", "-f", "s")
	empty(t, w)
}
