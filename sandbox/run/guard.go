package run

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/child"
)

const slotStdin = program.SlotStdin

// guard is the process that restores the terminal's mode if this one is
// killed and can't. On an orderly way out it is ended before it acts.
type guard struct {
	pid, pidfd, pipe int
}

func newGuard(tty int, mode *unix.Termios) (*guard, error) {
	prog, err := program.TerminalGuard(tty, child.TermiosBytes(mode))
	if err != nil {
		return nil, err
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("guarding the terminal's mode: %w", err)
	}
	defer unix.Close(p[0])
	var slots program.Slots
	slots[program.SlotSync], slots[program.SlotSyncWrite] = uint64(p[0]), uint64(p[1])
	c, err := child.Start(prog, slots)
	if err != nil {
		unix.Close(p[1])
		return nil, fmt.Errorf("guarding the terminal's mode: %w", err)
	}
	c.Forget()
	return &guard{pid: c.PID, pidfd: c.PidFD, pipe: p[1]}, nil
}

func (g *guard) stop() {
	if g == nil {
		return
	}
	slay(g.pid, g.pidfd)
	_, _ = unix.Wait4(g.pid, nil, 0, nil)
	unix.Close(g.pidfd)
	unix.Close(g.pipe)
}
