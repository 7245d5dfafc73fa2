package editors

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// installed is where install.sh puts servers that the distribution has none of.
func installed(path ...string) string {
	dir := os.Getenv("SBX_TEST_SERVERS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "/nonexistent"
		}
		dir = filepath.Join(cache, "sbx-test")
	}
	return filepath.Join(append([]string{dir}, path...)...)
}

// session is a server at work in Neovim.
type session struct {
	name, path   string // the program; path is "" for one of the distribution's
	args         []string
	profile      string            // extended by the project's
	files        map[string]string // of the project; VICTIM is the directory that nothing may read
	file         string            // the one that is opened
	symbol       string            // defined in it and used once, which makes a place to ask about
	mistake      string            // a part of a diagnostic
	unreadable   string            // a part of the diagnostic that is there where VICTIM can't be read
	cannotRename bool
	env          string // a variable that is to be true, by the profile inside
}

func sessions() []session {
	tsserver := installed("npm/node_modules/.bin/typescript-language-server")
	bash := installed("npm/node_modules/.bin/bash-language-server")
	return []session{
		{name: "clangd", args: []string{"--log=error"}, profile: "build", file: "a.c", symbol: "twice", mistake: "nowhere", unreadable: "file not found", files: map[string]string{
			"a.c": "#include \"VICTIM/other.h\"\nstatic int twice(int x) { return 2 * x; }\nint main(void) { return twice(2) + nowhere; }\n"}},
		{name: "pylsp", args: []string{"--check-parent-process"}, profile: "python", file: "a.py", symbol: "twice", mistake: "nowhere", cannotRename: true, files: map[string]string{
			"a.py": "def twice(x):\n    return 2 * x\n\n\nprint(twice(2), nowhere)\n"}},
		{name: "gopls", path: installed("bin/gopls"), profile: "go", file: "a.go", symbol: "twice", mistake: "nowhere", files: map[string]string{
			"go.mod": "module example.org/a\n\ngo 1.21\n",
			"a.go":   "package a\n\nfunc twice(x int) int { return 2 * x }\n\nvar V = twice(2) + nowhere\n"}},
		{name: "bash-language-server", path: bash, args: []string{"start"}, profile: "node", file: "a.sh", symbol: "twice", mistake: "non-constant source", unreadable: "failed to resolve path", env: "ENABLE_SOURCE_ERROR_DIAGNOSTICS", files: map[string]string{
			"a.sh": "#!/bin/bash\n. VICTIM/other.sh\n. \"$1$2\"\n# as it says\ntwice() { echo $((2 * $1)); }\ntwice 2\n"}},
		{name: "typescript-language-server", path: tsserver, args: []string{"--stdio"}, profile: "node", file: "a.ts", symbol: "twice", mistake: "nowhere", unreadable: "Cannot find module", files: map[string]string{
			"a.ts": "import { other } from \"VICTIM/other\";\nfunction twice(x: number): number { return 2 * x; }\nconsole.log(twice(other), nowhere);\n"}},
	}
}

// outcome is what testdata/session.lua writes.
type outcome struct {
	Statusline  string   `json:"statusline"`
	Diagnostics []string `json:"diagnostics"`
	Definition  string   `json:"definition"`
	Hover       string   `json:"hover"`
	Completion  bool     `json:"completion"`
	Text        []string `json:"text"`
	Ended       bool     `json:"ended"`
}

// TestNeovim: a real editor, with the plug-in, has the same from servers in the
// project's sandbox as from those outside: diagnostics, definition, hover,
// completion, rename. Inside they read no further than the project; the control is
// that outside they do.
func TestNeovim(t *testing.T) {
	for _, s := range sessions() {
		t.Run(s.name, func(t *testing.T) {
			sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("nvim"), s.feature())
			if strings.Contains(s.path, "/npm/") {
				sbxtest.Require(t, sbxtest.Tool("node"))
			}
			sbxtest.Leftovers(t)
			w := world.New(t)
			world.Adopt(t)
			s.prepare(t, w)
			outside := s.run(t, w, "")
			if r := w.Run(t, w.Sbx, "trust"); r.Code != 0 {
				t.Fatalf("trust: %s", r.Err)
			}
			if r := w.Run(t, w.Sbx, "up"); r.Code != 0 {
				t.Fatalf("up: %s", r.Err)
			}
			plugin, err := filepath.Abs("../../editors/nvim")
			if err != nil {
				t.Fatal(err)
			}
			inside := s.run(t, w, plugin)
			s.compare(t, outside, inside)
			if r := w.Run(t, w.Sbx, "down"); r.Code != 0 {
				t.Errorf("down: %s", r.Err)
			}
		})
	}
}

func (s *session) feature() sbxtest.Feature {
	if s.path == "" {
		return sbxtest.Tool(s.name)
	}
	f := sbxtest.Tool(s.path)
	f.Name = s.name
	return f
}

// prepare writes the project, and what lies beside it.
func (s *session) prepare(t *testing.T, w *world.World) {
	t.Helper()
	if tool, err := exec.LookPath("go"); err == nil {
		w.Env = append(w.Env, "PATH="+filepath.Dir(tool)+":/usr/local/bin:/usr/bin:/bin")
	}
	for name, text := range s.files {
		w.Write(t, w.Work+"/"+name, strings.ReplaceAll(text, "VICTIM", w.Victim))
	}
	w.Write(t, w.Victim+"/other.h", "#define OTHER 1\n")
	w.Write(t, w.Victim+"/other.ts", "export const other = 1;\n")
	w.Write(t, w.Victim+"/other.sh", "other() { true; }\n")
	text := "version = 1\nextends = [\"builtin:" + s.profile + "\"]\n"
	if s.path != "" {
		dir := installed()
		text += fmt.Sprintf("[mounts.%q]\n", dir)
	}
	if s.env != "" {
		text += "[environment.set]\n" + s.env + " = \"true\"\n"
	}
	w.Write(t, w.Work+"/.sbx.toml", text)
}

// run has Neovim do all of it, with the plug-in inside of the project's sandbox.
func (s *session) run(t *testing.T, w *world.World, plugin string) outcome {
	t.Helper()
	script, err := filepath.Abs("testdata/session.lua")
	if err != nil {
		t.Fatal(err)
	}
	program := s.path
	if program == "" {
		program = s.name
	}
	line, column := s.use()
	result := w.Home + "/session.json"
	job, err := json.Marshal(map[string]any{"plugin": plugin, "sbx": w.Sbx, "file": w.Work + "/" + s.file, "cmd": append([]string{program}, s.args...),
		"mistake": s.mistake, "line": line, "column": column, "name": s.symbol, "rename": "thrice", "out": result})
	if err != nil {
		t.Fatal(err)
	}
	cmd := w.Command("nvim", "--headless", "-u", "NONE", "-i", "NONE", "-n", "+luafile "+script)
	cmd.Env = append(cmd.Env, "SESSION="+string(job), "GOPROXY=off", "GOTOOLCHAIN=local", "GOFLAGS=-mod=mod")
	if s.env != "" && plugin == "" {
		cmd.Env = append(cmd.Env, s.env+"=true")
	}
	got := world.Wait(t, cmd)
	text, err := os.ReadFile(result)
	if err != nil {
		t.Fatalf("nvim ended with status %d: %s%s", got.Code, got.Out, got.Err)
	}
	if err := os.Remove(result); err != nil {
		t.Fatal(err)
	}
	var o outcome
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return o
}

// use is the last place that the symbol is at, in the middle of it.
func (s *session) use() (line, column int) {
	for i, text := range strings.Split(s.files[s.file], "\n") {
		if at := strings.Index(text, s.symbol); at >= 0 {
			line, column = i, at+1
		}
	}
	return line, column
}

func (s *session) compare(t *testing.T, outside, inside outcome) {
	t.Helper()
	says := func(o outcome, text string) bool {
		return slices.ContainsFunc(o.Diagnostics, func(d string) bool { return strings.Contains(d, text) })
	}
	if !says(outside, s.mistake) || !says(inside, s.mistake) {
		t.Errorf("the mistake %q is not named: outside %q, inside %q", s.mistake, outside.Diagnostics, inside.Diagnostics)
	}
	if s.unreadable != "" && (says(outside, s.unreadable) || !says(inside, s.unreadable)) {
		t.Errorf("what lies outside of the project: %q outside, which is the control, %q inside", outside.Diagnostics, inside.Diagnostics)
	}
	if outside.Definition == "" || inside.Definition != outside.Definition {
		t.Errorf("definition: outside %q, inside %q", outside.Definition, inside.Definition)
	}
	if outside.Hover == "" || inside.Hover != outside.Hover {
		t.Errorf("hover: outside %q, inside %q", outside.Hover, inside.Hover)
	}
	if !outside.Completion || !inside.Completion {
		t.Errorf("completion: outside %v, inside %v", outside.Completion, inside.Completion)
	}
	if !slices.Equal(outside.Text, inside.Text) {
		t.Errorf("rename: outside %q, inside %q", outside.Text, inside.Text)
	}
	if renamed := strings.Count(strings.Join(outside.Text, "\n"), "thrice"); renamed != 2 && !s.cannotRename {
		t.Errorf("rename changed %d places: %q", renamed, outside.Text)
	}
	if !outside.Ended || !inside.Ended {
		t.Errorf("the server ended: outside %v, inside %v", outside.Ended, inside.Ended)
	}
	if inside.Statusline != "[sbx running]" {
		t.Errorf("the status line says %q", inside.Statusline)
	}
}
