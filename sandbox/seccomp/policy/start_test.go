package policy

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestStartBuiltin: one filter does for PID 1 and the command under all the
// built-in policies, which is why those are compiled ahead.
func TestStartBuiltin(t *testing.T) {
	for _, name := range Names() {
		for _, a := range []Arch{AMD64, ARM64} {
			for i := range 8 {
				v := Variant{FakeRoot: i&1 != 0, NestedUserNS: i&2 != 0, Multiarch: i&4 != 0}
				p, err := Builtin(name, a, v)
				if err != nil {
					t.Fatal(err)
				}
				if _, same, err := p.Start(); !same || err != nil {
					t.Errorf("%s %+v on %v: one filter: %v, %v", name, v, a, same, err)
				}
			}
		}
	}
}

func TestStart(t *testing.T) {
	build, err := Builtin(Build, AMD64, Variant{})
	if err != nil {
		t.Fatal(err)
	}
	edited := func(do func(*Policy)) Policy {
		p := build.clone()
		do(&p)
		return p
	}
	deny := func(names ...string) Policy {
		p, err := build.Deny(names...)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, tt := range []struct {
		name string
		p    Policy
		more []string // calls that PID 1 gets and the command does not
		err  string
	}{
		{"denied calls that starting does not take", deny("@keyring", "ptrace", "socket", "mount", "personality"), nil, ""},
		{"calls of the command's process", deny("setsid", "chdir", "umask"), []string{"setsid", "chdir", "umask"}, ""},
		{"calls of PID 1", deny("wait4", "kill", "rt_sigtimedwait"), []string{"kill", "rt_sigtimedwait", "wait4"}, ""},
		{"no clone", deny("clone"), []string{"clone"}, ""},
		{"no ioctl", deny("ioctl"), []string{"ioctl"}, ""},
		{"no execve", deny("execve"), nil, "execve must be allowed, or no command could be started"},
		{"no end", deny("exit_group", "write"), nil, "write, exit_group must be allowed, or no command could be started"},
		{"execve under a condition", edited(func(p *Policy) {
			p.set(Rule{Names: []string{"execve"}, Action: Allow, Args: []Cond{{Index: 0, Width: Width64, Value: 0}}})
		}), nil, "execve must be allowed, or no command could be started"},
		{"clone under a condition that starting meets", edited(func(p *Policy) {
			p.set(Rule{Names: []string{"clone"}, Action: Allow, Args: []Cond{{Index: 0, Op: Ne, Value: unix.CLONE_NEWNS}}})
		}), nil, ""},
		{"clone under a condition that it meets by half", edited(func(p *Policy) {
			p.set(Rule{Names: []string{"clone"}, Action: Allow, Args: []Cond{{Index: 0, Value: uint64(unix.SIGCHLD)}}})
		}), []string{"clone"}, ""},
		{"a condition on another argument", edited(func(p *Policy) {
			p.set(Rule{Names: []string{"clone"}, Action: Kill, Args: []Cond{{Index: 1, Width: Width64, Value: 0}}}, Rule{Names: []string{"clone"}, Action: Allow})
		}), []string{"clone"}, ""},
		{"the high bits of an int do not count", edited(func(p *Policy) {
			for _, request := range []uint64{unix.TIOCSCTTY, unix.TIOCSPTLCK, unix.TIOCGPTPEER} {
				p.Rules = append([]Rule{{Names: []string{"ioctl"}, Action: Allow, Args: []Cond{{Index: 1, Value: request}}}}, p.Rules...)
			}
		}), nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first, same, err := tt.p.Start()
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("error %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if same != (tt.more == nil) {
				t.Errorf("one filter for both: %v", same)
			}
			if err := first.Validate(); err != nil {
				t.Errorf("PID 1's policy: %v", err)
			}
			for _, r := range starting() {
				for _, call := range r.Names {
					if !first.permits(call, r.Args) {
						t.Errorf("PID 1's policy refuses %s %v", call, r.Args)
					}
					if got, want := tt.p.permits(call, r.Args), !slices.Contains(tt.more, call); got != want && call != "clone" {
						t.Errorf("the command's policy permits %s: %v", call, got)
					}
				}
			}
			// And nothing else.
			for _, c := range AMD64.Calls() {
				if tt.p.refuses(c.Name) && !slices.Contains(tt.more, c.Name) && !first.refuses(c.Name) {
					t.Errorf("PID 1's policy allows %s", c.Name)
				}
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		calls string
		want  bool
	}{
		{Build, "keyctl add_key request_key", true},
		{Build, "keyctl ptrace", false},
		{Build, "socket", false}, // judged by its arguments
		{Unconfined, "keyctl", false},
	} {
		p, err := Builtin(tt.name, AMD64, Variant{})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Refuses(strings.Fields(tt.calls)...); got != tt.want {
			t.Errorf("%s refuses %s: %v", tt.name, tt.calls, got)
		}
		p.Foreign = Allow
		if p.Refuses(strings.Fields(tt.calls)...) {
			t.Errorf("%s refuses %s whatever the architecture, and lets others run", tt.name, tt.calls)
		}
	}
}

func TestCounts(t *testing.T) {
	for _, name := range Names() {
		p, err := Builtin(name, AMD64, Variant{})
		if err != nil {
			t.Fatal(err)
		}
		allowed, judged, refused := p.Counts(AMD64)
		if allowed+judged+refused != len(AMD64.Calls()) || (refused == 0) != (name == Unconfined) || (judged == 0) != (name == Unconfined) {
			t.Errorf("%s: %d, %d, %d", name, allowed, judged, refused)
		}
	}
}

func TestWithOther(t *testing.T) {
	p, err := Builtin(Build, ARM64, Variant{})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.WithOther().WithOther(); !slices.Equal(got.Arches, []Arch{ARM64, ARM}) || got.Validate() != nil {
		t.Errorf("architectures %v, %v", got.Arches, got.Validate())
	}
	if len(p.Arches) != 1 {
		t.Error("the policy itself has changed")
	}
}
