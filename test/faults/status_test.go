package faults

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

func statusWorld(t *testing.T) (w *world.World, profile string) {
	t.Helper()
	w = world.New(t)
	sbxtest.Leftovers(t)
	world.Adopt(t)
	return w, w.Profile(t, "")
}

func TestStatus(t *testing.T) {
	w, p := statusWorld(t)
	for code := range 256 {
		if got := w.Run(t, w.Sandboxed(p, "sh", "-c", fmt.Sprintf("exit %d", code))...); got.Code != code || got.Err != "" {
			t.Errorf("exit %d: status %d, %q", code, got.Code, got.Err)
		}
	}
	for n := 1; n <= 64; n++ {
		switch sig := unix.Signal(n); sig {
		case unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, 32, 33:
			continue // they end nothing, or are the C library's own
		}
		if got := w.Run(t, w.Sandboxed(p, "sh", "-c", fmt.Sprintf("kill -%d $$; exit 0", n))...); got.Code != 128+n {
			t.Errorf("signal %d: status %d, want %d; %q", n, got.Code, 128+n, got.Err)
		}
	}
}

// TestTraced: a process that asks its parent, PID 1, to trace it stops at its next
// signal, which is not its end.
func TestTraced(t *testing.T) {
	sbxtest.Require(t, sbxtest.Tool("perl"))
	w, p := statusWorld(t)
	const script = `syscall(%d, 0, 0, 0, 0) == 0 or exit 1; $SIG{USR1} = sub { $n++ }; kill "WINCH", $$; kill "USR1", $$; exit 7 + $n if @ARGV; exec $^X, "-e", "exit 9"`
	perl := fmt.Sprintf(script, unix.SYS_PTRACE)
	for _, tt := range []struct {
		name string
		argv []string
		want int
	}{
		{"a signal that does nothing, one that is handled", []string{"perl", "-e", perl, "stay"}, 8},
		{"another program", []string{"perl", "-e", perl}, 9},
		{"a process below", []string{"sh", "-c", `(perl -e '` + perl + `' &) ; sleep 0.3; exit 4`}, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := w.Run(t, w.Sandboxed(p, tt.argv...)...); got.Code != tt.want || got.Err != "" {
				t.Errorf("status %d, want %d; %q", got.Code, tt.want, got.Err)
			}
		})
	}
}

func TestStatusOfSbx(t *testing.T) {
	w, p := statusWorld(t)
	w.Write(t, w.Work+"/plain", "x")
	w.Write(t, w.Work+"/text", "echo x\n")
	if err := os.Chmod(w.Work+"/text", 0o755); err != nil {
		t.Fatal(err)
	}
	w.Write(t, w.Work+"/lost", "#!/no/such/interpreter\n")
	if err := os.Chmod(w.Work+"/lost", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, profile string
		argv          []string
		want          int
	}{
		{name: "not found", argv: []string{"no-such-command"}, want: 127},
		{name: "no such file", argv: []string{"./no-such-file"}, want: 127},
		{name: "no such directory", argv: []string{"/no/such/file"}, want: 127},
		{name: "below a file", argv: []string{"./plain/x"}, want: 127},
		{name: "no interpreter", argv: []string{"./lost"}, want: 127},
		{name: "not executable", argv: []string{"./plain"}, want: 126},
		{name: "a directory", argv: []string{"/usr"}, want: 126},
		{name: "no format", argv: []string{"./text"}, want: 126},
		{name: "timeout", profile: "[process]\ntimeout = \"200ms\"\n", argv: []string{"sleep", "100"}, want: 124},
		{name: "in time", profile: "[process]\ntimeout = \"100s\"\n", argv: []string{"sh", "-c", "exit 9"}, want: 9},
		{name: "bad profile", profile: "nonsense = 1\n", argv: []string{"true"}, want: 125},
		{name: "bad working directory", profile: "[process]\nworking_dir = \"/nowhere\"\n", argv: []string{"true"}, want: 125},
		{name: "missing source", profile: "[mounts.\"/no/such/place\"]\n", argv: []string{"true"}, want: 125},
	} {
		p = w.Profile(t, tt.profile)
		got := w.Run(t, w.Sandboxed(p, tt.argv...)...)
		if got.Code != tt.want {
			t.Errorf("%s: status %d, want %d; %q", tt.name, got.Code, tt.want, got.Err)
		}
		if tt.want > 124 && (!strings.HasPrefix(got.Err, "sbx: ") || strings.Count(got.Err, "\n") != 1) {
			t.Errorf("%s: it says %q, want one line of sbx", tt.name, got.Err)
		}
	}
	for _, argv := range [][]string{{w.Sbx, "run"}, {w.Sbx, "run", "no-such-profile", "--", "true"}, {w.Sbx, "run", p, "--no-such-flag"}} {
		if got := w.Run(t, argv...); got.Code != 125 && got.Code != 127 || got.Err == "" {
			t.Errorf("%q: status %d; %q", argv, got.Code, got.Err)
		}
	}
}

func TestStreams(t *testing.T) {
	w, p := statusWorld(t)
	size := 64 << 20
	if testing.Short() {
		size = 4 << 20
	}
	seed := [32]byte{1}
	for _, tt := range []struct{ name, script string }{{"stdout", "cat"}, {"stderr", "cat >&2"}} {
		in, out := sha256.New(), sha256.New()
		cmd := w.Command(w.Sandboxed(p, "sh", "-c", tt.script)...)
		cmd.Stdin = io.TeeReader(io.LimitReader(rand.NewChaCha8(seed), int64(size)), in)
		var n counter
		if tt.name == "stdout" {
			cmd.Stdout = io.MultiWriter(out, &n)
		} else {
			cmd.Stderr = io.MultiWriter(out, &n)
		}
		if got := world.Wait(t, cmd); got.Code != 0 {
			t.Errorf("%s: status %d; %s", tt.name, got.Code, got.Err)
		}
		if int(n) != size || !bytes.Equal(in.Sum(nil), out.Sum(nil)) {
			t.Errorf("%s: %d of %d bytes came through, or others", tt.name, n, size)
		}
	}
}

type counter int

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

// TestClosed: standard descriptors that are closed are no way in, and not
// another file's place.
func TestClosed(t *testing.T) {
	w, p := statusWorld(t)
	for _, closed := range []string{"<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"} {
		script := fmt.Sprintf(`%s run %s -- sh -c 'readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 >said; exit 6' %s`, w.Sbx, p, closed)
		got := w.Run(t, "sh", "-c", script)
		said, _ := os.ReadFile(w.Work + "/said")
		if got.Code != 6 || strings.Contains(string(said), "socket:") || strings.Contains(string(said), w.Home+"/profiles") {
			t.Errorf("%s: status %d; inside they are %q; %s", closed, got.Code, said, got.Err)
		}
	}
}

func TestSignals(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		send         []unix.Signal
		want         int
	}{
		{"SIGTERM is passed on", `trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done`, []unix.Signal{unix.SIGTERM}, 5},
		{"SIGUSR1 is passed on", `trap 'exit 6' USR1; echo up; while :; do sleep 0.02; done`, []unix.Signal{unix.SIGUSR1}, 6},
		{"SIGQUIT is passed on", `trap 'exit 7' QUIT; echo up; while :; do sleep 0.02; done`, []unix.Signal{unix.SIGQUIT}, 7},
		{"SIGHUP is passed on", `trap 'exit 8' HUP; echo up; while :; do sleep 0.02; done`, []unix.Signal{unix.SIGHUP}, 8},
		{"SIGTERM ends by default", `echo up; exec sleep 100`, []unix.Signal{unix.SIGTERM}, 143},
		{"SIGINT twice kills", `trap '' INT; echo up; while :; do sleep 0.02; done`, []unix.Signal{unix.SIGINT, unix.SIGINT}, 137},
		{"stopped and continued", `trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done`, []unix.Signal{unix.SIGTSTP, unix.SIGCONT, unix.SIGTERM}, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, p := statusWorld(t)
			cmd := started(t, w, w.Sandboxed(p, "sh", "-c", tt.script)...)
			for _, sig := range tt.send {
				_ = cmd.Process.Signal(sig)
				time.Sleep(150 * time.Millisecond)
			}
			ends(t, cmd, tt.want)
		})
	}
}

// started starts a command and waits until it says something.
func started(t *testing.T, w *world.World, argv ...string) *exec.Cmd {
	t.Helper()
	cmd := w.Command(argv...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatalf("%q says nothing: %v", argv, err)
	}
	return cmd
}

func ends(t *testing.T, cmd *exec.Cmd, want int) {
	t.Helper()
	stuck := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	_ = cmd.Wait()
	if code := world.Code(cmd); code != want {
		t.Errorf("status %d, want %d", code, want)
	}
}

// TestIgnored: what the caller had ignored stays so, as under nohup(1), and
// nothing else is.
func TestIgnored(t *testing.T) {
	w, p := statusWorld(t)
	outside := w.Run(t, w.Probe, "ignores").Out
	if got := w.Run(t, w.Sandboxed(p, w.Probe, "ignores")...); got.Out != outside {
		t.Errorf("inside %q, outside %q", got.Out, outside)
	}
	cmd := started(t, w, "sh", "-c", `trap '' HUP; exec "$@"`, "sh", w.Sbx, "run", p, "--", "sh", "-c", "echo up; sleep 1; exit 4")
	time.Sleep(100 * time.Millisecond)
	_ = cmd.Process.Signal(unix.SIGHUP)
	ends(t, cmd, 4)
}

func TestBrokenPipe(t *testing.T) {
	w, p := statusWorld(t)
	got := w.Run(t, "bash", "-c", fmt.Sprintf("%s run %s -- yes | head -1; echo ${PIPESTATUS[0]}", w.Sbx, p))
	if got.Out != "y\n141\n" {
		t.Errorf("it says %q, %q", got.Out, got.Err)
	}
}

// TestDaemons: what the command left behind ends with it, at once, also where
// it holds the output open.
func TestDaemons(t *testing.T) {
	w, p := statusWorld(t)
	for _, script := range []string{
		`sleep 100 & exit 3`, `setsid sleep 100 & sleep 0.1; exit 3`, `nohup sleep 100 >/dev/null 2>&1 & exit 3`,
		`sh -c 'trap "" TERM HUP INT; sleep 100 & wait' & sleep 0.1; exit 3`, `(setsid sh -c 'sleep 100 & sleep 100' &) ; sleep 0.1; exit 3`,
	} {
		begin := time.Now()
		if got := w.Run(t, w.Sandboxed(p, "sh", "-c", script)...); got.Code != 3 {
			t.Errorf("%s: status %d; %s", script, got.Code, got.Err)
		}
		if d := time.Since(begin); d > 10*time.Second {
			t.Errorf("%s: it took %v", script, d)
		}
		if left := world.Gone(t); len(left) > 0 {
			t.Errorf("%s: there are %v", script, left)
		}
	}
}

// TestReaped: PID 1 waits for the orphans of the command.
func TestReaped(t *testing.T) {
	w, p := statusWorld(t)
	got := w.Run(t, w.Sandboxed(p, "sh", "-c", `for i in 1 2 3 4 5 6 7 8 9 10; do (sh -c 'sleep 0.05' &) ; done; sleep 0.5; grep -l '^State:.Z' /proc/[0-9]*/status | wc -l`)...)
	if got.Out != "0\n" {
		t.Errorf("%q processes wait for their parent, %q", got.Out, got.Err)
	}
}
