// Package beneath opens and lists what lies in a directory whose contents others
// wrote, or still write: no symbolic link is followed, on no part of a path, and
// no path leads out of the directory or to another file system (openat2(2)).
package beneath

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const inside = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// longest is how much of a path goes into one system call, in bytes: the kernel
// takes less than PATH_MAX.
const longest = 3000

// Root opens a directory to be read, by an absolute path without symbolic links.
// The caller closes the descriptor.
func Root(path string) (int, error) {
	fd, err := Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// Open opens the path rel below the directory dir; "" is dir itself. To flags it
// adds those that make opening harmless: a link is not followed, a FIFO without a
// writer and a device don't block. The caller closes the descriptor.
func Open(dir int, rel string, flags int) (int, error) {
	if rel == "" {
		rel = "."
	}
	at := dir
	for len(rel) > longest {
		cut := strings.LastIndexByte(rel[:longest], '/')
		if cut <= 0 {
			break // names are short, so the kernel will refuse it
		}
		next, err := open(at, rel[:cut], unix.O_PATH|unix.O_DIRECTORY)
		if at != dir {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at, rel = next, rel[cut+1:]
	}
	fd, err := open(at, rel, flags)
	if at != dir {
		unix.Close(at)
	}
	return fd, err
}

func open(at int, rel string, flags int) (int, error) {
	if flags&unix.O_PATH == 0 {
		flags |= unix.O_NONBLOCK | unix.O_NOCTTY
	}
	return Openat2(at, rel, &unix.OpenHow{Flags: uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC), Resolve: inside})
}

// Dir opens the directory rel below dir to be read.
func Dir(dir int, rel string) (int, error) {
	return Open(dir, rel, unix.O_RDONLY|unix.O_DIRECTORY)
}

// Parent opens the directory that holds rel, and gives rel's last name.
//
// Precondition: rel is a clean relative path with at least one name.
func Parent(dir int, rel string) (fd int, name string, err error) {
	i := strings.LastIndexByte(rel, '/')
	up := ""
	if i >= 0 {
		up = rel[:i]
	}
	fd, err = Dir(dir, up)
	return fd, rel[i+1:], err
}

// Openat2 is openat2(2), tried again while a path changes under it: EAGAIN is
// the answer then, and after a thousand times the result.
func Openat2(at int, name string, how *unix.OpenHow) (int, error) {
	for range 1000 {
		fd, err := unix.Openat2(at, name, how)
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// Entry is one name in a directory.
type Entry struct {
	Name string
	Ino  uint64
	Kind byte // DT_*, readdir(3); DT_UNKNOWN where the file system does not say
}

// Lister lists directories, with a buffer that it keeps.
type Lister struct{ buf []byte }

// List gives what is in the directory fd, in no order.
func (l *Lister) List(fd int) ([]Entry, error) {
	if l.buf == nil {
		l.buf = make([]byte, 64<<10)
	}
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return nil, err
	}
	var list []Entry
	for {
		n, err := unix.Getdents(fd, l.buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return list, err
		}
		list = Entries(list, l.buf[:n])
	}
}

// Names gives the names in the directory fd, sorted by their bytes.
func (l *Lister) Names(fd int) ([]Entry, error) {
	list, err := l.List(fd)
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

// Entries appends what getdents64(2) put into buf, without "." and "..".
func Entries(list []Entry, buf []byte) []Entry {
	const nameAt = 19
	for len(buf) > nameAt {
		size := int(binary.NativeEndian.Uint16(buf[16:]))
		if size <= nameAt || size > len(buf) {
			break
		}
		name := buf[nameAt:size]
		if i := slices.Index(name, 0); i >= 0 {
			name = name[:i]
		}
		if s := string(name); s != "." && s != ".." {
			list = append(list, Entry{s, binary.NativeEndian.Uint64(buf), buf[18]})
		}
		buf = buf[size:]
	}
	return list
}

// Time is a time of a file's, as exact as file systems have it.
type Time struct {
	Sec  int64  `json:"sec"`
	Nsec uint32 `json:"nsec"`
}

// Before reports whether t is before u.
func (t Time) Before(u Time) bool { return t.Sec < u.Sec || t.Sec == u.Sec && t.Nsec < u.Nsec }

// Nanoseconds is the time that is ns nanoseconds after 1970.
func Nanoseconds(ns int64) Time {
	sec, rest := ns/1e9, ns%1e9
	if rest < 0 {
		sec, rest = sec-1, rest+1e9
	}
	return Time{sec, uint32(rest)}
}

// Info is what is known of a file without opening it.
type Info struct {
	Type   uint32 // S_IFREG and so on, inode(7)
	Mode   uint32 // permissions, with set-user-ID, set-group-ID and sticky
	Size   int64
	Blocks int64 // of 512 bytes
	Mtime  Time
	Ctime  Time
	Dev    uint64
	Ino    uint64
	Nlink  uint32
	UID    uint32
	GID    uint32
	Rdev   uint64
	// Mounted says that another file system, or another part of this one, is
	// mounted there (STATX_ATTR_MOUNT_ROOT, Linux 5.8).
	Mounted bool
}

// IsDir reports whether it is a directory.
func (i *Info) IsDir() bool { return i.Type == unix.S_IFDIR }

// IsRegular reports whether it is a regular file.
func (i *Info) IsRegular() bool { return i.Type == unix.S_IFREG }

// Same reports whether a and b are of the same inode.
func (i *Info) Same(b *Info) bool { return i.Ino == b.Ino && i.Dev == b.Dev }

// Stat looks at the entry name of the directory dir, without following it; with
// name "" at what dir is open for. name is a single name.
func Stat(dir int, name string) (Info, error) {
	var st unix.Statx_t
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if err := unix.Statx(dir, name, flags, unix.STATX_BASIC_STATS, &st); err != nil {
		return Info{}, err
	}
	at := func(t unix.StatxTimestamp) Time { return Time{t.Sec, t.Nsec} }
	return Info{
		Type: uint32(st.Mode) & unix.S_IFMT, Mode: uint32(st.Mode) & 0o7777,
		Size: int64(st.Size), Blocks: int64(st.Blocks),
		Mtime: at(st.Mtime), Ctime: at(st.Ctime),
		Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino, Nlink: st.Nlink, UID: st.Uid, GID: st.Gid,
		Rdev:    unix.Mkdev(st.Rdev_major, st.Rdev_minor),
		Mounted: st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
	}, nil
}

// Readlink is the text of the symbolic link name in dir.
func Readlink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// Via is a path to the entry name of the directory dir, for calls that take no
// descriptor. Only its last part can be a link, and calls that follow none are to
// be used with it.
func Via(dir int, name string) string {
	p := "/proc/self/fd/" + strconv.Itoa(dir)
	if name == "" {
		return p
	}
	return p + "/" + name
}

// Xattrs are the names of the extended attributes of the entry name in dir,
// sorted. A file system without any has none.
func Xattrs(dir int, name string) ([]string, error) {
	path := Via(dir, name)
	list := unix.Llistxattr
	if name == "" {
		list = func(_ string, b []byte) (int, error) { return unix.Flistxattr(dir, b) }
	}
	buf := make([]byte, 1024)
	for {
		n, err := list(path, buf)
		if errors.Is(err, unix.ERANGE) && len(buf) < 64<<10 {
			buf = make([]byte, 64<<10) // XATTR_LIST_MAX
			continue
		}
		if errors.Is(err, unix.ENOTSUP) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		var names []string
		for s := range strings.SplitSeq(string(buf[:n]), "\x00") {
			if s != "" {
				names = append(names, s)
			}
		}
		slices.Sort(names)
		return names, nil
	}
}

// Xattr is the value of the attribute attr of the entry name in dir.
func Xattr(dir int, name, attr string) ([]byte, error) {
	buf := make([]byte, 256)
	for {
		var n int
		var err error
		if name == "" {
			n, err = unix.Fgetxattr(dir, attr, buf)
		} else {
			n, err = unix.Lgetxattr(Via(dir, name), attr, buf)
		}
		if errors.Is(err, unix.ERANGE) && len(buf) < 64<<10 {
			buf = make([]byte, 64<<10) // XATTR_SIZE_MAX
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}
