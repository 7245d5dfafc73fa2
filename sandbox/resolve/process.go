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
	withheld := r.prof.SecretVariables()
	for _, kv := range r.facts.Environ {
		name, value, ok := strings.Cut(kv, "=")
		if ok && name != "" && e.Passes(name) && !slices.Contains(withheld, name) {
			env[name] = value
		}
	}
	env["PATH"] = insidePath(r.withoutOwn(env["PATH"]))
	env["HOME"] = r.facts.Home
	env["USER"], env["LOGNAME"] = r.facts.User, r.facts.User
	if r.plan.IDs.UID == 0 {
		env["USER"], env["LOGNAME"] = "root", "root"
	}
	if !r.plan.Root.InPlace {
		env["XDG_RUNTIME_DIR"] = r.runtimeDir()
	}
	r.imageEnvironment(env)
	for k, v := range e.Set {
		env[k] = v
	}
	for i, entry := range r.prof.Process.Secrets {
		if s := r.prof.Secret(entry); s.Variable != "" {
			env[s.Variable] = r.secret(i)
		}
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
	if len(p.Passed) > 0 { // the command's own take their place
		for _, name := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} {
			delete(env, name)
		}
	}
	for k, v := range env {
		p.Env = append(p.Env, k+"="+v)
	}
	slices.Sort(p.Env)
	p.Lookup = strings.Split(insidePath(env["PATH"]), ":") // set by the profile or -e, it may be anything
}

// withoutOwn leaves directories of sbx's own out of a PATH: what a shim of sbx
// wrap stands for must not be found to be that shim again.
func (r *resolver) withoutOwn(v string) string {
	if !slices.ContainsFunc(r.StateDirs, func(own string) bool { return strings.Contains(v, own) }) {
		return v
	}
	dirs := strings.Split(v, ":")
	return strings.Join(slices.DeleteFunc(dirs, func(d string) bool {
		return slices.ContainsFunc(r.StateDirs, func(own string) bool { return within(path.Clean(d), own) })
	}), ":")
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

func (r *resolver) command() {
	p, in := &r.plan.Process, &r.prof.Process
	p.Argv = r.Argv
	if len(p.Argv) == 0 {
		p.Argv = in.Command
	}
	if len(p.Argv) == 0 {
		p.Argv = r.imageCommand()
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

// passed decides which descriptors that sbx was given go on to the command.
func (r *resolver) passed() {
	const key = "process.listen_fds"
	given := &r.facts.Passed
	switch {
	case !r.prof.Process.ListenFDs:
	case given.Err != nil:
		r.fail(&Error{Key: key, Msg: given.Err.Error(), Hint: "it is for what systemd's sockets, or systemd-socket-activate, pass"})
	case given.Others:
		r.note("info", "", key, "LISTEN_PID means another process, and not sbx; no descriptors are passed on")
	default:
		r.plan.Process.Passed = given.Names
	}
}

// leastInterval, 100 ms in nanoseconds, keeps checks from being all that a sandbox
// does.
const leastInterval = 100_000_000

// health takes the checks over.
func (r *resolver) health() {
	in := &r.prof.Health
	if len(in.Command) == 0 {
		return
	}
	if in.Command[0] == "" {
		r.fail(&Error{Key: "health.command", Msg: "the command is an empty string"})
	}
	if r.facts.Refused.Why != "" {
		r.note("degraded", "health", "health.command", "health is not checked: a sandbox without namespaces takes no further command")
		return
	}
	r.plan.Health = sandbox.Health{Argv: in.Command, Interval: max(in.Interval, leastInterval), Timeout: max(in.Timeout, leastInterval), StartPeriod: in.StartPeriod, Retries: in.Retries}
}

// workingDir is the profile's, else the current directory where it can be
// seen inside, else the workspace, else home, else /.
func (r *resolver) workingDir() {
	p := &r.plan.Process
	if d := r.prof.Process.WorkingDir; d != "" {
		p.Dir = d
		return
	}
	if r.ownCommand && r.imageDir() != "" {
		p.Dir = r.imageDir()
		r.note("info", "image", "process.working_dir", "the command starts in the image's directory %s", p.Dir)
		return
	}
	home := ""
	if r.prof.Home.Mode != "none" || r.plan.Root.InPlace {
		home = r.facts.Home
	}
	places := []string{r.visible(r.facts.Cwd), r.space, r.imageDir(), home}
	if r.foreign() { // who need not be let into what is the caller's
		places = []string{r.imageDir(), r.Image.Record.Account.Home}
	}
	for _, d := range places {
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
	if m == nil && r.plan.Root.InPlace || m != nil && (m.Kind == sandbox.Guard || showsHost(m) && m.Source == m.Target) {
		return p
	}
	return ""
}

// LeastMemory, in bytes, is less than any program is content with, and more than what a number
// comes to whose unit was forgotten.
const LeastMemory = 64 << 10

// limits decides resource limits. Those of setrlimit(2) hold for each process;
// the number of processes and the counts of /proc/sys/user for all together.
func (r *resolver) limits() {
	l := &r.prof.Limits
	if l.Memory > 0 && l.Memory < LeastMemory {
		r.fail(&Error{Key: "limits.memory", Msg: fmt.Sprintf("no program can be started in %d bytes", l.Memory), Hint: `write a unit, as in "512M"`})
	}
	if l.Processes == 1 {
		r.fail(&Error{Key: "limits.processes", Msg: "PID 1 of the sandbox is the one process, and no command could be started", Hint: "use 2 or more"})
	}
	memory := l.Memory
	if r.plan.Cgroup.Limits.MemoryMax != 0 {
		memory = 0 // it holds for all together, and lets one process reserve what it does not use
	}
	processes := l.Processes
	if r.plan.Cgroup.Limits.PidsMax != 0 {
		processes = 0 // it can be raised while they run, which this can't
	}
	for _, x := range []struct {
		key, name string
		resource  int
		value     int64
		zero      bool // 0 is a limit, not "not set"
	}{
		{"limits.memory", "data", unix.RLIMIT_DATA, memory, false},
		{"limits.processes", "nproc", unix.RLIMIT_NPROC, processes, false},
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
	if l.OpenFiles == 0 && r.facts.Nofile != [2]uint64{} {
		// Go raised sbx's own; the command is to have what the caller had.
		r.plan.Limits = append(r.plan.Limits, sandbox.Limit{Name: "nofile", Resource: unix.RLIMIT_NOFILE, Soft: r.facts.Nofile[0], Hard: r.facts.Nofile[1]})
	}
	r.counts()
}

// counts decides the counts of /proc/sys/user.
func (r *resolver) counts() {
	l := &r.prof.Limits
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
	if r.asRoot {
		s.Keep = sandbox.FakeRoot()
	}
}
