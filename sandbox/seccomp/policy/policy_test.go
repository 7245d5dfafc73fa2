package policy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func builtin(t testing.TB, name string, v Variant) Policy {
	t.Helper()
	p, err := Builtin(name, AMD64, v)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTables(t *testing.T) {
	for _, a := range []Arch{AMD64, ARM64, I386, ARM} {
		for i, c := range a.Calls() {
			if i > 0 && a.Calls()[i-1].Nr >= c.Nr {
				t.Errorf("%v: %s is out of order", a, c.Name)
			}
		}
		if nr, ok := a.Number("clone3"); !ok || nr != 435 {
			t.Errorf("%v: clone3 is %d", a, nr)
		}
		if got, err := ArchOf(a.String()); err != nil || got != a {
			t.Errorf("ArchOf(%v) = %v, %v", a, got, err)
		}
	}
	if nr, ok := AMD64.Number("mount"); !ok || nr != 165 {
		t.Errorf("amd64 mount is %d", nr)
	}
	if _, err := ArchOf("mips"); err == nil {
		t.Error("there is no table for mips")
	}
	if _, ok := ARM64.Number("open"); ok {
		t.Error("arm64 has no open")
	}
}

func TestSignatures(t *testing.T) {
	if !slices.IsSorted(signatures[:]) {
		// '(' sorts before letters, digits and '_', so this is the order of names
		t.Error("signatures are not sorted")
	}
	for _, s := range signatures {
		name, list, ok := strings.Cut(strings.TrimSuffix(s, ")"), "(")
		if !ok || !names()[name] {
			t.Errorf("%q is no signature of a call", s)
		}
		params := strings.Split(list, ", ")
		if len(params) > 6 {
			t.Errorf("%q has more than six parameters", s)
		}
		for i := range params {
			word, param, ok := parameter(name, uint8(i))
			if !ok || !slices.Contains([]string{"int", "flags", "umode", "long"}, word) || param == "" {
				t.Errorf("%q: parameter %d is %q %q", s, i, word, param)
			}
		}
		if _, _, ok := parameter(name, uint8(len(params))); ok {
			t.Errorf("%q has one more parameter", s)
		}
	}
	for _, tt := range []struct {
		call  string
		index uint8
		want  Width // 0: not known
	}{
		{"socket", 0, 32}, {"socket", 2, 32}, {"ioctl", 1, 32}, {"ioctl", 2, 64}, {"clone", 0, 32}, {"personality", 0, 32},
		{"prctl", 0, 32}, {"prctl", 1, 64}, {"fcntl", 1, 32}, {"unshare", 0, 64}, {"chmod", 1, 16}, {"openat", 3, 16},
		{"openat", 2, 32}, {"mprotect", 2, 64}, {"mmap", 2, 0}, {"setuid", 0, 0}, {"pread64", 3, 0}, {"socket", 3, 0}, {"sock", 0, 0},
	} {
		got, err := Cond{Index: tt.index}.WidthIn(tt.call)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("argument %d of %s: %d bits, %v; want %d", tt.index, tt.call, got, err, tt.want)
		}
	}
}

func TestGroups(t *testing.T) {
	if !slices.IsSorted(Groups()) {
		t.Error("groups are not sorted")
	}
	for _, g := range groups {
		if !strings.HasPrefix(g.name, "@") || g.what == "" {
			t.Errorf("group %q, for %q", g.name, g.what)
		}
		list := strings.Fields(g.calls)
		for i, c := range list {
			if !names()[c] {
				t.Errorf("%s: %v", g.name, unknownCall(c))
			}
			if slices.Contains(list[:i], c) {
				t.Errorf("%s: %s twice", g.name, c)
			}
		}
	}
}

func TestBuiltin(t *testing.T) {
	for _, name := range Names() {
		for bits := range 8 {
			v := Variant{bits&1 != 0, bits&2 != 0, bits&4 != 0}
			for _, a := range []Arch{AMD64, ARM64} {
				p, err := Builtin(name, a, v)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Validate(); err != nil {
					t.Errorf("%s %+v: %v", name, v, err)
				}
				if p.AllowsAll() != (name == Unconfined) {
					t.Errorf("%s: AllowsAll is %v", name, p.AllowsAll())
				}
			}
			p := builtin(t, name, v)
			for _, call := range []string{"add_key", "keyctl", "request_key"} {
				if p.refuses(call) != (name != Unconfined) {
					t.Errorf("%s %+v: %s", name, v, call)
				}
			}
		}
	}
	if _, err := Builtin("biuld", AMD64, Variant{}); err == nil || !strings.Contains(err.Error(), `did you mean "build"`) {
		t.Errorf("biuld: %v", err)
	}
	if _, err := Builtin(Build, I386, Variant{}); err == nil {
		t.Error("386 is native")
	}
}

// TestGolden prints policies as people see them.
func TestGolden(t *testing.T) {
	custom := builtin(t, Build, Variant{})
	var err error
	if custom, err = custom.Deny("@ptrace", "statx"); err == nil {
		custom, err = custom.Allow("keyctl")
	}
	if err != nil {
		t.Fatal(err)
	}
	arm, err := Builtin(Build, ARM64, Variant{Multiarch: true})
	if err != nil {
		t.Fatal(err)
	}
	for file, p := range map[string]Policy{
		"default": builtin(t, Default, Variant{}), "build": builtin(t, Build, Variant{}), "strict": builtin(t, Strict, Variant{}),
		"unconfined": builtin(t, Unconfined, Variant{}), "build-fakeroot-nested": builtin(t, Build, Variant{FakeRoot: true, NestedUserNS: true}),
		"build-arm64-multiarch": arm, "custom": custom,
	} {
		path := filepath.Join("testdata", file+".golden")
		if *update {
			if err := os.WriteFile(path, []byte(p.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if p.String() != string(want) {
			t.Errorf("%s is not what is printed now (go test -update):\n%s", path, p)
		}
	}
}

// said is what p says about a call: its rules, each as "action(conditions)".
func said(p Policy, call string) string {
	var all []string
	for _, r := range p.Rules {
		if slices.Contains(r.Names, call) {
			text := r.Action.String()
			if len(r.Args) > 0 {
				text += fmt.Sprint("?", len(r.Args))
			}
			all = append(all, text)
		}
	}
	return strings.Join(all, " ")
}

func TestEdits(t *testing.T) {
	base := builtin(t, Default, Variant{})
	before := base.String()
	for _, tt := range []struct {
		allow, deny string
		call, want  string
	}{
		{"keyctl", "", "keyctl", "allow"},
		{"keyctl", "", "add_key", "EPERM"},
		{"@keyring", "", "add_key", "allow"},
		{"socket", "", "socket", "allow"},
		{"@network-io", "", "socket", "allow?1 allow?1 allow?1 allow?2 EAFNOSUPPORT"}, // its conditions stay
		{"@mount", "", "fsopen", "allow"},
		{"@namespace", "", "clone", "allow?1 EPERM"},
		{"", "ptrace", "ptrace", "EPERM"},
		{"", "@ptrace", "process_vm_readv", "EPERM"},
		{"", "@file-system", "openat", "EPERM"},
		{"", "@file-system", "openat2", "ENOSYS"},
		{"", "clone3", "clone3", "ENOSYS"},
		{"", "keyctl", "keyctl", "EPERM"},
		{"", "socket", "socket", "EPERM"},
		{"@io-uring", "io_uring_setup", "io_uring_setup", "ENOSYS"},
		{"@io-uring", "io_uring_setup", "io_uring_enter", "allow"},
	} {
		p := base
		var err error
		if tt.allow != "" {
			if p, err = p.Allow(tt.allow); err != nil {
				t.Fatal(err)
			}
		}
		if tt.deny != "" {
			if p, err = p.Deny(tt.deny); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Validate(); err != nil {
			t.Errorf("allow %q, deny %q: %v", tt.allow, tt.deny, err)
		}
		if got := said(p, tt.call); got != tt.want {
			t.Errorf("allow %q, deny %q: %s is %q, want %q", tt.allow, tt.deny, tt.call, got, tt.want)
		}
		if base.String() != before {
			t.Fatalf("allow %q, deny %q: the policy it was made of is another now", tt.allow, tt.deny)
		}
	}
	for name, want := range map[string]string{
		"ptrase": `unknown system call "ptrase"; did you mean "ptrace"?`, "@keyrings": `unknown group of system calls "@keyrings"; did you mean "@keyring"?`,
		"": `unknown system call ""`, "no-such-thing-at-all": `unknown system call "no-such-thing-at-all"`,
	} {
		if _, err := base.Allow("read", name); err == nil || err.Error() != want {
			t.Errorf("allow %q: %v", name, err)
		}
		if _, err := base.Deny("read", name); err == nil || err.Error() != want {
			t.Errorf("deny %q: %v", name, err)
		}
	}
}

// TestDenyUnconfined: what is refused by its number must not be reached by
// another table's.
func TestDenyUnconfined(t *testing.T) {
	p, err := builtin(t, Unconfined, Variant{}).Deny("@keyring")
	if err != nil {
		t.Fatal(err)
	}
	if p.AllowsAll() || p.Default != Allow || p.Unknown != Allow || p.Foreign != Kill || p.X32 != Errno(unix.ENOSYS) || said(p, "keyctl") != "EPERM" {
		t.Errorf("%+v", p)
	}
}

func TestValidate(t *testing.T) {
	good := Policy{Arches: []Arch{AMD64}, Default: Allow, Unknown: Allow, Foreign: Kill, X32: Kill}
	with := func(r Rule) Policy {
		p := good
		p.Rules = []Rule{r}
		return p
	}
	on := func(call string, c Cond) Policy {
		return with(Rule{Names: []string{call}, Action: Allow, Args: []Cond{c}})
	}
	for _, tt := range []struct {
		name string
		p    Policy
		want string // in the error; "" is none
	}{
		{"good", good, ""},
		{"no architecture", Policy{Default: Allow, Unknown: Allow, Foreign: Allow, X32: Allow}, "no architecture"},
		{"architecture twice", Policy{Arches: []Arch{AMD64, AMD64}, Default: Allow, Unknown: Allow, Foreign: Allow, X32: Allow}, "twice"},
		{"two of 64 bits", Policy{Arches: []Arch{AMD64, ARM64}, Default: Allow, Unknown: Allow, Foreign: Allow, X32: Allow}, "no kernel runs both"},
		{"architecture 9", Policy{Arches: []Arch{9}, Default: Allow, Unknown: Allow, Foreign: Allow, X32: Allow}, "architecture 9"},
		{"no actions", Policy{Arches: []Arch{AMD64}}, "for unknown numbers"},
		{"kill thread", with(Rule{Names: []string{"read"}, Action: 0}), "action 0x0"},
		{"notify", with(Rule{Names: []string{"read"}, Action: unix.SECCOMP_RET_USER_NOTIF}), "action 0x7fc00000"},
		{"errno 4096", with(Rule{Names: []string{"read"}, Action: Errno(4096)}), "errno 4096"},
		{"no names", with(Rule{Action: Allow}), "names no call"},
		{"unknown", with(Rule{Names: []string{"raed"}, Action: Allow}), `did you mean "read"?`},
		{"argument 6", on("socket", Cond{Index: 6}), "a call has six"},
		{"operator", on("socket", Cond{Op: 7}), "operator 7"},
		{"unknown width", on("setuid", Cond{}), "is not known here"},
		{"given width", on("setuid", Cond{Width: Width32}), ""},
		{"width 8", on("socket", Cond{Width: 8}), "width 8"},
		{"value too wide", on("socket", Cond{Value: 1 << 32}), "has 32 bits"},
		{"mode too wide", on("chmod", Cond{Index: 1, Value: 1 << 16}), "has 16 bits"},
		{"mask of Eq", on("socket", Cond{Mask: 1}), "a mask with operator =="},
		{"empty mask", on("socket", Cond{Op: MaskedEq}), "an empty mask"},
		{"outside the mask", on("socket", Cond{Op: MaskedEq, Mask: 1, Value: 2}), "is never met"},
		{"too many", with(Rule{Names: []string{"socket"}, Action: Allow, Args: make([]Cond, 13)}), "13 conditions"},
	} {
		err := tt.p.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestActionString(t *testing.T) {
	for a, want := range map[Action]string{
		Allow: "allow", Log: "log", Kill: "kill", Trap: "trap", Errno(unix.EAFNOSUPPORT): "EAFNOSUPPORT", Errno(0): "errno 0", Errno(4000): "errno 4000", 7: "action 0x7",
	} {
		if a.String() != want {
			t.Errorf("%#x is %q, want %q", uint32(a), a, want)
		}
	}
}
