// Package projects builds and tests real projects under the built-in profile
// of their language: offline, from caches that were filled outside, beside a
// home with secrets. Each test proves that the work succeeds, that the same
// sandbox sees nothing of the home, and that nothing outside the project
// changed.
package projects

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// patience is how long a build may take on a busy host before it is stuck.
const patience = 4 * time.Minute

// secrets are files of the decoy home, from its top; none may be readable in a
// private home.
var secrets = []string{
	".ssh/id_ed25519", ".aws/credentials", ".gnupg/private-keys-v1.d/key", ".netrc", ".bash_history", ".config/gh/hosts.yml",
	".docker/config.json", ".kube/config", ".npmrc", ".pypirc", ".cargo/credentials.toml", ".git-credentials", ".claude.json",
	".mozilla/firefox/x.default/logins.json", ".config/google-chrome/Default/Cookies", ".password-store/bank.gpg",
}

// plain are files of the decoy home that are no secrets of a known kind.
var plain = []string{"Documents/letter.txt", "src/other/main.c", ".config/app/settings.ini"}

// site is a person's home with secrets, and a project in it.
type site struct {
	*world.World
	Project string
	refused bool   // the host refuses user namespaces
	steal   string // the script of TestThefts' packages
}

// newSite makes a home with decoys and, in its src/NAME, a git repository with
// what is in testdata/NAME, if there is such a directory.
func newSite(t *testing.T, name string, tools ...string) *site {
	t.Helper()
	sbxtest.Leftovers(t)
	features := []sbxtest.Feature{}
	for _, tool := range append(tools, "git") {
		features = append(features, sbxtest.Tool(tool))
	}
	sbxtest.Require(t, features...)
	s := &site{World: world.New(t)}
	s.Project = filepath.Join(s.Home, "src", name)
	for _, f := range append(slices.Clone(secrets), plain...) {
		s.Write(t, filepath.Join(s.Home, f), "decoy of "+f+"\n")
	}
	s.Write(t, s.Home+"/.npmrc", "//registry.invalid/:_authToken=decoy\n")
	s.Write(t, s.Home+"/.gitconfig", "[user]\n\tname = Decoy Person\n\temail = decoy@example.com\n[init]\n\tdefaultBranch = main\n[gc]\n\tauto = 0\n")
	if err := os.MkdirAll(s.Project, 0o755); err != nil {
		t.Fatal(err)
	}
	if dir := filepath.Join("testdata", name); world.Exists(dir) {
		s.copy(t, dir)
	}
	return s
}

// copy copies a tree into the project. A .gitignore is called gitignore there,
// so that it doesn't rule this repository.
func (s *site) copy(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if name == ".git" || name == "bin" {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if name == "gitignore" {
			name = ".gitignore"
		}
		to := filepath.Join(s.Project, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, text, info.Mode().Perm()|0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// commit makes the project a repository with everything in it.
func (s *site) commit(t *testing.T) {
	t.Helper()
	s.must(t, s.outside(t, "sh", "-ec", "git init -q; git add -A; git commit -qm import"))
}

// setenv gives the person a variable; a later value wins.
func (s *site) setenv(kv ...string) { s.Env = append(s.Env, kv...) }

// pathOf puts a tool's directory on the person's PATH, for tools that aren't in
// a system directory.
func (s *site) pathOf(t *testing.T, tool string) (path string) {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Fatal(err)
	}
	s.setenv("PATH=" + filepath.Dir(path) + ":" + s.getenv("PATH"))
	return path
}

func (s *site) getenv(name string) (value string) {
	for _, kv := range s.Env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}

// outside runs a command of the person's in the project, in no sandbox.
func (s *site) outside(t *testing.T, argv ...string) world.Result {
	t.Helper()
	return s.wait(t, argv)
}

// sandboxed runs a command in the project in the profile's sandbox.
func (s *site) sandboxed(t *testing.T, profile string, argv ...string) world.Result {
	t.Helper()
	if s.refused {
		argv = append([]string{s.Sbx, "run", "--set", "security.fallback=landlock", profile, "--"}, argv...)
		return s.wait(t, world.Refused(argv...))
	}
	return s.wait(t, s.Sandboxed(profile, argv...))
}

// script is sandboxed with a shell script.
func (s *site) script(t *testing.T, profile, script string) world.Result {
	t.Helper()
	return s.sandboxed(t, profile, "/bin/sh", "-ec", script)
}

func (s *site) wait(t *testing.T, argv []string) world.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if !strings.Contains(argv[0], "/") {
		for _, dir := range filepath.SplitList(s.getenv("PATH")) {
			if path := filepath.Join(dir, argv[0]); world.Exists(path) {
				cmd.Path, cmd.Err = path, nil
				break
			}
		}
	}
	cmd.Dir, cmd.Env = s.Project, s.Env
	cmd.WaitDelay = 10 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatalf("starting %q: %v", argv, err)
	}
	if ctx.Err() != nil {
		t.Errorf("%q was stuck and has been killed", argv)
	}
	t.Logf("%5.1f s: %.200q", time.Since(start).Seconds(), argv)
	return world.Result{Out: out.String(), Err: errs.String(), Code: world.Code(cmd)}
}

// must fails the test unless the command succeeded and printed every one of want.
func (s *site) must(t *testing.T, r world.Result, want ...string) {
	t.Helper()
	if r.Code != 0 {
		t.Fatalf("status %d\n%s\n%s", r.Code, tail(r.Out), tail(r.Err))
	}
	for _, text := range want {
		if !strings.Contains(r.Out+r.Err, text) {
			t.Errorf("%q is not in\n%s\n%s", text, tail(r.Out), tail(r.Err))
		}
	}
}

// fails fails the test unless the command failed and said every one of want.
func (s *site) fails(t *testing.T, r world.Result, want ...string) {
	t.Helper()
	if r.Code == 0 {
		t.Errorf("it succeeded: %s", tail(r.Out))
	}
	for _, text := range want {
		if !strings.Contains(r.Out+r.Err, text) {
			t.Errorf("%q is not in\n%s\n%s", text, tail(r.Out), tail(r.Err))
		}
	}
}

func tail(text string) string { return text[max(0, len(text)-3000):] }

// tree describes everything in the home but the project and what is sbx's own:
// name, mode, and size, time and content of files.
func (s *site) tree(t *testing.T) map[string]string {
	t.Helper()
	own := []string{s.Project, filepath.Join(s.Home, "run"), filepath.Join(s.Home, ".local/share/sbx"), filepath.Join(s.Home, ".local/state/sbx")}
	seen := map[string]string{}
	err := filepath.WalkDir(s.Home, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if slices.Contains(own, path) {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		if info.Mode().IsRegular() {
			what += fmt.Sprint(" ", info.Size(), " ", info.ModTime().UnixNano())
			if info.Size() < 1<<20 { // bigger ones are in caches: size and time do
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				what += fmt.Sprintf(" %x", sha256.Sum256(text))
			}
		}
		seen[path] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// untouched notes what the home holds now, and when the test ends fails it if
// anything but the project is different.
func (s *site) untouched(t *testing.T) {
	t.Helper()
	for _, d := range []string{".local/share/sbx", ".local/state/sbx"} { // sbx makes them when it needs them
		if err := os.MkdirAll(filepath.Join(s.Home, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	before := s.tree(t)
	t.Cleanup(func() {
		after := s.tree(t)
		for path, was := range before {
			if after[path] != was {
				t.Errorf("outside the project, %s was %q and is %q", path, was, after[path])
			}
		}
		for path := range after {
			if _, ok := before[path]; !ok {
				t.Errorf("outside the project, %s is new", path)
			}
		}
		s.Intact(t)
	})
}

// look lists the files that can be read in directories, all but the project's.
const look = `project=$0
for top; do
	find "$top" -path "$project" -prune -o -type f -readable -print 2>/dev/null
done | sort -u`

// blind fails the test if in the profile's sandbox anything can be read in the
// home but the project and what lies in may, from the home's top. The control
// is that outside the same look finds every decoy.
func (s *site) blind(t *testing.T, profile string, may ...string) {
	t.Helper()
	probe := []string{"/bin/sh", "-c", look, s.Project, s.Home}
	free := s.outside(t, probe...)
	for _, f := range append(slices.Clone(secrets), plain...) {
		if !strings.Contains(free.Out, filepath.Join(s.Home, f)+"\n") {
			t.Fatalf("the control does not find %s outside", f)
		}
	}
	in := s.sandboxed(t, profile, append(probe, "/home", "/root")...)
	s.must(t, in)
	for line := range strings.Lines(in.Out) {
		file := strings.TrimSuffix(line, "\n")
		name := strings.TrimPrefix(file, s.Home+"/")
		if !slices.ContainsFunc(may, func(dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }) {
			t.Errorf("inside, %s can be read", file)
		}
	}
}

// status fails the test unless git sees no change in the project but outputs,
// which .gitignore names.
func (s *site) status(t *testing.T, outputs ...string) {
	t.Helper()
	r := s.outside(t, "git", "status", "--porcelain", "--ignored")
	s.must(t, r)
	var got []string
	for line := range strings.Lines(r.Out) {
		got = append(got, strings.TrimPrefix(strings.TrimSpace(line), "!! "))
	}
	slices.Sort(got)
	slices.Sort(outputs)
	if !slices.Equal(got, outputs) {
		t.Errorf("git status shows %q, want the outputs %q", got, outputs)
	}
}
