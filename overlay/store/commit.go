//go:build !cgo

package store

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/overlay/change"
	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/overlay/upper"
)

// Commit makes an image of another one and of what a sandbox wrote over it,
// which is kept in the overlay of the directory dir. It is called name.
func (s *Store) Commit(dir, name string, c image.Commit, lim image.Limits) (*image.Record, error) {
	changes, err := parseChanges(c.Changes)
	if err == nil {
		err = image.CheckName(name)
	}
	if err != nil {
		return nil, err
	}
	t, done, err := s.taking(lim)
	if err != nil {
		return nil, err
	}
	defer done()
	held, err := upper.Hold(dir)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	rec, l, err := s.root(dir)
	if err != nil {
		return nil, err
	}
	r, err := t.commit(rec, l, dir, image.Tagged(name), c, changes)
	if err != nil {
		return nil, fmt.Errorf("making an image of %s: %w", rec.Name, Explain(err))
	}
	return r, nil
}

func parseChanges(texts []string) (list []image.Change, err error) {
	for _, text := range texts {
		c, err := image.ParseChange(text)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// root is the layer of an overlay that lies over an image.
func (s *Store) root(dir string) (*upper.Record, *upper.Layer, error) {
	rec, err := upper.Load(dir)
	if err != nil {
		return nil, nil, err
	}
	if rec.Restoring != "" {
		return nil, nil, rec.Unfinished()
	}
	at := slices.IndexFunc(rec.Layers, func(l upper.Layer) bool { return l.Image != "" })
	if at < 0 {
		return nil, nil, &Hint{fmt.Errorf("the overlay %s holds nothing that was written over an image", rec.Name), `run on one with --image and --overlay=NAME, or root.upper = "disk"`}
	}
	if rec.IDs.Mode == "range" && (!slices.Equal(rec.IDs.UIDs, s.ids.UIDs) || !slices.Equal(rec.IDs.GIDs, s.ids.GIDs)) {
		return nil, nil, fmt.Errorf("the overlay %s was written with other subordinate ids than you have now: owners would be wrong", rec.Name)
	}
	return rec, &rec.Layers[at], nil
}

// commit makes the layer, if anything was changed, and the image.
func (t *taker) commit(rec *upper.Record, l *upper.Layer, dir, name string, c image.Commit, changes []image.Change) (*image.Record, error) {
	img, err := t.st.Image(l.Image)
	if err != nil {
		return nil, fmt.Errorf("the image %.12s that it lies over: %w", l.Image, err)
	}
	base, err := image.Load(t.dir, img.ID)
	if err != nil {
		return nil, err
	}
	up, err := beneath.Root(upper.Path(dir, l.Upper))
	if err != nil {
		return nil, err
	}
	defer unix.Close(up)
	list, err := t.changed(rec, l, base, up)
	if err != nil {
		return nil, err
	}
	var top *storage.Layer
	if len(list.Changes) > 0 {
		t.what = "the changes"
		if top, err = t.put(blob{open: func() (io.ReadCloser, error) { return archived(up, list), nil }}, img.TopLayer); err != nil {
			return nil, err
		}
	}
	config, err := t.st.ImageBigData(img.ID, configKey)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	if config, err = configured(config, top, c, changes, now); err != nil {
		return nil, err
	}
	id := img.TopLayer
	if top != nil {
		id = top.ID
	}
	return t.make(config, id, name, origin{Source: "sandbox " + rec.Name, Imported: now})
}

// changed is what the layer changes of the image.
func (t *taker) changed(rec *upper.Record, l *upper.Layer, base *image.Record, up int) (*change.List, error) {
	tree, err := t.stack(base.Layers)
	if err != nil {
		return nil, fmt.Errorf("stacking its layers: %w", err)
	}
	defer tree.close()
	low, err := unix.Openat(tree.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(t.dir, image.Scratch), Err: err}
	}
	defer unix.Close(low)
	list, err := change.Walk(change.Source{Driver: rec.Driver, Upper: up, Lower: low}, change.Options{Owners: true})
	if err != nil {
		return nil, err
	}
	list.WithoutMade(l.Made)
	if len(list.Problems) > 0 {
		p := list.Problems[0]
		return nil, fmt.Errorf("/%s: %s", p.Path, p.Why)
	}
	if p := unfit(list); p != "" {
		return nil, &Hint{fmt.Errorf("/%s: in a layer, a name that begins with %s means that another is deleted", p, whiteout), "rename it"}
	}
	return list, nil
}

// configured is the configuration of an image with another layer on top, if there
// is one, and with changes.
func configured(base []byte, top *storage.Layer, c image.Commit, changes []image.Change, now time.Time) ([]byte, error) {
	var f v1.ConfigFile
	if err := json.Unmarshal(base, &f); err != nil {
		return nil, fmt.Errorf("reading the image's configuration: %w", err)
	}
	// Who reads an image takes each layer for one entry of its history.
	for layersIn(f.History) < len(f.RootFS.DiffIDs) {
		f.History = append(f.History, v1.History{Created: f.Created})
	}
	h := v1.History{Author: c.Author, Created: v1.Time{Time: now}, CreatedBy: c.By, Comment: c.Message, EmptyLayer: top == nil}
	if top != nil {
		sum, err := v1.NewHash(top.UncompressedDigest.String())
		if err != nil {
			return nil, err
		}
		f.RootFS.DiffIDs = append(f.RootFS.DiffIDs, sum)
	}
	f.Created, f.Author, f.Container = h.Created, c.Author, ""
	f.History = append(f.History, h)
	alter(&f.Config, changes)
	return json.Marshal(f)
}

func layersIn(history []v1.History) (n int) {
	for i := range history {
		if !history[i].EmptyLayer {
			n++
		}
	}
	return n
}

// alter makes changes to a configuration. Another entry point without a command
// goes without one: that has the arguments of the former.
func alter(c *v1.Config, changes []image.Change) {
	var command bool
	for i := range changes {
		x := &changes[i]
		switch x.Key {
		case "CMD":
			c.Cmd, command = x.Args, true
		case "ENTRYPOINT":
			if c.Entrypoint = x.Args; !command {
				c.Cmd = nil
			}
		case "ENV":
			for _, p := range x.Pairs {
				c.Env = slices.DeleteFunc(c.Env, func(kv string) bool { return strings.HasPrefix(kv, p[0]+"=") })
				c.Env = append(c.Env, p[0]+"="+p[1])
			}
		case "LABEL":
			if c.Labels == nil {
				c.Labels = map[string]string{}
			}
			for _, p := range x.Pairs {
				c.Labels[p[0]] = p[1]
			}
		case "EXPOSE":
			for _, p := range x.Args {
				if !strings.Contains(p, "/") {
					p += "/tcp"
				}
				c.ExposedPorts = with(c.ExposedPorts, p)
			}
		case "VOLUME":
			for _, v := range x.Args {
				c.Volumes = with(c.Volumes, v)
			}
		case "ONBUILD":
			c.OnBuild = append(c.OnBuild, x.Args[0])
		case "STOPSIGNAL":
			c.StopSignal = x.Args[0]
		case "USER":
			c.User = x.Args[0]
		case "WORKDIR":
			c.WorkingDir = x.Args[0]
		}
	}
}

func with(set map[string]struct{}, key string) map[string]struct{} {
	if set == nil {
		set = map[string]struct{}{}
	}
	set[key] = struct{}{}
	return set
}
