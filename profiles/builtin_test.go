package profiles

import (
	"slices"
	"testing"
)

func loadBuiltin(t *testing.T, name string) *Profile {
	t.Helper()
	p, err := Load(Ref{Builtin: name}, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The three levels stand in an order: each grants no more than the next.
func TestLevels(t *testing.T) {
	strict, build, open := loadBuiltin(t, "strict"), loadBuiltin(t, "build"), loadBuiltin(t, "open")
	if got := strict.Widens(build); len(got) > 0 {
		t.Errorf("strict grants more than build: %v", got)
	}
	if got := build.Widens(open); len(got) > 0 {
		t.Errorf("build grants more than open: %v", got)
	}
	if len(build.Widens(strict)) == 0 || len(open.Widens(build)) == 0 {
		t.Error("two levels are the same")
	}
}

// What every built-in promises, whatever it is for.
func TestBuiltinPromises(t *testing.T) {
	for _, name := range builtinNames() {
		p := loadBuiltin(t, name)
		if p.Network.Mode != "none" && name != "open" {
			t.Errorf("%s has a network", name)
		}
		if p.Home.Mode == "host" && (name != "open" || p.Home.Access != "ro") {
			t.Errorf("%s shows the home", name)
		}
		if p.Security.AllowRoot != (name != "strict") || p.Security.NestedUserNS || !p.Root.ReadOnly || p.Limits.Core != 0 || p.Limits.Processes == 0 {
			t.Errorf("%s: %+v %+v %+v", name, p.Security, p.Root, p.Limits)
		}
		if n := p.Namespaces; n.IPC != "private" || n.UTS != "private" || n.Cgroup != "private" {
			t.Errorf("%s: %+v", name, n)
		}
		for _, m := range p.Mounts {
			if m.Type != "bind" || m.Access != "ro" || !m.Optional || m.Dev {
				t.Errorf("%s: %+v is not an optional read-only bind", name, m)
			}
		}
		for _, secret := range []string{
			"GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "DB_PASSWORD", "SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS",
			"LD_PRELOAD", "BASH_ENV", "ENV", "GIT_DIR", "GIT_CONFIG_COUNT", "BASH_FUNC_ls", "KUBECONFIG",
		} {
			if p.Environment.Passes(secret) {
				t.Errorf("%s passes %s", name, secret)
			}
		}
		for _, name := range []string{"PATH", "TERM", "LANG", "LC_ALL", "NO_COLOR", "TZ"} {
			if !p.Environment.Passes(name) {
				t.Errorf("%s does not pass %s", p.Name, name)
			}
		}
	}
}

// A phase with a network reaches nobody until it is said whom, gets no secrets,
// and is not the one that runs what was downloaded; what all projects share is
// written by none but such a phase.
func TestBuiltinPhases(t *testing.T) {
	seen := 0
	for _, name := range builtinNames() {
		p := loadBuiltin(t, name)
		for _, phase := range p.Phases {
			ph, err := p.Phase(phase)
			if err != nil {
				t.Fatal(err)
			}
			seen++
			if len(ph.Network.Allow) > 0 || ph.Network.Default != "deny" || len(ph.Process.Secrets) > 0 {
				t.Errorf("%s, %s: %+v, secrets %v", name, phase, ph.Network, ph.Process.Secrets)
			}
			if online := ph.Network.Mode == "user"; online != (phase == "fetch") || !online && ph.Network.Mode != "none" {
				t.Errorf("%s, %s: network %s", name, phase, ph.Network.Mode)
			}
			for _, m := range ph.Mounts {
				if m.Type == "volume" && m.Access != "ro" && phase != "fetch" {
					t.Errorf("%s, %s writes the volume %s", name, phase, m.Source)
				}
			}
		}
	}
	if seen < 8 {
		t.Errorf("%d phases were looked at", seen)
	}
}

func TestOpenHidesSecrets(t *testing.T) {
	p := loadBuiltin(t, "open")
	for _, path := range []string{
		".ssh", ".gnupg", ".aws", ".config/gcloud", ".kube", ".docker", ".netrc", ".npmrc", ".pypirc", ".cargo/credentials*",
		".git-credentials", ".password-store", ".mozilla", ".config/google-chrome*", ".*_history", ".local/share/keyrings",
	} {
		if !slices.Contains(p.Home.Hide, "/home/u/"+path) {
			t.Errorf("%s is not hidden", path)
		}
	}
}

func TestStrictIsBounded(t *testing.T) {
	p := loadBuiltin(t, "strict")
	if !p.Workspace.Exclusive {
		t.Error("strict shares a project that is written")
	}
	if !slices.Equal(p.Policy.Require, []string{"all"}) || p.Workspace.Access != "ro" || p.Root.Proc != "pid" || p.Root.Etc != "minimal" {
		t.Errorf("%+v %+v %+v", p.Policy, p.Workspace, p.Root)
	}
	// Memory is bounded as it is, and processors would be a limit that a host
	// without control groups has nothing like.
	free := []string{"process.timeout", "limits.memory_high", "limits.cpus"}
	for i := range rows {
		if r := &rows[i]; r.wide == wideLimit && !slices.Contains(free, r.path) && r.applies(p, nil) && magnitude(r, r.field(p, nil)) == 1<<63-1 {
			t.Errorf("%s has no bound", r.path)
		}
	}
}
