package run

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/caught"
)

// watch is what the one thread that stands by a sandbox waits for: the
// sandbox, signals, the timeout. Everything happens on that thread, so nothing
// needs a lock.
type watch struct {
	s       *sandboxed
	signals int       // pipe of signal numbers
	had     []byte    // signals that were taken before, see took
	running bool      // the command has started
	last    time.Time // of the last SIGINT
	expired bool      // the timeout has passed
	due     time.Time // when to end, or then to kill, the command; zero for never
	ending  bool      // somebody asked for the end
	stopped bool      // by Stop: when due, all is killed
	// asked is the signal to this process that asked for the end, 0 for none.
	asked unix.Signal
	// early is a signal that came before the command was known to run, earlyBy
	// when it counts as one that came before the command runs.
	early   unix.Signal
	earlyBy time.Time
	others  []*other
	// alarm is when to call alarmed, zero for never.
	alarm   time.Time
	alarmed func()
	fds     []unix.PollFd // what until waits for, kept for the next time
}

// other is a descriptor that is looked at beside those of the sandbox: a
// companion's end, or what it writes.
type other struct {
	fd   int          // negative for none at present
	take func() error // called when fd can be read; an error ends the sandbox
	// changes says that fd, a file of the kernel's, can always be read, and take is
	// called when it has changed (POLLPRI).
	changes bool
}

// events are what poll(2) waits for.
func (o *other) events() int16 {
	if o.changes {
		return unix.POLLPRI
	}
	return unix.POLLIN
}

// impatience is how soon a second SIGINT must follow to kill.
const impatience = 2 * time.Second

// signalPipe is made once for the process.
var signalPipe = sync.OnceValues(func() (int, error) {
	return caught.Catch(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2,
		unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH, SignalSummon)
})

// InterruptedError is a signal that came before the command had started.
type InterruptedError struct {
	Signal unix.Signal
	Joined bool // a further command was to be started
}

func (e *InterruptedError) Error() string {
	if e.Joined {
		return fmt.Sprintf("ended by %s while the command was being started in the sandbox; it did not run", unix.SignalName(e.Signal))
	}
	return fmt.Sprintf("ended by %s while the sandbox was being built; the command did not run", unix.SignalName(e.Signal))
}

// Code is sbx's exit status.
func (e *InterruptedError) Code() int { return 128 + int(e.Signal) }

// until returns when fd can be read, or is closed on the other side, and does
// until then what signals and the clock ask for.
func (w *watch) until(fd int) error {
	for {
		fds := append(w.fds[:0], unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}, unix.PollFd{Fd: int32(w.signals), Events: unix.POLLIN})
		others := w.others // as they are now: what they do may change the list
		for _, o := range others {
			fds = append(fds, unix.PollFd{Fd: int32(o.fd), Events: o.events()})
		}
		w.fds = fds
		n, err := unix.Poll(fds, w.patience())
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for the sandbox: %w", err)
		}
		if n > 0 && fds[0].Revents != 0 {
			// First, since a signal means something else once the command runs,
			// or is over; it is taken when the next thing is waited for.
			return nil
		}
		if n > 0 && fds[1].Revents != 0 {
			if err := w.take(); err != nil {
				return err
			}
		}
		for i := 0; n > 0 && i < len(others); i++ {
			if o := others[i]; fds[2+i].Revents != 0 && o.fd == int(fds[2+i].Fd) {
				if err := o.take(); err != nil {
					return err
				}
			}
		}
		if w.early != 0 && !time.Now().Before(w.earlyBy) {
			return w.tooEarly(w.early)
		}
		w.clock()
		if !w.alarm.IsZero() && !time.Now().Before(w.alarm) {
			w.alarm = time.Time{}
			w.alarmed()
		}
		if w.s != nil {
			w.s.overdue()
			w.s.rouse()
		}
	}
}

// interrupted reports whether a signal came that asks for the end. It is for
// the time when the command has ended already.
func (w *watch) interrupted() bool {
	asked, summoned := Taken()
	if summoned && w.s.attendant != nil {
		_ = w.s.attendant.Summoned() // an error would end the sandbox
	}
	w.asked = graver(w.asked, asked)
	return asked != 0
}

// Signals is a descriptor that can be read when a signal has come to this process,
// for who waits while no sandbox of it runs.
func Signals() (int, error) { return signalPipe() }

// Taken are the signals that have come, which no sandbox hears of then. asked is one
// that asks for the end, as in Status, summoned says that one is SignalSummon.
func Taken() (asked unix.Signal, summoned bool) {
	fd, err := signalPipe()
	if err != nil {
		return 0, false
	}
	for {
		var b [16]byte
		n, err := unix.Read(fd, b[:]) // it does not wait
		if err != nil || n <= 0 {
			return asked, summoned
		}
		for _, s := range b[:n] {
			if asksForEnd(unix.Signal(s)) {
				asked = graver(asked, unix.Signal(s))
			}
			summoned = summoned || unix.Signal(s) == SignalSummon
		}
	}
}

// asksForEnd says whether a signal to this process asks for the end.
func asksForEnd(sig unix.Signal) bool {
	return sig == unix.SIGINT || sig == unix.SIGTERM || sig == unix.SIGHUP || sig == unix.SIGQUIT
}

// graver is which of two signals that ask for the end counts, where 0 is none: the
// later one, and SIGHUP only where there is no other, since systemd sends it after
// SIGTERM (systemd.kill(5), SendSIGHUP=).
func graver(before, now unix.Signal) unix.Signal {
	if now == 0 || now == unix.SIGHUP && before != 0 {
		return before
	}
	return now
}

// drain waits until the command's last output was taken from the descriptors
// and passed on, which closes idle. A terminal that is stopped (^S) may keep it
// for as long as it likes, unless the end was asked for: then it has the time
// that a person has between two ^C.
//
// The command may have sent its side of a descriptor to a process outside, or
// into a socket that nobody reads (unix(7), SCM_RIGHTS): then idle never closes.
// So it is enough that no output came for a while, that there was time to pass
// all on, or that more came than a terminal or pipes can hold.
//
// Precondition: every process of the sandbox is gone.
func (w *watch) drain(idle <-chan struct{}, f *flow, from ...int) {
	const (
		look   = 50 * time.Millisecond
		silent = 4              // looks
		free   = 40             // looks
		most   = int64(4 << 20) // two pipes of fs.pipe-max-size, and what is in hand
	)
	start, quiet, waited := f.passed.Load(), 0, 0
	for left := impatience; left > 0; {
		select {
		case <-idle:
			return
		case <-time.After(look):
		}
		_ = w.take() // there is no command any more that a signal could be for
		w.attend()   // one of them may be who reads what is passed on
		if w.ending || w.expired {
			left -= look
		}
		if f.passed.Load()-start > most {
			return
		}
		if f.busy.Load() > 0 {
			quiet = 0
			continue // the caller's side takes its time
		}
		if waited++; waited > free {
			return
		}
		if quiet++; readable(from) {
			quiet = 0
		}
		if quiet >= silent {
			return
		}
	}
}

// attend does what until does for the other descriptors, without waiting.
func (w *watch) attend() {
	for _, o := range w.others {
		if o.fd >= 0 && readable([]int{o.fd}) {
			_ = o.take() // the sandbox has ended
		}
	}
}

// readable says whether one of the descriptors has something to read now.
func readable(fds []int) bool {
	var list []unix.PollFd
	for _, fd := range fds {
		list = append(list, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}) // a negative one is passed over
	}
	return control.Look(list) && slices.ContainsFunc(list, func(p unix.PollFd) bool { return p.Revents&unix.POLLIN != 0 })
}

// patience is how long to wait for anything, in milliseconds, -1 for ever. It
// is at most what poll(2) can be told, some 24 days; the clock is looked at
// again then.
func (w *watch) patience() int {
	by := w.due
	if !w.alarm.IsZero() && (by.IsZero() || w.alarm.Before(by)) {
		by = w.alarm
	}
	if w.s != nil && w.s.waiting != nil && (by.IsZero() || w.s.waiting.by.Before(by)) {
		by = w.s.waiting.by
	}
	if w.s != nil && !w.s.look.IsZero() && (by.IsZero() || w.s.look.Before(by)) {
		by = w.s.look
	}
	if !w.earlyBy.IsZero() {
		by = w.earlyBy // there is no timeout before the command runs
	}
	if by.IsZero() {
		return -1
	}
	return int(min(max(time.Until(by), 0)/time.Millisecond, math.MaxInt32-1)) + 1
}

// begin sets when the timeout passes, from now on. Like every time here it is
// one of the monotonic clock, which nobody sets. Who was told to stop while the
// sandbox was being built has its own time.
func (w *watch) begin() {
	if t := w.s.plan.Process.Timeout; t > 0 && !w.stopped {
		w.due = time.Now().Add(t)
	}
}

// clock asks the command to end when its time is over, and kills all when it
// does not.
func (w *watch) clock() {
	if w.due.IsZero() || time.Now().Before(w.due) {
		return
	}
	p := &w.s.plan.Process
	if w.expired || w.stopped || p.StopTimeout == 0 {
		w.expired, w.due = !w.stopped, time.Time{}
		w.send(unix.SIGKILL)
		return
	}
	w.expired, w.due = true, time.Now().Add(p.StopTimeout)
	w.send(unix.Signal(p.StopSignal))
	w.send(unix.SIGCONT)
}

// take acts on the signals that have come.
func (w *watch) take() error {
	if err := w.hear(); err != nil {
		return err
	}
	for len(w.had) > 0 {
		sig := unix.Signal(w.had[0])
		w.had = w.had[1:]
		if sig == unix.SIGTSTP && w.goesOn() {
			continue
		}
		if err := w.one(sig); err != nil {
			return err
		}
	}
	return nil
}

// hear adds the signals that have come to those that were had.
func (w *watch) hear() error {
	var b [64]byte
	n, err := unix.Read(w.signals, b[:])
	if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("reading caught signals: %w", err)
	}
	w.had = append(w.had, b[:max(n, 0)]...)
	return nil
}

// goesOn says that SIGCONT has come, which takes a stop back (signal(7)): who stops now is
// continued by nobody.
func (w *watch) goesOn() bool { return bytes.IndexByte(w.had, byte(unix.SIGCONT)) >= 0 }

func (w *watch) one(sig unix.Signal) error {
	switch sig {
	case unix.SIGWINCH:
		if w.s.term != nil {
			w.s.term.resize()
		}
		return nil
	case SignalSummon:
		if w.s.attendant != nil {
			return w.s.attendant.Summoned()
		}
		return nil
	case unix.SIGTSTP:
		w.suspend()
		return nil
	case unix.SIGCONT:
		if w.s.term != nil && w.s.term.foreground() {
			w.s.term.raw()
		}
	case unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT:
		if !w.running {
			return w.soon(sig)
		}
		w.ending, w.asked = true, graver(w.asked, sig)
	}
	if sig == unix.SIGINT {
		if time.Since(w.last) < impatience {
			sig = unix.SIGKILL
		}
		w.last = time.Now()
	}
	w.send(sig)
	return nil
}

// almost is how long the news that the command runs may take. PID 1 passes it
// on by closing its end of a pipe, which it can't before the command runs.
const almost = 100 * time.Millisecond

// soon keeps a signal for the command, which may be running already. A second
// one is not kept.
func (w *watch) soon(sig unix.Signal) error {
	if w.early != 0 {
		return w.tooEarly(sig)
	}
	w.early, w.earlyBy = sig, time.Now().Add(almost)
	return nil
}

// tooEarly is the error of a signal that came before the command runs.
func (w *watch) tooEarly(sig unix.Signal) error {
	return &InterruptedError{Signal: sig, Joined: w.s != nil && w.s.joined}
}

// runs says that the command runs, and gives it the signal that was kept.
func (w *watch) runs() {
	w.running = true
	if sig := w.early; sig != 0 {
		w.early, w.earlyBy = 0, time.Time{}
		_ = w.one(sig) // it runs, so that no signal is too early
	}
}

// send signals PID 1, which passes it on to the command.
func (w *watch) send(sig unix.Signal) {
	if w.s.joined {
		w.s.sendJoined(sig)
		return
	}
	_ = unix.PidfdSendSignal(w.s.init, sig, nil, 0)
}

// suspend stops the command, then this process as the shell expects. SIGCONT
// lets both go on. It is waited for as a signal: kill(2) returns before
// another thread has taken the stop, so what follows it here would still run.
func (w *watch) suspend() {
	w.send(unix.SIGTSTP)
	if w.s.term != nil {
		w.s.term.restore()
	}
	if w.hear() == nil && w.goesOn() { // take has it next
		return
	}
	_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
}
