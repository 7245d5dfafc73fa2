//go:build !cgo

package store

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	storagearchive "go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/image"
)

// Export is what is to be given out.
type Export struct {
	Name   string // of the image
	Path   string // absolute; nothing must be there
	Format string // "oci" (a directory), "oci-archive", "docker-archive"
}

// Export writes an image to a file or a directory. Its layers' contents are byte
// for byte those that came in.
func (s *Store) Export(e Export) (*image.Record, error) {
	fail := func(err error) (*image.Record, error) {
		return nil, fmt.Errorf("exporting %s to %s: %w", e.Name, e.Path, Explain(err))
	}
	img, err := s.find(e.Name)
	if err != nil {
		return nil, err
	}
	r, err := image.Load(s.dir, img.ID)
	if err != nil {
		return fail(err)
	}
	if _, err := os.Lstat(e.Path); err == nil {
		return nil, &Hint{fmt.Errorf("exporting %s: %s is there already", e.Name, e.Path), "remove it, or choose another name"}
	}
	done, err := s.lock("taking", unix.LOCK_SH)
	if err != nil {
		return fail(err)
	}
	defer done()
	// Beside the target, so that it can be renamed into place whole.
	tmp, err := os.MkdirTemp(filepath.Dir(e.Path), ".sbx-export-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(tmp)
	w := &writer{Store: s, dir: tmp, img: img, record: r, name: exportName(e.Name, r)}
	switch e.Format {
	case "oci":
		err = w.layout()
	case "oci-archive":
		err = w.archived(w.layout)
	case "docker-archive":
		err = w.archived(w.docker)
	default:
		err = fmt.Errorf("there is no format %q; use oci, oci-archive or docker-archive", e.Format)
	}
	if err == nil {
		err = os.Rename(w.result, e.Path)
	}
	if err != nil {
		return fail(err)
	}
	return r, nil
}

// exportName is what the image is called in what is written.
func exportName(name string, r *image.Record) string {
	full := image.Tagged(name)
	for _, n := range r.Names {
		if n == full || strings.HasSuffix(n, "/"+full) {
			return n
		}
	}
	if len(r.Names) > 0 {
		return r.Names[0]
	}
	return ""
}

// writer writes one image into a directory of its own.
type writer struct {
	*Store
	dir    string
	img    *storage.Image
	record *image.Record
	name   string
	parts  []string // relative paths of what was written, in order
	result string   // what is to be moved to the target
}

// create makes a new file of the export.
func (w *writer) create(name string) (*os.File, error) {
	full := filepath.Join(w.dir, "out", name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}

func (w *writer) write(name string, text []byte) error {
	f, err := w.create(name)
	if err != nil {
		return err
	}
	w.parts = append(w.parts, name)
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// content writes a layer's archive to out and checks that it is what it was.
func (w *writer) content(l *storage.Layer, out io.Writer) error {
	plain := storagearchive.Uncompressed
	src, err := w.st.Diff("", l.ID, &storage.DiffOptions{Compression: &plain})
	if err != nil {
		return fmt.Errorf("reading a layer: %w", err)
	}
	defer src.Close()
	sum := digest.SHA256.Digester()
	if _, err := io.Copy(io.MultiWriter(out, sum.Hash()), src); err != nil {
		return fmt.Errorf("reading a layer: %w", err)
	}
	if have := sum.Digest(); have != l.UncompressedDigest {
		return fmt.Errorf("a layer is damaged: it is %s and was %s", have, l.UncompressedDigest)
	}
	return nil
}

// bottomUp are the image's layers, the lowest first.
func (w *writer) bottomUp() ([]*storage.Layer, error) {
	layers, err := w.layersOf(w.img.TopLayer)
	slices.Reverse(layers)
	return layers, err
}

// layout writes an OCI image layout.
func (w *writer) layout() error {
	config, err := w.st.ImageBigData(w.img.ID, configKey)
	if err != nil {
		return err
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	if m.Config, err = w.blob(types.OCIConfigJSON, config); err != nil {
		return err
	}
	layers, err := w.bottomUp()
	if err != nil {
		return err
	}
	for i, l := range layers {
		w.say(image.Message{Kind: "progress", Text: "layers", Done: int64(i), Total: int64(len(layers))})
		d, err := w.layer(l)
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, d)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	top, err := w.blob(types.OCIManifestSchema1, raw)
	if err != nil {
		return err
	}
	if w.name != "" {
		top.Annotations = map[string]string{"org.opencontainers.image.ref.name": refName(w.name)}
	}
	if raw, err = json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{top}}); err != nil {
		return err
	}
	w.result = filepath.Join(w.dir, "out")
	return errors.Join(w.write("index.json", raw), w.write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)))
}

// refName is the tag of a name, which skopeo and umoci take for an image's name
// in a layout.
func refName(name string) string {
	last := name[strings.LastIndexByte(name, '/')+1:]
	if _, tag, ok := strings.Cut(last, ":"); ok && !strings.Contains(tag, "@") {
		return tag
	}
	return "latest"
}

// blob writes a part under its digest.
func (w *writer) blob(kind types.MediaType, text []byte) (v1.Descriptor, error) {
	sum := digest.FromBytes(text)
	h, err := v1.NewHash(sum.String())
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: kind, Size: int64(len(text)), Digest: h}, w.write(path.Join("blobs/sha256", sum.Encoded()), text)
}

// layer writes a layer, compressed, under the digest that it turns out to have.
func (w *writer) layer(l *storage.Layer) (d v1.Descriptor, err error) {
	f, err := w.create("blobs/sha256/" + l.ID + ".part")
	if err != nil {
		return d, err
	}
	sum := digest.SHA256.Digester()
	z := gzip.NewWriter(io.MultiWriter(f, sum.Hash()))
	err = errors.Join(w.content(l, z), z.Close())
	st, serr := f.Stat()
	if err = errors.Join(err, serr, f.Close()); err != nil {
		return d, err
	}
	name := path.Join("blobs/sha256", sum.Digest().Encoded())
	if err := os.Rename(f.Name(), filepath.Join(w.dir, "out", name)); err != nil {
		return d, err
	}
	if !slices.Contains(w.parts, name) {
		w.parts = append(w.parts, name)
	}
	h, err := v1.NewHash(sum.Digest().String())
	return v1.Descriptor{MediaType: types.OCILayer, Size: st.Size(), Digest: h}, err
}

// docker writes what docker load takes.
func (w *writer) docker() error {
	config, err := w.st.ImageBigData(w.img.ID, configKey)
	if err != nil {
		return err
	}
	layers, err := w.bottomUp()
	if err != nil {
		return err
	}
	entry := struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{Config: w.img.ID + ".json", RepoTags: []string{}}
	if w.name != "" && !strings.Contains(w.name, "@") {
		entry.RepoTags = append(entry.RepoTags, w.name)
	}
	for i, l := range layers {
		w.say(image.Message{Kind: "progress", Text: "layers", Done: int64(i), Total: int64(len(layers))})
		name := l.UncompressedDigest.Encoded() + ".tar"
		entry.Layers = append(entry.Layers, name)
		if slices.Contains(w.parts, name) {
			continue
		}
		f, err := w.create(name)
		if err != nil {
			return err
		}
		w.parts = append(w.parts, name)
		if err := errors.Join(w.content(l, f), f.Close()); err != nil {
			return err
		}
	}
	raw, err := json.Marshal([]any{entry})
	if err != nil {
		return err
	}
	return errors.Join(w.write(entry.Config, config), w.write("manifest.json", raw))
}

// archived puts what parts writes into one archive, in which times and owners say
// nothing.
func (w *writer) archived(parts func() error) error {
	if err := parts(); err != nil {
		return err
	}
	w.result = filepath.Join(w.dir, "archive.tar")
	f, err := os.OpenFile(w.result, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(f)
	slices.Sort(w.parts)
	made := map[string]bool{".": true}
	for _, name := range w.parts {
		if err := dirs(tw, path.Dir(name), made); err != nil {
			return errors.Join(err, f.Close())
		}
		if err := w.addTo(tw, name); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(tw.Close(), f.Sync(), f.Close())
}

// dirs writes the directories of a path: skopeo gives those that it has to make
// up to root.
func dirs(tw *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	made[dir] = true
	if err := dirs(tw, path.Dir(dir), made); err != nil {
		return err
	}
	return tw.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(0, 0)})
}

func (w *writer) addTo(tw *tar.Writer, name string) error {
	f, err := os.Open(filepath.Join(w.dir, "out", name))
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: int64(fs.FileMode(0o644)), Size: st.Size(), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}
