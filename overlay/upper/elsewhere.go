package upper

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// An overlay may lie in another directory than the store's, on another disk. In
// the store there is then a file of its name, which holds the path of that
// directory: whoever looks for the overlay finds it by its name.

// linking marks the names of such files that are not written yet.
const linking = ".at-"

// maxPointer bounds what is read of one, in bytes: a path.
const maxPointer = 4096

// elsewhere is the directory that the overlay of a name lies in, if the store has
// a file that says so.
func (s Store) elsewhere(name string) (dir string, ok bool) { return s.elsewhereSeen(nil, name) }

// elsewhereSeen is elsewhere; what is read is remembered in log, which may be nil.
func (s Store) elsewhereSeen(log *seen.Log, name string) (dir string, ok bool) {
	fd, err := log.Open(filepath.Join(s.Root, name), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return "", false
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != unix.Geteuid() || st.Mode&0o022 != 0 {
		return "", false
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPointer+1))
	dir = string(text)
	if err != nil || len(text) > maxPointer || !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || strings.IndexByte(dir, 0) >= 0 {
		return "", false
	}
	return dir, true
}

// Point notes that the overlay of a name lies, or is about to, in the directory at.
// The error wraps fs.ErrExist where there is one of that name.
func (s Store) Point(name, at string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := os.MkdirAll(s.Root, 0o700); err != nil {
		return err
	}
	top, err := openOwn(s.Root)
	if err != nil {
		return err
	}
	defer unix.Close(top)
	if err := s.Forget(name); err != nil {
		return err
	}
	tmp := "." + name + linking + word()
	fd, err := unix.Openat(top, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Join(s.Root, name), Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.WriteString(at)
	if err = errors.Join(err, f.Close()); err == nil {
		err = renameNew(top, tmp, name)
	}
	if err != nil {
		_ = unix.Unlinkat(top, tmp, 0)
		return &os.PathError{Op: "create", Path: filepath.Join(s.Root, name), Err: err}
	}
	return nil
}

// renameNew renames to a name that must not be taken.
func renameNew(dir int, from, to string) error {
	err := unix.Renameat2(dir, from, dir, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) { // a file system without it: the lock still tells who was first
		err = unix.Renameat(dir, from, dir, to)
	}
	return err
}

// Forget removes the note of where an overlay lies that is not there any more.
func (s Store) Forget(name string) error {
	path := filepath.Join(s.Root, name)
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() {
		return nil
	}
	if at, ok := s.elsewhere(name); ok {
		if _, err := os.Lstat(filepath.Join(at, name)); err == nil || !errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forgetting where the overlay %s was: %w", name, err)
	}
	return nil
}

// Elsewhere are the directories of those overlays of the store that lie in others. It
// looks at nothing but the notes of them, and at whether they are there. That is
// remembered in log, which may be nil.
func (s Store) Elsewhere(log *seen.Log) (list []string) {
	fd, err := log.Open(s.Root, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	top := os.NewFile(uintptr(fd), s.Root)
	defer top.Close()
	entries, err := top.ReadDir(-1)
	if err != nil {
		return nil
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		at, ok := s.elsewhereSeen(log, e.Name())
		if !ok {
			continue
		}
		dir := filepath.Join(at, e.Name())
		// What can't be looked at may be there: a command can have closed the way to it.
		if _, err := log.Lstat(dir); !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			list = append(list, dir)
		}
	}
	return list
}

// young is how long a note may be there before what it is about.
const young = time.Minute

// others are the other directories that overlays of the store lie in. Notes of
// overlays that are gone are removed, as long as their directory is there: it may
// be on a disk that is not.
func (s Store) others() (list []string) {
	entries, err := os.ReadDir(s.Root)
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || !st.Mode().IsRegular() {
			continue
		}
		old := time.Since(st.ModTime()) > young
		if strings.HasPrefix(e.Name(), ".") {
			if old && strings.Contains(e.Name(), linking) {
				_ = os.Remove(filepath.Join(s.Root, e.Name()))
			}
			continue
		}
		at, ok := s.elsewhere(e.Name())
		if !ok {
			continue
		}
		if !seen[at] {
			seen[at] = true
			list = append(list, at)
		}
		if _, err := os.Lstat(at); err == nil && old {
			_ = s.Forget(e.Name())
		}
	}
	return list
}
