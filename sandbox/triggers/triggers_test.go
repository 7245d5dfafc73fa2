package triggers

import (
	"slices"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	table := Load()
	for _, c := range []struct {
		path, pattern string
		rule          Rule
	}{
		{"src/main.go", "", ""},
		{"", "", ""},
		{".git", ".git", Guard},
		{"a/b/.git", ".git", Guard},
		{".git/index", "", ""},
		{".git/config", "$GIT_DIR/config", Guard},
		{".git/hooks/pre-commit", "$GIT_DIR/hooks/", Guard},
		{"sub/.git/hooks", "$GIT_DIR/hooks/", Guard},
		{"hooks/pre-commit", "", ""},
		{"config", "", ""},
		{".vscode/tasks.json", ".vscode/", Guard},
		{"a/.vscode/deep/x", ".vscode/", Guard},
		{".vscode", ".vscode/", Guard},
		{".cargo/config.toml", ".cargo/config.toml", Audit},
		{"a/.cargo/config.toml", ".cargo/config.toml", Audit},
		{".cargo/registry", "", ""},
		{"config.toml", "", ""},
		{"bin/tool", "/bin/", Build},
		{"a/bin/tool", "", ""},
		{".env", ".env", Audit},
		{".env.local", ".env.*", Audit},
		{"my.code-workspace", "*.code-workspace", Guard},
		{"lib/x.pth", "*.pth", Build},
		{"makefile", "Makefile", Build},
		{"node_modules/.bin/tsc", "node_modules/.bin/", Build},
		{"node_modules/left-pad/.npmrc", ".npmrc", Build},
		{"node_modules/left-pad/.vscode/tasks.json", ".vscode/", Build},
		{"node_modules/left-pad/.git/config", "$GIT_DIR/config", Guard},
		{"vendor/x/.envrc", ".envrc", Build},
		{".github/workflows/ci.yml", ".github/workflows/", Audit},
		{".hg/hgrc", ".hg/hgrc", Guard},
		{".ssh/id", "", ""}, // no home here
		// Look-alikes.
		{".GIT", ".git", Guard},
		{".Git/Config", "$GIT_DIR/config", Guard},
		{".g\u200cit", ".git", Guard},
		{".git\ufeff/hooks/x", "$GIT_DIR/hooks/", Guard},
		{".vſcode/x", ".vscode/", Guard},
		{"git~1", ".git", Guard},
		{"GIT~2/config", "$GIT_DIR/config", Guard},
		{".git.", ".git", Guard},
		{".git ", ".git", Guard},
		{".git::$INDEX_ALLOCATION", ".git", Guard},
		{"ENVRC~1", ".envrc", Guard},
		{"MCP~1.JSO", ".mcp.json", Guard},
		{"GITMOD~1", ".gitmodules", Guard},
		{"git~", "", ""},
		{"git~x", "", ""},
		{"main.go~1~", "", ""},
		{".gitx", "", ""},
	} {
		tr, rule := table.Find(c.path)
		got := ""
		if tr != nil {
			got = tr.Pattern
		}
		if got != c.pattern || rule != c.rule {
			t.Errorf("%q is %q with the rule %q, want %q, %q", c.path, got, rule, c.pattern, c.rule)
		}
	}
}

func TestHome(t *testing.T) {
	table := Load()
	for _, c := range []struct {
		dir  Dir
		name string
		want bool
	}{
		{Dir{Home: 0, Git: -1}, ".ssh", true},
		{Dir{Home: -1, Git: -1}, ".ssh", false},
		{Dir{Names: []string{"you"}, Home: 1, Git: -1}, ".ssh", true},
		{Dir{Names: []string{"you"}, Home: 0, Git: -1}, ".ssh", false},
		{Dir{Home: 0, Git: -1, Prefix: []string{".config"}}, "autostart", true},
	} {
		if got := table.Match(c.dir, c.name) != nil; got != c.want {
			t.Errorf("%s in %v: %v", c.name, c.dir, got)
		}
	}
}

func TestLeads(t *testing.T) {
	table := Load()
	for _, c := range []struct {
		names string // that lead to the last one
		back  int
		want  bool
	}{
		{".cargo", 0, true},
		{"a/.CARGO", 0, true},
		{"cargo~1", 0, true},
		{"config.toml", 0, false},
		{".vscode", 0, false},
		{".venv", 0, false}, // a build's
		{"repo", 0, false},
		{".jj/repo", 0, true},
		{".jj/repo", 1, true},
		{".jj/repo", 2, false},
		{".git/info", 0, true},
		{"info", 0, false},
		{".local", 0, false}, // no home here
	} {
		d := Dir{Home: -1, Git: -1}
		names := strings.Split(c.names, "/")
		for _, n := range names[:len(names)-1] {
			d = d.Enter(n)
		}
		if got := table.Leads(d, names[len(names)-1], c.back); got != c.want {
			t.Errorf("%s, %d: %v", c.names, c.back, got)
		}
	}
	if !table.Leads(Dir{Home: 0, Git: -1}, ".local", 0) {
		t.Error("~/.local does not lead")
	}
}

// TestList: each line finds itself, so that none is hidden by another, and
// none stands there twice.
func TestList(t *testing.T) {
	table := Load()
	seen := map[string]bool{}
	for _, tr := range table.All {
		if seen[tr.Pattern] {
			t.Errorf("%s is listed twice", tr.Pattern)
		}
		seen[tr.Pattern] = true
		if tr.place == home || tr.Below() {
			continue
		}
		if got, rule := table.Find(Example(tr)); got != tr && !tr.all || got == nil || rule == "" {
			t.Errorf("%s, in the form %s, is found as %v", tr.Pattern, Example(tr), got)
		}
	}
	if !slices.ContainsFunc(table.All, func(tr *Trigger) bool { return tr.Class == Repository && tr.Pattern == ".git" }) {
		t.Error(".git is not listed as a repository")
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		".a shell guard":       "has no pattern",
		".a shell gard  bash":  `the rule "gard"`,
		"a//b shell guard  sh": "empty name",
		"../b shell guard  sh": "empty name",
		"a*/b shell guard  sh": "one *",
		"a?b shell guard  sh":  "one *",
		"*a* shell guard  sh":  "one *",
	} {
		if _, err := parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestAlike(t *testing.T) {
	table := Load()
	for name, want := range map[string]bool{".git": false, ".GIT": true, "git~1": true, "x.pth": false, "X.PTH": true} {
		if got := table.Match(Dir{Home: -1, Git: -1}, name).Alike(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// naive says what Find does for one pattern without a place, written another
// way: some run of the path's names are the pattern's.
func naive(tr *Trigger, names []string) bool {
	want := slices.Clone(tr.names)
	slices.Reverse(want)
	same := func(have, want string) bool {
		if strings.HasPrefix(want, "*") {
			return strings.HasSuffix(have, want[1:])
		}
		if strings.HasSuffix(want, "*") {
			return strings.HasPrefix(have, want[:len(want)-1])
		}
		return have == want
	}
	for at := 0; at+len(want) <= len(names); at++ {
		if slices.EqualFunc(names[at:at+len(want)], want, same) && (tr.all || at+len(want) == len(names)) {
			return true
		}
	}
	return false
}

func FuzzFind(f *testing.F) {
	for _, s := range []string{".git/config", "a/.VSCODE/x", "git~1", ".g\u200cit", "node_modules/.bin/x", "x.pth", ".env.", "a//b/./c", "\xff/.git"} {
		f.Add(s)
	}
	table := Load()
	f.Fuzz(func(t *testing.T, p string) {
		tr, rule := table.Find(p)
		if (tr == nil) != (rule == "") {
			t.Fatalf("%q: %v with the rule %q", p, tr, rule)
		}
		// Case and what can't be seen make no difference.
		alike := strings.ToUpper(strings.ReplaceAll(p, "t", "t\u200d"))
		ascii := !strings.ContainsFunc(p, func(r rune) bool { return r >= 0x80 })
		if got, _ := table.Find(alike); ascii && got != tr {
			t.Errorf("%q is %v, but %q is %v", p, tr, alike, got)
		}
		var names []string
		for n := range strings.SplitSeq(p, "/") {
			if n != "" && n != "." {
				names = append(names, Fold(n))
			}
		}
		for _, one := range table.All {
			if one.place == anywhere && !one.Below() && naive(one, names) && tr == nil {
				t.Errorf("%q is not found, but it is a %s", p, one.Pattern)
			}
		}
		for _, n := range names {
			if Fold(n) != n {
				t.Errorf("%q folds to %q, and that to %q", p, n, Fold(n))
			}
		}
	})
}
