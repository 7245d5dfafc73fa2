package life

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// stop stops a supervisor, which goes on when the test ends, if not before.
func stop(t *testing.T, supervisor int) {
	t.Helper()
	p, err := state.Look(supervisor)
	if err == nil {
		err = unix.Kill(supervisor, unix.SIGSTOP)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Kill(supervisor, unix.SIGCONT) })
	waitFor(t, "the stop", p.Stopped)
}

// TestExecInterrupted: who is interrupted before the further command was started hears
// that, and not of a sandbox that is being built.
func TestExecInterrupted(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	sbx(t, w, 0, "run", "-d", "--name", "s", "--", "sleep", "100")
	supervisor := inspect(t, w, "s").State.SupervisorPID
	stop(t, supervisor)
	exec := w.Command(w.Sbx, "exec", "s", "true")
	said, err := os.Create(filepath.Join(t.TempDir(), "stderr")) // no pipe: the supervisor holds it, too
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	exec.Stderr = said
	if err := exec.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // until it has asked
	_ = exec.Process.Signal(unix.SIGTERM)
	const want = "sbx: ended by SIGTERM while the command was being started in the sandbox; it did not run\n"
	code := ends(t, exec)
	if text, err := os.ReadFile(said.Name()); code != 143 || string(text) != want {
		t.Errorf("status %d, %v: %q, want %q", code, err, text, want)
	}
	_ = unix.Kill(supervisor, unix.SIGCONT)
	sbx(t, w, 0, "rm", "-f", "s")
	empty(t, w)
}
