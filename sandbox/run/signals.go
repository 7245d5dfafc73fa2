package run

import (
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// signals passes what this process is sent on to PID 1 of the sandbox, which
// passes it on to the command.
type signals struct {
	s       *sandboxed
	ch      chan os.Signal
	ready   chan struct{} // closed when signals are caught
	done    chan struct{}
	expired atomic.Bool
	last    time.Time // of the last SIGINT
}

// impatience is how soon a second SIGINT must follow to kill.
const impatience = 2 * time.Second

func catchSignals(s *sandboxed) *signals {
	g := &signals{s: s, ch: make(chan os.Signal, 16), ready: make(chan struct{}), done: make(chan struct{})}
	go g.pass()
	return g
}

// stop ends the passing on. It says whether the timeout had expired. The
// signals stay caught: signal.Stop would wait for the runtime's own loop, a
// quarter of a millisecond at the end of every run.
func (g *signals) stop() (timedOut bool) {
	close(g.done)
	return g.expired.Load()
}

// pass begins to catch signals and passes them on. Until it has begun, which
// the building of the sandbox leaves time for, a signal ends this process, and
// the sandbox with it.
func (g *signals) pass() {
	signal.Notify(g.ch, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTSTP, unix.SIGCONT)
	if g.s.plan.Process.Terminal != [3]bool{} {
		signal.Notify(g.ch, unix.SIGWINCH)
	}
	close(g.ready)
	for {
		select {
		case <-g.done:
			return
		case sig := <-g.ch:
			g.one(sig.(unix.Signal))
		}
	}
}

func (g *signals) one(sig unix.Signal) {
	switch sig {
	case unix.SIGWINCH:
		if t := g.s.term.Load(); t != nil {
			t.resize()
		}
		return
	case unix.SIGINT:
		if time.Since(g.last) < impatience {
			sig = unix.SIGKILL
		}
		g.last = time.Now()
	case unix.SIGTSTP:
		g.suspend()
		return
	case unix.SIGCONT:
		if t := g.s.term.Load(); t != nil && t.foreground() {
			t.raw()
		}
	}
	g.send(sig)
}

func (g *signals) send(sig unix.Signal) { _ = unix.PidfdSendSignal(g.s.fd, sig, nil, 0) }

// suspend stops the command, then this process as the shell expects. SIGCONT
// lets both go on. It is waited for as a signal: kill(2) returns before
// another thread has taken the stop, so what follows it here would still run.
func (g *signals) suspend() {
	g.send(unix.SIGTSTP)
	t := g.s.term.Load()
	if t != nil {
		t.restore()
	}
	_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
}

// timeout asks the command to end, and kills all when it does not.
func (g *signals) timeout() {
	g.expired.Store(true)
	p := &g.s.plan.Process
	g.send(unix.Signal(p.StopSignal))
	g.send(unix.SIGCONT)
	time.AfterFunc(p.StopTimeout, func() { g.send(unix.SIGKILL) })
}
