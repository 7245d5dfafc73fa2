//go:build !cgo

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/image"
)

// origin is what is remembered of an image beside its configuration.
type origin struct {
	Source   string    `json:"source"`
	Digest   string    `json:"digest,omitempty"`
	Imported time.Time `json:"imported"`
}

// make makes the image of a configuration and a topmost layer, and calls it
// name. The same image is there only once. One that can't be used is not kept, nor
// one that can't be written down.
func (s *Store) make(config []byte, top string, name string, o origin) (*image.Record, error) {
	id := digest.FromBytes(config).Encoded()
	unlock, err := s.lock("lock", unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer unlock()
	made := false
	if _, err = s.st.Image(id); notThere(err) {
		made, err = s.create(id, config, top, o)
	}
	if err != nil {
		return nil, err
	}
	r, err := s.named(id, name)
	if err != nil && made {
		return nil, s.unmade(id, err)
	}
	return r, err
}

// create writes down a new image. It reports whether it was this call that did.
func (s *Store) create(id string, config []byte, top string, o origin) (made bool, err error) {
	text, err := json.Marshal(o)
	if err != nil {
		return false, err
	}
	opts := &storage.ImageOptions{CreationDate: o.Imported, Metadata: string(text), BigData: []storage.ImageBigDataOption{
		{Key: configKey, Data: config, Digest: digest.FromBytes(config)},
	}}
	img, err := s.st.CreateImage(id, nil, top, "", opts)
	switch {
	case errors.Is(err, storage.ErrDuplicateID):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("writing down the image: %w", Explain(err))
	}
	if _, err := s.record(img); err != nil {
		return false, s.unmade(id, fmt.Errorf("the image can't be used: %w", Explain(err)))
	}
	return true, nil
}

// unmade removes the image id, which was made just now, because of why.
func (s *Store) unmade(id string, why error) error {
	if _, err := s.st.DeleteImage(id, true); err != nil && !notThere(err) {
		return errors.Join(why, fmt.Errorf("removing it: %w", err))
	}
	return why
}

// named gives the image id a name, "" for none, and returns its record.
//
// Precondition: the lock is held.
func (s *Store) named(id, name string) (*image.Record, error) {
	if name != "" {
		// A name leads to one image: containers/storage takes it from any other.
		if err := s.st.AddNames(id, []string{name}); err != nil {
			return nil, fmt.Errorf("naming the image: %w", Explain(err))
		}
	}
	records, err := s.reindex()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(records, func(r *image.Record) bool { return r.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("the image %s can't be used", id[:12]) // reindex has said why
	}
	return records[i], nil
}

// configKey is where an image's configuration is kept.
const configKey = "sbx-config"

// Reindex writes the index and the records anew from what the storage has, and
// returns them.
func (s *Store) Reindex() ([]*image.Record, error) {
	unlock, err := s.lock("lock", unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return s.reindex()
}

// reindex is Reindex with the lock held.
func (s *Store) reindex() ([]*image.Record, error) {
	images, err := s.st.Images()
	if err != nil {
		return nil, err
	}
	records := make([]*image.Record, 0, len(images))
	for i := range images {
		r, err := s.record(&images[i])
		if err != nil {
			s.note("the image %s can't be used: %v; sbx image rm %s removes it", images[i].ID[:12], err, images[i].ID[:12])
			continue
		}
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b *image.Record) int { return a.Imported.Compare(b.Imported) })
	return records, explainSave(image.Save(s.dir, records))
}

func explainSave(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("writing the index of images: %w", Explain(err))
}

// record is what is known of an image. Of one that has a record already, only
// its names can have changed.
func (s *Store) record(img *storage.Image) (*image.Record, error) {
	if r, err := image.Load(s.dir, img.ID); err == nil {
		r.Names = sorted(img.Names)
		return r, nil
	}
	config, err := s.st.ImageBigData(img.ID, configKey)
	if err != nil {
		return nil, err
	}
	var c v1.ConfigFile
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("reading its configuration: %w", err)
	}
	var o origin
	if json.Unmarshal([]byte(img.Metadata), &o) != nil {
		o = origin{Imported: img.Created}
	}
	r := &image.Record{
		Version: image.Version, ID: img.ID, Names: sorted(img.Names), Digest: o.Digest, Source: o.Source, Imported: o.Imported,
		Created: c.Created.Time, Arch: c.Architecture, OS: c.OS, IDs: s.ids,
		Config: image.Config{Env: c.Config.Env, Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd, WorkingDir: c.Config.WorkingDir,
			User: c.Config.User, Labels: c.Config.Labels, StopSignal: c.Config.StopSignal},
	}
	layers, err := s.layersOf(img.TopLayer)
	if err != nil {
		return nil, err
	}
	if len(layers) > image.MaxLayers {
		return nil, fmt.Errorf("it has %d layers, and %d can be stacked", len(layers), image.MaxLayers)
	}
	for _, l := range layers {
		link, err := s.link(l.ID)
		if err != nil {
			return nil, err
		}
		r.Layers = append(r.Layers, link)
		r.Digests = append(r.Digests, l.UncompressedDigest.String())
		r.Size += max(l.UncompressedSize, 0)
		r.Owners = r.Owners || remembered(l).Owners
	}
	return r, s.look(r)
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return names
}

// layersOf are the layers from top down.
func (s *Store) layersOf(top string) ([]*storage.Layer, error) {
	var list []*storage.Layer
	for id := top; id != ""; {
		l, err := s.st.Layer(id)
		if err != nil {
			return nil, fmt.Errorf("a layer is missing: %w", err)
		}
		list = append(list, l)
		id = l.Parent
	}
	return list, nil
}

// find is the image that a name or an id means.
func (s *Store) find(name string) (*storage.Image, error) {
	x, _, err := image.LoadIndex(s.dir)
	if err != nil {
		return nil, err
	}
	id, err := x.Find(name)
	if errors.Is(err, image.ErrNone) {
		img, err := s.st.Image(name)
		if err == nil {
			return img, nil
		}
		return nil, &Hint{fmt.Errorf("there is no image %q", name), "sbx image ls lists those there are"}
	}
	if err != nil {
		return nil, err
	}
	return s.st.Image(id)
}

// Tag gives the image that `old` means another name.
func (s *Store) Tag(old, name string) (*image.Record, error) {
	if err := image.CheckName(name); err != nil {
		return nil, err
	}
	unlock, err := s.lock("lock", unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer unlock()
	img, err := s.find(old)
	if err != nil {
		return nil, err
	}
	return s.named(img.ID, image.Tagged(name))
}

// shown is what an image is called in a sentence.
func shown(img *storage.Image) string {
	if len(img.Names) > 0 {
		return img.Names[0]
	}
	return img.ID[:12]
}
