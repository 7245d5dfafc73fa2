package limits

import (
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestWithout: where no control group can be had, limits hold for each process
// or not at all, which is said, and what requires them is refused.
func TestWithout(t *testing.T) {
	w := world.New(t)
	sbxtest.Leftovers(t)
	never := ""
	if sbxtest.Scope.Missing() == nil { // then the profile does without
		never = "cgroup = \"never\"\n"
	}
	text := small + never + "cpus = 0.5\ncpuset = \"0\"\nprocesses = 30\n"
	for _, tt := range []struct {
		name, more string
		argv       []string
		code       int
		out, err   string
	}{
		{"one process is held", "", []string{w.Probe, "hog", "200"}, 0, "denied: ENOMEM\n", "limits.memory: it holds for each process, not for all together, since "},
		{"all together are not", "", []string{"sh", "-c", "ulimit -d"}, 0, "65536\n", "limits.cpus: it does not hold, since "},
		{"processors", "", []string{"nproc"}, 0, "1\n", "limits.cpuset: the command can choose other processors, since "},
		{"required memory", "[policy]\nrequire = [\"memory-limit\"]\n", []string{"echo", "ran"}, 125, "", "policy.require[0]: memory-limit is required and is degraded here: "},
		{"required processors", "[policy]\nrequire = [\"cpu-limit\"]\n", []string{"echo", "ran"}, 125, "", "policy.require[0]: cpu-limit is required and is missing here: "},
		{"required set of processors", "[policy]\nrequire = [\"cpuset\"]\n", []string{"echo", "ran"}, 125, "", "policy.require[0]: cpuset is required and is degraded here: "},
		{"groups of its own", "delegate = true\n", []string{"sh", "-c", "mkdir -p /sys/fs/cgroup/a && echo made"}, 1, "", "limits.delegate: the command can make no control groups: "},
		{"required groups of its own", "delegate = true\n[policy]\nrequire = [\"cgroup-delegation\"]\n", []string{"echo", "ran"}, 125, "", "policy.require[0]: cgroup-delegation is required and is missing here: "},
		{"required group", "[policy]\nrequire = [\"cgroup\"]\n", []string{"echo", "ran"}, 125, "", "policy.require[0]: cgroup is required and is "},
		{"required number of processes", "[policy]\nrequire = [\"pids-limit\"]\n", []string{"echo", "ran"}, 0, "ran\n", ""},
		{"all that can be had", "[policy]\nrequire = [\"all\"]\n", []string{"echo", "ran"}, 125, "", "policy.require[0]: cpu-limit is required and can't be enforced: "},
	} {
		got := w.Run(t, w.Sandboxed(w.Profile(t, text+tt.more), tt.argv...)...)
		if got.Code != tt.code || got.Out != tt.out || !strings.Contains(got.Err, tt.err) {
			t.Errorf("%s: status %d, %q, %q", tt.name, got.Code, got.Out, got.Err)
		}
	}
}
