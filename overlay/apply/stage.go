package apply

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/overlay/change"
	"github.com/sbx-sandbox/sbx/overlay/upper"
)

// makeStage makes the directory at the top of the tree in which everything is
// made: on the same file system as all of it.
func (x *transaction) makeStage(name string) error {
	if err := unix.Mkdirat(x.lower, name, 0o700); err != nil {
		return named("mkdir", x.shown(name), err)
	}
	fd, err := beneath.Dir(x.lower, name)
	if err != nil {
		return named("open", x.shown(name), err)
	}
	x.stage = fd
	return named("chmod", x.shown(name), unix.Fchmod(fd, 0o700)) // no bits of the top's
}

// fill makes what is to come.
func (x *transaction) fill() error {
	for n, o := range x.ops {
		o.N = n
		if o.Kind != put && o.Kind != swap {
			if o.Kind == take {
				o.Old = markOf(&o.before)
			}
			continue
		}
		if err := x.make(x.stage, strconv.Itoa(n), o.item, true); err != nil {
			return err
		}
		i, err := beneath.Stat(x.stage, strconv.Itoa(n))
		if err != nil {
			return err
		}
		x.made[n] = i
		o.New = markOf(&i)
		if o.Kind == swap {
			o.Old = markOf(&o.before)
		}
	}
	return nil
}

// make makes the item number i, with what is in it, as name in the directory dir.
// The topmost can be moved, whatever its mode is to be.
func (x *transaction) make(dir int, name string, i int, topmost bool) error {
	if err := x.stopped(); err != nil {
		return err
	}
	it := &x.items[i]
	var err error
	switch it.Type {
	case change.File:
		err = x.makeFile(dir, name, it)
	case change.Symlink:
		if err = unix.Symlinkat(it.Target, dir, name); err == nil {
			err = unix.UtimesNanoAt(dir, name, times(it.Now.Mtime), unix.AT_SYMLINK_NOFOLLOW)
		}
	case change.Dir:
		return x.makeDir(dir, name, i, topmost)
	default:
		err = fmt.Errorf("BUG: a %s is to be taken over", it.Type)
	}
	return named("making", x.shown(it.Path), err)
}

func (x *transaction) makeDir(dir int, name string, i int, topmost bool) error {
	it := &x.items[i]
	if err := unix.Mkdirat(dir, name, 0o700); err != nil {
		return named("mkdir", x.shown(it.Path), err)
	}
	fd, err := beneath.Dir(dir, name)
	if err != nil {
		return named("open", x.shown(it.Path), err)
	}
	defer unix.Close(fd)
	for j := i + 1; j < len(x.items) && change.Under(x.items[j].Path, it.Path); j++ {
		in := &x.items[j]
		if in.Verdict != Take || in.Gone() || path.Dir(in.Path) != it.Path {
			continue
		}
		if err := x.make(fd, path.Base(in.Path), j, false); err != nil {
			return err
		}
	}
	mode := mode(it.Change)
	if gid, set := x.group(it.Path); set { // as mkdir(2) in that directory would have it
		if unix.Fchown(fd, -1, int(gid)) == nil {
			mode |= unix.S_ISGID
		}
	}
	if topmost {
		mode |= 0o700
	}
	err = x.xattrs(fd, it)
	if err == nil {
		err = unix.Fchmod(fd, mode)
	}
	if err == nil {
		err = unix.UtimesNanoAt(dir, name, times(it.Now.Mtime), unix.AT_SYMLINK_NOFOLLOW)
	}
	return named("making", x.shown(it.Path), err)
}

// group is the group that the nearest directory of the host's above a path passes
// on, if it does.
func (x *transaction) group(rel string) (gid uint32, set bool) {
	for rel != "" {
		rel = up(rel)
		if i, err := stat(x.lower, rel); err == nil {
			return i.GID, i.IsDir() && i.Mode&unix.S_ISGID != 0
		}
	}
	return 0, false
}

func (x *transaction) makeFile(dir int, name string, it *Item) error {
	from, err := x.source(it)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), it.Path)
	err = x.fillFile(fd, from, it)
	if err == nil && !x.sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// source opens a file of the layer, which must be the one that was looked at.
func (x *transaction) source(it *Item) (int, error) {
	fd, err := beneath.Open(x.Tree.upper, it.Path, unix.O_RDONLY)
	if err != nil {
		return -1, err
	}
	i, err := beneath.Stat(fd, "")
	if err == nil && (!i.IsRegular() || !i.Same(&it.Now) || i.Size != it.Now.Size || i.Mtime != it.Now.Mtime) {
		err = errors.New("the layer changed while it was taken over")
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (x *transaction) fillFile(fd, from int, it *Item) error {
	if err := upper.CopyData(fd, from, it.Now.Size, x.stopped); err != nil {
		return err
	}
	gid, set := x.group(it.Path)
	if it.Was == change.File {
		gid, set = it.Before.GID, true
	}
	if set {
		_ = unix.Fchown(fd, -1, int(gid)) // not one of the caller's groups: theirs then
	}
	if it.Was == change.File { // what the host granted others by name stays
		if acl, err := xattrAt(x.lower, it.Path, aclAttr); err == nil && acl != nil {
			if err := unix.Fsetxattr(fd, aclAttr, acl, 0); err != nil {
				return err
			}
		}
	}
	if err := x.xattrs(fd, it); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, mode(it.Change)); err != nil {
		return err
	}
	return utimes(fd, it.Now.Mtime)
}

const aclAttr = "system.posix_acl_access"

// xattrs sets on fd the attributes of the layer's that may be taken over.
func (x *transaction) xattrs(fd int, it *Item) error {
	dir, name, err := beneath.Parent(x.Tree.upper, it.Path)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	names, err := beneath.Xattrs(dir, name)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !strings.HasPrefix(n, "user.") || change.Driver(n) {
			continue
		}
		v, err := beneath.Xattr(dir, name, n)
		if err == nil {
			err = unix.Fsetxattr(fd, n, v, 0)
		}
		if errors.Is(err, unix.ENOTSUP) { // the host's file system has none
			it.Strip = append(it.Strip, n)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// xattrAt is an attribute of the path rel below dir, nil if it has none of that
// name.
func xattrAt(dir int, rel, attr string) ([]byte, error) {
	at, name := dir, ""
	if rel != "" {
		var err error
		if at, name, err = beneath.Parent(dir, rel); err != nil {
			return nil, err
		}
		defer unix.Close(at)
	}
	v, err := beneath.Xattr(at, name, attr)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if v == nil && err == nil {
		v = []byte{}
	}
	return v, err
}

// times are for utimensat(2): the access time stays.
func times(mtime beneath.Time) []unix.Timespec {
	return []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: mtime.Sec, Nsec: int64(mtime.Nsec)}}
}

func utimes(fd int, mtime beneath.Time) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, beneath.Via(fd, ""), times(mtime), 0)
}

// clear removes what is in the directory fd, which is apply's own, or holds what
// was taken out of the tree.
func clear(fd int) error {
	var l beneath.Lister
	list, err := l.List(fd)
	if err != nil {
		return err
	}
	for _, e := range list {
		err := unix.Unlinkat(fd, e.Name, 0)
		if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
			err = clearDir(fd, e.Name)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return named("unlink", e.Name, err)
		}
	}
	return nil
}

func clearDir(at int, name string) error {
	fd, err := beneath.Dir(at, name)
	if errors.Is(err, unix.EACCES) {
		// One that its owner may not even list.
		var o int
		if o, err = beneath.Open(at, name, unix.O_PATH|unix.O_DIRECTORY); err != nil {
			return err
		}
		err = unix.Chmod(beneath.Via(o, ""), 0o700)
		unix.Close(o)
		if err == nil {
			fd, err = beneath.Dir(at, name)
		}
	}
	if err != nil {
		return err
	}
	err = clear(fd)
	if errors.Is(err, unix.EACCES) {
		if err = unix.Fchmod(fd, 0o700); err == nil {
			err = clear(fd)
		}
	}
	unix.Close(fd)
	if err == nil {
		err = unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
	}
	return err
}

// word makes names that are not taken.
func word() string {
	const letters = "abcdefghjkmnpqrstuvwxyz23456789"
	b := make([]byte, 8)
	_, _ = unix.Getrandom(b, 0) // so few bytes always come whole, getrandom(2)
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b)
}

// dirs are the directories that the operations change, each once.
func (x *transaction) dirs() []string {
	list := []string{""}
	for _, o := range x.ops {
		list = append(list, up(string(o.Path)))
	}
	slices.Sort(list)
	return slices.Compact(list)
}
