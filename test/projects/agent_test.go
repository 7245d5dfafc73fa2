package projects

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// agent is what a coding agent does in a project all day. Its messages are the
// ones that the test looks for.
const agent = `
git status --short
git log --oneline | grep import
grep -n 'return 2' src/twice.sh || true
sed -i 's/echo 3/echo 4/' src/twice.sh
printf '# notes\n' >NOTES.md
mkdir -p docs && cp NOTES.md docs/ && git mv -k README docs/README
sh test.sh
git diff | grep '+echo 4'
git checkout -q -b fix
git add -A
git -c user.name=Agent -c user.email=agent@example.com commit -qm 'twice: two times two is four'
git stash list; git show --stat | cat
git log -1 --format='by %an'
git worktree list; git config --get remote.origin.url || echo no remote
mkdir -p ~/.config/agent && echo "session 1" >>~/.config/agent/history
tmp=$(mktemp -d) && git clone -q . "$tmp/copy" && test -e "$tmp/copy/NOTES.md"
echo work done`

// thief is what it must not be able to do. Each line that is printed is a theft.
const thief = `
for f in "$@"; do if [ "$(cat "$f" 2>/dev/null)" ]; then echo "STOLEN $f"; fi; done # what is hidden is empty
for f in $WRITE; do
	mkdir -p "$(dirname "$f")" 2>/dev/null && echo evil 2>/dev/null >>"$f"
done
ls "$VICTIM" >/dev/null 2>&1 && [ "$(ls "$VICTIM" | grep -vx new)" ] && echo "STOLEN listing of $VICTIM"
for p in /proc/[0-9]*; do
	if tr '\0' '\n' <"$p/environ" 2>/dev/null | grep -q decoy-token; then echo "STOLEN environment of $p"; fi
done
env | grep -q decoy-token && echo "STOLEN variable"
if python3 - "$PORT" 2>/dev/null <<'END'
import socket, sys
socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2)
END
then echo "STOLEN the host's loopback"; fi
if git ls-remote "http://127.0.0.1:$PORT/x.git" >/dev/null 2>&1; then echo "STOLEN by git"; fi
echo theft tried`

// agentSite is a site with a small project, and an .env file in it.
func agentSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, "agent")
	s.Write(t, s.Project+"/README", "A project.\n")
	s.Write(t, s.Project+"/src/twice.sh", "echo 3\n")
	s.Write(t, s.Project+"/test.sh", "[ \"$(sh src/twice.sh)\" = 4 ] && echo tests pass\n")
	s.Write(t, s.Project+"/.gitignore", ".env\n")
	s.Write(t, s.Project+"/.env", "KEY=decoy-token\n")
	s.commit(t)
	return s
}

// homes makes the directory of persistent homes, so that it isn't new.
func (s *site) homes(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(s.Home, ".local/share/sbx/homes"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestAgent(t *testing.T) {
	s := agentSite(t)
	s.homes(t)
	s.untouched(t)
	s.must(t, s.script(t, "agent", agent), "tests pass", "by Agent", "work done")
	s.must(t, s.script(t, "agent", `cat ~/.config/agent/history`), "session 1") // its home is kept
	s.must(t, s.outside(t, "git", "log", "--format=%an %s", "main..fix"), "Agent twice: two times two is four")
	s.status(t, ".env")
	s.blind(t, "agent", ".config/agent")
}

// TestAgentTheft: secrets, other projects, other processes, the network and
// what the person's login runs. The control is that the same script outside
// gets at all of them.
func TestAgentTheft(t *testing.T) {
	s := agentSite(t)
	sbxtest.Require(t, sbxtest.Tool("python3"))
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.setenv("AGENT_TOKEN=decoy-token")
	var files []string
	for _, f := range append(append([]string{}, secrets...), plain...) {
		files = append(files, filepath.Join(s.Home, f))
	}
	files = append(files, s.Victim+"/key", s.Project+"/.env")
	written := []string{".bashrc", ".ssh/authorized_keys", ".config/autostart/x.desktop", "victim/new"}
	script := fmt.Sprintf("VICTIM=%s PORT=%s WRITE='%s'\n%s", s.Victim, port, s.Home+"/"+strings.Join(written, " "+s.Home+"/"), thief)

	s.homes(t)
	s.untouched(t)
	r := s.sandboxed(t, "agent", append([]string{"/bin/sh", "-c", script, "thief"}, files...)...)
	s.must(t, r, "theft tried")
	for line := range strings.Lines(r.Out) {
		if strings.HasPrefix(line, "STOLEN") {
			t.Errorf("inside: %s", line)
		}
	}
	for _, f := range written {
		s.must(t, s.outside(t, "test", "!", "-e", filepath.Join(s.Home, f)))
	}

	control := strings.Replace(script, "for f in $WRITE", "for f in", 1) // but it writes nothing
	r = s.outside(t, append([]string{"/bin/sh", "-c", control, "thief"}, files...)...)
	for _, f := range append(files, "environment of", "variable", "the host's loopback", "listing of") {
		if !strings.Contains(r.Out, "STOLEN "+f) {
			t.Errorf("the control outside does not get at %s: %s", f, r.Out)
		}
	}
}

// TestAgentName: git's settings are not the agent's unless they are shared,
// since they may hold credentials; shared, commits have the person's name.
func TestAgentName(t *testing.T) {
	s := agentSite(t)
	shared := s.Profile(t, "extends = ['builtin:agent']\n[home]\nshare = ['~/.gitconfig']\n")
	s.homes(t)
	s.untouched(t)
	s.fails(t, s.script(t, "agent", "git commit --allow-empty -m x"), "tell me who you are")
	s.must(t, s.script(t, shared, "git commit -q --allow-empty -m y && git log -1 --format='by %an'"), "by Decoy Person")
	s.fails(t, s.script(t, shared, "git config --global user.name Agent"))
	// Its own settings stay in its own home.
	s.must(t, s.script(t, "agent", "git config --global user.name Agent; git config --global user.email agent@example.com"))
	s.must(t, s.script(t, "agent", "git commit -q --allow-empty -m z && git log -1 --format='by %an'"), "by Agent")
}
