package files

import (
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestRemoveSandbox: what a sandbox kept goes with it if that is asked for, whoever
// its files belong to, and else stays.
func TestRemoveSandbox(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			sbxtest.Require(t, w.needs...)
			p := newPlace(t)
			sbxtest.Leftovers(t)
			script := "mkdir -m 700 d; echo x >d/f"
			if w.ids == "range" {
				script += "; chown -R 77:88 d"
			}
			start := func() {
				t.Helper()
				p.ok(t, p.sbx(w.flags("--user=root", "--detach", "--name=box", "--overlay=it"), "sh", "-c", script)...)
				p.ok(t, p.Sbx, "wait", "box")
			}
			start()
			p.ok(t, p.Sbx, "rm", "box")
			if got := p.overlays(); len(got) != 1 {
				t.Errorf("without being asked for: %v", got)
			}
			p.ok(t, p.Sbx, "overlay", "rm", "it")
			start()
			p.ok(t, p.Sbx, "rm", "--overlay", "box")
			if got := p.overlays(); len(got) > 0 || world.Exists(p.Work+"/d") {
				t.Errorf("left: %v", got)
			}
			if got := p.Run(t, p.Sbx, "ps", "-a"); strings.Contains(got.Out, "box") {
				t.Errorf("the sandbox is there: %s", got.Out)
			}
		})
	}
}
