package options

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPidfile: it has the pid of who runs, and who ends takes back its own only.
func TestPidfile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pid")
	is := func(want string) {
		t.Helper()
		text, err := os.ReadFile(file)
		if want == "" && os.IsNotExist(err) {
			return
		}
		if string(text) != want {
			t.Errorf("it is %q, %v, want %q", text, err, want)
		}
	}
	one, two := &Life{Pidfile: file, StatusFD: -1}, &Life{Pidfile: file, StatusFD: -1}
	for _, pid := range []int{10, 11} { // started, and again
		if err := one.WritePid(pid); err != nil {
			t.Fatal(err)
		}
	}
	is("11\n")
	if err := two.WritePid(20); err != nil {
		t.Fatal(err)
	}
	one.Ended(0)
	is("20\n")
	two.Ended(0)
	is("")
	if err := (&Life{Pidfile: dir}).WritePid(1); err == nil {
		t.Error("a directory is replaced")
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
