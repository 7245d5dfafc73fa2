package projects

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// wrapped wraps a program with the registry that it is set to, and puts the shims
// first in PATH.
func (s *site) wrapped(t *testing.T, program string, flags ...string) {
	t.Helper()
	args := append([]string{s.Sbx, "wrap", "install", "--registry"}, flags...)
	s.must(t, s.outside(t, append(args, program)...), "@host:")
	s.setenv("PATH=" + s.Home + "/.local/share/sbx/shims:" + s.getenv("PATH"))
}

// reachable is a script that says whether the registry can be reached, as the
// install script of a package would try it in the phase without a network.
const reachable = `try { require('child_process').execFileSync(process.execPath, ['-e', "fetch(process.env.npm_config_registry || 'http://host.sbx.internal').then(() => process.exit(0), () => process.exit(7))"]); require('fs').writeFileSync('reached', ''); } catch (e) {}
`

// TestFetchedNode: npm, pnpm and both kinds of yarn fetch in one phase, from a
// registry on the host's loopback that they are set to, and run the scripts of
// packages in the next, which reaches nobody.
func TestFetchedNode(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS)
	for _, tt := range []struct {
		name    string
		program string
		from    string // where test/editors/install.sh puts it
		more    string // of package.json
	}{
		{"npm", "npm", "", ""},
		{"pnpm", "pnpm", "managers", `, "pnpm": {"onlyBuiltDependencies": ["sbx-fixture-stamp"]}`},
		{"yarn 1", "yarn", "managers", ""},
		{"yarn", "yarn", "yarn", `, "dependenciesMeta": {"sbx-fixture-stamp": {"built": true}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, "fetched", "node", "npm")
			if tt.from != "" {
				s.manager(t, tt.from, tt.program)
			}
			server := registry(t)
			s.setenv("npm_config_registry="+server.URL, "npm_config_update_notifier=false", "npm_config_audit=false", "npm_config_fund=false",
				"YARN_NPM_REGISTRY_SERVER="+server.URL, "YARN_REGISTRY="+server.URL)
			s.Write(t, s.Project+"/package.json", `{"name": "fetched", "private": true, "scripts": {"postinstall": "node reach.js; echo own >own"},
  "dependencies": {"sbx-fixture-plural": "1.0.0", "sbx-fixture-stamp": "1.0.0"}`+tt.more+"}")
			s.Write(t, s.Project+"/reach.js", reachable)
			if tt.name == "yarn" {
				s.Write(t, s.Project+"/.yarnrc.yml", "nodeLinker: node-modules\nenableScripts: true\nnpmMinimalAgeGate: 0\n")
				s.Write(t, s.Project+"/yarn.lock", "")
			}
			if tt.from == "" {
				s.wrapped(t, tt.program)
			} else {
				s.wrapped(t, tt.program, "--flag=--volume="+where(t, s, tt.program))
			}
			s.must(t, s.outside(t, tt.program, "install"))
			server.Close()
			s.must(t, s.outside(t, "node", "-p", `require('sbx-fixture-plural')('pear') + ' ' + require('sbx-fixture-stamp')`), "pears stamped by postinstall")
			if !world.Exists(s.Project + "/own") {
				t.Error("the project's own script did not run")
			}
			if world.Exists(s.Project + "/reached") {
				t.Error("a script reached the registry")
			}
		})
	}
}

// manager puts a package manager on the person's PATH.
func (s *site) manager(t *testing.T, from, program string) {
	t.Helper()
	cache := os.Getenv("SBX_TEST_SERVERS")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(dir, "sbx-test")
	}
	bin := filepath.Join(cache, from, "node_modules/.bin")
	if !world.Exists(filepath.Join(bin, program)) {
		sbxtest.Require(t, sbxtest.Missing(program, "test/editors/install.sh has not put it into "+bin))
	}
	s.setenv("PATH=" + bin + ":" + s.getenv("PATH"))
}

// where is the directory of packages that a program comes from.
func where(t *testing.T, s *site, program string) string {
	t.Helper()
	r := s.outside(t, "sh", "-c", `readlink -f "$(command -v "$0")"`, program)
	s.must(t, r)
	path, _, _ := strings.Cut(strings.TrimSpace(r.Out), "/node_modules/")
	return path
}

// sdist is a package of Python's that has a module with one word in it.
func sdist(t *testing.T, name string) []byte {
	t.Helper()
	return tarball(t, name+"-1.0/", map[string]string{
		"setup.py":   "from setuptools import setup\nsetup(name='" + name + "', version='1.0', py_modules=['" + name + "'])\n",
		"PKG-INFO":   "Metadata-Version: 1.0\nName: " + name + "\nVersion: 1.0\n",
		name + ".py": "word = 'fetched'\n",
	})
}

// TestFetchedPython: pip fetches from the index that it is set to, and installs
// from what it fetched, without one.
func TestFetchedPython(t *testing.T) {
	s := newSite(t, "fetched-python", "python3")
	for _, module := range []string{"ensurepip", "pip", "setuptools", "wheel"} {
		if r := s.outside(t, "python3", "-c", "import "+module); r.Code != 0 {
			sbxtest.Require(t, sbxtest.Missing("python3 "+module, "python3 has no module "+module))
		}
	}
	const name = "sbx_fixture_word"
	ball := sdist(t, name)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/simple/sbx-fixture-word"):
			fmt.Fprintf(w, "<!DOCTYPE html><a href=\"/files/%[1]s-1.0.tar.gz\">%[1]s-1.0.tar.gz</a>", name)
		case strings.HasPrefix(r.URL.Path, "/files/"):
			_, _ = w.Write(ball)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.must(t, s.outside(t, "python3", "-m", "venv", "--system-site-packages", ".venv"))
	s.setenv("PATH="+s.Project+"/.venv/bin:"+s.getenv("PATH"), "VIRTUAL_ENV="+s.Project+"/.venv", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_BUILD_ISOLATION=0")
	s.Write(t, s.Home+"/.config/pip/pip.conf", "[global]\nindex-url = "+server.URL+"/simple\n")
	s.wrapped(t, "pip")
	s.must(t, s.outside(t, "pip", "install", "sbx-fixture-word"))
	server.Close()
	s.must(t, s.outside(t, ".venv/bin/python", "-c", "import "+name+" as w; print(w.word)"), "fetched")
}

// TestFetchedRust: cargo fetches crates from the registry that its settings name in
// place of the usual one, and builds them without.
func TestFetchedRust(t *testing.T) {
	s := newSite(t, "fetched-rust", "cargo", "gcc")
	version := s.outside(t, "cargo", "--version")
	var minor int
	if _, err := fmt.Sscanf(version.Out, "cargo 1.%d", &minor); err == nil && minor < 68 {
		sbxtest.Require(t, sbxtest.Missing("sparse registries", firstLine(version.Out)))
	}
	if own := os.Getenv("HOME"); world.Exists(own + "/.rustup") {
		s.must(t, s.outside(t, "ln", "-s", own+"/.rustup", s.Home+"/.rustup"))
	}
	crate := tarball(t, "word-1.0.0/", map[string]string{
		"Cargo.toml": "[package]\nname = \"word\"\nversion = \"1.0.0\"\nedition = \"2021\"\nbuild = \"build.rs\"\n",
		"build.rs":   "use std::net::TcpStream;\nfn main() {\n    let to = std::env::var(\"REGISTRY\").unwrap_or_default();\n    if TcpStream::connect(to).is_ok() {\n        panic!(\"the registry was reached\");\n    }\n}\n",
		"src/lib.rs": "pub fn word() -> &'static str {\n    \"fetched\"\n}\n",
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/index/config.json":
			fmt.Fprintf(w, `{"dl": "http://%s/dl"}`, r.Host)
		case "/index/wo/rd/word":
			_ = json.NewEncoder(w).Encode(map[string]any{"name": "word", "vers": "1.0.0", "deps": []any{}, "cksum": fmt.Sprintf("%x", sha256.Sum256(crate)), "features": map[string]any{}, "yanked": false})
		case "/dl/word/1.0.0/download":
			_, _ = w.Write(crate)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	port := server.URL[strings.LastIndexByte(server.URL, ':')+1:]
	s.Write(t, filepath.Join(s.Home, ".cargo/config.toml"),
		"[source.crates-io]\nreplace-with = \"near\"\n[source.near]\nregistry = \"sparse+http://host.sbx.internal:"+port+"/index/\"\n")
	s.Write(t, s.Project+"/Cargo.toml", "[package]\nname = \"fetched\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[dependencies]\nword = \"1\"\n")
	s.Write(t, s.Project+"/src/main.rs", "fn main() {\n    println!(\"{}\", word::word());\n}\n")
	s.wrapped(t, "cargo", "--flag=--env=REGISTRY=host.sbx.internal:"+port)
	s.must(t, s.outside(t, "cargo", "fetch"))
	s.must(t, s.outside(t, "cargo", "build"))
	s.must(t, s.outside(t, "target/debug/fetched"), "fetched")
}
