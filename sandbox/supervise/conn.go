package supervise

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/processes"
	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// mostConns is how many may be connected at the same time.
const mostConns = 256

// conn is somebody who is connected.
type conn struct {
	*control.Conn
	s        *Supervisor
	another  *run.Another // what it asked for with exec
	restarts bool         // it waits for the command to run again
	attached bool
	queued   bool
	out      [2]int // where the command's output goes, of who is attached
	dropped  int
	joining  bool // it is about to enter the network
	netNS    int  // of the network that it was given, -1 for none
}

// queued is another command that waits until one before it was started, or who
// asks for something else that takes a fork of PID 1.
type queued struct {
	c   *conn
	p   *control.Process
	fds []int
	do  func(*control.Process, []int) error
}

// next starts the next command that waits.
func (s *Supervisor) next() {
	for len(s.queue) > 0 && s.box != nil && !s.box.Busy() {
		q := s.queue[0]
		s.queue = s.queue[1:]
		q.c.queued = false
		err := s.hindered()
		if err == nil {
			err = q.do(q.p, q.fds)
		}
		if err != nil {
			q.c.fail(err)
		}
		control.CloseAll(q.fds)
	}
}

// accept takes a connection.
func (s *Supervisor) accept() error {
	c, err := control.Accept(s.listen)
	if err != nil || c == nil {
		return nil // no descriptor is free, say: who asks finds the socket again
	}
	if len(s.conns) >= mostConns {
		_ = c.Reply(control.Reply{Event: control.Failed, Code: 125, Error: fmt.Sprintf("%d are connected to %s already, and it takes no more; try again when one of them has ended", mostConns, s.rec.Name)})
		c.Close()
		return nil
	}
	n := &conn{Conn: c, s: s, out: [2]int{-1, -1}, netNS: -1}
	s.conns = append(s.conns, n)
	if s.box != nil {
		s.box.Watch(c.FD(), n.take)
	}
	return nil
}

// backlog takes those who have connected and were not heard before the end. The
// socket has no name any more: no others come.
func (s *Supervisor) backlog() (list []*conn) {
	for s.listen >= 0 && control.Look([]unix.PollFd{{Fd: int32(s.listen), Events: unix.POLLIN}}) {
		c, err := control.Accept(s.listen)
		if err != nil {
			break
		}
		if c == nil { // one that may not, or has gone
			continue
		}
		list = append(list, &conn{Conn: c, s: s, out: [2]int{-1, -1}, netNS: -1})
	}
	return list
}

// tell ends a connection by telling of the sandbox's end. Who has asked for something
// inside, and expects descriptors or a command, gets no answer: nothing came of it.
func (c *conn) tell(end control.Reply) {
	defer c.close()
	if c.queued {
		return
	}
	for {
		r, fds, err := c.Next()
		control.CloseAll(fds)
		if err != nil { // there is no other, or nobody, or one that is no request
			break
		}
		switch r.Op {
		case control.Exec, control.Attach, control.Network, control.Root, control.Connect, control.Refused:
			return
		}
	}
	c.answer(end)
}

// take reads a request, or that the other side is gone.
func (c *conn) take() error {
	r, fds, err := c.Next()
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err != nil {
		if !errors.Is(err, control.ErrClosed) {
			c.answer(control.Reply{Event: control.Failed, Code: 125, Error: err.Error()})
		}
		c.leave()
		return nil
	}
	if do := c.forks(&r); do != nil && c.s.box != nil {
		if err := c.s.hindered(); err != nil {
			control.CloseAll(fds) // or who asks waits for what may come of them
			c.fail(err)
			return nil
		}
		if (c.s.box.Busy() || len(c.s.queue) > 0) && !c.queued {
			c.queued = true
			c.s.queue = append(c.s.queue, queued{c, r.Process, fds, do})
			return nil
		}
	}
	defer control.CloseAll(fds)
	reply, err := c.do(&r, fds)
	switch {
	case err != nil:
		c.fail(err)
	case reply:
		c.answer(control.Reply{Event: control.OK})
	}
	return nil
}

// hindered says why PID 1 can't fork: it would not even hear of it.
func (s *Supervisor) hindered() error {
	if s.frozen {
		return fmt.Errorf("%s is paused; sbx unpause %s lets it go on", s.rec.Name, s.rec.Name)
	}
	if group := s.box.FrozenBy(); group != "" {
		return fmt.Errorf("nothing can be started in %s: its command has frozen PID 1, by the control group %s of its own; sbx stop %s ends it all the same",
			s.rec.Name, strconv.Quote(group), s.rec.Name)
	}
	return nil
}

// forks is what carries out a request that has PID 1 fork, nil for another one.
func (c *conn) forks(r *control.Request) func(*control.Process, []int) error {
	s := c.s
	switch r.Op {
	case control.Exec:
		return c.exec
	case control.Network:
		return func(*control.Process, []int) error { return c.network() }
	case control.Root:
		return func(_ *control.Process, fds []int) error { return c.handsOut(fds, s.box.HandOut) }
	case control.Pause:
		if s.box == nil || s.frozen || s.box.Grouped() || !s.box.Runs() {
			return nil // freeze alone does it, or says why not
		}
		return func(*control.Process, []int) error { return c.pause() }
	case control.Connect:
		return func(_ *control.Process, fds []int) error {
			return c.handsOut(fds, func(socket int, done func(error)) error { return s.box.Dial(r.Port, socket, done) })
		}
	}
	return nil
}

func (c *conn) answer(r control.Reply, fds ...int) {
	_ = c.Reply(r, fds...) // who does not read answers gets none
}

// fail answers with an error.
func (c *conn) fail(err error) {
	r := control.Reply{Event: control.Failed, Code: 125, Error: err.Error()}
	var coded interface{ Code() int }
	if errors.As(err, &coded) {
		r.Code = coded.Code()
	}
	c.answer(r)
}

// leave ends the connection. A command that was started over it ends with it.
func (c *conn) leave() {
	c.s.conns = slices.DeleteFunc(slices.Clone(c.s.conns), func(x *conn) bool { return x == c })
	if c.another != nil {
		c.another.Kill()
	}
	c.joined()
	c.s.queue = slices.DeleteFunc(c.s.queue, func(q queued) bool {
		if q.c == c {
			control.CloseAll(q.fds)
		}
		return q.c == c
	})
	c.close()
}

func (c *conn) close() {
	if c.s.box != nil && c.FD() >= 0 {
		c.s.box.Forget(c.FD())
	}
	for i, fd := range c.out {
		if fd >= 0 {
			unix.Close(fd)
			c.out[i] = -1
		}
	}
	c.joined()
	c.Close()
}

// do carries a request out. reply says that it is done and succeeded.
func (c *conn) do(r *control.Request, fds []int) (reply bool, err error) {
	s := c.s
	if s.box == nil {
		if done, reply, err := c.between(r); done {
			return reply, err
		}
	}
	switch r.Op {
	case control.Wait:
		return false, nil // who is connected hears of the end
	case control.Kill:
		return true, s.signal(unix.Signal(r.Signal))
	case control.Stop:
		s.stop(r)
	case control.Down:
		s.down(r.Timeout)
	case control.Restart:
		c.restarts = true
		s.stop(r)
		s.again = true
		s.box.Unasked()
		return false, nil
	case control.Exec:
		return false, c.exec(r.Process, fds)
	case control.Network:
		return false, c.network()
	case control.Joined:
		c.joined()
		return false, nil
	case control.Root, control.Connect:
		return false, c.forks(r)(nil, fds)
	case control.Attach:
		return false, c.attach()
	case control.Resize:
		s.box.Resize(r.Rows, r.Cols)
	case control.EOF:
		s.endInput()
	case control.Rename:
		return true, s.rename(r.Name)
	case control.Allow:
		return true, s.grant(r.Grant)
	case control.Revoke:
		return true, s.revokeAsked(r.Grant)
	case control.Refused:
		c.answer(control.Reply{Event: control.OK, Refused: s.refused()})
		return false, nil
	case control.Pause:
		if do := c.forks(r); do != nil {
			return false, do(nil, nil)
		}
		return true, s.freeze(true)
	case control.Unpause:
		return true, s.freeze(false)
	default:
		return false, fmt.Errorf("the supervisor knows no request %q", r.Op)
	}
	return true, nil
}

// between carries out what can be asked for between two runs of the command. It is not
// done where that is the same as at any other time.
func (c *conn) between(r *control.Request) (done, reply bool, err error) {
	s := c.s
	switch r.Op {
	case control.Stop, control.Down:
		s.stopping = true
		return true, true, nil
	case control.Kill:
		sig := unix.Signal(r.Signal)
		if s.asksForEnd(sig) { // as while the command runs: what it ends stays ended
			s.stopping = true
			return true, true, nil
		}
		return true, false, fmt.Errorf("no command of %s is there to have the signal %d: it is about to be started again; sbx stop %s ends it", s.rec.Name, sig, s.rec.Name)
	case control.Restart:
		s.again, c.restarts = true, true
		return true, false, nil
	case control.Resize: // whoever is attached stays so; there is no terminal just now
		return true, true, nil
	case control.Wait, control.Rename, control.Refused, control.EOF:
		return false, false, nil
	}
	return true, false, fmt.Errorf("%s is about to be started again; try again when sbx ps says that it is up, or end it with sbx stop %s", s.rec.Name, s.rec.Name)
}

// rename gives the sandbox another name.
func (s *Supervisor) rename(name string) error {
	old := s.rec.Name
	if err := s.store.Rename(&s.rec, name); err != nil {
		return err
	}
	s.note(state.ActionRename, "old_name", old)
	s.restorePlan() // without a name there was none
	return nil
}

// signal gives the command a signal.
func (s *Supervisor) signal(sig unix.Signal) error {
	const first, last = 32, 33 // the C library's own, and SignalAnother
	switch {
	case sig <= 0 || sig > 64 || sig == first || sig == last:
		return fmt.Errorf("there is no signal %d to send", sig)
	case sig == unix.SIGSTOP: // PID 1 would be what stops
		sig = unix.SIGTSTP
	}
	s.box.Signal(sig)
	s.remember(sig)
	s.note(state.ActionKill, "signal", strconv.Itoa(int(sig)))
	return nil
}

// stop ends the command, whoever has asked for another start of it before.
func (s *Supervisor) stop(r *control.Request) {
	s.stopping, s.again = true, false
	sig := unix.Signal(r.Signal)
	if sig <= 0 || sig > 64 {
		sig = unix.Signal(s.rec.StopSignal)
	}
	if s.frozen {
		_ = s.freeze(false)
	}
	if r.Timeout == 0 {
		sig = unix.SIGKILL
	}
	s.box.Stop(sig, r.Timeout)
	s.note(state.ActionKill, "signal", strconv.Itoa(int(sig)))
}

func (s *Supervisor) endInput() {
	if s.o.Input >= 0 {
		unix.Close(s.o.Input)
		s.o.Input = -1
	}
}

// exec starts another command, which has five descriptors of the asker's.
func (c *conn) exec(p *control.Process, fds []int) error {
	s := c.s
	switch {
	case p == nil || len(p.Argv) == 0 || p.Argv[0] == "":
		return errors.New("there is no command to run")
	case len(fds) != 5:
		return fmt.Errorf("%d descriptors came with the command, not 5", len(fds))
	case c.another != nil:
		return errors.New("this connection has a command already")
	}
	runs := false
	a, err := s.box.Another(process(s.box.Plan(), p), [3]int(fds[:3]), fds[3], fds[4],
		func(err error) {
			if err != nil {
				c.another = nil
				c.fail(err)
			} else {
				c.answer(control.Reply{Event: control.Started})
				runs = true
				s.note(state.ActionExec, "command", strings.Join(p.Argv, " "))
			}
			s.rest()
			s.next()
		},
		func() {
			c.another = nil
			s.rest()
			if runs {
				s.note(state.ActionExecDie, "command", strings.Join(p.Argv, " "))
			}
		})
	if err != nil {
		return err
	}
	s.rest()
	if !p.Detach {
		c.another = a
	}
	return nil
}

// handsOut has a descriptor from inside sent over a socket of the asker's.
func (c *conn) handsOut(fds []int, by func(socket int, done func(error)) error) error {
	s := c.s
	if len(fds) != 1 {
		return fmt.Errorf("%d descriptors came, not a socket", len(fds))
	}
	return by(fds[0], func(err error) {
		if err != nil {
			c.fail(err)
		} else {
			c.answer(control.Reply{Event: control.OK})
		}
		s.next()
	})
}

// process is another command's surroundings: those of the first, but for what
// was asked for.
func process(plan *sandbox.Plan, p *control.Process) sandbox.Process {
	pr := plan.Process
	pr.Argv, pr.Terminal, pr.Pipe, pr.Passed = p.Argv, p.Terminal, [3]bool{}, nil
	switch {
	case p.Dir != "":
		pr.Dir = p.Dir
	case p.Cwd != "" && plan.Shows(p.Cwd):
		pr.Dir = p.Cwd
	}
	pr.Env = merge(pr.Env, p.Env)
	for _, kv := range p.Env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			pr.Lookup = slices.DeleteFunc(strings.Split(value, ":"), func(dir string) bool { return !strings.HasPrefix(dir, "/") })
		}
	}
	return pr
}

// merge puts the variables of more in env, sorted.
func merge(env, more []string) []string {
	all := slices.Clone(env)
	for _, kv := range more {
		name, _, _ := strings.Cut(kv, "=")
		all = slices.DeleteFunc(all, func(have string) bool { return strings.HasPrefix(have, name+"=") })
		all = append(all, kv)
	}
	slices.Sort(all)
	return all
}

// attach gives out pipes: of the command's output from now on, and of its
// standard input if it has one.
func (c *conn) attach() error {
	s := c.s
	if s.o.Output[0] < 0 {
		return fmt.Errorf("%s runs in the foreground of who started it; sbx exec starts another command in it", s.rec.Name)
	}
	if c.attached {
		return errors.New("this connection is attached already")
	}
	var ends []int
	defer func() { control.CloseAll(ends) }()
	for i := range c.out {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			return fmt.Errorf("opening a pipe: %w", err)
		}
		_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, 1<<20) // as much as it gets
		c.out[i], ends = p[1], append(ends, p[0])
		_, _ = unix.FcntlInt(uintptr(p[0]), unix.F_SETFL, 0)
	}
	give := slices.Clone(ends)
	if s.o.Input >= 0 {
		give = append(give, s.o.Input)
	}
	c.attached = true
	c.answer(control.Reply{Event: control.Started}, give...)
	s.note(state.ActionAttach)
	return nil
}

// pass gives output to who is attached. Who does not keep up loses some of it,
// and is told; the command is not to wait for somebody who only looks on.
func (c *conn) pass(i int, b []byte) {
	fd := c.out[i]
	if fd < 0 {
		return
	}
	if c.dropped > 0 {
		note := fmt.Sprintf("\r\nsbx: %d bytes were not taken in time\r\n", c.dropped)
		if _, err := unix.Write(fd, []byte(note)); err != nil {
			c.dropped += len(b)
			return
		}
		c.dropped = 0
	}
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			c.dropped += len(b)
			return
		}
		b = b[n:]
	}
}

// pause has every process stopped at once by a fork of PID 1, and then sees to those
// that it could not: who has other ids, or all where there was no process for it.
func (c *conn) pause() error {
	s := c.s
	end := func() {
		if err := s.freeze(true); err != nil {
			c.fail(err)
		} else {
			c.answer(control.Reply{Event: control.OK})
		}
	}
	err := s.box.Halt(func(err error) {
		if err != nil && (s.box == nil || !s.box.Runs()) {
			c.fail(err)
			return
		}
		end()
		s.next()
	})
	if err != nil {
		end()
	}
	return nil
}

// freeze stops every process of the sandbox, or lets them go on.
func (s *Supervisor) freeze(on bool) error {
	if on == s.frozen {
		if on {
			return fmt.Errorf("%s is paused already", s.rec.Name)
		}
		return fmt.Errorf("%s is not paused", s.rec.Name)
	}
	if !s.box.Runs() { // who builds it is not there to be stopped, and would be told of as running
		return fmt.Errorf("%s can't be paused while it is being started; try again when sbx ps says that it is up", s.rec.Name)
	}
	done, err := s.box.Freeze(on)
	if !done && err == nil { // without a control group
		sig := unix.SIGCONT
		if on {
			sig = unix.SIGSTOP
		}
		if err = processes.SignalAll(s.box.Init(), sig); err != nil && on {
			_ = processes.SignalAll(s.box.Init(), unix.SIGCONT) // all of it, or none
		}
	}
	if err != nil {
		return err
	}
	s.frozen = on
	s.box.Paused(on)
	s.rec.Status = state.Running
	action := state.ActionUnpause
	if on {
		s.rec.Status, action = state.Paused, state.ActionPause
	}
	s.note(action)
	return s.save()
}
