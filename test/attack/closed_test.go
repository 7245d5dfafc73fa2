package attack

import (
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// closedRows are runs that close a directory above what is kept from them, so that a
// later one can't look at it, and open it in that one.
func closedRows() (list []row) {
	for _, x := range []struct {
		id, what, setup, profile string
		close                    string // in WORK
		file                     string // what is to be changed
		git, refused             bool
	}{
		{"R02-git-triggers", "a repository that was closed", ownRepository, "[workspace]\ngit = \"guard\"\n", ".git", "WORK/.git/config", true, true},
		{"R02-git-triggers", "attributes that were closed", ownRepository + "; echo >.git/info/attributes", "[workspace]\ngit = \"guard\"\n", ".git/info", "WORK/.git/info/attributes", true, true},
		{"R02-git-triggers", "a repository in the project that a .git file names", "cd WORK; git init -q --separate-git-dir=real.git", "", "", "WORK/real.git/config", true, false},
		{"R02-git-triggers", "a closed one", "cd WORK; mkdir a; git init -q --separate-git-dir=a/real.git", "", "a", "WORK/a/real.git/config", true, true},
		{"R05-own-policy", "a profile in the project, by a link, that was closed", `mkdir -p WORK/conf HOMEDIR/.config/sbx/profiles; echo version = 1 >WORK/conf/x.toml
			ln -s WORK/conf/x.toml HOMEDIR/.config/sbx/profiles/x.toml`, "", "conf", "WORK/conf/x.toml", false, true},
		{"R61-own-files", "records in the project that were closed", "mkdir -p WORK/a/run/sbx/starts; chmod -R go= WORK/a/run", "", "a", "WORK/a/run/sbx/starts/0123456789abcdef", false, true},
	} {
		r := row{id: x.id, what: x.what, do: func(t *testing.T, w *world.World) {
			closed(t, w, x.setup, x.profile, x.close, expander(w).Replace(x.file), x.refused)
		}}
		if x.git {
			r.needs = []sbxtest.Feature{sbxtest.Tool("git")}
		}
		list = append(list, r)
	}
	return list
}

func closed(t *testing.T, w *world.World, setup, profile, dir, file string, refused bool) {
	gitEnv(w)
	shell(t, w, setup)
	before := content(file)
	if strings.HasPrefix(file, w.Work+"/a/run") {
		for i, v := range w.Env {
			if strings.HasPrefix(v, "XDG_RUNTIME_DIR=") {
				w.Env[i] = "XDG_RUNTIME_DIR=" + w.Work + "/a/run"
			}
		}
	}
	prof := w.Profile(t, profile)
	write := []string{"sh", "-c", `test -z "$1" || chmod 755 "$1"; echo planted >>"$2"`, "sh", dir, file}
	if dir != "" {
		if got := w.Run(t, w.Sandboxed(prof, "chmod", "000", dir)...); got.Code != 0 {
			t.Fatalf("closing it: status %d, %s", got.Code, got.Err)
		}
	}
	got := w.Run(t, w.Sandboxed(prof, write...)...)
	if dir != "" {
		shell(t, w, "chmod 755 WORK/"+dir)
	}
	if now := content(file); now != before {
		t.Errorf("what it holds was %q and is %q", before, now)
	}
	if refused != (got.Code == 125 && strings.Contains(got.Err, "make ")) {
		t.Errorf("the second run ended with %d: %s", got.Code, got.Err)
	}
	w.Run(t, write...)
	if now := content(file); !strings.Contains(now, "planted") {
		t.Errorf("control: outside it is %q", now)
	}
}
