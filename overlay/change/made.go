package change

import (
	"slices"
	"strings"
)

// WithoutMade takes out of the list what is there for sbx to mount on: paths of
// made, each "/" and a Change's Path, as far as they are an empty file, a link or a
// directory with nothing else in it, and the directories above such.
func (l *List) WithoutMade(made []string) {
	if len(made) == 0 {
		return
	}
	here, above := map[string]bool{}, map[string]bool{}
	for _, m := range made {
		m = strings.TrimPrefix(m, "/")
		here[m] = true
		for i := strings.LastIndexByte(m, '/'); i > 0; i = strings.LastIndexByte(m[:i], '/') {
			above[m[:i]] = true
		}
	}
	used := map[string]bool{} // directories that hold something else
	for i := len(l.Changes) - 1; i >= 0; i-- {
		c := &l.Changes[i]
		drop := false
		if c.Kind == Added {
			switch c.Type {
			case Dir:
				drop = (here[c.Path] || above[c.Path]) && !used[c.Path]
			case File:
				drop = here[c.Path] && c.Now.Size == 0
			case Symlink:
				drop = here[c.Path]
			}
		}
		if !drop {
			if j := strings.LastIndexByte(c.Path, '/'); j > 0 {
				used[c.Path[:j]] = true
			}
			continue
		}
		l.Changes = slices.Delete(l.Changes, i, i+1)
	}
}
