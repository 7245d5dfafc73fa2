package compile_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/seccomp/compile"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

func builtin(t testing.TB, name string, a policy.Arch, v policy.Variant) policy.Policy {
	t.Helper()
	p, err := policy.Builtin(name, a, v)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestDecisions says what the built-in policies have to do, on both native
// architectures.
func TestDecisions(t *testing.T) {
	eperm, enosys, noFamily := policy.Errno(unix.EPERM), policy.Errno(unix.ENOSYS), policy.Errno(unix.EAFNOSUPPORT)
	const high = 1 << 32
	type sixArgs = [6]uint64
	for _, tt := range []struct {
		call                 string
		args                 sixArgs
		def, build, strict   policy.Action
		fakeRoot, nestedUser policy.Action // of build
	}{
		{"read", sixArgs{}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"socket", sixArgs{unix.AF_UNIX, 1}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"socket", sixArgs{unix.AF_INET6, 1}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"socket", sixArgs{unix.AF_INET | high, 1, unix.IPPROTO_UDP}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"socket", sixArgs{unix.AF_INET, 1, unix.IPPROTO_SCTP}, policy.Allow, policy.Allow, policy.Errno(unix.EPROTONOSUPPORT), policy.Allow, policy.Allow},
		{"socket", sixArgs{unix.AF_NETLINK, 3, unix.NETLINK_ROUTE}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"socket", sixArgs{unix.AF_NETLINK, 3, unix.NETLINK_AUDIT}, noFamily, noFamily, noFamily, noFamily, noFamily},
		{"socket", sixArgs{unix.AF_NETLINK, 3, high}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"socket", sixArgs{unix.AF_ALG, 5}, noFamily, noFamily, noFamily, noFamily, noFamily},
		{"socket", sixArgs{unix.AF_ALG | high, 5}, noFamily, noFamily, noFamily, noFamily, noFamily},
		{"socket", sixArgs{unix.AF_VSOCK | high, 1}, noFamily, noFamily, noFamily, noFamily, noFamily},
		{"socketpair", sixArgs{unix.AF_UNIX, 1}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"socketpair", sixArgs{unix.AF_TIPC, 1}, noFamily, noFamily, noFamily, noFamily, noFamily},
		{"ioctl", sixArgs{0, unix.TCGETS}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"ioctl", sixArgs{0, unix.TIOCSTI}, eperm, eperm, eperm, eperm, eperm},
		{"ioctl", sixArgs{0, unix.TIOCSTI | high}, eperm, eperm, eperm, eperm, eperm},
		{"ioctl", sixArgs{0, 0x541c | high<<8}, eperm, eperm, eperm, eperm, eperm},
		{"ioctl", sixArgs{0, unix.TIOCSETD}, eperm, eperm, eperm, eperm, eperm},
		{"clone", sixArgs{unix.CLONE_VM | unix.CLONE_THREAD | 17}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"clone", sixArgs{unix.CLONE_NEWUSER | 17}, eperm, eperm, eperm, eperm, policy.Allow},
		{"clone", sixArgs{unix.CLONE_NEWNET | high}, eperm, eperm, eperm, eperm, policy.Allow},
		{"clone", sixArgs{high << 3}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"clone3", sixArgs{}, enosys, enosys, enosys, enosys, policy.Allow},
		{"unshare", sixArgs{}, eperm, eperm, eperm, eperm, policy.Allow},
		{"setns", sixArgs{}, eperm, eperm, eperm, eperm, policy.Allow},
		{"mount", sixArgs{}, eperm, eperm, eperm, eperm, policy.Allow},
		{"fsopen", sixArgs{}, enosys, enosys, enosys, enosys, policy.Allow},
		{"open_tree_attr", sixArgs{}, enosys, enosys, enosys, enosys, policy.Allow},
		{"chroot", sixArgs{}, eperm, eperm, eperm, policy.Allow, policy.Allow},
		{"io_uring_setup", sixArgs{}, enosys, enosys, enosys, enosys, enosys},
		{"keyctl", sixArgs{}, eperm, eperm, eperm, eperm, eperm},
		{"add_key", sixArgs{}, eperm, eperm, eperm, eperm, eperm},
		{"request_key", sixArgs{}, eperm, eperm, eperm, eperm, eperm},
		{"bpf", sixArgs{}, eperm, eperm, eperm, eperm, eperm},
		{"perf_event_open", sixArgs{}, eperm, eperm, eperm, eperm, eperm},
		{"userfaultfd", sixArgs{}, eperm, eperm, eperm, eperm, eperm},
		{"modify_ldt", sixArgs{}, eperm, eperm, eperm, eperm, eperm},
		{"kexec_load", sixArgs{}, eperm, eperm, eperm, eperm, eperm},
		{"setgroups", sixArgs{}, eperm, eperm, eperm, policy.Allow, policy.Allow},
		{"setuid", sixArgs{}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"fchownat", sixArgs{}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"ptrace", sixArgs{}, policy.Allow, policy.Allow, eperm, policy.Allow, policy.Allow},
		{"process_vm_writev", sixArgs{}, policy.Allow, policy.Allow, eperm, policy.Allow, policy.Allow},
		{"io_setup", sixArgs{}, policy.Allow, policy.Allow, enosys, policy.Allow, policy.Allow},
		{"openat2", sixArgs{}, policy.Allow, policy.Allow, enosys, policy.Allow, policy.Allow},
		{"personality", sixArgs{0x40000}, eperm, policy.Allow, eperm, policy.Allow, policy.Allow},
		{"personality", sixArgs{1<<64 - 1}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"personality", sixArgs{0x400000}, eperm, eperm, eperm, eperm, eperm}, // READ_IMPLIES_EXEC
		{"chmod", sixArgs{0, 0o755}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"chmod", sixArgs{0, 0o4755}, policy.Allow, eperm, eperm, policy.Allow, eperm},
		{"fchmod", sixArgs{0, 0o2755}, policy.Allow, eperm, eperm, policy.Allow, eperm},
		{"fchmod", sixArgs{0, 0o1777 | high | 1<<16}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"fchmodat", sixArgs{0, 0, 0o4755 | high | 1<<16}, policy.Allow, eperm, eperm, policy.Allow, eperm},
		{"fchmodat2", sixArgs{0, 0, 0o6755}, policy.Allow, eperm, eperm, policy.Allow, eperm},
		{"mknod", sixArgs{0, unix.S_IFREG | 0o4755}, policy.Allow, eperm, eperm, policy.Allow, eperm},
		{"mknodat", sixArgs{0, 0, unix.S_IFREG | 0o4755}, policy.Allow, eperm, eperm, policy.Allow, eperm},
		{"creat", sixArgs{0, 0o4755}, policy.Allow, eperm, eperm, policy.Allow, eperm},
		{"open", sixArgs{0, unix.O_RDONLY, 0o6777}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"open", sixArgs{0, unix.O_CREAT | unix.O_WRONLY, 0o644}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"open", sixArgs{0, unix.O_CREAT | unix.O_WRONLY | high, 0o4755}, policy.Allow, eperm, eperm, policy.Allow, eperm},
		{"openat", sixArgs{0, 0, unix.O_TMPFILE | unix.O_RDWR, 0o4755}, policy.Allow, eperm, eperm, policy.Allow, eperm},
		{"openat", sixArgs{0, 0, unix.O_DIRECTORY, 0o4755}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
		{"mkdirat", sixArgs{0, 0, 0o2755}, policy.Allow, policy.Allow, policy.Allow, policy.Allow, policy.Allow},
	} {
		for _, a := range []policy.Arch{policy.AMD64, policy.ARM64} {
			nr, ok := a.Number(tt.call)
			if !ok {
				continue
			}
			for _, c := range []struct {
				name string
				v    policy.Variant
				want policy.Action
			}{
				{policy.Default, policy.Variant{}, tt.def},
				{policy.Build, policy.Variant{}, tt.build},
				{policy.Strict, policy.Variant{}, tt.strict},
				{policy.Build, policy.Variant{FakeRoot: true}, tt.fakeRoot},
				{policy.Build, policy.Variant{NestedUserNS: true}, tt.nestedUser},
				{policy.Unconfined, policy.Variant{}, policy.Allow},
			} {
				m := newMachine(t, builtin(t, c.name, a, c.v))
				if got := m.run(t, a.Audit(), nr, tt.args); got != c.want {
					t.Errorf("%s %+v on %v: %s(%#x): %v, want %v", c.name, c.v, a, tt.call, tt.args, got, c.want)
				}
			}
		}
	}
}

// TestNumbers: what is in no table, and other tables.
func TestNumbers(t *testing.T) {
	enosys := policy.Errno(unix.ENOSYS)
	for _, name := range []string{policy.Default, policy.Build, policy.Strict} {
		native := newMachine(t, builtin(t, name, policy.AMD64, policy.Variant{}))
		both := newMachine(t, builtin(t, name, policy.AMD64, policy.Variant{Multiarch: true}))
		arm := newMachine(t, builtin(t, name, policy.ARM64, policy.Variant{Multiarch: true}))
		for _, tt := range []struct {
			what  string
			m     *machine
			audit uint32
			nr    uint32
			want  policy.Action
		}{
			{"a hole", native, policy.AMD64.Audit(), 400, enosys},
			{"newer", native, policy.AMD64.Audit(), 600, enosys},
			{"-1", native, policy.AMD64.Audit(), ^uint32(0), enosys},
			{"x32 getpid", native, policy.AMD64.Audit(), 1<<30 | unix.SYS_GETPID, enosys},
			{"386 getpid", native, policy.I386.Audit(), 20, policy.Kill},
			{"386 getpid", both, policy.I386.Audit(), 20, policy.Allow},
			{"386 socketcall", both, policy.I386.Audit(), 102, enosys},
			{"386 modify_ldt", both, policy.I386.Audit(), 123, policy.Allow},
			{"386 setgroups32", both, policy.I386.Audit(), 206, policy.Errno(unix.EPERM)},
			{"386 -1", both, policy.I386.Audit(), ^uint32(0), enosys},
			{"arm64 call", native, policy.ARM64.Audit(), 63, policy.Kill},
			{"arm set_tls", arm, policy.ARM.Audit(), 0xf0005, policy.Allow},
			{"arm usr26", arm, policy.ARM.Audit(), 0xf0003, policy.Errno(unix.EPERM)},
			{"arm64 -1", arm, policy.ARM64.Audit(), ^uint32(0), enosys},
			{"amd64 call", arm, policy.AMD64.Audit(), 0, policy.Kill},
		} {
			if got := tt.m.run(t, tt.audit, tt.nr, [6]uint64{}); got != tt.want {
				t.Errorf("%s: %s: %v, want %v", name, tt.what, got, tt.want)
			}
		}
	}
}

// TestConstantActions does what the kernel does when it prepares its table of
// calls that are always allowed (seccomp_is_const_allow, Linux 5.11): it runs
// the program as far as it can without arguments. All calls that a policy allows
// without conditions must come out.
func TestConstantActions(t *testing.T) {
	for _, p := range builtins(t) {
		raw, err := compile.Raw(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range p.Arches {
			constant, conditional := 0, 0
			for _, c := range a.Calls() {
				plain := p.Default
				some := false
				for _, r := range p.Rules {
					if slices.Contains(r.Names, c.Name) {
						plain, some = r.Action, len(r.Args) > 0
						break
					}
				}
				got, ok := constantAction(t, raw, a.Audit(), c.Nr)
				switch {
				case some:
					conditional++
				case !ok || got != plain:
					t.Errorf("%s, %v, %s: the kernel can't tell that it is %v", p.Name, a, c.Name, plain)
				default:
					constant++
				}
			}
			t.Logf("%s, %v: %d calls decided by number, %d by arguments, %d instructions", p.Name, a, constant, conditional, len(raw))
		}
	}
}

func constantAction(t *testing.T, raw []bpf.RawInstruction, audit, nr uint32) (policy.Action, bool) {
	t.Helper()
	var acc uint32
	for pc := 0; ; pc++ {
		in := raw[pc]
		holds := false
		switch in.Op {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			switch in.K {
			case 0:
				acc = nr
			case 4:
				acc = audit
			default:
				return 0, false
			}
			continue
		case unix.BPF_RET | unix.BPF_K:
			return policy.Action(in.K), true
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			holds = acc == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			holds = acc >= in.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			holds = acc > in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			holds = acc&in.K != 0
		default:
			t.Fatalf("instruction %d has code %#x", pc, in.Op)
		}
		if holds {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
}

// TestErrnoOfDefault: a rule that says the same as the default is no less a rule.
func TestErrnoOfDefault(t *testing.T) {
	p := policy.Policy{
		Name: "t", Arches: []policy.Arch{policy.AMD64}, Default: policy.Errno(unix.EPERM), Unknown: policy.Kill, Foreign: policy.Kill, X32: policy.Kill,
		Rules: []policy.Rule{
			{Names: []string{"ioctl"}, Action: policy.Errno(unix.EPERM), Args: []policy.Cond{{Index: 1, Value: 7}}},
			{Names: []string{"ioctl"}, Action: policy.Allow},
		},
	}
	m := newMachine(t, p)
	for cmd, want := range map[uint64]policy.Action{7: policy.Errno(unix.EPERM), 8: policy.Allow} {
		if got := m.run(t, policy.AMD64.Audit(), unix.SYS_IOCTL, [6]uint64{0, cmd}); got != want {
			t.Errorf("ioctl %d: %v, want %v", cmd, got, want)
		}
	}
}

// many is a policy with n different conditions.
func many(n int) policy.Policy {
	p := policy.Policy{Name: "many", Arches: []policy.Arch{policy.AMD64}, Default: policy.Allow, Unknown: policy.Kill, Foreign: policy.Kill, X32: policy.Kill}
	for i := range n {
		p.Rules = append(p.Rules, policy.Rule{
			Names: []string{"prctl"}, Action: policy.Trap,
			Args: []policy.Cond{{Index: 0, Value: uint64(i)}, {Index: 1, Value: uint64(i)}},
		})
	}
	return p
}

func TestLength(t *testing.T) {
	m := newMachine(t, many(500)) // jumps over 3,500 instructions
	for i := range uint64(501) {
		for _, nr := range []uint32{unix.SYS_READ, unix.SYS_PRCTL, unix.SYS_TKILL} {
			want := policy.Allow
			if nr == unix.SYS_PRCTL && i < 500 {
				want = policy.Trap
			}
			if got := m.run(t, policy.AMD64.Audit(), nr, [6]uint64{i, i}); got != want {
				t.Fatalf("call %d, argument %d: %v, want %v", nr, i, got, want)
			}
		}
	}
	if _, err := compile.Program(many(1000)); err == nil || !strings.Contains(err.Error(), "no more than 4096") {
		t.Errorf("a program that is too long: %v", err)
	}
}

func TestBytes(t *testing.T) {
	p := builtin(t, policy.Build, policy.AMD64, policy.Variant{Multiarch: true})
	code, err := compile.Bytes(p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := compile.Bytes(builtin(t, policy.Build, policy.AMD64, policy.Variant{Multiarch: true}))
	if err != nil || !bytes.Equal(code, again) {
		t.Error("the same policy, another program")
	}
	raw, err := compile.Raw(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(code) != 8*len(raw) {
		t.Fatalf("%d bytes of %d instructions", len(code), len(raw))
	}
	for i, in := range raw {
		b := code[8*i:]
		if got := (bpf.RawInstruction{Op: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])}); got != in {
			t.Fatalf("instruction %d is %+v, want %+v", i, got, in)
		}
	}
}

func TestInvalid(t *testing.T) {
	if _, err := compile.Bytes(policy.Policy{Name: "nothing"}); err == nil {
		t.Error("a policy that says nothing is compiled")
	}
}

func BenchmarkBytes(b *testing.B) {
	p := builtin(b, policy.Build, policy.AMD64, policy.Variant{})
	for b.Loop() {
		if _, err := compile.Bytes(p); err != nil {
			b.Fatal(err)
		}
	}
}
