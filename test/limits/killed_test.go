package limits

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/world"
)

// TestKilled kills the processes that have to do with a control group at random
// moments. Neither a group nor a process is left, and where the group could not
// be had the command has not run.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	p := w.Profile(t, small)
	begin := time.Now()
	if got := w.Run(t, w.Sandboxed(p, "true")...); got.Code != 0 {
		t.Fatalf("status %d: %s", got.Code, got.Err)
	}
	span := time.Since(begin)
	runs := 12
	if testing.Short() {
		runs = 4
	}
	for _, tt := range []struct {
		victim string // its name; "" is sbx
		code   int    // of sbx, if that lives
		after  time.Duration
	}{
		{"", 0, span},
		{"sbx-scope", 125, 0},
		{"sbx-keep", 0, span},
		{"sbx-init", 137, span},
	} {
		t.Run("victim "+tt.victim, func(t *testing.T) {
			hit, codes := 0, map[int]int{}
			for i := range runs {
				marker := filepath.Join(w.Work, "ran")
				_ = os.Remove(marker)
				cmd := w.Command(w.Sandboxed(p, "sh", "-c", "echo >ran; setsid sleep 100 & sleep 0.5")...)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				stuck := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill(); t.Errorf("run %d: sbx was stuck", i) })
				if strike(t, cmd, tt.victim, rand.N(tt.after+1), rand.N(20*time.Millisecond)) {
					hit++
				}
				_ = cmd.Wait()
				stuck.Stop()
				code := world.Code(cmd)
				codes[code]++
				if tt.code != 0 && code != tt.code && code != 0 {
					t.Errorf("run %d: sbx ended with %d", i, code)
				}
				if code == 125 && world.Exists(marker) {
					t.Errorf("run %d: sbx ended with 125 and the command has run", i)
				}
				world.Until(t, "every process is gone", func() bool { return len(world.Below(t, os.Getpid())) == 0 })
			}
			gone(t)
			t.Logf("killed %d times; sbx ended with %v", hit, codes)
			if hit == 0 {
				t.Error("nothing was ever killed")
			}
		})
	}
}

// strike kills sbx after a while, or the process below it that has the name,
// a moment after it is there. One that came and went unseen is not waited for.
func strike(t *testing.T, cmd *exec.Cmd, name string, after, moment time.Duration) bool {
	t.Helper()
	if name == "" {
		time.Sleep(after)
		return cmd.Process.Kill() == nil
	}
	for !ended(cmd.Process.Pid) {
		looked := time.Now()
		for _, p := range world.Below(t, cmd.Process.Pid) {
			if p.Name == name {
				time.Sleep(moment + after/4)
				return unix.Kill(p.PID, unix.SIGKILL) == nil
			}
		}
		time.Sleep(time.Since(looked)) // as world.Until
	}
	return false
}

// ended says whether a child has ended, and leaves it to be waited for.
func ended(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err != nil && err != unix.EINTR || info.Signo != 0
}

// TestStopped has systemd stop the scope, as it does at the end of a session.
func TestStopped(t *testing.T) {
	w := newWorld(t)
	r := start(t, w, small, "sleep 100")
	cmd := exec.Command("systemctl", "--user", "stop", filepath.Base(string(r.group)))
	cmd.Env = append(os.Environ(), runtimeDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_ = r.Wait()
	if code := world.Code(r.Cmd); code != 143 && code != 137 {
		t.Errorf("sbx ends with %d", code)
	}
}

// TestBrokenSystemd: a systemd that says nothing, or something else, is no way to
// a sandbox without limits.
func TestBrokenSystemd(t *testing.T) {
	w := newWorld(t)
	p := w.Profile(t, small)
	scope := filepath.Join(filepath.Dir(w.Sbx), "sbx-scope")
	own := filepath.Join(w.Home, "bin")
	for _, f := range []string{w.Sbx, scope} {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(own, filepath.Base(f))
		w.Write(t, to, string(text))
		if err := os.Chmod(to, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.Sbx = filepath.Join(own, "sbx")
	for _, tt := range []struct{ name, helper, err string }{
		{"dies", "#!/bin/sh\nkill -9 $$\n", "sbx-scope was killed by SIGKILL"},
		{"fails", "#!/bin/sh\necho broken >&2\nexit 3\n", "sbx-scope ended with status 3: broken"},
		{"nonsense", "#!/bin/sh\necho hello\n", "sbx-scope answers \"hello"},
		{"another version", "#!/bin/sh\necho '{\"protocol\":9}'\n", "sbx-scope answers in protocol 9"},
		{"another group", "#!/bin/sh\necho '{\"protocol\":1,\"cgroup\":\"/user.slice\"}'\n", "your systemd left the sandbox in /user.slice"},
		{"an error", "#!/bin/sh\necho '{\"protocol\":1,\"error\":\"no\"}'\n", "no"},
	} {
		w.Write(t, filepath.Join(own, "sbx-scope"), tt.helper)
		got := w.Run(t, w.Sandboxed(p, "echo", "ran")...)
		if got.Code != 125 || got.Out != "" || !strings.Contains(got.Err, tt.err) || !strings.Contains(got.Err, `set limits.cgroup = "never"`) {
			t.Errorf("%s: status %d, %q, %q", tt.name, got.Code, got.Out, got.Err)
		}
	}
	if err := os.Remove(filepath.Join(own, "sbx-scope")); err != nil {
		t.Fatal(err)
	}
	got := w.Run(t, w.Sandboxed(p, "echo", "ran")...)
	if got.Code != 0 || got.Out != "ran\n" || !strings.Contains(got.Err, "sbx-scope is installed neither beside") {
		t.Errorf("without the helper: status %d, %q, %q", got.Code, got.Out, got.Err)
	}
}
