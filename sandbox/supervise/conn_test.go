package supervise

import (
	"errors"
	"testing"

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
