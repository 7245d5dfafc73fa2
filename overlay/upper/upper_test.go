package upper

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/userns"
)

// record is one over a new directory of the given mode.
func record(t *testing.T, name string, mode os.FileMode) *Record {
	t.Helper()
	lower := filepath.Join(t.TempDir(), "low\xffer\n")
	if err := os.Mkdir(lower, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(lower, mode); err != nil {
		t.Fatal(err)
	}
	self := userns.Map{{Inside: 1000, Outside: 1000, Count: 1}}
	now := time.Now().UTC().Round(0)
	return &Record{
		Version: RecordVersion, Name: name, Driver: Kernel, Profile: "build", Dir: filepath.Dir(lower),
		Argv: []string{"sh", "-c", "go:\x1b]0;\xfe"}, Created: now, Used: now, Base: now.UnixNano(),
		Layers: []Layer{{Target: "/w", Lower: []string{lower}, Upper: "upper", Work: "work"}},
		IDs:    IDs{Mode: "single", UIDs: self, GIDs: self},
	}
}

// TestCreateSwept: what is just being made is not swept up.
func TestCreateSwept(t *testing.T) {
	s := Store{t.TempDir()}
	over, swept := make(chan bool), make(chan bool)
	go func() {
		defer close(swept)
		for {
			select {
			case <-over:
				return
			default:
				s.Sweep()
			}
		}
	}()
	for range 200 {
		h, err := s.Create(record(t, "", 0o755), "build")
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Remove(); err != nil && !errors.Is(err, fs.ErrNotExist) { // it may have been helped
			t.Fatal(err)
		}
		h.Close()
	}
	close(over)
	<-swept
}

func TestCreateLoadSave(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "a/overlays")}
	r := record(t, "", 0o751)
	h, err := s.Create(r, "build")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if !strings.HasPrefix(r.Name, "build-") || h.Dir != s.Dir(r.Name) {
		t.Errorf("named %q in %q", r.Name, h.Dir)
	}
	st, err := os.Stat(Path(h.Dir, "upper"))
	if err != nil || st.Mode().Perm() != 0o751 {
		t.Errorf("upper: %v %v, want mode 0751", st, err)
	}
	if st, err = os.Stat(h.Dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v %v, want mode 0700", st, err)
	}
	r.Layers[0].mode = 0
	got, err := s.Load(r.Name)
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Fatalf("read back %+v, %v; want %+v", got, err, r)
	}
	got.Generation++
	if err := Save(h.Dir, got); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Load(r.Name); err != nil || again.Generation != 1 {
		t.Errorf("read back %+v, %v", again, err)
	}
	if _, err := os.Stat(filepath.Join(h.Dir, recordFile+".new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the new record's file is left: %v", err)
	}
}

func TestLock(t *testing.T) {
	s := Store{t.TempDir()}
	r := record(t, "one", 0o700)
	h, err := s.Create(r, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(h.Dir); !errors.Is(err, ErrBusy) || !Running(h.Dir) {
		t.Errorf("locked twice: %v", err)
	}
	if _, err := s.Create(record(t, "one", 0o700), ""); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	if _, err := Hold(h.Dir); !errors.Is(err, ErrBusy) {
		t.Errorf("held twice: %v", err)
	}
	go func(h Held) {
		time.Sleep(patience / 10)
		h.Close()
	}(*h)
	if h, err = Hold(h.Dir); err != nil {
		t.Fatalf("it was let go: %v", err)
	}
	dir := h.Dir
	h.Close()
	if Running(dir) {
		t.Error("running after the end")
	}
	if h, err = lock(dir, unix.LOCK_SH|unix.LOCK_NB); err != nil || Running(dir) {
		t.Errorf("running since somebody looks: %v", err)
	}
	h.Close()
	if h, err = TryLock(dir); err != nil {
		t.Fatal(err)
	}
	h.Close()
	if _, err := TryLock(s.Dir("two")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("locked what is not there: %v", err)
	}
}

// TestLockGone waits for a lock whose overlay is removed and made anew meanwhile.
func TestLockGone(t *testing.T) {
	s := Store{t.TempDir()}
	h, err := s.Create(record(t, "one", 0o700), "")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() {
		h, err := Lock(s.Dir("one"))
		if err == nil {
			_, err = os.Stat(filepath.Join(h.Dir, "second"))
			h.Close()
		}
		got <- err
	}()
	time.Sleep(20 * time.Millisecond)
	if err := os.RemoveAll(h.Dir); err != nil {
		t.Fatal(err)
	}
	second, err := s.Create(record(t, "one", 0o700), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(second.Dir, "second"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.Close()
	time.Sleep(20 * time.Millisecond)
	second.Close()
	if err := <-got; err != nil {
		t.Errorf("the lock was of the first: %v", err)
	}
}

func TestRefused(t *testing.T) {
	s := Store{t.TempDir()}
	r := record(t, "good", 0o700)
	h, err := s.Create(r, "")
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	file := filepath.Join(h.Dir, recordFile)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		do   func()
		want string
	}{
		{"a later version", func() { rewrite(t, file, `"version": 1`, `"version": 2`) }, "version 2"},
		{"another driver", func() { rewrite(t, file, `"kernel"`, `"magic"`) }, `driver "magic"`},
		{"an upper elsewhere", func() { rewrite(t, file, `"upper": "upper"`, `"upper": "../x"`) }, `"../x"`},
		{"a snapshot elsewhere", func() { rewrite(t, file, `"generation"`, `"snapshots": [".."], "generation"`) }, `".."`},
		{"a relative target", func() { rewrite(t, file, `"/w"`, `"w"`) }, `"w" is not an absolute`},
		{"another's name", func() { rewrite(t, file, `"good"`, `"bad"`) }, `record of "bad"`},
		{"no JSON", func() { os.WriteFile(file, []byte("{"), 0o600) }, "unexpected end"},
		{"broken quotes", func() { rewrite(t, file, `"/w"`, `"go:x"`) }, "not text in quotes"},
		{"too large", func() { os.Truncate(file, maxRecord+1) }, "more than"},
		{"a FIFO", func() { os.Remove(file); unix.Mkfifo(file, 0o600) }, ""},
		{"a link", func() { os.Remove(file); os.Symlink("/etc/passwd", file) }, "too many levels"},
		{"others may write", func() { os.Chmod(h.Dir, 0o720) }, "nobody else can write"},
		{"the directory is a link", func() { os.Rename(h.Dir, h.Dir+"x"); os.Symlink(h.Dir+"x", h.Dir) }, "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			os.Remove(file)
			if err := os.WriteFile(file, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			c.do()
			if got, err := s.Load("good"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("read %+v, %v; want an error with %q", got, err, c.want)
			}
		})
	}
	for _, name := range []string{"", ".", "..", ".x", "a/b", "a b", "-a", "é", "a\n", strings.Repeat("a", 65)} {
		if CheckName(name) == nil {
			t.Errorf("%q is a name", name)
		}
	}
}

func rewrite(t *testing.T, file, from, to string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), from) {
		t.Fatalf("no %s in %s: %v", from, text, err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSpent: what is left of an overlay that nobody named.
func TestSpent(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(r *Record, dir string) error
		want bool
	}{
		{"nothing", func(*Record, string) error { return nil }, true},
		{"a name that somebody chose", func(r *Record, _ string) error { r.Unnamed = false; return nil }, false},
		{"a file", func(r *Record, dir string) error {
			return os.WriteFile(filepath.Join(Path(dir, r.Layers[0].Upper), "f"), nil, 0o600)
		}, false},
		{"a snapshot", func(r *Record, _ string) error { r.Snapshots = []string{"1"}; return nil }, false},
		{"a restore that was interrupted", func(r *Record, _ string) error { r.Restoring = "1"; return nil }, false},
		{"an apply that was interrupted", func(r *Record, dir string) error { return os.WriteFile(r.Layers[0].Journal(dir), nil, 0o600) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := record(t, "one", 0o700)
			r.Unnamed = true
			h, err := Store{t.TempDir()}.Create(r, "")
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			if err := c.do(r, h.Dir); err != nil {
				t.Fatal(err)
			}
			if got := r.Spent(h.Dir); got != c.want {
				t.Errorf("spent: %v", got)
			}
		})
	}
}

func TestListLast(t *testing.T) {
	s := Store{t.TempDir()}
	if list, errs := (Store{"/nowhere/at/all"}).List(); list != nil || errs != nil {
		t.Errorf("a store that is not there has %v, %v", list, errs)
	}
	a, b, c := record(t, "a", 0o700), record(t, "b", 0o700), record(t, "c", 0o700)
	b.Layers[0].Lower, b.Dir = a.Layers[0].Lower, "/"
	b.Used = a.Used.Add(time.Second)
	for _, r := range []*Record{a, b, c} {
		h, err := s.Create(r, "")
		if err != nil {
			t.Fatal(err)
		}
		h.Close()
	}
	if err := os.MkdirAll(filepath.Join(s.Root, "unfinished"), 0o700); err != nil {
		t.Fatal(err)
	}
	list, errs := s.List()
	if len(list) != 3 || len(errs) != 0 {
		t.Fatalf("%d records, %v", len(list), errs)
	}
	for _, x := range []struct{ dir, want string }{
		{a.Layers[0].Lower[0], "b"},
		{a.Layers[0].Lower[0] + "/deeper", "b"},
		{a.Layers[0].Lower[0] + "x", ""},
		{a.Dir, "a"},
		{c.Layers[0].Lower[0], "c"},
	} {
		r, err := s.Last(x.dir)
		if got := ""; err != nil || r != nil && r.Name != x.want || r == nil && x.want != got {
			t.Errorf("last of %q: %+v, %v; want %q", x.dir, r, err, x.want)
		}
	}
}
