package attack

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// gitEnv is a person whom git knows, and HOMEDIR/pwned is what an attack has
// the host's git make.
func gitEnv(w *world.World) {
	w.Env = append(w.Env,
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=protocol.file.allow", "GIT_CONFIG_VALUE_0=always", "GIT_CONFIG_KEY_1=init.defaultBranch", "GIT_CONFIG_VALUE_1=main")
}

// shell runs a script outside that has to succeed.
func shell(t *testing.T, w *world.World, script string) string {
	t.Helper()
	got := w.Run(t, "sh", "-ec", expander(w).Replace(script))
	if got.Code != 0 {
		t.Fatalf("%s: status %d: %s%s", script, got.Code, got.Out, got.Err)
	}
	return got.Out
}

// The kinds of repository that the project can have.
const (
	ownRepository = `cd WORK; git init -q; git add -A; git commit -qm one`
	linkedTree    = `mkdir HOMEDIR/main; cd HOMEDIR/main; git init -q; git commit -q --allow-empty -m one
		git worktree add -q -b work HOMEDIR/tree; git worktree add -q -b other HOMEDIR/other
		mv HOMEDIR/tree/.git WORK/.git; rmdir HOMEDIR/tree; cd WORK; git worktree repair; git add -A; git commit -qm two`
	subModule = `mkdir HOMEDIR/up; cd HOMEDIR/up; git init -q; git commit -q --allow-empty -m one
		mkdir HOMEDIR/super; cd HOMEDIR/super; git init -q; git submodule -q add HOMEDIR/up sub; git commit -qm sub
		mv sub/.git WORK/.git; sed -i 's|gitdir: .*|gitdir: HOMEDIR/super/.git/modules/sub|' WORK/.git
		git config -f .git/modules/sub/config core.worktree WORK; cd WORK; git add -A; git commit -qm two`
)

// useGit is what a person, or the prompt of a shell, does afterwards.
const useGit = `set +e
	for d in WORK HOMEDIR/main HOMEDIR/super; do
		if cd $d 2>/dev/null; then git status; git diff HEAD; git log -1; echo x >>x.txt; git add x.txt; git commit -m host; git checkout -b host-$$; fi
	done
	exit 0`

// plant makes the host's git run a command by each way there is: settings of
// any of its files, hooks, and other directories in the place of these.
var plant = []struct{ name, script string }{
	{"settings", `git config core.fsmonitor "touch HOMEDIR/pwned"`},
	{"settings, written", `echo "$evil" >>$shared/config; (cat $shared/config; echo "$evil") >new; PROBE rename new $shared/config`},
	{"hooks", `mkdir -p $shared/hooks; for h in pre-commit post-checkout; do echo "$hook" >$shared/hooks/$h; chmod +x $shared/hooks/$h; done`},
	{"other hooks", `PROBE rename $shared/hooks $shared/away; mkdir $shared/hooks; echo "$hook" >$shared/hooks/pre-commit; chmod +x $shared/hooks/pre-commit`},
	{"another repository under its name", `PROBE rename .git away; PROBE rename $shared $shared.away; git init -q; git config core.fsmonitor "touch HOMEDIR/pwned"`},
	{"another directory by the .git file", `copy; PROBE rename .git away2; echo "gitdir: $PWD/evil" >.git`},
}

// unkept is what a repository that may be written can't be kept from: a name that
// was not taken. Only a read-only one withstands it.
var unkept = struct{ name, script string }{"another place for all settings", `copy; echo "$PWD/evil" >$shared/commondir`}

// plantLinked is for a linked worktree, whose own part names the shared one.
var plantLinked = []struct{ name, script string }{
	{"another repository for the worktree", `copy; PROBE rename $own/commondir $own/away; echo "$PWD/evil" >$own/commondir`},
}

// ways are the words that the scripts of plant use.
const ways = `
	own=$(git rev-parse --absolute-git-dir) shared=$(cd "$(git rev-parse --git-common-dir)" && pwd) || exit 9
	hook='#!/bin/sh
touch HOMEDIR/pwned'
	evil='[core]
fsmonitor = touch HOMEDIR/pwned'
	copy() { # the repository, with settings of one's own
		rm -rf evil; cp -r $shared evil; cp $own/HEAD $own/index evil; rm -rf evil/commondir evil/gitdir
		git config -f evil/config core.fsmonitor "touch HOMEDIR/pwned"; git config -f evil/config --unset core.worktree
	}
`

// gitRows tries every way to have the host's git run something. Inside all of
// them have to fail; the control of each is the same done outside.
func gitRows() (list []row) {
	git := []sbxtest.Feature{sbxtest.Tool("git")}
	for _, repo := range []struct{ name, setup string }{{"its own", ownRepository}, {"of a linked worktree", linkedTree}, {"of a submodule", subModule}} {
		attacks := plant
		if repo.setup == linkedTree {
			attacks = slices.Concat(plant, plantLinked)
		}
		for _, mode := range []string{"ro", "guard"} {
			list = append(list, row{
				id: "R02-git-triggers", what: fmt.Sprintf("git = %q, a repository %s", mode, repo.name), needs: git,
				do: func(t *testing.T, w *world.World) {
					gitEnv(w)
					shell(t, w, repo.setup)
					before := listed(t, w)
					script := ways
					for _, a := range attacks {
						script += a.script + "\n"
					}
					if mode == "ro" {
						script += unkept.script + "\n"
					}
					p := w.Profile(t, fmt.Sprintf("[workspace]\ngit = %q\n", mode))
					got := w.Run(t, w.Sandboxed(p, "sh", "-c", expander(w).Replace(script)+"\nexit 0")...)
					if got.Code != 0 || strings.Contains(got.Err, "sbx: warning") {
						t.Errorf("status %d: %s", got.Code, got.Err)
					}
					if now := listed(t, w); mode == "ro" && now != before {
						t.Errorf("the repository was\n%s\nand is\n%s", before, now)
					}
					shell(t, w, useGit)
					if world.Exists(w.Home + "/pwned") {
						t.Errorf("the host's git ran what was planted; inside: %s", got.Err)
					}
					shell(t, w, `cd WORK; git fsck --strict; git log --format=%s | grep -x host`)
				},
			})
		}
		list = append(list, row{
			id: "R02-git-triggers", what: "the controls, with a repository " + repo.name, needs: git,
			do: func(t *testing.T, w *world.World) {
				for _, a := range append(attacks[:len(attacks):len(attacks)], unkept) {
					w := world.New(t)
					gitEnv(w)
					shell(t, w, repo.setup)
					got := w.Run(t, "sh", "-c", expander(w).Replace(ways+a.script+"\nexit 0"))
					shell(t, w, useGit)
					if got.Code != 0 || !world.Exists(w.Home+"/pwned") {
						t.Errorf("%s: done outside, the host's git ran nothing: %d %s%s", a.name, got.Code, got.Out, got.Err)
					}
				}
			},
		})
	}
	list = append(list, row{
		id: "R02-git-triggers", what: "while the host's git writes its settings anew, which takes a mount of the file itself away", needs: git,
		do: func(t *testing.T, w *world.World) {
			gitEnv(w)
			shell(t, w, ownRepository)
			for _, tt := range []struct{ mode, want string }{{"ro", "denied: EROFS"}, {"guard", "reached"}} { // guard is the control
				ready, went := w.Work+"/ready", w.Work+"/went"
				p := w.Profile(t, fmt.Sprintf("[workspace]\ngit = %q\n", tt.mode))
				cmd := w.Command(w.Sandboxed(p, "sh", "-c", w.Probe+" append .git/config; touch ready; until test -e went; do sleep 0.01; done; exec "+w.Probe+" append .git/config")...)
				var out strings.Builder
				cmd.Stdout = &out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				for end := time.Now().Add(30 * time.Second); !world.Exists(ready) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				}
				shell(t, w, "cd WORK; git config a.b c; touch went")
				if err := cmd.Wait(); err != nil || out.String() != "denied: EROFS\n"+tt.want+"\n" {
					t.Errorf("git = %q: %v, it printed %q", tt.mode, err, out.String())
				}
				os.Remove(ready)
				os.Remove(went)
			}
		},
	})
	return append(list, pointerRows()...)
}

// listed describes all repositories of the world's, and what the project has
// but what an attack left beside them.
func listed(t *testing.T, w *world.World) string {
	t.Helper()
	return shell(t, w, `find HOMEDIR -path '*/.git*' -not -path '*/evil/*' -printf '%p %y %m %s %T@ %C@ %l\n' | sort`)
}

// pointerRows are .git files that lead to what is not the project's.
func pointerRows() (list []row) {
	const asRepository = `mkdir -p VICTIM/objects VICTIM/refs; echo ref: refs/heads/main >VICTIM/HEAD; printf '[core]\n\tbare = false\n' >VICTIM/config; `
	const asWorktree = asRepository + `mkdir -p VICTIM/worktrees/w; cp VICTIM/HEAD VICTIM/worktrees/w/; echo ../.. >VICTIM/worktrees/w/commondir; `
	for _, p := range []struct{ name, script string }{
		{"to a directory", `echo "gitdir: VICTIM" >.git`},
		{"to one's home", `echo "gitdir: HOMEDIR" >.git`},
		{"up the tree", `echo "gitdir: ../victim" >.git`},
		{"to another's repository", asRepository + `echo "gitdir: VICTIM" >.git`},
		{"to the repository of another project", asRepository + `git config -f VICTIM/config core.worktree HOMEDIR/other; echo "gitdir: VICTIM" >.git`},
		{"to another project's worktree", asWorktree + `echo HOMEDIR/other/.git >VICTIM/worktrees/w/gitdir; echo "gitdir: VICTIM/worktrees/w" >.git`},
		{"by a link of the project's", asRepository + `git config -f VICTIM/config core.worktree WORK; ln -s VICTIM l; echo "gitdir: l" >.git`},
		{"a second line", asRepository + `git config -f VICTIM/config core.worktree WORK; printf 'gitdir: VICTIM\n\n/x\n' >.git`},
		{"a worktree's with the victim for its common part", `mkdir -p fake/worktrees/w; cd fake; mkdir objects refs; echo ref: refs/heads/main >HEAD; cp HEAD worktrees/w; cd ..
			echo VICTIM >fake/worktrees/w/commondir; echo WORK/.git >fake/worktrees/w/gitdir; echo "gitdir: fake/worktrees/w" >.git`},
	} {
		list = append(list, row{
			id: "R02-git-triggers", what: "a .git file that leads " + p.name, needs: []sbxtest.Feature{sbxtest.Tool("git")},
			do: func(t *testing.T, w *world.World) {
				shell(t, w, "cd WORK; "+p.script)
				before := shell(t, w, "find VICTIM -ls")
				for _, mode := range []string{"ro", "guard", "rw"} {
					prof := w.Profile(t, fmt.Sprintf("[workspace]\ngit = %q\n", mode))
					got := w.Run(t, w.Sandboxed(prof, "sh", "-c", "cat "+w.Victim+"/key; echo ran")...)
					refused := got.Code == 125 && strings.Contains(got.Err, w.Work+"/l is a symbolic link, which the command could replace")
					if (got.Code != 0 || got.Out != "ran\n") && !refused {
						t.Errorf("git = %q: status %d, it printed %q, %q", mode, got.Code, got.Out, got.Err)
					}
				}
				if now := shell(t, w, "find VICTIM -ls"); now != before {
					t.Errorf("what it led to was\n%s\nand is\n%s", before, now)
				}
				// The control: a repository that names the project back is shown.
				shell(t, w, "cd WORK; rm -rf .git l; "+asRepository+`git config -f VICTIM/config core.worktree WORK; echo "gitdir: VICTIM" >.git`)
				if got := w.Run(t, w.Sandboxed(w.Profile(t, ""), "cat", w.Victim+"/key")...); got.Out != world.Secret {
					t.Errorf("control: it printed %q, %q", got.Out, got.Err)
				}
			},
		})
	}
	return append(list, row{
		id: "R02-git-triggers", what: "a .git that is a FIFO, a device's link, or huge",
		do: func(t *testing.T, w *world.World) {
			git := w.Work + "/.git"
			run := func(what string, want int) {
				t.Helper()
				got := w.Run(t, w.Sandboxed(w.Profile(t, ""), "sh", "-c", "rm -rf .git; mv .git x; echo ran")...)
				if got.Code != want || (want == 0) != (got.Out == "ran\n") {
					t.Errorf("%s: status %d, it printed %q, %q", what, got.Code, got.Out, got.Err)
				}
				if _, err := os.Lstat(git); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				if err := os.Remove(git); err != nil {
					t.Fatal(err)
				}
			}
			if err := unix.Mkfifo(git, 0o600); err != nil {
				t.Fatal(err)
			}
			run("a FIFO", 0)
			w.Write(t, git, "gitdir: "+strings.Repeat("/x", 1<<20))
			run("2 MiB", 0)
			if err := os.Symlink("/dev/zero", git); err != nil {
				t.Fatal(err)
			}
			run("a link", 125)
			w.Write(t, git, "gitdir: x\n")
			if w.Run(t, "sh", "-c", "rm -rf .git; mv .git x"); world.Exists(git) {
				t.Error("control: outside, .git is still there")
			}
		},
	})
}
