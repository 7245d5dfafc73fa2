package attack

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// lift is a script that lifts the limits of the group it is in and leaves it, in
// every way that files can tell, and then takes more than the limit. $1 is the
// probe, the others are where the hierarchy might be mounted.
const lift = `probe=$1
shift
for root; do
	at=$root$(sed -n 's/^0:://p' /proc/self/cgroup)
	while [ ${#at} -ge ${#root} ]; do
		for file in memory.max memory.high memory.swap.max; do echo max >$at/$file; done
		echo $$ >$at/cgroup.procs
		at=${at%/*}
	done
done 2>/dev/null
exec $probe hog 200
`

// mounted is lift in namespaces of its own, with a hierarchy of its own.
const mounted = `mkdir -p /tmp/groups && exec unshare -UrmC sh -c 'mount -t cgroup2 groups /tmp/groups 2>&1 && exec sh "$@"' sh "$@"`

func groupRows() []row {
	const small = "[limits]\nmemory = \"64M\"\n"
	return []row{{
		id: "R41-cgroup", what: "the tree of control groups",
		probe: []string{"PROBE", "opens", "/sys/fs/cgroup"}, control: "reached", want: "denied: ENOENT",
	}, {
		id: "R41-cgroup", what: "lifting the limit, or leaving it", needs: []sbxtest.Feature{sbxtest.Scope},
		do: func(t *testing.T, w *world.World) { lifts(t, w, small, "sh") },
	}, {
		id: "R41-cgroup", what: "lifting the limit, with the host's tree in place and writable", needs: []sbxtest.Feature{sbxtest.Scope},
		do: func(t *testing.T, w *world.World) {
			lifts(t, w, small+"[root]\nsource = \"/\"\nread_only = false\n[namespaces]\ncgroup = \"host\"\n", "sh")
		},
	}, {
		id: "R41-cgroup", what: "lifting the limit, with the tree bound", needs: []sbxtest.Feature{sbxtest.Scope},
		do: func(t *testing.T, w *world.World) {
			lifts(t, w, small+"[namespaces]\ncgroup = \"host\"\n[mounts.\"/sys/fs/cgroup\"]\naccess = \"rw\"\n", "sh")
		},
	}, {
		id: "R41-cgroup", what: "lifting the limit, as root of namespaces of its own", needs: []sbxtest.Feature{sbxtest.Scope},
		do: func(t *testing.T, w *world.World) {
			lifts(t, w, small+"[security]\nnested_userns = true\nseccomp = \"unconfined\"\n", "sh", "-c", mounted, "sh")
		},
	}, {
		id: "R42-fork-bomb", what: "processes without end, in a control group", needs: []sbxtest.Feature{sbxtest.Scope},
		profile: small + "processes = 50\n", probe: []string{"PROBE", "forks", "100", "-"}, control: "100: reached", want: "~^[2-4][0-9]: denied: EAGAIN\n$",
	}, {
		id: "R43-memory", what: "more memory than the limit", needs: []sbxtest.Feature{sbxtest.Scope},
		do: func(t *testing.T, w *world.World) {
			if got := w.Run(t, w.Probe, "hog", "200"); got.Out != "reached\n" {
				t.Errorf("control: outside it says %q, %q", got.Out, got.Err)
			}
			hold := w.Work + "/hold"
			w.Write(t, hold, "")
			p := w.Profile(t, small)
			// Beside it, one that stays within the limit lives on.
			beside := w.Command(w.Sandboxed(p, w.Probe, "inotify", "1", hold)...)
			said := holding(t, beside, hold, func() { killed(t, w, w.Sandboxed(p, w.Probe, "hog", "200")) })
			if said != "1: reached\n" || beside.ProcessState.ExitCode() != 0 {
				t.Errorf("beside it, a sandbox says %q and ends with %v", said, beside.ProcessState)
			}
		},
	}, {
		id: "R43-memory", what: "more memory than the limit, in files", needs: []sbxtest.Feature{sbxtest.Scope},
		do: func(t *testing.T, w *world.World) {
			const fill = "head -c 200M /dev/zero >/tmp/x && echo reached; rm -f /tmp/x"
			if got := w.Run(t, "sh", "-c", fill); got.Out != "reached\n" {
				t.Errorf("control: outside it says %q, %q", got.Out, got.Err)
			}
			killed(t, w, w.Sandboxed(w.Profile(t, small), "sh", "-c", fill))
		},
	}}
}

// killed runs what must end out of memory, with a message that says so.
func killed(t *testing.T, w *world.World, argv []string) {
	t.Helper()
	got := w.Run(t, argv...)
	if got.Code != 137 || strings.Contains(got.Out, "reached") || !strings.Contains(got.Err, "(oom)") || !strings.Contains(got.Err, "limits.memory = 64M") {
		t.Errorf("status %d, %q, %q", got.Code, got.Out, got.Err)
	}
}

// lifts runs the script under a plain scope of systemd's, whose files are the
// user's, and in a sandbox.
func lifts(t *testing.T, w *world.World, profile string, shell ...string) {
	t.Helper()
	script := w.Work + "/lift.sh"
	w.Write(t, script, lift)
	argv := append(shell, script, w.Probe, "/sys/fs/cgroup", "/tmp/groups")
	scope := w.Command("systemd-run", "--user", "--scope", "--quiet", "-p", "Delegate=yes", "-p", "MemoryMax=64M", "-p", "MemorySwapMax=0",
		"sh", script, w.Probe, "/sys/fs/cgroup")
	scope.Env = append(scope.Env, fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", os.Getuid()))
	if got := world.Wait(t, scope); got.Out != "reached\n" {
		t.Errorf("control: in a plain scope it says %q, %q", got.Out, got.Err)
	}
	killed(t, w, w.Sandboxed(w.Profile(t, profile), argv...))
}
