package limits

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestDelegated is for a process that was started in a delegated group, by
// somebody who has no systemd: there sbx makes the group itself.
func TestDelegated(t *testing.T) {
	if os.Getenv("SBX_DELEGATED") != "1" {
		sbxtest.Require(t, sbxtest.Missing("delegated group", "only the guest of test/vm starts this test in one"))
	}
	w := world.New(t)
	sbxtest.Leftovers(t)
	own, err := cgroup.Of("self")
	if err != nil {
		t.Fatal(err)
	}
	top := cgroup.Group(filepath.Join("/sys/fs/cgroup", own))
	if got := w.Run(t, w.Sandboxed(w.Profile(t, small), "true")...); !strings.Contains(got.Err, "beside sbx there are other processes in ") {
		t.Errorf("beside the test: status %d, %q", got.Code, got.Err)
	}
	// As a service does that has groups below its own.
	leaf, err := top.Make("test")
	if err != nil {
		t.Fatal(err)
	}
	if err := leaf.Add(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if err := top.Enable([]string{"memory", "pids", "cpu"}); err != nil {
		t.Fatal(err)
	}
	run(t, w, top)
	// Alone in a group of its own, of which it makes what it needs.
	script := `mkdir "$1" && echo $$ >"$1/cgroup.procs" && shift && exec "$@"`
	alone := func(profile string, argv ...string) world.Result {
		return w.Run(t, append([]string{"sh", "-c", script, "sh", string(top) + "/alone"}, w.Sandboxed(profile, argv...)...)...)
	}
	got := alone(w.Profile(t, small+"[policy]\nrequire = [\"memory-limit\"]\n"), w.Probe, "hog", "200")
	if got.Code != 137 || !strings.Contains(got.Err, "limits.memory = 64M") {
		t.Errorf("alone: status %d, %q, %q", got.Code, got.Out, got.Err)
	}
	entries, err := os.ReadDir(string(top) + "/alone")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			t.Errorf("alone: the group %s is left", e.Name())
		}
	}
	if err := (top + "/alone").Remove(); err != nil {
		t.Error(err)
	}
}

func run(t *testing.T, w *world.World, top cgroup.Group) {
	t.Helper()
	require := "[policy]\nrequire = [\"memory-limit\", \"cpu-limit\", \"pids-limit\"]\n"
	p := w.Profile(t, small+"cpus = 0.5\nprocesses = 30\n"+require)
	got := w.Run(t, w.Sandboxed(p, "cat", "/proc/self/cgroup")...)
	if got.Code != 0 || !strings.Contains(got.Out, "0::/\n") {
		t.Errorf("status %d, %q, %q", got.Code, got.Out, got.Err)
	}
	if got := w.Run(t, w.Sandboxed(p, w.Probe, "hog", "200")...); got.Code != 137 || !strings.Contains(got.Err, "limits.memory = 64M") {
		t.Errorf("status %d, %q, %q", got.Code, got.Out, got.Err)
	}
	if got := w.Run(t, w.Sandboxed(p, w.Probe, "forks", "100", "-")...); !strings.Contains(got.Out, "denied: EAGAIN") {
		t.Errorf("status %d, %q, %q", got.Code, got.Out, got.Err)
	}
	nestedHolds(t, w, w.Profile(t, nested))
	abandoned(t, w, p, top)
	if left, _ := filepath.Glob(string(top) + "/sbx-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// abandoned: the group of an sbx that was killed goes with the next sandbox, that of
// one which runs does not.
func abandoned(t *testing.T, w *world.World, profile string, top cgroup.Group) {
	t.Helper()
	groups := func() []string {
		list, err := filepath.Glob(string(top) + "/sbx-*")
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	begin := func() *exec.Cmd {
		cmd := w.Command(w.Sandboxed(profile, "sleep", "100")...)
		before := groups()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		world.Until(t, "the group is there and in use", func() bool {
			return slices.ContainsFunc(groups(), func(g string) bool {
				e, err := os.ReadFile(g + "/cgroup.events")
				return err == nil && !slices.Contains(before, g) && strings.Contains(string(e), "populated 1")
			})
		})
		return cmd
	}
	end := func(cmd *exec.Cmd) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		world.Until(t, "every process is gone", func() bool {
			for _, g := range groups() {
				if e, err := os.ReadFile(g + "/cgroup.events"); err == nil && strings.Contains(string(e), "populated 1") {
					return false
				}
			}
			return true
		})
	}
	killed := begin()
	end(killed)
	left := groups()
	if len(left) != 1 {
		t.Errorf("control: a killed sbx leaves %v", left)
	}
	lives := begin()
	if list := groups(); len(list) != 1 || slices.Equal(list, left) {
		t.Errorf("after the next has started there are %v, and of the killed one there was %v", list, left)
	}
	if got := w.Run(t, w.Sandboxed(profile, "true")...); got.Code != 0 || len(groups()) != 1 {
		t.Errorf("beside one that runs: status %d, %s; there are %v", got.Code, got.Err, groups())
	}
	end(lives)
	if got := w.Run(t, w.Sandboxed(profile, "true")...); got.Code != 0 {
		t.Errorf("status %d, %s", got.Code, got.Err)
	}
}
