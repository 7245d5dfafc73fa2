package life

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestToldToEnd: SIGTERM to the supervisor, while the command runs and between two
// runs of it, and sbx kill end a sandbox for good, under every policy.
func TestToldToEnd(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	for _, tt := range []struct {
		name string
		argv []string
		wait string // how its last line of ps is before
		end  func(record)
	}{
		{"supervisor", []string{"sleep", "100"}, "running", func(r record) { _ = unix.Kill(r.State.SupervisorPID, unix.SIGTERM) }},
		{"between", []string{"false"}, "starting", func(r record) { _ = unix.Kill(r.State.SupervisorPID, unix.SIGTERM) }},
		{"kill", []string{"sleep", "100"}, "running", func(record) { sbx(t, w, 0, "kill", "-s", "TERM", "s") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sbx(t, w, 0, append([]string{"run", "-d", "--name", "s", "--restart", "always", "--"}, tt.argv...)...)
			if tt.wait == "starting" { // the wait doubles each time, from 100 ms on
				waitFor(t, "a long wait", func() bool { return sbx(t, w, 0, "ps", "-a", "--format", "{{.Restarts}} {{.State}}") == "6 starting" })
			}
			begun := time.Now()
			tt.end(inspect(t, w, "s"))
			waitFor(t, "the end", func() bool { return inspect(t, w, "s").State.Status == "exited" })
			if d := time.Since(begun); tt.wait == "starting" && d > 2*time.Second {
				t.Errorf("it took %v", d)
			}
			sbx(t, w, 0, "rm", "s")
		})
	}
	empty(t, w)
}

// TestRunsAgain: what is told of a command that was started again is of this run.
func TestRunsAgain(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	file := filepath.Join(w.Home, "s.pid")
	sbx(t, w, 0, "run", "-d", "--name", "s", "--pidfile", file, "--", "sleep", "100")
	first := inspect(t, w, "s").State.PID
	sbx(t, w, 0, "restart", "-t", "0", "s")
	r := inspect(t, w, "s")
	if r.State.Status != "running" || r.State.ExitCode != 0 || r.State.Error != "" || r.State.PID == first {
		t.Errorf("%+v, before it was %d", r.State, first)
	}
	if text, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(r.State.PID) {
		t.Errorf("the file with the pid has %q, %v, not %d", text, err, r.State.PID)
	}
	sbx(t, w, 0, "rm", "-f", "s")
	if _, err := os.Lstat(file); err == nil {
		t.Error("the file with the pid is left")
	}
	empty(t, w)
}

// TestPauseEarly: who asks for a pause while the sandbox is being built gets it, or
// an error; what is told of it is so.
func TestPauseEarly(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	for range 5 {
		start := w.Command(w.Sbx, "run", "-d", "--name", "s", "--", "sleep", "100")
		if err := start.Start(); err != nil {
			t.Fatal(err)
		}
		var c *control.Conn
		for end := time.Now().Add(10 * time.Second); c == nil; { // it is not there for long before the command runs
			sockets, _ := filepath.Glob(filepath.Join(w.Home, "run/sbx/*", state.SocketFile))
			for _, socket := range sockets {
				c, _ = control.Dial(socket)
			}
			if time.Now().After(end) {
				t.Fatal("the socket did not come")
			}
		}
		err := c.Ask(control.Request{Op: control.Pause})
		if err == nil {
			_, _, err = c.Answer()
		}
		c.Close()
		if start.Wait() != nil {
			t.Fatal("it did not start")
		}
		switch status := inspect(t, w, "s").State.Status; {
		case err == nil && status != "paused", err != nil && status != "running":
			t.Errorf("a pause: %v, and then it is %s", err, status)
		case err == nil:
			sbx(t, w, 0, "unpause", "s")
		case !strings.Contains(err.Error(), "while it is being started"):
			t.Error(err)
		}
		sbx(t, w, 0, "exec", "s", "true")
		sbx(t, w, 0, "rm", "-f", "s")
	}
	empty(t, w)
}

// TestPauseChain: processes of which each makes the next and ends are stopped like others,
// though nobody outside sees more than that they were there.
func TestPauseChain(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	w.Write(t, w.Work+"/chain", "printf x >>made\nsh chain &\n")
	sbx(t, w, 0, "run", "-d", "--name", "s", "--", "sh", "-c", "sh chain; sleep 100")
	made := func() int64 {
		st, err := os.Stat(filepath.Join(w.Work, "made"))
		if err != nil {
			return 0
		}
		return st.Size()
	}
	for range 20 {
		was := made()
		waitFor(t, "more of them", func() bool { return made() > was })
		sbx(t, w, 0, "pause", "s")
		was = made()
		time.Sleep(50 * time.Millisecond)
		if now := made(); now != was {
			t.Errorf("%d were made while it is paused", now-was)
		}
		sbx(t, w, 0, "unpause", "s")
	}
	sbx(t, w, 0, "rm", "-f", "s")
	empty(t, w)
}
