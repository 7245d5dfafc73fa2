package resolve

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
)

// ociFile writes a seccomp profile and returns its path.
func ociFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func feature(p *sandbox.Plan, name string) (state, by string) {
	for _, f := range p.Features {
		if f.Name == name {
			return f.State, f.By
		}
	}
	return "", ""
}

// allowOnly is a profile of the OCI that refuses all but a few calls.
func allowOnly(names string) string {
	return `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["` + strings.Join(strings.Fields(names), `","`) + `"], "action": "SCMP_ACT_ALLOW"}]}`
}

func TestSeccomp(t *testing.T) {
	const starts = "capset chdir close close_range dup dup3 getcwd getpid getppid kill openat prctl prlimit64 read recvmsg sendmsg rt_sigprocmask rt_sigtimedwait seccomp setsid umask wait4 execve write exit_group clone ioctl"
	full, bare := ociFile(t, allowOnly(starts+" no_such_call")), ociFile(t, allowOnly("execve write exit_group"))
	const build, strict = "security.seccomp = \"build\"\n", "security.seccomp = \"strict\"\n"
	for _, tt := range []struct {
		name, text   string
		want         sandbox.Seccomp // without the filters
		code, first  bool
		state, keys  string
		by           string
		noFilters    bool
		noFilterNote string
	}{
		{name: "default", want: sandbox.Seccomp{Policy: "default", SpecAllow: true}, state: "enforced", keys: "enforced", by: "policy default, on PID 1 and the command"},
		{name: "build", text: build, want: sandbox.Seccomp{Policy: "build", SpecAllow: true}, state: "enforced", keys: "enforced", by: "policy build, on PID 1 and the command"},
		{name: "strict keeps the mitigations", text: strict, want: sandbox.Seccomp{Policy: "strict"}, state: "enforced", keys: "enforced", by: "policy strict, on PID 1 and the command"},
		{name: "unconfined", text: "security.seccomp = \"unconfined\"", want: sandbox.Seccomp{Policy: "unconfined"}, state: "off", keys: "degraded", by: "policy unconfined"},
		{name: "unconfined for all", text: "security = { seccomp = \"unconfined\", multiarch = true }", want: sandbox.Seccomp{Policy: "unconfined"}, state: "off", keys: "degraded", by: "policy unconfined"},
		{name: "traced", text: build + "security.trace_denied = true", want: sandbox.Seccomp{Policy: "build", SpecAllow: true, Trace: true}, state: "enforced", keys: "enforced", by: "policy build, on PID 1 and the command"},
		{name: "nothing to trace", text: "security = { seccomp = \"unconfined\", trace_denied = true }", want: sandbox.Seccomp{Policy: "unconfined"}, state: "off", keys: "degraded", by: "policy unconfined"},
		{
			name: "traced with a filter of the command's own", text: "security = { seccomp = \"build\", trace_denied = true, seccomp_deny = [\"umask\", \"ptrace\", \"kill\"] }", code: true, first: true,
			want: sandbox.Seccomp{Policy: "build", Deny: []string{"umask", "ptrace", "kill"}, SpecAllow: true, Trace: true, Untraced: []string{"kill", "umask"}}, state: "enforced", keys: "enforced", by: "policy build, changed, on PID 1 and the command",
		},
		{
			name: "a block-list", text: "security = { seccomp = \"unconfined\", seccomp_deny = [\"@keyring\"] }", code: true,
			want: sandbox.Seccomp{Policy: "unconfined", Deny: []string{"@keyring"}, SpecAllow: true}, state: "enforced", keys: "enforced", by: "policy unconfined, changed, on PID 1 and the command",
		},
		{
			name: "edits", text: build + "security.seccomp_allow = [\"keyctl\"]\nsecurity.seccomp_deny = [\"ptrace\"]", code: true,
			want: sandbox.Seccomp{Policy: "build", Allow: []string{"keyctl"}, Deny: []string{"ptrace"}, SpecAllow: true}, state: "enforced", keys: "degraded", by: "policy build, changed, on PID 1 and the command",
		},
		{
			name: "deny is stronger", text: build + "security.seccomp_allow = [\"keyctl\"]\nsecurity.seccomp_deny = [\"keyctl\"]", code: true,
			want: sandbox.Seccomp{Policy: "build", Allow: []string{"keyctl"}, Deny: []string{"keyctl"}, SpecAllow: true}, state: "enforced", keys: "enforced", by: "policy build, changed, on PID 1 and the command",
		},
		{
			name: "what starting takes", text: build + "security.seccomp_deny = [\"setsid\"]", code: true, first: true,
			want: sandbox.Seccomp{Policy: "build", Deny: []string{"setsid"}, SpecAllow: true}, state: "enforced", keys: "enforced", by: "policy build, changed, on PID 1 and the command",
		},
		{
			name: "32 bits", text: strict + "security.multiarch = true", code: true,
			want: sandbox.Seccomp{Policy: "strict", Multiarch: true}, state: "enforced", keys: "enforced", by: "policy strict, changed, on PID 1 and the command",
		},
		{
			name: "a file", text: "security.seccomp = \"" + full + "\"", code: true,
			want: sandbox.Seccomp{Policy: full, SpecAllow: true}, state: "enforced", keys: "enforced", by: "policy " + full + ", on PID 1 and the command",
		},
		{
			name: "a file that refuses what starting takes", text: "security = { seccomp = \"" + bare + "\", multiarch = true }", code: true, first: true,
			want: sandbox.Seccomp{Policy: bare, Multiarch: true, SpecAllow: true}, state: "enforced", keys: "enforced", by: "policy " + bare + ", changed, on PID 1 and the command",
		},
		{
			name: "a kernel without", text: build, noFilters: true, want: sandbox.Seccomp{Policy: "unconfined"}, state: "missing", keys: "degraded", by: "policy build",
			noFilterNote: `security.seccomp: this kernel has no system call filters (invalid argument): security.seccomp = "build" is not enforced`,
		},
		{name: "a kernel without, and none asked for", text: "security.seccomp = \"unconfined\"", noFilters: true, want: sandbox.Seccomp{Policy: "unconfined"}, state: "off", keys: "degraded", by: "policy unconfined"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			if tt.noFilters {
				in.Facts.NoFilters = unix.EINVAL
			}
			p := planned(t, in)
			got := p.Security.Seccomp
			if (len(got.Code) > 0) != tt.code || (len(got.First) > 0) != tt.first {
				t.Errorf("filters of %d and %d bytes", len(got.Code), len(got.First))
			}
			text, err := json.Marshal(got)
			var again sandbox.Seccomp
			if err != nil || json.Unmarshal(text, &again) != nil || !reflect.DeepEqual(got, again) {
				t.Errorf("a round trip changed it: %v", err)
			}
			tt.want.From = "security.seccomp"
			got.Code, got.First = nil, nil
			same(t, "plan", got, tt.want)
			state, by := feature(p, "seccomp")
			same(t, "feature", []string{state, by}, []string{tt.state, tt.by})
			keys, _ := feature(p, "keyring")
			same(t, "keyring", keys, tt.keys)
			var notes []string
			for _, n := range p.Notes {
				if n.Feature == "seccomp" {
					notes = append(notes, n.From+": "+n.Text)
				}
			}
			same(t, "notes", strings.Join(notes, "\n"), tt.noFilterNote)
		})
	}
}

func TestSeccompFaults(t *testing.T) {
	bad := ociFile(t, `{"defaultAction": "SCMP_ACT_ALLOW", "x": 1}`)
	kills := ociFile(t, `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_KILL"}]}`)
	const hint = "; sbx explain --seccomp lists the calls of the policy"
	noFilters := func(f *host.Facts) { f.NoFilters = unix.ENOSYS }
	for _, tt := range []struct {
		name, text string
		change     func(*host.Facts)
		want       []string
	}{
		{"unknown calls", "security.seccomp_allow = [\"bpf\", \"bfp\"]\nsecurity.seccomp_deny = [\"@debgu\", \"x_y_z\"]", nil, []string{
			`security.seccomp_allow[1]: unknown system call "bfp"; did you mean "bpf"?` + hint,
			`security.seccomp_deny[0]: unknown group of system calls "@debgu"; did you mean "@debug"?` + hint,
			`security.seccomp_deny[1]: unknown system call "x_y_z"` + hint,
		}},
		{"no execve", "security.seccomp_deny = [\"execve\"]", nil, []string{
			"security.seccomp_deny: the system call policy default, as changed: execve must be allowed, or no command could be started",
		}},
		{"a file that kills the start", "security.seccomp = \"" + kills + "\"", nil, []string{
			"security.seccomp: the system call policy " + kills + ": execve must be allowed, or no command could be started",
		}},
		{"a file that is none", "security.seccomp = \"" + bad + "\"", nil, []string{
			"security.seccomp: reading " + bad + `: seccomp profile: json: unknown field "x"; a file that podman or Docker takes is good; what differs is in docs/PROFILES.md`,
		}},
		{"required", "policy.require = [\"seccomp\"]", noFilters, []string{
			"policy.require[0]: seccomp is required and is missing here: this kernel has no system call filters; see sbx doctor",
		}},
		{"all required", "policy.require = [\"all\"]", noFilters, []string{
			"policy.require[0]: seccomp is required and can't be enforced: this kernel has no system call filters; see sbx doctor",
		}},
		{"required and switched off", "policy.require = [\"seccomp\"]\nsecurity.seccomp = \"unconfined\"", nil, []string{
			"policy.require[0]: seccomp is required and is off here: the profile asks for no filter; see sbx doctor",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			if tt.change != nil {
				tt.change(&in.Facts)
			}
			same(t, "errors", faults(t, in), tt.want)
		})
	}
}

// TestOCICapabilities: rules for those with a capability are for fake root.
func TestOCICapabilities(t *testing.T) {
	file := ociFile(t, `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
		{"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_CHROOT"]}},
		{"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}}]}`)
	for as, want := range map[string][2]bool{"keep": {true, true}, "root": {false, true}} {
		in := input(t, "security.seccomp = \""+file+"\"\nuser.as = \""+as+"\"")
		p, err := Policy(&in.Profile.Security, planned(t, in).Security.Keep)
		if err != nil {
			t.Fatal(err)
		}
		same(t, as+" is refused chroot and bpf", [2]bool{p.Refuses("chroot"), p.Refuses("bpf")}, want)
	}
}
