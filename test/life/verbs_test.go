package life

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// atTerminal starts attach at a terminal, and waits until it has set its mode.
func atTerminal(t *testing.T, w *world.World, last byte, args ...string) (*exec.Cmd, *pty.Terminal) {
	t.Helper()
	term := pty.Open(t)
	c := w.Command(append([]string{w.Sbx, "attach"}, args...)...)
	c.Stdin, c.Stdout, c.Stderr = term.Slave, term.Slave, term.Slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "its terminal's mode", func() bool { return term.Mode(t).Cc[unix.VEOL] == last })
	return c, term
}

// TestAttachKeys: the keys that detach do so whatever else they would do, after the
// input's end, and where the command has no input; who leaves without them is told
// that the sandbox goes on.
func TestAttachKeys(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	const keys, end, interrupt, detached = "\x10\x11", "\x04", "\x03", "sbx: detached from a"
	for _, c := range []struct {
		name, flag, keys string
		typed, want      []string // one after the other
		code             int
	}{
		{name: "ctrl-c", flag: "-i", keys: "ctrl-c", typed: []string{interrupt}, want: []string{detached}},
		{name: "ctrl-d last", flag: "-i", keys: "ctrl-w,ctrl-d", typed: []string{"\x17\x04"}, want: []string{detached}},
		{name: "ctrl-c after the end", flag: "-i", typed: []string{end, interrupt}, want: []string{"the end", ""}, code: 130},
		{name: "keys after the end", flag: "-i", typed: []string{end, keys}, want: []string{"the end", detached}},
		{name: "keys without input", flag: "--rm=false", typed: []string{"x", keys}, want: []string{"", detached}},
		{name: "ctrl-c without input", flag: "--rm=false", typed: []string{end, interrupt}, want: []string{"", detached}},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer w.Run(t, w.Sbx, "rm", "-f", "a")
			sbx(t, w, 0, "run", "-d", c.flag, "--name", "a", "--", "sh", "-c", "cat; echo the end; exec sleep 1000")
			args, last := []string{"a"}, keys[1]
			if c.keys != "" {
				args = []string{"--detach-keys=" + c.keys, "a"}
				last = c.typed[0][len(c.typed[0])-1]
			}
			attach, term := atTerminal(t, w, last, args...)
			at := 0
			for i, typed := range c.typed {
				term.Type(t, typed)
				if c.want[i] != "" {
					at = term.Expect(t, at, c.want[i])
				}
			}
			if code := ends(t, attach); code != c.code {
				t.Errorf("attach ends with %d, want %d: %q", code, c.code, term.Output())
			}
			if status := inspect(t, w, "a").State.Status; (status == "running") != (c.code == 0) {
				t.Errorf("it is %s", status)
			}
		})
	}
	empty(t, w)
}

// TestAttachTwo: what several pass on at the same time, to a command that takes its
// time, is lost nowhere, and none of them waits in a write for the others.
func TestAttachTwo(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	r := sbx(t, w, 0, "run", "-d", "-i", "--name", "a", "--", "sh", "-c", "sleep 2; wc -c")
	c, err := control.Dial(filepath.Join(w.Home, "run/sbx", r, state.SocketFile))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ask(control.Request{Op: control.Attach}); err != nil {
		t.Fatal(err)
	}
	_, fds, err := c.Answer()
	if err != nil || len(fds) != 3 {
		t.Fatalf("%v, %d descriptors", err, len(fds))
	}
	if flags, err := unix.FcntlInt(uintptr(fds[2]), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("a write to the input would wait: flags %#x, %v", flags, err)
	}
	control.CloseAll(fds)
	var both [2]*exec.Cmd
	for i := range both {
		both[i] = w.Command(w.Sbx, "attach", "a")
		both[i].Stdin = strings.NewReader(strings.Repeat("x", 300000))
		if err := both[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range both {
		if code := ends(t, c); code != 0 {
			t.Errorf("attach ends with %d", code)
		}
	}
	if out := sbx(t, w, 0, "logs", "a"); out != "600000" {
		t.Errorf("%s bytes came", out)
	}
	sbx(t, w, 0, "rm", "a")
	empty(t, w)
}

// TestFollowStopped: who follows the output of a sandbox whose supervisor is stopped
// goes on to when that does.
func TestFollowStopped(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--name", "a", "--", "sh", "-c", "echo one; sleep 2; echo two")
	waitFor(t, "its output", func() bool { return sbx(t, w, 0, "logs", "a") == "one" })
	pid := inspect(t, w, "a").State.SupervisorPID
	stopProcess(t, pid)
	c := w.Command(w.Sbx, "logs", "-f", "a")
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // it has connected, or has given up
	_ = unix.Kill(pid, unix.SIGCONT)
	if code := ends(t, c); code != 0 || out.String() != "one\ntwo\n" {
		t.Errorf("status %d: %q", code, &out)
	}
	sbx(t, w, 0, "rm", "a")
	empty(t, w)
}

// TestPidfileTakenBack: no number is left of a sandbox that did not start.
func TestPidfileTakenBack(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	file, closed := filepath.Join(w.Home, "s.pid"), filepath.Join(w.Home, "closed")
	if err := os.Mkdir(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	for _, flags := range [][]string{nil, {"-d"}} {
		args := append(append([]string{"run"}, flags...), "--pidfile", file, "--cidfile", filepath.Join(closed, "id"), "--", "sleep", "100")
		sbx(t, w, 125, args...)
		if world.Exists(file) {
			t.Errorf("%q: the file with the pid is left", args)
		}
	}
	empty(t, w)
}

// TestPidfileInside: a command that may write the file with its pid keeps nobody by it:
// the end of its sandbox is the end.
func TestPidfileInside(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	file := filepath.Join(w.Work, "s.pid")
	sbx(t, w, 0, "run", "-d", "--rm", "--name", "s", "--pidfile", file, "--", "sh", "-c", `while ! rm s.pid; do sleep .05; done 2>/dev/null; mkfifo s.pid; touch made; sleep 100`)
	waitFor(t, "the FIFO", func() bool { return world.Exists(filepath.Join(w.Work, "made")) })
	c := w.Command(w.Sbx, "stop", "-t", "0", "s")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { // it can be read, so that nothing hangs if this fails
		if f, err := os.OpenFile(file, os.O_RDWR|unix.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	}()
	if code := ends(t, c); code != 0 {
		t.Errorf("the status of stop is %d", code)
	}
	// One that can't be written at all is said before anything runs.
	none := filepath.Join(w.Home, "none/s.pid")
	for _, flag := range []string{"--pidfile", "--cidfile"} {
		got := w.Run(t, w.Sbx, "run", flag, none, "--", "touch", "ran")
		if want := "sbx: " + flag + ": open " + filepath.Dir(none) + ": no such file or directory\n"; got.Code != 125 || got.Err != want || world.Exists(filepath.Join(w.Work, "ran")) {
			t.Errorf("%s: status %d, %q, want %q", flag, got.Code, got.Err, want)
		}
	}
	empty(t, w)
}

// TestDownAll: down --all ends the sandboxes of all projects at the same time, also
// where there is a record that can't be read, and says so.
func TestDownAll(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	for _, name := range []string{"one", "two"} {
		w.Write(t, filepath.Join(w.Home, name, ".keep"), "")
		for _, args := range [][]string{{"up", "--set", "process.stop_timeout=4s", "shell"}, {"exec", "-d", "--", "sh", "-c", `trap "" TERM; while :; do sleep 1; done`}} {
			c := w.Command(append([]string{w.Sbx}, args...)...)
			c.Dir = filepath.Join(w.Home, name)
			if got := world.Wait(t, c); got.Code != 0 {
				t.Fatalf("%q: status %d: %s", args, got.Code, got.Err)
			}
		}
	}
	id := sbx(t, w, 0, "run", "-d", "--name", "x", "--", "true")
	sbx(t, w, 0, "wait", "x")
	w.Write(t, filepath.Join(w.Home, "run/sbx", id, "state.json"), "{")
	begun := time.Now()
	got := w.Run(t, w.Sbx, "down", "--all")
	if took := time.Since(begun); took > 7*time.Second {
		t.Errorf("it took %v", took)
	}
	if got.Code != 125 || !strings.Contains(got.Err, id) || strings.Count(got.Out, "\n") != 2 {
		t.Errorf("status %d: %s%s", got.Code, got.Out, got.Err)
	}
	sbx(t, w, 0, "rm", "-f", "x")
	empty(t, w)
}
