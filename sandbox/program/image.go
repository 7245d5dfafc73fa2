package program

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/userns"
)

// imageRoot stacks the layers of an image, with a tmpfs on top that takes what
// is written, and enters the result. Paths in overlayfs's options are resolved
// from the working directory, which is that of the layers; no path of the
// user's becomes part of an option.
//
// What the image holds is not trusted: as long as the host's tree is at "/", an
// absolute link in it leads there. So nothing is mounted or made on the way of
// a link: see in, open and mkdirAt.
func (b *builder) imageRoot(p *sandbox.Plan) (root int) {
	img := &p.Root.Image
	b.cutOff()
	b.cloneTop(p)
	b.step(img.Dir, p.Root.From, "enter the directory of layers")
	b.call(unix.SYS_FCHDIR, res(b.open(atCWD, img.Dir)))
	upper, work, merged := b.imageUpper(p)
	b.step(img.Name, p.Root.From, "stack %d layers of the image %s as the new root", len(img.Layers), img.Name)
	options := "userxattr" // the marks of a file system that an ordinary user mounts
	if p.Root.Upper != "" && !p.Overlay.Sync {
		options += ",volatile"
	}
	b.classic("overlay", merged, unix.MS_NOSUID|unix.MS_NODEV,
		options+",upperdir="+upper+",workdir="+work+",lowerdir="+strings.Join(img.Layers, ":"))
	b.call(unix.SYS_CHDIR, b.str(merged))
	return b.open(atCWD, ".")
}

// imageUpper makes what takes the writes: a tmpfs, or directories of the overlay,
// whose own path never becomes part of an option. merged is where the root goes.
func (b *builder) imageUpper(p *sandbox.Plan) (upper, work, merged string) {
	rt, at := &p.Root, p.Root.Image.Scratch
	size, inodes := rt.Size, rt.Inodes
	if rt.Upper != "" {
		size, inodes = 64<<10, 16 // of directories to mount on
	}
	b.step(rt.Image.Dir, rt.From, "mount a tmpfs of %d bytes for what is written", size)
	b.classic("tmpfs", at, unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,nr_inodes=%d,mode=700", size, inodes))
	upper, work, merged = at+"/upper", at+"/work", at+"/root"
	dirs := []string{upper, work, merged}
	if rt.Upper != "" {
		kept := at + "/kept"
		dirs, upper, work = []string{kept, merged}, path.Join(kept, rt.Upper), path.Join(kept, rt.Work)
	}
	for _, d := range dirs {
		b.call(unix.SYS_MKDIRAT, atCWD, b.str(d), c(0o755))
	}
	if rt.Upper != "" {
		o := &p.Overlay
		b.step(o.Path(), "root.upper", "take hold of %s, where changes are kept", o.Path())
		b.move(res(b.cloneOne(res(b.open(atCWD, o.Path())))), atCWD, dirs[0])
	}
	return upper, work, merged
}

// become changes to the command's ids where they are not those that the caller
// has in the inner user namespace: to a user of an image's own. The capabilities
// stay (capabilities(7), SECBIT_NO_SETUID_FIXUP) until they are dropped on purpose.
func (b *builder) become(p *sandbox.Plan) {
	ids := &p.IDs
	uid, gid := arrival(p.Caller.UID, ids.OuterUIDs, ids.InnerUIDs), arrival(p.Caller.GID, ids.OuterGIDs, ids.InnerGIDs)
	if uid == ids.UID && gid == ids.GID {
		return
	}
	b.step("", "user.as", "become the image's user %d:%d", ids.UID, ids.GID)
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_SECUREBITS), ci(noSetuidFix&^(1<<3)))
	u, g := c(uint64(ids.UID)), c(uint64(ids.GID))
	b.call(unix.SYS_SETGROUPS, c(1), addr(b.words(uint64(ids.GID))))
	b.call(unix.SYS_SETRESGID, g, g, g)
	b.call(unix.SYS_SETRESUID, u, u, u)
}

// arrival is the id that the caller's own has once in the inner namespace; of
// one that is not mapped, none that a command could have.
func arrival(own uint32, outer, inner userns.Map) uint32 {
	if in, ok := outer.Inside(own); ok {
		if in, ok = inner.Inside(in); ok {
			return in
		}
	}
	return ^uint32(0)
}
