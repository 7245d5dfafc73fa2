package attack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/world"
)

// project is a row of a hostile .sbx.toml that nobody agreed to. own is the
// person's profile "default", "" for none. sbx has to refuse, and to leave the
// victim alone; with agree it refuses even after the person agreed. As a
// control the same profile without what is in it between two lines # evil runs.
func project(what, own, text string, agree bool, setup func(t *testing.T, w *world.World), command ...string) row {
	return row{
		id: "R06-hostile-profile", what: what,
		do: func(t *testing.T, w *world.World) {
			if own != "" {
				w.Write(t, w.Home+"/.config/sbx/profiles/default.toml", expander(w).Replace(own))
			}
			if setup != nil {
				setup(t, w)
			}
			file := w.Work + "/.sbx.toml"
			w.Env = append(w.Env, "SOME_TOKEN="+strings.TrimSpace(world.Secret))
			run := append([]string{w.Sbx, "run", "-q", "--"}, expand(w, command)...)
			w.Write(t, file, expander(w).Replace(text))
			if agree {
				w.Run(t, w.Sbx, "trust", file)
			}
			got := w.Run(t, run...)
			if got.Code != 125 || strings.Contains(got.Out, strings.TrimSpace(world.Secret)) {
				t.Errorf("status %d, want 125; it printed %q, %q", got.Code, got.Out, got.Err)
			}
			w.Intact(t)
			before, rest, _ := strings.Cut(text, "# evil\n")
			_, after, _ := strings.Cut(rest, "# evil\n")
			w.Write(t, file, expander(w).Replace(before+after))
			run = []string{w.Sbx, "run", "-q", "--", "true", "env"}
			if got := w.Run(t, run...); got.Code != 0 {
				t.Errorf("control: without its evil part: status %d; %s", got.Code, got.Err)
			}
		},
	}
}

// twice is a row in which a first run prepares what a second one is to read.
// control is what makes the secret readable in a sandbox of the same kind.
func twice(what, profile, hidden, first, second string) row {
	return row{
		id: "R12-links", what: what,
		do: func(t *testing.T, w *world.World) {
			hidden := expander(w).Replace(hidden)
			w.Write(t, hidden, world.Secret)
			if got := w.Run(t, w.Sandboxed(w.Profile(t, ""), "cat", hidden)...); got.Out != world.Secret {
				t.Errorf("control: not hidden, it reads %q, %q", got.Out, got.Err)
			}
			t.Cleanup(func() { _ = os.Chmod(filepath.Dir(hidden), 0o755) }) // for the world's removal
			p := w.Profile(t, expander(w).Replace(profile))
			for _, script := range []string{first, second} {
				if got := w.Run(t, w.Sandboxed(p, "sh", "-c", expander(w).Replace(script))...); strings.Contains(got.Out, world.Secret) {
					t.Errorf("%s printed %q", script, got.Out)
				}
			}
		},
	}
}

func projectRows() []row {
	const open = "version = 1\nextends = [\"builtin:open\"]\n"
	const mine = "version = 1\nextends = [\"user:default\"]\n"
	secret := func(rel string) func(t *testing.T, w *world.World) {
		return func(t *testing.T, w *world.World) { w.Write(t, filepath.Join(w.Home, rel), world.Secret) }
	}
	return []row{
		project("a link in the place where files are prepared", "",
			"version = 1\n# evil\n[mounts.\"/.sbx-stash\"]\ntype = \"symlink\"\nsource = \"VICTIM\"\n# evil\n[mounts.\"WORK/readme\"]\ntype = \"file\"\ncontent = \"x\"\n",
			false, func(t *testing.T, w *world.World) { w.Write(t, w.Work+"/readme", "") }, "true"),
		project("a link of its root that leads to /proc", "",
			"version = 1\n[root]\nsource = \"WORK/img\"\n# evil\n[mounts.\"/p/self/rootVICTIM/made\"]\ntype = \"file\"\ncontent = \"x\"\n# evil\n",
			false, func(t *testing.T, w *world.World) {
				if err := os.MkdirAll(w.Work+"/img/usr", 0o755); err != nil {
					t.Fatal(err)
				}
				for link, to := range map[string]string{"p": "proc", "bin": "/bin", "d": "dev"} {
					if err := os.Symlink(to, w.Work+"/img/"+link); err != nil {
						t.Fatal(err)
					}
				}
				// So that the control finds a program.
				text, err := os.ReadFile(w.Probe)
				if err != nil {
					t.Fatal(err)
				}
				w.Write(t, w.Work+"/img/usr/bin/true", string(text))
				if err := os.Chmod(w.Work+"/img/usr/bin/true", 0o755); err != nil {
					t.Fatal(err)
				}
			}, "true"),
		project("a source that is not there in the place of a mask", open+"[mounts.\"VICTIM\"]\ntype = \"mask\"\n",
			mine+"# evil\n[mounts.\"VICTIM\"]\ntype = \"bind\"\nsource = \"WORK/none\"\noptional = true\nexec = false\n# evil\n",
			false, nil, "cat", "VICTIM/key"),
		project("a link in the place of what is hidden", open,
			mine+"# evil\n[mounts.\"HOMEDIR/.ssh\"]\ntype = \"symlink\"\nsource = \"x\"\n# evil\n",
			true, secret(".ssh/key"), "cat", "HOMEDIR/.ssh/key"),
		project("the name of a variable that is kept back by a pattern", open,
			mine+"# evil\n[environment]\npass = [\"SOME_TOKEN\"]\n# evil\n",
			false, nil, "printenv", "SOME_TOKEN"),
		project("the home of another sandbox, beside a host's home", open,
			mine+"# evil\nname = \"other\"\n[home]\nmode = \"persistent\"\n# evil\n",
			false, secret(".local/share/sbx/homes/other/key"), "cat", "HOMEDIR/key"),
		project("a share of what is masked", open+"[mounts.\"VICTIM\"]\ntype = \"mask\"\n",
			mine+"[mounts.\"VICTIM\"]\ntype = \"tmpfs\"\nexec = false\n# evil\n[home]\nmode = \"tmpfs\"\nshare = [\"VICTIM/key\"]\n# evil\n",
			false, nil, "cat", "VICTIM/key"),
		project("a workspace that is not hidden in any more", open+"[workspace]\nhide = [\".env\"]\n",
			mine+"# evil\n[workspace]\naccess = \"none\"\n# evil\n",
			false, secret("work/.env"), "cat", "WORK/.env"),
		{
			id: "R06-hostile-profile", what: "a workspace beside the project, run from the home",
			do: func(t *testing.T, w *world.World) {
				run := func() world.Result {
					cmd := w.Command(w.Sbx, "run", "./work", "cat", w.Victim+"/key")
					cmd.Dir = w.Home
					return world.Wait(t, cmd)
				}
				w.Write(t, w.Work+"/.sbx.toml", "version = 1\n[workspace]\npath = \""+w.Victim+"\"\n")
				if got := run(); got.Code != 125 || got.Out != "" {
					t.Errorf("status %d, it printed %q, %q", got.Code, got.Out, got.Err)
				}
				w.Run(t, w.Sbx, "trust", w.Work+"/.sbx.toml")
				if got := run(); got.Out != world.Secret {
					t.Errorf("control: trusted it printed %q, %q", got.Out, got.Err)
				}
			},
		},
		{
			id: "R05-own-policy", what: "configuration that lies in the project by a link",
			do: untouched(func(t *testing.T, w *world.World) (string, []string) {
				for _, d := range []string{"dots/conf/profiles", "dots/other"} {
					if err := os.MkdirAll(w.Work+"/"+d, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				w.Write(t, w.Work+"/dots/conf/profiles/a.toml", "version = 1\n")
				if err := os.Symlink(w.Work+"/dots/conf", w.Home+"/.config/sbx"); err != nil {
					t.Fatal(err)
				}
				return w.Profile(t, ""), []string{w.Work + "/dots/conf/profiles/a.toml", w.Work + "/dots/conf/profiles/new.toml"}
			}),
		},
		{
			id: "R05-own-policy", what: "a profile that lies in the project by a link",
			do: untouched(func(t *testing.T, w *world.World) (string, []string) {
				w.Write(t, w.Work+"/dots/a.toml", "version = 1\n")
				w.Write(t, w.Home+"/.config/sbx/profiles/other.toml", "version = 1\n")
				if err := os.Symlink(w.Work+"/dots/a.toml", w.Home+"/.config/sbx/profiles/default.toml"); err != nil {
					t.Fatal(err)
				}
				return w.Profile(t, ""), []string{w.Work + "/dots/a.toml"}
			}),
		},
		{
			id: "R12-links", what: "in the project, which is reached by a link",
			do: func(t *testing.T, w *world.World) {
				for _, err := range []error{os.Symlink(w.Victim, w.Work+"/out"), os.Symlink(w.Work, w.Home+"/by")} {
					if err != nil {
						t.Fatal(err)
					}
				}
				run := func(source string) world.Result {
					p := w.Profile(t, "[mounts.\"/mnt/x\"]\nsource = \""+source+"\"\n")
					cmd := w.Command(w.Sandboxed(p, "cat", "/mnt/x/key")...)
					cmd.Dir, cmd.Env = w.Home+"/by", append(cmd.Env, "PWD="+w.Home+"/by")
					return world.Wait(t, cmd)
				}
				for _, source := range []string{"${WORKSPACE}/out", w.Home + "/by/out", w.Work + "/out"} {
					if got := run(source); got.Code != 125 || got.Out != "" {
						t.Errorf("%s: status %d, it printed %q, %q", source, got.Code, got.Out, got.Err)
					}
				}
				if got := run(w.Victim); got.Out != world.Secret {
					t.Errorf("control: named itself it printed %q, %q", got.Out, got.Err)
				}
			},
		},
		twice("around what is hidden, in a directory that can't be read", "[workspace]\nhide = [\"**/.env\"]\n", "WORK/sub/.env",
			"chmod 000 sub", "chmod 755 sub; cat sub/.env"),
		twice("around what is hidden, under another name", "[workspace]\nhide = [\"conf/key\"]\n", "WORK/conf/key",
			"mv conf away; cat away/key", "cat away/key"),
		twice("around a mask, under another name", "[mounts.\"WORK/conf/key\"]\ntype = \"mask\"\n", "WORK/conf/key",
			"mv conf away; mkdir conf; touch conf/key; cat away/key", "cat away/key"),
		twice("around a file system in memory, under another name", "[mounts.\"WORK/a/conf\"]\ntype = \"tmpfs\"\n", "WORK/a/conf/key",
			"mv a away; mkdir -p a/conf; cat away/conf/key", "cat away/conf/key"),
		twice("around what is hidden, deeper than a path is long", "[workspace]\nhide = [\"**/.env\"]\n", "WORK/sub/.env",
			`n=$(printf %0250d 0); mkdir deep; mv sub deep/
			 for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do mkdir t && mv deep "t/$n" && mv t deep; done`,
			`find deep -name .env -execdir cat {} \;`),
		{
			id: "R12-links", what: "what is hidden in a directory with a name like a pattern, or is a link",
			do: func(t *testing.T, w *world.World) {
				dir := w.Work + "/[id]"
				w.Write(t, dir+"/.env", world.Secret)
				w.Write(t, dir+"/shown", world.Secret)
				w.Write(t, dir+"/real", world.Secret)
				if err := os.Symlink("real", dir+"/link"); err != nil {
					t.Fatal(err)
				}
				cmd := w.Command(w.Sandboxed(w.Profile(t, "[workspace]\nhide = [\".env\", \"link\", \"real\"]\n"), "cat", ".env", "link", "real", "shown")...)
				cmd.Dir = dir
				if got := world.Wait(t, cmd); got.Out != world.Secret {
					t.Errorf("it printed %q, %q, want what is shown and no more", got.Out, got.Err)
				}
			},
		},
		{
			id: "R12-links", what: "no /proc and no home, with the host's tree as the root",
			do: func(t *testing.T, w *world.World) {
				got := w.Run(t, w.Sandboxed(w.Profile(t, "[root]\nsource = \"/\"\nproc = \"none\"\n[home]\nmode = \"none\"\n"), "sh", "-c", "ls -A /proc; ls -A "+w.Home)...)
				if got.Out != "work\n" {
					t.Errorf("it shows %q, %q", got.Out, got.Err)
				}
				got = w.Run(t, w.Sandboxed(w.Profile(t, "[root]\nsource = \"/\"\n[home]\nmode = \"host\"\n"), "ls", "-A", "/proc", w.Home)...)
				if !strings.Contains(got.Out, "victim\n") || !strings.Contains(got.Out, "self\n") {
					t.Errorf("control: with both it shows %q, %q", got.Out, got.Err)
				}
			},
		},
		{
			id: "R14-terminal", what: "keeping sbx from its end by output that stays open",
			do: func(t *testing.T, w *world.World) {
				for _, tty := range []string{"auto", "never"} {
					term := pty.Open(t)
					p := w.Profile(t, "[process]\ntty = \""+tty+"\"\n")
					began := time.Now()
					if code := at(t, w, term, 7, w.Sandboxed(p, w.Probe, "inflight")...); code != 0 || time.Since(began) > 5*time.Second {
						t.Errorf("tty = %s: status %d after %v", tty, code, time.Since(began))
					}
				}
			},
		},
		{
			id: "R43-memory", what: "shared memory of size 0",
			probe:   []string{"sh", "-c", "test -d /dev/shm && echo there || echo none"},
			profile: "[root]\nshm = 0\n", control: "there", want: "none",
		},
	}
}
