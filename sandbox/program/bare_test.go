package program

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// bareOrder is the order that the safety of a sandbox without namespaces rests
// on: that of the user's other processes too.
func bareOrder(t *testing.T, plan *sandbox.Plan, p *Program) {
	t.Helper()
	restricts, sets := all(p, "landlock_restrict_self("), all(p, "landlock_create_ruleset(")
	kills, clones := all(p, "kill(-1, 9)"), all(p, "clone(")
	if len(restricts) != 2 || len(sets) != 2 || len(kills) != 2 || len(clones) != 2 {
		t.Fatalf("%d domains, %d rulesets, %d ends of all, %d processes", len(restricts), len(sets), len(kills), len(clones))
	}
	if p.CloneFlags != 0 || len(all(p, "unshare(")) > 0 || len(all(p, "mount(")) > 0 {
		t.Error("it takes namespaces")
	}
	out := find(t, p, "kill($starter)")
	ordered(t, "no signal leaves, and that was seen, before all is killed", restricts[0], out, clones[0], kills[0], kills[1])
	if o := p.Ops[out]; o.Tolerate != uint8(unix.EPERM) || o.Opt != Skip || int(o.Jump) != out+2 || p.Ops[out+1].Nr != OpExpect || p.Ops[out+1].Args[2] == 0 {
		t.Errorf("a signal that leaves is no failure: %s; %s", p.dumpOp(&o), p.dumpOp(&p.Ops[out+1]))
	}
	capset, noNew := find(t, p, "capset("), find(t, p, "prctl(0x26, 1")
	ordered(t, "rights go before no_new_privs, and that before any domain", capset, noNew, restricts[0])
	ordered(t, "both keepers are out of the command's reach before it exists", find(t, p, "prctl(4"), clones[0], clones[1])

	ops, filters := installs(p)
	exec := p.Steps[p.Exec].Op
	if !slices.Equal(filters[0], plan.Bare.Filter) {
		t.Error("the first filter is not the one in the namespaces' place")
	}
	payload := int(p.Ops[clones[1]].Jump)
	ordered(t, "all that restricts the command is its own, the policy's filter last", payload, restricts[1], ops[0], ops[len(ops)-1], exec)
	if ops[len(ops)-1]+1 != exec {
		t.Errorf("something comes between the last filter, operation %d, and executing the command, %d", ops[len(ops)-1], exec)
	}
	// The command's domain is inside of the keepers', or it could end them.
	if v := p.Ops[restricts[1]]; v.Kinds[0] != Result || int(v.Args[0]) != sets[0] {
		t.Errorf("the command's domain is %s", p.dumpOp(&v))
	}
	init := find(t, p, "init(")
	if o := p.Ops[init]; p.Init != clones[0] || int(o.Args[0]) != clones[1] || o.Kinds[4] != Slot || o.Args[4] != SlotStarter || o.Args[3] != 0 || o.Args[5] != uint64(endSignal) {
		t.Errorf("init is %s, forked by operation %d", p.dumpOp(&o), p.Init)
	}
	deaths := all(p, "prctl(1, ")
	if len(deaths) != 4 || p.Ops[deaths[2]].Args[1] != uint64(endSignal) {
		t.Fatalf("death signals at %v", deaths)
	}
	ordered(t, "init learns of the ward's end before there is a command", clones[0], deaths[1], deaths[2], clones[1], init, kills[1], deaths[3])
	for _, k := range kills {
		if w, back := &p.Ops[k+1], &p.Ops[k+2]; w.Nr != unix.SYS_WAIT4 || w.Tolerate != uint8(unix.ECHILD) || int(w.Jump) != k+3 || back.Nr != OpJump || int(back.Jump) != k+1 {
			t.Errorf("the end of all waits so: %s; %s", p.dumpOp(w), p.dumpOp(back))
		}
	}
}
