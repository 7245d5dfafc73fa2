package life

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// ends waits for a process that is about to end, and returns its status.
func ends(t *testing.T, c *exec.Cmd) int {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Errorf("%q does not end", c.Args)
		_ = c.Process.Kill()
		<-ended
	}
	return c.ProcessState.ExitCode()
}

// attached waits until somebody is.
func attached(t *testing.T, w *world.World) {
	t.Helper()
	waitFor(t, "who is attached", func() bool {
		return sbx(t, w, 0, "events", "--since=1h", "--no-stream", "--filter=event=attach") != ""
	})
}

// TestAttachLines: at a terminal, a command that has none is typed to in lines, with
// their echo, and the keys do what they do at a terminal.
func TestAttachLines(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	for _, c := range []struct {
		name, key, want string
		code            int
		ended           bool
	}{
		{"the input's end", "\x04", "the end\r\n", 7, true},
		{"interrupted", "\x03", "", 130, true},
		{"detached", "\x10\x11", "sbx: detached from reader", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			sbx(t, w, 0, "run", "-d", "-i", "--rm=false", "--name", "reader", "--", "sh", "-c", `while read l; do echo "line: $l."; done; echo the end; exit 7`)
			term := pty.Open(t)
			attach := w.Command(w.Sbx, "attach", "reader")
			attach.Stdin, attach.Stdout, attach.Stderr = term.Slave, term.Slave, term.Slave
			attach.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			before := term.Mode(t)
			if err := attach.Start(); err != nil {
				t.Fatal(err)
			}
			term.Type(t, "hello\r")
			at := term.Expect(t, 0, "hello\r\n")
			at = term.Expect(t, at, "line: hello.\r\n")
			term.Type(t, c.key)
			if c.want != "" {
				term.Expect(t, at, c.want)
			}
			if code := ends(t, attach); code != c.code {
				t.Errorf("attach ends with %d, want %d: %q", code, c.code, term.Output())
			}
			if after := term.Mode(t); after != before {
				t.Errorf("the terminal's mode is %v, and was %v", after, before)
			}
			if ended := inspect(t, w, "reader").State.Status == "exited"; ended != c.ended {
				t.Errorf("the command has ended: %v", ended)
			}
			sbx(t, w, 0, "rm", "-f", "reader")
		})
	}
	empty(t, w)
}

// TestAttachFull: who passes on more than a command takes can be ended, and left.
func TestAttachFull(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "-i", "--name", "deaf", "--", "sleep", "1000")
	r, input, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	attach := w.Command(w.Sbx, "attach", "deaf")
	attach.Stdin = r
	if err := attach.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	go func() { _, _ = input.Write(make([]byte, 300000)) }()
	attached(t, w)
	time.Sleep(300 * time.Millisecond) // until the pipe is full
	_ = attach.Process.Signal(unix.SIGTERM)
	ends(t, attach)
	input.Close()

	term := pty.Open(t)
	attach = w.Command(w.Sbx, "attach", "deaf") // the pipe is full still
	attach.Stdin, attach.Stdout, attach.Stderr = term.Slave, term.Slave, term.Slave
	attach.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := attach.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "its terminal's mode", func() bool { return term.Mode(t).Cc[unix.VEOL] == 0x11 })
	term.Type(t, "more\r\x10\x11")
	term.Expect(t, 0, "sbx: detached from deaf")
	if code := ends(t, attach); code != 0 {
		t.Errorf("the keys that detach: status %d", code)
	}
	sbx(t, w, 0, "rm", "-f", "deaf")
	empty(t, w)
}
