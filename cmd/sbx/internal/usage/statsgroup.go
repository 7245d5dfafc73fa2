package usage

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// groupUsage puts in what the kernel has counted for a sandbox's control group.
// It is nil where there is none.
func groupUsage(r *state.Record, u *use) *cgroup.Usage {
	root, at, err := groupOf(r)
	if err != nil {
		return nil
	}
	leaf := cgroup.Group(filepath.Join(root, at))
	g, err := leaf.Usage()
	if err != nil {
		return nil // it has just ended
	}
	have, err := leaf.Controllers()
	if err != nil {
		return nil
	}
	u.By, u.Group = "cgroup", &g
	if slices.Contains(have, "memory") {
		u.Memory = g.Memory
	}
	if slices.Contains(have, "pids") {
		u.PIDs = int(g.Pids)
	}
	if slices.Contains(have, "io") {
		u.ReadIO, u.WrittenIO = g.IORead, g.IOWrite
	}
	if e, err := leaf.Effective(root); err == nil {
		u.Limits = inEffect(&e)
		if e.Memory != cgroup.Max {
			u.Limit = e.Memory
		}
	}
	return &g
}

func inEffect(e *cgroup.Effective) *bounds {
	set := func(n int64) *int64 {
		if n == cgroup.Max {
			return nil
		}
		return &n
	}
	b := &bounds{Memory: set(e.Memory), MemoryHigh: set(e.MemoryHigh), Swap: set(e.Swap), PIDs: set(e.Pids), CPUSet: string(e.CPUs)}
	if e.CPU != cgroup.Max {
		cpus := float64(e.CPU) / 1000
		b.CPUs = &cpus
	}
	return b
}

// traffic is what went over the interface of a sandbox's own, proc_pid_net(5): 0
// where it has the host's.
func traffic(init int) (received, sent int64) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(init) + "/net/dev")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		name, counters, _ := strings.Cut(strings.TrimSpace(line), ":")
		f := strings.Fields(counters)
		if name == sandbox.NetDevice && len(f) > 8 {
			received, _ = strconv.ParseInt(f[0], 10, 64)
			sent, _ = strconv.ParseInt(f[8], 10, 64)
		}
	}
	return received, sent
}
