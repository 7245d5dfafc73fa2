package compile_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/seccomp"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/compile"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/listener"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

// asks is what a filter that asks does, by the machine of the listener: a filter
// whose questions are made errnos of a number that no policy has.
func asks(t *testing.T, code []byte) *listener.Judge {
	t.Helper()
	marked := seccomp.Notify(code)
	for in := marked; len(in) >= 8; in = in[8:] {
		if in[0] == unix.BPF_RET && in[7] == 0x7f && in[6] == 0xc0 {
			copy(in[4:8], []byte{0xfe, 0x0f, 0x05, 0x00}) // SECCOMP_RET_ERRNO | 4094
		}
	}
	j, err := listener.NewJudge(marked)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// notified compares, for some calls, the filter that asks and the answers with what
// the policy says: a call is asked about if it is refused with an errno, and the
// answer is that errno. The judge that explains says the same.
func notified(t *testing.T, r *rand.Rand, p policy.Policy, cases int) {
	t.Helper()
	code, err := compile.Bytes(p)
	if err != nil {
		t.Fatal(err)
	}
	answers, err := listener.NewJudge(code)
	if err != nil {
		t.Fatal(err)
	}
	question := asks(t, code)
	for range cases {
		c := listener.Call{Arch: p.Arches[r.IntN(len(p.Arches))].Audit(), Nr: uint32(r.IntN(520)), IP: r.Uint64()}
		switch r.IntN(12) {
		case 0:
			c.Nr = []uint32{1 << 30, ^uint32(0), 1 << 31, 999}[r.IntN(4)]
		case 1:
			c.Arch = policy.ARM.Audit()
		}
		for i := range c.Args {
			c.Args[i] = randomValue(r)
		}
		for _, rule := range p.Rules { // near what is compared with, for half of them
			if r.IntN(2) == 0 && slices.Contains(rule.Names, name(p, c)) {
				for _, cond := range rule.Args {
					c.Args[cond.Index] = cond.Value | uint64(r.IntN(2))<<40
				}
				break
			}
		}
		want := oracle(p, c.Arch, c.Nr, c.Args)
		refused := uint32(want)&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO
		if errno, asked := question.Errno(&c); asked != refused || asked && errno != 4094 {
			t.Fatalf("%s: call %d %#x: asked %v (%v), the policy says %v", p.Name, c.Nr, c.Args, asked, errno, want)
		}
		if errno, ok := answers.Errno(&c); ok != refused || ok && policy.Errno(errno) != want || !ok && errno != unix.EPERM {
			t.Fatalf("%s: call %d %#x: answered %v, %v, the policy says %v", p.Name, c.Nr, c.Args, errno, ok, want)
		}
		if v := p.Judge(c.Arch, c.Nr, c.Args); v.Action != want || v.Call != name(p, c) {
			t.Fatalf("%s: call %d %#x: judged %v of %q, the policy says %v", p.Name, c.Nr, c.Args, v.Action, v.Call, want)
		}
	}
}

// name is what the policy's architectures call a call, "" for nothing.
func name(p policy.Policy, c listener.Call) string {
	for _, a := range p.Arches {
		for _, call := range a.Calls() {
			if a.Audit() == c.Arch && call.Nr == c.Nr {
				return call.Name
			}
		}
	}
	return ""
}

// TestNotified: whether a filter refuses or asks, each call gets the same errno.
func TestNotified(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 0))
	for _, p := range builtins(t) {
		notified(t, r, p, 500)
	}
	for range 150 {
		notified(t, r, randomPolicy(r), 300)
	}
}

// TestRemainder: PID 1's policy and what is left for the command's own filter say
// together what the policy says.
func TestRemainder(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(8, 0))
	build, err := policy.Builtin(policy.Build, policy.AMD64, policy.Variant{})
	if err != nil {
		t.Fatal(err)
	}
	for _, deny := range [][]string{{"setsid"}, {"chdir", "umask", "ptrace"}, {"clone"}, {"ioctl", "kill", "mount"}, {"prctl", "openat", "sendmsg"}} {
		p, err := build.Deny(deny...)
		if err != nil {
			t.Fatal(err)
		}
		first, _, err := p.Start()
		if err != nil {
			t.Fatal(err)
		}
		rest, names := p.Remainder()
		if len(names) == 0 {
			t.Errorf("nothing is left of %v", deny)
		}
		for range 20000 {
			c := listener.Call{Arch: policy.AMD64.Audit(), Nr: uint32(r.IntN(470))}
			if r.IntN(2) == 0 {
				c.Nr, _ = policy.AMD64.Number(names[r.IntN(len(names))])
			}
			for i := range c.Args {
				c.Args[i] = randomValue(r)
			}
			want, a, b := oracle(p, c.Arch, c.Nr, c.Args), oracle(first, c.Arch, c.Nr, c.Args), oracle(rest, c.Arch, c.Nr, c.Args)
			got := a
			if a == policy.Allow {
				got = b
			}
			if got != want || a != policy.Allow && b != policy.Allow && a != b {
				t.Fatalf("without %v: %s %#x: %v, then %v; the policy says %v", deny, name(p, c), c.Args, a, b, want)
			}
			// What the own filter refuses is not told of: nothing else may be among it.
			if b != policy.Allow && !slices.Contains(names, name(p, c)) {
				t.Fatalf("without %v: %s is refused on top, and not named: %v", deny, name(p, c), names)
			}
		}
	}
}

// TestBadFilter: what is no filter has no judge.
func TestBadFilter(t *testing.T) {
	for _, code := range [][]byte{nil, {0xff, 0xff, 0, 0, 0, 0, 0, 0}, {0x06, 0, 0, 0, 0, 0}} {
		if _, err := listener.NewJudge(code); err == nil {
			t.Errorf("%x has one", code)
		}
	}
}
