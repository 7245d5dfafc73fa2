package seen

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// trees makes n times what the tests look at, old enough to be remembered.
func trees(t *testing.T, n int) (list []func(string) string) {
	t.Helper()
	for range n {
		top, err := filepath.EvalSymlinks(t.TempDir())
		must(t, err)
		at := func(name string) string { return filepath.Join(top, name) }
		must(t, os.MkdirAll(at("d/sub"), 0o755), os.Mkdir(at("other"), 0o755), os.WriteFile(at("d/f"), []byte("text"), 0o644),
			os.Symlink("d/f", at("link")), os.Symlink("d", at("way")), os.Symlink("way", at("far")), os.Symlink("nothing", at("dangling")))
		list = append(list, at)
	}
	time.Sleep(settled + settled/20)
	return list
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// broken are the checks that don't hold.
func broken(l *Log) (list []string) {
	for i := range l.Checks {
		if !l.Checks[i].Holds() {
			list = append(list, l.Checks[i].Path)
		}
	}
	return list
}

// replace puts a file of the same content in the place of path.
func replace(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// read opens, reads and closes.
func read(l *Log, path string, flags int) {
	if fd, err := l.Open(path, flags); err == nil {
		unix.Close(fd)
	}
}

// resolve is a look-up as package host makes it.
func resolve(l *Log, path string) {
	w := l.Begin(path)
	real, err := filepath.EvalSymlinks(path)
	var st unix.Stat_t
	if err == nil {
		err = unix.Lstat(real, &st)
	}
	w.Ended(real, &st, err)
}

// relink lets a link lead elsewhere.
func relink(path, to string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Symlink(to, path)
}

// TestNoticed: what was looked at holds as long as nothing is changed, and a change
// of what the answer was made from breaks a check. One of something else does not.
func TestNoticed(t *testing.T) {
	type at = func(string) string
	append1 := func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString("x")
		f.Close()
		return err
	}
	tests := []struct {
		name   string
		look   func(l *Log, at at)
		change func(at at) error
		broken bool
	}{
		{"a file's identity, replaced", func(l *Log, at at) { _, _ = l.Lstat(at("d/f")) }, func(at at) error { return replace(at("d/f")) }, true},
		{"its mode", func(l *Log, at at) { _, _ = l.Stat(at("d/f")) }, func(at at) error { return os.Chmod(at("d/f"), 0o666) }, true},
		{"its content, not looked at", func(l *Log, at at) { _, _ = l.Stat(at("d/f")) }, func(at at) error { return append1(at("d/f")) }, false},
		{"its content", func(l *Log, at at) { read(l, at("d/f"), unix.O_RDONLY) }, func(at at) error { return append1(at("d/f")) }, true},
		{"its content by a link", func(l *Log, at at) { read(l, at("link"), unix.O_RDONLY) }, func(at at) error { return append1(at("d/f")) }, true},
		{"its content, times set back", func(l *Log, at at) { read(l, at("d/f"), unix.O_RDONLY) }, func(at at) error {
			st, err := os.Stat(at("d/f"))
			if err == nil {
				err = os.WriteFile(at("d/f"), []byte("TEXT"), 0o644)
			}
			if err == nil {
				err = os.Chtimes(at("d/f"), st.ModTime(), st.ModTime())
			}
			return err
		}, true},
		{"a directory, with something made in it", func(l *Log, at at) { _, _ = l.Stat(at("d")) }, func(at at) error { return os.Mkdir(at("d/new"), 0o755) }, false},
		{"its names", func(l *Log, at at) { read(l, at("d"), unix.O_RDONLY|unix.O_DIRECTORY) }, func(at at) error { return os.Mkdir(at("d/new"), 0o755) }, true},
		{"its names, with something deeper", func(l *Log, at at) { read(l, at("d"), unix.O_RDONLY|unix.O_DIRECTORY) }, func(at at) error { return os.Mkdir(at("d/sub/new"), 0o755) }, false},
		{"what was not there", func(l *Log, at at) { _, _ = l.Lstat(at("new")) }, func(at at) error { return os.Mkdir(at("new"), 0o755) }, true},
		{"a file in what was not there", func(l *Log, at at) { _, _ = l.Stat(at("new/f")) }, func(at at) error { return os.Mkdir(at("new"), 0o755) }, false},
		{"a directory that could not be opened", func(l *Log, at at) { read(l, at("new"), unix.O_RDONLY|unix.O_DIRECTORY) }, func(at at) error { return os.Mkdir(at("new"), 0o755) }, true},
		{"a link that leads nowhere", func(l *Log, at at) { _, _ = l.Stat(at("dangling")) }, func(at at) error { return os.Mkdir(at("nothing"), 0o755) }, true},
		{"hard links, not counted", func(l *Log, at at) { _, _ = l.Lstat(at("d/f")) }, func(at at) error { return os.Link(at("d/f"), at("name")) }, false},
		{"hard links", func(l *Log, at at) { _, _ = l.Lstat(at("d/f")); l.Counted(at("d/f")) }, func(at at) error { return os.Link(at("d/f"), at("name")) }, true},
		{"where a link leads", func(l *Log, at at) { _, _ = l.Readlink(at("link")) }, func(at at) error { return relink(at("link"), "d/sub") }, true},
		{"a way, its end moved", func(l *Log, at at) { resolve(l, at("way/f")) }, func(at at) error { return os.Rename(at("d/f"), at("d/g")) }, true},
		{"a way, its link led elsewhere", func(l *Log, at at) { resolve(l, at("far/f")) }, func(at at) error { return relink(at("way"), "other") }, true},
		{"a way, its link to another name of the same", func(l *Log, at at) { resolve(l, at("way/f")) }, func(at at) error { return relink(at("way"), "d/../d") }, true},
		{"a way, a directory on it replaced by a link to it", func(l *Log, at at) { resolve(l, at("d/f")) }, func(at at) error {
			if err := os.Rename(at("d"), at("moved")); err != nil {
				return err
			}
			return os.Symlink("moved", at("d"))
		}, true},
		{"a way, something beside it", func(l *Log, at at) { resolve(l, at("far/f")) }, func(at at) error { return os.Mkdir(at("d/new"), 0o755) }, false},
		{"a way that ended nowhere", func(l *Log, at at) { resolve(l, at("way/no/f")) }, func(at at) error { return os.Mkdir(at("d/no"), 0o755) }, true},
		{"EvalSymlinks", func(l *Log, at at) { _, _ = l.EvalSymlinks(at("far/f")) }, func(at at) error { return relink(at("far"), "other") }, true},
		{"no links, one put in the way", func(l *Log, at at) {
			fd, err := l.OpenNoLinks(at("d/f"), unix.O_RDONLY)
			if err != nil {
				panic(err)
			}
			unix.Close(fd)
		}, func(at at) error {
			if err := os.Rename(at("d"), at("moved")); err != nil {
				return err
			}
			return os.Symlink("moved", at("d"))
		}, true},
		{"no links, and there was one", func(l *Log, at at) { _, _ = l.OpenNoLinks(at("way/f"), unix.O_RDONLY) }, func(at at) error {
			if err := os.Remove(at("way")); err != nil {
				return err
			}
			return os.Rename(at("d"), at("way"))
		}, true},
	}
	all := trees(t, len(tests))
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			at := all[i]
			var l Log
			tt.look(&l, at)
			if l.Spoiled != "" || len(l.Checks) == 0 {
				t.Fatalf("spoiled: %q; %d checks", l.Spoiled, len(l.Checks))
			}
			if list := broken(&l); len(list) > 0 {
				t.Fatalf("nothing was changed, and these don't hold: %v", list)
			}
			must(t, tt.change(at))
			if list := broken(&l); (len(list) > 0) != tt.broken {
				t.Errorf("after the change these don't hold: %v; all: %+v", list, l.Checks)
			}
		})
	}
}

// TestSpoiled: what can't be told by another look spoils the log.
func TestSpoiled(t *testing.T) {
	tests := []struct {
		name string
		look func(l *Log, at func(string) string)
		want string // part of why; "" for not
	}{
		{"a reason", func(l *Log, at func(string) string) { l.Spoil("first"); l.Spoil("second") }, "first"},
		{"read just after it was written", func(l *Log, at func(string) string) {
			_ = os.WriteFile(at("d/f"), nil, 0o644)
			read(l, at("d/f"), unix.O_RDONLY)
		}, "just changed"},
		{"of the future", func(l *Log, at func(string) string) {
			then := time.Now().Add(time.Hour)
			_ = os.Chtimes(at("d/f"), then, then)
			read(l, at("d/f"), unix.O_RDONLY)
		}, "just changed"},
		{"a directory just after something was made in it", func(l *Log, at func(string) string) {
			_ = os.Mkdir(at("d/new"), 0o755)
			read(l, at("d"), unix.O_RDONLY|unix.O_DIRECTORY)
		}, "just changed"},
		{"only looked at just after", func(l *Log, at func(string) string) { _ = os.Mkdir(at("d/new"), 0o755); _, _ = l.Stat(at("d")) }, ""},
		{"two looks that differ", func(l *Log, at func(string) string) {
			_, _ = l.Lstat(at("d/f"))
			_ = replace(at("d/f"))
			_, _ = l.Lstat(at("d/f"))
		}, "changed meanwhile"},
		{"a look and a way that differ", func(l *Log, at func(string) string) {
			_, _ = l.Lstat(at("d"))
			_ = os.Rename(at("d"), at("moved"))
			_ = os.Symlink("moved", at("d"))
			resolve(l, at("d/f"))
		}, "led elsewhere"},
		{"a relative path", func(l *Log, at func(string) string) { _, _ = l.EvalSymlinks("x") }, "not an absolute path"},
		{"links that were not looked at", func(l *Log, at func(string) string) { l.Counted(at("d/f")) }, "not counted"},
		{"an error of another kind", func(l *Log, at func(string) string) { _, _ = l.Open(at("d"), unix.O_WRONLY) }, "could not be opened"},
		{"no text", func(l *Log, at func(string) string) { _, _ = l.Text(at("nothing")) }, "could not be read"},
		{"a refused directory", func(l *Log, at func(string) string) {
			_ = os.Chmod(at("d"), 0)
			time.Sleep(settled + settled/10)
			read(l, at("d"), unix.O_RDONLY|unix.O_DIRECTORY)
			_ = os.Chmod(at("d"), 0o755)
		}, ""},
	}
	all := trees(t, len(tests))
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			at := all[i]
			var l Log
			tt.look(&l, at)
			if !strings.Contains(l.Spoiled, tt.want) || (l.Spoiled == "") != (tt.want == "") {
				t.Errorf("spoiled: %q, want %q", l.Spoiled, tt.want)
			}
		})
	}
}

// TestOnce: a path that is looked at twice is one check, of all that counts.
func TestOnce(t *testing.T) {
	at := trees(t, 1)[0]
	var l Log
	for range 2 {
		_, _ = l.Lstat(at("d/f"))
		read(&l, at("d/f"), unix.O_RDONLY|unix.O_NOFOLLOW)
		l.Counted(at("d/f"))
		_, _ = l.Stat(at("d/f"))
		_, _ = l.Text("/proc/sys/kernel/core_pattern")
	}
	var got []Bits
	for _, c := range l.Checks {
		got = append(got, c.Bits)
	}
	if want := []Bits{Content | Links, Follow, 0}; !slices.Equal(got, want) || l.Spoiled != "" {
		t.Errorf("bits %v, want %v; spoiled: %q", got, want, l.Spoiled)
	}
	if list := broken(&l); len(list) > 0 {
		t.Errorf("these don't hold: %v", list)
	}
}

// TestPrune: what is below something that is not there is no check of its own, and
// what is looked at later is still one.
func TestPrune(t *testing.T) {
	at := trees(t, 1)[0]
	var l Log
	l.Prune()
	for _, name := range []string{"d/f", "none/a/b", "none", "none/c", "nonesuch", "d/f/g", "d/f/g/h"} {
		_, _ = l.Lstat(at(name))
	}
	_, _ = l.Stat(at("none/a"))
	for range 2 {
		l.Prune()
		_, _ = l.Lstat(at("d/f"))
		_, _ = l.Lstat(at("d/sub"))
	}
	var got []string
	for _, c := range l.Checks {
		got = append(got, c.Path)
	}
	if want := []string{at("d/f"), at("none"), at("nonesuch"), at("d/f/g"), at("d/f/g/h"), at("d/sub")}; !slices.Equal(got, want) {
		t.Errorf("%v are left, want %v", got, want)
	}
}

// TestNil: without a log there is the same answer, and nothing is allocated for it.
func TestNil(t *testing.T) {
	at := trees(t, 1)[0]
	f, none := at("d/f"), at("none")
	var l *Log
	var sink int
	if n := testing.AllocsPerRun(100, func() {
		st, _ := l.Stat(f)
		_, err := l.Lstat(none)
		if fd, err := l.Open(f, unix.O_RDONLY); err == nil {
			unix.Close(fd)
		}
		l.Begin(f).Ended(f, &st, err)
		l.Counted(f)
		l.Spoil("why")
		sink += int(st.Size)
	}); n > 7 { // what x/sys makes of a path that is no constant
		t.Errorf("%v allocations", n)
	}
}
