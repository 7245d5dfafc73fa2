package resolve

import (
	"fmt"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/landlock"
)

// ruleTexts are a plan's rules, each in a few words.
func ruleTexts(p *sandbox.Plan) []string {
	var list []string
	for _, r := range p.Security.Landlock.Rules {
		name := r.Path
		if name == "" {
			name = fmt.Sprint("fd ", r.FD)
		}
		list = append(list, name+": "+r.Allow.Brief())
	}
	return list
}

func TestLandlockRules(t *testing.T) {
	const (
		rw      = ": read, execute, write, make and remove"
		rx      = ": read, execute"
		dev     = "/dev: read, write, ioctl on devices"
		queues  = "/dev/mqueue: read, write, make and remove"
		proc    = "/proc: read, write"
		bare    = "root.source = \"empty\"\nhome.mode = \"none\"\nworkspace.access = \"none\"\nroot.tmp = 0\n"
		noDev   = bare + "root.dev = \"none\"\nroot.proc = \"none\"\n"
		runtime = "/run" + rw
	)
	base := []string{"/: list directories", runtime}
	for _, tt := range []struct {
		name, text, host string
		change           func(*host.Facts)
		want, only       []string
	}{
		{
			name: "build", text: "extends = [\"builtin:build\"]",
			want: []string{"/: list directories", "/etc" + rx, "/home/dev" + rw, runtime, "/tmp" + rw, "/usr" + rx, dev, "/dev/shm" + rw, queues, proc},
			only: []string{"/proc/sys"},
		},
		{
			name: "the host's tree in place", text: "root.source = \"/\"\nhome.mode = \"none\"",
			want: []string{"/" + rx, "/home/dev" + rw, "/tmp" + rw, dev, "/dev/shm" + rw, queues, proc},
			only: []string{"/dev", "/proc", "/proc/sys"},
		},
		{name: "nothing of its own", text: noDev, want: base},
		{name: "own devices, no shared memory", text: bare + "root.shm = 0\nroot.proc = \"pid\"", want: append(base[:2:2], dev, queues, proc)},
		{name: "own /sys", text: noDev + "root.sys = \"ro\"", want: append(base[:2:2], "/sys: read")},
		{name: "a root to write", text: noDev + "root.read_only = false", want: []string{"/" + rw}},
		{
			name: "binds", text: noDev + "[mounts.\"/g\"]\nsource = \"/usr/bin\"\naccess = \"rw\"\n" + "[mounts.\"/a\"]\nsource = \"/usr\"\n[mounts.\"/b\"]\nsource = \"/usr\"\naccess = \"rw\"\nexec = false\n" +
				"[mounts.\"/c\"]\nsource = \"/home/dev/.gitconfig\"\n[mounts.\"/d\"]\nsource = \"/home/dev/.gitconfig\"\naccess = \"rw\"\n[mounts.\"/e\"]\nsource = \"/dev/sda\"\ndev = true\n",
			want: []string{
				"/: list directories", "/a" + rx, "/b: read, write, make and remove", "/c" + rx, "/d: read, execute, write",
				"/e: read, execute, write, ioctl on devices", "/g" + rw, runtime,
			},
			only: []string{"/b/bin/sbx", "/g/sbx"},
		},
		{
			name: "own file systems, files and links", text: noDev + "[mounts.\"/t\"]\ntype = \"tmpfs\"\n[mounts.\"/t/ro\"]\ntype = \"tmpfs\"\naccess = \"ro\"\n[mounts.\"/r\"]\ntype = \"tmpfs\"\naccess = \"ro\"\nexec = false\n" +
				"[mounts.\"/r/f\"]\ntype = \"file\"\ncontent = \"x\"\n[mounts.\"/f\"]\ntype = \"file\"\ncontent = \"x\"\n[mounts.\"/l\"]\ntype = \"symlink\"\nsource = \"/t\"\n",
			want: []string{"/: list directories", "/f" + rx, "/r: read", "/r/f" + rx, runtime, "/t" + rw},
			only: []string{"/t/ro"},
		},
		{
			name: "read-only below what is written", text: noDev + "[mounts.\"/home/dev\"]\naccess = \"rw\"\n[mounts.\"/home/dev/proj\"]\naccess = \"ro\"\n",
			want: []string{"/: list directories", "/home/dev" + rw, runtime}, only: []string{"/home/dev/proj"},
		},
		{
			name: "a socket", text: noDev + "[mounts.\"/s\"]\nsource = \"/srv/s\"\n", host: "/srv/s s",
			change: func(f *host.Facts) { f.Landlock = 9 },
			want:   []string{"/: list directories", runtime, "/s: read, execute, connect to the socket"},
		},
		{
			name: "standard streams", text: noDev,
			change: func(f *host.Facts) {
				f.Stdio = [3]host.Stdio{{File: true, Read: true}, {Device: true, Read: true, Write: true}, {Read: true, Write: true}}
			},
			want: append(base[:2:2], "fd 0: read", "fd 1: read, write, ioctl on devices"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text, tt.host)
			if tt.change != nil {
				tt.change(&in.Facts)
			}
			p := planned(t, in)
			same(t, "rules", ruleTexts(p), tt.want)
			same(t, "held by mounts alone", p.Security.Landlock.MountOnly, tt.only)
		})
	}
}

// TestLandlockStates: what becomes of the second wall, by kernel and profile.
func TestLandlockStates(t *testing.T) {
	const hostNet = "network.mode = \"host\"\n"
	for _, tt := range []struct {
		name, text    string
		abi           int
		state, socket string // of the features
		handled       landlock.Access
		scoped        bool
		degraded      []string // notes
		faults        []string
	}{
		{name: "all", abi: 7, state: "enforced", socket: "enforced", handled: landlock.Files(7), scoped: true},
		{name: "newest", abi: 10, state: "enforced", socket: "enforced", handled: landlock.Files(9), scoped: true},
		{name: "the host's network", text: hostNet, abi: 6, state: "enforced", socket: "enforced", handled: landlock.Files(6), scoped: true},
		{
			name: "no scopes", text: hostNet, abi: 5, state: "degraded", socket: "missing", handled: landlock.Files(5),
			degraded: []string{"security.landlock: Landlock is degraded: this kernel's Landlock does not hold signals and abstract sockets (ABI 6)"},
		},
		{
			name: "oldest", abi: 2, state: "degraded", socket: "enforced", handled: landlock.Files(2),
			degraded: []string{"security.landlock: Landlock is degraded: this kernel's Landlock does not hold truncating files (ABI 3), ioctl on devices (ABI 5), signals and abstract sockets (ABI 6)"},
		},
		{
			name: "too old", abi: 1, state: "missing", socket: "enforced",
			degraded: []string{"security.landlock: Landlock is missing: ABI 1: it can't allow that a file is moved to another directory, so it is not used"},
		},
		{
			name: "none", abi: 0, state: "missing", socket: "enforced",
			degraded: []string{`security.landlock: Landlock is missing: this kernel has none or does not let sbx use it; security.landlock = "off" does without`},
		},
		{name: "off", text: "security.landlock = \"off\"\n" + hostNet, abi: 7, state: "off", socket: "off"},
		{name: "namespaces inside", text: "security.nested_userns = true\n" + hostNet, abi: 7, state: "degraded", socket: "enforced", scoped: true},
		{name: "required", text: "security.landlock = \"require\"", abi: 6, state: "enforced", socket: "enforced", handled: landlock.Files(6), scoped: true},
		{
			name: "required of an old kernel", text: "security.landlock = \"require\"", abi: 5,
			faults: []string{"security.landlock: Landlock is required and is degraded here: this kernel's Landlock does not hold signals and abstract sockets (ABI 6); see sbx doctor"},
		},
		{
			name: "required with namespaces inside", text: "security.landlock = \"require\"\nsecurity.nested_userns = true", abi: 7,
			faults: []string{"security.landlock: Landlock is required and is degraded here: the profile allows namespaces of its own, in which Landlock would forbid every mount: files are left to the mounts; see sbx doctor"},
		},
		{
			name: "all is required", text: "policy.require = [\"all\"]", abi: 0,
			faults: []string{`policy.require[0]: landlock is required and can't be enforced: this kernel has none or does not let sbx use it; security.landlock = "off" does without; see sbx doctor`},
		},
		{name: "all that is there is required", text: "policy.require = [\"all\"]", abi: 4, state: "degraded", socket: "enforced", handled: landlock.Files(4), degraded: []string{
			"security.landlock: Landlock is degraded: this kernel's Landlock does not hold ioctl on devices (ABI 5), signals and abstract sockets (ABI 6)",
		}},
		{
			name: "all is required with the host's network", text: "policy.require = [\"all\"]\n" + hostNet, abi: 5,
			faults: []string{"policy.require[0]: abstract_sockets is required and can't be enforced: with the host's network it takes Landlock's ABI 6 to keep the host's out of reach; see sbx doctor"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			in.Facts.Landlock = tt.abi
			if tt.faults != nil {
				same(t, "errors", faults(t, in), tt.faults)
				return
			}
			p := planned(t, in)
			l := p.Security.Landlock
			for _, f := range p.Features {
				switch f.Name {
				case "landlock":
					same(t, "state", f.State, tt.state)
				case "abstract_sockets":
					same(t, "abstract sockets", f.State, tt.socket)
				}
			}
			same(t, "handled", l.Handled, tt.handled)
			same(t, "scoped", l.Scoped, tt.scoped)
			same(t, "degraded", notes(p, "degraded"), tt.degraded)
			if (len(l.Rules) > 0) != (l.Handled != 0) {
				t.Errorf("%d rules, handled is %q", len(l.Rules), l.Handled)
			}
		})
	}
}
