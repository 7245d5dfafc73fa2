package change

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/sandbox/triggers"
)

// Source is a layer and what it lies on.
type Source struct {
	Driver string // upper.Kernel or upper.Fuse: whose marks count
	Upper  int    // descriptor of the layer's directory
	Lower  int    // descriptor of the host's directory below it
}

// maxDepth is how deep directories may lie in each other: each level holds two
// descriptors, of which a process has 1024 by default in all.
const maxDepth = 480

// Options of a walk.
type Options struct {
	// Stop, if it is not nil, ends the walk early once it says so.
	Stop func() error
	// Renames says to find out which files were moved.
	Renames bool
	// Owners says that another owner or group is a change.
	Owners bool
}

// Walk compares a layer with what it lies on. What can't be told is among the
// list's problems; the error is for what keeps anything from being told.
//
// Precondition: nobody changes the layer meanwhile. The host's directory may
// change; each file is then as it was at some moment.
func Walk(s Source, o Options) (*List, error) {
	m, err := marksOf(s.Driver)
	if err != nil {
		return nil, err
	}
	w := &walker{Source: s, marks: m, stop: o.Stop, owners: o.Owners, list: &List{Repositories: map[string]bool{}}, uid: uint32(unix.Geteuid()), inodes: map[uint64]string{}}
	top := pair{up: s.Upper, low: s.Lower}
	ui, err := beneath.Stat(s.Upper, "")
	if err != nil {
		return nil, err
	}
	li, err := beneath.Stat(s.Lower, "")
	if err != nil {
		return nil, err
	}
	if err := w.top(&top, &ui, &li); err != nil {
		return nil, err
	}
	w.list.sorted()
	w.links()
	if o.Renames {
		if err := w.renames(); err != nil {
			return nil, err
		}
	}
	return w.list, nil
}

type walker struct {
	Source
	*marks
	stop   func() error
	owners bool
	list   *List
	lister beneath.Lister
	comparer
	uid    uint32
	inodes map[uint64]string // of files with several names: the first one
}

// pair is a directory in both trees.
type pair struct {
	path  string
	up    int
	low   int  // -1 if the host has no such directory
	pure  bool // what the host has in it is hidden
	depth int
}

func (p *pair) at(name string) string {
	if p.path == "" {
		return name
	}
	return p.path + "/" + name
}

// problem notes what can't be told about a path.
func (w *walker) problem(at string, denied bool, format string, args ...any) {
	w.list.Problems = append(w.list.Problems, Problem{at, fmt.Sprintf(format, args...), denied})
}

// trouble notes an error. A place of the upper that may not be read is one for
// somebody with more rights; one of the host's is nobody's.
func (w *walker) trouble(at string, ofUpper bool, err error) {
	w.problem(at, ofUpper && errors.Is(err, fs.ErrPermission), "%v", err)
}

func (w *walker) top(p *pair, ui, li *beneath.Info) error {
	_, _, own, err := w.attributes(p.up, "")
	if err != nil {
		return err
	}
	c := Change{Kind: Changed, Type: Dir, Was: Dir, Now: *ui, Before: *li, Mode: ui.Mode&0o777 != li.Mode&0o777}
	c.Xattrs = w.differing(p.up, p.low, "", own)
	c.Owner = w.owner(ui, li)
	if c.Mode || c.Owner || len(c.Xattrs) > 0 {
		w.list.Changes = append(w.list.Changes, c)
	}
	return w.dir(p)
}

// attributes reads the marks of an entry of the upper.
func (w *walker) attributes(dir int, name string) (opaque bool, origin string, own []string, err error) {
	names, err := beneath.Xattrs(dir, name)
	if err != nil || len(names) == 0 {
		return false, "", nil, err
	}
	return w.read(dir, name, names)
}

// dir compares the entries of a directory.
func (w *walker) dir(p *pair) error {
	if w.stop != nil {
		if err := w.stop(); err != nil {
			return err
		}
	}
	list, err := w.lister.Names(p.up)
	if err != nil {
		w.trouble(p.path, true, err)
		return nil
	}
	list, gone, opaque := w.hidden(list)
	p.pure = p.pure || opaque
	first := len(w.list.Changes)
	seen := map[string]bool{}
	for _, e := range list {
		if p.pure {
			seen[e.Name] = true
		}
		if err := w.entry(p, e.Name); err != nil {
			return err
		}
	}
	if p.low < 0 {
		w.repository(p, list, first)
		return nil
	}
	if p.pure {
		below, err := w.lister.Names(p.low)
		if err != nil {
			w.trouble(p.path, false, err)
			return nil
		}
		gone = nil
		for _, e := range below {
			if !seen[e.Name] {
				gone = append(gone, e.Name)
			}
		}
	}
	for _, name := range gone {
		if slices.ContainsFunc(list, func(e beneath.Entry) bool { return e.Name == name }) {
			continue // it was made anew
		}
		if err := w.gone(p, name); err != nil {
			return err
		}
	}
	w.repository(p, list, first)
	return nil
}

// owner reports whether it is to be told that one belongs to another.
func (w *walker) owner(a, b *beneath.Info) bool {
	return w.owners && (a.UID != b.UID || a.GID != b.GID)
}

// lower looks at what the host has under a name. It is false for nothing.
func (w *walker) lower(p *pair, name string) (beneath.Info, bool, error) {
	if p.low < 0 {
		return beneath.Info{}, false, nil
	}
	i, err := beneath.Stat(p.low, name)
	if errors.Is(err, unix.ENOENT) {
		return i, false, nil
	}
	if err == nil && i.Mounted {
		err = errors.New("something else is mounted there now")
	}
	return i, err == nil, err
}

// entry notes what one entry of the upper changes, with all that is in it.
func (w *walker) entry(p *pair, name string) error {
	at := p.at(name)
	ui, err := beneath.Stat(p.up, name)
	if err != nil {
		w.trouble(at, true, err)
		return nil
	}
	if w.whiteout(&ui) {
		return w.gone(p, name)
	}
	li, there, err := w.lower(p, name)
	if err != nil {
		w.trouble(at, false, err)
		return nil
	}
	c := Change{Path: at, Type: TypeOf(&ui), Now: ui}
	if c.Type == File && (ui.Mode&0o400 == 0 || ui.UID != w.uid) {
		w.list.Private = true
	}
	opaque, own, err := w.describe(p, name, &c)
	if err != nil {
		w.trouble(at, true, err)
		return nil
	}
	if there {
		c.Was, c.Before = TypeOf(&li), li
	}
	if err := w.judge(p, name, there, own, &c); err != nil {
		w.problem(at, errors.Is(err, errDenied{}), "%v", err)
		return nil
	}
	if c.Kind != Changed || c.Content || c.Mode || c.Time || c.Owner || len(c.Xattrs) > 0 {
		w.list.Changes = append(w.list.Changes, c)
	}
	if c.Kind == Typed && c.Was == Dir {
		if err := w.goneBelow(p, name); err != nil {
			return err
		}
	}
	if c.Type == Dir {
		return w.enter(p, name, opaque, there && li.IsDir())
	}
	return nil
}

// describe fills in what the upper alone says of an entry. own are its attributes
// but for the marks, of which opaque is one.
func (w *walker) describe(p *pair, name string, c *Change) (opaque bool, own []string, err error) {
	if opaque, c.Copied, own, err = w.attributes(p.up, name); err != nil {
		return false, nil, err
	}
	if w.fuse && c.Type == Dir && !opaque {
		// It marks each directory that is made, so this one was copied.
		if _, err := beneath.Stat(p.up, name+"/"+whOpaque); err != nil {
			c.Copied = c.Path
		}
	}
	if c.Type == Symlink {
		c.Target, err = beneath.Readlink(p.up, name)
	}
	return opaque, own, err
}

// judge says what kind of change an entry of the upper is, and what differs from the
// host's, if there is one.
func (w *walker) judge(p *pair, name string, there bool, own []string, c *Change) error {
	switch {
	case !there:
		c.Kind, c.Xattrs = Added, weighty(own)
	case c.Now.Type != c.Before.Type, c.Type == Device && c.Now.Rdev != c.Before.Rdev:
		c.Kind, c.Xattrs = Typed, weighty(own)
	default:
		c.Kind = Changed
		if err := w.compare(p, name, c); err != nil {
			return err
		}
		c.Owner = w.owner(&c.Now, &c.Before)
		c.Xattrs = w.differing(p.up, p.low, name, own)
	}
	if slices.Contains(c.Xattrs, aclAttr) {
		w.withoutACL(p, name, c)
	}
	return nil
}

// withoutACL takes from a mode what is there only for an access control list that
// will not be taken over: with a list, the group's bits are the most that anybody
// in it may (acl(5), "Correspondence between ACL entries and file permission bits").
func (w *walker) withoutACL(p *pair, name string, c *Change) {
	acl, err := beneath.Xattr(p.up, name, aclAttr)
	if err != nil {
		return // it is not in the upper, or was taken away
	}
	c.Now.Mode &^= 0o070 &^ (groupOf(acl) << 3)
	c.Mode = c.Kind == Changed && c.Now.Mode != c.Before.Mode
}

const aclAttr = "system.posix_acl_access"

// groupOf are the rights of the owning group in an access control list, as the
// kernel writes one: a version, then entries of tag, rights and id.
func groupOf(acl []byte) uint32 {
	const groupObj, size = 0x04, 8
	for at := 4; at+size <= len(acl); at += size {
		if binary.LittleEndian.Uint16(acl[at:]) == groupObj {
			return uint32(binary.LittleEndian.Uint16(acl[at+2:])) & 7
		}
	}
	return 0
}

// enter compares what is in a directory of the upper.
func (w *walker) enter(p *pair, name string, opaque, both bool) error {
	at := p.at(name)
	if p.depth >= maxDepth {
		w.problem(at, false, "it lies deeper than %d directories", maxDepth)
		return nil
	}
	up, err := beneath.Dir(p.up, name)
	if err != nil {
		w.trouble(at, true, err)
		return nil
	}
	defer unix.Close(up)
	c := pair{path: at, up: up, low: -1, pure: p.pure || opaque, depth: p.depth + 1}
	if both {
		if c.low, err = beneath.Dir(p.low, name); err != nil {
			w.trouble(at, false, err)
			return nil
		}
		defer unix.Close(c.low)
	}
	return w.dir(&c)
}

// compare finds out what differs between two entries of one type.
func (w *walker) compare(p *pair, name string, c *Change) error {
	c.Mode = c.Now.Mode != c.Before.Mode
	switch c.Type {
	case Dir:
		return nil
	case Symlink:
		c.Mode = false // links have none
		before, err := beneath.Readlink(p.low, name)
		if err != nil {
			return err
		}
		c.Content = c.Target != before
		return nil
	case File:
		c.Content = c.Now.Size != c.Before.Size
		if !c.Content {
			same, err := w.sameFile(p, name, c)
			if err != nil {
				return err
			}
			c.Content = !same
		}
	default:
		return nil
	}
	c.Time = c.Now.Mtime != c.Before.Mtime
	return nil
}

// errDenied is a file of the upper that the caller may not read.
type errDenied struct{ error }

func (e errDenied) Is(err error) bool { _, is := err.(errDenied); return is }

func (w *walker) sameFile(p *pair, name string, c *Change) (bool, error) {
	if c.Now.Size == 0 {
		return true, nil
	}
	x, err := open(p.up, name, &c.Now)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = errDenied{err}
		}
		return false, err
	}
	defer unix.Close(x)
	y, err := open(p.low, name, &c.Before)
	if err != nil {
		return false, err
	}
	defer unix.Close(y)
	return w.same(x, y, c.Now.Size)
}

// differing are the attributes that one of two entries has with another value
// than the other. own are those of the upper's.
func (w *walker) differing(up, low int, name string, own []string) (names []string) {
	below, err := beneath.Xattrs(low, name)
	if err != nil {
		below = nil // it may be gone by now
	}
	if len(own) == 0 && len(below) == 0 {
		return nil
	}
	own, below = weighty(own), weighty(below)
	for _, n := range own {
		if !slices.Contains(below, n) {
			names = append(names, n)
			continue
		}
		a, err := beneath.Xattr(up, name, n)
		b, err2 := beneath.Xattr(low, name, n)
		if err != nil || err2 != nil || !bytes.Equal(a, b) {
			names = append(names, n)
		}
	}
	for _, n := range below {
		if !slices.Contains(own, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// gone notes that a name of the host's is deleted, with all that is in it.
func (w *walker) gone(p *pair, name string) error {
	li, there, err := w.lower(p, name)
	if err != nil {
		w.trouble(p.at(name), false, err)
		return nil
	}
	if !there {
		return nil
	}
	t := TypeOf(&li)
	w.list.Changes = append(w.list.Changes, Change{Path: p.at(name), Kind: Deleted, Type: t, Was: t, Before: li})
	if t == Dir {
		return w.goneBelow(p, name)
	}
	return nil
}

// goneBelow notes what was deleted with a directory.
func (w *walker) goneBelow(p *pair, name string) error {
	c := pair{path: p.at(name), up: -1, pure: true, depth: p.depth + 1}
	if c.depth > maxDepth {
		w.problem(c.path, false, "it lies deeper than %d directories", maxDepth)
		return nil
	}
	low, err := beneath.Dir(p.low, name)
	if err != nil {
		w.trouble(c.path, false, err)
		return nil
	}
	defer unix.Close(low)
	c.low = low
	list, err := w.lister.Names(low)
	if err != nil {
		w.trouble(c.path, false, err)
		return nil
	}
	for _, e := range list {
		if err := w.gone(&c, e.Name); err != nil {
			return err
		}
	}
	return nil
}

// layout are the names by which git takes a directory for a repository
// (gitrepository-layout(5)): HEAD, and objects with refs or commondir.
var layout = []string{"HEAD", "objects", "refs", "commondir"}

// repository finds out whether git takes a directory for a repository by what is
// in it: entries of the upper by any name that a file system may take for the
// right one, the host's by the right ones. first is the directory's first change.
func (w *walker) repository(p *pair, list []beneath.Entry, first int) {
	have := map[string]bool{}
	for _, e := range list {
		if e.Kind != unix.DT_CHR {
			have[triggers.Fold(e.Name)] = true
		}
	}
	for _, name := range layout {
		hidden := p.low < 0 || p.pure || slices.ContainsFunc(list, func(e beneath.Entry) bool { return e.Name == name })
		if !hidden {
			if _, there, _ := w.lower(p, name); there {
				have[triggers.Fold(name)] = true
			}
		}
	}
	if !have["head"] || !(have["objects"] && have["refs"] || have["commondir"]) {
		return
	}
	w.list.Repositories[p.path] = slices.ContainsFunc(w.list.Changes[first:], func(c Change) bool {
		dir, name := path.Split(c.Path)
		return strings.TrimSuffix(dir, "/") == p.path && (c.Kind == Added || c.Kind == Typed) &&
			slices.ContainsFunc(layout, func(l string) bool { return triggers.Fold(l) == triggers.Fold(name) })
	})
}

// links notes which files are the same inode.
func (w *walker) links() {
	for i := range w.list.Changes {
		c := &w.list.Changes[i]
		if c.Gone() || c.Type != File || c.Now.Nlink < 2 {
			continue
		}
		if at, ok := w.inodes[c.Now.Ino]; ok {
			c.Link = at
		} else {
			w.inodes[c.Now.Ino] = c.Path
		}
	}
}
