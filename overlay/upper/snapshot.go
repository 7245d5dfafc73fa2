package upper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// snapshots is the directory of copies in a record's directory, one directory
// each with a copy of every layer's upper.
const snapshots = "snapshots"

// Snapshots is the directory of the copies of the overlay in dir.
func Snapshots(dir string) string { return filepath.Join(dir, snapshots) }

// Snapshot copies the layers under a name that is not taken yet. It is there
// when it is whole. With name "" it gets the next number.
//
// Files of other ids take a process that has those ids, as Remove does.
func (h *Held) Snapshot(name string) (string, error) {
	r, err := Load(h.Dir)
	if err != nil {
		return "", err
	}
	if name == "" {
		n := len(r.Snapshots) + 1
		for slices.Contains(r.Snapshots, fmt.Sprint(n)) {
			n++
		}
		name = fmt.Sprint(n)
	}
	if err := CheckName(name); err != nil {
		return "", err
	}
	if slices.Contains(r.Snapshots, name) {
		return "", fmt.Errorf("the overlay %s has a snapshot %s already", r.Name, name)
	}
	if r.Restoring != "" {
		return "", r.Unfinished()
	}
	top := Snapshots(h.Dir)
	if err := os.Mkdir(top, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	dir, made := filepath.Join(top, name), filepath.Join(top, "."+name+making+word())
	if err := RemoveAll(dir); err != nil { // of one that was killed before it was noted
		return "", err
	}
	if err := os.Mkdir(made, 0o700); err != nil {
		return "", err
	}
	for _, l := range r.Layers {
		if err := Copy(Path(h.Dir, l.Upper), filepath.Join(made, l.Upper)); err != nil {
			_ = RemoveAll(made)
			return "", err
		}
	}
	if err := os.Rename(made, dir); err != nil {
		return "", err
	}
	r.Snapshots = append(r.Snapshots, name)
	return name, Save(h.Dir, r)
}

// Unfinished is what there is to say of an overlay whose restore was killed.
func (r *Record) Unfinished() error {
	return fmt.Errorf("restoring the snapshot %s of the overlay %s was interrupted; do it again: sbx restore %s %s", r.Restoring, r.Name, r.Name, r.Restoring)
}

// Restore puts a copy of a snapshot in the layers' place. Killed anywhere, it
// can be done again, and until then nothing else uses the overlay.
func (h *Held) Restore(name string) error {
	r, err := Load(h.Dir)
	if err != nil {
		return err
	}
	if !slices.Contains(r.Snapshots, name) {
		return fmt.Errorf("the overlay %s has no snapshot %q", r.Name, name)
	}
	r.Restoring = name
	r.Generation++
	if err := Save(h.Dir, r); err != nil {
		return err
	}
	for _, l := range r.Layers {
		if err := h.restoreLayer(&l, name); err != nil {
			return err
		}
	}
	r.Restoring = ""
	return Save(h.Dir, r)
}

func (h *Held) restoreLayer(l *Layer, name string) error {
	next, upper, work := Path(h.Dir, l.Upper+".next"), Path(h.Dir, l.Upper), Path(h.Dir, l.Work)
	if err := RemoveAll(next); err != nil { // of one that was killed
		return err
	}
	if err := Copy(filepath.Join(Snapshots(h.Dir), name, l.Upper), next); err != nil {
		return err
	}
	if err := RemoveAll(upper); err != nil {
		return err
	}
	if err := os.Rename(next, upper); err != nil {
		return err
	}
	// What overlayfs keeps in its work directory is about the other upper.
	if err := RemoveAll(work); err != nil {
		return err
	}
	if err := unix.Mkdir(work, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: work, Err: err}
	}
	return nil
}

// Empty reports whether nothing was written to the layers.
func (r *Record) Empty(dir string) bool {
	for i := range r.Layers {
		if !r.Layers[i].Unused(dir) {
			return false
		}
	}
	return true
}

// Spent reports whether the overlay in dir is nothing that anybody could still want:
// nobody gave it its name, nothing is in it, and nothing is left to be put in order.
func (r *Record) Spent(dir string) bool {
	return r.Unnamed && len(r.Snapshots) == 0 && r.Restoring == "" && Applied(dir, r) == nil && r.Empty(dir)
}

// Unused reports whether nothing was written to the layer.
func (l *Layer) Unused(dir string) bool {
	fd, err := unix.Open(Path(dir, l.Upper), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return err == nil && l.onlyMade(fd, "")
}

// onlyMade reports whether nothing lies in the directory rel of a layer but what
// sbx made to mount on. It closes fd.
func (l *Layer) onlyMade(fd int, rel string) bool {
	defer unix.Close(fd)
	list, err := names(fd)
	if err != nil {
		return false
	}
	for _, name := range list {
		p := rel + "/" + name
		_, here := slices.BinarySearch(l.Made, p)
		i, _ := slices.BinarySearch(l.Made, p+"/")
		above := i < len(l.Made) && strings.HasPrefix(l.Made[i], p+"/")
		var st unix.Stat_t
		if !here && !above || unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			return false
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil || !l.onlyMade(sub, p) {
				return false
			}
		case unix.S_IFREG, unix.S_IFLNK:
			if !here || st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size > 0 {
				return false
			}
		default:
			return false
		}
	}
	return true
}
