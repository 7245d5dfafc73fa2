package refusal

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

func logOf(t *testing.T, deny ...string) *Log {
	t.Helper()
	before, err := policy.Builtin(policy.Build, policy.AMD64, policy.Variant{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := before.Deny(deny...)
	if err != nil {
		t.Fatal(err)
	}
	return New(p, before)
}

// call is a call of amd64 as the filter of l refuses it.
func call(t *testing.T, l *Log, name string, args ...uint64) Call {
	t.Helper()
	nr, ok := policy.AMD64.Number(name)
	if !ok {
		t.Fatalf("no call %s", name)
	}
	c := Call{Nr: nr, Arch: policy.AMD64.Audit(), Program: "make", PID: 7}
	copy(c.Args[:], args)
	v := l.policy.Judge(c.Arch, c.Nr, c.Args)
	if c.Errno, ok = v.Errno(); !ok {
		t.Fatalf("%s %v is not refused", name, args)
	}
	return c
}

func TestAdd(t *testing.T) {
	l := logOf(t, "swapoff", "kill", "@keyring")
	for _, tt := range []struct {
		name string
		args []uint64
		text string
		add  string
		key  string
	}{
		{"mount", nil, "mount by make (pid 7 inside): EPERM: the policy build refuses it: mounts", "security.nested_userns = true", KeyPolicy},
		{"setgroups", nil, "setgroups by make (pid 7 inside): EPERM: the policy build refuses it: giving up a group gives up what the group is denied", `user.as = "root"`, KeyPolicy},
		{"socket", []uint64{40, 1, 0}, "socket (family 40, protocol 0) by make (pid 7 inside): EAFNOSUPPORT: the policy build refuses it: any other family would load its module", `security.seccomp_allow = ["socket"]`, KeyPolicy},
		{"chmod", []uint64{0xdead, 0o4755}, "chmod (mode 04000) by make (pid 7 inside): EPERM: the policy build refuses it: set-user-id and set-group-id bits", `security.seccomp_allow = ["chmod"]`, KeyPolicy},
		{"clone", []uint64{unix.CLONE_NEWUSER | 17}, "clone (flags 0x10000000) by make (pid 7 inside): EPERM: the policy build does not allow it with these arguments", "security.nested_userns = true", KeyPolicy},
		{"personality", []uint64{0x400000}, "personality (persona 0x400000) by make (pid 7 inside): EPERM: the policy build does not allow it with these arguments", `security.seccomp_allow = ["personality"]`, KeyPolicy},
		{"reboot", nil, "reboot by make (pid 7 inside): EPERM: the policy build does not allow it", `security.seccomp_allow = ["reboot"]`, KeyPolicy},
		{"kill", nil, "kill by make (pid 7 inside): EPERM: denied by name: kill", "", KeyDeny},
		{"keyctl", nil, "keyctl by make (pid 7 inside): EPERM: the policy build refuses it: keyrings have no namespace", `security.seccomp_allow = ["keyctl"]`, KeyPolicy},
	} {
		e, first := l.Add(call(t, l, tt.name, tt.args...), time.Unix(1, 0))
		if !first || e.Text() != tt.text || e.Add != tt.add || e.Key != tt.key || e.Count != 1 || e.Expected {
			t.Errorf("%s: first %v: %+v, %q", tt.name, first, e, e.Text())
		}
	}
	pretended := call(t, l, "reboot")
	pretended.Errno = 0
	if e, _ := l.Add(pretended, time.Now()); e.Errno != "nothing done, and success" {
		t.Errorf("%+v", e)
	}
	unknown := Call{Nr: 999, Arch: policy.AMD64.Audit(), Errno: unix.ENOSYS}
	if e, _ := l.Add(unknown, time.Now()); e.Text() != "number 999: ENOSYS: the policy build knows no such call" || e.Add != "" {
		t.Errorf("%+v", e)
	}
}

// TestKinds: calls are told apart by what the policy looks at and by the program.
func TestKinds(t *testing.T) {
	l := logOf(t)
	again := func(c Call, wantFirst bool, count int) {
		t.Helper()
		if e, first := l.Add(c, time.Now()); first != wantFirst || e.Count != count {
			t.Errorf("%+v: first %v, count %d; want %v, %d", c, first, e.Count, wantFirst, count)
		}
	}
	c := call(t, l, "chmod", 1, 0o4755)
	again(c, true, 1)
	again(call(t, l, "chmod", 2, 0o4711), false, 2) // neither path nor other bits count
	again(call(t, l, "chmod", 1, 0o2755), true, 1)
	c.Program, c.PID = "sh", 9
	again(c, true, 1)
	again(call(t, l, "clone3"), true, 1)
	again(call(t, l, "mount"), true, 1)
	got := Summary(l.Entries())
	if want := "system calls: 6 denied: chmod (mode 04000) by make (2), chmod (mode 02000) by make (1), chmod (mode 04000) by sh (1), mount by make (1), 1 that programs do without (clone3)"; got != want {
		t.Errorf("%q", got)
	}
	if Summary(nil) != "" || (*Log)(nil).Entries() != nil {
		t.Error("nothing is summed up as something")
	}
}

// TestProgramName: what a process calls itself is no text of sbx's.
func TestProgramName(t *testing.T) {
	for name, want := range map[string]string{
		"kworker/0:1": "mount by kworker/0:1", "": "mount",
		"a\nsbx: ok": `mount by "a\nsbx: ok"`, "x; to allow it:": `mount by "x; to allow it:"`,
		"\x1b[2J": `mount by "\x1b[2J"`, "\xff": `mount by "\xff"`, "e\u202ecod": `mount by "e\u202ecod"`, "make (pid 7": `mount by "make (pid 7"`,
	} {
		if got := (&Entry{Call: "mount", Program: name}).What(); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

// TestBound: whatever the calls and their callers are called, memory is bounded, all
// are counted, and no call is hidden behind many others.
func TestBound(t *testing.T) {
	l := logOf(t)
	const n = 10 * most
	firsts := 0
	add := func(c Call) {
		t.Helper()
		if _, first := l.Add(c, time.Now()); first {
			firsts++
		}
	}
	for i := range n {
		c := call(t, l, "mount")
		c.Program = fmt.Sprint("p", i)
		add(c)
		add(Call{Nr: uint32(1000 + i), Arch: policy.AMD64.Audit(), Errno: unix.ENOSYS})
	}
	reboot := call(t, l, "reboot")
	for range n {
		add(reboot)
	}
	list := l.Entries()
	total, count := 0, map[string]int{}
	for _, e := range list {
		total += e.Count
		if e.Program == "" {
			count[e.Call] = e.Count
		}
	}
	if len(list) != apart+3 || firsts != len(list) || total != 3*n || count["mount"] != n-apart/2 || count[other] != n-apart/2 || count["reboot"] != n {
		t.Errorf("%d kinds, %d firsts, %d of %d counted: %v", len(list), firsts, total, 3*n, count)
	}
	s := Summary(list)
	for _, want := range []string{fmt.Sprintf("reboot (%d)", n), fmt.Sprintf("%s (%d)", other, n-apart/2)} {
		if len(s) > 1000 || !strings.Contains(s, want) {
			t.Errorf("%q is not in %q", want, s)
		}
	}
	for nr := range uint32(600) {
		for errno := range unix.Errno(20) { // more than any policy answers
			add(Call{Nr: nr, Arch: policy.AMD64.Audit(), Errno: errno})
		}
	}
	if got := len(l.Entries()); got != most && got != most+1 {
		t.Errorf("%d kinds", got)
	}
}
