package upper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// gone marks the names of directories that are being removed: ".NAME.gone-XXXX".
const gone = ".gone-"

// Remove removes the overlay and all that is in it. Its name is free at once;
// what is killed meanwhile is swept up by Sweep. Whoever waited for the lock
// finds it gone.
//
// Files of other ids, as an overlay with a range of ids has, can be removed only
// in a user namespace that has those ids.
func (h *Held) Remove() error {
	store, name := filepath.Split(h.Dir)
	away := filepath.Join(store, "."+name+gone+word())
	if err := os.Rename(h.Dir, away); err != nil {
		return err
	}
	h.Dir = away
	return h.empty()
}

// empty removes the directory. The record goes last: it says which ids the rest
// belongs to, should that be removed by another.
func (h *Held) empty() error {
	entries, err := os.ReadDir(h.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != recordFile && e.Name() != lockFile {
			if err := RemoveAll(filepath.Join(h.Dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for range 100 { // once the lock is gone another Sweep may make one, to look whether somebody holds it
		if err = RemoveAll(h.Dir); !errors.Is(err, unix.ENOTEMPTY) {
			break
		}
	}
	return err
}

// Sweep removes what a Remove or a Create that was killed has left, as long as
// nobody is at work on it. What it can't remove, since it belongs to other ids, is
// returned: the directory and its record.
func (s Store) Sweep() map[string]*Record {
	left := map[string]*Record{}
	s.sweep(left)
	for _, at := range s.others() {
		Store{at}.sweep(left)
	}
	return left
}

func (s Store) sweep(left map[string]*Record) {
	entries, err := os.ReadDir(s.Root)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") || !strings.Contains(e.Name(), gone) && !strings.Contains(e.Name(), making) {
			continue
		}
		dir := filepath.Join(s.Root, e.Name())
		h, err := TryLock(dir)
		if err != nil {
			continue
		}
		// What looks half made may be so just now: it gets another name first, so
		// that its maker can't hold what is being removed.
		if strings.Contains(e.Name(), gone) {
			err = h.empty()
		} else {
			err = h.Remove()
		}
		if err != nil {
			if r, err := read(h.Dir); err == nil && r.IDs.Mode == "range" {
				left[h.Dir] = r
			}
		}
		h.Close()
	}
}

// read is the record of a directory that may have another name by now.
func read(dir string) (*Record, error) {
	fd, err := openOwn(dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return load(fd, dir)
}

// RemoveAll removes a directory and all that is in it. Unlike that of package os
// it also removes directories without permissions, such as overlayfs leaves in
// its work directory. It follows no link.
func RemoveAll(dir string) error {
	parent, err := unix.Open(filepath.Dir(dir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Dir(dir), Err: err}
	}
	defer unix.Close(parent)
	err = removeAt(parent, filepath.Base(dir), 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing %s: %w", dir, err)
	}
	return nil
}

// deepest is how many directories lie in one another at most: each takes a
// descriptor while it is emptied.
const deepest = 200

func removeAt(parent int, name string, depth int) error {
	err := unix.Unlinkat(parent, name, 0)
	if err == nil || !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	fd, err := openDir(parent, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// What is read while names go away may leave some out: until none is left.
	for {
		names, err := names(fd)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			break
		}
		for _, n := range names {
			if depth < deepest {
				err = removeAt(fd, n, depth+1)
			} else {
				err = moveUp(parent, fd, n)
			}
			if err != nil {
				return err
			}
		}
	}
	return unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
}

// moveUp removes one name of a directory; a directory is moved beside the one
// that it lies in, where it is found when that is empty.
func moveUp(parent, dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	return unix.Renameat(dir, name, parent, "."+word()+word())
}

// openDir opens a directory to read and change it, and gives itself the
// permission where it has none.
func openDir(parent int, name string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	var st unix.Stat_t
	if err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&0o700 != 0o700 {
		if err := unix.Fchmodat(parent, name, 0o700, unix.AT_SYMLINK_NOFOLLOW); err != nil && !errors.Is(err, unix.EPERM) {
			// Before Linux 6.6 there is no such flag. A link in the name's place
			// would be followed, but nobody else writes here.
			_ = unix.Fchmodat(parent, name, 0o700, 0)
		}
	}
	return unix.Openat(parent, name, flags, 0)
}

// names reads a directory from its start.
func names(fd int) ([]string, error) {
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return nil, err
	}
	var list []string
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, err
		case n == 0:
			return list, nil
		default:
			_, _, list = unix.ParseDirent(buf[:n], -1, list)
		}
	}
}
