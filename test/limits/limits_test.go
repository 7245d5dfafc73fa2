// Package limits holds sandboxes to what their profiles allow them to use, in
// the control groups of a real systemd: in the guest of test/vm, or wherever
// the caller has one. Where there is none it tests what is said of that.
package limits

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// newWorld is a world with control groups. Nothing of them may be left.
func newWorld(t *testing.T) *world.World {
	t.Helper()
	if err := sbxtest.Scope.Missing(); err != nil && os.Getenv("SBX_GUEST") == "1" {
		t.Fatalf("%v, and this is the guest that has it", err)
	}
	sbxtest.Require(t, sbxtest.Scope)
	w := world.New(t)
	sbxtest.Leftovers(t)
	world.Adopt(t)
	t.Cleanup(func() { gone(t) })
	return w
}

// slice is where systemd makes the scopes of sandboxes.
func slice() string {
	uid := os.Getuid()
	return fmt.Sprintf("/sys/fs/cgroup/user.slice/user-%d.slice/user@%d.service/sbx.slice", uid, uid)
}

func scopes() []string {
	list, _ := filepath.Glob(slice() + "/sbx-*.scope")
	return list
}

// gone fails the test if a scope is there after a moment, or known to systemd.
func gone(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := scopes()
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Errorf("left behind: %v", left)
			return
		}
	}
	cmd := exec.Command("systemctl", "--user", "--all", "--no-legend", "--plain", "list-units", "sbx-*")
	cmd.Env = append(os.Environ(), runtimeDir())
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "" {
		t.Errorf("systemd still knows %s (%v)", out, err)
	}
}

// runtimeDir is the variable by which systemctl finds the user's systemd.
func runtimeDir() string { return fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", os.Getuid()) }

// running is a sandbox whose command runs, and its group.
type running struct {
	*exec.Cmd
	group cgroup.Group
}

// start runs a shell script in a sandbox and waits until it says "up".
func start(t *testing.T, w *world.World, profile, script string) running {
	t.Helper()
	cmd := w.Command(w.Sandboxed(w.Profile(t, profile), "sh", "-c", "echo up; "+script)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		t.Fatalf("the command did not start: %q, %v", line, err)
	}
	list := scopes()
	if len(list) != 1 {
		t.Fatalf("there are the scopes %v", list)
	}
	return running{cmd, cgroup.Group(list[0])}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

const small = "[limits]\nmemory = \"64M\"\n"

func TestMemory(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name, profile string
		argv          []string
		code          int
		out, err      string // what it says holds this
	}{
		{"all of the sandbox", small, []string{"sh", "-c", w.Probe + " hog 200; echo on"}, 137, "",
			"out of memory (oom): the command was killed, and all with it, since the sandbox reached limits.memory = 64M ("},
		{"with its place", small, []string{w.Probe, "hog", "200"}, 137, "", "p.toml:3)"},
		{"one process", small + "oom_kill = \"process\"\n", []string{"sh", "-c", w.Probe + " hog 200; echo on"}, 0, "on\n", "1 of the sandbox's processes were killed"},
		{"the command", small + "oom_kill = \"process\"\n", []string{w.Probe, "hog", "200"}, 137, "", "the command was killed since the sandbox reached limits.memory"},
		{"less than that", small, []string{w.Probe, "hog", "40"}, 0, "reached\n", ""},
		{"reserved and not used", small, []string{"sh", "-c", "ulimit -d"}, 0, "unlimited\n", ""},
		{"slowed down", "[limits]\nmemory_high = \"1G\"\n", []string{w.Probe, "hog", "40"}, 0, "reached\n", ""},
	} {
		got := w.Run(t, w.Sandboxed(w.Profile(t, tt.profile), tt.argv...)...)
		if got.Code != tt.code || got.Out != tt.out || !strings.Contains(got.Err, tt.err) || tt.err == "" && strings.Contains(got.Err, "oom") {
			t.Errorf("%s: status %d, %q, %q", tt.name, got.Code, got.Out, got.Err)
		}
	}
}

// TestHeld compares what the kernel holds with the profile.
func TestHeld(t *testing.T) {
	w := newWorld(t)
	r := start(t, w, `[limits]
memory = "96M"
memory_high = "80M"
swap = "16M"
cpus = 0.5
cpu_weight = 50
processes = 40
`, "sleep 100")
	for file, want := range map[string]string{
		"memory.max": "100663296", "memory.high": "83886080", "memory.swap.max": "16777216",
		"cpu.max": "50000 100000", "cpu.weight": "50", "pids.max": "40",
		"payload/memory.max": "max", "payload/memory.oom.group": "1",
	} {
		if got := read(t, string(r.group)+"/"+file); got != want {
			t.Errorf("%s holds %q, want %q", file, got, want)
		}
	}
	e, err := r.group.Effective("/sys/fs/cgroup")
	if err != nil || e.Memory != 96<<20 || e.MemoryHigh != 80<<20 || e.Swap != 16<<20 || e.CPU != 500 || e.Pids != 40 {
		t.Errorf("effective are %+v, %v", e, err)
	}
	// The supervisor is outside, all of the sandbox inside.
	if at, err := cgroup.Of(fmt.Sprint(r.Process.Pid)); err != nil || strings.Contains(at, "sbx-") {
		t.Errorf("sbx itself is in %s, %v", at, err)
	}
	for _, p := range world.Below(t, r.Process.Pid) {
		if at, err := cgroup.Of(fmt.Sprint(p.PID)); err != nil || !strings.Contains(at, filepath.Base(string(r.group))) {
			t.Errorf("%v is in %s, %v", p, at, err)
		}
	}
}

// TestAbove: what the groups above allow is shown, where it is less than the limit.
func TestAbove(t *testing.T) {
	w := newWorld(t)
	above := func(value string) {
		t.Helper()
		cmd := exec.Command("systemctl", "--user", "set-property", "--runtime", "sbx.slice", "MemoryMax="+value)
		cmd.Env = append(os.Environ(), runtimeDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	explained := func() string {
		t.Helper()
		got := w.Run(t, w.Sbx, "explain", w.Profile(t, small+"cpus = 0.5\n"))
		if got.Code != 0 {
			t.Fatalf("explain: status %d, %s", got.Code, got.Err)
		}
		return got.Out
	}
	r := start(t, w, small+"cpus = 0.5\n", "sleep 100")
	limits := func() string {
		t.Helper()
		got := w.Run(t, w.Sbx, "stats", "--no-stream", "--format", "{{.Limits.Memory}} {{.Limits.CPUs}} {{.Limits.Swap}} {{.Limits.PIDs}}")
		return strings.TrimSpace(got.Out + got.Err)
	}
	// The control: without a limit above it is the sandbox's own that holds. That of
	// processes is systemd's for all of the person, and some number.
	if got := limits(); !strings.HasPrefix(got, "67108864 0.5 0 ") {
		t.Errorf("limits are %q", got)
	}
	if text := explained(); strings.Contains(text, "memory of all together: 64M, of which") {
		t.Errorf("explain says %s", text)
	}
	above("48M")
	defer above("infinity")
	if got := read(t, slice()+"/memory.max"); got != "50331648" {
		t.Fatalf("the slice's memory.max holds %q", got)
	}
	if got := limits(); !strings.HasPrefix(got, "50331648 0.5 0 ") || read(t, string(r.group)+"/memory.max") != "67108864" {
		t.Errorf("with a limit above, limits are %q", got)
	}
	if text := explained(); !strings.Contains(text, "memory of all together: 64M, of which the groups above allow 48M") || strings.Contains(text, "busy by all together: 0.5, of") {
		t.Errorf("explain says %s", text)
	}
}

func TestCPU(t *testing.T) {
	w := newWorld(t)
	r := start(t, w, "[limits]\ncpus = 0.2\n", "while :; do :; done & while :; do :; done")
	usage := func() (time.Duration, time.Time) {
		u, err := r.group.Usage()
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.CPU) * time.Microsecond, time.Now()
	}
	time.Sleep(time.Second)
	from, began := usage()
	time.Sleep(8 * time.Second)
	to, ended := usage()
	share := float64(to-from) / float64(ended.Sub(began)) * 100
	t.Logf("two busy loops used %.1f %% of a processor", share)
	if share < 17 || share > 23 {
		t.Errorf("two busy loops used %.1f %% of a processor, want 20 ± 3", share)
	}
}

func TestProcesses(t *testing.T) {
	w := newWorld(t)
	p := w.Profile(t, small+"processes = 30\n")
	got := w.Run(t, w.Sandboxed(p, w.Probe, "forks", "100", "-")...)
	var n int
	if _, err := fmt.Sscanf(got.Out, "%d: denied: EAGAIN", &n); err != nil || n < 10 || n >= 30 {
		t.Errorf("it could make %q, %q", got.Out, got.Err)
	}
}

// TestLive changes the limits of a sandbox that runs, stops and continues it,
// looks at what it uses and kills it: what `sbx update`, pause, stats and kill
// are made of.
func TestLive(t *testing.T) {
	w := newWorld(t)
	r := start(t, w, small+"cpus = 1\n", "while :; do :; done")
	for _, l := range []cgroup.Limits{
		{MemoryMax: 128 << 20, SwapMax: cgroup.None, CPUMax: 300, PidsMax: 20},
		{MemoryMax: 32 << 20, MemoryHigh: 24 << 20, SwapMax: 8 << 20, CPUMax: 50, CPUWeight: 10},
	} {
		if err := r.group.Set(&l); err != nil {
			t.Fatal(err)
		}
		if err := r.group.Check(&l); err != nil {
			t.Error(err)
		}
	}
	if err := r.group.Check(&cgroup.Limits{MemoryMax: 64 << 20}); err == nil {
		t.Error("what does not hold is found to hold")
	}
	usage := func() int64 {
		u, err := r.group.Usage()
		if err != nil {
			t.Fatal(err)
		}
		if u.Memory == 0 || u.Pids < 2 {
			t.Errorf("usage is %+v", u)
		}
		return u.CPU
	}
	if err := r.group.Freeze(true, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	before := usage()
	time.Sleep(time.Second)
	if after := usage(); after-before > 1000 {
		t.Errorf("frozen, it went on for %d µs", after-before)
	}
	if err := r.group.Freeze(false, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if after := usage(); after-before < 10000 {
		t.Errorf("released, it went on for %d µs", after-before)
	}
	if err := r.group.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(); world.Code(r.Cmd) != 137 {
		t.Errorf("killed as a group, sbx ends with %v", err)
	}
}
