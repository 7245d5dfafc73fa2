package apply

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/overlay/change"
)

// units makes operations of the items to be taken over: one for each topmost
// path. What is in a directory that is new, or goes, comes and goes with it.
func (x *transaction) units(items []Item) {
	x.items = items
	for i := 0; i < len(items); i++ {
		it := &items[i]
		if it.Verdict != Take {
			continue
		}
		end := i + 1
		for end < len(items) && change.Under(items[end].Path, it.Path) {
			end++
		}
		o := &op{Path: []byte(it.Path), item: i, before: it.Before}
		switch {
		case it.Kind == change.Deleted:
			o.Kind, o.tree = take, items[i+1:end]
		case it.Kind == change.Added:
			o.Kind = put
		case it.Kind == change.Typed:
			o.Kind, o.tree = swap, items[i+1:end]
		case it.Type == change.Symlink, it.Type == change.File && (it.Content || it.Before.Nlink > 1):
			o.Kind = swap
		default:
			o.Kind = meta
		}
		x.ops = append(x.ops, o)
		if o.Kind != meta && (it.Type == change.Dir || it.Was == change.Dir) {
			i = end - 1
		}
	}
}

// arrange puts the operations in an order in which each can be carried out, and
// adds those that a directory needs that may not be written.
func (x *transaction) arrange() {
	var early, middle, late []*op
	for _, o := range x.ops {
		it := &x.items[o.item]
		if o.Kind == meta {
			if it.Type == change.Dir && o.Set.Mode != nil && *o.Set.Mode&0o300 != 0o300 {
				if old := o.before.Mode; old&0o300 != 0o300 { // what is in it can't change now, nor then
					open := old | 0o700
					early = append(early, x.chmod(o, &o.before, old, open))
					o.Was.Mode = &open
				}
				late = append(late, o)
			} else if it.Type == change.Dir {
				early = append(early, o)
			} else {
				middle = append(middle, o)
			}
			continue
		}
		// A directory is moved to another one only by who may write it, since its
		// ".." changes: rename(2), EACCES.
		if o.before.IsDir() && o.before.Mode&0o200 == 0 {
			early = append(early, x.chmod(o, &o.before, o.before.Mode, o.before.Mode|0o700))
		}
		middle = append(middle, o)
		if made, ok := x.made[o.N]; ok && made.IsDir() && o.New != nil {
			if want := mode(it.Change) | made.Mode&unix.S_ISGID; want != made.Mode {
				late = append(late, x.chmod(o, &made, made.Mode, want))
			}
		}
	}
	shut, open := x.closed(middle, append(early, late...))
	early, late = append(open, early...), append(shut, late...)
	slices.Reverse(late) // what is in a directory before it
	x.ops = slices.Concat(early, middle, late)
}

// closed opens the host's directories that something comes to or goes from though
// their mode is against it, but for those that done does already, and shuts them
// again: the sandbox's command did the same.
func (x *transaction) closed(ops, done []*op) (shut, open []*op) {
	seen := map[string]bool{}
	for _, o := range done {
		seen[string(o.Path)] = true
	}
	for _, o := range ops {
		dir := up(string(o.Path))
		if o.Kind == meta || seen[dir] {
			continue
		}
		seen[dir] = true
		i, err := stat(x.lower, dir)
		if err != nil || !i.IsDir() || i.Mode&0o300 == 0o300 {
			continue
		}
		at := *o
		at.Path, at.Quiet = []byte(dir), x.quiet(up(dir))
		open = append(open, x.chmod(&at, &i, i.Mode, i.Mode|0o700))
		shut = append(shut, x.chmod(&at, &i, i.Mode|0o700, i.Mode))
	}
	return shut, open
}

// chmod is the operation that changes the mode of what o is about.
func (x *transaction) chmod(o *op, i *beneath.Info, from, to uint32) *op {
	return &op{
		Kind: meta, Path: o.Path, item: o.item, before: *i, Old: markOf(i), Quiet: o.Quiet,
		Set: &attrs{Mode: &to}, Was: &attrs{Mode: &from},
	}
}

// metas fills in what the operations that only set something set.
func (x *transaction) metas() error {
	for _, o := range x.ops {
		if o.Kind != meta {
			continue
		}
		c := x.items[o.item].Change
		o.Old, o.Set, o.Was = markOf(&c.Before), &attrs{}, &attrs{}
		if want := mode(c); want != c.Before.Mode {
			o.Set.Mode, o.Was.Mode = &want, &c.Before.Mode
		}
		if c.Time {
			o.Set.Mtime, o.Was.Mtime = &c.Now.Mtime, &c.Before.Mtime
		}
		for _, n := range c.Xattrs {
			if !strings.HasPrefix(n, "user.") {
				continue
			}
			now, err := xattrAt(x.upper, c.Path, n)
			if err != nil {
				return named("getxattr", c.Path, err)
			}
			was, err := xattrAt(x.lower, c.Path, n)
			if err != nil {
				return named("getxattr", x.shown(c.Path), err)
			}
			if o.Set.Xattrs == nil {
				o.Set.Xattrs, o.Was.Xattrs = map[string][]byte{}, map[string][]byte{}
			}
			o.Set.Xattrs[n], o.Was.Xattrs[n] = now, was
		}
	}
	return nil
}

// shown is a path below the top as people write it.
func (x *transaction) shown(rel string) string { return path.Join(x.Top, rel) }
