package profiles

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// keys are the keys of grants, in order.
func keys(grants []Grant) []string {
	var list []string
	for _, g := range grants {
		list = append(list, g.Key)
	}
	return list
}

// widenings has, for each key that can grant something, a narrow text, a wide
// one, and the key that is then named.
var widenings = []struct{ row, narrow, wide, key string }{
	{"name", "name = \"a\"\nhome.mode = \"persistent\"", "name = \"b\"\nhome.mode = \"persistent\"", "name"},
	{"process.nice", "process.nice = 5", "", "process.nice"},
	{"process.oom_score_adj", "process.oom_score_adj = 5", "process.oom_score_adj = 4", "process.oom_score_adj"},
	{"process.timeout", `process.timeout = "1m"`, "", "process.timeout"},
	{"process.timeout", `process.timeout = "1m"`, `process.timeout = "2m"`, "process.timeout"},
	{"process.stop_timeout", "", `process.stop_timeout = "1h"`, "process.stop_timeout"},
	{"workspace.exclusive", "workspace.exclusive = true", "", "workspace.exclusive"},
	{"process.listen_fds", "", "process.listen_fds = true", "process.listen_fds"},
	{"process.secrets", `secrets.a = "env:A"`, "secrets.a = \"env:A\"\nprocess.secrets = [\"a\"]", "process.secrets[0]"},
	{"process.secrets", `secrets.a = "file:/a"`, "secrets.a = \"file:/b\"\nprocess.secrets = [\"a:X\"]", "process.secrets[0]"},
	{"user.as", "", `user.as = "root"`, "user.as"},
	{"user.map", `user.map = "single"`, `user.map = "range"`, "user.map"},
	{"user.uid_map", `user = { uid_map = ["0:1:1"], gid_map = ["0:1:1"] }`, `user = { uid_map = ["0:1:1", "1:2:1"], gid_map = ["0:1:1"] }`, "user.uid_map[1]"},
	{"user.gid_map", `user = { uid_map = ["0:1:1"], gid_map = ["0:1:1"] }`, `user = { uid_map = ["0:1:1"], gid_map = ["0:1:2"] }`, "user.gid_map[0]"},
	{"environment.pass", `environment.pass = ["LC_*"]`, `environment.pass = ["LC_ALL", "LC*"]`, "environment.pass[1]"},
	{"environment.unset", `environment.unset = ["AWS_*", "X"]`, `environment.unset = ["*_KEY", "X"]`, "environment.unset"},
	{"namespaces.ipc", "", `namespaces.ipc = "host"`, "namespaces.ipc"},
	{"namespaces.uts", "", `namespaces.uts = "host"`, "namespaces.uts"},
	{"namespaces.cgroup", "", `namespaces.cgroup = "host"`, "namespaces.cgroup"},
	{"root.source", `root.source = "empty"`, "", "root.source"},
	{"root.source", "", `root.source = "/"`, "root.source"},
	{"root.read_only", "", "root.read_only = false", "root.read_only"},
	{"root.etc", "", `root.etc = "host"`, "root.etc"},
	{"root.proc", `root.proc = "pid"`, "", "root.proc"},
	{"root.sys", "", `root.sys = "ro"`, "root.sys"},
	{"root.dev", `root.dev = "none"`, "", "root.dev"},
	{"root.size", "root.source = \"image:a\"\nroot.size = \"1G\"", "root.source = \"image:a\"\nroot.size = \"8G\"", "root.size"},
	{"root.upper", `root.source = "image:a"`, "root.source = \"image:a\"\nroot.upper = \"disk\"", "root.upper"},
	{"overlay.path", "", `overlay.path = "/srv/b"`, "overlay.path"},
	{"root.tmp", "", `root.tmp = "4G"`, "root.tmp"},
	{"root.shm", "", `root.shm = "4G"`, "root.shm"},
	{"home.mode", "", `home.mode = "persistent"`, "home.mode"},
	{"home.access", "home.mode = \"host\"\nhome.access = \"overlay\"", "home.mode = \"host\"\nhome.access = \"rw\"", "home.access"},
	{"home.access", "home.mode = \"persistent\"\nhome.access = \"overlay\"", `home.mode = "persistent"`, "home.access"},
	{"home.access", `home.mode = "host"`, "home = { mode = \"host\", access = \"rw\" }", "home.access"},
	{"home.size", "", `home.size = "1T"`, "home.size"},
	{"home.share", `home.share = [".a"]`, `home.share = [".a", ".a/b", ".ab"]`, "home.share[2]"},
	{"home.share", `home = { mode = "host", hide = [".c*/x"] }`, `home.share = [".v", ".c", ".cd/x/y"]`, "home.share[1]"},
	{"home.share", `home = { mode = "host", hide = [".c*/x"] }`, `home.share = [".v", ".c", ".cd/x/y"]`, "home.share[2]"},
	{"home.hide", `home = { mode = "host", hide = [".a"] }`, `home.mode = "host"`, "home.hide"},
	{"workspace.path", "", `workspace.path = "/home/u"`, "workspace.path"},
	{"workspace.access", `workspace.access = "ro"`, "", "workspace.access"},
	{"workspace.hide", `workspace.hide = [".env"]`, "", "workspace.hide"},
	{"workspace.git", "", `workspace.git = "guard"`, "workspace.git"},
	{"workspace.git", `workspace.git = "guard"`, `workspace.git = "rw"`, "workspace.git"},
	{"workspace.git", `workspace.git = "hide"`, "", "workspace.git"},
	{"workspace.protect", `workspace.protect = [".envrc", ".idea"]`, `workspace.protect = [".idea"]`, "workspace.protect"},
	{"workspace.unprotect", `workspace.unprotect = [".idea"]`, `workspace.unprotect = [".idea", ".envrc"]`, "workspace.unprotect[1]"},
	{"workspace.audit", "", `workspace.audit = "off"`, "workspace.audit"},
	{"workspace.audit", `workspace.audit = "fail"`, "", "workspace.audit"},
	{"workspace.access", `workspace.access = "ro"`, `workspace.access = "overlay"`, "workspace.access"},
	{"workspace.access", `workspace.access = "overlay"`, "", "workspace.access"},
	{"overlay.on_exit", `overlay.on_exit = "ask"`, `overlay.on_exit = "apply"`, "overlay.on_exit"},
	{"overlay.on_exit", `overlay.on_exit = "keep"`, `overlay.on_exit = "discard"`, "overlay.on_exit"},
	{"overlay.size", `overlay.size = "1G"`, "", "overlay.size"},
	{"network.mode", "", `network.mode = "host"`, "network.mode"},
	{"network.mode", "", `network.mode = "user"`, "network.mode"},
	{"network.mode", `network.mode = "user"`, `network.mode = "host"`, "network.mode"},
	{"network.mode", `network.mode = "user"`, `network.mode = "network:dev"`, "network.mode"},
	{"network.mode", `network.mode = "network:dev"`, `network.mode = "network:dev,jobs"`, "network.mode"},
	{"network.aliases", `network = { mode = "network:dev", aliases = ["a"] }`, `network = { mode = "network:dev", aliases = ["a", "db"] }`, "network.aliases[1]"},
	{"network.isolated", `network = { mode = "network:dev", isolated = true }`, `network.mode = "network:dev"`, "network.isolated"},
	{"network.backend", `network.mode = "user"`, `network = { mode = "user", backend = "pasta" }`, "network.backend"},
	{"network.default", `network.mode = "user"`, `network = { mode = "user", default = "internet" }`, "network.default"},
	{"network.allow", `network = { mode = "user", allow = ["a.example"] }`, `network = { mode = "user", allow = ["a.example", "b.example:443"] }`, "network.allow[1]"},
	{"network.allow", `network = { mode = "user", default = "internet" }`, `network = { mode = "user", default = "internet", allow = ["@internet", "@lan", "a.example"] }`, "network.allow[1]"},
	{"network.allow", `network = { mode = "user", default = "internet", allow = ["a.example"] }`, `network = { mode = "user", default = "internet" }`, "network.default"},
	{"network.allow", `network = { mode = "network:dev", allow = ["db:80"] }`, `network.mode = "network:dev"`, "network.allow"},
	{"network.allow", `network = { mode = "network:dev", allow = ["@internet", "db"] }`, `network = { mode = "network:dev", allow = ["@internet", "db", "web"] }`, "network.allow[2]"},
	{"network.deny", `network = { mode = "network:dev", deny = ["db"] }`, `network.mode = "network:dev"`, "network.deny"},
	{"network.deny", `network = { mode = "user", deny = ["a.example"] }`, `network.mode = "user"`, "network.deny"},
	{"network.tls_names", `network.mode = "user"`, `network = { mode = "user", tls_names = false }`, "network.tls_names"},
	{"network.audit", `network = { mode = "user", audit = "all" }`, `network = { mode = "user", audit = "denied" }`, "network.audit"},
	{"network.dns", `network.mode = "user"`, `network = { mode = "user", dns = ["192.0.2.1"] }`, "network.dns[0]"},
	{"network.hosts", `network.mode = "user"`, `network = { mode = "user", hosts = ["db:192.0.2.1"] }`, "network.hosts[0]"},
	{"network.publish", `network = { mode = "user", publish = ["80"] }`, `network = { mode = "user", publish = ["80", "0.0.0.0:8080:80"] }`, "network.publish[1]"},
	{"network.host_ports", `network.mode = "user"`, `network = { mode = "user", host_ports = ["5432"] }`, "network.host_ports[0]"},
	{"network.rate", `network = { mode = "user", rate = "1M" }`, `network.mode = "user"`, "network.rate"},
	{"network.rate_in", `network = { mode = "user", rate_in = "1M" }`, `network = { mode = "user", rate_in = "2M" }`, "network.rate_in"},
	{"limits.memory", `limits.memory = "1G"`, "", "limits.memory"},
	{"limits.cgroup", "", `limits.cgroup = "never"`, "limits.cgroup"},
	{"limits.delegate", "", "limits.delegate = true", "limits.delegate"},
	{"limits.memory_high", `limits.memory_high = "1G"`, "", "limits.memory_high"},
	{"limits.swap", "", `limits.swap = "1G"`, "limits.swap"},
	{"limits.cpus", "limits.cpus = 1.5", "limits.cpus = 1.501", "limits.cpus"},
	{"limits.cpus", "limits.cpus = 1.5", "", "limits.cpus"},
	{"limits.cpu_weight", "", "limits.cpu_weight = 101", "limits.cpu_weight"},
	{"limits.cpuset", `limits.cpuset = "1-3"`, `limits.cpuset = "1,2-4"`, "limits.cpuset"},
	{"limits.cpuset", `limits.cpuset = "0-3"`, `limits.cpuset = ""`, "limits.cpuset"},
	{"limits.io_read_bps", `limits.io_read_bps = ["/dev/sda:1M"]`, "", "limits.io_read_bps"},
	{"limits.io_write_bps", `limits.io_write_bps = ["/dev/sda:1M"]`, `limits.io_write_bps = ["/dev/sda:2M"]`, "limits.io_write_bps"},
	{"limits.io_read_iops", `limits.io_read_iops = ["/dev/sda:10"]`, "", "limits.io_read_iops"},
	{"limits.io_write_iops", `limits.io_write_iops = ["/:10"]`, "", "limits.io_write_iops"},
	{"limits.processes", `limits.processes = 10`, `limits.processes = -1`, "limits.processes"},
	{"limits.open_files", `limits.open_files = 10`, `limits.open_files = 11`, "limits.open_files"},
	{"limits.file_size", `limits.file_size = 10`, "", "limits.file_size"},
	{"limits.core", "", `limits.core = 10`, "limits.core"},
	{"limits.core", "limits.core = 10", `limits.core = "unlimited"`, "limits.core"},
	{"limits.cpu_time", `limits.cpu_time = "1m"`, `limits.cpu_time = "unlimited"`, "limits.cpu_time"},
	{"limits.stack", "limits.stack = 10", "", "limits.stack"},
	{"limits.locked_memory", "limits.locked_memory = 10", "", "limits.locked_memory"},
	{"limits.inotify_instances", "limits.inotify_instances = 10", "", "limits.inotify_instances"},
	{"limits.inotify_watches", "limits.inotify_watches = 10", "", "limits.inotify_watches"},
	{"security.nested_userns", "", "security.nested_userns = true", "security.nested_userns"},
	{"security.allow_root", "", "security.allow_root = true", "security.allow_root"},
	{"security.seccomp", `security.seccomp = "strict"`, `security.seccomp = "build"`, "security.seccomp"},
	{"security.seccomp", `security.seccomp = "build"`, "", "security.seccomp"},
	{"security.seccomp", "", `security.seccomp = "unconfined"`, "security.seccomp"},
	{"security.seccomp_allow", "security.seccomp_allow = [\"bpf\"]", "security.seccomp_allow = [\"bpf\", \"@keyring\"]", "security.seccomp_allow[1]"},
	{"security.seccomp_deny", `security.seccomp_deny = ["ptrace", "bpf"]`, `security.seccomp_deny = ["bpf"]`, "security.seccomp_deny"},
	{"security.multiarch", "", "security.multiarch = true", "security.multiarch"},
	{"security.landlock", "", `security.landlock = "off"`, "security.landlock"},
	{"security.landlock", `security.landlock = "require"`, "", "security.landlock"},
	{"security.fallback", "", `security.fallback = "landlock"`, "security.fallback"},
	{"policy.require", `policy.require = ["a", "b"]`, `policy.require = ["a", "c"]`, "policy.require"},
	{"mounts.*.type", `mounts."/x".type = "mask"`, "", `mounts."/x"`},
	{"mounts.*.type", `mounts."/x".type = "mask"`, `mounts."/x" = { type = "symlink", source = "/y" }`, `mounts."/x"`},
	{"mounts.*.source", "", `mounts."/x" = "/y"`, `mounts."/x"`},
	{"mounts.*.source", `mounts."/x" = "/y"`, `mounts."/x" = "/y/z"`, `mounts."/x"`},
	{"mounts.*.source", `mounts."/x" = "/y"`, `mounts = { "/x" = "/y", "/w" = "/y" }`, `mounts."/w"`},
	{"mounts.*.lower", `mounts."/x" = { type = "overlay", source = "/y" }`, `mounts."/x" = { type = "overlay", source = "/y", lower = ["/z"] }`, `mounts."/x".lower`},
	{"mounts.*.lower", `mounts."/x" = { type = "overlay", source = "/y", lower = ["/z"] }`, `mounts."/x" = { type = "overlay", source = "/y", lower = ["/z", "/w"] }`, `mounts."/x".lower`},
	{"mounts.*.access", `mounts."/x" = "/y"`, `mounts."/x" = "/y:rw"`, `mounts."/x".access`},
	{"mounts.*.exec", `mounts."/x" = { source = "/y", exec = false }`, `mounts."/x" = "/y"`, `mounts."/x".exec`},
	{"mounts.*.exec", `mounts."/x" = { type = "tmpfs", exec = false }`, `mounts."/x" = { type = "tmpfs" }`, `mounts."/x".exec`},
	{"mounts.*.dev", `mounts."/x" = "/y"`, `mounts."/x" = { source = "/y", dev = true }`, `mounts."/x".dev`},
	{"mounts.*.grantable", `mounts."/x" = { source = "/y", grantable = true }`, `mounts."/x" = "/y"`, `mounts."/x".grantable`},
	{"mounts.*.grantable", `mounts."/x" = { type = "mask" }`, `mounts."/x" = { source = "/y", grantable = true }`, `mounts."/x".grantable`},
	{"mounts.*.size", "", `mounts."/x" = { type = "tmpfs", size = "5G" }`, `mounts."/x"`},
	{"mounts.*.type", `mounts."/x" = { type = "overlay", source = "/y" }`, `mounts."/x" = "/y:rw"`, `mounts."/x".access`},
	{"mounts.*.type", "", `mounts."/x" = { type = "overlay", source = "/y" }`, `mounts."/x"`},
	{"mounts.*.source", "", `mounts."/x" = { type = "volume", source = "v" }`, `mounts."/x"`},
	{"mounts.*.source", `mounts."/x" = { type = "volume", source = "v" }`, `mounts."/x" = { type = "volume", source = "w" }`, `mounts."/x"`},
	{"mounts.*.access", `mounts."/x" = { type = "volume", source = "v", access = "overlay" }`, `mounts."/x" = { type = "volume", source = "v" }`, `mounts."/x".access`},
	{"mounts.*.exec", `mounts."/x" = { type = "volume", source = "v", exec = false }`, `mounts."/x" = { type = "volume", source = "v" }`, `mounts."/x".exec`},
	{"mounts.*.upper", `mounts."/x" = { type = "overlay", source = "/y" }`, `mounts."/x" = { type = "overlay", source = "/y", upper = "tmpfs", size = "5G" }`, `mounts."/x"`},
	{"mounts.*.inodes", `mounts."/x" = { type = "tmpfs" }`, `mounts."/x" = { type = "tmpfs", inodes = 9223372036854775807 }`, `mounts."/x"`},
}

// TestWidensMembers: a base that names members by an address keeps the others away,
// as one that names them by name; the two are not compared the other way around, since
// the address may be one that is no member's.
func TestWidensMembers(t *testing.T) {
	const base = `network = { mode = "network:dev", allow = ["10.89.3.2:80"] }`
	for wide, want := range map[string]string{
		`network.mode = "network:dev"`:                                             "network.allow",
		`network = { mode = "network:dev", allow = ["db"] }`:                       "network.allow[0]",
		`network = { mode = "network:dev", allow = ["10.89.3.2:80", "@members"] }`: "network.allow[1]",
		base: "",
	} {
		got := keys(parse(t, "extends = []\n"+wide+"\n").Widens(parse(t, "extends = []\n"+base+"\n")))
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, want %s", wide, got, want)
		}
	}
}

// grantless are keys of a mount that give nothing by themselves.
var grantless = []string{"mounts.*.optional", "mounts.*.content", "mounts.*.mode"}

func TestWidens(t *testing.T) {
	tested := map[string]bool{}
	for _, test := range widenings {
		tested[test.row] = true
		t.Run(test.row, func(t *testing.T) {
			narrow, wide := parse(t, "extends = []\n"+test.narrow+"\n"), parse(t, "extends = []\n"+test.wide+"\n")
			if got := keys(wide.Widens(narrow)); !slices.Contains(got, test.key) {
				t.Errorf("%q over %q: got %q, want %s among them", test.wide, test.narrow, got, test.key)
			}
			for _, p := range []*Profile{narrow, wide} {
				base := p
				if test.row == "workspace.path" {
					continue // judged by where it is and not against the base
				}
				if got := p.Widens(base); len(got) > 0 {
					t.Errorf("a profile widens itself: %v", got)
				}
			}
			if test.row == "name" || test.row == "environment.unset" || test.row == "policy.require" || strings.HasPrefix(test.row, "mounts.") || strings.HasSuffix(test.row, "id_map") {
				return // neither of the two is the narrower one
			}
			if got := narrow.Widens(wide); len(got) > 0 && test.row != "environment.pass" && test.row != "home.share" {
				t.Errorf("%q over %q: got %v, want none", test.narrow, test.wide, got)
			}
		})
	}
	for i := range rows {
		if r := &rows[i]; r.wide != wideNever && !tested[r.path] && !slices.Contains(grantless, r.path) {
			t.Errorf("%s can widen and has no case", r.path)
		}
	}
}

func TestWidensNot(t *testing.T) {
	tests := []struct{ name, base, text string }{
		{"overlay for a read-only bind", `mounts."/x" = "/y"`, `mounts."/x" = { type = "overlay", source = "/y" }`},
		{"one layer less", `mounts."/x" = { type = "overlay", source = "/y", lower = ["/z", "/w"] }`, `mounts."/x" = { type = "overlay", source = "/y", lower = ["/w"] }`},
		{"overlay for a writable workspace", "", `workspace.access = "overlay"`},
		{"a volume kept apart", `mounts."/x" = { type = "volume", source = "v" }`, `mounts."/x" = { type = "volume", source = "v", access = "overlay" }`},
		{"kept, asked, thrown away", `overlay.on_exit = "discard"`, `overlay.on_exit = "ask"`},
		{"policy all", `policy.require = ["a"]`, `policy.require = ["all"]`},
		{"wider unset", `environment.unset = ["AWS_KEY", "A?"]`, `environment.unset = ["A*"]`},
		{"glob within glob", `environment.pass = ["*"]`, `environment.pass = ["A*", "?B"]`},
		{"whole tree to host", `root.source = "/"`, `root.etc = "host"`},
		{"memory within the budget", "", `root.tmp = "2G"`},
		{"memory of the base", `root.tmp = "20G"`, `home.size = "10G"`},
		{"mask for a bind", `mounts."/x" = "/y"`, `mounts."/x".type = "mask"`},
		{"file for a mask", `mounts."/x".type = "mask"`, `mounts."/x" = { type = "file", exec = false }`},
		{"no home", `home.hide = [".a"]` + "\nhome.mode = \"host\"", `home.mode = "none"`},
		{"share of a home that is shown", `home = { mode = "host", hide = [".ssh", ".c*/x"] }`, `home.share = [".vimrc", ".c/y"]`},
		{"core unset", "limits.core = 5", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, base := parse(t, "extends = []\n"+test.text+"\n"), parse(t, "extends = []\n"+test.base+"\n")
			if got := p.Widens(base); len(got) > 0 {
				t.Errorf("got %v", got)
			}
		})
	}
}

// Binds of what lies in the workspace are no grant, unless they get around
// something or lead out of it.
func TestWidensWorkspace(t *testing.T) {
	dir := write(t, map[string]string{"proj/data/f": "", "proj/.git/config": "", "proj/sub/.envrc": "", "secret/key": ""})
	proj := filepath.Join(dir, "proj")
	for link, to := range map[string]string{"out": "../secret", "in": "data", "dangling": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(proj, link)); err != nil {
			t.Fatal(err)
		}
	}
	env := testEnv
	env.Cwd = proj
	tests := []struct {
		name, base, text string
		want             []string
	}{
		{"read", "", `mounts."/x" = "./data"`, nil},
		{"write", "", `mounts."/x" = "./data:rw"`, nil},
		{"not there yet", "", `mounts."/x" = "./new/dir:rw"`, nil},
		{"link inside", "", `mounts."/x" = "./in:rw"`, nil},
		{"link outside", "", `mounts."/x" = "./out"`, []string{`mounts."/x"`}},
		{"through a link", "", `mounts."/x" = "./out/key"`, []string{`mounts."/x"`}},
		{"dangling link", "", `mounts."/x" = "./dangling"`, []string{`mounts."/x"`}},
		{"below a dangling link", "", `mounts."/x" = "./dangling/x"`, []string{`mounts."/x"`}},
		{"parent", "", `mounts."/x" = "./../secret"`, []string{`mounts."/x"`}},
		{"write hidden name", "", `mounts."/x" = "./.git:rw"`, []string{`mounts."/x"`}},
		{"write hidden name below", "", `mounts."/x" = "./sub/.envrc:rw"`, []string{`mounts."/x"`}},
		{"write all of it", "", `mounts."/x" = ".:rw"`, []string{`mounts."/x"`}},
		{"write where base reads", `workspace.access = "ro"`, `mounts."/x" = "./data:rw"` + "\nworkspace.access = \"ro\"", []string{`mounts."/x"`}},
		{"read where base hides", `workspace.hide = ["data"]`, `mounts."/x" = "./data"` + "\nworkspace.hide = [\"data\"]", []string{`mounts."/x"`}},
		{"read where base hides the repository", `workspace.git = "hide"`, `mounts."/x" = "./.git/config"` + "\nworkspace.git = \"hide\"", []string{`mounts."/x"`}},
		{"read around a mount", `mounts."${WORKSPACE}/data".type = "mask"`, `mounts."${WORKSPACE}/data".type = "mask"` + "\nmounts.\"/x\" = \"./data\"", []string{`mounts."/x"`}},
		{"root in the workspace", "", `root.source = "./data"`, nil},
		{"root through a link", "", `root.source = "./out"`, []string{"root.source"}},
		{"workspace through a link", "", `workspace.path = "./out"`, []string{"workspace.path"}},
		{"part of the project", "", `workspace.path = "./data"`, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := Parse(proj+"/.sbx.toml", []byte("version = 1\nextends = []\n"+test.text+"\n"), env)
			if err != nil {
				t.Fatal(err)
			}
			base, err := load(&layer{name: "base", dir: "/", text: "version = 1\nextends = []\n" + test.base + "\n"}, env, p.Workspace.Path)
			if err != nil {
				t.Fatal(err)
			}
			if got := keys(p.Widens(base)); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A workspace that is left out may be seen, and be written, as a part of
// something else.
func TestWidensUnhidden(t *testing.T) {
	const home, root = `home = { mode = "host", access = "rw" }`, `root = { source = "/", read_only = false }`
	for _, tt := range []struct {
		name, base, text string
		want             []string
	}{
		{"hidden, in the home", home + "\nworkspace.hide = [\"x\"]\nworkspace.git = \"rw\"", home, []string{"workspace.access"}},
		{"hidden repository, in the host's tree", root + "\nworkspace.git = \"hide\"\nworkspace.access = \"ro\"", root, []string{"workspace.access"}},
		{"guarded, in the home", home + "\nworkspace.git = \"guard\"", home, []string{"workspace.access"}},
		{"read-only, in the host's tree", root, root, []string{"workspace.access"}},
		{"kept apart, in the home", home + "\nworkspace.access = \"overlay\"", home, []string{"workspace.access"}},
		{"writable", home + "\nworkspace.git = \"rw\"", home, nil},
		{"in a home that can't be written", `home.mode = "host"`, `home.mode = "host"`, nil},
		{"in a tree that can't be written", `root.source = "/"`, `root.source = "/"`, nil},
		{"no home", home, `home.mode = "none"`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, base := parse(t, "extends = []\n"+tt.text+"\nworkspace.access = \"none\"\n"), parse(t, "extends = []\n"+tt.base+"\n")
			if got := keys(p.Widens(base)); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A row without a rule is a grant, whatever its values.
func TestWidensFailsClosed(t *testing.T) {
	p := parse(t, "")
	c := comparison{p: p, base: p}
	r := rows[find("process.tty")]
	r.wide = wideUnknown
	c.row(&r)
	if len(c.grants) != 1 {
		t.Errorf("got %v, want one grant", c.grants)
	}
}

// randomProfile picks values for some keys.
func randomProfile(t *testing.T, rng *rand.Rand) *Profile {
	t.Helper()
	for {
		text := map[string]string{}
		for _, w := range widenings {
			if w.row == "workspace.path" || rng.IntN(20) > 0 {
				continue
			}
			pick := w.narrow
			if rng.IntN(2) == 0 {
				pick = w.wide
			}
			for line := range strings.SplitSeq(pick, "\n") {
				key, _, _ := strings.Cut(line, " =")
				text[key] = line
			}
		}
		var b strings.Builder
		b.WriteString("version = 1\nextends = []\n")
		for _, key := range slices.Sorted(mapKeys(text)) {
			b.WriteString(text[key] + "\n")
		}
		if p, err := Parse("/proj/x.toml", []byte(b.String()), testEnv); err == nil {
			return p
		}
	}
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Not granting more is an order: every profile stands in it to itself, and
// what is within something within a third is within the third.
func TestWidensIsAnOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var pool []*Profile
	for range 100 {
		pool = append(pool, randomProfile(t, rng))
	}
	for _, p := range pool {
		if got := p.Widens(p); len(got) > 0 {
			t.Fatalf("a profile widens itself: %v\n%s", got, p.TOML())
		}
	}
	chains := 0
	within := func(a, b *Profile) bool { return len(a.Widens(b)) == 0 }
	for _, a := range pool {
		for _, b := range pool {
			if a == b || !within(a, b) {
				continue
			}
			for _, c := range pool {
				if b != c && a != c && within(b, c) {
					chains++
					if got := a.Widens(c); len(got) > 0 {
						t.Fatalf("not transitive: %v\na:\n%s\nb:\n%s\nc:\n%s", got, a.TOML(), b.TOML(), c.TOML())
					}
				}
			}
		}
	}
	t.Logf("%d chains of three", chains)
}

// Narrowing any one key of a profile never makes a grant, widening it always
// does, whatever the other keys are.
func TestWidensOneKey(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		base := randomProfile(t, rng)
		for _, edit := range []struct {
			key string
			do  func(p *Profile)
		}{
			{"network.mode", func(p *Profile) { p.Network.Mode = "host" }},
			{"namespaces.ipc", func(p *Profile) { p.Namespaces.IPC = "host" }},
			{"workspace.access", func(p *Profile) { p.Workspace.Access = "rw" }},
			{"security.allow_root", func(p *Profile) { p.Security.AllowRoot = true }},
			{"limits.memory", func(p *Profile) { p.Limits.Memory = -1 }},
			{"environment.pass[0]", func(p *Profile) { p.Environment.Pass = []string{"*"} }},
			{"home.mode", func(p *Profile) { p.Home.Mode = "host" }},
			{`mounts."/new"`, func(p *Profile) {
				p.Mounts = append(slices.Clone(p.Mounts), Mount{Target: "/new", Type: "bind", Source: "/etc", Access: "ro"})
			}},
		} {
			wide := *base
			edit.do(&wide)
			up, down := keys(wide.Widens(base)), keys(base.Widens(&wide))
			// The edit may change nothing: then nothing is to be said.
			if same := fmt.Sprint(exported(&wide)) == fmt.Sprint(exported(base)) || edit.key == "limits.memory" && base.Limits.Memory == 0; same == slices.Contains(up, edit.key) {
				t.Fatalf("%s: widening it is %q", edit.key, up)
			}
			if edit.key == "network.mode" && strings.Contains(base.Network.Mode, ":") {
				continue // who is reached there the host's network does not reach: see TestWidensNetworks
			}
			if slices.Contains(down, edit.key) && !strings.HasPrefix(edit.key, "mounts") && edit.key != "environment.pass[0]" {
				t.Fatalf("%s: narrowing it is %q", edit.key, down)
			}
		}
	}
}

// Networks of others have no order: each reaches whom no other does.
func TestWidensNetworks(t *testing.T) {
	for _, tt := range []struct {
		base, mode string
		grants     bool
	}{
		{"host", "sandbox:db", true}, {"sandbox:db", "host", true}, {"sandbox:db", "sandbox:web", true}, {"sandbox:db", "user", true},
		{"sandbox:db", "sandbox:db", false}, {"sandbox:db", "none", false},
		{"host", "network:dev", true}, {"network:dev", "host", true}, {"network:dev", "network:jobs", true}, {"network:dev,jobs", "network:jobs", false},
		{"network:dev", "user", false}, {"network:dev", "none", false},
	} {
		p, base := &Profile{}, &Profile{}
		p.Network.Mode, base.Network.Mode = tt.mode, tt.base
		if got := slices.Contains(keys(p.Widens(base)), "network.mode"); got != tt.grants {
			t.Errorf("%s where one's own has %s: %t", tt.mode, tt.base, got)
		}
	}
}

func TestMatchGlob(t *testing.T) {
	tests := []struct {
		glob, name string
		want       bool
	}{
		{"LC_*", "LC_ALL", true}, {"LC_*", "LC_", true}, {"LC_*", "LC", false}, {"*_KEY", "A_KEY", true}, {"*_KEY", "A_KEYS", false},
		{"A?C", "ABC", true}, {"A?C", "AC", false}, {"*", "", true}, {"", "A", false}, {"*A*B*", "xAyBz", true}, {"A", "A", true},
		// Not in any time that grows with the number of *.
		{strings.Repeat("*A", 40) + "*B", strings.Repeat("A", 4000), false}, {strings.Repeat("*A", 40) + "*", strings.Repeat("A", 4000), true},
	}
	for _, test := range tests {
		if got := matchGlob(test.glob, test.name); got != test.want {
			t.Errorf("matchGlob(%q, %q) = %v", test.glob, test.name, got)
		}
	}
	for _, test := range []struct {
		wide, narrow string
		want         bool
	}{{"*", "A*", true}, {"A*", "*", false}, {"A?", "A*", false}, {"A*", "A?", true}, {"?", "*", false}, {"A*C", "AB*C", true}} {
		if got := matchGlob(test.wide, test.narrow); got != test.want {
			t.Errorf("%q covers %q: %v", test.wide, test.narrow, got)
		}
	}
}

// TestLeavesOut: a list of which much is left out is one grant, not one an entry.
func TestLeavesOut(t *testing.T) {
	load := func(unset string) *Profile { return parse(t, "extends = []\nenvironment.unset = ["+unset+"]\n") }
	for _, tt := range []struct{ narrow, wide, want string }{
		{`"A", "B"`, `"B"`, `leaves out "A" of your own profile`},
		{`"A", "B", "C", "D"`, ``, `leaves out "A", "B", "C", "D" of your own profile`},
		{`"A", "B", "C", "D", "E", "F"`, ``, `leaves out "A", "B", "C", "D" and 2 more of your own profile`},
	} {
		grants := load(tt.wide).Widens(load(tt.narrow))
		if len(grants) != 1 || grants[0].Text != tt.want {
			t.Errorf("of [%s] in place of [%s]: %+v", tt.wide, tt.narrow, grants)
		}
	}
}
