package compile_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// python is Debian's, which the module for libseccomp (python3-seccomp) is for.
const python = "/usr/bin/python3"

// libseccomp makes the filters of the policies on its standard input.
const libseccomp = `
import base64, json, sys, tempfile
import seccomp as s

action = lambda a: s.ALLOW if a == 'allow' else s.ERRNO(int(a))
for line in sys.stdin:
    p = json.loads(line)
    f = s.SyscallFilter(action(p['Default']))
    f.set_attr(s.Attr.ACT_BADARCH, s.KILL_PROCESS)
    for r in p['Rules']:
        args = []
        for a in r['Args']:
            op = getattr(s, a['Op'])
            args.append(s.Arg(a['Index'], op, int(a['Mask']), int(a['Value'])) if a['Op'] == 'MASKED_EQ' else s.Arg(a['Index'], op, int(a['Value'])))
        try:
            f.add_rule(action(r['Action']), r['Nr'], *args)
        except Exception as e:
            sys.exit('%s: %s' % (e, r))
    with tempfile.TemporaryFile() as out:
        f.export_bpf(out)
        out.seek(0)
        print(base64.b64encode(out.read()).decode())
`

// Numbers of 64 bits are texts: JSON in Python has them whole, in Go too, but
// not all that lies between.
type scmpArg struct {
	Index       uint8
	Op          string
	Value, Mask string
}

type scmpRule struct {
	Action string
	Nr     uint32
	Args   []scmpArg
}

type scmpPolicy struct {
	Default string
	Rules   []scmpRule
}

var scmpOps = [...]string{policy.Eq: "EQ", policy.Ne: "NE", policy.Lt: "LT", policy.Le: "LE", policy.Gt: "GT", policy.Ge: "GE", policy.MaskedEq: "MASKED_EQ"}

func scmpAction(a policy.Action) string {
	if a == policy.Allow {
		return "allow"
	}
	return strconv.Itoa(int(a & unix.SECCOMP_RET_DATA))
}

// agreeable is a random policy that both compilers read in the same way: one
// rule about a call, in which each argument is compared once and whole, and
// numbers that are unknown fall to the default.
func agreeable(r *rand.Rand) policy.Policy {
	actions := []policy.Action{policy.Allow, policy.Errno(unix.EPERM), policy.Errno(unix.ENOSYS), policy.Errno(4094)} // libseccomp takes no 4095
	def := actions[r.IntN(len(actions))]
	p := policy.Policy{Name: "random", Arches: []policy.Arch{policy.AMD64}, Default: def, Unknown: def, Foreign: policy.Kill, X32: policy.Kill}
	calls := policy.AMD64.Calls()
	for range 1 + r.IntN(40) {
		action := actions[r.IntN(len(actions))]
		if action == def {
			continue // libseccomp refuses such a rule
		}
		name := calls[r.IntN(len(calls))].Name
		if slices.ContainsFunc(p.Rules, func(rule policy.Rule) bool { return rule.Names[0] == name }) {
			continue // libseccomp 2.5.4 may need forever to put several rules together
		}
		rule := policy.Rule{Names: []string{name}, Action: action}
		for _, index := range r.Perm(6)[:r.IntN(6)] {
			c := randomCond(r)
			c.Index, c.Width = uint8(index), policy.Width64
			rule.Args = append(rule.Args, c)
		}
		p.Rules = append(p.Rules, rule)
	}
	return p
}

// TestLibseccomp compiles the same policies with libseccomp and compares what
// both filters say.
func TestLibseccomp(t *testing.T) {
	if out, err := exec.Command(python, "-c", "import seccomp").CombinedOutput(); err != nil {
		sbxtest.Require(t, sbxtest.Missing("python3-seccomp", "needs python3-seccomp: "+string(bytes.TrimSpace(out))+" "+err.Error()))
	}
	const policies, cases = 200, 500
	r := rand.New(rand.NewPCG(7, 11))
	var all []policy.Policy
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for range policies {
		p := agreeable(r)
		all = append(all, p)
		s := scmpPolicy{Default: scmpAction(p.Default), Rules: []scmpRule{}}
		for _, rule := range p.Rules {
			nr, _ := policy.AMD64.Number(rule.Names[0])
			sr := scmpRule{Action: scmpAction(rule.Action), Nr: nr, Args: []scmpArg{}}
			for _, c := range rule.Args {
				sr.Args = append(sr.Args, scmpArg{c.Index, scmpOps[c.Op], strconv.FormatUint(c.Value, 10), strconv.FormatUint(c.Mask, 10)})
			}
			s.Rules = append(s.Rules, sr)
		}
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-c", libseccomp)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("libseccomp: %v: %s", err, &stderr)
	}
	lines := bytes.Fields(out)
	if len(lines) != len(all) {
		t.Fatalf("%d filters for %d policies", len(lines), len(all))
	}
	refused := 0
	for i, p := range all {
		theirs, ours := &machine{vm: scmpVM(t, lines[i])}, newMachine(t, p)
		for range cases {
			nr, args := probeOf(r, p)
			got, want := ours.run(t, policy.AMD64.Audit(), nr, args), theirs.run(t, policy.AMD64.Audit(), nr, args)
			if got != want {
				t.Fatalf("call %d %#x: ours says %v, libseccomp's %v, of\n%v", nr, args, got, want, p)
			}
			if got != policy.Allow {
				refused++
			}
		}
		if got := theirs.run(t, policy.I386.Audit(), 0, [6]uint64{}); got != policy.Kill {
			t.Fatalf("another architecture: %v", got)
		}
	}
	t.Logf("%d cases agree, %d of them refusals", policies*cases, refused)
}

// probeOf is a call near what p's rules are about.
func probeOf(r *rand.Rand, p policy.Policy) (nr uint32, args [6]uint64) {
	nr = uint32(r.IntN(480))
	for i := range args {
		args[i] = randomValue(r)
	}
	if len(p.Rules) > 0 && r.IntN(4) > 0 {
		rule := p.Rules[r.IntN(len(p.Rules))]
		nr, _ = policy.AMD64.Number(rule.Names[0])
		for _, c := range rule.Args {
			switch v := c.Value; r.IntN(6) {
			case 0:
				args[c.Index] = v + 1
			case 1:
				args[c.Index] = v - 1
			case 2:
				args[c.Index] = v | 1<<32
			case 3:
				args[c.Index] = v | ^c.Mask
			default:
				args[c.Index] = v
			}
		}
	}
	return nr, args
}

// scmpVM is a machine for a filter as libseccomp writes it.
func scmpVM(t *testing.T, text []byte) *bpf.VM {
	t.Helper()
	code := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(code, text)
	if err != nil {
		t.Fatal(err)
	}
	var raw []bpf.RawInstruction
	for b := code[:n]; len(b) >= 8; b = b[8:] {
		raw = append(raw, bpf.RawInstruction{Op: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])})
	}
	program, all := bpf.Disassemble(raw)
	if !all {
		t.Fatal("an instruction of libseccomp's is not known")
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}
