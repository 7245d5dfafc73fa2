package images

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
)

// Dir is the directory of images, "" where there is no home.
func Dir(inv *cli.Invocation) string {
	data := inv.XDG("XDG_DATA_HOME", ".local/share")
	if data == "" {
		return ""
	}
	return filepath.Join(data, "images")
}

// Root looks up the image that is the profile's root, nil if it is none.
// No other program is started for that, unless images changed behind sbx's back.
func Root(inv *cli.Invocation, prof *profiles.Profile) (*resolve.Image, error) {
	name, ok := profiles.ImageName(prof.Root.Source)
	if !ok {
		return nil, nil
	}
	inv.Seen.Spoil("the root is an image")
	fail := func(err error, hint string) (*resolve.Image, error) {
		return nil, &resolve.Error{Key: "root.source", Msg: fmt.Sprintf("the image %q can't be the root", name), Err: err, Hint: hint}
	}
	dir := Dir(inv)
	if dir == "" {
		return fail(errors.New("there is no home directory in which images are kept"), "set HOME or XDG_DATA_HOME")
	}
	x, err := imageIndex(inv, dir)
	if err != nil {
		return fail(err, "")
	}
	id, err := x.Find(name)
	if errors.Is(err, image.ErrNone) {
		var names []string
		for n := range x.Names {
			names = append(names, n)
		}
		hint := "sbx image ls lists those there are, sbx image import and pull get more"
		if near := profiles.Nearest(image.Tagged(name), names); near != "" {
			hint = "did you mean image:" + near + "? " + hint
		}
		return fail(err, hint)
	}
	if err != nil {
		return fail(err, "")
	}
	rec, err := image.Load(dir, id)
	if err != nil {
		return fail(err, "sbx image ls writes it anew")
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fail(err, "")
	}
	return &resolve.Image{Dir: real, Record: rec}, nil
}

// imageIndex is the index of images, written anew if the images changed since.
func imageIndex(inv *cli.Invocation, dir string) (image.Index, error) {
	x, stale, err := image.LoadIndex(dir)
	if err != nil || !stale {
		return x, err
	}
	if _, err := askStore(inv, image.Request{Verb: image.VerbIndex}); err != nil {
		return x, fmt.Errorf("the images changed since their index was written: %w", err)
	}
	x, _, err = image.LoadIndex(dir)
	return x, err
}

// Names are candidates for completion.
func Names() []cli.Candidate {
	inv := &cli.Invocation{Env: profiles.HostEnv()}
	x, _, err := image.LoadIndex(Dir(inv))
	if err != nil {
		return nil
	}
	var list []cli.Candidate
	for n := range x.Names {
		list = append(list, cli.Candidate{Word: n})
	}
	return list
}

// Runs reports whether the profile's root is an image with a command of its
// own.
func Runs(inv *cli.Invocation, prof *profiles.Profile) bool {
	img, err := Root(inv, prof)
	return err == nil && img != nil && len(img.Record.Config.Entrypoint)+len(img.Record.Config.Cmd) > 0
}
