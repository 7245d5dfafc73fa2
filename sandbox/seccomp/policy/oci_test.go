package policy

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseOCI(t *testing.T) {
	const text = `{
	"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
	"archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
	"syscalls": [
		{"names": ["read", "s390_runtime_instr", "write"], "action": "SCMP_ACT_ALLOW", "comment": "plain\u001b"},
		{"name": "personality", "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 18446744073709551615, "op": "SCMP_CMP_EQ"}]},
		{"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}], "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
		{"names": ["clone"], "action": "SCMP_ACT_LOG", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
		{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errno": "EINVAL", "errnoRet": 22, "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 9, "op": "SCMP_CMP_EQ"}]},
		{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 2, "value": 9, "op": "SCMP_CMP_NE"}]},
		{"names": ["ptrace"], "action": "SCMP_ACT_KILL", "includes": {"minKernel": "4.8"}},
		{"names": ["arch_prctl"], "action": "SCMP_ACT_TRAP", "includes": {"arches": ["amd64", "x32"]}},
		{"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
		{"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}}
	]}`
	p, err := ParseOCI([]byte(text), AMD64, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.Default != Errno(unix.ENOSYS) || p.Foreign != Kill || p.Unknown != Errno(unix.ENOSYS) || !slices.Equal(p.Arches, []Arch{AMD64}) {
		t.Errorf("%+v", p)
	}
	if !slices.Equal(p.Skipped, []string{"s390_runtime_instr"}) {
		t.Errorf("skipped are %v", p.Skipped)
	}
	for call, want := range map[string]string{
		"read": "allow", "personality": "allow?1", "clone": "allow?1", "socket": "EINVAL?2 allow?1",
		"ptrace": "kill", "arch_prctl": "trap", "mount": "", "bpf": "",
	} {
		if got := said(p, call); got != want {
			t.Errorf("%s is %q, want %q", call, got, want)
		}
	}
	if c := p.Rules[1].Args[0]; c != (Cond{Index: 0, Op: Eq, Width: Width32, Value: 0xffffffff}) {
		t.Errorf("-1 as personality is %+v", c)
	}
	if p.Rules[0].Why != `"plain\x1b"` {
		t.Errorf("the comment is %q", p.Rules[0].Why)
	}
	if p, err = ParseOCI([]byte(text), AMD64, []string{"CAP_SYS_ADMIN"}); err != nil || said(p, "clone") != "log" {
		t.Errorf("with CAP_SYS_ADMIN clone is %q, %v", said(p, "clone"), err)
	}
}

func TestParseOCIErrors(t *testing.T) {
	rule := func(r string) string { return `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[` + r + `]}` }
	arg := func(call, a string) string {
		return rule(`{"names":["` + call + `"],"action":"SCMP_ACT_ALLOW","args":[` + a + `]}`)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"empty", ``, "EOF"},
		{"no object", `[]`, "cannot unmarshal"},
		{"no action", `{}`, "no action"},
		{"unknown key", `{"defaultAction":"SCMP_ACT_ALLOW","sycalls":[]}`, `unknown field "sycalls"`},
		{"key twice", `{"defaultAction":"SCMP_ACT_ERRNO","DefaultAction":"SCMP_ACT_ALLOW"}`, "twice"},
		{"more", `{"defaultAction":"SCMP_ACT_ERRNO"}{}`, "something follows"},
		{"deep", strings.Repeat("[", 20), "nested deeper"},
		{"long", strings.Repeat(" ", maxProfile+1), "more than 1048576"},
		{"notify", `{"defaultAction":"SCMP_ACT_NOTIFY"}`, "not supported"},
		{"trace", rule(`{"names":["read"],"action":"SCMP_ACT_TRACE"}`), "syscalls[0]: action \"SCMP_ACT_TRACE\" is not supported"},
		{"flags", `{"defaultAction":"SCMP_ACT_ERRNO","flags":["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]}`, "SPEC_ALLOW"},
		{"listener", `{"defaultAction":"SCMP_ACT_ERRNO","listenerPath":"/x"}`, "listener"},
		{"other architecture", `{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_ARM"]}`, "SCMP_ARCH_X86_64 is not among"},
		{"two lists", `{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}`, "both architectures"},
		{"errno 5000", `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000}`, "largest is 4095"},
		{"errno -1", `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":-1}`, "cannot unmarshal"},
		{"errno name", `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"ENOPE"}`, "unknown"},
		{"errno name and number", `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EPERM","defaultErrnoRet":2}`, "not the number"},
		{"errno of allow", rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW","errnoRet":1}`), "an errno with action"},
		{"no names", rule(`{"names":[],"action":"SCMP_ACT_ALLOW"}`), "names no call"},
		{"name and names", rule(`{"name":"read","names":["read"],"action":"SCMP_ACT_ALLOW"}`), "both name"},
		{"misspelt denial", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["moutn"],"action":"SCMP_ACT_ERRNO"}]}`, `did you mean "mount"`},
		{"new kernel", rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.1"}}`), "minKernel"},
		{"old kernels only", rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"4.8"}}`), "excludes.minKernel"},
		{"no version", rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"four"}}`), "KERNEL.MAJOR"},
		{"operator", arg("socket", `{"index":0,"value":1,"op":"SCMP_CMP_IN"}`), "operator"},
		{"index", arg("socket", `{"index":6,"value":1,"op":"SCMP_CMP_EQ"}`), "a call has six"},
		{"large index", arg("socket", `{"index":256,"value":1,"op":"SCMP_CMP_EQ"}`), "a call has six"},
		{"wide value", arg("socket", `{"index":0,"value":4294967334,"op":"SCMP_CMP_EQ"}`), "has 32 bits"},
		{"valueTwo", arg("socket", `{"index":0,"value":1,"valueTwo":1,"op":"SCMP_CMP_EQ"}`), "valueTwo"},
		{"width", arg("setuid", `{"index":0,"value":1,"op":"SCMP_CMP_EQ"}`), "not known here"},
		{"widths", rule(`{"names":["chmod","open"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":1,"op":"SCMP_CMP_EQ"}]}`), "rules of their own"},
		{"never met", arg("socket", `{"index":0,"value":1,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"}`), "never met"},
		{"twice", arg("socket", `{"index":0,"value":1,"op":"SCMP_CMP_GE"},{"index":0,"value":3,"op":"SCMP_CMP_LE"}`), "two conditions on argument 0"},
		{"contradiction", rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW"},{"names":["read"],"action":"SCMP_ACT_KILL"}`), "one rule says allow, another kill"},
		{"overlap", rule(`{"names":["ioctl"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":21522,"op":"SCMP_CMP_EQ"}]},{"names":["ioctl"],"action":"SCMP_ACT_ALLOW"}`), "do not exclude"},
	} {
		_, err := ParseOCI([]byte(tt.text), AMD64, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "seccomp profile: ") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestExcludes tries every pair of conditions on every value of a small word.
func TestExcludes(t *testing.T) {
	var all []Cond
	for v := range uint64(8) {
		for op := range MaskedEq {
			all = append(all, Cond{Op: op, Value: v, Width: Width64})
		}
		for mask := range uint64(8) {
			if mask != 0 && v&^mask == 0 {
				all = append(all, Cond{Op: MaskedEq, Mask: mask, Value: v, Width: Width64})
			}
		}
	}
	for _, x := range all {
		for _, y := range all {
			common := false
			for v := range uint64(16) {
				common = common || x.holds(v) && y.holds(v)
			}
			if x.excludes(y) && common {
				t.Errorf("%+v and %+v are said to exclude each other", x, y)
			}
			if x.excludes(y) != y.excludes(x) {
				t.Errorf("%+v and %+v: not the same both ways", x, y)
			}
		}
	}
}

func FuzzParseOCI(f *testing.F) {
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_LT"}]}]}`), true)
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":[]}],"syscalls":[{"name":"clone","action":"SCMP_ACT_KILL","includes":{"caps":["CAP_SYS_ADMIN"],"minKernel":"4.8"}}]}`), false)
	f.Add([]byte(`{"a":{"b":[{"c":1}]},"a":2}`), true)
	f.Fuzz(func(t *testing.T, text []byte, amd64 bool) {
		arch := ARM64
		if amd64 {
			arch = AMD64
		}
		p, err := ParseOCI(text, arch, []string{"CAP_SYS_ADMIN"})
		if err != nil {
			return
		}
		if err := p.Validate(); err != nil {
			t.Errorf("what was parsed is invalid: %v", err)
		}
		if strings.ContainsFunc(p.String(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
			t.Errorf("control characters are printed: %q", p.String())
		}
	})
}
