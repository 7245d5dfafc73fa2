package host

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// OS is the real file system. What is looked at is remembered in Seen, which may be nil.
type OS struct{ Seen *seen.Log }

// Resolve implements Files. It opens with O_PATH, so that no permission on the
// file itself is needed and nothing is set off by opening it.
func (o OS) Resolve(path, beneath string) (Entry, error) {
	if path == "." && beneath == "" {
		return o.here()
	}
	w := o.Seen.Begin(path)
	e, st, err := resolve(path, beneath)
	w.Ended(e.Path, &st, err)
	return e, err
}

// here is the current directory.
func (o OS) here() (Entry, error) {
	e, st, err := resolve(".", "")
	if err != nil {
		o.Seen.Spoil("the current directory could not be looked at")
		return e, err
	}
	o.Seen.Here(e.Path, &st)
	return e, nil
}

func resolve(path, beneath string) (e Entry, st unix.Stat_t, err error) {
	if beneath == "" {
		return describe(unix.AT_FDCWD, path, unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}, path)
	}
	rel, ok := strings.CutPrefix(path, strings.TrimSuffix(beneath, "/")+"/")
	if !ok && path != beneath {
		return e, st, fmt.Errorf("%s is not below %s", path, beneath)
	}
	if path == beneath {
		rel = "."
	}
	dir, err := unix.Openat2(unix.AT_FDCWD, beneath, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return e, st, &os.PathError{Op: "open", Path: beneath, Err: err}
	}
	defer unix.Close(dir)
	e, st, err = describe(dir, rel, unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}, path)
	if errors.Is(err, unix.EXDEV) {
		return e, st, fmt.Errorf("%s leads out of %s by a symbolic link", path, beneath)
	}
	return e, st, err
}

// describe opens path and says where it ended up. EAGAIN means that a rename
// raced with the look-up (openat2(2)); it is tried again a few times.
func describe(dir int, path string, how unix.OpenHow, shown string) (e Entry, st unix.Stat_t, err error) {
	fd, err := unix.Openat2(dir, path, &how)
	for try := 0; errors.Is(err, unix.EAGAIN) && try < 64; try++ {
		fd, err = unix.Openat2(dir, path, &how)
	}
	if err != nil {
		return e, st, &os.PathError{Op: "open", Path: shown, Err: err}
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return e, st, &os.PathError{Op: "stat", Path: shown, Err: err}
	}
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return e, st, err
	}
	return entry(real, &st), st, nil
}

func entry(path string, st *unix.Stat_t) Entry {
	return Entry{Path: path, IsDir: st.Mode&unix.S_IFMT == unix.S_IFDIR, Mode: st.Mode, UID: st.Uid, Links: uint64(st.Nlink)}
}

// Lstat implements Files.
func (o OS) Lstat(path string) (Entry, error) {
	st, err := o.Seen.Lstat(path)
	if err != nil {
		return Entry{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return entry(path, &st), nil
}

// Link implements Files.
func (o OS) Link(path string) (string, error) {
	text, err := o.Seen.Readlink(path)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: path, Err: err}
	}
	return text, nil
}

// Text implements Files. A FIFO or a device that stands in the file's place is
// not waited for.
func (o OS) Text(path string, limit int) (string, error) {
	fd, err := o.Seen.OpenNoLinks(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	return readAll(fd, path, limit)
}

// Names implements Files.
func (o OS) Names(dir string) ([]string, error) {
	fd, err := o.Seen.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	var names []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.ReadDirent(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &os.PathError{Op: "readdir", Path: dir, Err: err}
		case n == 0:
			slices.Sort(names)
			return names, nil
		default:
			_, _, names = unix.ParseDirent(buf[:n], -1, names)
		}
	}
}

// Disk finds the device that limits of a control group count: that of a
// partition is the disk it is a part of.
func (o OS) Disk(path string) (string, error) {
	o.Seen.Spoil("a disk was looked for")
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	dev := st.Dev
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		dev = st.Rdev
	}
	dir := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev))
	if unix.Access(dir, unix.F_OK) != nil { // a file system without a device, or with several
		return "", fmt.Errorf("%s lies on no single block device, name the device itself", path)
	}
	if unix.Access(dir+"/partition", unix.F_OK) == nil {
		dir += "/.."
	}
	text, err := readSmall(nil, dir+"/dev", 64)
	return strings.TrimSpace(text), err
}
