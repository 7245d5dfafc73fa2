package projects

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestTools: what people work with, beside the languages of the other tests,
// does under build what it is there for. Each script of testdata/tools says in
// its first line which programs it needs, and fails at the first thing that
// isn't as it should be. The control is the same script in no sandbox.
func TestTools(t *testing.T) {
	s := newSite(t, "tools", "bash", "timeout")
	s.setenv("CCACHE_DIR=" + filepath.Join(s.Project, ".ccache")) // meson uses ccache where it is
	s.untouched(t)
	scripts, err := filepath.Glob(filepath.Join(s.Project, "*.sh"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".sh"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(text), "\n")
			needs, ok := strings.CutPrefix(first, "# needs: ")
			if !ok {
				t.Fatalf("%s does not begin with what it needs", file)
			}
			for _, tool := range strings.Fields(needs) {
				sbxtest.Require(t, sbxtest.Tool(tool))
			}
			// In a directory of its own each time, with what it wrote before gone.
			trial := []string{"timeout", "100", "bash", "-euxo", "pipefail", "-c", `rm -rf trial; mkdir trial; cd trial; . "$0"; echo "came to the"" end"`, file}
			s.must(t, s.outside(t, trial...), "came to the end")
			s.must(t, s.sandboxed(t, "build", trial...), "came to the end")
		})
	}
}

// TestRefused: what does not work inside says so at once, and works with the
// key that docs/PROFILES.md names for it. The control is that it works outside,
// but for what takes rights the test's account may not have.
func TestRefused(t *testing.T) {
	s := newSite(t, "refused", "python3")
	socket := func(family, kind, protocol int) []string {
		return []string{"python3", "-c", fmt.Sprintf("import socket; socket.socket(%d, %d, %d)", family, kind, protocol)}
	}
	sh := func(script string) []string { return []string{"sh", "-ec", script} }
	for _, tt := range []struct {
		name, tool string
		argv       []string
		says       string
		with       string // of a profile
		fenced     bool   // outside it may fail as well
	}{
		{"bubblewrap", "bwrap", sh("bwrap --ro-bind / / --dev /dev --ro-bind /proc /proc --unshare-all true"), "No permissions to create new namespace", "security.nested_userns = true", false},
		{"unshare", "unshare", sh("unshare -Urnm true"), "Operation not permitted", "security.nested_userns = true", false},
		{"a set-user-id file", "", sh("touch f; chmod u+s f"), "Operation not permitted", "security.seccomp = 'default'", false},
		{"a tree with a set-group-id directory", "", sh("rm -rf a b; mkdir -m 2755 a; cp -a a b"), "Operation not permitted", "security.seccomp = 'default'", false},
		{"lscpu", "lscpu", sh("lscpu"), "/sys/", "root.sys = 'ro'", false},
		{"dpkg", "dpkg", sh("dpkg -s dpkg"), "not installed", "mounts.'/var/lib/dpkg' = {}", false},
		{"a socket of udev's", "", socket(16, 2, 15), "Address family not supported", "security.seccomp_allow = ['socket']", false},
		{"sudo", "sudo", sh("sudo -n true"), "no new privileges", "", true},
		{"ping", "ping", sh("ping -c 1 127.0.0.1"), "Operation not permitted", "", true},
		{"perf", "perf", sh("perf stat true"), "No permission", "security.seccomp_allow = ['perf_event_open']", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.tool != "" {
				sbxtest.Require(t, sbxtest.Tool(tt.tool))
			}
			if free := s.outside(t, tt.argv...); !tt.fenced {
				s.must(t, free)
			}
			s.fails(t, s.sandboxed(t, "build", tt.argv...), tt.says)
			if tt.with != "" && !tt.fenced {
				s.must(t, s.sandboxed(t, s.Profile(t, tt.with+"\n"), tt.argv...))
			}
		})
	}
}

// TestGoServes: the tests of a Go program that serves on the loopback, runs
// them side by side and starts children. They are built outside, with the
// build cache that is there; TestGo builds inside.
func TestGoServes(t *testing.T) {
	s, profile := goSite(t, "goserves")
	s.setenv("GOCACHE="+goEnv(t, "GOCACHE"), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOPROXY=off")
	s.must(t, s.outside(t, "go", "test", "-c", "-o", "served.test", "."))
	s.untouched(t)
	argv := []string{"./served.test", "-test.v", "-test.cpuprofile=cpu", "-test.memprofile=mem"}
	s.must(t, s.outside(t, argv...), "--- PASS: TestLoopback/19")
	s.must(t, s.sandboxed(t, profile, argv...), "--- PASS: TestLoopback/19", "--- PASS: TestChild")
	if !world.Exists(filepath.Join(s.Project, "cpu")) {
		t.Error("no profile was written")
	}
}
