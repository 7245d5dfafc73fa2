package changes

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestRun goes the whole way: a run on an overlay, diff, apply in part, another
// run, the host's own changes in between.
func TestRun(t *testing.T) {
	sbxtest.Require(t, sbxtest.Overlay)
	for _, backend := range []string{"kernel", "fuse-overlayfs"} {
		for _, ids := range []string{"single", "range"} {
			t.Run(backend+"/"+ids, func(t *testing.T) {
				if backend == "fuse-overlayfs" {
					sbxtest.Require(t, sbxtest.FUSE, sbxtest.Tool("fuse-overlayfs"))
				}
				if ids == "range" {
					sbxtest.Require(t, sbxtest.Subuid)
				}
				w := world.New(t)
				t.Cleanup(func() { _ = exec.Command("chmod", "-R", "u+rwx", w.Home).Run() })
				as := ""
				if ids == "range" {
					as = "as = \"root\"\n"
				}
				profile := w.Profile(t, "[user]\nmap = \""+ids+"\"\n"+as+"[overlay]\nbackend = \""+backend+"\"\n")
				w.Write(t, w.Work+"/src/a", "a\n")
				w.Write(t, w.Work+"/b", "b\n")
				inside := func(script string) {
					t.Helper()
					if got := w.Run(t, w.Sbx, "run", "-q", "--overlay=o", profile, "--", "sh", "-ec", script); got.Code != 0 {
						t.Fatalf("status %d: %s%s", got.Code, got.Out, got.Err)
					}
				}
				sbx := func(code int, args ...string) string {
					t.Helper()
					got := w.Run(t, append([]string{w.Sbx}, args...)...)
					if got.Code != code {
						t.Errorf("%q: status %d, want %d: %s%s", args, got.Code, code, got.Out, got.Err)
					}
					return got.Out + got.Err
				}
				script := "echo 2 >src/a; rm b; echo c >c; chmod 0 c; echo x >.envrc; mkdir -m 700 secret; echo s >secret/s"
				if ids == "range" {
					script += "; echo o >owned; chmod 600 owned; chown 7:7 owned; mkdir -m 700 theirs; echo t >theirs/t; chown -R 7:7 theirs"
				}
				inside(script)
				if out := sbx(1, "diff", "--exit-code"); !strings.Contains(out, "M  src/a\n") || !strings.Contains(out, "D  b\n") || !strings.Contains(out, "A  .envrc  ! ") {
					t.Errorf("diff says\n%s", out)
				}
				if text := read(t, w.Work+"/src/a") + read(t, w.Work+"/b"); text != "a\nb\n" {
					t.Errorf("the host has %q", text)
				}
				sbx(0, "apply", "--only", "src/**")
				if text := read(t, w.Work+"/src/a") + read(t, w.Work+"/b"); text != "2\nb\n" {
					t.Errorf("the host has %q", text)
				}
				if out := sbx(1, "apply"); !strings.Contains(out, ".envrc: held back") {
					t.Errorf("apply says\n%s", out)
				}
				if err := os.Chmod(w.Work+"/c", 0o600); err != nil || read(t, w.Work+"/c") != "c\n" {
					t.Errorf("c: %v", err)
				}
				if _, err := os.Lstat(w.Work + "/b"); err == nil {
					t.Error("b is still there")
				}
				if ids == "range" {
					for _, f := range []string{"owned", "theirs/t"} {
						st, err := os.Stat(filepath.Join(w.Work, f))
						if err != nil || int(st.Sys().(*syscall.Stat_t).Uid) != os.Getuid() {
							t.Errorf("%s: %v, not mine", f, err)
						}
					}
				}
				w.Write(t, w.Work+"/src/a", "host\n")
				if ids == "single" { // all that is left is .envrc: the host's change shows
					inside(`test "$(cat src/a)" = host`)
					if out := sbx(1, "diff", "--exit-code"); strings.Contains(out, "src/a") {
						t.Errorf("after the host's change diff says\n%s", out)
					}
				}
				inside("echo 3 >src/a")
				if out := sbx(1, "apply"); !strings.Contains(out, "src/a: held back: it changed on the host") {
					t.Errorf("after the host's change: %s", out)
				}
				sbx(0, "apply", "--force-conflicts", "--allow-triggers")
				if out := sbx(0, "diff", "--exit-code"); out != "" {
					t.Errorf("in the end diff says\n%s", out)
				}
				sbx(0, "discard", "o")
			})
		}
	}
}

// TestOnExit: a run that applies its changes at its end.
func TestOnExit(t *testing.T) {
	sbxtest.Require(t, sbxtest.Overlay)
	w := world.New(t)
	p := w.Profile(t, "[overlay]\non_exit = \"apply\"\n")
	w.Write(t, w.Work+"/a", "a\n")
	// What overlayfs works in may not be read by anybody, and sbx removes it all the same.
	defer func() { w.Run(t, w.Sbx, "discard", "kept") }()
	got := w.Run(t, w.Sbx, "run", "--overlay=kept", p, "--", "sh", "-c", "echo 2 >a; echo x >.envrc; exit 7")
	if got.Code != 7 || read(t, w.Work+"/a") != "2\n" || !strings.Contains(got.Err, ".envrc: held back") {
		t.Errorf("status %d, a is %q: %s", got.Code, read(t, w.Work+"/a"), got.Err)
	}
	if _, err := os.Lstat(w.Work + "/.envrc"); err == nil {
		t.Error(".envrc was taken over")
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// TestInteractive answers the questions at a terminal.
func TestInteractive(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []string // what is waited for, and what is typed
		code    int
		want    string
	}{
		{"each", []string{"a", "y", "b", "n", "A  d  ", "y", "e", "p", "+++ b/e", "y", ".envrc", "n"}, 0, "echo 1 >a; mkdir d; echo d >d/x; echo d >d/y; echo e >e"},
		{"all", []string{"a", "a"}, 0, "echo 1 >a; rm b; mkdir d; echo d >d/x; echo d >d/y; echo e >e"},
		{"none of the rest", []string{"a", "y", "b", "d"}, 0, "echo 1 >a"},
		{"quit", []string{"a", "y", "b", "q"}, 0, ":"},
		{"help", []string{"a", "?", "quit: take nothing over", "q"}, 0, ":"},
		{"a trigger", []string{"a", "n", "b", "n", "A  d  ", "n", "e", "n", ".envrc", "y"}, 0, "echo x >.envrc"},
		{"one by one", []string{"a", "n", "b", "n", "A  d  ", "s", "d/x", "n", "d/y", "y", "e", "d"}, 0, "mkdir d; echo d >d/y"},
		{"end of input", []string{"a", "y", "b", "\x04"}, 0, ":"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := "echo a >a; echo b >b"
			l := under(t, "kernel", before)
			l.inside(t, "echo 1 >a; rm b; mkdir d; echo d >d/x; echo d >d/y; printf 'e\\n' >e; echo x >.envrc")
			twin := under(t, "kernel", before)
			twin.host(t, c.want)
			term := pty.Open(t)
			cmd := l.command(t, "apply", "--interactive")
			cmd.Env = append(cmd.Env, "NO_COLOR=1")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = term.Slave, term.Slave, term.Slave
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			at := 0
			if c.answers[0] == "a" { // .envrc sorts first
				at = term.Expect(t, at, ".envrc")
				at = term.Expect(t, at, "]? ")
				answer := "n"
				if i := len(c.answers); c.answers[i-2] == ".envrc" {
					answer, c.answers = c.answers[i-1], c.answers[:i-2]
				}
				term.Type(t, answer+"\n")
			}
			for i := 0; i+1 < len(c.answers); i += 2 {
				at = term.Expect(t, at, c.answers[i])
				if strings.HasPrefix(c.answers[i], "+++") || strings.HasPrefix(c.answers[i], "quit") {
					at = term.Expect(t, at, "]? ")
				} else {
					at = term.Expect(t, at, "]? ")
				}
				if c.answers[i+1] == "\x04" {
					term.Type(t, "\x04")
				} else {
					term.Type(t, c.answers[i+1]+"\n")
				}
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("status %d, want %d; the terminal shows\n%s", code, c.code, term.Output())
			}
			if d := ageless(twin.tree, l.tree, t); len(d) > 0 {
				t.Errorf("after apply:\n%s\nthe terminal shows\n%s", strings.Join(d, "\n"), term.Output())
			}
			l.clean(t)
		})
	}
	l := under(t, "kernel", "")
	l.inside(t, "echo a >a")
	cmd := l.command(t, "apply", "--interactive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if got := ran(t, cmd); got.code != 2 || !strings.Contains(got.err, "needs a terminal") {
		t.Errorf("without a terminal: status %d, %s", got.code, got.err)
	}
}

// TestTerminal: nothing that a sandbox called a file, or wrote into it, acts on the
// terminal.
func TestTerminal(t *testing.T) {
	l := under(t, "kernel", "")
	l.inside(t, `f=$(printf 'a\033]0;x\007\033[31m'); printf 'text\033]0;y\007\n' >"$f"; ln -s "$f" l; mkdir .vscode; echo x >".vscode/$f"`)
	for _, args := range [][]string{{"diff"}, {"diff", "-p"}, {"diff", "--stat"}, {"diff", "--name-only"}, {"diff", "--json"}, {"apply", "-n"}, {"apply"}} {
		term := pty.Open(t)
		cmd := l.command(t, args...)
		cmd.Env = append(cmd.Env, "NO_COLOR=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = term.Slave, term.Slave, term.Slave
		_ = cmd.Run()
		if _, err := term.Slave.WriteString("THE END"); err != nil {
			t.Fatal(err)
		}
		term.Expect(t, 0, "THE END")
		out := term.Output()
		if out == "THE END" || strings.ContainsAny(out, "\x1b\x07") {
			t.Errorf("%q writes %q", args, out)
		}
	}
}

// TestNestedGrants: what is written to overlays that lie in each other, beside
// each other and over the same directory comes to the directory of each.
func TestNestedGrants(t *testing.T) {
	sbxtest.Require(t, sbxtest.Overlay)
	for _, backend := range drivers {
		t.Run(backend, func(t *testing.T) {
			if backend == upper.Fuse {
				sbxtest.Require(t, sbxtest.FUSE, sbxtest.Tool("fuse-overlayfs"))
			}
			w := world.New(t)
			t.Cleanup(func() { _ = exec.Command("chmod", "-R", "u+rwx", w.Home).Run() })
			for _, f := range []string{"work/f", "work/over/hidden", "work/sub/f", "work/sub/deep/f", "other/f", "other/deep/f", "data/f"} {
				w.Write(t, filepath.Join(w.Home, f), "host\n")
			}
			host := func() map[string]file {
				all := map[string]file{}
				for _, d := range []string{"work", "other", "data"} {
					for p, f := range tree(t, w.Home+"/"+d) {
						all[filepath.Join(d, p)] = f
					}
				}
				return all
			}
			before := host()
			profile := w.Profile(t, `
[overlay]
backend = "`+backend+`"
[mounts."${WORKSPACE}/over"]
type = "overlay"
source = "`+w.Home+`/other"
[mounts."/deep"]
type = "overlay"
source = "`+w.Home+`/other/deep"
[mounts."/again"]
type = "overlay"
source = "`+w.Work+`/sub"
[mounts."/ro"]
source = "`+w.Home+`/data"
`)
			got := w.Run(t, w.Sbx, "run", "-q", "--overlay=o", profile, "--", "sh", "-c", `set -e
echo top >f; echo top >sub/f; echo top >sub/deep/new
echo over >over/f; echo over >over/deep/f; rm -r over/deep; mkdir over/deep; echo over >over/deep/n
test "$(cat /deep/f)" = host; echo deep >/deep/f; echo deep >/deep/n2
test "$(cat /again/f)" = host; echo again >/again/g; rm -r /again/deep
cat over/hidden && exit 9; (echo x >/ro/f) 2>/dev/null && exit 8; exit 0`)
			if got.Code != 0 {
				t.Fatalf("status %d: %s%s", got.Code, got.Out, got.Err)
			}
			if d := differences(before, host()); len(d) > 0 {
				t.Errorf("the run changed the host's files:\n%s", strings.Join(d, "\n"))
			}
			got = w.Run(t, w.Sbx, "diff", "o")
			if want := w.Work + "\nM  f\nA  sub/deep/new\nM  sub/f\n/again\nD  deep/  (1 file in it)\nA  g\n/deep\nM  f\nA  n2\n" + w.Work + "/over\nD  deep/f\nA  deep/n\nM  f\n"; got.Code != 0 || got.Out != want {
				t.Errorf("diff: status %d, %s\n%s\nwant\n%s", got.Code, got.Err, got.Out, want)
			}
			// What came to the one directory by the workspace is not what was deleted.
			got = w.Run(t, w.Sbx, "apply", "o")
			if got.Code != 1 || !strings.Contains(got.Err, "deep/new: it was made on the host meanwhile; of /again nothing was taken over") {
				t.Errorf("apply: status %d, %s", got.Code, got.Err)
			}
			texts := func(want map[string]string) {
				t.Helper()
				for path, text := range want {
					if b, err := os.ReadFile(filepath.Join(w.Home, path)); string(b) != text || (err == nil) != (text != "") {
						t.Errorf("%s is %q, %v; want %q", path, b, err, text)
					}
				}
			}
			texts(map[string]string{"work/f": "top\n", "work/sub/f": "top\n", "work/sub/deep/new": "top\n", "work/sub/deep/f": "host\n", "work/sub/g": "", "other/f": "host\n", "other/deep/f": "host\n", "work/over/hidden": "host\n", "data/f": "host\n"})
			got = w.Run(t, w.Sbx, "apply", "--skip-conflicts", "o")
			if got.Code != 1 || !strings.Contains(got.Err, "deep/f: it changed on the host meanwhile; of "+w.Work+"/over nothing was taken over") {
				t.Errorf("apply --skip-conflicts: status %d, %s", got.Code, got.Err)
			}
			texts(map[string]string{"work/sub/deep/new": "top\n", "work/sub/deep/f": "", "work/sub/g": "again\n", "other/f": "host\n", "other/deep/f": "deep\n", "other/deep/n2": "deep\n"})
			if got = w.Run(t, w.Sbx, "apply", "--force-conflicts", "o"); got.Code != 0 {
				t.Errorf("apply --force-conflicts: status %d, %s", got.Code, got.Err)
			}
			texts(map[string]string{"work/f": "top\n", "work/sub/deep/new": "", "work/sub/g": "again\n", "other/f": "over\n", "other/deep/f": "", "other/deep/n2": "", "other/deep/n": "over\n", "work/over/hidden": "host\n", "data/f": "host\n"})
			if got = w.Run(t, w.Sbx, "diff", "o"); got.Out != w.Work+"\n/again\n/deep\n"+w.Work+"/over\n" {
				t.Errorf("in the end diff shows %s%s", got.Out, got.Err)
			}
			if got = w.Run(t, w.Sbx, "discard", "o"); got.Code != 0 {
				t.Error(got.Err)
			}
		})
	}
}
