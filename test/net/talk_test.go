package net

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/world"
)

// talk is a command that a test talks to.
type talk struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	errs *shared
}

type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

// begin starts a command, which is killed when it is stuck.
func begin(t testing.TB, cmd *exec.Cmd) *talk {
	t.Helper()
	s := &talk{t: t, cmd: cmd, errs: &shared{}}
	cmd.Stderr = s.errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	s.in, s.out = in, bufio.NewReader(out)
	stuck := time.AfterFunc(60*time.Second, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { stuck.Stop() })
	return s
}

// err is what it said on standard error so far.
func (s *talk) err() string {
	s.errs.mu.Lock()
	defer s.errs.mu.Unlock()
	return s.errs.b.String()
}

// says waits for a line.
func (s *talk) says(want string) {
	s.t.Helper()
	if line, err := s.out.ReadString('\n'); line != want {
		s.t.Fatalf("it said %q, %v, not %q; %s", line, err, want, s.err())
	}
}

// enter writes an empty line, if somebody reads still.
func (s *talk) enter() { _, _ = s.in.Write([]byte("\n")) }

// end closes its input and waits for it.
func (s *talk) end() {
	s.in.Close()
	_ = s.cmd.Wait() // its status is of no interest
}

// rest is what it says until its end, and its exit status.
func (s *talk) rest() (string, int) {
	s.t.Helper()
	text, err := io.ReadAll(s.out)
	if err != nil {
		s.t.Error(err)
	}
	s.in.Close()
	_ = s.cmd.Wait() // its status is looked at
	return string(text), world.Code(s.cmd)
}
