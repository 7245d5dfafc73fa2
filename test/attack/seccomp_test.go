package attack

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// unfiltered takes the system call filter away, for rows about what holds
// without it: two walls are two only if each stands by itself.
const unfiltered = "[security]\nseccomp = \"unconfined\"\n"

// refused are the calls of the probe "syscalls", with what is said about each
// under every policy but "unconfined".
var refused = []struct{ name, errno string }{
	{"socket netlink uevent", "EAFNOSUPPORT"},
	{"socket netlink uevent, bit 32", "EAFNOSUPPORT"},
	{"socket packet", "EAFNOSUPPORT"},
	{"socket packet, bit 32", "EAFNOSUPPORT"},
	{"ioctl TIOCSTI", "EPERM"},
	{"ioctl TIOCSTI, bit 32", "EPERM"},
	{"ioctl TIOCLINUX", "EPERM"},
	{"ioctl TIOCSETD", "EPERM"},
	{"ioctl BTRFS_IOC_SNAP_CREATE", "EPERM"},
	{"ioctl BTRFS_IOC_SNAP_CREATE, bit 32", "EPERM"},
	{"ioctl BTRFS_IOC_SUBVOL_CREATE_V2", "EPERM"},
	{"clone NEWNS", "EPERM"},
	{"clone NEWUSER", "EPERM"},
	{"clone NEWUSER, bit 32", "EPERM"},
	{"clone3", "ENOSYS"},
	{"unshare", "EPERM"},
	{"setns", "EPERM"},
	{"mount", "EPERM"},
	{"open_tree", "ENOSYS"},
	{"keyctl", "EPERM"},
	{"add_key", "EPERM"},
	{"request_key", "EPERM"},
	{"perf_event_open", "EPERM"},
	{"io_uring_setup", "ENOSYS"},
	{"userfaultfd", "EPERM"},
	{"personality READ_IMPLIES_EXEC", "EPERM"},
}

// filterRows are about the system call filter alone.
func filterRows() []row {
	reached, denied := "", ""
	for _, r := range refused {
		reached += r.name + ": reached\n"
		denied += r.name + ": denied: " + r.errno + "\n"
	}
	reached, denied = strings.TrimSuffix(reached, "\n"), strings.TrimSuffix(denied, "\n")
	var all []row
	for _, who := range []struct{ name, profile string }{
		{"default", "[security]\nseccomp = \"default\"\n"},
		{"build", "[security]\nseccomp = \"build\"\n"},
		{"strict", "[security]\nseccomp = \"strict\"\n"},
		{"as fake root", "[user]\nas = \"root\"\n"},
		{"compiled at the start", "[security]\nseccomp_deny = [\"swapon\"]\n"},
		{"with a filter of PID 1's own", "[security]\nseccomp_deny = [\"setsid\", \"umask\"]\n"},
		{"traced", "[security]\ntrace_denied = true\n"},
		{"strict, traced", "[security]\nseccomp = \"strict\"\ntrace_denied = true\n"},
		{"traced, with a filter of PID 1's own", "[security]\nseccomp_deny = [\"setsid\", \"umask\"]\ntrace_denied = true\n"},
		{"with programs of 32 bits", "[security]\nmultiarch = true\n"},
	} {
		all = append(all, row{
			id: "R20-filter", what: "calls and 64-bit arguments, " + who.name, profile: who.profile,
			probe: []string{"PROBE", "syscalls"}, control: reached, want: denied,
		})
	}
	all = append(all, row{
		id: "R20-filter", what: "calls that a profile adds, and takes",
		profile: "[security]\nseccomp_allow = [\"keyctl\", \"unshare\", \"bpf\"]\nseccomp_deny = [\"unshare\"]\n",
		probe:   []string{"PROBE", "syscalls"}, control: reached, want: strings.Replace(denied, "keyctl: denied: EPERM", "keyctl: reached", 1),
	}, row{
		id: "R15-init", what: "the filter on PID 1 and on the command",
		do: func(t *testing.T, w *world.World) {
			status := func(argv ...string) string {
				got := w.Run(t, argv...)
				return strings.ReplaceAll(got.Out, "\r", "")
			}
			ask := []string{w.Probe, "all", "status", "1", "Seccomp", "--", "status", "self", "Seccomp"}
			own := status(w.Probe, "status", "self", "Seccomp")
			want := "status 1 Seccomp: " + own + "status self Seccomp: " + own
			if got := status(w.Sandboxed(w.Profile(t, unfiltered), ask...)...); got != want || own == "Seccomp 2\n" {
				t.Errorf("control: without a filter it says %q, want %q with no filter outside", got, want)
			}
			profiles := []string{
				"", "[user]\nas = \"root\"\n", "[namespaces]\ntime = \"private\"\n", "[process]\ntty = \"always\"\n", "[root]\nsource = \"/\"\n",
				"[security]\nnested_userns = true\n", "[security]\nseccomp = \"strict\"\n", "[security]\nseccomp_deny = [\"kill\", \"wait4\", \"rt_sigtimedwait\"]\n",
			}
			if sbxtest.Subuid.Missing() == nil {
				profiles = append(profiles, "[user]\nmap = \"range\"\n", "[user]\nmap = \"range\"\nas = \"root\"\n")
			}
			for _, profile := range profiles {
				if got := status(w.Sandboxed(w.Profile(t, profile), ask...)...); got != "status 1 Seccomp: Seccomp 2\nstatus self Seccomp: Seccomp 2\n" {
					t.Errorf("profile %q: it says %q", profile, got)
				}
			}
		},
	}, row{
		id: "R14-terminal", what: "typing on its own, with a bit that the kernel does not read", needs: []sbxtest.Feature{sbxtest.TTY},
		do: func(t *testing.T, w *world.World) {
			const own = "[process]\ntty = \"always\"\n"
			try := func(profile string) string {
				got := w.Run(t, w.Sandboxed(w.Profile(t, profile), w.Probe, "typehigh", "x")...)
				return strings.ReplaceAll(got.Out, "\r", "")
			}
			want := "reached"
			if content("/proc/sys/dev/tty/legacy_tiocsti") == "0\n" {
				want = "denied: EIO"
			}
			// What is typed is echoed between the lines.
			if got := try(own + unfiltered); strings.Count(got, want) != 3 {
				t.Errorf("control: without a filter it says %q", got)
			}
			if got := try(own); got != "0: denied: EPERM\n1: denied: EPERM\n2: denied: EPERM\n" {
				t.Errorf("inside it says %q", got)
			}
		},
	}, row{
		id: "R36-setgroups", what: "leaving a group where the ids would allow it", needs: []sbxtest.Feature{sbxtest.Subuid},
		do: func(t *testing.T, w *world.World) {
			const root = "[user]\nas = \"root\"\nmap = \"range\"\n"
			try := func(profile string) string {
				return w.Run(t, w.Sandboxed(w.Profile(t, profile), w.Probe, "groups")...).Out
			}
			if got := try(root); got != "reached\n" {
				t.Errorf("control: fake root's filter leaves it open, and it says %q", got)
			}
			if got := try(root + "[security]\nseccomp_deny = [\"setgroups\"]\n"); got != "denied: EPERM\n" {
				t.Errorf("inside it says %q", got)
			}
		},
	})
	return append(append(all, setIDRows()...), compatRows()...)
}

// setIDRows plant files that run as their owner for other people of the host.
func setIDRows() []row {
	ways := []string{"fchmod", "fchmod group", "fchmodat", "fchmodat, bits 16 and 32", "mknodat", "openat"}
	if runtime.GOARCH == "amd64" {
		ways = append(ways, "chmod", "mknod", "creat", "open")
	}
	none := func(t *testing.T, w *world.World) {
		if got := w.Run(t, "find", w.Work, "-perm", "/6000"); got.Out != "" {
			t.Errorf("in the project there are now %s", got.Out)
		}
	}
	return []row{{
		id: "R53-setuid-files", what: "in the project, policy build",
		probe: []string{"PROBE", "setids", "WORK/f"}, control: every(ways, "reached"), want: every(ways, "denied: EPERM"), after: none,
	}, {
		id: "R53-setuid-files", what: "in the project, policy strict", profile: "[security]\nseccomp = \"strict\"\n",
		probe: []string{"PROBE", "setids", "WORK/f", "openat2"}, control: every(append(ways, "openat2"), "reached"),
		want: every(ways, "denied: EPERM") + "\nopenat2: denied: ENOSYS", after: none,
	}}
}

// compat is a call by the number of the 386, and what becomes of it where programs
// of 32 bits are allowed.
type compat struct{ name, args, multiarch string }

var compats = []compat{
	{"getpid", "20 0 0", "reached"},
	{"ioctl TIOCSTI", "54 0xffffffff 0x5412 9", "denied: EPERM"},
	{"socketcall", "102 1 1 14", "denied: ENOSYS"},
	{"unshare", "310 0 0", "denied: EPERM"},
	{"keyctl", "288 9999 0 95", "denied: EPERM"},
	{"socket", "359 17 3 1", "denied: EAFNOSUPPORT"},
	{"clone NEWUSER", "120 0x10000200 0 22", "denied: EPERM"},
	{"modify_ldt", "123 99 0 38", "reached"},
}

// compatCalls makes every one of the calls, each in a process of its own, and says
// what came of it and the status.
func compatCalls(w *world.World) []string {
	var script strings.Builder
	for _, c := range compats {
		fmt.Fprintf(&script, "%s compat %s; echo \"%s: status $?\"\n", w.Probe, c.args, c.name)
	}
	return []string{"sh", "-c", script.String()}
}

// compatSaid is what compatCalls says where a call ends as the function tells.
func compatSaid(how func(compat) string) string {
	var text strings.Builder
	for _, c := range compats {
		fmt.Fprintf(&text, "%s%s: status %d\n", how(c), c.name, map[bool]int{true: 159}[how(c) == ""])
	}
	return text.String()
}

// compatRows call the kernel by the numbers of the 386.
func compatRows() []row {
	if runtime.GOARCH != "amd64" {
		return nil // the 32-bit calls of arm64 take a program of 32 bits
	}
	const multiarch = "[security]\nmultiarch = true\n"
	return []row{{
		id: "R20-filter", what: "calls of 32 bits kill",
		do: func(t *testing.T, w *world.World) {
			outside(t, w)
			got := w.Run(t, w.Sandboxed(w.Profile(t, ""), compatCalls(w)...)...)
			// 128+SIGSYS; the probe says nothing before it dies.
			if want := compatSaid(func(compat) string { return "" }); got.Out != want {
				t.Errorf("it says %q, want %q", got.Out, want)
			}
		},
	}, {
		id: "R20-filter", what: "calls of 32 bits where they are allowed",
		do: func(t *testing.T, w *world.World) {
			outside(t, w)
			got := w.Run(t, w.Sandboxed(w.Profile(t, multiarch), compatCalls(w)...)...)
			if want := compatSaid(func(c compat) string { return c.multiarch + "\n" }); got.Out != want {
				t.Errorf("it says %q, want %q; %s", got.Out, want, got.Err)
			}
		},
	}, {
		id: "R20-filter", what: "a command that a call of 32 bits kills is told of security.multiarch",
		do: func(t *testing.T, w *world.World) {
			outside(t, w)
			got := w.Run(t, w.Sandboxed(w.Profile(t, ""), w.Probe, "compat", "20", "0", "0")...)
			if got.Code != 159 || got.Out != "" || !strings.Contains(got.Err, "security.multiarch") {
				t.Errorf("status %d, it says %q, %q", got.Code, got.Out, got.Err)
			}
		},
	}}
}

// outside is the control of calls of 32 bits: without a filter they are made.
func outside(t *testing.T, w *world.World) {
	t.Helper()
	got := w.Run(t, w.Probe, "compat", "20", "0", "0")
	if got.Code >= 128 || got.Code == 2 { // a segmentation fault, Go's word for it
		sbxtest.Require(t, sbxtest.Missing("ia32", fmt.Sprintf("int $0x80 ends the program with status %d", got.Code)))
	}
	got = w.Run(t, compatCalls(w)...)
	if want := compatSaid(func(compat) string { return "reached\n" }); got.Out != want {
		t.Errorf("control: outside it says %q, want %q; %q", got.Out, want, got.Err)
	}
}
