package resolve

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/landlock"
)

const fallback = "security.fallback = \"landlock\"\n"

// refuses makes the host one that refuses user namespaces.
func refuses(in *Input) {
	in.Facts.Refused = host.Refusal{Why: "the test's", Fix: "ask the test"}
	in.PrivateDir = "/run/user/1000/sbx-private-1"
}

// bareInput is input on such a host.
func bareInput(t testing.TB, text string, files ...string) Input {
	t.Helper()
	in := input(t, text, files...)
	refuses(&in)
	return in
}

func TestBareRules(t *testing.T) {
	const (
		rw   = ": read, execute, write, make and remove"
		rx   = ": read, execute"
		none = fallback + "root.source = \"empty\"\nhome.mode = \"none\"\nworkspace.access = \"none\"\nroot.dev = \"none\"\nroot.proc = \"none\"\n"
	)
	dev := func(name string) string { return "/dev/" + name + ": read, write, ioctl on devices" }
	private := "/run/user/1000/sbx-private-1" + rw
	for _, tt := range []struct {
		name, text, host string
		change           func(*Input)
		want             []string // the rules
		lost             []string // each in some note
	}{
		{name: "nothing but a private directory", text: none, want: []string{private}},
		{
			name: "build", text: "extends = [\"builtin:build\"]\n" + fallback,
			want: []string{
				"/etc/group: read", "/etc/hosts: read", "/etc/nsswitch.conf" + rx, "/etc/passwd: read", "/etc/ssl" + rx, "/home/dev/proj" + rw, "/usr" + rx,
				dev("full"), dev("null"), dev("random"), dev("tty"), dev("urandom"), dev("zero"), "/proc: read", private,
			},
			lost: []string{"/etc/passwd with no more", "terminals that it opens", "a /proc of its own", "a loopback", "inotify"},
		},
		{
			name: "what is read-only in the workspace", text: fallback + "root.source = \"empty\"\nworkspace.protect = [\".envrc\"]\nroot.dev = \"none\"\nroot.proc = \"none\"",
			host: "/home/dev/proj/.git/config\n/home/dev/proj/.envrc",
			want: []string{"/home/dev/proj" + rw, private},
			lost: []string{"what is read-only in /home/dev/proj can be written: /home/dev/proj/.envrc, /home/dev/proj/.git"},
		},
		{
			name: "what is hidden in a home that is read", text: none + "", host: "/home/dev/.config/app/rc\n/home/dev/.config/gh/hosts.yml\n/home/dev/.link -> .config\n/home/dev/.sock s",
			change: func(in *Input) {
				in.Profile.Home.Mode, in.Profile.Home.Hide = "host", []string{"/home/dev/.ssh", "/home/dev/.config/gh/hosts.yml"}
			},
			want: []string{"/home/dev/.config/app" + rx, "/home/dev/.gitconfig" + rx, "/home/dev/proj" + rx, private},
			lost: []string{"/home/dev itself can't be listed"},
		},
		{
			name: "a workspace in it is still written", text: fallback + "root.source = \"empty\"\nroot.dev = \"none\"\nroot.proc = \"none\"\nhome.mode = \"host\"\nhome.hide = [\"~/.ssh\"]",
			want: []string{"/home/dev/.gitconfig" + rx, "/home/dev/proj" + rx, "/home/dev/proj" + rw, private},
		},
		{
			name: "the host's tree in place", text: fallback + "root.source = \"/\"\nhome.mode = \"none\"\nworkspace.access = \"none\"\nroot.dev = \"none\"\nroot.proc = \"none\"",
			want: []string{"/etc" + rx, "/run" + rx, "/usr" + rx, private},
			lost: []string{"/ itself can't be listed"},
		},
		{
			name: "binds", text: none + "[mounts.\"/usr\"]\n[mounts.\"/elsewhere\"]\nsource = \"/usr/bin\"\n[mounts.\"/etc/localtime\"]\nsource = \"/usr/share/zoneinfo/UTC\"\n" +
				"[mounts.\"/tmp\"]\naccess = \"rw\"\nexec = false\n[mounts.\"/x\"]\ntype = \"tmpfs\"\n[mounts.\"/f\"]\ntype = \"file\"\ncontent = \"x\"",
			want: []string{"/usr/share/zoneinfo/UTC" + rx, "/tmp: read, write, make and remove", "/usr" + rx, private},
			lost: []string{"/usr/bin can't be shown at another place, /elsewhere", "/x: nothing can be put", "/f: nothing can be put"},
		},
		{
			name: "a socket", text: none + "[mounts.\"/tmp/s\"]\n", host: "/tmp/s s",
			want: []string{private}, lost: []string{"/tmp/s is a socket"},
		},
		{
			name: "a socket that can be judged", text: none + "[mounts.\"/tmp/s\"]\n", host: "/tmp/s s",
			change: func(in *Input) { in.Facts.Landlock = landlock.ABIUnix },
			want:   []string{"/tmp/s: read, execute, connect to the socket", private},
		},
		{
			name: "a home that is kept", text: none, change: func(in *Input) {
				in.Profile.Home.Mode, in.Profile.Home.Access, in.Profile.Name = "persistent", "rw", "p"
			},
			want: []string{"/homes/p" + rw, private},
		},
		{
			name: "refused calls", text: none + "security.trace_denied = true", want: []string{private},
			lost: []string{"lost without namespaces: that refused system calls are reported"},
		},
		{
			name: "streams", text: none, change: func(in *Input) { in.Facts.Stdio[0] = host.Stdio{File: true, Read: true} },
			want: []string{private, "fd 0: read"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := bareInput(t, tt.text, tt.host)
			if tt.change != nil {
				tt.change(&in)
			}
			p := planned(t, in)
			same(t, "rules", ruleTexts(p), tt.want)
			for _, lost := range tt.lost {
				if !slices.ContainsFunc(p.Notes, func(n sandbox.Note) bool { return strings.Contains(n.Text, lost) }) {
					t.Errorf("no note says %q: %v", lost, notes(p, "info"))
				}
			}
			if len(p.Mounts) > 0 || p.Security.Landlock.Net == 0 || !p.Security.Landlock.Scoped || len(p.Bare.Filter) == 0 {
				t.Errorf("the plan %+v", p.Security.Landlock)
			}
		})
	}
}

// TestBareRefused are profiles that can't be had without namespaces.
func TestBareRefused(t *testing.T) {
	for _, tt := range []struct {
		text, host string
		change     func(*Input)
		want       string // in the first fault
	}{
		{text: "", want: `security.fallback: this host refuses user namespaces: the test's; ask the test; or set security.fallback = "landlock"`},
		{text: fallback, change: func(in *Input) { in.Facts.UID = 0 }, want: "root is not held"},
		{text: fallback, change: func(in *Input) { in.Facts.Landlock = 5 }, want: "takes Landlock's ABI 6 (Linux 6.12), this kernel has ABI 5"},
		{text: fallback, change: func(in *Input) { in.Facts.Landlock = 0 }, want: "this kernel has none"},
		{text: fallback, change: func(in *Input) { in.Facts.NoFilters = unix.EINVAL }, want: "system call filters"},
		{text: fallback + "security.landlock = \"off\"", want: `security.landlock = "off"`},
		{text: fallback + "root.source = \"/usr\"", want: "a directory can't be the root"},
		{text: fallback + "workspace.access = \"overlay\"", want: "changes can't be kept apart"},
		{text: fallback + "root.source = \"/\"\nroot.read_only = false", want: "a writable root"},
		{text: fallback + "workspace.hide = [\"x.toml\"]", want: "workspace.hide[0]: /home/dev/proj/x.toml can't be kept"},
		{text: fallback + "[mounts.\"/home/dev/proj/sub\"]", want: "mounts./home/dev/proj/sub: /home/dev/proj/sub can't be kept"},
		{text: fallback + "[mounts.\"/home/dev/proj/sub\"]\ntype = \"tmpfs\"", want: "mounts./home/dev/proj/sub: /home/dev/proj/sub can't be kept"},
		{
			text: fallback + "[mounts.\"/home/dev/cfg\"]\naccess = \"rw\"", host: "/home/dev/cfg/sbx/ @1000",
			change: func(in *Input) { in.StateDirs = []string{"/home/dev/cfg/sbx"} }, want: "/home/dev/cfg/sbx can't be kept",
		},
		{text: fallback + "policy.require = [\"all\"]", want: "policy.require[0]: user is required"},
		{text: fallback + "policy.require = [\"ipc\"]", want: "policy.require[0]: ipc is required and is degraded"},
	} {
		in := bareInput(t, tt.text, tt.host)
		if tt.change != nil {
			tt.change(&in)
		}
		got := faults(t, in)
		if len(got) == 0 || !slices.ContainsFunc(got, func(f string) bool { return strings.Contains(f, tt.want) }) {
			t.Errorf("%q: faults %q, want %q", tt.text, got, tt.want)
		}
		in.Facts.Refused = host.Refusal{}
		if strings.Contains(tt.text, "require") || tt.text == "" { // control: with namespaces it is no matter
			if got := faults(t, in); len(got) > 0 {
				t.Errorf("control: %q with namespaces: %q", tt.text, got)
			}
		}
	}
}

// TestBareKeys: without namespaces the user's keyrings are the host's, so none is
// reached whatever the policy allows.
func TestBareKeys(t *testing.T) {
	for _, text := range []string{"", "security.seccomp = \"unconfined\"", "security.seccomp_allow = [\"keyctl\"]"} {
		p := planned(t, bareInput(t, fallback+text))
		if state, _ := feature(p, "keyring"); state != "enforced" {
			t.Errorf("%q: keyring is %s", text, state)
		}
		said := slices.ContainsFunc(p.Notes, func(n sandbox.Note) bool { return strings.Contains(n.Text, "keyrings of its own") })
		if said != (text != "") {
			t.Errorf("%q: what is lost is said: %v", text, said)
		}
		if state, _ := feature(planned(t, input(t, text)), "keyring"); (state == "enforced") != (text == "") {
			t.Errorf("control: %q with namespaces: keyring is %s", text, state)
		}
	}
}

// TestBareHome: what leads into the home leads to what stands in for it, but for
// what the profile shows.
func TestBareHome(t *testing.T) {
	in := bareInput(t, fallback+"[mounts.\"~/go\"]\n[mounts.\"/home/dev/in/deep\"]\nsource = \"/usr/lib\"\n[environment.set]\nCACHE = \"${HOME}/.cache\"\nMODULES = \"${HOME}/go/pkg\"\nMANY = \"/usr/bin:${HOME}/bin:${HOME}/go/bin\"\nNONE = \"x/home/dev\"", "/home/dev/go/pkg/")
	p := planned(t, in)
	const private = "/run/user/1000/sbx-private-1"
	const home = private + "/home"
	for name, want := range map[string]string{
		"HOME": home, "TMPDIR": private + "/tmp", "XDG_RUNTIME_DIR": private + "/run", "CACHE": home + "/.cache",
		"MODULES": "/home/dev/go/pkg", "MANY": "/usr/bin:" + home + "/bin:/home/dev/go/bin", "NONE": "x/home/dev", "GIT_CONFIG_NOSYSTEM": "1",
	} {
		if got, _ := lookup(p.Process.Env, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	same(t, "directories", p.Bare.Dirs, []string{"home", "tmp", "run", "home/in"})
	same(t, "links", p.Bare.Links, []sandbox.BareLink{{Path: "home/go", To: "/home/dev/go"}, {Path: "home/in/deep", To: "/usr/lib"}, {Path: "home/proj", To: "/home/dev/proj"}})
	same(t, "directory", p.Process.Dir, "/home/dev/proj")

	in = bareInput(t, fallback+"workspace.access = \"none\"")
	in.Facts.Cwd = "/home/dev"
	same(t, "directory without a workspace", planned(t, in).Process.Dir, private+"/home")
}
