package changes

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/images"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/overlays"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/overlay/apply"
	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/overlay/change"
	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/overlay/stack"
	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/profiles"
)

// Layers is an overlay that was opened: the changes in each of its layers.
type Layers struct {
	Record *upper.Record
	Dir    string
	List   []layer
	// stacked says that one lies over several layers of an image, which only a
	// process with rights of its own can look at.
	stacked bool
}

// layer is one of them.
type layer struct {
	Tree  *apply.Tree
	List  *change.List
	under []string // the paths that were asked for, "" for the top; none = all
	made  []string // paths that sbx made
}

// Close closes the layers' directories.
func (ls *Layers) Close() {
	for i := range ls.List {
		ls.List[i].Tree.Close()
	}
}

// FindOverlay gives the overlay that the arguments name, and the arguments after
// that: the first one, if it is no path, else the last one of this directory.
func FindOverlay(inv *cli.Invocation) (upper.Store, *upper.Record, []string, error) {
	name, maybe, args := "", "", inv.Args
	if len(args) > 0 && inv.Dash != 0 && upper.CheckName(args[0]) == nil {
		s, err := overlays.Store(inv)
		if err != nil {
			return s, nil, nil, err
		}
		if _, err := os.Lstat(s.Dir(args[0])); err == nil {
			name, args = args[0], args[1:]
		} else if _, err := os.Lstat(args[0]); err != nil {
			maybe = args[0]
		}
	}
	r, s, err := overlays.Named(inv, name)
	if maybe != "" && err == nil && !changed(inv, s, r, maybe) {
		_, _, err = overlays.Named(inv, maybe)
	}
	if err == nil && r.Restoring != "" {
		err = r.Unfinished()
	}
	return s, r, args, err
}

// changed reports whether a path that the host does not have is one of an
// overlay's, so that it can't be a name that was meant.
func changed(inv *cli.Invocation, s upper.Store, r *upper.Record, p string) bool {
	for i := range r.Layers {
		l := &r.Layers[i]
		if rel, in := holds(l, p); in {
			if _, err := os.Lstat(filepath.Join(upper.Path(s.Dir(r.Name), l.Upper), rel)); err == nil {
				return true
			}
		}
	}
	return false
}

// OpenLayers opens an overlay's layers without comparing anything. paths choose
// some of what is in them, images whether layers over images are opened as well.
func OpenLayers(inv *cli.Invocation, s upper.Store, r *upper.Record, paths []string, images bool) (*Layers, error) {
	ls := &Layers{Record: r, Dir: s.Dir(r.Name)}
	found := make([]bool, len(paths))
	for i := range r.Layers {
		var under []string
		for j, p := range paths {
			if rel, in := holds(&r.Layers[i], p); in && (r.Layers[i].Image == "" || !found[j]) { // which comes last
				under = append(under, rel)
				found[j] = true
			}
		}
		if len(paths) > 0 && under == nil {
			continue
		}
		if r.Layers[i].Image != "" {
			if !images {
				continue
			}
			if err := openImageLayer(inv, ls, i, under); err != nil {
				ls.Close()
				return nil, err
			}
			continue
		}
		if n := len(r.Layers[i].Lower); n != 1 && len(r.Layers) > 1 {
			Note(inv, "%s lies on %d directories and is left out: only what lies on a single one can be compared", screen.Quoted(r.Layers[i].Target), n)
			continue
		}
		t, err := apply.Open(ls.Dir, r, i)
		if err != nil {
			ls.Close()
			return nil, err
		}
		ls.List = append(ls.List, layer{Tree: t, under: under, made: r.Layers[i].Made})
	}
	for j, ok := range found {
		if !ok {
			ls.Close()
			return nil, cli.Usagef("%s lies in nothing that the overlay %s is of", paths[j], r.Name)
		}
	}
	return ls, nil
}

// openImageLayer opens a layer that lies over an image. Several layers of an image
// are stacked in a user namespace, in which this verb is to be done once more.
func openImageLayer(inv *cli.Invocation, ls *Layers, i int, under []string) error {
	l := &ls.Record.Layers[i]
	var lower int
	var err error
	switch {
	case len(l.Lower) == 1:
		lower, err = beneath.Root(l.Lower[0])
	case !inv.Among:
		ls.stacked = true
		return nil
	default:
		lower, err = stackImage(inv, l.Image)
	}
	if err != nil {
		return fmt.Errorf("looking at the image that %s lies over: %w", ls.Record.Name, err)
	}
	t, err := apply.OpenImage(ls.Dir, ls.Record, i, lower)
	if err == nil {
		ls.List = append(ls.List, layer{Tree: t, under: under, made: l.Made})
	}
	return err
}

// stackImage mounts the layers of an image for this process alone.
func stackImage(inv *cli.Invocation, id string) (int, error) {
	inv.Env = profiles.HostEnv()
	dir := images.Dir(inv)
	rec, err := image.Load(dir, id)
	if err != nil {
		return -1, err
	}
	return stack.Apart(filepath.Join(dir, image.Layers), filepath.Join(dir, image.Scratch), rec.Layers)
}

// holds gives the path below the layer's top of what a person calls path.
func holds(l *upper.Layer, p string) (rel string, in bool) {
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", false
	}
	for _, top := range append([]string{l.Target}, l.Lower...) {
		if abs == top {
			return "", true
		}
		if rest, ok := strings.CutPrefix(abs, strings.TrimSuffix(top, "/")+"/"); ok {
			return rest, true
		}
	}
	return "", false
}

// Walk compares each layer with what it lies on.
func (ls *Layers) Walk(renames bool, stop func() error) error {
	for i := range ls.List {
		l := &ls.List[i]
		list, err := change.Walk(l.Tree.Source(), change.Options{Renames: renames, Stop: stop, Owners: l.Tree.Image != ""})
		if err != nil {
			return err
		}
		list.WithoutMade(l.made)
		l.List = l.choose(list)
	}
	return nil
}

// choose keeps of a list what was asked for.
func (l *layer) choose(list *change.List) *change.List {
	if l.under == nil {
		return list
	}
	in := func(p string) bool {
		for _, u := range l.under {
			if p == u || change.Under(p, u) {
				return true
			}
		}
		return false
	}
	out := &change.List{Repositories: list.Repositories}
	for _, c := range list.Changes {
		if in(c.Path) {
			out.Changes = append(out.Changes, c)
		}
	}
	for _, p := range list.Problems {
		if in(p.Path) {
			out.Problems = append(out.Problems, p)
		}
	}
	return out
}

// ErrInterrupted is that somebody asked sbx to stop.
var ErrInterrupted = errors.New("interrupted")

// Interruptible is asked whether to go on; done gives the signals back.
func Interruptible() (stop func() error, done func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	asked := false
	return func() error {
		select {
		case <-c:
			asked = true
		default:
		}
		if asked {
			return ErrInterrupted
		}
		return nil
	}, func() { signal.Stop(c) }
}
