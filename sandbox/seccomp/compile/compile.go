// Package compile turns a policy into the classic BPF program that the kernel
// runs at every system call, see seccomp(2).
//
// The program is a tree. It compares the architecture, then halves the numbers
// of its system calls until one action or one list of rules is left. To there
// it uses only what the kernel can compute ahead (loads of the number and the
// architecture, JEQ, JGE, JGT, JSET, JA, RET), so that a call that is allowed
// whatever its arguments costs one bit in a table of the kernel, however long
// the program is. Conditions on arguments are the tree's leaves.
package compile

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/net/bpf"

	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

// maxInstructions is BPF_MAXINSNS.
const maxInstructions = 4096

// Bytes is a policy as an array of the kernel's struct sock_filter, which has
// little-endian fields on all our architectures: code (2 bytes), jt, jf (1
// each), k (4).
func Bytes(p policy.Policy) ([]byte, error) {
	raw, err := Raw(p)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 8*len(raw))
	for _, in := range raw {
		b = binary.LittleEndian.AppendUint16(b, in.Op)
		b = append(b, in.Jt, in.Jf)
		b = binary.LittleEndian.AppendUint32(b, in.K)
	}
	return b, nil
}

// Raw is a policy as assembled instructions.
func Raw(p policy.Policy) ([]bpf.RawInstruction, error) {
	program, err := Program(p)
	if err != nil {
		return nil, err
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("assembling policy %s: %w", p.Name, err)
	}
	return raw, nil
}

// Program is a policy as instructions. The same policy makes the same program.
func Program(p policy.Policy) ([]bpf.Instruction, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("policy %s: %w", p.Name, err)
	}
	rules := map[string][]policy.Rule{} // by call, up to the first that always holds
	for _, r := range p.Rules {
		for _, n := range r.Names {
			if said := rules[n]; len(said) == 0 || len(said[len(said)-1].Args) > 0 {
				rules[n] = append(said, r)
			}
		}
	}
	out := []bpf.Instruction{load(offArch)}
	for _, a := range p.Arches {
		body, err := arch(p, a, rules)
		if err != nil {
			return nil, err
		}
		out = append(out, skipUnless(bpf.JumpEqual, a.Audit(), len(body))...)
		out = append(out, body...)
	}
	out = append(out, ret(p.Foreign))
	if len(out) > maxInstructions {
		return nil, fmt.Errorf("policy %s takes %d instructions, the kernel no more than %d", p.Name, len(out), maxInstructions)
	}
	return out, nil
}

// Offsets in struct seccomp_data; an argument's low word comes first.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// x32Bit is __X32_SYSCALL_BIT. Numbers from it on, with -1, are x32's.
const x32Bit = 0x40000000

func load(offset uint32) bpf.Instruction       { return bpf.LoadAbsolute{Off: offset, Size: 4} }
func ret(a policy.Action) bpf.Instruction      { return bpf.RetConstant{Val: uint32(a)} }
func and(mask uint32) bpf.Instruction          { return bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask} }
func fits(distance int) (uint8, bool)          { return uint8(distance), distance <= 255 }
func jumpAlways(distance int) bpf.Jump         { return bpf.Jump{Skip: uint32(distance)} }
func jump(t bpf.JumpTest, v uint32) bpf.JumpIf { return bpf.JumpIf{Cond: t, Val: v} }

// skipIf goes over distance instructions if the test holds.
func skipIf(t bpf.JumpTest, v uint32, distance int) []bpf.Instruction {
	j := jump(t, v)
	if d, ok := fits(distance); ok {
		j.SkipTrue = d
		return []bpf.Instruction{j}
	}
	j.SkipFalse = 1
	return []bpf.Instruction{j, jumpAlways(distance)}
}

// skipUnless goes over distance instructions if the test does not hold.
func skipUnless(t bpf.JumpTest, v uint32, distance int) []bpf.Instruction {
	j := jump(t, v)
	if d, ok := fits(distance); ok {
		j.SkipFalse = d
		return []bpf.Instruction{j}
	}
	j.SkipTrue = 1
	return []bpf.Instruction{j, jumpAlways(distance)}
}

// span is the numbers from start to the next span, which share their code.
type span struct {
	start uint32
	code  []bpf.Instruction
}

// arch judges the calls of one architecture. Every way through it ends in a RET.
func arch(p policy.Policy, a policy.Arch, rules map[string][]policy.Rule) ([]bpf.Instruction, error) {
	var spans []span
	add := func(start uint32, code []bpf.Instruction) {
		if len(spans) == 0 || !slices.Equal(spans[len(spans)-1].code, code) {
			spans = append(spans, span{start, code})
		}
	}
	unknown := []bpf.Instruction{ret(p.Unknown)}
	next := uint32(0) // the first number that no span has
	for _, c := range a.Calls() {
		if c.Nr > next {
			add(next, unknown)
		}
		code, err := leaf(c.Name, rules[c.Name], p.Default)
		if err != nil {
			return nil, err
		}
		add(c.Nr, code)
		next = c.Nr + 1
	}
	add(next, unknown)
	if a == policy.AMD64 {
		add(x32Bit, []bpf.Instruction{ret(p.X32)})
	}
	return append([]bpf.Instruction{load(offNr)}, tree(spans)...), nil
}

// tree finds the span of the number in A.
func tree(spans []span) []bpf.Instruction {
	if len(spans) == 1 {
		return spans[0].code
	}
	half := len(spans) / 2
	low, high := tree(spans[:half]), tree(spans[half:])
	out := skipIf(bpf.JumpGreaterOrEqual, spans[half].start, len(low))
	out = append(out, low...)
	return append(out, high...)
}
