package overlays

import (
	"errors"
	"testing"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
)

// TestForkedEnd: of a run that has no exit status the line says why.
func TestForkedEnd(t *testing.T) {
	for _, tt := range []struct {
		run    forked
		status int
		line   string
	}{
		{forked{name: "a"}, 0, "a: exit status 0"},
		{forked{name: "a", status: 3, err: errors.New("exit status 3")}, 3, "a: exit status 3"},
		{forked{name: "a", status: -1, err: errors.New("signal: killed")}, cli.ExitSbx, "a: exit status 125: signal: killed"},
	} {
		if status, line := tt.run.end(); status != tt.status || line != tt.line {
			t.Errorf("%+v: %d, %q", tt.run, status, line)
		}
	}
}
