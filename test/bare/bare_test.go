// Package bare tries to get out of a sandbox without namespaces, as it is where
// the host refuses them: of the attacks those that Landlock and the filters have
// to hold alone. Each has a control, the same probe on the same host outside.
package bare

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

const (
	fallback   = "[security]\nfallback = \"landlock\"\n"
	unfiltered = fallback + "seccomp = \"unconfined\"\n" // but for the filter in the namespaces' place
)

var needs = []sbxtest.Feature{sbxtest.Landlock, sbxtest.Tool("unshare"), sbxtest.Tool("setpriv")}

// person is somebody on a host that refuses user namespaces.
type person struct{ *world.World }

func newPerson(t *testing.T) person {
	t.Helper()
	sbxtest.Require(t, needs...)
	w := world.New(t)
	w.Write(t, w.Home+"/.ssh/id", "secret")
	return person{w}
}

// outside runs a command in no sandbox, inside in one.
func (p person) outside(t *testing.T, argv ...string) world.Result {
	t.Helper()
	return p.Run(t, world.Refused(argv...)...)
}

func (p person) inside(t *testing.T, profile string, argv ...string) world.Result {
	t.Helper()
	return p.Run(t, world.Refused(p.Sandboxed(p.Profile(t, profile), argv...)...)...)
}

// attack is one probe. The names WORK, HOMEDIR, VICTIM and PID, of a process of
// the host's, stand in its arguments.
type attack struct {
	name    string
	probe   []string
	control string // what it says outside; "" for what says nothing there
	want    string // inside; one that begins with ~ is a regular expression
}

var attacks = []attack{
	{name: "reading a key", probe: []string{"read", "HOMEDIR/.ssh/id"}, control: "reached", want: "denied: EACCES"},
	{name: "listing the home", probe: []string{"names", "HOMEDIR/.ssh"}, control: "id", want: "~denied: (EACCES|.*permission denied)"},
	{name: "writing to a file", probe: []string{"append", "VICTIM/key"}, control: "reached", want: "denied: EACCES"},
	{name: "making a file", probe: []string{"create", "HOMEDIR/new"}, control: "reached", want: "denied: EACCES"},
	{name: "making a file in /tmp", probe: []string{"create", "TMP/sbx-bare-new"}, control: "reached", want: "denied: EACCES"},
	{name: "cutting a file", probe: []string{"truncate", "HOMEDIR/.ssh/id"}, control: "reached", want: "denied: EACCES"},
	{name: "moving a file out", probe: []string{"rename", "WORK/file", "HOMEDIR/moved"}, control: "reached", want: "~denied: E(ACCES|XDEV)"},
	{name: "running a program", probe: []string{"exec", "HOMEDIR/program"}, want: "denied: EACCES"},
	{name: "a TCP connection", probe: []string{"tcp", "TCP"}, control: "reached", want: "~denied: E(AFNOSUPPORT|ACCES)"},
	{name: "a socket by its path", probe: []string{"connect", "HOMEDIR/socket"}, control: "reached", want: "~denied: E(AFNOSUPPORT|ACCES)"},
	{name: "a socket in the project", probe: []string{"connect", "WORK/socket"}, control: "reached", want: "~denied: E(AFNOSUPPORT|ACCES)"},
	{name: "a datagram from a pair", probe: []string{"pairto", "HOMEDIR/datagrams"}, control: "reached", want: "~denied: E(AFNOSUPPORT|ACCES)"},
	{name: "an abstract socket", probe: []string{"abstract", "ABSTRACT"}, control: "reached", want: "~denied: E(AFNOSUPPORT|PERM)"},
	{name: "a signal", probe: []string{"kill", "PID"}, control: "reached", want: "denied: EPERM"},
	{name: "a limit", probe: []string{"prlimit", "PID"}, control: "reached", want: "denied: EPERM"},
	{name: "a priority", probe: []string{"renice", "PID"}, control: "reached", want: "denied: EPERM"},
	{name: "shared memory", probe: []string{"shared"}, control: "reached", want: "denied: ENOSYS"},
	{name: "a queue", probe: []string{"queues", "1", "-"}, control: "1: reached", want: "0: denied: ENOSYS"},
	{name: "another's terminal", probe: []string{"opens", "PTS"}, control: "reached", want: "denied: EACCES"},
	{name: "files of processes that only the owner writes", probe: []string{"write", "/proc/self/oom_score_adj"}, control: "reached", want: "denied: EACCES"},
}

// TestAttacks tries each with the policy of the profile build, and without any:
// what namespaces would have hidden is not the policy's to hold.
func TestAttacks(t *testing.T) {
	sbxtest.Leftovers(t)
	p := newPerson(t)
	r := p.targets(t)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			argv := []string{p.Probe}
			for _, word := range a.probe {
				argv = append(argv, r.Replace(word))
			}
			for _, profile := range []string{fallback, unfiltered} {
				match(t, "inside", p.inside(t, profile, argv...), a.want)
			}
			if a.control != "" {
				match(t, "control: outside", p.outside(t, argv...), a.control)
			}
		})
	}
	os.Remove(os.TempDir() + "/sbx-bare-new")
}

func match(t *testing.T, where string, got world.Result, want string) {
	t.Helper()
	said := strings.TrimSuffix(got.Out, "\n")
	if re, pattern := strings.CutPrefix(want, "~"); said == want || pattern && regexp.MustCompile("^"+re+"$").MatchString(said) {
		return
	}
	t.Errorf("%s it says %q, want %q; %s", where, said, want, got.Err)
}

// targets makes what the host has to be attacked, and names it.
func (p person) targets(t *testing.T) *strings.Replacer {
	t.Helper()
	p.Write(t, p.Work+"/file", "")
	p.Write(t, p.Home+"/program", "#!/bin/sh\necho ran\n")
	if err := os.Chmod(p.Home+"/program", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, l := range []struct{ kind, path string }{{"unix", "socket"}, {"unix", "work/socket"}} {
		sock, err := net.Listen(l.kind, p.Home+"/"+l.path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { sock.Close() })
	}
	datagrams, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: p.Home + "/datagrams", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { datagrams.Close() })
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	name := fmt.Sprintf("sbx-bare-%d", os.Getpid())
	abstract, err := net.Listen("unix", "@"+name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { abstract.Close() })
	term := pty.Open(t)
	return strings.NewReplacer("WORK", p.Work, "HOMEDIR", p.Home, "VICTIM", p.Victim, "TMP", os.TempDir(),
		"TCP", tcp.Addr().String(), "ABSTRACT", name, "PTS", term.Slave.Name(), "PID", fmt.Sprint(p.sleeper(t)))
}

// sleeper is a process of the person's, on the host that refuses namespaces.
func (p person) sleeper(t *testing.T) int {
	t.Helper()
	cmd := p.Command(world.Refused("sleep", "60")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	world.Until(t, "it sleeps", func() bool {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		return string(comm) == "sleep\n"
	})
	return cmd.Process.Pid
}

// tries is what the probe does to get hold of a process.
var tries = []string{"environ", "maps", "auxv", "mem", "exe", "open exe", "root", "in root", "cwd", "fd", "open fd", "mnt", "user", "getfd", "vm", "ptrace"}

// TestTrace takes hold of a process of the host's, of sbx and of the two that
// stand in for PID 1.
func TestTrace(t *testing.T) {
	sbxtest.Leftovers(t)
	p := newPerson(t)
	if got, want := p.outside(t, p.Probe, "pid", "child").Out, strings.Join(tries, ": reached\n")+": reached\n"; got != want {
		t.Errorf("control: outside it says %q", got)
	}
	denied := regexp.MustCompile(`^(` + strings.Join(tries, `: denied: E(PERM|ACCES)\n`) + `: denied: E(PERM|ACCES)\n)$`)
	for _, profile := range []string{fallback, unfiltered} {
		if got := p.inside(t, profile, p.Probe, "pid", fmt.Sprint(p.sleeper(t))); !denied.MatchString(got.Out) {
			t.Errorf("of a process of the host's it says %q; %s", got.Out, got.Err)
		}
		// Init, the ward, and sbx; each is the one before's parent.
		const up = `parent() { sed -n 's/^PPid:\t//p' /proc/$1/status; }
init=$PPID; ward=$(parent $init); sbx=$(parent $ward)
cat /proc/$init/comm /proc/$ward/comm /proc/$sbx/comm
for p in $init $ward $sbx; do "$0" pid $p; "$0" kill $p; done`
		got := p.inside(t, profile, "/bin/sh", "-c", up, p.Probe)
		names, rest, _ := strings.Cut(got.Out, "sbx\n")
		if names != "sbx-init\nsbx-ward\n" || strings.Count(rest, "denied: E") != 3*(len(tries)+1) || strings.Contains(rest, "reached") {
			t.Errorf("of its own it says %q; %s", got.Out, got.Err)
		}
	}
}

// TestSignals sends a process of the host's a signal in every way but kill(2).
func TestSignals(t *testing.T) {
	sbxtest.Leftovers(t)
	p := newPerson(t)
	ways := []string{"tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd", "owner"}
	all := func(result string) string { return strings.Join(ways, ": "+result+"\n") + ": " + result + "\n" }
	if got := p.outside(t, p.Probe, "signals", fmt.Sprint(p.sleeper(t))); got.Out != all("reached") {
		t.Errorf("control: outside it says %q, %q", got.Out, got.Err)
	}
	for _, profile := range []string{fallback, unfiltered} {
		if got := p.inside(t, profile, p.Probe, "signals", fmt.Sprint(p.sleeper(t))); got.Out != all("denied: EPERM") {
			t.Errorf("profile %q: inside it says %q, %q", profile, got.Out, got.Err)
		}
	}
}

func TestKeyrings(t *testing.T) {
	sbxtest.Leftovers(t)
	p := newPerson(t)
	for _, probe := range [][]string{{"keysearch", "sbx-bare"}, {"keyread", "KEY"}, {"keylink", "USER", "sbx-bare"}} {
		with := []string{p.Probe, "withkey", "sbx-bare"}
		probe = append([]string{p.Probe}, probe...)
		if got := p.outside(t, append(with, probe...)...); got.Out != "reached\n" {
			t.Errorf("control: outside it says %q, %q", got.Out, got.Err)
		}
		for _, profile := range []string{fallback, unfiltered, fallback + "seccomp_allow = [\"@keyring\"]\n"} {
			argv := append(slices.Clone(with), p.Sandboxed(p.Profile(t, profile), probe...)...)
			if got := p.outside(t, argv...); !strings.HasPrefix(got.Out, "denied: E") {
				t.Errorf("%q, profile %q: inside it says %q, %q", probe, profile, got.Out, got.Err)
			}
		}
	}
}

// TestTerminal types on the caller's terminal, and gets one of its own.
func TestTerminal(t *testing.T) {
	sbxtest.Leftovers(t)
	sbxtest.Require(t, sbxtest.TTY)
	p := newPerson(t)
	at := func(term *pty.Terminal, argv ...string) int {
		cmd := p.Command(argv...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = term.Slave, term.Slave, term.Slave
		cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
		return world.Wait(t, cmd).Code
	}
	term := pty.Open(t)
	at(term, world.Refused(p.Probe, "type", "typed")...)
	if legacy, _ := os.ReadFile("/proc/sys/dev/tty/legacy_tiocsti"); term.Pending(t) == 0 && string(legacy) != "0\n" {
		t.Error("control: outside, nothing was typed")
	}
	for _, profile := range []string{fallback, unfiltered, "process.tty = \"never\"\n" + fallback} {
		term = pty.Open(t)
		sh := `"$0" type typed; "$0" tty >said; test -t 0 && echo x >/dev/tty && echo own >>said`
		code := at(term, world.Refused(p.Sandboxed(p.Profile(t, profile), "sh", "-c", sh, p.Probe)...)...)
		if n := term.Pending(t); n != 0 {
			t.Errorf("profile %q: the sandbox typed %d bytes on the caller's terminal", profile, n)
		}
		said, _ := os.ReadFile(p.Work + "/said")
		if own := strings.HasSuffix(string(said), "tty: session true\nown\n"); own == strings.Contains(profile, "never") || strings.Contains(string(said), term.Name(t)) {
			t.Errorf("profile %q: status %d; inside it says %q; the caller's terminal is %s; %s", profile, code, said, term.Name(t), term.Output())
		}
	}
}

// TestRefusedCalls: without namespaces refused calls are not reported. They are
// refused all the same, and explain says what is lost.
func TestRefusedCalls(t *testing.T) {
	p := newPerson(t)
	const traced = fallback + "trace_denied = true\n"
	if got := p.outside(t, p.Probe, "refusals", "1", "3"); got.Out != "up\nreached 3, EPERM 0, other 0\n" {
		t.Fatalf("control: outside it says %q, %q", got.Out, got.Err)
	}
	got := p.inside(t, traced, p.Probe, "refusals", "1", "3")
	if got.Code != 0 || got.Out != "up\nreached 0, EPERM 3, other 0\n" || strings.Contains(got.Err, "denied: ") {
		t.Errorf("status %d, %q, %q", got.Code, got.Out, got.Err)
	}
	got = p.Run(t, world.Refused(p.Sbx, "explain", p.Profile(t, traced))...)
	if !strings.Contains(got.Out, "lost without namespaces: that refused system calls are reported") {
		t.Errorf("explain says %q, %q", got.Out, got.Err)
	}
}
