package sandbox_test

import (
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/landlock"
	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/userns"
)

// valid is a small plan with nothing wrong in it.
func valid() sandbox.Plan {
	return sandbox.Plan{
		Version: sandbox.PlanVersion,
		Name:    "box",
		IDs: sandbox.IDs{
			Mode: "single", UID: 1000, GID: 100,
			OuterUIDs: userns.Self(1000, 1000), InnerUIDs: userns.Self(1000, 1000),
			OuterGIDs: userns.Self(100, 100), InnerGIDs: userns.Self(100, 100),
		},
		Namespaces: sandbox.Namespaces{UTS: true, Net: true},
		Network:    sandbox.NetNone,
		Hostname:   "box",
		Proc:       sandbox.ProcNew,
		Root:       sandbox.Root{ReadOnly: true, Size: 1 << 20, Inodes: 64},
		Mounts: []sandbox.Mount{
			{Kind: sandbox.Tmpfs, Target: "/etc", IsDir: true, Size: 4096, Inodes: 64, ReadOnly: true},
			{Kind: sandbox.Bind, Target: "/etc/ssl", Source: "/etc/ssl", IsDir: true, Sealed: true},
			{Kind: sandbox.File, Target: "/etc/hosts", Content: "::1\x00\n"},
			{Kind: sandbox.Symlink, Target: "/lib", Source: "usr/lib"},
			{Kind: sandbox.Bind, Target: "/proj", Source: "/srv/proj", IsDir: true},
			{Kind: sandbox.Mask, Target: "/proj/.env"},
			{Kind: sandbox.Dir, Target: "/run", IsDir: true},
			{Kind: sandbox.Guard, Target: "/proj/.sbx.toml", Source: "/srv/proj/.sbx.toml"},
			{Kind: sandbox.Guard, Target: "/proj", Source: "/srv/proj"},
			{Kind: sandbox.File, Target: "/proj/.env"},
		},
		Pseudo: sandbox.Pseudo{Dev: true, Devices: []string{"null"}, Shm: 4096, PtyGID: -1, ProcMasked: []string{"keys", "sys/kernel"}},
		Limits: []sandbox.Limit{{Name: "core", Resource: 4, Soft: 1, Hard: 1}},
		UCounts: []sandbox.UCount{
			{Name: "max_user_namespaces", Value: 0},
		},
		Process: sandbox.Process{
			Argv: []string{"true", ""}, Env: []string{"A=", "B==x"}, Lookup: []string{"/bin"}, Dir: "/",
			Terminal: [3]bool{true}, Pipe: [3]bool{false, true},
		},
		Audit: sandbox.Audit{Mode: sandbox.AuditReport, Trees: []sandbox.AuditTree{{Source: "/w", IsDir: true}}},
		Security: sandbox.Security{Keep: []sandbox.Capability{0, 63}, Seccomp: sandbox.Seccomp{Policy: "build"}, Landlock: sandbox.Landlock{
			Handled: landlock.Files(2), Rules: []sandbox.LandlockRule{{Path: "/", Allow: landlock.Read}, {FD: 2, Allow: landlock.WriteFile}},
		}},
	}
}

type fault struct {
	name   string
	change func(*sandbox.Plan)
	want   string
}

func checkFaults(t *testing.T, faults []fault) {
	t.Helper()
	for _, tt := range faults {
		t.Run(tt.name, func(t *testing.T) {
			p := valid()
			tt.change(&p)
			got := ""
			if err := p.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("Validate() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	type plan = *sandbox.Plan
	checkFaults(t, []fault{
		{"valid", func(plan) {}, ""},
		{"version", func(p plan) { p.Version = 2 }, "version 2 of a plan, this sbx knows 1"},
		{"the host's own name may be anything", func(p plan) { p.Namespaces.UTS, p.Hostname = false, "(none)" }, ""},
		{"no host name", func(p plan) { p.Hostname = "" }, `the host name "" is not 1 to 64 letters, digits, hyphens and dots`},
		{"64 bytes of host name", func(p plan) { p.Hostname = strings.Repeat("h", 64) }, ""},
		{"long host name", func(p plan) { p.Hostname = strings.Repeat("h", 65) }, `the host name "` + strings.Repeat("h", 65) + `" is not 1 to 64 letters, digits, hyphens and dots`},
		{"host name with a newline", func(p plan) { p.Hostname = "a\nb" }, `the host name "a\nb" is not 1 to 64 letters, digits, hyphens and dots`},
		{"network", func(p plan) { p.Network = "bridge" }, `network "bridge" with an own network namespace: true`},
		{"network without a program", func(p plan) {
			p.Network, p.Net = sandbox.NetUser, sandbox.Net{Backend: "none", Config: slirp.Config{Protocol: slirp.Protocol, IPv4: slirp.Default4}}
		}, "program of the network \"\" is not an absolute, clean path\nthe network's backend \"none\""},
		{"network without addresses", func(p plan) {
			p.Network, p.Net = sandbox.NetUser, sandbox.Net{Backend: sandbox.BackendEngine, Helper: "/x", Config: slirp.Config{Protocol: slirp.Protocol}}
		}, "the network: a network needs an IPv4 or an IPv6 address"},
		{"a program for no network", func(p plan) { p.Net.Backend = sandbox.BackendEngine }, `network "none" with the backend engine`},
		{"network and namespace differ", func(p plan) { p.Network = sandbox.NetHost }, `network "host" with an own network namespace: true`},
		{"proc", func(p plan) { p.Proc = "all" }, `/proc of mode "all"`},
		{"root without size", func(p plan) { p.Root.Size = 0 }, "the root has 0 bytes and 64 inodes"},
		{"the host's root has no size", func(p plan) { p.Root = sandbox.Root{InPlace: true} }, ""},
		{"relative directory to make", func(p plan) { p.Create = []string{"x"} }, `directory to make "x" is not an absolute, clean path`},
		{"device with a slash", func(p plan) { p.Pseudo.Devices = []string{"a/b", ".."} }, "device \"a/b\" is not a name\ndevice \"..\" is not a name"},
		{"no shm", func(p plan) { p.Pseudo.Shm = -1 }, "/dev/shm of -1 bytes"},
		{"file of proc", func(p plan) { p.Pseudo.ProcMasked = []string{"../etc"} }, `the file "../etc" of /proc`},
		{"soft above hard", func(p plan) { p.Limits[0].Soft = 2 }, "limit core: soft 2 is above hard 1"},
		{"resource", func(p plan) { p.Limits[0].Resource = 16 }, "limit core: resource 16"},
		{"user limit", func(p plan) { p.UCounts[0] = sandbox.UCount{Name: "../x", Value: -1} }, "user limit \"../x\" is not a name\nuser limit ../x: -1"},
		{"no command", func(p plan) { p.Process.Argv = nil }, "there is no command"},
		{"empty command", func(p plan) { p.Process.Argv[0] = "" }, "there is no command"},
		{"NUL in an argument", func(p plan) { p.Process.Argv[1] = "a\x00b" }, `argument 1 "a\x00b" holds a NUL byte`},
		{"NUL in a variable", func(p plan) { p.Process.Env[0] = "A=\x00" }, `the variable "A=\x00" is not NAME=value`},
		{"variable without value", func(p plan) { p.Process.Env[0] = "A" }, `the variable "A" is not NAME=value`},
		{"variable without name", func(p plan) { p.Process.Env[0] = "=A" }, `the variable "=A" is not NAME=value`},
		{"variable twice", func(p plan) { p.Process.Env[1] = "A=2" }, "the variable A is there twice"},
		{"relative look-up", func(p plan) { p.Process.Lookup = []string{"/bin", "", "bin"} }, "the command would be looked up in \"\"\nthe command would be looked up in \"bin\""},
		{"relative directory", func(p plan) { p.Process.Dir = "." }, `working directory "." is not an absolute, clean path`},
		{"NUL in a directory", func(p plan) { p.Process.Dir = "/a\x00" }, `working directory "/a\x00" is not an absolute, clean path`},
		{"terminal and pipe", func(p plan) { p.Process.Pipe[0] = true }, "descriptor 0 is a terminal and a pipe"},
		{"terminal without dev", func(p plan) { p.Pseudo = sandbox.Pseudo{} }, "a terminal without /dev"},
		{"audit's mode", func(p plan) { p.Audit.Mode = "" }, `an audit of mode ""`},
		{"audit's tree", func(p plan) { p.Audit.Trees[0].Source = "w" }, `tree to audit "w" is not an absolute, clean path`},
		{"no policy", func(p plan) { p.Security.Seccomp.Policy = "" }, "no policy of system calls"},
		{"half an instruction", func(p plan) { p.Security.Seccomp.Code = make([]byte, 12) }, "a system call filter of 12 bytes"},
		{"too many instructions", func(p plan) {
			p.Security.Seccomp.Code, p.Security.Seccomp.First = make([]byte, 8*4097), make([]byte, 8*4096)
		}, "a system call filter of 32776 bytes"},
		{"a file without its filter", func(p plan) { p.Security.Seccomp.Policy = "/p.json" }, "the system call policy /p.json, changed, without the filter"},
		{"edits without their filter", func(p plan) { p.Security.Seccomp.Deny = []string{"bpf"} }, "the system call policy build, changed, without the filter"},
		{"a filter for PID 1 only", func(p plan) { p.Security.Seccomp.First = make([]byte, 8) }, "a system call filter for PID 1 and none for the command"},
		{"Landlock's rules", func(p plan) {
			p.Security.Landlock.Rules = []sandbox.LandlockRule{{Path: "etc", Allow: landlock.Read}, {FD: 3, Allow: landlock.Read}, {Path: "/"}, {Path: "/", Allow: landlock.Truncate}}
		}, "place of a Landlock rule \"etc\" is not an absolute, clean path\na Landlock rule for descriptor 3\n" +
			"a Landlock rule that allows \"\" of \"" + landlock.Files(2).String() + "\"\na Landlock rule that allows \"truncate\" of \"" + landlock.Files(2).String() + "\""},
		{"capabilities", func(p plan) { p.Security.Keep = []sandbox.Capability{-1, 64, 5} }, "capability -1\ncapability 64"},
		{"all at once", func(p plan) {
			p.Version, p.Hostname, p.Process.Argv, p.Security.Keep = 0, "", nil, []sandbox.Capability{99}
		}, "version 0 of a plan, this sbx knows 1\nthe host name \"\" is not 1 to 64 letters, digits, hyphens and dots\nthere is no command\ncapability 99"},
	})
}

func TestValidateIDs(t *testing.T) {
	type ids = *sandbox.IDs
	with := func(change func(ids)) func(*sandbox.Plan) {
		return func(p *sandbox.Plan) { change(&p.IDs) }
	}
	ranged := func(i ids) {
		i.Mode, i.NewUIDMap, i.NewGIDMap = "range", "/usr/bin/newuidmap", "/usr/bin/newgidmap"
		i.OuterUIDs = userns.Keep(1000, userns.Range{Start: 100000, Count: 65536})
		i.InnerUIDs = i.OuterUIDs.Identity()
	}
	checkFaults(t, []fault{
		{"range", with(ranged), ""},
		{"fake root", with(func(i ids) { i.UID, i.InnerUIDs = 0, userns.Self(0, 1000) }), ""},
		{"mode", with(func(i ids) { i.Mode = "auto" }), `ids of mode "auto"`},
		{"single with a range", with(func(i ids) { ranged(i); i.Mode = "single" }), "ids of mode single with more than one line"},
		{"no helpers", with(func(i ids) { ranged(i); i.NewUIDMap, i.NewGIDMap = "", "newgidmap" }),
			"newuidmap \"\" is not an absolute, clean path\nnewgidmap \"newgidmap\" is not an absolute, clean path"},
		{"no map", with(func(i ids) { i.OuterUIDs = nil }), "uid map: the id map is empty"},
		{"overflow", with(func(i ids) { i.InnerGIDs = userns.Self(1<<32-1, 100) }), "gid map: 4294967295:100:1 goes beyond the last id 4294967294"},
		{"the command's uid is left out", with(func(i ids) { i.UID = 0 }), "the inner uid map leaves out the command's id 0"},
		{"the command's gid is left out", with(func(i ids) { i.GID = 101 }), "the inner gid map leaves out the command's id 101"},
		{"inner ids that the outer map lacks", with(func(i ids) { i.InnerGIDs = userns.Self(100, 5) }),
			"the inner gid map's line 100:5:1 lies in no line of the outer map"},
		{"an inner line over two outer ones", with(func(i ids) { ranged(i); i.InnerUIDs = userns.Map{{Inside: 0, Outside: 0, Count: 65537}} }),
			"the inner uid map's line 0:0:65537 lies in no line of the outer map"},
	})
}

func TestValidateMounts(t *testing.T) {
	add := func(ms ...sandbox.Mount) func(*sandbox.Plan) {
		return func(p *sandbox.Plan) { p.Mounts = append(p.Mounts, ms...) }
	}
	bind := func(target string) sandbox.Mount {
		return sandbox.Mount{Kind: sandbox.Bind, Target: target, Source: "/srv"}
	}
	checkFaults(t, []fault{
		{"relative target", add(bind("srv")), `mount srv: target "srv" is not an absolute, clean path`},
		{"target that is not clean", add(bind("/srv/../x")), `mount /srv/../x: target "/srv/../x" is not an absolute, clean path`},
		{"target with a NUL", add(bind("/a\x00b")), "mount /a\x00b: target \"/a\\x00b\" is not an absolute, clean path"},
		{"the root", add(bind("/")), "mount /: it would cover the root"},
		{"relative source", add(sandbox.Mount{Kind: sandbox.Guard, Target: "/g", Source: "g"}), `mount /g: source "g" is not an absolute, clean path`},
		{"kind", add(sandbox.Mount{Target: "/g"}), `mount /g: kind ""`},
		{"tmpfs without size", add(sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/t"}), "mount /t: a tmpfs of 0 bytes and 0 inodes"},
		{"link to nothing", add(sandbox.Mount{Kind: sandbox.Symlink, Target: "/l"}), `mount /l: a link to ""`},
		{"content of a bind", add(sandbox.Mount{Kind: sandbox.Bind, Target: "/b", Source: "/b", Content: "x"}), "mount /b: a bind with content"},
		{"child before parent", add(bind("/srv/a/b"), bind("/srv")), "mount /srv: it comes after what lies below it"},
		{"a name's beginning is no parent", add(bind("/srv-a"), bind("/srv")), ""},
		{"guard after what lies below", add(bind("/srv/a"), sandbox.Mount{Kind: sandbox.Guard, Target: "/srv", Source: "/srv"}), ""},
		{"twice", add(bind("/srv"), bind("/srv")), "mount /srv: a second mount of this target"},
		{"tmpfs over a file", add(sandbox.Mount{Kind: sandbox.File, Target: "/f"}, bind("/f")), "mount /f: a second mount of this target"},
		{"below a link", add(bind("/lib/a")), "mount /lib/a: it lies below the link /lib"},
		{"far below a link", add(bind("/lib/a/b")), "mount /lib/a/b: it lies below the link /lib"},
		{"sealed in the open", add(sandbox.Mount{Kind: sandbox.Bind, Target: "/s", Source: "/s", Sealed: true}), "mount /s: sealed, but below no read-only tmpfs"},
	})
}
