package profiles

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// parse reads a profile that must be good.
func parse(t *testing.T, text string) *Profile {
	t.Helper()
	p, err := Parse("/proj/test.toml", []byte("version = 1\n"+text), testEnv)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// write makes files below a new directory and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// exported copies what a profile says, without what it remembers.
func exported(p *Profile) Profile {
	c := *p
	c.merged, c.Files = nil, nil
	return c
}

func TestDefaults(t *testing.T) {
	p := parse(t, "extends = []\n")
	want := Profile{
		Name:       "test",
		Process:    Process{TTY: "auto", Umask: 0o22, StopTimeout: 10 * time.Second, StopSignal: "SIGTERM"},
		Health:     Health{Interval: 30 * time.Second, Timeout: 30 * time.Second, Retries: 3},
		User:       User{As: "auto", Map: "auto"},
		Namespaces: Namespaces{IPC: "private", UTS: "private", Cgroup: "private", Time: "host"},
		Root:       Root{Source: "host", ReadOnly: true, Upper: "tmpfs", Size: 1 << 30, Etc: "minimal", Proc: "new", Sys: "none", Dev: "minimal", Tmp: 1 << 30, Shm: 64 << 20},
		Home:       Home{Mode: "tmpfs", Access: "ro", Size: 512 << 20},
		Workspace:  Workspace{Path: "/work", Access: "rw", Git: "ro", Audit: "report"},
		Overlay:    Overlay{Backend: "auto", OnExit: "keep", Upper: "disk"},
		Network:    Network{Mode: "none", Backend: "auto", Default: "deny", TLSNames: true, OnDeny: "report", Upstream: "none", Audit: "off"},
		Limits:     Limits{Cgroup: "auto", OOMKill: "sandbox", CPUWeight: 100},
		Security:   Security{Seccomp: "default", Landlock: "auto", Fallback: "none"},
	}
	if got := exported(p); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestValues(t *testing.T) {
	p := parse(t, `extends = []
[process]
umask = "077"
timeout = "1h30m"
command = ["sh", "-c", "echo $HOME $$x $${HOME} ${HOME} $"]
[limits]
memory = "64M"
file_size = "2 GiB"
stack = 4096
locked_memory = "512kb"
processes = -1
open_files = "unlimited"
core = "unlimited"
cpu_time = "unlimited"
cgroup = "always"
memory_high = "48M"
swap = "unlimited"
oom_kill = "process"
cpus = 1.5
cpu_weight = 10
cpuset = "0-3,8"
[user]
uid_map = ["0:1000:1", "1:100000:10"]
gid_map = ["0:1000:1"]
[environment.set]
A = "${USER}:${UID}:${GID}:${WORKSPACE}:${PROFILE_DIR}"
[mounts]
"/a" = "data"
"/b" = "~/b:rw"
"/c" = { type = "tmpfs", size = "4K" }
"/d" = { type = "symlink", source = "../x" }
"/e" = { type = "file", content = "${HOME}", mode = "0000" }
"~/f" = {}
"${XDG_CACHE_HOME}/g" = { optional = true }
`)
	checks := []struct{ got, want any }{
		{p.Process.Umask, uint32(0o77)},
		{p.Process.Timeout, 90 * time.Minute},
		{p.Process.Command, []string{"sh", "-c", "echo $HOME $x ${HOME} /home/u $"}},
		{p.Limits, Limits{Cgroup: "always", MemoryHigh: 48 << 20, Swap: -1, OOMKill: "process", CPUs: 1500, CPUWeight: 10, CPUSet: "0-3,8", Memory: 64 << 20, FileSize: 2 << 30, Stack: 4096, Locked: 512 << 10, Processes: -1, OpenFiles: -1, Core: -1, CPUTime: -1}},
		{p.User, User{As: "auto", Map: "explicit", UIDMap: []IDMap{{0, 1000, 1}, {1, 100000, 10}}, GIDMap: []IDMap{{0, 1000, 1}}}},
		{p.Environment.Set, map[string]string{"A": "u:1000:1000:/work:/proj"}},
		{p.Mounts, []Mount{
			{Target: "/a", Type: "bind", Source: "/proj/data", Access: "ro", Exec: true},
			{Target: "/b", Type: "bind", Source: "/home/u/b", Access: "rw", Exec: true},
			{Target: "/c", Type: "tmpfs", Access: "rw", Exec: true, Mode: 0o755, Size: 4096, Inodes: 1},
			{Target: "/d", Type: "symlink", Source: "../x", Exec: true},
			{Target: "/e", Type: "file", Access: "ro", Exec: true, Content: "${HOME}"},
			{Target: "/home/u/.cache/g", Type: "bind", Source: "/home/u/.cache/g", Access: "ro", Exec: true, Optional: true},
			{Target: "/home/u/f", Type: "bind", Source: "/home/u/f", Access: "ro", Exec: true},
		}},
	}
	for i, c := range checks {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("check %d: got\n%+v\nwant\n%+v", i, c.got, c.want)
		}
	}
}

func TestMerge(t *testing.T) {
	dir := write(t, map[string]string{
		"a.toml": `version = 1
extends = []
name = "a"
description = "of a"
[process]
nice = 3
command = ["a", "a"]
[environment]
pass = ["A", "B"]
set = { X = "a", Y = "a" }
[home]
size = "1M"
share = [".a"]
[mounts."/m"]
type = "tmpfs"
size = "1M"
[mounts."/gone"]
type = "mask"
`,
		"b.toml": `version = 1
extends = ["./a.toml"]
[process]
nice = 5
[environment]
pass = ["B", "C"]
set = { Y = "b" }
[mounts."/m"]
mode = "0700"
[mounts."/gone"]
type = "none"
`,
		"c.toml": `version = 1
extends = ["a.toml/../a.toml"]
`,
		"d.toml": `version = 1
extends = ["./b.toml", "./a.toml"]
[process]
command = ["d", "d"]
[home]
mode = "none"
`,
	})
	t.Run("override append and drop", func(t *testing.T) {
		p, err := Load(Ref{Path: dir + "/d.toml"}, testEnv)
		if err != nil {
			t.Fatal(err)
		}
		if p.Name != "d" || p.Description != "" {
			t.Errorf("name %q and description %q were inherited", p.Name, p.Description)
		}
		if p.Process.Nice != 5 {
			t.Errorf("nice = %d: a.toml, reached twice, was applied twice", p.Process.Nice)
		}
		if want := []string{"d", "d"}; !slices.Equal(p.Process.Command, want) {
			t.Errorf("command = %q, want %q", p.Process.Command, want)
		}
		if want := []string{"A", "B", "C"}; !slices.Equal(p.Environment.Pass, want) {
			t.Errorf("pass = %q, want %q", p.Environment.Pass, want)
		}
		if want := map[string]string{"X": "a", "Y": "b"}; !reflect.DeepEqual(p.Environment.Set, want) {
			t.Errorf("set = %q, want %q", p.Environment.Set, want)
		}
		if want := []Mount{{Target: "/m", Type: "tmpfs", Access: "rw", Exec: true, Mode: 0o700, Size: 1 << 20, Inodes: 256}}; !reflect.DeepEqual(p.Mounts, want) {
			t.Errorf("mounts = %+v, want %+v", p.Mounts, want)
		}
		if p.Home.Size != 512<<20 || p.Home.Share != nil {
			t.Errorf("home = %+v: keys without a meaning were kept", p.Home)
		}
		if want := []string{dir + "/a.toml", dir + "/b.toml", dir + "/d.toml"}; !slices.Equal(p.Files, want) {
			t.Errorf("files = %q, want %q", p.Files, want)
		}
	})
	t.Run("path of extends is text", func(t *testing.T) {
		_, err := Load(Ref{Path: dir + "/c.toml"}, testEnv)
		if err == nil || !strings.Contains(err.Error(), "is neither a path nor a name with its place") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("implicit base", func(t *testing.T) {
		p := parse(t, "")
		if want := []string{"builtin:build", "/proj/test.toml"}; !slices.Equal(p.Files, want) {
			t.Errorf("files = %q, want %q", p.Files, want)
		}
	})
}

func TestExtendsChain(t *testing.T) {
	files := map[string]string{
		"cycle1.toml": "version = 1\nextends = [\"./cycle2.toml\"]\n",
		"cycle2.toml": "version = 1\nextends = [\"builtin:build\", \"./cycle1.toml\"]\n",
		"broken.toml": "version = 1\nbad = 1\n",
		"user.toml":   "version = 1\nextends = [\"./broken.toml\"]\nworse = 2\n",
	}
	for i := range 12 {
		files[fmt.Sprintf("deep%d.toml", i)] = fmt.Sprintf("version = 1\nextends = [\"./deep%d.toml\"]\n", i+1)
	}
	files["deep12.toml"] = "version = 1\nextends = []\n"
	dir := write(t, files)
	tests := []struct{ file, want string }{
		{"cycle1.toml", "DIR/cycle2.toml:2:29: extends[1]: cycle: DIR/cycle1.toml -> DIR/cycle2.toml -> DIR/cycle1.toml"},
		{"user.toml", "DIR/user.toml:3:1: worse: unknown key\nDIR/broken.toml:2:1: bad: unknown key"},
		{"deep3.toml", ""},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			_, err := Load(Ref{Path: filepath.Join(dir, test.file)}, testEnv)
			got := ""
			if err != nil {
				got = strings.ReplaceAll(err.Error(), dir, "DIR")
			}
			if got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
	_, err := Load(Ref{Path: filepath.Join(dir, "deep0.toml")}, testEnv)
	if err == nil || !strings.Contains(err.Error(), "deep9.toml:2:12: extends[0]: more than 10 profiles deep: ") {
		t.Errorf("deep chain: got %v", err)
	}
}

func TestInheritedWithoutEffect(t *testing.T) {
	dir := write(t, map[string]string{
		"host.toml":  "version = 1\nextends = [\"builtin:build\"]\n[home]\nmode = \"host\"\nhide = [\".ssh\"]\n",
		"child.toml": "version = 1\nextends = [\"./host.toml\"]\n[home]\nmode = \"tmpfs\"\n[root]\nsource = \"/\"\n",
		"late.toml":  "version = 1\nextends = [\"./child.toml\"]\n[root]\netc = \"none\"\n",
	})
	if _, err := Load(Ref{Path: dir + "/child.toml"}, testEnv); err != nil {
		t.Errorf("inherited keys without effect: %v", err)
	}
	_, err := Load(Ref{Path: dir + "/late.toml"}, testEnv)
	want := dir + `/late.toml:4:1: root.etc: has no effect with root.source = "/", remove it or set root.source = "host"`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWorkspace(t *testing.T) {
	tests := []struct{ name, file, text, want string }{
		{"current directory", "/proj/x.toml", "", "/work"},
		{"project file", "/proj/.sbx.toml", "", "/proj"},
		{"relative", "/proj/x.toml", `path = "sub/.."`, "/proj"},
		{"home", "/proj/x.toml", `path = "~/w"`, "/home/u/w"},
		{"profile dir", "/proj/x.toml", `path = "${PROFILE_DIR}/w"`, "/proj/w"},
		{"dollar", "/proj/x.toml", `path = "/a$$b/$c"`, "/a$b/$c"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := Parse(test.file, []byte("version = 1\n[workspace]\n"+test.text+"\n"), testEnv)
			if err != nil {
				t.Fatal(err)
			}
			if p.Workspace.Path != test.want {
				t.Errorf("got %s, want %s", p.Workspace.Path, test.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for path, want := range map[string]string{
		"/p/web.toml": "web", "/p/my app/.sbx.toml": "my-app", "/.sbx.toml": "sandbox", "/p/_x y.toml": "x-y",
		"/p/" + strings.Repeat("a", 80) + ".toml": strings.Repeat("a", 64),
	} {
		p, err := Parse(path, []byte("version = 1\n"), testEnv)
		if err != nil {
			t.Fatal(err)
		}
		if p.Name != want {
			t.Errorf("%s: got %q, want %q", path, p.Name, want)
		}
	}
}

func TestVariables(t *testing.T) {
	env := testEnv
	env.Getenv = func(name string) string {
		return map[string]string{"XDG_CONFIG_HOME": "relative", "XDG_DATA_HOME": "/data/", "XDG_RUNTIME_DIR": "run"}[name]
	}
	tests := []struct{ text, want string }{
		{"${XDG_CONFIG_HOME}", "/home/u/.config"},
		{"${XDG_DATA_HOME}", "/data"},
		{"${XDG_STATE_HOME}", "/home/u/.local/state"},
		{"${XDG_CACHE_HOME}", "/home/u/.cache"},
		{"${XDG_RUNTIME_DIR}", "/run/user/1000"},
		{"$$$$", "$$"},
		{"$${HOME}", "${HOME}"},
		{"$$${HOME}", "$/home/u"},
		{"a$", "a$"},
	}
	for _, test := range tests {
		p, err := Parse("/proj/x.toml", []byte("version = 1\n[environment.set]\nX = "+quote(test.text)+"\n"), env)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Environment.Set["X"]; got != test.want {
			t.Errorf("%s: got %s, want %s", test.text, got, test.want)
		}
	}
	env.Home = ""
	_, err := Parse("/proj/x.toml", []byte("version = 1\nextends = []\n[environment.set]\nX = \"${HOME}\"\n[mounts]\n\"/x\" = \"~/y\"\n"), env)
	want := "/proj/x.toml:4:5: environment.set.X: ${HOME} has no value here; set it or write the path\n" +
		"/proj/x.toml:6:8: mounts.\"/x\".source: the home directory is not known; set HOME or write the path"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestOrigin(t *testing.T) {
	p := parse(t, `[process]
nice = 3
[environment]
pass = ["PATH", "MINE"]
set.X = "y"
[mounts."~/x"]
optional = true
`)
	for key, want := range map[string]string{
		"process.nice":                "/proj/test.toml:3:1",
		"process.umask":               "",
		"root.etc":                    "builtin:build:27:1",
		"environment.pass":            "/proj/test.toml:5:1",
		"environment.pass[0]":         "builtin:build:10:3",
		"environment.set.X":           "/proj/test.toml:6:5",
		`mounts."/home/u/x"`:          "/proj/test.toml:7:9",
		`mounts."/home/u/x".optional`: "/proj/test.toml:8:1",
		`mounts."/home/u/x".source`:   "",
		"no.such":                     "",
		"environment.pass[999]":       "",
		"environment.pass[x]":         "",
	} {
		if got := p.Origin(key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	last := fmt.Sprintf("environment.pass[%d]", len(p.Environment.Pass)-1)
	if got, want := p.Origin(last), "/proj/test.toml:5:17"; got != want {
		t.Errorf("%s: got %q, want %q", last, got, want)
	}
}

func TestErrorsJSON(t *testing.T) {
	_, err := Parse("x.toml", []byte("version = 1\nnope = 1\n"), testEnv)
	var errs Errors
	if !errors.As(err, &errs) {
		t.Fatal(err)
	}
	got, err := json.Marshal(errs)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"file":"x.toml","line":2,"col":1,"key":"nope","msg":"unknown key (did you mean \"name\"?)"}]`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var one *Error
	if !errors.As(errs, &one) || one.Line != 2 {
		t.Errorf("errors.As finds %v", one)
	}
}

// Reading a good profile must not pay for positions.
func TestNoIndexWithoutErrors(t *testing.T) {
	p := parse(t, "[process]\nnice = 3\n")
	for _, l := range p.merged.layers {
		if l.places.keys != nil {
			t.Errorf("%s was indexed", l.name)
		}
	}
	p.Origin("process.nice")
	for i, l := range p.merged.layers {
		if indexed := l.places.keys != nil; indexed != (i == len(p.merged.layers)-1) {
			t.Errorf("after Origin: %s indexed is %v", l.name, indexed)
		}
	}
}

// The second parser may refuse what the first reads; messages then still have
// a place.
func TestPositionWithoutIndex(t *testing.T) {
	for _, key := range []string{"a", `a."b.c"`, "a.b[3]", `"`, "[", `"\`, ""} {
		l := &layer{text: "a = {\n"}
		if pos := l.position(key, true); pos.line < 1 || pos.col < 1 {
			t.Errorf("%s: %v", key, pos)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	texts := []string{"", "extends = []\n", `extends = ["builtin:go", "builtin:agent"]
description = "a \"b\"\\\t\n\u0001$ü"
[process]
command = ["${HOME}", "$${HOME}", "a$b"]
hostname = "h.x"
stop_timeout = "1m0.5s"
umask = "0007"
[limits]
cpu_time = -1
memory = 1000
[user]
uid_map = ["0:1000:1"]
gid_map = ["0:1000:1"]
[namespaces]
time = "private"
time_offset_monotonic = "-1h"
[environment.set]
EMPTY = ""
DOLLAR = "$$x"
[mounts]
"/a" = "/b$$c:rw"
"/l$$l" = { type = "symlink", source = "../$$x" }
"/f" = { type = "file", content = "a\u0000b${HOME}\r\n", mode = "0000" }
"/t" = { type = "tmpfs", size = 5000, inodes = 3, exec = false }
"/dev/kvm" = { dev = true, access = "rw" }
"/m" = { type = "mask" }
`}
	texts = append(texts, `extends = ["builtin:go"]
secrets = { token = "env:TOKEN", "a.b" = "file:/s" }
process.secrets = ["a.b"]
[[phase]]
name = "fetch"
command = ["x", "${ARGS}", "$$y"]
secrets = ["token:T"]
limits.memory = "1G"
mounts."/p" = { type = "tmpfs" }
[[phase]]
name = "last"
environment.pass = ["A"]
mounts."~/sdk".type = "none"
`)
	for _, name := range builtinNames() {
		texts = append(texts, "extends = [\"builtin:"+name+"\"]\n")
	}
	for _, text := range texts {
		p := parse(t, text)
		again, err := Parse("/elsewhere/x.toml", p.TOML(), testEnv)
		if err != nil {
			t.Fatalf("%v\n%s", err, p.TOML())
		}
		if got, want := exported(again), exported(p); !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%+v\nwant\n%+v\n%s", got, want, p.TOML())
		}
		for _, name := range p.Phases {
			a, err := again.Phase(name)
			b, err2 := p.Phase(name)
			if err != nil || err2 != nil {
				t.Fatalf("%v %v", err, err2)
			}
			if got, want := exported(a), exported(b); !reflect.DeepEqual(got, want) {
				t.Errorf("phase %s: got\n%+v\nwant\n%+v\n%s", name, got, want, p.TOML())
			}
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	text := []byte(`version = 1
extends = ["builtin:build"]
description = "a small profile"
[process]
command = ["make", "test"]
[environment]
pass = ["CCACHE_DIR"]
[mounts."~/.cache/ccache"]
access = "rw"
optional = true
[limits]
memory = "4G"
`)
	b.Run("file", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse("/proj/x.toml", text, testEnv); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("builtin", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Load(Ref{Builtin: "go"}, testEnv); err != nil {
				b.Fatal(err)
			}
		}
	})
}
