package resolve

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
)

func TestRoot(t *testing.T) {
	merged := []string{"/bin", "/home/dev", "/home/dev/proj", "/lib", "/lib64", "/run", "/run/user/1000", "/sbin", "/tmp", "/usr", "/var/tmp"}
	image := `
		/img/bin -> usr/bin
		/img/usr/bin/true
		/img/etc/passwd
		/img/readme
		/img/dev/null c
		/img/fifo p
		/img/home/bob/
		/img/tmp/
		/img/run/
		/img/lost+found/`
	for _, tt := range []struct {
		name, text string
		host       string
		want       []string
	}{
		{"host with a merged /usr", "root.etc = \"none\"", "", merged},
		{"host with a /usr that is not merged", "root.etc = \"none\"", "/bin/\n/sbin/\n/lib/\n/lib64/", merged},
		{"host without some", "root.etc = \"none\"", "-/lib64", slices.DeleteFunc(slices.Clone(merged), func(s string) bool { return s == "/lib64" })},
		{"empty", "root.source = \"empty\"", "", []string{"/home/dev", "/home/dev/proj", "/run", "/run/user/1000", "/tmp"}},
		{"empty without tmp", "root.source = \"empty\"\nroot.tmp = 0", "", []string{"/home/dev", "/home/dev/proj", "/run", "/run/user/1000"}},
		{"a directory", "root.source = \"/img\"", image, []string{"/bin", "/etc", "/home/dev", "/home/dev/proj", "/readme", "/run", "/run/user/1000", "/tmp", "/usr"}},
		{"the host's tree", "root.source = \"/\"", "", []string{"/home/dev", "/home/dev/proj", "/tmp"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			same(t, "targets", targets(planned(t, input(t, tt.text, tt.host))), tt.want)
		})
	}
}

func TestRootEntries(t *testing.T) {
	for _, tt := range []struct {
		name, text, host string
		want             sandbox.Mount
	}{
		{"a link stays one", "", "", sandbox.Mount{Kind: sandbox.Symlink, Target: "/bin", Source: "usr/bin", Own: true, Direct: true, From: "root.source"}},
		{"root's directory", "", "", sandbox.Mount{Kind: sandbox.Bind, Target: "/usr", Source: "/usr", IsDir: true, ReadOnly: true, Own: true, Direct: true, System: true, From: "root.source", Why: "system files"}},
		{"another's directory", "", "/opt/ @1000", sandbox.Mount{Kind: sandbox.Bind, Target: "/opt", Source: "/opt", IsDir: true, ReadOnly: true, Own: true, Direct: true, From: "root.source", Why: "system files"}},
		{"a directory that others may write", "", "/nix/ o+w", sandbox.Mount{Kind: sandbox.Bind, Target: "/nix", Source: "/nix", IsDir: true, ReadOnly: true, Own: true, Direct: true, From: "root.source", Why: "system files"}},
		{"a directory as root, writable", "root.source = \"/img\"\nroot.read_only = false", "/img/srv/", sandbox.Mount{Kind: sandbox.Bind, Target: "/srv", Source: "/img/srv", IsDir: true, Own: true, Direct: true, From: "root.source", Why: "system files"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			same(t, "mount", at(planned(t, input(t, tt.text, tt.host)), tt.want.Target), tt.want)
		})
	}
	same(t, "root", planned(t, input(t, "")).Root, sandbox.Root{ReadOnly: true, Size: rootSize, Inodes: rootInodes, From: "root.source"})
	same(t, "root in place", planned(t, input(t, "root.source = \"/\"")).Root, sandbox.Root{InPlace: true, ReadOnly: true, Size: rootSize, Inodes: rootInodes, From: "root.source"})
}

func TestRootFaults(t *testing.T) {
	const hint = `; name an existing directory, "host" or "empty"`
	for _, tt := range []struct{ name, text, host, want string }{
		{"missing", "root.source = \"/img\"", "", "root.source: using a directory as root: open /img: no such file or directory" + hint},
		{"a file", "root.source = \"/img\"", "/img", "root.source: using a directory as root: not a directory" + hint},
	} {
		t.Run(tt.name, func(t *testing.T) {
			same(t, "errors", faults(t, input(t, tt.text, tt.host)), []string{tt.want})
		})
	}
}

func TestEtc(t *testing.T) {
	below := func(p *sandbox.Plan) (list []string) {
		for _, m := range p.Mounts {
			if within(m.Target, "/etc") || strings.HasPrefix(m.Target, "/run/sys") {
				list = append(list, string(m.Kind)+" "+m.Target)
			}
		}
		return list
	}
	unknown := func(f *host.Facts) { f.Known = false }
	for _, tt := range []struct {
		name, text string
		change     func(*host.Facts)
		want       []string
	}{
		{"none", "root.etc = \"none\"", nil, nil},
		{"host", "root.etc = \"host\"", nil, []string{"bind /etc"}},
		{"host, an account that it does not know", "root.etc = \"host\"", unknown, []string{"bind /etc", "file /etc/group", "file /etc/passwd"}},
		{"host with its network", "root.etc = \"host\"\nnetwork.mode = \"host\"", nil, []string{"bind /etc", "bind /run/systemd/resolve/stub-resolv.conf"}},
		{"minimal with the host's network", "root.etc = \"minimal\"\nnetwork.mode = \"host\"", nil, []string{
			"tmpfs /etc", "file /etc/group", "file /etc/hosts", "symlink /etc/localtime", "bind /etc/nsswitch.conf",
			"symlink /etc/os-release", "file /etc/passwd", "bind /etc/resolv.conf", "bind /etc/ssl",
		}},
		{"minimal", "root.etc = \"minimal\"", unknown, []string{
			"tmpfs /etc", "file /etc/group", "file /etc/hosts", "symlink /etc/localtime", "bind /etc/nsswitch.conf",
			"symlink /etc/os-release", "file /etc/passwd", "bind /etc/ssl",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			if tt.change != nil {
				tt.change(&in.Facts)
			}
			same(t, "targets", below(planned(t, in)), tt.want)
		})
	}
}

// faultyFiles fail for one path.
type faultyFiles struct {
	host.Files
	path string
	err  error
}

func (f faultyFiles) Lstat(p string) (host.Entry, error) {
	if p == f.path {
		return host.Entry{}, &fs.PathError{Op: "lstat", Path: p, Err: f.err}
	}
	return f.Files.Lstat(p)
}

// TestLeftOut: what can't be looked at is missing with a word, what is not there
// without.
func TestLeftOut(t *testing.T) {
	for _, tt := range []struct {
		path string
		err  error
		want string
	}{
		{"/usr", unix.EIO, "/usr is left out: lstat /usr: input/output error"},
		{"/etc/ssl", unix.ENOMEM, "/etc/ssl is left out: lstat /etc/ssl: cannot allocate memory"},
		{"/usr", unix.ENOENT, ""},
		{"/etc/ssl", unix.EACCES, ""},
	} {
		t.Run(tt.path+" "+unix.ErrnoName(tt.err.(unix.Errno)), func(t *testing.T) {
			in := input(t, "root.etc = \"minimal\"")
			in.Facts.Files = faultyFiles{in.Facts.Files, tt.path, tt.err}
			p, got := planned(t, in), ""
			for _, n := range p.Notes {
				if n.Level == "warning" {
					got += n.Text
				}
			}
			same(t, "warnings", got, tt.want)
			same(t, "mount", at(p, tt.path), sandbox.Mount{})
		})
	}
}

func TestEtcEntries(t *testing.T) {
	for _, tt := range []struct {
		name, host string
		want       sandbox.Mount
	}{
		{"a link into /usr", "", sandbox.Mount{Kind: sandbox.Symlink, Target: "/etc/localtime", Source: "/usr/share/zoneinfo/UTC", Own: true, Direct: true, From: "root.etc"}},
		{"a directory", "", sandbox.Mount{Kind: sandbox.Bind, Target: "/etc/ssl", Source: "/etc/ssl", IsDir: true, ReadOnly: true, Own: true, Direct: true, Sealed: true, System: true, From: "root.etc"}},
		{"another's", "/etc/ssl/ @1000", sandbox.Mount{Kind: sandbox.Bind, Target: "/etc/ssl", Source: "/etc/ssl", IsDir: true, ReadOnly: true, Own: true, Direct: true, From: "root.etc"}},
		{"a link elsewhere", "/etc/ssl -> /srv/ssl\n/srv/ssl/", sandbox.Mount{Kind: sandbox.Bind, Target: "/etc/ssl", Source: "/srv/ssl", IsDir: true, ReadOnly: true, Own: true, Direct: true, From: "root.etc"}},
		{"a link to nothing", "/etc/magic -> none", sandbox.Mount{}},
		{"a device", "/etc/magic c", sandbox.Mount{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := tt.want.Target
			if target == "" {
				target = "/etc/magic"
			}
			same(t, "mount", at(planned(t, input(t, "root.etc = \"minimal\"", tt.host)), target), tt.want)
		})
	}
}

// TestSealed: what counts on its parent to make it read-only must have one that
// does.
func TestSealed(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       bool
	}{
		{"the sandbox's own /etc", "", true},
		{"a writable tmpfs in its place", mountTable("/etc", "type = \"tmpfs\""), false},
		{"a read-only tmpfs in its place", mountTable("/etc", "type = \"tmpfs\"\naccess = \"ro\""), true},
		{"the host's in its place", mountTable("/etc", ""), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, "root.etc = \"minimal\"\n"+tt.text, "-/etc/localtime\n-/etc/os-release")
			m := at(planned(t, in), "/etc/ssl")
			if m.Sealed != tt.want || !m.ReadOnly {
				t.Errorf("%+v, want sealed %v", m, tt.want)
			}
		})
	}
}

func TestAccountFiles(t *testing.T) {
	const nobody = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	for _, tt := range []struct{ name, text, passwd, group, hosts string }{
		{
			"own id", "", "root:x:0:0:root:/root:/bin/sh\ndev:x:1000:1000::/home/dev:/bin/sh\n" + nobody,
			"root:x:0:\ndev:x:1000:\ntty:x:5:\nnogroup:x:65534:\n", "127.0.0.1 localhost x\n::1 localhost\n",
		},
		{
			"fake root", "user.as = \"root\"\nprocess.hostname = \"h\"", "root:x:0:0:root:/home/dev:/bin/sh\n" + nobody,
			"root:x:0:\ntty:x:5:\nnogroup:x:65534:\n", "127.0.0.1 localhost h\n::1 localhost\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planned(t, input(t, "root.etc = \"minimal\"\n"+tt.text))
			same(t, "passwd", at(p, "/etc/passwd").Content, tt.passwd)
			same(t, "group", at(p, "/etc/group").Content, tt.group)
			same(t, "hosts", at(p, "/etc/hosts").Content, tt.hosts)
		})
	}
}

func TestPseudo(t *testing.T) {
	devices := []string{"full", "null", "random", "tty", "urandom", "zero"}
	full := sandbox.Pseudo{Dev: true, Devices: devices, Shm: 64 << 20, Mqueue: true, PtyGID: -1, ProcMasked: []string{"keys", "key-users"}, ProcReadOnly: []string{"sys"}}
	with := func(change func(*sandbox.Pseudo)) sandbox.Pseudo {
		p := full
		change(&p)
		return p
	}
	for _, tt := range []struct {
		name, text string
		uid        uint32
		want       sandbox.Pseudo
	}{
		{"default", "", 1000, full},
		{"no dev", "root.dev = \"none\"", 1000, sandbox.Pseudo{PtyGID: -1, ProcMasked: full.ProcMasked, ProcReadOnly: full.ProcReadOnly}},
		{"processes only", "root.proc = \"pid\"", 1000, sandbox.Pseudo{Dev: true, Devices: devices, Shm: 64 << 20, Mqueue: true, PtyGID: -1}},
		{"the host's queues", "namespaces.ipc = \"host\"", 1000, with(func(p *sandbox.Pseudo) { p.Mqueue = false })},
		{"the group of terminals is mapped", "user.map = \"range\"", 1000, with(func(p *sandbox.Pseudo) { p.PtyGID = 5 })},
		{"own sys", "root.sys = \"ro\"", 1000, with(func(p *sandbox.Pseudo) { p.Sys = true })},
		{"the host's sys", "root.sys = \"ro\"\nnetwork.mode = \"host\"", 1000, full},
		{"run by root", "security.allow_root = true", 0, with(func(p *sandbox.Pseudo) {
			p.ProcMasked = append(slices.Clone(p.ProcMasked), "kcore", "timer_list", "sched_debug")
			p.ProcReadOnly = append(slices.Clone(p.ProcReadOnly), "sysrq-trigger", "irq", "bus", "fs")
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			in.Facts.UID = tt.uid
			p := planned(t, in)
			same(t, "pseudo", p.Pseudo, tt.want)
			bound := at(p, "/sys").Kind == sandbox.Bind && at(p, "/sys").ReadOnly
			same(t, "/sys bound", bound, tt.name == "the host's sys")
		})
	}
}

func TestHome(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       sandbox.Mount
		create     []string
	}{
		{"none", "home.mode = \"none\"", sandbox.Mount{}, nil},
		{"tmpfs", "home.size = \"8M\"", sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/home/dev", IsDir: true, Size: 8 << 20, Inodes: 2048, Mode: 0o700, Own: true, Direct: true, From: "home.mode", Why: "an empty home, gone afterwards"}, nil},
		{"small tmpfs", "home.size = \"4K\"", sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/home/dev", IsDir: true, Size: 4096, Inodes: 64, Mode: 0o700, Own: true, Direct: true, From: "home.mode", Why: "an empty home, gone afterwards"}, nil},
		{"persistent", "home.mode = \"persistent\"", sandbox.Mount{Kind: sandbox.Bind, Target: "/home/dev", Source: "/homes/x", IsDir: true, Private: true, Own: true, Direct: true, From: "home.mode", Why: "this sandbox's own home, kept"}, []string{"/homes/x"}},
		{"host", "home.mode = \"host\"", sandbox.Mount{Kind: sandbox.Bind, Target: "/home/dev", Source: "/home/dev", IsDir: true, ReadOnly: true, Own: true, Direct: true, From: "home.access", Why: "the host's home"}, nil},
		{"host, writable", "home.mode = \"host\"\nhome.access = \"rw\"", sandbox.Mount{Kind: sandbox.Bind, Target: "/home/dev", Source: "/home/dev", IsDir: true, Own: true, Direct: true, From: "home.access", Why: "the host's home"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			p := planned(t, in)
			same(t, "home", at(p, "/home/dev"), tt.want)
			same(t, "create", p.Create, tt.create)
		})
	}
	t.Run("/ is no home", func(t *testing.T) {
		in := input(t, "")
		in.Facts.Home = "/"
		same(t, "notes", notes(planned(t, in), "info"), []string{"home.mode: HOME is /, which is no home of its own; none is made"})
	})
	t.Run("no place to keep one", func(t *testing.T) {
		in := input(t, "home.mode = \"persistent\"")
		in.HomesDir = "sbx/homes"
		same(t, "errors", faults(t, in), []string{"home.mode: there is no place to keep a home; set HOME to your home directory"})
	})
}

func TestShareAndHide(t *testing.T) {
	const share = "home.share = [\"~/.gitconfig\", \"~/.none\"]\n"
	p := planned(t, input(t, share))
	same(t, "shared", at(p, "/home/dev/.gitconfig"), sandbox.Mount{Kind: sandbox.Bind, Target: "/home/dev/.gitconfig", Source: "/home/dev/.gitconfig", ReadOnly: true, Own: true, Direct: true, From: "home.share[0]"})
	same(t, "notes", notes(p, "info"), []string{"home.share[1]: /home/dev/.none is not there and was left out"})

	p = planned(t, input(t, "home.mode = \"host\"\nhome.hide = [\"~/.ssh\", \"~/.git*\", \"~/none\", \"~/link\", \"~/gone\"]", "/home/dev/.gitcookies *3\n/home/dev/gone -> nowhere\n/home/dev/link -> .ssh"))
	same(t, "targets in the host's home", slices.DeleteFunc(targets(p), func(s string) bool { return !within(s, "/home/dev") }),
		[]string{"/home/dev", "/home/dev/.gitconfig", "/home/dev/.gitcookies", "/home/dev/.ssh", "/home/dev/proj"})
	same(t, "a hidden directory", at(p, "/home/dev/.ssh"), sandbox.Mount{Kind: sandbox.Mask, Target: "/home/dev/.ssh", IsDir: true, From: "home.hide[3]"})
	same(t, "a hidden file", at(p, "/home/dev/.gitconfig"), sandbox.Mount{Kind: sandbox.Mask, Target: "/home/dev/.gitconfig", From: "home.hide[1]"})
	same(t, "warnings", notes(p, "warning"), []string{
		"home.hide[1]: /home/dev/.gitcookies is hidden, but the file has 3 names: it can be read by another of them that is granted",
	})

	p = planned(t, input(t, "workspace.hide = [\"**/.env\", \"s?b/*.key\"]", "/home/dev/proj/.env\n/home/dev/proj/sub/deep/.env/\n/home/dev/proj/sub/a.key\n/home/dev/proj/sub/l -> /etc"))
	same(t, "hidden in the workspace", slices.DeleteFunc(targets(p), func(s string) bool { return !within(s, "/home/dev/proj") }),
		[]string{"/home/dev/proj", "/home/dev/proj/.env", "/home/dev/proj/sub/a.key", "/home/dev/proj/sub/deep/.env", "/home/dev/proj/sub"})
}

func TestWorkspace(t *testing.T) {
	want := sandbox.Mount{Kind: sandbox.Bind, Target: "/home/dev/proj", Source: "/home/dev/proj", IsDir: true, Own: true, Direct: true, From: "workspace.access", Why: "the workspace"}
	same(t, "workspace", at(planned(t, input(t, "")), "/home/dev/proj"), want)
	want.ReadOnly = true
	same(t, "read-only", at(planned(t, input(t, "workspace.access = \"ro\"")), "/home/dev/proj"), want)
	same(t, "none", at(planned(t, input(t, "workspace.access = \"none\"")), "/home/dev/proj"), sandbox.Mount{})
	linked := planned(t, input(t, "workspace.path = \"/work\"", "/work -> /home/dev/proj"))
	same(t, "through a link", []sandbox.Mount{at(linked, "/work"), at(linked, "/home/dev/proj")}, []sandbox.Mount{{}, func() sandbox.Mount { want.ReadOnly = false; return want }()})

	const whole = ` holds your whole home directory; change to a project's directory, or set workspace.access = "none"`
	for _, tt := range []struct{ name, path, host, want string }{
		{"home", "/home/dev", "", "the workspace /home/dev" + whole},
		{"a link to home", "/w", "/w -> home/dev", "the workspace /home/dev" + whole},
		{"above home", "/home", "", "the workspace /home" + whole},
		{"root", "/", "", "the workspace /" + whole},
		{"sbx's own", "/state", "/state/", "the workspace /state lies in sbx's own directory /state; work on a copy elsewhere"},
		{"below sbx's own", "/state/homes", "/state/homes/", "the workspace /state/homes lies in sbx's own directory /state; work on a copy elsewhere"},
		{"missing", "/none", "", "using /none as workspace: open /none: no such file or directory; name an existing directory"},
		{"a file", "/etc/passwd", "", "using /etc/passwd as workspace: not a directory; name an existing directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, "", tt.host)
			in.StateDirs, in.Profile.Workspace.Path = []string{"/state"}, tt.path
			same(t, "errors", faults(t, in), []string{"workspace.path: " + tt.want})
		})
	}
}

func TestOrder(t *testing.T) {
	t.Run("parents first, trees together", func(t *testing.T) {
		got := planned(t, input(t, "root.source = \"empty\"\nhome.mode = \"none\"\nworkspace.access = \"none\"\n[mounts.\"/a/b\"]\ntype = \"tmpfs\"\n[mounts.\"/a-x\"]\ntype = \"tmpfs\"\n[mounts.\"/a\"]\ntype = \"tmpfs\"\n[mounts.\"/a/b/c\"]\ntype = \"tmpfs\""))
		same(t, "targets", targets(got), []string{"/a", "/a/b", "/a/b/c", "/a-x", "/run", "/run/user/1000", "/tmp"})
	})
	t.Run("the last of equal targets stays", func(t *testing.T) {
		p := planned(t, input(t, "[mounts.\"/home/dev/proj\"]\ntype = \"tmpfs\"\n[mounts.\"/tmp\"]\nsource = \"/srv\"", "/srv/"))
		same(t, "workspace", at(p, "/home/dev/proj").Kind, sandbox.Tmpfs)
		same(t, "tmp", at(p, "/tmp").Source, "/srv")
		same(t, "notes", slices.Contains(notes(p, "info"), "mounts./home/dev/proj: the workspace /home/dev/proj is replaced by a mount of the same target"), true)
	})
	t.Run("/var/tmp gives way", func(t *testing.T) {
		p := planned(t, input(t, "[mounts.\"/var/tmp/x\"]\ntype = \"tmpfs\""))
		same(t, "link", at(p, "/var/tmp"), sandbox.Mount{})
	})
	same(t, "type bits", uint32(unix.S_IFMT), host.Entry{Mode: 1<<32 - 1}.Type())
}
