//go:build !cgo

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/download"
	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/overlay/upper"
)

// Remove takes names away. An image without any is removed with the layers that
// no other has, unless a sandbox runs on it. Named by its id it loses all its
// names, if it has one, or force is set.
func (s *Store) Remove(names []string, force bool) (gone []*image.Record, freed int64, err error) {
	unlock, err := s.lock("lock", unix.LOCK_EX)
	if err != nil {
		return nil, 0, err
	}
	defer unlock()
	for _, name := range names {
		r, err := s.remove(name, force)
		if err != nil {
			return gone, freed, errors.Join(err, s.save())
		}
		if r != nil {
			gone, freed = append(gone, r), freed+r.Size
		}
	}
	return gone, freed, s.save()
}

func (s *Store) save() error {
	_, err := s.reindex()
	return err
}

// remove removes one; nil is an image that has other names still.
func (s *Store) remove(name string, force bool) (*image.Record, error) {
	img, err := s.find(name)
	if err != nil {
		return nil, err
	}
	r := &image.Record{ID: img.ID, Names: sorted(img.Names)}
	if have, err := image.Load(s.dir, img.ID); err == nil {
		r = have
	}
	byID := strings.HasPrefix(img.ID, name)
	if !byID && len(img.Names) > 1 {
		full := image.Tagged(name)
		if i := slices.IndexFunc(img.Names, func(n string) bool { return n == full || strings.HasSuffix(n, "/"+full) }); i >= 0 {
			return nil, s.st.RemoveNames(img.ID, []string{img.Names[i]})
		}
	}
	if byID && len(img.Names) > 1 && !force {
		return nil, &Hint{fmt.Errorf("the image %s has the names %s", img.ID[:12], strings.Join(sorted(img.Names), ", ")), "remove one of them, or all with --force"}
	}
	return r, s.delete(img)
}

// delete removes an image, unless it is in use.
func (s *Store) delete(img *storage.Image) error {
	if err := s.underneath(img); err != nil {
		return err
	}
	unlock, err := s.lock(strings.TrimPrefix(image.LockPath("", img.ID), "/"), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return &Hint{fmt.Errorf("the image %s is in use by a sandbox", shown(img)), "end that first"}
	}
	if err == nil {
		defer unlock()
	} else if !notThere(err) {
		return err
	}
	// Before the layers: who finds no record starts nothing on them.
	for _, p := range []string{image.RecordPath(s.dir, img.ID), image.LockPath(s.dir, img.ID)} {
		if err := os.Remove(p); err != nil && !notThere(err) {
			return err
		}
	}
	if _, err := s.st.DeleteImage(img.ID, true); err != nil && !notThere(err) {
		return fmt.Errorf("removing the image %s: %w", img.ID[:12], err)
	}
	return nil
}

// underneath refuses an image that a kept overlay lies over, which would be worth
// nothing without.
func (s *Store) underneath(img *storage.Image) error {
	if s.kept.Root == "" {
		return nil
	}
	list, _ := s.kept.List() // one that can't be read can't be gone on with
	for _, r := range list {
		if slices.ContainsFunc(r.Layers, func(l upper.Layer) bool { return l.Image == img.ID }) {
			return &Hint{fmt.Errorf("the overlay %s lies over the image %s", r.Name, shown(img)), "make an image of it (sbx image commit) or discard it (sbx discard " + r.Name + ") first"}
		}
	}
	return nil
}

// Prune removes images without a name, all that are not in use if all is set,
// and what imports that did not end have left.
func (s *Store) Prune(all bool) (gone []*image.Record, freed int64, err error) {
	unlock, err := s.lock("lock", unix.LOCK_EX)
	if err != nil {
		return nil, 0, err
	}
	defer unlock()
	images, err := s.st.Images()
	if err != nil {
		return nil, 0, err
	}
	for i := range images {
		img := &images[i]
		if len(img.Names) > 0 && !all {
			continue
		}
		r := &image.Record{ID: img.ID}
		if have, err := image.Load(s.dir, img.ID); err == nil {
			r = have
		}
		err := s.delete(img)
		var inUse *Hint
		if errors.As(err, &inUse) {
			s.note("%v, and stays", inUse)
			continue
		}
		if err != nil {
			return gone, freed, errors.Join(err, s.save())
		}
		gone, freed = append(gone, r), freed+r.Size
	}
	left, err := s.sweep(0)
	return gone, freed + left, errors.Join(err, s.save())
}

// sweepAge is how long what came of a pull that did not end is kept, so that the next
// one need not fetch it again.
const sweepAge = 24 * time.Hour

// sweep removes layers that belong to no image, and parts of such, that are older than
// age, and temporary files, unless something is being taken in right now.
func (s *Store) sweep(age time.Duration) (freed int64, err error) {
	unlock, err := s.lock("taking", unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer unlock()
	tmp := filepath.Join(s.dir, "tmp")
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(tmp, e.Name())); err != nil {
			return 0, err
		}
	}
	parts, err := download.Sweep(filepath.Join(s.dir, partial), time.Now().Add(-age))
	if err != nil {
		return parts, err
	}
	layers, err := s.sweepLayers(age)
	return parts + layers, err
}

func (s *Store) sweepLayers(age time.Duration) (freed int64, err error) {
	layers, err := s.st.Layers()
	if err != nil {
		return 0, err
	}
	images, err := s.st.Images()
	if err != nil {
		return 0, err
	}
	parent, used := map[string]string{}, map[string]bool{}
	for i := range layers {
		parent[layers[i].ID] = layers[i].Parent
	}
	for i := range images {
		for id := images[i].TopLayer; id != ""; id = parent[id] {
			used[id] = true
		}
	}
	// Children first: a layer that another lies on can't be removed.
	for again := true; again; {
		again = false
		for i := range layers {
			l := &layers[i]
			if used[l.ID] || time.Since(l.Created) < age || slices.ContainsFunc(layers, func(c storage.Layer) bool { return c.Parent == l.ID && !used[c.ID] }) {
				continue
			}
			if err := s.st.DeleteLayer(l.ID); err != nil && !notThere(err) {
				return freed, fmt.Errorf("removing a layer: %w", err)
			}
			freed += max(l.UncompressedSize, 0)
			layers = slices.Delete(layers, i, i+1)
			again = true
			break
		}
	}
	return freed, nil
}
