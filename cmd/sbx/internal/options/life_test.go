package options

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
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
	of := func(file string) *Life {
		t.Helper()
		l := &Life{Pidfile: file, StatusFD: -1}
		if err := l.Check(); err != nil {
			t.Fatal(err)
		}
		return l
	}
	one, two := of(file), of(file)
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
	if err := of(dir).WritePid(1); err == nil {
		t.Error("a directory is replaced")
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestFilesMoved: what a command puts in the place of these files, and of their
// directories, neither keeps their writer waiting nor leads it elsewhere.
func TestFilesMoved(t *testing.T) {
	for name, put := range map[string]func(file string) error{
		"a FIFO": func(file string) error { return unix.Mkfifo(file, 0o600) },
		"no end": func(file string) error { return os.Symlink("/dev/zero", file) },
	} {
		file := filepath.Join(t.TempDir(), "pid")
		l := &Life{Pidfile: file, StatusFD: -1}
		if err := errors.Join(l.Check(), l.WritePid(10), os.Remove(file), put(file)); err != nil {
			t.Fatal(err)
		}
		done := make(chan bool)
		go func() { l.TakePid(); close(done) }()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: it is still being read", name)
		}
		if _, err := os.Lstat(file); err != nil {
			t.Errorf("%s: it is taken back: %v", name, err)
		}
	}

	base := t.TempDir()
	work, secret := filepath.Join(base, "work"), filepath.Join(base, "secret")
	if err := errors.Join(os.Mkdir(work, 0o700), os.Mkdir(secret, 0o700)); err != nil {
		t.Fatal(err)
	}
	l := &Life{Pidfile: filepath.Join(work, "pid"), Cidfile: filepath.Join(work, "cid"), StatusFD: -1}
	if err := errors.Join(l.Check(), os.Rename(work, work+".old"), os.Symlink(secret, work), l.WritePid(10), l.WriteCid("id")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadDir(secret); err != nil || len(got) != 0 {
		t.Errorf("in the other directory: %v, %v", got, err)
	}
	if got, err := os.ReadDir(work + ".old"); err != nil || len(got) != 2 {
		t.Errorf("in its own: %v, %v", got, err)
	}
}

// TestStatusFD: a descriptor of this process's own is none of the caller's, whatever
// its number.
func TestStatusFD(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	parse := func() error {
		fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
		LifeFlags(fs)
		return fs.Parse([]string{fmt.Sprintf("--json-status-fd=%d", w.Fd())})
	}
	if err := parse(); !errors.Is(err, unix.EBADF) {
		t.Errorf("%v, want EBADF", err)
	}
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	if err := parse(); err != nil {
		t.Errorf("one that was passed on: %v", err)
	}
}
