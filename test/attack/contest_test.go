package attack

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/world"
)

// tryAll is a shell's function that runs a command and says how it went.
const tryAll = `t() { name=$1; shift; if "$@" 2>/dev/null; then echo "$name: reached"; else echo "$name: denied"; fi; }; `

// rightless starts a tool in a namespace that was made for a contest as anybody
// would be there. bwrap refuses to start with capabilities.
var rightless = []string{"setpriv", "--ambient-caps=-all", "--inh-caps=-all"}

// bare says that no tool is between: it is the control.
func bare(under func(argv ...string) []string) bool { return len(under("true")) == 1 }

// unless is an attack whose control is another command.
func unless(control []string, probe ...string) func(*testing.T, *world.World, func(argv ...string) []string) string {
	return func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
		if bare(under) {
			return said(control...)(t, w, under)
		}
		return said(probe...)(t, w, under)
	}
}

// listen makes a Unix socket whose path may be longer than an address.
func listen(t *testing.T, path string) {
	t.Helper()
	if strings.HasPrefix(path, "@") {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	l, err := net.Listen("unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	t.Cleanup(func() { l.Close() })
}

// sockets are listeners, each of which is tried.
func sockets(places ...string) func(*testing.T, *world.World, func(argv ...string) []string) string {
	return func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
		tmp, err := os.MkdirTemp("/tmp", "sbx-attack-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(tmp)
		argv := []string{w.Probe, "all"}
		for _, p := range expand(w, places) {
			p = strings.ReplaceAll(p, "TMP", tmp)
			listen(t, p)
			argv = append(argv, "connect", p, "--")
		}
		return gained(t, w.Run(t, under(argv[:len(argv)-1]...)...))
	}
}

// starving takes all that the host's user has of something, so that nothing is
// left outside.
func starving(id, what, probe string, most int) contest {
	return contest{id: id, what: what, try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
		hold := w.Work + "/hold"
		w.Write(t, hold, "")
		var beside string
		inside := holding(t, w.Command(under(w.Probe, probe, fmt.Sprint(most), hold)...), hold, func() { beside = w.Run(t, w.Probe, probe, "1", "-").Out })
		if beside == "" || inside == "" {
			t.Fatalf(didNotRun+": it says %q, and beside it %q", inside, beside)
		}
		if beside != "1: reached\n" || strings.HasPrefix(inside, fmt.Sprint(most, ":")) {
			return strings.TrimSpace(inside) + "; beside it " + strings.TrimSpace(beside)
		}
		return ""
	}}
}

func contests() []contest {
	repository := func(t *testing.T, w *world.World) {
		for name, text := range map[string]string{"config": "[core]\n", "HEAD": "ref: refs/heads/main\n", "hooks/sample": "", "objects/x": "", "refs/x": ""} {
			w.Write(t, w.Work+"/.git/"+name, text)
		}
	}
	abstract := fmt.Sprintf("@sbx-attack-%d", os.Getpid())
	return []contest{{
		id: "R01-control-sockets", what: "of the session and in /tmp",
		try: sockets("HOMEDIR/run/bus", "HOMEDIR/.gnupg/S.gpg-agent", "TMP/default"),
	}, {
		id: "R02-git", what: "what git of the host runs", setup: repository,
		try: said("sh", "-c", tryAll+`t config sh -c 'echo x >>.git/config'; t hook sh -c 'echo x >.git/hooks/pre-commit'; t commondir sh -c 'echo x >.git/commondir'; t rename mv .git away`),
	}, {
		id: "R10-inherited-fds", what: "a directory of the host",
		try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
			dir, err := os.Open(w.Victim)
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			cmd := w.Command(under(w.Probe, "all", "readat", "3", "key", "--", "read", "/proc/self/fd/3/key")...)
			cmd.ExtraFiles = []*os.File{dir}
			return gained(t, world.Wait(t, cmd))
		},
	}, {
		id: "R12-links", what: "above a mount in the project",
		profile: "[mounts.\"WORK/sub/new\"]\ntype = \"tmpfs\"\n", only: []string{"bwrap", "podman"},
		more: map[string][]string{"bwrap": {"--tmpfs", "WORK/sub/new"}, "podman": {"--tmpfs=WORK/sub/new"}},
		setup: func(t *testing.T, w *world.World) {
			if err := os.Symlink(w.Victim, w.Work+"/sub"); err != nil {
				t.Fatal(err)
			}
		},
		try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
			if bare(under) {
				if err := os.MkdirAll(w.Work+"/sub/new", 0o755); err != nil {
					t.Fatal(err)
				}
			} else {
				w.Run(t, under("true")...)
			}
			if names, err := os.ReadDir(w.Victim); err != nil || len(names) != 1 {
				return "a directory made outside of the project"
			}
			return ""
		},
	}, {
		id: "R12-links", what: "in the place of a bind's source in the project",
		profile: "[mounts.\"/mnt/x\"]\nsource = \"WORK/cache\"\n", only: []string{"bwrap", "podman"},
		more: map[string][]string{"bwrap": {"--ro-bind", "WORK/cache", "/mnt/x"}, "podman": {"--volume=WORK/cache:/mnt/x:ro"}},
		setup: func(t *testing.T, w *world.World) {
			if err := os.Symlink(w.Victim, w.Work+"/cache"); err != nil {
				t.Fatal(err)
			}
		},
		try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
			path := "/mnt/x/key"
			if bare(under) {
				path = w.Work + "/cache/key"
			}
			if got := w.Run(t, under(w.Probe, "read", path)...); got.Out == "reached\n" {
				return "the victim's key"
			}
			return ""
		},
	}, {
		id: "R14-terminal", what: "typing on the caller's",
		try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
			if bare(under) && content("/proc/sys/dev/tty/legacy_tiocsti") == "0\n" {
				return "nothing, since this kernel refuses it to all"
			}
			term := pty.Open(t)
			at(t, w, term, 7, under(w.Probe, "type", "typed")...)
			if n := term.Pending(t); n > 0 {
				return fmt.Sprintf("%d bytes typed", n)
			}
			return ""
		},
	}, {
		id: "R15-init", what: "hold of PID 1",
		try: unless([]string{"PROBE", "pid", "child"}, "PROBE", "pid", "1"),
	}, {
		id: "R17-environment", what: "secrets of the caller",
		try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
			w.Env = append(w.Env, "X_TOKEN=kept-back", "AWS_SECRET_ACCESS_KEY=kept-back", "SSH_AUTH_SOCK=/kept-back")
			got := w.Run(t, under(w.Probe, "env")...)
			if !strings.Contains(got.Out, "HOME=") {
				t.Fatalf(didNotRun+": %d %q %q", got.Code, got.Out, got.Err)
			}
			if strings.Contains(got.Out, "kept-back") {
				return "a secret"
			}
			return ""
		},
	}, {
		id: "R18-keyrings", what: "a key of the session",
		try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
			return gained(t, w.Run(t, append([]string{w.Probe, "withkey", "sbx-attack"}, under(w.Probe, "keysearch", "sbx-attack")...)...))
		},
	}, {
		id: "R19-nested-namespaces", what: "of each kind",
		try: said("PROBE", "clone"),
	}, {
		id: "R20-system-calls", what: "that most programs have no use for",
		try: said("PROBE", "calls"),
	}, {
		id: "R27-submounts", what: "below a read-only bind",
		profile: "[mounts.\"/mnt/ro\"]\nsource = \"WORK/src\"\n", only: []string{"bwrap"},
		more: map[string][]string{"bwrap": {"--ro-bind", "WORK/src", "/mnt/ro"}},
		setup: func(t *testing.T, w *world.World) {
			w.Write(t, w.Work+"/src/sub/x", "")
			w.Write(t, w.Work+"/dst/x", "")
		},
		try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
			argv := []string{w.Probe, "weakbind", w.Work + "/src", w.Work + "/dst", w.Work + "/dst/sub/y"}
			if !bare(under) {
				argv = slices.Concat(rightless, under(w.Probe, "create", "/mnt/ro/sub/y"))
			}
			return gained(t, w.Run(t, append([]string{w.Probe, "in-ns", w.Probe, "mountas", w.Work + "/src/sub", "--"}, argv...)...))
		},
	}, {
		id: "R28-propagation", what: "a later mount of the host", only: []string{"bwrap"},
		setup: func(t *testing.T, w *world.World) { w.Write(t, w.Work+"/dir/x", "") },
		try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
			argv := []string{w.Probe, "look", w.Work + "/dir", "slave"}
			if !bare(under) {
				argv = slices.Concat(rightless, under(w.Probe, "look", w.Work+"/dir"))
			}
			return gained(t, w.Run(t, append([]string{w.Probe, "in-ns", w.Probe, "propagation", w.Work + "/dir"}, argv...)...))
		},
	}, {
		id: "R29-remount", what: "in every way",
		setup: func(t *testing.T, w *world.World) {
			w.Write(t, w.Work+"/dir/x", "")
			w.Write(t, w.Work+"/at/x", "")
		},
		try: unless([]string{"PROBE", "in-ns", "PROBE", "mountas", "WORK/at", "--", "PROBE", "mount", "WORK/dir", "WORK/at"}, "PROBE", "mount", "WORK/dir", "/usr"),
	}, {
		id: "R31-proc-sys", what: "what the kernel tells of the host",
		try: said("PROBE", "all", "read", "/proc/keys", "--", "read", "/proc/key-users", "--", "read", "/sys/kernel/uevent_seqnum"),
	}, {
		id: "R33-processes", what: "a signal to a process of the host",
		try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
			sleep := w.Command("sleep", "60")
			if err := sleep.Start(); err != nil {
				t.Fatal(err)
			}
			defer sleep.Wait()
			defer sleep.Process.Kill()
			return gained(t, w.Run(t, under(w.Probe, "kill", fmt.Sprint(sleep.Process.Pid))...))
		},
	}, {
		id: "R34-abstract-sockets", what: "of the host",
		try: sockets(abstract),
	}, {
		id: "R43-memory", what: "more than a file system in memory is to hold",
		profile: "[mounts.\"/mnt/t\"]\ntype = \"tmpfs\"\nsize = \"1M\"\n", only: []string{"bwrap", "podman"},
		more: map[string][]string{"bwrap": {"--size", "1048576", "--tmpfs", "/mnt/t"}, "podman": {"--tmpfs=/mnt/t:size=1m,mode=1777"}},
		try:  unless([]string{"PROBE", "fill", "HOMEDIR", "2048"}, "PROBE", "fill", "/mnt/t", "2048"),
	},
		starving("R44-inotify", "all of the user's instances", "inotify", 4096),
		starving("R44-signals", "all of the user's pending signals", "timers", 4<<20),
		starving("R44-queues", "all of the user's message queues", "queues", 256),
		{

			id: "R50-displays", what: "their sockets",
			try: sockets("HOMEDIR/run/wayland-0", "HOMEDIR/run/pulse/native", "HOMEDIR/run/pipewire-0", "TMP/.X11-unix/X7", abstract+"/.X11-unix/X7"),
		}, {
			id: "R52-setuid", what: "rights from a program that is run",
			try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
				got := w.Run(t, under(w.Probe, "status", "self", "NoNewPrivs")...)
				switch got.Out {
				case "NoNewPrivs 1\n":
					return ""
				case "NoNewPrivs 0\n":
					return "no_new_privs is not set"
				}
				t.Fatalf(didNotRun+": %q %q", got.Out, got.Err)
				return ""
			},
		}, {
			id: "R53-setuid-files", what: "left in the project",
			try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
				got := w.Run(t, under("sh", "-c", "cp /bin/true planted && chmod 4755 planted; echo ran")...)
				st, err := os.Stat(w.Work + "/planted")
				if err != nil || !strings.Contains(got.Out, "ran") {
					t.Fatalf(didNotRun+": %v, %q, %q", err, got.Out, got.Err)
				}
				if st.Mode()&os.ModeSetuid != 0 {
					return "a setuid file of this user's on the host"
				}
				return ""
			},
		}, {
			id: "R55-core", what: "a limit on core files that can be raised",
			try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
				switch got := w.Run(t, under("sh", "-c", "ulimit -Hc")...); got.Out {
				case "0\n":
					return ""
				case "":
					t.Fatalf(didNotRun+": %q", got.Err)
					return ""
				default:
					return "core files of " + strings.TrimSpace(got.Out)
				}
			},
		}, {
			id: "R62-end", what: "outliving a supervisor that is killed",
			try: func(t *testing.T, w *world.World, under func(argv ...string) []string) string {
				world.Adopt(t)
				r, pipe, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				cmd := w.Command(under("sh", "-c", "trap '' TERM HUP INT; yes & yes & wait")...)
				var errs bytes.Buffer
				cmd.Stdout, cmd.Stderr = pipe, &errs
				cmd.WaitDelay = time.Second
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				pipe.Close()
				if _, err := r.Read(make([]byte, 2)); err != nil {
					_ = cmd.Wait()
					t.Fatalf(didNotRun+": %v, %s", err, errs.String())
				}
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				left := world.Gone(t)
				for _, p := range left {
					_ = syscall.Kill(p.PID, syscall.SIGKILL)
				}
				for end := time.Now().Add(5 * time.Second); len(world.Gone(t)) > 0 && time.Now().Before(end); {
				}
				if len(left) > 0 {
					return fmt.Sprintf("%d processes that live on", len(left))
				}
				return ""
			},
		}}
}
