package program

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/landlock"
)

// Layers by fuse-overlayfs take two programs. The sandbox's own opens /dev/fuse
// in its user namespace, mounts what is to be served there, and hands the
// device's descriptor to the starter. Server is the other: it becomes
// fuse-overlayfs, in the same user namespace, where it has the ids of the
// sandbox, but outside of it. Nothing of a path is in an option there either.

// FuseFD is the descriptor at which the first mount's device is open in the
// child, those of further ones follow: a mount option holds its number, which
// must be known beforehand. The starter's descriptors must all be lower.
const FuseFD = 200

// fuseLayers makes the layers of m that fuse-overlayfs serves.
func (b *builder) fuseLayers(m sandbox.Mount, p *sandbox.Plan) {
	dev, ok := b.heldFuse[m.Target]
	h := b.heldLayers[m.Target]
	if !ok {
		dev, h = b.holdFuse(m), b.holdServed(m)
	}
	b.step(m.Target, "overlay.backend", "make a mount for fuse-overlayfs to serve")
	fs := b.call(unix.SYS_FSOPEN, b.str("fuse"), c(unix.FSOPEN_CLOEXEC))
	set := func(key, value string) {
		b.call(unix.SYS_FSCONFIG, res(fs), c(unix.FSCONFIG_SET_STRING), b.str(key), b.str(value), c(0))
	}
	flag := func(key string) {
		b.call(unix.SYS_FSCONFIG, res(fs), c(unix.FSCONFIG_SET_FLAG), b.str(key), c(0), c(0))
	}
	uid, _ := p.IDs.OuterUIDs.Inside(p.Caller.UID)
	gid, _ := p.IDs.OuterGIDs.Inside(p.Caller.GID)
	set("source", "fuse-overlayfs")
	set("subtype", "fuse-overlayfs")
	set("fd", fmt.Sprint(dev))
	set("rootmode", "40000")
	set("user_id", fmt.Sprint(uid))
	set("group_id", fmt.Sprint(gid))
	flag("allow_other")         // the command is in a user namespace below
	flag("default_permissions") // the kernel judges, by owner and mode
	b.call(unix.SYS_FSCONFIG, res(fs), c(unix.FSCONFIG_CMD_CREATE), c(0), c(0), c(0))
	t := b.call(unix.SYS_FSMOUNT, res(fs), c(unix.FSMOUNT_CLOEXEC), c(attributes(m)))
	b.call(unix.SYS_CLOSE, res(fs))

	b.step(m.Target, "overlay.backend", "have %s serve %s", p.Overlay.Program, layersText{&m})
	fds := []Arg{ci(dev)}
	for _, t := range h.lower {
		fds = append(fds, res(t))
	}
	b.handOut(SlotLayers, fds...)
	// Whoever has the device keeps the mount waiting when the server is gone.
	b.call(unix.SYS_CLOSE, ci(dev))
	b.answered(SlotLayers)
	b.step(m.Target, m.From, "put it on %s", m.Target)
	b.put(t, m)
	b.step(m.Target, "overlay.backend", "wait for fuse-overlayfs to answer")
	at := b.call(unix.SYS_OPENAT, res(t), b.str("."), c(unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC), c(0))
	b.call(unix.SYS_CLOSE, res(at))
}

// holdServed clones the layers, read-only: the server is to write to the one for
// changes and no other. Unlike the kernel's overlayfs it shows what is mounted
// below.
func (b *builder) holdServed(m sandbox.Mount) held {
	h := held{kept: -1}
	for _, dir := range append([]string{m.Source}, m.Lower...) {
		b.step(dir, m.From, "take hold of the layer %s, read-only", dir)
		t := b.clone(res(b.open(atCWD, dir)))
		b.setattr(res(t), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, 0)
		h.lower = append(h.lower, t)
	}
	return h
}

// holdFuse opens the host's /dev/fuse, before anything covers it.
func (b *builder) holdFuse(m sandbox.Mount) (fd int) {
	fd = FuseFD + b.fuses
	b.fuses++
	b.step("/dev/fuse", m.From, "open /dev/fuse for the layers of %s", m.Target)
	dev := b.call(unix.SYS_OPENAT, atCWD, b.str("/dev/fuse"), c(unix.O_RDWR|unix.O_CLOEXEC), c(0))
	b.call(unix.SYS_DUP3, res(dev), ci(fd), c(unix.O_CLOEXEC))
	b.call(unix.SYS_CLOSE, res(dev))
	return fd
}

// Server is fuse-overlayfs as the starter is to run it.
type Server struct {
	// Init is a pidfd of the sandbox's PID 1, whose user namespace it joins, and
	// Starter this process's id.
	Init, Starter int
	Path          string
	// Device, Lower, Kept, Stderr and Null are the starter's descriptors: of the
	// mount, of the layers, the topmost first, of the overlay's directory, of where
	// messages go, of /dev/null.
	Device       int
	Lower        []int
	Kept         int
	Upper, Work  string // names in Kept
	Stderr, Null int
	// Free is a number from which on no descriptor is open.
	Free int
	// Sync says that what is written out is to be on the disk.
	Sync bool
	// Landlock is the version of the kernel's interface, 0 for none.
	Landlock int
}

// ambientCaps are what fuse-overlayfs is given, over the ids of the sandbox and
// nothing else: the same as the kernel's overlayfs uses.
var ambientCaps = []int{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_MKNOD, unix.CAP_SETFCAP}

// CompileServer is the Program of s. It ends with the execution of s.Path.
func CompileServer(s *Server) (*Program, error) {
	b := &builder{}
	b.step("", "", "die with the starter")
	b.dies(s.Starter)
	b.call(unix.SYS_SETSID)
	b.step("", "", "enter the sandbox's user namespace")
	b.call(unix.SYS_SETNS, ci(s.Init), c(unix.CLONE_NEWUSER))
	b.dies(s.Starter) // changed credentials have cleared it

	b.step("", "", "keep the rights over files, for the sandbox's ids")
	var mask uint32
	for _, cap := range ambientCaps {
		mask |= 1 << cap
	}
	header := b.words(unix.LINUX_CAPABILITY_VERSION_3)
	all := uint64(mask) | uint64(mask)<<32 // effective and permitted
	b.call(unix.SYS_CAPSET, addr(header), addr(b.words(all, uint64(mask), 0)))
	for _, cap := range ambientCaps {
		b.call(unix.SYS_PRCTL, c(unix.PR_CAP_AMBIENT), c(unix.PR_CAP_AMBIENT_RAISE), ci(cap), c(0), c(0))
	}
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_NO_NEW_PRIVS), c(1), c(0), c(0), c(0))

	b.confine(s)

	b.step("", "", "put the descriptors in their places")
	for fd, from := range []int{s.Null, s.Null, s.Stderr} {
		b.call(unix.SYS_DUP3, ci(from), ci(fd), c(0))
	}
	next := s.Free
	place := func(fd int) int {
		b.call(unix.SYS_DUP3, ci(fd), ci(next), c(0))
		next++
		return next - 1
	}
	at := func(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
	var lower []string
	for _, fd := range s.Lower {
		lower = append(lower, at(place(fd)))
	}
	kept := at(place(s.Kept))
	device := place(s.Device)
	b.call(unix.SYS_CLOSE_RANGE, c(3), ci(s.Free-1), c(unix.CLOSE_RANGE_CLOEXEC))

	options := "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + kept + "/" + s.Upper + ",workdir=" + kept + "/" + s.Work
	if !s.Sync {
		options += ",volatile"
	}
	argv := b.vector([]string{"fuse-overlayfs", "-f", "-o", options, fmt.Sprintf("/dev/fd/%d", device)})
	envp := b.vector([]string{"PATH=/usr/bin:/bin", "LC_ALL=C"})
	b.call(unix.SYS_CHDIR, b.str("/"))
	b.call(unix.SYS_UMASK, c(0))
	b.call(unix.SYS_RT_SIGPROCMASK, c(unix.SIG_SETMASK), addr(b.space(8)), c(0), c(8)) // it inherits none blocked
	b.step(s.Path, "overlay.backend", "execute %s", s.Path)
	b.p.Exec = len(b.p.Steps) - 1
	b.call(unix.SYS_EXECVE, b.str(s.Path), argv, envp)
	return b.program()
}

// confine leaves fuse-overlayfs the layers, what it takes to start, and nothing
// else of the host's files: what the command sends it may take it over.
func (b *builder) confine(s *Server) {
	if s.Landlock < landlock.ABIRefer {
		return
	}
	handled := landlock.Files(s.Landlock)
	const start = landlock.Read | landlock.Execute
	b.step("", "overlay.backend", "leave it the layers and what it takes to start (Landlock ABI %d)", s.Landlock)
	rules := b.call(unix.SYS_LANDLOCK_CREATE_RULESET, addr(b.words(uint64(handled))), c(8), c(0))
	allow := func(fd Arg, access landlock.Access) {
		attr := b.words(uint64(access&handled), 0) // struct landlock_path_beneath_attr
		b.op(Op{Nr: OpStore}, addr(attr+8), fd)
		b.call(unix.SYS_LANDLOCK_ADD_RULE, res(rules), c(unix.LANDLOCK_RULE_PATH_BENEATH), addr(attr), c(0))
	}
	for _, fd := range s.Lower {
		allow(ci(fd), landlock.Read)
	}
	allow(ci(s.Kept), landlock.Read|landlock.Write|landlock.Make|landlock.MakeChar) // a whiteout is a device 0:0
	for _, dir := range []string{"/usr", "/lib", "/lib32", "/lib64", "/bin", "/nix", "/gnu", path.Dir(s.Path)} {
		b.ifThere(dir, func(fd Arg) { allow(fd, start) })
	}
	for _, dir := range []string{"/etc", "/proc"} {
		b.ifThere(dir, func(fd Arg) { allow(fd, landlock.Read) })
	}
	allow(ci(s.Null), landlock.ReadFile|landlock.Write)
	b.call(unix.SYS_LANDLOCK_RESTRICT_SELF, res(rules), c(0))
}

// ifThere opens a path, and does something with it if it is there.
func (b *builder) ifThere(name string, do func(fd Arg)) {
	at := b.op(Op{Nr: unix.SYS_OPENAT, Tolerate: uint8(unix.ENOENT), Opt: Skip}, atCWD, b.str(name), c(unix.O_PATH|unix.O_CLOEXEC), c(0))
	do(res(at))
	b.call(unix.SYS_CLOSE, res(at))
	b.land(at)
}
