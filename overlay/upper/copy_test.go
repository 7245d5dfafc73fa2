package upper

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// plant fills a directory with one of everything.
func plant(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	must(os.MkdirAll(at("deep/er"), 0o755))
	must(os.WriteFile(at("plain"), []byte("text"), 0o640))
	must(unix.Chmod(at("plain"), 0o4751))
	must(os.WriteFile(at("closed"), []byte("secret"), 0))
	must(os.Link(at("plain"), at("deep/er/second")))
	must(os.Symlink("/nowhere\n", at("-link")))
	must(unix.Mkfifo(at("fifo\xff\n"), 0o622))
	must(unix.Mknod(at("whiteout"), unix.S_IFCHR, 0))
	sparse, err := os.Create(at("sparse"))
	must(err)
	must(sparse.Truncate(64 << 20))
	_, err = sparse.WriteAt([]byte("x"), 32<<20)
	must(err)
	must(sparse.Close())
	if err := unix.Setxattr(at("deep"), "user.overlay.opaque", []byte("y"), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
		t.Fatal(err)
	}
	must(os.Mkdir(at("shut"), 0o755))
	must(os.WriteFile(at("shut/in"), nil, 0o600))
	must(os.Chmod(at("shut"), 0o300))
	old := time.Unix(1e9, 7)
	for _, name := range []string{"plain", "deep"} {
		must(os.Chtimes(at(name), old, old))
	}
}

// tell describes a tree: what Copy promises to copy.
func tell(t *testing.T, dir string) (lines []string) {
	t.Helper()
	inodes := map[uint64]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		var st unix.Stat_t
		if err != nil || unix.Lstat(p, &st) != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		name, _ := filepath.Rel(dir, p)
		line := fmt.Sprintf("%q mode %o size %d rdev %d time %v", name, st.Mode, st.Size*int64(b2i(!d.IsDir())), st.Rdev, st.Mtim.Nano())
		if st.Rdev == 0 && st.Mode&unix.S_IFMT == unix.S_IFCHR {
			line = fmt.Sprintf("%q whiteout", name)
		}
		if d.Type().IsRegular() {
			if first, ok := inodes[st.Ino]; ok {
				line += " same as " + first
			}
			inodes[st.Ino] = name
			if text, err := os.ReadFile(p); err == nil {
				line += fmt.Sprintf(" %x", sha256.Sum256(text))
			}
			if st.Blocks*512 > st.Size+8192 || st.Size > 1<<20 && st.Blocks*512 > 1<<20 {
				line += " without its holes"
			}
		}
		if to, err := os.Readlink(p); err == nil {
			line += fmt.Sprintf(" -> %q", to)
		}
		value := make([]byte, 16)
		if n, err := unix.Lgetxattr(p, "user.overlay.opaque", value); err == nil {
			line += " opaque " + string(value[:n])
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestCopy(t *testing.T) {
	top := t.TempDir()
	from, to := filepath.Join(top, "from"), filepath.Join(top, "to")
	plant(t, from)
	before := tell(t, from)
	if err := Copy(from, to); err != nil {
		t.Fatal(err)
	}
	if after := tell(t, from); !slices.Equal(after, before) {
		t.Errorf("the original changed\n%s\ninto\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if got := tell(t, to); !slices.Equal(got, before) {
		t.Errorf("the copy is\n%s\nof\n%s", strings.Join(got, "\n"), strings.Join(before, "\n"))
	}
	if err := Copy(from, to); !errors.Is(err, fs.ErrExist) {
		t.Errorf("copied onto what is there: %v", err)
	}
	for _, dir := range []string{from, to} {
		if err := RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(top); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := RemoveAll(from); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
}

func TestRemoveDeep(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("sub", 10)
	for range 600 { // deeper than a path can be long
		if err := unix.Mkdirat(fd, name, 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_DIRECTORY|unix.O_RDONLY, 0)
		unix.Close(fd)
		if fd = next; err != nil {
			t.Fatal(err)
		}
	}
	unix.Close(fd)
	if err := RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(top); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestSnapshotRestore(t *testing.T) {
	s := Store{t.TempDir()}
	r := record(t, "one", 0o755)
	h, err := s.Create(r, "")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	top := Path(h.Dir, "upper")
	plant(t, filepath.Join(top, "d"))
	before := tell(t, top)
	for _, want := range []string{"1", "2"} {
		if got, err := h.Snapshot(""); got != want || err != nil {
			t.Fatalf("snapshot %q, %v; want %s", got, err, want)
		}
	}
	for _, name := range []string{"1", "../x", ".y", "a/b"} {
		if got, err := h.Snapshot(name); err == nil {
			t.Errorf("made the snapshot %q as %q", name, got)
		}
	}
	if err := RemoveAll(filepath.Join(top, "d")); err != nil {
		t.Fatal(err)
	}
	if err := h.Restore("3"); err == nil {
		t.Error("restored what there is none of")
	}
	// One that was killed on the way is done again.
	if rec, err := Load(h.Dir); err != nil || rec.Restoring != "" {
		t.Fatal(rec, err)
	} else {
		rec.Restoring = "1"
		if err := Save(h.Dir, rec); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Snapshot(""); err == nil {
		t.Error("a snapshot of layers that are not whole")
	}
	if err := os.Mkdir(filepath.Join(h.Dir, "upper.next"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := h.Restore("1"); err != nil {
		t.Fatal(err)
	}
	if got := tell(t, top); !slices.Equal(got, before) {
		t.Errorf("restored\n%s\nof\n%s", strings.Join(got, "\n"), strings.Join(before, "\n"))
	}
	if rec, err := Load(h.Dir); err != nil || rec.Restoring != "" || rec.Generation != 1 {
		t.Errorf("%+v, %v", rec, err)
	}
	if err := h.Remove(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.Root); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestSweep(t *testing.T) {
	s := Store{t.TempDir()}
	for _, name := range []string{".a" + gone + "x", ".b" + making + "x", "c", ".d"} {
		if err := os.Mkdir(s.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	busy, err := TryLock(s.Dir(".a" + gone + "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	s.Sweep()
	var left []string
	list, _ := os.ReadDir(s.Root)
	for _, e := range list {
		left = append(left, e.Name())
	}
	if want := []string{".a" + gone + "x", ".d", "c"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
}

func TestSize(t *testing.T) {
	dir := t.TempDir()
	if b, n, whole := Size(dir); b != 0 || n != 0 || !whole {
		t.Errorf("of nothing: %d bytes, %d files, %t", b, n, whole)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, 100<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "f"), filepath.Join(dir, "g")); err != nil {
		t.Fatal(err)
	}
	if b, n, whole := Size(dir); b < 100<<10 || b > 150<<10 || n != 1 || !whole {
		t.Errorf("%d bytes, %d files, %t", b, n, whole)
	}
	if _, _, whole := Size(filepath.Join(dir, "none")); whole {
		t.Error("what is not there is whole")
	}
}
