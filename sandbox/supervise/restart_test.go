package supervise

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// ended is a supervisor between two runs of its command.
func ended(t *testing.T, p Policy) *Supervisor {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	s := New(Options{Record: state.Record{Name: "s", Keep: true}, Output: [2]int{-1, -1}, Input: -1, Must: true, Policy: p})
	if err := s.Register(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.drop)
	return s
}

// TestTries: what somebody starts again does not count for the policy, which begins
// anew with it.
func TestTries(t *testing.T) {
	s := ended(t, Policy{Kind: OnFailure, Most: 1})
	failed := run.Status{Code: 1}
	for i, tt := range []struct{ asked, want bool }{
		{true, true}, {true, true}, // sbx restart, twice
		{false, true}, {false, false},
		{true, true}, {false, true}, {false, false},
	} {
		if s.again = tt.asked; s.startAgain(failed, nil) != tt.want {
			t.Errorf("%d: asked for %v, it is started again %v", i, tt.asked, !tt.want)
		}
	}
	if s.rec.Restarts != 5 {
		t.Errorf("%d restarts are told of", s.rec.Restarts)
	}
}

// TestAskedForEnd: who was told to end by a signal stays so under every policy.
func TestAskedForEnd(t *testing.T) {
	for _, tt := range []struct {
		name   string
		sent   []unix.Signal // by sbx kill, one after the other
		status run.Status
		want   bool // it is started again
	}{
		{"by itself", nil, run.Status{}, true},
		{"by a signal of somebody else", nil, run.Status{Code: 143, Killed: unix.SIGTERM}, true},
		{"the supervisor was told", nil, run.Status{Code: 143, Killed: unix.SIGTERM, Asked: unix.SIGTERM}, false},
		{"the supervisor was told, TERM was caught", nil, run.Status{Code: 1, Asked: unix.SIGTERM}, false},
		{"killed by HUP to the supervisor", nil, run.Status{Code: 129, Killed: unix.SIGHUP, Asked: unix.SIGHUP}, false},
		{"HUP to the supervisor was caught", nil, run.Status{Code: 1, Asked: unix.SIGHUP}, true},
		{"killed by TERM", []unix.Signal{unix.SIGTERM}, run.Status{Code: 143, Killed: unix.SIGTERM}, false},
		{"TERM was caught", []unix.Signal{unix.SIGTERM}, run.Status{}, false},
		{"killed by the stop signal", []unix.Signal{unix.SIGUSR2}, run.Status{}, false},
		{"killed by HUP", []unix.Signal{unix.SIGHUP}, run.Status{Code: 129, Killed: unix.SIGHUP}, false},
		{"TERM to one that was stopped", []unix.Signal{unix.SIGTERM, unix.SIGCONT}, run.Status{}, false},
		{"CONT, then TERM", []unix.Signal{unix.SIGCONT, unix.SIGTERM}, run.Status{}, false},
		{"HUP was caught", []unix.Signal{unix.SIGHUP}, run.Status{Code: 1}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := ended(t, Policy{Kind: Always})
			s.rec.StopSignal = int(unix.SIGUSR2)
			for _, sig := range tt.sent {
				s.remember(sig)
			}
			if got := s.startAgain(tt.status, nil); got != tt.want {
				t.Errorf("it is started again: %v", got)
			}
		})
	}
}

// TestRecordGone: why a command is not started again is told.
func TestRecordGone(t *testing.T) {
	s := ended(t, Policy{Kind: Always})
	if err := os.RemoveAll(state.Dir(s.rec.ID)); err != nil {
		t.Fatal(err)
	}
	if s.startAgain(run.Status{}, nil) || !strings.Contains(s.rec.Error, "its record can't be written") {
		t.Errorf("it says %q", s.rec.Error)
	}
}

// TestNowhere: a sandbox whose record is gone, and can be made nowhere, ends as others do.
func TestNowhere(t *testing.T) {
	s := ended(t, Policy{Kind: Always})
	warned := ""
	s.o.Warn = func(text string) { warned = text }
	if err := os.RemoveAll(state.Base()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(state.Base()), 0o500); err != nil {
		t.Fatal(err)
	}
	if err := s.Summoned(); err != nil || unix.Getuid() != 0 && warned == "" {
		t.Errorf("%v, it warns %q", err, warned)
	}
	s.finish()
}

// TestIdleAsked: whoever asks for a start while one is waited for gets it at once, and
// the wait after it is a short one again.
func TestIdleAsked(t *testing.T) {
	s := ended(t, Policy{Kind: Always})
	s.again, s.delay, s.tries = true, mostDelay, 20
	if !s.idle(s.delay) || s.again || s.delay != 0 || s.tries != 0 {
		t.Errorf("asked for still: %v, the next wait is twice %v, %d tries", s.again, s.delay, s.tries)
	}
}

// TestIdleSignal: a signal ends the wait for another start.
func TestIdleSignal(t *testing.T) {
	s := ended(t, Policy{Kind: Always})
	if _, err := run.Signals(); err != nil { // it is caught from now on
		t.Fatal(err)
	}
	begun := time.Now()
	time.AfterFunc(50*time.Millisecond, func() { _ = unix.Kill(unix.Getpid(), unix.SIGTERM) })
	if s.idle(time.Minute) || time.Since(begun) > 30*time.Second {
		t.Errorf("it waited for %v and goes on", time.Since(begun))
	}
}
