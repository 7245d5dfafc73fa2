package resolve

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
)

func TestPassed(t *testing.T) {
	given := host.Passed{Names: []string{"web", "unknown"}}
	vars := []string{"LISTEN_FDS=2", "LISTEN_PID=7", "LISTEN_FDNAMES=web:"}
	for _, tt := range []struct {
		name, text string
		passed     host.Passed
		want, env  []string
	}{
		{"asked for", "process.listen_fds = true", given, given.Names, nil},
		{"not asked for", "", given, nil, vars},
		{"there are none", "process.listen_fds = true", host.Passed{}, nil, vars},
		{"another's", "process.listen_fds = true", host.Passed{Others: true}, nil, vars},
		{"not asked for, and broken", "", host.Passed{Err: errors.New("broken")}, nil, vars},
	} {
		in := input(t, "environment.pass = [\"LISTEN_*\"]\n"+tt.text)
		in.Facts.Environ, in.Facts.Passed = vars, tt.passed
		plan := planned(t, in)
		same(t, tt.name, plan.Process.Passed, tt.want)
		var env []string
		for _, kv := range plan.Process.Env {
			if strings.HasPrefix(kv, "LISTEN_") {
				env = append(env, kv)
			}
		}
		slices.Sort(tt.env)
		same(t, tt.name+": variables", env, tt.env)
	}
	in := input(t, "process.listen_fds = true")
	in.Facts.Passed.Err = errors.New("descriptor 3 was not passed")
	if _, err := Plan(in); err == nil || !strings.Contains(err.Error(), "descriptor 3 was not passed") {
		t.Errorf("broken: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	caller := []string{"PATH=/usr/bin:bin::/usr/bin:./x:/opt/bin", "HOME=/elsewhere", "USER=other", "LC_ALL=C", "LC_TIME=", "API_KEY=k", "OTHER_KEY=o", "SHELL=/bin/sh", "broken"}
	base := []string{"HOME=/home/dev", "LOGNAME=dev", "PATH=" + defaultPath, "SBX=1", "SBX_NAME=x", "USER=dev", "XDG_RUNTIME_DIR=/run/user/1000", "container=sbx"}
	with := func(change ...string) []string {
		list := slices.Clone(base)
		for _, kv := range change {
			name, _, _ := strings.Cut(kv, "=")
			list = slices.DeleteFunc(list, func(s string) bool { return strings.HasPrefix(s, name+"=") })
			list = append(list, kv)
		}
		slices.Sort(list)
		return list
	}
	for _, tt := range []struct {
		name, text string
		env        []string
		want       []string
	}{
		{"nothing is passed", "", nil, base},
		{"globs", "environment.pass = [\"LC_*\"]", nil, with("LC_ALL=C", "LC_TIME=")},
		{"PATH is cut down to its absolute entries", "environment.pass = [\"PATH\"]", nil, with("PATH=/usr/bin:/opt/bin")},
		{"unset beats a glob", "environment.pass = [\"*_KEY\"]\nenvironment.unset = [\"*_KEY\"]", nil, base},
		{"a name beats a glob of unset", "environment.pass = [\"*_KEY\", \"API_KEY\"]\nenvironment.unset = [\"*_KEY\"]", nil, with("API_KEY=k")},
		{"unset by name beats all", "environment.pass = [\"API_KEY\"]\nenvironment.unset = [\"API_KEY\"]", nil, base},
		{"set beats unset", "environment.set = { API_KEY = \"s\" }\nenvironment.unset = [\"*\"]", nil, with("API_KEY=s")},
		{"set HOME and PATH", "environment.set = { HOME = \"/h\", PATH = \"bin\" }", nil, with("HOME=/h", "PATH=bin")},
		{"-e NAME=VALUE beats set", "environment.set = { A = \"s\" }", []string{"A=b=c", "B="}, with("A=b=c", "B=")},
		{"-e NAME", "", []string{"SHELL"}, with("SHELL=/bin/sh")},
		{"-e of what is not there", "", []string{"NONE"}, base},
		{"what sbx says of itself stands", "", []string{"SBX=0", "container=x"}, base},
		{"fake root", "user.as = \"root\"", nil, with("USER=root", "LOGNAME=root", "XDG_RUNTIME_DIR=/run/user/0")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			in.Facts.Environ, in.Env = caller, tt.env
			same(t, "environment", planned(t, in).Process.Env, tt.want)
		})
	}
	in := input(t, "root.source = \"/\"")
	same(t, "no runtime directory in the host's tree", slices.Contains(planned(t, in).Process.Env, "XDG_RUNTIME_DIR=/run/user/1000"), false)
	in.Env = []string{"NONE"}
	same(t, "warning", notes(planned(t, in), "warning"), []string{": -e NONE: there is no such variable to pass on"})
	in.Env = []string{"=x", "A=\x00", "", "B=1"}
	same(t, "errors", faults(t, in), []string{": -e number 1 is not NAME or NAME=VALUE", ": -e number 2 is not NAME or NAME=VALUE"})
}

func TestLookup(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  []string
		want []string
	}{
		{"default", nil, strings.Split(defaultPath, ":")},
		{"absolute entries", []string{"PATH=/a:/b:/a"}, []string{"/a", "/b"}},
		{"empty and relative entries are no places", []string{"PATH=:/a:b:./c:"}, []string{"/a"}},
		{"empty", []string{"PATH="}, strings.Split(defaultPath, ":")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, "")
			in.Env = tt.env
			same(t, "look-up", planned(t, in).Process.Lookup, tt.want)
		})
	}
}

func TestCommand(t *testing.T) {
	in := input(t, "[process]\ncommand = [\"make\", \"-j2\"]\nstop_signal = \"SIGINT\"\nstop_timeout = \"3s\"\ntimeout = \"1m\"\nnice = 3\noom_score_adj = 9\numask = \"0077\"")
	in.Argv = nil
	p := planned(t, in).Process
	p.Env, p.Lookup = nil, nil
	same(t, "process", p, sandbox.Process{
		Argv: []string{"make", "-j2"}, Dir: "/home/dev/proj", Umask: 0o77, Nice: 3, OOMScoreAdj: 9,
		Timeout: time.Minute, StopTimeout: 3 * time.Second, StopSignal: int(unix.SIGINT),
	})
	in.Argv = []string{"true", ""}
	same(t, "the command line's", planned(t, in).Process.Argv, []string{"true", ""})
	in.Argv = []string{""}
	same(t, "empty", faults(t, in), []string{"process.command: the command is an empty string"})
	in.Argv, in.Profile.Process.Command = nil, nil
	same(t, "none", faults(t, in), []string{"process.command: there is no command to run; set process.command, or add it to the command line after --"})
	in = input(t, "")
	in.Profile.Process.StopSignal = ""
	same(t, "default signal", planned(t, in).Process.StopSignal, int(unix.SIGTERM))
}

func TestWorkingDir(t *testing.T) {
	for _, tt := range []struct{ name, text, cwd, want string }{
		{"the current one in the workspace", "", "/home/dev/proj/sub", "/home/dev/proj/sub"},
		{"the profile's", "process.working_dir = \"/tmp\"", "/home/dev/proj", "/tmp"},
		{"hidden by a tmpfs: the workspace", "", "/home/dev", "/home/dev/proj"},
		{"hidden, no workspace: home", "workspace.access = \"none\"", "/srv", "/home/dev"},
		{"hidden, neither", "workspace.access = \"none\"\nhome.mode = \"none\"", "/srv", "/"},
		{"at another place inside", "workspace.access = \"none\"\nhome.mode = \"none\"\n[mounts.\"/srv\"]\nsource = \"/etc\"", "/srv", "/"},
		{"the host's root", "root.source = \"/\"\nhome.mode = \"none\"\nworkspace.access = \"none\"", "/srv", "/srv"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			in.Facts.Cwd = tt.cwd
			p := planned(t, in)
			same(t, "directory", p.Process.Dir, tt.want)
			var want []string
			if tt.want != tt.cwd && in.Profile.Process.WorkingDir == "" {
				want = []string{": the current directory " + tt.cwd + " can't be seen inside; the command starts in " + tt.want}
			}
			same(t, "notes", slices.DeleteFunc(notes(p, "info"), func(s string) bool { return s[0] != ':' }), want)
		})
	}
}

func TestLimits(t *testing.T) {
	lim := func(name string, resource int, soft, hard uint64, from string) sandbox.Limit {
		return sandbox.Limit{Name: name, Resource: resource, Soft: soft, Hard: hard, From: from}
	}
	core := lim("core", unix.RLIMIT_CORE, 0, 0, "limits.core")
	for _, tt := range []struct {
		name, text string
		change     func(*host.Facts)
		want       []sandbox.Limit
		notes      []string
	}{
		{"default", "", nil, []sandbox.Limit{core}, nil},
		{"unlimited is the caller's", "[limits]\ncore = \"unlimited\"", nil, nil, nil},
		{
			"all", "[limits]\nmemory = \"1M\"\nprocesses = 2\nopen_files = 3\nfile_size = 4\ncore = 5\ncpu_time = \"1500ms\"\nstack = 7\nlocked_memory = 8", nil,
			[]sandbox.Limit{
				lim("data", unix.RLIMIT_DATA, 1<<20, 1<<20, "limits.memory"), lim("nproc", unix.RLIMIT_NPROC, 2, 2, "limits.processes"),
				lim("nofile", unix.RLIMIT_NOFILE, 3, 3, "limits.open_files"), lim("fsize", unix.RLIMIT_FSIZE, 4, 4, "limits.file_size"),
				lim("core", unix.RLIMIT_CORE, 5, 5, "limits.core"), lim("cpu", unix.RLIMIT_CPU, 2, 2, "limits.cpu_time"),
				lim("stack", unix.RLIMIT_STACK, 7, 7, "limits.stack"), lim("memlock", unix.RLIMIT_MEMLOCK, 8, 8, "limits.locked_memory"),
			}, nil,
		},
		{
			"the caller's hard limit", "[limits]\nprocesses = 100", func(f *host.Facts) { f.Hard[unix.RLIMIT_NPROC] = 50 },
			[]sandbox.Limit{lim("nproc", unix.RLIMIT_NPROC, 50, 50, "limits.processes"), core},
			[]string{"limits.processes: limits.processes is lowered to the caller's own limit of 50"},
		},
		{
			"half of what the user has on the host", "", func(f *host.Facts) { f.Hard[unix.RLIMIT_SIGPENDING], f.Hard[unix.RLIMIT_MSGQUEUE] = 9, 100 },
			[]sandbox.Limit{core, lim("sigpending", unix.RLIMIT_SIGPENDING, 4, 4, ""), lim("msgqueue", unix.RLIMIT_MSGQUEUE, 50, 50, "")}, nil,
		},
		{"open files as sbx found them", "", func(f *host.Facts) { f.Nofile = [2]uint64{1024, 4096} }, []sandbox.Limit{core, lim("nofile", unix.RLIMIT_NOFILE, 1024, 4096, "")}, nil},
		{"open files of the profile", "[limits]\nopen_files = 9", func(f *host.Facts) { f.Nofile = [2]uint64{1024, 4096} }, []sandbox.Limit{lim("nofile", unix.RLIMIT_NOFILE, 9, 9, "limits.open_files"), core}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			if tt.change != nil {
				tt.change(&in.Facts)
			}
			p := planned(t, in)
			same(t, "limits", p.Limits, tt.want)
			same(t, "notes", notes(p, "info"), tt.notes)
		})
	}
	own := sandbox.UCount{Name: "max_user_namespaces", Value: 1, From: "security.nested_userns"}
	same(t, "default counts", planned(t, input(t, "security.nested_userns = false")).UCounts, []sandbox.UCount{own})
	same(t, "all counts", planned(t, input(t, "security.nested_userns = true\n[limits]\ninotify_instances = 5\ninotify_watches = 6")).UCounts,
		[]sandbox.UCount{{Name: "max_inotify_instances", Value: 5, From: "limits.inotify_instances"}, {Name: "max_inotify_watches", Value: 6, From: "limits.inotify_watches"}})
}

func TestSecurity(t *testing.T) {
	security := func(text string) sandbox.Security {
		s := planned(t, input(t, text)).Security
		s.Landlock = sandbox.Landlock{} // has tests of its own
		return s
	}
	filter := sandbox.Seccomp{Policy: "default", SpecAllow: true, From: "security.seccomp"}
	same(t, "own id", security("security.nested_userns = false"), sandbox.Security{NoNewPrivs: true, Keyring: true, Keep: []sandbox.Capability{}, Seccomp: filter})
	same(t, "fake root", security("user.as = \"root\"\nsecurity.nested_userns = true"),
		sandbox.Security{NoNewPrivs: true, Keyring: true, NestedUserNS: true, Keep: sandbox.FakeRoot(), Seccomp: filter})
}

func TestNamespaceFeatures(t *testing.T) {
	state := func(p *sandbox.Plan) map[string]string {
		m := map[string]string{}
		for _, f := range p.Features {
			m[f.Name] = f.State
		}
		return m
	}
	all := map[string]string{
		"user": "enforced", "mounts": "enforced", "pid": "enforced", "ipc": "enforced", "uts": "enforced", "cgroup_namespace": "enforced",
		"network": "enforced", "egress_policy": "enforced", "no_new_privs": "enforced", "capabilities": "enforced", "keyring": "enforced", "seccomp": "enforced", "no_nested_namespaces": "enforced",
		"environment": "enforced", "terminal": "enforced", "core": "enforced", "audit": "enforced", "landlock": "enforced", "abstract_sockets": "enforced",
	}
	same(t, "features", state(planned(t, input(t, "security.nested_userns = false"))), all)
	shared := planned(t, input(t, "security.nested_userns = true\n[network]\nmode = \"host\"\n[namespaces]\nipc = \"host\"\nuts = \"host\"\ncgroup = \"host\"\n[limits]\nmemory = \"1G\"\nprocesses = 3"))
	for _, name := range []string{"ipc", "uts", "cgroup_namespace", "network", "egress_policy", "no_nested_namespaces"} {
		all[name] = "off"
	}
	all["memory-limit"], all["cgroup"], all["pids-limit"], all["landlock"] = "degraded", "degraded", "enforced", "degraded"
	same(t, "shared with the host", state(shared), all)
	same(t, "host name", shared.Hostname, "desk")
	same(t, "degraded", notes(shared, "degraded"), []string{"limits.memory: limits.memory: it holds for each process, not for all together, since there is no systemd of yours; the group is not delegated"})
}

func TestRequire(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"enforced", "require = [\"network\", \"user\"]", nil},
		{"all", "require = [\"all\"]", nil},
		{"degraded", "require = [\"user\", \"memory-limit\"]\n[limits]\nmemory = \"1G\"", []string{"policy.require[1]: memory-limit is required and is degraded here: it holds for each process, not for all together, since there is no systemd of yours; the group is not delegated; see sbx doctor"}},
		{"off", "require = [\"network\"]\n[network]\nmode = \"host\"", []string{"policy.require[0]: network is required and is off here: shared with the host; see sbx doctor"}},
		{"not set", "require = [\"memory-limit\"]", []string{"policy.require[0]: memory-limit is required, but the profile sets nothing of the kind; set it, or drop the requirement; sbx explain lists the features"}},
		{"a group that can't be had", "require = [\"cgroup\"]\n[limits]\nmemory = \"1G\"", []string{"policy.require[0]: cgroup is required and is degraded here: there is no systemd of yours; the group is not delegated; see sbx doctor"}},
		{"a group that nothing asks for", "require = [\"cgroup\"]", []string{"policy.require[0]: cgroup is required, but the profile sets nothing of the kind; set it, or drop the requirement; sbx explain lists the features"}},
		{"a group that the profile does without", "require = [\"cgroup\"]\n[limits]\ncgroup = \"never\"\nmemory = \"1G\"", []string{`policy.require[0]: cgroup is required and is off here: limits.cgroup is "never"; see sbx doctor`}},
		{"a key", "require = [\"limits.memory\"]\n[limits]\nmemory = \"1G\"", []string{"policy.require[0]: limits.memory is a key of the profile and not a feature; require what it asks for: memory-limit"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			same(t, "errors", faults(t, input(t, "[policy]\n"+tt.text)), tt.want)
		})
	}
}

func TestCaller(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		change     func(*host.Facts)
		want       []string
	}{
		{"root", "", func(f *host.Facts) { f.UID = 0 }, []string{"security.allow_root: this profile refuses to be run by root; run it as an ordinary user"}},
		{"root, allowed", "security.allow_root = true", func(f *host.Facts) { f.UID = 0 }, nil},
		{"no current directory", "", func(f *host.Facts) { f.Cwd = "" }, []string{": the current directory no longer exists; change to a directory that does"}},
		{"a directory", "", func(f *host.Facts) { f.Stdio[0].Directory = true }, []string{": descriptor 0 is a directory, which would let the command out of the sandbox; redirect it to a file or to /dev/null"}},
		{
			"O_PATH", "", func(f *host.Facts) { f.Stdio[1].Path, f.Stdio[2].Path = true, true },
			[]string{
				": descriptor 1 was opened with O_PATH, by which the command could open what it names anew; redirect it to a file or to /dev/null",
				": descriptor 2 was opened with O_PATH, by which the command could open what it names anew; redirect it to a file or to /dev/null",
			},
		},
		{"a terminal without /dev", "root.dev = \"none\"\nprocess.tty = \"always\"", nil, []string{`process.tty: a terminal needs /dev; set root.dev = "minimal" or process.tty = "never"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			if tt.change != nil {
				tt.change(&in.Facts)
			}
			same(t, "errors", faults(t, in), tt.want)
		})
	}
}

// TestAllAtOnce: one profile with five faults gives five errors.
func TestAllAtOnce(t *testing.T) {
	in := input(t, "user.map = \"range\"\nroot.source = \"/none\"\n[policy]\nrequire = [\"x\"]\n"+mountTable("/data", ""))
	in.Facts.RangeErr, in.Argv = unix.ENOENT, nil
	var keys []string
	for _, f := range faults(t, in) {
		key, _, _ := strings.Cut(f, ": ")
		keys = append(keys, key)
	}
	same(t, "keys", keys, []string{"user.map", "root.source", "mounts./data", "process.command", "policy.require[0]"})
}

func TestError(t *testing.T) {
	e := &Error{Key: "k", Msg: "doing", Hint: "do", Err: unix.EPERM}
	same(t, "text", e.Error(), "doing: operation not permitted; do")
	same(t, "cause", e.Unwrap(), error(unix.EPERM))
	same(t, "plain", (&Error{Msg: "m"}).Error(), "m")
}

// TestPure: deciding looks at the host through Facts alone. Of x/sys it may use
// numbers, and the table of signals' names.
func TestPure(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			if slices.Contains([]string{`"os"`, `"os/exec"`, `"os/user"`, `"io/fs"`, `"path/filepath"`, `"syscall"`, `"net"`, `"time"`}, imp.Path.Value) {
				t.Errorf("%s imports %s", name, imp.Path.Value)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name != "SignalNum" {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "unix" {
					t.Errorf("%s calls unix.%s", name, s.Sel.Name)
				}
			}
			return true
		})
	}
}
