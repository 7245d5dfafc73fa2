package resolve

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
)

// onDisk marks layers whose changes are kept until overlay gives them a place.
const onDisk = "?"

// addLayers puts a layer for changes over a directory of the host's.
func (r *resolver) addLayers(target string, source host.Entry, kept string, size int64, from, why string) {
	m := sandbox.Mount{Kind: sandbox.Layers, Target: target, Source: source.Path, IsDir: true, Size: size, Mode: source.Mode & 0o777, From: from, Why: why}
	if kept == "disk" {
		m.Upper = onDisk
	} else if size == 0 {
		m.Size = profiles.OverlayMemory
	}
	r.add(m)
}

// volume shows a named directory of sbx's own, or puts layers over it.
func (r *resolver) volume(m *profiles.Mount, out sandbox.Mount, key string) {
	if !path.IsAbs(r.VolumesDir) {
		r.fail(&Error{Key: key, Msg: "there is no place to keep volumes", Hint: "set HOME to your home directory"})
		return
	}
	_, dir := r.walk(path.Join(r.VolumesDir, m.Source))
	r.plan.Create = append(r.plan.Create, dir)
	if m.Access == "overlay" {
		r.addLayers(out.Target, host.Entry{Path: dir, Mode: 0o700}, "disk", 0, key, "the volume "+m.Source+", changes kept apart")
		r.plan.Mounts[len(r.plan.Mounts)-1].NoExec = out.NoExec
		return
	}
	out.Kind, out.Source, out.IsDir, out.Private = sandbox.Bind, dir, true, true
	out.Why = "the volume " + m.Source
	r.add(out)
}

// overlay decides who makes the layers of the plan and where changes are kept.
func (r *resolver) overlay() {
	var layers []*sandbox.Mount
	kept := 0
	for i := range r.plan.Mounts {
		if m := &r.plan.Mounts[i]; m.Kind == sandbox.Layers {
			layers = append(layers, m)
			if m.Upper == onDisk {
				kept++
			}
		}
	}
	root := r.plan.Root.Upper != ""
	if root {
		kept++
	}
	if len(layers) == 0 && !root {
		return
	}
	o, prof := &r.plan.Overlay, &r.prof.Overlay
	o.Sync = prof.Sync
	if kept > 0 {
		if !path.IsAbs(r.Overlays) {
			r.fail(&Error{Key: "overlay.upper", Msg: "there is no place to keep changes", Hint: `set HOME to your home directory, or overlay.upper = "tmpfs"`})
			return
		}
		r.overlayPlace()
		o.Name, o.Dir, o.OnExit = r.OverlayName, r.facts.Cwd, sandbox.OnExit(prof.OnExit)
		o.Unnamed = prof.Name == ""
	}
	if r.plan.Root.InPlace && !r.plan.Pseudo.Dev {
		r.fail(&Error{Key: layers[0].From, Msg: "with the host's tree as the root, layers are made in the sandbox's /dev", Hint: `set root.dev = "minimal"`})
	}
	for _, m := range layers {
		r.judgeLayers(m)
	}
	r.driver(layers, kept > 0)
	// The workspace's come first, whatever its path.
	slices.SortStableFunc(layers, func(a, b *sandbox.Mount) int {
		return rankFirst(b.From == "workspace.access") - rankFirst(a.From == "workspace.access")
	})
	n := 0
	for _, m := range layers {
		if m.Upper == onDisk {
			m.Upper, m.Work = "upper", "work"
			if n > 0 {
				m.Upper, m.Work = "upper-"+strconv.Itoa(n), "work-"+strconv.Itoa(n)
			}
			n++
		}
	}
	if root {
		r.plan.Root.Upper, r.plan.Root.Work = rootUpper, rootUpper+"-work"
	}
	if kept > 0 && r.Overlay != nil {
		r.again(layers)
	}
}

// overlayPlace decides in which directory changes are kept.
func (r *resolver) overlayPlace() {
	const key = "overlay.path"
	o, place := &r.plan.Overlay, r.prof.Overlay.Path
	_, o.Store = r.walk(r.Overlays)
	if r.Overlay != nil && r.OverlayAt != "" {
		if _, at := r.walk(r.OverlayAt); place == "" {
			place = at
		} else if _, want := r.walk(place); want != at {
			r.fail(&Error{Key: key, Msg: fmt.Sprintf("the overlay %s is kept in %s", r.Overlay.Name, at), Hint: "choose another name, or discard it: sbx discard " + r.Overlay.Name})
			return
		}
	}
	if place == "" {
		return
	}
	e, err := r.facts.Files.Resolve(place, "")
	if err == nil && !e.IsDir {
		err = unix.ENOTDIR
	}
	if err != nil {
		r.fail(&Error{Key: key, Msg: "keeping changes in " + place, Hint: "make that directory, or choose another", Err: err})
		return
	}
	if e.Path != o.Store {
		o.Store, o.Index = e.Path, o.Store
	}
}

// rootUpper is the name of the layer that takes what is written over an image.
const rootUpper = "root"

func rankFirst(first bool) int {
	if first {
		return 1
	}
	return 0
}

// judgeLayers refuses a directory over which the layer for changes would lie in
// itself.
func (r *resolver) judgeLayers(m *sandbox.Mount) {
	for _, source := range append([]string{m.Source}, m.Lower...) {
		for _, d := range r.StateDirs {
			if m.Upper != "" && within(d, source) && d != source {
				r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s holds sbx's own directory %s, where the changes are kept", source, d),
					Hint: `name a directory in it, or keep the changes in memory (overlay.upper = "tmpfs")`})
				return
			}
		}
	}
}

// notBelow are file systems that overlayfs does not take as the place of changes,
// since names in them don't compare byte by byte or change on the other side of
// a network; fuse stands for all of its kind.
var notBelow = []string{"overlay", "nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "vfat", "msdos", "exfat", "ntfs3", "ntfs", "fuse", "fuseblk"}

// driver decides who makes the layers.
func (r *resolver) driver(layers []*sandbox.Mount, kept bool) {
	o, d := &r.plan.Overlay, r.facts.Files.Drivers()
	key, kernel := "overlay.backend", r.kernelLayers(layers, kept, d)
	backend := r.prof.Overlay.Backend
	if backend == "auto" && kept && r.Overlay != nil {
		backend = r.Overlay.Driver
		key = "overlay.name"
	}
	switch {
	case r.plan.Root.Upper != "" && (backend == upper.Fuse || kernel != nil):
		hint := `set root.upper = "tmpfs"`
		if kernel == nil {
			hint = `set overlay.backend = "auto", or root.upper = "tmpfs"`
		}
		r.fail(&Error{Key: "root.upper", Msg: "what is written over an image can be kept only by the kernel's overlayfs", Err: kernel, Hint: hint})
	case backend != upper.Fuse && kernel == nil:
		o.Driver = upper.Kernel
	case backend == upper.Kernel:
		r.fail(&Error{Key: key, Msg: "the kernel can't make these layers", Hint: r.instead(backend, d), Err: kernel})
	case d.FuseErr != nil && kernel != nil:
		r.fail(&Error{Key: key, Msg: fmt.Sprintf("no layers can be made: the kernel can't (%v), and fuse-overlayfs can't be used", kernel), Hint: r.instead(backend, d), Err: d.FuseErr})
	case d.FuseErr != nil:
		r.fail(&Error{Key: key, Msg: "fuse-overlayfs can't be used", Hint: `set overlay.backend = "kernel", or see sbx doctor`, Err: d.FuseErr})
	case slices.ContainsFunc(layers, func(m *sandbox.Mount) bool { return m.Upper == "" }):
		r.fail(&Error{Key: key, Msg: "fuse-overlayfs can't keep changes in memory", Hint: `set upper = "disk"`, Err: kernel})
	case strings.Contains(o.Store, ":"): // it looks up the path, and takes it for two
		r.fail(&Error{Key: key, Msg: fmt.Sprintf("fuse-overlayfs can't keep changes in %s, whose name has a colon", o.Store), Hint: "set overlay.path to another directory", Err: kernel})
	default:
		o.Driver, o.Program = upper.Fuse, d.Fuse
		if backend == "auto" {
			r.note("info", "overlay", key, "fuse-overlayfs makes the layers: %v", kernel)
		}
	}
	if o.Driver == "" {
		o.Driver = upper.Kernel // so that what follows has one; the plan is refused
	}
}

// instead says what else could be done.
func (r *resolver) instead(backend string, d host.Drivers) string {
	memory := `keep the changes in memory (overlay.upper = "tmpfs")`
	if backend == upper.Kernel && d.FuseErr == nil {
		return `set overlay.backend = "auto" for fuse-overlayfs, or ` + memory
	}
	return memory + ", or see sbx doctor for fuse-overlayfs"
}

// kernelLayers says why the kernel can't make the layers, nil if it should.
func (r *resolver) kernelLayers(layers []*sandbox.Mount, kept bool, d host.Drivers) error {
	if d.Kernel != nil {
		return d.Kernel
	}
	if kept {
		l, err := r.facts.Files.Layering(r.plan.Overlay.Store)
		if err != nil {
			return err
		}
		typ, _, _ := strings.Cut(l.Type, ".") // fuse.sshfs
		if slices.Contains(notBelow, typ) {
			return fmt.Errorf("%s lies on %s, which overlayfs does not write to", r.plan.Overlay.Store, l.Type)
		}
		if typ == "tmpfs" && d.Memory != nil {
			return d.Memory
		}
	}
	for _, m := range layers {
		if m.Upper == "" && m.Size > 0 && d.Memory != nil {
			return d.Memory
		}
		for _, source := range append([]string{m.Source}, m.Lower...) {
			l, err := r.facts.Files.Layering(source)
			if err != nil {
				return err
			}
			if len(l.Mounts) > 0 {
				return fmt.Errorf("in %s something else is mounted (%s), and the kernel does not show what lies below", source, l.Mounts[0])
			}
		}
	}
	return nil
}

// again goes on with an overlay that is there, if it was made over the same and
// by the same means.
func (r *resolver) again(layers []*sandbox.Mount) {
	const key = "overlay.name"
	rec, o := r.Overlay, &r.plan.Overlay
	refuse := func(format string, args ...any) {
		r.fail(&Error{Key: key, Msg: fmt.Sprintf("the overlay %s can't be gone on with: ", rec.Name) + fmt.Sprintf(format, args...), Hint: "choose another name, or discard it: sbx discard " + rec.Name})
	}
	o.Again = true
	if rec.Driver != o.Driver {
		refuse("%s made it, whose marks for what is deleted %s does not know", rec.Driver, o.Driver)
	}
	ids := &r.plan.IDs
	switch {
	case len(ids.OuterUIDs) == 0: // refused already
	case !slices.Equal(rec.IDs.UIDs, ids.OuterUIDs) || !slices.Equal(rec.IDs.GIDs, ids.OuterGIDs):
		refuse("its files belong to other ids than exist here (it has user.map = %q)", rec.IDs.Mode)
	}
	n := 0
	if img := &r.plan.Root.Image; r.plan.Root.Upper != "" {
		n++
		at := slices.IndexFunc(rec.Layers, func(l upper.Layer) bool { return l.Target == "/" })
		switch {
		case at < 0:
			refuse("it has no layer for the root")
		case rec.Layers[at].Image != img.ID:
			refuse("it lies over the image %.12s, and %s is %.12s", rec.Layers[at].Image, img.Name, img.ID)
		}
	}
	for _, m := range layers {
		if m.Upper == "" {
			continue
		}
		n++
		at := slices.IndexFunc(rec.Layers, func(l upper.Layer) bool { return l.Target == m.Target })
		switch {
		case at < 0:
			refuse("it has no layer for %s", m.Target)
		case !slices.Equal(rec.Layers[at].Lower, append([]string{m.Source}, m.Lower...)):
			refuse("it lies over %s, and this would over %s", strings.Join(rec.Layers[at].Lower, ", "), strings.Join(append([]string{m.Source}, m.Lower...), ", "))
		default:
			m.Upper, m.Work = rec.Layers[at].Upper, rec.Layers[at].Work
		}
	}
	if n > 0 && n < len(rec.Layers) {
		r.note("warning", "overlay", key, "the overlay %s has %d layers, of which %d are used here", rec.Name, len(rec.Layers), n)
	}
}

// overlayFeatures says what holds of the layers.
func (r *resolver) overlayFeatures(add addFeature) {
	o := &r.plan.Overlay
	if o.Driver == "" {
		return
	}
	by := "overlayfs of the kernel"
	if o.Driver == upper.Fuse {
		by = o.Program
	}
	switch {
	case o.Name != "" && o.Again:
		by += ", going on with " + o.Name
	case o.Name != "":
		by += ", changes kept as " + o.Name
	default:
		by += ", changes in memory"
	}
	add("overlay", "enforced", by, "", "overlay.backend")
	r.sizeFeature(add)
}

// sizeFeature says how the bounds of layers hold.
func (r *resolver) sizeFeature(add addFeature) {
	var memory, disk, soft int // bounds of a tmpfs, of the place, and none but sbx's look
	var from string
	var place int64
	if o := &r.plan.Overlay; o.Name != "" {
		if l, err := r.facts.Files.Layering(o.Store); err == nil {
			place = l.Total
		}
	}
	judge := func(size int64, key string) {
		switch {
		case size == 0:
		case place > 0 && place <= size:
			disk++
		default:
			soft++
			from = key
		}
	}
	if rt := &r.plan.Root; rt.Upper != "" {
		judge(rt.Size, "root.size")
	}
	for i := range r.plan.Mounts {
		m := &r.plan.Mounts[i]
		switch {
		case m.Kind != sandbox.Layers || m.Size == 0:
		case m.Upper == "":
			memory++
		default:
			judge(m.Size, m.From)
		}
	}
	switch {
	case soft > 0:
		why := "on disk the size is looked at once a second: a fast writer gets past it before the sandbox is ended"
		add("overlay_size", "degraded", "soft", why, from)
		r.note("degraded", "overlay_size", from, "%s", why)
	case disk == 0 && memory > 0:
		add("overlay_size", "enforced", "hard, the size of a tmpfs", "", "overlay.size")
	case disk > 0:
		add("overlay_size", "enforced", fmt.Sprintf("hard, no more than %d MiB can lie in %s: by a project quota, or its file system's size", place>>20, r.plan.Overlay.Store), "", "overlay.size")
	}
}

// KeepsRoot says that what is written over an image is kept.
func KeepsRoot(p *profiles.Profile) bool {
	_, ok := profiles.ImageName(p.Root.Source)
	return ok && p.Root.Upper == "disk"
}

// layered says that a profile has overlays.
func layered(p *profiles.Profile) bool {
	return KeepsRoot(p) || p.HomeLayers() || p.Workspace.Access == "overlay" || slices.ContainsFunc(p.Mounts, func(m profiles.Mount) bool {
		return m.Type == "overlay" || m.Type == "volume" && m.Access == "overlay"
	})
}
