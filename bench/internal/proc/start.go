// Package proc starts processes, waits for them and for all that came of them, and
// looks at them through proc(5).
package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Starter starts commands under one account, in one directory, with one
// environment, from one thread.
//
// The calling process is made a child subreaper (prctl(2), PR_SET_CHILD_SUBREAPER):
// whatever loses its parent below it becomes its child. So a sandbox that outlives
// the process that started it is found and waited for, whichever namespaces it is
// in, and only children are ever signalled.
//
// All methods belong on the goroutine that called New: it is locked to its thread,
// because a parent-death signal is sent when the thread that started the process ends.
type Starter struct {
	Dir  string
	Env  []string
	Cred *syscall.Credential // nil: the caller's own

	null   *os.File
	strays map[int]bool // children that did not end in time and are no longer waited for
}

// New makes the calling process a subreaper and locks the goroutine to its thread.
func New(dir string, env []string, cred *syscall.Credential) (*Starter, error) {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("becoming a subreaper: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &Starter{Dir: dir, Env: env, Cred: cred, null: null, strays: map[int]bool{}}, nil
}

// Start starts argv, whose first element is a path, with all three standard files
// on /dev/null. The child exists and has called execve(2) when Start returns.
func (s *Starter) Start(argv []string) (pid int, err error) {
	return s.start(argv, s.null.Fd())
}

func (s *Starter) start(argv []string, stderr uintptr) (int, error) {
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir:   s.Dir,
		Env:   s.Env,
		Files: []uintptr{s.null.Fd(), s.null.Fd(), stderr},
		Sys:   &syscall.SysProcAttr{Credential: s.Cred},
	})
	if err != nil {
		return 0, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	return pid, nil
}

// Run is one command from its start to its end.
type Run struct {
	Wall time.Duration // until the started process had ended
	Gone time.Duration // until nothing of it was left
	CPU  time.Duration // user and system time of all of it
	Code int           // exit status, 128+n for signal n
}

// Run starts argv and waits until nothing of it is left.
func (s *Starter) Run(argv []string) (Run, error) {
	begin := time.Now()
	pid, err := s.Start(argv)
	if err != nil {
		return Run{}, err
	}
	var st syscall.WaitStatus
	var ru syscall.Rusage
	if err := wait(pid, &st, &ru); err != nil {
		return Run{}, err
	}
	r := Run{Wall: time.Since(begin), CPU: cpu(&ru), Code: code(st)}
	r.CPU += s.Settle(2 * time.Second)
	r.Gone = time.Since(begin)
	return r, nil
}

// Settle waits until no child is left, at most for limit, and returns the processor
// time of those that ended. What is still there then is left alone and not waited
// for again: some tools leave a helper behind on purpose.
func (s *Starter) Settle(limit time.Duration) time.Duration {
	var total time.Duration
	pause := 20 * time.Microsecond
	for end := time.Now().Add(limit); ; {
		var st syscall.WaitStatus
		var ru syscall.Rusage
		pid, err := syscall.Wait4(-1, &st, syscall.WNOHANG, &ru)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil: // ECHILD: nobody left
			return total
		case pid > 0:
			total += cpu(&ru)
			delete(s.strays, pid)
			continue
		}
		if len(s.strays) > 0 && s.onlyStrays() {
			return total
		}
		if time.Now().After(end) {
			for _, pid := range Children() {
				s.strays[pid] = true
			}
			return total
		}
		Nap(pause)
		pause = min(pause*3/2, 2*time.Millisecond)
	}
}

func (s *Starter) onlyStrays() bool {
	for _, pid := range quickChildren() {
		if !s.strays[pid] {
			return false
		}
	}
	return true
}

// Probe runs argv once and returns why it can't be measured: an error with the last
// line it wrote to standard error.
func (s *Starter) Probe(argv []string, limit time.Duration) error {
	out, err := os.CreateTemp("", "bench-probe-")
	if err != nil {
		return err
	}
	defer out.Close()
	os.Remove(out.Name())
	pid, err := s.start(argv, out.Fd())
	if err != nil {
		return err
	}
	st, ended := waitFor(pid, limit)
	if !ended {
		syscall.Kill(pid, syscall.SIGKILL)
		wait(pid, &st, nil)
	}
	s.Settle(2 * time.Second)
	if ended && code(st) == 0 {
		return nil
	}
	text := make([]byte, 4096)
	n, _ := out.ReadAt(text, 0)
	said := lastLine(string(text[:n]))
	if !ended {
		return fmt.Errorf("not finished after %v %s", limit, said)
	}
	return fmt.Errorf("exit status %d %s", code(st), said)
}

// Kill ends a child and waits for it. It reports whether the child was still running.
//
// Precondition: pid is a child that was not waited for, so the number can't have
// been given to another process.
func (s *Starter) Kill(pid int) (running bool, err error) {
	syscall.Kill(pid, syscall.SIGKILL)
	var st syscall.WaitStatus
	err = wait(pid, &st, nil)
	return st.Signaled() && st.Signal() == syscall.SIGKILL, err
}

// Clear kills all children, and the children they leave, until none is left or
// limit has passed. It returns how many remain: those of another account.
func (s *Starter) Clear(limit time.Duration) int {
	for end := time.Now().Add(limit); s.Reap(); Nap(time.Millisecond) {
		left := Children()
		if time.Now().After(end) {
			return len(left)
		}
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return 0
}

// Reap collects the children that have ended, and reports whether there are others.
func (s *Starter) Reap() (more bool) {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case pid <= 0:
			return err == nil
		default:
			delete(s.strays, pid)
		}
	}
}

// Any waits until some child has ended. It returns the child's id and exit status.
func (s *Starter) Any() (pid, status int, err error) {
	var st syscall.WaitStatus
	for {
		pid, err = syscall.Wait4(-1, &st, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			return pid, code(st), err
		}
	}
}

// Close ends what is left and releases the starter.
func (s *Starter) Close() {
	s.Clear(2 * time.Second)
	s.null.Close()
}

func wait(pid int, st *syscall.WaitStatus, ru *syscall.Rusage) error {
	for {
		_, err := syscall.Wait4(pid, st, 0, ru)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func waitFor(pid int, limit time.Duration) (syscall.WaitStatus, bool) {
	var st syscall.WaitStatus
	for end := time.Now().Add(limit); time.Now().Before(end); Nap(time.Millisecond) {
		if got, _ := syscall.Wait4(pid, &st, syscall.WNOHANG, nil); got == pid {
			return st, true
		}
	}
	return st, false
}

// Nap sleeps for d on the calling thread, without the timers of the Go scheduler.
func Nap(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&ts, nil)
}

func cpu(ru *syscall.Rusage) time.Duration {
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func code(st syscall.WaitStatus) int {
	if st.Signaled() {
		return 128 + int(st.Signal())
	}
	return st.ExitStatus()
}
