package change

import (
	"path"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
)

// The bounds of looking for files that were moved: what is not looked at counts
// as deleted and added, which is true as well.
const (
	maxTries = 8       // deleted files of the same size that one added is compared with
	maxMoved = 1 << 30 // bytes that are compared in all
)

// renames finds the deleted file that each added one was, by their content.
// Empty files are all alike and are left out.
func (w *walker) renames() error {
	bySize := map[int64][]*Change{}
	for i := range w.list.Changes {
		c := &w.list.Changes[i]
		if c.Kind == Deleted && c.Type == File && c.Before.Size > 0 {
			bySize[c.Before.Size] = append(bySize[c.Before.Size], c)
		}
	}
	if len(bySize) == 0 {
		return nil
	}
	left := int64(maxMoved)
	for i := range w.list.Changes {
		c := &w.list.Changes[i]
		if c.Kind != Added || c.Type != File || c.Link != "" {
			continue
		}
		if w.stop != nil {
			if err := w.stop(); err != nil {
				return err
			}
		}
		w.source(c, bySize[c.Now.Size], &left)
	}
	return nil
}

// source looks for c's among the deleted files of its size, those of the same
// name first.
func (w *walker) source(c *Change, list []*Change, left *int64) {
	tries := 0
	for _, named := range []bool{true, false} {
		for _, d := range list {
			if d.To != "" || (path.Base(d.Path) == path.Base(c.Path)) != named {
				continue
			}
			if tries++; tries > maxTries || *left < c.Now.Size {
				return
			}
			*left -= c.Now.Size
			if w.moved(d, c) {
				d.To, c.From = c.Path, d.Path
				return
			}
		}
	}
}

func (w *walker) moved(from, to *Change) bool {
	x, err := openAt(w.Upper, to.Path, &to.Now)
	if err != nil {
		return false
	}
	defer unix.Close(x)
	y, err := openAt(w.Lower, from.Path, &from.Before)
	if err != nil {
		return false
	}
	defer unix.Close(y)
	same, err := w.same(x, y, to.Now.Size)
	return err == nil && same
}

// openAt is open for a path.
func openAt(root int, rel string, want *beneath.Info) (int, error) {
	dir, name, err := beneath.Parent(root, rel)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return open(dir, name, want)
}
