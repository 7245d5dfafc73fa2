package host

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OS is the real file system.
type OS struct{}

// Resolve implements Files. It opens with O_PATH, so that no permission on the
// file itself is needed and nothing is set off by opening it.
func (OS) Resolve(path, beneath string) (Entry, error) {
	if beneath == "" {
		return describe(unix.AT_FDCWD, path, unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}, path)
	}
	rel, ok := strings.CutPrefix(path, strings.TrimSuffix(beneath, "/")+"/")
	if !ok && path != beneath {
		return Entry{}, fmt.Errorf("%s is not below %s", path, beneath)
	}
	if path == beneath {
		rel = "."
	}
	dir, err := unix.Openat2(unix.AT_FDCWD, beneath, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return Entry{}, &os.PathError{Op: "open", Path: beneath, Err: err}
	}
	defer unix.Close(dir)
	e, err := describe(dir, rel, unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}, path)
	if errors.Is(err, unix.EXDEV) {
		return Entry{}, fmt.Errorf("%s leads out of %s by a symbolic link", path, beneath)
	}
	return e, err
}

// describe opens path and says where it ended up. EAGAIN means that a rename
// raced with the look-up (openat2(2)); it is tried again a few times.
func describe(dir int, path string, how unix.OpenHow, shown string) (Entry, error) {
	fd, err := unix.Openat2(dir, path, &how)
	for try := 0; errors.Is(err, unix.EAGAIN) && try < 64; try++ {
		fd, err = unix.Openat2(dir, path, &how)
	}
	if err != nil {
		return Entry{}, &os.PathError{Op: "open", Path: shown, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Entry{}, &os.PathError{Op: "stat", Path: shown, Err: err}
	}
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return Entry{}, err
	}
	return entry(real, &st), nil
}

func entry(path string, st *unix.Stat_t) Entry {
	return Entry{Path: path, IsDir: st.Mode&unix.S_IFMT == unix.S_IFDIR, Mode: st.Mode, UID: st.Uid, Links: uint64(st.Nlink)}
}

// Lstat implements Files.
func (OS) Lstat(path string) (Entry, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Entry{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return entry(path, &st), nil
}

// Link implements Files.
func (OS) Link(path string) (string, error) { return os.Readlink(path) }

// Text implements Files. A FIFO or a device that stands in the file's place is
// not waited for.
func (OS) Text(path string, limit int) (string, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY, Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
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
func (OS) Names(dir string) ([]string, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
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
func (OS) Disk(path string) (string, error) {
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
	text, err := readSmall(dir+"/dev", 64)
	return strings.TrimSpace(text), err
}
