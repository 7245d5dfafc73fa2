// Package shells drives real shells at a terminal, as a person does.
package shells

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// shell is one with a hook, and how it is told of it.
type shell struct {
	name, rc, text string
	argv           []string
}

var shells = []shell{
	{"bash", ".bashrc", "PS1='%s'\neval \"$(sbx hook bash)\"\n", []string{"bash", "-i"}},
	{"zsh", ".zshrc", "PS1='%s'\neval \"$(sbx hook zsh)\"\n", []string{"zsh", "-i"}},
	{"fish", ".config/fish/config.fish", "function fish_prompt; echo -n '%s'; end\nfunction fish_greeting; end\nsbx hook fish | source\n", []string{"fish", "-i"}},
}

// outside is the prompt of the shell outside.
const outside = "OUT>> "

// TestHook: going into a trusted project is going into its sandbox, whose
// prompt says so; exit leaves it and nosbx keeps out; a profile that is not
// trusted, or not any more, does nothing but be named.
func TestHook(t *testing.T) {
	for _, s := range shells {
		t.Run(s.name, func(t *testing.T) {
			sbxtest.Require(t, sbxtest.UserNS, sbxtest.TTY, sbxtest.Tool(s.name))
			sbxtest.Leftovers(t)
			w := world.New(t)
			world.Adopt(t)
			w.Write(t, w.Home+"/"+s.rc, fmt.Sprintf(s.text, outside))
			w.Write(t, w.Work+"/mine/.sbx.toml", "version = 1\nname = \"mine\"\n")
			w.Write(t, w.Work+"/mine/deep/file", "")
			w.Write(t, w.Work+"/theirs/.sbx.toml", "version = 1\nname = \"theirs\"\n[network]\nmode = \"host\"\n")

			term, cmd := interactive(t, w, s.name, s.argv)
			at := term.Expect(t, 0, outside)
			// do types a line and waits for what is expected, in order.
			do := func(line string, expect ...string) {
				t.Helper()
				term.Type(t, line+"\r")
				for _, text := range expect {
					at = term.Expect(t, at, text)
				}
			}
			const where = "cat /proc/1/comm; echo at''end"
			do("cd "+w.Work+"/mine/deep", "commands run inside from here on; exit leaves the sandbox")
			do(where, "sbx-init", "atend")
			if s.name != "fish" { // whose prompt has the host's name, which is the sandbox's
				at = term.Expect(t, at, "(sbx mine)")
			}
			do("exit", outside)
			do("cd ..", outside) // the same project: stays outside
			before := at
			do(where, "atend", outside)
			do("cd "+w.Home, outside)
			if text := term.Output()[before:at]; strings.Contains(text, "sbx-init") {
				t.Errorf("after exit a command ran inside:\n%s", text)
			}
			do("cd "+w.Work+"/theirs", "asks for more than your own profile grants, and commands run outside", outside)
			before = at
			do(where, "atend", outside)
			if text := term.Output()[before:at]; strings.Contains(text, "sbx-init") {
				t.Errorf("a command ran in the sandbox of an untrusted profile:\n%s", text)
			}
			do("sbx trust .sbx.toml", "is trusted now", outside)
			do("cd .. ; cd theirs", outside)
			do("cd "+w.Home, outside)
			do("cd "+w.Work+"/theirs", "commands run inside")
			do(where, "sbx-init", "atend")
			do("exit", outside)
			do("cd "+w.Home, outside)
			do("exit")
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v\n%s", s.name, err, term.Output())
			}
		})
	}
}

// TestHookOther: who calls fish and has another login shell has that one inside, whose
// terminal echoes and has lines as outside.
func TestHookOther(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.TTY, sbxtest.Tool("fish"))
	sbxtest.Leftovers(t)
	w := world.New(t)
	world.Adopt(t)
	fish := shells[slices.IndexFunc(shells, func(s shell) bool { return s.name == "fish" })]
	w.Write(t, w.Home+"/"+fish.rc, fmt.Sprintf(fish.text, outside))
	w.Write(t, w.Work+"/mine/.sbx.toml", "version = 1\nname = \"mine\"\n")
	term, cmd := interactive(t, w, "sh", fish.argv)
	at := term.Expect(t, 0, outside)
	for _, step := range [][2]string{
		{"cd " + w.Work + "/mine", "commands run inside"},
		{"head -1 | tr a-z A-Z", "A-Z"},
		{"a line", "A LINE"},
		{"exit", outside},
		{"head -1 | tr a-z A-Z", "A-Z"},
		{"another line", "ANOTHER LINE"},
	} {
		term.Type(t, step[0]+"\r")
		at = term.Expect(t, at, step[1])
	}
	term.Expect(t, at, outside)
	term.Type(t, "exit\r")
	if err := cmd.Wait(); err != nil {
		t.Errorf("fish: %v\n%s", err, term.Output())
	}
}

// TestHookUp: while the project's sandbox is up, the shell that the hook starts is in
// it, with the others; it has job control; when the profile has changed it does
// nothing until that is agreed to.
func TestHookUp(t *testing.T) {
	for _, s := range shells {
		t.Run(s.name, func(t *testing.T) {
			sbxtest.Require(t, sbxtest.UserNS, sbxtest.TTY, sbxtest.Tool(s.name))
			sbxtest.Leftovers(t)
			w := world.New(t)
			world.Adopt(t)
			w.Write(t, w.Home+"/"+s.rc, fmt.Sprintf(s.text, outside))
			profile := w.Work + "/mine/.sbx.toml"
			const text = "version = 1\nname = \"mine\"\n[network]\nmode = \"host\"\n"
			w.Write(t, profile, text)
			at := inside(t, w, "mine", "trust", "up")
			if r := at("exec", "-d", "--", "sleep", "97.53"); r.Code != 0 {
				t.Fatalf("exec -d: %s", r.Err)
			}

			term, cmd := interactive(t, w, s.name, s.argv)
			seen := term.Expect(t, 0, outside)
			do := func(line string, expect ...string) {
				t.Helper()
				term.Type(t, line+"\r")
				for _, want := range expect {
					seen = term.Expect(t, seen, want)
				}
			}
			do("cd "+w.Work+"/mine", "commands run inside from here on")
			// What another command of the same sandbox has started is there to be seen.
			do("cat /proc/1/comm; ps ax | grep '[9]7.53'; echo at''end", "sbx-init", "sleep 97.53", "atend")
			// A job that is stopped, goes on in the background, comes to the foreground, and is interrupted.
			// becomes waits for the state of the job as ps(1) has it, without what it
			// says of priorities. A key that comes before the shell has set up the
			// terminal for the job is lost, so it is pressed again when it has not worked.
			becomes := func(state, key string) {
				t.Helper()
				var pressed time.Time
				world.Until(t, "the job is "+state, func() bool {
					if key != "" && time.Since(pressed) > 2*time.Second {
						term.Type(t, key)
						pressed = time.Now()
					}
					is := ""
					for line := range strings.Lines(at("exec", "--", "ps", "-o", "stat=", "-o", "args=", "ax").Out) {
						if before, found := strings.CutSuffix(line, " sleep 96.42\n"); found {
							is = strings.NewReplacer(" ", "", "N", "", "<", "", "s", "").Replace(before) // whatever its priority
						}
					}
					return is == state
				})
			}
			const stop, interrupt = "\x1a", "\x03" // ^Z, ^C
			do("sleep 96.42")
			becomes("S+", "")
			becomes("T", stop)
			do("bg; jobs; echo listed''1", "sleep 96.42", "listed1")
			becomes("S", "")
			do("fg")
			becomes("S+", "")
			becomes("", interrupt)
			do("echo interrupted''2", "interrupted2")
			do("exit", outside)

			// Changed, it is named, and nothing runs inside, not even in the one that is up.
			do("cd "+w.Home, outside)
			w.Write(t, profile, text+"# more\n")
			before := seen
			do("cd "+w.Work+"/mine", "asks for more than your own profile grants, and commands run outside", outside)
			do("cat /proc/1/comm; echo at''end", "atend", outside)
			if text := term.Output()[before:seen]; strings.Contains(text, "sbx-init") {
				t.Errorf("a command ran in the sandbox of a profile that has changed:\n%s", text)
			}
			do("cd "+w.Home, outside)
			do("exit")
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v\n%s", s.name, err, term.Output())
			}
			at("down")
		})
	}
}

// inside runs sbx in a project: first the verbs that must succeed, then, by what it
// returns, others.
func inside(t *testing.T, w *world.World, project string, verbs ...string) func(args ...string) world.Result {
	t.Helper()
	run := func(args ...string) world.Result {
		t.Helper()
		cmd := w.Command(append([]string{w.Sbx}, args...)...)
		cmd.Dir = w.Work + "/" + project
		return world.Wait(t, cmd)
	}
	for _, verb := range verbs {
		if r := run(verb); r.Code != 0 {
			t.Fatalf("sbx %s: status %d, %s", verb, r.Code, r.Err)
		}
	}
	return run
}

// interactive starts a shell at a terminal, in the home.
func interactive(t *testing.T, w *world.World, name string, argv []string) (*pty.Terminal, *exec.Cmd) {
	t.Helper()
	term := pty.Open(t)
	cmd := w.Command(argv...)
	shell, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Dir = w.Home
	cmd.Env = append(cmd.Env, "SHELL="+shell, "TERM=dumb", "PATH="+dir(w.Sbx)+":"+os.Getenv("PATH"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.Slave, term.Slave, term.Slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return term, cmd
}

func dir(path string) string { return path[:strings.LastIndexByte(path, '/')] }
