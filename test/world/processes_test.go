package world

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// headless is the variable that makes this program a process whose first thread has
// ended, while another is still at work.
const headless = "WORLD_TEST_HEADLESS"

func init() { runtime.LockOSThread() } // main is on the first thread

func TestMain(m *testing.M) {
	if os.Getenv(headless) == "" {
		os.Exit(m.Run())
	}
	working := make(chan bool)
	go func() {
		close(working)
		time.Sleep(20 * time.Second)
		os.Exit(0)
	}()
	<-working
	_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0) // the thread's alone, exit(2)
}

// TestGone: a process is not gone before its last thread is, as it has open until then
// what it held.
func TestGone(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), headless+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	Until(t, "its first thread has ended", func() bool {
		for _, p := range Processes(t) {
			if p.PID == cmd.Process.Pid {
				return p.State == 'Z'
			}
		}
		return false
	})
	if len(Below(t, os.Getpid())) == 0 {
		t.Error("it counts as gone, and its other threads are at work")
	}
}
