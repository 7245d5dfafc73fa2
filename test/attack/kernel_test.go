package attack

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

func keyRows() []row {
	// Each command runs in a session that holds a key.
	keyed := func(what string, probe ...string) row {
		return row{
			id: "R18-keyrings", what: what,
			do: func(t *testing.T, w *world.World) {
				probe := expand(w, append([]string{"PROBE"}, probe...))
				with := expand(w, []string{"PROBE", "withkey", "sbx-attack"})
				if got := w.Run(t, append(with, probe...)...); got.Out != "reached\n" {
					t.Errorf("control: outside it says %q, %q", got.Out, got.Err)
				}
				for _, profile := range []string{"", "[user]\nas = \"root\"\n"} {
					argv := append(with, w.Sandboxed(w.Profile(t, profile), probe...)...)
					if got := w.Run(t, argv...); !strings.HasPrefix(got.Out, "denied: E") {
						t.Errorf("profile %q: inside it says %q, %q", profile, got.Out, got.Err)
					}
				}
			},
		}
	}
	byNumber := keyed("the user's, by its number", "keylink", "USER", "sbx-attack")
	byNumber.id = "R18-user-keyring"
	return []row{
		keyed("by name, in the session's", "keysearch", "sbx-attack"),
		keyed("by number", "keyread", "KEY"),
		byNumber,
	}
}

func namespaceRows() []row {
	kinds := []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"}
	cloned := func(result string) string { return every(kinds, result) }
	nested := func(what, profile string) row {
		return row{
			id: "R19-nested-namespaces", what: what, profile: profile,
			// Without the filter, which is judged by itself in filterRows.
			probe: []string{"PROBE", "clone"}, control: cloned("reached"), want: cloned("denied: ENOSPC"),
		}
	}
	tries := []string{"tmpfs", "bind", "remount", "propagation", "setattr", "open_tree", "fsopen", "umount", "sethostname", "chroot", "pivot_root"}
	mounts := func(what, profile, want string) row {
		return row{
			id: "R29-remount", what: what, profile: profile,
			setup: func(t *testing.T, w *world.World) {
				w.Write(t, w.Work+"/dir/x", "")
				w.Write(t, w.Work+"/at/x", "")
			},
			probe: []string{"PROBE", "mount", "WORK/dir", "/usr"},
			// In a namespace of one's own each of them is allowed.
			outside: []string{"PROBE", "in-ns", "PROBE", "mountas", "WORK/at", "--", "PROBE", "mount", "WORK/dir", "WORK/at"},
			control: every(tries, "reached"), want: want,
		}
	}
	noChroot := strings.Replace(every(tries, "denied: EPERM"), "chroot: denied: EPERM", "chroot: reached", 1)
	return []row{
		nested("as oneself", unfiltered),
		nested("as fake root", "[user]\nas = \"root\"\n"+unfiltered),
		{
			id: "R19-nested-namespaces", what: "after raising the limits", profile: unfiltered,
			probe:   []string{"PROBE", "clone", "raise"},
			outside: []string{"PROBE", "in-ns", "PROBE", "clone"},
			control: cloned("reached"),
			want:    "~^(raise [a-z]+: denied: (EROFS|EACCES|EPERM)\n){7}(([a-z]+): denied: ENOSPC\n){7}$",
		},
		{
			id: "R19-nested-namespaces", what: "after raising the limits, as fake root", profile: "[user]\nas = \"root\"\n" + unfiltered,
			probe:   []string{"PROBE", "clone", "raise"},
			outside: []string{"PROBE", "in-ns", "PROBE", "clone"},
			control: cloned("reached"),
			want:    "~^(raise [a-z]+: denied: (EROFS|EACCES|EPERM)\n){7}(([a-z]+): denied: ENOSPC\n){7}$",
		},
		{
			id: "R19-nested-namespaces", what: "allowed by the profile", profile: "[security]\nnested_userns = true\n",
			probe: []string{"PROBE", "clone"}, outside: []string{"PROBE", "in-ns", "PROBE", "status", "self", "CapEff"},
			control: "~CapEff ", want: cloned("reached"),
		},
		{
			id: "R27-submounts", what: "writing to what is mounted below a read-only bind",
			setup: func(t *testing.T, w *world.World) {
				w.Write(t, w.Work+"/src/sub/x", "")
				w.Write(t, w.Work+"/dst/x", "")
			},
			do: func(t *testing.T, w *world.World) {
				in := expand(w, []string{"PROBE", "in-ns", "PROBE", "mountas", "WORK/src/sub", "--"})
				if got := w.Run(t, append(in, expand(w, []string{"PROBE", "weakbind", "WORK/src", "WORK/dst", "WORK/dst/sub/y"})...)...); got.Out != "reached\n" {
					t.Errorf("control: a plain remount says %q, %q", got.Out, got.Err)
				}
				p := w.Profile(t, expander(w).Replace("[mounts.\"/mnt/ro\"]\nsource = \"WORK/src\"\n"))
				got := w.Run(t, append(in, w.Sandboxed(p, w.Probe, "all", "create", "/mnt/ro/sub/z", "--", "create", "/mnt/ro/z", "--", "opens", "/mnt/ro/sub/probe")...)...)
				if want := "create /mnt/ro/sub/z: denied: EROFS\ncreate /mnt/ro/z: denied: EROFS\nopens /mnt/ro/sub/probe: reached\n"; got.Out != want {
					t.Errorf("inside it says %q, want %q; %s", got.Out, want, got.Err)
				}
			},
		},
		{
			id: "R28-propagation", what: "a later mount of the host",
			setup: func(t *testing.T, w *world.World) { w.Write(t, w.Work+"/dir/x", "") },
			do: func(t *testing.T, w *world.World) {
				in := expand(w, []string{"PROBE", "in-ns", "PROBE", "propagation", "WORK/dir"})
				if got := w.Run(t, append(in, w.Probe, "look", w.Work+"/dir", "slave")...); got.Out != "reached\n" {
					t.Errorf("control: a namespace that follows the host's says %q, %q", got.Out, got.Err)
				}
				for _, profile := range []string{"", "[root]\nsource = \"/\"\n", "[mounts.\"/mnt/x\"]\nsource = \"" + w.Work + "\"\n"} {
					dir := w.Work + "/dir"
					if strings.Contains(profile, "/mnt/x") {
						dir = "/mnt/x/dir"
					}
					got := w.Run(t, append(in, w.Sandboxed(w.Profile(t, profile), w.Probe, "look", dir)...)...)
					if got.Out != "denied: ENOENT\n" {
						t.Errorf("profile %q: inside it says %q, %q", profile, got.Out, got.Err)
					}
				}
			},
		},
		mounts("as oneself", unfiltered, every(tries, "denied: EPERM")),
		mounts("as fake root", "[user]\nas = \"root\"\n"+unfiltered, noChroot),
		mounts("in the host's tree", "[root]\nsource = \"/\"\n"+unfiltered, every(tries, "denied: EPERM")),
		{
			id: "R29-remount", what: "a bind of what is mounted noexec stays so",
			setup: func(t *testing.T, w *world.World) { w.Write(t, w.Work+"/m/x", "") },
			do: func(t *testing.T, w *world.World) {
				p := w.Profile(t, "")
				for _, tt := range []struct{ flag, want string }{{"noexec", "denied: EACCES"}, {"none", "~NoNewPrivs"}} {
					in := expand(w, []string{"PROBE", "in-ns", "PROBE", "mountas", "WORK/m", tt.flag, "--"})
					got := w.Run(t, append(in, w.Sandboxed(p, w.Probe, "exec", w.Work+"/m/probe", "status", "self", "NoNewPrivs")...)...)
					if tt.flag == "noexec" {
						check(t, w, "inside", got.Out, tt.want)
					} else if got.Out == "denied: EACCES\n" {
						t.Errorf("control: without noexec it says %q, %q", got.Out, got.Err)
					}
				}
			},
		},
		{
			id: "R31-proc-sys", what: "what the host's /proc tells",
			probe:   []string{"PROBE", "all", "read", "/proc/keys", "--", "read", "/proc/key-users", "--", "read", "/sys/kernel/uevent_seqnum", "--", "names", "/sys", "--", "read", "/proc/kcore", "--", "read", "/proc/timer_list"},
			outside: []string{"PROBE", "all", "read", "/proc/key-users", "--", "read", "/sys/kernel/uevent_seqnum"},
			control: "read /proc/key-users: reached\nread /sys/kernel/uevent_seqnum: reached",
			want:    "~^read /proc/keys: denied: .*\nread /proc/key-users: denied: empty\nread /sys/kernel/uevent_seqnum: denied: ENOENT\nnames /sys: denied: ENOENT\nread /proc/kcore: denied: .*\nread /proc/timer_list: denied: .*\n$",
		},
		{
			id: "R31-proc-sys", what: "writing to the kernel's settings",
			probe: []string{"PROBE", "all", "write", "/proc/sys/kernel/core_pattern", "--", "write", "/proc/sysrq-trigger", "--", "write", "/proc/sys/user/max_inotify_watches", "--", "write", "/proc/sys/net/ipv4/ip_forward", "--", "write", "/proc/irq/default_smp_affinity"},
			// A namespace's owner may write its own limits.
			outside: []string{"PROBE", "in-ns", "PROBE", "all", "write", "/proc/sys/user/max_inotify_watches", "--", "write", "/proc/self/oom_score_adj"},
			control: "write /proc/sys/user/max_inotify_watches: reached\nwrite /proc/self/oom_score_adj: reached",
			want:    "~^(write /proc/[^:]+: denied: (EROFS|EACCES|EPERM|ENOENT)\n){5}$",
		},
		{
			id: "R31-proc-sys", what: "only processes", profile: "[root]\nproc = \"pid\"\n",
			probe:   []string{"PROBE", "all", "read", "/proc/self/stat", "--", "read", "/proc/meminfo", "--", "names", "/proc/sys"},
			control: "~^read /proc/self/stat: reached\nread /proc/meminfo: reached\n",
			want:    "read /proc/self/stat: reached\nread /proc/meminfo: denied: ENOENT\nnames /proc/sys: denied: ENOENT",
		},
		{
			id: "R32-devices", what: "which there are",
			probe:   []string{"PROBE", "names", "/dev"},
			control: "~kmsg",
			want:    "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
		},
		{
			id: "R32-devices", what: "each is what it is called",
			probe:   []string{"PROBE", "all", "fstype", "/dev/null", "--", "fstype", "/dev/zero", "--", "fstype", "/dev/full", "--", "fstype", "/dev/random", "--", "fstype", "/dev/urandom", "--", "fstype", "/dev/tty", "--", "names", "/dev/pts", "--", "opens", "/dev/kmsg", "--", "opens", "/dev/fuse"},
			outside: []string{"PROBE", "all", "fstype", "/dev/null", "--", "opens", "/dev/fuse"},
			control: "~^fstype /dev/null: device 1:3\nopens /dev/fuse: (reached|denied: E(PERM|ACCES))\n",
			want: "fstype /dev/null: device 1:3\nfstype /dev/zero: device 1:5\nfstype /dev/full: device 1:7\nfstype /dev/random: device 1:8\nfstype /dev/urandom: device 1:9\n" +
				"fstype /dev/tty: device 5:0\nnames /dev/pts: ptmx\nopens /dev/kmsg: denied: ENOENT\nopens /dev/fuse: denied: ENOENT",
		},
		{
			id: "R32-devices", what: "making one", profile: noLandlock + "[user]\nas = \"root\"\n",
			probe:   []string{"PROBE", "all", "mknod", "/tmp/b", "block", "--", "mknod", "/tmp/c", "char", "--", "mknod", "/dev/c", "char", "--", "mknod", "WORK/c", "char", "--", "mknod", "WORK/f", "fifo"},
			outside: []string{"PROBE", "mknod", "WORK/f", "fifo"},
			control: "reached",
			want:    "mknod /tmp/b block: denied: EPERM\nmknod /tmp/c char: denied: EPERM\nmknod /dev/c char: denied: EPERM\nmknod WORK/c char: denied: EPERM\nmknod WORK/f fifo: reached",
		},
	}
}

func terminalRows() []row {
	profiles := map[string]string{"auto": "", "always": "[process]\ntty = \"always\"\n", "never": "[process]\ntty = \"never\"\n"}
	var all []row
	for _, mode := range []string{"auto", "always", "never"} {
		profile := profiles[mode]
		all = append(all, row{
			id: "R14-terminal", what: "the caller's, on any descriptor, tty = " + mode, needs: []sbxtest.Feature{sbxtest.TTY},
			do: func(t *testing.T, w *world.World) {
				p := w.Profile(t, profile)
				for mask := 1; mask < 8; mask++ { // which standard descriptors are the terminal
					term := pty.Open(t)
					out := w.Home + "/out"
					argv := []string{"sh", "-c", w.Probe + " all tty -- ttys >" + w.Work + "/said"}
					at(t, w, term, mask, argv...)
					said := content(w.Work + "/said")
					if !strings.Contains(said, term.Name(t)) && mask != 2 {
						t.Errorf("control: outside, with %03b, it says %q, which does not name %s", mask, said, term.Name(t))
					}
					os.Remove(w.Work + "/said")
					code := at(t, w, term, mask, w.Sandboxed(p, argv...)...)
					said = content(w.Work + "/said")
					if code != 0 || !strings.Contains(said, "2: ") || strings.Contains(said, term.Name(t)) {
						t.Errorf("with %03b: status %d, inside it says %q; the caller's terminal is %s; %s", mask, code, said, term.Name(t), term.Output())
					}
					os.Remove(w.Work + "/said")
					os.Remove(out)
				}
			},
		}, row{
			id: "R14-terminal", what: "typing on the caller's, tty = " + mode, needs: []sbxtest.Feature{sbxtest.TTY},
			do: func(t *testing.T, w *world.World) {
				term := pty.Open(t)
				at(t, w, term, 7, w.Probe, "type", "typed")
				control := term.Pending(t)
				if control == 0 && content("/proc/sys/dev/tty/legacy_tiocsti") != "0\n" {
					t.Errorf("control: outside, nothing was typed")
				}
				term = pty.Open(t)
				at(t, w, term, 7, w.Sandboxed(w.Profile(t, profile), w.Probe, "type", "typed")...)
				if n := term.Pending(t); n != 0 {
					t.Errorf("the sandbox typed %d bytes on the caller's terminal", n)
				}
			},
		})
	}
	all = append(all, row{
		id: "R14-terminal", what: "one that was opened with O_PATH", needs: []sbxtest.Feature{sbxtest.TTY},
		do: func(t *testing.T, w *world.World) {
			term := pty.Open(t)
			f := openPath(t, term.Slave.Name())
			defer f.Close()
			cmd := w.Command(w.Probe, "tty")
			cmd.Stdin = f
			if got := world.Wait(t, cmd); !strings.Contains(got.Out, term.Name(t)) {
				t.Errorf("control: outside it says %q, without %s", got.Out, term.Name(t))
			}
			cmd = w.Command(w.Sandboxed(w.Profile(t, ""), w.Probe, "tty")...)
			cmd.Stdin = f
			if got := world.Wait(t, cmd); strings.Contains(got.Out, term.Name(t)) {
				t.Errorf("inside it says %q, which is the caller's terminal", got.Out)
			}
		},
	})
	return all
}

func limitRows() []row {
	return []row{{
		id: "R42-fork-bomb", what: "processes without end", profile: "[limits]\nprocesses = 50\n",
		do: func(t *testing.T, w *world.World) {
			if got := w.Run(t, w.Probe, "forks", "100", "-"); got.Out != "100: reached\n" {
				t.Errorf("control: outside it says %q, %q", got.Out, got.Err)
			}
			hold := w.Work + "/hold"
			w.Write(t, hold, "")
			p := w.Profile(t, "[limits]\nprocesses = 50\n")
			cmd := w.Command(w.Sandboxed(p, w.Probe, "forks", "100", hold)...)
			said := holding(t, cmd, hold, func() {
				if got := w.Run(t, w.Probe, "forks", "100", "-"); got.Out != "100: reached\n" {
					t.Errorf("beside it, outside can be made only %q, %q", got.Out, got.Err)
				}
				if got := w.Run(t, w.Sandboxed(p, "true")...); got.Code != 0 {
					t.Errorf("beside it, another sandbox ends with %d: %s", got.Code, got.Err)
				}
			})
			var n int
			if _, err := fmt.Sscanf(said, "%d: denied: EAGAIN", &n); err != nil || n < 20 || n >= 50 {
				t.Errorf("inside it says %q, want fewer than 50 and EAGAIN", said)
			}
		},
	}, {
		id: "R44-inotify", what: "all of the user's instances",
		do: func(t *testing.T, w *world.World) {
			hold := w.Work + "/hold"
			const most = 4096
			starve := func(profile string) (inside, beside string) {
				w.Write(t, hold, "")
				cmd := w.Command(w.Sandboxed(w.Profile(t, profile), w.Probe, "inotify", fmt.Sprint(most), hold)...)
				inside = holding(t, cmd, hold, func() { beside = w.Run(t, w.Probe, "inotify", "1", "-").Out })
				return inside, beside
			}
			if inside, beside := starve("[limits]\ninotify_instances = 16\n"); inside != "16: denied: EMFILE\n" || beside != "1: reached\n" {
				t.Errorf("with a limit of 16 it says %q, and beside it %q", inside, beside)
			}
			// The control is the same without a limit. Where the host allows many,
			// the open files are used up first.
			if inside, beside := starve("[limits]\ninotify_instances = -1\n"); inside == "16: denied: EMFILE\n" || beside == "1: reached\n" && strings.HasPrefix(inside, "128:") {
				t.Errorf("control: without a limit it says %q, and beside it %q", inside, beside)
			}
		},
	}, {
		id: "R44-inotify", what: "all of the user's instances, by default",
		do: func(t *testing.T, w *world.World) {
			hold := w.Work + "/hold"
			w.Write(t, hold, "")
			cmd := w.Command(w.Sandboxed(w.Profile(t, ""), w.Probe, "inotify", "4096", hold)...)
			var beside string
			inside := holding(t, cmd, hold, func() { beside = w.Run(t, w.Probe, "inotify", "1", "-").Out })
			if beside != "1: reached\n" {
				t.Errorf("inside it says %q, and beside it %q", inside, beside)
			}
			w.Write(t, hold, "")
			cmd = w.Command(w.Probe, "inotify", "4096", hold)
			inside = holding(t, cmd, hold, func() { beside = w.Run(t, w.Probe, "inotify", "1", "-").Out })
			if beside == "1: reached\n" && !strings.HasPrefix(inside, "4096") {
				t.Errorf("control: outside it says %q, and beside it %q", inside, beside)
			}
		},
	}, {
		id: "R44-terminals", what: "all that sandboxes have of the host's",
		do: func(t *testing.T, w *world.World) {
			hold := w.Work + "/hold"
			sandboxed := func(argv ...string) *exec.Cmd {
				return w.Command(w.Sandboxed(w.Profile(t, ""), append([]string{w.Probe, "terminals"}, argv...)...)...)
			}
			w.Write(t, hold, "")
			var beside string
			inside := holding(t, sandboxed("300", hold), hold, func() {
				out, err := sandboxed("1", "-").Output()
				beside = fmt.Sprint(string(out), err)
			})
			if inside != "256: denied: ENOSPC\n" || beside != "1: reached\n<nil>" {
				t.Errorf("inside it says %q, and in another sandbox %q", inside, beside)
			}
			if got := w.Run(t, w.Probe, "terminals", "300", "-").Out; got != "300: reached\n" {
				t.Errorf("control: outside it says %q", got)
			}
		},
	}, {
		id: "R55-core", what: "a core dump in the project",
		probe:   []string{"PROBE", "segv"},
		outside: []string{"sh", "-c", "cd HOMEDIR && exec PROBE segv"},
		control: "~^signal 11, dumped (true|false)\n$", want: "signal 11, dumped false",
		after: func(t *testing.T, w *world.World) {
			if got := w.Run(t, w.Sandboxed(w.Profile(t, ""), "sh", "-c", "ulimit -Hc; ulimit -c unlimited && echo raised")...); got.Out != "0\n" {
				t.Errorf("inside the limit on core files says %q", got.Out)
			}
			if got := w.Run(t, w.Sandboxed(w.Profile(t, "[limits]\ncore = -1\n"), "sh", "-c", "ulimit -c")...); got.Out == "0\n" && w.Run(t, "sh", "-c", "ulimit -c").Out != "0\n" {
				t.Errorf("control: with core = -1 the limit is %q", got.Out)
			}
		},
	}}
}
