package projects

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// goSite is a site with Go on PATH and the modules of this module's go.sum in
// the person's module cache.
func goSite(t *testing.T, name string) (s *site, profile string) {
	t.Helper()
	s = newSite(t, name)
	s.Write(t, s.Home+"/.config/go/telemetry/mode", "off\n") // else the calls outside leave a process that writes there later
	root := strings.TrimSpace(s.outside(t, s.pathOf(t, "go"), "env", "GOROOT").Out)
	profile = "go"
	if !strings.HasPrefix(root, "/usr/") && !strings.HasPrefix(root, "/opt/") && !strings.HasPrefix(root, "/nix/") {
		profile = s.Profile(t, "extends = ['builtin:go']\n[mounts.'"+root+"']\n")
	}
	return s, profile
}

// warm fills the person's module cache for the project: from the caller's own
// cache, else from where the caller's go would get it.
func (s *site) warm(t *testing.T) {
	t.Helper()
	proxy := "file://" + filepath.Join(goEnv(t, "GOMODCACHE"), "cache/download") + "," + goEnv(t, "GOPROXY")
	s.setenv("GOPROXY="+proxy, "GOSUMDB="+goEnv(t, "GOSUMDB"), "GOFLAGS=-modcacherw") // so that it can be deleted
	s.must(t, s.outside(t, "go", "mod", "download"))
	s.setenv("GOFLAGS=", "GOPROXY=")
}

// goEnv is what the caller's own go says.
func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// TestGo builds this module's own checkout.
func TestGo(t *testing.T) {
	s, profile := goSite(t, "sbx")
	s.copy(t, sbxtest.Checkout(t))
	s.commit(t)
	s.warm(t)
	s.untouched(t)

	// In one sandbox: the build cache is its own and ends with it.
	s.must(t, s.script(t, profile, `go build ./cmd/sbx ./slirp/... ./overlay/upper
go vet ./profiles
go test -run 'TestBuiltin|TestParse' ./profiles
go build -o bin/ ./cmd/sbx
bin/sbx version
go version -m bin/sbx`), "ok", "vcs.revision=")
	s.fails(t, s.script(t, profile, `touch "$(go env GOMODCACHE)/new"`), "Read-only file system")
	s.must(t, s.outside(t, "test", "!", "-e", s.Home+"/.cache/go-build"))

	s.status(t, "bin/")
	s.blind(t, profile, "go/pkg/mod")
}

// TestGoMissingModule: what is not in the cache is named at once.
func TestGoMissingModule(t *testing.T) {
	s, profile := goSite(t, "missing")
	s.Write(t, s.Project+"/go.mod", "module example.com/missing\n\ngo 1.21\n\nrequire example.com/nowhere v1.2.3\n")
	s.Write(t, s.Project+"/go.sum", "example.com/nowhere v1.2.3 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nexample.com/nowhere v1.2.3/go.mod h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
	s.Write(t, s.Project+"/main.go", "package main\n\nimport _ \"example.com/nowhere\"\n\nfunc main() {}\n")
	s.commit(t)
	s.untouched(t)
	s.fails(t, s.sandboxed(t, profile, "go", "build", "./..."), "example.com/nowhere v1.2.3", "GOPROXY=off")
	s.status(t)
}

// TestGoCgo: a C compiler, and the race detector, which maps memory where it
// wants to.
func TestGoCgo(t *testing.T) {
	s, profile := goSite(t, "cgo")
	sbxtest.Require(t, sbxtest.Tool("gcc"))
	s.Write(t, s.Project+"/go.mod", "module example.com/cgo\n\ngo 1.21\n")
	s.Write(t, s.Project+"/c.go", "package cgo\n\n// int twice(int n) { return 2 * n; }\nimport \"C\"\n\nfunc Twice(n int) int { return int(C.twice(C.int(n))) }\n")
	s.Write(t, s.Project+"/c_test.go", `package cgo

import "testing"

func TestTwice(t *testing.T) {
	done := make(chan int)
	go func() { done <- Twice(21) }()
	if got := <-done; got != 42 {
		t.Error(got)
	}
}
`)
	s.commit(t)
	s.untouched(t)
	s.setenv("CGO_ENABLED=1")
	s.must(t, s.sandboxed(t, profile, "go", "test", "-vet=off", "-race", "./..."), "ok")
	s.status(t)
}
