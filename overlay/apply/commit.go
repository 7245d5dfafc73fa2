package apply

import (
	"errors"
	"fmt"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/overlay/change"
)

// transaction is one apply.
type transaction struct {
	*Tree
	items   []Item
	ops     []*op
	stopped func() error
	log     *journal
	stage   int // descriptor of the directory in which everything is made
	name    string
	made    map[int]beneath.Info // what is in it, by number
	sync    bool                 // all at once instead of file by file
	// topQuiet says that nothing came or went at the top of the tree since the
	// sandbox started.
	topQuiet bool
	// ours are change times that this apply caused, of files with several names.
	ours map[uint64]beneath.Time
}

// manyFiles is from how many on the whole file system is brought to disk at once.
const manyFiles = 100

// run does all of it: make, note, exchange, clean up.
func (x *transaction) run() (err error) {
	defer func() {
		if x.stage >= 0 {
			unix.Close(x.stage)
		}
		x.log.close()
	}()
	x.name = stagePrefix + word()
	x.topQuiet = x.quiet("")
	if x.log, err = begin(x.Tree.journal, journalLine{Version: journalVersion, Stage: x.name, Top: x.topQuiet}); err != nil {
		return err
	}
	n := 0
	for i := range x.items {
		if x.items[i].Verdict == Take {
			n++
		}
	}
	x.sync = n > manyFiles
	if err := x.prepare(); err != nil {
		return errors.Join(err, x.drop())
	}
	for i, o := range x.ops {
		if err = x.stopped(); err == nil {
			err = x.do(o)
		}
		if err != nil {
			return x.back(x.ops[:i+1], err) // this one may be done in part
		}
	}
	if err = x.flush(); err == nil {
		err = x.remember(x.ops, false)
	}
	if err == nil {
		err = x.log.write(journalLine{Mark: markDone})
	}
	if err != nil {
		return x.back(x.ops, err)
	}
	if err := x.drop(); err != nil {
		return &LeftError{err}
	}
	return nil
}

// LeftError is that all was taken over, but that something of apply's own could
// not be removed afterwards. Recover tries again.
type LeftError struct{ Err error }

func (e *LeftError) Error() string { return "clearing up: " + e.Err.Error() }

// Unwrap gives why.
func (e *LeftError) Unwrap() error { return e.Err }

// prepare makes everything and writes down what is to be done.
func (x *transaction) prepare() error {
	if err := x.makeStage(x.name); err != nil {
		return err
	}
	if err := x.fill(); err != nil {
		return err
	}
	if err := x.metas(); err != nil {
		return err
	}
	for _, o := range x.ops {
		o.Quiet = x.quiet(up(string(o.Path)))
	}
	x.arrange()
	if x.sync {
		if err := unix.Syncfs(x.lower); err != nil {
			return named("syncfs", x.Top, err)
		}
	} else if err := unix.Fsync(x.stage); err != nil {
		return named("fsync", x.shown(x.name), err)
	}
	lines := make([]journalLine, 0, len(x.ops)+1)
	for _, o := range x.ops {
		lines = append(lines, journalLine{Op: o})
	}
	return x.log.write(append(lines, journalLine{Mark: markCommit})...)
}

// quiet reports whether nothing came or went in a directory since the sandbox
// started.
func (x *transaction) quiet(dir string) bool {
	i, err := stat(x.lower, dir)
	return err == nil && (!since(&i, x.base) || x.known.has(dir, &i))
}

// up is the directory of a path, "" for the top.
func up(rel string) string {
	if dir := path.Dir(rel); dir != "." {
		return dir
	}
	return ""
}

// back undoes what was done, and gives err.
func (x *transaction) back(done []*op, err error) error {
	kept, undo := x.undoAll(done)
	if undo != nil {
		return errors.Join(err, fmt.Errorf("putting things back: %w; sbx apply --abort tries again", undo))
	}
	if err2 := errors.Join(x.remember(done, true), x.dropKept(kept)); err2 != nil {
		return errors.Join(err, err2)
	}
	return err
}

// drop removes what was made, and the journal.
func (x *transaction) drop() error {
	if x.stage >= 0 {
		if err := clear(x.stage); err != nil {
			return err
		}
		if err := unix.Unlinkat(x.lower, x.name, unix.AT_REMOVEDIR); err != nil {
			return named("rmdir", x.shown(x.name), err)
		}
	}
	x.touched()
	return x.log.remove()
}

// flush brings what was exchanged to disk.
func (x *transaction) flush() error {
	dirs := x.dirs()
	if x.sync || len(dirs) > manyFiles {
		return named("syncfs", x.Top, unix.Syncfs(x.lower))
	}
	for _, d := range append(dirs, "") {
		fd, err := beneath.Dir(x.lower, d)
		if err == nil {
			err = unix.Fsync(fd)
			unix.Close(fd)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) { // gone with the directory above it
			return named("fsync", x.shown(d), err)
		}
	}
	return named("fsync", x.Top, unix.Fsync(x.stage))
}

// do carries out one operation, if the host's file is still what was looked at.
func (x *transaction) do(o *op) error {
	rel := string(o.Path)
	if rel == "" {
		return x.setAttrs(x.lower, "", o, o.Set)
	}
	dir, name, err := beneath.Parent(x.lower, rel)
	if err != nil {
		return &BusyError{rel, "its directory is not what it was: " + err.Error()}
	}
	defer unix.Close(dir)
	if o.Kind != put {
		if err := x.check(dir, name, o); err != nil {
			return err
		}
	}
	made := strconv.Itoa(o.N)
	switch o.Kind {
	case meta:
		return x.setAttrs(dir, name, o, o.Set)
	case put:
		err := unix.Renameat2(x.stage, made, dir, name, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			return &BusyError{rel, "it was made on the host meanwhile"}
		}
		return x.renamed(rel, err)
	case swap:
		err = unix.Renameat2(x.stage, made, dir, name, unix.RENAME_EXCHANGE)
	case take:
		err = unix.Renameat2(dir, name, x.stage, made, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		return x.renamed(rel, err)
	}
	// Between the look and the rename it may have been replaced: what came out is
	// what counts.
	if err := x.came(o, made); err != nil {
		if back := x.undo(o); back != nil {
			return errors.Join(err, back)
		}
		return err
	}
	return nil
}

// renamed words an error of rename.
func (x *transaction) renamed(rel string, err error) error {
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%s: its file system can't exchange files in one step (renameat2(2)), which apply needs", x.shown(rel))
	}
	return named("rename", x.shown(rel), err)
}

// check makes sure that an entry is what was looked at.
func (x *transaction) check(dir int, name string, o *op) error {
	i, err := beneath.Stat(dir, name)
	if err != nil {
		return &BusyError{string(o.Path), "it was removed on the host meanwhile"}
	}
	it, whole := o.Old.is(&i)
	if it && !i.IsDir() && i.Ctime != o.before.Ctime && x.ours[i.Ino] != i.Ctime {
		whole = false
	}
	if !whole {
		return &BusyError{string(o.Path), "it changed on the host meanwhile"}
	}
	return nil
}

// came makes sure that what came out of the tree is what was looked at, with all
// that is in it.
func (x *transaction) came(o *op, made string) error {
	i, err := beneath.Stat(x.stage, made)
	if err != nil {
		return err
	}
	if _, whole := o.Old.is(&i); !whole {
		return &BusyError{string(o.Path), "it was replaced on the host meanwhile"}
	}
	if i.Nlink > 1 && !i.IsDir() {
		x.ours[i.Ino] = i.Ctime
	}
	if !i.IsDir() {
		return nil
	}
	fd, err := beneath.Dir(x.stage, made)
	if err != nil {
		return named("open", x.shown(string(o.Path)), err)
	}
	defer unix.Close(fd)
	want := map[string]*change.Change{}
	for k := range o.tree {
		if c := o.tree[k].Change; c.Gone() {
			want[c.Path] = c
		}
	}
	return x.emptied(fd, string(o.Path), want)
}

// emptied makes sure that a directory that came out holds just what was looked at.
func (x *transaction) emptied(fd int, rel string, want map[string]*change.Change) error {
	var l beneath.Lister
	list, err := l.List(fd)
	if err != nil {
		return named("readdir", x.shown(rel), err)
	}
	for _, e := range list {
		at := rel + "/" + e.Name
		i, err := beneath.Stat(fd, e.Name)
		if err != nil {
			return named("stat", x.shown(at), err)
		}
		c := want[at]
		if c == nil {
			return &BusyError{at, "it was made on the host meanwhile"}
		}
		_, whole := markOf(&c.Before).is(&i)
		if !whole || !i.IsDir() && i.Ctime != c.Before.Ctime && x.ours[i.Ino] != i.Ctime {
			return &BusyError{at, "it changed on the host meanwhile"}
		}
		if i.IsDir() {
			sub, err := beneath.Dir(fd, e.Name)
			if err != nil {
				return named("open", x.shown(at), err)
			}
			err = x.emptied(sub, at, want)
			unix.Close(sub)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// setAttrs sets what a file has beside its content.
func (x *transaction) setAttrs(dir int, name string, o *op, a *attrs) error {
	fd, err := beneath.Open(dir, name, unix.O_PATH)
	if err != nil {
		return named("open", x.shown(string(o.Path)), err)
	}
	defer unix.Close(fd)
	if i, err := beneath.Stat(fd, ""); err != nil || i.Ino != o.Old.Ino {
		return &BusyError{string(o.Path), "it was replaced on the host meanwhile"}
	}
	via := beneath.Via(fd, "")
	for n, v := range a.Xattrs {
		if v == nil {
			if err = unix.Removexattr(via, n); errors.Is(err, unix.ENODATA) {
				err = nil
			}
		} else {
			err = unix.Setxattr(via, n, v, 0)
		}
		if err != nil {
			return named("setxattr "+n, x.shown(string(o.Path)), err)
		}
	}
	if a.Mode != nil {
		if err := unix.Chmod(via, *a.Mode); err != nil {
			return named("chmod", x.shown(string(o.Path)), err)
		}
	}
	if a.Mtime != nil {
		if err := utimes(fd, *a.Mtime); err != nil {
			return named("utimensat", x.shown(string(o.Path)), err)
		}
	}
	if i, err := beneath.Stat(fd, ""); err == nil && i.Nlink > 1 && !i.IsDir() {
		x.ours[i.Ino] = i.Ctime
	}
	return nil
}
