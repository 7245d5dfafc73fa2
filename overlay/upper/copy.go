package upper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Copy copies the tree at from to the new directory to: contents (shared with
// the original where the file system can, ioctl_ficlone(2)), holes, links, hard
// links, special files and whiteouts, modes, times, owners, attributes of the
// user's. It follows no link.
//
// Precondition: nobody else writes in either.
func Copy(from, to string) error {
	src, err := unix.Open(from, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: from, Err: err}
	}
	defer unix.Close(src)
	parent, err := unix.Open(filepath.Dir(to), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Dir(to), Err: err}
	}
	defer unix.Close(parent)
	c := copier{links: map[[2]uint64]string{}}
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return &os.PathError{Op: "stat", Path: from, Err: err}
	}
	if err := c.dir(src, parent, filepath.Base(to), &st, to); err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	return nil
}

type copier struct {
	links map[[2]uint64]string // files with several names: where the first copy is
}

// dir copies the directory open as src to parent/name; at is that place's path.
func (c *copier) dir(src, parent int, name string, st *unix.Stat_t, at string) error {
	if err := unix.Mkdirat(parent, name, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: at, Err: err}
	}
	dst, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: at, Err: err}
	}
	defer unix.Close(dst)
	list, err := names(src)
	if err != nil {
		return &os.PathError{Op: "readdir", Path: at, Err: err}
	}
	for _, n := range list {
		if err := c.entry(src, dst, n, filepath.Join(at, n)); err != nil {
			return err
		}
	}
	return c.finish(src, dst, st, at)
}

func (c *copier) entry(src, dst int, name, at string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(src, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: at, Err: err}
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		key := [2]uint64{uint64(st.Dev), st.Ino}
		if first, ok := c.links[key]; ok {
			if err := unix.Linkat(unix.AT_FDCWD, first, dst, name, 0); err != nil {
				return &os.PathError{Op: "link", Path: at, Err: err}
			}
			return nil
		}
		c.links[key] = at
	}
	switch kind {
	case unix.S_IFDIR:
		fd, err := openDir(src, name)
		if err != nil {
			return &os.PathError{Op: "open", Path: at, Err: err}
		}
		defer unix.Close(fd)
		err = c.dir(fd, dst, name, &st, at)
		if st.Mode&0o700 != 0o700 { // openDir may have changed it
			_ = unix.Fchmod(fd, st.Mode&0o7777)
		}
		return err
	case unix.S_IFREG:
		return c.file(src, dst, name, &st, at)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(src, name, buf)
		if err == nil {
			err = unix.Symlinkat(string(buf[:n]), dst, name)
		}
		if err != nil {
			return &os.PathError{Op: "symlink", Path: at, Err: err}
		}
	default:
		// A whiteout is a device 0:0, which anybody may make since Linux 5.8.
		if err := unix.Mknodat(dst, name, st.Mode, int(st.Rdev)); err != nil {
			return &os.PathError{Op: "mknod", Path: at, Err: err}
		}
		if st.Rdev == 0 && kind == unix.S_IFCHR {
			return nil
		}
		if err := unix.Fchmodat(dst, name, st.Mode&0o7777, 0); err != nil {
			return &os.PathError{Op: "chmod", Path: at, Err: err}
		}
	}
	if err := chown(dst, name, &st); err != nil {
		return &os.PathError{Op: "chown", Path: at, Err: err}
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	if err := unix.UtimesNanoAt(dst, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: at, Err: err}
	}
	return nil
}

// chown gives a copy its owner, where that is not the copier already.
func chown(dst int, name string, st *unix.Stat_t) error {
	var now unix.Stat_t
	if err := unix.Fstatat(dst, name, &now, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if now.Uid == st.Uid && now.Gid == st.Gid {
		return nil
	}
	return unix.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
}

func (c *copier) file(src, dst int, name string, st *unix.Stat_t, at string) error {
	in, err := unix.Openat(src, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) { // its owner may give the permission, and take it again
		_ = unix.Fchmodat(src, name, st.Mode&0o7777|0o400, 0)
		in, err = unix.Openat(src, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		_ = unix.Fchmodat(src, name, st.Mode&0o7777, 0)
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: at, Err: err}
	}
	defer unix.Close(in)
	out, err := unix.Openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: at, Err: err}
	}
	defer unix.Close(out)
	if err := CopyData(out, in, st.Size, func() error { return nil }); err != nil {
		return &os.PathError{Op: "copy", Path: at, Err: err}
	}
	return c.finish(in, out, st, at)
}

// finish gives a copy all that is not its content. The mode comes after the
// owner, whose change takes setuid bits away, and times come last.
func (c *copier) finish(src, dst int, st *unix.Stat_t, at string) error {
	if err := attributes(src, dst); err != nil {
		return &os.PathError{Op: "setxattr", Path: at, Err: err}
	}
	var now unix.Stat_t
	err := unix.Fstat(dst, &now)
	if err == nil && (now.Uid != st.Uid || now.Gid != st.Gid) {
		err = unix.Fchown(dst, int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = unix.Fchmod(dst, st.Mode&0o7777)
	}
	if err == nil {
		err = unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", dst), []unix.Timespec{st.Atim, st.Mtim}, 0)
	}
	if err != nil {
		return &os.PathError{Op: "setting mode, owner and times", Path: at, Err: err}
	}
	return nil
}

// attributes copies extended attributes, xattr(7). Those that this process may
// not set, such as the security module's, the kernel has given the copy itself.
func attributes(src, dst int) error {
	n, err := unix.Flistxattr(src, nil)
	if n == 0 || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	list := make([]byte, n)
	if n, err = unix.Flistxattr(src, list); err != nil {
		return err
	}
	for _, name := range splitNames(list[:n]) {
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err := unix.Fgetxattr(src, name, value)
		if err == nil {
			err = unix.Fsetxattr(dst, name, value[:n], 0)
		}
		if err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EACCES) {
			return err
		}
	}
	return nil
}

func splitNames(list []byte) (names []string) {
	for len(list) > 0 {
		end := 0
		for end < len(list) && list[end] != 0 {
			end++
		}
		names = append(names, string(list[:end]))
		list = list[min(end+1, len(list)):]
	}
	return names
}

// Size is how many bytes of disk the tree at dir takes, a file with several
// names counted once, and how many files it has. What can't be looked into is
// left out and makes whole false.
func Size(dir string) (bytes int64, files int, whole bool) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, false
	}
	defer unix.Close(fd)
	s := sizer{seen: map[[2]uint64]bool{}, whole: true}
	s.dir(fd)
	return s.bytes, s.files, s.whole
}

type sizer struct {
	seen  map[[2]uint64]bool
	bytes int64
	files int
	whole bool
}

func (s *sizer) dir(fd int) {
	list, err := names(fd)
	if err != nil {
		s.whole = false
		return
	}
	for _, n := range list {
		var st unix.Stat_t
		if unix.Fstatat(fd, n, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			continue // gone since
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
			key := [2]uint64{uint64(st.Dev), st.Ino}
			if s.seen[key] {
				continue
			}
			s.seen[key] = true
		}
		s.files++
		s.bytes += st.Blocks * 512
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		sub, err := unix.Openat(fd, n, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			s.whole = false
			continue
		}
		s.dir(sub)
		unix.Close(sub)
	}
}

// Changed is the latest change time (st_ctime, which only the kernel sets) of
// the tree at dir; the present where a part of it can't be looked at.
func Changed(dir string) time.Time {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return time.Now()
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	list, err := names(fd)
	if err != nil || unix.Fstat(fd, &st) != nil {
		return time.Now()
	}
	last := time.Unix(st.Ctim.Unix())
	for _, n := range list {
		if unix.Fstatat(fd, n, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			return time.Now()
		}
		t := time.Unix(st.Ctim.Unix())
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			t = Changed(filepath.Join(dir, n))
		}
		if t.After(last) {
			last = t
		}
	}
	return last
}
