package resolve

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// addFeature notes one sandbox.Feature of the Plan.
type addFeature func(name, state, by, why, from string)

// features says what holds on this host and by what, and refuses what the
// profile requires and can't have.
func (r *resolver) features() {
	p, prof := r.plan, r.prof
	add := func(name, state, by, why, from string) {
		p.Features = append(p.Features, sandbox.Feature{Name: name, State: state, By: by, Why: why, From: from})
	}
	on := func(name string, own bool, by, from string) {
		if own {
			add(name, "enforced", by, "", from)
		} else {
			add(name, "off", by, "shared with the host", from)
		}
	}
	add("user", "enforced", "two nested user namespaces", "", "user.map")
	add("mounts", "enforced", "mount namespace, "+rootText(p), "", "root.source")
	r.imageFeature(add)
	add("pid", "enforced", "PID namespace with an own init", "", "")
	on("ipc", p.Namespaces.IPC, "IPC namespace", "namespaces.ipc")
	on("uts", p.Namespaces.UTS, "UTS namespace", "namespaces.uts")
	on("cgroup_namespace", p.Namespaces.Cgroup, "cgroup namespace", "namespaces.cgroup")
	r.networkFeatures(add)
	add("no_new_privs", "enforced", "PR_SET_NO_NEW_PRIVS", "", "")
	if len(p.Security.Keep) == 0 {
		add("capabilities", "enforced", "all sets empty, securebits locked", "", "user.as")
	} else {
		add("capabilities", "enforced", fmt.Sprintf("%d kept in a user namespace that owns nothing", len(p.Security.Keep)), "", "user.as")
	}
	r.filterFeatures(add)
	if p.Security.NestedUserNS {
		add("no_nested_namespaces", "off", "/proc/sys/user", "the profile allows them", "security.nested_userns")
	} else {
		add("no_nested_namespaces", "enforced", "/proc/sys/user/max_user_namespaces of the outer namespace", "", "security.nested_userns")
	}
	r.landlockFeature(add)
	on("environment", true, fmt.Sprintf("allow-list, %d variables", len(p.Process.Env)), "environment.pass")
	r.auditFeature(add)
	add("terminal", "enforced", "the caller's terminal never gets in; "+terminalText(p), "", "process.tty")
	r.overlayFeatures(add)
	r.limitFeatures(add)
	r.require(prof.Policy.Require)
}

func (r *resolver) auditFeature(add addFeature) {
	const by, from = "files that the host runs later, sought when the command has ended", "workspace.audit"
	a, root := &r.plan.Audit, r.plan.Root
	switch {
	case a.Mode == sandbox.AuditOff:
		add("audit", "off", by, "the profile has it so", from)
	case root.InPlace && !root.ReadOnly:
		add("audit", "degraded", by, "the host's root can be written and is not looked through", from)
		r.note("degraded", "audit", from, "the host's root can be written and is not looked through afterwards")
	case len(a.Trees) == 0:
		add("audit", "enforced", "nothing of the host's can be written", "", from)
	default:
		add("audit", "enforced", fmt.Sprintf("%s, in %d places", by, len(a.Trees)), "", from)
	}
}

// keyCalls are the calls that reach keys by number.
var keyCalls = []string{"add_key", "keyctl", "request_key"}

func (r *resolver) filterFeatures(add addFeature) {
	s := &r.plan.Security.Seccomp
	switch {
	case s.Filtered():
		by := "policy " + s.Policy
		if len(s.Allow)+len(s.Deny) > 0 || s.Multiarch {
			by += ", changed"
		}
		on := ", on PID 1 and the command"
		if r.plan.Bare.On() {
			on = ", on the command"
		}
		add("seccomp", "enforced", by+on, "", s.From)
	case r.facts.NoFilters != nil && r.prof.Security.Seccomp != sandbox.Unconfined:
		add("seccomp", "missing", "policy "+r.prof.Security.Seccomp, "this kernel has no system call filters", s.From)
	default:
		add("seccomp", "off", "policy "+s.Policy, "the profile asks for no filter", s.From)
	}
	if r.keysRefused {
		add("keyring", "enforced", "session keyring of its own, and no system call reaches a key", "", s.From)
	} else {
		add("keyring", "degraded", "session keyring of its own",
			"a key of the user's whose number is known can still be reached; that takes a system call filter that refuses "+strings.Join(keyCalls, ", "), s.From)
	}
}

func rootText(p *sandbox.Plan) string {
	if p.Root.InPlace {
		return "the host's tree in place"
	}
	if p.Root.OnImage() {
		return "an image as the root"
	}
	return "a root of its own"
}

func terminalText(p *sandbox.Plan) string {
	switch {
	case p.Process.Terminal != [3]bool{}:
		return "an own one stands in for it"
	case p.Process.Pipe != [3]bool{}:
		return "pipes stand in for it"
	}
	return "none is open"
}

func (r *resolver) limitFeatures(add addFeature) {
	r.groupFeatures(add)
	for _, l := range r.plan.Limits {
		if l.From == "limits.core" {
			add("core", "enforced", "RLIMIT_CORE", "", l.From)
		}
	}
}

// require refuses what `[policy] require` names and this host can't enforce.
// "all" stands for every feature the profile asks for, as far as it can be had
// at all: none may be missing. A feature named by itself must be enforced.
func (r *resolver) require(list []string) {
	for i, name := range list {
		key := fmt.Sprintf("policy.require[%d]", i)
		if name == "all" {
			for _, f := range r.plan.Features {
				if f.State == "missing" {
					r.fail(&Error{Key: key, Msg: fmt.Sprintf("%s is required and can't be enforced: %s", f.Name, f.Why), Hint: "see sbx doctor"})
				}
			}
			continue
		}
		at := slices.IndexFunc(r.plan.Features, func(f sandbox.Feature) bool { return f.Name == name })
		named := r.featuresOf(name)
		switch {
		case at < 0 && named != "":
			r.fail(&Error{Key: key, Msg: fmt.Sprintf("%s is a key of the profile and not a feature", name), Hint: "require what it asks for: " + named})
		case at < 0:
			r.fail(&Error{Key: key, Msg: fmt.Sprintf("%s is required, but the profile sets nothing of the kind", name), Hint: "set it, or drop the requirement; sbx explain lists the features"})
		case r.plan.Features[at].State != "enforced":
			f := r.plan.Features[at]
			r.fail(&Error{Key: key, Msg: fmt.Sprintf("%s is required and is %s here: %s", name, f.State, f.Why), Hint: "see sbx doctor"})
		}
	}
}

// featuresOf names the features that a key of the profile asks for.
func (r *resolver) featuresOf(key string) string {
	var names []string
	for _, f := range r.plan.Features {
		if f.From == key {
			names = append(names, f.Name)
		}
	}
	return strings.Join(names, ", ")
}
