// Package images takes images in, runs on them and gives them out again, beside
// the tools that others use for it: skopeo and umoci. What archives try to do to
// who unpacks them is in the corpus; that the same archive does it to a tool
// that takes it as it is, is the control.
package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// site is a person's home with no images yet.
type site struct {
	*world.World
}

func newSite(t *testing.T, tools ...string) *site {
	t.Helper()
	sbxtest.Leftovers(t)
	features := []sbxtest.Feature{sbxtest.UserNS, sbxtest.Overlay}
	for _, tool := range append(tools, "busybox") {
		features = append(features, sbxtest.Tool(tool))
	}
	sbxtest.Require(t, features...)
	s := &site{world.New(t)}
	// Files of subordinate ids are for the store to remove.
	t.Cleanup(func() {
		if got := s.sbx(t, "image", "prune", "--all"); got.Code != 0 {
			t.Errorf("removing all images: %s", got.Err)
		}
	})
	return s
}

func (s *site) sbx(t *testing.T, args ...string) world.Result {
	t.Helper()
	return s.Run(t, append([]string{s.Sbx}, args...)...)
}

// must is sbx, which has to succeed; it returns its standard output.
func (s *site) must(t *testing.T, args ...string) string {
	t.Helper()
	got := s.sbx(t, args...)
	if got.Code != 0 {
		t.Fatalf("sbx %q: status %d\n%s%s", args, got.Code, got.Out, got.Err)
	}
	return got.Out
}

// refused is sbx, which has to fail with all of these in its message.
func (s *site) refused(t *testing.T, want []string, args ...string) {
	t.Helper()
	got := s.sbx(t, args...)
	if got.Code == 0 {
		t.Errorf("sbx %q succeeded: %s", args, got.Out)
	}
	for _, w := range want {
		if !strings.Contains(got.Err, w) {
			t.Errorf("sbx %q: says nothing of %q: %s", args, w, got.Err)
		}
	}
}

// outside runs a command of the host's, which has to succeed.
func (s *site) outside(t *testing.T, argv ...string) string {
	t.Helper()
	got := s.Run(t, argv...)
	if got.Code != 0 {
		t.Fatalf("%q: status %d\n%s%s", argv, got.Code, got.Out, got.Err)
	}
	return got.Out
}

// applets are the programs of the images that tests make.
var applets = []string{"sh", "cat", "id", "ls", "echo", "env", "pwd", "touch", "sleep", "stat", "find", "readlink"}

// tree makes a root file system of busybox and returns its directory.
func (s *site) tree(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(s.Home, "tree")
	for _, d := range []string{"bin", "etc", "srv", "var/empty"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, a := range applets {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", a)); err != nil {
			t.Fatal(err)
		}
	}
	s.Write(t, filepath.Join(dir, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\napp:x:1234:2345:App:/srv:/bin/sh\n")
	s.Write(t, filepath.Join(dir, "etc/group"), "root:x:0:\nmakers:x:3456:\n")
	s.Write(t, filepath.Join(dir, "srv/marker"), "first\n")
	s.Write(t, filepath.Join(dir, "srv/gone"), "to be deleted\n")
	return dir
}

// entry is one of an archive.
type entry struct {
	tar.Header
	text string
}

// archive writes entries to a file and returns its path. Unlike tar(1) it writes
// whatever it is told.
func (s *site) archive(t *testing.T, name string, entries ...entry) string {
	t.Helper()
	var b bytes.Buffer
	var out io.Writer = &b
	var z *gzip.Writer
	if strings.HasSuffix(name, ".gz") {
		z = gzip.NewWriter(&b)
		out = z
	}
	w := tar.NewWriter(out)
	for _, e := range entries {
		h := e.Header
		h.Size = int64(len(e.text))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if z != nil {
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(s.Home, name)
	s.Write(t, path, b.String())
	return path
}

func file(name, text string) entry { return entry{tar.Header{Name: name}, text} }

func dir(name string) entry {
	return entry{tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}, ""}
}

// link is a link or another entry without contents.
func link(kind byte, name, to string) entry {
	return entry{tar.Header{Name: name, Typeflag: kind, Linkname: to}, ""}
}

// record is what the tests look at of `sbx image inspect`.
type record struct {
	ID     string
	Names  []string
	Layers []string
	IDs    struct{ Mode string }
	Owners bool
	Config struct {
		Env, Entrypoint, Cmd []string
		User                 string
	}
}

func (s *site) inspect(t *testing.T, name string) record {
	t.Helper()
	var x struct{ Images []record }
	if err := json.Unmarshal([]byte(s.must(t, "image", "inspect", name)), &x); err != nil || len(x.Images) != 1 {
		t.Fatalf("inspecting %s: %v, %d images", name, err, len(x.Images))
	}
	return x.Images[0]
}

// on runs a shell command on an image.
func (s *site) on(t *testing.T, image, script string, flags ...string) world.Result {
	t.Helper()
	args := append(append([]string{"run", "--image", image}, flags...), "--", "sh", "-c", script)
	return s.sbx(t, args...)
}

// same wants a result to be of status 0 and to print want.
func same(t *testing.T, what string, got world.Result, want string) {
	t.Helper()
	if got.Code != 0 || got.Out != want {
		t.Errorf("%s: status %d, %q, want %q; %s", what, got.Code, got.Out, want, got.Err)
	}
}

// layout makes an OCI layout of two layers by umoci: the second deletes a file,
// replaces one and hides what a directory held.
func (s *site) layout(t *testing.T) string {
	t.Helper()
	root := s.tree(t)
	at := filepath.Join(s.Home, "layout")
	first := filepath.Join(s.Home, "first.tar")
	s.outside(t, "tar", "-C", root, "--owner=0", "--group=0", "-cf", first, ".")
	second := s.archive(t, "second.tar",
		dir("srv"), file("srv/.wh.gone", ""), file("srv/marker", "second\n"),
		dir("var"), dir("var/empty"), file("var/empty/.wh..wh..opq", ""), file("var/empty/new", "new\n"))
	s.outside(t, "umoci", "init", "--layout", at)
	s.outside(t, "umoci", "new", "--image", at+":v1")
	for _, l := range []string{first, second} {
		s.outside(t, "umoci", "raw", "add-layer", "--image", at+":v1", l)
	}
	s.outside(t, "umoci", "config", "--image", at+":v1", "--config.env", "PATH=/bin", "--config.env", "COLOUR=blue",
		"--config.cmd", "cat", "--config.cmd", "marker", "--config.workingdir", "/srv", "--config.label", "made=here")
	return at
}

// images is the directory of images.
func (s *site) images() string { return filepath.Join(s.Home, ".local/share/sbx/images") }

// layers are the names of the layers' directories.
func (s *site) layers(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.images(), "storage/overlay"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		if len(e.Name()) == 64 {
			list = append(list, e.Name())
		}
	}
	return list
}

// requireRange skips where the account has no subordinate ids.
func requireRange(t *testing.T) {
	t.Helper()
	sbxtest.Require(t, sbxtest.Subuid)
}

// owned is a file of an id's, with a text that says its name.
func owned(name string, uid, gid int, mode int64) entry {
	return entry{tar.Header{Name: name, Uid: uid, Gid: gid, Mode: mode}, "text of " + name + "\n"}
}

func isMine(st os.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == os.Getuid()
}
