package projects

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// refuse puts the site on a host that refuses user namespaces; the profiles may do
// without.
func (s *site) refuse(t *testing.T) {
	t.Helper()
	sbxtest.Require(t, sbxtest.Landlock, sbxtest.Tool("unshare"), sbxtest.Tool("setpriv"))
	s.refused = true
}

// TestBareGo builds and tests with Go where the host refuses user namespaces:
// the module cache is read, the build cache is the sandbox's own.
func TestBareGo(t *testing.T) {
	s, profile := goSite(t, "pid")
	s.refuse(t)
	sums, err := os.ReadFile(sbxtest.Checkout(t) + "/go.sum")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(sbxtest.Checkout(t) + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`golang.org/x/sys v\S+`).Find(mod)
	language := regexp.MustCompile(`(?m)^go \S+`).Find(mod)
	s.Write(t, s.Project+"/go.mod", "module example.com/pid\n\n"+string(language)+"\n\nrequire "+string(version)+"\n")
	s.Write(t, s.Project+"/go.sum", string(sums))
	s.Write(t, s.Project+"/main.go", "package main\n\nimport \"golang.org/x/sys/unix\"\n\nfunc main() { println(\"pid\", pid()) }\n\nfunc pid() int { return unix.Getpid() }\n")
	s.Write(t, s.Project+"/main_test.go", "package main\n\nimport \"testing\"\n\nfunc TestPid(t *testing.T) {\n\tif pid() < 2 {\n\t\tt.Error(pid())\n\t}\n}\n")
	s.Write(t, s.Project+"/.gitignore", "/pid\n")
	s.commit(t)
	s.warm(t)
	s.untouched(t)
	s.must(t, s.script(t, profile, `go build
./pid
go test ./...
case $(go env GOCACHE) in */sbx-private-*) echo own cache;; esac`), "pid ", "ok", "own cache", "this host refuses user namespaces")
	s.fails(t, s.script(t, profile, `touch "$(go env GOMODCACHE)/new"`), "ermission denied")
	s.status(t, "pid")
	s.blind(t, profile, "go/pkg/mod")
}

// TestBareMake configures, builds, tests and installs a C project there.
func TestBareMake(t *testing.T) {
	s := newSite(t, "c", "gcc", "make")
	s.refuse(t)
	s.commit(t)
	s.untouched(t)
	s.setenv("CFLAGS=-O1 -g", "MAKEFLAGS=-j4")
	s.must(t, s.sandboxed(t, "make", "./configure", "--prefix=/usr"), "configured.")
	r := s.script(t, "make", `make all install test_kv test_threads DESTDIR=stage
for t in test_kv test_threads; do LD_LIBRARY_PATH=. ./$t; echo ok $t; done`)
	s.must(t, r, "ok test_kv", "ok test_threads")
	// This one wants what is lost: a home as in /etc/passwd, shared memory, a loopback.
	s.fails(t, s.script(t, "make", "make test_process; LD_LIBRARY_PATH=. ./test_process"), "Assertion")
	s.must(t, s.outside(t, "sh", "-ec", "stage/usr/bin/kv /dev/null get x || test $? = 1"))
	s.fails(t, s.sandboxed(t, "make", "make", "install"), "ermission denied")
	s.blind(t, "make")
}

// TestBareTrigger: what is not read-only without mounts is reported.
func TestBareTrigger(t *testing.T) {
	s := newSite(t, "trigger")
	s.refuse(t)
	s.Write(t, s.Project+"/.envrc", "echo mine\n")
	s.commit(t)
	r := s.script(t, "build", "echo evil >>.envrc; echo evil >.git/hooks/post-checkout")
	if r.Code != 0 || !strings.Contains(r.Err, ".envrc") || !strings.Contains(r.Err, "changed  .git/hooks") {
		t.Errorf("status %d; %s", r.Code, r.Err)
	}
	r = s.outside(t, world.Refused(s.Sbx, "explain", "--set", "security.fallback=landlock", "build")...)
	s.must(t, r, "can be written: "+s.Project+"/.envrc, "+s.Project+"/.git")
}
