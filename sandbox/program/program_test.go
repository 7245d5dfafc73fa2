package program

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// plans are the golden plans of sandbox/resolve by name.
func plans(t *testing.T) map[string]*sandbox.Plan {
	t.Helper()
	files, err := filepath.Glob("../resolve/testdata/*.plan.json")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d plans, %v", len(files), err)
	}
	m := map[string]*sandbox.Plan{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		p := &sandbox.Plan{}
		if err := json.Unmarshal(text, p); err != nil {
			t.Fatal(f, err)
		}
		m[strings.TrimSuffix(filepath.Base(f), ".plan.json")] = p
	}
	return m
}

// each compiles every golden plan and calls f with it.
func each(t *testing.T, f func(t *testing.T, name string, plan *sandbox.Plan, p *Program)) {
	t.Helper()
	for name, plan := range plans(t) {
		t.Run(name, func(t *testing.T) {
			p, err := Compile(plan)
			if err != nil {
				t.Fatal(err)
			}
			f(t, name, plan, p)
		})
	}
}

func TestGolden(t *testing.T) {
	each(t, func(t *testing.T, name string, _ *sandbox.Plan, p *Program) {
		got := p.String()
		if runtime.GOARCH == "amd64" { // arm64 has other values of O_DIRECTORY and O_NOFOLLOW
			got += "\n" + p.Dump()
		}
		file := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(want), got) || runtime.GOARCH == "amd64" && got != string(want) {
			t.Errorf("%s has changed; go test -update, then look at the difference. Now it is\n%s", file, got)
		}
	})
}

// TestNames: Dump knows each operation by name, and every step has a sentence.
func TestNames(t *testing.T) {
	each(t, func(t *testing.T, _ string, _ *sandbox.Plan, p *Program) {
		if dump := p.Dump(); strings.Contains(dump, "syscall") {
			t.Errorf("an operation has no name:\n%s", dump)
		}
		for _, s := range p.Steps {
			if doc := s.Doc(); doc == "" || strings.Contains(doc, "%!") {
				t.Errorf("step %+v: %q", s, doc)
			}
		}
	})
}

// TestSound: what an operation refers to exists by the time it runs.
func TestSound(t *testing.T) {
	each(t, func(t *testing.T, _ string, _ *sandbox.Plan, p *Program) {
		for i, op := range p.Ops {
			for a, kind := range op.Kinds {
				v := op.Args[a]
				switch {
				case kind == Result && v >= uint64(i), kind == Slot && v >= NumSlots, kind == Head && v >= headSize,
					(kind == Addr || kind == Word) && v >= uint64(len(p.Data)):
					t.Errorf("operation %d: argument %d: %s", i, a, p.dumpOp(&op))
				}
			}
			jumps := op.Opt&(Fork|Skip) != 0 || op.Nr == OpJump
			back := op.Jump > 0 && p.Ops[min(int(op.Jump), len(p.Ops)-1)].Nr == OpInit || op.Nr == OpJump && p.Ops[max(int(op.Jump), 0)].Nr == unix.SYS_WAIT4 // PID 1's life goes on, or endAll
			if jumps && !back && op.Jump != AnotherOp && (int(op.Jump) <= i || int(op.Jump) >= len(p.Ops)) || !jumps && op.Jump != 0 {
				t.Errorf("operation %d jumps to %d of %d", i, op.Jump, len(p.Ops))
			}
		}
		for i, s := range p.Steps {
			if s.Op >= len(p.Ops) || i > 0 && s.Op < p.Steps[i-1].Op {
				t.Errorf("step %d begins at operation %d", i, s.Op)
			}
		}
	})
}

// TestPreludeIsPrefix: the child is started with the prelude and given the
// whole while it waits in it, so both must be the same so far.
func TestPreludeIsPrefix(t *testing.T) {
	var slots Slots
	for i := range slots {
		slots[i] = uint64(100 + i)
	}
	each(t, func(t *testing.T, _ string, plan *sandbox.Plan, p *Program) {
		pre := Prelude(plan.Shape())
		if len(pre.Data) != 0 || pre.CloneFlags != p.CloneFlags {
			t.Errorf("%d bytes of data, clone flags %#x and %#x", len(pre.Data), pre.CloneFlags, p.CloneFlags)
		}
		begin, whole := encoded(t, pre, pre.Size(), slots), encoded(t, p, p.Size(), slots)
		if !bytes.HasPrefix(whole, begin) {
			t.Error("the program does not begin with its prelude")
		}
	})
}

func encoded(t *testing.T, p *Program, size int, slots Slots) []byte {
	t.Helper()
	block := make([]byte, size)
	if err := p.Encode(block, slots); err != nil {
		t.Fatal(err)
	}
	return block
}

// TestEncode: a block's size does not matter, nor does the order of encoding,
// and the same plan gives the same bytes.
func TestEncode(t *testing.T) {
	each(t, func(t *testing.T, _ string, plan *sandbox.Plan, p *Program) {
		small, large := encoded(t, p, p.Size(), Slots{}), encoded(t, p, 2*p.Size(), Slots{})
		if !bytes.Equal(small, large[:p.Size()]) || slices.Max(large[p.Size():]) != 0 {
			t.Error("a block twice the size is another")
		}
		again, err := Compile(plan)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(small, encoded(t, again, again.Size(), Slots{})) {
			t.Error("compiled again it is another program")
		}
		for i := range p.Ops {
			if at := uint32(FirstOp + opSize*i); OpIndex(at) != i {
				t.Errorf("OpIndex(%d) = %d, want %d", at, OpIndex(at), i)
			}
		}
	})
	late := &Program{Ops: []Op{{Nr: unix.SYS_CLOSE, Args: [6]uint64{1}, Kinds: [6]ArgKind{Result}}, {Nr: unix.SYS_SETSID}}}
	if err := late.Encode(make([]byte, late.Size()), Slots{}); err == nil || err.Error() != "operation 0 uses the result of operation 1, which runs later" {
		t.Errorf("Encode: %v", err)
	}
}

// find is the index of the one operation that begins so in Dump, -1 if there
// is none, and fails for more.
func find(t *testing.T, p *Program, prefix string) int {
	t.Helper()
	found := all(p, prefix)
	switch len(found) {
	case 0:
		return -1
	case 1:
		return found[0]
	}
	t.Errorf("%s is there %d times", prefix, len(found))
	return found[0]
}

func all(p *Program, prefix string, and ...string) (list []int) {
	for i := range p.Ops {
		s := p.dumpOp(&p.Ops[i])
		if strings.HasPrefix(s, prefix) && (len(and) == 0 || strings.Contains(s, and[0])) {
			list = append(list, i)
		}
	}
	return list
}

// TestOrder is the order that the sandbox's safety rests on.
func TestOrder(t *testing.T) {
	each(t, func(t *testing.T, _ string, plan *sandbox.Plan, p *Program) {
		if plan.Bare.On() {
			bareOrder(t, plan, p)
			return
		}
		fork := int(p.Ops[find(t, p, "init(")].Args[0])
		capset, noNew := all(p, "capset(")[0], find(t, p, "prctl(0x26, 1")
		ordered(t, "rights are dropped before no_new_privs", all(p, "prctl(0x18, ")[0], last(all(p, "prctl(0x1c, ")), capset, noNew)
		ordered(t, "no_new_privs before anything of the command", noNew, fork, all(p, "execve(")[0])
		ordered(t, "PID 1 is out of reach before the command exists", find(t, p, "prctl(4"), fork)
		ordered(t, "the inner user namespace after all mounts", last(all(p, "move_mount("), all(p, "mount("), all(p, "mount_setattr(")), find(t, p, "unshare(0x10000000)"), capset)
		if !plan.Root.InPlace {
			pivot := find(t, p, "pivot_root(")
			ordered(t, "the root is left after all mounts", last(all(p, "move_mount("), all(p, "mount(")), pivot, find(t, p, `umount2(".", `))
			if plan.Root.ReadOnly {
				ordered(t, "read-only at the end", pivot, last(all(p, "mount_setattr(")))
			}
		} else if find(t, p, "pivot_root(") >= 0 {
			t.Error("the host's tree in place, yet a new root")
		}
		gids, deny := all(p, "openat(r", "gid_map"), all(p, "openat(r", "setgroups")
		if plan.IDs.Mode == "single" {
			if len(gids) != 2 || len(deny) != 2 {
				t.Fatalf("gid_map at %v, setgroups at %v", gids, deny)
			}
			ordered(t, "setgroups is denied before gids are mapped", deny[0], gids[0], deny[1], gids[1])
		}
		if plan.Cgroup.Delegate {
			ns := find(t, p, "unshare(0x2000000)")
			ordered(t, "control groups are shown from the namespace that hides those above, and PID 1 leaves the top before it gives controllers away",
				ns, find(t, p, `fsopen("cgroup2"`), all(p, "openat(", "init.scope/cgroup.procs")[0], all(p, "openat(", "cgroup.subtree_control")[0], find(t, p, "unshare(0x10000000)"))
		}
		closed := all(p, "close_range(5, 0xffffffff)")[0]
		if ids := all(p, "setresuid("); len(ids) > 0 {
			ordered(t, "groups, gid, uid, and the death signal anew, while there are rights to", find(t, p, "unshare(0x10000000)"), last(all(p, "setgroups(")), find(t, p, "setresgid("), ids[0], last(all(p, "prctl(1, 9")), capset)
		}
		ordered(t, "the command's pid is known to init", fork, closed, find(t, p, "init("))
	})
}

func ordered(t *testing.T, what string, ops ...int) {
	t.Helper()
	if ops[0] < 0 || !slices.IsSorted(ops) {
		t.Errorf("%s: operations %v", what, ops)
	}
}

func last(lists ...[]int) int {
	m := -1
	for _, l := range lists {
		for _, i := range l {
			m = max(m, i)
		}
	}
	return m
}

// TestDescriptors: init uses nothing but its pid and its status pipe once it
// has closed the rest, and the command's process nothing that only init did.
func TestDescriptors(t *testing.T) {
	each(t, func(t *testing.T, _ string, plan *sandbox.Plan, p *Program) {
		if plan.Bare.On() {
			return // see bareOrder
		}
		closed, init := all(p, "close_range(5, 0xffffffff)")[0], find(t, p, "init(")
		fork := int(p.Ops[init].Args[0])
		payload := int(p.Ops[fork].Jump)
		if p.Ops[fork].Opt&Fork == 0 || p.Ops[payload-1].Nr != OpJump || p.Ops[init].Args[1] != 3 || p.Ops[init].Kinds[1] != Const {
			t.Fatalf("fork %d, init %d, payload %d", fork, init, payload)
		}
		for i := closed + 1; i < payload; i++ {
			for a, k := range p.Ops[i].Kinds {
				if v := int(p.Ops[i].Args[a]); k == Slot || k == Result && (i != init || a != 0) && v < init {
					t.Errorf("operation %d uses what close_range closed: %s", i, p.dumpOp(&p.Ops[i]))
				}
			}
		}
		for i := payload; i < len(p.Ops); i++ {
			for a, k := range p.Ops[i].Kinds {
				if v := int(p.Ops[i].Args[a]); k == Result && v >= fork && v < payload {
					t.Errorf("operation %d uses a result of init's: %s", i, p.dumpOp(&p.Ops[i]))
				}
			}
		}
	})
}

func TestExec(t *testing.T) {
	base := plans(t)["build"]
	for _, tt := range []struct {
		name string
		argv []string
		look []string
		want []string
	}{
		{"a path", []string{"./x", "a"}, []string{"/bin"}, []string{`execve("./x", `}},
		{"a name", []string{"x"}, []string{"/a", "/b"}, []string{`execve("/a/x", `, `execve("/b/x", `, "fail("}},
		{"a name and nowhere to look", []string{"x"}, nil, []string{"fail("}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plan := *base
			plan.Process.Argv, plan.Process.Lookup = tt.argv, tt.look
			p, err := Compile(&plan)
			if err != nil {
				t.Fatal(err)
			}
			first := p.Steps[p.Exec].Op
			if n := len(p.Ops) - first; n != len(tt.want) {
				t.Fatalf("%d operations execute the command, want %d", n, len(tt.want))
			}
			for i, want := range tt.want {
				if got := p.dumpOp(&p.Ops[first+i]); !strings.HasPrefix(got, want) || !p.IsExec(first+i) {
					t.Errorf("operation %s, want %s", got, want)
				}
			}
			if p.IsExec(first - 1) {
				t.Error("the step before counts as the command's")
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	plan := *plans(t)["build"]
	plan.Version, plan.Process.Argv = 9, nil
	_, err := Compile(&plan)
	if want := "BUG: this is no plan: version 9 of a plan, this sbx knows 1\nthere is no command"; err == nil || err.Error() != want {
		t.Errorf("Compile: %v, want %s", err, want)
	}
}

func TestStep(t *testing.T) {
	p := Prelude(sandbox.Shape{})
	for op, want := range []string{0: "make the mount namespace and the others", 2: "make the mount namespace and the others", 3: "wait for the program", 4: "wait for the program"} {
		if want == "" {
			continue
		}
		if s, err := p.Step(op); err != nil || s.Doc() != want {
			t.Errorf("Step(%d) = %q, %v", op, s.Doc(), err)
		}
	}
	if _, err := p.Step(-1); err == nil || err.Error() != "no step has operation -1" {
		t.Errorf("Step(-1): %v", err)
	}
}

func TestTerminalGuard(t *testing.T) {
	p, err := TerminalGuard(7, []byte{0x11, 0, 0, 0, 0, 0, 0, 0})
	if err != nil {
		t.Fatal(err)
	}
	want := "# init: wait for the end of sbx and restore the terminal's mode\n" +
		"   0  close($sync-write)\n   1  prctl(0xf, \"sbx-tty\")\n   2  setsid()\n   3  read($sync, &0x0, 1) ignore\n" +
		"   4  ioctl(7, 0x5402, &0x11) ignore\n   5  exit()\n"
	if got := p.Dump(); got != want {
		t.Errorf("TerminalGuard:\n%s, want\n%s", got, want)
	}
}
