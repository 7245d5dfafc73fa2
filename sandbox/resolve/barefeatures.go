package resolve

import (
	"fmt"
	"strings"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// bareFeatures says what holds without namespaces, by what, and what is lost. It
// refuses what the profile requires of that.
func (r *resolver) bareFeatures() {
	p, want := r.plan, &r.Profile.Namespaces
	var lost []string
	add := func(name, state, by, why, from string) {
		p.Features = append(p.Features, sandbox.Feature{Name: name, State: state, By: by, Why: why, From: from})
		if state == "missing" || state == "degraded" && !strings.HasPrefix(from, "limits.") {
			lost = append(lost, name)
		}
	}
	shared := func(name string, own bool, state, by, why, from string) {
		if !own {
			add(name, "off", by, "shared with the host", from)
			return
		}
		add(name, state, by, why, from)
	}
	add("user", "missing", "user namespaces", "the host refuses them ("+p.Bare.Why+"): the command is "+r.facts.User+", as on the host", fallbackKey)
	add("mounts", "degraded", fmt.Sprintf("Landlock, %d rules", len(p.Security.Landlock.Rules)),
		"no file is read or written that the profile does not show, but files that are hidden can be seen to be there (stat, inotify), and modes, owners, times and attributes of your files be changed; "+
			"nothing is mounted, and of /tmp, /run and the home there is a private directory in its place", fallbackKey)
	add("pid", "degraded", "Landlock: signals and tracing stay inside, and all that is inside is ended together", "the host's processes can be seen in /proc", fallbackKey)
	shared("ipc", want.IPC == "private", "degraded", "system call filter", "System V IPC and message queues are refused, also among the sandbox's own processes", "namespaces.ipc")
	shared("uts", want.UTS == "private", "missing", "UTS namespace", "the host's name is seen", "namespaces.uts")
	shared("cgroup_namespace", want.Cgroup == "private", "missing", "cgroup namespace", "the host's groups are seen in /proc", "namespaces.cgroup")
	switch {
	case r.Profile.Network.Own(), joins(r.Profile):
		add("network", "missing", "network namespace", "the network that the profile asks for can't be had; there is none at all", "network.mode")
	case p.Network == sandbox.NetHost:
		add("network", "off", "network namespace", "shared with the host", "network.mode")
	default:
		add("network", "enforced", "system call filter: no socket can be made; Landlock: TCP refused", "", "network.mode")
		r.lose("network.mode", "a loopback of its own: no socket can be made")
	}
	add("no_new_privs", "enforced", "PR_SET_NO_NEW_PRIVS", "", "")
	add("capabilities", "enforced", "all sets that can be used are empty, and no_new_privs keeps them so", "", "user.as")
	r.filterFeatures(add)
	add("no_nested_namespaces", "enforced", "system call filter", "", "security.nested_userns")
	add("landlock", "enforced", fmt.Sprintf("ABI %d, the only wall", p.Security.Landlock.ABI), "", "security.landlock")
	if r.unixJudged() {
		add("abstract_sockets", "enforced", "Landlock", "", "security.landlock")
	} else {
		add("abstract_sockets", "enforced", "system call filter: of AF_UNIX there are only pairs", "", fallbackKey)
	}
	add("environment", "enforced", fmt.Sprintf("allow-list, %d variables", len(p.Process.Env)), "", "environment.pass")
	r.auditFeature(add)
	add("terminal", "enforced", "the caller's terminal never gets in; "+terminalText(p), "", "process.tty")
	r.limitFeatures(add)
	p.Notes = append([]sandbox.Note{{Level: "degraded", Feature: "user", From: fallbackKey, Text: fmt.Sprintf(
		"this host refuses user namespaces (%s), so Landlock alone stands between the command and the host; not as with them: %s; sbx explain says what is lost",
		p.Bare.Why, strings.Join(lost, ", "))}}, p.Notes...)
	r.require(r.prof.Policy.Require)
}
