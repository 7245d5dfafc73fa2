package editors

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestHelix: a real Helix at a terminal, with the settings that sbx editor init writes,
// shows the mistake that the server in the project's sandbox finds, and jumps to the
// definition in another file. The server reads no further than the project; the control
// is that without the settings it does.
func TestHelix(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, helix(), sbxtest.Tool("tmux"), sbxtest.Tool("clangd"))
	sbxtest.Leftovers(t)
	w := helixWorld(t)
	world.Adopt(t)
	w.Write(t, w.Work+"/.sbx.toml", "version = 1\n")
	w.Write(t, w.Victim+"/other.h", "#define OTHER 1\n")
	w.Write(t, w.Work+"/a.c", "#include \""+w.Victim+"/other.h\"\n#include \"twice.h\"\nint main(void) { return twice(2) + nowhere; }\n")
	w.Write(t, w.Work+"/twice.h", "\n\nstatic int twice(int x) { return 2 * x; }\n")
	const unreadable = "pp_file_not_found" // clangd's name for it; the text may be cut off
	if said := lookAround(t, w); strings.Contains(said, unreadable) {
		t.Errorf("outside, which is the control, the server can't read what lies beside the project:\n%s", said)
	}
	for _, verb := range [][]string{{"editor", "init", "--write", "helix"}, {"up"}} {
		if r := w.Run(t, append([]string{w.Sbx}, verb...)...); r.Code != 0 {
			t.Fatalf("%v: %s", verb, r.Err)
		}
	}
	if said := lookAround(t, w); !strings.Contains(said, unreadable) {
		t.Errorf("inside, the server can read what lies beside the project:\n%s", said)
	}
	if r := w.Run(t, w.Sbx, "down"); r.Code != 0 {
		t.Errorf("down: %s", r.Err)
	}
}

// helix is the feature of having what install.sh fetches.
func helix() sbxtest.Feature {
	f := sbxtest.Tool(installed("helix/hx"))
	f.Name = "helix"
	return f
}

func helixWorld(t *testing.T) *world.World {
	t.Helper()
	w := world.New(t)
	w.Env = append(w.Env, "PATH="+filepath.Dir(w.Sbx)+":/usr/bin:/bin")
	return w
}

// lookAround has Helix list the mistakes of a.c and jump from a use of twice to its
// definition. It returns the list.
func lookAround(t *testing.T, w *world.World) string {
	t.Helper()
	s := &screen{t, w, filepath.Join(w.Home, "tmux")}
	s.start(installed("helix/hx"), "a.c:3:25")
	s.until("counts the mistakes", regexp.MustCompile(`NOR .* a\.c .*● \d`))
	s.keys("Space", "d")
	said := s.until("names the mistake", regexp.MustCompile(`Use of undeclared identifier 'nowhere'`))
	s.keys("Escape")
	// With what is typed right after it, Escape would be another key.
	s.until("has the file alone", regexp.MustCompile(`(?m)^● +3 +int main\(void\) .* nowhere; } *$`))
	s.keys("g", "d")
	s.until("is at the definition", regexp.MustCompile(`(?s)3 +static int twice.*NOR .* twice\.h .* 3:12\s`))
	s.keys(":", "q", "a", "Enter")
	world.Until(t, "Helix has ended", func() bool { return s.tmux("has-session").Code != 0 })
	return said
}

// screen is a terminal of tmux's with one program.
type screen struct {
	t      *testing.T
	w      *world.World
	socket string
}

func (s *screen) tmux(args ...string) world.Result {
	s.t.Helper()
	return s.w.Run(s.t, append([]string{"tmux", "-S", s.socket, "-f", "/dev/null"}, args...)...)
}

// start starts a program, which the end of the test ends at the latest.
func (s *screen) start(argv ...string) {
	s.t.Helper()
	s.t.Cleanup(func() { s.tmux("kill-server") })
	if r := s.tmux(append([]string{"new-session", "-d", "-x", "200", "-y", "30"}, argv...)...); r.Code != 0 {
		s.t.Fatalf("tmux: %s", r.Err)
	}
}

func (s *screen) keys(names ...string) {
	s.t.Helper()
	if r := s.tmux(append([]string{"send-keys"}, names...)...); r.Code != 0 {
		s.t.Fatalf("tmux send-keys %v: %s", names, r.Err)
	}
}

// until waits for the screen to show something, and returns all that it shows.
func (s *screen) until(what string, shows *regexp.Regexp) string {
	s.t.Helper()
	for late := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		text := s.tmux("capture-pane", "-p").Out
		if shows.MatchString(text) {
			return text
		}
		if time.Now().After(late) {
			s.t.Fatalf("waited in vain until Helix %s; it shows\n%s", what, text)
		}
	}
}

// TestHelixServers: of the languages whose servers the settings name, Helix starts all
// servers by sbx, those too that it has by default beside the usual one.
func TestHelixServers(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, helix())
	w := helixWorld(t)
	if all := healthServers(t, w, "go"); len(all) != 2 || slices.Contains(all, w.Sbx) {
		t.Errorf("without the settings, which is the control, Helix starts %q", all)
	}
	if r := w.Run(t, w.Sbx, "editor", "init", "--write", "helix"); r.Code != 0 {
		t.Fatalf("editor init: %s", r.Err)
	}
	for _, language := range []string{"c", "cpp", "go", "gomod", "python", "rust", "typescript", "tsx", "javascript", "jsx", "bash"} {
		all := healthServers(t, w, language)
		if len(all) == 0 || slices.ContainsFunc(all, func(server string) bool { return server != w.Sbx }) {
			t.Errorf("%s: Helix starts %q", language, all)
		}
	}
}

// healthServers are the programs that Helix would start for a language, or what it says
// of one that it doesn't find.
func healthServers(t *testing.T, w *world.World, language string) []string {
	t.Helper()
	r := w.Run(t, installed("helix/hx"), "--health", language)
	plain := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(r.Out, "")
	var list []string
	for _, m := range regexp.MustCompile(`(?m)^  [✓✘] [^:]*: (.*)$`).FindAllStringSubmatch(plain, -1) {
		list = append(list, m[1])
	}
	if r.Code != 0 {
		t.Fatalf("hx --health %s: status %d\n%s%s", language, r.Code, r.Out, r.Err)
	}
	return list
}
