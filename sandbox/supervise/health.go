package supervise

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/processes"
	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// check is the command that is run again and again to see how the sandbox is. It
// is a further command like any other, with nothing on its standard descriptors.
type check struct {
	plan   sandbox.Health
	timer  int // timerfd_create(2): until the next, or until the one that runs is late
	null   int
	status int          // where the wait status of the one that runs comes from, -1 for none
	runs   *run.Another // nil while none runs
	late   bool
}

// beginChecks is for when the command runs, before its record says so. Checks are
// for who has a record: nobody could see them otherwise.
func (s *Supervisor) beginChecks() error {
	h := s.box.Plan().Health
	if !s.registered || len(h.Argv) == 0 {
		return nil
	}
	c := &check{plan: h, status: -1}
	var err error
	if c.null, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("opening /dev/null: %w", err)
	}
	if c.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		unix.Close(c.null)
		return fmt.Errorf("making a timer: %w", err)
	}
	s.check, s.rec.Health = c, &state.Health{Status: state.HealthStarting}
	s.box.Watch(c.timer, s.tick)
	c.arm(h.Interval)
	return nil
}

func (c *check) arm(d time.Duration) {
	_ = unix.TimerfdSettime(c.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil)
}

// tick is when the next check is due, or the one that runs is late.
func (s *Supervisor) tick() error {
	c := s.check
	var b [8]byte
	if n, err := unix.Read(c.timer, b[:]); err != nil || n == 0 {
		return nil
	}
	if c.runs != nil {
		c.late = true
		// A shell's death is not that of what it waits for.
		if monitor := c.runs.Monitor(); monitor > 0 {
			_ = processes.EndSession(s.box.Init(), monitor) // what is left ends with the sandbox
		}
		c.runs.Kill()
		return nil
	}
	const again = 100 * time.Millisecond
	if s.frozen || s.box.Busy() {
		c.arm(again)
		return nil
	}
	if s.box.FrozenBy() != "" { // its own command keeps every check from being started
		s.judge(exitFailed)
		return nil
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		c.arm(again)
		return nil
	}
	// What is sent over the socket, the command's pidfd, is not wanted.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		c.status, c.late = p[0], false
		c.runs, err = s.box.Another(process(s.box.Plan(), &control.Process{Argv: c.plan.Argv}), [3]int{c.null, c.null, c.null}, p[1], pair[1],
			func(err error) {
				if err != nil {
					s.checked(exitFailed)
				}
				s.next()
			},
			func() { s.checked(c.code()) })
		unix.Close(pair[0])
		unix.Close(pair[1])
	}
	unix.Close(p[1])
	if err != nil { // there is no room for another command now
		unix.Close(p[0])
		c.runs, c.status = nil, -1
		c.arm(again)
		return nil
	}
	c.arm(c.plan.Timeout)
	return nil
}

// exitFailed is the status of a check that could not be started, or was killed.
const exitFailed = 125

// code is the exit status of the check that has just ended.
func (c *check) code() int {
	var b [4]byte
	if n, err := unix.Read(c.status, b[:]); err != nil || n < len(b) {
		return exitFailed
	}
	code, _ := run.Ended(b)
	if c.late {
		return exitFailed
	}
	return code
}

// checked takes a check's result.
func (s *Supervisor) checked(code int) {
	c := s.check
	if c == nil || c.status < 0 {
		return
	}
	unix.Close(c.status)
	c.status, c.runs = -1, nil
	s.judge(code)
}

// judge counts a check with its exit status.
func (s *Supervisor) judge(code int) {
	c := s.check
	h := *s.rec.Health
	was := h.Status
	h.Checks, h.Code, h.Ended = h.Checks+1, code, time.Now()
	switch {
	case code == 0:
		h.Status, h.Failing = state.Healthy, 0
	case was == state.HealthStarting && time.Since(s.startedAt) < c.plan.StartPeriod:
	default:
		if h.Failing++; h.Failing >= c.plan.Retries {
			h.Status = state.Unhealthy
		}
	}
	s.rec.Health = &h
	_ = s.save() // without room the record is an older one
	if h.Status != was {
		s.note(state.ActionHealth, "status", string(h.Status))
		if h.Status == state.Healthy && s.o.Healthy != nil {
			s.o.Healthy()
		}
	}
	c.arm(c.plan.Interval)
}

// endChecks is for when the command has ended.
func (s *Supervisor) endChecks() {
	if c := s.check; c != nil {
		control.CloseAll([]int{c.timer, c.null})
		if c.status >= 0 {
			unix.Close(c.status)
		}
	}
	s.check, s.rec.Health = nil, nil
}
