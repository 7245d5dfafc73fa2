package program

import (
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

// further is the Program of another command in the sandbox of plan.
func further(t *testing.T, plan *sandbox.Plan) *Program {
	t.Helper()
	p, err := Another(plan)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestAnother: another command's process is like the first's from where it
// begins, but that it dies with the one that waits for it and that all of its
// standard descriptors were handed in.
func TestAnother(t *testing.T) {
	each(t, func(t *testing.T, _ string, plan *sandbox.Plan, p *Program) {
		if plan.Bare.On() {
			if _, err := Another(plan); err == nil {
				t.Error("a sandbox without namespaces takes another command, and it would be confined by nothing")
			}
			return
		}
		a := further(t, plan)
		if dump := a.Dump(); strings.Contains(dump, "syscall") {
			t.Errorf("an operation has no name:\n%s", dump)
		}
		if size := a.Size(); size > ChunkSize {
			t.Logf("it takes %d bytes, more than a chunk", size)
		}
		steps := func(p *Program) (list []string) {
			for _, s := range p.Steps {
				if doc := s.Doc(); s.Who == Payload && !strings.HasPrefix(doc, "put a pipe in place") && !strings.HasPrefix(doc, "die with") {
					list = append(list, doc)
				}
			}
			return list
		}
		if got, want := steps(a), steps(p); !slices.Equal(got, want) {
			t.Errorf("the steps are\n%q, of the first command\n%q", got, want)
		}
		for i, op := range a.Ops {
			for k, kind := range op.Kinds {
				if kind == Result && op.Args[k] >= uint64(i) {
					t.Errorf("operation %d uses a later result", i)
				}
			}
		}
	})
}

// What another command does under PID 1's filter is allowed by the least one.
func TestAnotherStarting(t *testing.T) {
	native, err := policy.ArchOf("amd64")
	if err != nil {
		t.Fatal(err)
	}
	least := policy.Policy{
		Name: "least", Arches: []policy.Arch{native}, Default: policy.Kill, Unknown: policy.Kill, Foreign: policy.Kill, X32: policy.Kill,
		Rules: []policy.Rule{{Names: []string{"execve", "write", "exit_group"}, Action: policy.Allow}},
	}
	first, _, err := least.Start()
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, _ string, plan *sandbox.Plan, _ *Program) {
		if plan.Bare.On() {
			return // there is none
		}
		p := further(t, plan)
		for i := range p.Ops {
			op := &p.Ops[i]
			allowed := slices.ContainsFunc(first.Rules, func(r policy.Rule) bool {
				return slices.Contains(r.Names, opName(op.Nr)) && r.Action == policy.Allow &&
					!slices.ContainsFunc(r.Args, func(c policy.Cond) bool { return op.Args[c.Index] != c.Value })
			})
			if op.Nr >= 0 && !allowed {
				t.Errorf("operation %d is refused: %s", i, p.dumpOp(op))
			}
		}
	})
}

// TestEncodeAt: a Program in another place has all that it refers to there.
func TestEncodeAt(t *testing.T) {
	block := make([]byte, AnotherAt+(Chunks+1)*ChunkSize)
	p := further(t, plans(t)["terminal"])
	for _, first := range []int{0, Chunks - 2} {
		if err := p.EncodeAt(block, ChunkOp(first), AnotherSlots()); err != nil {
			t.Fatal(err)
		}
		EncodeJump(block, first)
		alone := make([]byte, p.Size())
		if err := p.Encode(alone, AnotherSlots()); err != nil {
			t.Fatal(err)
		}
		shift := uint64(ChunkOp(first)) * opSize
		for i := range p.Ops {
			at, was := block[headSize+opSize*(ChunkOp(first)+i):], alone[headSize+opSize*i:]
			for a, kind := range p.Ops[i].Kinds {
				want := word(was[opArgs+8*a:])
				if kind == Addr || kind == Word || kind == Result {
					want += shift
				}
				if got := word(at[opArgs+8*a:]); got != want {
					t.Errorf("operation %d, argument %d: %#x, want %#x", i, a, got, want)
				}
			}
		}
		if got, want := word(block[AnotherAt+opJump:])&(1<<32-1), uint64(headSize+opSize*ChunkOp(first)); got != want {
			t.Errorf("the jump leads to %#x, want %#x", got, want)
		}
	}
	if end := headSize + opSize*ChunkOp(Chunks); end > 4<<20 {
		t.Errorf("the chunks end at %d, beyond the block", end)
	}
}

func word(b []byte) (v uint64) {
	for i := range 8 {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}
