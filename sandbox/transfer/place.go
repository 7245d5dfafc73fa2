// Package transfer copies files between a sandbox and the host as streams of tar.
// What lies in a sandbox may change at any moment, to whatever the command in it
// likes: every look-up goes by descriptors, inside of the sandbox's root and, below
// what was named, without following links; nothing is opened before it is known to
// be a plain file.
package transfer

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
)

// Side is where paths are looked up.
type Side struct {
	root    int    // a descriptor of the directory that is /
	resolve uint64 // RESOLVE_* of openat2(2)
	name    string // "web:", or "" for the host
}

// Host is the host, with the caller's working directory.
func Host() Side { return Side{root: unix.AT_FDCWD} }

// Inside is a sandbox whose root directory the descriptor is. Links lead to where
// they lead inside of it (openat2(2), RESOLVE_IN_ROOT).
func Inside(root int, name string) Side {
	return Side{root: root, resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS, name: name + ":"}
}

// open looks a path up. flags are O_PATH and what is added to it.
func (s Side) open(p string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | flags, Resolve: s.resolve}
	fd, err := beneath.Openat2(s.root, p, &how)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: s.name + p, Err: err}
	}
	return fd, nil
}

// within opens a name in a directory, and follows nothing.
func within(dir int, name string, flags uint64) (int, error) {
	return beneath.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC | flags,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
}

// reopen opens what a descriptor of O_PATH is of, which is a plain file or a
// directory: no name is looked up again. Who holds a lease on a file (fcntl(2))
// keeps nobody waiting.
func reopen(fd, flags int) (int, error) {
	return unix.Open("/proc/self/fd/"+strconv.Itoa(fd), flags|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
}

// Source is what is to be copied.
type Source struct {
	fd       int // of O_PATH
	st       unix.Stat_t
	path     string // for errors
	base     string
	contents bool // of the directory, and not it
}

// Source finds what is to be copied. A last component that is a link is itself
// meant, unless follow is set or a slash follows. PATH/. means a directory's
// contents. The caller closes it.
func (s Side) Source(p string, follow bool) (*Source, error) {
	if p == "" {
		return nil, errors.New("the path of what is to be copied is empty")
	}
	flags := uint64(unix.O_NOFOLLOW)
	if follow || strings.HasSuffix(p, "/") {
		flags = 0
	}
	fd, err := s.open(p, flags)
	if err != nil {
		return nil, err
	}
	src := &Source{fd: fd, path: s.name + p, base: path.Base(p)}
	if err := unix.Fstat(fd, &src.st); err != nil {
		src.Close()
		return nil, &os.PathError{Op: "stat", Path: src.path, Err: err}
	}
	if what := special(src.st.Mode); what != "" {
		src.Close()
		return nil, fmt.Errorf("%s is %s; files, directories and links are copied, and nothing else", src.path, what)
	}
	switch src.base { // it has no name of its own there
	case ".", "..", "/":
		src.contents = true
	}
	return src, nil
}

// Close closes it.
func (s *Source) Close() { unix.Close(s.fd) }

func (s *Source) isDir() bool { return s.st.Mode&unix.S_IFMT == unix.S_IFDIR }

// Target is where a copy goes: names in a directory.
type Target struct {
	dir  int    // of O_PATH
	top  string // the name there, "" for the directory's contents
	path string // for errors
}

// Close closes it.
func (t *Target) Close() { unix.Close(t.dir) }

// Target finds where the copy of a source goes, as docker and cp(1) have it: into a
// directory that is there, else under the name that is given. Without a source
// (nil) it is a directory that an archive is unpacked in.
func (s Side) Target(p string, src *Source) (*Target, error) {
	if p == "" {
		return nil, errors.New("the path of where to copy to is empty")
	}
	fd, err := s.open(p, 0)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	if err == nil {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
			return nil, &os.PathError{Op: "stat", Path: s.name + p, Err: err}
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			t := &Target{dir: fd, path: s.name + p}
			if src != nil && !(src.contents && src.isDir()) {
				t.top = src.base
			}
			return t, nil
		}
		unix.Close(fd)
	}
	switch exists := err == nil; {
	case src == nil && exists:
		return nil, fmt.Errorf("%s%s is no directory, and an archive is unpacked in one", s.name, p)
	case src == nil, !exists && strings.HasSuffix(p, "/") && !src.isDir():
		return nil, fmt.Errorf("there is no directory %s%s", s.name, p)
	case exists && src.isDir():
		return nil, fmt.Errorf("%s%s is a file, and %s a directory", s.name, p, src.path)
	}
	clean := strings.TrimRight(p, "/")
	name := path.Base(clean)
	if name == "." || name == ".." || name == "/" {
		return nil, &os.PathError{Op: "open", Path: s.name + p, Err: unix.ENOENT}
	}
	parent, err := s.open(path.Dir(clean), unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &Target{dir: parent, top: name, path: s.name + path.Dir(clean)}, nil
}
