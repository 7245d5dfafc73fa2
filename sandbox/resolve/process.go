package resolve

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// defaultPath is PATH where the caller's is not passed on.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment applies the allow-list. The order of strength is: what sbx says
// about the sandbox, the command line, `set`, `unset`, `pass`.
func (r *resolver) environment() {
	env := map[string]string{}
	e := &r.prof.Environment
	for _, kv := range r.facts.Environ {
		name, value, ok := strings.Cut(kv, "=")
		if ok && name != "" && r.passes(name) {
			env[name] = value
		}
	}
	env["PATH"] = insidePath(env["PATH"])
	env["HOME"] = r.facts.Home
	env["USER"], env["LOGNAME"] = r.facts.User, r.facts.User
	if r.plan.IDs.UID == 0 {
		env["USER"], env["LOGNAME"] = "root", "root"
	}
	if !r.plan.Root.InPlace {
		env["XDG_RUNTIME_DIR"] = r.runtimeDir()
	}
	for k, v := range e.Set {
		env[k] = v
	}
	for i, kv := range r.Env {
		name, value, ok := strings.Cut(kv, "=")
		if !ok { // as podman's -e NAME: the caller's value
			value, ok = lookup(r.facts.Environ, name)
			if !ok {
				r.note("warning", "environment", "", "-e %s: there is no such variable to pass on", name)
				continue
			}
		}
		if name == "" || strings.ContainsAny(kv, "\x00") {
			r.fail(&Error{Msg: fmt.Sprintf("-e number %d is not NAME or NAME=VALUE", i+1)})
			continue
		}
		env[name] = value
	}
	env["container"], env["SBX"], env["SBX_NAME"] = "sbx", "1", r.prof.Name
	p := &r.plan.Process
	for k, v := range env {
		p.Env = append(p.Env, k+"="+v)
	}
	slices.Sort(p.Env)
	p.Lookup = strings.Split(insidePath(env["PATH"]), ":") // set by the profile or -e, it may be anything
}

// passes says whether the caller's variable is taken over. Unset is stronger
// than pass, but a name written out in pass is stronger than a pattern in
// unset: whoever writes OPENAI_API_KEY means it, whatever *_KEY says.
func (r *resolver) passes(name string) bool {
	e := &r.prof.Environment
	if slices.Contains(e.Unset, name) {
		return false
	}
	return slices.Contains(e.Pass, name) || matches(e.Pass, name) && !matches(e.Unset, name)
}

// insidePath keeps the absolute entries: a relative one would be looked up in
// whatever directory the command is in.
func insidePath(v string) string {
	var dirs []string
	for _, d := range strings.Split(v, ":") {
		if strings.HasPrefix(d, "/") && !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	if len(dirs) == 0 {
		return defaultPath
	}
	return strings.Join(dirs, ":")
}

func lookup(env []string, name string) (string, bool) {
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v, true
		}
	}
	return "", false
}

func matches(globs []string, name string) bool {
	for _, g := range globs {
		if ok, err := path.Match(g, name); ok && err == nil {
			return true
		}
	}
	return false
}

func (r *resolver) command() {
	p, in := &r.plan.Process, &r.prof.Process
	p.Argv = r.Argv
	if len(p.Argv) == 0 {
		p.Argv = in.Command
	}
	switch {
	case len(p.Argv) == 0:
		r.fail(&Error{Key: "process.command", Msg: "there is no command to run", Hint: "set process.command, or add it to the command line after --"})
	case p.Argv[0] == "":
		r.fail(&Error{Key: "process.command", Msg: "the command is an empty string"})
	}
	p.Umask, p.Nice, p.OOMScoreAdj = in.Umask, in.Nice, in.OOMScoreAdj
	p.Timeout, p.StopTimeout = in.Timeout, in.StopTimeout
	p.StopSignal = int(unix.SignalNum(in.StopSignal))
	if p.StopSignal == 0 {
		p.StopSignal = int(unix.SIGTERM)
	}
}

// workingDir is the profile's, else the current directory where it can be
// seen inside, else the workspace, else home, else /.
func (r *resolver) workingDir() {
	p := &r.plan.Process
	if d := r.prof.Process.WorkingDir; d != "" {
		p.Dir = d
		return
	}
	home := ""
	if r.prof.Home.Mode != "none" || r.plan.Root.InPlace {
		home = r.facts.Home
	}
	for _, d := range []string{r.visible(r.facts.Cwd), r.space, home} {
		if d != "" {
			p.Dir = d
			break
		}
	}
	if p.Dir == "" {
		p.Dir = "/"
	}
	if r.facts.Cwd != "" && p.Dir != r.facts.Cwd {
		r.note("info", "", "", "the current directory %s can't be seen inside; the command starts in %s", r.facts.Cwd, p.Dir)
	}
}

// visible is host path p where it is the same inside, else "".
func (r *resolver) visible(p string) string {
	if p == "" {
		return ""
	}
	m := r.covering(p, len(r.plan.Mounts))
	if m == nil && r.plan.Root.InPlace || m != nil && (m.Kind == sandbox.Bind && m.Source == m.Target || m.Kind == sandbox.Guard) {
		return p
	}
	return ""
}

// limits decides resource limits. Those of setrlimit(2) hold for each process;
// the number of processes and the counts of /proc/sys/user for all together.
func (r *resolver) limits() {
	l := &r.prof.Limits
	for _, x := range []struct {
		key, name string
		resource  int
		value     int64
		zero      bool // 0 is a limit, not "not set"
	}{
		{"limits.memory", "data", unix.RLIMIT_DATA, l.Memory, false},
		{"limits.processes", "nproc", unix.RLIMIT_NPROC, l.Processes, false},
		{"limits.open_files", "nofile", unix.RLIMIT_NOFILE, l.OpenFiles, false},
		{"limits.file_size", "fsize", unix.RLIMIT_FSIZE, l.FileSize, false},
		{"limits.core", "core", unix.RLIMIT_CORE, l.Core, true},
		{"limits.cpu_time", "cpu", unix.RLIMIT_CPU, int64((l.CPUTime + 999999999) / 1000000000), false},
		{"limits.stack", "stack", unix.RLIMIT_STACK, l.Stack, false},
		{"limits.locked_memory", "memlock", unix.RLIMIT_MEMLOCK, l.Locked, false},
	} {
		if x.value == 0 && !x.zero || x.value == -1 {
			continue
		}
		v := uint64(x.value)
		if x.resource == unix.RLIMIT_CORE && v == 0 && r.facts.CorePipe {
			v = 1 // what a pipe does respect (Linux, fs/coredump.c: the recursion guard)
		}
		if hard := r.facts.Hard[x.resource]; v > hard {
			r.note("info", "", x.key, "%s is lowered to the caller's own limit of %d", x.key, hard)
			v = hard
		}
		r.plan.Limits = append(r.plan.Limits, sandbox.Limit{Name: x.name, Resource: x.resource, Soft: v, Hard: v, From: x.key})
	}
	// Of these the host counts what a user has in all: half is left to the rest of
	// the session. A host without a limit has nothing that could be used up.
	for _, x := range []struct {
		name     string
		resource int
	}{{"sigpending", unix.RLIMIT_SIGPENDING}, {"msgqueue", unix.RLIMIT_MSGQUEUE}} {
		if hard := r.facts.Hard[x.resource]; hard != unix.RLIM_INFINITY {
			r.plan.Limits = append(r.plan.Limits, sandbox.Limit{Name: x.name, Resource: x.resource, Soft: hard / 2, Hard: hard / 2})
		}
	}
	if r.prof.Limits.OpenFiles == 0 && r.facts.Nofile != [2]uint64{} {
		// Go raised sbx's own; the command is to have what the caller had.
		r.plan.Limits = append(r.plan.Limits, sandbox.Limit{Name: "nofile", Resource: unix.RLIMIT_NOFILE, Soft: r.facts.Nofile[0], Hard: r.facts.Nofile[1]})
	}
	if !r.prof.Security.NestedUserNS {
		// The one user namespace is the inner one, made after this is set. Any
		// other kind takes a capability over a user namespace of the command's
		// own, and so that kind first.
		r.plan.UCounts = append(r.plan.UCounts, sandbox.UCount{Name: "max_user_namespaces", Value: 1, From: "security.nested_userns"})
	}
	for _, x := range []struct {
		key, name string
		value     int64
	}{{"limits.inotify_instances", "max_inotify_instances", l.Inotify}, {"limits.inotify_watches", "max_inotify_watches", l.Watches}} {
		if x.value > 0 {
			r.plan.UCounts = append(r.plan.UCounts, sandbox.UCount{Name: x.name, Value: x.value, From: x.key})
		}
	}
}

func (r *resolver) security() {
	s := &r.plan.Security
	s.NoNewPrivs, s.Keyring = true, true
	s.NestedUserNS = r.prof.Security.NestedUserNS
	s.Keep = []sandbox.Capability{}
	if r.prof.User.As == "root" {
		s.Keep = sandbox.FakeRoot()
	}
}
