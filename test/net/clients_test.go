package net

import (
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// client is a real program that fetches something.
type client struct {
	name   string
	tool   string // that it takes
	host   string // of whom it fetches
	rule   string
	files  map[string]string // of the project
	script string            // prints "fetched" at its end
}

// clients fetch by names, TLS and ssh, each from a service of its own.
func clients() []client {
	sum := sha512.Sum512(tarball)
	lock := fmt.Sprintf(`{"name":"project","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{
		"":{"name":"project","version":"1.0.0","dependencies":{"hello":"1.0.0"}},
		"node_modules/hello":{"version":"1.0.0","resolved":"https://npm.example/hello/-/hello-1.0.0.tgz","integrity":"sha512-%s"}}}`,
		base64.StdEncoding.EncodeToString(sum[:]))
	const ssh = `export GIT_SSH_COMMAND="ssh -i $PWD/key -o UserKnownHostsFile=$PWD/known -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
		git clone -q ssh://git@git.example/hello.git got && grep -q hello got/README && echo fetched`
	return []client{
		{
			name: "go mod download", tool: "go", host: "modules.example", rule: "modules.example:443",
			files: map[string]string{"go.mod": "module project\n\ngo 1.21\n\nrequire example.org/hello v1.0.0\n"},
			script: `export GOPROXY=https://modules.example GONOSUMDB='*' GOFLAGS=-modcacherw GOTOOLCHAIN=local GOMODCACHE=$PWD/mod GOCACHE=$PWD/cache SSL_CERT_FILE=$PWD/ca.pem
				PATH=$PATH:/usr/local/go/bin:/usr/lib/go/bin:/usr/lib/golang/bin; go mod download -x && test -f mod/example.org/hello@v1.0.0/hello.go && echo fetched`,
		},
		{
			name: "npm ci", tool: "npm", host: "npm.example", rule: "npm.example:443",
			files: map[string]string{"package.json": `{"name":"project","version":"1.0.0","dependencies":{"hello":"1.0.0"}}`, "package-lock.json": lock},
			script: `export npm_config_registry=https://npm.example/ npm_config_cafile=$PWD/ca.pem npm_config_fetch_retries=0 npm_config_update_notifier=false
				npm ci --no-audit --no-fund --ignore-scripts && test -f node_modules/hello/package.json && echo fetched`,
		},
		{
			name: "git clone by https", tool: "git", host: "git.example", rule: "https://git.example",
			script: `GIT_SSL_CAINFO=$PWD/ca.pem git clone -q https://git.example/hello.git got && grep -q hello got/README && echo fetched`,
		},
		{name: "git clone by ssh", tool: "ssh", host: "git.example", rule: "ssh://git.example", script: ssh},
		{
			name: "pip", tool: "pip3", host: "pypi.example", rule: "pypi.example:443",
			script: `PIP_CERT=$PWD/ca.pem PIP_RETRIES=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 \
				python3 -m pip install -q --index-url https://pypi.example/simple --target got hello && test -f got/hello.py && echo fetched`,
		},
		{name: "curl", tool: "curl", host: "web.example", rule: "web.example:443", script: `curl -sS --cacert ca.pem https://web.example/ | grep -q hello && echo fetched`},
		// This test's own program is linked statically, and resolves names by itself.
		{name: "a static program", tool: "sh", host: "web.example", rule: "web.example:443", script: `SSL_CERT_FILE=$PWD/ca.pem ` + insideFetch + `=https://web.example/ ./self && echo fetched`},
		{
			name: "java", tool: "java", host: "web.example", rule: "http://web.example",
			files:  map[string]string{"Fetch.java": `class Fetch { public static void main(String[] a) throws Exception { new java.net.URL("http://web.example/").openStream().readAllBytes(); } }`},
			script: `java -Xshare:auto -XX:TieredStopAtLevel=1 Fetch.java && echo fetched`,
		},
	}
}

// goTool is a Go that sandboxes see.
var goTool = func() sbxtest.Feature {
	for _, dir := range []string{"/usr/local/go", "/usr/lib/go", "/usr/lib/golang"} {
		if _, err := os.Stat(dir + "/bin/go"); err == nil {
			return sbxtest.Tool("sh")
		}
	}
	return sbxtest.Missing("go", "there is none below /usr")
}()

// TestClients: real clients fetch what they are to by names, where only their own
// service is allowed. Where nothing is they fail at once, and sbx says what was
// blocked and what to add.
func TestClients(t *testing.T) {
	sbxtest.Leftovers(t)
	withBackends(t, func(t *testing.T, _ person, set, _ string) {
		for _, c := range clients() {
			t.Run(c.name, func(t *testing.T) {
				if c.tool == "go" {
					sbxtest.Require(t, goTool)
				} else {
					sbxtest.Require(t, sbxtest.Tool(c.tool))
				}
				p := at(t)
				p.equip(c.files)
				got := p.run(p.profile(set+fmt.Sprintf("allow = [%q]", c.rule)), c.script)
				if !strings.HasSuffix(got.Out, "fetched\n") || got.Code != 0 {
					t.Errorf("allowed: %+v", got)
				}
				p = at(t)
				p.equip(c.files)
				begun := time.Now()
				got = p.run(p.profile(set), c.script)
				if got.Code == 0 || strings.Contains(got.Out, "fetched") {
					t.Errorf("with nothing allowed: %+v", got)
				}
				if took := time.Since(begun); took > 20*time.Second {
					t.Errorf("it took %v to fail", took)
				}
				if want := "or --allow " + c.host; strings.Count(got.Err, want+"\n") != 1 {
					t.Errorf("with nothing allowed nobody says %q: %s", want, got.Err)
				}
			})
		}
	})
}

// equip puts what clients need into the project.
func (p person) equip(files map[string]string) {
	p.t.Helper()
	for name, text := range files {
		p.Write(p.t, p.Work+"/"+name, text)
	}
	for name, text := range map[string]string{"ca.pem": string(authority), "key": string(clientKey), "known": hostKey} {
		p.Write(p.t, p.Work+"/"+name, text)
	}
	if err := os.Chmod(p.Work+"/key", 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Link("/proc/self/exe", p.Work+"/self"); err == nil {
		return
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(p.Work+"/self", self, 0o755)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}
