// Package lint holds the bans that no linter knows, each with its reason.
package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// generators are the commands that go generate runs, no part of the product.
var generators = []string{"profiles/gen", "sandbox/seccomp/gen", "sandbox/seccomp/policy/gen"}

// calls are functions that the product's code must not name. A prefix in
// except lets a package and all below it.
var calls = []struct {
	pkg, name string // name "*" is everything of the package
	except    []string
	why       string
}{
	{
		pkg: "os", name: "Create",
		why: "it follows links and truncates what they point to (runc, CVE-2024-45310); open with O_EXCL|O_NOFOLLOW, or write a temporary file and rename it",
	},
	{
		pkg: "os", name: "WriteFile", except: append([]string{"userns", "sandbox/run", "cmd/sbx-store/namespace.go", "overlay/store/store.go"}, generators...),
		why: "as os.Create; the exceptions write files of /proc, or in a directory of sbx's own, which are no one else's to place",
	},
	{
		pkg: "os/exec", name: "LookPath", except: []string{"userns/helper.go"},
		why: "whoever sets PATH would choose what runs with our map in hand; helpers are found in fixed directories (userns.FindHelper)",
	},
	{
		pkg: "os", name: "Exit", except: append([]string{"cmd"}, generators...),
		why: "a package that exits skips its caller's cleanup; return an error, the command has the exit codes",
	},
	{
		pkg: "os", name: "Setenv", except: append([]string{"cmd"}, generators...),
		why: "state through the environment is read by every child (runc's eight _LIBCONTAINER variables); pass a value",
	},
	{
		pkg: "os", name: "Chdir", except: []string{"overlay/store/look.go"},
		why: "it changes the directory of every goroutine; open the directory and use *at calls. The exception is mount(2), whose options hold paths",
	},
	{
		pkg: "os", name: "Stdout", except: append([]string{"cmd"}, generators...),
		why: "packages return notes; only the command talks to the person",
	},
	{
		pkg: "os", name: "Stderr", except: append([]string{"cmd"}, generators...),
		why: "as os.Stdout",
	},
	{pkg: "log", name: "*", why: "no logger in packages (rootlesskit: 80 warnings about normal use); return notes"},
	{pkg: "log/slog", name: "*", why: "as log"},
	{pkg: "io/ioutil", name: "*", why: "deprecated since Go 1.16"},
	{
		pkg: "path/filepath", name: "EvalSymlinks",
		except: []string{"profiles", "sandbox/host", "sandbox/seen", "cmd"},
		why:    "what it found may be another file by the time it is used; open the path and use the descriptor",
	},
}

// deciding is where a sandbox is decided: what is looked at of the host's files there is
// remembered (sandbox/seen), or a later start would be decided by what is no more.
var deciding = []string{"profiles", "sandbox/resolve", "sandbox/host/files.go", "sandbox/host/host.go", "cmd/sbx/internal/decision"}

// looks are the functions that look at a file by its path.
var looks = map[string][]string{
	"os":                    {"Stat", "Lstat", "Open", "OpenFile", "OpenRoot", "OpenInRoot", "ReadFile", "ReadDir", "Readlink", "Getwd", "DirFS", "Root"},
	"syscall":               {"Stat", "Lstat", "Fstatat", "Statfs", "Open", "Openat", "Readlink", "Access", "Faccessat", "Getxattr"},
	"golang.org/x/sys/unix": {"Stat", "Lstat", "Fstatat", "Statx", "Statfs", "Open", "Openat", "Openat2", "Readlink", "Readlinkat", "Access", "Faccessat", "Faccessat2", "Getxattr", "Lgetxattr", "Listxattr", "NameToHandleAt"},
	"path/filepath":         {"EvalSymlinks", "Glob", "Walk", "WalkDir", "Abs"},
}

// unseen are looks of those places that are not remembered.
var unseen = []struct{ file, call, why string }{
	{"profiles/find.go", "os.ReadDir", "names for a listing and for what an error suggests"},
	{"profiles/trust.go", "os.ReadDir", "the store's listing"},
	{"profiles/trust.go", "os.OpenFile", "it writes an entry"},
	{"sandbox/host/files.go", "golang.org/x/sys/unix.Openat2", "the look-up itself of which Begin and Ended remember the way"},
	{"sandbox/host/files.go", "os.Readlink", "where an open file is, in /proc/self/fd"},
	{"sandbox/host/files.go", "golang.org/x/sys/unix.Stat", "a disk, which spoils the log"},
	{"sandbox/host/files.go", "golang.org/x/sys/unix.Access", "as that"},
	{"sandbox/host/host.go", "os.Readlink", "/proc/self/exe, which is no look-up"},
	{"sandbox/host/host.go", "golang.org/x/sys/unix.Stat", "PrivateDir, for a host that refuses namespaces, which spoils the log"},
	{"cmd/sbx/internal/decision/phases.go", "os.OpenFile", "a secret, which spoils the log"},
	{"cmd/sbx/internal/decision/phases.go", "os.Readlink", "where that lies, of what was opened"},
}

// mayInit are the packages that may have an init function.
var mayInit = []struct{ dir, why string }{}

// vague are names that say nothing of what a package is for, so that it
// becomes the home of anything (38 of nerdctl's 64 packages end in "util").
var vague = regexp.MustCompile(`^(common|helpers?|types|misc|shared|base|lib|stuff)$|utils?$`)

// machine are paths of some developer's machine. The names a reader
// understands as examples are let through.
var machine = regexp.MustCompile(`/(?:home|Users)/([A-Za-z0-9_-]+)`)

var examples = []string{"user", "you", "me", "alice", "bob", "dev", "linuxbrew", "sbxtest", "u", "proj", "other", "plain", "innocent"}

// source is a Go file that is not a test.
type source struct {
	name string // from the checkout's root
	dir  string
	set  *token.FileSet
	ast  *ast.File
}

func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.name, s.set.Position(n.Pos()).Line)
}

func TestCalls(t *testing.T) {
	for _, s := range product(t) {
		imported := map[string]string{} // the name in this file -> path
		for _, imp := range s.ast.Imports {
			p, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			name := path.Base(p)
			if imp.Name != nil {
				name = imp.Name.Name
			}
			if name == "." {
				t.Errorf("%s: import of %s with a dot hides where names come from", s.at(imp), p)
			}
			imported[name] = p
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, c := range calls {
				if imported[x.Name] == c.pkg && (c.name == "*" || c.name == sel.Sel.Name) && !under(c.except, s.name) {
					t.Errorf("%s: %s.%s: %s", s.at(n), c.pkg, sel.Sel.Name, c.why)
				}
			}
			return true
		})
	}
}

// TestLooks: what decides looks at files by way of the log.
func TestLooks(t *testing.T) {
	used := map[string]bool{}
	for _, s := range product(t) {
		if !under(deciding, s.name) || under(generators, s.name) {
			continue
		}
		imported := map[string]string{}
		for _, imp := range s.ast.Imports {
			p := strings.Trim(imp.Path.Value, `"`)
			name := path.Base(p)
			if imp.Name != nil {
				name = imp.Name.Name
			}
			imported[name] = p
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok || !slices.Contains(looks[imported[x.Name]], sel.Sel.Name) {
				return true
			}
			call := imported[x.Name] + "." + sel.Sel.Name
			for _, u := range unseen {
				if u.file == s.name && u.call == call {
					used[s.name+call] = true
					return true
				}
			}
			t.Errorf("%s: %s looks at the host past the log of what was seen: call the method of sandbox/seen, or spoil the log and name the exception", s.at(n), call)
			return true
		})
	}
	for _, u := range unseen {
		if !used[u.file+u.call] {
			t.Errorf("%s no longer calls %s: take the exception away", u.file, u.call)
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, s := range product(t) {
		for _, d := range s.ast.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || f.Name.Name != "init" {
				continue
			}
			if !slices.ContainsFunc(mayInit, func(m struct{ dir, why string }) bool { return m.dir == s.dir }) {
				t.Errorf("%s: init runs in every process that links the package, before anyone can tell it not to; use sync.OnceValue", s.at(f))
			}
		}
	}
}

func TestNoLinkname(t *testing.T) {
	for _, s := range product(t) {
		for _, g := range s.ast.Comments {
			for _, c := range g.List {
				if strings.HasPrefix(c.Text, "//go:linkname ") {
					t.Errorf("%s: linkname reaches into what the toolchain may change without notice", s.at(c))
				}
			}
		}
	}
}

func TestPackageNames(t *testing.T) {
	documented := map[string]bool{}
	first := map[string]source{}
	for _, s := range product(t) {
		if _, ok := first[s.dir]; !ok {
			first[s.dir] = s
		}
		documented[s.dir] = documented[s.dir] || s.ast.Doc != nil
		if vague.MatchString(s.ast.Name.Name) {
			t.Errorf("%s: package %s: a package is a noun that says what it is for", s.name, s.ast.Name.Name)
		}
	}
	for dir, s := range first {
		if !documented[dir] {
			t.Errorf("%s: package %s has no sentence of purpose", dir, s.ast.Name.Name)
		}
	}
}

// TestMessages: an error says what was tried; that it failed is plain.
func TestMessages(t *testing.T) {
	wordy := regexp.MustCompile(`(?i)^(failed to|unable to|could not|error )`)
	for _, s := range product(t) {
		ast.Inspect(s.ast, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			if wordy.MatchString(text) {
				t.Errorf("%s: %s: say what was tried (\"mapping ids: %%w\")", s.at(lit), lit.Value)
			}
			return true
		})
	}
}

// TestMachinePaths keeps this and other machines' paths out of every file.
func TestMachinePaths(t *testing.T) {
	root := sbxtest.Checkout(t)
	var own []string
	for _, dir := range []string{root, os.Getenv("HOME"), os.Getenv("GOMODCACHE")} {
		// "/root" and "/src" may be meant, and so may the examples' people.
		if f := strings.Split(dir, "/"); len(f) > 2 && !(f[1] == "home" && slices.Contains(examples, f[2])) {
			own = append(own, dir)
		}
	}
	for _, name := range files(t) {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(text, 0) >= 0 {
			continue // no text
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			for _, dir := range own {
				if bytes.Contains(line, []byte(dir)) {
					t.Errorf("%s:%d: the path %s is this machine's", name, i+1, dir)
				}
			}
			for _, m := range machine.FindAllSubmatch(line, -1) {
				if !slices.Contains(examples, string(m[1])) {
					t.Errorf("%s:%d: the path %s is some machine's; the examples' names are %v", name, i+1, m[0], examples)
				}
			}
		}
	}
}

// TestDependencies: what the module requires by itself is explained.
func TestDependencies(t *testing.T) {
	root := sbxtest.Checkout(t)
	doc, err := os.ReadFile(filepath.Join(root, "docs/DEPENDENCIES.md"))
	if err != nil {
		t.Fatal(err)
	}
	required := regexp.MustCompile(`^(?:require )?\s*([a-z][\w./-]*\.[\w./-]+) (v\S+)$`)
	tool := regexp.MustCompile(`^tool ([\w./-]+)$`)
	for _, name := range []string{"go.mod", "tools/go.mod"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimRight(line, "\n")
			if m := required.FindStringSubmatch(line); m != nil {
				if !bytes.Contains(doc, []byte("| `"+m[1]+"` | "+m[2]+" |")) {
					t.Errorf("%s requires %s %s: docs/DEPENDENCIES.md has no row with it and that version", name, m[1], m[2])
				}
			}
			if m := tool.FindStringSubmatch(line); m != nil && !bytes.Contains(doc, []byte("`"+m[1]+"`")) {
				t.Errorf("%s has the tool %s: docs/DEPENDENCIES.md does not name it", name, m[1])
			}
		}
	}
}

// TestTables: every row has its reason.
func TestTables(t *testing.T) {
	for _, c := range calls {
		if c.why == "" {
			t.Errorf("the ban of %s.%s has no reason", c.pkg, c.name)
		}
	}
	for _, m := range mayInit {
		if m.why == "" {
			t.Errorf("the init of %s has no reason", m.dir)
		}
	}
}

// under reports whether name is, or lies below, one of the paths.
func under(paths []string, name string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { return name == p || strings.HasPrefix(name, p+"/") })
}

// product is the Go code that is shipped: no tests, and nothing of test and bench.
func product(t *testing.T) []source {
	t.Helper()
	root := sbxtest.Checkout(t)
	var all []source
	for _, name := range files(t) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || under([]string{"test", "bench", "tools"}, name) {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, filepath.Join(root, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{name: name, dir: path.Dir(name), set: set, ast: f})
	}
	if len(all) == 0 {
		t.Fatal("no Go file found")
	}
	return all
}

// files are the checkout's files, found without git: the suite may run in a
// copy that is no repository.
func files(t *testing.T) []string {
	t.Helper()
	root := sbxtest.Checkout(t)
	var names []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (d.Name() == ".git" || name == "bin"):
			return fs.SkipDir
		case d.Type().IsRegular() && name != ".git": // a worktree has a file of that name
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
