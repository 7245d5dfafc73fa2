package resolve

import (
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/landlock"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/compile"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

// fallbackKey is the key that allows a sandbox without namespaces.
const fallbackKey = "security.fallback"

// bareABI is the version of Landlock that a sandbox without namespaces takes:
// before it nothing keeps the command from killing the host's processes and
// sbx's own, nor sbx from missing a process when it ends the sandbox.
const bareABI = landlock.ABIScopes

// bareLoses says in short what a sandbox without namespaces does not have.
const bareLoses = "a /tmp, /dev and /proc of its own, what is hidden or read-only inside of something that can be written, " +
	"a loopback, a host name and IPC of its own, and that the host's processes are out of sight"

// bare is a sandbox for a host that refuses user namespaces. The Plan is decided
// as for any other: what the mounts would have shown is what Landlock's rules
// then allow, where the host has it under the same name.
func (r *resolver) bare() []func() {
	if !r.bareAllowed() {
		return nil
	}
	r.prof = r.bareProfile()
	r.plan.Bare = sandbox.Bare{Why: r.facts.Refused.Why, Private: r.PrivateDir}
	return []func(){
		r.caller, r.ids, r.namespaces, r.root, r.home, r.workspace, r.mounts, r.runtime,
		r.order, r.guards, r.own, r.audit, r.stdio, r.passed, r.environment, r.command, r.health, r.workingDir,
		r.limits, r.affinity, r.security, r.bareRules, r.bareHome, r.seccomp, r.bareFilter, r.bareFeatures,
	}
}

// bareAllowed says whether this profile may be run without namespaces here.
func (r *resolver) bareAllowed() bool {
	f, refused := r.facts, "this host refuses user namespaces: "+r.facts.Refused.Why
	fix, _, more := strings.Cut(f.Refused.Fix, "\n")
	if more {
		fix += ", which sbx doctor prints"
	}
	if fix != "" {
		fix += "; "
	}
	fail := func(msg, hint string) bool {
		r.fail(&Error{Key: fallbackKey, Msg: msg, Hint: hint})
		return false
	}
	switch {
	case r.prof.Security.Fallback != "landlock":
		return fail(refused, fix+`or set security.fallback = "landlock" to do without them, by Landlock alone; then are lost `+bareLoses)
	case f.UID == 0:
		return fail(refused+"; and root is not held by what does without them", fix+"or run it as an ordinary user")
	case f.Landlock < bareABI:
		return fail(fmt.Sprintf("%s; and to do without them takes Landlock's ABI %d (Linux 6.12), this kernel has %s", refused, bareABI, abiText(f.Landlock)), strings.TrimSuffix(fix, "; "))
	case r.prof.Security.Landlock == "off":
		return fail(refused+`; and without them there is nothing but Landlock, which security.landlock = "off" gives up`, fix+"or leave it on")
	case f.NoFilters != nil:
		return fail(refused+"; and to do without them takes system call filters, which this kernel has not", strings.TrimSuffix(fix, "; "))
	case r.prof.Root.Source != "host" && r.prof.Root.Source != "/" && r.prof.Root.Source != "empty":
		return fail(refused+"; and a directory can't be the root without them", fix+`or set root.source = "host"`)
	case layered(r.prof):
		return fail(refused+"; and without them changes can't be kept apart", fix+"or let the command change the directory itself")
	case r.prof.Root.Source == "/" && !r.prof.Root.ReadOnly:
		return fail(refused+"; and without them nothing of a writable root could be kept", fix+"or set root.read_only = true")
	}
	return true
}

func abiText(abi int) string {
	if abi == 0 {
		return "none"
	}
	return fmt.Sprintf("ABI %d", abi)
}

// bareProfile is the profile without what takes namespaces of the sandbox's own.
func (r *resolver) bareProfile() *profiles.Profile {
	p := *r.prof
	if u := &p.User; u.As == "root" || u.Map == "range" || u.Map == "explicit" {
		r.lose("user.as", "ids other than the caller's own: the command is %s, as on the host", r.facts.User)
		u.As, u.Map = "keep", "single"
	}
	if p.Security.NestedUserNS {
		r.lose("security.nested_userns", "namespaces of the command's own")
		p.Security.NestedUserNS = false
	}
	if p.Security.Multiarch {
		r.lose("security.multiarch", "programs of 32 bits: the filter that takes the namespaces' place kills them")
	}
	if p.Security.TraceDenied {
		r.lose(traceKey, "that refused system calls are reported")
	}
	if p.Namespaces.Time == "private" {
		r.lose("namespaces.time", "clocks of its own")
	}
	for _, l := range []struct {
		key  string
		want bool
	}{{"limits.inotify_instances", p.Limits.Inotify > 0}, {"limits.inotify_watches", p.Limits.Watches > 0}} {
		if l.want {
			r.lose(l.key, "a limit of the sandbox's own on inotify")
		}
	}
	if p.Network.Own() || joins(&p) {
		r.lose("network.mode", "a network of the sandbox's own, and with it all that the profile grants of one: there is none at all")
		p.Network.Mode = "none"
	}
	n := &p.Namespaces
	n.IPC, n.UTS, n.Cgroup, n.Time, n.TimeMonotonic, n.TimeBoottime = "host", "host", "host", "host", 0, 0
	p.Limits.Inotify, p.Limits.Watches, p.Limits.Cgroup = 0, 0, "never"
	return &p
}

// lose notes something that can't be had without namespaces. It is no warning:
// one line says that there are such, and explain has them all.
func (r *resolver) lose(key, format string, args ...any) {
	r.note("info", "", key, "lost without namespaces: "+format, args...)
}

// bareFilter compiles the filter that keeps the command from what namespaces
// would have hidden.
func (r *resolver) bareFilter() {
	native, err := policy.ArchOf(runtime.GOARCH)
	var code []byte
	if err == nil {
		code, err = compile.Bytes(policy.Bare(native, policy.Shared{
			Net: r.plan.Network == sandbox.NetHost, IPC: r.Profile.Namespaces.IPC == "host", Unix: r.unixJudged(),
		}))
	}
	if err != nil {
		r.fail(&Error{Key: fallbackKey, Err: err, Msg: "making the filter in place of the namespaces"})
		return
	}
	r.plan.Bare.Filter = code
	if !r.keysRefused { // by the policy
		r.lose("security.seccomp", "keyrings of its own: those of the host's user are all there is, and it reaches none")
	}
	r.keysRefused = true
}

// unixJudged says that Landlock judges connections to sockets with a path.
func (r *resolver) unixJudged() bool { return r.facts.Landlock >= landlock.ABIUnix }

// bareHome puts a private directory in the place of the home, and of what else
// is the sandbox's own: the home's path is the host's.
func (r *resolver) bareHome() {
	b := &r.plan.Bare
	b.Dirs = append([]string{"tmp", "run"}, b.Dirs...)
	home := r.facts.Home
	switch {
	case r.prof.Home.Mode == "persistent":
		home = path.Join(r.HomesDir, r.prof.Name)
	case r.prof.Home.Mode == "tmpfs":
		b.Home, home = true, path.Join(b.Private, "home")
		b.Dirs = append([]string{"home"}, b.Dirs...)
	}
	p := &r.plan.Process
	for i, kv := range p.Env {
		name, value, _ := strings.Cut(kv, "=")
		switch name {
		case "HOME":
			value = home
		default:
			value = r.moved(value, home)
		}
		p.Env[i] = name + "=" + value
	}
	set := func(name, value string) {
		p.Env = slices.DeleteFunc(p.Env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
		p.Env = append(p.Env, name+"="+value)
	}
	set("TMPDIR", path.Join(b.Private, "tmp"))
	set("XDG_RUNTIME_DIR", path.Join(b.Private, "run"))
	if _, given := lookup(p.Env, "GIT_CONFIG_NOSYSTEM"); !given && !r.ruled("/etc/gitconfig") {
		set("GIT_CONFIG_NOSYSTEM", "1") // git gives up over settings that are there and can't be read
	}
	slices.Sort(p.Env)
	if within(p.Dir, r.facts.Home) && !r.ruled(p.Dir) {
		p.Dir = home
	}
}

// moved rewrites paths in a variable that lead into the home, where they would
// find nothing now: one path, or several with colons between them.
func (r *resolver) moved(value, home string) string {
	if home == r.facts.Home || !strings.Contains(value, r.facts.Home) {
		return value
	}
	parts := strings.Split(value, ":")
	for i, p := range parts {
		if path.IsAbs(p) && within(path.Clean(p), r.facts.Home) && !r.ruled(path.Clean(p)) {
			parts[i] = home + path.Clean(p)[len(r.facts.Home):]
		}
	}
	return strings.Join(parts, ":")
}

// ruled says that a rule allows something at p.
func (r *resolver) ruled(p string) bool {
	return slices.ContainsFunc(r.plan.Security.Landlock.Rules, func(l sandbox.LandlockRule) bool { return l.Path != "" && within(p, l.Path) })
}
