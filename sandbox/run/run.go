// Package run carries a Plan out: it starts the child that builds the sandbox,
// stands by it while the command runs, and cleans up. It decides nothing.
package run

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/audit"
	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/refusal"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/child"
	_ "github.com/sbx-sandbox/sbx/sandbox/run/internal/heap" // maps it
	"github.com/sbx-sandbox/sbx/slirp"
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
	// Asked is a signal to this process that asked for the end, 0 for none: while it
	// ran, or while it was looked at what it had left. Another one is told of rather
	// than SIGHUP, which a command may take for something else.
	Asked unix.Signal
	// Over says which layer took more disk than it may, for which all was killed.
	Over string
	// Group is what its control group counted, nil if it had none.
	Group *cgroup.Events
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
	return s.Run(p, nil)
}

// Start is a sandbox whose namespaces are being made.
type Start struct {
	shape sandbox.Shape
	ends  ends
	pipe  *relay
	child *child.Child
	// Network, if not nil, is told what the network's program says while the
	// command runs. raw says that the caller's terminal passes text through as it
	// is, so that a line ends in "\r\n".
	Network func(e slirp.Event, raw bool)
	// Refused, if not nil, is told of each system call that the sandbox's filter
	// refused, if the Plan has that traced.
	Refused func(c refusal.Call, raw bool)
	// NetSocket is where sbx-net takes slirp.Requests, a path in a directory of
	// the caller's alone; "" for nowhere.
	NetSocket string
	// Networks are asked for named networks.
	Networks Networks
	// Keep, if not nil, is where this start is written down for the next one.
	Keep  *Keep
	joint *Joint
	scope *scopeCall // sbx-scope, if it was started already
	// primed is closed when the kernel is ready to move processes; nil if nobody asked.
	primed <-chan struct{}
	early  [10]int // the pipes of a child that was started before the Go runtime
	taken  *child.Taken
}

// Begin lets the kernel make the namespaces of a sandbox, which takes it as
// long as the rest of the Plan takes to be decided. The child waits for its
// program. Either Run or Abort must follow.
//
// The sandbox dies with the thread that made it (PR_SET_PDEATHSIG(2const)),
// which is as good as the process: Go ends a thread only when a goroutine that
// is locked to it returns, and the one here is not locked.
func Begin(shape sandbox.Shape) (*Start, error) { return BeginIn(shape, nil) }

// BeginIn is Begin in the network of another sandbox, where the shape says so.
func BeginIn(shape sandbox.Shape, j *Joint) (*Start, error) {
	if shape.Joined != (j != nil) {
		return nil, errors.New("BUG: the network of another sandbox, or the lack of one, is not what the shape says")
	}
	st := &Start{shape: shape, joint: j}
	if st.takeEarly() {
		return st, nil
	}
	err := st.open()
	if err == nil {
		if st.child, err = child.Start(program.Prelude(shape), st.ends.slots); err != nil {
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
	e.sync = p.Sync[1]
	e.slots[program.SlotSync], e.slots[program.SlotSyncWrite] = uint64(p.Sync[0]), uint64(p.Sync[1])
	e.slots[program.SlotMapRead], e.slots[program.SlotMapWrite] = uint64(p.Map[0]), uint64(p.Map[1])
	e.ours = append(e.ours, p.Sync[1])
	closeAll([]int{p.Sync[0], p.Map[0], p.Map[1]})
	st.early = [10]int{p.Status[0], p.Status[1], p.Report[0], p.Report[1], p.Go[0], p.Go[1], p.Sync[0], p.Sync[1], p.Map[0], p.Map[1]}
	plain := sandbox.Shape{Namespaces: st.shape.Namespaces, Range: st.shape.Range}
	if st.shape == plain && program.SamePrelude(st.shape.Namespaces, program.Usual) {
		return true
	}
	st.Abort()
	c.Forget()
	st.ends, st.child, st.early = ends{}, nil, [10]int{}
	return false
}

// Settle ends the child that was started before the Go runtime if no sandbox
// was begun after all.
func Settle() {
	if c, _, ok := child.Early(); ok {
		(&sandboxed{pid: c.PID, fd: c.PidFD}).kill()
	}
	if t, ok := child.TakeOver(); ok {
		(&sandboxed{pid: t.Child.PID, fd: t.Child.PidFD}).kill()
	}
}

// Abort ends a sandbox that is not wanted after all.
func (st *Start) Abort() {
	st.scope.close()
	st.scope = nil
	st.sandboxed().kill()
	unix.Close(st.child.PidFD)
	st.ends.close()
}

func (st *Start) sandboxed() *sandboxed {
	return &sandboxed{pid: st.child.PID, fd: st.child.PidFD, init: st.child.PidFD, bare: st.shape.Bare, ends: &st.ends, pipe: st.pipe}
}

// Run builds the sandbox of p; see the function Run. The attendant, if there is
// one, hears of it.
func (st *Start) Run(p *sandbox.Plan, a Attendant) (Status, error) {
	if st.taken != nil {
		return st.goOn(p, a)
	}
	shape := p.Shape()
	// What is there for a range, or for fuse-overlayfs, may go unused.
	shape.Range, shape.Served = shape.Range || st.shape.Range, shape.Served || st.shape.Served
	if shape.Served && !st.shape.Served { // the profile alone did not tell
		again, err := st.anew(shape, p)
		if err != nil {
			return Status{}, err
		}
		return again.Run(p, a)
	}
	if shape != st.shape {
		st.Abort()
		return Status{}, errors.New("BUG: the plan's shape is not the one the sandbox was begun with")
	}
	prog, err := program.Compile(p)
	held := lasting{plan: p, image: -1, claim: -1}
	if err == nil {
		err = held.open()
	}
	defer held.close()
	if err != nil {
		st.Abort()
		return Status{}, err
	}
	s := st.sandboxed()
	s.plan, s.prog, s.watch.s, s.attendant, s.words = p, prog, s, a, words(p)
	s.child, s.scope, s.primed, s.joint, s.netSocket, s.named = st.child, st.scope, st.primed, st.joint, st.NetSocket, st.Networks
	s.tell, s.refusals = st.Network, st.Refused
	defer s.close()
	var mark *audit.Mark
	if p.Audit.Mode != sandbox.AuditOff && len(p.Audit.Trees) > 0 {
		mark = audit.Begin(p.Audit.Trees) // before the command can write, after the child has copied descriptors
		defer mark.Close()
	}
	defer s.end() // before all that is let go of above
	if err := s.start(); err != nil {
		s.kill()
		_ = s.stopServers(time.Second) // what they said is what there is to know
		return Status{}, refusedStep(s.served(err))
	}
	held.ran = true
	status, err := s.standBy()
	if err == nil && mark != nil {
		s.audit(mark, &status)
	}
	if err == nil {
		st.keep(s)
	}
	return status, err
}

// audit looks at what the command has left, until that is over or a signal asks for
// the end. Who would start the command again hears of it by the status: nobody else
// gets this signal.
func (s *sandboxed) audit(mark *audit.Mark, status *Status) {
	s.interrupted() // what came so far was for the command
	status.Audit = mark.Look(s.interrupted)
	status.Asked = s.asked
}

// standBy returns when the command that was started has ended, and no process of the
// sandbox is left.
func (s *sandboxed) standBy() (Status, error) {
	for i := range s.plan.Process.Passed { // the command's, of which the other side is to see the end
		unix.Close(sandbox.FirstPassed + i)
	}
	bound, err := s.boundLayers()
	if err != nil {
		s.kill()
		_ = s.stopServers(time.Second)
		return Status{}, err
	}
	defer bound.close()
	status, err := s.wait()
	s.net.finish()
	s.forgetFurther()
	if served := s.stopServers(flushing); err == nil {
		err = served
	}
	return status, err
}

// anew begins the sandbox once more, in a shape that was not foreseen.
func (st *Start) anew(shape sandbox.Shape, p *sandbox.Plan) (*Start, error) {
	st.Abort()
	again, err := BeginIn(shape, st.joint)
	if err != nil {
		return nil, err
	}
	again.Network, again.Refused, again.NetSocket, again.Networks = st.Network, st.Refused, st.NetSocket, st.Networks
	again.primed = st.primed
	if p.Cgroup.By == sandbox.CgroupSystemd {
		again.scope, _ = callScope(p.Cgroup.Helper) // one that can't be started is Run's to say
	}
	return again, nil
}

// close lets go of all that this process has of a sandbox which has ended, the
// network's program before the descriptors that it was given by.
//
// Precondition: every process of the sandbox is gone.
func (s *sandboxed) close() {
	s.refused.close()
	s.granting.close()
	s.scope.close()
	s.group.close()
	s.net.stop()
	s.child.Forget()
	closeAll(slices.Compact([]int{s.fd, s.init}))
	s.ends.close()
}

// lasting is what is made or held on the host for a sandbox, from before its
// start until nothing of it is left.
type lasting struct {
	plan    *sandbox.Plan
	image   int         // a descriptor that holds the image, -1 for none
	claim   int         // one that holds the workspace, -1 for none
	private *private    // nil for none
	layers  *upper.Held // nil for none
	ran     bool        // the sandbox was started
}

// open makes all of it. What is there when it fails is close's to let go of.
func (l *lasting) open() (err error) {
	if l.claim, err = claim(&l.plan.Claim); err != nil {
		return err
	}
	for i := range l.plan.Create {
		if err := makePrivateDir(l.plan.Create[i]); err != nil {
			return err
		}
	}
	if l.image, err = holdImage(&l.plan.Root); err != nil {
		return err
	}
	if l.plan.Bare.On() {
		if l.private, err = makePrivate(&l.plan.Bare); err != nil {
			return err
		}
	}
	l.layers, err = openOverlay(l.plan)
	return err
}

// close lets go of it. An overlay that was made for a sandbox of which nothing
// ran is gone again. Is something in it, then the command ran after all: what it
// ran on can end before the supervisor has learnt that it was started.
func (l *lasting) close() {
	if l.layers != nil {
		if !l.ran && !l.plan.Overlay.Again {
			if rec, err := upper.Load(l.layers.Dir); err == nil && rec.Empty(l.layers.Dir) {
				_ = l.layers.Remove()
				forget(&l.plan.Overlay)
			}
		}
		l.layers.Close()
	}
	if l.private != nil {
		l.private.remove()
	}
	for _, fd := range []int{l.image, l.claim} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// sandboxed is a sandbox while it lives.
type sandboxed struct {
	plan      *sandbox.Plan
	prog      *program.Program
	ends      *ends
	bare      bool // without namespaces
	reaped    bool // its first process was waited for
	gone      bool // nothing of it is left
	pid       int
	fd        int       // its pidfd
	init      int       // the pidfd of the process that signals are for, the same but in a bare one
	term      *terminal // once it relays
	pipe      *relay
	over      string // what went over its bound, "" for nothing
	servers   []*server
	said      []string  // by servers that have ended
	since     time.Time // when the command was known to run, zero for just now
	net       *network  // nil for none of its own
	tell      func(e slirp.Event, raw bool)
	netSocket string
	joint     *Joint // nil for a network of its own
	named     Networks
	// What lets the child go on: what it still waits for, and what there is.
	words []word
	known [numWords]bool
	// group is nil where the plan has none.
	group  *group
	scope  *scopeCall
	primed <-chan struct{}
	watch
	child     *child.Child
	joined    bool      // it is a further command in another's sandbox; see Join
	attendant Attendant // nil for none
	granting  granting
	refused   refused
	refusals  func(c refusal.Call, raw bool)
	anothers
}

// ends are the descriptors a sandbox is started with: ours and the child's.
type ends struct {
	slots program.Slots
	child []int // closed once the child has its copies
	ours  []int
	// Ours by name.
	status, report, program, sync, terminal, layers int
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

// inward makes a pipe, or a socket pair, of which the child gets the reading end,
// and has its own copy of the writing end to close.
func (e *ends) inward(slot int, socket bool) (ours int, err error) {
	r, w, err := e.pair(socket)
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
	if e.program, err = e.inward(program.SlotGo, true); err != nil {
		return err
	}
	e.slots[program.SlotStarter] = uint64(os.Getpid())
	if st.joint != nil {
		e.slots[program.SlotUserNS], e.slots[program.SlotNetNS] = uint64(st.joint.User), uint64(st.joint.Net)
	}
	if st.shape.Range {
		if e.sync, err = e.inward(program.SlotSync, false); err != nil {
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
	if st.shape.Served {
		if e.layers, w, err = e.pair(true); err != nil {
			return err
		}
		e.slots[program.SlotLayers] = uint64(w)
		if w >= program.FuseFD {
			return fmt.Errorf("opening the channels to the sandbox: descriptor %d is open already, and sbx was given more than it can work with", w)
		}
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
func (s *sandboxed) start() error {
	var err error
	if s.signals, err = signalPipe(); err != nil {
		return err
	}
	if err := s.ask(); err != nil {
		return err
	}
	if err := s.child.Extend(s.prog, s.ends.slots); err != nil {
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
	if s.plan.Network == sandbox.NetUser {
		// While the child builds: it starts nothing before it is told that its
		// interface was taken.
		if err := s.startNet(); err != nil {
			return err
		}
	}
	if s.attendant != nil {
		if err := s.attendant.Begun(&Sandbox{s}); err != nil {
			return err
		}
	}
	if err := s.assist(); err != nil {
		return err
	}
	if s.bare {
		s.findInit()
	}
	if s.joint != nil {
		s.joint.Built()
		lease := &other{fd: s.joint.Lease}
		lease.take = func() error {
			lease.fd = -1
			return s.joint.Gone()
		}
		s.others = append(s.others, lease)
	}
	s.runs()
	if s.attendant != nil {
		return s.attendant.Runs()
	}
	return nil
}

// assist does what the child waits for from outside, then learns whether the
// command was started.
func (s *sandboxed) assist() error {
	if err := s.mapIDs(); err != nil {
		return err
	}
	groupFirst := s.plan.Cgroup.Delegate // the program's tree shows it
	if groupFirst {
		if err := s.join(); err != nil {
			return err
		}
	}
	if err := s.serveLayers(); err != nil {
		return err
	}
	if !groupFirst {
		if err := s.join(); err != nil {
			return err
		}
	}
	if err := s.takeNamespaces(); err != nil {
		return err
	}
	term, err := s.takeTerminal(s.ends.terminal)
	if err != nil {
		return err
	}
	if err := s.takeListener(); err != nil {
		return err
	}
	if err := s.readReport(); err != nil {
		return err
	}
	if term != nil { // else PID 1 was killed before it had one, as its status will say
		s.term = term
		term.resize() // it may have changed while nobody passed that on
		if err := term.open(); err != nil {
			return err
		}
	}
	if s.pipe != nil {
		s.pipe.open(s.ends)
	}
	return nil
}

// mapIDs writes the maps of a range of ids, for which the child waits.
func (s *sandboxed) mapIDs() error {
	ids := &s.plan.IDs
	if ids.Mode != "range" {
		return nil
	}
	err := userns.Write(context.Background(), ids.NewUIDMap, ids.NewGIDMap, s.pid, ids.OuterUIDs, ids.OuterGIDs)
	if err == nil {
		if _, err = unix.Write(s.ends.sync, []byte{1}); err == nil {
			return nil
		}
		err = fmt.Errorf("telling the sandbox that its ids are mapped: %w", err)
	}
	return s.orReport(fmt.Errorf("%w; see sbx doctor, or set user.map = \"single\"", err))
}

// takeTerminal receives the sandbox's terminal over a socket, if the plan has one,
// and sets it up: the command is to find it so. It is nil where the other side is
// gone, which then has reported why.
func (s *sandboxed) takeTerminal(socket int) (*terminal, error) {
	standard := s.plan.Process.Terminal
	if standard == [3]bool{} {
		return nil, nil
	}
	if err := s.until(socket); err != nil {
		return nil, err
	}
	t, err := receiveTerminal(socket, standard)
	if t == nil || err != nil {
		return nil, err
	}
	t.adopt()
	if _, err := unix.Write(socket, []byte{1}); err != nil && !errors.Is(err, unix.EPIPE) {
		return nil, fmt.Errorf("telling the sandbox that its terminal is ready: %w", err)
	}
	return t, nil
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
	return failure(b[:n], s.prog, 0, s.plan)
}

// failure is what a report says of a Program whose operations begin in the
// place of operation first.
func failure(report []byte, prog *program.Program, first int, plan *sandbox.Plan) error {
	rep, err := child.ParseReport(report)
	if err != nil {
		return err
	}
	index := program.OpIndex(rep.Offset) - first
	step, err := prog.Step(index)
	if err != nil {
		return err
	}
	return &StepError{Step: step, Errno: rep.Errno, IsExec: prog.IsExec(index), Plan: plan}
}

// readFull reads until b is full or the other side is closed.
func readFull(fd int, b []byte) (n int, err error) {
	return readUntil(fd, b, func([]byte) bool { return false })
}

// readLine reads one line, if nothing follows it.
func readLine(fd int, b []byte) (n int, err error) {
	return readUntil(fd, b, func(have []byte) bool { return bytes.HasSuffix(have, []byte("\n")) })
}

func readUntil(fd int, b []byte, enough func(have []byte) bool) (n int, err error) {
	for n < len(b) && !enough(b[:n]) {
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
	if !s.reaped { // its number may be another's by then
		slay(s.pid, s.fd)
		s.reap()
	}
	s.awaitInit()
}

// end is kill for a sandbox that may be over: after a panic it is not, and the
// command would see what it was given go away.
func (s *sandboxed) end() {
	if !s.gone {
		s.kill()
	}
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
			s.reaped = true
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
	s.awaitInit()
	s.flush()
	st := Status{Group: s.group.events(), Asked: s.asked}
	if n == len(b) {
		st.Code, st.Killed = Ended(b)
	} else if sig := s.initKilled(init); sig != 0 {
		st.Code, st.InitKilled = 128+int(sig), sig
	} else {
		return st, fmt.Errorf("PID 1 of the sandbox ended with status %d and did not say how the command ended", init.ExitStatus())
	}
	if s.expired {
		st.Code, st.TimedOut = 124, true
	}
	st.Over = s.over
	return st, nil
}

// flush passes on what the command wrote last, and ends the relays.
//
// Precondition: every process of the sandbox is gone.
func (s *sandboxed) flush() {
	if s.term != nil {
		s.drain(s.term.idle, &s.term.flow, s.term.master)
		s.term.close()
	}
	if s.pipe != nil {
		s.pipe.typing.end()
		s.drain(s.pipe.idle, &s.pipe.flow, s.pipe.ours[1], s.pipe.ours[2])
	}
}

// Ended reads a command's wait status (wait4(2)), as it comes over a pipe from who
// has waited for it: its exit status, and the signal that ended it, 0 for none.
func Ended(wire [4]byte) (code int, by unix.Signal) {
	ws := unix.WaitStatus(binary.LittleEndian.Uint32(wire[:]))
	if ws.Signaled() {
		return 128 + int(ws.Signal()), ws.Signal()
	}
	return ws.ExitStatus(), 0
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
