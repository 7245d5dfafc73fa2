// Package tutorials does what docs/tutorials say, to the letter.
package tutorials

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// step is a command of a page and what the page says that it prints.
type step struct {
	command string // with the lines of its here-document
	prints  []string
}

// steps are those of a page, from its console blocks.
func steps(t *testing.T, page string) (list []step) {
	t.Helper()
	text, err := os.ReadFile("../../docs/tutorials/" + page)
	if err != nil {
		t.Fatal(err)
	}
	in, here := false, false
	for line := range strings.SplitSeq(string(text), "\n") {
		last := len(list) - 1
		switch command, is := strings.CutPrefix(line, "$ "); {
		case strings.HasPrefix(line, "```"):
			in = line == "```console"
		case !in:
		case here:
			list[last].command += "\n" + line
			here = line != "END"
		case is:
			list = append(list, step{command: command})
			here = strings.Contains(line, "<<'END'")
		case last < 0:
			t.Fatalf("%s: %q is printed before there is a command", page, line)
		default:
			list[last].prints = append(list[last].prints, line)
		}
	}
	if len(list) == 0 {
		t.Fatalf("%s has no commands", page)
	}
	return list
}

// changing is what is another on each machine.
var changing = regexp.MustCompile(`up-agent-[0-9a-f]{8}`)

// do runs the commands of a page in one shell and compares what each prints with what
// the page says. A line of three dots stands for any others.
func do(t *testing.T, w *world.World, list []step) {
	t.Helper()
	var script strings.Builder
	for _, s := range list {
		fmt.Fprintf(&script, "%s\nprintf '\\001'\n", s.command)
	}
	file := filepath.Join(w.Home, "page.sh")
	w.Write(t, file, script.String())
	cmd := w.Command("bash", "-c", "cd && exec 2>&1 && . "+file)
	cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(w.Sbx)+":"+os.Getenv("PATH"))
	got := world.Wait(t, cmd)
	said := strings.Split(got.Out, "\x01")
	for i, s := range list {
		if i >= len(said) {
			t.Fatalf("%s: it did not come to this", s.command)
		}
		// The pages are somebody's called you.
		have := strings.ReplaceAll(said[i], w.Home, "/home/you")
		have = strings.ReplaceAll(have, os.Getenv("USER")+"\n", "you\n")
		have = changing.ReplaceAllString(have, "NAME")
		want := changing.ReplaceAllString(strings.Join(append(s.prints, ""), "\n"), "NAME")
		if sorted(have) == sorted(want) {
			continue // what sbx says of the network may come before what the command does
		}
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(want), "\\.\\.\\.\n", "(.*\n)*") + "$"
		if !regexp.MustCompile(pattern).MatchString(have) {
			t.Errorf("$ %s\nprints\n%sand the page says\n%s", s.command, have, want)
		}
	}
}

// sorted is text with its lines in order.
func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestWithoutRoot has sbx already, and not from the clone that the page begins with.
func TestWithoutRoot(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tun, sbxtest.Overlay, sbxtest.Tool("bash"))
	sbxtest.Leftovers(t)
	list := steps(t, "no-root.md")
	for _, command := range []string{"git clone https://github.com/sbx-sandbox/sbx && cd sbx && make build", "export PATH=$PWD/bin:$PATH"} {
		if list[0].command != command || list[0].prints != nil {
			t.Fatalf("the page begins with %q", list[0])
		}
		list = list[1:]
	}
	do(t, world.New(t), list)
}

func TestEditorOrAgent(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("bash"), sbxtest.Tool("git"))
	sbxtest.Leftovers(t)
	w := world.New(t)
	w.Write(t, w.Home+"/.gitconfig", "[user]\n\tname = You\n\temail = you@example.org\n")
	w.Write(t, w.Home+"/.ssh/id_demo", "a key\n") // of the first page
	do(t, w, steps(t, "editor-or-agent.md"))
}
