package limits

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestMoreProcesses: a limit on processes can be raised while they run, and holds.
func TestMoreProcesses(t *testing.T) {
	w := newWorld(t)
	p := w.Profile(t, small+"processes = 20\n")
	for _, argv := range [][]string{
		{"run", "-q", "-d", "--name", "more", p, "--", "sleep", "100"}, {"update", "--pids-limit", "60", "more"},
	} {
		if argv[0] == "update" {
			if got := w.Run(t, w.Sbx, "exec", "more", w.Probe, "forks", "40", "-"); !strings.Contains(got.Out, "denied: EAGAIN") {
				t.Errorf("control: with 20 it says %q, %q", got.Out, got.Err)
			}
		}
		if got := w.Run(t, append([]string{w.Sbx}, argv...)...); got.Code != 0 {
			t.Fatalf("sbx %q: status %d, %s", argv, got.Code, got.Err)
		}
	}
	defer w.Run(t, w.Sbx, "rm", "-f", "more")
	if got := w.Run(t, w.Sbx, "exec", "more", w.Probe, "forks", "40", "-"); got.Out != "40: reached\n" {
		t.Errorf("with 60 it says %q, %q", got.Out, got.Err)
	}
	if got := w.Run(t, w.Sbx, "exec", "more", w.Probe, "forks", "80", "-"); !strings.Contains(got.Out, "denied: EAGAIN") {
		t.Errorf("with 60, of 80 it says %q, %q", got.Out, got.Err)
	}
}

// TestUpdate changes the limits of a detached sandbox, and pauses it by its
// group.
// TestUpdatedMemory: what killed is the limit as it was by then.
func TestUpdatedMemory(t *testing.T) {
	w := newWorld(t)
	p := w.Profile(t, "[limits]\nmemory = \"300M\"\n")
	call := func(want int, argv ...string) world.Result {
		t.Helper()
		got := w.Run(t, append([]string{w.Sbx}, argv...)...)
		if got.Code != want {
			t.Fatalf("sbx %q: status %d, %s", argv, got.Code, got.Err)
		}
		return got
	}
	call(0, "run", "-d", "--name", "one", p, "--", "sh", "-c", "until test -e go; do sleep 0.1; done; "+w.Probe+" hog 200")
	defer w.Run(t, w.Sbx, "rm", "-f", "one")
	call(0, "update", "-m", "64M", "one")
	w.Write(t, w.Work+"/go", "")
	if got := call(0, "wait", "one"); got.Out != "137\n" || !strings.Contains(got.Err, "since the sandbox reached limits.memory = 64M (sbx update)") {
		t.Errorf("%q, %q", got.Out, got.Err)
	}
}

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	must := func(argv ...string) string {
		t.Helper()
		got := w.Run(t, append([]string{w.Sbx}, argv...)...)
		if got.Code != 0 {
			t.Fatalf("sbx %q: status %d, %s", argv, got.Code, got.Err)
		}
		return got.Out
	}
	p := w.Profile(t, small)
	must("run", "-q", "-d", "--name", "one", p, "--", "sh", "-c", "while :; do :; done")
	defer must("rm", "one")
	defer w.Run(t, w.Sbx, "kill", "one")
	world.Until(t, "the sandbox runs", func() bool { return len(scopes()) == 1 })
	g := cgroup.Group(scopes()[0])
	must("update", "-m", "128M", "--cpus", "0.5", "--pids-limit", "40", "--set", "limits.memory_high=100M", "one")
	want := map[string]string{"memory.max": "134217728", "memory.high": "104857600", "memory.swap.max": "0", "cpu.max": "50000 100000", "pids.max": "40"}
	held := func(when string) {
		t.Helper()
		for file, want := range want {
			if got := read(t, string(g)+"/"+file); got != want {
				t.Errorf("%s %s holds %q, want %q", when, file, got, want)
			}
		}
	}
	held("changed,")
	cmd := exec.Command("systemctl", "--user", "daemon-reload")
	cmd.Env = append(os.Environ(), runtimeDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	held("after systemd has read its units again,")

	must("pause", "one")
	if got := read(t, string(g)+"/payload/cgroup.freeze"); got != "1" {
		t.Errorf("paused, cgroup.freeze holds %q", got)
	}
	world.Until(t, "it is frozen", func() bool { return strings.Contains(read(t, string(g)+"/payload/cgroup.events"), "frozen 1") })
	must("unpause", "one")
	world.Until(t, "it goes on", func() bool { return strings.Contains(read(t, string(g)+"/payload/cgroup.events"), "frozen 0") })

	for _, tt := range []struct {
		argv []string
		err  string
	}{
		{[]string{"one"}, "which limit?"},
		{[]string{"-m", "0", "one"}, "limits.memory can be changed and not be lifted"},
		{[]string{"-m", "10", "one"}, "nothing is left alive in so few bytes"},
		{[]string{"--set", "limits.open_files=5", "one"}, "limits.open_files can't be changed while a sandbox runs"},
		{[]string{"-m", "lots", "one"}, `"lots" is not a size`},
		{[]string{"--cpuset-cpus", "0", "one"}, "its control group has no controller cpuset"},
		{[]string{"-m", "1G", "nobody"}, "nobody"},
	} {
		got := w.Run(t, append([]string{w.Sbx, "update"}, tt.argv...)...)
		if got.Code == 0 || !strings.Contains(got.Err, tt.err) {
			t.Errorf("update %q: status %d, %q", tt.argv, got.Code, got.Err)
		}
	}
	held("after what was refused,")

	// Killed while it is frozen, nothing is left.
	must("pause", "one")
	must("kill", "one")
	world.Until(t, "it is gone", func() bool { return len(scopes()) == 0 })
	time.Sleep(100 * time.Millisecond)
}
