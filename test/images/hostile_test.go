package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// hostile is an archive that tries to do something to who unpacks it.
type hostile struct {
	name    string
	entries func(victim string) []entry
	refused string // what the message says; "" = it is taken in, and contained
	control bool   // tar(1) -P, which takes names as they are, writes to the victim
	look    string // a shell command that shows it contained, and what it prints
	want    string
}

// corpus are the ways out of an archive that others were bitten by: the break-out
// cases of containers/storage's own tests, CVE-2021-29136 (umoci),
// CVE-2020-10696 (buildah), CVE-2019-14271 and -15664 (docker).
func corpus() []hostile {
	up := strings.Repeat("../", 20)
	return []hostile{
		{name: "dots", refused: "leads out of the image", control: true, entries: func(v string) []entry { return []entry{file(up+v[1:]+"/new", "x")} }},
		{name: "dots within", refused: "leads out of the image", control: true, entries: func(v string) []entry { return []entry{dir("a"), file("a/../"+up+v[1:]+"/new", "x")} }},
		{name: "absolute", control: true, look: "cat %s/new", want: "x", entries: func(v string) []entry { return []entry{file(v+"/new", "x")} }},
		{name: "link then write through it", control: true, look: "test ! -L /l || echo link; ls -A /l", want: "link\nnew\n",
			entries: func(v string) []entry { return []entry{link(tar.TypeSymlink, "l", v), file("l/new", "x")} }},
		{name: "relative link then write", control: true, look: "ls -d /bin/sh", want: "/bin/sh\n",
			entries: func(v string) []entry { return []entry{link(tar.TypeSymlink, "l", up+v[1:]), file("l/new", "x")} }},
		{name: "two links in a row", control: true, look: "ls -d /bin/sh", want: "/bin/sh\n",
			entries: func(v string) []entry {
				return []entry{link(tar.TypeSymlink, "a", filepath.Dir(v)), link(tar.TypeSymlink, "b", "a/"+filepath.Base(v)), file("b/new", "x")}
			}},
		{name: "link on the file itself", refused: "one path twice",
			entries: func(v string) []entry { return []entry{link(tar.TypeSymlink, "f", v+"/key"), file("f", "x")} }},
		{name: "hard link out", refused: "no such file", control: true, entries: func(v string) []entry { return []entry{link(tar.TypeLink, "h", v+"/key")} }},
		{name: "hard link by dots", refused: "leads out of the image", control: true, entries: func(v string) []entry { return []entry{link(tar.TypeLink, "h", up+v[1:]+"/key")} }},
		{name: "hard link through a link", refused: "no such file", control: true,
			entries: func(v string) []entry {
				return []entry{link(tar.TypeSymlink, "l", v), link(tar.TypeLink, "h", "l/key")}
			}},
		{name: "directory over a link", look: "ls -d /bin/sh", want: "/bin/sh\n", control: true,
			entries: func(v string) []entry {
				return []entry{link(tar.TypeSymlink, "l", v), dir("l/sub"), file("l/sub/new", "x")}
			}},
		{name: "modes through a link", refused: "one path twice",
			entries: func(v string) []entry {
				return []entry{link(tar.TypeSymlink, "l", v+"/key"), {tar.Header{Name: "l", Typeflag: tar.TypeDir, Mode: 0o777}, ""}}
			}},
		{name: "whiteout through a link", look: "ls -d /bin/sh", want: "/bin/sh\n", entries: func(v string) []entry { return []entry{link(tar.TypeSymlink, "l", v), file("l/.wh.key", "")} }},
		{name: "opaque through a link", look: "ls -d /bin/sh", want: "/bin/sh\n", entries: func(v string) []entry { return []entry{link(tar.TypeSymlink, "l", v), file("l/.wh..wh..opq", "")} }},
		{name: "whiteout of the parent", refused: "deletes what has no name", entries: func(string) []entry { return []entry{dir("d"), file("d/.wh...", "")} }},
		{name: "whiteout of itself", refused: "deletes what has no name", entries: func(string) []entry { return []entry{file(".wh..", "")} }},
		{name: "root as a link", refused: "root", entries: func(v string) []entry { return []entry{link(tar.TypeSymlink, ".", v), file("new", "x")} }},
		{name: "overlay's marks", refused: "by which a file system marks its own", entries: func(v string) []entry {
			e := file("f", "x")
			e.Format, e.PAXRecords = tar.FormatPAX, map[string]string{"SCHILY.xattr.user.overlay.redirect": v}
			return []entry{e}
		}},
		{name: "huge attributes", refused: "extended attributes", entries: func(string) []entry {
			e := file("f", "x")
			e.Format, e.PAXRecords = tar.FormatPAX, map[string]string{"SCHILY.xattr.user.a": strings.Repeat("x", 70000)}
			return []entry{e}
		}},
		{name: "devices", look: "ls -d /sda /mem 2>&1 | grep -c No.such", want: "2\n", entries: func(string) []entry {
			return []entry{{tar.Header{Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8}, ""}, {tar.Header{Name: "mem", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1}, ""}}
		}},
		{name: "setuid", look: "cp /bin/busybox /x; stat -c %a /su; grep -c NoNewPrivs:.1 /proc/self/status", want: "4755\n1\n", entries: func(string) []entry {
			return []entry{{tar.Header{Name: "su", Mode: 0o4755}, "x"}}
		}},
		{name: "the same name as file, directory and link", refused: "one path twice", entries: func(v string) []entry {
			return []entry{file("n", "x"), dir("n"), file("n/x", "x"), link(tar.TypeSymlink, "n", v), link(tar.TypeSymlink, "n", "etc")}
		}},
		{name: "names that say nothing of their kind", look: "ls -d /bin/sh", want: "/bin/sh\n", entries: func(string) []entry {
			return []entry{file("-rf", "x"), file("a\nb", "x"), file("\x1b]0;x\a", "x"), file("\xff\xfe", "x"), file("x,lowerdir=/:y", "x")}
		}},
		{name: "dots at the root", refused: "leads out of the image", entries: func(v string) []entry { return []entry{file("/../victim/new", "x")} }},
		{name: "a hard link to a directory outside, then into it", refused: "no such file",
			entries: func(v string) []entry { return []entry{link(tar.TypeLink, "h", v), file("h/new", "x")} }},
		{name: "a hard link to a link, then through it", look: "ls -d /bin/sh", want: "/bin/sh\n",
			entries: func(v string) []entry {
				return []entry{link(tar.TypeSymlink, "l", v), link(tar.TypeLink, "h", "l"), file("h/new", "x")}
			}},
		{name: "a hard link to a link on a file, then over it", refused: "one path twice",
			entries: func(v string) []entry {
				return []entry{link(tar.TypeSymlink, "l", v+"/key"), link(tar.TypeLink, "h", "l"), file("h", "x")}
			}},
		{name: "a link to the root, and down from it", look: "ls -d /bin/sh", want: "/bin/sh\n", control: true,
			entries: func(v string) []entry { return []entry{link(tar.TypeSymlink, "r", "/"), file("r"+v+"/new", "x")} }},
		{name: "a link's target changed later", refused: "one path twice",
			entries: func(v string) []entry {
				return []entry{dir("d"), link(tar.TypeSymlink, "l", "d"), link(tar.TypeSymlink, "l", v), file("l/new", "x")}
			}},
		{name: "a directory changed for a link later", refused: "one path twice", control: true,
			entries: func(v string) []entry { return []entry{dir("e"), link(tar.TypeSymlink, "e", v), file("e/new", "x")} }},
		{name: "whiteout by a device", look: "ls -d /bin/sh /bin/busybox", want: "/bin/busybox\n/bin/sh\n", entries: func(string) []entry {
			return []entry{dir("dev"), {tar.Header{Name: "dev/sh", Typeflag: tar.TypeChar}, ""}, {tar.Header{Name: "none", Typeflag: tar.TypeChar}, ""}}
		}},
		{name: "overlay's marks for root", refused: "by which a file system marks its own", entries: func(string) []entry {
			e := dir("d")
			e.Format, e.PAXRecords = tar.FormatPAX, map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y"}
			return []entry{e}
		}},
		{name: "overlay's marks, escaped", refused: "by which a file system marks its own", entries: func(string) []entry {
			e := dir("d")
			e.Format, e.PAXRecords = tar.FormatPAX, map[string]string{"SCHILY.xattr.user.overlay.overlay.opaque": "y"}
			return []entry{e}
		}},
		{name: "marks of another driver", refused: "by which a file system marks its own", entries: func(string) []entry {
			e := dir("d")
			e.Format, e.PAXRecords = tar.FormatPAX, map[string]string{"SCHILY.xattr.user.fuseoverlayfs.opaque": "y"}
			return []entry{e}
		}},
		{name: "the directory of whiteouts of AUFS", refused: "deletes what has no name", entries: func(string) []entry {
			return []entry{dir(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", "x"), link(tar.TypeLink, "h", ".wh..wh.plnk/1.2")}
		}},
		{name: "depth", refused: "directories deep", entries: func(string) []entry { return []entry{file(strings.Repeat("d/", 1500)+"f", "x")} }},
		{name: "no name", refused: "one path twice", entries: func(string) []entry { return []entry{dir("."), dir("./."), dir("/")} }},
	}
}

// fingerprint is all that can be seen of a tree, but for times of access.
func fingerprint(t *testing.T, root string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(path)
		if err != nil {
			return err
		}
		sys := st.Sys().(*syscall.Stat_t)
		fmt.Fprintln(h, path, st.Mode(), st.Size(), sys.Uid, sys.Nlink, sys.Ino, st.ModTime().UnixNano())
		if st.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(h, "%x\n", sha256.Sum256(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestHostile: each archive of the corpus, as a root and as a layer on top of a
// root, is refused or contained: what lies beside is as it was.
func TestHostile(t *testing.T) {
	s := newSite(t, "tar")
	base := s.basics(t)
	for _, c := range corpus() {
		t.Run(c.name, func(t *testing.T) {
			if c.control {
				s.control(t, c)
			}
			path := s.archive(t, "hostile.tar", append(base, c.entries(s.Victim)...)...)
			before := fingerprint(t, s.Victim)
			got := s.sbx(t, "image", "import", "--name", "hostile", path)
			if now := fingerprint(t, s.Victim); now != before {
				t.Fatal("what lies outside was changed")
			}
			if c.refused != "" {
				if got.Code == 0 || !strings.Contains(got.Err, c.refused) {
					t.Errorf("status %d, want %q: %s", got.Code, c.refused, got.Err)
				}
				if left := s.layers(t); len(left) > 0 {
					t.Errorf("layers are left: %v", left)
				}
				return
			}
			if got.Code != 0 {
				t.Fatalf("status %d: %s", got.Code, got.Err)
			}
			look := c.look
			if strings.Contains(look, "%s") {
				look = fmt.Sprintf(look, s.Victim)
			}
			same(t, c.name, s.on(t, "hostile", look, "--set", "home.mode=none", "--set", "workspace.access=none", "--set", "root.tmp=0"), c.want)
			if now := fingerprint(t, s.Victim); now != before {
				t.Error("what lies outside was changed by running on it")
			}
			s.must(t, "image", "prune", "--all")
		})
	}
}

// basics are the entries of a root that something can be run on.
func (s *site) basics(t *testing.T) []entry {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.tree(t), "bin/busybox"))
	if err != nil {
		t.Fatal(err)
	}
	list := []entry{dir("bin"), {tar.Header{Name: "bin/busybox", Mode: 0o755}, string(text)}}
	for _, a := range append(applets, "test", "grep", "cp") {
		list = append(list, link(tar.TypeSymlink, "bin/"+a, "busybox"))
	}
	return list
}

// control unpacks the archive by tar as it is, which has to reach a victim that
// is made for it.
func (s *site) control(t *testing.T, c hostile) {
	t.Helper()
	scratch := t.TempDir()
	victim := filepath.Join(scratch, "victim")
	s.Write(t, filepath.Join(victim, "key"), "decoy\n")
	path := s.archive(t, "control.tar.gz", c.entries(victim)...)
	before := fingerprint(t, victim)
	into := filepath.Join(scratch, "into")
	if err := os.Mkdir(into, 0o755); err != nil {
		t.Fatal(err)
	}
	got := s.Run(t, "tar", "-xzPf", path, "-C", into)
	if fingerprint(t, victim) == before {
		t.Errorf("control: tar -P does not reach outside: %d, %s", got.Code, got.Err)
	}
}

// TestBombs: what grows too much ends with an error long before it has grown, or
// world's patience ends it, and the space is there again.
func TestBombs(t *testing.T) {
	s := newSite(t, "tar")
	many := make([]entry, 3000)
	for i := range many {
		many[i] = file(fmt.Sprintf("f%d", i), "")
	}
	zeros := filepath.Join(s.Home, "zeros.tar.gz")
	zip(t, zeros, 10<<30)
	sparse := s.archive(t, "sparse.tar", file("x", "x"))
	holes(t, sparse)
	for _, tt := range []struct {
		name, path, want string
		flags            []string
	}{
		{"zeros", zeros, "more than 250 times its size", nil},
		{"files", files(t, filepath.Join(s.Home, "files.tar.gz"), 1_000_000), "files out of", nil},
		{"a sparse file in PAX's way", s.sparse(t, "posix"), "is a sparse file", nil},
		{"a sparse file in GNU's way", s.sparse(t, "gnu"), "unknown type 'S'", nil},
		{"files, without that bound", s.archive(t, "more.tar.gz", many...), "more than 2000 entries", []string{"--max-ratio", "1000000", "--max-entries", "2000"}},
		{"an archive in an archive", s.nested(t, zeros), "is no tar archive", nil},
		{"directories", s.archive(t, "deep.tar.gz", file(strings.Repeat("d/", 2000)+"f", "x")), "directories deep", nil},
		{"directories by long names", s.archive(t, "long.tar.gz", file(strings.Repeat(strings.Repeat("d", 200)+"/", 40)+"f", "x")), "has a path of", nil},
		{"entries", s.archive(t, "many.tar.gz", many...), "more than 1000 entries", []string{"--max-entries", "1000"}},
		{"size", s.archive(t, "large.tar", file("f", strings.Repeat("x", 3<<20))), "larger than 2097152 bytes", []string{"--max-size", "2M"}},
		{"a header that promises 8 EiB", sparse, "the whole larger than", nil},
		{"free space", s.archive(t, "small.tar", file("f", "x")), "are to stay free", []string{"--min-free", "1000T"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.refused(t, []string{tt.want}, append(append([]string{"image", "import", "--name", "bomb"}, tt.flags...), tt.path)...)
			if left := s.layers(t); len(left) > 0 {
				t.Errorf("layers are left: %v", left)
			}
			if used := s.used(t); used > 2<<20 {
				t.Errorf("%d bytes are still in use", used)
			}
		})
	}
	for _, bad := range [][]string{{"--max-size", "0"}, {"--max-size", "x"}, {"--max-entries", "-1"}, {"--max-ratio", "1.5"}} {
		if got := s.sbx(t, append(append([]string{"image", "import"}, bad...), zeros)...); got.Code != 2 {
			t.Errorf("%q: status %d, %s", bad, got.Code, got.Err)
		}
	}
}

// zip writes an archive of one file of n zeros, a multiple of 64 MiB: as gzip takes
// what follows a stream's end for more of it, one piece is repeated.
func zip(t *testing.T, path string, n int64) {
	t.Helper()
	const piece = 64 << 20
	var head bytes.Buffer
	w := tar.NewWriter(&head)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: n, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	all := bytes.NewBuffer(squeezed(t, head.Bytes()))
	zeros := squeezed(t, make([]byte, piece))
	for ; n > 0; n -= piece {
		all.Write(zeros)
	}
	all.Write(squeezed(t, make([]byte, 1024))) // the archive's end
	if err := os.WriteFile(path, all.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func squeezed(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// files writes an archive of n empty files.
func files(t *testing.T, path string, n int) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for i := range n {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%d/f%d", i/1000, i), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []io.Closer{w, z} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// sparse is an archive of a file of 30 GiB without data, by tar(1).
func (s *site) sparse(t *testing.T, format string) string {
	t.Helper()
	path := filepath.Join(s.Home, format+".tar")
	s.outside(t, "sh", "-ec", `cd "$0"; truncate -s 30G holes; tar --format="$1" -cSf "$2" holes; rm holes`, s.Home, format, path)
	if st, err := os.Stat(path); err != nil || st.Size() > 1<<20 {
		t.Fatalf("control: the archive has %d bytes, %v", st.Size(), err)
	}
	return path
}

// nested is a file compressed once more.
func (s *site) nested(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".gz", squeezed(t, text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path + ".gz"
}

// holes rewrites the archive's first header so that its file is 8 EiB large.
func holes(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(text[124:136], []byte{0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc, 0})
	copy(text[148:156], "        ")
	sum := 0
	for _, c := range text[:512] {
		sum += int(c)
	}
	copy(text[148:156], fmt.Sprintf("%06o\x00 ", sum))
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// used is the bytes that the directory of images takes up.
func (s *site) used(t *testing.T) (n int64) {
	t.Helper()
	err := filepath.WalkDir(s.images(), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(path)
		if err == nil {
			n += st.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestNames: what an image has in place of /etc/passwd is read as a text of the
// image's own, or not at all, and nothing waits for it.
func TestNames(t *testing.T) {
	s := newSite(t, "umoci")
	s.Write(t, filepath.Join(s.Victim, "passwd"), "spy:x:4242:4242::/:/bin/sh\n")
	base := s.basics(t)
	for _, tt := range []struct {
		name    string
		entries []entry
	}{
		{"a link out", []entry{link(tar.TypeSymlink, "etc/passwd", s.Victim+"/passwd")}},
		{"a link by dots", []entry{link(tar.TypeSymlink, "etc/passwd", strings.Repeat("../", 20)+s.Victim[1:]+"/passwd")}},
		{"a directory that is a link out", []entry{link(tar.TypeSymlink, "etc", s.Victim)}},
		{"a FIFO", []entry{link(tar.TypeFifo, "etc/passwd", "")}},
		{"a loop", []entry{link(tar.TypeSymlink, "etc/passwd", "passwd")}},
		{"a directory", []entry{dir("etc/passwd")}},
		{"too large", []entry{file("etc/passwd", strings.Repeat("a:x:1:1::/:/\n", 100_000)+"spy:x:4242:4242::/:/bin/sh\n")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := filepath.Join(t.TempDir(), "layout")
			s.outside(t, "umoci", "init", "--layout", at)
			s.outside(t, "umoci", "new", "--image", at+":v1")
			s.outside(t, "umoci", "raw", "add-layer", "--image", at+":v1", s.archive(t, "root.tar", append(base, tt.entries...)...))
			s.outside(t, "umoci", "config", "--image", at+":v1", "--config.user", "spy")
			s.must(t, "image", "import", "--name", "names", at)
			s.refused(t, []string{`no user "spy"`}, "run", "--image", "names", "--", "id")
			if text := s.must(t, "image", "inspect", "names"); strings.Contains(text, "4242:4242") {
				t.Error("the file outside was read")
			}
			s.must(t, "image", "prune", "--all")
		})
	}
}
