package supervise

import (
	"testing"

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
