package faults

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/test/faults/inject"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// ownCall is a kind of system call.
type ownCall struct {
	nr     int
	name   string
	errnos []unix.Errno
	arg    func([6]uint64) bool // which of the calls are sbx's
}

// own are the calls of sbx itself that can fail on a host that is short of
// something, and how. Those of the Go runtime alone are not here: a thread, the
// heap, futexes; TestRuntimeFails has what of them can fail.
var own = []ownCall{
	{unix.SYS_PIPE2, "pipe2", []unix.Errno{unix.EMFILE, unix.ENFILE}, nil},
	{unix.SYS_SOCKETPAIR, "socketpair", []unix.Errno{unix.EMFILE, unix.ENOMEM}, nil},
	{unix.SYS_CLONE3, "clone3", []unix.Errno{unix.EAGAIN, unix.ENOMEM, unix.EPERM, unix.ENOSPC, unix.EMFILE, unix.ENOSYS}, nil},
	{unix.SYS_CLONE, "clone", []unix.Errno{unix.EAGAIN, unix.ENOMEM}, func(a [6]uint64) bool { return a[0]&unix.CLONE_THREAD == 0 }},
	{unix.SYS_MMAP, "mmap", []unix.Errno{unix.ENOMEM}, func(a [6]uint64) bool { return a[3]&unix.MAP_SHARED != 0 }},
	{unix.SYS_MADVISE, "madvise", []unix.Errno{unix.ENOMEM, unix.EINVAL}, func(a [6]uint64) bool { return a[2] == unix.MADV_DONTFORK }},
	{unix.SYS_OPENAT, "openat", []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EINTR, unix.EIO}, nil},
	{unix.SYS_OPENAT2, "openat2", []unix.Errno{unix.EMFILE, unix.EAGAIN}, nil},
	{unix.SYS_READ, "read", []unix.Errno{unix.EIO, unix.EINTR, unix.ENOMEM}, nil},
	{unix.SYS_PREAD64, "pread64", []unix.Errno{unix.EIO, unix.EINTR}, nil},
	{unix.SYS_WRITE, "write", []unix.Errno{unix.EIO, unix.ENOSPC, unix.EINTR}, nil},
	{unix.SYS_PPOLL, "ppoll", []unix.Errno{unix.ENOMEM, unix.EINTR}, nil},
	{unix.SYS_WAIT4, "wait4", []unix.Errno{unix.EINTR, unix.ECHILD}, nil},
	{unix.SYS_WAITID, "waitid", []unix.Errno{unix.EINTR}, nil},
	{unix.SYS_RECVMSG, "recvmsg", []unix.Errno{unix.EMFILE, unix.ENOMEM, unix.EINTR}, nil},
	{unix.SYS_FSTAT, "fstat", []unix.Errno{unix.ENOMEM, unix.EIO}, nil},
	{unix.SYS_GETDENTS64, "getdents64", []unix.Errno{unix.EIO, unix.ENOMEM}, nil},
	{unix.SYS_READLINKAT, "readlinkat", []unix.Errno{unix.EIO, unix.ENOMEM}, nil},
	{unix.SYS_STATX, "statx", []unix.Errno{unix.EIO, unix.ENOMEM}, nil},
	{unix.SYS_STATFS, "statfs", []unix.Errno{unix.EIO}, nil},
	{unix.SYS_FLOCK, "flock", []unix.Errno{unix.ENOLCK, unix.EINTR}, nil},
	{unix.SYS_FSTATFS, "fstatfs", []unix.Errno{unix.EIO}, nil},
	{unix.SYS_LANDLOCK_CREATE_RULESET, "landlock_create_ruleset", []unix.Errno{unix.ENOSYS, unix.EOPNOTSUPP}, nil},
	{unix.SYS_FACCESSAT, "faccessat", []unix.Errno{unix.EIO}, nil},
	{unix.SYS_FACCESSAT2, "faccessat2", []unix.Errno{unix.EIO}, nil},
	{unix.SYS_GETCWD, "getcwd", []unix.Errno{unix.ENOENT, unix.ENOMEM}, nil},
	{unix.SYS_GETGROUPS, "getgroups", []unix.Errno{unix.EINVAL}, nil},
	// Without an answer from the caller's own terminal there is none to look after.
	{unix.SYS_IOCTL, "ioctl", []unix.Errno{unix.EIO}, func(a [6]uint64) bool { return a[1] != unix.TIOCGPGRP && a[1] != unix.TCSETS }},
	{unix.SYS_PRLIMIT64, "prlimit64", []unix.Errno{unix.EPERM}, nil},
	{unix.SYS_DUP3, "dup3", []unix.Errno{unix.EMFILE}, nil},
	{unix.SYS_MKDIRAT, "mkdirat", []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EROFS}, nil},
	{unix.SYS_TIMERFD_CREATE, "timerfd_create", []unix.Errno{unix.EMFILE, unix.ENOMEM}, nil},
	{unix.SYS_PIDFD_SEND_SIGNAL, "pidfd_send_signal", []unix.Errno{unix.EPERM}, nil},
}

// atMost fails the test if the command ran in a sandbox that gave it more than
// the unbroken one, or less without a word.
func (b *broken) atMost(t *testing.T, name string, ran []string, said string) {
	t.Helper()
	if ran == nil {
		return
	}
	for _, line := range b.state {
		if slices.Contains(ran, line) {
			continue
		}
		// What of the host's system is not shown is no loss of walls.
		f := strings.Fields(line)
		shown := f[0] == "mount" && strings.HasSuffix(f[1], f[2]) && strings.HasPrefix(f[3], "ro,") && !strings.HasPrefix(f[2], b.Home)
		if f[0] != "entry" && !shown || said == b.said {
			t.Errorf("%s: the command ran in another sandbox: - %s; %q", name, line, said)
		}
	}
	for _, line := range ran {
		if !slices.Contains(b.state, line) {
			t.Errorf("%s: the command ran in another sandbox: + %s", name, line)
		}
	}
}

// runtimes are the calls that the Go runtime needs to live, those that can't
// fail, and those whose failure nobody could act on.
var runtimes = []int{
	unix.SYS_FUTEX, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
	unix.SYS_NANOSLEEP, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_TGKILL,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_EXECVE,
	unix.SYS_SET_TID_ADDRESS, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_BRK, unix.SYS_PRCTL, unix.SYS_UNAME, unix.SYS_GETRANDOM,
	unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETPPID, unix.SYS_GETPGID, unix.SYS_CLOSE, unix.SYS_RESTART_SYSCALL,
	unix.SYS_KILL, unix.SYS_PIDFD_OPEN, unix.SYS_LSEEK, unix.SYS_FCNTL, unix.SYS_CLOCK_GETTIME,
}

// TestSupervisorFails lets sbx's own calls fail. It may do without what it
// asked for, or say why not; the command has a whole sandbox or none.
func TestSupervisorFails(t *testing.T) {
	for _, k := range kinds {
		if k.bare { // whose process 0 is first a shell that makes the host refuse namespaces
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			b := breakable(t, k)
			type fault struct {
				what string
				inject.Fault
			}
			var list []fault
			for _, c := range b.whole.Calls["0"] {
				listed := func(o ownCall) bool { return o.nr == c.Nr }
				if !slices.Contains(runtimes, c.Nr) && !slices.ContainsFunc(own, listed) && !slices.ContainsFunc(older, listed) {
					t.Errorf("sbx makes the system call number %d, and no list here says how it can fail", c.Nr)
				}
			}
			for _, o := range append(slices.Clone(own), older...) {
				n := 0
				for _, c := range b.whole.Calls["0"] {
					if c.Nr == o.nr && (o.arg == nil || o.arg(c.Args)) {
						for _, errno := range o.errnos {
							list = append(list, fault{fmt.Sprintf("%s %d", o.name, n+1), inject.Fault{Kind: inject.Fail, Errno: errno, Who: "0", N: n, Nr: o.nr, Arg: o.arg}})
						}
						n++
					}
				}
			}
			want := some(t, len(list), 14)
			ends := map[string]int{}
			for i, f := range list {
				if !want(i) {
					continue
				}
				name := f.what + " fails with " + unix.ErrnoName(f.Errno)
				rep, said := b.run(t, &f.Fault)
				b.tries++
				ran := b.read(t)
				b.after(t, name, rep)
				b.atMost(t, name, ran, said)
				switch {
				case !rep.Fired:
					ends["not reached"]++ // threads share the calls of the runtime, so that numbers vary a little
				case rep.Code() == 0 && ran != nil:
					ends["did without"]++
				case rep.Code() == 125 && strings.Contains(said, "sbx: "):
					ends["refused"]++
				default:
					t.Errorf("%s: status %d, the command ran: %v; %q", name, rep.Code(), ran != nil, said)
				}
			}
			t.Logf("%d of %d failures: %v", b.tries, len(list), ends)
		})
	}
}

// TestRuntimeFails lets what the Go runtime itself needs fail: its threads and
// its memory. It can only crash then, and takes the sandbox with it.
func TestRuntimeFails(t *testing.T) {
	b := breakable(t, kinds[0])
	thread := func(a [6]uint64) bool { return a[0]&unix.CLONE_THREAD != 0 }
	heap := func(a [6]uint64) bool { return a[3]&unix.MAP_SHARED == 0 }
	ends := map[int]int{}
	for _, f := range []inject.Fault{
		{Nr: unix.SYS_CLONE, Arg: thread, Errno: unix.EAGAIN},
		{Nr: unix.SYS_MMAP, Arg: heap, Errno: unix.ENOMEM},
		{Nr: unix.SYS_EPOLL_CREATE1, Errno: unix.EMFILE},
		{Nr: unix.SYS_EVENTFD2, Errno: unix.EMFILE},
	} {
		n := 0
		for _, c := range b.whole.Calls["0"] {
			if c.Nr == f.Nr && (f.Arg == nil || f.Arg(c.Args)) {
				n++
			}
		}
		want := some(t, n, 6)
		for i := range n {
			if !want(i) {
				continue
			}
			f.Kind, f.Who, f.N = inject.Fail, "0", i
			name := fmt.Sprintf("call %d of number %d fails with %s", i, f.Nr, unix.ErrnoName(f.Errno))
			rep, said := b.run(t, &f)
			b.tries++
			ends[rep.Code()]++
			ran := b.read(t)
			b.after(t, name, rep)
			b.whollyOrNot(t, name, ran, "")
			if rep.Code() == 0 && ran == nil || rep.Code() != 0 && said == "" {
				t.Errorf("%s: status %d, the command ran: %v; %q", name, rep.Code(), ran != nil, said)
			}
		}
	}
	t.Logf("%d failures; sbx's status: %v", b.tries, ends)
}

// TestSupervisorKilled kills sbx at each of its calls. Whatever it had begun
// ends with it.
func TestSupervisorKilled(t *testing.T) { endSupervisor(t, inject.Kill, 7) }

// TestSupervisorCrashes sends sbx to an address where nothing is, after each of
// its calls, which is a panic where Go code made the call and a fatal error in
// the runtime.
func TestSupervisorCrashes(t *testing.T) { endSupervisor(t, inject.Crash, 7) }

func endSupervisor(t *testing.T, kind inject.Kind, few int) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := breakable(t, k)
			n := len(b.whole.Calls["0"])
			want := some(t, n, few)
			ends := map[string]int{}
			for i := range n {
				if !want(i) {
					continue
				}
				name := fmt.Sprintf("sbx's call %d of %d, number %d", i, n, b.whole.Calls["0"][i].Nr)
				rep, said := b.run(t, &inject.Fault{Kind: kind, Who: "0", N: i, Nr: inject.Any})
				b.tries++
				ran := b.read(t)
				if k.bare { // sbx that was killed leaves its directory to the next one, which removes it
					_ = b.Command(b.argv...).Run()
				}
				b.after(t, name, rep)
				b.whollyOrNot(t, name, ran, "")
				ends[fmt.Sprintf("status %d, ran: %v", rep.Code(), ran != nil)]++
				if !rep.Fired {
					continue
				}
				if kind == inject.Kill && rep.Code() != 137 {
					t.Errorf("%s: killed, it ends with %d, %q", name, rep.Code(), said)
				}
				over := rep.Code() == 0 && ran != nil // it was ending while another thread crashed
				if kind == inject.Crash && !over && rep.Code() != 125 && rep.Code() != 2 && rep.Code() != 128+int(unix.SIGSEGV) {
					t.Errorf("%s: crashed, it ends with %d, %q", name, rep.Code(), said)
				}
			}
			t.Logf("%d moments: %v", b.tries, ends)
		})
	}
}

// panics is an attendant that brings its supervisor down when the command runs.
type panics struct{ init int }

func (p *panics) Begun(b *run.Sandbox) error {
	p.init = b.Init()
	return nil
}
func (p *panics) Runs() error     { panic("the test's") }
func (p *panics) Summoned() error { return nil }

// TestPanicEndsFirst: after a panic nothing of the sandbox lives any more when
// what the command was given is let go of, such as its directory.
func TestPanicEndsFirst(t *testing.T) {
	for _, k := range []kind{{name: "build"}, {name: "bare", bare: true, profile: fallback, needs: bareNeeds}} {
		t.Run(k.name, func(t *testing.T) {
			sbxtest.Require(t, append(k.needs, sbxtest.UserNS)...)
			b := &broken{World: world.New(t), kind: k}
			file := b.Profile(t, k.profile)
			// Control: it runs where nobody panics. What a process makes once is made.
			if st, err := run.Run(b.plan(t, file, []string{"sh", "-c", "exit 7"})); err != nil || st.Code != 7 {
				t.Fatalf("control: status %d, %v", st.Code, err)
			}
			sbxtest.Leftovers(t)
			world.Adopt(t)
			const watch = `while test -d "${TMPDIR:-/tmp}"; do :; done; echo >vanished`
			plan := b.plan(t, file, []string{"sh", "-c", watch})
			st, err := run.Begin(plan.Shape())
			if err != nil {
				t.Fatal(err)
			}
			a := &panics{}
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("nobody panicked: %v", err)
					}
				}()
				_, err = st.Run(plan, a)
			}()
			if left := world.Below(t, os.Getpid()); len(left) > 0 || a.init == 0 {
				t.Errorf("of the sandbox of PID 1 %d there are %v", a.init, left)
				_ = unix.Kill(a.init, unix.SIGKILL)
			}
			if world.Exists(b.Work + "/vanished") {
				t.Error("the command saw its directory vanish")
			}
			if k.bare && world.Exists(plan.Bare.Private) {
				t.Errorf("%s is left", plan.Bare.Private)
			}
			world.Gone(t)
		})
	}
}

// TestFewDescriptors: with any limit on open files the command runs in a whole
// sandbox or sbx says what it lacks (setrlimit(2), RLIMIT_NOFILE).
func TestFewDescriptors(t *testing.T) {
	sbxtest.Require(t, sbxtest.Tool("prlimit"))
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := breakable(t, k)
			ends := map[int]int{}
			want := some(t, 62, 6)
			for n := 3; n <= 64; n++ {
				if !want(n - 3) {
					continue
				}
				name := fmt.Sprintf("with %d descriptors", n)
				if err := os.RemoveAll(b.mark); err != nil {
					t.Fatal(err)
				}
				cmd := b.Command(append([]string{"prlimit", fmt.Sprintf("--nofile=%d", n)}, b.argv...)...)
				rep, said := b.plain(t, cmd)
				ran := b.read(t)
				b.after(t, name, rep)
				ends[rep.Code()]++
				if rep.Code() == 0 && ran == nil || rep.Code() != 0 && (ran != nil || said == "") {
					t.Errorf("%s: status %d, the command ran: %v; %q", name, rep.Code(), ran != nil, said)
				}
				if ran != nil {
					b.whollyOrNot(t, name, slices.DeleteFunc(ran, isFileLimit), "limit Max open files")
				}
			}
			t.Logf("sbx's status: %v", ends)
		})
	}
}

func isFileLimit(line string) bool { return strings.HasPrefix(line, "limit Max open files") }

// plain runs a command with nothing broken and without a tracer.
func (b *broken) plain(t *testing.T, cmd *exec.Cmd) (*inject.Report, string) {
	t.Helper()
	return b.traced(t, cmd, &inject.Fault{Who: "none"})
}
