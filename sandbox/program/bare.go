package program

import (
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// endSignal tells PID 1's stand-in that its parent is gone. Nobody passes it on.
const endSignal = unix.SIGPWR

// bare compiles a Plan for a sandbox without namespaces.
//
// Two processes stand in for PID 1. The ward, which sbx starts, is in a domain of
// Landlock's from which no signal leaves, and so is all that comes from it. For a
// process in such a domain, kill(-1) reaches every process of the domain and of
// those inside of it, and no other, in one step that no fork can slip out of: as
// good an end as that of a PID namespace. Init, the ward's child, is the
// command's parent. Init ends all when the command has ended or the ward is gone,
// the ward when init is gone, and both take in orphans
// (PR_SET_CHILD_SUBREAPER(2const)), so that it knows when none is left. The command
// is in a domain of its own in theirs: it can neither signal nor trace them.
func (b *builder) bare(p *sandbox.Plan) {
	b.barePrelude()
	b.life()
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_NAME), b.str("sbx-ward"))
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_CHILD_SUBREAPER), c(1))
	b.keyring(p)
	b.step("", "", "take hold of /proc/self")
	b.self = b.call(unix.SYS_OPENAT, atCWD, b.str("/proc/self"), c(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC), c(0))
	b.priority(p)
	b.step("", "", "drop all capabilities")
	b.capset([2]uint32{}, [2]uint32{})
	b.step("", "", "set no_new_privs")
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_NO_NEW_PRIVS), c(1), c(0), c(0), c(0))
	rules := b.ruleset(p)
	b.terminal(p, "/dev/ptmx")
	b.domain()
	b.step("", "", "make the ward unreadable for the command")
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_DUMPABLE), c(0), c(0), c(0), c(0))
	b.step("", "", "start init, beside which the ward stays")
	ward := b.call(unix.SYS_GETPID)
	b.p.Init = b.op(Op{Nr: unix.SYS_CLONE, Opt: Fork}, c(uint64(unix.SIGCHLD)))
	b.ward(b.p.Init)
	b.who = Init
	b.land(b.p.Init)
	b.bareInit(p, ward, rules)
}

// barePrelude is prelude for a child without namespaces.
func (b *builder) barePrelude() {
	b.who = Ward
	b.step("", "", "wait for the program")
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_PDEATHSIG), c(uint64(unix.SIGKILL)))
	b.call(unix.SYS_CLOSE, slot(SlotGoWrite))
	b.await()
}

// domain enters the domain that no signal leaves, and makes sure of it: kill(-1)
// would reach all that the user has.
func (b *builder) domain() {
	b.step("", "security.fallback", "keep all signals inside, by Landlock")
	attr := b.words(0, 0, unix.LANDLOCK_SCOPE_SIGNAL)
	rules := b.call(unix.SYS_LANDLOCK_CREATE_RULESET, addr(attr), c(24), c(0))
	b.call(unix.SYS_LANDLOCK_RESTRICT_SELF, res(rules), c(0))
	b.call(unix.SYS_CLOSE, res(rules))
	b.step("", "security.fallback", "make sure that no signal reaches sbx")
	out := b.op(Op{Nr: unix.SYS_KILL, Tolerate: uint8(unix.EPERM), Opt: Skip}, slot(SlotStarter), c(0))
	b.op(Op{Nr: OpExpect}, addr(b.space(8)), c(0xff), c(1), c(uint64(unix.ENOTSUP)))
	b.land(out)
}

// ward waits for init's end, then ends what is left. Its own end says that nothing
// is; its status, that init was killed. Only where init did not say how the
// command ended does anybody look at it.
func (b *builder) ward(init int) {
	b.step("", "", "let go of every descriptor but the status pipe")
	b.release()
	b.step("", "", "wait for init, then end all that is left")
	status := b.space(8)
	b.call(unix.SYS_WAIT4, res(init), addr(status), c(0), c(0))
	b.endAll()
	b.op(Op{Nr: OpExpect}, addr(status), c(0x7f), c(uint64(unix.SIGKILL)), c(uint64(unix.ECANCELED)))
	b.op(Op{Nr: OpExit}, c(WardStatus))
}

// WardStatus is the exit status of a bare sandbox's first process where init was
// killed.
const WardStatus = 128 + uint64(unix.SIGKILL)

// endAll kills everything in the domain but this process and waits until nothing
// is left of it. Orphans are this process's children, or become that of what is
// its own.
func (b *builder) endAll() {
	b.op(Op{Nr: unix.SYS_KILL, Tolerate: uint8(unix.ESRCH)}, ci(-1), c(uint64(unix.SIGKILL)))
	again := b.at()
	none := b.op(Op{Nr: unix.SYS_WAIT4, Tolerate: uint8(unix.ECHILD), Opt: Skip}, ci(-1), c(0), c(unix.WALL), c(0))
	b.op(Op{Nr: OpJump, Jump: int32(again)})
	b.land(none)
}

// bareInit is init and the command's process.
func (b *builder) bareInit(p *sandbox.Plan, ward, rules int) {
	b.step("", "", "die with the ward, until there is a command")
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_PDEATHSIG), c(uint64(unix.SIGKILL)))
	b.childOf(ward)
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_NAME), b.str("sbx-init"))
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_CHILD_SUBREAPER), c(1))
	b.step("", "", "learn of the ward's end from now on")
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_PDEATHSIG), c(uint64(endSignal)))
	b.childOf(ward)
	b.starterLives()
	b.passOn(p)
	b.step("", "", "start the command's process")
	child := b.op(Op{Nr: unix.SYS_CLONE, Opt: Fork}, c(unix.CLONE_VM|unix.CLONE_VFORK|uint64(unix.SIGCHLD)))
	b.step("", "", "let go of every descriptor but the status pipe")
	b.release()
	b.step("", "", "reap, and pass signals on, until the command is done")
	b.op(Op{Nr: OpInit}, res(child), c(3), c(groupSignals), c(0), slot(SlotStarter), c(uint64(endSignal)))
	// The ward too, which would do the same, but may be gone already.
	b.step("", "", "end all that is left")
	b.endAll()
	b.op(Op{Nr: OpExit}, c(0))

	b.who = Payload
	b.land(child)
	b.barePayload(p, rules)
}

// childOf fails unless the process of operation parent, which has found its own
// number, is this one's parent: if it had died before the death signal was asked
// for, none would come.
func (b *builder) childOf(parent int) {
	b.parentIs(res(parent))
}

// barePayload becomes the command. What restricts it comes last, the policy's
// filter after all else: none of it holds init.
func (b *builder) barePayload(p *sandbox.Plan, rules int) {
	b.step("", "", "die with init")
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_PDEATHSIG), c(uint64(unix.SIGKILL)))
	b.streams(p)
	for _, l := range p.Limits {
		b.limit(l)
	}
	b.directory(p)
	argv, envp := b.surroundings(p)
	b.restrict(rules)
	b.step("", "security.fallback", "install the system call filter in place of the namespaces")
	b.load(p.Bare.Filter, p.Security.Seccomp.SpecAllow)
	b.policyFilter(p)
	b.execute(p, argv, envp)
}

// policyFilter installs the policy's filter on the command alone.
func (b *builder) policyFilter(p *sandbox.Plan) {
	if s := &p.Security.Seccomp; s.Filtered() {
		b.install(s, b.code(p), "install the command's system call filter: %s", s.Policy)
	}
}
