package program

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp"
)

// filter installs the filter that PID 1 and the command share. It is the last
// of what takes away: after it come only calls that every policy allows, see
// policy.Start. The command's process inherits it.
func (b *builder) filter(p *sandbox.Plan) {
	s := &p.Security.Seccomp
	switch {
	case !s.Filtered():
	case len(s.First) > 0:
		b.installFirst(s, s.First, "install the system call filter of PID 1: %s, and what starting the command takes", s.Policy)
	default:
		b.installFirst(s, b.code(p), "install the system call filter: %s", s.Policy)
	}
}

// Filter is the filter of PID 1, an array of the kernel's struct sock_filter.
func Filter(p *sandbox.Plan) ([]byte, error) {
	if first := p.Security.Seccomp.First; len(first) > 0 {
		return first, nil
	}
	b := &builder{}
	return b.code(p), errors.Join(b.errs...)
}

// listen installs a filter as install does, one that asks where it would refuse,
// and hands its listener to the starter. Nothing that comes later has it. A signal
// does not interrupt a call whose refusal is being looked up, where the kernel can
// (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, Linux 5.19): else it is asked about again.
func (b *builder) listen(prog uint64, flags uint64) {
	fd := b.space(8)
	flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	patient := b.op(Op{Nr: unix.SYS_SECCOMP, Tolerate: uint8(unix.EINVAL), Opt: Skip},
		c(unix.SECCOMP_SET_MODE_FILTER), c(flags|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV), addr(prog))
	b.op(Op{Nr: OpStore}, addr(fd), res(patient))
	done := b.op(Op{Nr: OpJump})
	b.land(patient)
	plain := b.call(unix.SYS_SECCOMP, c(unix.SECCOMP_SET_MODE_FILTER), c(flags), addr(prog))
	b.op(Op{Nr: OpStore}, addr(fd), res(plain))
	b.land(done)
	b.step("", "security.trace_denied", "hand the filter's listener to the starter")
	b.handOut(SlotGo, Arg{Word, fd})
	b.call(unix.SYS_CLOSE, Arg{Word, fd})
}

// ownFilter installs the command's own filter on top of PID 1's, where they
// differ.
func (b *builder) ownFilter(p *sandbox.Plan) {
	if s := &p.Security.Seccomp; len(s.First) > 0 {
		b.install(s, s.Code, "install the command's system call filter: %s", s.Policy)
	}
}

// code is a filter's instructions. Those of a built-in policy lie in a table.
func (b *builder) code(p *sandbox.Plan) []byte {
	s := &p.Security.Seccomp
	if len(s.Code) > 0 {
		return s.Code
	}
	code, ok := seccomp.Builtin(s.Policy, seccomp.Variant{FakeRoot: len(p.Security.Keep) > 0, NestedUserNS: p.Security.NestedUserNS})
	if !ok || len(code) == 0 {
		b.errs = append(b.errs, fmt.Errorf("no built-in filter for the system call policy %q", s.Policy))
	}
	return code
}

func (b *builder) install(s *sandbox.Seccomp, code []byte, format string, args ...any) {
	b.step("", s.From, format, args...)
	b.load(code, s.SpecAllow)
}

// installFirst installs the filter of PID 1.
func (b *builder) installFirst(s *sandbox.Seccomp, code []byte, format string, args ...any) {
	if !s.Trace {
		b.install(s, code, format, args...)
		return
	}
	b.step("", "security.trace_denied", format+", which tells of what it refuses", args...)
	prog, flags := b.fprog(seccomp.Notify(code), s.SpecAllow)
	b.listen(prog, flags)
}

// load gives this process a filter.
func (b *builder) load(code []byte, specAllow bool) {
	prog, flags := b.fprog(code, specAllow)
	b.call(unix.SYS_SECCOMP, c(unix.SECCOMP_SET_MODE_FILTER), c(flags), addr(prog))
}

// fprog is where a filter's struct sock_fprog lies, and the flags it is installed
// with.
func (b *builder) fprog(code []byte, specAllow bool) (prog, flags uint64) {
	// The number of instructions, padding, their address.
	prog = b.words(uint64(len(code)/8), 0)
	b.op(Op{Nr: OpStore}, addr(prog+8), addr(b.bytes(code)))
	if specAllow {
		flags = unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	}
	return prog, flags
}
