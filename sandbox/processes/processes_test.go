package processes

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestList(t *testing.T) {
	c := exec.Command("sh", "-c", "sleep 60 & sleep 60; :")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		list, _ := List(c.Process.Pid)
		for i := range list {
			_ = list[i].Signal(unix.SIGKILL)
		}
		_ = c.Wait()
	}()
	var list []Process
	// A process that has just been made has no memory of its own for a moment.
	all := func() bool {
		return len(list) == 3 && !slices.ContainsFunc(list[1:], func(p Process) bool { return p.Name != "sleep" || p.RSS == 0 })
	}
	for end := time.Now().Add(20 * time.Second); !all() && time.Now().Before(end); time.Sleep(time.Millisecond) {
		var err error
		if list, err = List(c.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	if len(list) != 3 || list[0].PID != c.Process.Pid || list[1].Parent != c.Process.Pid {
		t.Fatalf("%+v", list)
	}
	list[1].Detail()
	if list[1].UID != uint32(os.Getuid()) || list[1].RSS == 0 || len(list[1].Command) == 0 {
		t.Errorf("%+v", list[1])
	}
	if err := SignalAll(c.Process.Pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	now, err := List(c.Process.Pid)
	if err != nil || !now[1].Stopped() || !now[2].Stopped() || now[0].Stopped() {
		t.Errorf("stopped: %+v, %v", now, err)
	}
	if err := SignalAll(c.Process.Pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if now, err = List(c.Process.Pid); err != nil || slices.ContainsFunc(now, func(p Process) bool { return p.Stopped() }) {
		t.Errorf("going on: %+v, %v", now, err)
	}
	// Its number is another's now, for all we know.
	forged := now[1]
	forged.Start++
	if err := forged.Signal(unix.SIGKILL); err != unix.ESRCH {
		t.Errorf("a process with another start: %v", err)
	}
	if _, err := List(0x7ffffff0); err == nil {
		t.Error("a process that is not there was listed")
	}
}

// headlessVariable has this test's program end its first thread, and go on.
const headlessVariable = "SBX_TEST_HEADLESS"

func init() {
	if os.Getenv(headlessVariable) != "" {
		runtime.LockOSThread() // the first one
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(headlessVariable) != "" {
		go func() { time.Sleep(time.Minute); os.Exit(0) }()
		_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	}
	os.Exit(m.Run())
}

// below starts a shell that starts others, and kills all of them in the end.
func below(t *testing.T, script string, env ...string) (init int) {
	t.Helper()
	c := exec.Command("sh", "-c", script)
	c.Env = append(os.Environ(), env...)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Kill(-c.Process.Pid, unix.SIGKILL)
		_ = c.Wait()
	})
	return c.Process.Pid
}

// TestHeadless: a process goes on without its first thread, and is stopped like others.
func TestHeadless(t *testing.T) {
	init := below(t, `"$PROGRAM" & wait`, "PROGRAM="+os.Args[0], headlessVariable+"=1")
	raw := func() string {
		list, err := List(init)
		if err != nil || len(list) != 2 {
			return ""
		}
		text, _ := os.ReadFile("/proc/" + strconv.Itoa(list[1].PID) + "/stat")
		p, _ := parse(list[1].PID, text)
		return p.State
	}
	for end := time.Now().Add(20 * time.Second); raw() != "Z"; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("its first thread does not end")
		}
	}
	for _, tt := range []struct {
		sig     unix.Signal
		stopped bool
	}{{0, false}, {unix.SIGSTOP, true}, {unix.SIGCONT, false}} {
		if tt.sig != 0 {
			if err := SignalAll(init, tt.sig); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(50 * time.Millisecond)
		if list, err := List(init); err != nil || list[1].Stopped() != tt.stopped || list[1].RSS == 0 {
			t.Errorf("after %d: %+v, %v", tt.sig, list, err)
		}
	}
}

// TestContinued: processes that let one another go on are stopped, or are said not to be.
func TestContinued(t *testing.T) {
	init := below(t, `for i in 1 2 3 4 5 6; do (while :; do kill -CONT 0; done) & done; wait`)
	time.Sleep(100 * time.Millisecond)
	for range 5 {
		err := SignalAll(init, unix.SIGSTOP)
		time.Sleep(20 * time.Millisecond)
		list, failed := List(init)
		if failed != nil {
			t.Fatal(failed)
		}
		if runs := slices.IndexFunc(list[1:], func(p Process) bool { return !p.Stopped() }); runs >= 0 && err == nil {
			t.Fatalf("one goes on: %+v", list[1+runs])
		}
		if err := SignalAll(init, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 77 1 2 3 4"))
	f.Fuzz(func(t *testing.T, text []byte) { _, _ = parse(1, text) })
}

// TestEndSession: what a shell has started ends with it, other sessions go on.
func TestEndSession(t *testing.T) {
	start := func() *exec.Cmd {
		c := exec.Command("sh", "-c", "sleep 60 & sleep 60 | sleep 60; :")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if list, _ := List(c.Process.Pid); len(list) == 4 {
				return c
			}
		}
		t.Fatal("the processes did not come")
		return nil
	}
	alive := func(session int) (n int) {
		all, err := Scan()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all.byPID {
			if p.Session == session && p.State != "Z" && p.State != "X" {
				n++
			}
		}
		return n
	}
	c := start()
	if err := EndSession(os.Getpid(), os.Getpid()); err != nil {
		t.Error(err)
	}
	_ = c.Wait()
	for end := time.Now().Add(20 * time.Second); alive(c.Process.Pid) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of the session are left", alive(c.Process.Pid))
		}
	}
	other := start()
	defer func() {
		_ = EndSession(os.Getpid(), os.Getpid())
		_ = other.Wait()
	}()
	if err := EndSession(os.Getpid(), 1); err != nil || alive(other.Process.Pid) != 4 {
		t.Errorf("%v, and of another parent's session %d are left", err, alive(other.Process.Pid))
	}
}
