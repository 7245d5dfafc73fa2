package program

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/compile"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

// installs are the operations of p that install a filter, and the filters.
func installs(p *Program) (ops []int, filters [][]byte) {
	for i, op := range p.Ops {
		if op.Nr != unix.SYS_SECCOMP {
			continue
		}
		prog := op.Args[2]
		n := binary.LittleEndian.Uint64(p.Data[prog:])
		at := p.Ops[i-1] // the operation that stores the address
		if at.Nr != OpStore || at.Args[0] != prog+8 || at.Kinds[1] != Addr {
			return append(ops, -1), filters
		}
		ops, filters = append(ops, i), append(filters, p.Data[at.Args[1]:at.Args[1]+8*n])
	}
	return ops, filters
}

func TestFilter(t *testing.T) {
	each(t, func(t *testing.T, _ string, plan *sandbox.Plan, p *Program) {
		s := &plan.Security
		want, ok := seccomp.Builtin(s.Seccomp.Policy, seccomp.Variant{FakeRoot: len(s.Keep) > 0, NestedUserNS: s.NestedUserNS})
		ops, filters := installs(p)
		if plan.Bare.On() { // the one before it, and where both are, is bareOrder's
			if !ok || len(filters) != 2 || !slices.Equal(filters[1], want) {
				t.Fatalf("%d filters in operations %v, want that of %s last", len(filters), ops, s.Seccomp.Policy)
			}
			return
		}
		if !ok || len(filters) != 1 || !slices.Equal(filters[0], want) {
			t.Fatalf("%d filters in operations %v, want that of %s", len(filters), ops, s.Seccomp.Policy)
		}
		if p.Ops[ops[0]].Args[1] != unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW {
			t.Errorf("flags %#x", p.Ops[ops[0]].Args[1])
		}
		// Both PID 1 and the command get it: the next operation is the fork.
		if fork := p.Ops[ops[0]+1]; fork.Nr != unix.SYS_CLONE || fork.Opt&Fork == 0 {
			t.Errorf("after the filter comes %s", p.dumpOp(&fork))
		}
		// And no_new_privs, which a filter needs, comes before it.
		before := slices.ContainsFunc(p.Ops[:ops[0]], func(op Op) bool { return op.Nr == unix.SYS_PRCTL && op.Args[0] == unix.PR_SET_NO_NEW_PRIVS })
		if !before {
			t.Error("no_new_privs does not precede the filter")
		}
	})
}

func TestOwnFilter(t *testing.T) {
	first, own := []byte("1234567812345678"), []byte("abcdefgh")
	for _, tt := range []struct {
		name string
		s    sandbox.Seccomp
		want [][]byte
	}{
		{"none", sandbox.Seccomp{Policy: "unconfined"}, nil},
		{"one for both", sandbox.Seccomp{Policy: "/p.json", Code: own}, [][]byte{own}},
		{"one each", sandbox.Seccomp{Policy: "/p.json", Code: own, First: first}, [][]byte{first, own}},
		{"a block-list", sandbox.Seccomp{Policy: "unconfined", Deny: []string{"bpf"}, Code: own}, [][]byte{own}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plan := *plans(t)["build"]
			plan.Security.Seccomp = tt.s
			p, err := Compile(&plan)
			if err != nil {
				t.Fatal(err)
			}
			ops, filters := installs(p)
			if !slices.EqualFunc(filters, tt.want, slices.Equal[[]byte]) {
				t.Fatalf("filters %q, want %q", filters, tt.want)
			}
			if len(ops) == 2 {
				if p.Ops[ops[0]].Args[1] != 0 {
					t.Errorf("flags %#x", p.Ops[ops[0]].Args[1])
				}
				if exec := p.Steps[p.Exec].Op; ops[1]+1 != exec {
					t.Errorf("the command's own filter is operation %d, and executing it %d", ops[1], exec)
				}
			}
		})
	}
	plan := *plans(t)["build"]
	plan.Security.Seccomp = sandbox.Seccomp{Policy: "bulid"}
	if _, err := Compile(&plan); err == nil {
		t.Error("a built-in policy that is none is compiled")
	}
}

// initCalls are what OpInit and a failure do in assembly.
var initCalls = []string{"rt_sigtimedwait", "wait4", "kill", "write", "exit_group"}

// TestStarting: the policy that PID 1 gets at the least, policy.Start's for a
// command that may do next to nothing, allows all that the Program does under
// it. A new operation after the filter fails here until policy.Start has it.
func TestStarting(t *testing.T) {
	native, err := policy.ArchOf("amd64")
	if err != nil {
		t.Fatal(err)
	}
	least := policy.Policy{
		Name: "least", Arches: []policy.Arch{native}, Default: policy.Kill, Unknown: policy.Kill, Foreign: policy.Kill, X32: policy.Kill,
		Rules: []policy.Rule{{Names: []string{"execve", "write", "exit_group"}, Action: policy.Allow}},
	}
	first, same, err := least.Start()
	if err != nil || same {
		t.Fatal(same, err)
	}
	allowed := map[string][]policy.Rule{}
	for _, r := range first.Rules {
		for _, n := range r.Names {
			allowed[n] = append(allowed[n], r)
		}
	}
	permits := func(call string, args [6]uint64) bool {
		return slices.ContainsFunc(allowed[call], func(r policy.Rule) bool {
			return !slices.ContainsFunc(r.Args, func(c policy.Cond) bool { return args[c.Index] != c.Value })
		})
	}
	for _, call := range initCalls {
		if !permits(call, [6]uint64{}) {
			t.Errorf("PID 1 may not %s", call)
		}
	}
	seen := 0
	each(t, func(t *testing.T, _ string, plan *sandbox.Plan, _ *Program) {
		changed := *plan
		changed.Security.Seccomp = sandbox.Seccomp{Policy: "/p.json", Code: make([]byte, 8), First: make([]byte, 8)}
		p, err := Compile(&changed)
		if err != nil {
			t.Fatal(err)
		}
		ops, _ := installs(p)
		who := func(i int) Who {
			s, err := p.Step(i)
			if err != nil {
				t.Fatal(err)
			}
			return s.Who
		}
		for i := ops[0] + 1; i < len(p.Ops); i++ {
			if op := &p.Ops[i]; op.Nr >= 0 && who(i) != Mapper { // which was forked before
				seen++
				if !permits(opName(op.Nr), op.Args) {
					t.Errorf("operation %d is refused: %s", i, p.dumpOp(op))
				}
			}
		}
	})
	if seen < 100 {
		t.Errorf("only %d operations were looked at", seen)
	}
	if _, err := compile.Bytes(first); err != nil {
		t.Error(err)
	}
}

// TestTraced: PID 1's filter asks where it would refuse, its listener goes to the
// starter and is closed before the command's process is made, and the command's own
// filter does not ask: a process has one listener.
func TestTraced(t *testing.T) {
	refuse := []byte{0x06, 0, 0, 0, 1, 0, 5, 0} // BPF_RET, SECCOMP_RET_ERRNO | EPERM
	own := []byte("abcdefgh")
	for _, s := range []sandbox.Seccomp{
		{Policy: "build", SpecAllow: true, Trace: true},
		{Policy: "/p.json", Code: refuse, Trace: true},
		{Policy: "/p.json", Code: own, First: refuse, Trace: true},
	} {
		plan := *plans(t)["build"]
		plan.Security.Seccomp = s
		p, err := Compile(&plan)
		if err != nil {
			t.Fatal(err)
		}
		refuses, err := Filter(&plan)
		if err != nil {
			t.Fatal(err)
		}
		ops := slices.Collect(func(yield func(int) bool) {
			for i, op := range p.Ops {
				if op.Nr == unix.SYS_SECCOMP && !yield(i) {
					return
				}
			}
		})
		if want := 2 + min(len(s.First), 1); len(ops) != want {
			t.Fatalf("%d times seccomp, want %d", len(ops), want)
		}
		patient, plain := p.Ops[ops[0]], p.Ops[ops[1]]
		flags := uint64(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
		if s.SpecAllow {
			flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		}
		if plain.Args[1] != flags || patient.Args[1] != flags|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV || patient.Tolerate != uint8(unix.EINVAL) || int(patient.Jump) != ops[1] {
			t.Errorf("flags %#x, then %#x, tolerating %d, jump %d", patient.Args[1], plain.Args[1], patient.Tolerate, patient.Jump)
		}
		prog := patient.Args[2]
		at := p.Ops[ops[0]-1] // the operation that stores the address
		n := binary.LittleEndian.Uint64(p.Data[prog:])
		if at.Args[0] != prog+8 || plain.Args[2] != prog || !slices.Equal(p.Data[at.Args[1]:at.Args[1]+8*n], seccomp.Notify(refuses)) {
			t.Error("the filter is not the one that asks")
		}
		fork := slices.IndexFunc(p.Ops, func(op Op) bool { return op.Nr == unix.SYS_CLONE && op.Args[0]&unix.CLONE_VFORK != 0 })
		closes := p.Ops[fork-1]
		if closes.Nr != unix.SYS_CLOSE || closes.Kinds[0] != Word || p.Ops[fork-2].Nr != unix.SYS_SENDMSG || fork < ops[1] {
			t.Error("the listener is not sent and closed right before the fork")
		}
		if len(s.First) > 0 && p.Ops[ops[2]].Args[1]&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
			t.Error("the command's own filter has a listener")
		}
	}
	plan := *plans(t)["build"]
	plan.Security.Seccomp = sandbox.Seccomp{Policy: "unconfined", Trace: true}
	if _, err := Compile(&plan); err == nil {
		t.Error("what no filter refuses is traced")
	}
}
