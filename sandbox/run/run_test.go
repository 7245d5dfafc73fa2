package run

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

func TestEnded(t *testing.T) {
	for _, tt := range []struct {
		name string
		wire [4]byte // wait(2): the status in the second byte, the signal in the first
		code int
		by   unix.Signal
	}{
		{"success", [4]byte{}, 0, 0},
		{"failure", [4]byte{0, 1}, 1, 0},
		{"largest", [4]byte{0, 255}, 255, 0},
		{"killed", [4]byte{byte(unix.SIGKILL)}, 137, unix.SIGKILL},
		{"with a core file", [4]byte{byte(unix.SIGSEGV) | 0x80}, 139, unix.SIGSEGV},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if code, by := Ended(tt.wire); code != tt.code || by != tt.by {
				t.Errorf("Ended(%v) = %d, %v, want %d, %v", tt.wire, code, by, tt.code, tt.by)
			}
		})
	}
}

func TestStepError(t *testing.T) {
	step := program.Prelude(sandbox.Shape{}).Steps[0]
	const doc = "make the mount namespace and the others: "
	for _, tt := range []struct {
		name       string
		from, path string
		errno      unix.Errno
		exec       bool
		code       int
		want       string
	}{
		{"plain", "", "/x", unix.EIO, false, 125, "input/output error"},
		{"link", "", "/x", unix.ELOOP, false, 125, "too many levels of symbolic links; a symbolic link appeared on the path after it was checked; name the real place"},
		{"old kernel", "", "/x", unix.ENOSYS, false, 125, "function not implemented; this kernel is too old; sbx needs Linux 5.12, see sbx doctor"},
		{"used up", "", "/x", unix.ENOSPC, false, 125, "no space left on device; a limit of this host is used up: fs.mount-max, user.max_*_namespaces, or the size of the file system; see sbx doctor"},
		{"no more terminals", "process.tty", "/dev/pts/ptmx", unix.ENOSPC, false, 125, "no space left on device; as many terminals are open as there may be, in this sandbox or on this host (sysctl kernel.pty.max); close some, or do without one: --tty=never"},
		{"quota", "", "/x", unix.EDQUOT, false, 125, "disk quota exceeded; your quota on this host is used up; of keys (/proc/key-users, sysctl kernel.keys.maxkeys) each sandbox takes one until it ends and is waited for"},
		{"outside", "", "/x", unix.EXDEV, false, 125, "invalid cross-device link; the directory is not part of the sandbox"},
		{"maps", "", "/x", unix.ECANCELED, false, 125, "operation canceled; the id maps were not written"},
		{"forbidden path", "", "/x", unix.EPERM, false, 125, "operation not permitted"},
		{"forbidden", "", "", unix.EPERM, false, 125, "operation not permitted; user namespaces are restricted on this host; see sbx doctor"},
		{"forbidden map", "user.map", "/x", unix.EACCES, false, 125, "permission denied; user namespaces are restricted on this host; see sbx doctor"},
		{"no filter", "security.seccomp", "", unix.EINVAL, false, 125, "invalid argument; the kernel, or a container around sbx, does not take the filter; see sbx doctor, or set security.seccomp = \"unconfined\" to run without"},
		{"missing path that is no command", "", "/x", unix.ENOENT, false, 125, "no such file or directory"},
		{"command not found", "", "x", unix.ENOENT, true, 127, "no such file or directory; it is not visible inside, or the interpreter it names is not; sbx explain lists what is"},
		{"command below a file", "", "x", unix.ENOTDIR, true, 127, "not a directory"},
		{"not executable", "", "x", unix.EACCES, true, 126, "permission denied; it is not executable for you, or lies on a noexec mount"},
		{"no program", "", "x", unix.ENOEXEC, true, 126, "exec format error; it is neither a program of this machine nor a script with a #! line"},
		{"too long", "", "x", unix.E2BIG, true, 126, "argument list too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := step
			s.From, s.Path = tt.from, tt.path
			e := &StepError{Step: s, Errno: tt.errno, IsExec: tt.exec}
			if e.Error() != doc+tt.want || e.Code() != tt.code || !errors.Is(e, tt.errno) {
				t.Errorf("%q, code %d, want %q, %d", e, e.Code(), doc+tt.want, tt.code)
			}
		})
	}
}

func TestCloneError(t *testing.T) {
	for _, tt := range []struct {
		errno unix.Errno
		want  string
	}{
		{unix.EPERM, "unprivileged user namespaces are switched off on this host (kernel.unprivileged_userns_clone), a container around sbx forbids them, or sbx runs in a chroot, where the kernel gives none; see sbx doctor"},
		{unix.EACCES, "a security module (AppArmor, SELinux) forbids user namespaces to sbx; see sbx doctor"},
		{unix.ENOSPC, "the limit on namespaces is reached or zero (sysctl user.max_user_namespaces and its siblings); see sbx doctor"},
		{unix.EUSERS, "the limit on namespaces is reached or zero (sysctl user.max_user_namespaces and its siblings); see sbx doctor"},
		{unix.ENOSYS, "this kernel lacks clone3 or a kind of namespace; sbx needs Linux 5.12, see sbx doctor"},
		{unix.EINVAL, "this kernel lacks clone3 or a kind of namespace; sbx needs Linux 5.12, see sbx doctor"},
		{unix.EAGAIN, "see sbx doctor"},
	} {
		t.Run(unix.ErrnoName(tt.errno), func(t *testing.T) {
			err := cloneError(tt.errno)
			if want := "making the sandbox's namespaces: " + tt.errno.Error() + "; " + tt.want; err.Error() != want || !errors.Is(err, tt.errno) {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
}

func TestInterruptedError(t *testing.T) {
	for _, tt := range []struct {
		joined bool
		want   string
	}{
		{false, "ended by SIGTERM while the sandbox was being built; the command did not run"},
		{true, "ended by SIGTERM while the command was being started in the sandbox; it did not run"},
	} {
		if e := (&InterruptedError{unix.SIGTERM, tt.joined}); e.Error() != tt.want || e.Code() != 143 {
			t.Errorf("%v, %d", e, e.Code())
		}
	}
}

func TestMakePrivateDir(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	if err := errors.Join(
		os.Mkdir(at("good"), 0o755), os.Mkdir(at("group"), 0o700), os.Chmod(at("group"), 0o770),
		os.Mkdir(at("world"), 0o700), os.Chmod(at("world"), 0o702), os.Symlink("good", at("link")),
		os.Symlink("none", at("dangling")), os.WriteFile(at("file"), nil, 0o600), os.Mkdir(at("others"), 0o700),
	); err != nil {
		t.Fatal(err)
	}
	const mend = " must be a directory of yours that nobody else can write; remove it or mend its mode"
	tests := []struct{ name, dir, want string }{
		{"new", "a/b/c", ""},
		{"there", "good", ""},
		{"group-writable", "group", at("group") + mend},
		{"world-writable", "world", at("world") + mend},
		{"a link", "link", at("link") + mend},
		{"a link to nothing", "dangling", "mkdir " + at("dangling") + ": file exists"},
		{"a file", "file", "mkdir " + at("file") + ": not a directory"},
	}
	if os.Getuid() == 0 {
		if err := os.Chown(at("others"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		tests = append(tests, struct{ name, dir, want string }{"another's", "others", at("others") + mend})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := makePrivateDir(at(tt.dir)); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("makePrivateDir: %q, want %q", got, tt.want)
			}
		})
	}
	for _, d := range []string{"a", "a/b", "a/b/c"} {
		if st, err := os.Stat(at(d)); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v, want mode 0700", d, st.Mode(), err)
		}
	}
}

// sleeper is a watch on a process that sleeps, and what ended it.
func sleeper(t *testing.T, p sandbox.Process) (w *watch, ended func() unix.Signal) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		unix.Close(fd)
	})
	s := &sandboxed{fd: fd, init: fd, plan: &sandbox.Plan{Process: p}}
	s.watch.s = s
	return &s.watch, func() unix.Signal {
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) {
			return 0
		}
		ws, _ := exit.Sys().(syscall.WaitStatus)
		return ws.Signal()
	}
}

func TestPatience(t *testing.T) {
	for _, tt := range []struct {
		name     string
		due      time.Duration
		min, max int
	}{
		{"past", -time.Hour, 1, 1},
		{"soon", time.Minute, 59_000, 60_001},
		{"more than an int of C holds", 30 * 24 * time.Hour, 1<<31 - 1, 1<<31 - 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &watch{due: time.Now().Add(tt.due)}
			if got := w.patience(); got < tt.min || got > tt.max {
				t.Errorf("patience() = %d, want %d to %d", got, tt.min, tt.max)
			}
		})
	}
	if got := (&watch{}).patience(); got != -1 {
		t.Errorf("without a timeout patience() = %d", got)
	}
}

// TestMonotonic: a clock that is set, or that jumps over a suspend, moves no
// deadline: each is a reading of the monotonic clock (time, "Monotonic Clocks"),
// which Before, Sub and Until then go by.
func TestMonotonic(t *testing.T) {
	monotonic := func(tm time.Time) bool { return strings.Contains(tm.String(), " m=") }
	if !monotonic(time.Now()) || monotonic(time.Now().Round(0)) {
		t.Fatal("a time does not show whether it is monotonic")
	}
	w, _ := sleeper(t, sandbox.Process{Timeout: time.Hour, StopTimeout: time.Hour, StopSignal: int(unix.SIGURG)})
	w.begin()
	if !monotonic(w.due) || time.Until(w.due) > time.Hour || time.Until(w.due) < 59*time.Minute {
		t.Errorf("the timeout is %v", w.due)
	}
	w.due = time.Now()
	if w.clock(); !w.expired || !monotonic(w.due) {
		t.Errorf("the end of the grace is %v", w.due)
	}
	if err := w.soon(unix.SIGTERM); err != nil || !monotonic(w.earlyBy) {
		t.Errorf("an early signal is kept until %v, %v", w.earlyBy, err)
	}
	w.early = 0
	w.running = true
	if err := w.one(unix.SIGINT); err != nil || !monotonic(w.last) {
		t.Errorf("the last interrupt was at %v, %v", w.last, err)
	}
}

func TestClock(t *testing.T) {
	stop := sandbox.Process{StopTimeout: time.Hour, StopSignal: int(unix.SIGINT)}
	t.Run("not yet", func(t *testing.T) {
		w := &watch{due: time.Now().Add(time.Hour)} // it has nothing to send to
		w.clock()
		if w.expired {
			t.Error("the time is over before it is")
		}
	})
	t.Run("a stop before the command ran", func(t *testing.T) {
		w, ended := sleeper(t, sandbox.Process{Timeout: time.Hour, StopTimeout: time.Hour})
		by := time.Now()
		w.stopped, w.due = true, by
		if w.begin(); !w.due.Equal(by) {
			t.Errorf("the timeout moves the end to %v", w.due)
		}
		w.clock()
		if sig := ended(); sig != unix.SIGKILL || w.expired {
			t.Errorf("ended by %v, expired %v", sig, w.expired)
		}
	})
	t.Run("first it is asked to end", func(t *testing.T) {
		w, ended := sleeper(t, stop)
		w.due = time.Now()
		w.clock()
		if left := time.Until(w.due); !w.expired || left < 59*time.Minute || left > time.Hour {
			t.Errorf("expired %v, then %v are left", w.expired, left)
		}
		if sig := ended(); sig != unix.SIGINT {
			t.Errorf("ended by %v", sig)
		}
	})
	t.Run("then it is killed", func(t *testing.T) {
		w, ended := sleeper(t, stop)
		w.due, w.expired = time.Now(), true
		w.clock()
		if sig := ended(); sig != unix.SIGKILL || !w.due.IsZero() {
			t.Errorf("ended by %v, due %v", sig, w.due)
		}
	})
	t.Run("without grace it is killed at once", func(t *testing.T) {
		w, ended := sleeper(t, sandbox.Process{})
		w.due = time.Now()
		w.clock()
		if sig := ended(); sig != unix.SIGKILL || !w.expired || !w.due.IsZero() {
			t.Errorf("ended by %v, expired %v, due %v", sig, w.expired, w.due)
		}
	})
}

func TestSignals(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT} {
		w := &watch{}
		if err := w.one(sig); err != nil || w.early != sig || w.earlyBy.IsZero() {
			t.Errorf("%v before the command runs: %v, kept %v", sig, err, w.early)
		}
		var e *InterruptedError
		if err := w.one(sig); !errors.As(err, &e) || e.Signal != sig {
			t.Errorf("a second %v before the command runs: %v", sig, err)
		}
	}
	t.Run("passed on", func(t *testing.T) {
		w, ended := sleeper(t, sandbox.Process{})
		w.running = true
		if err := w.one(unix.SIGUSR1); err != nil || ended() != unix.SIGUSR1 {
			t.Error(err)
		}
	})
	t.Run("a late second SIGINT is one", func(t *testing.T) {
		w, ended := sleeper(t, sandbox.Process{})
		w.running, w.last = true, time.Now().Add(-impatience)
		if err := w.one(unix.SIGINT); err != nil || ended() != unix.SIGINT {
			t.Error(err)
		}
	})
	t.Run("an impatient one kills", func(t *testing.T) {
		w, ended := sleeper(t, sandbox.Process{})
		w.running, w.last = true, time.Now()
		if err := w.one(unix.SIGINT); err != nil || ended() != unix.SIGKILL {
			t.Error(err)
		}
	})
}

// summons counts how often an attendant was asked for.
type summons int

func (n *summons) Begun(*Sandbox) error { return nil }
func (n *summons) Runs() error          { return nil }
func (n *summons) Summoned() error      { *n++; return nil }

// TestInterrupted: what is taken while there is no command any more is not lost.
func TestInterrupted(t *testing.T) {
	if _, err := signalPipe(); err != nil { // they are caught from now on
		t.Fatal(err)
	}
	var n summons
	s := &sandboxed{attendant: &n}
	s.watch.s = s
	for _, sig := range []unix.Signal{SignalSummon, unix.SIGTERM, unix.SIGHUP} {
		if err := unix.Kill(unix.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
	}
	asked := false
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		asked = s.interrupted() || asked
	}
	if !asked || s.asked != unix.SIGTERM || n != 1 {
		t.Errorf("asked for the end: %v by signal %d, the attendant %d times", asked, s.asked, n)
	}
}

// TestAnew: a start that is begun anew waits for the same as before.
func TestAnew(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS)
	p := &sandbox.Plan{Namespaces: program.Usual}
	st, err := Begin(p.Shape())
	if err != nil {
		t.Fatal(err)
	}
	st.primed = make(chan struct{})
	again, err := st.anew(p.Shape(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Abort()
	if again.primed != st.primed {
		t.Error("it does not wait until processes can be moved")
	}
}

// TestEnds: the child gets its own end of each channel, no descriptor twice,
// and nothing is left open.
func TestEnds(t *testing.T) {
	one := [3]bool{true, false, true}
	for _, tt := range []struct {
		name         string
		shape        sandbox.Shape
		ours, childs int
		slots        []int
	}{
		{"plain", sandbox.Shape{}, 3, 3, []int{program.SlotStatus, program.SlotStatusRead, program.SlotReport, program.SlotGo, program.SlotGoWrite}},
		{"range", sandbox.Shape{Range: true}, 4, 6, []int{program.SlotSync, program.SlotSyncWrite, program.SlotMapRead, program.SlotMapWrite}},
		{"terminal", sandbox.Shape{Terminal: one}, 4, 4, []int{program.SlotTerminal}},
		{"pipes", sandbox.Shape{Pipe: one}, 5, 5, []int{program.SlotStdin, program.SlotStderr}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := sbxtest.Descriptors(t)
			st := &Start{shape: tt.shape}
			if err := st.open(); err != nil {
				t.Fatal(err)
			}
			all := slices.Concat(st.ends.ours, st.ends.child)
			slices.Sort(all)
			if len(st.ends.ours) != tt.ours || len(st.ends.child) != tt.childs || len(slices.Compact(all)) != tt.ours+tt.childs {
				t.Errorf("ours %v, the child's %v", st.ends.ours, st.ends.child)
			}
			for _, slot := range tt.slots {
				if !slices.Contains(all, int(st.ends.slots[slot])) {
					t.Errorf("slot %d is %d, which is not open", slot, st.ends.slots[slot])
				}
			}
			for _, fd := range all {
				if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
					t.Errorf("descriptor %d: flags %#x, %v", fd, flags, err)
				}
			}
			st.ends.close()
			if after := sbxtest.Descriptors(t); after != before {
				t.Errorf("%d descriptors are open, before it were %d", after, before)
			}
		})
	}
}

// TestNoPlan: a child that waits for a program is ended when there is none.
func TestNoPlan(t *testing.T) {
	before := sbxtest.Descriptors(t)
	_, err := Run(&sandbox.Plan{Process: sandbox.Process{Argv: []string{"true"}}})
	if err == nil || !strings.HasPrefix(err.Error(), "BUG: this is no plan: ") && !strings.HasPrefix(err.Error(), "making the sandbox's namespaces: ") {
		t.Errorf("Run: %v", err)
	}
	if after := sbxtest.Descriptors(t); after != before {
		t.Errorf("%d descriptors are open, before it were %d", after, before)
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("a child is left: %v", err)
	}
}

// TestOthers: what else is waited for is looked at, until it ends the sandbox.
func TestOthers(t *testing.T) {
	var ours, theirs, signals [2]int
	for _, p := range []*[2]int{&ours, &theirs, &signals} {
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer closeAll(p[:])
	}
	ended := errors.New("the companion has ended")
	taken := 0
	o := &other{fd: theirs[0]}
	o.take = func() error {
		var b [1]byte
		if _, err := unix.Read(o.fd, b[:]); err != nil {
			return err
		}
		switch taken++; b[0] {
		case 'x':
			return ended
		case 'l':
			o.fd = -1
			_, err := unix.Write(ours[1], b[:])
			return err
		}
		return nil
	}
	w := &watch{signals: signals[0], others: []*other{{fd: -1, take: func() error { return errors.New("it has no descriptor") }}, o}}
	for _, tt := range []struct {
		in    string
		want  error
		taken int
	}{{"aax", ended, 3}, {"al", nil, 2}} {
		if _, err := unix.Write(theirs[1], []byte(tt.in)); err != nil {
			t.Fatal(err)
		}
		if taken = 0; !errors.Is(w.until(ours[0]), tt.want) || taken != tt.taken {
			t.Errorf("%s: %d taken, want %d", tt.in, taken, tt.taken)
		}
	}
}
