package faults

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// session is a command at a terminal, in a session of its own.
type session struct {
	*pty.Terminal
	w    *world.World
	cmd  *exec.Cmd
	from int // what of the output was expected already
	mode unix.Termios
}

// on starts a command whose standard descriptors in mask are a new terminal.
func on(t *testing.T, w *world.World, mask int, setup func(*exec.Cmd), argv ...string) *session {
	t.Helper()
	s := &session{Terminal: pty.Open(t), w: w, cmd: w.Command(argv...)}
	s.mode = s.Mode(t)
	ctty := 0
	for fd := range 3 {
		if mask&(1<<fd) == 0 {
			continue
		}
		ctty = fd
		switch fd {
		case 0:
			s.cmd.Stdin = s.Slave
		case 1:
			s.cmd.Stdout = s.Slave
		case 2:
			s.cmd.Stderr = s.Slave
		}
	}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: ctty}
	if setup != nil {
		setup(s.cmd)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
		}
	})
	return s
}

func (s *session) expect(t *testing.T, text string) {
	t.Helper()
	s.from = s.Expect(t, s.from, text)
}

// ends waits for the end and returns the status.
func (s *session) ends(t *testing.T) int {
	t.Helper()
	stuck := time.AfterFunc(30*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer stuck.Stop()
	_ = s.cmd.Wait()
	return world.Code(s.cmd)
}

func terminalWorld(t *testing.T) *world.World {
	t.Helper()
	w := world.New(t)
	sbxtest.Require(t, sbxtest.TTY)
	sbxtest.Leftovers(t)
	world.Adopt(t)
	return w
}

func TestTerminalSize(t *testing.T) {
	for mask := 1; mask < 8; mask++ {
		t.Run(fmt.Sprintf("%03b", mask), func(t *testing.T) {
			w := terminalWorld(t)
			out := w.Work + "/sizes"
			w.Write(t, out, "")
			script := `exec 3<>/dev/tty; trap 'stty size <&3 >>sizes' WINCH; stty size <&3 >>sizes; echo ready >>sizes; while [ ! -e done ]; do sleep 0.02; done`
			s := on(t, w, mask, nil, w.Sandboxed(w.Profile(t, ""), "sh", "-c", script)...)
			has := func(text string) func() bool {
				return func() bool { b, _ := os.ReadFile(out); return strings.Contains(string(b), text) }
			}
			world.Until(t, "the command is ready", has("24 80\nready\n"))
			s.Resize(t, 132, 50)
			world.Until(t, "the new size shows", has("50 132\n"))
			w.Write(t, w.Work+"/done", "")
			if code := s.ends(t); code != 0 {
				t.Errorf("status %d; %s", code, s.Output())
			}
		})
	}
}

func TestTerminalInterrupt(t *testing.T) {
	for _, tty := range []string{"auto", "always"} {
		t.Run(tty, func(t *testing.T) {
			w := terminalWorld(t)
			p := w.Profile(t, "[process]\ntty = \""+tty+"\"\n")
			s := on(t, w, 7, nil, w.Sandboxed(p, "sh", "-c", `trap 'echo interrupted; exit 7' INT; echo ready; while :; do sleep 0.05; done`)...)
			s.expect(t, "ready")
			s.Type(t, "\x03")
			s.expect(t, "interrupted")
			if code := s.ends(t); code != 7 {
				t.Errorf("status %d, want 7; %q", code, s.Output())
			}
			if s.Mode(t) != s.mode {
				t.Error("the terminal's mode is another one")
			}
		})
	}
}

// TestTerminalNever: with pipes in the terminal's place an interrupt still
// reaches the command, and once.
func TestTerminalNever(t *testing.T) {
	w := terminalWorld(t)
	p := w.Profile(t, "[process]\ntty = \"never\"\n")
	s := on(t, w, 7, nil, w.Sandboxed(p, "sh", "-c", `tty; test -p /dev/stdin && test -p /dev/stdout && echo pipes; n=0; trap 'n=$((n+1)); echo int $n' INT; trap 'echo total $n; exit 5' TERM; echo ready; while :; do sleep 0.05; done`)...)
	s.expect(t, "not a tty")
	s.expect(t, "pipes")
	s.expect(t, "ready")
	s.Type(t, "\x03")
	s.expect(t, "int 1")
	time.Sleep(200 * time.Millisecond) // for a second one to come
	_ = s.cmd.Process.Signal(unix.SIGTERM)
	s.expect(t, "total")
	if code := s.ends(t); code != 5 {
		t.Errorf("status %d, want 5", code)
	}
	if !strings.Contains(s.Output(), "total 1") {
		t.Errorf("one ^C arrived more than once: %q", s.Output())
	}
	if s.Mode(t) != s.mode {
		t.Error("the terminal's mode is another one")
	}
}

func TestTerminalJobControl(t *testing.T) {
	sbxtest.Require(t, sbxtest.Tool("bash"))
	w := terminalWorld(t)
	s := on(t, w, 7, nil, w.Sandboxed(w.Profile(t, ""), "bash", "--norc", "--noprofile", "-i")...)
	s.Type(t, "PS1='here''> '\n")
	s.expect(t, "here> ")
	s.Type(t, "tty\n")
	s.expect(t, "/dev/pts/0")
	s.Type(t, "sleep 100\n")
	time.Sleep(300 * time.Millisecond)
	s.Type(t, "\x1a")
	s.expect(t, "Stopped")
	s.expect(t, "here> ")
	s.Type(t, "bg; jobs\n")
	s.expect(t, "Running")
	s.Type(t, "fg\n")
	time.Sleep(300 * time.Millisecond)
	s.Type(t, "\x03")
	s.expect(t, "here> ")
	s.Type(t, "echo sta''tus $?\n")
	s.expect(t, "status 130")
	s.Type(t, "exit 3\n")
	if code := s.ends(t); code != 3 {
		t.Errorf("status %d, want 3; %q", code, s.Output())
	}
	if strings.Contains(s.Output(), "no job control") {
		t.Errorf("the shell has no job control: %q", s.Output())
	}
}

// TestTerminalRestored: whatever the end, the terminal is as it was.
func TestTerminalRestored(t *testing.T) {
	running := `echo ready; exec sleep 100`
	stubborn := `trap '' TERM HUP INT; echo ready; while :; do sleep 1; done`
	send := func(sigs ...unix.Signal) func(*testing.T, *session) {
		return func(t *testing.T, s *session) {
			for _, sig := range sigs {
				_ = s.cmd.Process.Signal(sig)
				time.Sleep(100 * time.Millisecond)
			}
		}
	}
	for _, tt := range []struct {
		name, profile, script string
		mask                  int
		act                   func(*testing.T, *session)
		want                  int
		noStart               bool
	}{
		{name: "normal end", script: "echo ready; read x; exit 0", act: func(t *testing.T, s *session) { s.Type(t, "\n") }},
		{name: "failure of the command", script: "echo ready; read x; exit 3", act: func(t *testing.T, s *session) { s.Type(t, "\n") }, want: 3},
		{name: "command leaves the terminal raw", script: "stty raw -echo; echo ready; read x; exit 4", act: func(t *testing.T, s *session) { s.Type(t, "\n") }, want: 4},
		{name: "end of file", script: "echo ready; cat", act: func(t *testing.T, s *session) { s.Type(t, "\x04") }},
		{name: "SIGTERM", script: running, act: send(unix.SIGTERM), want: 143},
		{name: "SIGHUP", script: running, act: send(unix.SIGHUP), want: 129},
		{name: "SIGINT", script: running, act: send(unix.SIGINT), want: 130},
		{name: "SIGINT twice", script: stubborn, act: send(unix.SIGINT, unix.SIGINT), want: 137},
		{name: "SIGKILL", script: running, act: send(unix.SIGKILL), want: 137},
		{name: "SIGKILL, stdout elsewhere", script: `echo ready >&2; exec sleep 100`, mask: 5, act: send(unix.SIGKILL), want: 137},
		{name: "timeout", profile: "[process]\ntimeout = \"300ms\"\n", script: running, want: 124},
		{name: "timeout, stubborn", profile: "[process]\ntimeout = \"300ms\"\nstop_timeout = \"300ms\"\n", script: stubborn, want: 124},
		{name: "no such command", want: 127, noStart: true},
		{name: "no such directory", profile: "[process]\nworking_dir = \"/nowhere\"\n", script: "true", want: 125, noStart: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := terminalWorld(t)
			argv := []string{"sh", "-c", tt.script}
			if tt.script == "" {
				argv = []string{"no-such-command"}
			}
			if tt.mask == 0 {
				tt.mask = 7
			}
			s := on(t, w, tt.mask, nil, w.Sandboxed(w.Profile(t, tt.profile), argv...)...)
			if !tt.noStart {
				s.expect(t, "ready")
				world.Until(t, "the terminal is raw", func() bool { return s.Mode(t).Lflag&unix.ICANON == 0 || tt.want == 124 })
			}
			if tt.act != nil {
				tt.act(t, s)
			}
			if code := s.ends(t); code != tt.want {
				t.Errorf("status %d, want %d; %q", code, tt.want, s.Output())
			}
			if left := world.Gone(t); len(left) > 0 {
				t.Errorf("there are %v", left)
			}
			if now := s.Mode(t); now != s.mode {
				t.Errorf("the terminal's mode was %+v and is %+v", s.mode, now)
			}
		})
	}
}

// TestTerminalStalled: a terminal that takes no more output (^S) keeps nobody
// from ending the sandbox.
func TestTerminalStalled(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGHUP} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			w := terminalWorld(t)
			s := on(t, w, 7, nil, w.Sandboxed(w.Profile(t, ""), "sh", "-c", `echo ready; exec yes`)...)
			s.expect(t, "ready")
			if err := unix.IoctlSetInt(int(s.Slave.Fd()), unix.TCXONC, unix.TCOOFF); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
			_ = s.cmd.Process.Signal(sig)
			done := make(chan struct{})
			go func() { _ = s.cmd.Wait(); close(done) }()
			select {
			case <-done:
				if code := world.Code(s.cmd); code != 128+int(sig) {
					t.Errorf("status %d, want %d", code, 128+int(sig))
				}
			case <-time.After(10 * time.Second):
				t.Errorf("ten seconds after %s sbx is still there: %v", unix.SignalName(sig), world.Below(t, os.Getpid()))
				_ = s.cmd.Process.Kill()
				<-done
			}
			if err := unix.IoctlSetInt(int(s.Slave.Fd()), unix.TCXONC, unix.TCOON); err != nil {
				t.Fatal(err)
			}
			world.Until(t, "the mode is the old one", func() bool { return s.Mode(t) == s.mode })
		})
	}
}

func TestTerminalSuspended(t *testing.T) {
	w := terminalWorld(t)
	s := on(t, w, 7, nil, w.Sandboxed(w.Profile(t, ""), "sh", "-c", `echo ready; while :; do date +%N; sleep 0.05; done`)...)
	s.expect(t, "ready")
	state := func() byte {
		for _, p := range world.Processes(t) {
			if p.PID == s.cmd.Process.Pid {
				return p.State
			}
		}
		return 0
	}
	for range 3 {
		_ = s.cmd.Process.Signal(unix.SIGTSTP)
		world.Until(t, "sbx is stopped", func() bool { return state() == 'T' })
		if s.Mode(t) != s.mode {
			t.Error("while sbx is stopped the terminal's mode is not the shell's")
		}
		time.Sleep(100 * time.Millisecond)
		size := len(s.Output())
		time.Sleep(300 * time.Millisecond)
		if now := len(s.Output()); now != size {
			t.Errorf("the command goes on while sbx is stopped: %d bytes, then %d", size, now)
		}
		_ = s.cmd.Process.Signal(unix.SIGCONT)
		world.Until(t, "the command goes on", func() bool { return len(s.Output()) > size+20 })
		if s.Mode(t).Lflag&unix.ICANON != 0 {
			t.Error("continued, the terminal is not raw")
		}
	}
	_ = s.cmd.Process.Signal(unix.SIGTERM)
	s.ends(t)
	if s.Mode(t) != s.mode {
		t.Error("the terminal's mode is another one")
	}
}

func TestTerminalMixed(t *testing.T) {
	data := strings.Repeat("0123456789abcdef\n", 8192)
	t.Run("stdin a pipe", func(t *testing.T) {
		w := terminalWorld(t)
		s := on(t, w, 6, func(c *exec.Cmd) { c.Stdin = strings.NewReader(data) },
			w.Sandboxed(w.Profile(t, ""), "sh", "-c", `test -t 0 && echo bad; test -t 1 && echo out; wc -c; sleep 0.1`)...)
		s.expect(t, "out")
		s.expect(t, fmt.Sprint(len(data)))
		if code := s.ends(t); code != 0 || strings.Contains(s.Output(), "bad") {
			t.Errorf("status %d; %q", code, s.Output())
		}
	})
	t.Run("stdout a pipe", func(t *testing.T) {
		w := terminalWorld(t)
		var out strings.Builder
		s := on(t, w, 5, func(c *exec.Cmd) { c.Stdout = &out },
			w.Sandboxed(w.Profile(t, ""), "sh", "-c", `test -t 1 && echo bad; echo ready >&2; read line; echo "got $line"; seq 100000`)...)
		s.expect(t, "ready")
		s.Type(t, "hello\n")
		code := s.ends(t)
		if got := out.String(); code != 0 || !strings.HasPrefix(got, "got hello\n1\n2\n") || !strings.HasSuffix(got, "\n100000\n") {
			t.Errorf("status %d; stdout has %d bytes and begins %.40q", code, len(got), got)
		}
	})
	t.Run("all that is written shows", func(t *testing.T) {
		w := terminalWorld(t)
		s := on(t, w, 7, nil, w.Sandboxed(w.Profile(t, ""), "seq", "200000")...)
		if code := s.ends(t); code != 0 {
			t.Errorf("status %d", code)
		}
		s.expect(t, "\r\n199999\r\n200000\r\n")
	})
}
