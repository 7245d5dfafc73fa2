package sandboxes

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/state"
)

func TestPlanError(t *testing.T) {
	missing := &os.PathError{Op: "open", Path: "plan.json", Err: unix.ENOENT}
	const gone = "the plan of s is gone: open plan.json: no such file or directory; "
	for _, tt := range []struct {
		name string
		r    state.Record
		err  error
		want string
	}{
		{"unreadable", state.Record{Name: "s"}, unix.EACCES, "reading the plan of s: permission denied"},
		{"being built", state.Record{Name: "s", Status: state.Starting}, missing, "s has no plan yet; try again when sbx ps says that it is up"},
		{"being built, detached", state.Record{Name: "s", Status: state.Starting, Detached: true}, missing, "s has no plan yet; try again when sbx ps says that it is up"},
		{"no name", state.Record{Name: "run-012345", Status: state.Running}, missing,
			"the plan of run-012345 is known to who started it alone: it has no name and is not detached; start it with --name, or give it one: sbx rename run-012345 NAME"},
		{"detached without a name", state.Record{Name: "run-012345", Status: state.Running, Detached: true}, missing,
			"the plan of run-012345 is gone: open plan.json: no such file or directory; sbx restart run-012345 writes it again"},
		{"in the foreground", state.Record{Name: "s", Status: state.Running}, missing, gone + "start it again to have one"},
		{"ended", state.Record{Name: "s", Status: state.Exited, Detached: true}, missing, gone + "start it again to have one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.ID = "0123456789ab"
			if err := planError(&tt.r, tt.err); err.Error() != tt.want {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}
