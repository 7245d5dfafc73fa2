package supervise

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// Kind is when a command is started again.
type Kind string

// The kinds of Policy.
const (
	Never     Kind = "" // when somebody asks for it
	OnFailure Kind = "on-failure"
	Always    Kind = "always" // but for who was stopped
)

// Policy is when a command is started again by itself.
type Policy struct {
	Kind Kind
	Most int // times since somebody has started it, 0 for no limit
}

// ParsePolicy reads podman's spelling: no, on-failure[:N], always, unless-stopped.
// The last two differ in what a daemon does with the stopped when it starts
// itself (docker-run(1), "--restart"). There is none here: who was stopped stays
// so under either.
func ParsePolicy(s string) (Policy, error) {
	kind, most, limited := strings.Cut(s, ":")
	switch {
	case s == "no":
		return Policy{}, nil
	case s == "always", s == "unless-stopped":
		return Policy{Kind: Always}, nil
	case kind != "on-failure":
		return Policy{}, fmt.Errorf("no policy %q, use no, on-failure, on-failure:N, always or unless-stopped", s)
	case !limited:
		return Policy{Kind: OnFailure}, nil
	}
	n, err := strconv.Atoi(most)
	if err != nil || n < 1 {
		return Policy{}, fmt.Errorf("%q is not how many times, from 1 on", most)
	}
	return Policy{Kind: OnFailure, Most: n}, nil
}

// Commands that end at once are started again ever more slowly, as docker does.
const (
	firstDelay = 100 * time.Millisecond
	mostDelay  = time.Minute
	settled    = 10 * time.Second // how long a command must run to count as well
)

// startAgain decides whether the command is started again, and waits until it is
// time.
func (s *Supervisor) startAgain(status run.Status, failure error) bool {
	asked := s.again
	s.again = false
	var interrupted *run.InterruptedError
	switch {
	case s.ends(status.Asked, status): // the session ends, say
		return false
	case asked && (failure == nil || errors.As(failure, &interrupted)): // it may have been asked before the command ran
		s.delay, s.tries = 0, -1
	case failure != nil:
		return false
	case s.stopping || s.ends(s.sent, status) || !s.o.Policy.wants(status.Code, s.tries):
		return false
	case time.Since(s.startedAt) > settled:
		s.delay = firstDelay
	default:
		s.delay = min(max(2*s.delay, firstDelay), mostDelay)
	}
	s.stopping, s.frozen, s.sent = false, false, 0
	s.rec.Status, s.rec.Init = state.Starting, state.Process{}
	s.rec.Restarts++
	s.tries++
	if err := s.save(); err != nil {
		s.rec.Error = fmt.Sprintf("it is not started again, since its record can't be written: %v", err)
		return false
	}
	return s.idle(s.delay)
}

// remember notes a signal that the command is given: the last one, but for that one which
// asks for the end, however many of others (SIGCONT, say) follow it.
func (s *Supervisor) remember(sig unix.Signal) {
	if s.sent == 0 || !s.asksForEnd(s.sent) {
		s.sent = sig
	}
}

// ends says whether the command has ended by a signal that was sent to it, 0 for
// none. One that asks for the end it may have caught, and ended by itself.
func (s *Supervisor) ends(sent unix.Signal, status run.Status) bool {
	return sent != 0 && (s.asksForEnd(sent) || status.Killed == sent)
}

// asksForEnd says whether a signal asks a command to end, whatever it makes of it.
// SIGHUP does not: to many it says to read their configuration again.
func (s *Supervisor) asksForEnd(sig unix.Signal) bool {
	switch sig {
	case unix.SIGKILL, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.Signal(s.rec.StopSignal):
		return true
	}
	return false
}

func (p Policy) wants(code, tries int) bool {
	switch p.Kind {
	case Always:
		return true
	case OnFailure:
		return code != 0 && (p.Most == 0 || tries < p.Most)
	}
	return false
}

// idle answers others for a while. It returns false when one of them, or a signal,
// asked for the end.
func (s *Supervisor) idle(d time.Duration) bool {
	signals, err := run.Signals()
	if err != nil {
		return false
	}
	for end := time.Now().Add(d); !s.stopping; {
		left := time.Until(end)
		if s.again { // somebody starts it now
			s.again, s.tries, s.delay = false, 0, 0
			return true
		}
		if left <= 0 {
			return true
		}
		fds := []unix.PollFd{{Fd: int32(s.listen), Events: unix.POLLIN}, {Fd: int32(signals), Events: unix.POLLIN}}
		conns := s.conns
		for _, c := range conns {
			fds = append(fds, unix.PollFd{Fd: int32(c.FD()), Events: unix.POLLIN})
		}
		if n, err := unix.Poll(fds, int(left/time.Millisecond)+1); err != nil || n == 0 {
			if err != nil && !errors.Is(err, unix.EINTR) {
				return false
			}
			continue
		}
		if fds[1].Revents != 0 {
			asked, summoned := run.Taken()
			s.stopping = s.stopping || asked != 0 && s.asksForEnd(asked)
			if summoned {
				_ = s.Summoned() // it never fails
			}
			continue // the socket may be another one
		}
		for i, c := range conns {
			if fds[2+i].Revents != 0 {
				_ = c.take() // it never fails: see its end
			}
		}
		if fds[0].Revents != 0 {
			_ = s.accept()
		}
	}
	return false
}
