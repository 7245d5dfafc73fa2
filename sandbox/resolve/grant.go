package resolve

import (
	"fmt"
	"path"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// grantable refuses mounts that can't come and go by themselves: what lies in one
// would go with it, and what keeps a part of it from being written would not come
// back.
func (r *resolver) grantable() {
	for i := range r.plan.Mounts {
		g := &r.plan.Mounts[i]
		if !g.Grantable {
			continue
		}
		for j := range r.plan.Mounts {
			m := &r.plan.Mounts[j]
			switch {
			case j == i || !within(m.Target, g.Target):
			case m.Kind == sandbox.Guard, m.Kind == sandbox.Mask:
				r.fail(&Error{Key: g.From, Msg: fmt.Sprintf("%s can't be granted later: %s in it is kept from the command, and would not be when it comes back", g.Target, m.Target),
					Hint: "grant a directory that has nothing of the kind in it, or leave grantable out"})
			default:
				r.fail(&Error{Key: g.From, Msg: fmt.Sprintf("%s can't be granted later: %s is mounted in it", g.Target, m.Target), Hint: "choose a target with nothing below it, or leave grantable out"})
			}
		}
		if dir := r.prof.Process.WorkingDir; dir != "" && within(path.Clean(dir), g.Target) {
			r.fail(&Error{Key: g.From, Msg: fmt.Sprintf("the command would start in %s, which is granted only later", g.Target), Hint: "choose another process.working_dir"})
		}
		r.note("info", "grants", g.From, "%s is not shown until sbx grant does so", g.Target)
	}
}
