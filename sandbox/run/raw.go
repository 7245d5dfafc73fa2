package run

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Raw is this process's terminal while everything that is typed is passed on as
// it comes. Should the process be killed, its mode is restored all the same.
type Raw struct {
	Signals int  // becomes readable when a signal has come: see Took
	Is      bool // there is a terminal, and its mode was set
	t       *terminal
}

// RawTerminal switches the terminal at fd, if it is one and wanted, to raw mode.
// Restore must follow.
func RawTerminal(fd int, wanted bool) (*Raw, error) {
	r := &Raw{}
	var err error
	if r.Signals, err = signalPipe(); err != nil {
		return nil, err
	}
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return r, nil
	}
	r.t = &terminal{master: -1, host: fd, out: -1, in: wanted, idle: make(chan struct{})}
	if wanted && r.t.foreground() {
		if err := r.t.begin(); err != nil {
			return nil, fmt.Errorf("setting the terminal's mode: %w", err)
		}
		r.Is = true
	}
	return r, nil
}

// LineTerminal is RawTerminal for who wants lines: the terminal goes on to make them,
// echo them, and turn keys into signals and the input's end. But keys are passed on,
// whatever they would do else, and a line ends with the last of them, too.
func LineTerminal(fd int, keys []byte) (*Raw, error) {
	r, err := RawTerminal(fd, false)
	if err == nil && r.t != nil && len(keys) > 0 && r.t.foreground() {
		r.t.in, r.t.keys = true, keys
		if err = r.t.begin(); err != nil {
			return nil, fmt.Errorf("setting the terminal's mode: %w", err)
		}
		r.Is = true
	}
	return r, err
}

// Took reads the signals that have come, and returns the one that asks for the end,
// or 0.
func (r *Raw) Took() (end unix.Signal) {
	var b [16]byte
	n, err := unix.Read(r.Signals, b[:])
	if err != nil {
		return 0
	}
	for _, s := range b[:n] {
		switch s := unix.Signal(s); s {
		case unix.SIGTERM, unix.SIGHUP:
			return s
		case unix.SIGINT, unix.SIGQUIT:
			end = s
		}
	}
	return end
}

// Size is the terminal's size, if there is one.
func (r *Raw) Size() (rows, cols uint16, ok bool) {
	if r.t == nil {
		return 0, 0, false
	}
	ws, err := unix.IoctlGetWinsize(r.t.host, unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, false
	}
	return ws.Row, ws.Col, true
}

// Restore gives the terminal its own mode back.
func (r *Raw) Restore() {
	if r.t == nil || r.t.closed {
		return
	}
	r.t.restore()
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	r.t.closed = true
	r.t.guard.stop()
}
