package processes

import (
	"os"
	"os/exec"
	"slices"
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
