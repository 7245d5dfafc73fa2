package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/triggers"
)

// tick is longer than the clock that file systems read stands still.
const tick = 25 * time.Millisecond

// project is a directory for a test, with what one does to it.
type project struct {
	t   *testing.T
	dir string
}

func (p project) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p project) write(name string) {
	p.t.Helper()
	p.must(os.MkdirAll(filepath.Dir(p.dir+"/"+name), 0o755))
	f, err := os.OpenFile(p.dir+"/"+name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	p.must(err)
	_, err = f.WriteString("x\n")
	p.must(err)
	p.must(f.Close())
}

func (p project) mkdir(name string)    { p.must(os.MkdirAll(p.dir+"/"+name, 0o755)) }
func (p project) move(from, to string) { p.must(os.Rename(p.dir+"/"+from, p.dir+"/"+to)) }
func (p project) link(to, name string) {
	p.must(os.MkdirAll(filepath.Dir(p.dir+"/"+name), 0o755))
	p.must(os.Symlink(to, p.dir+"/"+name))
}
func (p project) mode(name string, m int) { p.must(os.Chmod(p.dir+"/"+name, os.FileMode(m))) }
func (p project) repository(name string) {
	p.write(name + "/HEAD")
	p.mkdir(name + "/objects")
	p.mkdir(name + "/refs")
}
func (p project) backdate(names ...string) {
	for _, n := range names {
		p.must(os.Chtimes(p.dir+"/"+n, time.Unix(1, 0), time.Unix(1, 0)))
	}
}

// look audits the project around during.
func look(t *testing.T, before, during func(p project), adjust ...func(tree *sandbox.AuditTree)) *Report {
	t.Helper()
	p := project{t, t.TempDir()}
	if before != nil {
		before(p)
	}
	time.Sleep(tick)
	tree := sandbox.AuditTree{Source: p.dir, Top: p.dir, IsDir: true}
	for _, f := range adjust {
		f(&tree)
	}
	m := Begin([]sandbox.AuditTree{tree})
	during(p)
	r := m.Look(func() bool { return false })
	for i := range r.Findings {
		r.Findings[i].Path = strings.TrimPrefix(r.Findings[i].Path, p.dir+"/")
	}
	for i := range r.Incomplete {
		r.Incomplete[i] = strings.TrimPrefix(r.Incomplete[i], p.dir+"/")
	}
	return r
}

// lines are the findings as CHANGE PATH RULE, with the number of files.
func lines(r *Report) []string {
	var out []string
	for _, f := range r.Findings {
		s := f.Change + " " + f.Path + " " + string(f.Rule)
		if f.Files > 0 {
			s += fmt.Sprint(" ", f.Files)
		}
		if f.Alike != "" {
			s += " like " + f.Alike
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

func TestLook(t *testing.T) {
	for _, c := range []struct {
		name           string
		before, during func(p project)
		want           []string
	}{
		{name: "nothing", before: func(p project) { p.write(".envrc"); p.write(".git/config") }, during: func(project) {}},
		{name: "an ordinary build",
			before: func(p project) {
				p.write("src/main.c")
				p.write("src/.gitattributes")
				p.write(".git/config")
				p.write(".git/index")
			},
			during: func(p project) { p.write("src/main.o"); p.write("main"); p.mode("main", 0o755); p.write("out/deep/x") }},
		{name: "a new file", during: func(p project) { p.write(".envrc") }, want: []string{"new .envrc guard"}},
		{name: "a changed file", before: func(p project) { p.write("a/.envrc") }, during: func(p project) { p.write("a/.envrc") }, want: []string{"changed a/.envrc guard"}},
		{name: "a changed file with its old time back", before: func(p project) { p.write(".envrc") },
			during: func(p project) { p.write(".envrc"); p.backdate(".envrc") }, want: []string{"changed .envrc guard"}},
		{name: "a file under another name", before: func(p project) { p.write("x") }, during: func(p project) { p.move("x", ".envrc") }, want: []string{"changed .envrc guard"}},
		{name: "another name of a file", before: func(p project) { p.write("x") },
			during: func(p project) { p.must(os.Link(p.dir+"/x", p.dir+"/.envrc")) }, want: []string{"changed .envrc guard"}},
		{name: "writing by another name of a file", before: func(p project) { p.write(".envrc"); p.must(os.Link(p.dir+"/.envrc", p.dir+"/x")) },
			during: func(p project) { p.write("x") }, want: []string{"changed .envrc guard"}},
		{name: "in a directory that is one", before: func(p project) { p.write(".vscode/tasks.json"); p.write(".vscode/a/b") },
			during: func(p project) { p.write(".vscode/tasks.json"); p.write(".vscode/a/b") }, want: []string{"changed .vscode guard 2"}},
		{name: "a new directory that is one", during: func(p project) { p.write("sub/.claude/settings.json") }, want: []string{"new sub/.claude guard 1"}},
		{name: "a directory under the name of one", before: func(p project) { p.write("x/tasks.json") },
			during: func(p project) { p.move("x", ".vscode") }, want: []string{"moved .vscode guard"}},
		{name: "a link", before: func(p project) { p.write("x/tasks.json") }, during: func(p project) { p.link("x", ".vscode") }, want: []string{"new .vscode guard"}},
		{name: "what a link leads to", before: func(p project) {
			p.write("x/tasks.json")
			p.write("y")
			p.link("x", ".vscode")
			p.link("../y", "x/.envrc")
		},
			during: func(p project) { p.write("x/tasks.json"); p.write("y") }, want: []string{"changed .vscode guard 1", "changed x/.envrc guard"}},
		{name: "links in a circle", before: func(p project) { p.mkdir("a"); p.link("..", "a/.vscode"); p.link("a", ".idea") }, during: func(project) {}},
		{name: "a new repository", during: func(p project) { p.repository("sub/.git"); p.write("sub/.git/config") },
			want: []string{"new sub/.git guard", "new sub/.git/config guard"}},
		{name: "a new .git file", during: func(p project) { p.write("sub/.git") }, want: []string{"new sub/.git guard"}},
		{name: "work in a repository", before: func(p project) {
			p.repository(".git")
			p.write(".git/config")
			p.write(".git/index")
			p.mkdir(".git/objects/info")
			p.repository(".git/modules/m")
			p.mkdir(".git/modules/m/objects/info")
		},
			during: func(p project) {
				p.write(".git/index.lock")
				p.move(".git/index.lock", ".git/index")
				p.write(".git/objects/ab/cdef")
				p.write(".git/objects/info/commit-graph")
				p.write(".git/HEAD.lock")
				p.move(".git/HEAD.lock", ".git/HEAD")
				p.write(".git/modules/m/HEAD.lock")
				p.move(".git/modules/m/HEAD.lock", ".git/modules/m/HEAD")
				p.write("file")
			}},
		{name: "in a repository", before: func(p project) {
			p.repository(".git")
			p.write(".git/config")
			p.mkdir(".git/hooks")
			p.repository(".git/modules/m")
		},
			during: func(p project) {
				p.write(".git/config")
				p.write(".git/hooks/x")
				p.write(".git/commondir")
				p.write(".git/modules/m/config")
				p.write(".git/objects/info/alternates")
			},
			want: []string{"changed .git/config guard", "changed .git/hooks guard 1", "new .git/commondir guard", "new .git/modules/m/config guard", "new .git/objects/info/alternates guard"}},
		{name: "other objects in place of a repository's", before: func(p project) {
			p.repository(".git")
			p.mkdir(".git/objects/info")
			p.write("x/info/alternates")
			p.repository("a/.git")
			p.write("y/alternates")
			p.repository("b/.git")
		},
			during: func(p project) {
				p.move(".git/objects", ".git/o")
				p.move("x", ".git/objects")
				p.link("../../../y", "a/.git/objects/info")
				p.must(os.Remove(p.dir + "/b/.git/objects"))
				p.mkdir("z/info")
				p.write("z/info/alternates")
				p.link("../../z", "b/.git/objects")
			},
			want: []string{"moved .git/objects guard 1", "new a/.git/objects/info guard 1", "new b/.git/objects/info/alternates guard"}},
		{name: "a bare repository", during: func(p project) { p.repository("docs"); p.write("docs/config") }, want: []string{"new docs guard", "new docs/config guard"}},
		{name: "among the objects of what may be no repository", before: func(p project) { p.repository("src"); p.mkdir("src/objects/ab/old") },
			during: func(p project) {
				p.write("src/objects/ab/.envrc")
				p.write("src/objects/ab/old/.envrc")
				p.write("src/objects/pack/.vscode/tasks.json")
			},
			want: []string{"new src/objects/ab/.envrc guard", "new src/objects/ab/old/.envrc guard", "new src/objects/pack/.vscode guard 1"}},
		{name: "what lacks a name to be one", before: func(p project) { p.mkdir("docs/objects"); p.mkdir("docs/refs"); p.write("docs/config") },
			during: func(p project) { p.write("docs/HEAD") }, want: []string{"new docs guard"}},
		{name: "a bare repository by commondir", before: func(p project) { p.write("docs/HEAD") }, during: func(p project) { p.write("docs/commondir") },
			want: []string{"new docs guard", "new docs/commondir guard"}},
		{name: "a bare repository that was there", before: func(p project) { p.repository("docs"); p.write("docs/config") }, during: func(p project) { p.write("docs/x") }},
		{name: "a repository under another name", before: func(p project) { p.repository("x"); p.write("x/config") }, during: func(p project) { p.move("x", ".git") }, want: []string{"moved .git guard"}},
		{name: "what holds one under another name", before: func(p project) { p.write("a/b/.envrc"); p.write("a/b/.vscode/x"); p.write("a/b/Makefile") },
			during: func(p project) { p.move("a", "c") }, want: []string{"moved c guard 2"}},
		{name: "the same, with its times made good", before: func(p project) { p.write("a/b/.envrc") },
			during: func(p project) { p.move("a/b", "a/c"); p.write("a/c/x"); p.must(os.Remove(p.dir + "/a/c/x")) }, want: []string{"moved a/c guard 1"}},
		{name: "two that take each other's place", before: func(p project) { p.write("a/.envrc"); p.mkdir("b") },
			during: func(p project) {
				p.must(unix.Renameat2(unix.AT_FDCWD, p.dir+"/a", unix.AT_FDCWD, p.dir+"/b", unix.RENAME_EXCHANGE))
			}, want: []string{"moved b guard 1"}},
		{name: "in a new directory", before: func(p project) { p.write("a/.envrc") }, during: func(p project) { p.mkdir("n"); p.move("a", "n/a") }, want: []string{"moved n/a guard 1"}},
		{name: "other people's packages", during: func(p project) {
			p.write("node_modules/x/.envrc")
			p.write("node_modules/x/.vscode/s")
			p.write("node_modules/x/.git")
		}, want: []string{"new node_modules/x/.envrc build", "new node_modules/x/.git guard", "new node_modules/x/.vscode build 1"}},
		{name: "builds' own files", during: func(p project) { p.write("build/Makefile"); p.write("bin/x"); p.write("node_modules/.bin/y") },
			want: []string{"new bin build 1", "new build/Makefile build", "new node_modules/.bin build 1"}},
		{name: "more in a directory of less", during: func(p project) { p.write("bin/.envrc") }, want: []string{"new bin build", "new bin/.envrc guard"}},
		{name: "made executable", before: func(p project) { p.write("run.sh"); p.backdate("run.sh") }, during: func(p project) { p.mode("run.sh", 0o755) }, want: []string{"changed run.sh build"}},
		{name: "look-alikes", during: func(p project) { p.write("a/.GIT/config"); p.write("b/.g\u200cit"); p.write("c/git~1") },
			want: []string{"new a/.GIT guard like .git", "new a/.GIT/config guard", "new b/.g\u200cit guard like .git", "new c/git~1 guard like .git"}},
		{name: "a link by whose name there is one", before: func(p project) { p.write("c/config.toml"); p.write("c/x"); p.write("c/.envrc") },
			during: func(p project) { p.link("c", ".cargo") }, want: []string{"new .cargo audit 1"}},
		{name: "the same, absolute", before: func(p project) { p.write("c/config.toml") },
			during: func(p project) { p.link(p.dir+"//c/", "d/.cargo") }, want: []string{"new d/.cargo audit 1"}},
		{name: "the same, to what is new", during: func(p project) { p.write("c/config.toml"); p.write("c/Makefile"); p.link("c", ".cargo") },
			want: []string{"new .cargo/config.toml audit", "new c/Makefile build"}},
		{name: "the same, a link that was there", before: func(p project) { p.write("c/config.toml"); p.link("c", ".cargo") },
			during: func(p project) { p.write("c/config.toml") }, want: []string{"changed .cargo/config.toml audit"}},
		{name: "the same, to another link that was there", before: func(p project) { p.write("x"); p.mkdir("c"); p.link("../x", "c/config.toml"); p.link("c", ".cargo") },
			during: func(p project) { p.write("x") }, want: []string{"changed .cargo/config.toml audit"}},
		{name: "the same, led elsewhere", before: func(p project) { p.mkdir("c"); p.write("n/config.toml"); p.link("c", ".cargo") },
			during: func(p project) { p.must(os.Remove(p.dir + "/c")); p.move("n", "c") }, want: []string{"changed .cargo audit 1"}},
		{name: "links by whose names there is one", before: func(p project) {
			p.mkdir("n")
			p.link(p.dir+"/n", ".jj")
			p.link("../m", "n/repo")
			p.write("m/config.toml")
		},
			during: func(p project) { p.write("m/config.toml") }, want: []string{"changed .jj/repo/config.toml guard"}},
		{name: "a directory by whose name there is one", before: func(p project) { p.write("c/config.toml"); p.write("s/c/workflows/x") },
			during: func(p project) { p.move("c", ".cargo"); p.move("s/c", "s/.github") }, want: []string{"moved .cargo audit 1", "moved s/.github audit 1"}},
		{name: "the same, in what may have moved", before: func(p project) { p.write("s/d/c/config.toml") },
			during: func(p project) { p.move("s/d/c", "s/d/.cargo"); p.write("s/x") }, want: []string{"moved s/d/.cargo audit 1"}},
		{name: "builds' own files under another name", before: func(p project) { p.write("tmp/Makefile"); p.write("tmp/.npmrc"); p.write("tmp/config.toml") },
			during: func(p project) { p.move("tmp", "out"); p.link("out", "tools") }},
		{name: "links in a circle, by whose names there is one", before: func(p project) { p.mkdir("mise"); p.link(".", "gradle"); p.link("..", "mise/.config") },
			during: func(p project) { p.link(".", ".config"); p.link(".", ".cargo") }, want: []string{"changed mise/.config guard 1", "new .config guard 1"}},
		{name: "what an absolute link leads to", before: func(p project) {
			p.write("s/e")
			p.mkdir("a")
			p.link(p.dir+"/s/e", "a/.envrc")
			p.link("a/.envrc", ".vimrc")
		},
			during: func(p project) { p.write("s/e") }, want: []string{"changed .vimrc guard", "changed a/.envrc guard"}},
		{name: "links out of the tree", before: func(p project) {
			p.link("/etc/passwd", ".envrc")
			p.link("../..", ".cargo")
			p.link("../x", "CLAUDE.md")
			p.link("/", "tools")
		},
			during: func(project) {}},
		{name: "a FIFO", during: func(p project) { p.must(unix.Mkfifo(p.dir+"/.envrc", 0o644)); p.must(unix.Mkfifo(p.dir+"/x", 0o644)) }, want: []string{"new .envrc guard"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := look(t, c.before, c.during)
			if got := lines(r); !slices.Equal(got, c.want) || len(r.Incomplete) > 0 {
				t.Errorf("it found\n%s\nwant\n%s\nincomplete: %q", strings.Join(got, "\n"), strings.Join(c.want, "\n"), r.Incomplete)
			}
		})
	}
}

func TestTree(t *testing.T) {
	before := func(p project) { p.mkdir("a"); p.mkdir("b") }
	r := look(t, func(p project) { p.write("s/a/.envrc") }, func(p project) { p.write("s/a/x"); p.write("s/x") })
	if got := lines(r); !slices.Equal(got, []string{"moved s/a guard 1"}) {
		t.Errorf("what can't be told from a move: %q", got)
	}
	r = look(t, func(p project) { p.write("s/a/.envrc") }, func(p project) { p.write("s/a/x"); p.write("s/x") },
		func(tree *sandbox.AuditTree) { tree.Pins = []string{tree.Source + "/s/a"} })
	if got := lines(r); got != nil {
		t.Errorf("what can't have moved: %q", got)
	}
	r = look(t, before, func(p project) { p.write("bin/x"); p.write("a/bin/x") }, func(tree *sandbox.AuditTree) { tree.Top += "/a" })
	if got := lines(r); !slices.Equal(got, []string{"new a/bin build 1"}) {
		t.Errorf("with the workspace in it: %q", got)
	}
	r = look(t, func(p project) { p.write("n/x"); p.write("m/applications/x") }, func(p project) { p.link("../m", "n/share"); p.link(p.dir+"/n", ".local") },
		func(tree *sandbox.AuditTree) { tree.Home = tree.Source })
	if got := lines(r); !slices.Equal(got, []string{"new .local audit 1"}) {
		t.Errorf("by the names of two links: %q", got)
	}
	for _, home := range []string{"", "/sub"} {
		r = look(t, before, func(p project) { p.write(strings.TrimPrefix(home+"/.ssh/rc", "/")) }, func(tree *sandbox.AuditTree) { tree.Home = tree.Source + home })
		if got := lines(r); !slices.Equal(got, []string{"new " + strings.TrimPrefix(home+"/.ssh", "/") + " audit 1"}) {
			t.Errorf("with the home at %q: %q", home, got)
		}
	}
}

func TestIncomplete(t *testing.T) {
	if os.Geteuid() != 0 {
		r := look(t, func(p project) { p.mkdir("a") }, func(p project) {
			p.write("a/.envrc")
			p.mode("a", 0)
			t.Cleanup(func() { p.mode("a", 0o755) })
		})
		if got := strings.Join(r.Incomplete, "\n"); got != "a: permission denied" || !r.Fails() {
			t.Errorf("a directory that can't be read: %q", got)
		}
	}
	r := look(t, nil, func(p project) {
		at, err := unix.Open(p.dir, unix.O_DIRECTORY|unix.O_RDONLY, 0)
		for i := 0; err == nil && i < maxDepth+20; i++ {
			next := -1
			if err = unix.Mkdirat(at, "d", 0o755); err == nil {
				next, err = unix.Openat(at, "d", unix.O_DIRECTORY|unix.O_RDONLY, 0)
			}
			unix.Close(at)
			at = next
		}
		p.must(err)
		unix.Close(at)
	})
	if got := strings.Join(r.Incomplete, "\n"); !strings.HasSuffix(got, fmt.Sprintf("lies deeper than %d directories", maxDepth)) {
		t.Errorf("a deep tree: %q", got)
	}
	r = look(t, func(p project) { p.write("b/e"); p.link(p.dir+"/b", "a"); p.link("a/e", ".envrc") }, func(p project) { p.write("b/e") })
	if got := strings.Join(r.Incomplete, "\n"); !strings.HasPrefix(got, ".envrc: leads through an absolute link") {
		t.Errorf("an absolute link on the way: %q", got)
	}
	p := project{t, t.TempDir()}
	m := Begin([]sandbox.AuditTree{{Source: p.dir, Top: p.dir, IsDir: true}})
	p.write("x/.envrc")
	if r := m.Look(func() bool { return true }); len(r.Incomplete) != 1 || !strings.Contains(r.Incomplete[0], "by a signal") {
		t.Errorf("interrupted: %q", r.Incomplete)
	}
	r = Begin([]sandbox.AuditTree{{Source: p.dir + "/none", Top: p.dir + "/none", IsDir: true}}).Look(func() bool { return false })
	if len(r.Incomplete) != 1 {
		t.Errorf("a tree that is gone: %q", r.Incomplete)
	}
}

// TestClock: a clock that was set back must not hide a change.
func TestClock(t *testing.T) {
	p := project{t, t.TempDir()}
	p.write(".vimrc")
	m := Begin([]sandbox.AuditTree{{Source: p.dir, Top: p.dir, IsDir: true}})
	m.start += int64(time.Hour) // what is written from now on is earlier
	m.set.low += int64(time.Hour)
	m.set.high += int64(time.Hour)
	p.write(".envrc")
	r := m.Look(func() bool { return false })
	if got := lines(r); !slices.Contains(got, "new "+p.dir+"/.envrc guard") || len(r.Incomplete) != 1 {
		t.Errorf("it found %q, incomplete %q", got, r.Incomplete)
	}
}

func TestFails(t *testing.T) {
	for _, c := range []struct {
		r    Report
		want bool
	}{
		{Report{}, false},
		{Report{Findings: []Finding{{Rule: triggers.Build}}}, false},
		{Report{Findings: []Finding{{Rule: triggers.Build}, {Rule: triggers.Audit}}}, true},
		{Report{Incomplete: []string{"x"}}, true},
		{Report{More: 1}, true},
	} {
		if got := c.r.Fails(); got != c.want {
			t.Errorf("%+v: %v", c.r, got)
		}
	}
}

// BenchmarkLook is the cost for SBX_AUDIT_TREE, else for a hundred files.
func BenchmarkLook(b *testing.B) {
	dir := os.Getenv("SBX_AUDIT_TREE")
	if dir == "" {
		dir = b.TempDir()
		for i := range 100 {
			sub := fmt.Sprintf("%s/%d", dir, i/10)
			if err := errors.Join(os.MkdirAll(sub, 0o755), os.WriteFile(fmt.Sprintf("%s/%d", sub, i), nil, 0o644)); err != nil {
				b.Fatal(err)
			}
		}
		time.Sleep(tick)
	}
	for b.Loop() {
		Begin([]sandbox.AuditTree{{Source: dir, Top: dir, IsDir: true}}).Look(func() bool { return false })
	}
}

func BenchmarkBegin(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		Begin([]sandbox.AuditTree{{Source: dir, Top: dir, IsDir: true}}).Close()
	}
}
