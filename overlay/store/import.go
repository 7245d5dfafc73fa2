//go:build !cgo

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/archive"
	"github.com/sbx-sandbox/sbx/overlay/image"
)

// Import is what is to be taken in.
type Import struct {
	Path   string // absolute
	Name   string // to give it; "" for what it calls itself, or its file's name
	Ref    string // which of several in it
	Limits image.Limits
}

// taking marks that something is taken in, so that what has no image yet is not
// swept away, and prepares its counting.
func (s *Store) taking(lim image.Limits) (t *taker, done func(), err error) {
	if _, err := s.sweep(sweepAge); err != nil {
		return nil, nil, err
	}
	done, err = s.lock("taking", unix.LOCK_SH)
	return &taker{Store: s, lim: lim.OrDefault()}, done, err
}

// Import takes in an image from a file or a directory.
func (s *Store) Import(in Import) (*image.Record, error) {
	if in.Name != "" {
		if err := image.CheckName(in.Name); err != nil {
			return nil, err
		}
		in.Name = image.Tagged(in.Name)
	}
	t, done, err := s.taking(in.Limits)
	if err != nil {
		return nil, err
	}
	defer done()
	r, err := t.take(in)
	return r, importError(in.Path, err)
}

// importError says what was imported, and what to do.
func importError(path string, err error) error {
	var refused *archive.Refused
	var h *Hint
	const nothing = "nothing of it was kept"
	switch {
	case err == nil:
		return nil
	case errors.As(err, &h):
		return &Hint{fmt.Errorf("importing %s: %w", path, err), h.Next}
	case errors.As(err, &refused):
		return &Hint{fmt.Errorf("importing %s: %w", path, err), nothing}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Hint{fmt.Errorf("importing %s: the file is cut short", path), nothing}
	}
	return fmt.Errorf("importing %s: %w", path, err)
}

func (t *taker) take(in Import) (*image.Record, error) {
	st, err := os.Stat(in.Path)
	if err != nil {
		return nil, bare(err)
	}
	base := fileName(in.Path)
	if st.IsDir() {
		root, err := os.OpenRoot(in.Path)
		if err != nil {
			return nil, bare(err)
		}
		defer root.Close()
		if _, err := root.Lstat("oci-layout"); err == nil {
			img, err := findOCI(directory{root}, in.Ref)
			return t.takeFound(in, base, img, err)
		}
		return t.takeTree(in, base, blob{open: func() (io.ReadCloser, error) { return pack(root, t.note), nil }})
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("it is neither a file nor a directory")
	}
	f, err := os.Open(in.Path)
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	first, how, err := firstEntry(f, t.lim.Ratio)
	if err != nil {
		return nil, err
	}
	if !holdsImage(first) {
		return t.takeTree(in, base, blob{size: st.Size(), open: func() (io.ReadCloser, error) {
			_, err := f.Seek(0, io.SeekStart)
			return io.NopCloser(f), err
		}})
	}
	if how != archive.Plain {
		if f, err = t.unpacked(f); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	parts, err := index(f)
	if err != nil {
		return nil, err
	}
	find := findDocker
	if _, ok := parts.parts["oci-layout"]; ok {
		find = findOCI
	}
	img, err := find(parts, in.Ref)
	return t.takeFound(in, base, img, err)
}

// bare leaves out the path, which the caller's message has.
func bare(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// fileName is what an image is called that has no name of its own.
func fileName(path string) string {
	base := strings.ToLower(filepath.Base(path))
	for again := true; again; {
		again = false
		for _, ext := range []string{".gz", ".tgz", ".xz", ".zst", ".bz2", ".tar", ".oci"} {
			if b, ok := strings.CutSuffix(base, ext); ok && b != "" {
				base, again = b, true
			}
		}
	}
	base = strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, base), "._-")
	if base == "" {
		base = "image"
	}
	return base
}

// takeFound takes in the layers of an image and makes it.
func (t *taker) takeFound(in Import, base string, img *found, err error) (*image.Record, error) {
	if err != nil {
		return nil, err
	}
	name := in.Name
	if name == "" {
		name = img.name
		if !strings.ContainsAny(name, "./:") || name == "latest" { // a tag alone
			tag := name
			if name = base; tag != "" {
				name += ":" + tag
			}
		}
		name = image.Tagged(name)
	}
	top, err := t.stackUp(img.blobs, t.put)
	if err != nil {
		return nil, err
	}
	return t.make(img.config, top, name, origin{Source: in.Path, Digest: img.digest, Imported: time.Now().UTC().Truncate(time.Second)})
}

// takeTree takes in a file tree as an image of one layer.
func (t *taker) takeTree(in Import, base string, b blob) (*image.Record, error) {
	if in.Ref != "" {
		return nil, errors.New("--ref chooses among images in a layout or archive, and this is a file tree")
	}
	t.total, t.what = b.size, "the file tree"
	l, err := t.put(b, "")
	if err != nil {
		return nil, err
	}
	config, err := treeConfig(l.UncompressedDigest)
	if err != nil {
		return nil, err
	}
	name := in.Name
	if name == "" {
		name = image.Tagged(base)
	}
	return t.make(config, l.ID, name, origin{Source: in.Path, Imported: time.Now().UTC().Truncate(time.Second)})
}

// treeConfig is the configuration of an image that has none: the same tree is
// the same image.
func treeConfig(diffID digest.Digest) ([]byte, error) {
	h, err := v1.NewHash(diffID.String())
	if err != nil {
		return nil, err
	}
	return json.Marshal(v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{h}}})
}
