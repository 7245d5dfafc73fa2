package profiles

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// overridden loads text and puts overrides "FLAG KEY=VALUE" on it.
func overridden(t *testing.T, text string, list ...string) (*Profile, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "base.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := Env{Home: "/home/user", User: "user", UID: 1000, GID: 1000, Cwd: dir}
	p, err := Load(Ref{Path: path}, env)
	if err != nil {
		t.Fatal(err)
	}
	var set []Override
	for _, one := range list {
		flag, rest, _ := strings.Cut(one, " ")
		key, value, _ := strings.Cut(rest, "=")
		set = append(set, Override{Key: key, Value: value, Flag: flag})
	}
	return p.With(set)
}

func TestWith(t *testing.T) {
	const text = "version = 1\nname = \"own\"\n[limits]\nmemory = \"1G\"\n[mounts.\"/data\"]\ntype = \"tmpfs\"\nsize = \"1M\"\n"
	p, err := overridden(t, text,
		"--memory limits.memory=512m", "--pids-limit limits.processes=-1", "--read-only root.read_only=false",
		"--set environment.pass=FOO", `--set environment.pass=["A", "B"]`, "--set environment.set.X=$$y",
		"--home home.mode=persistent", "--require policy.require=memory",
		"--volume mounts./data.type=bind", "--volume mounts./data.source=sub", "--volume mounts./data.access=rw",
		`--set mounts."/a.size".type=tmpfs`, "--timeout process.timeout=90s", "--set mounts./short=/srv:rw")
	if err != nil {
		t.Fatal(err)
	}
	if p.Limits.Memory != 512<<20 || p.Limits.Processes != -1 || p.Root.ReadOnly || p.Home.Mode != "persistent" || p.Process.Timeout != 90e9 {
		t.Errorf("%+v %+v %+v", p.Limits, p.Root, p.Home)
	}
	if p.Name != "own" || len(p.Files) != 2 || filepath.Base(p.Files[1]) != "base.toml" {
		t.Errorf("name %q, files %v", p.Name, p.Files)
	}
	if n := len(p.Environment.Pass); p.Environment.Pass[n-1] != "B" || p.Environment.Pass[n-3] != "FOO" || p.Environment.Set["X"] != "$y" {
		t.Errorf("environment %+v", p.Environment)
	}
	if got := p.Origin("limits.memory"); got != "--memory" {
		t.Errorf("origin of limits.memory: %s", got)
	}
	if got := p.Origin("limits.core"); !strings.HasPrefix(got, "builtin:build:") {
		t.Errorf("origin of limits.core: %s", got)
	}
	data := p.mountOn("/data")
	if data.Type != "bind" || filepath.Base(data.Source) != "sub" || !filepath.IsAbs(data.Source) || data.Access != "rw" || data.Size != 0 {
		t.Errorf("/data: %+v", data)
	}
	if m := p.mountOn("/a.size"); m == nil || m.Type != "tmpfs" {
		t.Errorf("/a.size: %+v", m)
	}
	if m := p.mountOn("/short"); m == nil || m.Source != "/srv" || m.Access != "rw" {
		t.Errorf("/short: %+v", m)
	}
}

// TestWithOwn: name and workspace are a file's own, and the command line's wins.
func TestWithOwn(t *testing.T) {
	p, err := overridden(t, "version = 1\n", "--name name=x", "--workspace workspace.path=sub", "--memory limits.memory=1G")
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "x" || filepath.Base(p.Workspace.Path) != "sub" || p.Origin("workspace.path") != "--workspace" || p.Origin("name") != "--name" {
		t.Errorf("name %q, workspace %q from %q", p.Name, p.Workspace.Path, p.Origin("workspace.path"))
	}
	p, err = overridden(t, "version = 1\n", "--memory limits.memory=1G")
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "base" || p.Workspace.Path == "" {
		t.Errorf("name %q, workspace %q", p.Name, p.Workspace.Path)
	}
}

func TestWithRefuses(t *testing.T) {
	for _, tt := range []struct{ set, want string }{
		{"--memory limits.memory=4x", `--memory: "4x" is not a size, use bytes or a unit such as "64M" or "1G"`},
		{"--memory limits.memory=", `--memory: "" is not a size, use bytes or a unit such as "64M" or "1G"`},
		{"--pids-limit limits.processes=many", `--pids-limit: "many" is not an integer`},
		{"--pids-limit limits.processes=-2", `--pids-limit: -2 is out of range, use 0 or more, or "unlimited"`},
		{"--network network.mode=bridge", `--network: unknown value "bridge", use "none", "user", "host", "sandbox:NAME" or "network:NAME"`},
		{"--hostname process.hostname=a b", `--hostname: "a b" is not a host name, use up to 64 letters, digits, "-" and "."`},
		{"--volume mounts./dev/x.type=bind", `--volume: target is under /dev, where only a bind with dev = true may be`},
		{"--volume mounts.data.type=bind", `--volume: target "data" is not absolute, begin it with "/", "~/" or a variable`},
		{"--mount mounts./x.type=floppy", `--mount: type: unknown value "floppy", use "bind", "tmpfs", "file", "symlink", "mask", "overlay", "volume" or "none"`},
		{"--set limits.memroy=1G", `--set: limits.memroy: unknown key (did you mean "memory"?)`},
		{"--set root.read_only=yes", `--set: root.read_only: must be true or false, not "yes"`},
		{"--set extends=builtin:open", `--set: extends: belongs to a file and can't be set here`},
		{"--set environment.set=A", `--set: environment.set: set one variable at a time, as in environment.set.NAME=VALUE`},
		{"--set environment.pass=[1]", `--set: environment.pass[0]: must be a string, not an integer`},
		{"--set environment.pass=[1", `--set: environment.pass: "[1" is not a list, write one entry, or a list such as ["a", "b"]`},
		{"--set limits=1", `--set: limits: must be a table, not a string; write [limits] above its keys`},
		{"--home home.size=1G", ""},
		{"--set home.access=rw", `--set: home.access: has no effect with home.mode = "tmpfs", remove it or set home.mode = "host" or "persistent"`},
	} {
		_, err := overridden(t, "version = 1\n", tt.set)
		var errs Errors
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.set, err)
			}
			continue
		}
		if !errors.As(err, &errs) || err.Error() != tt.want {
			t.Errorf("%s:\n got %v\nwant %s", tt.set, err, tt.want)
		}
	}
}
