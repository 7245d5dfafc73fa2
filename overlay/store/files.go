//go:build !cgo

package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/vbatts/tar-split/archive/tar"

	"github.com/sbx-sandbox/sbx/overlay/archive"
)

// files are the parts of an image that lies in a directory or in an archive, by
// name. No link leads anywhere else.
type files interface {
	open(name string) (io.ReadCloser, int64, error)
	close()
}

// directory is parts in a directory.
type directory struct{ root *os.Root }

func (d directory) open(name string) (io.ReadCloser, int64, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

func (d directory) close() { d.root.Close() }

// sections are parts in an uncompressed archive.
type sections struct {
	f     *os.File
	parts map[string]section
	links map[string]string
}

type section struct{ at, size int64 }

// maxParts bounds the entries of an archive that holds an image.
const maxParts = 10_000

// index finds the parts of the archive f. Of two with one name the last counts,
// as when it is unpacked.
func index(f *os.File) (*sections, error) {
	s := &sections{f: f, parts: map[string]section{}, links: map[string]string{}}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, &archive.Refused{Why: "it is damaged or cut short: " + err.Error()}
		}
		if len(s.parts)+len(s.links) >= maxParts {
			return nil, &archive.Refused{Why: fmt.Sprintf("it has more than %d entries", maxParts)}
		}
		name := path.Clean("/" + h.Name)[1:]
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeRegA: //nolint:staticcheck // old archives have it
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			s.parts[name] = section{at, h.Size}
		case tar.TypeSymlink: // docker save makes them for layers that two images share
			s.links[name] = path.Join("/", path.Dir(name), h.Linkname)[1:]
		case tar.TypeLink:
			s.links[name] = path.Clean("/" + h.Linkname)[1:]
		}
	}
}

func (s *sections) open(name string) (io.ReadCloser, int64, error) {
	name = path.Clean("/" + name)[1:]
	if to, ok := s.links[name]; ok {
		name = to
	}
	p, ok := s.parts[name]
	if !ok {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(io.NewSectionReader(s.f, p.at, p.size)), p.size, nil
}

func (s *sections) close() { s.f.Close() }

// text reads a part that is small.
func text(f files, name string, limit int64) ([]byte, error) {
	r, size, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > limit {
		return nil, fmt.Errorf("%s has %d bytes, and at most %d are read", name, size, limit)
	}
	return io.ReadAll(io.LimitReader(r, limit))
}

// holdsImage reports whether an archive holds an image's parts and is not the
// image's file tree itself, by the name of its first entry.
func holdsImage(first string) bool {
	first = strings.TrimPrefix(first, "./")
	top, _, _ := strings.Cut(first, "/")
	switch top {
	case "blobs", "oci-layout", "index.json", "manifest.json", "repositories":
		return true
	}
	top = strings.TrimSuffix(strings.TrimSuffix(top, ".json"), ".tar")
	top = strings.TrimPrefix(top, "sha256:")
	return len(top) == 64 && strings.Trim(top, "0123456789abcdef") == ""
}

// firstEntry is the name of the first entry of the archive in f, which may be
// compressed.
func firstEntry(f *os.File, ratio int64) (string, archive.Compression, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", archive.Plain, err
	}
	plain, how, err := archive.Expand(f, ratio)
	if err != nil {
		return "", how, err
	}
	defer plain.Close()
	h, err := tar.NewReader(plain).Next()
	if errors.Is(err, io.EOF) {
		return "", how, errors.New("there is nothing in it")
	}
	if err != nil {
		return "", how, &Hint{fmt.Errorf("%s is no tar archive: %w", filepath.Base(f.Name()), err), "import takes OCI layouts and archives, docker archives, tar archives of a root, and directories"}
	}
	return h.Name, how, nil
}

// unpacked is the compressed archive f as one that can be read anywhere, in a
// temporary file without a name.
func (t *taker) unpacked(f *os.File) (*os.File, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	plain, _, err := archive.Expand(f, t.lim.Ratio)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	tmp, err := os.CreateTemp(filepath.Join(t.dir, "tmp"), "archive-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(tmp.Name()); err != nil {
		tmp.Close()
		return nil, err
	}
	g := &guard{t: t, src: io.LimitReader(plain, t.lim.Size+1)}
	n, err := io.Copy(tmp, g)
	if err == nil && n > t.lim.Size {
		err = &archive.Refused{Why: fmt.Sprintf("it is larger than %d bytes", t.lim.Size)}
	}
	if err != nil {
		tmp.Close()
		return nil, Explain(err)
	}
	return tmp, nil
}
