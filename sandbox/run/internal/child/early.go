package child

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/program"
)

// early is what the entry left: a child that runs the Prelude of
// program.Usual. All is zero when it started none. Layout and names are known
// to the assembly, which alone writes it.
var early struct {
	block uintptr
	pid   int64
	pipes [5][2]int32 // as Pipes; reading end, writing end; the third is a socket pair
	pidFD int32
}

// earlyClone is what the entry calls clone3(2) with; it adds where the pidfd
// goes.
var earlyClone = cloneArgs{
	Flags:      unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
	ExitSignal: uint64(unix.SIGCHLD),
}

// Words of a block: its first operation, and in one the number and flags, the
// jump, the arguments. An argument that is a field of the header has a flag.
const (
	op0      = program.FirstOp / 8
	opWords  = program.OpSize / 8
	opJump   = 1
	opArgs   = 2
	headArg0 = 1 << (32 + 16)
	headArg1 = headArg0 << 1
)

// earlyBlock is the block of that Prelude, but for the descriptors, which the
// entry puts in. It is written out because nothing can make it before the
// entry runs; a test holds it against what Encode makes.
var earlyBlock = [...]uint64{
	program.HeadAllSignals / 8: ^uint64(0),

	op0:              unix.SYS_PRCTL,
	op0 + opJump:     program.FirstOp,
	op0 + opArgs:     unix.PR_SET_PDEATHSIG,
	op0 + opArgs + 1: uint64(unix.SIGKILL),

	op0 + opWords:          unix.SYS_CLOSE, // the go pipe's writing end
	op0 + opWords + opJump: program.FirstOp,

	op0 + 2*opWords:          unix.SYS_UNSHARE,
	op0 + 2*opWords + opJump: program.FirstOp,
	op0 + 2*opWords + opArgs: unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWNET,

	op0 + 3*opWords:              unix.SYS_READ | headArg1, // from its reading end
	op0 + 3*opWords + opJump:     program.FirstOp,
	op0 + 3*opWords + opArgs + 1: program.HeadSiginfo,
	op0 + 3*opWords + opArgs + 2: 1,

	op0 + 4*opWords:              program.OpExpect&(1<<32-1) | headArg0,
	op0 + 4*opWords + opJump:     program.FirstOp,
	op0 + 4*opWords + opArgs:     program.HeadSiginfo,
	op0 + 4*opWords + opArgs + 1: 0xff,
	op0 + 4*opWords + opArgs + 2: 1,
	op0 + 4*opWords + opArgs + 3: uint64(unix.ECANCELED),
	op0 + 5*opWords - 1:          0, // its result
}

// earlySize is how many bytes of it the entry copies.
var earlySize = unsafe.Sizeof(earlyBlock)

// Where the entry puts the go pipe's ends; it knows these numbers.
const (
	earlyCloseFD = program.FirstOp + program.OpSize + 8*opArgs
	earlyReadFD  = program.FirstOp + 3*program.OpSize + 8*opArgs
)

// Pipes are the channels of a child that the entry started, each with its
// reading and its writing end, close-on-exec.
type Pipes struct{ Status, Report, Go, Sync, Map [2]int }

// Early hands over, to its first caller, the child that was started before the
// Go runtime: it runs the Prelude of program.Usual. There is none unless this
// program was linked with the entry, called as `run` or `shim` and its
// standard descriptors are open and no terminals.
func Early() (c *Child, p Pipes, ok bool) {
	if early.pid == 0 {
		return nil, p, false
	}
	ends := func(i int) [2]int { return [2]int{int(early.pipes[i][0]), int(early.pipes[i][1])} }
	p = Pipes{Status: ends(0), Report: ends(1), Go: ends(2), Sync: ends(3), Map: ends(4)}
	// The mapping is none of Go's, and stays until Forget.
	block := *(*unsafe.Pointer)(unsafe.Pointer(&early.block))
	c = &Child{PID: int(early.pid), PidFD: int(early.pidFD), block: unsafe.Slice((*byte)(block), blockSize)}
	early.pid = 0
	return c, p, true
}
