package policy

import (
	"slices"
	"syscall"
)

// Verdict is what a policy says of one call.
type Verdict struct {
	Action Action
	Call   string // its name, "" for a number that has none here
	// Rule is what decided, nil for one of the policy's own actions.
	Rule *Rule
	// Args are those of the call that its rules look at, with the bits that they
	// look at.
	Args []Arg
}

// Arg is an argument of a call.
type Arg struct {
	Index uint8
	Name  string // the parameter's, "" if it is not known
	Value uint64
	Octal bool // a file's mode
}

// Errno is what the call is refused with, if it is refused so.
func (v *Verdict) Errno() (syscall.Errno, bool) { return v.Action.errno() }

// Lets reports whether the call is made.
func (v *Verdict) Lets() bool { return v.Action.lets() }

// Judge decides about one call, by the number of its architecture (Arch.Audit).
func (p Policy) Judge(audit, nr uint32, args [6]uint64) Verdict {
	i := slices.IndexFunc(p.Arches, func(a Arch) bool { return a.Audit() == audit })
	if i < 0 {
		return Verdict{Action: p.Foreign}
	}
	a := p.Arches[i]
	if a == AMD64 && nr >= x32Bit {
		return Verdict{Action: p.X32}
	}
	at, known := slices.BinarySearchFunc(a.Calls(), nr, func(c Call, nr uint32) int { return int(int64(c.Nr) - int64(nr)) })
	if !known {
		return Verdict{Action: p.Unknown}
	}
	v := Verdict{Action: p.Default, Call: a.Calls()[at].Name}
	for i := range p.Rules {
		r := &p.Rules[i]
		if !slices.Contains(r.Names, v.Call) {
			continue
		}
		for _, c := range r.Args {
			v.look(c, args)
		}
		if v.Rule == nil && !slices.ContainsFunc(r.Args, func(c Cond) bool { return !c.holds(c.cut(args[c.Index], v.Call)) }) {
			v.Action, v.Rule = r.Action, r
		}
	}
	slices.SortFunc(v.Args, func(a, b Arg) int { return int(a.Index) - int(b.Index) })
	return v
}

// x32Bit is __X32_SYSCALL_BIT.
const x32Bit = 0x40000000

// look adds what a condition sees of a call's arguments.
func (v *Verdict) look(c Cond, args [6]uint64) {
	mask := ^uint64(0)
	if c.Op == MaskedEq {
		mask = c.Mask
	}
	seen := c.cut(args[c.Index]&mask, v.Call)
	if i := slices.IndexFunc(v.Args, func(a Arg) bool { return a.Index == c.Index }); i >= 0 {
		v.Args[i].Value |= seen
		return
	}
	word, name, _ := parameter(v.Call, c.Index)
	v.Args = append(v.Args, Arg{Index: c.Index, Name: name, Value: seen, Octal: word == "umode"})
}
