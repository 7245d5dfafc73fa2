package program

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Dump lists the operations, numbered, below the steps they belong to:
//
//	# init: make the mount namespace and the others
//	  0  prctl(1, 9)
//	  1  close($go-write)
//	  4  expect(&siginfo, 0xff, 1, 125)
//
// $ is a number known when the child starts, r the result of an operation, &
// the address of a word or of a header field, * the word's contents. What looks
// like a string is shown as one.
func (p *Program) Dump() string {
	var b strings.Builder
	next := 0
	for i := range p.Ops {
		for next < len(p.Steps) && p.Steps[next].Op <= i {
			fmt.Fprintf(&b, "# %s: %s\n", p.Steps[next].Who, p.Steps[next].Doc())
			next++
		}
		fmt.Fprintf(&b, "%4d  %s\n", i, p.dumpOp(&p.Ops[i]))
	}
	return b.String()
}

func (p *Program) dumpOp(op *Op) string {
	n := len(op.Args)
	for n > 0 && op.Kinds[n-1] == Const && op.Args[n-1] == 0 {
		n--
	}
	args := make([]string, n)
	for i := range args {
		args[i] = p.dumpArg(op.Kinds[i], op.Args[i])
	}
	s := opName(op.Nr) + "(" + strings.Join(args, ", ") + ")"
	if op.Tolerate != 0 {
		s += " tolerates " + unix.ErrnoName(unix.Errno(op.Tolerate))
	}
	for i, name := range [...]string{"ignore", "fork", "skip", "zero", "search"} {
		if op.Opt&(1<<i) != 0 {
			s += " " + name
		}
	}
	if op.Opt&(Fork|Skip) != 0 || op.Nr == OpJump {
		s += fmt.Sprintf(" to %d", op.Jump)
	}
	return s
}

func (p *Program) dumpArg(kind ArgKind, v uint64) string {
	switch kind {
	case Addr:
		return p.dumpData(v)
	case Result:
		return fmt.Sprintf("r%d", v)
	case Slot:
		return "$" + slotNames[v]
	case Head:
		return "&" + headNames[v]
	case Word:
		return "*" + p.dumpData(v)
	}
	if int64(v) < 0 && int64(v) > -4096 {
		return fmt.Sprint(int64(v))
	}
	if v > 9 {
		return fmt.Sprintf("%#x", v)
	}
	return fmt.Sprint(v)
}

// dumpData shows what lies at an offset of the data: a string, if it has one
// printable byte and a NUL at its end, else the first word.
func (p *Program) dumpData(off uint64) string {
	data := p.Data[off:]
	if end := bytes.IndexByte(data, 0); end > 0 && printable(data[:end]) {
		return fmt.Sprintf("%q", data[:end])
	}
	var w [8]byte
	copy(w[:], data)
	return fmt.Sprintf("&%#x", binary.LittleEndian.Uint64(w[:]))
}

func printable(b []byte) bool {
	for _, c := range b {
		if (c < ' ' || c > '~') && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

var slotNames = [NumSlots]string{
	SlotStatus: "status", SlotStatusRead: "status-read", SlotReport: "report", SlotGo: "go", SlotGoWrite: "go-write",
	SlotSync: "sync", SlotSyncWrite: "sync-write", SlotMapRead: "map", SlotMapWrite: "map-write", SlotTerminal: "terminal", SlotLayers: "layers",
	SlotStdin: "stdin", SlotStdout: "stdout", SlotStderr: "stderr", SlotStarter: "starter",
	SlotUserNS: "user-ns", SlotNetNS: "net-ns",
}

var headNames = map[uint64]string{
	HeadAllSignals: "all-signals", HeadOldSignals: "old-signals", HeadReport: "report", HeadMessage: "message",
	HeadKept: "kept", HeadStatus: "status", HeadSiginfo: "siginfo",
}

func opName(nr int32) string {
	if name, ok := opNames[nr]; ok {
		return name
	}
	return fmt.Sprintf("syscall%d", nr)
}

// opNames are the operations that Compile, Another and TerminalGuard use.
var opNames = map[int32]string{
	OpStore: "store", OpRelocate: "relocate", OpExpect: "expect", OpInit: "init", OpFail: "fail", OpExit: "exit", OpJump: "jump", OpDecimal: "decimal",

	unix.SYS_CAPSET: "capset", unix.SYS_CHDIR: "chdir", unix.SYS_CLONE: "clone", unix.SYS_CLOSE: "close",
	unix.SYS_CLOSE_RANGE: "close_range", unix.SYS_DUP: "dup", unix.SYS_DUP3: "dup3", unix.SYS_EXECVE: "execve", unix.SYS_FCHDIR: "fchdir", unix.SYS_FCNTL: "fcntl",
	unix.SYS_FSCONFIG: "fsconfig", unix.SYS_FSMOUNT: "fsmount", unix.SYS_FSOPEN: "fsopen", unix.SYS_GETCWD: "getcwd",
	unix.SYS_GETPID: "getpid", unix.SYS_KILL: "kill",
	unix.SYS_IOCTL: "ioctl", unix.SYS_KEYCTL: "keyctl", unix.SYS_MKDIRAT: "mkdirat", unix.SYS_MKNODAT: "mknodat",
	unix.SYS_LANDLOCK_ADD_RULE: "landlock_add_rule", unix.SYS_LANDLOCK_CREATE_RULESET: "landlock_create_ruleset",
	unix.SYS_LANDLOCK_RESTRICT_SELF: "landlock_restrict_self",
	unix.SYS_MOUNT:                  "mount", unix.SYS_MOUNT_SETATTR: "mount_setattr", unix.SYS_MOVE_MOUNT: "move_mount",
	unix.SYS_OPENAT: "openat", unix.SYS_OPENAT2: "openat2", unix.SYS_OPEN_TREE: "open_tree",
	unix.SYS_PIVOT_ROOT: "pivot_root", unix.SYS_PPOLL: "ppoll", unix.SYS_PRCTL: "prctl", unix.SYS_PRLIMIT64: "prlimit64",
	unix.SYS_SCHED_SETAFFINITY: "sched_setaffinity",
	unix.SYS_READ:              "read", unix.SYS_RECVMSG: "recvmsg", unix.SYS_RT_SIGPROCMASK: "rt_sigprocmask", unix.SYS_SENDMSG: "sendmsg",
	unix.SYS_SENDTO: "sendto", unix.SYS_RECVFROM: "recvfrom", unix.SYS_BIND: "bind", unix.SYS_LISTEN: "listen",
	unix.SYS_SECCOMP: "seccomp", unix.SYS_SETGROUPS: "setgroups", unix.SYS_SETHOSTNAME: "sethostname", unix.SYS_SETPRIORITY: "setpriority",
	unix.SYS_SETRESGID: "setresgid", unix.SYS_SETRESUID: "setresuid", unix.SYS_SETSID: "setsid", unix.SYS_SETNS: "setns", unix.SYS_GETPPID: "getppid", unix.SYS_SOCKET: "socket", unix.SYS_SYMLINKAT: "symlinkat", unix.SYS_UMASK: "umask",
	unix.SYS_UMOUNT2: "umount2", unix.SYS_UNLINKAT: "unlinkat", unix.SYS_UNSHARE: "unshare", unix.SYS_WAIT4: "wait4",
	unix.SYS_WRITE: "write",
}
