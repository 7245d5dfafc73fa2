package seen

import (
	"errors"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settled is for how long a file must have been left alone: one that is changed twice
// in a shorter time may have the same times after both.
const settled = time.Second

// young says that what was read could be changed without its times telling.
func young(i *Inode) bool {
	since := time.Now().UnixNano() - max(i.ModifiedNs, i.ChangedNs)
	return since < int64(settled) // of the future as well
}

func stat(path string, bits Bits, st *unix.Stat_t) error {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if bits&Follow != 0 {
		flags = 0
	}
	for {
		if err := unix.Fstatat(unix.AT_FDCWD, path, st, flags); err != unix.EINTR {
			return err
		}
	}
}

// Stat is stat(2).
func (l *Log) Stat(path string) (st unix.Stat_t, err error) {
	err = stat(path, Follow, &st)
	if l != nil {
		l.remember(path, Follow, &st, err)
	}
	return st, err
}

// Lstat is lstat(2).
func (l *Log) Lstat(path string) (st unix.Stat_t, err error) {
	err = stat(path, 0, &st)
	if l != nil {
		l.remember(path, 0, &st, err)
	}
	return st, err
}

// Program remembers the program that runs: another one decides otherwise.
func (l *Log) Program() {
	if l != nil {
		const path = "/proc/self/exe"
		var st unix.Stat_t
		err := stat(path, Follow, &st)
		l.remember(path, Follow|Content, &st, err)
	}
}

// Buffer is the size in bytes of what a system call may write.
const Buffer = 4096

// Ask adds a system call that was made, its answer, and what it wrote to its buffer.
func (l *Log) Ask(a Asked, wrote []byte) {
	l.Checks = append(l.Checks, Check{Kind: Call, Call: a, Text: string(wrote)})
}

// Stream adds what a standard descriptor is: the type of its file (inode(7), S_IFMT),
// and the device where that is a character device.
func (l *Log) Stream(fd int, kind uint32, device uint64) {
	l.Checks = append(l.Checks, Check{Kind: Stream, FD: fd, Want: Inode{Mode: kind, Dev: device}})
}

// Counted says that the number of hard links of what Lstat or Resolve saw at path
// decides something.
func (l *Log) Counted(path string) {
	if l == nil {
		return
	}
	if i, ok := l.at[place{path, Stat, false}]; ok {
		l.Checks[i].Bits |= Links
		return
	}
	l.Spoil("the names of " + path + " were not counted")
}

// Readlink is readlink(2).
func (l *Log) Readlink(path string) (string, error) {
	if l != nil { // before it is read: what is changed after that is noticed
		var st unix.Stat_t
		err := stat(path, 0, &st)
		l.remember(path, Content, &st, err)
	}
	return readlink(path)
}

func readlink(path string) (string, error) {
	for buf := make([]byte, 128); ; buf = make([]byte, 2*len(buf)) {
		n, err := unix.Readlink(path, buf)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return "", err
		case n < len(buf):
			return string(buf[:n]), nil
		}
	}
}

// Open opens a file or directory whose content, or names, are going to be read, by
// open(2) with flags; O_CLOEXEC is added.
func (l *Log) Open(path string, flags int) (fd int, err error) {
	for fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0); err == unix.EINTR; {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0)
	}
	if l != nil {
		bits := Content
		if flags&unix.O_NOFOLLOW == 0 {
			bits |= Follow
		}
		l.opened(path, bits, fd, err)
	}
	return fd, err
}

// OpenNoLinks is Open of a path on which there is no symbolic link (openat2(2),
// RESOLVE_NO_SYMLINKS).
func (l *Log) OpenNoLinks(path string, flags int) (fd int, err error) {
	w := l.Begin(path)
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_NO_SYMLINKS}
	for {
		if fd, err = unix.Openat2(unix.AT_FDCWD, path, &how); err != unix.EINTR {
			break
		}
	}
	if l == nil {
		return fd, err
	}
	if links := w.foreseen != path; w.err == nil && (err == unix.ELOOP) != links || w.err != nil && err == nil {
		l.Spoil(path + " was changed meanwhile")
	}
	if err != unix.ELOOP { // which says that there is a link on the way, and that is remembered
		l.opened(path, Content, fd, err)
	}
	return fd, err
}

// opened remembers what was opened, or why it could not be.
func (l *Log) opened(path string, bits Bits, fd int, err error) {
	var st unix.Stat_t
	if err == nil {
		l.remember(path, bits, &st, unix.Fstat(fd, &st))
		return
	}
	// The file may be there and be refused, by its mode or a list beside that: those
	// don't change without the times.
	there := stat(path, bits, &st)
	switch {
	case there == err:
		l.remember(path, bits, &st, err)
	case there == nil && (err == unix.EACCES || err == unix.ENOTDIR || err == unix.ELOOP):
		l.remember(path, bits, &st, nil)
	default:
		l.Spoil(path + " could not be opened")
	}
}

// Text is a small file of the kernel's as a whole, at most 4096 bytes.
func (l *Log) Text(path string) (string, error) {
	text, err := readText(path)
	if l == nil {
		return text, err
	}
	if err != nil {
		l.Spoil(path + " could not be read")
		return text, err
	}
	p := place{path, Text, true}
	if i, ok := l.at[p]; !ok {
		l.put(p, Check{Kind: Text, Path: path, Text: text})
	} else if l.Checks[i].Text != text {
		l.Spoil(path + " was changed meanwhile")
	}
	return text, nil
}

func readText(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, 4097)
	for n := 0; ; {
		m, err := unix.Read(fd, buf[n:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return "", err
		case m == 0:
			return string(buf[:n]), nil
		}
		if n += m; n == len(buf) {
			return "", unix.EFBIG
		}
	}
}

// EvalSymlinks is that of path/filepath.
func (l *Log) EvalSymlinks(path string) (string, error) {
	w := l.Begin(path)
	real, err := filepath.EvalSymlinks(path)
	w.compare(real, err)
	return real, err
}

// Way is a look-up that says where a path really is.
type Way struct {
	log      *Log
	path     string
	foreseen string // where it leads by the links that are on it
	err      error
}

// Begin begins a look-up of path. All that is on the way is remembered before: had the
// way been another when the look-up went it, that shows by where it came to.
func (l *Log) Begin(path string) Way {
	if l == nil {
		return Way{}
	}
	foreseen, err := l.walk(path)
	return Way{l, path, foreseen, err}
}

// Ended is told what came out of it: where path is, and the inode there.
func (w Way) Ended(real string, st *unix.Stat_t, err error) {
	w.compare(real, err)
	if w.log == nil || err != nil {
		return
	}
	if real != w.path {
		w.log.remember(w.path, Follow, st, nil)
	}
	w.log.remember(real, 0, st, nil)
}

// compare spoils the log if the look-up came out otherwise than was foreseen.
func (w Way) compare(real string, err error) {
	if w.log == nil {
		return
	}
	var errno unix.Errno
	if err != nil && (!errors.As(err, &errno) || w.err != errno) || err == nil && (w.err != nil || real != w.foreseen) {
		w.log.Spoil(w.path + " led elsewhere than its links say")
	}
}

// Here is where the current directory is, as a look-up of "." found it.
func (l *Log) Here(real string, st *unix.Stat_t) {
	if l == nil {
		return
	}
	Way{l, ".", real, nil}.Ended(real, st, nil)
	if to, err := l.walk(real); err != nil || to != real {
		l.Spoil("the current directory was moved")
	}
}

// maxLinks is the kernel's own bound on links in one look-up (path_resolution(7)).
const maxLinks = 40

// walk goes the way of an absolute path and remembers all that is on it: what is no
// link, and where a link leads. A look-up goes another way only once that is changed.
func (l *Log) walk(p string) (real string, err error) {
	if !strings.HasPrefix(p, "/") {
		l.Spoil(p + " is not an absolute path")
		return p, unix.EINVAL
	}
	rest := strings.Split(p, "/")
	real = "/"
	for links := 0; len(rest) > 0; {
		el := rest[0]
		if rest = rest[1:]; el == "" || el == "." {
			continue
		}
		at := path.Join(real, el) // ".." of a real directory is its parent
		mode, err := l.mode(at)
		if err != nil {
			return at, err
		}
		if mode&unix.S_IFMT != unix.S_IFLNK {
			real = at
			continue
		}
		if links++; links > maxLinks {
			return at, unix.ELOOP
		}
		text, err := l.Readlink(at)
		if err != nil {
			return at, err
		}
		if strings.HasPrefix(text, "/") {
			real = "/"
		}
		rest = append(strings.Split(text, "/"), rest...)
	}
	return real, nil
}

// mode is what was seen at path before, or is there now.
func (l *Log) mode(path string) (uint32, error) {
	if i, ok := l.at[place{path, Stat, false}]; ok {
		want := &l.Checks[i].Want
		if want.Errno != 0 {
			return 0, unix.Errno(want.Errno)
		}
		return want.Mode, nil
	}
	st, err := l.Lstat(path)
	return st.Mode, err
}
