package projects

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// cached is a project with a module that it needs in a volume, the module cache of
// many projects. Of that cache go verifies nothing when it builds.
type cached struct {
	*site
	profile, proxy string
}

const module = "example.com/lib"

func newCached(t *testing.T) *cached {
	t.Helper()
	sbxtest.Require(t, sbxtest.Overlay)
	s, profile := goSite(t, "cached")
	c := &cached{s, profile, filepath.Join(s.Home, "proxy")}
	c.publish(t, "v1.0.0")
	c.publish(t, "v1.1.0")
	s.Write(t, s.Project+"/go.mod", "module example.com/cached\n\ngo 1.21\n\nrequire "+module+" v1.0.0\n")
	s.Write(t, s.Project+"/main.go", "package main\n\nimport \""+module+"\"\n\nfunc main() { lib.Do() }\n")
	s.commit(t)
	c.must(t, c.run(t, "rw", nil, "go mod download -modcacherw "+module+"@v1.0.0"))
	return c
}

// publish puts a version of the module where go gets it.
func (c *cached) publish(t *testing.T, version string) {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range map[string]string{"go.mod": "module " + module + "\n", "lib.go": "package lib\n\n// Do is good.\nfunc Do() {}\n"} {
		w, err := z.Create(module + "@" + version + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(c.proxy, module, "@v", version)
	c.Write(t, at+".zip", b.String())
	c.Write(t, at+".mod", "module "+module+"\n")
	c.Write(t, at+".info", `{"Version": "`+version+`"}`)
}

// run runs a script with the volume as the module cache, accessed as how.
func (c *cached) run(t *testing.T, how string, flags []string, script string) world.Result {
	t.Helper()
	argv := append([]string{c.Sbx, "run", "-q", "-v", "mods:/cache:" + how, "-v", c.proxy, "-e", "GOMODCACHE=/cache", "-e", "GOPROXY=file://" + c.proxy, "-e", "GONOSUMDB=*", "-e", "GOFLAGS=-mod=mod"}, flags...)
	return c.outside(t, append(argv, c.profile, "--", "/bin/sh", "-ec", script)...)
}

// used is the module as a build of somebody else's finds it.
func (c *cached) used(t *testing.T, how, version string) string {
	t.Helper()
	r := c.run(t, how, []string{"-e", "GOPROXY=off"}, "cat $(go list -m -f '{{.Dir}}' "+module+"@"+version+")/lib.go")
	return r.Out + r.Err
}

// volume is where its files are.
func (c *cached) volume() string { return filepath.Join(c.Home, ".local/share/sbx/volumes/mods") }

// state is all that the volume holds.
func (c *cached) state(t *testing.T) string {
	t.Helper()
	r := c.outside(t, "sh", "-ec", `cd "$0" && find . -printf '%P %y %m %s %T@\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum`, c.volume())
	if r.Code != 0 || !strings.Contains(r.Out, "lib.go") {
		t.Fatalf("the volume holds %s %s", r.Out, r.Err)
	}
	return r.Out
}

// poison is what an untrusted build does to the cache that it was given: it changes
// what is there, adds a version that nobody published and deletes locks. In
// the end it shows that for itself it worked.
const poison = `cd /cache
chmod -R u+w .
echo '// Do is evil.' >>example.com/lib@v1.0.0/lib.go
cp -r example.com/lib@v1.0.0 example.com/lib@v1.0.1
rm -f cache/download/example.com/lib/@v/v1.0.0.lock
ln -sfn /etc example.com/linked
rm -f cache/lock
cat example.com/lib@v1.0.1/lib.go
`

// TestPoisonedCache: an untrusted build uses the warm cache, and puts nothing into
// it for others. What a trusted one adds is taken over by apply.
func TestPoisonedCache(t *testing.T) {
	t.Run("control", func(t *testing.T) {
		c := newCached(t)
		if got := c.used(t, "ro", "v1.0.0"); !strings.Contains(got, "good") || strings.Contains(got, "evil") {
			t.Fatalf("before: %s", got)
		}
		c.must(t, c.run(t, "rw", nil, poison), "evil")
		if got := c.used(t, "ro", "v1.0.0"); !strings.Contains(got, "evil") {
			t.Errorf("with the cache writable the next build finds %s", got)
		}
	})
	on(t, func(t *testing.T, backend string) {
		c := newCached(t)
		l := c.trial(t, backend)
		flags := []string{"--overlay=it", "--set", "overlay.backend=" + backend}
		before, project := c.state(t), l.host(t)
		c.must(t, c.run(t, "overlay", flags, "go list -m -f '{{.Dir}}' "+module+"\n"+poison), "/cache/example.com/lib@v1.0.0", "evil")
		if now := c.state(t); now != before {
			t.Errorf("the cache was\n%s\nand is\n%s", before, now)
		}
		if now := l.host(t); now != project {
			t.Errorf("the project was\n%s\nand is\n%s", project, now)
		}
		for _, how := range []string{"ro", "rw", "overlay"} {
			if got := c.used(t, how, "v1.0.0"); !strings.Contains(got, "good") || strings.Contains(got, "evil") {
				t.Errorf("the next build, %s, finds %s", how, got)
			}
		}
		c.must(t, c.run(t, "overlay", flags, "cat /cache/example.com/lib@v1.0.0/lib.go"), "evil") // it has its own, still
		c.must(t, c.outside(t, c.Sbx, "diff", "it"), "M  example.com/lib@v1.0.0/lib.go", "A  example.com/linked")
		c.must(t, c.outside(t, c.Sbx, "discard", "it"))

		// What is wanted gets there.
		c.must(t, c.run(t, "overlay", flags, "go mod download -modcacherw "+module+"@v1.1.0"))
		if got := c.used(t, "ro", "v1.1.0"); strings.Contains(got, "good") {
			t.Errorf("before it is taken over, others find %s", got)
		}
		c.must(t, c.outside(t, c.Sbx, "apply", "it"))
		for _, version := range []string{"v1.0.0", "v1.1.0"} {
			if got := c.used(t, "ro", version); !strings.Contains(got, "good") {
				t.Errorf("after it was taken over, others find of %s %s", version, got)
			}
		}
		if err := os.Remove(filepath.Join(c.volume(), "example.com/lib@v1.1.0/lib.go")); err != nil {
			t.Error(err)
		}
		c.fails(t, c.run(t, "ro", nil, "touch /cache/x"), "Read-only file system")
	})
}
