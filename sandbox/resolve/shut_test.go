package resolve

import (
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
)

// TestShut: a command may close a directory of the caller's, and open it in the next
// run: what can't be looked at for that is not taken for what is not there. Another
// user's directory it can't open.
func TestShut(t *testing.T) {
	const (
		git  = "/home/dev/proj/.git"
		real = "/home/dev/proj/real"
		repo = real + "/HEAD @1000\n" + real + "/config @1000\n" + real + "/objects/ @1000\n" + real + "/refs/ @1000\n"
		file = git + " @1000 = \"gitdir: real\\n\"\n"
		run  = "/home/dev/proj/a/run"
	)
	records := func(dir string) func(in *Input) { return func(in *Input) { in.RuntimeDirs = []string{dir} } }
	for _, tt := range []struct {
		name, text, host string
		change           func(in *Input)
		want             string // in the only error; "" for a plan
	}{
		{"a repository", `workspace.git = "guard"`, git + "/ @1000 shut", nil, "looking for what is to stay as it is in the repository"},
		{"hooks", `workspace.git = "guard"`, plainRepo + git + "/info/ @1000 shut", nil, "chmod u+rwx " + git + "/info"},
		{"a repository that may be written", `workspace.git = "rw"`, git + "/ @1000 shut", nil, ""},
		{"a repository that a file names", "", file + real + "/ @1000 shut", nil, "looking at the repository that " + git + " names"},
		{"above it", "", git + " @1000 = \"gitdir: a/real\\n\"\n/home/dev/proj/a/ @1000 shut", nil, "looking at the repository that " + git + " names"},
		{"records", "", "/home/dev/proj/a/ @1000 shut", records(run + "/sbx"), "/home/dev/proj/a can't be searched, the command could change that"},
		{"records, itself", "", run + "/ @1000 shut", records(run + "/sbx"), run + " can't be searched"},
		{"records, a workspace that is not written", `workspace.access = "ro"`, "/home/dev/proj/a/ @1000 shut", records(run + "/sbx"), ""},
		{"records, another's", "", "/home/dev/proj/a/ @0 shut", records(run + "/sbx"), ""},
		{"records, elsewhere", "", "/home/dev/a/ @1000 shut", records("/home/dev/a/run/sbx"), ""},
		{"a link to itself on the way", "", "/home/dev/proj/ @1000\n/home/dev/proj/a -> a", records(run + "/sbx"), "/home/dev/proj/a is a symbolic link that the command could replace"},
		{"sbx", "", "/home/dev/proj/bin/ @1000 shut", func(in *Input) { in.Facts.Exe = "/home/dev/proj/bin/sbx" }, "looking for /home/dev/proj/bin/sbx"},
		{"what sbx keeps", "", "/home/dev/proj/a/ @1000 shut", func(in *Input) { in.StateDirs = []string{"/home/dev/proj/a/o"} }, "looking for /home/dev/proj/a/o"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text, tt.host)
			if tt.change != nil {
				tt.change(&in)
			}
			list := faults(t, in)
			if tt.want == "" && list == nil {
				return
			}
			if len(list) != 1 || tt.want == "" || !strings.Contains(list[0], tt.want) {
				t.Errorf("%q, want %q", list, tt.want)
			}
		})
	}
}

// TestGitInside: the repository that a .git file names stays as it is also where it is
// in the workspace, whatever it says itself.
func TestGitInside(t *testing.T) {
	const (
		git  = "/home/dev/proj/.git"
		real = "/home/dev/proj/real"
		file = git + " @1000 = \"gitdir: real\\n\"\n"
		repo = file + real + "/HEAD @1000\n" + real + "/config @1000\n" + real + "/hooks/ @1000\n" + real + "/objects/ @1000\n" + real + "/refs/ @1000\n"
	)
	for _, tt := range []struct {
		name, text, host string
		want             []string // guards
		note             string
	}{
		{"read-only", "", repo, inPlace(git, real), ""},
		{"guarded", `workspace.git = "guard"`, repo, inPlace(git, "="+real, real+"/config", real+"/hooks"), "info: in " + real + " are not there"},
		{"writable", `workspace.git = "rw"`, repo, nil, ""},
		{"no repository yet", "", repo + "-" + real + "/HEAD", inPlace(git, "="+real, real+"/config", real+"/hooks"), "info: in " + real + " are not there"},
		{"not there", "", file, inPlace(git), "info: " + git + " names " + real + ", where no repository is"},
		{"a long name", "", git + " @1000 = \"gitdir: " + strings.Repeat("g", 300) + "\\n\"\n", inPlace(git), "info: " + git + " names /home/dev/proj/ggg"},
		{"a file", "", file + real + " @1000", inPlace(git), "info: " + git + " names " + real + ", where no repository is"},
		{"hidden", `workspace.git = "hide"`, repo, nil, ""},
		{"hidden, no repository yet", `workspace.git = "hide"`, repo + "-" + real + "/HEAD", inPlace("="+real, real+"/config", real+"/hooks"), "info: in " + real + " are not there"},
		{"with a part elsewhere", "", repo + real + "/commondir = \"../common\\n\"\n/home/dev/proj/common/HEAD\n/home/dev/proj/common/objects/\n/home/dev/proj/common/refs/\n", inPlace(git, real, "/home/dev/proj/common"), ""},
		{"the workspace itself", "", git + " @1000 = \"gitdir: .\\n\"\n/home/dev/proj/config @1000\n", inPlace(git, "/home/dev/proj/config"), "info: in /home/dev/proj are not there"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planned(t, input(t, tt.text, tt.host))
			same(t, "guards", guarded(p), tt.want)
			same(t, "binds", shown(p), []string(nil))
			same(t, "hidden", at(p, real).Kind == sandbox.Mask, tt.name == "hidden")
			if notes := strings.Join(gitNotes(p), "\n"); !strings.HasPrefix(notes, tt.note) || tt.note == "" && notes != "" {
				t.Errorf("notes: %q, want %q", notes, tt.note)
			}
		})
	}
}

// TestPlumbingGuarded: the programs that sbx starts stay as they are where the command
// could write them.
func TestPlumbingGuarded(t *testing.T) {
	const (
		bin, lib = "/home/dev/proj/bin", "/home/dev/proj/libexec/sbx"
		built    = bin + "/ @1000\n" + bin + "/sbx @1000\n" + bin + "/sbx-net @1000\n" + bin + "/sbx-scope @1000\n" + bin + "/sbx-store @1000\n"
		put      = bin + "/ @1000\n" + bin + "/sbx @1000\n" + lib + "/ @1000\n" + lib + "/sbx-net @1000\n" + lib + "/sbx-scope @1000\n" + lib + "/sbx-store @1000\n"
	)
	for _, tt := range []struct {
		name, text, host, exe string
		want                  []string
		fault                 string
	}{
		{name: "beside it", host: built, exe: bin + "/sbx", want: inPlace("="+bin, bin+"/sbx", bin+"/sbx-net", bin+"/sbx-scope", bin+"/sbx-store")},
		{name: "one is missing", host: built + "-" + bin + "/sbx-store", exe: bin + "/sbx", fault: bin + "/sbx-store is not there, and the command could make it"},
		{name: "in libexec", host: put, exe: bin + "/sbx", want: inPlace(bin, bin+"/sbx", "="+lib[:len(lib)-4], "="+lib, lib+"/sbx-net", lib+"/sbx-scope", lib+"/sbx-store")},
		{name: "in libexec, and something else is put beside it", text: "[mounts.\"" + bin + "/x\"]\ntype = \"tmpfs\"", host: put + bin + "/x/ @1000", exe: bin + "/sbx", fault: bin + "/sbx-net is not there, and the command could make it"},
		{name: "in libexec, which alone is written", text: "workspace.access = \"ro\"\n[mounts.\"/home/dev/proj/libexec\"]\ntype = \"bind\"\nsource = \"/home/dev/proj/libexec\"\naccess = \"rw\"", host: put, exe: bin + "/sbx",
			want: inPlace("="+lib, lib+"/sbx-net", lib+"/sbx-scope", lib+"/sbx-store")},
		{name: "not ours to write", text: "[mounts.\"/usr\"]\ntype = \"bind\"\nsource = \"/usr\"\naccess = \"rw\"", exe: "/usr/bin/sbx", want: inPlace("=/usr/bin", "/usr/bin/sbx")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text, tt.host)
			in.Facts.Exe = tt.exe
			if tt.fault != "" {
				if list := faults(t, in); len(list) == 0 || !strings.Contains(list[0], tt.fault) {
					t.Errorf("%q, want %q", list, tt.fault)
				}
				return
			}
			same(t, "guards", guarded(planned(t, in)), tt.want)
		})
	}
}

// TestRecordsPlaces: what a run makes, hides, says and refuses of places where records
// may lie.
func TestRecordsPlaces(t *testing.T) {
	const mount = "[mounts.\"/m\"]\ntype = \"bind\"\nsource = "
	for _, tt := range []struct {
		name, text, host, dir string
		create, masked        string
		note, fault           string
	}{
		{name: "there", text: mount + `"/run"`, dir: "/run/user/1000/sbx", create: "/run/user/1000/sbx", masked: "/m/user/1000/sbx"},
		{name: "no runtime directory", text: mount + "\"/run\"\naccess = \"rw\"", host: "-/run/user/1000", dir: "/run/user/1000/sbx", note: "/run/user/1000 is missing"},
		{name: "another's", text: mount + `"/run"`, host: "/run/user/0/", dir: "/run/user/0/sbx"},
		{name: "another's, closed", text: mount + `"/run"`, host: "/run/user/0/ shut", dir: "/run/user/0/sbx"},
		{name: "one that the caller may make", text: mount + `"/home/dev"`, dir: "/home/dev/a/b/sbx", create: "/home/dev/a/b/sbx", masked: "/m/a/b/sbx"},
		{name: "another's link in a directory for all", text: mount + "\"/tmp\"\naccess = \"rw\"", host: "/tmp/ o+w sticky\n/tmp/sbx-1000 @7 -> /nonexistent", dir: "/tmp/sbx-1000"},
		{name: "a link of the caller's", text: mount + "\"/tmp\"\naccess = \"rw\"", host: "/tmp/ o+w sticky\n/tmp/sbx-1000 @1000 -> /nonexistent", dir: "/tmp/sbx-1000", fault: "/tmp/sbx-1000 is a symbolic link"},
		{name: "a link of root's on the way", text: "root = { source = \"/\", read_only = false }", host: "/var/run -> /run", dir: "/var/run/user/1000/sbx", create: "/run/user/1000/sbx", masked: "/run/user/1000/sbx"},
		{name: "below layers", text: "[mounts.\"/m\"]\ntype = \"overlay\"\nsource = \"/run\"", dir: "/run/user/1000/sbx", fault: "/run holds a place of records of sandboxes, /run/user/1000/sbx"},
		{name: "below layers in memory", text: "[mounts.\"/m\"]\ntype = \"overlay\"\nupper = \"tmpfs\"\nsource = \"/run\"", dir: "/run/user/1000/sbx", create: "/run/user/1000/sbx", masked: "/m/user/1000/sbx"},
		{name: "in a lower layer", text: "[mounts.\"/m\"]\ntype = \"overlay\"\nupper = \"tmpfs\"\nsource = \"/home/dev\"\nlower = [\"/run\"]", dir: "/run/user/1000/sbx", fault: "/run holds a place of records of sandboxes, /run/user/1000/sbx, and can't be a lower layer"},
		{name: "as layers", text: "[mounts.\"/m\"]\ntype = \"overlay\"\nsource = \"/run/user/1000/sbx/starts\"", host: "/run/user/1000/sbx/starts/", dir: "/run/user/1000/sbx", fault: "/run/user/1000/sbx/starts holds records of sandboxes"},
		{name: "a long name", text: mount + `"/home/dev"`, dir: "/home/dev/" + strings.Repeat("x", 300) + "/sbx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text, tt.host)
			in.RuntimeDirs = []string{tt.dir}
			if tt.fault != "" {
				if list := faults(t, in); len(list) != 1 || !strings.Contains(list[0], tt.fault) {
					t.Errorf("%q, want %q", list, tt.fault)
				}
				return
			}
			p := planned(t, in)
			masked, notes := "", ""
			for _, m := range p.Mounts {
				if m.Kind == sandbox.Mask && m.Why == "records of sandboxes" {
					masked += m.Target
				}
			}
			for _, n := range p.Notes {
				if strings.Contains(n.Text, "records of sandboxes") {
					notes += n.Text
				}
			}
			if made := strings.Join(p.Create, " "); made != tt.create || masked != tt.masked || !strings.HasPrefix(notes, tt.note) || tt.note == "" && notes != "" {
				t.Errorf("it makes %q, hides %q and says %q", made, masked, notes)
			}
		})
	}
}

// flickering are files of which one is a link to another one while it is resolved.
type flickering struct {
	*fakeFiles
	link, to string
}

func (f *flickering) Resolve(p, beneath string) (host.Entry, error) {
	if p == f.link {
		p = f.to
	}
	return f.fakeFiles.Resolve(p, beneath)
}

// TestStays: what a first run could change for a second one stays as it is, or the run is
// refused.
func TestStays(t *testing.T) {
	const (
		proj = "/home/dev/proj"
		own  = proj + "/ @1000\n"
		git  = own + proj + "/.git @1000 = "
		repo = proj + "/real/HEAD @1000\n" + proj + "/real/config @1000\n" + proj + "/real/objects/ @1000\n" + proj + "/real/refs/ @1000\n"
		conf = "/home/dev/.config/sbx"
	)
	const home = "[home]\nmode = \"host\"\naccess = \"rw\"\n"
	const inPlaceRoot = "root = { source = \"/\", read_only = false }\nhome.mode = \"tmpfs\"\n"
	mount := func(target, kind string) string { return "[mounts.\"" + target + "\"]\ntype = \"" + kind + "\"\n" }
	state := func(in *Input) { in.StateDirs = []string{conf} }
	for _, tt := range []struct {
		name, text, host string
		change           func(in *Input)
		guard            string // among them, with "=" where it can be written below
		fault            string
	}{
		{name: "profiles that are a link into the project", host: own + proj + "/dots/a.toml\n" + conf + "/profiles -> " + proj + "/dots", change: state, guard: proj + "/dots"},
		{name: "a profile that is a link to nothing", host: own + conf + "/profiles/a.toml -> " + proj + "/a.toml", change: state, fault: "a.toml leads to " + proj + "/a.toml, which is not there"},
		{name: "a profile that is a link, in a home that is written", text: home, host: own + proj + "/a.toml @1000\n" + conf + "/profiles/a.toml -> " + proj + "/a.toml", change: state, guard: proj + "/a.toml"},
		{name: "a lock of Emacs's beside profiles", text: home, host: own + conf + "/profiles/.#a.toml -> dev@desk.7:1", change: state, guard: conf},
		{name: "profiles that can't be listed", host: own + conf + "/profiles/ @1000 unlisted", change: state, fault: "looking for your profiles"},
		{name: "a mask", text: mount(proj+"/a/b", "mask"), host: own + proj + "/a/b @1000", guard: "=" + proj + "/a"},
		{name: "a read-only bind", text: mount(proj+"/a/b", "bind") + "source = \"" + proj + "/a/b\"\naccess = \"ro\"", host: own + proj + "/a/b/ @1000", guard: "=" + proj + "/a"},
		{name: "a tmpfs", text: mount(proj+"/a/b", "tmpfs"), host: own + proj + "/a/b/ @1000", guard: "=" + proj + "/a"},
		{name: "what is hidden, in another place", text: "workspace.path = \"" + proj + "/a/b\"\nworkspace.hide = [\"c\"]\n" + mount("/x", "bind") + "source = \"" + proj + "\"\naccess = \"rw\"", host: own + proj + "/a/b/c @1000", guard: "=/x/a"},
		{name: "hidden by a link", text: "workspace.hide = [\".env\"]", host: own + proj + "/c/env @1000\n" + proj + "/.env -> c/env", fault: "is hidden since " + proj + "/.env, a symbolic link"},
		{name: "hidden by a link and by its name", text: "workspace.hide = [\".env\", \"c/env\"]", host: own + proj + "/c/env @1000\n" + proj + "/.env -> c/env", guard: "=" + proj + "/c"},
		{name: "protected by a link, closed", text: "workspace.protect = [\".envrc\"]", host: own + proj + "/c/ @1000 shut\n" + proj + "/c/envrc @1000\n" + proj + "/.envrc -> c/envrc", fault: "looking for what is to be protected"},
		{name: "a .git file by another way", host: git + "\"gitdir: /w/real\\n\"\n/w -> " + proj + "\n" + repo, guard: proj + "/real"},
		{name: "a .git file by a link and back", host: git + "\"gitdir: /l/../real\\n\"\n/l -> " + proj + "/sub\n" + repo, guard: proj + "/real"},
		{name: "a .git file with more in it", host: git + "\"gitdir: real\\x00junk\\n\\n\\n\"\n" + repo, guard: proj + "/real"},
		{name: "a .git file to what another mount shows", text: mount("/home/dev/o", "bind") + "source = \"/home/dev/o\"\naccess = \"rw\"", host: git + "\"gitdir: /home/dev/l/real\\n\"\n/home/dev/l -> o\n" + strings.ReplaceAll(repo, proj, "/home/dev/o"), guard: "/home/dev/o/real"},
		{name: "a .git file, and another mount that shows what its repository shares", text: mount("/home/dev/o", "bind") + "source = \"/home/dev/o\"\naccess = \"rw\"", host: git + "\"gitdir: real\\n\"\n" + repo + proj + "/real/commondir = \"/home/dev/o/c\\n\"\n" + strings.ReplaceAll(repo, proj+"/real", "/home/dev/o/c"), guard: "/home/dev/o/c"},
		{name: "a .git file by a link that another mount shows", text: mount("/home/dev/o", "bind") + "source = \"/home/dev/o\"\naccess = \"rw\"", host: git + "\"gitdir: /home/dev/o/l/real\\n\"\n/home/dev/o/l -> /home/dev/x\n" + strings.ReplaceAll(repo, proj, "/home/dev/x"), fault: "/home/dev/o/l is a symbolic link, which the command could replace"},
		{name: "a worktree's repository, in another place", text: mount("/m", "bind") + "source = \"/home/dev/main\"\naccess = \"rw\"", host: worktree, guard: "/m/.git"},
		{name: "a secret that is a link", text: "process.secrets = [\"t\"]\n[secrets]\nt = \"file:" + proj + "/t\"", host: own + proj + "/u @1000\n" + proj + "/t -> u", fault: proj + "/t is a symbolic link that the command could replace"},
		{name: "a secret that is a link, where the project is not written", text: "workspace.access = \"ro\"\nprocess.secrets = [\"t\"]\n[secrets]\nt = \"file:" + proj + "/t\"", host: own + proj + "/t -> /home/dev/.ssh/id_rsa", fault: "handing out " + proj + "/t: "},
		{name: "a secret that was read from elsewhere", text: "process.secrets = [\"t\"]\n[secrets]\nt = \"file:" + proj + "/t\"", host: own + proj + "/t @1000", change: func(in *Input) { in.SecretFiles = []string{"/home/dev/.ssh/id_rsa"} }, fault: "it was read from /home/dev/.ssh/id_rsa, and now leads to " + proj + "/t"},
		{name: "a root that is a link", text: "root.source = \"" + proj + "/r\"", host: own + "/home/dev/usr/\n" + proj + "/r -> /home/dev", fault: "using a directory as root"},
		{name: "a file", text: mount(proj+"/a/b", "file") + "content = \"x\"", host: own + proj + "/a/b @1000", guard: "=" + proj + "/a"},
		{name: "a grant that is a link to what is hidden", text: "workspace.hide = [\".env\"]\n" + mount("/x", "bind") + "source = \"" + proj + "/a\"", host: own + proj + "/.env @1000\n" + proj + "/a -> .env", fault: proj + "/a leads to " + proj + "/.env by " + proj + "/a, a symbolic link"},
		{name: "a grant that is a link to what something lies over", text: mount(proj+"/c", "file") + mount("/x", "bind") + "source = \"" + proj + "/a\"", host: own + proj + "/c @1000\n" + proj + "/a -> c", fault: proj + "/a leads to " + proj + "/c by"},
		{name: "a grant that is a link to the repository", text: mount("/x", "bind") + "source = \"" + proj + "/a\"\naccess = \"rw\"", host: own + plainRepo + proj + "/a -> .git", fault: proj + "/a leads to " + proj + "/.git by"},
		{name: "a grant that is a link to hooks", text: "workspace.git = \"guard\"\n" + mount("/x", "bind") + "source = \"" + proj + "/a\"\naccess = \"rw\"", host: own + plainRepo + proj + "/a -> .git/hooks", fault: proj + "/a leads to " + proj + "/.git/hooks by"},
		{name: "a grant to write that is a link to what is only read", text: "workspace.access = \"ro\"\n" + mount("/x", "bind") + "source = \"" + proj + "/a\"\naccess = \"rw\"", host: own + proj + "/a -> b\n" + proj + "/b/", fault: proj + "/a leads to " + proj + "/b by"},
		{name: "a grant to write that is a link to what changes are kept apart of", text: "workspace.access = \"overlay\"\noverlay.upper = \"tmpfs\"\n" + mount("/x", "bind") + "source = \"" + proj + "/a\"\naccess = \"rw\"", host: own + proj + "/a -> b\n" + proj + "/b/", fault: proj + "/a leads to " + proj + "/b by"},
		{name: "a grant that is a link to what holds a mask", text: mount(proj+"/b/c", "mask") + mount("/x", "bind") + "source = \"" + proj + "/a\"", host: own + proj + "/a -> b\n" + proj + "/b/c @1000", fault: proj + "/a leads to " + proj + "/b by"},
		{name: "a grant that is a link to what is seen", text: "workspace.protect = [\"c\"]\n" + mount("/x", "bind") + "source = \"" + proj + "/a\"", host: own + proj + "/c/d @1000\n" + proj + "/a -> c/d", guard: proj + "/c"},
		{name: "a grant that is a link for a moment", text: "workspace.hide = [\".env\"]\n" + mount("/x", "bind") + "source = \"" + proj + "/a\"", host: own + proj + "/.env @1000\n" + proj + "/a @1000", change: func(in *Input) {
			in.Facts.Files = &flickering{in.Facts.Files.(*fakeFiles), proj + "/a", proj + "/.env"}
		}, fault: proj + "/a led to " + proj + "/.env, and then to " + proj + "/a"},
		{name: "a grant that is a link in another one", text: mount("/o", "bind") + "source = \"/home/dev/o\"\naccess = \"rw\"\n" + mount("/x", "bind") + "source = \"/home/dev/o/a\"", host: "/home/dev/o/ @1000\n/home/dev/o/a -> /home/dev/.ssh", fault: "/home/dev/o/a leads to /home/dev/.ssh by /home/dev/o/a, a symbolic link"},
		{name: "a grant that is a link in a home that is kept", text: "home.mode = \"persistent\"\n" + mount("/x", "bind") + "source = \"/homes/x/a\"", host: "/homes/x/ @1000\n/homes/x/a -> /home/dev/.ssh", fault: "/homes/x/a leads to /home/dev/.ssh by"},
		{name: "hidden by a link in a directory of another of the command's ids", text: "user.map = \"range\"\nworkspace.hide = [\"d/e\"]", host: own + proj + "/c/env @1000\n" + proj + "/d/ @100005\n" + proj + "/d/e -> ../c/env", fault: "is hidden since " + proj + "/d/e, a symbolic link"},
		{name: "a policy of system calls", host: own + proj + "/s.json @1000", change: func(in *Input) {
			in.Profile.Security.Seccomp, in.Profile.Security.SeccompText = proj+"/s.json", `{"defaultAction": "SCMP_ACT_ALLOW"}`
		}, guard: proj + "/s.json"},
		{name: "sbx in the host's own tree", text: inPlaceRoot, host: "/srv/own/bin/ @1000\n/srv/own/ @1000\n/srv/own/bin/sbx @1000\n/srv/own/bin/sbx-net @1000\n/srv/own/bin/sbx-scope @1000\n/srv/own/bin/sbx-store @1000", change: func(in *Input) { in.Facts.Exe = "/srv/own/bin/sbx" }, guard: "/srv/own/bin/sbx-net"},
		{name: "above it", text: inPlaceRoot, host: "/srv/own/bin/ @1000\n/srv/own/ @1000\n/srv/ o+w\n/srv/own/bin/sbx @1000\n/srv/own/bin/sbx-net @1000\n/srv/own/bin/sbx-scope @1000\n/srv/own/bin/sbx-store @1000", change: func(in *Input) { in.Facts.Exe = "/srv/own/bin/sbx" }, guard: "=/srv/own"},
		{name: "a mask in the host's own tree", text: inPlaceRoot + mount("/srv/own/a/b/c", "mask"), host: "/srv/own/ @1000\n/srv/own/a/ @1000\n/srv/own/a/b/ @1000\n/srv/own/a/b/c @1000", guard: "=/srv/own/a/b"},
		{name: "configuration by a link in the host's own tree", text: inPlaceRoot, host: "/srv/own/ @1000\n/srv/own/conf -> /home/dev/c\n/home/dev/c/sbx/ @1000", change: func(in *Input) { in.StateDirs = []string{"/srv/own/conf/sbx"} }, fault: "/srv/own/conf is a symbolic link that the command could replace"},
		{name: "a workspace by a link out of the project", text: "workspace.path = \"./w\"", host: own + proj + "/w -> /home/dev/.ssh", change: func(in *Input) { in.Profile.Files = []string{proj + "/x.toml"} }, fault: "using " + proj + "/w as workspace"},
		{name: "a workspace by one's own link, with one's own profile", text: "workspace.path = \"/home/dev/w\"\nworkspace.protect = [\"x\"]", host: "/home/dev/w -> /data\n/data/x @1000", change: func(in *Input) {
			in.Facts.Cwd, in.Profile.Files = "/home/dev", []string{"/home/dev/.config/sbx/profiles/x.toml"}
		}, guard: "/data/x"},
		{name: "a workspace by a link out of the project, from elsewhere", text: "workspace.path = \"./w\"", host: own + proj + "/w -> /home/dev/.ssh", change: func(in *Input) {
			in.Facts.Cwd, in.Profile.Files = "/home/dev", []string{proj + "/.sbx.toml"}
		}, fault: "using " + proj + "/w as workspace"},
		{name: "a workspace that is a link for a moment", text: "workspace.path = \"./sub\"", host: own, change: func(in *Input) {
			in.Facts.Files = &flickering{in.Facts.Files.(*fakeFiles), proj + "/sub", "/home/dev/.ssh"}
		}, fault: proj + "/sub led to /home/dev/.ssh, and then to " + proj + "/sub"},
		{name: "a workspace by a link in the project", text: "workspace.path = \"./w\"\nworkspace.protect = [\"x\"]", host: own + proj + "/w -> sub\n" + proj + "/sub/x @1000", guard: proj + "/sub/x"},
		{name: "a workspace by a link elsewhere", text: "workspace.path = \"/w\"\nworkspace.protect = [\"x\"]", host: own + "/w -> " + proj + "\n" + proj + "/x @1000", guard: proj + "/x"},
		{name: "a secret in the project", text: "process.secrets = [\"t\"]\n[secrets]\nt = \"file:" + proj + "/t\"", host: own + proj + "/t @1000", guard: proj + "/t"},
		{name: "the project's profile, where another one rules", host: own + proj + "/.sbx.toml @1000", guard: proj + "/.sbx.toml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text, tt.host)
			if tt.change != nil {
				tt.change(&in)
			}
			if tt.fault != "" {
				if list := faults(t, in); len(list) != 1 || !strings.Contains(list[0], tt.fault) {
					t.Errorf("%q, want %q", list, tt.fault)
				}
				return
			}
			if list := guarded(planned(t, in)); !slices.Contains(list, inPlace(tt.guard)[0]) && !slices.ContainsFunc(list, func(g string) bool { return strings.HasPrefix(g, tt.guard+" ") }) {
				t.Errorf("guards %q, want %q", list, tt.guard)
			}
		})
	}
	p := planned(t, input(t, "workspace.git = \"hide\"\nworkspace.hide = [\".env\", \"sub\", \"f\"]\n"+mount("/host"+proj+"/f", "file")+"content = \"x\"\n"+mount("/host", "bind")+"source = \"/\"\n"+mount("/x", "bind")+"source = \"/home/dev/proj/sub\"", own+proj+"/.env @1000\n"+proj+"/f @1000\n"+proj+"/.git/ @1000"))
	if m := at(p, "/x"); m.Kind != sandbox.Bind {
		t.Errorf("what is granted itself is %+v", m)
	}
	if m := at(p, "/host"+proj+"/f"); m.Kind != sandbox.File {
		t.Errorf("what the profile puts in the place of what is hidden is %+v", m)
	}
	p2 := planned(t, input(t, "workspace.hide = [\".env\", \"b\"]\n"+mount("/x", "overlay")+"source = \"/home/dev/o\"\nlower = [\""+proj+"\"]", own+proj+"/.env @1000\n"+proj+"/b @1000\n/home/dev/o/b @1000"))
	if m := at(p2, "/x/.env"); m.Kind != sandbox.Mask {
		t.Errorf("what is hidden, shown by a lower directory of layers, is %+v", m)
	}
	if m := at(p2, "/x/b"); m.Kind != "" {
		t.Errorf("what stands before it in an upper one is %+v", m)
	}
	for _, dir := range []string{"/host/proc", "/host/sys", proj + "/.env", "/host" + proj + "/.env", "/host" + proj + "/.git", "/host" + proj + "/sub"} {
		if m := at(p, dir); m.Kind != sandbox.Mask {
			t.Errorf("%s is %+v", dir, m)
		}
	}
}
