package program

import (
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/landlock"
)

// scopes is LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and LANDLOCK_SCOPE_SIGNAL.
const scopes = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL

// ruleset collects the rules of Landlock, which restricts nothing yet. It
// comes while the sandbox still has its rights: the way to what a rule names
// may lead through a directory that the command can't enter. It returns the
// operation that has the ruleset's descriptor, -1 for none.
func (b *builder) ruleset(p *sandbox.Plan) int {
	l := &p.Security.Landlock
	if !l.On() {
		return -1
	}
	scoped := uint64(0)
	if l.Scoped {
		scoped = scopes
	}
	b.step("", "security.landlock", "prepare Landlock (ABI %d)", l.ABI)
	attr := b.words(uint64(l.Handled), uint64(l.Net), scoped) // struct landlock_ruleset_attr
	rules := b.call(unix.SYS_LANDLOCK_CREATE_RULESET, addr(attr), c(24), c(0))
	for _, r := range l.Rules {
		b.rule(rules, r)
	}
	return rules
}

// rule allows something at and below a path, or for a standard descriptor's
// file. A file that has no path on any file system, such as one of
// memfd_create(2), takes no rule and needs none.
func (b *builder) rule(rules int, r sandbox.LandlockRule) {
	attr := b.words(uint64(r.Allow), 0) // struct landlock_path_beneath_attr
	o := Op{Nr: unix.SYS_LANDLOCK_ADD_RULE}
	if r.Path == "" {
		b.step("", "security.landlock", "let Landlock allow, of descriptor %d: %s", r.FD, briefText(r.Allow))
		b.op(Op{Nr: OpStore}, addr(attr+8), ci(r.FD))
		o.Tolerate = uint8(unix.EBADFD)
	} else {
		b.step(r.Path, "security.landlock", "let Landlock allow, at %s: %s", r.Path, briefText(r.Allow))
		f := b.open(atCWD, r.Path)
		if r.Optional {
			b.p.Ops[f].Tolerate, b.p.Ops[f].Opt = uint8(unix.ENOENT), Skip
			defer func() { // there may be many
				b.call(unix.SYS_CLOSE, res(f))
				b.land(f)
			}()
		}
		b.op(Op{Nr: OpStore}, addr(attr+8), res(f))
	}
	b.op(o, res(rules), c(unix.LANDLOCK_RULE_PATH_BENEATH), addr(attr), c(0))
}

// briefText prints rights when a step's sentence is asked for.
type briefText landlock.Access

func (a briefText) String() string { return landlock.Access(a).Brief() }

// restrict puts the rules into force, for PID 1 and all that comes from it.
// There is no way back.
func (b *builder) restrict(rules int) {
	if rules < 0 {
		return
	}
	b.step("", "security.landlock", "restrict everything inside by Landlock")
	b.call(unix.SYS_LANDLOCK_RESTRICT_SELF, res(rules), c(0))
}
