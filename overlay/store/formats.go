//go:build !cgo

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/sbx-sandbox/sbx/overlay/image"
)

// found is an image that was found and is to be taken in.
type found struct {
	config []byte
	blobs  []blob
	digest string // of its manifest
	name   string // what it calls itself, "" for nothing
}

// maxJSON bounds what is read of an image's descriptions, in bytes.
const maxJSON = 8 << 20

// findOCI finds the image of an OCI image layout (image-layout.md). ref chooses
// one of several, by the name they are given there.
func findOCI(f files, ref string) (*found, error) {
	top, err := text(f, "index.json", maxJSON)
	if err != nil {
		return nil, fmt.Errorf("reading the index: %w", err)
	}
	var x v1.IndexManifest
	if err := json.Unmarshal(top, &x); err != nil {
		return nil, fmt.Errorf("reading the index: %w", err)
	}
	d, err := choose(f, x.Manifests, ref, 0)
	if err != nil {
		return nil, err
	}
	raw, err := verified(f, d.Digest)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	img, err := fromManifest(f, raw)
	if err != nil {
		return nil, err
	}
	img.digest = d.Digest.String()
	if n := d.Annotations["org.opencontainers.image.ref.name"]; image.CheckName(n) == nil {
		img.name = n
	}
	return img, nil
}

// choose picks the manifest for this machine, also from an index in the index.
func choose(f files, list []v1.Descriptor, ref string, depth int) (v1.Descriptor, error) {
	const refName = "org.opencontainers.image.ref.name"
	var fit []v1.Descriptor
	var refs, platforms []string
	for _, d := range list {
		if p := d.Platform; p != nil && (p.OS != "linux" || p.Architecture != runtime.GOARCH) {
			platforms = append(platforms, p.OS+"/"+p.Architecture)
			continue
		}
		if n := d.Annotations[refName]; n != "" {
			refs = append(refs, n)
		}
		if ref == "" || d.Annotations[refName] == ref {
			fit = append(fit, d)
		}
	}
	switch {
	case len(fit) == 0 && ref != "":
		return v1.Descriptor{}, fmt.Errorf("it holds no image %q; there are: %s", ref, strings.Join(refs, ", "))
	case len(fit) == 0 && len(platforms) > 0:
		return v1.Descriptor{}, fmt.Errorf("it is for %s, and this machine is linux/%s", strings.Join(platforms, ", "), runtime.GOARCH)
	case len(fit) == 0:
		return v1.Descriptor{}, errors.New("it holds no image")
	case len(fit) > 1 && depth == 0:
		return v1.Descriptor{}, &Hint{fmt.Errorf("it holds %d images: %s", len(fit), strings.Join(refs, ", ")), "choose one with --ref"}
	}
	d := fit[0]
	if d.MediaType != types.OCIImageIndex && d.MediaType != types.DockerManifestList {
		return d, nil
	}
	if depth > 0 {
		return d, errors.New("an index in an index in an index is not read")
	}
	raw, err := verified(f, d.Digest)
	if err != nil {
		return d, err
	}
	var x v1.IndexManifest
	if err := json.Unmarshal(raw, &x); err != nil {
		return d, err
	}
	inner, err := choose(f, x.Manifests, "", depth+1)
	if inner.Annotations == nil {
		inner.Annotations = d.Annotations
	}
	return inner, err
}

// blobName is where a layout has what a digest names.
func blobName(h v1.Hash) (string, error) {
	if h.Algorithm != "sha256" || len(h.Hex) != 64 || strings.Trim(h.Hex, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is no digest that is known here", h)
	}
	return path.Join("blobs", h.Algorithm, h.Hex), nil
}

// verified is the small part that a digest names.
func verified(f files, h v1.Hash) ([]byte, error) {
	name, err := blobName(h)
	if err != nil {
		return nil, err
	}
	b, err := text(f, name, maxJSON)
	if err != nil {
		return nil, err
	}
	if have := digest.FromBytes(b); have.String() != h.String() {
		return nil, fmt.Errorf("%s is not what its name says, but %s", name, have)
	}
	return b, nil
}

func fromManifest(f files, raw []byte) (*found, error) {
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	if m.Config.Digest.Hex == "" {
		return nil, errors.New("its manifest names no configuration")
	}
	config, err := verified(f, m.Config.Digest)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	img := &found{config: config}
	diffs, err := diffIDs(config, len(m.Layers))
	if err != nil {
		return nil, err
	}
	for i, l := range m.Layers {
		name, err := blobName(l.Digest)
		if err != nil {
			return nil, err
		}
		img.blobs = append(img.blobs, blob{diffID: diffs[i], size: l.Size, open: func() (io.ReadCloser, error) {
			r, _, err := f.open(name)
			return r, err
		}})
	}
	return img, nil
}

// diffIDs are the digests of n layers' contents, by the configuration.
func diffIDs(config []byte, n int) ([]digest.Digest, error) {
	var c v1.ConfigFile
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if c.OS != "" && c.OS != "linux" || c.Architecture != "" && c.Architecture != runtime.GOARCH {
		return nil, fmt.Errorf("the image is for %s/%s, and this machine is linux/%s", c.OS, c.Architecture, runtime.GOARCH)
	}
	if len(c.RootFS.DiffIDs) != n || n == 0 {
		return nil, fmt.Errorf("the image has %d layers, and its configuration names %d", n, len(c.RootFS.DiffIDs))
	}
	if n > image.MaxLayers {
		return nil, fmt.Errorf("the image has %d layers, and %d can be stacked", n, image.MaxLayers)
	}
	list := make([]digest.Digest, n)
	for i, h := range c.RootFS.DiffIDs {
		list[i] = digest.Digest(h.String())
		if err := list[i].Validate(); err != nil || list[i].Algorithm() != digest.SHA256 {
			return nil, fmt.Errorf("%q is no digest that is known here", h)
		}
	}
	return list, nil
}

// findDocker finds the image of an archive as docker save and skopeo write it.
func findDocker(f files, ref string) (*found, error) {
	raw, err := text(f, "manifest.json", maxJSON)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	var list []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	var tags []string
	at := -1
	for i, m := range list {
		tags = append(tags, m.RepoTags...)
		if ref == "" && len(list) == 1 || ref != "" && slices.Contains(m.RepoTags, ref) {
			at = i
		}
	}
	switch {
	case len(list) == 0:
		return nil, errors.New("it holds no image")
	case at < 0 && ref == "":
		return nil, &Hint{fmt.Errorf("it holds %d images: %s", len(list), strings.Join(tags, ", ")), "choose one with --ref"}
	case at < 0:
		return nil, fmt.Errorf("it holds no image %q; there are: %s", ref, strings.Join(tags, ", "))
	}
	m := list[at]
	config, err := text(f, m.Config, maxJSON)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	diffs, err := diffIDs(config, len(m.Layers))
	if err != nil {
		return nil, err
	}
	img := &found{config: config}
	for i, name := range m.Layers {
		r, size, err := f.open(name)
		if err != nil {
			return nil, fmt.Errorf("reading a layer: %w", err)
		}
		r.Close()
		img.blobs = append(img.blobs, blob{diffID: diffs[i], size: size, open: func() (io.ReadCloser, error) {
			r, _, err := f.open(name)
			return r, err
		}})
	}
	for _, n := range m.RepoTags {
		if image.CheckName(n) == nil {
			img.name = n
			break
		}
	}
	return img, nil
}
