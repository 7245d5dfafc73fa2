package projects

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// words are the sources of a package that the project depends on.
var words = map[string]string{
	"pyproject.toml": `[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "sbx-fixture-words"
version = "1.0"

[tool.setuptools]
py-modules = ["sbx_fixture_words"]
`,
	"sbx_fixture_words.py": "words = {'hello': 'hello'}\n",
}

// pythonSite is a site with the Python that is on the caller's PATH, if that is
// the system's, else the system's own. The test is skipped unless it can make
// virtual environments and wheels without a network.
func pythonSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, "python", "python3")
	s.setenv("PIP_DISABLE_PIP_VERSION_CHECK=1")
	for module, why := range map[string]string{"ensurepip": "venv", "pip": "pip", "setuptools": "setuptools", "wheel": "wheel"} {
		if r := s.outside(t, "python3", "-c", "import "+module); r.Code != 0 {
			sbxtest.Require(t, sbxtest.Missing("python3 "+why, "python3 has no module "+module))
		}
	}
	return s
}

// wheel makes the fixture's wheel outside, in dir.
func (s *site) wheel(t *testing.T, dir string) {
	t.Helper()
	source := filepath.Join(s.Home, "words-source")
	for name, text := range words {
		s.Write(t, filepath.Join(source, name), text)
	}
	s.must(t, s.outside(t, "python3", "-m", "pip", "-q", "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir", "-w", dir, source))
	s.must(t, s.outside(t, "rm", "-rf", source))
}

// TestPython makes a virtual environment, builds the project into it beside a
// wheel that was fetched before, and runs the tests and the installed program.
func TestPython(t *testing.T) {
	s := pythonSite(t)
	s.wheel(t, filepath.Join(s.Project, "wheels"))
	s.commit(t)
	s.untouched(t)
	s.must(t, s.script(t, "python", `python3 -m venv --system-site-packages .venv
. .venv/bin/activate
pip install --no-index --find-links wheels --no-build-isolation .
python -m unittest discover -s tests
greet you
python -m pip wheel -q --no-index --find-links wheels --no-build-isolation -w dist .
deactivate
python3 -m venv --clear .venv # one of its own, as most have
.venv/bin/pip install --no-index --find-links wheels dist/greeter-1.0-py3-none-any.whl
.venv/bin/greet you`), "Successfully installed greeter-1.0", "OK", "hello, you")
	// The environment works outside as well: paths are the same.
	s.must(t, s.outside(t, ".venv/bin/greet", "me"), "hello, me")
	s.fails(t, s.sandboxed(t, "python", ".venv/bin/pip", "install", "sbx-fixture-nowhere"), "sbx-fixture-nowhere")
	s.status(t, ".venv/", "build/", "dist/", "src/greeter.egg-info/", "tests/__pycache__/")
	s.blind(t, "python", ".cache/pip")
}

// TestPythonCache: what pip has downloaded before is taken from its cache. Of
// servers without TLS it keeps only what the trusted ones sent.
func TestPythonCache(t *testing.T) {
	s := pythonSite(t)
	dir := filepath.Join(s.Home, "served")
	s.wheel(t, dir)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=365000000, immutable, public") // as the public index's files
		http.FileServer(http.Dir(dir)).ServeHTTP(w, r)
	}))
	defer server.Close()
	wheels, err := filepath.Glob(dir + "/*.whl")
	if err != nil || len(wheels) != 1 {
		t.Fatal(wheels, err)
	}
	requirement := "sbx-fixture-words @ " + server.URL + "/" + filepath.Base(wheels[0])
	s.must(t, s.outside(t, "python3", "-m", "pip", "-q", "download", "--trusted-host", "127.0.0.1", "--no-deps", "-d", s.Home+"/downloaded", requirement))
	server.Close()
	s.commit(t)
	s.untouched(t)
	s.must(t, s.script(t, "python", `python3 -m venv .venv && .venv/bin/pip install --trusted-host 127.0.0.1 --no-deps "`+requirement+`"`), "Using cached", "Successfully installed")
	s.status(t, ".venv/")
}

// TestPythonManager: interpreters and tools that version managers put into the
// home, found through PATH.
func TestPythonManager(t *testing.T) {
	s := newSite(t, "python-manager", "python3")
	for _, dir := range []string{".pyenv/versions/3.0.0/bin", ".local/share/uv/python/cpython/bin", ".local/bin"} {
		t.Run(dir, func(t *testing.T) {
			bin := filepath.Join(s.Home, dir)
			s.must(t, s.outside(t, "sh", "-ec", `mkdir -p "$0" && cp -L "$(command -v python3)" "$0/python3"`, bin))
			path := s.getenv("PATH")
			s.setenv("PATH=" + bin + ":" + path)
			defer s.setenv("PATH=" + path)
			r := s.sandboxed(t, "python", "python3", "-c", "import sys, ssl; print(sys.executable)")
			s.must(t, r)
			if got := strings.TrimSpace(r.Out); got != bin+"/python3" {
				t.Errorf("python3 is %s, want the one in %s", got, bin)
			}
			s.fails(t, s.sandboxed(t, "python", "touch", bin+"/new"), "Read-only file system")
		})
	}
}

// TestPyenv uses the caller's own pyenv with its shims, where there is one.
func TestPyenv(t *testing.T) {
	s := newSite(t, "pyenv")
	own := filepath.Join(os.Getenv("HOME"), ".pyenv")
	if !world.Exists(own + "/shims/python3") {
		sbxtest.Require(t, sbxtest.Missing("pyenv", "the account has no pyenv"))
	}
	// Its shims name the real home.
	s.setenv("HOME="+os.Getenv("HOME"), "PATH="+own+"/shims:"+s.getenv("PATH"))
	s.must(t, s.script(t, "python", `python3 -c 'import sys, ssl; print(sys.prefix)'
python3 -m venv .venv && .venv/bin/python -c 'import sqlite3'`), "/.pyenv/versions/")
}
