package profiles

import (
	"slices"
	"strings"
	"testing"
)

const phased = `extends = []
name = "own"
process.command = ["make"]
process.secrets = ["token"]
network = { mode = "user", allow = ["a.example"] }
environment.pass = ["A"]
environment.set.X = "1"
[secrets]
token = "env:TOKEN"
key = "file:~/key"
[[phase]]
name = "fetch"
command = ["make", "deps"]
secrets = ["key:KEY"]
[phase.network]
allow = ["b.example"]
[phase.environment]
set.X = "2"
[[phase]]
name = "build"
network.mode = "none"
[phase.mounts."/x"]
type = "tmpfs"
`

func phaseOf(t *testing.T, p *Profile, name string) *Profile {
	t.Helper()
	ph, err := p.Phase(name)
	if err != nil {
		t.Fatal(err)
	}
	return ph
}

func TestPhase(t *testing.T) {
	p := parse(t, phased)
	if !slices.Equal(p.Phases, []string{"fetch", "build"}) || p.Network.Mode != "user" || len(p.Mounts) != 0 {
		t.Errorf("phases %q, network %+v, mounts %v", p.Phases, p.Network, p.Mounts)
	}
	fetch, build := phaseOf(t, p, "fetch"), phaseOf(t, p, "build")
	if !slices.Equal(fetch.Network.Allow, []string{"a.example", "b.example"}) || fetch.Environment.Set["X"] != "2" || !fetch.OwnCommand() {
		t.Errorf("fetch: %+v %+v", fetch.Network, fetch.Environment)
	}
	if fetch.Name != "own" || len(fetch.Files) != len(p.Files) || fetch.Workspace.Path != p.Workspace.Path {
		t.Errorf("fetch is %s of %v in %s", fetch.Name, fetch.Files, fetch.Workspace.Path)
	}
	if build.Network.Mode != "none" || len(build.Network.Allow) != 0 || build.OwnCommand() || len(build.Mounts) != 1 || build.Environment.Set["X"] != "1" {
		t.Errorf("build: %+v, mounts %v", build.Network, build.Mounts)
	}
	if len(build.Process.Secrets) != 0 || !slices.Equal(fetch.Process.Secrets, []string{"key:KEY"}) || len(p.Process.Secrets) != 1 {
		t.Errorf("secrets %v, %v, %v", p.Process.Secrets, fetch.Process.Secrets, build.Process.Secrets)
	}
	if s := fetch.Secret("key:KEY"); s != (Secret{Name: "key", Variable: "KEY", File: "/home/u/key"}) {
		t.Errorf("%+v", s)
	}
	if s := p.Secret("token"); s != (Secret{Name: "token", Env: "TOKEN"}) {
		t.Errorf("%+v", s)
	}
	for key, want := range map[string]string{
		"network.allow[1]": "/proj/test.toml:17:10", "process.command": "/proj/test.toml:14:1", "process.secrets[0]": "/proj/test.toml:15:12",
		"environment.set.X": "/proj/test.toml:19:5", "network.allow[0]": "/proj/test.toml:6:37",
	} {
		if got := fetch.Origin(key); got != want {
			t.Errorf("origin of %s: %s, want %s", key, got, want)
		}
	}
	if _, err := p.Phase("fetsh"); err == nil || !strings.Contains(err.Error(), `(did you mean "fetch"?)`) {
		t.Errorf("no such phase: %v", err)
	}
	with, err := fetch.With([]Override{{Key: "environment.set.X", Value: "3", Flag: "--set"}})
	if err != nil || with.Environment.Set["X"] != "3" || !slices.Equal(with.Process.Secrets, fetch.Process.Secrets) || !with.OwnCommand() {
		t.Errorf("with a flag: %+v, %v", with, err)
	}
}

// A phase of an inherited profile is gone on with; others come after it.
func TestPhasesInherited(t *testing.T) {
	p := parse(t, "extends = [\"builtin:go\"]\n[[phase]]\nname = \"test\"\ncommand = [\"go\", \"test\"]\n[[phase]]\nname = \"fetch\"\nnetwork.allow = [\"proxy.example\"]\n")
	if !slices.Equal(p.Phases, []string{"fetch", "build", "test"}) {
		t.Errorf("%q", p.Phases)
	}
	fetch := phaseOf(t, p, "fetch")
	if fetch.Network.Mode != "user" || !slices.Equal(fetch.Network.Allow, []string{"proxy.example"}) || fetch.Process.Command[1] != "mod" {
		t.Errorf("%+v %v", fetch.Network, fetch.Process.Command)
	}
	if got := fetch.Origin("process.command"); !strings.HasPrefix(got, "builtin:go:") {
		t.Error(got)
	}
}

// What a phase is granted is a grant of the profile.
func TestPhaseWidens(t *testing.T) {
	base := parse(t, "extends = []\nnetwork.mode = \"none\"\n")
	p := parse(t, phased[:strings.Index(phased, "name")]+"secrets.t = \"env:T\"\n[[phase]]\nname = \"fetch\"\nsecrets = [\"t\"]\nnetwork.mode = \"user\"\nnetwork.allow = [\"a.example\"]\n")
	var got []string
	for _, g := range p.Widens(base) {
		got = append(got, g.String())
	}
	for _, want := range []string{
		`process.secrets[0]: in the phase fetch, hands out the caller's variable T`,
		`network.mode: in the phase fetch, "user" where your own profile has "none"`,
		`network.allow[0]: in the phase fetch, `,
	} {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	if own := p.Widens(p); len(own) > 0 {
		t.Errorf("widens itself: %v", own)
	}
}
