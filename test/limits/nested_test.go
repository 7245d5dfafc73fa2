package limits

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// nested is a profile whose command may make control groups of its own.
const nested = "[limits]\nmemory = \"64M\"\nprocesses = 40\ndelegate = true\n[policy]\nrequire = [\"cgroup-delegation\"]\n"

// ownGroup is a shell function that enters a new group: own NAME FILE VALUE...
const ownGroup = `own() { d=/sys/fs/cgroup/$1; mkdir $d && shift && while [ $# -gt 0 ]; do echo $2 >$d/$1 && shift 2 || exit 9; done && echo 0 >$d/cgroup.procs; }
`

// TestNested: groups that the command makes hold what it says, and the sandbox's
// own limits stay out of its reach.
func TestNested(t *testing.T) {
	w := newWorld(t)
	p := w.Profile(t, nested)
	nestedHolds(t, w, p)
	for _, tt := range []struct {
		name, script string
		code         int
		out, err     string // what it says holds this
	}{
		{"no limit of its own", ownGroup + "own a memory.max max pids.max max; " + w.Probe + " hog 200", 137, "", "since the sandbox reached limits.memory = 64M ("},
		{"a larger one", ownGroup + "own a memory.max 1G; " + w.Probe + " hog 200", 137, "", "since the sandbox reached limits.memory = 64M ("},
		{"a larger number of processes", ownGroup + "own a pids.max 1000; " + w.Probe + " forks 100 -", 0, "denied: EAGAIN", ""},
		{"the top's own file", "echo max >/sys/fs/cgroup/memory.max; echo 1000 >/sys/fs/cgroup/pids.max; " + w.Probe + " hog 200", 137, "", "since the sandbox reached limits.memory"},
		{"what is above", "echo 0 >/sys/fs/cgroup/../cgroup.procs; cat /sys/fs/cgroup/../memory.max /sys/fs/cgroup/../../memory.max", 1, "", "No such file"},
		{"another mount", "mount -t cgroup2 x /tmp", 32, "", "mount: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := w.Run(t, w.Sandboxed(p, "sh", "-c", tt.script)...)
			if got.Code != tt.code || !strings.Contains(got.Out, tt.out) || !strings.Contains(got.Err, tt.err) {
				t.Errorf("status %d, %q, %q", got.Code, got.Out, got.Err)
			}
		})
	}
	// Control: without the key there are none to make.
	got := w.Run(t, w.Sandboxed(w.Profile(t, small), "sh", "-c", "cat /proc/self/cgroup; mkdir /sys/fs/cgroup/a")...)
	if got.Code == 0 || got.Out != "0::/\n" {
		t.Errorf("control: status %d, %q, %q", got.Code, got.Out, got.Err)
	}
}

// nestedHolds is what a command may do with groups of its own, whoever made the
// sandbox's.
func nestedHolds(t *testing.T, w *world.World, profile string) {
	t.Helper()
	for _, tt := range []struct {
		name, script string
		code         int
		out, err     string
	}{
		{"what is seen", "cat /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.subtree_control; grep -c . /sys/fs/cgroup/cgroup.procs", 1, "0::/init.scope\ncpu memory pids\n0\n", ""},
		{"memory", ownGroup + "(own a memory.max 16M memory.swap.max 0; " + w.Probe + " hog 40); echo $?; grep oom_kill /sys/fs/cgroup/a/memory.events", 0, "oom_kill 1\n", ""},
		{"processes", ownGroup + "own a pids.max 20; " + w.Probe + " forks 100 - | grep -E '^1?[0-9]: denied: EAGAIN'", 0, "denied", ""},
		{"processors", ownGroup + "own a cpu.max '20000 100000'; cat /sys/fs/cgroup/a/cpu.max", 0, "20000 100000\n", ""},
		{"groups below groups", ownGroup + "mkdir /sys/fs/cgroup/a && echo '+pids' >/sys/fs/cgroup/a/cgroup.subtree_control && own a/b pids.max 3; cat /proc/self/cgroup", 0, "0::/a/b\n", ""},
		{"freezing and killing", ownGroup + "(own a; exec sleep 100) & until grep -q 'populated 1' /sys/fs/cgroup/a/cgroup.events; do :; done; cd /sys/fs/cgroup/a; " +
			"echo 1 >cgroup.freeze; until grep -q 'frozen 1' cgroup.events; do :; done; for p in $(cat cgroup.procs); do kill -9 $p; done; wait $!; echo $?; rmdir ../a", 0, "137\n", ""},
		{"so many groups and no more", "mkdir /sys/fs/cgroup/a && cd /sys/fs/cgroup/a && mkdir $(seq -f g%g 1100) 2>/tmp/err; set -- g*; [ $# -gt 900 ] && [ $# -lt 1000 ] && tail -n 1 /tmp/err", 0, "Resource temporarily unavailable", ""},
		{"the bound of it", "cd /sys/fs/cgroup; for f in cgroup.max.descendants cgroup.max.depth; do echo max >$f; done; i=0; while [ $i -lt 100 ] && mkdir d && cd d; do i=$((i+1)); done 2>/tmp/err; [ $i -gt 20 ] && [ $i -lt 32 ] && cat /tmp/err", 0, "Resource temporarily unavailable", ""},
		{"a longer path than the kernel takes", "cd /sys/fs/cgroup; n=$(printf %0250d 1); i=0; while [ $i -lt 20 ] && mkdir $n && cd -P $n; do i=$((i+1)); done 2>/dev/null; echo $i", 0, "20\n", ""},
		{"all that it may leave", "mkdir -p /sys/fs/cgroup/a/b/c /sys/fs/cgroup/d; " + ownGroup + "own e; sleep 100 & own f", 0, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := w.Run(t, w.Sandboxed(profile, "sh", "-c", tt.script)...)
			if got.Code != tt.code || !strings.Contains(got.Out, tt.out) || !strings.Contains(got.Err, tt.err) || strings.Contains(got.Err, "oom") {
				t.Errorf("status %d, %q, %q", got.Code, got.Out, got.Err)
			}
		})
	}
}

// TestNestedLive: sbx finds the sandbox's group wherever the command has put PID 1.
func TestNestedLive(t *testing.T) {
	w := newWorld(t)
	must := func(argv ...string) string {
		t.Helper()
		got := w.Run(t, append([]string{w.Sbx}, argv...)...)
		if got.Code != 0 {
			t.Fatalf("sbx %q: status %d, %s", argv, got.Code, got.Err)
		}
		return got.Out
	}
	// A name that looks like a sandbox's, which must mean nothing.
	const group = "sbx-00.scope/payload"
	must("run", "-q", "-d", "--name", "one", w.Profile(t, nested), "--", "sh", "-c",
		"cd /sys/fs/cgroup; mkdir -p "+group+" && echo 1 >"+group+"/cgroup.procs && echo 0 >"+group+"/cgroup.procs && touch /tmp/up; while :; do sleep 1; done")
	defer must("rm", "one")
	defer w.Run(t, w.Sbx, "kill", "one")
	world.Until(t, "it has moved", func() bool { return w.Run(t, w.Sbx, "exec", "one", "test", "-e", "/tmp/up").Code == 0 })
	list := scopes()
	if len(list) != 1 {
		t.Fatalf("there are the scopes %v", list)
	}
	g := cgroup.Group(list[0])
	if at := must("exec", "one", "cat", "/proc/self/cgroup"); at != "0::/"+group+"\n" {
		t.Errorf("a further command is in %q", at)
	}
	must("update", "-m", "96M", "--pids-limit", "60", "one")
	for file, want := range map[string]string{"memory.max": "100663296", "pids.max": "60", "payload/init.scope/memory.max": "max"} {
		if got := read(t, string(g)+"/"+file); got != want {
			t.Errorf("%s holds %q, want %q", file, got, want)
		}
	}
	var stats []struct {
		By    string `json:"by"`
		Limit int64  `json:"memory_limit"`
		PIDs  int    `json:"pids"`
	}
	text := must("stats", "--no-stream", "--format", "json", "one")
	if err := json.Unmarshal([]byte(text), &stats); err != nil || len(stats) != 1 || stats[0].By != "cgroup" || stats[0].Limit != 96<<20 || stats[0].PIDs < 2 {
		t.Errorf("stats: %s (%v)", text, err)
	}
	must("pause", "one")
	world.Until(t, "all of it is frozen", func() bool { return strings.Contains(read(t, string(g)+"/payload/cgroup.events"), "frozen 1") })
	must("unpause", "one")
	must("stop", "-t", "0", "one")
}

// TestNestedFrozen: a command that freezes PID 1 harms nobody but itself. Who asks for
// something that PID 1 would have to do is told so at once, and can end the sandbox.
func TestNestedFrozen(t *testing.T) {
	w := newWorld(t)
	must := func(argv ...string) string {
		t.Helper()
		got := w.Run(t, append([]string{w.Sbx}, argv...)...)
		if got.Code != 0 {
			t.Fatalf("sbx %q: status %d, %s", argv, got.Code, got.Err)
		}
		return got.Out
	}
	// It moves out of the group that it freezes, and lets it go on when it is told to.
	must("run", "-q", "-d", "--name", "cold", w.Profile(t, nested), "--", "sh", "-c",
		"cd /sys/fs/cgroup; mkdir -p a/b && echo 1 >a/b/cgroup.procs && echo 1 >a/cgroup.freeze; trap 'echo 0 >a/cgroup.freeze' USR1; trap 'echo 1 >a/cgroup.freeze' USR2; while :; do sleep 0.1; done")
	defer must("rm", "-f", "cold")
	payload := scopes()[0] + "/payload"
	frozen := func(want string) func() bool {
		return func() bool {
			text, _ := os.ReadFile(payload + "/a/cgroup.freeze")
			return strings.TrimSpace(string(text)) == want
		}
	}
	world.Until(t, "PID 1 is frozen", frozen("1"))
	for _, argv := range [][]string{
		{"exec", "cold", "true"}, {"exec", "-d", "cold", "true"}, {"exec", "-t", "cold", "true"}, {"cp", "cold:/etc/passwd", "copy"}, {"forward", "--stdio", "cold", "80"},
		{"run", "--network", "sandbox:cold", "--", "true"},
	} {
		began := time.Now()
		got := w.Run(t, append([]string{"timeout", "-k", "1", "30", w.Sbx}, argv...)...)
		if got.Code != 125 || !strings.Contains(got.Err, `its command has frozen PID 1, by the control group "/sys/fs/cgroup/a" of its own`) {
			t.Errorf("sbx %q: status %d after %v, %q, %q", argv, got.Code, time.Since(began), got.Out, got.Err)
		}
	}
	// The control: it is the freezing that keeps them from it.
	command := func(sig unix.Signal) {
		t.Helper()
		for line := range strings.Lines(must("top", "--format", "{{.PID}} {{.Inside}}", "cold")) {
			if pid, inside, _ := strings.Cut(strings.TrimSpace(line), " "); inside == "2" {
				if n, err := strconv.Atoi(pid); err != nil || unix.Kill(n, sig) != nil {
					t.Fatalf("telling the command, %q: %v", line, err)
				}
			}
		}
	}
	command(unix.SIGUSR1)
	world.Until(t, "PID 1 goes on", frozen("0"))
	if out := must("exec", "cold", "echo", "on"); out != "on\n" {
		t.Errorf("when it goes on: %q", out)
	}
	command(unix.SIGUSR2)
	world.Until(t, "PID 1 is frozen again", frozen("1"))
	must("stop", "-t", "1", "cold")
}

// TestNestedManager runs a service manager inside, which takes the groups for its
// own. It sets securebits, which are locked but in a user namespace of its own.
func TestNestedManager(t *testing.T) {
	w := newWorld(t)
	const systemd = "/usr/lib/systemd/systemd"
	if !world.Exists(systemd) {
		sbxtest.Require(t, sbxtest.Missing("scope", "there is no "+systemd))
	}
	script := `mkdir -p /run/systemd/system
unshare --user --map-current-user ` + systemd + ` --user --log-target=console --log-level=err 2>/tmp/log &
manager=$!
until systemctl --user is-system-running 2>/dev/null >/tmp/state || grep -q degraded /tmp/state; do kill -0 $manager || { cat /tmp/log; exit 1; }; sleep 0.1; done
systemd-run --user --quiet --scope -- cat /proc/self/cgroup
systemd-run --user --quiet --unit=two -p TasksMax=7 -p MemoryMax=16M -- sleep 100
cat /sys/fs/cgroup/app.slice/two.service/pids.max /sys/fs/cgroup/app.slice/two.service/memory.max
systemctl --user exit; wait $manager; echo $?`
	got := w.Run(t, w.Sandboxed(w.Profile(t, "security.nested_userns = true\n"+nested), "sh", "-c", script)...)
	if !strings.HasPrefix(got.Out, "0::/app.slice/run-") || !strings.HasSuffix(got.Out, ".scope\n7\n16777216\n0\n") {
		t.Errorf("status %d, %q, %q", got.Code, got.Out, got.Err)
	}
}
