package resolve

import (
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
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
		{"with a part elsewhere", "", repo + real + "/commondir = \"../common\\n\"\n/home/dev/proj/common/HEAD\n/home/dev/proj/common/objects/\n/home/dev/proj/common/refs/\n", inPlace(git, real, "/home/dev/proj/common"), ""},
		{"the workspace itself", "", git + " @1000 = \"gitdir: .\\n\"\n/home/dev/proj/config @1000\n", inPlace(git, "/home/dev/proj/config"), "info: in /home/dev/proj are not there"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planned(t, input(t, tt.text, tt.host))
			same(t, "guards", guarded(p), tt.want)
			same(t, "binds", shown(p), []string(nil))
			if notes := strings.Join(gitNotes(p), "\n"); !strings.HasPrefix(notes, tt.note) || tt.note == "" && notes != "" {
				t.Errorf("notes: %q, want %q", notes, tt.note)
			}
		})
	}
}

// TestPlumbingGuarded: the programs that sbx starts stay as they are where the command
// could write them.
func TestPlumbingGuarded(t *testing.T) {
	in := input(t, "", "/home/dev/proj/bin/sbx @1000\n/home/dev/proj/bin/sbx-net @1000\n/home/dev/proj/libexec/sbx/sbx-store @1000")
	in.Facts.Exe = "/home/dev/proj/bin/sbx"
	same(t, "guards", guarded(planned(t, in)), inPlace("=/home/dev/proj/bin", "/home/dev/proj/bin/sbx", "/home/dev/proj/bin/sbx-net", "=/home/dev/proj/libexec", "=/home/dev/proj/libexec/sbx", "/home/dev/proj/libexec/sbx/sbx-store"))
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
		{name: "in a lower layer", text: "[mounts.\"/m\"]\ntype = \"overlay\"\nupper = \"tmpfs\"\nsource = \"/home/dev\"\nlower = [\"/run\"]", dir: "/run/user/1000/sbx", fault: "no changes over that are kept"},
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
