package program

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// innerUserNS enters the second user namespace, the one that owns nothing. The
// one-line map needs no help; a larger one takes a process that stayed in the
// outer namespace. It returns the operation that forks it, -1 for none.
func (b *builder) innerUserNS(p *sandbox.Plan) (mapper int) {
	ids := p.IDs
	uids, gids := ids.InnerUIDs.String(), ids.InnerGIDs.String()
	mapper = -1
	if ids.Mode == "range" {
		b.step("", "", "start the mapper, which stays in the outer user namespace")
		mapper = b.op(Op{Nr: unix.SYS_CLONE, Opt: Fork}, c(uint64(unix.SIGCHLD)))
	}
	b.step("", ids.From, "enter the inner user namespace: uid %s, gid %s", mapText(ids.InnerUIDs), mapText(ids.InnerGIDs))
	b.refusable()
	b.call(unix.SYS_UNSHARE, c(unix.CLONE_NEWUSER))
	if mapper >= 0 {
		b.call(unix.SYS_WRITE, slot(SlotMapWrite), b.str("\x01"), c(1))
		status := b.space(8)
		b.call(unix.SYS_WAIT4, res(mapper), addr(status), c(0), c(0))
		b.op(Op{Nr: OpExpect}, addr(status), c(0xffffffff), c(0), c(uint64(unix.ECANCELED)))
	} else {
		b.write(b.procSelf(), "setgroups", "deny")
		b.write(b.procSelf(), "uid_map", uids)
		b.write(b.procSelf(), "gid_map", gids)
	}
	b.become(p)
	// Changed credentials may clear it (PR_SET_PDEATHSIG(2const)).
	b.step("", "", "die with the starter, still")
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_PDEATHSIG), c(uint64(unix.SIGKILL)))
	b.starterLives()
	return mapper
}

// mapper is the process that writes the inner id maps of a range. Only a
// process of the outer namespace with CAP_SETUID there may
// (user_namespaces(7), "Defining user and group ID mappings").
func (b *builder) mapper(p *sandbox.Plan, fork int) {
	if fork < 0 {
		return
	}
	b.who = Mapper
	b.land(fork)
	b.step("", "", "wait for init to be in the inner user namespace")
	b.call(unix.SYS_CLOSE, slot(SlotMapWrite))
	b.answered(SlotMapRead)
	b.step("", p.IDs.From, "map the ids of the inner user namespace")
	b.write(b.procSelf(), "uid_map", p.IDs.InnerUIDs.String())
	b.write(b.procSelf(), "gid_map", p.IDs.InnerGIDs.String())
	b.op(Op{Nr: OpExit}, c(0))
}

// Securebits, see capabilities(7), "The securebits flags": each with its lock.
const (
	noRoot       = 1<<0 | 1<<1 // uid 0 has no capabilities of its own
	noSetuidFix  = 1<<2 | 1<<3 // changes of uid leave capabilities alone
	keepCapsLock = 1 << 5      // keeping them over a change of uid stays off
	noAmbient    = 1<<6 | 1<<7 // nothing can be made ambient
)

// dropPrivileges takes away everything the command is not to have. It comes
// after all that needs rights, and in this order: the bounding set and the
// securebits need CAP_SETPCAP, which capset takes away.
func (b *builder) dropPrivileges(p *sandbox.Plan) {
	keep := map[sandbox.Capability]bool{}
	for _, k := range p.Security.Keep {
		keep[k] = true
	}
	b.step("", "", "empty the capability bounding set%s", keepText(p.Security.Keep))
	drops := []int{}
	for i := sandbox.Capability(0); i <= sandbox.LastCapability; i++ {
		switch {
		case keep[i]:
		case i <= sandbox.KnownCapability:
			b.call(unix.SYS_PRCTL, c(unix.PR_CAPBSET_DROP), ci(int(i)))
		default:
			drops = append(drops, b.op(Op{Nr: unix.SYS_PRCTL, Tolerate: uint8(unix.EINVAL), Opt: Skip}, c(unix.PR_CAPBSET_DROP), ci(int(i))))
		}
	}
	for _, d := range drops { // the kernel has no higher ones than the first it refuses
		b.land(d)
	}
	bits := noRoot | noSetuidFix | keepCapsLock | noAmbient
	if len(keep) > 0 {
		bits = noAmbient
	}
	b.step("", "", "lock the securebits")
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_SECUREBITS), ci(bits))
	b.step("", "", "drop all capabilities%s", keepText(p.Security.Keep))
	b.capset(kept(p), kept(p))
	b.step("", "", "set no_new_privs")
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_NO_NEW_PRIVS), c(1), c(0), c(0), c(0))
	// Landlock comes next. The system call filter comes last, in fork, so that
	// nothing above needs its leave.
}

// keepText prints what is kept when a step's sentence is asked for.
type keepText []sandbox.Capability

func (keep keepText) String() string {
	if len(keep) == 0 {
		return ""
	}
	var names []string
	for _, k := range keep {
		names = append(names, k.String())
	}
	return " but " + strings.Join(names, ", ") + " in the inner user namespace"
}

// kept is a mask of the capabilities that the command keeps.
func kept(p *sandbox.Plan) (mask [2]uint32) {
	for _, k := range p.Security.Keep {
		mask[k/32] |= 1 << (k % 32)
	}
	return mask
}

// capset sets the permitted and effective sets and empties the inheritable one
// (capset(2), version 3).
func (b *builder) capset(permitted, effective [2]uint32) {
	header := b.words(unix.LINUX_CAPABILITY_VERSION_3)
	// struct __user_cap_data_struct[2]: effective, permitted, inheritable.
	data := b.words(uint64(effective[0])|uint64(permitted[0])<<32, uint64(effective[1])<<32, uint64(permitted[1]))
	b.call(unix.SYS_CAPSET, addr(header), addr(data))
}

// terminal opens a terminal by ptmx, that of the sandbox's own devpts or the
// host's, and hands its controlling side out to the starter.
func (b *builder) terminal(p *sandbox.Plan, ptmx string) {
	if p.Process.Terminal == [3]bool{} {
		return
	}
	b.step(ptmx, "process.tty", "open an own terminal")
	m := b.call(unix.SYS_OPENAT, atCWD, b.str(ptmx), c(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC), c(0))
	b.call(unix.SYS_IOCTL, res(m), c(unix.TIOCSPTLCK), addr(b.space(8)))
	b.tty = b.call(unix.SYS_IOCTL, res(m), c(unix.TIOCGPTPEER), c(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC))

	b.step(ptmx, "process.tty", "hand its controlling side to the starter")
	b.handOut(SlotTerminal, res(m))
	b.call(unix.SYS_CLOSE, res(m))
	b.step(ptmx, "process.tty", "wait until the terminal has the caller's size and mode")
	b.answered(SlotTerminal)
}

// handOut sends descriptors to the starter, with one byte.
func (b *builder) handOut(socket int, fds ...Arg) {
	// cmsg(3): length, level and type, the descriptors.
	cmsg := b.words(uint64(16+4*len(fds)), uint64(unix.SOL_SOCKET)|uint64(unix.SCM_RIGHTS)<<32)
	b.space(4*len(fds) + 4) // each is stored as a word, of which the next covers half
	for i, fd := range fds {
		b.op(Op{Nr: OpStore}, addr(cmsg+16+uint64(4*i)), fd)
	}
	iov := b.words(0, 1)
	b.op(Op{Nr: OpStore}, addr(iov), b.str("t"))
	msg := b.words(0, 0, 0, 1, 0, uint64(16+4*len(fds)+7)&^7, 0) // struct msghdr
	b.op(Op{Nr: OpStore}, addr(msg+16), addr(iov))
	b.op(Op{Nr: OpStore}, addr(msg+32), addr(cmsg))
	b.call(unix.SYS_SENDMSG, slot(socket), addr(msg), c(0))
}

// answered waits for the byte by which somebody says to go on: the starter, or
// another process of the sandbox. Without one, at the end of what is read, it fails.
func (b *builder) answered(from int) {
	one := b.space(8)
	b.call(unix.SYS_READ, slot(from), addr(one), c(1))
	b.op(Op{Nr: OpExpect}, addr(one), c(0xff), c(1), c(uint64(unix.ECANCELED)))
}

// groupSignals are those that a terminal sends to a whole foreground group.
const groupSignals = 1<<unix.SIGHUP | 1<<unix.SIGINT | 1<<unix.SIGQUIT | 1<<unix.SIGTSTP | 1<<unix.SIGCONT

// fork makes the command's process. PID 1 goes on as init; the new process
// shares its memory until it executes the command, which is cheap and lets
// nothing of the command run before PID 1 is out of reach.
func (b *builder) fork(p *sandbox.Plan) {
	b.step("", "", "make PID 1 unreadable for the command")
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_DUMPABLE), c(0), c(0), c(0), c(0))
	b.passOn(p)
	// Before the fork, since PID 1 goes on only when the command runs already.
	b.filter(p)
	flags := uint64(unix.CLONE_VM | unix.CLONE_VFORK)
	if p.Namespaces.Time { // a process that shares memory stays in the old one until Linux 6.3
		flags = 0
	}
	b.step("", "", "start the command's process")
	child := b.op(Op{Nr: unix.SYS_CLONE, Opt: Fork}, c(flags|uint64(unix.SIGCHLD)))

	b.step("", "", "let go of every descriptor but the status pipe and the starter's socket")
	b.capset(kept(p), [2]uint32{}) // further commands get what the first has
	b.nullStreams()
	// dup(2) takes the lowest number that is free: neither copy can be in the
	// other's way, unless it is in its place, which dup3(2) refuses.
	status, starter := b.call(unix.SYS_DUP, slot(SlotStatus)), b.call(unix.SYS_DUP, slot(SlotGo))
	b.op(Op{Nr: unix.SYS_DUP3, Tolerate: uint8(unix.EINVAL)}, res(status), c(fdStatus), c(unix.O_CLOEXEC))
	b.op(Op{Nr: unix.SYS_DUP3, Tolerate: uint8(unix.EINVAL)}, res(starter), c(fdStarter), c(unix.O_CLOEXEC))
	b.call(unix.SYS_CLOSE_RANGE, c(fdStarter+1), c(lastFD), c(0))
	b.step("", "", "reap, and pass signals on, until the command is done")
	init := b.op(Op{Nr: OpInit}, res(child), c(fdStatus), c(groupSignals), c(SignalAnother))
	b.another(init)

	b.who = Payload
	b.land(child)
	b.payload(p)
}

// nullStreams puts the null device in place of the standard streams.
func (b *builder) nullStreams() {
	for fd := range uint64(3) {
		b.call(unix.SYS_DUP3, res(b.null), c(fd), c(0))
	}
}

// release closes all but the status pipe, which it puts at descriptor 3.
func (b *builder) release() {
	b.nullStreams()
	// Descriptor 3 may be the status pipe itself, which dup3(2) would refuse.
	b.op(Op{Nr: unix.SYS_DUP3, Tolerate: uint8(unix.EINVAL)}, slot(SlotStatus), c(3), c(unix.O_CLOEXEC))
	b.call(unix.SYS_CLOSE_RANGE, c(4), c(lastFD), c(0))
}

func (b *builder) payload(p *sandbox.Plan) {
	b.streams(p)
	for _, l := range p.Limits {
		if !together(l) {
			b.limit(l)
		}
	}
	b.directory(p)
	argv, envp := b.surroundings(p)
	b.ownFilter(p)
	b.execute(p, argv, envp)
}

// streams begins a session and puts the sandbox's own terminal, or pipes, in
// place of the caller's terminal.
func (b *builder) streams(p *sandbox.Plan) {
	pr := &p.Process
	b.step("", "", "begin a session")
	b.call(unix.SYS_SETSID)
	controlling := false
	for fd := range 3 {
		switch {
		case pr.Terminal[fd]:
			if !controlling {
				b.step("/dev/pts/0", "process.tty", "make the terminal the session's")
				b.call(unix.SYS_IOCTL, res(b.tty), c(unix.TIOCSCTTY), c(0))
				controlling = true
			}
			b.call(unix.SYS_DUP3, res(b.tty), ci(fd), c(0))
		case pr.Pipe[fd]:
			b.step("", "process.tty", "put a pipe in place of the caller's terminal")
			b.call(unix.SYS_DUP3, slot(SlotStdin+fd), ci(fd), c(0))
		}
	}
}

// directory changes to the command's.
func (b *builder) directory(p *sandbox.Plan) {
	pr := &p.Process
	b.step(pr.Dir, "process.working_dir", "change to %s", pr.Dir)
	b.call(unix.SYS_CHDIR, b.str(pr.Dir))
	b.step(pr.Dir, "process.working_dir", "check that %s is inside", pr.Dir)
	cwd := b.space(unix.PathMax)
	b.call(unix.SYS_GETCWD, addr(cwd), c(unix.PathMax))
	// The kernel says "(unreachable)" of a directory outside (getcwd(3)).
	b.op(Op{Nr: OpExpect}, addr(cwd), c(0xff), c('/'), c(uint64(unix.EXDEV)))
	b.call(unix.SYS_UMASK, c(uint64(pr.Umask)))
}

// surroundings puts together what the command is executed with.
func (b *builder) surroundings(p *sandbox.Plan) (argv, envp Arg) {
	pr := &p.Process
	b.step("", "", "close every other descriptor when the command starts")
	b.call(unix.SYS_CLOSE_RANGE, ci(sandbox.FirstPassed+len(pr.Passed)), c(lastFD), c(unix.CLOSE_RANGE_CLOEXEC))
	argv, envp = b.vector(pr.Argv), b.vector(pr.Env, b.activation(pr)...)
	b.call(unix.SYS_RT_SIGPROCMASK, c(unix.SIG_SETMASK), head(HeadOldSignals), c(0), c(8))
	return argv, envp
}

// execute becomes the command.
func (b *builder) execute(p *sandbox.Plan, argv, envp Arg) {
	pr := &p.Process
	name := pr.Argv[0]
	b.step(name, "process.command", "execute %s", name)
	b.p.Exec = len(b.p.Steps) - 1
	if strings.Contains(name, "/") {
		b.call(unix.SYS_EXECVE, b.str(name), argv, envp)
		return
	}
	for _, dir := range pr.Lookup {
		b.op(Op{Nr: unix.SYS_EXECVE, Opt: Search}, b.str(dir+"/"+name), argv, envp)
	}
	b.op(Op{Nr: OpFail})
}
