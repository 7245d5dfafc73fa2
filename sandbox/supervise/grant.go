package supervise

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// ceiling is the mount that the profile lets be granted under a path, which is its
// target, or its source.
func (s *Supervisor) ceiling(g *control.Grant) (sandbox.Mount, error) {
	if g == nil {
		return sandbox.Mount{}, errors.New("the request says nothing of what is granted")
	}
	var may []string
	for _, m := range s.box.Plan().Mounts {
		if !m.Grantable {
			continue
		}
		if m.Target == g.Path || m.Source == g.Path || g.Real != "" && m.Source == g.Real {
			return m, nil
		}
		may = append(may, m.Target)
	}
	if len(may) == 0 {
		return sandbox.Mount{}, fmt.Errorf("the profile of %s lets nothing be granted: a mount has to say grantable = true before the sandbox starts, since Landlock's rules can't be widened afterwards", s.rec.Name)
	}
	return sandbox.Mount{}, fmt.Errorf("the profile of %s does not let %s be granted, only %s", s.rec.Name, g.Path, strings.Join(may, ", "))
}

// grant shows a mount that the profile lets be granted, for a time if one is given.
func (s *Supervisor) grant(g *control.Grant) error {
	m, err := s.ceiling(g)
	if err != nil {
		return err
	}
	if g.Write && m.ReadOnly {
		return fmt.Errorf("the profile lets %s be granted read-only", m.Target)
	}
	timer := -1
	if g.For > 0 {
		if timer, err = unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err == nil {
			err = unix.TimerfdSettime(timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(g.For))}, nil)
		}
		if err != nil {
			return fmt.Errorf("setting a timer: %w", err)
		}
	}
	if err := s.box.Grant(m, !g.Write); err != nil {
		if timer >= 0 {
			unix.Close(timer)
		}
		return fmt.Errorf("granting %s: %w", m.Target, err)
	}
	is := state.Grant{Target: m.Target, Source: m.Source, Access: "ro", Since: time.Now()}
	if g.Write {
		is.Access = "rw"
	}
	if timer >= 0 {
		is.Expires = is.Since.Add(g.For)
		s.timers = append(s.timers, grantTimer{m.Target, timer})
		s.box.Watch(timer, func() error {
			if err := s.revoke(m); err != nil {
				s.o.Warn(fmt.Sprintf("the time of %s is over, and it can't be taken away: %v", m.Target, err))
				s.forgetTimer(m.Target)
			}
			return nil
		})
	}
	s.rec.Grants = append(s.rec.Grants, is)
	s.note(state.ActionGrant, "path", m.Target, "access", is.Access)
	return s.save()
}

// grantTimer ends a grant.
type grantTimer struct {
	target string
	fd     int
}

func (s *Supervisor) forgetTimer(target string) {
	s.timers = slices.DeleteFunc(slices.Clone(s.timers), func(t grantTimer) bool {
		if t.target != target {
			return false
		}
		if s.box != nil {
			s.box.Forget(t.fd)
		}
		unix.Close(t.fd)
		return true
	})
}

// revokeAsked takes away the mount that a request is about.
func (s *Supervisor) revokeAsked(g *control.Grant) error {
	m, err := s.ceiling(g)
	if err != nil {
		return err
	}
	return s.revoke(m)
}

// revoke takes a mount away.
func (s *Supervisor) revoke(m sandbox.Mount) error {
	if err := s.box.Revoke(m); err != nil {
		return err
	}
	s.forgetTimer(m.Target)
	s.rec.Grants = slices.DeleteFunc(slices.Clone(s.rec.Grants), func(g state.Grant) bool { return g.Target == m.Target })
	s.note(state.ActionRevoke, "path", m.Target)
	return s.save()
}

// endGrants is for when the command has ended: what was granted went with the
// sandbox.
func (s *Supervisor) endGrants() {
	for _, t := range s.timers {
		unix.Close(t.fd)
	}
	s.timers, s.rec.Grants = nil, nil
}
