package change

import (
	"golang.org/x/sys/unix"
)

// Where says which of two layers over one tree changed a path.
type Where string

// The places.
const (
	Left  Where = "left"
	Right Where = "right"
	Both  Where = "both" // differently
	Alike Where = "alike"
)

// Pair is a path that one of two layers, or both, changed.
type Pair struct {
	Path        string
	Where       Where
	Left, Right *Change // nil where it was not changed
}

// Compare puts the changes of two layers over one tree side by side, in order.
// Of files that both changed it compares type, permissions and content, not the
// time.
func Compare(left, right *List, a, b Source) ([]Pair, error) {
	var pairs []Pair
	var c comparer
	i, j := 0, 0
	for i < len(left.Changes) || j < len(right.Changes) {
		order := 0
		switch {
		case i == len(left.Changes):
			order = 1
		case j == len(right.Changes):
			order = -1
		default:
			order = Order(left.Changes[i].Path, right.Changes[j].Path)
		}
		switch {
		case order < 0:
			l := &left.Changes[i]
			pairs = append(pairs, Pair{l.Path, Left, l, nil})
			i++
		case order > 0:
			r := &right.Changes[j]
			pairs = append(pairs, Pair{r.Path, Right, nil, r})
			j++
		default:
			l, r := &left.Changes[i], &right.Changes[j]
			same, err := c.alike(l, r, a, b)
			if err != nil {
				return nil, err
			}
			where := Both
			if same {
				where = Alike
			}
			pairs = append(pairs, Pair{l.Path, where, l, r})
			i, j = i+1, j+1
		}
	}
	return pairs, nil
}

// alike reports whether two changes of a path come to the same.
func (c *comparer) alike(l, r *Change, a, b Source) (bool, error) {
	switch {
	case l.Gone() || r.Gone():
		return l.Gone() && r.Gone(), nil
	case l.Type != r.Type || l.Now.Mode != r.Now.Mode && l.Type != Symlink || l.Target != r.Target:
		return false, nil
	case l.Type != File:
		return true, nil
	case l.Now.Size != r.Now.Size:
		return false, nil
	}
	x, err := openAt(a.Upper, l.Path, &l.Now)
	if err != nil {
		return false, named(l.Path, err)
	}
	defer unix.Close(x)
	y, err := openAt(b.Upper, r.Path, &r.Now)
	if err != nil {
		return false, named(r.Path, err)
	}
	defer unix.Close(y)
	same, err := c.same(x, y, l.Now.Size)
	return same, named(l.Path, err)
}
