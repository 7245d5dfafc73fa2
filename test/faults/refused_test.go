package faults

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

const tracing = "[security]\ntrace_denied = true\n"

func tracingWorld(t *testing.T) *world.World {
	t.Helper()
	sbxtest.Require(t, sbxtest.UserNS)
	w := world.New(t)
	sbxtest.Leftovers(t)
	world.Adopt(t)
	return w
}

var denials = regexp.MustCompile(`(?m)^sbx: system calls: ([0-9]+) denied: `)

// TestRefusalsFlood: threads that make refused calls as fast as they can, under
// ever new names, get the errno for each, whatever interrupts them. Each is counted;
// lines, and what is remembered, are bounded.
func TestRefusalsFlood(t *testing.T) {
	w := tracingWorld(t)
	const threads, each = 6, 1000
	probe := []string{w.Probe, "refusals", strconv.Itoa(threads), strconv.Itoa(each)}
	if got := w.Run(t, probe...); got.Out != fmt.Sprintf("up\nreached %d, EPERM 0, other 0\n", threads*each) {
		t.Fatalf("control: outside it says %q", got.Out)
	}
	for _, profile := range []string{tracing, tracing + "seccomp_deny = [\"umask\"]\n", tracing + "[user]\nas = \"root\"\n", tracing + "[process]\ntty = \"always\"\n",
		tracing + "[mounts.\"/opt\"]\ngrantable = true\n"} {
		got := w.Run(t, w.Sandboxed(w.Profile(t, profile), probe...)...)
		if out := strings.ReplaceAll(got.Out, "\r", ""); got.Code != 0 || out != fmt.Sprintf("up\nreached 0, EPERM %d, other 0\n", threads*each) {
			t.Errorf("profile %q: status %d, %q", profile, got.Code, out)
		}
		lines := strings.Count(got.Err, "denied: unshare by ")
		// One for each of the first names, one that says that no more come, and the sum.
		if most := 64; lines == 0 || lines > most+8 || strings.Contains(got.Err, "\x1b") || len(got.Err) > 32<<10 {
			t.Errorf("profile %q: %d lines, %d bytes: %.300q", profile, lines, len(got.Err), got.Err)
		}
		m := denials.FindStringSubmatch(got.Err)
		if len(m) != 2 {
			t.Fatalf("profile %q: no sum: %q", profile, got.Err)
		}
		// The Go runtime's own refused calls count as well, if there are any; nothing is lost.
		if n, _ := strconv.Atoi(m[1]); n < threads*each || n > threads*each+threads*each/10 {
			t.Errorf("profile %q: %d of %d are counted", profile, n, threads*each)
		}
	}
}

// flooded starts a sandbox whose command makes refused calls for ever.
func flooded(t *testing.T, w *world.World, more ...string) *exec.Cmd {
	t.Helper()
	argv := append([]string{w.Sbx, "run"}, more...)
	argv = append(argv, w.Profile(t, tracing), "--", w.Probe, "refusals", "6", "0")
	return started(t, w, argv...)
}

// TestRefusalsEnd: whatever ends a sandbox of which calls are being refused, it
// ends, at once, and nothing is left.
func TestRefusalsEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*testing.T, *exec.Cmd)
		want int
		more []string
	}{
		{"the supervisor is killed", func(_ *testing.T, c *exec.Cmd) { _ = c.Process.Kill() }, -1, nil},
		{"a signal", func(_ *testing.T, c *exec.Cmd) { _ = c.Process.Signal(unix.SIGTERM) }, 128 + int(unix.SIGTERM), nil},
		{"the command is killed", func(t *testing.T, c *exec.Cmd) { kill(t, c, command) }, 128 + int(unix.SIGKILL), nil},
		{"init is killed", func(t *testing.T, c *exec.Cmd) { kill(t, c, named("sbx-init")) }, 128 + int(unix.SIGKILL), nil},
		{"the timeout", func(*testing.T, *exec.Cmd) {}, 124, []string{"--timeout=1s", "--stop-timeout=0"}},
		{"stopped and continued, then a signal", func(t *testing.T, c *exec.Cmd) {
			_ = c.Process.Signal(unix.SIGTSTP)
			world.Until(t, "sbx is stopped", func() bool { return strings.Contains(stateOf(c.Process.Pid), "T") })
			_ = c.Process.Signal(unix.SIGCONT)
			world.Until(t, "sbx goes on", func() bool { return !strings.Contains(stateOf(c.Process.Pid), "T") })
			_ = c.Process.Signal(unix.SIGTERM)
		}, 128 + int(unix.SIGTERM), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := tracingWorld(t)
			for range runs(t, 8) {
				cmd := flooded(t, w, tt.more...)
				time.Sleep(20 * time.Millisecond) // into the flood; whenever it is, it must end
				tt.end(t, cmd)
				stuck := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill(); t.Error("sbx was stuck") })
				_ = cmd.Wait()
				stuck.Stop()
				if code := world.Code(cmd); tt.want >= 0 && code != tt.want {
					t.Errorf("status %d, want %d", code, tt.want)
				}
				if left := world.Gone(t); len(left) > 0 {
					t.Fatalf("there are %v", left)
				}
			}
		})
	}
}

// stateOf is a process's state, a letter (proc_pid_stat(5)).
func stateOf(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	state, _, _ := strings.Cut(rest, " ")
	return state
}

// TestRefusalsTerminal: at a terminal that passes text through as it is, a line
// begins and ends as one.
func TestRefusalsTerminal(t *testing.T) {
	w := tracingWorld(t)
	sbxtest.Require(t, sbxtest.TTY)
	s := on(t, w, 7, nil, w.Sandboxed(w.Profile(t, tracing), "sh", "-c", "stty raw; printf half; until [ -e go ]; do sleep 0.02; done; unshare -m true 2>&-; until [ -e done ]; do sleep 0.02; done; echo; exit 7")...)
	s.expect(t, "half")
	w.Write(t, w.Work+"/go", "")
	s.expect(t, "\r\n\x1b[1;33msbx:\x1b[0m denied: unshare by unshare (pid ")
	s.expect(t, "\r\n")
	w.Write(t, w.Work+"/done", "")
	s.expect(t, " system calls: 1 denied: ")
	ends(t, s.cmd, 7)
}

// TestListenerTaken: a process has one listener. A program inside is refused another
// where the sandbox's own is there, and sbx says so where it is the second.
func TestListenerTaken(t *testing.T) {
	w := tracingWorld(t)
	if got := w.Run(t, w.Probe, "listener"); got.Out != "reached\n" {
		t.Fatalf("control: outside it says %q", got.Out)
	}
	for profile, want := range map[string]string{"": "reached\n", tracing: "denied: EBUSY\n"} {
		if got := w.Run(t, w.Sandboxed(w.Profile(t, profile), w.Probe, "listener")...); got.Out != want {
			t.Errorf("profile %q: it says %q, %q", profile, got.Out, got.Err)
		}
	}
	under := []string{w.Probe, "listener"}
	if got := w.Run(t, append(under, w.Sandboxed(w.Profile(t, ""), "echo", "ran")...)...); got.Out != "ran\n" {
		t.Fatalf("control: without a trace it says %q, %q", got.Out, got.Err)
	}
	got := w.Run(t, append(under, w.Sandboxed(w.Profile(t, tracing), "echo", "ran")...)...)
	if got.Code != 125 || got.Out != "" || !strings.Contains(got.Err, "which tells of what it refuses: device or resource busy; a process has one listener") {
		t.Errorf("status %d, %q, %q", got.Code, got.Out, got.Err)
	}
}
