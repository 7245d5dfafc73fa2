// Package run carries a Plan out: it starts the child that builds the sandbox,
// stands by it while the command runs, and cleans up. It decides nothing.
package run

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/audit"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/child"
	"github.com/sbx-sandbox/sbx/userns"
)

// Status is how a command ended.
type Status struct {
	Code     int  // its exit status, 128+n when signal n ended it, 124 on timeout
	TimedOut bool // the timeout ended it
	// Killed is the signal that ended it, 0 for none.
	Killed unix.Signal
	// InitKilled says that PID 1 itself was killed, by that signal.
	InitKilled unix.Signal
	// Audit is what the Plan's audit found, nil if it asks for none.
	Audit *audit.Report
}

// Run builds the sandbox of p, runs its command and returns when nothing of
// the sandbox exists any more. The errors are *StepError where a step failed,
// and nothing of the command ran then.
func Run(p *sandbox.Plan) (Status, error) {
	s, err := Begin(p.Shape())
	if err != nil {
		return Status{}, err
	}
	return s.Run(p)
}

// Start is a sandbox whose namespaces are being made.
type Start struct {
	shape sandbox.Shape
	ends  ends
	pipe  *relay
	child *child.Child
}

// Begin lets the kernel make the namespaces of a sandbox, which takes it as
// long as the rest of the Plan takes to be decided. The child waits for its
// program. Either Run or Abort must follow.
//
// The sandbox dies with the thread that made it (PR_SET_PDEATHSIG(2const)),
// which is as good as the process: Go ends a thread only when a goroutine that
// is locked to it returns, and the one here is not locked.
func Begin(shape sandbox.Shape) (*Start, error) {
	st := &Start{shape: shape}
	if st.takeEarly() {
		return st, nil
	}
	err := st.open()
	if err == nil {
		if st.child, err = child.Start(program.Prelude(shape.Namespaces), st.ends.slots); err != nil {
			err = cloneError(err)
		}
	}
	if err != nil {
		st.ends.close()
		return nil, err
	}
	closeAll(st.ends.child)
	st.ends.child = nil
	return st, nil
}

// takeEarly makes use of the child that was started before the Go runtime, if
// there is one and the sandbox has the shape it was started for. It is ended
// otherwise.
func (st *Start) takeEarly() bool {
	c, p, ok := child.Early()
	if !ok {
		return false
	}
	e := &st.ends
	e.status, e.report, e.program = p.Status[0], p.Report[0], p.Go[1]
	e.ours = []int{p.Status[0], p.Report[0], p.Go[1]}
	e.slots[program.SlotStatus], e.slots[program.SlotStatusRead] = uint64(p.Status[1]), uint64(p.Status[0])
	e.slots[program.SlotReport] = uint64(p.Report[1])
	e.slots[program.SlotGo], e.slots[program.SlotGoWrite] = uint64(p.Go[0]), uint64(p.Go[1])
	closeAll([]int{p.Status[1], p.Report[1], p.Go[0]})
	st.child = c
	plain := sandbox.Shape{Namespaces: st.shape.Namespaces}
	if st.shape == plain && program.SamePrelude(st.shape.Namespaces, program.Usual) {
		return true
	}
	st.Abort()
	c.Forget()
	st.ends, st.child = ends{}, nil
	return false
}

// Settle ends the child that was started before the Go runtime if no sandbox
// was begun after all.
func Settle() {
	if c, _, ok := child.Early(); ok {
		(&sandboxed{pid: c.PID, fd: c.PidFD}).kill()
	}
}

// Abort ends a sandbox that is not wanted after all.
func (st *Start) Abort() {
	st.sandboxed().kill()
	unix.Close(st.child.PidFD)
	st.ends.close()
}

func (st *Start) sandboxed() *sandboxed {
	return &sandboxed{pid: st.child.PID, fd: st.child.PidFD, ends: &st.ends, pipe: st.pipe}
}

// Run builds the sandbox of p; see the function Run.
func (st *Start) Run(p *sandbox.Plan) (Status, error) {
	shape := p.Shape()
	shape.Range = shape.Range || st.shape.Range // what is there for a range may go unused
	if shape != st.shape {
		st.Abort()
		return Status{}, errors.New("BUG: the plan's shape is not the one the sandbox was begun with")
	}
	prog, err := program.Compile(p)
	for i := 0; err == nil && i < len(p.Create); i++ {
		err = makePrivateDir(p.Create[i])
	}
	if err != nil {
		st.Abort()
		return Status{}, err
	}
	defer st.ends.close()
	s := st.sandboxed()
	defer unix.Close(s.fd)
	s.plan, s.prog, s.watch.s = p, prog, s
	var mark *audit.Mark
	if p.Audit.Mode != sandbox.AuditOff && len(p.Audit.Trees) > 0 {
		mark = audit.Begin(p.Audit.Trees) // before the command can write, after the child has copied descriptors
		defer mark.Close()
	}
	if err := s.start(st.child); err != nil {
		s.kill()
		return Status{}, err
	}
	status, err := s.wait()
	if err == nil && mark != nil {
		s.interrupted() // what came so far was for the command
		status.Audit = mark.Look(s.interrupted)
	}
	return status, err
}

// sandboxed is a sandbox while it lives.
type sandboxed struct {
	plan *sandbox.Plan
	prog *program.Program
	ends *ends
	pid  int
	fd   int       // its pidfd
	term *terminal // once it relays
	pipe *relay
	watch
}

// ends are the descriptors a sandbox is started with: ours and the child's.
type ends struct {
	slots program.Slots
	child []int // closed once the child has its copies
	ours  []int
	// Ours by name.
	status, report, program, sync, terminal int
}

func (e *ends) close() {
	closeAll(e.child)
	closeAll(e.ours)
	e.child, e.ours = nil, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// pair makes a pipe, or a socket pair, of which the child gets the second end.
func (e *ends) pair(socket bool) (ours, childs int, err error) {
	var p [2]int
	if socket {
		p, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	} else {
		err = unix.Pipe2(p[:], unix.O_CLOEXEC)
	}
	if err != nil {
		return -1, -1, fmt.Errorf("opening the channels to the sandbox: %w", err)
	}
	e.ours, e.child = append(e.ours, p[0]), append(e.child, p[1])
	return p[0], p[1], nil
}

// inward makes a pipe of which the child gets the reading end, and has its own
// copy of the writing end to close.
func (e *ends) inward(slot int) (ours int, err error) {
	r, w, err := e.pair(false)
	if err != nil {
		return -1, err
	}
	e.slots[slot], e.slots[slot+1] = uint64(r), uint64(w)
	e.ours[len(e.ours)-1], e.child[len(e.child)-1] = w, r
	return w, nil
}

// open makes all channels that a sandbox of the shape needs.
func (st *Start) open() error {
	e := &st.ends
	var w int
	var err error
	if e.status, w, err = e.pair(false); err != nil {
		return err
	}
	e.slots[program.SlotStatus], e.slots[program.SlotStatusRead] = uint64(w), uint64(e.status)
	if e.report, w, err = e.pair(false); err != nil {
		return err
	}
	e.slots[program.SlotReport] = uint64(w)
	if e.program, err = e.inward(program.SlotGo); err != nil {
		return err
	}
	if st.shape.Range {
		if e.sync, err = e.inward(program.SlotSync); err != nil {
			return err
		}
		// Both ends of this one are the child's.
		r, w, err := e.pair(false)
		if err != nil {
			return err
		}
		e.slots[program.SlotMapRead], e.slots[program.SlotMapWrite] = uint64(r), uint64(w)
		e.ours, e.child = e.ours[:len(e.ours)-1], append(e.child, r)
	}
	if st.shape.Terminal != [3]bool{} {
		if e.terminal, w, err = e.pair(true); err != nil {
			return err
		}
		e.slots[program.SlotTerminal] = uint64(w)
	}
	if st.shape.Pipe != [3]bool{} {
		if st.pipe, err = newRelay(st.shape.Pipe, e); err != nil {
			return err
		}
	}
	return nil
}

// start gives the child its program and helps it along until the command runs.
func (s *sandboxed) start(c *child.Child) error {
	var err error
	if s.signals, err = signalPipe(); err != nil {
		return err
	}
	if err := c.Extend(s.prog, s.ends.slots); err != nil {
		return err
	}
	if _, err := unix.Write(s.ends.program, []byte{1}); err != nil {
		if errors.Is(err, unix.EPIPE) { // it failed before it was told to go on, and says why
			if failed := s.readReport(); failed != nil {
				return failed
			}
		}
		return fmt.Errorf("starting the program of the sandbox: %w", err)
	}
	defer c.Forget()
	return s.assist()
}

// assist does what the child waits for from outside, then learns whether the
// command was started.
func (s *sandboxed) assist() error {
	var helped error
	if ids := &s.plan.IDs; ids.Mode == "range" {
		helped = userns.Write(context.Background(), ids.NewUIDMap, ids.NewGIDMap, s.pid, ids.OuterUIDs, ids.OuterGIDs)
		if helped == nil {
			if _, helped = unix.Write(s.ends.sync, []byte{1}); helped != nil {
				helped = fmt.Errorf("telling the sandbox that its ids are mapped: %w", helped)
			}
		}
		if helped != nil {
			if readable([]int{s.ends.report}) { // it failed before, and says why
				if failed := s.readReport(); failed != nil {
					return failed
				}
			}
			return fmt.Errorf("%w; see sbx doctor, or set user.map = \"single\"", helped)
		}
	}
	var term *terminal
	if s.plan.Process.Terminal != [3]bool{} {
		if err := s.until(s.ends.terminal); err != nil {
			return err
		}
		var err error
		if term, err = receiveTerminal(s.ends.terminal, s.plan.Process.Terminal); err != nil {
			return err
		}
		if term != nil {
			term.adopt()
			// The command is to find it so. A child that is gone has reported why.
			if _, err := unix.Write(s.ends.terminal, []byte{1}); err != nil && !errors.Is(err, unix.EPIPE) {
				return fmt.Errorf("telling the sandbox that its terminal is ready: %w", err)
			}
		}
	}
	if err := s.readReport(); err != nil {
		return err
	}
	if term != nil { // else PID 1 was killed before it had one, as its status will say
		s.term = term
		if err := term.open(); err != nil {
			return err
		}
	}
	if s.pipe != nil {
		s.pipe.open(s.ends)
	}
	s.runs()
	return nil
}

// readReport waits until the child has executed the command, which closes the
// pipe, or says which operation failed.
func (s *sandboxed) readReport() error {
	if err := s.until(s.ends.report); err != nil {
		return err
	}
	var b [child.ReportSize]byte
	n, err := readFull(s.ends.report, b[:])
	if err != nil {
		return fmt.Errorf("reading how the sandbox was built: %w", err)
	}
	if n == 0 {
		return nil
	}
	rep, err := child.ParseReport(b[:n])
	if err != nil {
		return err
	}
	index := program.OpIndex(rep.Offset)
	step, err := s.prog.Step(index)
	if err != nil {
		return err
	}
	return &StepError{Step: step, Errno: rep.Errno, IsExec: s.prog.IsExec(index), Plan: s.plan}
}

// readFull reads until b is full or the other side is closed.
func readFull(fd int, b []byte) (n int, err error) {
	for n < len(b) {
		m, err := unix.Read(fd, b[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || m == 0 {
			return n, err
		}
		n += m
	}
	return n, nil
}

// kill ends everything in the sandbox and waits for it. PID 1's death is the
// death of all in its PID namespace (pid_namespaces(7)).
func (s *sandboxed) kill() {
	slay(s.pid, s.fd)
	s.reap()
}

// slay kills a child that nobody has waited for, so that its number is its own
// where the descriptor is refused.
func slay(pid, pidfd int) {
	if unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0) != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// reap waits until PID 1, and with it every process of the sandbox, is gone.
func (s *sandboxed) reap() unix.WaitStatus {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(s.pid, &ws, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return ws
		}
	}
}

func (s *sandboxed) wait() (Status, error) {
	s.begin()
	if err := s.until(s.ends.status); err != nil {
		s.kill()
		return Status{}, err
	}
	var b [4]byte
	n, err := readFull(s.ends.status, b[:])
	if err != nil {
		s.kill()
		return Status{}, fmt.Errorf("reading the command's exit status: %w", err)
	}
	init := s.reap()
	if s.term != nil {
		s.drain(s.term.idle, &s.term.flow, s.term.master)
		s.term.close()
	}
	if s.pipe != nil {
		s.drain(s.pipe.idle, &s.pipe.flow, s.pipe.ours[1], s.pipe.ours[2])
	}
	var st Status
	if n == 4 {
		ws := unix.WaitStatus(uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24)
		if st.Code = exitCode(ws); ws.Signaled() {
			st.Killed = ws.Signal()
		}
	} else if init.Signaled() {
		st.Code, st.InitKilled = 128+int(init.Signal()), init.Signal()
	} else {
		return st, fmt.Errorf("PID 1 of the sandbox ended with status %d and did not say how the command ended", init.ExitStatus())
	}
	if s.expired {
		st.Code, st.TimedOut = 124, true
	}
	return st, nil
}

func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// makePrivateDir makes one of sbx's own directories with mode 0700, and those
// above it. What is there already must be a directory of the caller's that
// nobody else can write.
func makePrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != unix.Getuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s must be a directory of yours that nobody else can write; remove it or mend its mode", dir)
	}
	return nil
}
