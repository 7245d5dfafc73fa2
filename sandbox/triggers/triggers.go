// Package triggers knows the files that programs of the host run, or take
// orders from, without being asked: git's hooks, a shell's settings, an
// editor's tasks. A command that may write them runs outside its sandbox, only
// later. The list, triggers.txt, can't be complete.
//
// It judges names alone and looks at no file.
package triggers

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed triggers.txt
var text string

// Rule says what is done about a trigger.
type Rule string

// The rules; see triggers.txt.
const (
	Guard Rule = "guard"
	Audit Rule = "audit"
	Build Rule = "build"
	below Rule = "below"
)

// Repository is the class of what makes a directory a repository: it counts
// also in other people's packages.
const Repository = "repository"

// Trigger is a line of the list.
type Trigger struct {
	Pattern string
	Class   string
	Rule    Rule
	Who     string // who runs it

	names []string // of the pattern, folded; the last one first
	place place
	all   bool // with all that is in it
	// Of a last name with a *, what stands before and after it.
	head, tail string
	next       *Trigger // with the same last name
}

// place is where a pattern begins.
type place uint8

const (
	anywhere place = iota
	top            // of the workspace
	home
	gitDir
)

// Table is the list, by the last name of each pattern.
type Table struct {
	All   []*Trigger
	named map[string]*Trigger // the first of those with the name
	globs []*Trigger
}

// Load reads the list. It is not kept: a run needs it once, or not at all.
func Load() *Table {
	t, err := parse(text)
	if err != nil {
		panic("BUG: triggers.txt: " + err.Error()) // it is part of the binary, and tested
	}
	return t
}

func parse(text string) (*Table, error) {
	t := &Table{All: make([]*Trigger, 0, 256), named: make(map[string]*Trigger, 256)}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		tr := &Trigger{}
		var rest, rule string
		tr.Pattern, rest = cutWord(line)
		tr.Class, rest = cutWord(rest)
		rule, tr.Who = cutWord(rest)
		if tr.Who == "" {
			return nil, fmt.Errorf("line %d has no pattern, class, rule and reason", n)
		}
		tr.Rule = Rule(rule)
		switch tr.Rule {
		case Guard, Audit, Build, below:
		default:
			return nil, fmt.Errorf("line %d has the rule %q", n, rule)
		}
		if err := t.add(tr); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return t, nil
}

// cutWord splits at the first blanks.
func cutWord(s string) (word, rest string) {
	word, rest, _ = strings.Cut(s, " ")
	return word, strings.TrimLeft(rest, " ")
}

func (t *Table) add(tr *Trigger) error {
	p := tr.Pattern
	for _, start := range []struct {
		prefix string
		place  place
	}{{"/", top}, {"~/", home}, {"$GIT_DIR/", gitDir}} {
		if rest, ok := strings.CutPrefix(p, start.prefix); ok {
			p, tr.place = rest, start.place
			break
		}
	}
	p, tr.all = strings.CutSuffix(p, "/")
	if i := strings.IndexByte(p, '*'); strings.ContainsAny(p, "?[\\") || i >= 0 && strings.ContainsAny(p[i+1:], "*/") {
		return fmt.Errorf("the pattern %q may have one *, in its last name", tr.Pattern)
	}
	for name := range strings.SplitSeq(p, "/") {
		if name == "" || name == "." || name == ".." {
			return fmt.Errorf("the pattern %q has an empty name", tr.Pattern)
		}
		tr.names = append(tr.names, Fold(name))
	}
	slices.Reverse(tr.names)
	last := tr.names[0]
	if strings.Contains(last, "*") {
		tr.head, tr.tail, _ = strings.Cut(last, "*")
		t.globs = append(t.globs, tr)
	} else {
		tr.next, t.named[last] = t.named[last], tr
	}
	t.All = append(t.All, tr)
	return nil
}

// Dir is a directory as far as matching needs to know it: its folded names
// below the workspace, and how many of those lead to the home and to a
// directory that git takes for a repository.
type Dir struct {
	Names []string
	// Top, Home and Git are indexes into Names, of the first name below the top
	// of a workspace, the home and a repository; -1 where the directory lies in
	// none.
	Top, Home, Git int
	// Prefix are the folded names between the home and the workspace's top, for
	// a workspace in the home; Home is 0 then.
	Prefix []string
}

// Match finds the trigger that the entry name of d is, if it is one.
func (t *Table) Match(d Dir, name string) *Trigger {
	name = Fold(name)
	var found *Trigger
	for tr := t.named[name]; tr != nil; tr = tr.next {
		found = better(found, tr, d)
	}
	if found != nil {
		return found
	}
	if s, ok := unnumbered(name); ok {
		for _, tr := range t.All { // such names are few
			if short(tr.names[0]) == s {
				found = better(found, tr, d)
			}
		}
	}
	for _, tr := range t.globs {
		if tr.globs(name) {
			found = better(found, tr, d)
		}
	}
	return found
}

// globs reports whether tr's last name, which has a *, matches name.
func (tr *Trigger) globs(name string) bool {
	return len(name) >= len(tr.head)+len(tr.tail) && strings.HasPrefix(name, tr.head) && strings.HasSuffix(name, tr.tail)
}

// better is tr, if it matches in d and found is not the more exact one already.
func better(found, tr *Trigger, d Dir) *Trigger {
	if tr.under(d, tr.names[1:]) && (found == nil || len(tr.names) > len(found.names)) {
		return tr
	}
	return found
}

// Leads reports whether the entry name of d is what a pattern names before its
// last name, with at least back more names before it. Patterns of builds don't
// count.
func (t *Table) Leads(d Dir, name string, back int) bool {
	name = Fold(name)
	for _, tr := range t.All {
		for i := 1; i+back < len(tr.names) && tr.Rule != Build; i++ {
			if (name == tr.names[i] || isShort(name, tr.names[i])) && tr.under(d, tr.names[i+1:]) {
				return true
			}
		}
	}
	return false
}

// Span is how many names tr's pattern has.
func (tr *Trigger) Span() int { return len(tr.names) }

// under reports whether d ends in the names before, of tr, the last one first.
func (tr *Trigger) under(d Dir, before []string) bool {
	names := d.Names
	switch tr.place {
	case top:
		if d.Top < 0 {
			return false
		}
		names = names[d.Top:]
	case home:
		if d.Home < 0 {
			return false
		}
		names = names[d.Home:]
		if len(d.Prefix) > 0 {
			names = append(append([]string(nil), d.Prefix...), names...)
		}
	case gitDir:
		if d.Git < 0 {
			return false
		}
		names = names[d.Git:]
	}
	if len(names) < len(before) || tr.place != anywhere && len(names) != len(before) {
		return false
	}
	for i, n := range before {
		if have := names[len(names)-1-i]; have != n && !(isShort(have, n)) {
			return false
		}
	}
	return true
}

func isShort(have, name string) bool {
	s, ok := unnumbered(have)
	return ok && s == short(name)
}

// Deep reports whether tr stands for all that is in its directory.
func (tr *Trigger) Deep() bool { return tr.all }

// Below reports whether tr is a directory of other people's projects.
func (tr *Trigger) Below() bool { return tr.Rule == below }

// RuleIn is the rule of tr, in other people's packages or not.
func (tr *Trigger) RuleIn(others bool) Rule {
	if others && tr.Class != Repository {
		return Build
	}
	return tr.Rule
}

// Find is Match for a whole path below the top of the workspace: the trigger
// that it is or lies in, if any, and the rule that holds there.
func (t *Table) Find(p string) (*Trigger, Rule) {
	d := Dir{Home: -1, Git: -1}
	others := false
	var deep, is *Trigger
	for name := range strings.SplitSeq(p, "/") {
		if name == "" || name == "." {
			continue
		}
		is = t.Match(d, name)
		switch {
		case is == nil:
		case is.Below():
			others, is = true, nil
		case is.all && deep == nil:
			deep = is
		}
		d = d.Enter(name)
	}
	if deep != nil {
		is = deep
	}
	if is == nil {
		return nil, ""
	}
	return is, is.RuleIn(others)
}

// Enter is the directory name in d.
func (d Dir) Enter(name string) Dir {
	name = Fold(name)
	d.Names = append(d.Names[:len(d.Names):len(d.Names)], name)
	if s, ok := unnumbered(name); name == ".git" || ok && s == short(".git") {
		d.Git = len(d.Names)
	}
	return d
}

// Alike reports whether name is not what the trigger's pattern says but only
// taken for it by some file system or program.
func (tr *Trigger) Alike(name string) bool {
	want := tr.Pattern[strings.LastIndexByte(strings.TrimSuffix(tr.Pattern, "/"), '/')+1:]
	want = strings.TrimSuffix(want, "/")
	if head, tail, any := strings.Cut(want, "*"); any {
		return !strings.HasPrefix(name, head) || !strings.HasSuffix(name, tail)
	}
	return want != name
}

// Example is a path that tr's pattern stands for, in a workspace.
func Example(tr *Trigger) string {
	p := strings.NewReplacer("$GIT_DIR", ".git", "~/", "", "*", "x").Replace(tr.Pattern)
	p = strings.TrimPrefix(p, "/")
	if strings.HasSuffix(p, "/") {
		p += "x"
	}
	return p
}
