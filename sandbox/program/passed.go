package program

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// passOn makes the descriptors that were passed to sbx outlive the execution of
// the command. The command's parent does it, which executes nothing and lets go of
// its own copies, and before there is a filter: the command's process has them as
// they were when it was forked.
func (b *builder) passOn(p *sandbox.Plan) {
	n := len(p.Process.Passed)
	if n == 0 {
		return
	}
	b.step("", "process.listen_fds", "pass descriptors %d to %d on: %s", sandbox.FirstPassed, sandbox.FirstPassed+n-1, strings.Join(p.Process.Passed, ", "))
	for i := range n {
		b.call(unix.SYS_FCNTL, ci(sandbox.FirstPassed+i), c(unix.F_SETFD), c(0))
	}
}

// activation is where the variables lie by which the command knows of what was
// passed to it (sd_listen_fds(3)). They name its process, whose number is known
// to nobody before it is there.
func (b *builder) activation(pr *sandbox.Process) []uint64 {
	if len(pr.Passed) == 0 {
		return nil
	}
	const name, digits = "LISTEN_PID=", 11 // OpDecimal's ten, and a NUL
	pid := b.bytes([]byte(name + strings.Repeat("\x00", digits)))
	own := b.call(unix.SYS_GETPID)
	b.op(Op{Nr: OpDecimal}, addr(pid+uint64(len(name))), res(own))
	return []uint64{
		pid,
		b.str(fmt.Sprintf("LISTEN_FDS=%d", len(pr.Passed))).Value,
		b.str("LISTEN_FDNAMES=" + strings.Join(pr.Passed, ":")).Value,
	}
}
