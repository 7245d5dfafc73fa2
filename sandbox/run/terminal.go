package run

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/child"
)

// terminal relays between the caller's terminal and the sandbox's own, whose
// controlling side (the "master" of pty(7)) PID 1 handed out.
type terminal struct {
	master int
	host   int           // the caller's terminal whose mode is changed, -1 for none
	in     bool          // what is typed is passed in
	keys   []byte        // nil for raw mode, else see LineTerminal
	out    int           // where output goes, -1 for nowhere
	idle   chan struct{} // closed when all output was passed on
	typing typing
	relays sync.WaitGroup // what uses master beside this process's main thread
	// diverted is where what is typed goes instead, if it is not negative.
	diverted atomic.Int32
	flow

	mu     sync.Mutex    // of what follows: input may begin late
	guard  *standby      // restores the mode should this process be killed
	saved  *unix.Termios // the caller's mode, once it was changed
	late   bool          // the sandbox's has not got it yet
	closed bool
}

// flow is how much was passed on, and whether something is just now.
type flow struct {
	busy   atomic.Int32
	passed atomic.Int64
}

// pass is writeAll, counted.
func (f *flow) pass(fd int, b []byte) bool {
	f.busy.Add(1)
	defer f.busy.Add(-1)
	f.passed.Add(int64(len(b)))
	return writeAll(fd, b)
}

// receiveTerminal takes the controlling side from PID 1. It returns nil where
// PID 1 failed before it came to that; its report then says why.
func receiveTerminal(socket int, standard [3]bool) (*terminal, error) {
	fds, err := receive(socket, 1)
	if err != nil {
		return nil, fmt.Errorf("receiving the sandbox's terminal: %w", err)
	}
	if len(fds) == 0 {
		return nil, nil
	}
	t := &terminal{master: fds[0], host: -1, out: -1, typing: typing{fd: -1}, in: standard[0], idle: make(chan struct{})}
	t.diverted.Store(-1)
	for fd := range 3 {
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil && standard[fd] {
			if t.host < 0 {
				t.host = fd
			}
			if fd > 0 && t.out < 0 {
				t.out = fd
			}
		}
	}
	if t.out < 0 && standard[1] {
		t.out = 1 // asked for although stdout is none
	}
	if t.out < 0 {
		t.out = t.host
	}
	return t, nil
}

// adopt gives the sandbox's terminal the caller's size and, where the caller's
// is set up for this process, its mode.
func (t *terminal) adopt() {
	t.resize()
	if t.host < 0 || !t.foreground() {
		t.late = true
		return
	}
	if m, err := unix.IoctlGetTermios(t.host, unix.TCGETS); err == nil {
		_ = unix.IoctlSetTermios(t.master, unix.TCSETS, m)
	}
}

// open begins to relay. In the background of a shell (`sbx run … &`) the
// terminal is the shell's to use and to set: then only output is passed on,
// until the job is brought to the foreground.
func (t *terminal) open() error {
	if t.host >= 0 && t.foreground() {
		if err := t.begin(); err != nil {
			return err
		}
	}
	if t.in {
		if err := t.typing.open(); err != nil {
			return err
		}
		t.relays.Go(t.input)
	}
	t.relays.Go(t.output)
	return nil
}

// begin makes the caller's terminal pass everything through as it comes, if what
// is typed is relayed.
//
// Precondition: this process may set the terminal's mode.
func (t *terminal) begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.saved != nil || t.closed {
		return nil
	}
	saved, err := unix.IoctlGetTermios(t.host, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("reading the terminal's mode: %w", err)
	}
	if !t.in {
		return nil
	}
	if t.late {
		_ = unix.IoctlSetTermios(t.master, unix.TCSETS, saved)
	}
	prog, err := program.TerminalGuard(t.host, child.TermiosBytes(saved))
	if err != nil {
		return err
	}
	if t.guard, err = newStandby("guarding the terminal's mode", prog); err != nil {
		return err
	}
	t.saved = saved
	t.setRaw()
	return nil
}

// resize gives the sandbox's terminal the size of the caller's.
func (t *terminal) resize() {
	if t.host < 0 {
		return
	}
	if ws, err := unix.IoctlGetWinsize(t.host, unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(t.master, unix.TIOCSWINSZ, ws)
	}
}

// raw switches the caller's terminal to pass everything through untouched, as
// cfmakeraw(3) does, if what is typed is relayed.
func (t *terminal) raw() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.saved != nil && !t.closed {
		t.setRaw()
	}
}

func (t *terminal) setRaw() {
	m := *t.saved
	if len(t.keys) > 0 {
		setKeys(&m, t.keys)
		_ = unix.IoctlSetTermios(t.host, unix.TCSETSW, &m)
		return
	}
	m.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	m.Oflag &^= unix.OPOST
	m.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	m.Cflag = m.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	m.Cc[unix.VMIN], m.Cc[unix.VTIME] = 1, 0
	_ = unix.IoctlSetTermios(t.host, unix.TCSETSW, &m)
}

// setKeys has a terminal that makes lines pass keys on as they are, and end a line with
// the last one (termios(3)).
func setKeys(m *unix.Termios, keys []byte) {
	const disabled = 0         // _POSIX_VDISABLE
	m.Iflag &^= unix.IXON      // whose keys may be among them
	for i, key := range m.Cc { // the terminal looks for what they do before it looks for a line's end
		if i != unix.VMIN && i != unix.VTIME && slices.Contains(keys, key) {
			m.Cc[i] = disabled
		}
	}
	m.Cc[unix.VEOL] = keys[len(keys)-1]
}

// foreground says whether this process may read the terminal and set its mode.
// A shell may have it in the background; with a terminal that is not the
// session's own there is no such thing (tcgetpgrp(3), ENOTTY).
func (t *terminal) foreground() bool {
	if t.host < 0 {
		return false
	}
	group, err := unix.IoctlGetInt(t.host, unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// restore gives the caller's terminal its own mode back.
func (t *terminal) restore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.saved != nil && t.foreground() {
		// Not TCSETSW, which waits for output: a terminal that was stopped (^S)
		// takes none.
		_ = unix.IoctlSetTermios(t.host, unix.TCSETS, t.saved)
	}
}

func (t *terminal) input() {
	defer t.typing.close()
	// Bringing a running job to the foreground sends it no signal.
	for t.host >= 0 && !t.foreground() {
		time.Sleep(100 * time.Millisecond)
	}
	if t.host >= 0 && t.begin() != nil {
		return
	}
	var buf [4096]byte
	for t.typing.wait() {
		n, err := unix.Read(0, buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			if m, err := unix.IoctlGetTermios(t.master, unix.TCGETS); err == nil {
				writeAll(t.master, []byte{m.Cc[unix.VEOF]}) // as if ^D had been typed
			}
			return
		}
		if to := t.diverted.Load(); to >= 0 {
			_, _ = unix.Write(int(to), buf[:n]) // what is too much for an answer is none
			continue
		}
		if t.isClosed() {
			return
		}
		typed := buf[:n]
		if i := t.suspends(typed); i >= 0 {
			if !writeAll(t.master, typed[:i]) {
				return
			}
			_ = unix.Kill(0, unix.SIGTSTP) // see suspend; all of the job stops, as by the key itself
			typed = typed[i+1:]
		}
		if !writeAll(t.master, typed) {
			return
		}
	}
}

// typing is what the caller types, which is the command's until its end: what
// comes later is for somebody else, and must not be read here.
type typing struct {
	mu sync.Mutex
	fd int // eventfd(2) that tells of the end, -1 for none
}

func (t *typing) open() (err error) {
	if t.fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		t.fd = -1
		return fmt.Errorf("passing on what is typed: %w", err)
	}
	return nil
}

// wait waits until something can be read; it is false after the end.
func (t *typing) wait() bool {
	for {
		fds := [2]unix.PollFd{{Fd: 0, Events: unix.POLLIN}, {Fd: int32(t.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds[:], -1); errors.Is(err, unix.EINTR) {
			continue
		}
		return fds[1].Revents == 0
	}
}

// end makes wait return, for good.
func (t *typing) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fd >= 0 {
		_, _ = unix.Write(t.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// close is for who waited.
func (t *typing) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fd >= 0 {
		unix.Close(t.fd)
		t.fd = -1
	}
}

// output ends when every process of the sandbox has let go of its side: the
// read then fails with EIO.
func (t *terminal) output() {
	defer close(t.idle)
	var buf [16384]byte
	for {
		n, err := unix.Read(t.master, buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 || t.isClosed() {
			return
		}
		if t.out >= 0 && !t.pass(t.out, buf[:n]) {
			t.out = -1 // nobody reads any more; the command is not to notice by blocking
		}
	}
}

// close restores the caller's terminal. The sandbox's is closed when nobody is about to
// read or write it any more: its number could be another descriptor's by then, of the
// command's next run, say.
//
// Precondition: every process of the sandbox is gone, and drain has returned.
func (t *terminal) close() {
	t.restore()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.typing.end()
	t.guard.stop()
	go func() {
		t.relays.Wait()
		unix.Close(t.master)
	}()
}

func (t *terminal) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

func writeAll(fd int, b []byte) bool {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) { // somebody made the terminal non-blocking
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
			continue
		}
		if err != nil {
			return false
		}
		b = b[n:]
	}
	return true
}

// relay stands between the caller's terminal and the pipes that the command
// has in its place (process.tty = "never").
type relay struct {
	ours   [3]int
	wg     sync.WaitGroup
	idle   chan struct{} // closed when all output was passed on
	typing typing
	flow
}

func newRelay(standard [3]bool, e *ends) (*relay, error) {
	r := &relay{idle: make(chan struct{}), typing: typing{fd: -1}}
	for fd, piped := range standard {
		r.ours[fd] = -1
		if !piped {
			continue
		}
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return nil, fmt.Errorf("opening a pipe in place of the terminal: %w", err)
		}
		ours, childs := p[0], p[1]
		if fd == 0 {
			ours, childs = p[1], p[0]
		}
		r.ours[fd] = ours
		e.child = append(e.child, childs)
		e.ours = append(e.ours, ours)
		e.slots[program.SlotStdin+fd] = uint64(childs)
	}
	return r, nil
}

// open begins to relay. What is typed has the same end for the command as for
// this process (^D): its pipe is closed then, which the relay takes over from e.
func (r *relay) open(e *ends) {
	if fd := r.ours[0]; fd >= 0 {
		_ = r.typing.open() // without, it ends with this process
		e.ours = slices.DeleteFunc(e.ours, func(o int) bool { return o == fd })
		go func() {
			defer r.typing.close()
			defer unix.Close(fd)
			var buf [4096]byte
			for r.typing.wait() {
				n, err := unix.Read(0, buf[:])
				if errors.Is(err, unix.EINTR) {
					continue
				}
				if err != nil || n <= 0 || !writeAll(fd, buf[:n]) {
					return
				}
			}
		}()
	}
	for fd := 1; fd < 3; fd++ {
		from := r.ours[fd]
		if from < 0 {
			continue
		}
		r.wg.Go(func() {
			var buf [16384]byte
			for {
				n, err := unix.Read(from, buf[:])
				if errors.Is(err, unix.EINTR) {
					continue
				}
				if err != nil || n <= 0 {
					return
				}
				r.pass(fd, buf[:n])
			}
		})
	}
	go func() {
		r.wg.Wait()
		close(r.idle)
	}()
}

// isRaw says that the caller's terminal passes everything through as it comes.
func (t *terminal) isRaw() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.saved != nil && !t.closed && t.foreground()
}
