package run

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/child"
)

// Join is a further command as seen by who asked for it: this process passes on
// signals, relays the terminal, and learns the command's exit status. The
// command itself is started by the sandbox's PID 1, see Sandbox.Another.
type Join struct {
	s      *sandboxed
	socket int // where the terminal and the command's pidfd come from
	given  []int
	hand   *other // looks at the socket until the pidfd has come
}

// NewJoin prepares for a command whose standard descriptors are terminals of the
// sandbox's own, pipes that are relayed, or else this process's own.
func NewJoin(terminal, piped [3]bool) (*Join, error) {
	plan := &sandbox.Plan{Process: sandbox.Process{Terminal: terminal, Pipe: piped}}
	s := &sandboxed{plan: plan, ends: &ends{}, fd: -1, joined: true}
	s.watch.s = s
	j := &Join{s: s}
	fail := func(err error) (*Join, error) {
		s.ends.close()
		return nil, err
	}
	var err error
	if s.signals, err = signalPipe(); err != nil {
		return fail(err)
	}
	var status, socket, null int
	if s.ends.status, status, err = s.ends.pair(false); err != nil {
		return fail(err)
	}
	if j.socket, socket, err = s.ends.pair(true); err != nil {
		return fail(err)
	}
	if null, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return fail(fmt.Errorf("opening /dev/null: %w", err))
	}
	s.ends.child = append(s.ends.child, null)
	if piped != [3]bool{} {
		if s.pipe, err = newRelay(piped, s.ends); err != nil {
			return fail(err)
		}
	}
	for fd := range 3 {
		switch {
		case terminal[fd]:
			j.given = append(j.given, null)
		case piped[fd]:
			j.given = append(j.given, int(s.ends.slots[program.SlotStdin+fd]))
		default:
			j.given = append(j.given, fd)
		}
	}
	j.given = append(j.given, status, socket)
	return j, nil
}

// Asked is a command that was asked for before the Go runtime started, and the
// connection over which it was: child.EarlyRequest. It is nil where there is none.
func Asked() (j *Join, conn int, err error) {
	r, ok := child.EarlyRequest()
	if !ok {
		return nil, -1, nil
	}
	s := &sandboxed{plan: &sandbox.Plan{}, ends: &ends{ours: []int{r.Status, r.Socket}, status: r.Status}, fd: -1, joined: true}
	s.watch.s = s
	if s.signals, err = signalPipe(); err != nil {
		s.ends.close()
		unix.Close(r.Conn)
		return nil, -1, err
	}
	if r.Signal != 0 {
		_ = unix.Kill(unix.Getpid(), r.Signal) // again, now that it is caught
	}
	return &Join{s: s, socket: r.Socket}, r.Conn, nil
}

// Files are the descriptors to send with the request: see control.Exec. Sent is
// to be called when they were sent.
func (j *Join) Files() []int { return j.given }

// Sent closes this side's copies.
func (j *Join) Sent() {
	closeAll(j.s.ends.child)
	j.s.ends.child = nil
}

// Close gives up.
func (j *Join) Close() {
	if j.hand != nil {
		j.hand.fd = -1
	}
	j.s.ends.close()
	if j.s.fd >= 0 {
		unix.Close(j.s.fd)
		j.s.fd = -1
	}
}

// Terminal gets the terminal that was made for the command, if it is to have
// one. Whether the command was started is said elsewhere.
func (j *Join) Terminal() (err error) {
	j.s.term, err = j.s.takeTerminal(j.socket)
	return err
}

// ReceiveOne takes the descriptor that Sandbox.HandOut or Sandbox.Dial sends over a
// socket.
func ReceiveOne(socket int) (int, error) {
	fds, err := receive(socket, 1)
	if err == nil && len(fds) == 0 {
		err = errors.New("the sandbox has ended meanwhile")
	}
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// Until waits for an answer on fd, and does what signals ask for until then.
func (j *Join) Until(fd int) error { return j.s.until(fd) }

// Own says that all its standard descriptors are the caller's own. Then Wait may
// be called when the command was asked for and is not known to run.
func (j *Join) Own() bool {
	return j.s.plan.Process.Terminal == [3]bool{} && j.s.pipe == nil
}

// met takes the command's pidfd out of the socket, if it has come.
func (j *Join) met() bool {
	var data [8]byte
	oob := make([]byte, unix.CmsgSpace(4))
	_, oobn, _, _, err := unix.Recvmsg(j.socket, data[:], oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return false
	}
	if fds := rights(oob[:oobn]); len(fds) == 1 {
		j.s.fd = fds[0]
	}
	return j.s.fd >= 0
}

// Wait stands by the command until it has ended. It runs already, or that shows
// while Wait stands by: see Own. What never ran is as what was killed.
func (j *Join) Wait() (Status, error) {
	s := j.s
	defer j.Close()
	if !j.met() && j.Own() {
		j.hand = &other{fd: j.socket}
		j.hand.take = func() error {
			j.hand.fd = -1
			if j.met() {
				s.runs()
			}
			return nil
		}
		s.others = append(s.others, j.hand)
		return j.end()
	}
	if s.term != nil {
		if err := s.term.open(); err != nil {
			return Status{}, err
		}
	}
	if s.pipe != nil {
		s.pipe.open(s.ends)
	}
	s.runs()
	return j.end()
}

// end waits for the command's end.
func (j *Join) end() (Status, error) {
	s := j.s
	if err := s.until(s.ends.status); err != nil {
		return Status{}, err
	}
	var b [4]byte
	n, err := readFull(s.ends.status, b[:])
	if err != nil {
		return Status{}, fmt.Errorf("reading the command's exit status: %w", err)
	}
	s.flush()
	if n < len(b) { // whoever waited for it was killed, and it with it
		return Status{Code: 128 + int(unix.SIGKILL), InitKilled: unix.SIGKILL}, nil
	}
	code, by := Ended(b)
	return Status{Code: code, Killed: by}, nil
}

// pidfdGroup is PIDFD_SIGNAL_PROCESS_GROUP, pidfd_send_signal(2) from Linux 6.9
// on.
const pidfdGroup = 1 << 2

// sendJoined gives a further command a signal: what a terminal sends to its
// process group, which is the command's alone, where the kernel can.
func (s *sandboxed) sendJoined(sig unix.Signal) {
	if s.fd < 0 {
		return
	}
	switch sig {
	case unix.SIGTSTP: // no effect on an orphaned group
		sig = unix.SIGSTOP
		fallthrough
	case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGCONT, unix.SIGKILL:
		if unix.PidfdSendSignal(s.fd, sig, nil, pidfdGroup) == nil {
			return
		}
	}
	_ = unix.PidfdSendSignal(s.fd, sig, nil, 0)
}
