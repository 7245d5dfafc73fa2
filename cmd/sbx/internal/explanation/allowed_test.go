package explanation

import (
	"os"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
)

// TestAllowed: the limits of the groups above are found, those of the slice with
// them, which need not be there.
func TestAllowed(t *testing.T) {
	root := t.TempDir()
	put := func(dir, file, text string) {
		t.Helper()
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+dir+"/"+file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const own = "/user.slice/user@1000.service"
	put("/user.slice", "memory.max", "1000")
	put(own, "memory.max", "max")
	put(own, "pids.max", "7")
	none := cgroup.Effective{Memory: cgroup.Max, MemoryHigh: cgroup.Max, Swap: cgroup.Max, CPU: cgroup.Max, Pids: cgroup.Max}
	above := none
	above.Memory, above.Pids = 1000, 7
	g := &sandbox.Cgroup{By: sandbox.CgroupSystemd, Root: root, Parent: root + own}
	if got := allowed(g); got != above {
		t.Errorf("without a slice: %+v, want %+v", got, above)
	}
	put(own+"/sbx.slice", "memory.max", "500")
	if got := allowed(&sandbox.Cgroup{By: sandbox.CgroupSubtree, Root: root, Parent: root + own}); got != above {
		t.Errorf("made by sbx itself: %+v, want %+v", got, above)
	}
	above.Memory = 500
	if got := allowed(g); got != above {
		t.Errorf("with a slice: %+v, want %+v", got, above)
	}
	put("/user.slice", "memory.max", "much")
	if got := allowed(g); got != none {
		t.Errorf("of what can't be read: %+v", got)
	}
}
