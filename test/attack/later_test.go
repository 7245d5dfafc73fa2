package attack

import (
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// laterRows are commands that leave something behind by which a later run would give
// more than its profile says: the contents of VICTIM/key, or of a file of the project
// that is hidden.
func laterRows() (list []row) {
	const (
		own    = "printf '%s' the-victims-secret >WORK/own"
		hidden = "[workspace]\nhide = [\"own\"]\n"
		secret = "[process]\nsecrets = [\"t\"]\n[secrets]\nt = \"file:WORK/token\"\n"
	)
	for _, x := range []struct {
		what, setup, first, profile string
		read                        string // what the later run is to print
		outside                     string // and where that is outside
		same                        bool   // the first run has that profile, too, else that of most
	}{
		{"a secret's file, where the project is not written", "echo tok >WORK/token", "ln -sf VICTIM/key token", "[workspace]\naccess = \"ro\"\n" + secret, "/run/secrets/t", "WORK/token", false},
		{"a secret's file, where changes are kept apart", "echo tok >WORK/token", "ln -sf VICTIM/key token", "[workspace]\naccess = \"overlay\"\n[overlay]\nupper = \"tmpfs\"\n" + secret, "/run/secrets/t", "WORK/token", false},
		{"the source of a mount, to what is hidden", own + "; echo >WORK/conf", "ln -sf own conf", hidden + "[mounts.\"/x\"]\nsource = \"WORK/conf\"\n", "/x", "WORK/conf", true},
		{"the source of a mount, in another one", "mkdir -p HOMEDIR/a/b", "rmdir /a/b; ln -s VICTIM /a/b", "[mounts]\n\"/a\" = \"HOMEDIR/a:rw\"\n\"/b\" = \"HOMEDIR/a/b\"\n", "/b/key", "HOMEDIR/a/b/key", true},
		{"a directory above a file that is put over another", "mkdir WORK/conf; " + own + "; mv WORK/own WORK/conf", "mv conf moved; mkdir conf; echo >conf/own", "[mounts.\"WORK/conf/own\"]\ntype = \"file\"\n", "WORK/moved/own", "WORK/moved/own", true},
	} {
		r := row{id: "R49-left-behind", what: x.what, do: func(t *testing.T, w *world.World) {
			e := expander(w)
			shell(t, w, x.setup)
			before := ""
			if x.same {
				before = e.Replace(x.profile)
			}
			w.Run(t, w.Sandboxed(w.Profile(t, before), "sh", "-c", e.Replace(x.first))...)
			got := w.Run(t, w.Sandboxed(w.Profile(t, e.Replace(x.profile)), "cat", e.Replace(x.read))...)
			if strings.Contains(got.Out, "the-victims-secret") {
				t.Errorf("a later run printed %q", got.Out)
			}
			control := world.New(t)
			shell(t, control, x.setup)
			shell(t, control, "cd WORK; "+strings.ReplaceAll(x.first, " /a", " HOMEDIR/a"))
			if got := shell(t, control, "cat "+x.outside); !strings.Contains(got, "the-victims-secret") {
				t.Errorf("control: outside it printed %q", got)
			}
		}}
		if strings.Contains(x.profile, "overlay") {
			r.needs = []sbxtest.Feature{sbxtest.Overlay}
		}
		list = append(list, r)
	}
	return append(list, row{
		id: "R05-own-policy", what: "the project's profile, by who may write the directory",
		do: func(t *testing.T, w *world.World) {
			shell(t, w, "mkdir WORK/sub; for d in WORK WORK/sub; do printf '%s' the-victims-secret >$d/.env; done")
			w.Write(t, w.Work+"/.sbx.toml", "version = 1\n[workspace]\nhide = [\"**/.env\"]\n")
			if got := w.Run(t, w.Sbx, "run", "--", "chmod", "777", ".", "sub"); got.Code != 0 {
				t.Fatalf("opening them: status %d, %s", got.Code, got.Err)
			}
			for _, dir := range []string{".", "sub"} {
				print := []string{"sh", "-c", "cd \"$1\" && shift && exec \"$@\"", "sh", dir}
				if got := w.Run(t, append(print, w.Sbx, "run", "--", "cat", ".env")...); got.Out != "" {
					t.Errorf("in %s a later run printed %q", dir, got.Out)
				}
				if got := w.Run(t, append(print, w.Sbx, "run", "build", "--", "cat", ".env")...); got.Out == "" {
					t.Errorf("control: in %s another profile printed nothing: %s", dir, got.Err)
				}
			}
		},
	}, row{
		id: "R29-locked-mounts", what: "a directory above what is hidden, moved to where another mount shows it",
		do: func(t *testing.T, w *world.World) {
			const mount = "[mounts.\"/x\"]\nsource = \"WORK/data\"\n"
			for profile, seen := range map[string]bool{"[workspace]\nhide = [\"**/.env\"]\n" + mount: false, mount: true} {
				shell(t, w, "rm -rf WORK/z WORK/data; mkdir -p WORK/z/d WORK/data; printf '%s' the-victims-secret >WORK/z/d/.env")
				got := w.Run(t, w.Sandboxed(w.Profile(t, expander(w).Replace(profile)), "sh", "-c", "mv z/d data; cat /x/d/.env")...)
				if strings.Contains(got.Out, "the-victims-secret") != seen {
					t.Errorf("with %q it printed %q, %q", profile, got.Out, got.Err)
				}
			}
		},
	}, row{
		id: "R49-left-behind", what: "a directory above what is hidden, for the same command started again",
		do: func(t *testing.T, w *world.World) {
			shell(t, w, "mkdir -p WORK/z/d; printf '%s' the-victims-secret >WORK/z/d/.env")
			const script = `test -d a && exec cat a/d/.env; mkdir a; mv z/d a; mkdir z/d; echo other >z/d/.env; exit 1`
			for name, profile := range map[string]string{"hidden": "[workspace]\nhide = [\"**/.env\"]\n", "seen": ""} {
				shell(t, w, "cd WORK; test ! -d a || { mv a/d/.env keep; rm -rf a z; mkdir -p z/d; mv keep z/d/.env; }")
				if got := w.Run(t, w.Sbx, "run", "-d", "--name", name, "--restart", "on-failure:1", w.Profile(t, profile), "--", "sh", "-c", script); got.Code != 0 {
					t.Fatalf("%s: status %d, %s", name, got.Code, got.Err)
				}
				got := w.Run(t, w.Sbx, "wait", name)
				if strings.TrimSpace(got.Out) != "0" {
					t.Errorf("%s: it ended with %s%s", name, got.Out, got.Err)
				}
				got = w.Run(t, w.Sbx, "logs", name)
				if seen := strings.Contains(got.Out, "the-victims-secret"); seen != (name == "seen") {
					t.Errorf("%s: it printed %q", name, got.Out)
				}
				w.Run(t, w.Sbx, "rm", name)
			}
		},
	}, row{
		id: "R05-own-policy", what: "a profile of its own in a directory of the project",
		do: func(t *testing.T, w *world.World) {
			shell(t, w, "mkdir WORK/sub")
			p := w.Profile(t, "")
			if got := w.Run(t, w.Sandboxed(p, "sh", "-c", "echo version = 1 >sub/.sbx.toml")...); !strings.Contains(got.Err, "sub/.sbx.toml") {
				t.Errorf("it is not reported: %s", got.Err)
			}
			if got := w.Run(t, w.Sandboxed(p, "true")...); strings.Contains(got.Err, ".sbx.toml") {
				t.Errorf("control: one that was there is reported: %s", got.Err)
			}
		},
	})
}
