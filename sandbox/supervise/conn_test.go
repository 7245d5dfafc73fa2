package supervise

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// connected is a connection to a supervisor, and its other side there once that has
// accepted it, nil if it has not.
func connected(t *testing.T, s *Supervisor) (*control.Conn, *conn) {
	t.Helper()
	c, err := control.Dial(s.path(state.SocketFile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	before := len(s.conns)
	if err := s.accept(); err != nil {
		t.Fatal(err)
	}
	if len(s.conns) == before {
		return c, nil
	}
	return c, s.conns[before]
}

// TestTooMany: who is one too many is told so, whatever is asked.
func TestTooMany(t *testing.T) {
	s := ended(t, Policy{Kind: Always})
	for range mostConns {
		s.conns = append(s.conns, &conn{Conn: control.Over(-1), s: s, out: [2]int{-1, -1}, netNS: -1})
	}
	c, _ := connected(t, s)
	if err := c.Ask(control.Request{Op: control.Rename, Name: "b"}); err != nil {
		t.Error(err)
	}
	var refused *control.RefusedError
	if _, _, err := c.Answer(); !errors.As(err, &refused) {
		t.Errorf("it hears %v", err)
	}
}

// TestQueuedAtEnd: a command that waited its turn until the sandbox ended is not told of
// as one that was started.
func TestQueuedAtEnd(t *testing.T) {
	s := ended(t, Policy{})
	waits, at := connected(t, s)
	at.queued = true
	looks, _ := connected(t, s)
	s.finish()
	if _, _, err := waits.Answer(); !errors.Is(err, control.ErrClosed) {
		t.Errorf("who waits hears %v", err)
	}
	if r, _, err := looks.Answer(); err != nil || r.Event != control.Ended {
		t.Errorf("who looks on hears %+v, %v", r, err)
	}
}

// TestAttachedBetween: who is attached is not thrown out by what a terminal has it say
// while the command is about to be started again.
func TestAttachedBetween(t *testing.T) {
	s := ended(t, Policy{Kind: Always})
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	s.o.Input = p[1]
	_, at := connected(t, s)
	for _, op := range []control.Op{control.Resize, control.EOF} {
		if reply, err := at.do(&control.Request{Op: op}, nil); !reply || err != nil {
			t.Errorf("%s: %v, %v", op, reply, err)
		}
	}
	if s.o.Input != -1 {
		t.Error("the input has no end")
	}
}
