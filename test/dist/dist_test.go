// Package dist puts the Debian package of this checkout on a clean Debian, in
// the guest of test/vm, has somebody without root use it, and takes it away.
package dist

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// person is the guest's user; the test runs as root.
const person = "dev"

// root runs a line of the shell as root, and wants it to succeed.
func root(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// try runs a line of bash as the person, in a login of theirs.
func try(line string) (string, error) {
	out, err := exec.Command("su", "-l", person, "-s", "/bin/bash", "-c", line).CombinedOutput()
	return string(out), err
}

// as runs such a line, and wants its output to hold every one of the texts.
func as(t *testing.T, line string, want ...string) string {
	t.Helper()
	out, err := try(line)
	if err != nil {
		t.Errorf("%s: %v\n%s", line, err, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			t.Errorf("%s: there is no %q in\n%s", line, text, out)
		}
	}
	return out
}

// not are places that change by themselves, and what dpkg and man keep.
var not = []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/mnt", "/var/log", "/var/cache", "/var/lib/dpkg", "/home/" + person}

// files are those of the machine, with their modes.
func files(t *testing.T) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case slices.Contains(not, path):
			return fs.SkipDir
		}
		list = append(list, d.Type().String()+" "+path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// less are the lines of a that b has not.
func less(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(line string) bool { _, found := slices.BinarySearch(b, line); return found })
}

func TestPackage(t *testing.T) {
	sbxtest.Require(t, sbxtest.Given("guest", "SBX_DEB"), sbxtest.Root)
	deb := os.Getenv("SBX_DEB")
	root(t, "rm -f /etc/dpkg/dpkg.cfg.d/*mmdebstrap*") // which leaves out documents and manual pages
	root(t, "rm -f /var/lib/man-db/auto-update")       // an index of all pages that each dpkg would make anew, and man does without
	if out, err := try("command -v sbx"); err == nil {
		t.Fatalf("sbx is here already: %s", out)
	}
	before := files(t)
	slices.Sort(before)

	root(t, "dpkg -i "+deb)
	if out := root(t, "dpkg -V sbx"); out != "" {
		t.Errorf("files are not as they are in the package:\n%s", out)
	}
	t.Run("used", used)
	t.Run("manual", manual)
	t.Run("completion", completion)
	t.Run("doctor", doctor)
	t.Run("upgraded", func(t *testing.T) { upgraded(t, deb) })

	root(t, "dpkg -P sbx")
	after := files(t)
	slices.Sort(after)
	if left := less(after, before); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	if gone := less(before, after); len(gone) > 0 {
		t.Errorf("taken away:\n%s", strings.Join(gone, "\n"))
	}
	if out, err := try("command -v sbx sbx-sh"); err == nil {
		t.Errorf("it is still here: %s", out)
	}
	if out, err := exec.Command("pgrep", "-l", "sbx").Output(); err == nil {
		t.Errorf("still running:\n%s", out)
	}
}

// used tries what a newcomer does, and each of the programs in libexec.
func used(t *testing.T) {
	as(t, "sbx version", "sbx ")
	as(t, "mkdir -p ~/project ~/.ssh && echo s3cret >~/.ssh/id && cat ~/.ssh/id", "s3cret") // the control
	as(t, "cd ~/project && sbx run -- sh -c 'echo inside && id -un && touch made' && ls", "inside\n", person+"\n", "made\n")
	if out, err := try("cd ~/project && sbx run -- cat /home/" + person + "/.ssh/id"); err == nil || strings.Contains(out, "s3cret") {
		t.Errorf("a secret was read: %v\n%s", err, out)
	}
	as(t, "cd ~/project && sbx-sh -c 'echo shell'", "shell")
	as(t, "cd ~/project && sbx run --network=user -- echo sbx-net", "sbx-net\n")
	as(t, "sbx image ls") // sbx-store
	as(t, "cd ~/project && sbx run --memory=64M -- echo sbx-scope", "sbx-scope\n")
	as(t, "cd ~/project && sbx up && sbx exec -- echo up && sbx down", "up\n")
	as(t, "cd ~/project && printf 'all:\\n\\t@echo made\\n' >Makefile && sbx wrap install sh && ~/.local/share/sbx/shims/sh -c 'echo wrapped' && sbx wrap rm --all", "wrapped\n")
}

func manual(t *testing.T) {
	sbxtest.Require(t, sbxtest.Tool("man"))
	as(t, "MANWIDTH=100 man sbx-run | cat", "SYNOPSIS", "sbx run [FLAGS]")
	as(t, "MANWIDTH=100 man sbx | cat", "run [FLAGS]", "doctor [FLAGS]")
	pages := strings.Fields(root(t, "dpkg -L sbx | grep '/man[1-8]/.'"))
	if len(pages) < 50 {
		t.Errorf("only %d pages: %v", len(pages), pages)
	}
}

func completion(t *testing.T) {
	sbxtest.Require(t, sbxtest.Tool("bash"))
	if _, err := os.Stat("/usr/share/bash-completion/bash_completion"); err != nil {
		sbxtest.Require(t, sbxtest.Tool("bash-completion"))
	}
	// As bash calls it: the file is loaded by the command's name, then its function.
	as(t, `. /usr/share/bash-completion/bash_completion
{ declare -F _comp_load >/dev/null && _comp_load sbx; } || __load_completion sbx
COMP_WORDS=(sbx doc); COMP_CWORD=1; COMP_LINE="sbx doc"; COMP_POINT=7
f=$(complete -p sbx | sed 's/.*-F \([^ ]*\).*/\1/'); $f sbx doc sbx; printf '%s\n' "${COMPREPLY[@]}"`, "doctor")
	for _, file := range []string{"/usr/share/zsh/vendor-completions/_sbx", "/usr/share/fish/vendor_completions.d/sbx.fish"} {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

func doctor(t *testing.T) {
	as(t, "sbx doctor")
	out := as(t, "sbx doctor --json")
	var said struct {
		Checks []struct{ Name, State string }
	}
	if err := json.Unmarshal([]byte(out), &said); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// upgraded installs it once more while a sandbox is up, where AppArmor has the
// rule that the package's profile is for.
func upgraded(t *testing.T, deb string) {
	as(t, "cd ~/project && sbx up")
	if _, err := os.Stat("/etc/apparmor.d/abi/4.0"); err != nil {
		root(t, "mkdir -p /etc/apparmor.d/abi && touch /etc/apparmor.d/abi/4.0")
		t.Cleanup(func() {
			root(t, "rm /etc/apparmor.d/abi/4.0; rmdir --ignore-fail-on-non-empty /etc/apparmor.d/abi /etc/apparmor.d")
		})
	}
	root(t, "dpkg -i "+deb+" && grep -q userns /etc/apparmor.d/sbx")
	as(t, "cd ~/project && sbx exec -- echo still && sbx down", "still\n")
}
