package compile_test

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/seccomp/compile"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

// oracle judges a call as the documentation of a policy says, without any of
// the compiler's thoughts.
func oracle(p policy.Policy, audit, nr uint32, args [6]uint64) policy.Action {
	for _, a := range p.Arches {
		if a.Audit() != audit {
			continue
		}
		if a == policy.AMD64 && nr >= 1<<30 {
			return p.X32
		}
		i, ok := slices.BinarySearchFunc(a.Calls(), nr, func(c policy.Call, nr uint32) int { return int(c.Nr) - int(nr) })
		if !ok {
			return p.Unknown
		}
		name := a.Calls()[i].Name
		for _, r := range p.Rules {
			if slices.Contains(r.Names, name) && all(r, name, args) {
				return r.Action
			}
		}
		return p.Default
	}
	return p.Foreign
}

func all(r policy.Rule, call string, args [6]uint64) bool {
	for _, c := range r.Args {
		w, err := c.WidthIn(call)
		if err != nil {
			panic(err)
		}
		v := args[c.Index]
		switch w {
		case policy.Width16:
			v = uint64(uint16(v))
		case policy.Width32:
			v = uint64(uint32(v))
		}
		ok := false
		switch c.Op {
		case policy.Eq:
			ok = v == c.Value
		case policy.Ne:
			ok = v != c.Value
		case policy.Lt:
			ok = v < c.Value
		case policy.Le:
			ok = v <= c.Value
		case policy.Gt:
			ok = v > c.Value
		case policy.Ge:
			ok = v >= c.Value
		case policy.MaskedEq:
			ok = v&c.Mask == c.Value
		}
		if !ok {
			return false
		}
	}
	return true
}

// machine runs a program as the kernel would. x/net's machine loads big-endian
// words where the kernel loads native ones, so each word of struct seccomp_data
// is laid out big-endian, and an argument's low word comes first all the same.
type machine struct {
	vm   *bpf.VM
	data [64]byte
}

func newMachine(t testing.TB, p policy.Policy) *machine {
	t.Helper()
	program, err := compile.Program(p)
	if err != nil {
		t.Fatal(err)
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	return &machine{vm: vm}
}

func (m *machine) run(t testing.TB, audit, nr uint32, args [6]uint64) policy.Action {
	binary.BigEndian.PutUint32(m.data[0:], nr)
	binary.BigEndian.PutUint32(m.data[4:], audit)
	for i, a := range args {
		binary.BigEndian.PutUint32(m.data[16+8*i:], uint32(a))
		binary.BigEndian.PutUint32(m.data[20+8*i:], uint32(a>>32))
	}
	r, err := m.vm.Run(m.data[:])
	if err != nil {
		t.Fatal(err)
	}
	return policy.Action(uint32(r))
}

// interesting are values about which comparisons go wrong.
var interesting = []uint64{
	0, 1, 2, 15, 16, 38, 39, 40, 41, 0x5412, 0o6000, 0o4755, 0xffff, 0x10000, 1<<31 - 1, 1 << 31, 1<<32 - 1,
	1 << 32, 1<<32 | 38, 1<<32 | 39, 39 << 32, 39<<32 | 38, 39<<32 | 39, 1 << 63, 1<<64 - 2, 1<<64 - 1, 0x7e020000,
}

func randomValue(r *rand.Rand) uint64 {
	v := interesting[r.IntN(len(interesting))]
	switch r.IntN(8) {
	case 0:
		v++
	case 1:
		v--
	case 2:
		v ^= 1 << r.IntN(64)
	}
	return v
}

var actions = []policy.Action{
	policy.Allow, policy.Allow, policy.Log, policy.Kill, policy.Trap,
	policy.Errno(0), policy.Errno(unix.EPERM), policy.Errno(unix.ENOSYS), policy.Errno(4095),
}

func randomAction(r *rand.Rand) policy.Action { return actions[r.IntN(len(actions))] }

// allNames are the calls of all architectures.
var allNames = func() []string {
	var names []string
	for _, a := range []policy.Arch{policy.AMD64, policy.ARM64, policy.I386, policy.ARM} {
		for _, c := range a.Calls() {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}()

func randomCond(r *rand.Rand) policy.Cond {
	c := policy.Cond{
		Index: uint8(r.IntN(6)), Op: policy.Op(r.IntN(7)), Value: randomValue(r),
		Width: []policy.Width{16, 32, 64, 64}[r.IntN(4)],
	}
	if c.Op == policy.MaskedEq {
		for c.Mask = 0; c.Mask<<(64-c.Width) == 0; {
			c.Mask = randomValue(r)
		}
		if r.IntN(3) > 0 {
			c.Value = 0
		}
		c.Value &= c.Mask
	}
	if c.Width < 64 {
		c.Value &= 1<<c.Width - 1
		c.Mask &= 1<<c.Width - 1
	}
	return c
}

func randomPolicy(r *rand.Rand) policy.Policy {
	p := policy.Policy{
		Name: "random", Default: randomAction(r), Unknown: randomAction(r), Foreign: randomAction(r), X32: randomAction(r),
		Arches: [][]policy.Arch{
			{policy.AMD64}, {policy.ARM64}, {policy.AMD64, policy.I386}, {policy.ARM64, policy.ARM}, {policy.I386, policy.AMD64},
		}[r.IntN(5)],
	}
	some := make([]string, 1+r.IntN(80)) // few names, so that rules about the same call meet
	for i := range some {
		some[i] = allNames[r.IntN(len(allNames))]
	}
	for range r.IntN(60) {
		rule := policy.Rule{Action: randomAction(r)}
		for range 1 + r.IntN(6) {
			rule.Names = append(rule.Names, some[r.IntN(len(some))])
		}
		if r.IntN(4) > 0 {
			for range 1 + r.IntN(4) {
				rule.Args = append(rule.Args, randomCond(r))
			}
		}
		p.Rules = append(p.Rules, rule)
	}
	return p
}

// compare judges calls by the program and by the oracle: numbers that rules
// name more than others, and arguments near what they are compared with.
func compare(t testing.TB, r *rand.Rand, p policy.Policy, cases int) {
	t.Helper()
	m := newMachine(t, p)
	var near []uint64
	var named []uint32
	for _, rule := range p.Rules {
		for _, c := range rule.Args {
			near = append(near, c.Value, c.Value+1, c.Value-1, c.Value|1<<32, c.Value|1<<16, c.Value|^c.Mask)
		}
		for _, n := range rule.Names {
			for _, a := range p.Arches {
				if nr, ok := a.Number(n); ok {
					named = append(named, nr)
				}
			}
		}
	}
	audits := []uint32{policy.AMD64.Audit(), policy.ARM64.Audit(), policy.I386.Audit(), policy.ARM.Audit(), 0}
	for range cases {
		audit := p.Arches[r.IntN(len(p.Arches))].Audit()
		if r.IntN(16) == 0 {
			audit = audits[r.IntN(len(audits))]
		}
		nr := uint32(r.IntN(520))
		switch k := r.IntN(16); {
		case k < 8 && len(named) > 0:
			nr = named[r.IntN(len(named))]
		case k == 8:
			nr = []uint32{1 << 30, 1<<30 - 1, 1<<30 | nr, ^uint32(0), 1 << 31, 0xf0000 + nr%8, ^nr}[r.IntN(7)]
		}
		var args [6]uint64
		for i := range args {
			if len(near) > 0 && r.IntN(2) == 0 {
				args[i] = near[r.IntN(len(near))]
			} else {
				args[i] = randomValue(r)
			}
		}
		if got, want := m.run(t, audit, nr, args), oracle(p, audit, nr, args); got != want {
			t.Fatalf("architecture %#x, call %d, arguments %#x: the program says %v, the policy %v:\n%+v", audit, nr, args, got, want, p)
		}
	}
}

// TestOracle compares more than a million calls.
func TestOracle(t *testing.T) {
	const parts, policies, cases = 4, 130, 2000 // 1,040,000
	for part := range parts {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, uint64(part)))
			for range policies {
				compare(t, r, randomPolicy(r), cases)
			}
		})
	}
}

// TestOracleBuiltin compares the built-in policies, with every number.
func TestOracleBuiltin(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(2, 0))
	for _, p := range builtins(t) {
		compare(t, r, p, 3000)
		m := newMachine(t, p)
		for _, a := range p.Arches {
			for nr := range uint32(700) {
				args := [6]uint64{randomValue(r), randomValue(r), randomValue(r), randomValue(r)}
				if got, want := m.run(t, a.Audit(), nr, args), oracle(p, a.Audit(), nr, args); got != want {
					t.Fatalf("%s, %v, call %d, arguments %#x: the program says %v, the policy %v", p.Name, a, nr, args, got, want)
				}
			}
		}
	}
}

// builtins are all built-in policies in all variants.
func builtins(t testing.TB) []policy.Policy {
	var all []policy.Policy
	for _, name := range policy.Names() {
		for _, a := range []policy.Arch{policy.AMD64, policy.ARM64} {
			for bits := range 8 {
				p, err := policy.Builtin(name, a, policy.Variant{FakeRoot: bits&1 != 0, NestedUserNS: bits&2 != 0, Multiarch: bits&4 != 0})
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, p)
			}
		}
	}
	return all
}

// FuzzProgram makes policies and calls of the fuzzer's numbers.
func FuzzProgram(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		r := rand.New(rand.NewPCG(a, b))
		compare(t, r, randomPolicy(r), 50)
	})
}
