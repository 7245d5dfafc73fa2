// Package export writes a Plan in the words of other engines, as far as these have
// words for it, and lists what they have none for.
package export

import (
	"fmt"
	"strings"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// unsaid collects what can't be said.
type unsaid struct{ list []string }

func (u *unsaid) add(format string, args ...any) {
	u.list = append(u.list, fmt.Sprintf(format, args...))
}

// common is what no other engine has words for.
func (u *unsaid) common(p *sandbox.Plan) {
	s := &p.Security
	if s.Seccomp.Filtered() {
		u.add("the system call filter %s: the engine's own holds, or none", s.Seccomp.Policy)
	}
	if s.Landlock.On() {
		u.add("Landlock, the second wall behind the mounts")
	}
	u.add("the second user namespace: capabilities inside reach the mounts and the network")
	if p.Net.Backend != "" {
		u.add("whom it may talk to (network.allow, network.deny): the engine's network is open")
	}
	if p.Audit.Mode != sandbox.AuditOff && len(p.Audit.Trees) > 0 {
		u.add("the search for files that the host runs later (workspace.audit)")
	}
	if p.Overlay.Name != "" {
		u.add("changes that are kept apart, for sbx diff and sbx apply")
	}
	for i := range p.UCounts {
		u.add("%s = %d, a limit of the user namespace", p.UCounts[i].Name, p.UCounts[i].Value)
	}
	for _, m := range p.Mounts {
		if m.Grantable {
			u.add("%s, which sbx grant shows later: it is left out", m.Target)
		}
	}
}

// env is the variables whose values are known. Of a sandbox that runs there are names
// alone: an empty PATH in their place would find no program.
func env(list []string, u *unsaid) []string {
	var known, names []string
	for _, kv := range list {
		if strings.Contains(kv, "=") {
			known = append(known, kv)
		} else {
			names = append(names, kv)
		}
	}
	if len(names) > 0 {
		u.add("the variables %s, whose values a sandbox that runs has not on record: add them, or generate from sbx run's arguments after --", strings.Join(names, ", "))
	}
	return known
}
