package apply

import (
	"fmt"
	"path"
	"strings"

	"github.com/sbx-sandbox/sbx/overlay/change"
)

// Glob is a pattern for paths of a tree, as in .gitignore (gitignore(5)): with a
// slash it is compared from the top, else with every name on the way; ** stands
// for any number of names. It takes what lies in a directory that it matches.
type Glob struct {
	Text  string
	names []string
	any   bool // no slash: a name at any depth
}

// ParseGlob reads a pattern.
func ParseGlob(text string) (Glob, error) {
	g := Glob{Text: text}
	p := strings.TrimPrefix(text, "./")
	p = strings.TrimRight(p, "/")
	rooted := strings.HasPrefix(p, "/")
	p = strings.TrimLeft(p, "/")
	if p == "" {
		return g, fmt.Errorf("the pattern %q is empty", text)
	}
	for name := range strings.SplitSeq(p, "/") {
		switch {
		case name == "" || name == "." || name == "..":
			return g, fmt.Errorf("the pattern %q has the name %q in it; patterns begin at the top of the tree", text, name)
		case name != "**":
			if _, err := path.Match(name, "x"); err != nil {
				return g, fmt.Errorf("the pattern %q: %w", text, err)
			}
		}
		g.names = append(g.names, name)
	}
	g.any = len(g.names) == 1 && !rooted && g.names[0] != "**"
	return g, nil
}

// Match reports whether the pattern takes the path.
func (g *Glob) Match(p string) bool {
	if lit := g.literal(); p == lit || change.Under(p, lit) {
		return true
	}
	names := strings.Split(p, "/")
	if g.any {
		for _, n := range names {
			if ok, _ := path.Match(g.names[0], n); ok {
				return true
			}
		}
		return false
	}
	return begins(g.names, names)
}

// begins reports whether a pattern matches the first names of a path, or all.
func begins(pattern, names []string) bool {
	if len(pattern) == 0 {
		return true
	}
	if pattern[0] == "**" {
		rest := pattern[1:]
		if len(rest) == 0 {
			return len(names) > 0
		}
		for i := range names {
			if begins(rest, names[i:]) {
				return true
			}
		}
		return false
	}
	if len(names) == 0 {
		return false
	}
	ok, _ := path.Match(pattern[0], names[0])
	return ok && begins(pattern[1:], names[1:])
}

// Names reports whether the pattern is that very path and no other.
func (g *Glob) Names(p string) bool { return g.literal() == p }

// literal is the pattern as a path of its own, whatever is special in it.
func (g *Glob) literal() string {
	return strings.TrimPrefix(strings.TrimPrefix(strings.TrimRight(g.Text, "/"), "./"), "/")
}

// selected reports whether p is among what the patterns take.
func (r *Rules) selected(p string) bool {
	match := func(list []Glob) bool {
		for i := range list {
			if list[i].Match(p) {
				return true
			}
		}
		return false
	}
	return (len(r.Only) == 0 || match(r.Only)) && !match(r.Exclude)
}

// named reports whether the person named that very path.
func (r *Rules) named(p string) bool {
	for i := range r.Only {
		if r.Only[i].Names(p) {
			return true
		}
	}
	return false
}
