package apply

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/overlay/change"
)

// keptError is that what was there could not be put back, since the host has
// something else in its place by now. It is kept in the stage.
type keptError struct{ path, name string }

func (e *keptError) Error() string { return e.path + " has changed since" }

// undoAll undoes operations, the last one first. kept are those whose file could
// not be put back and is still in the stage.
func (x *transaction) undoAll(ops []*op) (kept []*keptError, err error) {
	for i := len(ops) - 1; i >= 0; i-- {
		var k *keptError
		switch err := x.undo(ops[i]); {
		case errors.As(err, &k):
			kept = append(kept, k)
		case err != nil:
			return kept, err
		}
	}
	return kept, nil
}

// undo undoes one operation, if it was carried out. It looks at what is there, so
// that it can be called again, by another process.
func (x *transaction) undo(o *op) error {
	rel, made := string(o.Path), strconv.Itoa(o.N)
	dir, name := x.lower, ""
	if rel != "" {
		var err error
		if dir, name, err = beneath.Parent(x.lower, rel); err != nil {
			if i, err := beneath.Stat(x.stage, made); err == nil && o.Kind != meta && o.Kind != put && i.Ino == o.Old.Ino {
				return &keptError{rel, made}
			}
			return nil // its directory is gone, and it with it
		}
		defer unix.Close(dir)
	}
	there, err := lookAt(dir, name)
	if err != nil {
		return named("stat", x.shown(rel), err)
	}
	if o.Kind == meta {
		if it, _ := o.Old.is(there); !it {
			return nil
		}
		return x.unset(dir, name, o, there)
	}
	aside, err := lookAt(x.stage, made)
	if err != nil {
		return named("stat", x.shown(x.name+"/"+made), err)
	}
	switch o.reversal(there, aside) {
	case takeOut:
		err = unix.Renameat2(dir, name, x.stage, made, unix.RENAME_NOREPLACE)
	case exchange:
		err = unix.Renameat2(x.stage, made, dir, name, unix.RENAME_EXCHANGE)
	case putBack:
		err = unix.Renameat2(x.stage, made, dir, name, unix.RENAME_NOREPLACE)
	case setAside:
		return &keptError{rel, made}
	}
	return named("rename", x.shown(rel), err)
}

// lookAt is what has a name in a directory, nil for nothing.
func lookAt(dir int, name string) (*beneath.Info, error) {
	i, err := beneath.Stat(dir, name)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &i, nil
}

// reversal is how an operation is undone.
type reversal int

const (
	leave    reversal = iota // it was not carried out, or somebody has made its outcome theirs
	takeOut                  // what was made goes back into the stage
	exchange                 // what was made and what was there change places again
	putBack                  // what was there comes back to where nothing is
	setAside                 // something else is in its place: what was there is kept
)

// reversal decides it for an operation other than meta, by what is at its path and
// under its number in the stage now, nil for nothing.
func (o *op) reversal(there, aside *beneath.Info) reversal {
	_, asMade := o.New.is(there)
	wentOut, _ := o.Old.is(aside)
	switch {
	case o.Kind == put && asMade:
		return takeOut
	case o.Kind == put, !wentOut:
		return leave
	case asMade:
		return exchange
	case there == nil:
		return putBack
	}
	return setAside
}

// unset sets back what was set, where it is still as it was set.
func (x *transaction) unset(dir int, name string, o *op, i *beneath.Info) error {
	a := *o.Was
	if o.Set.Mode != nil && i.Mode != *o.Set.Mode {
		a.Mode = nil
	}
	if o.Set.Mtime != nil && i.Mtime != *o.Set.Mtime {
		a.Mtime = nil
	}
	return x.setAttrs(dir, name, o, &a)
}

// dropKept is drop, but what could not be put back stays, under a name that people
// see.
func (x *transaction) dropKept(kept []*keptError) error {
	if len(kept) == 0 {
		return x.drop()
	}
	keep := map[string]bool{}
	var said []string
	for _, k := range kept {
		keep[k.name] = true
		said = append(said, fmt.Sprintf("%s (as %s)", k.path, k.name))
	}
	var l beneath.Lister
	list, err := l.List(x.stage)
	if err != nil {
		return err
	}
	for _, e := range list {
		if keep[e.Name] {
			continue
		}
		err := unix.Unlinkat(x.stage, e.Name, 0)
		if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
			err = clearDir(x.stage, e.Name)
		}
		if err != nil {
			return named("unlink", e.Name, err)
		}
	}
	saved := savedPrefix + strings.TrimPrefix(x.name, stagePrefix)
	if err := unix.Renameat2(x.lower, x.name, x.lower, saved, unix.RENAME_NOREPLACE); err != nil {
		return named("rename", x.shown(x.name), err)
	}
	if err := x.log.remove(); err != nil {
		return err
	}
	return &SavedError{Dir: x.shown(saved), What: said}
}

// SavedError is that the host changed files after an apply was interrupted, so
// that what was there before could not be put back. It is kept.
type SavedError struct {
	Dir  string
	What []string
}

func (e *SavedError) Error() string {
	return "these changed on the host before they could be put back; what was there is kept in " + e.Dir + ": " + strings.Join(e.What, ", ")
}

// remember notes how apply leaves the files of some operations, whose change times
// say nothing about the host's own doings from now on.
func (x *transaction) remember(ops []*op, undone bool) error {
	for _, o := range ops {
		rel := string(o.Path)
		i, err := stat(x.lower, rel)
		if err != nil {
			delete(x.known, rel)
		} else if it, whole := o.Old.is(&i); undone && !(it && whole) {
			delete(x.known, rel)
		} else {
			x.known[rel] = seen{i.Ino, i.Ctime}
		}
		if !undone && o.Kind != meta {
			x.rememberTree(o)
		}
	}
	for _, o := range ops {
		if o.Quiet {
			x.rememberDir(up(string(o.Path)))
		}
	}
	return x.known.save(x.file("known"))
}

func (x *transaction) rememberDir(dir string) {
	if i, err := stat(x.lower, dir); err == nil {
		x.known[dir] = seen{i.Ino, i.Ctime}
	}
}

// rememberTree notes what came with a directory, and forgets what went.
func (x *transaction) rememberTree(o *op) {
	rel := string(o.Path)
	for i := o.item + 1; i < len(x.items) && change.Under(x.items[i].Path, rel); i++ {
		it := &x.items[i]
		if it.Verdict != Take {
			continue
		}
		if it.Gone() {
			delete(x.known, it.Path)
		} else if i, err := stat(x.lower, it.Path); err == nil {
			x.known[it.Path] = seen{i.Ino, i.Ctime}
		}
	}
}

// touched notes the top's change time once the stage is gone from it. Without the
// note a later apply is only more careful, so that failing is none.
func (x *transaction) touched() {
	if x.topQuiet {
		x.rememberDir("")
		_ = x.known.save(x.file("known"))
	}
}

// Recover ends an apply that was killed: the tree becomes what it was before it,
// or stays as that apply left it if all was done. It reports whether there was
// one. The error is a SavedError where files of the host could not be put back.
//
// Precondition: the overlay's lock is held.
func (t *Tree) Recover() (bool, error) {
	file := t.journal
	_ = remove(t.file("known") + ".new") // of one that was killed while it wrote it
	text, err := readOwn(file, maxJournal)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l, err := parseJournal(text)
	if err != nil {
		return true, fmt.Errorf("%s: %w; it says how to end an apply that was interrupted", file, err)
	}
	x := &transaction{
		Tree: t, ops: l.ops, stage: -1, name: l.stage, topQuiet: l.quiet, log: &journal{file: file}, ours: map[uint64]beneath.Time{},
		stopped: func() error { return nil },
	}
	if l.stage == "" { // it was killed before it did anything
		return true, x.log.remove()
	}
	x.stage, err = beneath.Dir(t.lower, l.stage)
	if errors.Is(err, unix.ENOENT) { // not made yet, or gone already: all was undone, or done, then
		return true, x.log.remove()
	}
	if err != nil {
		return true, named("open", x.shown(l.stage), err)
	}
	defer unix.Close(x.stage)
	if !l.committed || l.done {
		return true, x.drop()
	}
	kept, err := x.undoAll(l.ops)
	if err == nil {
		err = x.remember(l.ops, true)
	}
	if err == nil {
		err = x.dropKept(kept)
	}
	return true, err
}

// Interrupted reports whether an apply on the tree was killed and not ended since.
func (t *Tree) Interrupted() bool {
	_, err := os.Lstat(t.journal)
	return err == nil
}
