package upper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Store is the directory that holds all of a user's overlays.
type Store struct{ Root string } // $XDG_DATA_HOME/sbx/overlays

// ErrBusy is that a sandbox runs on an overlay, or that another sbx is at work
// on it.
var ErrBusy = errors.New("in use")

// Dir is where the overlay of that name lies, or would.
func (s Store) Dir(name string) string {
	if at, ok := s.elsewhere(name); ok {
		return filepath.Join(at, name)
	}
	return filepath.Join(s.Root, name)
}

// Load reads the record of an overlay. The error is fs.ErrNotExist where there
// is none.
func (s Store) Load(name string) (*Record, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	return Load(s.Dir(name))
}

// List reads all records, by name. What can't be read is in errs and does not
// keep the rest from being listed.
func (s Store) List() (list []*Record, errs []error) {
	entries, err := os.ReadDir(s.Root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, []error{err}
	}
	for _, e := range entries {
		if CheckName(e.Name()) != nil {
			continue // one that is being made or removed
		}
		r, err := s.Load(e.Name())
		if errors.Is(err, os.ErrNotExist) { // gone since, or never finished
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, r)
	}
	return list, errs
}

// Last is the record whose sandbox was started last from dir, or whose first
// layer is dir or lies above it; nil for none.
func (s Store) Last(dir string) (*Record, error) {
	list, errs := s.List()
	var last *Record
	for _, r := range list {
		ours := r.Dir == dir
		for _, l := range r.Layers {
			for _, lower := range l.Lower {
				ours = ours || dir == lower || strings.HasPrefix(dir, strings.TrimSuffix(lower, "/")+"/")
			}
		}
		if ours && (last == nil || r.Used.After(last.Used)) {
			last = r
		}
	}
	if last == nil {
		return nil, errors.Join(errs...)
	}
	return last, nil
}

// Held is an overlay that this process holds: no sandbox can be started on it,
// and nobody else removes it. The lock goes with the descriptor, and with the
// last process that has a copy of it.
type Held struct {
	Dir string
	fd  int
}

// FD is the descriptor that holds the lock.
func (h *Held) FD() int { return h.fd }

// Close lets go.
func (h *Held) Close() error {
	if h == nil || h.fd < 0 {
		return nil
	}
	err := unix.Close(h.fd)
	h.fd = -1
	return err
}

// TryLock holds the overlay in dir. The error wraps ErrBusy where somebody else
// holds it, and fs.ErrNotExist where there is none.
func TryLock(dir string) (*Held, error) { return lock(dir, unix.LOCK_EX|unix.LOCK_NB) }

// patience is how long somebody else may take to let go.
const patience = 500 * time.Millisecond

// Hold is TryLock that gives somebody else the time to let go: a verb that has only
// looked whether a sandbox runs, and a process that was killed, which holds the lock
// until the system call that it is in has come to its end.
func Hold(dir string) (*Held, error) {
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		h, err := TryLock(dir)
		if !errors.Is(err, ErrBusy) || time.Now().After(end) {
			return h, err
		}
	}
}

// Lock is TryLock that waits.
func Lock(dir string) (*Held, error) { return lock(dir, unix.LOCK_EX) }

func lock(dir string, how int) (*Held, error) {
	for {
		d, err := openOwn(dir)
		if err != nil {
			return nil, err
		}
		h, err := lockIn(d, dir, how)
		unix.Close(d)
		if err != nil {
			return nil, err
		}
		// Who held it may have removed it, and another may be there by now.
		var mine, there unix.Stat_t
		err = unix.Fstat(h.fd, &mine)
		if err == nil {
			err = unix.Lstat(filepath.Join(dir, lockFile), &there)
		}
		if err == nil && mine.Ino == there.Ino && mine.Dev == there.Dev {
			return h, nil
		}
		h.Close()
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, &os.PathError{Op: "stat", Path: filepath.Join(dir, lockFile), Err: err}
		}
	}
}

func lockIn(d int, dir string, how int) (*Held, error) {
	fd, err := unix.Openat(d, lockFile, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(dir, lockFile), Err: err}
	}
	for {
		err = unix.Flock(fd, how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("the overlay %s is %w: a sandbox runs on it, or another sbx is at work on it", filepath.Base(dir), ErrBusy)
		}
		return nil, &os.PathError{Op: "flock", Path: filepath.Join(dir, lockFile), Err: err}
	}
	return &Held{Dir: dir, fd: fd}, nil
}

// Running reports whether somebody holds the overlay in dir. To find that out it
// holds it for an instant, beside others that only look.
func Running(dir string) bool {
	h, err := lock(dir, unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		h.Close()
	}
	return errors.Is(err, ErrBusy)
}

// Create makes the overlay of r with its layers' empty directories, and holds
// it. With r.Name "" it gets a name that begins with prefix and is not taken.
// The error wraps fs.ErrExist where a name is.
//
// The layers' Device and Inode are filled in.
//
// It is made under a name that is none and renamed when it is whole.
func (s Store) Create(r *Record, prefix string) (*Held, error) {
	if err := os.MkdirAll(s.Root, 0o700); err != nil {
		return nil, err
	}
	top, err := openOwn(s.Root)
	if err != nil {
		return nil, err
	}
	defer unix.Close(top)
	given := r.Name != ""
	for range 100 {
		if !given {
			r.Name = NewName(prefix)
		}
		h, err := s.create(top, r)
		if errors.Is(err, os.ErrExist) && !given {
			continue
		}
		return h, err
	}
	return nil, fmt.Errorf("making a directory in %s: 100 names were taken", s.Root)
}

// making marks the names of directories that are not whole yet.
const making = ".new-"

func (s Store) create(top int, r *Record) (*Held, error) {
	if err := CheckName(r.Name); err != nil {
		return nil, err
	}
	if err := s.Forget(r.Name); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.Root, r.Name)
	if _, err := os.Lstat(dir); err == nil {
		return nil, &os.PathError{Op: "create", Path: dir, Err: unix.EEXIST}
	}
	h, tmp, err := s.begin(top, r.Name)
	if err != nil {
		return nil, err
	}
	made := filepath.Join(s.Root, tmp)
	if err = s.fill(made, r); err == nil {
		if err = renameNew(top, tmp, r.Name); err != nil {
			err = &os.PathError{Op: "create", Path: dir, Err: err}
		}
	}
	if err != nil {
		h.Close()
		_ = RemoveAll(made)
		return nil, err
	}
	h.Dir = dir
	return h, nil
}

// begin makes and holds an empty directory, before anything is in it: Sweep takes
// what nobody holds for what a dead process has left.
func (s Store) begin(top int, name string) (h *Held, tmp string, err error) {
	for range 100 {
		tmp = "." + name + making + word()
		if err = unix.Mkdirat(top, tmp, 0o700); err != nil {
			return nil, "", &os.PathError{Op: "mkdir", Path: filepath.Join(s.Root, name), Err: err}
		}
		h, err = TryLock(filepath.Join(s.Root, tmp))
		if !errors.Is(err, ErrBusy) && !errors.Is(err, os.ErrNotExist) {
			break // else Sweep has come in between
		}
	}
	return h, tmp, err
}

// fill makes what is in an overlay's directory. The root of an upper is the root
// of what is seen inside, and has the mode that the lower one's has.
//
// Precondition: the caller holds it.
func (s Store) fill(dir string, r *Record) error {
	for i := range r.Layers {
		l := &r.Layers[i]
		if err := l.stat(); err != nil {
			return err
		}
		upper := Path(dir, l.Upper)
		for _, d := range []string{upper, Path(dir, l.Work)} {
			if err := os.Mkdir(d, 0o700); err != nil {
				return err
			}
		}
		if err := unix.Chmod(upper, l.mode); err != nil {
			return &os.PathError{Op: "chmod", Path: upper, Err: err}
		}
	}
	return Save(dir, r)
}

// stat finds out what the lowers are.
func (l *Layer) stat() error {
	l.Device, l.Inode = nil, nil
	for i, p := range l.Lower {
		var st unix.Stat_t
		err := unix.Lstat(p, &st)
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = unix.ENOTDIR
		}
		if err != nil {
			return &os.PathError{Op: "stat", Path: p, Err: err}
		}
		l.Device, l.Inode = append(l.Device, uint64(st.Dev)), append(l.Inode, st.Ino)
		if i == 0 {
			l.mode = st.Mode & 0o777
		}
	}
	return nil
}

// NewName is a name that begins with prefix and is hardly ever taken.
func NewName(prefix string) string { return prefix[:min(len(prefix), 50)] + "-" + word() }

// word is four letters and digits that are hard to take for one another.
func word() string {
	const letters = "abcdefghjkmnpqrstuvwxyz23456789"
	var b [4]byte
	_, _ = unix.Getrandom(b[:], 0) // so few bytes always come whole, getrandom(2)
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b[:])
}

// stash is the name in a root under which files are made before they are mounted
// where they belong; a sandbox does not start where there is one.
const stash = ".sbx-stash"

// Reuse makes the layers in dir such that they can be mounted again. The kernel
// leaves a mark where it was not to write changes out at once (overlayfs's option
// volatile), and wants somebody to say that they are what they are.
//
// Precondition: the caller holds the lock.
func (r *Record) Reuse(dir string) error {
	for _, l := range r.Layers {
		if l.Image != "" { // of a start that was killed
			if err := RemoveAll(filepath.Join(Path(dir, l.Upper), stash)); err != nil {
				return err
			}
		}
		inner := filepath.Join(Path(dir, l.Work), "work")
		if err := unix.Chmod(inner, 0o700); err != nil { // the kernel makes it without permissions
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			return &os.PathError{Op: "chmod", Path: inner, Err: err}
		}
		if err := RemoveAll(filepath.Join(inner, "incompat")); err != nil {
			return err
		}
	}
	return nil
}
