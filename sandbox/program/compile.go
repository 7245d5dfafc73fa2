package program

import (
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/userns"
)

// Compile turns a Plan into the Program that builds it. It does not look at
// the host; the same Plan always gives the same Program. A Plan that is not
// valid is a fault of who made it, and is refused.
//
// The order is that of docs/ARCHITECTURE.md. In short: tie the child's life to
// its starter, write the id maps, build the file tree while it has the rights
// to, take away every right, then become the command.
func Compile(p *sandbox.Plan) (*Program, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("BUG: this is no plan: %w", err)
	}
	b := &builder{}
	b.p.Ops = make([]Op, 0, 512)
	b.p.Data = make([]byte, 0, 24<<10)
	b.p.Steps = make([]Step, 0, 192)

	if p.Bare.On() {
		b.bare(p)
		return b.program()
	}
	b.prelude(p.Namespaces, p.Network == sandbox.NetSandbox)
	b.life()
	b.outerIDs(p)
	b.keyring(p)
	b.network(p)
	users := b.openUserLimits(p)
	if p.Cgroup.Delegate { // the tree shows it
		b.cgroup(p)
	}
	b.tree(p)
	b.userLimits(p, users)
	rules := b.ruleset(p)
	b.withdraw(p)
	b.hostname(p)
	b.processLimits(p)
	if p.Cgroup.Delegate {
		b.delegate(p)
	} else {
		b.cgroup(p)
	}
	mapper := b.innerUserNS(p)
	b.dropPrivileges(p)
	b.restrict(rules)
	b.terminal(p, "/dev/pts/ptmx")
	b.taken(p)
	b.fork(p)
	b.mapper(p, mapper)
	return b.program()
}

// unshared are the namespaces that the child makes for itself.
func unshared(n sandbox.Namespaces) uint64 {
	flags := uint64(unix.CLONE_NEWNS)
	for _, ns := range []struct {
		own  bool
		flag uint64
	}{
		{n.IPC, unix.CLONE_NEWIPC},
		{n.UTS, unix.CLONE_NEWUTS},
		{n.Cgroup, unix.CLONE_NEWCGROUP},
		{n.Net, unix.CLONE_NEWNET},
	} {
		if ns.own {
			flags |= ns.flag
		}
	}
	return flags
}

// Usual are the namespaces that most profiles ask for: a child can be started
// with their Prelude before any profile is read.
var Usual = sandbox.Namespaces{IPC: true, UTS: true, Cgroup: true, Net: true}

// SamePrelude says that a and b have the same Prelude.
func SamePrelude(a, b sandbox.Namespaces) bool { return unshared(a) == unshared(b) }

// Prelude is the Program that a child can be started with before its own is
// known: every Program of Compile for a Plan of the shape begins with it.
func Prelude(s sandbox.Shape) *Program {
	b := &builder{}
	if s.Bare {
		b.barePrelude()
	} else {
		b.prelude(s.Namespaces, s.Joined)
	}
	return &b.p
}

// prelude makes the namespaces and waits until the rest of the Program is in the
// block. The user namespace comes first and gives the right to the others; a
// PID namespace takes a new process (unshare(2)). The others are made here and
// not by clone3(2), which would hold up the starter for as long. It uses no
// data, whose place depends on the rest. If the starter is gone the pipe is at
// its end.
func (b *builder) prelude(n sandbox.Namespaces, joined bool) {
	if joined {
		b.stem(n)
		return
	}
	b.p.CloneFlags = unix.CLONE_NEWUSER | unix.CLONE_NEWPID
	b.step("", "", "make the mount namespace and the others")
	b.refusable()
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_PDEATHSIG), c(uint64(unix.SIGKILL)))
	b.call(unix.SYS_CLOSE, slot(SlotGoWrite))
	b.call(unix.SYS_UNSHARE, c(unshared(n)))
	b.step("", "", "wait for the program")
	b.await()
}

// stem is the prelude of a sandbox in another's network. That network namespace
// can be entered only from the user namespace it belongs to, so this one's comes to
// lie in that, and is made by a process that has entered it. A PID namespace is
// for children only: PID 1 is one, but the starter's (CLONE_PARENT, clone(2)), and
// this process is gone.
func (b *builder) stem(n sandbox.Namespaces) {
	b.step("", "network.mode", "enter the network of the other sandbox")
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_PDEATHSIG), c(uint64(unix.SIGKILL)))
	b.call(unix.SYS_CLOSE, slot(SlotGoWrite))
	b.call(unix.SYS_SETNS, slot(SlotUserNS), c(unix.CLONE_NEWUSER))
	b.call(unix.SYS_SETNS, slot(SlotNetNS), c(unix.CLONE_NEWNET))
	b.step("", "", "make the user namespace and the others")
	b.call(unix.SYS_UNSHARE, c(unix.CLONE_NEWUSER|unix.CLONE_NEWPID|unshared(n)))
	b.step("", "", "start PID 1")
	b.p.Stem = b.op(Op{Nr: unix.SYS_CLONE, Opt: Fork}, c(unix.CLONE_PARENT|uint64(unix.SIGCHLD)))
	b.op(Op{Nr: OpExit}, c(0))
	b.land(b.p.Stem)
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_PDEATHSIG), c(uint64(unix.SIGKILL)))
	b.step("", "", "wait for the program")
	b.await()
}

// await reads the byte that says that the Program is complete. Unlike answered it
// takes no data, whose place depends on the rest.
func (b *builder) await() {
	b.call(unix.SYS_READ, slot(SlotGo), head(HeadSiginfo), c(1))
	b.op(Op{Nr: OpExpect}, head(HeadSiginfo), c(0xff), c(1), c(uint64(unix.ECANCELED)))
}

// refusable marks the step as one by which a host refuses user namespaces: one
// that no profile, and nothing on the host but that, makes fail for want of rights.
func (b *builder) refusable() { b.p.Steps[len(b.p.Steps)-1].Refusable = true }

// life ties PID 1 to the thread that started it. The signal that the prelude
// asked for would miss a starter that was gone by then; the poll sees that one,
// since a pipe without a reader reports an error at once.
func (b *builder) life() {
	b.step("", "", "die with the process that started the sandbox")
	b.call(unix.SYS_CLOSE, slot(SlotStatusRead))
	b.starterLives()
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_NAME), b.str("sbx-init"))
	// Out of the caller's process group: what the terminal sends to that comes
	// by way of the starter, once.
	b.call(unix.SYS_SETSID)
	b.null = b.call(unix.SYS_OPENAT, atCWD, b.str("/dev/null"), c(unix.O_RDWR|unix.O_CLOEXEC), c(0))
	b.call(unix.SYS_UMASK, c(0)) // modes below are meant as they stand
}

func (b *builder) starterLives() {
	// struct pollfd: fd and events; the fd is put in when it is known.
	fd := b.space(8)
	b.op(Op{Nr: OpStore}, addr(fd), slot(SlotStatus))
	timeout := b.words(0, 0)
	b.op(Op{Nr: unix.SYS_PPOLL, Opt: Zero}, addr(fd), c(1), addr(timeout), c(0), c(8))
}

// write puts text into the file at path, relative to dir, in one write(2), as
// files of /proc want it.
func (b *builder) write(dir Arg, path, text string) {
	f := b.call(unix.SYS_OPENAT, dir, b.str(path), c(unix.O_WRONLY|unix.O_CLOEXEC), c(0))
	b.call(unix.SYS_WRITE, res(f), b.str(text), ci(len(text)))
	b.call(unix.SYS_CLOSE, res(f))
}

// procSelf is a descriptor of this process's directory in the host's /proc. It
// goes on working whatever becomes of /proc.
func (b *builder) procSelf() Arg { return res(b.self) }

func (b *builder) outerIDs(p *sandbox.Plan) {
	ids := p.IDs
	doc := "map ids of the outer user namespace: uid %s, gid %s"
	if ids.Mode == "range" {
		doc = "wait for newuidmap and newgidmap to map uid %s, gid %s"
	}
	uids, gids := ids.OuterUIDs, ids.OuterGIDs
	if p.Network == sandbox.NetSandbox { // one line each, of which that namespace has its own idea
		uids, gids = userns.Self(uids[0].Inside, p.Join.UID), userns.Self(gids[0].Inside, p.Join.GID)
	}
	b.step("", ids.From, doc, mapText(uids), mapText(gids))
	b.self = b.call(unix.SYS_OPENAT, atCWD, b.str("/proc/self"), c(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC), c(0))
	if ids.Mode == "range" {
		// The starter runs newuidmap and newgidmap and then closes its end.
		b.call(unix.SYS_CLOSE, slot(SlotSyncWrite))
		b.answered(SlotSync)
		if ids.OuterGIDs.IsSelf(p.Caller.GID) {
			return // newgidmap(1) then denies setgroups(2), as the kernel asks of it
		}
		b.step("", "", "leave the caller's supplementary groups")
		own, _ := ids.InnerGIDs.Outside(ids.GID) // as the outer namespace has it
		gid := b.words(uint64(own))
		b.call(unix.SYS_SETGROUPS, c(1), addr(gid))
		return
	}
	b.refusable()
	b.write(b.procSelf(), "setgroups", "deny")
	b.write(b.procSelf(), "uid_map", uids.String())
	b.write(b.procSelf(), "gid_map", gids.String())
}

// mapText prints a map in one line when a step's sentence is asked for.
type mapText userns.Map

func (m mapText) String() string {
	return strings.ReplaceAll(userns.Map(m).String(), "\n", ", ")
}

func (b *builder) keyring(p *sandbox.Plan) {
	if !p.Security.Keyring {
		return
	}
	b.step("", "", "join a new session keyring")
	// EDQUOT is not tolerated, although the filter keeps the command from keys: file
	// systems would go on finding their credentials in the caller's keyring.
	const joinSessionKeyring = 1 // KEYCTL_JOIN_SESSION_KEYRING, keyctl(2)
	b.op(Op{Nr: unix.SYS_KEYCTL, Tolerate: uint8(unix.ENOSYS)}, c(joinSessionKeyring), c(0))
}

// openUserLimits takes hold of the host's /proc/sys/user, for userLimits.
func (b *builder) openUserLimits(p *sandbox.Plan) int {
	if len(p.UCounts) == 0 {
		return -1
	}
	const dir = "/proc/sys/user"
	b.step(dir, "", "take hold of %s", dir)
	return b.call(unix.SYS_OPENAT, atCWD, b.str(dir), c(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC), c(0))
}

// userLimits bounds what the sandbox as a whole may take of the host user's
// countable things. /proc/sys/user shows and sets the limits of the user
// namespace of the process that opens it, the outer one here. It comes after
// the tree, since each detached mount counts as a mount namespace.
func (b *builder) userLimits(p *sandbox.Plan, dir int) {
	for _, l := range p.UCounts {
		b.step("/proc/sys/user/"+l.Name, l.From, "limit the sandbox to %s = %d", l.Name, l.Value)
		b.write(res(dir), l.Name, fmt.Sprint(l.Value))
	}
}

func (b *builder) hostname(p *sandbox.Plan) {
	if !p.Namespaces.UTS {
		return
	}
	b.step("", "process.hostname", "set the host name to %s", p.Hostname)
	b.call(unix.SYS_SETHOSTNAME, b.str(p.Hostname), ci(len(p.Hostname)))
}

func (b *builder) processLimits(p *sandbox.Plan) {
	b.priority(p)
	for _, l := range p.Limits {
		if together(l) {
			b.limit(l)
		}
	}
	if p.Namespaces.Time {
		b.step("", "namespaces.time", "enter a time namespace")
		b.call(unix.SYS_UNSHARE, c(unix.CLONE_NEWTIME))
		b.write(b.procSelf(), "timens_offsets",
			offset("monotonic", p.Namespaces.Monotonic)+offset("boottime", p.Namespaces.Boottime))
	}
}

// priority is what the kernel thinks of the sandbox when memory or time is short.
func (b *builder) priority(p *sandbox.Plan) {
	pr := &p.Process
	if pr.OOMScoreAdj != 0 {
		b.step("/proc/self/oom_score_adj", "process.oom_score_adj", "set oom_score_adj to %d", pr.OOMScoreAdj)
		b.write(b.procSelf(), "oom_score_adj", fmt.Sprint(pr.OOMScoreAdj))
	}
	if pr.Nice != 0 {
		b.step("", "process.nice", "set the nice value to %d", pr.Nice)
		// Who yields more already may not be asked to yield less: EACCES.
		b.op(Op{Nr: unix.SYS_SETPRIORITY, Tolerate: uint8(unix.EACCES)}, c(unix.PRIO_PROCESS), c(0), ci(pr.Nice))
	}
	b.affinity(pr.CPUs)
}

// affinity chooses the processors for this process and those it starts, which
// may choose others. The kernel takes a mask whose length is a multiple of its
// word (sched_setaffinity(2), NOTES).
func (b *builder) affinity(cpus cgroup.CPUs) {
	if cpus == "" {
		return
	}
	mask, err := cpus.Mask()
	if err != nil {
		b.errs = append(b.errs, err)
		return
	}
	mask = append(mask, make([]byte, (8-len(mask)%8)%8)...)
	b.step("", "limits.cpuset", "run on the processors %s", cpus)
	b.call(unix.SYS_SCHED_SETAFFINITY, c(0), ci(len(mask)), addr(b.bytes(mask)))
}

// cgroup waits until the starter has moved this process into the control group
// that holds the limits. It comes last of what takes time, since the group is
// made meanwhile. The cgroup namespace of the prelude has the group the process
// came from as its root: a new one shows nothing above the own group, and lets
// nothing be changed there (cgroup_namespaces(7)).
func (b *builder) cgroup(p *sandbox.Plan) {
	if !p.Cgroup.On() {
		return
	}
	b.step("", p.Cgroup.From, "wait to be in the control group that holds the limits")
	b.answered(SlotGo)
	if p.Namespaces.Cgroup {
		b.step("", "namespaces.cgroup", "make the control group the root of what is seen of them")
		b.call(unix.SYS_UNSHARE, c(unix.CLONE_NEWCGROUP))
	}
}

// delegate leaves the sandbox's group, which is the topmost that can be seen, for
// one below, since a group that gives controllers to others holds no process
// (cgroups(7), "no internal processes"). It is named as systemd names its own
// (DelegateSubgroup= in systemd.resource-control(5)): one inside takes it for that.
func (b *builder) delegate(p *sandbox.Plan) {
	leaf := path.Join(sandbox.CgroupDir, cgroup.InitLeaf)
	b.step(leaf, delegateKey, "leave the control group's top for %s", cgroup.InitLeaf)
	b.write(atCWD, path.Join(leaf, "cgroup.procs"), "0")
	if list := p.Cgroup.Controllers; len(list) > 0 {
		b.step(sandbox.CgroupDir, delegateKey, "give the controllers %s to the groups that the command makes", strings.Join(list, ", "))
		b.write(atCWD, path.Join(sandbox.CgroupDir, "cgroup.subtree_control"), "+"+strings.Join(list, " +"))
	}
}

const delegateKey = "limits.delegate"

// together says that a limit holds for the whole sandbox: the inner user
// namespace takes it over as the bound of all its processes when it is made.
func together(l sandbox.Limit) bool {
	return l.Resource == unix.RLIMIT_NPROC || l.Resource == unix.RLIMIT_SIGPENDING || l.Resource == unix.RLIMIT_MSGQUEUE
}

// offset is a line of timens_offsets: seconds of either sign and nanoseconds
// from 0 to 999999999, see time_namespaces(7).
func offset(clock string, d time.Duration) string {
	sec, nano := int64(d/time.Second), int64(d%time.Second)
	if nano < 0 {
		sec, nano = sec-1, nano+int64(time.Second)
	}
	return fmt.Sprintf("%s %d %d\n", clock, sec, nano)
}

func (b *builder) limit(l sandbox.Limit) {
	b.step("", l.From, "limit %s", limitText{l})
	b.call(unix.SYS_PRLIMIT64, c(0), ci(l.Resource), addr(b.words(l.Soft, l.Hard)), c(0))
}

// limitText prints a limit when a step's sentence is asked for.
type limitText struct{ sandbox.Limit }

func (l limitText) String() string {
	text := func(v uint64) string {
		if v == unix.RLIM_INFINITY {
			return "unlimited"
		}
		return fmt.Sprint(v)
	}
	if l.Soft == l.Hard {
		return l.Name + " to " + text(l.Soft)
	}
	return l.Name + " to " + text(l.Soft) + " (soft), " + text(l.Hard) + " (hard)"
}
