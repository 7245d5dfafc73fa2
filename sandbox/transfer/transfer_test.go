package transfer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func none(t *testing.T) func(string, string) {
	return func(path, what string) { t.Errorf("%s, %s, was passed over", path, what) }
}

// root opens a directory as a sandbox's root.
func root(t *testing.T, dir string) Side {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return Inside(fd, "box")
}

// TestTarget is docker's and cp(1)'s table of where a copy goes.
func TestTarget(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"d", "dest"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"d/in", "f", "file"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	box := root(t, dir)
	for _, tt := range []struct {
		from, to string
		top      string // what it is called there
		want     string // or the error
	}{
		{"f", "dest", "f", ""},
		{"f", "/dest/", "f", ""},
		{"f", "dest/g", "g", ""},
		{"f", "file", "file", ""},
		{"f", "g/", "", "there is no directory box:g/"},
		{"f", "none/g", "", "open box:none: no such file"},
		{"f", "file/g", "", "not a directory"},
		{"d", "dest", "d", ""},
		{"d/", "dest", "d", ""},
		{"d/.", "dest", "", ""},
		{"d", "new", "new", ""},
		{"d", "new/", "new", ""},
		{"d/.", "new", "new", ""},
		{"d", "file", "", "box:file is a file, and box:d a directory"},
		{"/", "dest", "", ""},
		{"f", "", "", "is empty"},
		{"f", "../../dest", "f", ""}, // its root is the root
	} {
		src, err := box.Source(tt.from, false)
		if err != nil {
			t.Fatal(err)
		}
		got, err := box.Target(tt.to, src)
		src.Close()
		switch {
		case tt.want != "":
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s to %s: %v, want %q", tt.from, tt.to, err, tt.want)
			}
		case err != nil:
			t.Errorf("%s to %s: %v", tt.from, tt.to, err)
		case got.top != tt.top:
			t.Errorf("%s to %s is called %q, want %q", tt.from, tt.to, got.top, tt.top)
		}
		if err == nil {
			got.Close()
		}
	}
}

// TestUnpack unpacks archives that nobody would pack.
func TestUnpack(t *testing.T) {
	reg := func(name, text string) (tar.Header, string) {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o6755, Size: int64(len(text)), ModTime: time.Unix(1e9, 0)}, text
	}
	link := func(kind byte, name, to string) (tar.Header, string) {
		return tar.Header{Typeflag: kind, Name: name, Linkname: to}, ""
	}
	type entry struct {
		h    tar.Header
		text string
	}
	e := func(h tar.Header, text string) entry { return entry{h, text} }
	for _, tt := range []struct {
		name    string
		entries []entry
		want    string // an error
		file    string // a file that is there, or with a text
		text    string
	}{
		{"a plain file", []entry{e(reg("a", "x"))}, "", "a", "x"},
		{"a contiguous file", []entry{e(tar.Header{Typeflag: tar.TypeCont, Name: "a", Mode: 0o755, Size: 1, ModTime: time.Unix(1e9, 0)}, "x")}, "", "a", "x"},
		{"an absolute name", []entry{e(reg("/a", "x"))}, "", "a", "x"},
		{"directories that are not listed", []entry{e(reg("p/q/a", "x"))}, "", "p/q/a", "x"},
		{"upwards", []entry{e(reg("../a", "x"))}, "leads out", "", ""},
		{"upwards in the middle", []entry{e(reg("p/../../a", "x"))}, "leads out", "", ""},
		{"through a link of its own", []entry{e(link(tar.TypeSymlink, "l", "../outside")), e(reg("l/a", "x"))}, "is not followed", "", ""},
		{"over a link of its own", []entry{e(link(tar.TypeSymlink, "l", "../outside/secret")), e(reg("l", "x"))}, "", "l", "x"},
		{"a directory over a link", []entry{e(link(tar.TypeSymlink, "l", "../outside")), e(tar.Header{Typeflag: tar.TypeDir, Name: "l/", Mode: 0o755}, "")}, "is not followed", "", ""},
		{"a hard link to what it brought", []entry{e(reg("a", "x")), e(link(tar.TypeLink, "b", "a"))}, "", "b", "x"},
		{"a hard link to outside", []entry{e(link(tar.TypeLink, "b", "../outside/secret"))}, "leads out", "", ""},
		{"a hard link through a link", []entry{e(link(tar.TypeSymlink, "l", "../outside")), e(link(tar.TypeLink, "b", "l/secret"))}, "is not followed", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := t.TempDir()
			for _, d := range []string{"in", "outside"} {
				if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			secret := filepath.Join(base, "outside/secret")
			if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, e := range tt.entries {
				if err := w.WriteHeader(&e.h); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write([]byte(e.text)); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			target, err := Host().Target(filepath.Join(base, "in"), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			err = Unpack(&b, target, none(t))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if tt.file != "" {
				path := filepath.Join(base, "in", tt.file)
				text, err := os.ReadFile(path)
				st, err2 := os.Lstat(path)
				if err != nil || err2 != nil || string(text) != tt.text || st.Mode() != 0o755 || st.ModTime().Unix() != 1e9 {
					t.Errorf("%s: %q, %v, %v, %v", tt.file, text, st, err, err2)
				}
			}
			names, _ := filepath.Glob(filepath.Join(base, "outside/*"))
			text, _ := os.ReadFile(secret)
			if len(names) != 1 || string(text) != "secret" {
				t.Errorf("outside: %q, %q", names, text)
			}
		})
	}
}

// TestSparse: a file with holes, in the form of tar -S --format=gnu, is unpacked with
// zeros in their place.
func TestSparse(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "s", Mode: 0o644, Size: 4, Format: tar.FormatGNU}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("data")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// The header of GNU tar's manual, "Basic Tar Format"; archive/tar writes none.
	h := b.Bytes()[:512]
	h[156] = tar.TypeGNUSparse
	copy(h[386:], fmt.Sprintf("%011o\x00%011o\x00", 1000, 4)) // where the data lies, and how much of it
	copy(h[483:], fmt.Sprintf("%011o\x00", 5000))             // how long the file is
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	dir := t.TempDir()
	target, err := Host().Target(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if err := Unpack(&b, target, none(t)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "s"))
	if want := append(append(make([]byte, 1000), "data"...), make([]byte, 3996)...); err != nil || !bytes.Equal(text, want) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// TestHoles: what a file takes no room for takes none in its copy, which is the same.
func TestHoles(t *testing.T) {
	const size = 64 << 20
	for name, at := range map[string][]int64{"none": {}, "begin": {0}, "within": {5000, 5001, 1 << 20, 4096*300 - 1}, "end": {size - 1}} {
		dir := t.TempDir()
		from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
		f, err := os.Create(from)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		for _, i := range at {
			if _, err := f.WriteAt([]byte("x"), i); err != nil {
				t.Fatal(err)
			}
		}
		src, err := Host().Source(from, false)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		target, err := Host().Target(to, src)
		if err != nil {
			t.Fatal(err)
		}
		defer target.Close()
		if err := Copy(src, target, none(t)); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(to, &st); err != nil || st.Size != size || st.Blocks > 1<<10 {
			t.Errorf("%s: %d bytes in %d blocks, %v", name, st.Size, st.Blocks, err)
		}
		if out, err := exec.Command("cmp", from, to).CombinedOutput(); err != nil {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
}

// TestCut: an archive that ends too early is an error.
func TestCut(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), bytes.Repeat([]byte("x"), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := Host().Source(filepath.Join(dir, "f"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var b bytes.Buffer
	if err := Pack(&b, src, "g", none(t)); err != nil {
		t.Fatal(err)
	}
	target, err := root(t, dir).Target("/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if err := Unpack(bytes.NewReader(b.Bytes()[:2000]), target, none(t)); err == nil {
		t.Error("no error")
	}
	if err := Unpack(bytes.NewReader(b.Bytes()), target, none(t)); err != nil {
		t.Error(err)
	}
}
