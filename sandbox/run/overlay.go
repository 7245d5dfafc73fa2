package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/sandbox"
)

// openOverlay makes the directory that takes the changes of p, or takes hold of
// the one that is there. It is nil for a plan that keeps none.
func openOverlay(p *sandbox.Plan) (*upper.Held, error) {
	o := &p.Overlay
	if o.Name == "" {
		return nil, nil
	}
	if o.Again {
		return overlayAgain(p)
	}
	r := &upper.Record{
		Version: upper.RecordVersion, Name: o.Name, Unnamed: o.Unnamed, Driver: o.Driver,
		Profile: p.Name, Dir: o.Dir, Argv: p.Process.Argv,
		IDs: upper.IDs{Mode: p.IDs.Mode, UIDs: p.IDs.OuterUIDs, GIDs: p.IDs.OuterGIDs},
	}
	var err error
	if r.Layers, r.Size, err = newLayers(p); err != nil {
		return nil, err
	}
	r.Base = upper.Now()
	r.Created = time.Unix(0, r.Base).UTC()
	started(r)
	if o.Index != "" {
		if err := (upper.Store{Root: o.Index}).Point(o.Name, o.Store); err != nil {
			return nil, taken(o, err)
		}
	}
	h, err := upper.Store{Root: o.Store}.Create(r, "")
	if err != nil {
		forget(o)
	}
	return h, taken(o, err)
}

// forget forgets where the overlay was, if it is there no more.
func forget(o *sandbox.Overlay) {
	if o.Index != "" {
		_ = upper.Store{Root: o.Index}.Forget(o.Name) // or somebody does it later
	}
}

func taken(o *sandbox.Overlay, err error) error {
	switch {
	case errors.Is(err, os.ErrExist):
		return fmt.Errorf("an overlay %s came to be meanwhile; choose another name, or try again to go on with it", o.Name)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("making the overlay %s: %w; make room there, or name another place as overlay.path", o.Name, err)
	}
	return err
}

// newLayers are the layers of p whose changes are kept, and the sum of their bounds.
func newLayers(p *sandbox.Plan) (list []upper.Layer, size int64, err error) {
	for i := range p.Mounts {
		if m := &p.Mounts[i]; m.Upper != "" {
			l := upper.Layer{Target: m.Target, Lower: append([]string{m.Source}, m.Lower...), Upper: m.Upper, Work: m.Work}
			if m.Private {
				l.Made = made(p, m.Target, nil)
			}
			if size += m.Size; m.Upper == "upper" { // the first one
				list = append([]upper.Layer{l}, list...)
			} else {
				list = append(list, l)
			}
		}
	}
	rt := &p.Root
	if rt.Upper == "" {
		return list, size, nil
	}
	l := upper.Layer{Target: "/", Upper: rt.Upper, Work: rt.Work, Image: rt.Image.ID, Made: made(p, "/", nil)}
	for _, name := range rt.Image.Layers {
		link := filepath.Join(rt.Image.Dir, name) // of containers/storage's: ../ID/diff
		to, err := os.Readlink(link)
		if err != nil {
			return nil, 0, fmt.Errorf("looking for a layer of the image %s: %w; sbx image ls lists those there are", rt.Image.Name, err)
		}
		l.Lower = append(l.Lower, filepath.Join(filepath.Dir(link), to))
	}
	return append(list, l), size + rt.Size, nil
}

// made adds to a list the paths, below top, that are made to mount on.
func made(p *sandbox.Plan, top string, list []string) []string {
	if top == "/" {
		top = ""
		list = append(list, "/dev", "/proc", "/sys")
	}
	for i := range p.Mounts {
		if rest, ok := strings.CutPrefix(p.Mounts[i].Target, top+"/"); ok {
			list = append(list, "/"+rest)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func overlayAgain(p *sandbox.Plan) (*upper.Held, error) {
	o := &p.Overlay
	h, err := upper.Hold(o.Path())
	if err != nil {
		return nil, err
	}
	r, err := upper.Load(o.Path())
	if err == nil && r.Driver != o.Driver {
		err = fmt.Errorf("the overlay %s is no more the one that was planned with; try again", o.Name)
	}
	if err == nil && r.Restoring != "" {
		err = r.Unfinished()
	}
	if err == nil {
		err = upper.Applied(o.Path(), r)
	}
	if err == nil && len(r.Snapshots) == 0 && r.Empty(o.Path()) { // what the host has now is all that there is to see
		r.Base = upper.Now()
	}
	if err == nil {
		err = r.Reuse(o.Path())
	}
	if err == nil {
		for i := range r.Layers {
			if l := &r.Layers[i]; len(l.Made) > 0 {
				l.Made = made(p, l.Target, l.Made)
			}
		}
		r.Unnamed = r.Unnamed && o.Unnamed
		started(r)
		err = upper.Save(o.Path(), r)
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// started notes that a sandbox starts on the overlay now.
func started(r *upper.Record) {
	r.Used = time.Now().UTC()
	r.Generation++
	r.Boot = ""
	if text, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		r.Boot = strings.TrimSpace(string(text))
	}
}
