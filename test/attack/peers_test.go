package attack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// peer is another tool that runs commands in a sandbox, called as somebody
// would who knows it well and wants what the profile build gives.
type peer struct {
	name, version string
	missing       string // why it can't be tried
	// start is the argument vector before the command. more are flags of one
	// contest.
	start func(w *world.World, more []string) []string
}

// shown is the command line for people, with the paths named.
func (p *peer) shown() string {
	w := &world.World{Home: "$HOME", Work: "$PWD", Victim: "$VICTIM", Probe: "$PROBE", Env: []string{"PATH=$PATH"}}
	return strings.Join(p.start(w, nil), " ") + " COMMAND"
}

// etcOf is what of /etc the peers show, as build does: what compilers and
// interpreters read.
var etcOf = []string{
	"alternatives", "ca-certificates", "group", "host.conf", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
	"localtime", "nsswitch.conf", "os-release", "passwd", "profile", "ssl", "terminfo", "timezone",
}

func bwrapStart(w *world.World, more []string) []string {
	// A hard limit of 0 on core files is the shell's affair, not bwrap's.
	argv := []string{
		"prlimit", "--core=0:0", "bwrap", "--unshare-user", "--unshare-all", "--disable-userns", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
		"--clearenv", "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "--setenv", "HOME", w.Home, "--setenv", "LANG", "C.UTF-8", "--setenv", "TERM", "xterm",
		"--ro-bind", "/usr", "/usr",
	}
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		to, err := os.Readlink("/" + d)
		switch {
		case w.Home == "$HOME": // for people; it is so on most systems
			argv = append(argv, "--symlink", "usr/"+d, "/"+d)
		case err == nil:
			argv = append(argv, "--symlink", to, "/"+d)
		default:
			argv = append(argv, "--ro-bind-try", "/"+d, "/"+d)
		}
	}
	for _, n := range etcOf {
		argv = append(argv, "--ro-bind-try", "/etc/"+n, "/etc/"+n)
	}
	argv = append(argv, "--proc", "/proc", "--dev", "/dev", "--size", "67108864", "--tmpfs", "/dev/shm", "--size", "2147483648", "--tmpfs", "/tmp", "--tmpfs", "/run",
		"--size", "1073741824", "--tmpfs", w.Home, "--bind", w.Work, w.Work, "--ro-bind-try", w.Work+"/.git", w.Work+"/.git", "--chdir", w.Work, "--hostname", "sandbox")
	argv = append(argv, more...)
	return append(argv, "--remount-ro", "/", "--")
}

func firejailStart(w *world.World, more []string) []string {
	// firejail takes the environment over; env -i is what empties it.
	argv := []string{
		"env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + w.Home, "LANG=C.UTF-8", "TERM=xterm", "prlimit", "--core=0:0",
		"firejail", "--quiet", "--noprofile", "--deterministic-exit-code", "--private", "--private-dev", "--private-etc=" + strings.Join(etcOf, ","),
		"--whitelist=" + w.Work, "--read-only=" + w.Work + "/.git", "--net=none", "--caps.drop=all", "--nonewprivs", "--noroot", "--nogroups", "--seccomp",
		"--restrict-namespaces", "--ipc-namespace", "--disable-mnt", "--dbus-user=none", "--dbus-system=none", "--nosound", "--no3d", "--nodvd", "--notv", "--nou2f", "--novideo",
		"--blacklist=/run/user", "--blacklist=/sys", "--hostname=sandbox",
	}
	argv = append(argv, more...)
	return append(argv, "--")
}

func podmanStart(w *world.World, more []string) []string {
	argv := []string{
		"podman", "run", "--rm", "--network=none", noCgroups, "--log-driver=none", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges",
		"--userns=keep-id", "--ulimit=core=0:0", "--tmpfs=/tmp:size=2g,mode=1777", "--tmpfs=/run", "--tmpfs=" + w.Home + ":size=1g", "--shm-size=64m",
		"--volume=" + w.Work + ":" + w.Work, "--workdir=" + w.Work, "--env=HOME=" + w.Home, "--hostname=sandbox",
	}
	for _, d := range []string{"/usr"} {
		argv = append(argv, "--volume="+d+":"+d+":ro")
	}
	if world.Exists(w.Work + "/.git") {
		argv = append(argv, "--volume="+w.Work+"/.git:"+w.Work+"/.git:ro")
	}
	argv = append(argv, more...)
	return append(argv, "--rootfs", w.Home+"/rootfs")
}

// installed are the peers, each with why it can't be tried where that is so.
func installed() []peer {
	list := []peer{{name: "bwrap", start: bwrapStart}, {name: "firejail", start: firejailStart}, {name: "podman", start: podmanStart}}
	for i := range list {
		p := &list[i]
		if _, err := exec.LookPath(p.name); err != nil {
			p.missing = "not installed"
			continue
		}
		text, err := exec.Command(p.name, "--version").CombinedOutput()
		if err != nil {
			p.missing = fmt.Sprintf("%s --version: %v", p.name, err)
			continue
		}
		p.version, _, _ = strings.Cut(string(text), "\n")
		p.missing = p.tryOut()
		if other := withoutNoCgroups(*p); p.missing != "" && p.name == "podman" && other.tryOut() == "" {
			other.missing = ""
			*p = other
		}
	}
	return list
}

// withoutNoCgroups is podman with runc, which does not know how to do without
// control groups and, where the user has none, does not need to.
func withoutNoCgroups(p peer) peer {
	start := p.start
	p.start = func(w *world.World, more []string) []string {
		return slices.DeleteFunc(start(w, more), func(arg string) bool { return arg == noCgroups })
	}
	return p
}

// noCgroups is what podman with crun has to be told where the user has no control
// groups.
const noCgroups = "--cgroups=disabled"

// tryOut runs true, and returns why that did not work.
func (p *peer) tryOut() string {
	home, err := os.MkdirTemp("", "sbx-peer-")
	if err != nil {
		return err.Error()
	}
	defer os.RemoveAll(home)
	w := &world.World{Home: home, Work: home + "/work", Victim: home + "/victim"}
	for _, d := range []string{"work", "victim", "rootfs/usr", "rootfs/etc"} {
		if err := os.MkdirAll(filepath.Join(home, d), 0o755); err != nil {
			return err.Error()
		}
	}
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		_ = os.Symlink("usr/"+d, home+"/rootfs/"+d)
	}
	argv := append(p.start(w, nil), "/usr/bin/true")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = w.Work
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Sprintf("it can't run here: %v: %s", err, strings.TrimSpace(string(text)))
	}
	return ""
}

// contest is an attack that can be tried in the same words under any tool.
type contest struct {
	id, what string
	profile  string              // of sbx, beyond build
	more     map[string][]string // flags of a peer that mean the same as profile
	only     []string            // the peers that can be asked for it, if not all
	setup    func(t *testing.T, w *world.World)
	// try attacks and returns what came of it: "" if nothing was gained, else
	// what was. under makes of a command one that the tool runs.
	try func(t *testing.T, w *world.World, under func(argv ...string) []string) string
}

// didNotRun begins the message of a contest that proves nothing.
const didNotRun = "the probe did not run"

// said is an attack that is one command. It gained something if a line of its
// output matches none of the ways to be refused.
func said(probe ...string) func(*testing.T, *world.World, func(argv ...string) []string) string {
	return func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
		return gained(t, w.Run(t, under(expand(w, probe)...)...))
	}
}

// gained are the lines of a probe's output that report a success. One that
// says nothing did not run.
func gained(t *testing.T, got world.Result) string {
	t.Helper()
	var list []string
	for line := range strings.Lines(got.Out) {
		if strings.HasSuffix(strings.TrimSpace(line), "reached") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	if len(list) == 0 && !strings.Contains(got.Out, "denied") {
		t.Fatalf(didNotRun+": status %d, it says %q, %q", got.Code, got.Out, got.Err)
	}
	return strings.Join(list, ", ")
}

func TestContests(t *testing.T) {
	sbxtest.Leftovers(t)
	tools := []peer{}
	if *peers {
		tools = installed()
	}
	seen := map[string]bool{}
	for _, c := range contests() {
		if r := (&row{id: c.id}); r.of() == 0 || seen[c.id+c.what] {
			t.Errorf("the contest %s: %s has no good id, or another one's", c.id, c.what)
		}
		seen[c.id+c.what] = true
		t.Run(c.id+"/"+c.what, func(t *testing.T) {
			c.run(t, "control", func(w *world.World, argv []string) []string { return argv })
			c.run(t, "sbx", func(w *world.World, argv []string) []string {
				return w.Sandboxed(w.Profile(t, expander(w).Replace(c.profile)), argv...)
			})
			for _, p := range tools {
				if p.missing != "" {
					continue
				}
				c.run(t, p.name, func(w *world.World, argv []string) []string {
					more := expand(w, c.more[p.name])
					return append(p.start(w, more), argv...)
				})
			}
		})
	}
}

func (c *contest) run(t *testing.T, tool string, under func(w *world.World, argv []string) []string) {
	t.Run(tool, func(t *testing.T) {
		w := world.New(t)
		if c.only != nil && tool != "control" && tool != "sbx" && !slices.Contains(c.only, tool) {
			t.Skip("it has no flag for that")
		}
		if c.setup != nil {
			c.setup(t, w)
		}
		if tool == "podman" {
			podmanRoot(t, w)
		}
		got := c.try(t, w, func(argv ...string) []string { return under(w, argv) })
		why, waits := pending[c.id]
		switch {
		case tool == "sbx" && waits && os.Getenv("SBX_PENDING") == "":
			if got == "" {
				t.Errorf("%s holds although it is pending (%s): take it off the list", c.id, why)
			}
		case tool == "control" && got == "":
			t.Error("control: without a sandbox nothing was gained")
		case tool != "control" && got != "":
			t.Errorf("the attack gained: %s", got)
		}
	})
}

// podmanRoot makes the directories and links of a root file system that shows
// the host's /usr.
func podmanRoot(t *testing.T, w *world.World) {
	t.Helper()
	for _, d := range []string{"usr", "etc", "tmp", "run", "proc", "dev", "sys", strings.TrimPrefix(w.Home, "/")} {
		if err := os.MkdirAll(filepath.Join(w.Home, "rootfs", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+d, w.Home+"/rootfs/"+d); err != nil {
			t.Fatal(err)
		}
	}
}
