// Package patch writes differences between files in the format of git, which
// git apply takes (git-diff(1), "Generating patch text with -p").
package patch

import (
	"bytes"
	"fmt"
	"strings"
)

// The modes that git knows.
const (
	Regular    = 0o100644
	Executable = 0o100755
	Link       = 0o120000
)

// File is one side of a difference. A link's text is where it leads.
type File struct {
	Path string // relative; any bytes but NUL
	Mode uint32 // one of the above
	Text []byte
	// Large says that Text was not read, as it is too long; it then counts as
	// different from any other.
	Large bool
}

// Context is how many lines around a difference are shown.
const Context = 3

// Piece is a part of a patch that a terminal shows in a colour of its own.
type Piece int

// The pieces.
const (
	Header Piece = iota // of a file
	Hunk                // the place of some lines
	Same
	Minus
	Plus
)

// Patch is what turns one file into another.
type Patch struct {
	Path   string
	lines  []line
	Added  int // lines
	Gone   int
	Binary bool
}

type line struct {
	piece Piece
	text  string // with its newline
}

// Each calls f for each line of the patch, which ends in a newline.
func (p *Patch) Each(f func(Piece, string)) {
	for _, l := range p.lines {
		f(l.piece, l.text)
	}
}

// String is the patch.
func (p *Patch) String() string {
	var b strings.Builder
	p.Each(func(_ Piece, s string) { b.WriteString(s) })
	return b.String()
}

func (p *Patch) add(piece Piece, format string, args ...any) {
	p.lines = append(p.lines, line{piece, fmt.Sprintf(format, args...) + "\n"})
}

// Make makes the patch from old to now, either of which may be nil: nothing was
// there, or nothing is left. If both are there they are of one type, since git
// has no other way to say that a type changed than deleting and adding. If their
// paths differ the file was moved.
func Make(old, now *File) *Patch {
	a, b := old, now
	switch {
	case a == nil:
		a = &File{Path: b.Path}
	case b == nil:
		b = &File{Path: a.Path}
	}
	p := &Patch{Path: b.Path}
	p.add(Header, "diff --git %s %s", name("a/", a.Path), name("b/", b.Path))
	switch {
	case old == nil:
		p.add(Header, "new file mode %06o", b.Mode)
	case now == nil:
		p.add(Header, "deleted file mode %06o", a.Mode)
	case a.Mode != b.Mode:
		p.add(Header, "old mode %06o", a.Mode)
		p.add(Header, "new mode %06o", b.Mode)
	}
	same := bytes.Equal(a.Text, b.Text) && !a.Large && !b.Large
	if old != nil && now != nil && a.Path != b.Path {
		if same {
			p.add(Header, "similarity index 100%%")
		} else {
			p.add(Header, "similarity index 50%%") // as git's default bound; it is not read again
		}
		p.add(Header, "rename from %s", Quote(a.Path))
		p.add(Header, "rename to %s", Quote(b.Path))
	}
	if same {
		return p
	}
	from, to := name("a/", a.Path), name("b/", b.Path)
	if old == nil {
		from = "/dev/null"
	}
	if now == nil {
		to = "/dev/null"
	}
	if a.Large || b.Large || binary(a.Text) || binary(b.Text) {
		p.Binary = true
		p.add(Header, "Binary files %s and %s differ", from, to)
		return p
	}
	p.add(Header, "--- %s", tabbed(from))
	p.add(Header, "+++ %s", tabbed(to))
	p.hunks(split(a.Text), split(b.Text))
	return p
}

// name is a path as a header has it.
func name(prefix, path string) string { return Quote(prefix + path) }

// tabbed marks the end of a name that has a space in it, as git does.
func tabbed(name string) string {
	if strings.IndexByte(name, ' ') >= 0 && name[0] != '"' {
		return name + "\t"
	}
	return name
}

// binary reports whether git takes a text for none: a NUL near its beginning.
func binary(text []byte) bool {
	const near = 8000
	return bytes.IndexByte(text[:min(len(text), near)], 0) >= 0
}

// hunks writes the lines that differ, with those around them.
func (p *Patch) hunks(a, b [][]byte) {
	ops := Compare(a, b)
	for i := 0; i < len(ops); {
		if ops[i].Same {
			i++
			continue
		}
		end := i + 1 // of the hunk: equal lines between two differences are few
		for end+1 < len(ops) && ops[end].OldEnd-ops[end].Old <= 2*Context {
			end += 2
		}
		p.hunk(a, b, ops[i:min(end, len(ops))])
		i = end
	}
}

// hunk writes ops, which begin and end with a difference.
func (p *Patch) hunk(a, b [][]byte, ops []Op) {
	first, last := ops[0], ops[len(ops)-1]
	lead := min(Context, first.Old)
	trail := min(Context, len(a)-last.OldEnd)
	old, oldEnd, now, nowEnd := first.Old-lead, last.OldEnd+trail, first.New-lead, last.NewEnd+trail
	p.add(Hunk, "@@ -%s +%s @@", span(old, oldEnd), span(now, nowEnd))
	for _, l := range a[old:first.Old] {
		p.text(Same, ' ', l)
	}
	for _, op := range ops {
		if op.Same {
			for _, l := range a[op.Old:op.OldEnd] {
				p.text(Same, ' ', l)
			}
			continue
		}
		for _, l := range a[op.Old:op.OldEnd] {
			p.Gone++
			p.text(Minus, '-', l)
		}
		for _, l := range b[op.New:op.NewEnd] {
			p.Added++
			p.text(Plus, '+', l)
		}
	}
	for _, l := range a[last.OldEnd:oldEnd] {
		p.text(Same, ' ', l)
	}
}

func (p *Patch) text(piece Piece, sign byte, l []byte) {
	s := string(sign) + string(l)
	if l[len(l)-1] != '\n' {
		p.lines = append(p.lines, line{piece, s + "\n"}, line{Same, "\\ No newline at end of file\n"})
		return
	}
	p.lines = append(p.lines, line{piece, s})
}

// span is a range of lines as a hunk's head has it, diff(1) "Detailed Unified".
func span(from, end int) string {
	switch end - from {
	case 0:
		return fmt.Sprintf("%d,0", from)
	case 1:
		return fmt.Sprint(from + 1)
	}
	return fmt.Sprintf("%d,%d", from+1, end-from)
}
