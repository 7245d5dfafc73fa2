package program

import (
	"time"

	"golang.org/x/sys/unix"
)

// TerminalGuard is the Program of a process beside the sandbox that waits for
// its starter's end, however it comes, and gives the terminal at descriptor
// `tty` its mode back, a struct termios. Its slots are SlotSync, a pipe's read
// end, and SlotSyncWrite, the other, which only the starter keeps.
func TerminalGuard(tty int, mode []byte) (*Program, error) {
	b := &builder{}
	b.step("", "process.tty", "wait for the end of sbx and restore the terminal's mode")
	b.call(unix.SYS_CLOSE, slot(SlotSyncWrite))
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_NAME), b.str("sbx-tty"))
	b.call(unix.SYS_SETSID) // a signal to the whole process group must spare it
	b.op(Op{Nr: unix.SYS_READ, Opt: Ignore}, slot(SlotSync), addr(b.space(8)), c(1))
	// Not TCSETSW, which waits for output: a stopped terminal (^S) takes none.
	b.op(Op{Nr: unix.SYS_IOCTL, Opt: Ignore}, ci(tty), c(unix.TCSETS), addr(b.bytes(mode)))
	b.op(Op{Nr: OpExit}, c(0))
	return b.program()
}

// Keeper is the Program of a process beside the sandbox that does nothing but
// keep a control group from being empty, until its starter ends it. Its slots
// are those of TerminalGuard.
//
// When the starter is gone it lives on for a moment: systemd may be about to move
// it, and takes no notice that a group is empty whose processes have died on the
// way there.
func Keeper() (*Program, error) {
	const moment = 2 * time.Second // on a machine that is busy all over, half of one was too short
	b := &builder{}
	b.step("", "", "keep the control group until its counters are read")
	b.call(unix.SYS_PRCTL, c(unix.PR_SET_NAME), b.str("sbx-keep"))
	b.call(unix.SYS_SETSID) // a signal to the whole process group must spare it
	// Nobody is to wait for it because of a descriptor. Descriptor 3 may be the
	// pipe itself, which dup3(2) would refuse.
	b.op(Op{Nr: unix.SYS_DUP3, Tolerate: uint8(unix.EINVAL)}, slot(SlotSync), c(3), c(unix.O_CLOEXEC))
	b.call(unix.SYS_CLOSE_RANGE, c(4), c(lastFD), c(0))
	b.op(Op{Nr: unix.SYS_CLOSE_RANGE, Opt: Ignore}, c(0), c(2), c(0))
	b.op(Op{Nr: unix.SYS_READ, Opt: Ignore}, c(3), addr(b.space(8)), c(1))
	b.op(Op{Nr: unix.SYS_NANOSLEEP, Opt: Ignore}, addr(b.words(uint64(moment/time.Second), uint64(moment%time.Second))), c(0))
	b.op(Op{Nr: OpExit}, c(0))
	return b.program()
}
