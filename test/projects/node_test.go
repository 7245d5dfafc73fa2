package projects

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// fixtures are the packages of a registry of the test's own: a plain one, one
// with an install script, and one with a native part.
var fixtures = map[string]map[string]string{
	"sbx-fixture-plural": {
		"package.json": `{"name": "sbx-fixture-plural", "version": "1.0.0", "main": "index.js", "bin": {"plural": "cli.js"}}`,
		"index.js":     "module.exports = (word) => word + 's';\n",
		"cli.js":       "#!/usr/bin/env node\nconsole.log(require('./index.js')(process.argv[2]));\n",
	},
	"sbx-fixture-stamp": {
		"package.json": `{"name": "sbx-fixture-stamp", "version": "1.0.0", "main": "stamp.js", "scripts": {"postinstall": "node install.js"}}`,
		"install.js":   "require('fs').writeFileSync('stamp.js', 'module.exports = \"stamped by postinstall\";');\n",
		// An install script is the first to steal; see TestNode.
		"thief.js": "const fs = require('fs'); try { fs.readFileSync(process.env.HOME + '/.npmrc'); } catch (e) { process.exit(0); } process.exit(9);\n",
	},
	"sbx-fixture-native": {
		"package.json": `{"name": "sbx-fixture-native", "version": "1.0.0", "main": "index.js", "gypfile": true}`,
		"binding.gyp":  `{"targets": [{"target_name": "answer", "sources": ["answer.c"]}]}`,
		"index.js":     "module.exports = require('./build/Release/answer.node');\n",
		"answer.c": `#include <node_api.h>

static napi_value answer(napi_env env, napi_callback_info info)
{
	napi_value v;
	(void)info;
	napi_create_int32(env, 42, &v);
	return v;
}

NAPI_MODULE_INIT()
{
	napi_value f;
	napi_create_function(env, "answer", NAPI_AUTO_LENGTH, answer, NULL, &f);
	return f;
}
`,
	},
}

// registry serves the fixtures as npm's registry would, on loopback.
func registry(t *testing.T) *httptest.Server {
	t.Helper()
	tarballs := map[string][]byte{}
	for name, files := range fixtures {
		tarballs[name] = tarball(t, "package/", files)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, isFile := strings.Cut(strings.Trim(r.URL.Path, "/"), "/-/")
		ball, ok := tarballs[name]
		switch {
		case !ok:
			http.NotFound(w, r)
		case isFile:
			w.Header().Set("Cache-Control", "public, max-age=31557600")
			_, _ = w.Write(ball)
		default:
			sum := sha512.Sum512(ball)
			version := map[string]any{}
			if err := json.Unmarshal([]byte(fixtures[name]["package.json"]), &version); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			version["hasInstallScript"] = version["scripts"] != nil || version["gypfile"] != nil
			version["dist"] = map[string]any{
				"tarball":   "http://" + r.Host + "/" + name + "/-/" + name + "-1.0.0.tgz",
				"integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:]),
			}
			w.Header().Set("Cache-Control", "public, max-age=300")
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{
				"name": name, "dist-tags": map[string]string{"latest": "1.0.0"}, "versions": map[string]any{"1.0.0": version},
			})
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// tarball is a .tar.gz of files, each name with a prefix.
func tarball(t *testing.T, prefix string, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	gz := gzip.NewWriter(&out)
	tw := tar.NewWriter(gz)
	for name, text := range files {
		if err := tw.WriteHeader(&tar.Header{Name: prefix + name, Mode: 0o755, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// npmCaches are what the profile shows of npm's cache.
var npmCaches = []string{".npm/_cacache/content-v2", ".npm/_cacache/index-v5", ".cache/node-gyp"}

// fetched warms the cache outside, as a person would, and leaves a project
// whose packages are not installed yet.
func (s *site) fetched(t *testing.T, packages ...string) {
	t.Helper()
	server := registry(t)
	s.setenv("npm_config_registry="+server.URL, "npm_config_update_notifier=false", "npm_config_audit=false", "npm_config_fund=false")
	s.must(t, s.outside(t, append([]string{"npm", "install", "--ignore-scripts"}, packages...)...))
	s.must(t, s.outside(t, "rm", "-rf", "node_modules"))
	server.Close()
	s.setenv("npm_config_registry=")
	s.must(t, s.outside(t, "rm", "-rf", s.Home+"/.npm/_logs", s.Home+"/.npm/_update-notifier-last-checked"))
}

func TestNode(t *testing.T) {
	s := newSite(t, "node", "node", "npm")
	s.fetched(t)
	s.commit(t)
	s.untouched(t)

	s.must(t, s.script(t, "node", `npm ci --offline
npm test
npm run build
npx --no plural pear
node node_modules/sbx-fixture-stamp/thief.js`), "added 2 packages", "pass 5", "pears")
	// Without the flag as well: the profile says that there is no network.
	s.must(t, s.script(t, "node", "npm ci && cat dist/summary.txt"), "3 apples, 1 box")
	s.fails(t, s.sandboxed(t, "node", "npm", "install", "sbx-fixture-native"), "ENOTCACHED", "sbx-fixture-native")
	s.status(t, "dist/", "node_modules/")
	s.blind(t, "node", npmCaches...)
}

// TestNodeNative builds a package's native part with node-gyp, from headers in
// node-gyp's own cache.
func TestNodeNative(t *testing.T) {
	s := newSite(t, "node", "node", "npm", "gcc", "g++", "make", "python3")
	install := nodeGyp(t, s)
	s.fetched(t, "sbx-fixture-native")
	s.must(t, s.outside(t, "sh", "-ec", install))
	s.commit(t)
	s.untouched(t)
	s.must(t, s.script(t, "node", `npm ci --offline && node -p 'require("sbx-fixture-native")()'`), "42")
	s.status(t, "node_modules/")
	s.blind(t, "node", npmCaches...)
}

// nodeGyp is a script that puts node's headers into node-gyp's cache as node-gyp
// does after a download. Without headers the test is skipped.
func nodeGyp(t *testing.T, s *site) (install string) {
	t.Helper()
	r := s.outside(t, "node", "-p", `const fs = require('fs'), path = require('path');
const include = [path.dirname(path.dirname(process.execPath)) + '/include/node', '/usr/include/nodejs/src', '/usr/include/nodejs'].find(d => fs.existsSync(d + '/node_api.h'));
include && process.versions.node + ' ' + include`)
	s.must(t, r)
	version, include, ok := strings.Cut(strings.TrimSpace(r.Out), " ")
	if !ok {
		sbxtest.Require(t, sbxtest.Missing("node headers", "node_api.h is not installed"))
	}
	// Debian's npm comes without it unless what it recommends is installed.
	gyp := strings.TrimSpace(s.outside(t, "sh", "-c", `g=$(npm root -g); for d in "$g/npm/node_modules" "$g" /usr/share/nodejs; do
if [ -e "$d/node-gyp/package.json" ]; then echo "$d/node-gyp/package.json"; break; fi; done`).Out)
	if gyp == "" {
		sbxtest.Require(t, sbxtest.Missing("node-gyp", "npm came without it"))
	}
	return `root=` + gyp + `
dir=$HOME/.cache/node-gyp/` + version + `
mkdir -p "$dir/include"
ln -s ` + include + ` "$dir/include/node"
node -p 'require(process.argv[1]).installVersion' "$root" >"$dir/installVersion"`
}

// TestNodeRegistry installs packages that many projects have, from the public
// registry that the caller's npm is set to: one with an install script that
// brings a program, and one with a prebuilt native part.
func TestNodeRegistry(t *testing.T) {
	s := newSite(t, "node-registry", "node", "npm")
	r := s.outside(t, "env", "HOME="+os.Getenv("HOME"), "npm", "config", "get", "registry")
	s.must(t, r)
	s.setenv("npm_config_registry="+strings.TrimSpace(r.Out), "npm_config_fetch_retries=0", "npm_config_audit=false", "npm_config_fund=false", "npm_config_update_notifier=false")
	s.Write(t, s.Project+"/package.json", `{"name": "popular", "private": true, "scripts": {"test": "node --test"}}`)
	s.Write(t, s.Project+"/.gitignore", "node_modules/\nout.js\n")
	s.Write(t, s.Project+"/in.ts", "export const n: number = 6 * 7;\n")
	s.Write(t, s.Project+"/popular.test.js", `const assert = require('node:assert');
const test = require('node:test');
test('versions', () => assert.ok(require('semver').gt('1.10.0', '1.9.0')));
test('masks', () => require('bufferutil').mask(Buffer.alloc(4), Buffer.alloc(4), Buffer.alloc(4), 0, 4));
test('bundles', () => require('esbuild').buildSync({ entryPoints: ['in.ts'], outfile: 'out.js' }));
`)
	if r := s.outside(t, "npm", "install", "--ignore-scripts", "semver@7", "bufferutil@4", "esbuild@0.21"); r.Code != 0 {
		sbxtest.Require(t, sbxtest.Missing("npm registry", firstLine(r.Err)))
	}
	s.must(t, s.outside(t, "rm", "-rf", "node_modules", s.Home+"/.npm/_logs"))
	s.setenv("npm_config_registry=")
	s.commit(t)
	s.untouched(t)
	s.must(t, s.script(t, "node", "npm ci --offline && npm test"), "pass 3")
	s.status(t, "node_modules/", "out.js")
	s.blind(t, "node", npmCaches...)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// TestNodeManager: an interpreter that a version manager put into the home.
func TestNodeManager(t *testing.T) {
	s := newSite(t, "node-manager", "node")
	for _, dir := range []string{".nvm/versions/node/v1/bin", ".volta/bin", ".local/share/fnm/node-versions/v1/installation/bin"} {
		t.Run(dir, func(t *testing.T) {
			bin := filepath.Join(s.Home, dir)
			s.must(t, s.outside(t, "sh", "-ec", `mkdir -p "$0" && cp "$(command -v node)" "$0/node"`, bin))
			path := s.getenv("PATH")
			s.setenv("PATH=" + bin + ":" + path)
			defer s.setenv("PATH=" + path)
			r := s.sandboxed(t, "node", "node", "-p", "process.execPath")
			s.must(t, r)
			if got := strings.TrimSpace(r.Out); got != bin+"/node" {
				t.Errorf("node is %s, want the one in %s", got, bin)
			}
			if world.Exists(bin + "/new") {
				t.Error("something was written to it")
			}
			s.fails(t, s.sandboxed(t, "node", "touch", bin+"/new"), "Read-only file system")
		})
	}
}
