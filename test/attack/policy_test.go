package attack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// tamper tries to change what is at each path: by writing, replacing, removing
// and renaming it and what holds it.
const tamper = `
for f; do
	echo '# planted' >>"$f"
	rm -f "$f" && echo '# planted' >"$f"
	d=$(dirname "$f")
	echo '# planted' >"$d/.new" && mv -f "$d/.new" "$f"
	if mv "$d" "$d.away"; then mkdir -p "$d"; echo '# planted' >"$f"; fi
	mkdir -p "$d" && echo '# planted' >"$f"
done 2>/dev/null
exit 0`

func tampering(files ...string) []string {
	return append([]string{"sh", "-c", tamper, "sh"}, files...)
}

// untouched runs tamper in a sandbox and fails if a file is not as it was. The
// control is the same outside, in another world, which has to change each.
func untouched(profile func(t *testing.T, w *world.World) (ref string, files []string)) func(*testing.T, *world.World) {
	return func(t *testing.T, w *world.World) {
		ref, files := profile(t, w)
		before := map[string]string{}
		for _, f := range files {
			before[f] = content(f)
		}
		got := w.Run(t, w.Sandboxed(ref, tampering(files...)...)...)
		if got.Code != 0 {
			t.Errorf("sbx ended with %d: %s", got.Code, got.Err)
		}
		for _, f := range files {
			if now := content(f); now != before[f] {
				t.Errorf("the sandbox changed %s from %q to %q", f, before[f], now)
			}
		}
		control := world.New(t)
		_, files = profile(t, control)
		for _, f := range files {
			before[f] = content(f)
		}
		control.Run(t, tampering(files...)...)
		for _, f := range files {
			if content(f) == before[f] {
				t.Errorf("control: outside, %s was not changed", f)
			}
		}
	}
}

func content(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "absent"
	}
	return string(text)
}

func policyRows() []row {
	return []row{{
		id: "R05-own-policy", what: "the profile in the project and what it extends",
		do: untouched(func(t *testing.T, w *world.World) (string, []string) {
			files := []string{w.Work + "/conf/deep/p.toml", w.Work + "/base.toml"}
			w.Write(t, files[0], "version = 1\nextends = [\"../../base.toml\"]\n")
			w.Write(t, files[1], "version = 1\n")
			return files[0], files
		}),
	}, {
		id: "R05-own-policy", what: "configuration and state below an empty home",
		do: untouched(func(t *testing.T, w *world.World) (string, []string) {
			p := w.Profile(t, "")
			return p, ownFiles(t, w)
		}),
	}, {
		id: "R05-own-policy", what: "configuration and state below the host's home, writable",
		do: untouched(func(t *testing.T, w *world.World) (string, []string) {
			return w.Profile(t, "[home]\nmode = \"host\"\naccess = \"rw\"\n"), ownFiles(t, w)
		}),
	}, {
		id: "R05-own-policy", what: "configuration that is not there yet",
		do: untouched(func(t *testing.T, w *world.World) (string, []string) {
			return w.Profile(t, "[home]\nmode = \"host\"\naccess = \"rw\"\n"), []string{w.Home + "/.config/sbx/profiles/new.toml"}
		}),
	}, {
		id: "R05-own-policy", what: "state that the profile binds writable",
		do: func(t *testing.T, w *world.World) {
			ownFiles(t, w)
			for _, dir := range []string{"/.config/sbx", "/.config/sbx/profiles", "/.local/share/sbx/homes/other"} {
				for access, want := range map[string]int{"rw": 125, "ro": 0} {
					p := w.Profile(t, "[mounts.\"/mnt/x\"]\nsource = \""+w.Home+dir+"\"\naccess = \""+access+"\"\n")
					if got := w.Run(t, w.Sandboxed(p, "true")...); got.Code != want {
						t.Errorf("%s %s: status %d, want %d; %s", dir, access, got.Code, want, got.Err)
					}
				}
			}
		},
	}, {
		id: "R05-own-policy", what: "a link to the profile",
		do: func(t *testing.T, w *world.World) {
			w.Write(t, w.Home+"/dotfiles/p.toml", "version = 1\n")
			w.Write(t, w.Work+"/other.toml", "version = 1\n[mounts.\""+w.Victim+"\"]\n")
			link := w.Work + "/p.toml"
			if err := os.Symlink(w.Home+"/dotfiles/p.toml", link); err != nil {
				t.Fatal(err)
			}
			w.Run(t, w.Sandboxed(link, "sh", "-c", "ln -sf other.toml p.toml")...)
			if got := w.Run(t, w.Sandboxed(link, "cat", w.Victim+"/key")...); got.Out != "" {
				t.Errorf("a second run printed %q", got.Out)
			}
			w.Run(t, "ln", "-sf", "other.toml", link)
			w.Run(t, w.Sbx, "trust", w.Work+"/other.toml")
			if got := w.Run(t, w.Sandboxed(w.Work+"/other.toml", "cat", w.Victim+"/key")...); got.Out != world.Secret {
				t.Errorf("control: the other profile printed %q, %q", got.Out, got.Err)
			}
		},
	}, {
		id: "R05-own-policy", what: "the sbx binary in the project",
		do: func(t *testing.T, w *world.World) {
			bin := w.Work + "/bin/sbx"
			text, err := os.ReadFile(w.Sbx)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(t, bin, string(text))
			if err := os.Chmod(bin, 0o755); err != nil {
				t.Fatal(err)
			}
			w.Sbx = bin
			missing := w.Run(t, w.Sandboxed(w.Profile(t, ""), "true")...)
			if missing.Code != 125 || !strings.Contains(missing.Err, "bin/sbx-net is not there, and the command could make it") {
				t.Errorf("without the programs that it starts: status %d, %s", missing.Code, missing.Err)
			}
			for _, name := range []string{"sbx-net", "sbx-scope", "sbx-store"} {
				w.Write(t, w.Work+"/bin/"+name, "")
			}
			got := w.Run(t, w.Sandboxed(w.Profile(t, ""), tampering(bin)...)...)
			if now := content(bin); now != string(text) {
				t.Errorf("the sandbox changed the binary that runs it, of %d bytes, to %d bytes", len(text), len(now))
			}
			if got.Code != 0 {
				t.Errorf("sbx ended with %d: %s", got.Code, got.Err)
			}
			w.Run(t, tampering(bin)...)
			if !strings.Contains(content(bin), "# planted") {
				t.Error("control: outside, the binary was not changed")
			}
		},
	}, {
		id: "R05-own-policy", what: "a program of sbx's own in the project",
		do: untouched(func(t *testing.T, w *world.World) (string, []string) {
			text, err := os.ReadFile(w.Sbx)
			if err != nil {
				t.Fatal(err)
			}
			w.Sbx = w.Work + "/bin/sbx"
			var list []string
			for _, name := range []string{"bin/sbx", "bin/sbx-net", "bin/sbx-scope", "bin/sbx-store"} {
				program := w.Work + "/" + name
				if name == "bin/sbx" {
					w.Write(t, program, string(text))
				} else {
					w.Write(t, program, "#!/bin/sh\n")
					list = append(list, program)
				}
				if err := os.Chmod(program, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			return w.Profile(t, ""), list
		}),
	}, {
		id: "R05-own-policy", what: "a profile that can't be read never means no policy",
		do: func(t *testing.T, w *world.World) {
			for _, text := range []string{"[", "version = 1\nnonsense = 1\n", "version = 1\nextends = [\"missing.toml\"]\n", "version = 99\n"} {
				w.Write(t, w.Work+"/bad.toml", text)
				got := w.Run(t, w.Sandboxed("bad.toml", w.Probe, "marker", w.Work+"/ran")...)
				if got.Code != 125 || world.Exists(w.Work+"/ran") {
					t.Errorf("profile %q: status %d, want 125; the command ran: %v; %s", text, got.Code, world.Exists(w.Work+"/ran"), got.Err)
				}
				os.Remove(w.Work + "/ran")
			}
			w.Write(t, w.Work+"/good.toml", "version = 1\n")
			if got := w.Run(t, w.Sandboxed("good.toml", w.Probe, "marker", w.Work+"/ran")...); got.Code != 0 || !world.Exists(w.Work+"/ran") {
				t.Errorf("control: with a good profile the command did not run: %d %s", got.Code, got.Err)
			}
		},
	}, {
		id: "R06-hostile-profile", what: "a profile of the project that grants more than the default",
		do: func(t *testing.T, w *world.World) {
			file := w.Work + "/.sbx.toml"
			w.Write(t, file, "version = 1\n[mounts.\""+w.Victim+"\"]\n")
			read := w.Sandboxed(file, "cat", w.Victim+"/key")
			refused := func(when string) {
				t.Helper()
				got := w.Run(t, read...)
				if got.Code != 125 || strings.Contains(got.Out, world.Secret) || !strings.Contains(got.Err, w.Victim) {
					t.Errorf("%s: status %d, want 125 and a message naming %s; it printed %q and %q", when, got.Code, w.Victim, got.Out, got.Err)
				}
			}
			refused("before it is trusted")
			if got := w.Run(t, w.Sbx, "trust", file); got.Code != 0 {
				t.Fatalf("sbx trust: status %d: %s", got.Code, got.Err)
			}
			if got := w.Run(t, read...); got.Out != world.Secret {
				t.Errorf("control: trusted, it printed %q, %q", got.Out, got.Err)
			}
			w.Write(t, file, content(file)+"\n")
			refused("changed after it was trusted")
		},
	}, {
		id: "R06-hostile-profile", what: "each kind of grant",
		do: func(t *testing.T, w *world.World) {
			w.Write(t, w.Home+"/.gitconfig", "x")
			w.Write(t, w.Home+"/secret", "x")
			w.Env = append(w.Env, "MY_VARIABLE=x")
			for _, grant := range []string{
				"[network]\nmode = \"host\"\n",
				"[home]\nmode = \"host\"\n", "[home]\nmode = \"host\"\naccess = \"rw\"\n", "[home]\nshare = [\"~/secret\"]\n", "[home]\nmode = \"persistent\"\n",
				"[workspace]\npath = \"..\"\n", "[workspace]\npath = \"/usr\"\n", "[workspace]\npath = \"VICTIM\"\n",
				"[root]\nsource = \"/\"\n", "[root]\netc = \"host\"\n", "[root]\nsource = \"VICTIM\"\n", "[root]\nsys = \"ro\"\n",
				"[environment]\npass = [\"MY_*\"]\n", "[environment]\nset = {X = \"${MY_VARIABLE}\"}\n",
				"[mounts.\"/x\"]\nsource = \"VICTIM\"\n", "[mounts.\"VICTIM/key\"]\n", "[mounts.\"/x\"]\nsource = \"../victim\"\n",
				"[user]\nmap = \"range\"\n", "[user]\nas = \"root\"\n", "[security]\nnested_userns = true\n",
				"[namespaces]\nipc = \"host\"\n", "[namespaces]\nuts = \"host\"\n", "[namespaces]\ncgroup = \"host\"\n",
				"[limits]\nprocesses = -1\n", "[limits]\ncore = -1\n", "[limits]\ninotify_instances = -1\n",
				"extends = []\n[network]\nmode = \"host\"\n",
			} {
				grant = expander(w).Replace(grant)
				file := w.Work + "/.sbx.toml"
				w.Write(t, file, "version = 1\n"+grant)
				for _, ref := range [][]string{{w.Sbx, "run", file, "--"}, {w.Sbx, "run", "--"}} {
					got := w.Run(t, append(ref, w.Probe, "marker", w.Work+"/ran")...)
					if got.Code != 125 || world.Exists(w.Work+"/ran") {
						t.Errorf("%q: status %d, want 125; the command ran: %v; %s", grant, got.Code, world.Exists(w.Work+"/ran"), got.Err)
					}
					os.Remove(w.Work + "/ran")
				}
			}
			// The control: what only takes away needs no leave, and one's own may grant.
			w.Write(t, w.Work+"/.sbx.toml", "version = 1\n[limits]\nprocesses = 20\n[home]\nshare = []\n")
			if got := w.Run(t, w.Sbx, "run", "--", "true"); got.Code != 0 {
				t.Errorf("control: a profile that takes away: status %d; %s", got.Code, got.Err)
			}
			if got := w.Run(t, w.Sandboxed(w.Profile(t, "[network]\nmode = \"host\"\n"), "true")...); got.Code != 0 {
				t.Errorf("control: the user's own profile: status %d; %s", got.Code, got.Err)
			}
		},
	}, {
		id: "R17-environment", what: "secrets and loader variables",
		do: func(t *testing.T, w *world.World) {
			bad := []string{"X_TOKEN=1", "AWS_SECRET_ACCESS_KEY=1", "BASH_ENV=/x", "ENV=/x", "GIT_DIR=/x", "GIT_SSH_COMMAND=x",
				"SSH_AUTH_SOCK=/x", "DBUS_SESSION_BUS_ADDRESS=x", "PYTHONSTARTUP=/x", "NODE_OPTIONS=x", "KUBECONFIG=/x", "UNHEARD_OF=1",
				"LD_AUDIT=/x", "LD_PRELOAD=/x", "GLIBC_TUNABLES=x", "BASH_FUNC_x%%=() { :; }", "DOCKER_HOST=x", "WAYLAND_DISPLAY=x", "DISPLAY=:0", "XAUTHORITY=/x", "PGPASSWORD=x", "TEST_DATABASE_URL=x", "GH_PAT=x", "SIGNING_PASSPHRASE=x"}
			w.Env = append(w.Env, bad...)
			leaked := func(got string) (names []string) {
				for _, b := range bad {
					name, _, _ := strings.Cut(b, "=")
					if strings.Contains("\n"+got, "\n"+name+"=") {
						names = append(names, name)
					}
				}
				return names
			}
			if got := leaked(w.Run(t, w.Probe, "env").Out); len(got) != len(bad) {
				t.Errorf("control: outside only %d of %d show", len(got), len(bad))
			}
			for _, profile := range []string{"", "[environment]\npass = [\"*\"]\nunset = [\"UNHEARD_OF\", \"*DISPLAY\"]\n"} {
				if got := leaked(w.Run(t, w.Sandboxed(w.Profile(t, profile), w.Probe, "env")...).Out); len(got) > 0 {
					t.Errorf("profile %q: inside show %v", profile, got)
				}
			}
		},
	}, {
		id: "R25-names", what: "commands and files whose names look like flags",
		do: func(t *testing.T, w *world.World) {
			for _, name := range []string{"--version", "-h", "--help", "--bind", "--"} {
				w.Write(t, w.Work+"/bin/"+name, "#!/bin/sh\necho ran \"$0\" \"$@\"\n")
				if err := os.Chmod(w.Work+"/bin/"+name, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			w.Env = append(w.Env, "PATH="+w.Work+"/bin:/usr/bin:/bin")
			for _, tt := range []struct{ command, want string }{
				{"--version", "--version --bind x"}, {"-h", "-h --bind x"}, {"--", "-- --bind x"}, {"./bin/--bind", "./bin/--bind --bind x"},
			} {
				argv := []string{tt.command, "--bind", "x"}
				want := "ran " + strings.Replace(tt.want, tt.command, filepath.Join(w.Work, "bin", tt.command), 1) + "\n"
				if strings.HasPrefix(tt.command, ".") {
					want = "ran " + tt.want + "\n"
				}
				if got := w.Run(t, append([]string{"/usr/bin/env", "--"}, argv...)...); tt.command != "--" && got.Out != want {
					t.Errorf("control: outside %q prints %q, want %q; %s", argv, got.Out, want, got.Err)
				}
				if got := w.Run(t, w.Sandboxed(w.Profile(t, ""), argv...)...); got.Out != want || got.Code != 0 {
					t.Errorf("inside %q prints %q, want %q; %d %s", argv, got.Out, want, got.Code, got.Err)
				}
			}
			dir := w.Work + "/--bind,dev=x"
			w.Write(t, dir+"/--p.toml", "version = 1\n")
			cmd := w.Command(w.Sbx, "run", "./--p.toml", "--", "pwd")
			cmd.Dir = dir
			if got := world.Wait(t, cmd); got.Out != dir+"\n" {
				t.Errorf("in %q it prints %q, %q", dir, got.Out, got.Err)
			}
		},
	}, {
		id: "R26-helper-hijack", what: "newuidmap by PATH and by the loader", needs: []sbxtest.Feature{sbxtest.Subuid},
		do: func(t *testing.T, w *world.World) {
			for _, name := range []string{"newuidmap", "newgidmap"} {
				w.Write(t, w.Work+"/"+name, "#!/bin/sh\ntouch "+w.Home+"/hijacked\n")
				if err := os.Chmod(w.Work+"/"+name, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			w.Env = append(w.Env, "PATH="+w.Work+":/usr/bin:/bin", "SBX_NEWUIDMAP_PATH="+w.Work+"/newuidmap", "LD_PRELOAD="+w.Work+"/newuidmap")
			got := w.Run(t, w.Sandboxed(w.Profile(t, "[user]\nmap = \"range\"\n"), w.Probe, "status", "self", "Uid")...)
			if got.Code != 0 || world.Exists(w.Home+"/hijacked") {
				t.Errorf("status %d, the planted helper ran: %v; %s", got.Code, world.Exists(w.Home+"/hijacked"), got.Err)
			}
			cmd := exec.Command("/usr/bin/env", "newuidmap", "1", "0", "0", "1")
			cmd.Env = w.Env
			world.Wait(t, cmd)
			if !world.Exists(w.Home + "/hijacked") {
				t.Error("control: outside, PATH did not find the planted helper")
			}
		},
	}}
}

// ownFiles are files of sbx's own that rule later runs.
func ownFiles(t *testing.T, w *world.World) []string {
	t.Helper()
	files := []string{
		w.Home + "/.config/sbx/config.toml", w.Home + "/.config/sbx/profiles/build.toml",
		w.Home + "/.local/share/sbx/homes/other/.profile", w.Home + "/.local/state/sbx/trust",
	}
	for _, f := range files {
		w.Write(t, f, "version = 1\n")
	}
	// What names a profile rules the run as well.
	return append(files, w.Home+"/profiles/p.toml")
}
