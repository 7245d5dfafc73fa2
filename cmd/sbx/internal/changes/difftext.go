package changes

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/overlay/apply"
	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/overlay/change"
	"github.com/sbx-sandbox/sbx/overlay/patch"
)

// mostText is how long a file may be whose lines are compared, in bytes.
const mostText = 16 << 20

// patches calls f for the patch of each change that git's format can say, and
// rest for the others: what is no file, and modes and times beyond its two modes.
func (l *layer) patches(f func(*patch.Patch) error, rest func(*change.Change)) error {
	for i := range l.List.Changes {
		c := &l.List.Changes[i]
		if c.To != "" {
			continue // it is with the one that came of it
		}
		said := false
		for _, s := range l.Sides(c) {
			p, err := l.Patch(c, s)
			if err != nil {
				return err
			}
			if p != nil {
				said = true
				if err := f(p); err != nil {
					return err
				}
			}
		}
		if !said && (c.Type != change.Dir || c.Kind == change.Changed) {
			rest(c)
		}
	}
	return nil
}

// sides are two inodes, either of which may not be there, and the first one's
// path.
type sides struct {
	old         string
	before, now *beneath.Info
}

// Sides are what patches compare for a change: two pairs, if one thing went and
// another one came.
func (l *layer) Sides(c *change.Change) []sides {
	switch c.Kind {
	case change.Deleted:
		return []sides{{c.Path, &c.Before, nil}}
	case change.Typed:
		return []sides{{c.Path, &c.Before, nil}, {"", nil, &c.Now}}
	case change.Added:
		if d := l.List.Find(c.From); c.From != "" && d != nil {
			return []sides{{c.From, &d.Before, &c.Now}}
		}
		return []sides{{"", nil, &c.Now}}
	}
	return []sides{{c.Path, &c.Before, &c.Now}}
}

// Patch is that of one pair, nil if git's format has nothing to say of it.
func (l *layer) Patch(c *change.Change, s sides) (*patch.Patch, error) {
	src := l.Tree.Source()
	old, err := file(src.Lower, s.old, s.before)
	if err != nil {
		return nil, err
	}
	now, err := file(src.Upper, c.Path, s.now)
	if err != nil {
		return nil, err
	}
	same := old != nil && now != nil && old.Path == now.Path && old.Mode == now.Mode && !c.Content
	if old == nil && now == nil || same {
		return nil, nil
	}
	return patch.Make(old, now), nil
}

// file is one side of a patch, nil if it is no file or link.
func file(root int, rel string, i *beneath.Info) (*patch.File, error) {
	if i == nil {
		return nil, nil
	}
	f := &patch.File{Path: rel}
	switch change.TypeOf(i) {
	case change.Symlink:
		to, err := change.ReadLink(root, rel)
		f.Mode, f.Text = patch.Link, []byte(to)
		return f, err
	case change.File:
		f.Mode = patch.Regular
		if i.Mode&0o100 != 0 {
			f.Mode = patch.Executable
		}
		var err error
		if f.Text, err = change.Read(root, rel, i, mostText); errors.Is(err, change.ErrLarge) {
			f.Large, err = true, nil
		}
		return f, err
	}
	return nil, nil
}

// Listed is a line of a list of changes.
type Listed struct {
	Letter, Name, More, Held string
}

// Paint is the line in the terminal's colours.
func (l *Listed) Paint(w io.Writer) string {
	s := l.Name
	if l.More != "" {
		s += "  " + l.More
	}
	colour := map[string]string{"A": screen.Green, "D": "31", "R": "36", "T": screen.Yellow}[l.Letter]
	if colour == "" {
		colour = "34"
	}
	s = screen.Paint(w, colour, l.Letter) + "  " + screen.Printable(s)
	if l.Held != "" {
		s += "  " + screen.Paint(w, screen.Yellow, "! "+screen.Printable(l.Held))
	}
	return s
}

// collapse is from how many things on what is in a new or deleted directory is
// counted instead of listed.
const collapse = 20

// itemLines are the lines of a list: one for each change, but one for all that is
// in a directory that is new or gone, if it is much and nothing in it is held back.
func itemLines(items []apply.Item) []Listed {
	var list []Listed
	for i := 0; i < len(items); i++ {
		it := &items[i]
		if it.To != "" {
			continue
		}
		line := Listed{Letter: Letter(it.Change), Name: screen.Quoted(ShownPath(it.Path)), Held: Held(it)}
		if it.Type == change.Dir && (it.Kind == change.Added || it.Kind == change.Deleted) {
			line.Name += "/"
			end, files, plain := i+1, 0, true
			for end < len(items) && change.Under(items[end].Path, it.Path) {
				in := &items[end]
				plain = plain && Held(in) == Held(it) && in.To == "" && in.From == ""
				if in.Type != change.Dir {
					files++
				}
				end++
			}
			if plain && (it.Kind == change.Deleted || end-i > collapse) {
				line.More = "(" + Plural(files, "file", "files") + " in it)"
				i = end - 1
			}
		} else {
			line.More = Details(it.Change)
		}
		list = append(list, line)
	}
	return list
}

// ShownPath is a path below a layer's top as people see it.
func ShownPath(p string) string {
	if p == "" {
		return "."
	}
	return p
}

// Letter is the kind of a change, as git status shows it.
func Letter(c *change.Change) string {
	switch c.Kind {
	case change.Added:
		if c.From != "" {
			return "R"
		}
		return "A"
	case change.Deleted:
		return "D"
	case change.Typed:
		return "T"
	}
	return "M"
}

// Details are what a list says of a change beside its kind.
func Details(c *change.Change) string {
	var parts []string
	switch {
	case c.From != "":
		parts = append(parts, "was "+screen.Quoted(c.From))
	case c.Kind == change.Typed:
		parts = append(parts, fmt.Sprintf("%s, was a %s", c.Type, c.Was))
	case c.Kind == change.Added && c.Type != change.File:
		parts = append(parts, string(c.Type))
	}
	if c.Type == change.Symlink && !c.Gone() {
		parts = append(parts, "to "+screen.Quoted(c.Target))
	}
	if c.Kind == change.Changed {
		if c.Mode {
			parts = append(parts, "mode "+change.Octal(c.Before.Mode)+" to "+change.Octal(c.Now.Mode))
		}
		if c.Owner {
			parts = append(parts, fmt.Sprintf("owner %d:%d to %d:%d", c.Before.UID, c.Before.GID, c.Now.UID, c.Now.GID))
		}
		if len(c.Xattrs) > 0 {
			parts = append(parts, "attributes "+strings.Join(c.Xattrs, ", "))
		}
		if c.Time && !c.Content {
			parts = append(parts, "time")
		}
	}
	if c.Link != "" {
		parts = append(parts, "hard link to "+screen.Quoted(c.Link))
	}
	if len(parts) == 0 {
		return ""
	}
	return "(" + strings.Join(parts, "; ") + ")"
}

// Held is why apply would hold a change back, or what it would leave out of it.
func Held(it *apply.Item) string {
	switch {
	case it.Verdict == apply.Refuse || it.Verdict == apply.Conflict:
		return it.Reason
	case len(it.Strip) > 0:
		return "without " + strings.Join(it.Strip, ", ")
	}
	return ""
}
