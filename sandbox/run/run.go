// Package run carries a Plan out: it starts the child that builds the sandbox,
// stands by it while the command runs, and cleans up. It decides nothing.
package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/child"
	"github.com/sbx-sandbox/sbx/userns"
)

// Status is how a command ended.
type Status struct {
	Code     int  // its exit status, 128+n when signal n ended it, 124 on timeout
	TimedOut bool // the timeout ended it
	// InitKilled says that PID 1 itself was killed, by that signal.
	InitKilled unix.Signal
}

// Run builds the sandbox of p, runs its command and returns when nothing of
// the sandbox exists any more. The errors are *StepError where a step failed,
// and nothing of the command ran then.
//
// The sandbox dies with the thread that started it (PR_SET_PDEATHSIG(2const)),
// which is as good as the process: Go ends a thread only when a goroutine that
// is locked to it returns, and this one is not locked.
func Run(p *sandbox.Plan) (Status, error) {
	prog, err := program.Compile(p)
	if err != nil {
		return Status{}, err
	}
	for _, dir := range p.Create {
		if err := makePrivateDir(dir); err != nil {
			return Status{}, err
		}
	}
	s := &sandboxed{plan: p, prog: prog}
	s.watch.s = s
	if s.signals, err = signalPipe(); err != nil {
		return Status{}, err
	}
	defer s.ends.close()
	if err := s.start(); err != nil {
		return Status{}, err
	}
	return s.wait()
}

// sandboxed is a sandbox while it lives.
type sandboxed struct {
	plan *sandbox.Plan
	prog *program.Program
	ends ends
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
	status, report, sync, terminal int
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

func (s *sandboxed) openEnds() error {
	e := &s.ends
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
	if s.plan.IDs.Mode == "range" {
		// Here the child reads: the ends change sides.
		r, w, err := e.pair(false)
		if err != nil {
			return err
		}
		e.slots[program.SlotSync], e.slots[program.SlotSyncWrite], e.sync = uint64(r), uint64(w), w
		e.ours[len(e.ours)-1], e.child[len(e.child)-1] = w, r
		var m [2]int
		if err := unix.Pipe2(m[:], unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("opening the channels to the sandbox: %w", err)
		}
		e.slots[program.SlotMapRead], e.slots[program.SlotMapWrite] = uint64(m[0]), uint64(m[1])
		e.child = append(e.child, m[0], m[1])
	}
	if s.plan.Process.Terminal != [3]bool{} {
		if e.terminal, w, err = e.pair(true); err != nil {
			return err
		}
		e.slots[program.SlotTerminal] = uint64(w)
	}
	if s.plan.Process.Pipe != [3]bool{} {
		if s.pipe, err = newRelay(s.plan.Process.Pipe, e); err != nil {
			return err
		}
	}
	return nil
}

func (s *sandboxed) start() error {
	if err := s.openEnds(); err != nil {
		return err
	}
	var err error
	if s.pid, s.fd, err = child.Start(s.prog, s.ends.slots); err != nil {
		return cloneError(err)
	}
	s.ends.ours = append(s.ends.ours, s.fd)
	closeAll(s.ends.child)
	s.ends.child = nil
	if err := s.assist(); err != nil {
		s.kill()
		return err
	}
	return nil
}

// assist does what the child waits for from outside, then learns whether the
// command was started.
func (s *sandboxed) assist() error {
	var helped error
	if ids := &s.plan.IDs; ids.Mode == "range" {
		helped = userns.Write(context.Background(), ids.NewUIDMap, ids.NewGIDMap, s.pid, ids.OuterUIDs, ids.OuterGIDs)
		if helped == nil {
			_, helped = unix.Write(s.ends.sync, []byte{1})
		}
		if helped != nil {
			return fmt.Errorf("%w; see sbx doctor, or set user.map = \"single\"", helped)
		}
	}
	var term *terminal
	if s.plan.Process.Terminal != [3]bool{} {
		if err := s.until(s.ends.terminal); err != nil {
			return err
		}
		term = receiveTerminal(s.ends.terminal, s.plan.Process.Terminal)
	}
	if err := s.readReport(); err != nil {
		return err
	}
	s.running = true
	if s.plan.Process.Terminal != [3]bool{} {
		if term == nil {
			return errors.New("BUG: the sandbox started without handing out its terminal")
		}
		s.term = term
		return term.open()
	}
	if s.pipe != nil {
		s.pipe.open()
	}
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
	_ = unix.PidfdSendSignal(s.fd, unix.SIGKILL, nil, 0)
	s.reap()
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
	if t := s.plan.Process.Timeout; t > 0 {
		s.due = time.Now().Add(t)
	}
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
		s.term.close()
	}
	if s.pipe != nil {
		s.pipe.close()
	}
	var st Status
	if n == 4 {
		st.Code = exitCode(unix.WaitStatus(uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24))
	} else {
		st.Code, st.InitKilled = 128+int(init.Signal()), init.Signal()
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
