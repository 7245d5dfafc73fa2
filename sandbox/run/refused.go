package run

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/refusal"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/listener"
)

// refused answers the calls that the sandbox's filter refuses, where it asks, and
// tells of them. The zero value is for a sandbox whose filter does not ask.
//
// To answer takes this process some fifty microseconds, and a command can make as
// many calls as it likes: of each stretch of time only so many are answered, and
// who calls more often waits for the next.
type refused struct {
	s     *sandboxed
	judge *listener.Judge
	calls *other // by its listener
	clock *other // by a timer, while the calls have to wait
	began time.Time
	left  int // of the calls that are answered in this stretch
}

const (
	stretch     = 100 * time.Millisecond
	perStretch  = 512
	perReadable = 32 // answered before others are heard
)

// takeListener receives the filter's listener from PID 1.
func (s *sandboxed) takeListener() error {
	if !s.plan.Security.Seccomp.Trace {
		return nil
	}
	code, err := program.Filter(s.plan)
	if err != nil {
		return err
	}
	judge, err := listener.NewJudge(code)
	if err != nil {
		return err
	}
	if err := s.until(s.ends.program); err != nil {
		return err
	}
	fds, err := receive(s.ends.program, 1)
	if err != nil {
		return fmt.Errorf("receiving the listener of the system call filter: %w", err)
	}
	if len(fds) == 0 {
		return nil // the child is gone, and has reported why
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		closeAll(fds)
		return fmt.Errorf("making a timer: %w", err)
	}
	r := &s.refused
	*r = refused{s: s, judge: judge, calls: &other{fd: fds[0]}, clock: &other{fd: timer}}
	r.calls.take, r.clock.take = r.answer, r.goOn
	s.others = append(s.others, r.calls, r.clock)
	return nil
}

// answer refuses the calls that wait.
func (r *refused) answer() error {
	if now := time.Now(); now.Sub(r.began) >= stretch {
		r.began, r.left = now, perStretch
	}
	for range perReadable {
		waits, over := listener.Waits(r.calls.fd)
		if over {
			r.close()
		}
		if !waits {
			return nil
		}
		if r.left == 0 {
			return r.rest()
		}
		r.left--
		if err := r.one(); err != nil {
			return err
		}
	}
	return nil
}

// one refuses a call, then tells of it: who made it is to wait for nobody who reads
// what is told.
func (r *refused) one() error {
	fd := r.calls.fd
	c, err := listener.Receive(fd)
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINTR):
		return nil // who made it was killed, or is looked at again
	case err != nil:
		return fmt.Errorf("reading what the system call filter refused: %w", err)
	}
	errno, _ := r.judge.Errno(&c)
	call := refusal.Call{Nr: c.Nr, Arch: c.Arch, Args: c.Args, Errno: errno}
	if call.Program, call.PID = caller(int(c.TID)); !c.Valid(fd) {
		call.Program, call.PID = "", 0
	}
	if err := c.Refuse(fd, errno); err != nil {
		return fmt.Errorf("answering what the system call filter refused: %w", err)
	}
	if tell := r.s.refusals; tell != nil {
		tell(call, r.s.term != nil && r.s.term.isRaw())
	}
	return nil
}

// rest lets the calls wait until the stretch is over.
func (r *refused) rest() error {
	wait := max(stretch-time.Since(r.began), time.Millisecond)
	when := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}
	if err := unix.TimerfdSettime(r.clock.fd, 0, &when, nil); err != nil {
		return fmt.Errorf("setting a timer: %w", err)
	}
	r.calls.fd = ^r.calls.fd // negative, and kept
	return nil
}

// goOn ends rest.
func (r *refused) goOn() error {
	var b [8]byte
	_, _ = unix.Read(r.clock.fd, b[:])
	if r.calls.fd < -1 {
		r.calls.fd = ^r.calls.fd
	}
	return nil
}

// close lets go of the listener. Calls that wait fail with ENOSYS.
func (r *refused) close() {
	if r.calls == nil {
		return
	}
	if r.calls.fd < -1 {
		r.calls.fd = ^r.calls.fd
	}
	closeAll([]int{r.calls.fd, r.clock.fd})
	r.calls.fd, r.clock.fd = -1, -1
	r.s.others = slices.DeleteFunc(slices.Clone(r.s.others), func(o *other) bool { return o == r.calls || o == r.clock })
	r.calls = nil
}

// caller is the name of a thread's process, and its number inside the sandbox. The
// thread may be gone, and the number be somebody else's: see listener.Call.Valid.
func caller(tid int) (name string, pid int) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return "", 0
	}
	field := func(key string) string {
		_, rest, ok := bytes.Cut(text, []byte("\n"+key+":\t"))
		if !ok {
			return ""
		}
		line, _, _ := bytes.Cut(rest, []byte{'\n'})
		return string(line)
	}
	tgid := field("Tgid")
	inside := field("NStgid") // one number for each PID namespace, the innermost last
	pid, _ = strconv.Atoi(inside[strings.LastIndexByte(inside, '\t')+1:])
	comm, err := os.ReadFile("/proc/" + tgid + "/comm")
	if err != nil {
		return "", pid
	}
	return string(bytes.TrimSuffix(comm, []byte{'\n'})), pid
}
