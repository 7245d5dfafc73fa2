package compile

import (
	"fmt"

	"golang.org/x/net/bpf"

	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

// leaf is the code for one call: its rules in order, then def.
func leaf(call string, rules []policy.Rule, def policy.Action) ([]bpf.Instruction, error) {
	if n := len(rules); n > 0 && len(rules[n-1].Args) == 0 {
		def, rules = rules[n-1].Action, rules[:n-1]
	}
	// A condition that decides between an action and the same action is none.
	for len(rules) > 0 && rules[len(rules)-1].Action == def {
		rules = rules[:len(rules)-1]
	}
	var l leafCode
	for _, r := range rules {
		if err := l.rule(call, r); err != nil {
			return nil, fmt.Errorf("%s: %w", call, err)
		}
	}
	return append(l.out, ret(def)), nil
}

// leafCode is a leaf in the making.
type leafCode struct {
	out []bpf.Instruction
	a   word // what A holds where the next instruction comes
}

// word is an argument's word, masked. The zero word is not known.
type word struct{ offset, mask uint32 }

const wholeWord = ^uint32(0)

// Where a test goes: to the instruction after it, which for the last test of a
// condition means that it holds; past its condition, which holds; or past its
// rule, which does not.
type target uint8

const (
	onward target = iota
	holds
	fails
)

// branch is a test whose distances are not known yet.
type branch struct {
	at      int // its place in out
	yes, no target
	end     int // where its condition ends
	a       word
}

// rule appends the tests of a rule and its action.
func (l *leafCode) rule(call string, r policy.Rule) error {
	var branches []branch
	for _, c := range r.Args {
		width, err := c.WidthIn(call)
		if err != nil {
			return err
		}
		first := len(branches)
		branches = append(branches, l.cond(c, width)...)
		for i := first; i < len(branches); i++ {
			branches[i].end = len(l.out)
			if goes := branches[i]; (goes.yes == holds || goes.no == holds) && goes.a != l.a {
				l.a = word{} // the condition is left with one or the other
			}
		}
	}
	l.out = append(l.out, ret(r.Action))
	failed, any := word{}, false
	for _, b := range branches {
		j := l.out[b.at].(bpf.JumpIf)
		for _, side := range []struct {
			to   target
			skip *uint8
		}{{b.yes, &j.SkipTrue}, {b.no, &j.SkipFalse}} {
			d := 0
			switch side.to {
			case holds:
				d = b.end - b.at - 1
			case fails:
				d = len(l.out) - b.at - 1
				if any && failed != b.a {
					failed = word{}
				} else if !any {
					failed, any = b.a, true
				}
			}
			n, ok := fits(d)
			if !ok {
				return fmt.Errorf("BUG: a jump over %d instructions within a rule", d)
			}
			*side.skip = n
		}
		l.out[b.at] = j
	}
	l.a = failed
	return nil
}

// get makes A hold a word.
func (l *leafCode) get(offset, mask uint32) {
	want := word{offset, mask}
	if l.a == want {
		return
	}
	if l.a != (word{offset, wholeWord}) {
		l.out = append(l.out, load(offset))
	}
	if mask != wholeWord {
		l.out = append(l.out, and(mask))
	}
	l.a = want
}

// test appends a comparison with A.
func (l *leafCode) test(t bpf.JumpTest, v uint32, yes, no target) branch {
	l.out = append(l.out, jump(t, v))
	return branch{at: len(l.out) - 1, yes: yes, no: no, a: l.a}
}

// cond appends the tests of a condition. Numbers of 64 bits are compared by
// the high word first; the low word decides where that is equal.
func (l *leafCode) cond(c policy.Cond, width policy.Width) []branch {
	low := offArgs + 8*uint32(c.Index)
	if width != policy.Width64 {
		return l.compare(low, uint32(1<<width-1), c.Op, uint32(c.Value), uint32(c.Mask))
	}
	high := low + 4
	value, mask := uint32(c.Value>>32), uint32(c.Mask>>32)
	var b []branch
	switch c.Op {
	case policy.Eq:
		l.get(high, wholeWord)
		b = append(b, l.test(bpf.JumpEqual, value, onward, fails))
	case policy.Ne:
		l.get(high, wholeWord)
		b = append(b, l.test(bpf.JumpEqual, value, onward, holds))
	case policy.Gt, policy.Ge:
		l.get(high, wholeWord)
		b = append(b, l.test(bpf.JumpGreaterThan, value, holds, onward), l.test(bpf.JumpEqual, value, onward, fails))
	case policy.Lt, policy.Le:
		l.get(high, wholeWord)
		b = append(b, l.test(bpf.JumpGreaterThan, value, fails, onward), l.test(bpf.JumpEqual, value, onward, holds))
	case policy.MaskedEq:
		if mask != 0 {
			b = append(b, l.masked(high, mask, value))
		}
		if uint32(c.Mask) == 0 { // nothing to compare in the low word
			return b
		}
	}
	return append(b, l.compare(low, wholeWord, c.Op, uint32(c.Value), uint32(c.Mask))...)
}

// masked tests that a word's bits in mask are those of value.
func (l *leafCode) masked(offset, mask, value uint32) branch {
	if value == 0 {
		l.get(offset, wholeWord)
		return l.test(bpf.JumpBitsSet, mask, fails, onward)
	}
	l.get(offset, mask)
	return l.test(bpf.JumpEqual, value, onward, fails)
}

// compare is a condition on a word, of which only the bits in width count.
func (l *leafCode) compare(offset, width uint32, op policy.Op, value, mask uint32) []branch {
	if op == policy.MaskedEq {
		return []branch{l.masked(offset, mask&width, value)}
	}
	l.get(offset, width)
	switch op {
	case policy.Ne:
		return []branch{l.test(bpf.JumpEqual, value, fails, holds)}
	case policy.Lt:
		return []branch{l.test(bpf.JumpGreaterOrEqual, value, fails, holds)}
	case policy.Le:
		return []branch{l.test(bpf.JumpGreaterThan, value, fails, holds)}
	case policy.Gt:
		return []branch{l.test(bpf.JumpGreaterThan, value, holds, fails)}
	case policy.Ge:
		return []branch{l.test(bpf.JumpGreaterOrEqual, value, holds, fails)}
	default:
		return []branch{l.test(bpf.JumpEqual, value, holds, fails)}
	}
}
