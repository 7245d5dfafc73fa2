// Package archtest asserts who may import whom. Imports point only downwards:
// a profile becomes a Plan, a Plan becomes a Program, a Program is run by a
// child that can do nothing else. A package that is not in the table fails.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

const module = "github.com/sbx-sandbox/sbx/"

const (
	sys       = "golang.org/x/sys/unix"
	bpf       = "golang.org/x/net/bpf"
	pflag     = "github.com/spf13/pflag"
	toml      = "github.com/BurntSushi/toml"
	tomlParse = "github.com/pelletier/go-toml/v2/unstable"
)

// rules is the layout. A name that ends in "/..." stands for everything below.
// Every package may use the standard library, save what is banned below.
var rules = []struct {
	pkg string
	may []string // of this module, or another's whole path
	why string
}{
	{
		pkg: "profiles",
		may: []string{sys, toml, tomlParse},
		why: "it is the file format and knows no kernel; what a profile means here is decided in sandbox/resolve",
	},
	{
		pkg: "userns",
		may: []string{sys},
		why: "it is usable alone, by programs that are no sandbox",
	},
	{
		pkg: "sandbox",
		may: []string{"userns", "sandbox/landlock"},
		why: "a Plan is plain data; even x/sys would tempt it to look at the host",
	},
	{
		pkg: "sandbox/landlock",
		why: "rights as numbers and names; the header's are checked by its test",
	},
	{
		pkg: "sandbox/host",
		may: []string{"userns", "sandbox/landlock", "sandbox/host/internal/...", sys},
		why: "the only prober, and it knows neither profiles nor plans: facts do not depend on what is wanted",
	},
	{
		pkg: "sandbox/host/internal/...",
		why: "firstlimit must import nothing to be initialised first",
	},
	{
		pkg: "sandbox/resolve",
		may: []string{"profiles", "sandbox/host", "sandbox", "sandbox/landlock", "sandbox/seccomp/policy", "sandbox/seccomp/compile", "userns", sys},
		why: "deciding is pure: (Profile, Facts) -> Plan; of x/sys it takes numbers only",
	},
	{
		pkg: "sandbox/program",
		may: []string{"sandbox", "sandbox/landlock", "sandbox/seccomp", "userns", sys},
		why: "compiling is pure: it takes numbers from x/sys and calls nothing",
	},
	{
		pkg: "sandbox/triggers",
		why: "names, and what they mean to the host's programs; it looks at no file",
	},
	{
		pkg: "sandbox/audit",
		may: []string{"sandbox", "sandbox/triggers", sys},
		why: "it reads trees of the host's and changes nothing",
	},
	{
		pkg: "sandbox/run",
		may: []string{"sandbox", "sandbox/audit", "sandbox/program", "sandbox/run/internal/...", "userns", sys},
		why: "it acts on a Plan; it must not know profiles or facts, or it would decide too",
	},
	{
		pkg: "sandbox/run/internal/child",
		may: []string{"sandbox/program", sys},
		why: "it interprets a Program in a forked child and can do nothing else",
	},
	{
		pkg: "completions",
		why: "scripts for shells, as text",
	},
	{
		pkg: "sandbox/run/internal/caught",
		may: []string{sys},
		why: "signals as bytes, and nothing of sandboxes",
	},
	{
		pkg: "profiles/gen",
		may: []string{"profiles"},
		why: "go generate runs it; it is no part of the product",
	},
	{
		pkg: "sandbox/seccomp",
		why: "bytes and names; a run with a built-in filter links no compiler",
	},
	{
		pkg: "sandbox/seccomp/policy",
		may: []string{sys},
		why: "policies are plain data, and pure; of x/sys it takes numbers and names of errnos",
	},
	{
		pkg: "sandbox/seccomp/compile",
		may: []string{"sandbox/seccomp/policy", bpf},
		why: "policy to instructions, nothing else; installing them is the child's",
	},
	{
		pkg: "sandbox/seccomp/gen",
		may: []string{"sandbox/seccomp/policy", "sandbox/seccomp/compile"},
		why: "go generate runs it; it is no part of the product",
	},
	{
		pkg: "sandbox/seccomp/policy/gen",
		may: []string{"github.com/moby/profiles/seccomp", "github.com/opencontainers/runtime-spec/specs-go"},
		why: "the only place that reads moby's profile: the product has the table that comes out",
	},
	{
		pkg: "cmd/sbx",
		may: []string{"completions", "profiles", "sandbox", "sandbox/audit", "sandbox/host", "sandbox/resolve", "sandbox/program", "sandbox/run", "userns", "cmd/sbx/...", pflag, sys},
		why: "the only place where deciding and acting meet",
	},
	{
		pkg: "cmd/sbx/...",
		may: []string{"profiles", "sandbox", "sandbox/host", "sandbox/resolve", "sandbox/program", "sandbox/run", "userns", "cmd/sbx/...", pflag, sys},
		why: "parts of the command itself",
	},
	{
		pkg: "bench/...",
		may: []string{"bench/...", "profiles", "sandbox", "sandbox/host", "sandbox/resolve", "sandbox/program", "sandbox/run", "userns", sys},
		why: "it measures the packages and the built binary",
	},
	{
		pkg: "test/...",
		may: []string{"test", "test/...", "profiles", "sandbox", "sandbox/host", "sandbox/resolve", "sandbox/program", "userns", sys},
		why: "the suite's tools; product packages are used by tests, not by tools",
	},
	{
		pkg: "test",
		why: "it is read by everything else in test",
	},
}

// bans hold for every package but the ones named.
var bans = []struct {
	path   string // an import, or with "/..." all below it
	except []string
	why    string
}{
	{
		path:   "unsafe",
		except: []string{"sandbox/run/internal/child", "sandbox/run/internal/caught", "test/attack/probe", "test/faults/inject"},
		why:    "two packages hold all that the compiler can't check; x/sys/unix has typed calls for the rest, but for what an attack makes wrong on purpose and what the faults' tracer asks of ptrace(2)",
	},
	{path: "C", why: "no cgo: sbx is one static binary, and a C constructor runs before anything of ours"},
	{path: "plugin", why: "it needs cgo and the dynamic linker"},
	{
		path:   "cmd/...",
		except: []string{"cmd/..."},
		why:    "a command is the end of the chain; what others need of it belongs in a package",
	},
	{
		path:   "sandbox/run",
		except: []string{"cmd/...", "bench/..."},
		why:    "only a command acts on the host",
	},
	{
		path:   "test/...",
		except: []string{"test/...", "test"},
		why:    "the suite is not part of the product (tests may import it)",
	},
}

// assembly is where .s files may be.
var assembly = []string{"sandbox/run/internal/child", "sandbox/run/internal/caught", "sandbox/host/internal/firstlimit"}

type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	SFiles       []string
	CgoFiles     []string
}

func TestImports(t *testing.T) {
	pkgs := list(t)
	for _, p := range pkgs {
		name := strings.TrimPrefix(p.ImportPath, module)
		i := slices.IndexFunc(rules, func(r struct {
			pkg string
			may []string
			why string
		}) bool {
			return matches(r.pkg, name)
		})
		if i < 0 {
			t.Errorf("package %s is in no rule: add a row to test/archtest with what it may import and why", name)
			continue
		}
		rule := rules[i]
		for _, imp := range p.Imports {
			if !permitted(rule.may, imp) {
				t.Errorf("%s imports %s; it may import the standard library and %v, because %s",
					name, strings.TrimPrefix(imp, module), rule.may, rule.why)
			}
		}
		checkBans(t, name, "imports", p.Imports)
		if len(p.SFiles) > 0 && !slices.Contains(assembly, name) {
			t.Errorf("%s has assembly %v; only %v may", name, p.SFiles, assembly)
		}
	}
}

// TestTestImports: tests may import more, but no command: its tests are beside it.
func TestTestImports(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range append(p.TestImports, p.XTestImports...) {
			imp = strings.TrimPrefix(imp, module)
			if matches("cmd/...", imp) && !matches("cmd/...", name) {
				t.Errorf("a test of %s imports %s; run the binary instead (sbxtest.Sbx)", name, imp)
			}
		}
	}
}

// TestTables keeps the tables honest.
func TestTables(t *testing.T) {
	for _, r := range rules {
		if r.why == "" {
			t.Errorf("rule %s has no reason", r.pkg)
		}
	}
	for _, b := range bans {
		if b.why == "" {
			t.Errorf("ban of %s has no reason", b.path)
		}
	}
	for _, tt := range []struct {
		pattern, path string
		want          bool
	}{
		{"sandbox", "sandbox", true},
		{"sandbox", "sandbox/run", false},
		{"cmd/...", "cmd/sbx", true},
		{"cmd/sbx/...", "cmd/sbx", false},
		{"cmd/sbx/...", "cmd/sbx/internal/cli", true},
		{"cmd/sbx/...", "cmd/sbx-net", false},
	} {
		if got := matches(tt.pattern, tt.path); got != tt.want {
			t.Errorf("matches(%q, %q) = %v", tt.pattern, tt.path, got)
		}
	}
}

func checkBans(t *testing.T, name, verb string, imports []string) {
	t.Helper()
	for _, imp := range imports {
		path := strings.TrimPrefix(imp, module)
		if path == imp && strings.Contains(imp, ".") {
			continue // another module's: a matter of rules
		}
		if path == imp && strings.HasPrefix(imp, "cmd/") {
			continue // the toolchain's own
		}
		for _, b := range bans {
			if !matches(b.path, path) || slices.ContainsFunc(b.except, func(e string) bool { return matches(e, name) }) {
				continue
			}
			t.Errorf("%s %s %s: %s; allowed only in %v", name, verb, path, b.why, b.except)
		}
	}
}

// permitted reports whether a rule's list has an import. The standard library
// is always in it: its paths have no dot in the first element.
func permitted(may []string, imp string) bool {
	path := strings.TrimPrefix(imp, module)
	first, _, _ := strings.Cut(imp, "/")
	if path == imp && !strings.Contains(first, ".") {
		return true
	}
	return slices.ContainsFunc(may, func(m string) bool { return matches(m, path) })
}

func matches(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "..."); ok {
		return strings.HasPrefix(path, prefix)
	}
	return pattern == path
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports,SFiles,CgoFiles", "./...")
	cmd.Dir = sbxtest.Checkout(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var pkgs []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list names no package")
	}
	return pkgs
}
