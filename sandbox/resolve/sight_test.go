package resolve

import (
	"slices"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
)

func TestSee(t *testing.T) {
	p := &sandbox.Plan{Proc: sandbox.ProcNew, Pseudo: sandbox.Pseudo{Dev: true, Devices: []string{"null"}, Shm: 1, ProcMasked: []string{"keys"}, ProcReadOnly: []string{"sys"}}, Root: sandbox.Root{From: "root.source"}, Mounts: []sandbox.Mount{
		{Kind: sandbox.Bind, Source: "/usr", Target: "/usr", IsDir: true, ReadOnly: true, From: "root.source"},
		{Kind: sandbox.Symlink, Source: "usr/bin", Target: "/bin", From: "root.source"},
		{Kind: sandbox.File, Target: "/etc/hosts", Why: "names without a name server"},
		{Kind: sandbox.Tmpfs, Target: "/home/u", IsDir: true, From: "home.mode", Why: "an empty home"},
		{Kind: sandbox.Bind, Source: "/home/u/.gitconfig", Target: "/home/u/.gitconfig", ReadOnly: true, From: "home.share[0]"},
		{Kind: sandbox.Bind, Source: "/home/u/p", Target: "/home/u/p", IsDir: true, From: "workspace.access"},
		{Kind: sandbox.Bind, Source: "/home/u/q/r", Target: "/home/u/q/r", IsDir: true, From: "mounts./home/u/q/r"},
		{Kind: sandbox.Guard, Source: "/home/u/p/.git", Target: "/home/u/p/.git", IsDir: true, ReadOnly: true, From: "workspace.git"},
		{Kind: sandbox.Guard, Source: "/home/u/p/.envrc", Target: "/home/u/p/.envrc", ReadOnly: true, From: "workspace.protect[3]"},
		{Kind: sandbox.Mask, Target: "/home/u/p/.env", From: "workspace.hide[0]"},
		{Kind: sandbox.Bind, Source: "/vols/cache", Target: "/home/u/.cache", IsDir: true, Private: true, From: "mounts./home/u/.cache", Why: "the volume cache"},
		{Kind: sandbox.Bind, Source: "/srv/x", Target: "/data", IsDir: true, ReadOnly: true, From: "mounts./data"},
		{Kind: sandbox.Layers, Source: "/srv/none", Lower: []string{"/srv/x"}, Target: "/stack", IsDir: true, Upper: "upper", From: "mounts./stack"},
	}}
	host := []string{"/usr/bin/cc", "/usr", "/etc/shadow", "/home/u/.ssh/id", "/home/u/.gitconfig", "/home/u/p/f", "/home/u/p/.git/config", "/home/u/p/.git/index", "/home/u/p/.git/hooks", "/home/u/p/.envrc", "/home/u/p/.env", "/home/u/.cache/theirs", "/srv/x/f", "/", "/root", "/home", "/dev/fuse", "/dev/null", "/sys/x", "/proc/keys"}
	exists := func(at string) bool { return slices.Contains(host, at) }
	for _, tt := range []struct {
		path        string
		state       State
		from        string
		show, write string
	}{
		{"/usr/bin/cc", ReadOnly, "root.source", "", ""},
		{"/usr/bin/nothing", Absent, "root.source", "", ""},
		{"/bin", Own, "root.source", "", ""},
		{"/bin/cc", ReadOnly, "root.source", "", ""},
		{"/bin/nothing", Absent, "root.source", "", ""},
		{"/", Own, "root.source", "", ""},
		{"/home", Own, "root.source", "", ""},
		{"/root", Hidden, "root.source", `mounts."/root" = {}`, ""},
		{"/dev", Own, "root.dev", "", ""},
		{"/dev/null", Own, "root.dev", "", ""},
		{"/dev/pts/0", Own, "root.dev", "", ""},
		{"/dev/shm/x", Own, "root.shm", "", ""},
		{"/dev/mqueue", Absent, "root.dev", "", ""},
		{"/dev/fuse", Hidden, "root.dev", `mounts."/dev/fuse" = { access = "rw", dev = true }`, ""},
		{"/proc", Own, "root.proc", "", ""},
		{"/proc/self/maps", Own, "root.proc", "", ""},
		{"/proc/sys/kernel", ReadOnly, "root.proc", "", ""},
		{"/proc/keys", Hidden, "root.proc", "", ""},
		{"/sys/x", Hidden, "root.sys", `root.sys = "ro"`, ""},
		{"/etc/hosts", Own, "", "", ""},
		{"/etc/shadow", Hidden, "root.source", `mounts."/etc/shadow" = {}`, ""},
		{"/etc/nothing", Absent, "root.source", "", ""},
		{"/home/u", Own, "home.mode", "", ""},
		{"/home/u/.ssh/id", Hidden, "home.mode", `home.share = [".ssh/id"]`, ""},
		{"/home/u/q", Own, "home.mode", "", ""},
		{"/home/u/.ssh/nothing", Absent, "home.mode", "", ""},
		{"/home/u/.gitconfig", ReadOnly, "home.share[0]", "", `mounts."/home/u/.gitconfig" = { access = "rw" }`},
		{"/home/u/p/f", Writable, "workspace.access", "", ""},
		{"/home/u/p/.git/config", ReadOnly, "workspace.git", "", `workspace.git = "rw"`},
		{"/home/u/p/.git/index", ReadOnly, "workspace.git", "", `workspace.git = "guard"`},
		{"/home/u/p/.envrc", ReadOnly, "workspace.protect[3]", "", `workspace.unprotect = [".envrc"]`},
		{"/home/u/p/.env", Hidden, "workspace.hide[0]", "", ""},
		{"/home/u/.cache/theirs", Hidden, "mounts./home/u/.cache", "", ""},
		{"/home/u/.cache/other", Own, "mounts./home/u/.cache", "", ""},
		{"/stack/f", Writable, "mounts./stack", "", ""},
		{"/stack/nothing", Absent, "mounts./stack", "", ""},
		{"/data/f", ReadOnly, "mounts./data", "", `mounts."/data".access = "rw"`},
	} {
		got := See(p, tt.path, exists)
		if got.State != tt.state || got.From != tt.from || got.Show != tt.show || got.Write != tt.write || got.Why == "" {
			t.Errorf("%s: %+v, want %+v", tt.path, got, tt)
		}
	}
	guarded := &sandbox.Plan{Mounts: []sandbox.Mount{
		{Kind: sandbox.Guard, Source: "/home/u/p/.git", Target: "/home/u/p/.git", IsDir: true, From: "workspace.git"},
		{Kind: sandbox.Guard, Source: "/home/u/p/.git/hooks", Target: "/home/u/p/.git/hooks", IsDir: true, ReadOnly: true, From: "workspace.git"},
	}}
	if got := See(guarded, "/home/u/p/.git/hooks", exists); got.Write != `workspace.git = "rw"` {
		t.Errorf("guarded: %+v", got)
	}
	p.Proc = sandbox.ProcPid
	if got := See(p, "/proc/keys", exists); got.State != Hidden || got.Show != `root.proc = "new"` {
		t.Errorf("processes only: %+v", got)
	}
	p = &sandbox.Plan{Root: sandbox.Root{InPlace: true, ReadOnly: true, From: "root.source"}}
	if got := See(p, "/etc/shadow", exists); got.State != ReadOnly || got.Write != `mounts."/etc/shadow" = "/etc/shadow:rw"` {
		t.Errorf("in place: %+v", got)
	}
}

func TestAsk(t *testing.T) {
	in := input(t, "network.mode = \"user\"\nnetwork.allow = [\"ok.example:443\"]\nnetwork.deny = [\"no.example\"]")
	user := planned(t, in)
	none, host := planned(t, input(t, "")), planned(t, input(t, "network.mode = \"host\""))
	for _, tt := range []struct {
		plan    *sandbox.Plan
		target  string
		allowed bool
		from    string
		add     string
	}{
		{none, "a.example", false, "network.mode", `network = { mode = "user", allow = ["a.example:443"] }`},
		{host, "a.example:80", true, "network.mode", ""},
		{user, "ok.example", true, "network.allow[0]", ""},
		{user, "ok.example:80", false, "network.allow", `network.allow = ["ok.example:80"]`},
		{user, "no.example", false, "network.deny[0]", ""},
	} {
		got, err := Ask(tt.plan, tt.target)
		if err != nil || got.Allowed != tt.allowed || got.From != tt.from || got.Add != tt.add || got.Why == "" && !got.Allowed {
			t.Errorf("%s: %+v, %v, want %+v", tt.target, got, err, tt)
		}
	}
	for _, bad := range []string{"", ":80", "a:b", "a.example:99999", "a b", "::1"} {
		if got, err := Ask(user, bad); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}
