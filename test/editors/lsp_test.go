// Package editors holds editors' helpers to their work inside a sandbox.
package editors

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// server is a language server, a file with one mistake, and a name in it with
// the line that it is defined in.
type server struct {
	name, profile string
	argv          []string
	file, lang    string
	text          string
	mistake       string // a part of the diagnostic
	line, column  int    // a use of a name
	defined       int    // the line of its definition
}

var servers = []server{
	{"pylsp", "python", []string{"pylsp", "--check-parent-process"}, "a.py", "python",
		"def twice(x):\n    return 2 * x\n\n\nprint(twice(2), nowhere)\n", "nowhere", 4, 7, 0},
	{"clangd", "build", []string{"clangd", "--log=error"}, "a.c", "c",
		"static int twice(int x) { return 2 * x; }\nint main(void) { return twice(2) + nowhere; }\n", "nowhere", 1, 25, 0},
}

// TestServers: a language server finds mistakes and definitions through sbx lsp
// as it does without, lives as long as the editor, sees the project and not
// the home, and ends with the editor.
func TestServers(t *testing.T) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool(s.argv[0]))
			sbxtest.Leftovers(t)
			w := world.New(t)
			world.Adopt(t)
			w.Write(t, w.Work+"/"+s.file, s.text)
			for _, how := range []struct {
				name string
				argv []string
			}{
				{"outside", s.argv},
				{"inside", append([]string{w.Sbx, "lsp", "builtin:" + s.profile, "--"}, s.argv...)},
			} {
				c := start(t, w.Command(how.argv...))
				if c.initialize(w.Work) == nil {
					t.Fatalf("%s: the server has ended; it said %s", how.name, c.stderr)
				}
				c.notify("initialized", map[string]any{})
				uri := "file://" + w.Work + "/" + s.file
				c.notify("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": uri, "languageId": s.lang, "version": 1, "text": s.text}})
				if _, ok := c.wait(func(m message) bool {
					return m.Method == "textDocument/publishDiagnostics" && strings.Contains(string(m.Params), s.mistake)
				}); !ok {
					t.Fatalf("%s: no diagnostics; it said %s", how.name, c.stderr)
				}
				time.Sleep(1500 * time.Millisecond) // by then a server that looks for a process it can't see has ended
				got := c.call("textDocument/definition", map[string]any{"textDocument": map[string]any{"uri": uri}, "position": map[string]any{"line": s.line, "character": s.column}})
				if line, file := place(t, got); line != s.defined || file != uri {
					t.Errorf("%s: defined in %s, line %d, want %s, line %d", how.name, file, line, uri, s.defined)
				}
				if code := c.quit(); code != 0 {
					t.Errorf("%s: status %d; it said %s", how.name, code, c.stderr)
				}
			}
		})
	}
}

// place is where a definition is.
func place(t *testing.T, result json.RawMessage) (line int, file string) {
	t.Helper()
	type location struct {
		URI   string `json:"uri"`
		Range struct {
			Start struct {
				Line int `json:"line"`
			} `json:"start"`
		} `json:"range"`
	}
	var one location
	var list []location
	if json.Unmarshal(result, &list) == nil && len(list) == 1 {
		one = list[0]
	} else if json.Unmarshal(result, &one) != nil {
		t.Fatalf("no definition: %s", result)
	}
	return one.Range.Start.Line, one.URI
}

// TestParentProcess is the control: without sbx lsp a server that watches the
// editor's process ends, as in a PID namespace that number is nobody's.
func TestParentProcess(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("pylsp"))
	sbxtest.Leftovers(t)
	w := world.New(t)
	world.Adopt(t)
	c := start(t, w.Command(w.Sbx, "run", "builtin:python", "--", "pylsp", "--check-parent-process"))
	c.initialize(w.Work)
	c.notify("initialized", map[string]any{})
	ended := make(chan int, 1)
	go func() { ended <- c.end() }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the server lives on: sbx lsp is not needed")
		_ = c.cmd.Process.Kill()
		<-ended
	}
}

// TestEditorGone: the server ends when the editor is gone, however it went.
func TestEditorGone(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS)
	sbxtest.Leftovers(t)
	w := world.New(t)
	world.Adopt(t)
	for _, how := range []string{"input ends", "sbx is terminated", "sbx is killed"} {
		c := start(t, w.Command(w.Sbx, "lsp", "builtin:build", "--", "sh", "-c", "echo >started; cat >/dev/null; exit 5"))
		world.Until(t, "the server runs", func() bool { return world.Exists(w.Work + "/started") })
		want := 5
		switch how {
		case "input ends":
			c.in.Close()
		case "sbx is terminated":
			_, want = c.cmd.Process.Signal(os.Interrupt), -1
		case "sbx is killed":
			_, want = c.cmd.Process.Kill(), -1
		}
		if got := c.end(); got != want {
			t.Errorf("%s: status %d, want %d; it said %s", how, got, want, c.stderr)
		}
		if left := world.Gone(t); len(left) > 0 {
			t.Errorf("%s: left behind: %v", how, left)
		}
		if err := os.Remove(w.Work + "/started"); err != nil {
			t.Fatal(err)
		}
	}
}
