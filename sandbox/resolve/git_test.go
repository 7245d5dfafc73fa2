package resolve

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// plainRepo is a repository in the project as git init makes one.
const plainRepo = `
	/home/dev/proj/.git/HEAD @1000
	/home/dev/proj/.git/config @1000
	/home/dev/proj/.git/hooks/ @1000
	/home/dev/proj/.git/info/exclude @1000
	/home/dev/proj/.git/objects/info/ @1000
	/home/dev/proj/.git/refs/ @1000
`

// worktree makes the project a linked worktree of /home/dev/main.
const worktree = `
	/home/dev/proj/.git @1000 = "gitdir: /home/dev/main/.git/worktrees/proj\n"
	/home/dev/main/.git/ @1000
	/home/dev/main/.git/HEAD @1000
	/home/dev/main/.git/config @1000
	/home/dev/main/.git/hooks/ @1000
	/home/dev/main/.git/objects/ @1000
	/home/dev/main/.git/refs/ @1000
	/home/dev/main/.git/worktrees/other/HEAD @1000
	/home/dev/main/.git/worktrees/proj/ @1000
	/home/dev/main/.git/worktrees/proj/HEAD @1000
	/home/dev/main/.git/worktrees/proj/commondir @1000 = "../..\n"
	/home/dev/main/.git/worktrees/proj/gitdir @1000 = "/home/dev/proj/.git\n"
`

// submodule makes the project a submodule of one beside it.
const submodule = `
	/home/dev/proj/.git @1000 = "gitdir: ../super/.git/modules/proj\n"
	/home/dev/super/.git/modules/proj/ @1000
	/home/dev/super/.git/modules/proj/HEAD @1000
	/home/dev/super/.git/modules/proj/config @1000 = "[core]\n\tbare = false\n\tworktree = ../../../../proj\n[remote \"x\"]\n\tworktree = /\n"
	/home/dev/super/.git/modules/proj/objects/ @1000
	/home/dev/super/.git/modules/proj/refs/ @1000
`

// shown are the binds of a repository that lies elsewhere.
func shown(p *sandbox.Plan) (list []string) {
	for _, m := range p.Mounts {
		if m.Kind == sandbox.Bind && m.From == "workspace.git" {
			s := m.Target
			if m.Source != m.Target || !m.IsDir {
				s += " from " + m.Source
			}
			if !m.ReadOnly {
				s += " rw"
			}
			list = append(list, s)
		}
	}
	return list
}

// gitNotes are the notes on the repository.
func gitNotes(p *sandbox.Plan) (list []string) {
	for _, n := range p.Notes {
		if n.From == "workspace.git" {
			list = append(list, n.Level+": "+n.Text)
		}
	}
	return list
}

// inPlace names each path as guarded does where it is itself what is there.
func inPlace(paths ...string) (list []string) {
	for _, p := range paths {
		list = append(list, p+" "+strings.TrimPrefix(p, "="))
	}
	return list
}

func TestGit(t *testing.T) {
	const (
		git   = "/home/dev/proj/.git"
		main  = "/home/dev/main/.git"
		sub   = "/home/dev/super/.git/modules/proj"
		guard = "workspace.git = \"guard\""
		none  = "info: " + git + " is not there and can't be kept from being made; the host's git runs what a new one says"
		open  = " are not there and can't be kept from being made: "
	)
	for _, tt := range []struct {
		name, text, host     string
		guards, shown, notes []string
	}{
		{"none", "", "", nil, nil, []string{none}},
		{"none, writable", "workspace.git = \"rw\"", "", nil, nil, nil},
		{"none, in a part of a repository", "", "/home/dev/.git/\n/home/.git/", nil, nil, []string{none}},
		{"read-only", "", plainRepo, inPlace(git), nil, nil},
		{"writable", "workspace.git = \"rw\"", plainRepo, nil, nil, nil},
		{"a read-only workspace", "workspace.access = \"ro\"", plainRepo, nil, nil, nil},
		{"no workspace", "workspace.access = \"none\"", plainRepo, nil, nil, nil},
		{"replaced by a mount", "[mounts.\"" + git + "\"]\ntype = \"tmpfs\"", plainRepo, nil, nil, nil},
		{"masked", "[mounts.\"" + git + "\"]\ntype = \"mask\"", plainRepo, nil, nil, nil},
		{
			"guarded", guard, plainRepo, inPlace("="+git, git+"/config", git+"/hooks"), nil,
			[]string{"info: in " + git + open + "config.worktree, commondir, objects/info/alternates"},
		},
		{
			"guarded, with all there is", guard,
			plainRepo + git + "/config.worktree\n" + git + "/commondir\n" + git + "/gitdir\n" + git + "/info/attributes\n" + git + "/modules/\n" + git + "/worktrees/\n" + git + "/objects/info/alternates\n" + git + "/objects/info/http-alternates",
			inPlace("="+git, git+"/config", git+"/config.worktree", git+"/commondir", git+"/gitdir", git+"/hooks", "="+git+"/info", git+"/info/attributes",
				git+"/modules", git+"/worktrees", "="+git+"/objects", "="+git+"/objects/info", git+"/objects/info/alternates", git+"/objects/info/http-alternates"), nil, nil,
		},
		{
			"settings with another name", guard, plainRepo + git + "/config @1000 *2", inPlace("="+git, git+"/config", git+"/hooks"), nil,
			[]string{
				"warning: " + git + "/config is read-only, but the file has 2 names: it can be written by another of them that is granted",
				"info: in " + git + open + "config.worktree, commondir, objects/info/alternates",
			},
		},
		{
			"bound elsewhere as well", "[mounts.\"/mnt\"]\nsource = \"/home/dev\"\naccess = \"rw\"", plainRepo,
			[]string{git + " " + git, "=/mnt/proj /home/dev/proj", "/mnt/proj/.git " + git}, nil, nil,
		},
		{"an object, granted", "[mounts.\"" + git + "/objects\"]\naccess = \"rw\"", plainRepo, inPlace(git), nil, nil},
		{"a socket", "", git + " s", inPlace(git), nil, nil},
		{"worktree", "", worktree, inPlace(git), []string{main}, nil},
		{"worktree of a read-only workspace", "workspace.access = \"ro\"", worktree, nil, []string{main}, nil},
		{"worktree, writable", "workspace.git = \"rw\"", worktree, nil, []string{main + " rw"}, nil},
		{
			"worktree, guarded", guard, worktree,
			inPlace(git, main+"/config", main+"/hooks", "="+main+"/worktrees", main+"/worktrees/other", "="+main+"/worktrees/proj", main+"/worktrees/proj/commondir", main+"/worktrees/proj/gitdir"),
			[]string{main + " rw"},
			[]string{"info: in " + main + open + "config.worktree, commondir, objects/info/alternates", "info: in " + main + "/worktrees/proj" + open + "config.worktree"},
		},
		{"worktree with relative paths", "", worktree + git + " = \"gitdir: ../main/.git/worktrees/proj\"\n" + main + "/worktrees/proj/gitdir = \"../../../../proj/.git\"", inPlace(git), []string{main}, nil},
		{"submodule", "", submodule, inPlace(git), []string{sub}, nil},
		{
			"submodule, guarded", guard, submodule, inPlace(git, sub+"/config"), []string{sub + " rw"},
			[]string{"info: in " + sub + open + "config.worktree, commondir, hooks, objects/info/alternates"},
		},
		{
			"in another place of the workspace", "", git + " @1000 = \"gitdir: real\"\n" + strings.ReplaceAll(plainRepo, "/.git", "/real") + "/home/dev/proj/real/ @1000\n/home/dev/proj/real/config @1000 = \"[core]\\nworktree = ..\"\n",
			inPlace(git, "/home/dev/proj/real"), nil, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planned(t, input(t, tt.text, tt.host))
			same(t, "guards", guarded(p), tt.guards)
			same(t, "binds", shown(p), tt.shown)
			same(t, "notes", gitNotes(p), tt.notes)
		})
	}
}

func TestGitAbove(t *testing.T) {
	in := input(t, "workspace.path = \"./sub\"", plainRepo)
	p := planned(t, in)
	same(t, "binds", shown(p), []string(nil))
	const want = "info: the repository of /home/dev/proj lies above the workspace and is not shown; name that directory as the workspace to have it"
	if got := gitNotes(p); !slices.Contains(got, want) {
		t.Errorf("notes %q, want %q", got, want)
	}
}

func TestGitHide(t *testing.T) {
	for name, repo := range map[string]string{"a directory": plainRepo, "a file": worktree} {
		p := planned(t, input(t, "workspace.git = \"hide\"", repo))
		if m := at(p, "/home/dev/proj/.git"); m.Kind != sandbox.Mask || len(shown(p)) > 0 {
			t.Errorf("%s: %+v, %q", name, m, shown(p))
		}
	}
	alias := "\n[mounts.\"/m\"]\nsource = \"/home/dev/proj\"\naccess = \"rw\""
	if m := at(planned(t, input(t, "workspace.git = \"hide\""+alias, plainRepo)), "/m/.git"); m.Kind != sandbox.Mask {
		t.Errorf("in another place: %+v", m)
	}
	same(t, "without one", at(planned(t, input(t, "workspace.git = \"hide\"")), "/home/dev/proj/.git"), sandbox.Mount{})
}

func TestGitFaults(t *testing.T) {
	const git = "/home/dev/proj/.git"
	for _, tt := range []struct{ name, text, host, want string }{
		{"a link", "", git + " -> ../main/.git", git + ` is a symbolic link, which the command could replace; move the repository to its place, or set workspace.git = "rw"`},
		{"a link, guarded", "workspace.git = \"guard\"", git + " -> ../main/.git", git + ` is a symbolic link, which the command could replace; move the repository to its place, or set workspace.git = "rw"`},
		{"a link, hidden", "workspace.git = \"hide\"", git + " -> ../main/.git", git + ` is a symbolic link, which the command could replace; move the repository to its place, or set workspace.git = "rw"`},
		{"hooks that are a link", "workspace.git = \"guard\"", plainRepo + git + "/hooks -> ../githooks", git + `/hooks is a symbolic link, which the command could replace; put the file itself there, or set workspace.git = "ro"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			same(t, "errors", faults(t, input(t, tt.text, tt.host)), []string{"workspace.git: " + tt.want})
		})
	}
	for _, text := range []string{"workspace.git = \"rw\"", "workspace.access = \"ro\""} {
		same(t, text+" with a link", faults(t, input(t, text, git+" -> ../main/.git")), []string(nil))
	}
}

// TestGitPointers: a .git file that does not lead to the workspace's own
// repository shows nothing, says why, and is itself kept as it is.
func TestGitPointers(t *testing.T) {
	const (
		git  = "/home/dev/proj/.git"
		main = "/home/dev/main/.git"
		sub  = "/home/dev/super/.git/modules/proj"
		wt   = main + "/worktrees/proj"
	)
	to := func(dir string) string { return git + " @1000 = \"gitdir: " + dir + "\\n\"\n" }
	for _, tt := range []struct{ name, host, want string }{
		{"empty", git + ` @1000 = ""` + "\n", `it is no line "gitdir: PATH"`},
		{"of another kind", git + ` @1000 = "x\n"`, `it is no line "gitdir: PATH"`},
		{"without a path", git + ` @1000 = "gitdir: \n"`, `it is no line "gitdir: PATH"`},
		{"two lines", git + ` @1000 = "gitdir: /home/dev/main/.git/worktrees/proj\n/x\n"` + "\n", "open " + wt + "\n/x: no such file or directory"},
		{"a zero byte", git + ` @1000 = "gitdir: /home\x00/dev\n"`, "/home holds the workspace"},
		{"large", git + ` @1000 = "gitdir: ` + strings.Repeat("/a", 3000) + `"`, git + " names a path of 6000 bytes: file name too long"},
		{"very large", git + ` @1000 = "gitdir: ` + strings.Repeat("/a", 1<<19) + `"`, "not a small file"},
		{"to nothing", to("/home/dev/none"), "open /home/dev/none: no such file or directory"},
		{"to the home", to("/home/dev"), "/home/dev holds the workspace"},
		{"to the root", to("/"), "/ holds the workspace"},
		{"up and up", to("../../../../.."), "/ holds the workspace"},
		{"to keys", to("../.ssh") + "/home/dev/.ssh/ @1000\n", "/home/dev/.ssh is no repository: it has no HEAD"},
		{"to a file", to("../.ssh/id_rsa"), "/home/dev/.ssh/id_rsa is not a directory"},
		{"to system files", to("/etc"), "/etc belongs to another user"},
		{"to sbx's own", to("/home/dev/state") + "/home/dev/state/ @1000\n", "/home/dev/state is sbx's own"},
		{"to another repository", to("/home/dev/main/.git") + main + "/config = \"[core]\\n\\tbare = false\\n\"\n", main + "/config names no work tree"},
		{"to another worktree", to(wt) + wt + "/gitdir = \"/home/dev/else/.git\\n\"\n", wt + " is the worktree of /home/dev/else/.git (git worktree repair mends it after a move)"},
		{"to another submodule", submodule + sub + "/config = \"[core]\\nworktree = ../else\\n\"", sub + " is the repository of /home/dev/super/.git/modules/else"},
		{"by a link", to("/home/dev/l/.git/worktrees/proj") + "/home/dev/l -> main", "/home/dev/l/.git/worktrees/proj leads to " + wt + " by a symbolic link"},
		{"by a link and back", to("/home/dev/l/../main/.git/worktrees/proj") + "/home/dev/l -> x/y\n/home/dev/x/y/", wt + " leads to /home/dev/x/main/.git/worktrees/proj by a symbolic link"},
		{"a worktree of a repository elsewhere", to(wt) + wt + "/commondir = \"/home/dev/.ssh\"", wt + " is not one of the worktrees of /home/dev/.ssh"},
		{"a worktree of a directory with another name", to("/home/dev/wt/proj") + "/home/dev/wt/proj/ @1000\n/home/dev/wt/proj/commondir = \"../..\"", "/home/dev/wt/proj is not one of the worktrees of /home/dev"},
		{"a worktree of another user's", to(wt) + main + "/ @0", main + " belongs to another user"},
		{"settings that are a link", submodule + sub + "/config -> /x\n/x = \"[core]\\nworktree=/home/dev/proj\"", "open " + sub + "/config: too many levels of symbolic links"},
		{"objects that are a link", submodule + sub + "/objects -> /home/dev/.ssh", sub + " is no repository: it has no objects"},
		{"a worktree that names nothing back", to(wt) + "-" + wt + "/gitdir", "open " + wt + "/gitdir: no such file or directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, mode := range []string{"ro", "guard", "rw"} {
				in := input(t, "workspace.git = \""+mode+"\"", worktree, tt.host)
				in.StateDirs = []string{"/home/dev/state"}
				p := planned(t, in)
				same(t, "binds", shown(p), []string(nil))
				same(t, "notes", gitNotes(p), []string{"warning: " + git + " names a repository that is not shown, so git does not work inside: " + tt.want})
				if want := inPlace(git); mode != "rw" {
					same(t, "guards", guarded(p), want)
				}
			}
		})
	}
}

func TestWorkTree(t *testing.T) {
	for _, tt := range []struct{ config, want string }{
		{"", ""},
		{"[core]\n\tworktree = ../../../sub\n", "../../../sub"},
		{"[CORE]\nWorkTree=/a b", "/a b"},
		{"[core]\nworktree = \"/a#b\"", "/a#b"},
		{"[core]\nworktree = /a\nworktree = /b", "/b"},
		{"[core]\nworktree = /a\n[core]\nbare = false", "/a"},
		{"[core \"x\"]\nworktree = /a", ""},
		{"[other]\nworktree = /a", ""},
		{"[core] worktree = /a", ""},
		{"worktree = /a", ""},
		{"# [core]\n;[core]\nworktree = /a", ""},
		{"[core]\n# worktree = /a", ""},
		{"[core]\nworktree = /a # b", ""},
		{"[core]\nworktree = /a\\\n/b", ""},
		{"[core]\nx = \\\n[core]\nworktree = /a", ""},
		{"[core]\nworktree = \"/a\"\"b\"", ""},
		{"[core]\nworktree", ""},
		{"[core]\nworktree = /a\nworktree =", ""},
	} {
		if got, ok := workTree(tt.config); got != tt.want || ok != (tt.want != "") {
			t.Errorf("workTree(%q) = %q, %v, want %q", tt.config, got, ok, tt.want)
		}
	}
}

// lastName is the last name of the path in a line: "../victim/." is victim too.
func lastName(line string) string {
	return path.Base(path.Clean("/" + strings.TrimRight(line, "\r\n")))
}

// FuzzGitFile: whatever a .git file and the settings that it leads to say, no
// repository is shown but the one that is the workspace's.
func FuzzGitFile(f *testing.F) {
	const sub, victim = "/home/dev/super/.git/modules/proj", "/home/dev/victim"
	for _, text := range []string{"gitdir: ../super/.git/modules/proj\n", "gitdir: " + victim, "gitdir: ../victim/../super/.git/modules/proj", "gitdir: l/modules/proj", "gitdir: /home/dev/main/.git/worktrees/proj"} {
		f.Add(text, "[core]\nworktree = ../proj", "../..", "/home/dev/proj/.git")
		f.Add(text+"/", "[core]\nworktree = ../proj/", "../../", "/home/dev/proj/.git/")
		f.Add(text, "[core]\nworktree = /home/dev/else", "/home/dev/victim", "../../../../proj/.git\n")
	}
	files := tree(usual, worktree, submodule, strings.ReplaceAll(submodule, sub, victim), "/home/dev/proj/l -> ../super/.git", "/home/dev/victim/ @1000")
	in := input(f, "")
	in.Facts.Files = files
	f.Fuzz(func(t *testing.T, text, config, common, back string) {
		files.texts["/home/dev/proj/.git"] = text
		files.texts[victim+"/config"] = config
		files.texts["/home/dev/main/.git/worktrees/proj/commondir"] = common
		files.texts["/home/dev/main/.git/worktrees/proj/gitdir"] = back
		if _, err := Plan(in); err != nil && strings.Contains(err.Error(), "symbolic link, which the command could replace") {
			return
		}
		p := planned(t, in)
		for _, dir := range shown(p) {
			named := lastName(strings.TrimPrefix(text, "gitdir: "))
			switch {
			case dir == sub:
			case dir == victim && named == "victim" && strings.Contains(config, "proj"):
			case dir == "/home/dev/main/.git" && named == "proj" && lastName(back) == ".git" && strings.Contains(back, "proj"):
			default:
				t.Errorf("%q, %q, %q, %q show %s", text, config, common, back, dir)
			}
		}
		if m := at(p, "/home/dev/proj/.git"); m.Kind != sandbox.Guard || !m.ReadOnly {
			t.Errorf("the file is not kept: %+v", m)
		}
	})
}
