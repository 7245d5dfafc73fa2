package run

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/program"
)

// Attendant stands by a sandbox beside its supervisor: it keeps the record of
// it and answers others. All its calls come from the one thread that waits for
// the sandbox, and must not wait for anything themselves. An error of either
// ends the sandbox.
type Attendant interface {
	// Begun is called as soon as the sandbox has its program and builds itself.
	Begun(*Sandbox) error
	// Runs is called when the command runs.
	Runs() error
	// Summoned is called when somebody asks for it by SignalSummon.
	Summoned() error
}

// SignalSummon asks for the attendant: state.SignalRecord.
const SignalSummon = unix.Signal(59)

// Sandbox is a sandbox while it lives, for its attendant.
type Sandbox struct{ s *sandboxed }

// Init is the pid of the sandbox's PID 1, which nobody else waits for: the
// number is its own as long as the sandbox lives.
func (b *Sandbox) Init() int { return b.s.pid }

// Since is when the command was known to run.
func (b *Sandbox) Since() time.Time {
	if b.s.since.IsZero() {
		b.s.since = time.Now()
	}
	return b.s.since
}

// Plan is what the sandbox was built of.
func (b *Sandbox) Plan() *sandbox.Plan { return b.s.plan }

// Watch calls take, until Forget, whenever fd can be read or its other side is
// closed. An error ends the sandbox.
func (b *Sandbox) Watch(fd int, take func() error) {
	b.s.others = append(slices.Clip(b.s.others), &other{fd: fd, take: take})
}

// Forget ends Watch.
func (b *Sandbox) Forget(fd int) {
	// Not in place: this may be called while the list is being walked.
	b.s.others = slices.DeleteFunc(slices.Clone(b.s.others), func(o *other) bool {
		if o.fd != fd {
			return false
		}
		o.fd = -1
		return true
	})
}

// Signal gives the command a signal; HUP, INT, QUIT, TSTP and CONT go to its
// whole process group. SIGKILL ends the sandbox.
func (b *Sandbox) Signal(sig unix.Signal) {
	if sig == unix.SIGKILL {
		b.s.ending = true
	}
	b.s.send(sig)
}

// Stop asks the command to end, and kills everything when it has not after a
// time. A negative time is for ever.
func (b *Sandbox) Stop(sig unix.Signal, patience time.Duration) {
	b.s.ending = true
	if patience == 0 {
		sig = unix.SIGKILL
	}
	b.s.send(sig)
	b.s.send(unix.SIGCONT)
	if by := time.Now().Add(patience); patience > 0 && (!b.s.stopped || by.Before(b.s.due)) {
		b.s.stopped, b.s.due = true, by
	}
}

// Unasked forgets that a signal to this process asked for the end before: what is
// asked for now is what counts.
func (b *Sandbox) Unasked() { b.s.asked = 0 }

// Resize gives the sandbox's terminal, if it has one, another size.
func (b *Sandbox) Resize(rows, cols uint16) {
	if b.s.term != nil {
		_ = unix.IoctlSetWinsize(b.s.term.master, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	}
}

// Alarm calls do once, after a time; it takes the place of one that was set
// before. A negative time takes that one back.
func (b *Sandbox) Alarm(after time.Duration, do func()) {
	b.s.alarm, b.s.alarmed = time.Time{}, do
	if after >= 0 {
		b.s.alarm = time.Now().Add(after)
	}
}

// anothers are the further commands of a sandbox.
type anothers struct {
	busy    [program.Chunks]bool // chunks of the block that a program lies in
	waiting *Another             // the one that PID 1 is just starting
	further []*Another
	paused  bool      // every process was stopped by who may
	look    time.Time // when to look whether others were, zero for never
}

// Another is a further command in a sandbox.
type Another struct {
	s        *sandboxed
	prog     *program.Program
	plan     *sandbox.Plan
	first, n int
	report   int       // descriptors: where its failure comes from,
	monitor  int       // and of the process that waits for it
	killed   bool      // it is not wanted any more
	by       time.Time // when its start has taken too long
	stops    int       // how often in a row who waits for it was found stopped
	started  func(error)
	ended    func()
}

// ErrBusy says that another command is being started at the moment. There is
// room for one message about a failed start, and so for one start.
var ErrBusy = errors.New("another command is just being started in this sandbox")

// slow is how long a start may take: who asked for a terminal and does not set
// it up keeps others waiting.
const slow = 5 * time.Second

// Busy says whether another command has to wait: one is just being started, or
// the sandbox is still being built.
func (b *Sandbox) Busy() bool { return b.s.waiting != nil || !b.s.running }

// Runs says whether the command runs, or has: the sandbox is built.
func (b *Sandbox) Runs() bool { return b.s.running }

// Further is how many further commands there are, with those just being started.
func (b *Sandbox) Further() int {
	n := len(b.s.further)
	if a := b.s.waiting; a != nil && !slices.Contains(b.s.further, a) {
		n++
	}
	return n
}

// overdue ends a start that takes too long.
func (s *sandboxed) overdue() {
	if a := s.waiting; a != nil && !time.Now().Before(a.by) {
		a.Kill()
		a.by = time.Now().Add(slow)
	}
}

// Paused says that every process was stopped, and is to stay so, or that all go on.
func (b *Sandbox) Paused(on bool) { b.s.paused = on }

// How often it is looked whether who waits for a further command was stopped, and how
// often it is let go on.
const (
	rouseEvery = time.Second
	mostStops  = 3
)

// rouse lets those go on that wait for further commands. Any process inside can stop
// them, also by mistake (kill -STOP -1), and whoever asked for a command would never hear
// of its end. One that is stopped again and again is killed, and its command with it.
func (s *sandboxed) rouse() {
	now := time.Now()
	switch {
	case len(s.further) == 0 || s.paused:
		s.look = time.Time{}
		return
	case s.look.IsZero():
		s.look = now.Add(rouseEvery)
		return
	case now.Before(s.look):
		return
	}
	s.look = now.Add(rouseEvery)
	for _, a := range s.further {
		if !a.stopped() {
			a.stops = 0
			continue
		}
		if a.stops++; a.stops > mostStops {
			a.Kill()
			continue
		}
		_ = unix.PidfdSendSignal(a.monitor, unix.SIGCONT, nil, 0)
	}
}

// stopped says whether the process that waits for the command is (proc_pid_stat(5),
// state T).
func (a *Another) stopped() bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(a.Monitor()) + "/stat")
	return err == nil && bytes.HasPrefix(text[bytes.LastIndexByte(text, ')')+1:], []byte(" T "))
}

// Another starts another command in the sandbox, as it is confined as the first.
// The descriptors are those of the command, then where its wait status (four
// bytes) goes, and a socket for its pidfd and its terminal; they remain the
// caller's. started is called when the command runs, or with why it does not;
// ended when it has ended, after started.
//
// It is an error if there is no room for it; then neither is called.
func (b *Sandbox) Another(process sandbox.Process, std [3]int, status, socket int, started func(error), ended func()) (*Another, error) {
	plan := *b.s.plan
	plan.Process = process
	prog, err := program.Another(&plan)
	if err != nil {
		return nil, err
	}
	a := b.s.another(&plan, prog, started, ended)
	return a, a.begin([5]int{std[0], std[1], std[2], status, socket})
}

// HandOut has the sandbox's root directory sent over a socket, which remains the
// caller's. done is called when it was, or with why it was not. It is an error if
// there is no room for it; then done is not called.
func (b *Sandbox) HandOut(socket int, done func(error)) error {
	prog, err := program.HandOut(b.s.plan)
	if err != nil {
		return err
	}
	return b.s.errand(prog, socket, done)
}

// Dial has a connection to a port of the sandbox's loopback sent over a socket, as
// HandOut does with the root directory.
func (b *Sandbox) Dial(port uint16, socket int, done func(error)) error {
	prog, err := program.Dial(b.s.plan, port)
	if err != nil {
		return err
	}
	return b.s.errand(prog, socket, done)
}

// Halt has every process but PID 1 stopped at once, from inside. done is called when that
// was tried. It is an error if there is no room for it; then done is not called.
func (b *Sandbox) Halt(done func(error)) error {
	prog, err := program.Halt(b.s.plan)
	if err != nil {
		return err
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0) // in the place of what it needs none of
	if err != nil {
		return &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	defer unix.Close(null)
	return b.s.errand(prog, null, done)
}

// another is a further command that has not begun.
func (s *sandboxed) another(plan *sandbox.Plan, prog *program.Program, started func(error), ended func()) *Another {
	return &Another{s: s, plan: plan, prog: prog, report: -1, monitor: -1, by: time.Now().Add(slow), started: started, ended: ended}
}

// errand has a fork of PID 1 run a program that executes nothing, and sends what it
// fetches over a socket.
func (s *sandboxed) errand(prog *program.Program, socket int, done func(error)) error {
	a := s.another(s.plan, prog, done, func() {})
	return a.begin([5]int{socket, socket, socket, socket, socket})
}

// begin has PID 1 fork and run the program. Descriptors are those of the command,
// where its wait status goes, and the socket.
func (a *Another) begin(given [5]int) error {
	s := a.s
	if s.waiting != nil {
		return ErrBusy
	}
	if !s.running {
		return errors.New("the sandbox is still being built")
	}
	if err := s.place(a); err != nil {
		return err
	}
	var report [2]int
	if err := unix.Pipe2(report[:], unix.O_CLOEXEC); err != nil {
		s.vacate(a)
		return err
	}
	defer unix.Close(report[1])
	fds := []int{given[0], given[1], given[2], given[3], report[1], given[4]}
	if err := unix.Sendmsg(s.ends.program, []byte{1}, unix.UnixRights(fds...), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err != nil {
		unix.Close(report[0])
		s.vacate(a)
		return fmt.Errorf("telling PID 1 of another command: %w", err)
	}
	a.report, s.waiting = report[0], a
	(&Sandbox{s}).Watch(s.ends.program, a.isBorn)
	s.send(program.SignalAnother)
	return nil
}

// place finds room for a program in the block.
func (s *sandboxed) place(a *Another) error {
	a.n = (a.prog.Size() + program.ChunkSize - 1) / program.ChunkSize
	for first := 0; first+a.n <= program.Chunks; first++ {
		if free := slices.Index(s.busy[first:first+a.n], true); free >= 0 {
			first += free
			continue
		}
		if err := s.child.Another(a.prog, first, a.n); err != nil {
			return err
		}
		a.first = first
		s.mark(a, true)
		return nil
	}
	if a.n > program.Chunks {
		return fmt.Errorf("the command line and its environment take more than %d bytes", program.Chunks*program.ChunkSize)
	}
	return errors.New("as many commands run in this sandbox as there is room for; end one of them, which sbx top lists, or try again later")
}

func (s *sandboxed) mark(a *Another, busy bool) {
	for i := range a.n {
		s.busy[a.first+i] = busy
	}
}

func (s *sandboxed) vacate(a *Another) { s.mark(a, false) }

// isBorn takes what PID 1 says of the fork it made: a message with its pidfd, if
// there is one, and one with its pid, or with why there is none.
func (a *Another) isBorn() error {
	var data [8]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(a.s.ends.program, data[:], oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil || n != len(data) { // PID 1 is gone; its end is seen elsewhere
		(&Sandbox{a.s}).Forget(a.s.ends.program)
		return nil
	}
	if fds := rights(oob[:oobn]); len(fds) == 1 {
		a.monitor = fds[0]
		if a.killed {
			a.Kill()
		}
		return nil // the second message follows
	}
	(&Sandbox{a.s}).Forget(a.s.ends.program)
	if a.monitor < 0 {
		a.s.waiting = nil
		a.close()
		errno := unix.EMFILE // it has no room for the descriptor
		if pid := int64(binary.LittleEndian.Uint64(data[:])); pid < 0 {
			errno = unix.Errno(-pid)
		}
		a.started(unborn(errno))
		return nil
	}
	a.s.further = append(a.s.further, a)
	b := &Sandbox{a.s}
	b.Watch(a.report, a.isStarted)
	b.Watch(a.monitor, a.isOver)
	return nil
}

// unborn is the error of a fork that PID 1 could not make.
func unborn(errno unix.Errno) error {
	err := fmt.Errorf("starting a process in the sandbox: %w", errno)
	if errno == unix.EAGAIN { // fork(2)
		return fmt.Errorf("%w; as many run as limits.processes or the command itself lets (prlimit(2) of PID 1): end some of them, which sbx top lists", err)
	}
	return err
}

// isStarted learns whether the command was executed.
func (a *Another) isStarted() error {
	b := &Sandbox{a.s}
	b.Forget(a.report)
	var said [8]byte
	n, err := readFull(a.report, said[:])
	unix.Close(a.report)
	a.report, a.s.waiting = -1, nil
	if err == nil && n > 0 {
		err = failure(said[:n], a.prog, program.ChunkOp(a.first), a.plan)
	}
	a.started(err)
	a.started = nil
	return nil
}

// isOver is called when the process that waits for the command is gone, which
// no longer runs what is in the block.
func (a *Another) isOver() error {
	if a.report >= 0 { // killed, perhaps, before it said how the start went
		if err := a.isStarted(); err != nil {
			return err
		}
	}
	b := &Sandbox{a.s}
	b.Forget(a.monitor)
	a.s.further = slices.DeleteFunc(a.s.further, func(x *Another) bool { return x == a })
	a.close()
	a.ended()
	return nil
}

// Kill ends the command and the process that waits for it, which may not be there
// yet.
func (a *Another) Kill() {
	a.killed = true
	if a.monitor >= 0 {
		_ = unix.PidfdSendSignal(a.monitor, unix.SIGKILL, nil, 0)
	}
}

// Monitor is the pid of the process that waits for the command, which is the
// command's parent; 0 where there is none.
func (a *Another) Monitor() int {
	if a.monitor < 0 {
		return 0
	}
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(a.monitor))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(info)) { // proc_pid_fdinfo(5)
		if number, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, _ := strconv.Atoi(strings.TrimSpace(number))
			return max(pid, 0) // -1 when it is gone
		}
	}
	return 0
}

// forgetFurther lets go of the further commands, which ended with the sandbox.
func (s *sandboxed) forgetFurther() {
	for _, a := range s.further {
		a.close()
	}
	a := s.waiting
	s.further, s.waiting, s.running = nil, nil, false
	if a != nil {
		a.close()
		a.started(errors.New("the sandbox has ended meanwhile"))
	}
}

func (a *Another) close() {
	for _, fd := range []int{a.report, a.monitor} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	a.report, a.monitor = -1, -1
	a.s.vacate(a)
}
