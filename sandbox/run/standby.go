package run

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/child"
)

// standby is a child of this process that runs a Program of its own, which waits
// for the end of a pipe: for the end of this process, if that comes first.
type standby struct{ pid, pidfd, pipe int }

// newStandby starts one. What it is for stands before an error.
func newStandby(what string, prog *program.Program) (*standby, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer unix.Close(p[0])
	var slots program.Slots
	slots[program.SlotSync], slots[program.SlotSyncWrite] = uint64(p[0]), uint64(p[1])
	c, err := child.Start(prog, slots)
	if err != nil {
		unix.Close(p[1])
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	c.Forget()
	return &standby{pid: c.PID, pidfd: c.PidFD, pipe: p[1]}, nil
}

// release leaves it to do what it waits to do.
func (s *standby) release() {
	if s != nil {
		unix.Close(s.pidfd)
		unix.Close(s.pipe)
	}
}

// stop ends it before it does anything.
func (s *standby) stop() {
	if s == nil {
		return
	}
	slay(s.pid, s.pidfd)
	_, _ = unix.Wait4(s.pid, nil, 0, nil)
	s.release()
}
