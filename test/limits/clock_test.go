package limits

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestClockJump sets the machine's clock forth and back while sandboxes run: what was
// to end after a time does so after that time, and nothing sooner.
func TestClockJump(t *testing.T) {
	if os.Getenv("SBX_LOGOUT") != "1" {
		sbxtest.Require(t, sbxtest.Missing("guest", "only in that of test/vm the clock can be set"))
	}
	const dev, home, shown = 1000, "/home/dev", "/home/dev/shown"
	sbx := func(args ...string) (int, string) {
		t.Helper()
		cmd := exec.Command(sbxtest.Sbx(t), args...)
		cmd.Dir, cmd.Env = home+"/clock", []string{"HOME=" + home, "USER=dev", "PATH=/usr/bin:/bin", "XDG_RUNTIME_DIR=/run/user/1000"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: dev, Gid: dev}}
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return world.Code(cmd), string(out)
	}
	must := func(args ...string) string {
		t.Helper()
		code, out := sbx(args...)
		if code != 0 {
			t.Fatalf("sbx %q: status %d, %s", args, code, out)
		}
		return out
	}
	right := time.Now() // time.Since goes by its reading of the monotonic clock
	set := func(off time.Duration) {
		t.Helper()
		now := unix.NsecToTimespec(right.Add(time.Since(right) + off).UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
			t.Error(err)
		}
	}
	defer set(0)
	for _, dir := range []string{home + "/clock", shown} {
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, dev, dev)); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
	}
	must("run", "-q", "-d", "--name", "granted", "-v", shown+":/shown:grantable", "--", "sleep", "1000")
	must("run", "-q", "-d", "--name", "deaf", "--", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
	defer sbx("rm", "-f", "granted", "timed", "deaf")
	const lasts = 8 * time.Second
	began := time.Now()
	must("run", "-q", "-d", "--name", "timed", "--timeout", lasts.String(), "--", "sleep", "1000")
	must("grant", "--for", lasts.String(), "granted", shown)
	state := func() string {
		return strings.TrimSpace(must("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "timed"))
	}
	grants := func() string { return strings.TrimSpace(must("grants", "granted", "--format", "{{.Granted}}")) }

	set(time.Hour)
	if s, g := state(), grants(); (s != "running 0" || g != "ro") && time.Since(began) < lasts {
		t.Errorf("an hour forth, after %v: %s, granted is %q", time.Since(began), s, g)
	}
	set(-2 * time.Hour)
	world.Until(t, "the timeout", func() bool { return state() == "exited 124" })
	world.Until(t, "the end of the grant", func() bool { return grants() == "" })
	if d := time.Since(began); d < lasts {
		t.Errorf("two hours back, what lasts %v has ended after %v", lasts, d)
	}
	forth := time.AfterFunc(500*time.Millisecond, func() { set(time.Hour) })
	defer forth.Stop()
	began = time.Now()
	must("stop", "-t", "3", "deaf")
	if d := time.Since(began); d < 3*time.Second || d > 5*time.Minute {
		t.Errorf("stopping with 3 seconds of patience takes %v", d)
	}
	if text := must("ps", "-a"); regexp.MustCompile(`-[0-9]`).MatchString(text) || !strings.Contains(text, "Exited (124)") {
		t.Errorf("ps prints %s", text)
	}
}
