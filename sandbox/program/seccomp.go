package program

import (
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
		b.install(s, s.First, "install the system call filter of PID 1: %s, and what starting the command takes", s.Policy)
	default:
		b.install(s, b.code(p), "install the system call filter: %s", s.Policy)
	}
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
	// struct sock_fprog: the number of instructions, padding, their address.
	prog := b.words(uint64(len(code)/8), 0)
	b.op(Op{Nr: OpStore}, addr(prog+8), addr(b.bytes(code)))
	flags := uint64(0)
	if s.SpecAllow {
		flags = unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	}
	b.call(unix.SYS_SECCOMP, c(unix.SECCOMP_SET_MODE_FILTER), c(flags), addr(prog))
}
