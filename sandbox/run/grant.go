package run

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/child"
)

// granting is what mounts can be put in place by while the command runs. The zero
// value is for a sandbox that has none such.
type granting struct {
	on          bool
	user, space int            // the sandbox's outer user namespace, and its mount namespace
	trees       map[string]int // the mounts that are in place, by target
	known       map[string]unix.Stat_t
}

func grantable(p *sandbox.Plan) bool {
	for i := range p.Mounts {
		if p.Mounts[i].Grantable {
			return true
		}
	}
	return false
}

// takeNamespaces receives what the child hands out for grants.
func (s *sandboxed) takeNamespaces() error {
	if !grantable(s.plan) {
		return nil
	}
	if err := s.until(s.ends.program); err != nil {
		return err
	}
	fds, err := receive(s.ends.program, 2)
	if err != nil {
		return fmt.Errorf("receiving the sandbox's namespaces: %w", err)
	}
	if len(fds) == 0 {
		return nil // the child is gone, and has reported why
	}
	s.granting = granting{on: true, user: fds[0], space: fds[1], trees: map[string]int{}, known: map[string]unix.Stat_t{}}
	for i := range s.plan.Mounts {
		if m := &s.plan.Mounts[i]; m.Grantable {
			var st unix.Stat_t
			if unix.Lstat(m.Source, &st) == nil {
				s.granting.known[m.Target] = st
			}
		}
	}
	return nil
}

func (g *granting) close() {
	if !g.on {
		return
	}
	for _, fd := range g.trees {
		unix.Close(fd)
	}
	closeAll([]int{g.user, g.space})
	*g = granting{}
}

// Grant puts a grantable mount of the plan in its place, read-only if it is said
// so or the plan says so. It is an error if it is there already.
func (b *Sandbox) Grant(m sandbox.Mount, readOnly bool) error {
	s := b.s
	g := &s.granting
	if !g.on {
		return errors.New("BUG: nothing is grantable")
	}
	if _, there := g.trees[m.Target]; there {
		return fmt.Errorf("%s is granted already", m.Target)
	}
	var st unix.Stat_t
	if err := unix.Lstat(m.Source, &st); err != nil {
		return &os.PathError{Op: "stat", Path: m.Source, Err: err}
	}
	if was := g.known[m.Target]; s.plan.Security.Landlock.Handled != 0 && (was.Ino != st.Ino || was.Dev != st.Dev) {
		return fmt.Errorf("%s is another file than when the sandbox started, and Landlock, which can't be told of it, would refuse every access; start the sandbox anew", m.Source)
	}
	m.ReadOnly = m.ReadOnly || readOnly
	grant := program.Grant{Starter: unix.Getpid(), Mount: m, User: g.user, Space: g.space}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pair[0])
	err = helped(grant.Fetch, program.SlotTerminal, pair[1])
	unix.Close(pair[1])
	if err != nil {
		return err
	}
	fds, err := receive(pair[0], 1)
	if err != nil {
		return err
	}
	if len(fds) == 0 {
		return errors.New("the mount was not handed out")
	}
	grant.Tree = fds[0]
	if err := helped(grant.Attach, program.SlotTerminal, -1); err != nil {
		unix.Close(fds[0])
		return err
	}
	g.trees[m.Target] = fds[0]
	return nil
}

// Revoke takes a granted mount away. What is open stays open.
func (b *Sandbox) Revoke(m sandbox.Mount) error {
	g := &b.s.granting
	tree, there := g.trees[m.Target]
	if !there {
		return fmt.Errorf("%s is not granted", m.Target)
	}
	grant := program.Grant{Starter: unix.Getpid(), Mount: m, User: g.user, Space: g.space, Tree: tree}
	if err := helped(grant.Detach, program.SlotTerminal, -1); err != nil {
		return err
	}
	unix.Close(tree)
	delete(g.trees, m.Target)
	return nil
}

// helped runs a short program in a process of its own and waits for its end, but
// not for ever: the host's file systems may keep it. The program finds fd in slot.
func helped(compile func() (*program.Program, error), slot, fd int) error {
	prog, err := compile()
	if err != nil {
		return err
	}
	report, err := newChannel()
	if err != nil {
		return err
	}
	defer report.close()
	var slots program.Slots
	slots[program.SlotReport], slots[slot] = uint64(report.write), uint64(fd)
	c, err := child.Start(prog, slots)
	report.closeWrite()
	if err != nil {
		return cloneError(err)
	}
	defer c.Forget()
	defer unix.Close(c.PidFD)
	const patience = 5000 // ms
	n := 0
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(c.PidFD), Events: unix.POLLIN}}, patience)
	}
	if n == 0 {
		_ = unix.PidfdSendSignal(c.PidFD, unix.SIGKILL, nil, 0)
		err = fmt.Errorf("it took longer than %v", time.Duration(patience)*time.Millisecond)
	}
	for unix.Waitid(unix.P_PIDFD, c.PidFD, nil, unix.WEXITED, nil) == unix.EINTR {
	}
	if err != nil {
		return err
	}
	return failedStep(prog, report.read)
}
