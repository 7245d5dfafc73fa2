//go:build !cgo

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// layerName is what the directory of a layer is called, linkName its short name.
var (
	layerName = regexp.MustCompile(`^[0-9a-f]{64}$`)
	linkName  = regexp.MustCompile(`^[A-Z0-9]{26}$`)
)

// mendLinks makes whole what a killed process left of layers' short names. Each
// layer has a link in the directory l, and a file "link" with that link's name.
// Where the file is still empty, containers/storage 1.64 removes, with the layer
// that was not finished, the link of no name: all of l, and every image with it.
//
// The link is made before the file, so whoever is making a layer right now writes
// what is written here.
func mendLinks(layers string) error {
	links := filepath.Join(layers, "l")
	dirs, err := os.ReadDir(layers)
	if err != nil {
		return err
	}
	var names map[string]string // short names by the layer they lead to
	for _, d := range dirs {
		if !layerName.MatchString(d.Name()) {
			continue
		}
		file := filepath.Join(layers, d.Name(), "link")
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a layer that is being made, or removed
		}
		name := string(text)
		if linkName.MatchString(name) {
			err = relink(links, name, d.Name())
		} else {
			if names == nil {
				names = shortNames(links)
			}
			err = rewrite(file, names[d.Name()])
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
			return fmt.Errorf("mending the layer %s: %w", d.Name()[:12], err)
		}
	}
	return nil
}

// relink makes a layer's link where it is missing.
func relink(links, name, layer string) error {
	path := filepath.Join(links, name)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(links, 0o755); err != nil {
		return err
	}
	err := os.Symlink("../"+layer+"/diff", path)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// rewrite puts a layer's short name into its file, which is removed when it has
// none.
func rewrite(file, name string) error {
	if name == "" {
		return os.Remove(file)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".link-")
	if err != nil {
		return err
	}
	_, err = f.WriteString(name)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// shortNames are the names in the directory of links, by the layer each leads to.
func shortNames(links string) map[string]string {
	names := map[string]string{}
	list, _ := os.ReadDir(links) // none is none
	for _, l := range list {
		to, err := os.Readlink(filepath.Join(links, l.Name()))
		if id := strings.TrimSuffix(strings.TrimPrefix(to, "../"), "/diff"); err == nil && layerName.MatchString(id) && linkName.MatchString(l.Name()) {
			names[id] = l.Name()
		}
	}
	return names
}
