// Package change says what was changed in a layer: it compares an upper directory
// that overlayfs or fuse-overlayfs wrote with the directory of the host's below
// it. It costs what changed, not what there is.
//
// Everything in the upper, and what is below it, may have been made by somebody
// hostile. Nothing is opened but regular files and directories, no link is
// followed, and the only marks that count are those of the driver that wrote it.
package change

import (
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
)

// Kind is what happened to a path.
type Kind string

// The kinds.
const (
	Added   Kind = "added"
	Changed Kind = "changed" // it is of the same type as before
	Typed   Kind = "type"    // it is of another type than before
	Deleted Kind = "deleted"
)

// Type is what a path names.
type Type string

// The types, inode(7).
const (
	File    Type = "file"
	Dir     Type = "directory"
	Symlink Type = "symlink"
	FIFO    Type = "fifo"
	Socket  Type = "socket"
	Device  Type = "device"
)

// TypeOf is the type of an inode.
func TypeOf(i *beneath.Info) Type {
	switch i.Type {
	case unix.S_IFREG:
		return File
	case unix.S_IFDIR:
		return Dir
	case unix.S_IFLNK:
		return Symlink
	case unix.S_IFIFO:
		return FIFO
	case unix.S_IFSOCK:
		return Socket
	}
	return Device
}

// Change is one path that is not as it was. What was deleted or added with a
// directory has a Change of its own.
type Change struct {
	// Path is below the top of the tree, with slashes; its names may hold any byte.
	Path string
	Kind Kind
	// Type is what it is now, or was if it was deleted.
	Type Type
	// Was is the type before; "" for what was added.
	Was Type
	// What of it differs, for Changed.
	Content bool // bytes, or where a link leads
	Mode    bool // permissions
	Time    bool // the modification time, of a file or link
	Owner   bool // whom it belongs to, if that was asked for
	// Target is where a link leads, unless it was deleted.
	Target string
	// Xattrs are the names of extended attributes that differ or, in what was
	// added, are there. The driver's own are not among them.
	Xattrs []string
	// Now and Before are the inodes, as far as there is one.
	Now, Before beneath.Info
	// From is where a file that was added lay before, if another one that was
	// deleted had the same content; To is the other way round.
	From, To string
	// Link is another path of this list that is the same inode; "" for none.
	Link string
	// Copied says that it was in the lower directory once, as the driver noted
	// when it copied it: if it is Added, it may have been deleted there since. It
	// is where it lay, or "?" where the driver does not note that.
	Copied string
}

// Gone reports whether nothing of the path remains.
func (c *Change) Gone() bool { return c.Kind == Deleted }

// Problem is a place whose changes can't be told.
type Problem struct {
	Path string `json:"path"`
	Why  string `json:"why"`
	// Denied says that the caller has no right to read it: somebody who may could.
	Denied bool `json:"denied,omitempty"`
}

// List is all that was changed, a directory before what is in it.
type List struct {
	Changes  []Change
	Problems []Problem
	// Repositories are the directories that git takes for repositories by what is
	// in them, of those that the upper has: true for one that came to be so.
	Repositories map[string]bool
	// Private says that there are files in the upper that only somebody with more
	// rights than the caller may read.
	Private bool
}

// Find gives the change of a path, nil for none.
func (l *List) Find(path string) *Change {
	i, ok := slices.BinarySearchFunc(l.Changes, path, func(c Change, p string) int { return Order(c.Path, p) })
	if !ok {
		return nil
	}
	return &l.Changes[i]
}

// Below are the changes in the directory path, without its own.
func (l *List) Below(path string) []Change {
	i, ok := slices.BinarySearchFunc(l.Changes, path, func(c Change, p string) int { return Order(c.Path, p) })
	if ok {
		i++
	}
	end := i
	for end < len(l.Changes) && Under(l.Changes[end].Path, path) {
		end++
	}
	return l.Changes[i:end]
}

// Denied reports whether something could not be read that another may read.
func (l *List) Denied() bool {
	return l.Private || slices.ContainsFunc(l.Problems, func(p Problem) bool { return p.Denied })
}

// Under reports whether path lies in the directory dir; "" is the top.
func Under(path, dir string) bool {
	return dir == "" && path != "" || len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}

// Order compares paths so that a directory comes right before what is in it.
func Order(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			x, y := a[i], b[i]
			if x == '/' {
				x = 0
			}
			if y == '/' {
				y = 0
			}
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

// JSON is a Change as scripts want it: sizes and modes before and after, modes in
// octal. In texts, what is not UTF-8 is replaced; Bytes is there if Path has such.
type JSON struct {
	Path    string   `json:"path"`
	Bytes   []byte   `json:"path_bytes,omitempty"`
	Kind    Kind     `json:"kind"`
	Type    Type     `json:"type"`
	Was     Type     `json:"was,omitempty"`
	Content bool     `json:"content,omitempty"`
	Mode    string   `json:"mode,omitempty"`
	OldMode string   `json:"old_mode,omitempty"`
	Time    bool     `json:"time,omitempty"`
	Target  string   `json:"target,omitempty"`
	Xattrs  []string `json:"xattrs,omitempty"`
	Size    int64    `json:"size"`
	OldSize int64    `json:"old_size"`
	From    string   `json:"renamed_from,omitempty"`
	To      string   `json:"renamed_to,omitempty"`
	Link    string   `json:"hard_link_to,omitempty"`
}

// JSON is c for scripts.
func (c *Change) JSON() JSON {
	f := JSON{
		Path: c.Path, Kind: c.Kind, Type: c.Type, Content: c.Content, Time: c.Time, Target: c.Target, Xattrs: c.Xattrs,
		From: c.From, To: c.To, Link: c.Link,
	}
	if c.Was != c.Type {
		f.Was = c.Was
	}
	if !utf8.ValidString(c.Path) {
		f.Bytes = []byte(c.Path)
	}
	if !c.Gone() {
		f.Mode = Octal(c.Now.Mode)
		f.Size = size(&c.Now)
	}
	if c.Was != "" {
		f.OldMode = Octal(c.Before.Mode)
		f.OldSize = size(&c.Before)
	}
	return f
}

func size(i *beneath.Info) int64 {
	if i.IsDir() {
		return 0
	}
	return i.Size
}

// Octal is a mode as people write it: 0644.
func Octal(mode uint32) string {
	const digits = "01234567"
	b := []byte{'0', digits[mode>>6&7], digits[mode>>3&7], digits[mode&7]}
	if special := mode >> 9 & 7; special != 0 {
		b[0] = digits[special]
	}
	return string(b)
}

// sorted puts the list in order.
func (l *List) sorted() {
	slices.SortFunc(l.Changes, func(a, b Change) int { return Order(a.Path, b.Path) })
	slices.SortStableFunc(l.Problems, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
}
