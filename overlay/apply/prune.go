package apply

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/overlay/change"
)

// Prune removes from the layer what is the same as what the host has below it: it
// was taken over, or never changed. Inside, nothing looks different afterwards,
// but what the host changes later can be seen again. What the caller may not
// remove stays. It reports whether the layer is empty now.
//
// Precondition: the overlay's lock is held and rest is what a walk since found.
func (t *Tree) Prune(rest *change.List) (empty bool, err error) {
	keep := map[string]bool{}
	note := func(p string) {
		for ; p != "" && !keep[p]; p = up(p) {
			keep[p] = true
		}
	}
	for i := range rest.Changes {
		note(rest.Changes[i].Path)
	}
	for _, p := range rest.Problems {
		if p.Path == "" {
			return false, nil
		}
		note(p.Path)
	}
	err = t.prune(t.upper, "", keep)
	if err != nil {
		return false, err
	}
	var l beneath.Lister
	list, err := l.List(t.upper)
	return err == nil && len(list) == 0 && len(rest.Changes) == 0, err
}

// prune removes what is in the directory fd of the layer and need not be kept. A
// directory that hides what the host has in it is kept whole: what is missing in
// it counts.
func (t *Tree) prune(fd int, rel string, keep map[string]bool) error {
	hides, err := change.Opaque(t.Driver, fd)
	if err != nil || hides && rel != "" {
		return err
	}
	var l beneath.Lister
	list, err := l.List(fd)
	if err != nil {
		return err
	}
	for _, e := range list {
		at := e.Name
		if rel != "" {
			at = rel + "/" + at
		}
		if !keep[change.Shown(t.Driver, rel, e.Name)] {
			if !change.Mark(t.Driver, e.Name) {
				_ = t.unlayer(fd, e.Name) // what can't be removed is no harm
			}
			continue
		}
		if i, err := beneath.Stat(fd, e.Name); err == nil && i.IsDir() {
			sub, err := beneath.Dir(fd, e.Name)
			if err != nil {
				continue
			}
			err = t.prune(sub, at, keep)
			unix.Close(sub)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// unlayer removes an entry of the layer that is the same as what the host has,
// with what is in it. At any moment what is left still shows the same: a directory
// first stops hiding what the host has in it. One that its owner may not write
// stays, since to change its mode would be a change.
func (t *Tree) unlayer(at int, name string) error {
	err := unix.Unlinkat(at, name, 0)
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	fd, err := beneath.Dir(at, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := change.Reveal(t.Driver, fd); err != nil {
		return err
	}
	var l beneath.Lister
	list, err := l.List(fd)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := t.unlayer(fd, e.Name); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
}

// Forget lets go of what was noted about the host's files, once the record's base
// is later than all of it.
func (t *Tree) Forget() error {
	t.known = known{}
	return t.known.save(t.file("known"))
}
