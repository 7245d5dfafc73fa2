package sbxtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// recorder is a test whose failures are looked at instead of counted.
type recorder struct {
	testing.TB
	errors  []string
	cleanup []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Cleanup(f func()) { r.cleanup = append(r.cleanup, f) }
func (r *recorder) end() {
	for _, f := range r.cleanup {
		f()
	}
}

func TestLeftovers(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(t *testing.T) (undo func())
		want string // in the one failure; "" = none
	}{
		{name: "nothing", do: func(*testing.T) func() { return func() {} }},
		{
			name: "orphan of another session",
			do: func(t *testing.T) func() {
				out, err := exec.Command("/bin/sh", "-c", "sleep 100 >/dev/null 2>&1 & echo $!").Output()
				if err != nil {
					t.Fatal(err)
				}
				var pid int
				if _, err := fmt.Sscan(string(out), &pid); err != nil {
					t.Fatal(err)
				}
				return func() {
					var status syscall.WaitStatus
					if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.Signal() != syscall.SIGKILL {
						t.Errorf("it was left running: %v, %#x", err, status)
					}
				}
			},
			want: "(sleep,",
		},
		{
			name: "process that ends in time",
			do: func(t *testing.T) func() {
				cmd := exec.Command("sleep", "0.3")
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				waited := make(chan error, 1)
				go func() { waited <- cmd.Wait() }()
				return func() { <-waited }
			},
		},
		{
			name: "open file",
			do: func(t *testing.T) func() {
				f, err := os.Open("/dev/null")
				if err != nil {
					t.Fatal(err)
				}
				return func() { f.Close() }
			},
			want: ": /dev/null",
		},
		{
			name: "state",
			do: func(t *testing.T) func() {
				if err := os.MkdirAll(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "sbx", "left"), 0o700); err != nil {
					t.Fatal(err)
				}
				return func() {}
			},
			want: "sbx/left",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
			r := &recorder{TB: t}
			watch(r, time.Second)
			undo := tt.do(t)
			r.end()
			undo()
			switch {
			case tt.want == "" && len(r.errors) > 0:
				t.Errorf("got %q, want nothing", r.errors)
			case tt.want != "" && (len(r.errors) != 1 || !strings.Contains(r.errors[0], tt.want)):
				t.Errorf("got %q, want one with %q", r.errors, tt.want)
			}
		})
	}
}

// TestFeatures says in the log what this host has; a test that needs what is
// missing skips with the same words.
func TestFeatures(t *testing.T) {
	Leftovers(t)
	for _, f := range Features() {
		if err := f.Missing(); err != nil {
			t.Logf("%-8s no: %v", f.Name, err)
		} else {
			t.Logf("%-8s yes", f.Name)
		}
	}
}

func TestRequire(t *testing.T) {
	none := Feature{"nothing", func() error { return fmt.Errorf("two\nlines") }}
	if got, want := none.Missing().Error(), "needs nothing: two lines"; got != want {
		t.Errorf("Missing() = %q, want %q", got, want)
	}
	t.Setenv("SBX_TEST_NO_SUBUID", "1")
	if err := Subuid.Missing(); err == nil {
		t.Error("subuid is there in the pass without")
	}
	if _, err := Condition("no-such-condition"); err == nil {
		t.Error("an unknown condition is taken")
	}
}

func TestSbx(t *testing.T) {
	st, err := os.Stat(Sbx(t))
	if err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		t.Errorf("Sbx(t) = %s: %v, %v", Sbx(t), st, err)
	}
}
