package projects

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/world"
)

// gitSite is a site whose project has three commits, a branch and a remote.
func gitSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, "git")
	s.Write(t, s.Project+"/one", "1\n")
	s.commit(t)
	s.must(t, s.outside(t, "sh", "-ec", `
		echo 2 >>one; git commit -qam two; git checkout -q -b topic; echo t >topic; git add topic; git commit -qm topic; git checkout -q main
		echo 3 >>one; git commit -qam three; git tag -a -m first v1; git pack-refs --all
		git clone -q --bare . ../up.git; git remote add origin ../up.git; git fetch -q`))
	return s
}

// repositories describes every file of the repositories below dirs.
func (s *site) repositories(t *testing.T, dirs ...string) string {
	t.Helper()
	r := s.outside(t, append([]string{"find"}, append(dirs, "-path", "*/.git*", "-printf", `%p %y %m %s %T@ %C@ %l\n`)...)...)
	s.must(t, r)
	return r.Out
}

// TestGitReadOnly: under the default a repository answers questions, without a
// word on standard error although git would like to refresh its index, and is
// afterwards as it was, to the time of each file's last change.
func TestGitReadOnly(t *testing.T) {
	s := gitSite(t)
	worktree, sub := filepath.Join(s.Home, "src", "tree"), filepath.Join(s.Home, "src", "super", "sub")
	s.must(t, s.outside(t, "sh", "-ec", `git worktree add -q ../tree -b tree
		mkdir ../super; cd ../super; git init -q; git -c protocol.file.allow=always submodule -q add ../git sub; git commit -qm sub`))
	for _, dir := range []string{s.Project, worktree, sub} {
		s.Project = dir
		s.must(t, s.outside(t, "touch", "one")) // the index is no longer fresh
		before := s.repositories(t, filepath.Join(s.Home, "src"))
		r := s.script(t, "build", `git status; git diff --stat; git log --oneline; git describe --dirty --always; git blame -s one; git stash list; git branch -a
			git rev-parse --show-toplevel; git fsck --no-dangling --no-progress`)
		s.must(t, r, "working tree clean", "three", dir)
		if r.Err != "" {
			t.Errorf("%s: it says %q", dir, r.Err)
		}
		s.fails(t, s.script(t, "build", "git commit --allow-empty -m x"), "Read-only file system")
		s.fails(t, s.script(t, "build", "git config a.b c"), "Read-only file system")
		if now := s.repositories(t, filepath.Join(s.Home, "src")); now != before {
			t.Errorf("%s: the repositories were\n%s\nand are\n%s", dir, before, now)
		}
		s.status(t)
		if s.repositories(t, filepath.Join(s.Home, "src")) == before {
			t.Errorf("%s: the control, git status outside, changed nothing", dir)
		}
	}
}

// gitWork is a day's work with git. It sets no settings.
const gitWork = `
git status --short
git checkout -q -b fix
echo 4 >>one; git stash -q; git stash pop -q; git commit -qam four; git commit -q --amend -m 'four, amended'
echo f >fix; git add fix; git commit -qm fix
git checkout -q topic; git rebase -q fix; test "$(git log --format=%s | head -2 | tail -1)" = fix
git checkout -q fix; git merge -q --no-ff -m merged topic
git checkout -q -b pick main; git cherry-pick topic >/dev/null; git revert --no-edit HEAD >/dev/null; git reset -q --hard HEAD~1; git checkout -q fix
git stash list; echo x >x; git stash -q -u; git stash drop -q
git tag v2; git branch gone; git branch -D gone 2>/dev/null
git fetch -q origin; git log -1 --format=%s origin/main
git gc -q; git fsck --no-dangling --no-progress
git log -1 --format='%s by %an'`

// TestGitGuard: under guard commits, branches, tags, stashes, rebases, merges
// and fetches work, in a repository of the project's own, in a linked worktree
// and in a submodule. Settings and hooks stay, and the repository is sound.
func TestGitGuard(t *testing.T) {
	for _, kind := range []string{"own", "worktree", "submodule"} {
		t.Run(kind, func(t *testing.T) {
			s := gitSite(t)
			repo, up := s.Project, filepath.Join(s.Home, "src", "up.git")
			switch kind {
			case "worktree":
				s.must(t, s.outside(t, "git", "worktree", "add", "-q", "../tree", "-b", "tree"))
				s.Project = filepath.Join(s.Home, "src", "tree")
			case "submodule":
				s.must(t, s.outside(t, "sh", "-ec", `mkdir ../super; cd ../super; git init -q; git -c protocol.file.allow=always submodule -q add ../up.git sub; git commit -qm sub
					cd sub; git branch -q topic origin/topic`))
				repo = filepath.Join(s.Home, "src", "super")
				s.Project = filepath.Join(repo, "sub")
			}
			rules := func() world.Result {
				return s.outside(t, "sh", "-ec", `cd "$(git rev-parse --git-common-dir)"; find config hooks info/exclude -printf '%p %y %m %s %T@ %C@\n'; ls -A | grep -x -e commondir -e config.worktree || echo none`)
			}
			before := rules()
			s.must(t, before, "config", "hooks", "none")
			p := s.Profile(t, "extends = ['builtin:agent']\n[home]\nshare = ['~/.gitconfig']\n[mounts.'"+up+"']\n")
			s.homes(t)
			s.must(t, s.script(t, p, gitWork), "merged by Decoy Person", "three")
			if now := rules(); now.Out != before.Out {
				t.Errorf("settings and hooks were\n%s\nand are\n%s", before.Out, now.Out)
			}
			s.status(t)
			s.must(t, s.outside(t, "sh", "-ec", `git fsck --strict; git log -1 --format=%s fix --; git rev-parse v2; test -z "$(git stash list)"; git checkout -q --detach`), "merged")
			s.must(t, s.outside(t, "git", "-C", repo, "status", "--short"))
			s.fails(t, s.script(t, p, "git config a.b c"), "could not write config file")
			s.fails(t, s.script(t, p, "mv .git away"))
			// What can't be kept from being made is said.
			if r := s.outside(t, s.Sbx, "explain", p); kind == "own" && !strings.Contains(r.Out, "can't be kept from being made: config.worktree, commondir") {
				t.Errorf("explain says nothing of it: %s", r.Out)
			}
		})
	}
}

// TestGitAbove: the repository of a directory above the workspace is not shown,
// and explain says so.
func TestGitAbove(t *testing.T) {
	s := gitSite(t)
	s.Write(t, s.Project+"/part/x", "x\n")
	top := s.Project
	s.Project += "/part"
	s.fails(t, s.script(t, "build", "git status"), "not a git repository")
	s.must(t, s.outside(t, s.Sbx, "explain", "build"), "the repository of "+top+" lies above the workspace")
	s.must(t, s.outside(t, "git", "status"))
}

// TestGitHidden: with "hide" there is no history to read.
func TestGitHidden(t *testing.T) {
	s := gitSite(t)
	p := s.Profile(t, "[workspace]\ngit = 'hide'\n")
	s.fails(t, s.script(t, p, "git log"), "not a git repository")
	if r := s.script(t, p, "ls -A .git"); r.Code != 0 || r.Out != "" {
		t.Errorf("status %d, it lists %q", r.Code, r.Out)
	}
	s.must(t, s.script(t, "build", "git log"), "three")
}

// TestGitWritable: with "rw" all of git works, settings too.
func TestGitWritable(t *testing.T) {
	s := gitSite(t)
	p := s.Profile(t, "[workspace]\ngit = 'rw'\n")
	s.must(t, s.outside(t, "git", "worktree", "add", "-q", "../tree", "-b", "tree"))
	for _, dir := range []string{s.Project, filepath.Join(s.Home, "src", "tree")} {
		s.Project = dir
		s.must(t, s.script(t, p, "git config a.b c && git worktree list && git -c user.name=x -c user.email=x commit -q --allow-empty -m x"))
		s.must(t, s.outside(t, "git", "config", "a.b"), "c")
		s.must(t, s.outside(t, "git", "config", "--unset", "a.b"))
	}
}
