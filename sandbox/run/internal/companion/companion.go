// Package companion starts the programs that stand by a sandbox, such as a
// network's engine or fuse-overlayfs, and sees to it that none outlives it.
//
// A companion is found by its absolute path, gets exactly the descriptors it is
// given, by position, and is a session of its own: the terminal's signals are
// not for it. It dies when the supervisor does, however that happens
// (PR_SET_PDEATHSIG(2const)). That signal is tied to the thread that started
// it, which is as good as the process: Go ends a thread only when a goroutine
// that is locked to it returns. Don't call Start from such a goroutine.
//
// The signal is lost when the program changes its ids or joins a user
// namespace. One that does so needs a lifeline besides: a descriptor whose
// other end is the supervisor's alone.
package companion

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Places of Spec.Files with a meaning of their own.
const (
	// Null is /dev/null at standard input and output, and nothing at any other.
	Null = -1
	// Ready is the writing end of a pipe on which the program says that it is
	// ready, by any byte. See Companion.Ready.
	Ready = -2
	// Captured, for standard error only, is a pipe whose contents Take keeps.
	Captured = -3
)

// Spec is a program to start.
type Spec struct {
	// Name is what messages call it.
	Name string
	// Path is where the program is, absolute: PATH is not looked at.
	Path string
	// Args are its arguments, without its name.
	Args []string
	// Env is its whole environment.
	Env []string
	// Files are its descriptors by position, the caller's own copies of which stay
	// open: a descriptor, Null, Ready (once) or, at position 2, Captured. The
	// first three may be left out: Null, Null and Captured stand in.
	Files []int
}

// Companion is a program that was started. It is for one goroutine only.
type Companion struct {
	Name string
	PID  int
	// PidFD can be read from (poll(2)) when the program has ended. Close-on-exec.
	PidFD int
	// Ready is the reading end of the pipe of that name, -1 where Spec.Files has
	// none. It can be read from when the program is ready, or has let go of its
	// end: IsReady tells them apart.
	Ready int
	// Stderr is the reading end of what the program writes there, non-blocking, -1
	// where it is not captured and after its end. Call Take when it can be read
	// from: a program that nobody listens to stops when the pipe is full.
	Stderr int

	said   tail
	ended  bool
	status unix.WaitStatus
}

// Start starts a program. Stop must follow, also when it has ended by itself.
// The error names the program; errors.Is finds execve(2)'s errno.
//
// Every descriptor of this process from 3 on is marked close-on-exec first, as
// its own are anyway: what the caller's shell left open is not for companions.
func Start(s Spec) (*Companion, error) {
	c, err := start(s)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.Name, err)
	}
	return c, nil
}

func start(s Spec) (*Companion, error) {
	if !filepath.IsAbs(s.Path) {
		return nil, fmt.Errorf("BUG: %q is no absolute path", s.Path)
	}
	c := &Companion{Name: s.Name, PidFD: -1, Ready: -1, Stderr: -1}
	files, given, err := c.files(s.Files)
	defer closeAll(given)
	if err != nil {
		c.close()
		return nil, err
	}
	// Linux 5.11, older than what sbx needs anyway.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		c.close()
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
			err = fmt.Errorf("%w; this kernel is too old; sbx needs Linux 5.12, see sbx doctor", err)
		}
		return nil, fmt.Errorf("marking descriptors close-on-exec: %w", err)
	}
	attr := &syscall.ProcAttr{Env: s.Env, Files: files, Sys: &syscall.SysProcAttr{
		Setsid: true, Pdeathsig: syscall.SIGKILL, PidFD: &c.PidFD,
	}}
	restore, err := unblockSignals()
	if err != nil {
		c.close()
		return nil, err
	}
	c.PID, err = syscall.ForkExec(s.Path, append([]string{filepath.Base(s.Path)}, s.Args...), attr)
	restore()
	if err != nil {
		c.close()
		return nil, fmt.Errorf("%s: %w", s.Path, err)
	}
	return c, nil
}

// files makes the list of descriptors for the child, and says which of them are
// to be closed on this side.
func (c *Companion) files(want []int) (list []uintptr, given []int, err error) {
	standard := [3]int{Null, Null, Captured}
	copy(standard[:], want)
	for i, fd := range append(standard[:], want[min(3, len(want)):]...) {
		switch fd {
		case Null:
			if i > 2 {
				list = append(list, ^uintptr(0)) // ForkExec leaves it closed
				continue
			}
			if fd, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
				given = append(given, fd)
			}
		case Ready:
			c.Ready, fd, err = pipe(&given)
		case Captured:
			if c.Stderr, fd, err = pipe(&given); err == nil {
				err = unix.SetNonblock(c.Stderr, true)
			}
		}
		if err != nil {
			return nil, given, fmt.Errorf("opening its descriptors: %w", err)
		}
		list = append(list, uintptr(fd))
	}
	return list, given, nil
}

func pipe(given *[]int) (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, err
	}
	*given = append(*given, p[1])
	return p[0], p[1], nil
}

// unblockSignals has this thread block no signal until it is restored: a
// program inherits the mask (sigprocmask(2)), and one that starts with SIGTERM
// blocked can't be asked to end. Go itself resets what it handles, SIGPIPE
// among it, so that only what the caller of sbx ignores and Go leaves alone
// (SIGHUP, SIGINT, those of job control) stays ignored; in a session of its
// own that is without effect.
func unblockSignals() (restore func(), err error) {
	runtime.LockOSThread()
	var none, old unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, &old); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("unblocking signals: %w", err)
	}
	return func() {
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) // it was this thread's mask before
		runtime.UnlockOSThread()
	}, nil
}

// IsReady is for when Ready can be read from. The error says how the program
// ended if it has let go of its end instead, or did so without a word.
func (c *Companion) IsReady() error {
	var b [1]byte
	for {
		n, err := unix.Read(c.Ready, b[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("waiting for %s: %w", c.Name, err)
		case n > 0:
			return nil
		}
		return c.Failure()
	}
}

// Take reads what the program has written to standard error since, without
// waiting. Its beginning and its end are kept, 4 KiB of each.
func (c *Companion) Take() {
	var b [4096]byte
	for c.Stderr >= 0 {
		n, err := unix.Read(c.Stderr, b[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err != nil || n <= 0 {
			unix.Close(c.Stderr)
			c.Stderr = -1
			return
		}
		c.said.add(b[:n])
	}
}

// Said is what Take has read, without white space around it.
func (c *Companion) Said() string { return strings.TrimSpace(c.said.String()) }

// Failure waits for the end of a program that is about to end, or has, at most
// a second, and says how it ended and what it said last.
func (c *Companion) Failure() error {
	how := "has closed its descriptors"
	if c.await(time.Second) {
		c.reap()
		how = c.how()
	}
	c.Take()
	if said := c.Said(); said != "" {
		return fmt.Errorf("%s %s: %s", c.Name, how, strings.ReplaceAll(said, "\n", "; "))
	}
	return fmt.Errorf("%s %s", c.Name, how)
}

func (c *Companion) how() string {
	if c.status.Signaled() {
		return "was killed by " + unix.SignalName(c.status.Signal())
	}
	return fmt.Sprintf("ended with status %d", c.status.ExitStatus())
}

// Ended reports whether the program has ended, and its wait status then.
func (c *Companion) Ended() (unix.WaitStatus, bool) {
	if c.await(0) {
		c.reap()
	}
	return c.status, c.ended
}

// Stop asks the program to end (SIGTERM), kills it when it has not after grace,
// or at once when that is zero, waits for it and closes the descriptors here.
// It may be called twice.
func (c *Companion) Stop(grace time.Duration) {
	if c == nil {
		return
	}
	if !c.ended && grace > 0 {
		c.signal(unix.SIGTERM)
		c.await(grace)
	}
	if !c.ended {
		c.signal(unix.SIGKILL)
		c.reap()
	}
	c.close()
}

// signal is safe: nobody else waits for the program, so its number is its own
// where the descriptor is refused.
func (c *Companion) signal(sig unix.Signal) {
	if unix.PidfdSendSignal(c.PidFD, sig, nil, 0) != nil {
		_ = unix.Kill(c.PID, sig)
	}
}

// await waits up to d for the program's end.
func (c *Companion) await(d time.Duration) bool {
	for end := time.Now().Add(d); !c.ended; {
		fds := []unix.PollFd{{Fd: int32(c.PidFD), Events: unix.POLLIN}, {Fd: int32(c.Stderr), Events: unix.POLLIN}}
		left := max(time.Until(end), 0)
		n, err := unix.Poll(fds, int((left+time.Millisecond-1)/time.Millisecond))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
		c.Take() // lest it wait for somebody to read
		if n > 0 && fds[0].Revents != 0 {
			return true
		}
		if left <= 0 {
			return false
		}
	}
	return true
}

func (c *Companion) reap() {
	for !c.ended {
		_, err := unix.Wait4(c.PID, &c.status, 0, nil)
		c.ended = !errors.Is(err, unix.EINTR)
	}
}

func (c *Companion) close() {
	closeAll([]int{c.PidFD, c.Ready, c.Stderr})
	c.PidFD, c.Ready, c.Stderr = -1, -1, -1
}

func closeAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// tail keeps the beginning and the end of what is added to it.
type tail struct {
	first, last []byte
	left        bool // something between them was left out
}

const kept = 4 << 10

func (t *tail) add(b []byte) {
	n := min(len(b), kept-len(t.first))
	t.first = append(t.first, b[:n]...)
	t.last = append(t.last, b[n:]...)
	if over := len(t.last) - kept; over > 0 {
		t.last, t.left = append(t.last[:0], t.last[over:]...), true
	}
}

func (t *tail) String() string {
	gap := ""
	if t.left {
		gap = " […] "
	}
	return string(t.first) + gap + string(t.last)
}

// Adopt makes a Companion of a child that was started in another way. stderr is
// the reading end of what it writes there, non-blocking. Stop must follow.
func Adopt(name string, pid, pidFD, stderr int) *Companion {
	return &Companion{Name: name, PID: pid, PidFD: pidFD, Ready: -1, Stderr: stderr}
}

// EndBy waits until then for a program that ends by itself, and gives its wait
// status. Stop must follow.
func (c *Companion) EndBy(then time.Time) (unix.WaitStatus, bool) {
	if c.ended || c.await(time.Until(then)) {
		c.reap()
	}
	return c.status, c.ended
}
