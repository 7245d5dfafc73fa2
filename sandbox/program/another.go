package program

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// A further command in a sandbox (sbx exec) is started by PID 1, of which its
// process is a fork: it is in the same namespaces, under the same filter, the
// same Landlock rules, the same limits, with the same lack of rights, since it
// inherits them. Nothing is applied again, and so nothing can be forgotten.
//
//	starter --six descriptors--> PID 1, which is then sent SignalAnother
//	PID 1   --pidfd of the monitor--> starter
//	monitor --pidfd of the command, its terminal--> who asked for it
//	monitor --wait status--> who asked for it
//
// The monitor is PID 1's child. It runs the Program of Another, which the
// starter has put into the block they share; it starts the command and waits
// for it. It is like PID 1 in that nothing in the sandbox can read or trace it.

// SignalAnother makes PID 1 take up another command. It is none of the signals
// that are passed on: libraries of C keep it for themselves (signal(7)).
const SignalAnother = 32

// Descriptors of PID 1 and, from fdFirst on, those it receives for another
// command.
const (
	fdStatus  = 3
	fdStarter = 4
	fdFirst   = 5
)

// anotherFDs is how many descriptors come with another command: stdin, stdout,
// stderr, the pipe for its wait status, the pipe for failures, and a socket by
// which its pidfd and its terminal go out.
const anotherFDs = 6

// AnotherSlots are the numbers of those descriptors.
func AnotherSlots() (s Slots) {
	s[SlotStdin], s[SlotStdout], s[SlotStderr] = fdFirst, fdFirst+1, fdFirst+2
	s[SlotStatus], s[SlotReport], s[SlotTerminal] = fdFirst+3, fdFirst+4, fdFirst+5
	return s
}

// another is what PID 1 does when it is asked for another command. A signal
// that the command forged finds no message, and PID 1 goes on.
func (b *builder) another(init int) {
	b.step("", "", "start another command, when the starter asks for one")
	const size = 16 + 4*anotherFDs
	control := b.space(size)
	iov := b.words(0, 1)
	byteRead := b.space(8)
	msg := b.words(0, 0, 0, 1, 0, size, 0) // struct msghdr
	b.op(Op{Nr: OpStore}, addr(iov), addr(byteRead))
	b.op(Op{Nr: OpStore}, addr(msg+16), addr(iov))
	b.op(Op{Nr: OpStore}, addr(msg+32), addr(control))
	b.op(Op{Nr: OpStore}, addr(msg+40), c(size)) // recvmsg(2) says in it what came
	none := b.op(Op{Nr: unix.SYS_RECVMSG, Tolerate: uint8(unix.EAGAIN), Opt: Skip}, c(fdStarter), addr(msg), c(unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC))
	b.land(none)
	b.p.Ops[none].Jump = int32(init)

	out := b.pidfdMessage()
	monitor := b.op(Op{Nr: unix.SYS_CLONE, Opt: Fork | Ignore}, c(unix.CLONE_PIDFD|uint64(unix.SIGCHLD)), c(0), addr(out.fd))
	b.p.Ops[monitor].Jump = AnotherOp
	b.op(Op{Nr: OpStore}, addr(out.data), res(monitor)) // a pid, or why there is none
	b.op(Op{Nr: unix.SYS_SENDMSG, Opt: Ignore}, c(fdStarter), addr(out.msg), c(unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL))
	b.op(Op{Nr: OpStore}, addr(out.msg+40), c(0)) // without a descriptor: there may be none
	b.op(Op{Nr: unix.SYS_SENDMSG, Opt: Ignore}, c(fdStarter), addr(out.msg), c(unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL))
	b.call(unix.SYS_CLOSE_RANGE, c(fdFirst), c(lastFD), c(0))
	b.op(Op{Nr: OpJump})
	b.p.Ops[len(b.p.Ops)-1].Jump = int32(init)
}

// fdMessage is where a message lies that brings one descriptor.
type fdMessage struct {
	msg  uint64 // struct msghdr
	fd   uint64 // the descriptor, 32 bits, -1 at first
	data uint64 // eight bytes
}

// pidfdMessage prepares a message whose descriptor clone(2) is to write.
func (b *builder) pidfdMessage() fdMessage {
	// cmsg(3): length, level and type, the descriptor.
	m := fdMessage{data: b.space(8)}
	control := b.words(20, uint64(unix.SOL_SOCKET)|uint64(unix.SCM_RIGHTS)<<32, 0xffffffff)
	m.fd = control + 16
	iov := b.words(0, 8)
	m.msg = b.words(0, 0, 0, 1, 0, 24, 0) // struct msghdr
	b.op(Op{Nr: OpStore}, addr(m.fd), c(0xffffffff))
	b.op(Op{Nr: OpStore}, addr(iov), addr(m.data))
	b.op(Op{Nr: OpStore}, addr(m.msg+16), addr(iov))
	b.op(Op{Nr: OpStore}, addr(m.msg+32), addr(control))
	b.op(Op{Nr: OpStore}, addr(m.msg+40), c(24))
	return m
}

// leaveInit closes what a fork of PID 1 has of PID 1's own.
func (b *builder) leaveInit() {
	b.step("", "", "leave PID 1's own descriptors")
	b.call(unix.SYS_CLOSE, c(fdStatus))
	b.call(unix.SYS_CLOSE, c(fdStarter))
}

// Another compiles the Program of another command in the sandbox of p, whose
// Process is the one of the new command. It is run by a fork of PID 1.
func Another(p *sandbox.Plan) (*Program, error) {
	if p.Bare.On() {
		return nil, errors.New("a sandbox without namespaces takes no further command")
	}
	if len(p.Process.Argv) == 0 || p.Process.Argv[0] == "" {
		return nil, fmt.Errorf("BUG: there is no command")
	}
	b := &builder{}
	b.leaveInit()
	b.op(Op{Nr: OpStore}, head(HeadKept), c(0))
	b.capset(kept(p), kept(p))
	b.terminal(p, "/dev/pts/ptmx")
	b.step("", "", "start the command's process")
	own := b.call(unix.SYS_GETPID)
	out := b.pidfdMessage()
	// It shares this process's memory until it executes the command; a time
	// namespace is this process's own already.
	child := b.op(Op{Nr: unix.SYS_CLONE, Opt: Fork}, c(unix.CLONE_VM|unix.CLONE_VFORK|unix.CLONE_PIDFD|uint64(unix.SIGCHLD)), c(0), addr(out.fd))
	b.step("", "", "hand out the command's pidfd, and let go of every descriptor but the status pipe")
	b.capset([2]uint32{}, [2]uint32{})
	b.op(Op{Nr: unix.SYS_SENDMSG, Opt: Ignore}, slot(SlotTerminal), addr(out.msg), c(unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL))
	b.call(unix.SYS_DUP3, slot(SlotStatus), c(fdStatus), c(unix.O_CLOEXEC))
	b.call(unix.SYS_CLOSE_RANGE, c(fdStarter), c(lastFD), c(0))
	b.step("", "", "wait for the command and tell its status")
	status := b.space(8)
	b.call(unix.SYS_WAIT4, ci(-1), addr(status), c(0), c(0))
	b.op(Op{Nr: unix.SYS_WRITE, Opt: Ignore}, c(fdStatus), addr(status), c(4))
	b.op(Op{Nr: OpExit}, c(0))

	b.who = Payload
	b.land(child)
	b.step("", "", "die with the process that waits for this one")
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_PDEATHSIG), c(uint64(unix.SIGKILL)))
	b.childOf(own)
	pipes := *p
	pipes.Process.Passed = nil // the first command's alone
	for fd, tty := range p.Process.Terminal {
		pipes.Process.Pipe[fd] = !tty
	}
	b.payload(&pipes)
	return b.program()
}
