package program

import "golang.org/x/sys/unix"

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
