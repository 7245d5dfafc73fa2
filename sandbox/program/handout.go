package program

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// HandOut compiles the Program that hands the sandbox's root directory out, by the
// socket in SlotTerminal. It is run by a fork of PID 1, as that of another command
// is: there is nothing inside that could hand out something else in its place, as
// there would be with /proc/PID/root of the command.
func HandOut(p *sandbox.Plan) (*Program, error) {
	if p.Bare.On() {
		return nil, errors.New("a sandbox without namespaces has no files of its own: its paths are the host's")
	}
	b := &builder{}
	b.leaveInit()
	b.step("/", "", "hand out the root directory")
	root := b.call(unix.SYS_OPENAT, atCWD, b.str("/"), c(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC), c(0))
	b.handOut(SlotTerminal, res(root))
	b.op(Op{Nr: OpExit}, c(0))
	return b.program()
}
