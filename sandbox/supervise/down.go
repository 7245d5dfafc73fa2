package supervise

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/processes"
)

// rest begins to count the time in which nothing is executed in the sandbox,
// unless something is.
func (s *Supervisor) rest() {
	if s.o.Idle <= 0 || s.box == nil || s.stopping {
		return
	}
	after := s.o.Idle
	if s.box.Further() > 0 {
		after = -1
	}
	s.box.Alarm(after, func() {
		if s.frozen { // whoever paused it wants it to be there afterwards
			s.rest()
			return
		}
		s.down(s.rec.StopTimeout)
	})
}

// look is how often down looks whether all have ended.
const look = 20 * time.Millisecond

// down ends a sandbox whose command only keeps it there: first it asks all
// others to end, by SIGTERM, and shells at a terminal, which ignore that, by
// SIGHUP, as when the terminal is closed.
func (s *Supervisor) down(patience time.Duration) {
	s.stopping = true
	if s.frozen {
		_ = s.freeze(false)
	}
	for _, p := range s.others() {
		_ = p.Signal(unix.SIGTERM) // it is gone, or ends with the sandbox
		if p.TTY != 0 && p.Session == p.PID {
			_ = p.Signal(unix.SIGHUP)
		}
		_ = p.Signal(unix.SIGCONT)
	}
	end := time.Now().Add(patience)
	var check func()
	check = func() {
		if (patience >= 0 && !time.Now().Before(end)) || len(s.others()) == 0 {
			s.stop(&control.Request{Timeout: max(s.rec.StopTimeout, time.Second)})
			return
		}
		s.box.Alarm(look, check)
	}
	check()
}

// others are the sandbox's processes but for PID 1, those of it that wait for
// further commands, and the command.
func (s *Supervisor) others() []processes.Process {
	init := s.box.Init()
	list, err := processes.List(init)
	if err != nil {
		return nil
	}
	const waits = "sbx-init"
	command := -1 // the oldest child of PID 1
	for i, p := range list[1:] {
		if p.Parent == init && p.Name != waits && (command < 0 || p.Start < list[command].Start) {
			command = 1 + i
		}
	}
	var others []processes.Process
	for i, p := range list[1:] {
		if 1+i != command && p.State != "Z" && p.State != "X" && (p.Name != waits || p.Parent != init) {
			others = append(others, p)
		}
	}
	return others
}
