package attack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
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

// tarball writes an archive of headers; a file's text is its PAX record "text".
func tarball(t *testing.T, w *world.World, name string, headers ...tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range headers {
		text := h.Uname // which nothing else needs here
		h.Uname, h.Size = "", int64(len(text))
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.Home, name)
	w.Write(t, path, b.String())
	return path
}

// withProbe are the entries of an image that the probe is in.
func withProbe(t *testing.T, w *world.World) []tar.Header {
	t.Helper()
	text, err := os.ReadFile(w.Probe)
	if err != nil {
		t.Fatal(err)
	}
	return []tar.Header{{Name: "probe", Typeflag: tar.TypeReg, Uname: string(text)}}
}

// forget removes all images, whose files may be a subordinate id's.
func forget(t *testing.T, w *world.World) {
	t.Helper()
	if got := w.Run(t, w.Sbx, "image", "prune", "--all"); got.Code != 0 {
		t.Errorf("removing all images: %s", got.Err)
	}
}

// traversals are ways by which an archive writes to the directory v.
func traversals(v string) map[string][]tar.Header {
	up := strings.Repeat("../", 20) + v[1:]
	x := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Uname: "x"} }
	return map[string][]tar.Header{
		"dots":              {x(up + "/new")},
		"absolute":          {x(v + "/new")},
		"through a link":    {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: v}, x("l/new")},
		"through dots":      {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: up}, x("l/new")},
		"hard link":         {{Name: "h", Typeflag: tar.TypeLink, Linkname: v + "/key"}},
		"hard link by link": {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: v}, {Name: "h", Typeflag: tar.TypeLink, Linkname: "l/key"}},
	}
}

func imageRows() []row {
	needs := []sbxtest.Feature{sbxtest.Overlay, sbxtest.Tool("tar")}
	return []row{
		{
			id: "R37-unpacking", what: "traversals of an archive that is imported", needs: needs,
			do: func(t *testing.T, w *world.World) {
				base := withProbe(t, w)
				for name := range traversals(w.Victim) {
					// The control has a victim of its own.
					victim := filepath.Join(t.TempDir(), "victim")
					w.Write(t, victim+"/key", "decoy")
					into := filepath.Join(t.TempDir(), "into")
					if err := os.Mkdir(into, 0o755); err != nil {
						t.Fatal(err)
					}
					got := w.Run(t, "tar", "-xPf", tarball(t, w, "control.tar", traversals(victim)[name]...), "-C", into)
					if st, err := os.Stat(victim + "/key"); err != nil || !world.Exists(victim+"/new") && links(st) == 1 {
						t.Errorf("control: %s: tar reaches nothing: %v, %s", name, err, got.Err)
					}
					path := tarball(t, w, "hostile.tar", append(base, traversals(w.Victim)[name]...)...)
					got = w.Run(t, w.Sbx, "image", "import", "--name", "hostile", path)
					if got.Code == 0 {
						if got := w.Run(t, w.Sbx, "run", "--image", "hostile", "--", "/probe", "write", w.Victim+"/key"); got.Out == "reached\n" {
							t.Errorf("%s: on the image it says %q", name, got.Out)
						}
					}
					if st, err := os.Stat(w.Victim + "/key"); err != nil || links(st) != 1 {
						t.Errorf("%s: the victim's file has another name: %v", name, err)
					}
					w.Intact(t)
					forget(t, w)
				}
			},
		},
		{
			id: "R38-image-names", what: "an /etc/passwd that leads out or never ends", needs: needs,
			do: func(t *testing.T, w *world.World) {
				w.Write(t, w.Home+"/secret", "secret:x:4242:4242::/:/bin/sh\n")
				for name, h := range map[string]tar.Header{
					"a link":    {Name: "etc/passwd", Typeflag: tar.TypeSymlink, Linkname: w.Home + "/secret"},
					"by dots":   {Name: "etc/passwd", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("../", 20) + w.Home[1:] + "/secret"},
					"directory": {Name: "etc", Typeflag: tar.TypeSymlink, Linkname: w.Home},
					"a FIFO":    {Name: "etc/passwd", Typeflag: tar.TypeFifo},
					"very long": {Name: "etc/passwd", Typeflag: tar.TypeReg, Uname: strings.Repeat("a:x:1:1::/:/\n", 200_000)},
				} {
					into := filepath.Join(t.TempDir(), "into")
					if err := os.Mkdir(into, 0o755); err != nil {
						t.Fatal(err)
					}
					path := tarball(t, w, "names.tar", append(withProbe(t, w), h)...)
					if h.Typeflag == tar.TypeSymlink && h.Name == "etc/passwd" {
						w.Run(t, "tar", "-xPf", path, "-C", into)
						if text, err := os.ReadFile(into + "/etc/passwd"); err != nil || !strings.Contains(string(text), "4242") {
							t.Errorf("control: %s: who opens it by its path reads %q, %v", name, text, err)
						}
					}
					if got := w.Run(t, w.Sbx, "image", "import", "--name", "names", path); got.Code != 0 {
						t.Errorf("%s: %s", name, got.Err)
					}
					got := w.Run(t, w.Sbx, "run", "-u", "keep", "--image", "names", "--", "/probe", "marker", w.Work+"/ran")
					if name != "directory" && (got.Code != 0 || !world.Exists(w.Work+"/ran")) {
						t.Errorf("%s: status %d, %s", name, got.Code, got.Err)
					}
					os.Remove(w.Work + "/ran")
					if got := w.Run(t, w.Sbx, "image", "inspect", "names"); got.Code != 0 || strings.Contains(got.Out, "4242:4242") || len(got.Out) > 1<<20 {
						t.Errorf("%s: the host's side read it: %d bytes, %s", name, len(got.Out), got.Err)
					}
					forget(t, w)
				}
			},
		},
		{
			id: "R39-bombs", what: "an archive that grows without end", needs: needs,
			do: func(t *testing.T, w *world.World) {
				path := filepath.Join(w.Home, "bomb.tar.gz")
				f, err := os.Create(path)
				if err != nil {
					t.Fatal(err)
				}
				z := gzip.NewWriter(f)
				tw := tar.NewWriter(z)
				const size = 192 << 20
				if err := tw.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
					t.Fatal(err)
				}
				if _, err := tw.Write(make([]byte, size)); err != nil {
					t.Fatal(err)
				}
				for _, c := range []io.Closer{tw, z, f} {
					if err := c.Close(); err != nil {
						t.Fatal(err)
					}
				}
				cmd := exec.Command("sh", "-c", "tar -xzOf "+path+" | wc -c")
				if out, err := cmd.Output(); err != nil || strings.TrimSpace(string(out)) != "201326592" {
					t.Errorf("control: tar unpacks %s bytes, %v", out, err)
				}
				for _, flags := range [][]string{nil, {"--max-size", "1M"}, {"--max-ratio", "2"}} {
					got := w.Run(t, append(append([]string{w.Sbx, "image", "import", "--name", "bomb"}, flags...), path)...)
					if got.Code == 0 || !strings.Contains(got.Err, "refused") {
						t.Errorf("%q: status %d, %s", flags, got.Code, got.Err)
					}
				}
				bombs(t, w)
				var kept int64
				err = filepath.WalkDir(w.Home+"/.local/share/sbx/images", func(_ string, d os.DirEntry, err error) error {
					if st, serr := d.Info(); err == nil && serr == nil {
						kept += st.Size()
					}
					return err
				})
				if err != nil || kept > 4<<20 {
					t.Errorf("%d bytes are kept, %v", kept, err)
				}
			},
		},
		{
			id: "R40-options", what: "of images' names", needs: needs,
			do: func(t *testing.T, w *world.World) {
				if got := w.Run(t, w.Sbx, "image", "import", "--name", "base", tarball(t, w, "base.tar", withProbe(t, w)...)); got.Code != 0 {
					t.Fatal(got.Err)
				}
				for _, name := range []string{"base,upperdir=/x", "base:latest:/etc", "base:/etc", "../base", "/etc", "", "base\\", "l/A:/etc", "base@sha256:x", "base latest", "base:latest,lowerdir=/"} {
					denies(t, w, "--image "+name, w.Sbx, "run", "--image", name, "--")
					denies(t, w, "root.source "+name, w.Sbx, "run", "--set", "root.source=image:"+name, "--")
				}
				for _, bad := range []string{"base,x", "a:b:c", "../x", "A", ""} {
					if got := w.Run(t, w.Sbx, "image", "tag", "base", bad); got.Code == 0 {
						t.Errorf("the name %q is taken", bad)
					}
				}
				got := w.Run(t, w.Sbx, "run", "--image", "base", "--", "/probe", "marker", w.Work+"/ran")
				if got.Code != 0 || !world.Exists(w.Work+"/ran") {
					t.Errorf("control: status %d, %s", got.Code, got.Err)
				}
				forget(t, w)
			},
		},
	}
}

// bombs are small archives of a hole of 1 GiB, of a million empty files, and of
// directories within directories: each is refused.
func bombs(t *testing.T, w *world.World) {
	t.Helper()
	made := w.Run(t, "sh", "-ec", `cd "$0"; truncate -s 1G hole; tar --format=posix -cSf hole.tar hole; rm hole; tar -xOf hole.tar | wc -c`, w.Home)
	if strings.TrimSpace(made.Out) != "1073741824" {
		t.Errorf("control: tar unpacks %q bytes of the hole, %s", made.Out, made.Err)
	}
	deep := tarball(t, w, "deep.tar", tar.Header{Name: strings.Repeat("d/", 2000) + "f", Typeflag: tar.TypeReg})
	many := filepath.Join(w.Home, "many.tar.gz")
	f, err := os.Create(many)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(z)
	for i := range 1_000_000 {
		if err := tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%d/f%d", i/1000, i), Typeflag: tar.TypeReg, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []io.Closer{tw, z, f} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(many); err != nil || st.Size() > 32<<20 {
		t.Errorf("control: the archive of a million files has %d bytes, %v", st.Size(), err)
	}
	for path, why := range map[string]string{w.Home + "/hole.tar": "sparse file", deep: "directories deep", many: "files out of"} {
		if got := w.Run(t, w.Sbx, "image", "import", "--name", "bomb", path); got.Code == 0 || !strings.Contains(got.Err, why) {
			t.Errorf("%s: status %d, %s", filepath.Base(path), got.Code, got.Err)
		}
	}
}

// links is how many names a file has.
func links(st os.FileInfo) uint64 {
	return uint64(st.Sys().(*syscall.Stat_t).Nlink)
}
