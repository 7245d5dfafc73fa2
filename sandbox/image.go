package sandbox

import (
	"errors"
	"fmt"
	"strings"
)

// Image is an image as the root: its layers on top of one another, read-only,
// and over them one that takes what is written, in memory or in the Plan's overlay.
type Image struct {
	Name string `json:"name"` // as the profile says it
	ID   string `json:"id"`
	// Dir is the directory that the layers' names are relative to, free of
	// symbolic links. They are short since mount(2) takes a page of options.
	Dir    string   `json:"dir"`
	Layers []string `json:"layers"` // the topmost first
	// Scratch is an empty directory, relative to Dir, to mount on while the root
	// is made.
	Scratch string `json:"scratch"`
	// Lock is a file that is locked, shared, while the sandbox lives: whoever
	// removes images asks for it alone.
	Lock string `json:"lock"`
}

// OnImage reports whether the root is an image.
func (r *Root) OnImage() bool { return r.Image.ID != "" }

// checkImage judges what becomes part of mount options.
func checkImage(r *Root) error {
	i := &r.Image
	if !r.OnImage() {
		return nil
	}
	errs := []error{checkPath("directory of layers", i.Dir), checkPath("lock of an image", i.Lock)}
	if r.InPlace {
		errs = append(errs, errors.New("an image and the host's tree as the root"))
	}
	if len(i.Layers) == 0 {
		errs = append(errs, errors.New("an image without layers"))
	}
	for _, l := range append([]string{i.Scratch}, i.Layers...) {
		if l == "" || strings.Trim(l, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./-_") != "" {
			errs = append(errs, fmt.Errorf("%q as a part of mount options", l))
		}
	}
	return errors.Join(errs...)
}
