package program

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// Layers are made in the stash, where each layer is mounted under a name of
// ours: the names in overlayfs's options are then these, and no path of the
// user's can hold an option (CVE-2016-1575 and its kin came of such paths).

// held are the operations that took hold of a mount's layers: clones of the
// lower ones, the topmost first, and of the overlay's directory, -1 without one.
type held struct {
	lower []int
	kept  int
}

// holdLayers clones each layer by itself. What is mounted below it stays out: the
// kernel refuses to show what such a mount covers.
func (b *builder) holdLayers(m sandbox.Mount, o *sandbox.Overlay) held {
	h := held{kept: -1}
	for _, dir := range append([]string{m.Source}, m.Lower...) {
		b.step(dir, m.From, "take hold of the layer %s", dir)
		h.lower = append(h.lower, b.cloneOne(res(b.open(atCWD, dir))))
	}
	if m.Upper != "" {
		b.step(o.Path(), "overlay.upper", "take hold of %s, where changes are kept", o.Path())
		h.kept = b.cloneOne(res(b.open(atCWD, o.Path())))
	}
	return h
}

// cloneOne is clone without what is mounted below.
func (b *builder) cloneOne(at Arg) int {
	return b.call(unix.SYS_OPEN_TREE, at, b.str(""), c(unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
}

// The names in the stash. Layers are numbered.
const stashUpper = "u"

func (b *builder) layers(m sandbox.Mount, p *sandbox.Plan) {
	o := &p.Overlay
	if o.Driver != "kernel" {
		b.fuseLayers(m, p)
		return
	}
	h, ok := b.heldLayers[m.Target]
	if !ok {
		h = b.holdLayers(m, o)
	}
	b.step(m.Source, m.From, "lay out the layers of %s", m.Target)
	b.call(unix.SYS_MKDIRAT, atCWD, b.str(b.stash), c(0o700))
	names := make([]string, len(h.lower))
	for i, t := range h.lower {
		names[i] = strconv.Itoa(i)
		b.stashed(names[i], t)
	}
	upper, work := b.layUpper(m, h)
	here := b.call(unix.SYS_OPENAT, atCWD, b.str("."), c(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC), c(0))
	b.call(unix.SYS_CHDIR, b.str(b.stash))

	b.step(m.Source, "overlay.backend", "make an overlay of %s", layersText{&m})
	fs := b.call(unix.SYS_FSOPEN, b.str("overlay"), c(unix.FSOPEN_CLOEXEC))
	set := func(key, value string) {
		b.call(unix.SYS_FSCONFIG, res(fs), c(unix.FSCONFIG_SET_STRING), b.str(key), b.str(value), c(0))
	}
	set("lowerdir", strings.Join(names, ":"))
	if upper != "" {
		set("upperdir", upper)
		set("workdir", work)
	}
	// Marks are attributes that need no privilege, Linux 5.11.
	b.call(unix.SYS_FSCONFIG, res(fs), c(unix.FSCONFIG_SET_FLAG), b.str("userxattr"), c(0), c(0))
	if m.Upper != "" && !o.Sync { // Linux 5.10; upper.Reuse lets it be mounted again
		b.call(unix.SYS_FSCONFIG, res(fs), c(unix.FSCONFIG_SET_FLAG), b.str("volatile"), c(0), c(0))
	}
	b.call(unix.SYS_FSCONFIG, res(fs), c(unix.FSCONFIG_CMD_CREATE), c(0), c(0), c(0))
	t := b.call(unix.SYS_FSMOUNT, res(fs), c(unix.FSMOUNT_CLOEXEC), c(attributes(m)))
	b.call(unix.SYS_CLOSE, res(fs))
	b.call(unix.SYS_FCHDIR, res(here))

	b.step(m.Target, m.From, "put it on %s", m.Target)
	b.put(t, m)
	if upper != "" {
		names = append(names, stashUpper)
	}
	for _, n := range names { // the overlay goes on having them
		b.call(unix.SYS_UMOUNT2, b.str(path.Join(b.stash, n)), c(unix.MNT_DETACH))
		b.call(unix.SYS_UNLINKAT, atCWD, b.str(path.Join(b.stash, n)), c(unix.AT_REMOVEDIR))
	}
	b.call(unix.SYS_UNLINKAT, atCWD, b.str(b.stash), c(unix.AT_REMOVEDIR))
}

// stashed puts a detached tree into the stash.
func (b *builder) stashed(name string, tree int) {
	at := path.Join(b.stash, name)
	b.call(unix.SYS_MKDIRAT, atCWD, b.str(at), c(0o700))
	b.move(res(tree), atCWD, at)
}

// layUpper lays out what takes the changes, and names its two directories as
// seen from the stash; none where nothing can be written.
func (b *builder) layUpper(m sandbox.Mount, h held) (upper, work string) {
	switch {
	case m.Upper != "":
		b.stashed(stashUpper, h.kept)
		return path.Join(stashUpper, m.Upper), path.Join(stashUpper, m.Work)
	case m.Size == 0:
		return "", ""
	}
	b.stashed(stashUpper, b.tmpfs(m.Size, max(m.Size/4096, 64), 0o700, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV))
	upper, work = path.Join(stashUpper, "upper"), path.Join(stashUpper, "work")
	// The root of what is seen inside has the mode of the upper's.
	b.call(unix.SYS_MKDIRAT, atCWD, b.str(path.Join(b.stash, upper)), c(uint64(m.Mode)))
	b.call(unix.SYS_MKDIRAT, atCWD, b.str(path.Join(b.stash, work)), c(0o700))
	return upper, work
}

// layersText prints layers when a step's sentence is asked for.
type layersText struct{ *sandbox.Mount }

func (m layersText) String() string {
	s := strings.Join(append([]string{m.Source}, m.Lower...), " over ")
	switch {
	case m.Upper != "":
		return m.Upper + " over " + s
	case m.Size > 0:
		return fmt.Sprintf("a tmpfs of %d bytes over %s", m.Size, s)
	}
	return s
}
