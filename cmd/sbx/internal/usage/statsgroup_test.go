package usage

import (
	"encoding/json"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
)

// TestInEffect: no limit is null, which no swap is not.
func TestInEffect(t *testing.T) {
	for want, e := range map[string]cgroup.Effective{
		`{"memory":null,"memory_high":null,"swap":null,"cpus":null,"pids":null,"cpuset":""}`: {
			Memory: cgroup.Max, MemoryHigh: cgroup.Max, Swap: cgroup.Max, CPU: cgroup.Max, Pids: cgroup.Max,
		},
		`{"memory":4096,"memory_high":2048,"swap":0,"cpus":0.5,"pids":7,"cpuset":"0-1"}`: {
			Memory: 4096, MemoryHigh: 2048, CPU: 500, Pids: 7, CPUs: "0-1",
		},
	} {
		if got, err := json.Marshal(inEffect(&e)); err != nil || string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}

// TestSince: the counter of a command that was started again begins at 0.
func TestSince(t *testing.T) {
	for _, x := range [][3]int64{{5, 3, 2}, {3, 3, 0}, {2, 9, 2}} {
		if got := since(x[0], x[1]); got != x[2] {
			t.Errorf("since(%d, %d) is %d, not %d", x[0], x[1], got, x[2])
		}
	}
}
