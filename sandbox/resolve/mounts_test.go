package resolve

import (
	"slices"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// mountTable is a profile's one table of a mount.
func mountTable(target, text string) string { return "[mounts.\"" + target + "\"]\n" + text }

func TestMounts(t *testing.T) {
	const inNone = "workspace.access = \"none\"\nhome.mode = \"none\"\n"
	for _, tt := range []struct {
		name, target, text, host string
		want                     sandbox.Mount
	}{
		{"bind", "/data", "", "/data/", sandbox.Mount{Kind: sandbox.Bind, Target: "/data", Source: "/data", IsDir: true, ReadOnly: true, Own: true, Direct: true, From: "mounts./data"}},
		{
			"bind of another path, writable, without programs", "/data", "source = \"/srv/d\"\naccess = \"rw\"\nexec = false", "/srv/d/",
			sandbox.Mount{Kind: sandbox.Bind, Target: "/data", Source: "/srv/d", IsDir: true, NoExec: true, Own: true, Direct: true, From: "mounts./data"},
		},
		{"the source's links are followed", "/data", "", "/data -> srv/d\n/srv/d", sandbox.Mount{Kind: sandbox.Bind, Target: "/data", Source: "/srv/d", ReadOnly: true, Own: true, Direct: true, From: "mounts./data"}},
		{"device", "/dev/sda", "dev = true\naccess = \"rw\"", "", sandbox.Mount{Kind: sandbox.Bind, Target: "/dev/sda", Source: "/dev/sda", Dev: true, Own: true, From: "mounts./dev/sda"}},
		{"optional and missing", "/data", "optional = true", "", sandbox.Mount{}},
		{"tmpfs", "/t", "type = \"tmpfs\"\nsize = \"1M\"", "", sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/t", IsDir: true, Size: 1 << 20, Inodes: 256, Mode: 0o755, Own: true, Direct: true, From: "mounts./t"}},
		{"tmpfs with inodes", "/t", "type = \"tmpfs\"\nsize = \"1M\"\ninodes = 7\nmode = \"0700\"", "", sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/t", IsDir: true, Size: 1 << 20, Inodes: 7, Mode: 0o700, Own: true, Direct: true, From: "mounts./t"}},
		{"file", "/f", "type = \"file\"\ncontent = \"x\"", "", sandbox.Mount{Kind: sandbox.File, Target: "/f", ReadOnly: true, Content: "x", Mode: 0o644, Own: true, Direct: true, From: "mounts./f"}},
		{"link", "/l", "type = \"symlink\"\nsource = \"a/../b\"", "", sandbox.Mount{Kind: sandbox.Symlink, Target: "/l", Source: "a/../b", Own: true, Direct: true, From: "mounts./l"}},
		{"the target's links are followed", "/bin/true", "type = \"file\"", "", sandbox.Mount{Kind: sandbox.File, Target: "/usr/bin/true", ReadOnly: true, Mode: 0o644, From: "mounts./bin/true"}},
		{"mask of a file", "/usr/bin/true", "type = \"mask\"", "", sandbox.Mount{Kind: sandbox.Mask, Target: "/usr/bin/true", From: "mounts./usr/bin/true"}},
		{"mask of a directory", "/usr/local", "type = \"mask\"", "", sandbox.Mount{Kind: sandbox.Mask, Target: "/usr/local", IsDir: true, From: "mounts./usr/local"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planned(t, input(t, inNone+mountTable(tt.target, tt.text), tt.host))
			got := at(p, tt.target)
			if got.Target == "" && tt.want.Target != "" {
				got = at(p, tt.want.Target)
			}
			tt.want.Mode, got.Mode = modeOf(tt.want), modeOf(got)
			same(t, "mount", got, tt.want)
		})
	}
}

// modeOf is the mode where it means something.
func modeOf(m sandbox.Mount) uint32 {
	if m.Kind == sandbox.Tmpfs || m.Kind == sandbox.File {
		return m.Mode
	}
	return 0
}

func TestMountFaults(t *testing.T) {
	const (
		noTree   = " exist in /usr, and sbx makes nothing in a host's tree; create it on the host, choose an existing target, or mount a tmpfs on its parent directory"
		optional = "; create it, or set optional = true"
	)
	for _, tt := range []struct{ name, target, text, host, want string }{
		{"missing", "/data", "", "", "binding /data: open /data: no such file or directory" + optional},
		{"device", "/sda", "source = \"/dev/sda\"", "", "/dev/sda is a device; set dev = true if the command is to have it"},
		{"the host's processes", "/mnt", "source = \"/proc/1\"", "", `/proc/1 is the host's /proc, which shows and controls its processes; use root.proc = "new"`},
		{"the host's processes by a link", "/mnt", "source = \"/p\"", "/p -> proc", `/proc is the host's /proc, which shows and controls its processes; use root.proc = "new"`},
		{"out of the workspace by a link", "/mnt", "source = \"/home/dev/proj/l\"", "/home/dev/proj/l -> /etc", "binding /home/dev/proj/l: open /home/dev/proj/l: leads out by a link; name the place that it leads to"},
		{"below the sandbox's own link", "/l/x", "type = \"tmpfs\"\n[mounts.\"/l\"]\ntype = \"symlink\"\nsource = \"usr\"", "", "/l/x lies below /l, which is a link to usr inside; name the place that it leads to"},
		{"no place in the host's tree", "/usr/x", "type = \"tmpfs\"", "", "/usr/x does not" + noTree},
		{"a file on a directory", "/usr/local", "type = \"file\"", "", "/usr/local is a directory, what goes there is a file"},
		{"a directory on a file", "/usr/bin/true", "type = \"tmpfs\"", "", "/usr/bin/true is a file, what goes there is a directory"},
		{"a link in the host's tree", "/usr/l", "type = \"tmpfs\"", "/usr/l -> bin", "/usr/l is a symbolic link, and mounting stops at links; name the place that it leads to"},
		{"a new link in the host's tree", "/usr/l", "type = \"symlink\"\nsource = \"bin\"", "", "/usr/l would have to be made in /usr, which is the host's; mount a tmpfs on its parent directory, or create it on the host"},
		{"a mask of nothing", "/x", "type = \"mask\"", "", "there is nothing at /x to mask"},
		{"below a mask", "/usr/local/bin", "type = \"tmpfs\"\n[mounts.\"/usr/local\"]\ntype = \"mask\"", "", "/usr/local/bin lies below /usr/local, which is masked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, "home.mode = \"none\"\n"+mountTable(tt.target, tt.text), tt.host)
			same(t, "errors", faults(t, in), []string{"mounts." + tt.target + ": " + tt.want})
		})
	}
}

func TestMountNotes(t *testing.T) {
	for _, tt := range []struct{ name, target, text, host, level, want string }{
		{"socket", "/s", "", "/s s", "warning", "/s is a socket: who listens on it can be talked to from inside, read-only or not"},
		{"FIFO", "/s", "access = \"rw\"", "/s p", "warning", "/s is a FIFO: it can be written from inside"},
		{"FIFO that no rule keeps from being written", "/s", "[security]\nlandlock = \"off\"", "/s p", "warning", "/s is a FIFO: it can be written from inside, read-only or not"},
		{"sockets of the system", "/r", "source = \"/run\"", "/run/x/ d\n/run/docker.sock s\n/run/initctl p\n/run/lock/ d", "warning", "/run holds sockets or FIFOs (docker.sock, initctl): who listens on them can be talked to from inside, read-only or not"},
		{"sockets of the session", "/r", "source = \"/run/user/1000\"", "/run/user/1000/bus s", "warning", "/run/user/1000 holds sockets or FIFOs (bus): who listens on them can be talked to from inside, read-only or not"},
		{"sockets of a terminal", "/r", "source = \"/tmp/tmux\"", "/tmp/tmux/default s", "warning", "/tmp/tmux holds sockets or FIFOs (default): who listens on them can be talked to from inside, read-only or not"},
		{"all of home", "/home", "access = \"rw\"", "", "warning", "/home holds your whole home directory, writable"},
		{"optional", "/s", "optional = true", "", "info", "/s is not there and was left out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planned(t, input(t, "home.mode = \"none\"\nworkspace.access = \"none\"\n"+mountTable(tt.target, tt.text), tt.host))
			if got := notes(p, tt.level); !slices.Contains(got, "mounts."+tt.target+": "+tt.want) {
				t.Errorf("notes %q, want %q", got, tt.want)
			}
		})
	}
}

// TestPlaces: on what a target's parent lies decides whether it is made and
// whether the way to it is safe.
func TestPlaces(t *testing.T) {
	for _, tt := range []struct {
		name, text, host, target string
		own, direct              bool
	}{
		{"the root", "[mounts.\"/t\"]\ntype = \"tmpfs\"", "", "/t", true, true},
		{"a tmpfs", "[mounts.\"/tmp/t\"]\ntype = \"tmpfs\"", "", "/tmp/t", true, true},
		{"a host's directory", "[mounts.\"/home/dev/proj/sub\"]\ntype = \"tmpfs\"", "", "/home/dev/proj/sub", false, false},
		{"a tmpfs in a host's directory", "[mounts.\"/home/dev/proj/sub\"]\ntype = \"tmpfs\"\n[mounts.\"/home/dev/proj/sub/t\"]\ntype = \"tmpfs\"", "", "/home/dev/proj/sub/t", true, false},
		{"a kept home", "home.mode = \"persistent\"\n[mounts.\"/home/dev/t\"]\ntype = \"tmpfs\"", "", "/home/dev/t", true, false},
		{"below a Dir", "[mounts.\"/run/user/1000/t\"]\ntype = \"tmpfs\"", "", "/run/user/1000/t", true, true},
		{"the host's root", "root.source = \"/\"\n[mounts.\"/srv\"]\ntype = \"tmpfs\"", "/srv/", "/srv", false, true},
		{"in the host's root", "root.source = \"/\"\n[mounts.\"/srv/x\"]\ntype = \"tmpfs\"", "/srv/x/", "/srv/x", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := at(planned(t, input(t, tt.text, tt.host)), tt.target)
			if m.Target == "" || m.Own != tt.own || m.Direct != tt.direct {
				t.Errorf("%+v, want own %v, direct %v", m, tt.own, tt.direct)
			}
		})
	}
}

// guarded lists the guards of a plan, "=" before what is only pinned.
func guarded(p *sandbox.Plan) (list []string) {
	for _, m := range p.Mounts {
		if m.Kind == sandbox.Guard {
			s := m.Target + " " + m.Source
			if !m.ReadOnly {
				s = "=" + s
			}
			list = append(list, s)
		}
	}
	return list
}

func TestGuards(t *testing.T) {
	const proj = "/home/dev/proj"
	for _, tt := range []struct {
		name, text, host string
		files, state     []string
		exe              string
		want             []string
	}{
		{"none", "", "", nil, nil, "", nil},
		{"built-in", "", "", []string{"builtin:build"}, nil, "/usr/bin/sbx", nil},
		{"profile in the workspace", "", "", []string{proj + "/x.toml"}, nil, "", []string{proj + "/x.toml " + proj + "/x.toml"}},
		{
			"profile in a subdirectory", "", proj + "/a/b/y.toml", []string{proj + "/a/b/y.toml"}, nil, "",
			[]string{"=" + proj + "/a " + proj + "/a", "=" + proj + "/a/b " + proj + "/a/b", proj + "/a/b/y.toml " + proj + "/a/b/y.toml"},
		},
		{"profile in a read-only workspace", "workspace.access = \"ro\"", "", []string{proj + "/x.toml"}, nil, "", nil},
		{"profile elsewhere", "", "", []string{"/home/dev/other.toml"}, nil, "", nil},
		{"sbx in the workspace", "", proj + "/bin/sbx", nil, nil, proj + "/bin/sbx", []string{"=" + proj + "/bin " + proj + "/bin", proj + "/bin/sbx " + proj + "/bin/sbx"}},
		{
			"shared directories are pinned once", "", proj + "/a/y.toml\n" + proj + "/a/z.toml", []string{proj + "/a/y.toml", proj + "/a/z.toml"}, nil, "",
			[]string{"=" + proj + "/a " + proj + "/a", proj + "/a/y.toml " + proj + "/a/y.toml", proj + "/a/z.toml " + proj + "/a/z.toml"},
		},
		{"a profile that is gone", "", "", []string{proj + "/none.toml"}, nil, "", nil},
		{
			"bound elsewhere as well", "[mounts.\"/mnt\"]\nsource = \"/home/dev\"\naccess = \"rw\"", "", []string{proj + "/x.toml"}, nil, "",
			[]string{proj + "/x.toml " + proj + "/x.toml", "=/mnt/proj " + proj, "/mnt/proj/x.toml " + proj + "/x.toml"},
		},
		{"covered by a tmpfs", "[mounts.\"/home/dev/proj/sub\"]\ntype = \"tmpfs\"", proj + "/sub/y.toml", []string{proj + "/sub/y.toml"}, nil, "", nil},
		{
			"covered by another directory", "[mounts.\"/home/dev/proj/sub\"]\nsource = \"/srv\"\naccess = \"rw\"", proj + "/sub/y.toml\n/srv/",
			[]string{proj + "/sub/y.toml"}, nil, "", nil,
		},
		{
			"one of sbx's directories below another", "home.mode = \"host\"\nhome.access = \"rw\"", "/home/dev/.sbx/c/sbx/", nil, []string{"/home/dev/.sbx/c/sbx", "/home/dev/.sbx"}, "",
			[]string{"/home/dev/.sbx /home/dev/.sbx", "=/home/dev/.sbx/c /home/dev/.sbx/c", "/home/dev/.sbx/c/sbx /home/dev/.sbx/c/sbx"},
		},
		{"state in a writable home", "home.mode = \"host\"\nhome.access = \"rw\"", "/home/dev/.sbx/", nil, []string{"/home/dev/.sbx"}, "", []string{"/home/dev/.sbx /home/dev/.sbx"}},
		{
			"state that a link leads into the workspace", "", "/home/dev/.config -> proj/dot\n" + proj + "/dot/sbx/", nil, []string{"/home/dev/.config/sbx"}, "",
			[]string{"=" + proj + "/dot " + proj + "/dot", proj + "/dot/sbx " + proj + "/dot/sbx"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text, tt.host)
			in.Profile.Files, in.StateDirs, in.Facts.Exe = tt.files, tt.state, tt.exe
			p := planned(t, in)
			same(t, "guards", guarded(p), tt.want)
			same(t, "directories to make", p.Create, []string(nil))
		})
	}
}

func TestGuardFaults(t *testing.T) {
	for _, tt := range []struct {
		name, text, host string
		state            []string
		want             []string
	}{
		{
			"sbx's own directory", mountTable("/state", "access = \"rw\""), "/state/", []string{"/state"},
			[]string{`mounts./state: /state is sbx's own and can't be given to the command to write; leave it out, or set access = "ro"`},
		},
		{
			"below sbx's own directory", mountTable("/state/trust", "access = \"rw\""), "/state/trust", []string{"/state"},
			[]string{`mounts./state/trust: /state/trust is sbx's own and can't be given to the command to write; leave it out, or set access = "ro"`},
		},
		{
			"a link on the way", "home.mode = \"host\"\nhome.access = \"rw\"", "/home/dev/.config -> proj", []string{"/home/dev/.config/sbx"},
			[]string{": /home/dev/.config is a symbolic link that the command could replace, and /home/dev/.config/sbx rules what it may do; name the place that it leads to"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text, tt.host)
			in.StateDirs = tt.state
			same(t, "errors", faults(t, in), tt.want)
		})
	}
}

// TestStateIsMade: a state directory that is not there yet could be planted.
func TestStateIsMade(t *testing.T) {
	for _, host := range []string{"/home/dev/.config/", ""} {
		in := input(t, "home.mode = \"host\"\nhome.access = \"rw\"", host)
		in.StateDirs = []string{"/home/dev/.config/sbx"}
		p := planned(t, in)
		same(t, "directories to make", p.Create, in.StateDirs)
		same(t, "guards", guarded(p), []string{"=/home/dev/.config /home/dev/.config", "/home/dev/.config/sbx /home/dev/.config/sbx"})
	}
}
