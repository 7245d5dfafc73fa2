package apply

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/overlay/change"
	"github.com/sbx-sandbox/sbx/sandbox/triggers"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		glob     string
		yes, not []string
	}{
		{"*.go", []string{"a.go", "d/b.go", "x.go/y"}, []string{"a.god", "go"}},
		{"src", []string{"src", "src/a", "d/src/a"}, []string{"srcs", "a/bsrc"}},
		{"/src", []string{"src", "src/a/b"}, []string{"d/src"}},
		{"src/*.c", []string{"src/a.c", "src/a.c/b"}, []string{"src/d/a.c", "d/src/a.c"}},
		{"src/**", []string{"src/a", "src/a/b"}, []string{"src", "srcs/a"}},
		{"**/a", []string{"a", "d/a", "d/e/a", "a/x"}, []string{"b"}},
		{"a/**/z", []string{"a/z", "a/b/z", "a/b/c/z/y"}, []string{"a/b", "z"}},
		{"**", []string{"a", "a/b"}, nil},
		{"./a/b", []string{"a/b", "a/b/c"}, []string{"a"}},
		{"a?", []string{"ab", "x/ab"}, []string{"a", "abc"}},
		{"[ab]/x", []string{"a/x", "b/x"}, []string{"c/x"}},
		{"a[1].txt", []string{"a1.txt", "a[1].txt"}, []string{"a2.txt"}},
		{"d/", []string{"d", "d/e"}, []string{"dd"}},
		{`\*`, []string{"*", `\*`}, []string{"a"}},
	} {
		g, err := ParseGlob(c.glob)
		if err != nil {
			t.Errorf("%q: %v", c.glob, err)
			continue
		}
		for _, p := range c.yes {
			if !g.Match(p) {
				t.Errorf("%q does not match %q", c.glob, p)
			}
		}
		for _, p := range c.not {
			if g.Match(p) {
				t.Errorf("%q matches %q", c.glob, p)
			}
		}
	}
	for _, bad := range []string{"", "/", "a//b", "../a", "a/./b", "a[", "."} {
		if g, err := ParseGlob(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, g)
		}
	}
}

func TestLeadsOut(t *testing.T) {
	const top = "/home/u/p"
	for _, c := range []struct {
		at, to string
		out    bool
	}{
		{"l", "a", false}, {"l", "./a/b", false}, {"l", "a/b/c", false}, {"l", "", false},
		{"d/l", "../a", false}, {"d/e/l", "../../a", false}, {"d/l", "..", false},
		{"l", "..", true}, {"l", "../p/a", true}, {"d/l", "../../a", true}, {"l", "./../x", true},
		{"d/l", "a/../b", true}, {"d/l", "../a/../../x", true}, {"l", "a/..", true},
		{"l", "/etc/passwd", true}, {"l", "/", true}, {"l", "/home/u/p", false}, {"l", "/home/u/p/a", false},
		{"l", "/home/u/pp", true}, {"l", "/home/u/p/../q", true}, {"l", "/home/u/p/a/../b", true}, {"l", "//etc", true}, {"l", "/home/u", true},
	} {
		if got := leadsOut(c.at, c.to, top); got != c.out {
			t.Errorf("%q to %q leads out: %v", c.at, c.to, got)
		}
	}
}

// TestJudge: verdicts that hang on one another.
func TestJudge(t *testing.T) {
	base := beneath.Time{Sec: 100}
	info := func(kind uint32, ctime int64) beneath.Info {
		return beneath.Info{Type: kind, Mode: 0o644, Ctime: beneath.Time{Sec: ctime}, Ino: uint64(ctime)}
	}
	const reg, dir = unix.S_IFREG, unix.S_IFDIR
	add := func(p string, kind change.Type) change.Change {
		return change.Change{Path: p, Kind: change.Added, Type: kind}
	}
	del := func(p string, kind change.Type, ctime int64) change.Change {
		k := uint32(reg)
		if kind == change.Dir {
			k = dir
		}
		return change.Change{Path: p, Kind: change.Deleted, Type: kind, Was: kind, Before: info(k, ctime)}
	}
	mod := func(p string, ctime int64) change.Change {
		return change.Change{Path: p, Kind: change.Changed, Type: change.File, Was: change.File, Content: true, Before: info(reg, ctime)}
	}
	globs := func(list ...string) (out []Glob) {
		for _, s := range list {
			g, err := ParseGlob(s)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, g)
		}
		return out
	}
	for _, c := range []struct {
		name  string
		list  []change.Change
		known known
		rules Rules
		want  string
	}{
		{"old and new", []change.Change{mod("a", 99), mod("b", 100), mod("c", 101)}, nil, Rules{}, "apply apply conflict"},
		{"known", []change.Change{mod("a", 101)}, known{"a": {101, beneath.Time{Sec: 101}}}, Rules{}, "apply"},
		{"known, and changed since", []change.Change{mod("a", 102)}, known{"a": {102, beneath.Time{Sec: 101}}}, Rules{}, "conflict"},
		{"forced", []change.Change{mod("a", 101)}, nil, Rules{Force: true}, "apply"},
		{"a conflict nobody asked for", []change.Change{mod("a", 101), mod("b", 1)}, nil, Rules{Only: globs("b")}, "skip apply"},
		{"only a file of a new directory", []change.Change{add("d", change.Dir), add("d/a", change.File), add("d/b", change.File)}, nil, Rules{Only: globs("d/a")}, "apply apply skip"},
		{"a trigger in a new directory", []change.Change{add("d", change.Dir), add("d/.envrc", change.File)}, nil, Rules{}, "apply refuse"},
		{"in a directory that is one", []change.Change{add(".git", change.Dir), add(".git/x", change.File)}, nil, Rules{}, "refuse refuse"},
		{"named in a directory that is one", []change.Change{add(".git", change.Dir), add(".git/config", change.File)}, nil, Rules{Only: globs(".git/config")}, "apply apply"},
		{"allowed", []change.Change{add(".git", change.Dir), add(".git/config", change.File)}, nil, Rules{Triggers: true}, "apply apply"},
		{"a directory goes", []change.Change{del("d", change.Dir, 1), del("d/a", change.File, 1)}, nil, Rules{}, "apply apply"},
		{"but for a new file", []change.Change{del("d", change.Dir, 1), del("d/a", change.File, 1), del("d/b", change.File, 101)}, nil, Rules{}, "conflict apply conflict"},
		{"but for what is excluded", []change.Change{del("d", change.Dir, 1), del("d/e", change.Dir, 1), del("d/e/a", change.File, 1), del("d/x", change.File, 1)}, nil, Rules{Exclude: globs("a")}, "skip skip skip apply"},
		{"a FIFO", []change.Change{add("f", change.FIFO), add("s", change.Socket), add("d", change.Device)}, nil, Rules{Triggers: true, Links: true, Only: globs("f", "s", "d")}, "refuse refuse refuse"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &ground{
				list: &change.List{Changes: c.list}, rules: &c.rules, base: base, known: c.known, table: triggers.Load(), top: "/home/u/p", home: "/home/u",
				stat: func(string) (beneath.Info, error) { return beneath.Info{}, unix.ENOENT },
			}
			items, err := g.judge()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, it := range items {
				got = append(got, string(it.Verdict))
				if (it.Verdict == Take) != (it.Reason == "") {
					t.Errorf("%s: %s for %q", it.Path, it.Verdict, it.Reason)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("verdicts %v, want %s", got, c.want)
			}
		})
	}
}

const goodJournal = `{"version":1,"stage":".sbx-apply-abc","top":true}
{"op":{"kind":"put","path":"YQ==","n":0,"new":{"ino":1,"type":2,"size":3,"mtime":{"sec":4,"nsec":5}}}}
{"op":{"kind":"take","path":"Yi9j","n":1,"old":{"ino":1,"type":2,"size":3,"mtime":{"sec":4,"nsec":5}}}}
{"op":{"kind":"meta","path":"","n":2,"old":{"ino":1,"type":2,"size":3,"mtime":{"sec":4,"nsec":5}},"set":{"mode":493},"was":{"mode":420}}}
{"mark":"commit"}
{"mark":"done"}
`

func TestJournal(t *testing.T) {
	l, err := parseJournal([]byte(goodJournal))
	if err != nil || !l.committed || !l.done || !l.quiet || len(l.ops) != 3 || string(l.ops[1].Path) != "b/c" || l.stage != ".sbx-apply-abc" {
		t.Fatalf("%+v, %v", l, err)
	}
	// Cut anywhere it is one that was killed then.
	for n := range goodJournal {
		l, err := parseJournal([]byte(goodJournal[:n]))
		if err != nil || l.done || !l.committed && len(l.ops) > 0 {
			t.Fatalf("cut after %d: %+v, %v", n, l, err)
		}
	}
	lines := strings.SplitAfter(goodJournal, "\n")
	for _, c := range []struct{ name, text string }{
		{"another version", strings.Replace(goodJournal, `"version":1`, `"version":2`, 1)},
		{"no beginning", strings.Join(lines[1:], "")},
		{"two beginnings", lines[0] + goodJournal},
		{"another directory", strings.Replace(goodJournal, ".sbx-apply-abc", "src", 1)},
		{"a directory elsewhere", strings.Replace(goodJournal, ".sbx-apply-abc", ".sbx-apply-/../..", 1)},
		{"a path out", strings.Replace(goodJournal, "Yi9j", "Li4vYQ==", 1)},
		{"an absolute path", strings.Replace(goodJournal, "Yi9j", "L2E=", 1)},
		{"no path", strings.Replace(goodJournal, "Yi9j", "", 1)},
		{"another operation", strings.Replace(goodJournal, `"take"`, `"burn"`, 1)},
		{"not what belongs to it", strings.Replace(goodJournal, `"take"`, `"swap"`, 1)},
		{"done twice", goodJournal + lines[5]},
		{"done and not begun", lines[0] + lines[5]},
		{"after the commit", goodJournal + lines[1]},
		{"another field", strings.Replace(goodJournal, `"n":0`, `"n":0,"x":1`, 1)},
		{"no JSON", lines[0] + "x\n"},
	} {
		if l, err := parseJournal([]byte(c.text)); err == nil {
			t.Errorf("%s: it is read as %+v", c.name, l)
		}
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(goodJournal))
	for _, line := range strings.SplitAfter(goodJournal, "\n") {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseJournal(text)
		if err != nil {
			return
		}
		if l.stage != "" && (strings.Contains(l.stage, "/") || !strings.HasPrefix(l.stage, stagePrefix)) || len(l.ops) > 0 && !l.committed {
			t.Fatalf("%+v", l)
		}
		for _, o := range l.ops {
			if err := o.validate(); err != nil {
				t.Fatal(err)
			}
			p := string(o.Path)
			if slices.Contains(strings.Split(p, "/"), "..") || strings.HasPrefix(p, "/") {
				t.Fatalf("the path %q", p)
			}
		}
	})
}

func TestKnown(t *testing.T) {
	file := t.TempDir() + "/known"
	if k, err := loadKnown(file); err != nil || len(k) != 0 {
		t.Fatalf("%v, %v", k, err)
	}
	want := known{"": {1, beneath.Time{Sec: 2, Nsec: 3}}, "a\xff\n": {4, beneath.Time{Sec: -5}}}
	if err := want.save(file); err != nil {
		t.Fatal(err)
	}
	if got, err := loadKnown(file); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read back %v, %v", got, err)
	}
	if err := (known{}).save(file); err != nil {
		t.Fatal(err)
	}
	if k, err := loadKnown(file); err != nil || len(k) != 0 {
		t.Errorf("%v, %v", k, err)
	}
}

// TestReversal: an operation is undone only as far as it was carried out, and never
// over what somebody else has put there since.
func TestReversal(t *testing.T) {
	file := func(ino uint64, size int64) *beneath.Info {
		return &beneath.Info{Ino: ino, Type: unix.S_IFREG, Size: size}
	}
	was, made, other := file(1, 5), file(2, 5), file(3, 5)
	for _, c := range []struct {
		name         string
		kind         opKind
		there, aside *beneath.Info
		want         reversal
	}{
		{"put, not yet", put, nil, made, leave},
		{"put, done", put, made, nil, takeOut},
		{"put, and written since", put, file(2, 6), nil, leave},
		{"put, and replaced since", put, other, nil, leave},
		{"swap, not yet", swap, was, made, leave},
		{"swap, done", swap, made, was, exchange},
		{"swap, and written since", swap, file(2, 6), was, setAside},
		{"swap, and replaced since", swap, other, was, setAside},
		{"swap, and removed since", swap, nil, was, putBack},
		{"swap, undone already", swap, was, nil, leave},
		{"take, not yet", take, was, nil, leave},
		{"take, done", take, nil, was, putBack},
		{"take, and made anew since", take, other, was, setAside},
	} {
		o := &op{Kind: c.kind}
		if c.kind != put {
			o.Old = markOf(was)
		}
		if c.kind != take {
			o.New = markOf(made)
		}
		if got := o.reversal(c.there, c.aside); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestModes(t *testing.T) {
	for _, c := range []struct {
		name string
		c    change.Change
		want uint32
	}{
		{"a new file", change.Change{Kind: change.Added, Type: change.File, Now: beneath.Info{Mode: 0o6755}}, 0o755},
		{"the host's own bit, other content", change.Change{Kind: change.Changed, Type: change.File, Content: true, Now: beneath.Info{Mode: 0o4755}, Before: beneath.Info{Mode: 0o4755}}, 0o755},
		{"the host's own bit, other mode", change.Change{Kind: change.Changed, Type: change.File, Now: beneath.Info{Mode: 0o4750}, Before: beneath.Info{Mode: 0o4755}}, 0o4750},
		{"the host's directory", change.Change{Kind: change.Changed, Type: change.Dir, Now: beneath.Info{Mode: 0o3770}, Before: beneath.Info{Mode: 0o2775}}, 0o2770},
		{"a bit taken away", change.Change{Kind: change.Changed, Type: change.Dir, Now: beneath.Info{Mode: 0o775}, Before: beneath.Info{Mode: 0o2775}}, 0o775},
	} {
		if got := mode(&c.c); got != c.want {
			t.Errorf("%s: %o, want %o", c.name, got, c.want)
		}
	}
}
