package projects

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// session is an interactive shell at a terminal.
type session struct {
	t    *testing.T
	term *pty.Terminal
	cmd  *exec.Cmd
	at   int
}

// interactive starts `sbx shell` at a terminal and waits for its prompt.
func (s *site) interactive(t *testing.T, term *pty.Terminal) *session {
	t.Helper()
	cmd := s.Command(s.Sbx, "shell")
	cmd.Dir = s.Project
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.Slave, term.Slave, term.Slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil { // the test failed before end
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	sh := &session{t: t, term: term, cmd: cmd}
	sh.expect("$ ") // of /etc/bash.bashrc or bash itself
	term.Type(t, "PS1='ne''xt: '\r")
	sh.expect(prompt)
	return sh
}

const prompt = "next: "

// line types a line at the prompt, and waits for what it prints and the next
// prompt: what is typed before that is not readline's to edit. The text wanted
// must not be in what is typed, which is echoed.
func (s *session) line(text, want string) {
	s.t.Helper()
	s.start(text, want)
	s.expect(prompt)
}

// start is line for what does not end by itself.
func (s *session) start(text, want string) {
	s.t.Helper()
	s.term.Type(s.t, text+"\r")
	s.expect(want)
}

func (s *session) expect(want string) {
	s.t.Helper()
	s.at = s.term.Expect(s.t, s.at, want)
}

// end waits for the shell and returns its status.
func (s *session) end() int {
	s.t.Helper()
	timer := time.AfterFunc(30*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	_ = s.cmd.Wait() // its status says it
	return world.Code(s.cmd)
}

// shellSite is a site with a project of three files and the person's settings.
func shellSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, "shell", "bash")
	sbxtest.Require(t, sbxtest.TTY)
	s.Write(t, s.Project+"/sub/file.txt", "one\ntwo\nthree\n")
	s.Write(t, s.Project+"/.gitignore", "*.out\n")
	s.Write(t, s.Home+"/.inputrc", "\"\\C-xz\": \"echo from in''putrc\\r\"\n")
	s.setenv("SHELL=/bin/bash", "PS1=outer> ")
	s.homes(t)
	s.commit(t)
	return s
}

// TestShell: a prompt, line editing, completion, job control, the tools people
// use, and the terminal as it was.
func TestShell(t *testing.T) {
	s := shellSite(t)
	s.untouched(t)
	term := pty.Open(t)
	before := term.Mode(t)
	sh := s.interactive(t, term)
	sh.line("cd sub && pw\x7fwd", s.Project+"/sub")                 // backspace
	sh.line("echo b c\x01\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C' a'", " a") // Home, to the right
	sh.line("echo tw''o thr''ee\x17fo''ur", "two four")             // Ctrl-W
	sh.line("\x1b[A", "two four")                                   // the line before, from the history
	sh.line("cat fi\t", "three")                                    // completion
	sh.line("\x18z", "from inputrc")
	sh.start("sh -c 'echo st\\arted; exec sleep 100'", "started") // in the foreground by then
	sh.line("\x1a", "Stopped")                                    // Ctrl-Z
	sh.line("kill %1; wait; echo st''ate $?", "state ")
	sh.start("sh -c 'echo st\\arted; exec cat'", "started")
	sh.line("\x03", "^C")
	sh.line("echo al''ive", "alive")
	sh.line("git log --format='by %an' | cat", "by Decoy Person")
	sh.line("stty size", "24 80")
	sh.term.Resize(t, 100, 30)
	sh.line("stty size; echo res''ized", "30 100")
	sh.line("tty; test -t 0 && echo is''tty", "istty")
	sh.line("echo $HO''ME; cat ~/.ssh/id_ed25519; echo st''atus=$?", "status=1")
	sh.line("touch ~/k''ept; echo to''uched", "touched")
	sh.start("exit 7", "exit")
	if got := sh.end(); got != 7 {
		t.Errorf("status %d, want 7", got)
	}
	if got := sh.term.Mode(t); got != before {
		t.Errorf("the terminal's settings were %+v and are %+v", before, got)
	}

	again := s.interactive(t, pty.Open(t)) // its home is kept
	again.line("ls ~/ke*", "/kept")
	again.start("\x04", "exit") // Ctrl-D
	if got := again.end(); got != 0 {
		t.Errorf("status %d after Ctrl-D", got)
	}
	s.status(t)
	s.blind(t, "shell", ".gitconfig", ".inputrc", "kept", ".bash_history", ".lesshst", ".viminfo")
}

// TestShellTools: programs that take the whole terminal.
func TestShellTools(t *testing.T) {
	s := shellSite(t)
	s.untouched(t)
	for _, tt := range []struct {
		tool, start, shows, leave string
	}{
		{"less", "less sub/file.txt", "(END)", "q"},
		{"man", "man man", "system reference manuals", "q"},
		{"vim", "vim -u NONE -N sub/file.txt", "three", ":w x.out\r:q!\r"},
		{"git", "git -c pager.log='cat -n' log", "import", ""},
		{"top", "top", "load average", "q"},
	} {
		t.Run(tt.tool, func(t *testing.T) {
			sbxtest.Require(t, sbxtest.Tool(tt.tool))
			if tt.tool == "man" && s.outside(t, "man", "-w", "man").Code != 0 {
				sbxtest.Require(t, sbxtest.Missing("manual pages", "man has no page about itself"))
			}
			sh := s.interactive(t, pty.Open(t))
			sh.start(tt.start, tt.shows)
			sh.term.Type(t, tt.leave)
			sh.expect(prompt)
			sh.line("echo b''ack", "back")
			sh.start("exit 0", "exit")
			if got := sh.end(); got != 0 {
				t.Errorf("status %d", got)
			}
		})
	}
	t.Run("vim in a script", func(t *testing.T) {
		sbxtest.Require(t, sbxtest.Tool("vim"))
		s.must(t, s.sandboxed(t, "shell", "vim", "-es", "-u", "NONE", "-c", "%s/two/TWO/", "-c", "w! y.out", "-c", "qa!", "sub/file.txt"))
		s.must(t, s.outside(t, "grep", "-x", "TWO", "y.out"))
	})
	s.must(t, s.outside(t, "sh", "-c", "rm -f *.out"))
	s.status(t)
}

// TestOpen: the home can be read but for the places of secrets, and only the
// project can be written.
func TestOpen(t *testing.T) {
	s := newSite(t, "open")
	s.Write(t, s.Project+"/main.sh", "cat \"$HOME/Documents/letter.txt\" >copy.txt\n")
	s.Write(t, s.Project+"/.gitignore", "copy.txt\n")
	s.commit(t)
	s.untouched(t)
	s.must(t, s.sandboxed(t, "open", "sh", "main.sh"))
	for _, f := range plain {
		s.must(t, s.sandboxed(t, "open", "cat", filepath.Join(s.Home, f)), "decoy of "+f)
	}
	for _, f := range secrets {
		r := s.sandboxed(t, "open", "cat", filepath.Join(s.Home, f))
		if r.Out != "" {
			t.Errorf("%s can be read: %q", f, r.Out)
		}
		if free := s.outside(t, "cat", filepath.Join(s.Home, f)); free.Out == "" {
			t.Errorf("the control can't read %s", f)
		}
	}
	for _, f := range []string{"new", "Documents/new", ".bashrc", "src/new"} {
		s.fails(t, s.sandboxed(t, "open", "touch", filepath.Join(s.Home, f)), "Read-only file system")
	}
	s.status(t, "copy.txt")
}

// TestStrict: the project can be read, built somewhere else, and not written;
// what strict says about root TestStrictRoot tells.
func TestStrict(t *testing.T) {
	s := newSite(t, "strict", "gcc")
	s.Write(t, s.Project+"/main.c", "#include <stdio.h>\nint main(void) { puts(\"built\"); return 0; }\n")
	s.Write(t, s.Project+"/.env", "KEY=decoy\n")
	s.Write(t, s.Project+"/deep/down/.env.local", "KEY=decoy\n")
	s.commit(t)
	s.untouched(t)
	s.must(t, s.script(t, "strict", `gcc -o /tmp/main main.c && /tmp/main`), "built")
	s.fails(t, s.sandboxed(t, "strict", "gcc", "-o", "main", "main.c"), "Read-only file system")
	s.fails(t, s.sandboxed(t, "strict", "git", "commit", "--allow-empty", "-m", "x"))
	s.must(t, s.sandboxed(t, "strict", "git", "status", "--short"))
	r := s.sandboxed(t, "strict", "cat", ".env", "deep/down/.env.local")
	s.must(t, r)
	if strings.Contains(r.Out, "decoy") {
		t.Error("an .env file can be read")
	}
	s.fails(t, s.sandboxed(t, "strict", "unshare", "-U", "true"))
	s.must(t, s.script(t, "strict", `test ! -e /sys/kernel; test ! -e /proc/sys; test "$(ls -A ~ | grep -v src)" = ""`))
	s.status(t)
	s.blind(t, "strict")
}

// TestStrictRoot: root is refused, by profiles that allow only a person.
func TestStrictRoot(t *testing.T) {
	sbxtest.Require(t, sbxtest.Root)
	for _, profile := range []string{"strict", "build", "agent", "open"} {
		out, err := exec.Command(sbxtest.Sbx(t), "run", profile, "--", "true").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "refuses to be run by root") {
			t.Errorf("%s: %v: %s", profile, err, out)
		}
	}
}
