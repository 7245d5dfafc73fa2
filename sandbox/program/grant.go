package program

import (
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// A grantable mount is made like any other while the sandbox is built, so that
// its mount point is there and Landlock has a rule for what it shows, and is taken
// away before the command runs. Landlock's rules are about files and not about
// mounts (landlock(7)): they hold when it comes back.
//
//	Fetch   in a user namespace of its own: a copy of the host's mount
//	Attach  in the sandbox's outer user namespace and mount namespace: put it there
//	Detach  in the same: take it away
//
// Fetch is a process of its own since the sandbox's own limits count every detached
// mount as a mount namespace.

// withdraw takes grantable mounts away, and hands out the namespaces by which they
// can come back.
func (b *builder) withdraw(p *sandbox.Plan) {
	some := false
	for _, m := range p.Mounts {
		if !m.Grantable {
			continue
		}
		some = true
		b.step(m.Target, m.From, "take %s away again, until it is granted", m.Target)
		at := b.open(atCWD, m.Target)
		b.detach(res(at))
		b.call(unix.SYS_CHDIR, b.str("/"))
		b.call(unix.SYS_CLOSE, res(at))
	}
	if !some {
		return
	}
	b.step("", "", "hand out the namespaces that grants are made in")
	user := b.call(unix.SYS_OPENAT, b.procSelf(), b.str("ns/user"), c(unix.O_RDONLY|unix.O_CLOEXEC), c(0))
	mount := b.call(unix.SYS_OPENAT, b.procSelf(), b.str("ns/mnt"), c(unix.O_RDONLY|unix.O_CLOEXEC), c(0))
	b.handOut(SlotGo, res(user), res(mount))
	b.call(unix.SYS_CLOSE, res(user))
	b.call(unix.SYS_CLOSE, res(mount))
}

// detach unmounts the mount whose root the descriptor is. It goes by no path: the
// command may have moved the directories above.
func (b *builder) detach(root Arg) {
	b.call(unix.SYS_FCHDIR, root)
	b.call(unix.SYS_UMOUNT2, b.str("."), c(unix.MNT_DETACH))
}

// Grant is a mount that comes and goes while the command runs.
type Grant struct {
	Starter     int           // this process's id
	Mount       sandbox.Mount // what is granted, and where
	User, Space int           // descriptors of the sandbox's user and mount namespaces
	Tree        int           // of the mount that Fetch has handed out
}

// dies ties a helper's life to its starter.
func (b *builder) dies(starter int) {
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_PDEATHSIG), c(uint64(unix.SIGKILL)))
	b.parentIs(ci(starter))
}

// parentIs fails unless a process is this one's parent.
func (b *builder) parentIs(pid Arg) {
	parent := b.space(8)
	own := b.call(unix.SYS_GETPPID)
	b.op(Op{Nr: OpStore}, addr(parent), res(own))
	b.op(Op{Nr: OpExpect}, addr(parent), c(0xffffffff), pid, c(uint64(unix.ESRCH)))
}

// Fetch is the Program that hands a copy of the granted mount out, by SlotTerminal.
func (g *Grant) Fetch() (*Program, error) {
	b := &builder{}
	b.p.CloneFlags = unix.CLONE_NEWUSER
	b.step("", "", "die with the supervisor")
	b.dies(g.Starter)
	b.step("", "", "make a mount namespace to copy from")
	b.call(unix.SYS_UNSHARE, c(unix.CLONE_NEWNS))
	b.cutOff()
	b.step(g.Mount.Source, g.Mount.From, "take hold of %s", g.Mount.Source)
	t := b.clone(res(b.open(atCWD, g.Mount.Source)))
	b.setattr(res(t), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attributes(g.Mount), 0)
	b.handOut(SlotTerminal, res(t))
	b.op(Op{Nr: OpExit}, c(0))
	return b.program()
}

// enter joins the sandbox's namespaces.
func (g *Grant) enter(b *builder) {
	b.step("", "", "enter the sandbox")
	b.dies(g.Starter)
	b.call(unix.SYS_SETNS, ci(g.User), c(unix.CLONE_NEWUSER))
	b.dies(g.Starter) // changed credentials have cleared it
	b.call(unix.SYS_SETNS, ci(g.Space), c(unix.CLONE_NEWNS))
}

// Attach is the Program that puts Tree on the target.
func (g *Grant) Attach() (*Program, error) {
	b := &builder{}
	g.enter(b)
	b.step(g.Mount.Target, g.Mount.From, "put it on %s", g.Mount.Target)
	b.move(ci(g.Tree), res(b.open(atCWD, g.Mount.Target)), "")
	b.op(Op{Nr: OpExit}, c(0))
	return b.program()
}

// Detach is the Program that takes Tree away again.
func (g *Grant) Detach() (*Program, error) {
	b := &builder{}
	g.enter(b)
	b.step(g.Mount.Target, g.Mount.From, "take it away from %s", g.Mount.Target)
	b.detach(ci(g.Tree))
	b.op(Op{Nr: OpExit}, c(0))
	return b.program()
}
