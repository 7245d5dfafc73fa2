package archive

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/vbatts/tar-split/archive/tar"
)

var small = Limits{Size: 1 << 20, Entries: 10, Depth: 8}

// pack is an archive of headers, each with as many bytes as its size says.
func pack(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, zeros{}, h.Size); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func file(name string, size int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: size}
}

func link(kind byte, name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: kind, Linkname: to}
}

// TestJudge: what is let through is let through byte for byte, and of what is
// refused nothing gets out from the entry at fault on.
func TestJudge(t *testing.T) {
	deep := strings.Repeat("d/", 8) + "f"
	many := make([]tar.Header, 11)
	for i := range many {
		many[i] = file("f"+string(rune('a'+i)), 0)
	}
	xattr := func(name, value string) tar.Header {
		h := file("x", 0)
		h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{"SCHILY.xattr." + name: value}
		return h
	}
	for _, tt := range []struct {
		name    string
		headers []tar.Header
		want    string // "" for good
	}{
		{"nothing", nil, ""},
		{"a tree", []tar.Header{link(tar.TypeDir, "./", ""), link(tar.TypeDir, "./usr/", ""), file("./usr/f", 1000), link(tar.TypeSymlink, "./bin", "usr/bin"), link(tar.TypeLink, "./g", "./usr/f")}, ""},
		{"absolute, which is below the root", []tar.Header{file("/etc/passwd", 1)}, ""},
		{"dots that stay inside", []tar.Header{file("a/../b", 1)}, ""},
		{"a symbolic link out of the root", []tar.Header{link(tar.TypeSymlink, "l", "/etc"), file("l/x", 1)}, ""}, // the unpacker's root is the layer
		{"twice", []tar.Header{file("f", 1), file("f", 2)}, ""},
		{"a whiteout", []tar.Header{file("etc/.wh.passwd", 0), file("etc/.wh..wh..opq", 0)}, ""},
		{"an attribute", []tar.Header{xattr("user.note", "text")}, ""},
		{"a capability", []tar.Header{xattr("security.capability", "\x01\x00\x00\x02")}, ""},
		{"setuid", []tar.Header{{Name: "su", Typeflag: tar.TypeReg, Mode: 0o4755}}, ""},
		{"a device", []tar.Header{{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, ""},
		{"a FIFO", []tar.Header{link(tar.TypeFifo, "p", "")}, ""},

		{"dots", []tar.Header{file("../x", 1)}, `entry "../x" leads out of the image by ..`},
		{"dots within", []tar.Header{file("a/../../x", 1)}, `entry "a/../../x" leads out of the image by ..`},
		{"dots below an absolute path", []tar.Header{file("/../x", 1)}, `entry "/../x" leads out of the image by ..`},
		{"a hard link by dots", []tar.Header{link(tar.TypeLink, "l", "../../etc/shadow")}, `entry "l" is a hard link to "../../etc/shadow", which leads out of the image by ..`},
		{"a hard link to nothing", []tar.Header{link(tar.TypeLink, "l", "")}, `entry "l" is a hard link to "", which has no name`},
		{"too deep", []tar.Header{file(deep, 1)}, "lies more than 8 directories deep"},
		{"a long name", []tar.Header{file(strings.Repeat("n", 256), 1)}, "has a name of 256 bytes"},
		{"a long path", []tar.Header{file(strings.Repeat("./", 2100)+"f", 1)}, "has a path of 4201 bytes"},
		{"a whiteout of nothing", []tar.Header{file(".wh.", 0)}, "deletes what has no name"},
		{"a whiteout of the directory itself", []tar.Header{file("etc/.wh..", 0)}, "deletes what has no name"},
		{"a whiteout of the parent", []tar.Header{file("etc/.wh...", 0)}, "deletes what has no name"},
		{"a whiteout of aufs", []tar.Header{file(".wh..wh.plnk", 0)}, "deletes what has no name"},
		{"overlayfs's own mark", []tar.Header{xattr("user.overlay.redirect", "/etc")}, `has the extended attribute "user.overlay.redirect"`},
		{"root's overlayfs's own mark", []tar.Header{xattr("trusted.overlay.opaque", "y")}, `has the extended attribute "trusted.overlay.opaque"`},
		{"podman's own mark", []tar.Header{xattr("user.containers.override_stat", "0:0:4755")}, `has the extended attribute`},
		{"a huge attribute", []tar.Header{xattr("user.big", strings.Repeat("x", 64<<10))}, "has more than 65536 bytes of extended attributes"},
		{"too large", []tar.Header{file("f", 1<<20), file("g", 1)}, `entry "g" makes the whole larger than 1048576 bytes`},
		{"too many", many, "has more than 10 entries"},
		{"a large id", []tar.Header{{Name: "f", Typeflag: tar.TypeReg, Uid: 1<<32 - 1, Format: tar.FormatPAX}}, "belongs to 4294967295:0, which are no ids"},
		{"an unknown type", []tar.Header{{Name: "f", Typeflag: 'Z'}}, `is of the unknown type 'Z'`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := pack(t, tt.headers...)
			var c Count
			got, err := io.ReadAll(NewReader(bytes.NewReader(src), small, &c, nil))
			if tt.want == "" {
				if err != nil || !bytes.Equal(got, src) {
					t.Fatalf("%d of %d bytes, %v", len(got), len(src), err)
				}
				if c.Entries != int64(len(tt.headers)) {
					t.Errorf("counted %d entries of %d", c.Entries, len(tt.headers))
				}
				return
			}
			var refused *Refused
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			last := tt.headers[len(tt.headers)-1].Name
			if len(last) < 100 && bytes.Contains(got, []byte(last+"\x00")) {
				t.Error("the header at fault got through")
			}
		})
	}
}

// TestCut: an archive that ends within a header or a file is refused.
func TestCut(t *testing.T) {
	src := pack(t, file("f", 3000), file("g", 1))
	for n := range 512 + 3072 + 512 + 1 {
		if n == 0 || n >= 512+3000 && n <= 512+3072 {
			continue // the whole file is there
		}
		_, err := io.ReadAll(NewReader(bytes.NewReader(src[:n]), small, &Count{}, nil))
		if err == nil {
			t.Errorf("%d bytes of it pass", n)
		}
	}
}

// TestTail: what follows the end is bounded.
func TestTail(t *testing.T) {
	src := pack(t, file("f", 1))
	for _, tt := range []struct {
		n    int
		good bool
	}{{0, true}, {10240, true}, {maxTail, true}, {maxTail + 1, false}} {
		_, err := io.ReadAll(NewReader(bytes.NewReader(append(bytes.Clone(src), make([]byte, tt.n)...)), small, &Count{}, nil))
		if (err == nil) != tt.good {
			t.Errorf("%d bytes after the end: %v", tt.n, err)
		}
	}
}

// TestMagic: an archive that the unpacker would take for a compressed one.
func TestMagic(t *testing.T) {
	for _, m := range magics {
		src := pack(t, file("harmless", 1))
		copy(src, m)
		// The checksum is right again.
		sum := 0
		copy(src[148:156], "        ")
		for _, c := range src[:512] {
			sum += int(c)
		}
		copy(src[148:156], []byte{'0' + byte(sum>>15&7), '0' + byte(sum>>12&7), '0' + byte(sum>>9&7), '0' + byte(sum>>6&7), '0' + byte(sum>>3&7), '0' + byte(sum&7), 0, ' '})
		got, err := io.ReadAll(NewReader(bytes.NewReader(src), small, &Count{}, nil))
		if err == nil || len(got) > 0 {
			t.Errorf("%q: %d bytes, %v", m, len(got), err)
		}
	}
}

// TestExpand: a bomb ends where it has grown too much, and what is honest does not.
func TestExpand(t *testing.T) {
	squeeze := func(r io.Reader) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := io.Copy(w, r); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for _, tt := range []struct {
		name string
		src  []byte
		kind Compression
		n    int64 // what comes out at least
		good bool
	}{
		{"plain", bytes.Repeat([]byte("text"), 1000), Plain, 4000, true},
		{"empty", nil, Plain, 0, true},
		{"gzip", squeeze(strings.NewReader("text")), Gzip, 4, true},
		{"zeros up to the slack", squeeze(io.LimitReader(zeros{}, slack)), Gzip, slack, true},
		{"zeros", squeeze(io.LimitReader(zeros{}, 4*slack)), Gzip, slack / 2, false},
		{"cut", squeeze(strings.NewReader("text"))[:20], Gzip, 0, false},
		{"damaged zstd", []byte("\x28\xb5\x2f\xfdgarbage"), Zstd, 0, false},
		{"damaged xz", []byte("\xfd7zXZ\x00garbage"), XZ, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, kind, err := Expand(bytes.NewReader(tt.src), 100)
			var n int64
			if err == nil {
				n, err = io.Copy(io.Discard, r)
				if cerr := r.Close(); cerr != nil {
					t.Error(cerr)
				}
			}
			if kind != tt.kind || n < tt.n || (err == nil) != tt.good {
				t.Errorf("%s, %d bytes, %v", kind, n, err)
			}
			if n > 2*slack {
				t.Errorf("%d bytes came out", n)
			}
		})
	}
}

// TestManyFiles: empty files count as what they take up on disk, where the archive
// says little of each.
func TestManyFiles(t *testing.T) {
	const n = 3 * slack / block
	headers := make([]tar.Header, n)
	for i := range headers {
		headers[i] = file(fmt.Sprintf("d/%d", i), 0)
	}
	plain := pack(t, headers...)
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		src   []byte
		ratio int64
		files int64 // that come out; 0 = all
	}{
		{"plain", plain, 250, 0},
		{"without a bound", b.Bytes(), 0, 0},
		{"within it", b.Bytes(), 100_000, 0},
		{"beyond it", b.Bytes(), 250, slack / block},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src, _, err := Expand(bytes.NewReader(tt.src), tt.ratio)
			if err != nil {
				t.Fatal(err)
			}
			var count Count
			_, err = io.Copy(io.Discard, NewReader(src, Limits{Size: 1, Entries: n, Depth: 8, Ratio: tt.ratio}, &count, nil))
			var refused *Refused
			switch {
			case tt.files == 0 && (err != nil || count.Entries != n):
				t.Errorf("%d files, %v", count.Entries, err)
			case tt.files > 0 && (!errors.As(err, &refused) || !strings.Contains(refused.Why, "files out of") || count.Entries > 2*tt.files):
				t.Errorf("%d files, %v", count.Entries, err)
			}
		})
	}
}

// FuzzReader: whatever comes, what is let through holds no entry that leads out,
// and is a prefix of what came.
func FuzzReader(f *testing.F) {
	for _, h := range [][]tar.Header{{file("a", 1)}, {file("../a", 1)}, {link(tar.TypeSymlink, "l", "/"), file("l/x", 600)}} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for i := range h {
			if w.WriteHeader(&h[i]) != nil {
				f.Fatal("no header")
			}
			if _, err := io.CopyN(w, zeros{}, h[i].Size); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		got, err := io.ReadAll(NewReader(bytes.NewReader(src), small, &Count{}, nil))
		if !bytes.HasPrefix(src, got) || err == nil && !bytes.Equal(src, got) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(src), err)
		}
		r := tar.NewReader(bytes.NewReader(got))
		for {
			h, err := r.Next()
			if err != nil {
				return
			}
			if why := checkPath(h.Name, small.Depth); why != "" {
				t.Fatalf("%q got through, which %s", h.Name, why)
			}
		}
	})
}
