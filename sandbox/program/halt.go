package program

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// Halt compiles the Program that stops every process of the sandbox but PID 1, all at
// once (kill(2), -1), so that none of them makes another one or lets one go on after
// that. From outside they can only be looked for and stopped one by one, and a chain of
// them, of which each makes the next and ends, is never found. It is run by a fork of
// PID 1, as that of another command is.
func Halt(p *sandbox.Plan) (*Program, error) {
	if p.Bare.On() {
		return nil, errors.New("a sandbox without namespaces has no processes of its own: all would be the caller's")
	}
	b := &builder{}
	b.leaveInit()
	b.capset(kept(p), kept(p)) // for those of other ids
	b.step("", "", "stop every process")
	b.op(Op{Nr: unix.SYS_KILL, Opt: Ignore}, ci(-1), c(uint64(unix.SIGSTOP)))
	b.op(Op{Nr: OpExit}, c(0))
	return b.program()
}
