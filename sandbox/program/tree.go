package program

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// The tree is built while the new root is the working directory and the host's
// tree is still at "/": relative paths are the sandbox's, absolute ones the
// host's. Both stop at symbolic links, so that nobody who can write below a
// path can lead it elsewhere.

const noLinks = unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

func (b *builder) tree(p *sandbox.Plan) {
	b.made, b.stash = map[string]bool{".": true}, stash(p)
	b.cloneDevices(p)
	root := -1
	if p.Root.InPlace {
		b.hostRoot(p)
	} else if p.Root.OnImage() {
		root = b.imageRoot(p)
	} else {
		root = b.newRoot(p)
	}
	b.dev(p)
	b.proc(p)
	b.mounts(p)
	if p.Root.InPlace {
		return
	}
	b.step("/", "", "make this tree the root and let go of the host's")
	b.call(unix.SYS_PIVOT_ROOT, b.str("."), b.str("."))
	b.call(unix.SYS_UMOUNT2, b.str("."), c(unix.MNT_DETACH))
	b.call(unix.SYS_CHDIR, b.str("/"))
	if p.Root.ReadOnly {
		b.step("/", p.Root.From, "make the root read-only")
		b.setattr(res(root), "", unix.AT_EMPTY_PATH, unix.MOUNT_ATTR_RDONLY, 0)
	}
}

// mounts makes them in their order. A read-only tmpfs becomes so when all that
// lies below it is in place.
func (b *builder) mounts(p *sandbox.Plan) {
	list := p.Mounts
	var open []int // indexes of such tmpfses, each below the one before
	for i, m := range list {
		for n := len(open); n > 0 && !strings.HasPrefix(m.Target, list[open[n-1]].Target+"/"); n-- {
			b.seal(list[open[n-1]:i])
			open = open[:n-1]
		}
		b.mount(m, p)
		if m.Kind == sandbox.Tmpfs && m.ReadOnly {
			open = append(open, i)
		}
	}
	for n := len(open); n > 0; n-- {
		b.seal(list[open[n-1]:])
	}
}

// cloneDevices takes hold of the host's device nodes before anything covers or
// restricts them.
func (b *builder) cloneDevices(p *sandbox.Plan) {
	if !p.Pseudo.Dev {
		return
	}
	for _, d := range p.Pseudo.Devices {
		b.step("/dev/"+d, "", "take hold of /dev/%s", d)
		b.devs = append(b.devs, b.call(unix.SYS_OPEN_TREE, atCWD, b.str("/dev/"+d),
			c(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)))
	}
}

// cloneSources takes hold of what is to be bound while it is as the host has
// it: with the host's tree as the root, that is about to become read-only, and
// the project may lie in the home or the /tmp that is replaced.
func (b *builder) cloneSources(p *sandbox.Plan) {
	b.sources, b.heldLayers, b.heldFuse = map[string]int{}, map[string]held{}, map[string]int{}
	for _, m := range p.Mounts {
		switch m.Kind {
		case sandbox.Bind:
			b.step(m.Source, m.From, "take hold of %s", m.Source)
			b.sources[m.Target] = b.clone(res(b.open(atCWD, m.Source)))
		case sandbox.Layers:
			if p.Overlay.Driver == "kernel" {
				b.heldLayers[m.Target] = b.holdLayers(m, &p.Overlay)
			} else {
				b.heldFuse[m.Target], b.heldLayers[m.Target] = b.holdFuse(m), b.holdServed(m)
			}
		}
	}
}

// cloneTop takes hold of the host's whole tree, where that is to be bound, before the
// new root is mounted in it: a copy made later would show the sandbox's own.
func (b *builder) cloneTop(p *sandbox.Plan) {
	b.sources = map[string]int{}
	for _, m := range p.Mounts {
		if m.Kind == sandbox.Bind && m.Source == "/" {
			b.step(m.Source, m.From, "take hold of the host's tree")
			b.sources[m.Target] = b.clone(res(b.open(atCWD, m.Source)))
		}
	}
}

func (b *builder) hostRoot(p *sandbox.Plan) {
	attr := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	doc := "keep the host's tree, without setuid programs and devices"
	if p.Root.ReadOnly {
		attr |= unix.MOUNT_ATTR_RDONLY
		doc = "keep the host's tree read-only, without setuid programs and devices"
	}
	b.cutOff()
	b.cloneSources(p)
	b.step("/", p.Root.From, doc)
	b.setattr(atCWD, "/", unix.AT_RECURSIVE, attr, 0)
	if p.Root.ReadOnly {
		// Id maps and limits are still to be written through the host's /proc,
		// which the sandbox's own is about to cover.
		clear := b.words(0, unix.MOUNT_ATTR_RDONLY, 0, 0)
		b.call(unix.SYS_MOUNT_SETATTR, atCWD, b.str("/proc"), c(0), addr(clear), c(32))
	}
	b.call(unix.SYS_CHDIR, b.str("/"))
}

// cutOff stops that mounts are passed on from the host's mount namespace to
// this one, and back.
func (b *builder) cutOff() {
	b.step("/", "", "cut the mount namespace off from the host's")
	b.setattr(atCWD, "/", unix.AT_RECURSIVE, 0, unix.MS_PRIVATE)
}

// newRoot mounts a tmpfs over the host's "/" and enters it. Absolute paths go
// on meaning the host's tree, since a process's root is not what is mounted on
// top of it.
func (b *builder) newRoot(p *sandbox.Plan) (root int) {
	b.cutOff()
	b.cloneTop(p)
	b.step("/", p.Root.From, "mount a tmpfs of %d bytes as the new root", p.Root.Size)
	root = b.tmpfs(p.Root.Size, p.Root.Inodes, 0o755, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	b.move(res(root), atCWD, "/")
	b.call(unix.SYS_FCHDIR, res(root))
	return root
}

// tmpfs makes a detached tmpfs by the new mount API (fsopen(2), Linux 5.2) and
// returns the operation that has its descriptor.
func (b *builder) tmpfs(size, inodes int64, mode uint32, attr uint64) int {
	fs := b.call(unix.SYS_FSOPEN, b.str("tmpfs"), c(unix.FSOPEN_CLOEXEC))
	set := func(key, value string) {
		b.call(unix.SYS_FSCONFIG, res(fs), c(unix.FSCONFIG_SET_STRING), b.str(key), b.str(value), c(0))
	}
	set("size", fmt.Sprint(size))
	set("nr_inodes", fmt.Sprint(inodes))
	set("mode", fmt.Sprintf("%o", mode))
	b.call(unix.SYS_FSCONFIG, res(fs), c(unix.FSCONFIG_CMD_CREATE), c(0), c(0), c(0))
	m := b.call(unix.SYS_FSMOUNT, res(fs), c(unix.FSMOUNT_CLOEXEC), c(attr))
	b.call(unix.SYS_CLOSE, res(fs))
	return m
}

// move puts the detached tree at descriptor `tree` on path at dir.
func (b *builder) move(tree, dir Arg, path string) int {
	flags := uint64(unix.MOVE_MOUNT_F_EMPTY_PATH)
	if path == "" {
		flags |= unix.MOVE_MOUNT_T_EMPTY_PATH
	}
	return b.call(unix.SYS_MOVE_MOUNT, tree, b.str(""), dir, b.str(path), c(flags))
}

// setattr is mount_setattr(2) (Linux 5.12). Its attributes are added to those
// that hold already and never taken from them.
func (b *builder) setattr(dir Arg, path string, flags int, set, propagation uint64) int {
	attr := b.words(set, 0, propagation, 0) // struct mount_attr
	return b.call(unix.SYS_MOUNT_SETATTR, dir, b.str(path), ci(flags), addr(attr), c(32))
}

// open gets an O_PATH descriptor of path without following any link.
func (b *builder) open(dir Arg, path string) int {
	how := b.words(unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0, noLinks) // struct open_how
	return b.call(unix.SYS_OPENAT2, dir, b.str(path), addr(how), c(24))
}

// clone makes a detached copy of the mounts at descriptor `at`.
func (b *builder) clone(at Arg) int {
	return b.call(unix.SYS_OPEN_TREE, at, b.str(""),
		c(unix.AT_EMPTY_PATH|unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
}

// rel is a target relative to the new root.
func rel(target string) string {
	if r := strings.TrimPrefix(target, "/"); r != "" {
		return r
	}
	return "."
}

// in is the directory that holds rel, and rel's name in it. Unless the way is
// direct somebody may have left a link on it, and an absolute one leads to the
// host's tree: then the directory is opened without following any, and what is
// made is made in that one (CVE-2024-42472).
func (b *builder) in(rel string, direct bool) (dir Arg, name string) {
	if direct || path.Dir(rel) == "." {
		return atCWD, rel
	}
	return res(b.open(atCWD, path.Dir(rel))), path.Base(rel)
}

// parents makes the directories above rel that are not there yet.
func (b *builder) parents(rel string, direct bool) {
	dir := path.Dir(rel)
	if b.made[dir] {
		return
	}
	b.parents(dir, direct)
	b.mkdir(dir, 0o755, direct)
}

// mkdir makes one directory. It may be there already below a directory that
// outlives the sandbox (a persistent home).
func (b *builder) mkdir(rel string, mode uint32, direct bool) {
	if !b.made[rel] {
		dir, name := b.in(rel, direct)
		b.op(Op{Nr: unix.SYS_MKDIRAT, Tolerate: uint8(unix.EEXIST)}, dir, b.str(name), c(uint64(mode)))
		b.made[rel] = true
	}
}

// node makes an empty file to mount on.
func (b *builder) node(rel string, direct bool) {
	if !b.made[rel] {
		dir, name := b.in(rel, direct)
		b.op(Op{Nr: unix.SYS_MKNODAT, Tolerate: uint8(unix.EEXIST)}, dir, b.str(name), c(unix.S_IFREG|0o444), c(0))
		b.made[rel] = true
	}
}

// place is where a mount goes: a directory and a path in it. The path is empty
// where the target was opened without following links. An own target is made
// first.
func (b *builder) place(m sandbox.Mount) (dir Arg, path string) {
	r := rel(m.Target)
	if m.Own {
		b.parents(r, m.Direct)
		if m.IsDir {
			b.mkdir(r, 0o755, m.Direct)
		} else {
			b.node(r, m.Direct)
		}
	}
	if m.Direct {
		return atCWD, r
	}
	return res(b.open(atCWD, r)), ""
}

// put places the detached tree at the target of m.
func (b *builder) put(tree int, m sandbox.Mount) {
	dir, path := b.place(m)
	b.move(res(tree), dir, path)
}

func attributes(m sandbox.Mount) uint64 {
	attr := uint64(unix.MOUNT_ATTR_NOSUID)
	if !m.Dev {
		attr |= unix.MOUNT_ATTR_NODEV
	}
	if m.ReadOnly {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	if m.NoExec {
		attr |= unix.MOUNT_ATTR_NOEXEC
	}
	return attr
}

func (b *builder) mount(m sandbox.Mount, p *sandbox.Plan) {
	switch m.Kind {
	case sandbox.Layers:
		b.layers(m, p)
	case sandbox.Bind:
		b.bind(m)
	case sandbox.Guard:
		b.guard(m)
	case sandbox.Tmpfs:
		b.step(m.Target, m.From, "mount a tmpfs of %d bytes on %s", m.Size, m.Target)
		b.mountTmpfs(m)
	case sandbox.Mask:
		b.mask(m)
	case sandbox.Dir:
		b.step(m.Target, m.From, "make the directory %s", m.Target)
		b.parents(rel(m.Target), m.Direct)
		b.mkdir(rel(m.Target), m.Mode, m.Direct)
	case sandbox.Symlink:
		b.step(m.Target, m.From, "make the link %s to %s", m.Target, m.Source)
		b.link(m)
	case sandbox.File:
		b.file(m)
	case sandbox.Cgroups:
		b.step(m.Target, m.From, "show the sandbox's control group on %s", m.Target)
		fs := b.call(unix.SYS_FSOPEN, b.str("cgroup2"), c(unix.FSOPEN_CLOEXEC))
		b.call(unix.SYS_FSCONFIG, res(fs), c(unix.FSCONFIG_SET_STRING), b.str("source"), b.str("cgroup2"), c(0)) // its name in /proc/mounts
		b.call(unix.SYS_FSCONFIG, res(fs), c(unix.FSCONFIG_CMD_CREATE), c(0), c(0), c(0))
		t := b.call(unix.SYS_FSMOUNT, res(fs), c(unix.FSMOUNT_CLOEXEC), c(attributes(m)))
		b.call(unix.SYS_CLOSE, res(fs))
		b.put(t, m)
	default:
		b.errs = append(b.errs, fmt.Errorf("BUG: mount %s of kind %q", m.Target, m.Kind))
	}
}

// link makes a symbolic link. In a home that is kept it may be there from an
// earlier run.
func (b *builder) link(m sandbox.Mount) {
	r := rel(m.Target)
	b.parents(r, m.Direct)
	var there uint8
	if !m.Direct {
		there = uint8(unix.EEXIST)
	}
	dir, name := b.in(r, m.Direct)
	b.op(Op{Nr: unix.SYS_SYMLINKAT, Tolerate: there}, b.str(m.Source), dir, b.str(name))
	b.made[r] = true
}

// seal makes the tmpfs m[0] and what was mounted below it read-only: all at
// once, unless something there is to be written or has devices.
func (b *builder) seal(m []sandbox.Mount) {
	const attr = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	var sealed []string
	flags, doc := unix.AT_RECURSIVE, "make %s read-only with all that is below"
	for _, c := range m[1:] {
		switch {
		case !strings.HasPrefix(c.Target, m[0].Target+"/"):
		case c.Sealed:
			sealed = append(sealed, c.Target)
		case (c.Kind == sandbox.Bind || c.Kind == sandbox.Tmpfs || c.Kind == sandbox.Layers || c.Kind == sandbox.Cgroups) && (!c.ReadOnly || c.Dev):
			flags, doc = 0, "make %s read-only"
		}
	}
	b.step(m[0].Target, "", doc, m[0].Target)
	if m[0].Direct {
		b.setattr(atCWD, rel(m[0].Target), flags, attr, 0)
	} else {
		b.setattr(res(b.open(atCWD, rel(m[0].Target))), "", unix.AT_EMPTY_PATH|flags, attr, 0)
	}
	if flags != 0 {
		return
	}
	for _, target := range sealed {
		b.step(target, "", "make %s read-only", target)
		b.setattr(atCWD, rel(target), unix.AT_RECURSIVE, attr, 0)
	}
}

func (b *builder) bind(m sandbox.Mount) {
	if m.Sealed {
		b.step(m.Target, m.From, "bind %s", bindText{&m})
		_, r := b.place(m)
		b.call(unix.SYS_MOUNT, b.str(m.Source), b.str(r), c(0), c(unix.MS_BIND|unix.MS_REC), c(0))
		return
	}
	b.step(m.Source, m.From, "bind %s", bindText{&m})
	t, held := b.sources[m.Target]
	switch {
	case held:
	case m.System:
		t = b.call(unix.SYS_OPEN_TREE, atCWD, b.str(m.Source),
			c(unix.AT_SYMLINK_NOFOLLOW|unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
	default:
		t = b.clone(res(b.open(atCWD, m.Source)))
	}
	b.setattr(res(t), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attributes(m), 0)
	b.step(m.Target, m.From, "put it on %s", m.Target)
	b.put(t, m)
}

// bindText prints a bind when a step's sentence is asked for.
type bindText struct{ *sandbox.Mount }

func (m bindText) String() string {
	s := m.Source
	if m.Target != m.Source {
		s += " on " + m.Target
	}
	if m.ReadOnly {
		return s + " read-only"
	}
	return s + " read-write"
}

func (b *builder) mountTmpfs(m sandbox.Mount) {
	if !m.Direct {
		attr := attributes(m) &^ unix.MOUNT_ATTR_RDONLY // that is for seal
		b.put(b.tmpfs(m.Size, m.Inodes, m.Mode, attr), m)
		return
	}
	_, r := b.place(m)
	flags := uint64(unix.MS_NOSUID | unix.MS_NODEV)
	if m.NoExec {
		flags |= unix.MS_NOEXEC
	}
	b.classic("tmpfs", r, flags, fmt.Sprintf("size=%d,nr_inodes=%d,mode=%o", m.Size, m.Inodes, m.Mode))
}

// guard binds what is at the target onto itself. A mount point can be neither
// renamed nor removed, and it has attributes of its own. Those that hold already stay:
// without devices, the null device that masks a file in it could not be read.
func (b *builder) guard(m sandbox.Mount) {
	doc := "pin %s in its place"
	if m.ReadOnly {
		doc = "make %s read-only"
	}
	b.step(m.Target, m.From, doc, m.Target)
	at := b.open(atCWD, rel(m.Target))
	t := b.clone(res(at))
	if m.ReadOnly {
		b.setattr(res(t), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, unix.MOUNT_ATTR_RDONLY, 0)
	}
	b.move(res(t), res(at), "")
}

func (b *builder) mask(m sandbox.Mount) {
	b.step(m.Target, m.From, "mask %s", m.Target)
	var t int
	if m.IsDir {
		t = b.tmpfs(4096, 2, 0o555, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_RDONLY)
	} else {
		t = b.cloneNull()
	}
	b.put(t, m)
}

// cloneNull is a read-only mount of the host's /dev/null, which reads as an
// empty file.
func (b *builder) cloneNull() int {
	t := b.call(unix.SYS_OPEN_TREE, atCWD, b.str("/dev/null"), c(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
	b.setattr(res(t), "", unix.AT_EMPTY_PATH, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, 0)
	return t
}

// stash is a directory of the sandbox's own that exists while files are made
// whose place is in a host's tree or in a home that is kept, where only a mount
// puts them for this run alone. It is in the new root, or, with the host's tree
// as the root, in the sandbox's /dev.
func stash(p *sandbox.Plan) string {
	if p.Root.InPlace {
		return "dev/.sbx-stash"
	}
	return ".sbx-stash"
}

func (b *builder) file(m sandbox.Mount) {
	b.step(m.Target, m.From, "write %d bytes to %s", len(m.Content), m.Target)
	r := rel(m.Target)
	if m.Own && m.Direct {
		b.parents(r, true)
		b.create(r, m)
		b.made[r] = true
		if m.ReadOnly {
			at := b.open(atCWD, r)
			t := b.clone(res(at))
			b.setattr(res(t), "", unix.AT_EMPTY_PATH, attributes(m), 0)
			b.move(res(t), res(at), "")
		}
		return
	}
	// Unlike any other directory, this one must not be there yet: what the
	// profile put in its place could be a link, which leads to the host's tree.
	b.call(unix.SYS_MKDIRAT, atCWD, b.str(b.stash), c(0o700))
	tmp := b.stash + "/f"
	b.create(tmp, m)
	t := b.clone(res(b.open(atCWD, tmp)))
	b.setattr(res(t), "", unix.AT_EMPTY_PATH, attributes(m), 0)
	b.put(t, m)
	b.call(unix.SYS_UNLINKAT, atCWD, b.str(tmp), c(0))
	b.call(unix.SYS_UNLINKAT, atCWD, b.str(b.stash), c(unix.AT_REMOVEDIR))
}

func (b *builder) create(rel string, m sandbox.Mount) {
	f := b.call(unix.SYS_OPENAT, atCWD, b.str(rel), c(unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC), c(uint64(m.Mode)))
	text := addr(b.bytes([]byte(m.Content))) // it may hold NUL bytes
	// One write(2) is whole on tmpfs unless it is full; then it is short.
	n := b.call(unix.SYS_WRITE, res(f), text, ci(len(m.Content)))
	got := b.space(8)
	b.op(Op{Nr: OpStore}, addr(got), res(n))
	b.op(Op{Nr: OpExpect}, addr(got), c(^uint64(0)), ci(len(m.Content)), c(uint64(unix.ENOSPC)))
	b.call(unix.SYS_CLOSE, res(f))
}

// mostTerminals is how many terminals there may be in a sandbox at the same time.
const mostTerminals = 256

// dev makes the minimal /dev: the devices, links to the standard streams, own
// terminals and own shared memory.
func (b *builder) dev(p *sandbox.Plan) {
	if !p.Pseudo.Dev {
		return
	}
	b.step("/dev", "root.dev", "mount a tmpfs of 64 KiB on /dev")
	b.mkdirAt(p, "dev")
	b.classic("tmpfs", "dev", unix.MS_NOSUID|unix.MS_NOEXEC, "size=64k,nr_inodes=128,mode=755")
	for i, d := range p.Pseudo.Devices {
		b.step("/dev/"+d, "root.dev", "put /dev/%s in place", d)
		b.node("dev/"+d, true)
		b.move(res(b.devs[i]), atCWD, "dev/"+d)
	}
	b.step("/dev", "root.dev", "make the links of /dev")
	for _, l := range [...][2]string{
		{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
		{"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
	} {
		b.call(unix.SYS_SYMLINKAT, b.str(l[1]), atCWD, b.str("dev/"+l[0]))
	}
	b.step("/dev/pts", "root.dev", "mount own terminals on /dev/pts")
	b.mkdir("dev/pts", 0o755, true)
	// Instances have the host's number together: what one took, no other sandbox had.
	opts := fmt.Sprintf("newinstance,ptmxmode=0666,mode=0620,max=%d", mostTerminals)
	if p.Pseudo.PtyGID >= 0 {
		opts += fmt.Sprintf(",gid=%d", p.Pseudo.PtyGID)
	}
	b.classic("devpts", "dev/pts", unix.MS_NOSUID|unix.MS_NOEXEC, opts)
	if p.Pseudo.Mqueue {
		b.step("/dev/mqueue", "namespaces.ipc", "mount own message queues on /dev/mqueue")
		b.mkdir("dev/mqueue", 0o1777, true)
		// A kernel may have none.
		b.p.Ops[b.classic("mqueue", "dev/mqueue", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")].Tolerate = uint8(unix.ENODEV)
	}
	if p.Pseudo.Shm == 0 { // to the kernel, a size of 0 is no limit
		return
	}
	b.step("/dev/shm", "root.shm", "mount shared memory of %d bytes on /dev/shm", p.Pseudo.Shm)
	b.mkdir("dev/shm", 0o1777, true)
	b.classic("tmpfs", "dev/shm", unix.MS_NOSUID|unix.MS_NODEV,
		fmt.Sprintf("mode=1777,size=%d,nr_inodes=%d", p.Pseudo.Shm, p.Pseudo.Shm/4096+16))
}

// mkdirAt makes a directory of the new root; the host's own root has it.
func (b *builder) mkdirAt(p *sandbox.Plan, rel string) {
	if !p.Root.InPlace {
		b.mkdir(rel, 0o755, true)
	}
	if p.Root.OnImage() { // which may have anything there
		b.open(atCWD, rel)
	}
}

// classic is mount(2), for file systems whose options hold nothing of the
// user's.
func (b *builder) classic(fstype, rel string, flags uint64, data string) int {
	d := c(0)
	if data != "" {
		d = b.str(data)
	}
	name := b.str(fstype)
	return b.call(unix.SYS_MOUNT, name, b.str(rel), name, c(flags), d)
}

func (b *builder) proc(p *sandbox.Plan) {
	if p.Proc != sandbox.ProcNone {
		data, doc := "", "mount own /proc"
		if p.Proc == sandbox.ProcPid {
			data, doc = "subset=pid", "mount own /proc, processes only"
		}
		b.step("/proc", "root.proc", doc)
		b.mkdirAt(p, "proc")
		b.classic("proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data)
		for _, f := range p.Pseudo.ProcReadOnly {
			b.procReadOnly(f)
		}
		for _, f := range p.Pseudo.ProcMasked {
			b.procMask(f)
		}
	}
	if p.Proc == sandbox.ProcNone && p.Root.InPlace {
		b.step("/proc", "root.proc", "cover the host's /proc")
		b.classic("tmpfs", "proc", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=4k,nr_inodes=2,mode=555")
	}
	if p.Pseudo.Sys {
		b.step("/sys", "root.sys", "mount own /sys, read-only")
		b.mkdirAt(p, "sys")
		b.classic("sysfs", "sys", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
}

func (b *builder) procReadOnly(f string) {
	b.step("/proc/"+f, "", "make /proc/%s read-only", f)
	path := b.str("proc/" + f)
	first := b.op(Op{Nr: unix.SYS_MOUNT, Tolerate: uint8(unix.ENOENT), Opt: Skip}, path, path, c(0), c(unix.MS_BIND), c(0))
	b.call(unix.SYS_MOUNT, c(0), path, c(0), c(unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC), c(0))
	b.land(first)
}

// procMask covers a file of /proc with the null device, which reads as empty.
func (b *builder) procMask(f string) {
	b.step("/proc/"+f, "", "mask /proc/%s", f)
	b.op(Op{Nr: unix.SYS_MOUNT, Tolerate: uint8(unix.ENOENT)}, b.str("/dev/null"), b.str("proc/"+f), c(0), c(unix.MS_BIND), c(0))
}
