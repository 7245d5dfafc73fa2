// Package policy says which system calls a sandboxed program may make: policies
// as plain data, the built-in ones, edits of them by name or group, and the
// seccomp JSON of the OCI runtime specification. It knows nothing of BPF; that
// is sandbox/seccomp/compile. See seccomp(2).
package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Policy decides about every system call. A call is judged by the first rule
// that names it and whose conditions all hold; what no rule decides falls to
// one of the actions here.
type Policy struct {
	Name   string
	Arches []Arch // whose calls are judged; at most one of 64 bits

	Default Action // a call of our table that no rule decides
	Unknown Action // a number that our table lacks: a hole, a newer call, -1
	Foreign Action // a call of an architecture that is not in Arches
	X32     Action // amd64 only: a number with the bit of the x32 ABI, -1 included

	Rules []Rule

	// Skipped are names from an OCI profile that no architecture here has.
	Skipped []string
}

// Rule is a decision about some calls.
type Rule struct {
	Names  []string // those that an architecture lacks do not count there
	Action Action
	Args   []Cond // all must hold; none: always
	Why    string // printed with the rule
}

// Cond is a condition on an argument.
type Cond struct {
	Index uint8 // 0 to 5
	Op    Op
	Width Width // 0: as the call's signature says
	Value uint64
	Mask  uint64 // MaskedEq only
}

// Op compares an argument, unsigned, with Cond.Value.
type Op uint8

// The operators. MaskedEq compares what Cond.Mask leaves of the argument.
const (
	Eq Op = iota
	Ne
	Lt
	Le
	Gt
	Ge
	MaskedEq
)

var opText = [...]string{Eq: "==", Ne: "!=", Lt: "<", Le: "<=", Gt: ">", Ge: ">=", MaskedEq: "&"}

// Width is how many of an argument's 64 bits count. A register carries 64 bits
// even where the kernel's parameter is an int: comparing all of them lets a
// program set a bit that the kernel drops and the filter does not.
type Width uint8

// The widths that parameters of system calls have.
const (
	Width16 Width = 16 // umode_t
	Width32 Width = 32 // int, unsigned int and what is one of them by another name
	Width64 Width = 64 // long, size_t, pointers
)

// Action is what happens to a call: the value that a filter returns for it.
type Action uint32

// The actions. Errno makes one more.
const (
	Allow Action = unix.SECCOMP_RET_ALLOW
	Log   Action = unix.SECCOMP_RET_LOG          // allow, and log where the kernel is told to
	Kill  Action = unix.SECCOMP_RET_KILL_PROCESS // the whole process, by SIGSYS
	Trap  Action = unix.SECCOMP_RET_TRAP         // SIGSYS, which can be caught
)

// maxErrno is the kernel's MAX_ERRNO; a larger number would be cut to it.
const maxErrno = 4095

// Errno refuses a call with e. Errno 0 makes the call a success that did nothing.
func Errno(e syscall.Errno) Action { return unix.SECCOMP_RET_ERRNO | Action(e)&unix.SECCOMP_RET_DATA }

// errno reports the number of an action made by Errno.
func (a Action) errno() (syscall.Errno, bool) {
	return syscall.Errno(a & unix.SECCOMP_RET_DATA), a&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO
}

// lets reports whether the call is made.
func (a Action) lets() bool { return a == Allow || a == Log }

func (a Action) valid() bool {
	e, ok := a.errno()
	return a.lets() || a == Kill || a == Trap || ok && e <= maxErrno
}

func (a Action) String() string {
	switch a {
	case Allow:
		return "allow"
	case Log:
		return "log"
	case Kill:
		return "kill"
	case Trap:
		return "trap"
	}
	e, ok := a.errno()
	switch name := unix.ErrnoName(e); {
	case !ok:
		return fmt.Sprintf("action %#x", uint32(a))
	case name == "":
		return "errno " + strconv.Itoa(int(e))
	default:
		return name
	}
}

// Arch is an architecture, that is: a table of system call numbers.
type Arch uint8

// The architectures, named as in GOARCH.
const (
	AMD64 Arch = iota + 1
	ARM64
	I386
	ARM
)

var arches = [...]struct {
	name  string
	audit uint32 // AUDIT_ARCH_* of linux/audit.h
	wide  bool   // 64 bits
	other Arch   // the one of 32 bits whose programs the same kernel runs
}{
	AMD64: {"amd64", unix.AUDIT_ARCH_X86_64, true, I386},
	ARM64: {"arm64", unix.AUDIT_ARCH_AARCH64, true, ARM},
	I386:  {"386", unix.AUDIT_ARCH_I386, false, 0},
	ARM:   {"arm", unix.AUDIT_ARCH_ARM, false, 0},
}

func (a Arch) known() bool { return a > 0 && int(a) < len(arches) }

func (a Arch) String() string {
	if !a.known() {
		return fmt.Sprintf("architecture %d", uint8(a))
	}
	return arches[a].name
}

// ArchOf is the architecture of a GOARCH.
func ArchOf(goarch string) (Arch, error) {
	for i := range arches {
		if a := Arch(i); a.known() && a.String() == goarch {
			return a, nil
		}
	}
	return 0, fmt.Errorf("no table of system calls for architecture %q", goarch)
}

// Audit is the number by which the kernel names a, see AUDIT_ARCH_X86_64 in
// seccomp(2).
func (a Arch) Audit() uint32 { return arches[a].audit }

// Calls is a's table, in the order of the numbers. It is not to be changed.
func (a Arch) Calls() []Call {
	switch a { // a table of these slices would be filled in at every start
	case AMD64:
		return amd64Calls[:]
	case ARM64:
		return arm64Calls[:]
	case I386:
		return i386Calls[:]
	case ARM:
		return armCalls[:]
	}
	return nil
}

// Call is a system call's name and number.
type Call struct {
	Name string
	Nr   uint32
}

// Number is the number of a call, where a has it.
func (a Arch) Number(name string) (uint32, bool) {
	i := slices.IndexFunc(a.Calls(), func(c Call) bool { return c.Name == name })
	if i < 0 {
		return 0, false
	}
	return a.Calls()[i].Nr, true
}

// names are those of all architectures. They are collected when the first is
// asked for: most runs have a filter that is compiled already.
var names = sync.OnceValue(func() map[string]bool {
	all := make(map[string]bool, 512)
	for i := range arches {
		for _, c := range Arch(i).Calls() {
			all[c.Name] = true
		}
	}
	return all
})

// WithOther returns p for programs of the 32-bit architecture as well that the
// same kernel runs.
func (p Policy) WithOther() Policy {
	p = p.clone()
	for _, a := range p.Arches {
		if other := arches[a].other; other != 0 && !slices.Contains(p.Arches, other) {
			p.Arches = append(p.Arches, other)
		}
	}
	return p
}

// Counts are how many of the calls of an architecture p allows whatever their
// arguments, judges by them, and refuses.
func (p Policy) Counts(a Arch) (allowed, judged, refused int) {
	for _, c := range a.Calls() {
		switch {
		case p.refuses(c.Name):
			refused++
		case p.conditional(c.Name):
			judged++
		default:
			allowed++
		}
	}
	return allowed, judged, refused
}

// AllowsAll reports whether p refuses nothing at all, so that no filter is needed.
func (p Policy) AllowsAll() bool {
	for _, a := range []Action{p.Default, p.Unknown, p.Foreign, p.X32} {
		if a != Allow {
			return false
		}
	}
	return !slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Action != Allow })
}

// clone copies all that an edit might change.
func (p Policy) clone() Policy {
	p.Arches = slices.Clone(p.Arches)
	p.Skipped = slices.Clone(p.Skipped)
	p.Rules = slices.Clone(p.Rules)
	for i := range p.Rules {
		p.Rules[i].Names = slices.Clone(p.Rules[i].Names)
		p.Rules[i].Args = slices.Clone(p.Rules[i].Args)
	}
	return p
}

// maxConds bounds the conditions of a rule, and by that how far its code jumps.
const maxConds = 12

// Validate says everything that is wrong with p.
func (p Policy) Validate() error {
	var errs []error
	if len(p.Arches) == 0 {
		errs = append(errs, errors.New("no architecture"))
	}
	wide := 0
	for i, a := range p.Arches {
		switch {
		case !a.known():
			errs = append(errs, fmt.Errorf("%v is not known", a))
			continue
		case slices.Contains(p.Arches[:i], a):
			errs = append(errs, fmt.Errorf("architecture %v twice", a))
		}
		if arches[a].wide {
			wide++
		}
	}
	if wide > 1 {
		errs = append(errs, errors.New("two architectures of 64 bits: no kernel runs both"))
	}
	for _, d := range []struct {
		of string
		a  Action
	}{{"known calls", p.Default}, {"unknown numbers", p.Unknown}, {"other architectures", p.Foreign}, {"x32", p.X32}} {
		if !d.a.valid() {
			errs = append(errs, fmt.Errorf("%v for %s", d.a, d.of))
		}
	}
	for i, r := range p.Rules {
		if err := r.validate(); err != nil {
			errs = append(errs, fmt.Errorf("rule %d: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

func (r Rule) validate() error {
	if !r.Action.valid() {
		return errors.New(r.Action.String())
	}
	if len(r.Names) == 0 {
		return errors.New("names no call")
	}
	if len(r.Args) > maxConds {
		return fmt.Errorf("%d conditions, more than %d", len(r.Args), maxConds)
	}
	for _, name := range r.Names {
		if !names()[name] {
			return unknownCall(name)
		}
		for _, c := range r.Args {
			if err := c.validate(name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func (c Cond) validate(call string) error {
	if c.Index > 5 {
		return fmt.Errorf("argument %d: a call has six, from 0", c.Index)
	}
	if c.Op > MaskedEq {
		return fmt.Errorf("argument %d: operator %d", c.Index, c.Op)
	}
	w, err := c.WidthIn(call)
	if err != nil {
		return err
	}
	switch w {
	case Width16, Width32:
		if (c.Value|c.Mask)>>w != 0 {
			return fmt.Errorf("argument %d has %d bits, %#x has more", c.Index, w, c.Value|c.Mask)
		}
	case Width64:
	default:
		return fmt.Errorf("argument %d: width %d", c.Index, w)
	}
	switch {
	case c.Op != MaskedEq && c.Mask != 0:
		return fmt.Errorf("argument %d: a mask with operator %s", c.Index, opText[c.Op])
	case c.Op == MaskedEq && c.Mask == 0:
		return fmt.Errorf("argument %d: an empty mask", c.Index)
	case c.Op == MaskedEq && c.Value&^c.Mask != 0:
		return fmt.Errorf("argument %d: %#x has bits outside the mask %#x and is never met", c.Index, c.Value, c.Mask)
	}
	return nil
}
