// Package seen remembers what was seen of the host while a sandbox was decided, as
// a list of checks that tell in a few system calls whether it would be decided the
// same again.
package seen

import (
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Log collects checks. A nil Log remembers nothing: its methods look, and that is all.
type Log struct {
	Checks []Check
	// Spoiled is why what was seen can't be looked at again, "" if it can.
	Spoiled string

	at map[place]int // where in Checks a path's is
}

// Check is one thing that was seen.
type Check struct {
	Kind Kind
	Bits Bits
	Path string // of Stat, Text
	Want Inode  // of Stat
	Text string // of Text, and what a Call wrote to its buffer
	Call Asked  // of Call
	FD   int    // of Stream, which Want describes
}

// Asked is a system call that is told nothing but numbers, and its answer.
type Asked struct {
	Nr     uintptr
	Args   [4]uintptr
	Buffer int   // which argument points to a buffer, from 1; 0 for none
	Answer int64 // negative for an errno
}

// Kind says what is looked at.
type Kind uint8

// The kinds of checks.
const (
	// Stat is an inode by its path, see Bits; Want is what it was, or the errno.
	Stat Kind = iota + 1
	// Text is a small file of the kernel's (proc(5)), which has no times: what it says.
	Text
	// Call is a system call about this process or its kernel.
	Call
	// Stream is a standard descriptor: the type of its file, and the device where that
	// is one.
	Stream
)

// Bits say which parts of an inode count: its type, mode, owner and number always.
type Bits uint8

const (
	// Follow follows a symbolic link at the end of the path.
	Follow Bits = 1 << iota
	// Links counts the number of hard links. It is for what is no directory.
	Links
	// Content counts size and times: what is in it was read, or its names, or where a
	// link leads.
	Content
)

// Inode is what fstatat(2) says, or its errno.
type Inode struct {
	Errno                 uint32
	Mode, UID, GID        uint32
	Dev, Ino, Links, Size uint64
	ModifiedNs, ChangedNs int64
}

// place is what there is one check of.
type place struct {
	path   string
	kind   Kind
	follow bool
}

// inode makes one of what the kernel said.
func inode(st *unix.Stat_t, err error) (i Inode, ok bool) {
	if err != nil {
		errno, ok := err.(unix.Errno)
		return Inode{Errno: uint32(errno)}, ok
	}
	return Inode{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid,
		Dev: uint64(st.Dev), Ino: st.Ino, Links: uint64(st.Nlink), Size: uint64(st.Size),
		ModifiedNs: st.Mtim.Nano(), ChangedNs: st.Ctim.Nano(),
	}, true
}

// Same says that nothing that counts by bits differs.
func (i *Inode) Same(o *Inode, bits Bits) bool {
	return i.Errno == o.Errno && i.Mode == o.Mode && i.UID == o.UID && i.GID == o.GID && i.Dev == o.Dev && i.Ino == o.Ino &&
		(bits&Links == 0 || i.Links == o.Links) &&
		(bits&Content == 0 || i.Size == o.Size && i.ModifiedNs == o.ModifiedNs && i.ChangedNs == o.ChangedNs)
}

// Holds looks again.
func (c *Check) Holds() bool {
	if c.Kind == Text {
		text, err := readText(c.Path)
		return err == nil && text == c.Text
	}
	var st unix.Stat_t
	err := stat(c.Path, c.Bits, &st)
	now, ok := inode(&st, err)
	return ok && now.Same(&c.Want, c.Bits)
}

// again are the errors that a look-up which fails by them fails by the next time, as
// long as nothing was changed.
func again(errno unix.Errno) bool {
	switch errno {
	case unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP, unix.ENAMETOOLONG:
		return true
	}
	return false
}

// Spoil says that something decides which can't be looked at again. The first reason
// is kept.
func (l *Log) Spoil(why string) {
	if l != nil && l.Spoiled == "" {
		l.Spoiled = why
	}
}

// remember adds a check, or what it wants more to that of the same path.
func (l *Log) remember(path string, bits Bits, st *unix.Stat_t, err error) {
	want, ok := inode(st, err)
	if !ok || err != nil && !again(unix.Errno(want.Errno)) {
		l.Spoil(path + " could not be looked at")
		return
	}
	if bits&Content != 0 && err == nil && young(&want) {
		l.Spoil(path + " was just changed")
	}
	p := place{path, Stat, bits&Follow != 0}
	i, ok := l.at[p]
	if !ok {
		l.put(p, Check{Kind: Stat, Bits: bits, Path: path, Want: want})
		return
	}
	c := &l.Checks[i]
	// What counts by one look only may have changed before or after the other.
	if !c.Want.Same(&want, c.Bits&bits) {
		l.Spoil(path + " was changed meanwhile")
	}
	if bits&Links != 0 && c.Bits&Links == 0 {
		c.Want.Links = want.Links
	}
	if bits&Content != 0 && c.Bits&Content == 0 {
		c.Want.Size, c.Want.ModifiedNs, c.Want.ChangedNs = want.Size, want.ModifiedNs, want.ChangedNs
	}
	c.Bits |= bits
}

// Prune drops checks that follow from others: below what is not there nothing is.
func (l *Log) Prune() {
	gone := map[string]bool{}
	for i := range l.Checks {
		if c := &l.Checks[i]; c.gone() {
			gone[c.Path] = true
		}
	}
	l.Checks = slices.DeleteFunc(l.Checks, func(c Check) bool {
		for dir := c.Path; c.gone() && path.Dir(dir) != dir; {
			if dir = path.Dir(dir); gone[dir] {
				return true
			}
		}
		return false
	})
	clear(l.at)
	for i := range l.Checks {
		c := &l.Checks[i]
		l.at[place{c.Path, c.Kind, c.Kind == Text || c.Bits&Follow != 0}] = i
	}
}

func (c *Check) gone() bool { return c.Kind == Stat && unix.Errno(c.Want.Errno) == unix.ENOENT }

func (l *Log) put(p place, c Check) {
	if l.at == nil {
		l.at = make(map[place]int, 128)
		l.Checks = make([]Check, 0, 128)
	}
	l.at[p] = len(l.Checks)
	l.Checks = append(l.Checks, c)
}
