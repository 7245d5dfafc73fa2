package apply

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/overlay/change"
	"github.com/sbx-sandbox/sbx/sandbox/triggers"
)

// Verdict is what is to become of a change.
type Verdict string

// The verdicts.
const (
	Take     Verdict = "apply"
	Skip     Verdict = "skip"     // nobody asked for it
	Refuse   Verdict = "refuse"   // a gate holds it back
	Conflict Verdict = "conflict" // the host's file changed as well
)

// Gate is what holds a change back.
type Gate string

// The gates.
const (
	Trigger Gate = "trigger" // the host runs it later
	Outside Gate = "link"    // it leads out of the tree
	Special Gate = "special" // a FIFO, a socket, a device
	Rights  Gate = "rights"  // set-user-ID and the like, attributes that give rights
	Within  Gate = "within"  // what it lies in is held back
)

// Item is a change and its verdict.
type Item struct {
	*change.Change
	Verdict Verdict
	Gate    Gate   // for Refuse
	Reason  string // for Refuse, Conflict and Skip
	// Who runs it, for a file that the host runs later; it may be taken all the
	// same, if it is one that builds make.
	Who   string
	Class string
	// Strip is what is left out of what is taken over.
	Strip []string
}

// Rules are what a person asked for.
type Rules struct {
	Only, Exclude []Glob
	Triggers      bool // take what the host runs later
	Links         bool // take links that lead out of the tree
	Force         bool // take over what changed on the host as well
	// Ask, if it is not nil, is asked about each item that would be taken, and
	// about those that a gate a person can open holds back. It says whether to
	// take it.
	Ask func(*Item) (bool, error)
}

// ground is what judging needs to know of the host.
type ground struct {
	list  *change.List
	rules *Rules
	base  beneath.Time
	known known
	table *triggers.Table
	top   string   // the tree's absolute path
	home  string   // the person's
	aims  []string // paths that triggers that are links lead to
	stat  func(rel string) (beneath.Info, error)
}

// judge gives each change its verdict.
func (g *ground) judge() ([]Item, error) {
	items := make([]Item, len(g.list.Changes))
	for i := range g.list.Changes {
		c := &g.list.Changes[i]
		it := &items[i]
		*it = Item{Change: c, Verdict: Take}
		g.gates(it)
		if why := g.conflict(c); why != "" && it.Verdict == Take && !g.rules.Force {
			it.Verdict, it.Reason = Conflict, why
		}
		if !g.rules.selected(c.Path) {
			it.Verdict, it.Gate, it.Reason, it.Strip = Skip, "", "not asked for", nil
		}
		if err := g.ask(it); err != nil {
			return nil, err
		}
	}
	g.depend(items)
	return items, nil
}

// ask puts a question to the person, if there is one.
func (g *ground) ask(it *Item) error {
	if g.rules.Ask == nil || it.Verdict == Skip || it.Verdict == Conflict {
		return nil
	}
	if it.Verdict == Refuse && it.Gate != Trigger && it.Gate != Outside {
		return nil
	}
	yes, err := g.rules.Ask(it)
	switch {
	case err != nil:
		return err
	case yes:
		it.Verdict, it.Gate, it.Reason = Take, "", ""
	default:
		it.Verdict, it.Gate, it.Reason, it.Strip = Skip, "", "not wanted", nil
	}
	return nil
}

func (it *Item) refuse(gate Gate, format string, args ...any) {
	if it.Verdict == Take {
		it.Verdict, it.Gate, it.Reason = Refuse, gate, fmt.Sprintf(format, args...)
	}
}

// gates holds back what could do harm later.
func (g *ground) gates(it *Item) {
	c := it.Change
	if !c.Gone() {
		switch c.Type {
		case change.File, change.Dir:
			g.rights(it)
		case change.Symlink:
			if out := leadsOut(c.Path, c.Target, g.top); out && !g.rules.Links && !g.rules.named(c.Path) {
				it.refuse(Outside, "it leads out of the tree, to %s", c.Target)
			}
		default:
			it.refuse(Special, "a %s is never taken over", c.Type)
		}
	}
	g.trigger(it)
}

// rights leaves out of a file or directory what would give it, or others, rights
// that they don't have.
func (g *ground) rights(it *Item) {
	c := it.Change
	bits := c.Now.Mode & 0o7000 &^ keeps(c)
	for _, b := range []struct {
		bit  uint32
		name string
	}{{unix.S_ISUID, "set-user-ID"}, {unix.S_ISGID, "set-group-ID"}, {unix.S_ISVTX, "sticky"}} {
		if bits&b.bit != 0 {
			it.Strip = append(it.Strip, b.name)
		}
	}
	other := false
	for _, x := range c.Xattrs {
		if !strings.HasPrefix(x, "user.") {
			it.Strip = append(it.Strip, x)
		} else {
			other = true
		}
	}
	if c.Kind == change.Changed && len(it.Strip) > 0 && !c.Content && !c.Time && !other && mode(c) == c.Before.Mode {
		it.refuse(Rights, "%s is never taken over", strings.Join(it.Strip, ", "))
	}
}

// keeps are the special mode bits that the host's own may keep: a file's, as long
// as its content is what it was; a directory's.
func keeps(c *change.Change) uint32 {
	if c.Kind != change.Changed || c.Type == change.File && c.Content {
		return 0
	}
	return c.Before.Mode & 0o7000
}

// mode is the mode that c has after it is taken over.
func mode(c *change.Change) uint32 {
	return c.Now.Mode&0o777 | c.Now.Mode&keeps(c)
}

// leadsOut reports whether a link at path may lead out of the tree: it is
// absolute and names something else than the tree, or goes up further than the
// tree is deep. Whether what it goes through is a link as well is not known, so
// one that goes up after it went down counts.
func leadsOut(at, target, top string) bool {
	if strings.HasPrefix(target, "/") {
		rest, in := strings.CutPrefix(target, strings.TrimSuffix(top, "/")+"/")
		if !in && target != top {
			return true
		}
		return goesUp(rest) != 0
	}
	up := goesUp(target)
	return up < 0 || up > strings.Count(at, "/")
}

// goesUp is how many names up a relative path begins with, -1 if it goes up later.
func goesUp(p string) (up int) {
	down := false
	for n := range strings.SplitSeq(p, "/") {
		switch n {
		case "", ".":
		case "..":
			if down {
				return -1
			}
			up++
		default:
			down = true
		}
	}
	return up
}

// trigger holds back what programs of the host run later.
func (g *ground) trigger(it *Item) {
	c := it.Change
	d, others, deep := g.place(c.Path)
	name := path.Base(c.Path)
	tr := g.table.Match(d, name)
	if tr != nil && tr.Below() {
		tr = nil
	}
	// A directory counts when it is new or gone, unless all that is in it does.
	if tr != nil && !tr.Deep() && c.Type == change.Dir && c.Kind == change.Changed {
		tr = nil
	}
	rule := triggers.Rule("")
	if tr != nil {
		rule = tr.RuleIn(others)
	}
	if deep != nil && (tr == nil || rule == triggers.Build) {
		tr, rule = deep, deep.RuleIn(others)
	}
	who, class := "", ""
	switch {
	case tr != nil:
		who, class = tr.Who, tr.Class
		if tr.Alike(name) && tr != deep {
			who += "; some take it for " + tr.Pattern
		}
	case g.looksLikeRepository(c):
		rule, class = triggers.Guard, triggers.Repository
		who = "git takes " + show(path.Dir(c.Path)) + " for a repository, by what is in it now, and runs what its config names"
	case c.Type == change.Symlink && c.Kind != change.Deleted && g.table.Leads(d, name, 0):
		rule, class = triggers.Guard, "link"
		who = "programs look for their settings below that name"
	case g.aimed(c.Path):
		rule, class = triggers.Guard, "link"
		who = "a link at the top that programs take for their settings leads to it"
	case c.Type == change.File && !c.Gone() && c.Now.Mode&0o111 != 0 && c.Before.Mode&0o111 == 0:
		rule, class, who = triggers.Build, "executable", "it is executable"
	default:
		return
	}
	it.Who, it.Class = who, class
	if rule != triggers.Build && !g.rules.Triggers && !g.rules.named(c.Path) {
		it.refuse(Trigger, "the host runs it later or takes orders from it: %s", who)
	}
}

// place is the directory of a path as the list of triggers sees it, with whether
// it lies in other people's packages, and the trigger it lies in.
func (g *ground) place(p string) (d triggers.Dir, others bool, deep *triggers.Trigger) {
	d = g.start()
	at := ""
	dir := path.Dir(p)
	if dir == "." {
		return d, false, nil
	}
	for name := range strings.SplitSeq(dir, "/") {
		if tr := g.table.Match(d, name); tr != nil {
			switch {
			case tr.Below():
				others = true
			case tr.Deep() && deep == nil:
				deep = tr
			}
		}
		d = d.Enter(name)
		at = path.Join(at, name)
		if d.Home < 0 && path.Join(g.top, at) == g.home {
			d.Home = len(d.Names)
		}
		if _, is := g.list.Repositories[at]; is {
			d.Git = len(d.Names)
		}
	}
	return d, others, deep
}

// start is the top of the tree as the list of triggers sees it.
func (g *ground) start() triggers.Dir {
	d := triggers.Dir{Home: -1, Git: -1}
	if g.home != "" && g.home != "/" {
		if rest, in := strings.CutPrefix(g.top+"/", strings.TrimSuffix(g.home, "/")+"/"); in {
			d.Home = 0
			for n := range strings.SplitSeq(rest, "/") {
				if n != "" {
					d.Prefix = append(d.Prefix, triggers.Fold(n))
				}
			}
		}
	}
	if _, is := g.list.Repositories[""]; is {
		d.Git = 0
	}
	return d
}

// looksLikeRepository reports whether c makes its directory one that git takes
// for a repository.
func (g *ground) looksLikeRepository(c *change.Change) bool {
	if !g.list.Repositories[up(c.Path)] || c.Kind == change.Deleted {
		return false
	}
	switch triggers.Fold(path.Base(c.Path)) {
	case "head", "objects", "refs", "commondir", "config":
		return c.Kind != change.Changed || c.Content
	}
	return false
}

// clean is the path below the tree's top that a link at the top leads to.
func clean(target, top string) string {
	if path.IsAbs(target) {
		target = strings.TrimPrefix(target, top)
	}
	return strings.TrimPrefix(path.Clean("/"+target), "/")
}

func (g *ground) aimed(p string) bool {
	for _, a := range g.aims {
		if p == a || change.Under(p, a) {
			return true
		}
	}
	return false
}

// conflict says why what the host has may not be what the sandbox saw. "" means
// that it is.
func (g *ground) conflict(c *change.Change) string {
	if c.Kind == change.Added {
		return g.deleted(c)
	}
	if !since(&c.Before, g.base) || g.known.has(c.Path, &c.Before) {
		return ""
	}
	if c.Was == change.Dir && !c.Mode && len(c.Xattrs) == 0 {
		return "" // what came or went in it has a change of its own
	}
	return "it changed on the host as well, since the sandbox started"
}

// deleted says why c, which the host does not have, may be a change of a file
// that the host deleted since, and no new file.
func (g *ground) deleted(c *change.Change) string {
	const why = "it was there when the sandbox started, and was deleted on the host since"
	switch {
	case c.Copied == "" || c.From != "":
		return ""
	case c.Copied == c.Path || c.Type == change.Dir:
		return why
	case c.Copied != "?":
		return "" // it was moved in the sandbox
	}
	// The driver noted only that it is a copy: it may as well have been moved
	// here in the sandbox. It was not deleted from a directory that has not changed.
	if g.unchanged(up(c.Path)) {
		return ""
	}
	return "it may have been deleted on the host since the sandbox started, or moved in the sandbox"
}

// unchanged reports whether nothing came or went in a directory of the host's.
func (g *ground) unchanged(dir string) bool {
	i, err := g.stat(dir)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return true // the directory is the sandbox's, or has a conflict of its own
	}
	return err == nil && (!since(&i, g.base) || g.known.has(dir, &i))
}

// since reports whether an inode changed after a moment, which upper.Now has told.
func since(i *beneath.Info, moment beneath.Time) bool { return moment.Before(i.Ctime) }

// depend gives verdicts to what can't be without another thing.
func (g *ground) depend(items []Item) {
	t := kin{items: items, at: make(map[string]int, len(items))}
	for i := range items {
		t.at[items[i].Path] = i
	}
	g.dependNew(t)
	t.dependGone()
	t.dependTyped()
	t.dependUnknown(g.list.Problems)
}

// kin are items, and the places of them by their paths.
type kin struct {
	items []Item
	at    map[string]int
}

// up is the place of the directory that item i lies in, -1 if it has not changed.
func (t kin) up(i int) int {
	if j, ok := t.at[path.Dir(t.items[i].Path)]; ok {
		return j
	}
	return -1
}

// dependNew is for what is new in a directory that is new.
func (g *ground) dependNew(t kin) {
	for i := range t.items {
		it := &t.items[i]
		if it.Gone() {
			continue
		}
		for j := t.up(i); j >= 0 && it.Verdict == Take; j = t.up(j) {
			dir := &t.items[j]
			if dir.Kind == change.Changed || dir.Verdict == Take {
				break
			}
			if dir.Verdict == Skip || dir.Gate == Trigger && g.rules.named(it.Path) {
				continue
			}
			it.Verdict, it.Gate, it.Reason = dir.Verdict, Within, "it lies in "+show(dir.Path)+": "+dir.Reason
			if dir.Gate == Within {
				it.Reason = dir.Reason
			}
		}
		for j := t.up(i); j >= 0 && it.Verdict == Take; j = t.up(j) {
			if dir := &t.items[j]; dir.Kind != change.Changed {
				dir.Verdict, dir.Gate, dir.Reason = Take, "", ""
			}
		}
	}
}

// dependGone is for a directory that is to go, or to become something else, with
// what is in it.
func (t kin) dependGone() {
	for i := len(t.items) - 1; i >= 0; i-- {
		it := &t.items[i]
		if it.Kind != change.Deleted {
			continue
		}
		for j := t.up(i); j >= 0 && it.Verdict != Take; j = t.up(j) {
			dir := &t.items[j]
			if dir.Was != change.Dir || dir.Kind != change.Deleted && dir.Kind != change.Typed {
				break
			}
			if dir.Verdict == Take {
				dir.Verdict, dir.Gate, dir.Reason = it.Verdict, Within, show(it.Path)+" stays in it: "+it.Reason
			}
		}
	}
}

// dependTyped is for what was in a directory that is not to become something
// else: it stays, too.
func (t kin) dependTyped() {
	for i := range t.items {
		it := &t.items[i]
		for j := t.up(i); j >= 0 && it.Verdict == Take && it.Gone(); j = t.up(j) {
			if dir := &t.items[j]; dir.Kind == change.Typed && dir.Verdict != Take {
				it.Verdict, it.Gate, it.Reason = dir.Verdict, Within, "it lies in "+show(dir.Path)+": "+dir.Reason
			}
		}
	}
}

// dependUnknown keeps directories with something in them that can't be told.
func (t kin) dependUnknown(problems []change.Problem) {
	for _, p := range problems {
		for dir := path.Dir(p.Path); ; dir = path.Dir(dir) {
			if i, ok := t.at[dir]; ok {
				if it := &t.items[i]; it.Verdict == Take && (it.Kind == change.Deleted || it.Kind == change.Typed) {
					it.Verdict, it.Gate, it.Reason = Refuse, Within, "what is in it can't be told: "+p.Why
				}
			}
			if dir == "." || dir == "/" {
				break
			}
		}
	}
}

func show(p string) string {
	if p == "." || p == "" {
		return "the top"
	}
	return p
}
