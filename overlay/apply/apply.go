// Package apply takes changes that a sandbox made in a layer over to the host's
// files: in part, if wanted; only where the host's file is still what the sandbox
// saw; and not what would do harm later, unless it is named.
//
// What is to come is made whole beside the tree's files, in a directory at its
// top, then a journal is written, then every file is exchanged by rename(2), and
// what was there is kept until all is done. Killed anywhere, each file is the old
// or the new one, and the next Recover puts the tree back as it was.
package apply

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/overlay/change"
	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/sandbox/triggers"
)

// Tree is a layer of an overlay, and the host's tree below it.
type Tree struct {
	Top    string // the host's directory
	Target string // where the sandbox saw it
	Driver string
	// Image is the id of the image that it lies over, "" for the host's files: of
	// changes to an image nothing is taken over to the host.
	Image string

	dir          string // the overlay's
	journal      string // the journal's file
	key          string // the layer's name in it
	upper, lower int
	base         beneath.Time
	known        known
}

// Open opens layer number i of the overlay in dir. The caller holds its lock, if
// it is to change anything, and closes the tree.
func Open(dir string, r *upper.Record, i int) (*Tree, error) {
	l := &r.Layers[i]
	if len(l.Lower) != 1 {
		return nil, fmt.Errorf("%s lies on %d directories: only what lies on a single one can be taken over", l.Target, len(l.Lower))
	}
	t := &Tree{
		Top: l.Lower[0], Target: l.Target, Driver: r.Driver, dir: dir, journal: l.Journal(dir), key: l.Upper, base: beneath.Nanoseconds(r.Base),
		upper: -1, lower: -1,
	}
	var err error
	if t.upper, err = beneath.Root(upper.Path(dir, l.Upper)); err == nil {
		t.lower, err = beneath.Root(t.Top)
	}
	if err == nil {
		err = t.checkTop(l.Inode[0])
	}
	if err == nil {
		t.known, err = loadKnown(t.file("known"))
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// OpenImage opens layer number i of the overlay in dir, which lies over an image
// whose files are below the descriptor lower: to be looked at, and not to be
// applied. It takes the descriptor.
func OpenImage(dir string, r *upper.Record, i, lower int) (*Tree, error) {
	l := &r.Layers[i]
	t := &Tree{Top: l.Target, Target: l.Target, Driver: r.Driver, Image: l.Image, dir: dir, journal: l.Journal(dir), key: l.Upper, lower: lower}
	var err error
	if t.upper, err = beneath.Root(upper.Path(dir, l.Upper)); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// checkTop makes sure that the host's directory is the one the sandbox saw. The
// device's number may change between boots.
func (t *Tree) checkTop(inode uint64) error {
	i, err := beneath.Stat(t.lower, "")
	if err == nil && i.Ino != inode {
		err = fmt.Errorf("%s is not the directory that the sandbox ran on, but another one of that name", t.Top)
	}
	return err
}

// Close lets go of the tree.
func (t *Tree) Close() {
	for _, fd := range []*int{&t.upper, &t.lower} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// Source is the tree for change.Walk.
func (t *Tree) Source() change.Source {
	return change.Source{Driver: t.Driver, Upper: t.upper, Lower: t.lower}
}

// file is the path of a file of apply's own beside the layer.
func (t *Tree) file(what string) string { return upper.Path(t.dir, t.key+"."+what) }

// Judge gives each change its verdict. home is the person's, absolute.
func (t *Tree) Judge(list *change.List, rules *Rules, home string) ([]Item, error) {
	if t.Image != "" {
		items := make([]Item, len(list.Changes))
		for i := range items {
			items[i] = Item{Change: &list.Changes[i], Verdict: Take}
		}
		return items, nil
	}
	g := &ground{
		list: list, rules: rules, base: t.base, known: t.known, table: triggers.Load(), top: t.Top, home: home,
		stat: func(rel string) (beneath.Info, error) { return stat(t.lower, rel) },
	}
	g.aims = t.aims(g)
	return g.judge()
}

// aims are what links at the top of the tree lead to, of those that programs of
// the host take for their settings.
func (t *Tree) aims(g *ground) (aims []string) {
	var l beneath.Lister
	list, err := l.List(t.lower)
	if err != nil {
		return nil
	}
	d := g.start()
	for _, e := range list {
		if e.Kind != unix.DT_LNK && e.Kind != unix.DT_UNKNOWN {
			continue
		}
		if tr := g.table.Match(d, e.Name); tr == nil && !g.table.Leads(d, e.Name, 0) || tr != nil && tr.Rule == triggers.Build {
			continue
		}
		if to, err := beneath.Readlink(t.lower, e.Name); err == nil && !leadsOut(e.Name, to, t.Top) {
			aims = append(aims, clean(to, t.Top))
		}
	}
	return aims
}

// stat looks at a path below a directory; "" is the directory.
func stat(dir int, rel string) (beneath.Info, error) {
	if rel == "" {
		return beneath.Stat(dir, "")
	}
	fd, name, err := beneath.Parent(dir, rel)
	if err != nil {
		return beneath.Info{}, err
	}
	defer unix.Close(fd)
	return beneath.Stat(fd, name)
}

// BusyError is that the host changed a file while changes were taken over.
type BusyError struct{ Path, Why string }

func (b *BusyError) Error() string { return b.Path + ": " + b.Why }

// Apply takes over the items with the verdict Take. Either all are taken over, or
// the tree is as it was; the error says which file kept it from being done. stop
// is asked from time to time; its error ends it.
//
// Precondition: the overlay's lock is held, no journal is left (Recover), and the
// items are of a walk since. Some of what their files have that is left out is
// found out only now, and added to their Strip.
func (t *Tree) Apply(items []Item, stop func() error) error {
	if t.Image != "" {
		return fmt.Errorf("BUG: applying changes to the image %.12s", t.Image)
	}
	x := &transaction{Tree: t, stopped: stop, stage: -1, made: map[int]beneath.Info{}, ours: map[uint64]beneath.Time{}}
	x.units(items)
	if len(x.ops) == 0 {
		return nil
	}
	return x.run()
}

// named adds the path to an error of a system call.
func named(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var p *os.PathError
	if errors.As(err, &p) {
		return err
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}
