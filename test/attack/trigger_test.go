package attack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/audit"
	"github.com/sbx-sandbox/sbx/sandbox/triggers"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// settle lets the clock that file systems read move on: what was made before
// must not look as if the sandbox made it.
func settle() { time.Sleep(50 * time.Millisecond) }

// audited runs a script in a sandbox that fails for what it finds, and returns
// the paths found, below the project.
func audited(t *testing.T, w *world.World, profile, script string) (paths []string, code int) {
	t.Helper()
	settle()
	p := w.Profile(t, expander(w).Replace(profile))
	got := w.Run(t, w.Sbx, "run", "--json-errors", "--set", "workspace.audit=fail", p, "sh", "-c", script)
	var x struct{ Audit audit.Report }
	if at := strings.Index(got.Err, `{"schema":`); at >= 0 { // after what the script said
		if err := json.Unmarshal([]byte(got.Err[at:]), &x); err != nil {
			t.Errorf("status %d, its report is no JSON: %v", got.Code, err)
		}
	}
	for _, f := range x.Audit.Findings {
		paths = append(paths, strings.TrimPrefix(f.Path, w.Work+"/"))
	}
	if len(x.Audit.Incomplete) > 0 {
		t.Errorf("incomplete: %q", x.Audit.Incomplete)
	}
	return paths, got.Code
}

// evil is the text of a configuration by which git runs a command.
const evil = `printf '[core]\nrepositoryformatversion = 0\nbare = false\nworktree = %s\nfsmonitor = "touch HOMEDIR/PWN; false"\n' `

// repository is a row in which something in the project becomes a repository
// that runs a command when git looks at the directory dir. before is what a
// hostile project brought along; profile is beyond builtin:build.
func repository(what, profile, before, script, dir string, want ...string) row {
	return row{
		id: "R03-new-repository", what: what, needs: []sbxtest.Feature{sbxtest.Tool("git")},
		do: func(t *testing.T, w *world.World) {
			prepare := func(w *world.World) {
				if got := w.Run(t, "sh", "-ec", expander(w).Replace(before)); got.Code != 0 {
					t.Fatalf("preparing: %s", got.Err)
				}
			}
			prepare(w)
			paths, code := audited(t, w, profile, expander(w).Replace(script))
			if code != 3 {
				t.Errorf("sbx ended with %d, want 3", code)
			}
			for _, p := range want {
				if !slices.Contains(paths, p) {
					t.Errorf("%s is not found, but %q", p, paths)
				}
			}
			again, code := audited(t, w, "", "true")
			if len(again) > 0 || code != 0 {
				t.Errorf("the next run finds %q, with status %d", again, code)
			}

			free := world.New(t)
			prepare(free)
			free.Run(t, "git", "-C", dir, "status")
			if world.Exists(free.Home + "/PWN") {
				t.Error("control: git ran the command already before the attack")
			}
			if got := free.Run(t, "sh", "-ec", expander(free).Replace(script)); got.Code != 0 {
				t.Errorf("control: %s", got.Err)
			}
			if got := free.Run(t, "git", "-C", dir, "status"); !world.Exists(free.Home + "/PWN") {
				t.Errorf("control: without sbx git did not run the command; it said %q, %q", got.Out, got.Err)
			}
		},
	}
}

func triggerRows() []row {
	gitDir := func(at, worktree string) string {
		return "mkdir -p " + at + "/objects " + at + "/refs; echo ref: refs/heads/m >" + at + "/HEAD; " + evil + worktree + " >" + at + "/config\n"
	}
	return []row{
		repository("a new one", "", "mkdir sub", gitDir("sub/.git", ".."), "sub", "sub/.git", "sub/.git/config"),
		repository("a file that points to one", "", "mkdir sub; "+gitDir("evil", "../sub"), "echo gitdir: ../evil >sub/.git", "sub", "sub/.git"),
		repository("what looks like a bare one", "", "mkdir docs", gitDir("docs", ".."), "docs", "docs", "docs/config"),
		repository("the last file that one lacks", "", gitDir("docs", "..")+"rm docs/HEAD", "echo ref: refs/heads/m >docs/HEAD", "docs", "docs"),
		repository("one in a place that is moved", "", "mkdir -p a/sub; "+gitDir("a/sub/.git", ".."), "mv a docs", "docs/sub", "docs"),
		repository("one in a place that is moved, with its times made good", "", "mkdir -p a/x/sub; "+gitDir("a/x/sub/.git", ".."),
			"mv a/x a/docs; touch a/docs/y; rm a/docs/y; touch -t 202001010000 a/docs", "a/docs/sub", "a/docs"),
		repository("the settings of one that is there", "[workspace]\ngit = \"rw\"\n", "git init -q .", "git config core.fsmonitor 'touch HOMEDIR/PWN; false'", ".", ".git/config"),
		repository("the settings of one that is there, by another name of the file", "", "git init -q .; ln .git/config alias",
			"printf '[core]\\nfsmonitor = \"touch HOMEDIR/PWN; false\"\\n' >>alias", ".", ".git/config"),
		{id: "R04-later-on-the-host", what: "each name of the list, new", do: eachName},
		{id: "R04-later-on-the-host", what: "each name that is protected, there already", do: eachProtected},
		{id: "R04-later-on-the-host", what: "what a link of a trigger's name leads to", do: func(t *testing.T, w *world.World) {
			w.Write(t, w.Work+"/real/deep/tasks.json", "x")
			if err := os.Symlink("../real/deep", w.Work+"/sub"); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(w.Work+"/a", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("../real/deep", w.Work+"/a/.vscode"); err != nil {
				t.Fatal(err)
			}
			paths, code := audited(t, w, "", "echo y >>real/deep/tasks.json")
			if !slices.Equal(paths, []string{"a/.vscode"}) || code != 3 {
				t.Errorf("found %q with status %d", paths, code)
			}
			if paths, code := audited(t, w, "", "echo y >>real/other"); len(paths) > 0 || code != 0 {
				t.Errorf("control: found %q with status %d for a file beside it", paths, code)
			}
		}},
		{id: "R04-later-on-the-host", what: "what is a trigger only by the name of a link or of what was moved", do: byName},
		{id: "R04-later-on-the-host", what: "what is protected, by another name of the file", do: func(t *testing.T, w *world.World) {
			w.Write(t, w.Work+"/.vscode/tasks.json", "x")
			if err := os.Link(w.Work+"/.vscode/tasks.json", w.Work+"/alias"); err != nil {
				t.Fatal(err)
			}
			if paths, code := audited(t, w, "", "echo y >>.vscode/tasks.json"); len(paths) > 0 || code == 0 {
				t.Errorf("control: by its own name: found %q with status %d", paths, code)
			}
			if paths, code := audited(t, w, "", "echo y >>alias"); !slices.Equal(paths, []string{".vscode"}) || code != 3 {
				t.Errorf("found %q with status %d", paths, code)
			}
		}},
		{id: "R04-later-on-the-host", what: "hiding a new file from the audit", do: func(t *testing.T, w *world.World) {
			for script, want := range map[string]string{
				"mkdir d; echo x >d/.envrc; chmod 0 d":                        "",
				"mkdir d; echo x >d/.envrc; touch -t 202001010000 d/.envrc d": "d/.envrc",
				"echo x >x; mv x .envrc; touch -t 202001010000 .envrc":        ".envrc",
				"mkfifo .envrc":            ".envrc",
				"ln -s /etc/passwd .envrc": ".envrc",
				"mkdir -p d/objects d/refs; touch d/HEAD; echo x >d/objects/.envrc":  "d/objects/.envrc",
				"mkdir -p d/.git/objects/.vscode; echo x >d/.git/objects/.vscode/ab": "d/.git/objects/.vscode",
			} {
				w := world.New(t)
				settle()
				got := w.Run(t, w.Sbx, "run", "--set", "workspace.audit=fail", w.Profile(t, ""), "sh", "-c", script)
				if got.Code != 3 || !strings.Contains(got.Err, want) {
					t.Errorf("%s: status %d, it printed %q, want %q", script, got.Code, got.Err, want)
				}
				_ = os.Chmod(w.Work+"/d", 0o755) // for the world's removal; most have none
			}
			if paths, code := audited(t, w, "", "mkdir d; echo x >d/envrc"); len(paths) > 0 || code != 0 {
				t.Errorf("control: found %q with status %d for an ordinary file", paths, code)
			}
		}},
		{id: "R64-look-alikes", what: "names that other file systems take for a trigger's", do: func(t *testing.T, w *world.World) {
			names := []string{".GIT", ".g\u200cit", ".git\u200d", "git~1", "GIT~2", ".ENVRC", "envrc~1", ".Vscode/tasks.json", ".v\u017fcode/x", "MCP~1.JSO", ".git. ", ".git::$INDEX_ALLOCATION"}
			var lines strings.Builder
			for i, n := range names {
				fmt.Fprintf(&lines, "mkdir -p \"$(dirname 'd%d/%s')\"; echo x >'d%d/%s'\n", i, n, i, n)
			}
			paths, code := audited(t, w, "", lines.String())
			if code != 3 {
				t.Errorf("sbx ended with %d, want 3", code)
			}
			for i, n := range names {
				if !world.Exists(fmt.Sprintf("%s/d%d/%s", w.Work, i, n)) {
					t.Errorf("control: %q was not made", n)
				}
				first, _, _ := strings.Cut(n, "/")
				if !slices.Contains(paths, fmt.Sprintf("d%d/%s", i, first)) {
					t.Errorf("%q is not found, but %q", n, paths)
				}
			}
		}},
	}
}

// eachName has a command make every file of the list. All must be found, or
// must have been kept from being written.
func eachName(t *testing.T, w *world.World) {
	const others, homes = 7, 29
	var script strings.Builder
	want := map[string]string{} // pattern -> path
	skipped, homely := 0, 0
	for i, tr := range triggers.Load().All {
		if tr.Below() {
			skipped++
			continue
		}
		path := triggers.Example(tr)
		switch {
		case strings.HasPrefix(tr.Pattern, "~/"):
			homely++
			path = w.Home + "/" + path
		case !strings.HasPrefix(tr.Pattern, "/"):
			path = fmt.Sprintf("%s/e%d/%s", w.Work, i, path)
		default:
			path = w.Work + "/" + path
		}
		want[tr.Pattern] = path
		fmt.Fprintf(&script, "mkdir -p '%s' && echo x >>'%s'\n", filepath.Dir(path), path)
	}
	if skipped != others || homely < homes || len(want)+skipped != len(triggers.Load().All) || len(want) < 200 {
		t.Errorf("of a list of %d there are %d to try, %d of the home, and %d that are none", len(triggers.Load().All), len(want), homely, skipped)
	}
	paths, code := audited(t, w, "[home]\nmode = \"host\"\naccess = \"rw\"\n", script.String()+"true\n")
	if code != 3 {
		t.Errorf("sbx ended with %d, want 3", code)
	}
	for pattern, path := range want {
		if !world.Exists(path) {
			if pattern != "~/.config/sbx/" { // sbx's own is read-only
				t.Errorf("control: %s was not made", path)
			}
			continue
		}
		if !slices.ContainsFunc(paths, func(p string) bool {
			if !filepath.IsAbs(p) {
				p = w.Work + "/" + p
			}
			return path == p || strings.HasPrefix(path, p+"/")
		}) {
			t.Errorf("%s is not found: %s", pattern, path)
		}
	}
}

// byName has a command make .cargo/config.toml, or what .envrc leads to, without
// ever writing to a file by that name.
func byName(t *testing.T, w *world.World) {
	for _, c := range []struct{ before, script, where, want string }{
		{"", "mkdir n; echo evil >n/config.toml; ln -s n .cargo", ".cargo/config.toml", ".cargo/config.toml"},
		{"mkdir n; echo evil >n/config.toml", "ln -s n .cargo", ".cargo/config.toml", ".cargo"},
		{"mkdir n; echo evil >n/config.toml", "ln -s \"$PWD/n\" .cargo", ".cargo/config.toml", ".cargo"},
		{"mkdir n; echo evil >n/config.toml", "mv n .cargo", ".cargo/config.toml", ".cargo"},
		{"mkdir n; touch n/config.toml; ln -s n .cargo", "echo evil >n/config.toml", ".cargo/config.toml", ".cargo/config.toml"},
		{"mkdir sub; touch envrc; ln -s \"$PWD/envrc\" sub/.envrc", "echo evil >envrc", "sub/.envrc", "sub/.envrc"},
	} {
		w, free := world.New(t), world.New(t)
		for _, w := range []*world.World{w, free} {
			if got := w.Run(t, "sh", "-ec", c.before); got.Code != 0 {
				t.Fatalf("preparing %s: %s", c.before, got.Err)
			}
		}
		if paths, code := audited(t, w, "", c.script); !slices.Equal(paths, []string{c.want}) || code != 3 {
			t.Errorf("%s; %s: found %q with status %d, want %s", c.before, c.script, paths, code, c.want)
		}
		free.Run(t, "sh", "-ec", c.script)
		if text, err := os.ReadFile(free.Work + "/" + c.where); err != nil || string(text) != "evil\n" {
			t.Errorf("control: %s; %s: %s has %q, %v", c.before, c.script, c.where, text, err)
		}
	}
	if paths, code := audited(t, w, "", "mkdir n; echo x >n/config.toml; ln -s n cargo; mv n m"); len(paths) > 0 || code != 0 {
		t.Errorf("control: found %q with status %d for other names", paths, code)
	}
}

// guards are what the list has as write-protected, and the profile build can
// name: repositories themselves are not among them, work goes on in those.
func guards() (list []string) {
	for _, tr := range triggers.Load().All {
		if tr.Rule == triggers.Guard && !strings.HasPrefix(tr.Pattern, "$GIT_DIR/") && (tr.Class != triggers.Repository || strings.Contains(tr.Pattern, "/")) {
			list = append(list, strings.TrimSuffix(tr.Pattern, "/"))
		}
	}
	return list
}

// TestProtectedIsTheList: the built-in profile names what the list says.
func TestProtectedIsTheList(t *testing.T) {
	prof, err := profiles.Load(profiles.Ref{Builtin: "build"}, profiles.Env{Home: "/h", Cwd: "/w"})
	if err != nil {
		t.Fatal(err)
	}
	got, want := slices.Sorted(slices.Values(prof.Workspace.Protect)), slices.Sorted(slices.Values(guards()))
	if !slices.Equal(got, want) {
		t.Errorf("builtin:build protects\n%q, the list has\n%q", got, want)
	}
}

// eachProtected has a command change, move and remove every file that is
// protected. The same does it without sbx.
func eachProtected(t *testing.T, w *world.World) {
	make := func(w *world.World) (paths []string) {
		for _, tr := range triggers.Load().All {
			p := triggers.Example(tr)
			if slices.Contains(guards(), strings.TrimSuffix(tr.Pattern, "/")) {
				w.Write(t, w.Work+"/"+p, "before\n")
				paths = append(paths, p)
			}
		}
		return paths
	}
	paths := make(w)
	var script strings.Builder
	for _, p := range paths {
		top, _, _ := strings.Cut(p, "/")
		fmt.Fprintf(&script, "echo x >>'%s'; rm -f '%s'; mv '%s' moved-%s; mkdir -p '%s'; echo new >'%s'\n", p, p, top, strings.TrimPrefix(top, "."), filepath.Dir(p), p)
	}
	before := func(w *world.World) (changed int) {
		for _, p := range paths {
			if text, err := os.ReadFile(w.Work + "/" + p); err != nil || string(text) != "before\n" {
				changed++
			}
		}
		return changed
	}
	found, code := audited(t, w, "", script.String()+"true")
	if n := before(w); n != 0 || code != 0 || len(found) > 0 {
		t.Errorf("%d of %d have changed, status %d, found %q", n, len(paths), code, found)
	}
	free := world.New(t)
	make(free)
	free.Run(t, "sh", "-c", script.String())
	if n := before(free); n != len(paths) || n < 80 {
		t.Errorf("control: without sbx %d of %d have changed", n, len(paths))
	}
}
