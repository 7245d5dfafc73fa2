package run

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// TestWords: what is ready too early is not taken for what the child waits for.
func TestWords(t *testing.T) {
	limited := func(p *sandbox.Plan) { p.Cgroup.By = sandbox.CgroupSystemd }
	for _, tt := range []struct {
		name string
		plan func(*sandbox.Plan)
		says []word
		want []int // how many the child has after each
	}{
		{"no network", func(*sandbox.Plan) {}, []word{wordNetwork}, []int{0}},
		{"the engine", func(p *sandbox.Plan) { p.Network, p.Net.Backend = sandbox.NetUser, sandbox.BackendEngine }, []word{wordNetwork}, []int{1}},
		{"the engine, a group later", func(p *sandbox.Plan) {
			limited(p)
			p.Network, p.Net.Backend = sandbox.NetUser, sandbox.BackendEngine
		}, []word{wordNetwork, wordGroup}, []int{0, 2}},
		{"pasta, a group first", func(p *sandbox.Plan) {
			limited(p)
			p.Network, p.Net.Backend = sandbox.NetUser, sandbox.BackendPasta
		}, []word{wordGroup, wordNetwork}, []int{0, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p sandbox.Plan
			tt.plan(&p)
			pipe, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer closeAll(pipe[:])
			s := &sandboxed{ends: &ends{program: pipe[1]}, words: words(&p)}
			got := 0
			for i, w := range tt.says {
				if err := s.say(w); err != nil {
					t.Fatal(err)
				}
				var b [8]byte
				if n, err := unix.Read(pipe[0], b[:]); err == nil {
					got += n
				}
				if got != tt.want[i] {
					t.Errorf("after word %d the child has %d, want %d", i, got, tt.want[i])
				}
			}
		})
	}
}
