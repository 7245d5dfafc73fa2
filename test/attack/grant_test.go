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

// denies runs argv, which must end with 125 before the probe has run.
func denies(t *testing.T, w *world.World, what string, argv ...string) {
	t.Helper()
	got := w.Run(t, append(argv, w.Probe, "marker", w.Work+"/ran")...)
	if got.Code != 125 || world.Exists(w.Work+"/ran") {
		t.Errorf("%s: status %d, want 125; the command ran: %v; %s", what, got.Code, world.Exists(w.Work+"/ran"), got.Err)
	}
	os.Remove(w.Work + "/ran")
}

// allows is the control of denies: nearly the same, and it runs.
func allows(t *testing.T, w *world.World, what string, argv ...string) {
	t.Helper()
	if got := w.Run(t, append(argv, w.Probe, "marker", w.Work+"/ran")...); got.Code != 0 || !world.Exists(w.Work+"/ran") {
		t.Errorf("control: %s: status %d, the command ran: %v; %s", what, got.Code, world.Exists(w.Work+"/ran"), got.Err)
	}
	os.Remove(w.Work + "/ran")
}

func grantRows() []row {
	// What is granted by name is reachable: the kernel has no means against it.
	// It must not happen in silence.
	warned := func(id, what, name, probe string, plant func(t *testing.T, path string)) row {
		return row{id: id, what: what, do: func(t *testing.T, w *world.World) {
			dir := w.Home + "/run"
			for _, grant := range []string{
				"[mounts.\"/mnt/r\"]\nsource = \"" + dir + "\"\n", "[home]\nshare = [\"run\"]\n",
				"[mounts.\"/mnt/r/" + name + "\"]\nsource = \"" + dir + "/" + name + "\"\noptional = true\n",
			} {
				inside := "/mnt/r/" + name
				if strings.Contains(grant, "share") {
					inside = dir + "/" + name
				}
				run := w.Sandboxed(w.Profile(t, grant), w.Probe, probe, inside)
				if got := w.Run(t, run...); got.Code != 0 || got.Out != "denied: ENOENT\n" || strings.Contains(got.Err, name) {
					t.Errorf("control: %q, and nothing is there: status %d, %q, %q", grant, got.Code, got.Out, got.Err)
				}
				plant(t, dir+"/"+name)
				if got := w.Run(t, w.Probe, probe, dir+"/"+name); got.Out != "reached\n" {
					t.Errorf("control: outside it says %q, %q", got.Out, got.Err)
				}
				// Where something keeps the command from it, there is nothing to warn of.
				if got := w.Run(t, run...); got.Code != 0 || got.Out == "reached\n" && (!strings.Contains(got.Err, dir) || !strings.Contains(got.Err, name)) {
					t.Errorf("%q: status %d, it says %q and does not warn of %s: %q", grant, got.Code, got.Out, name, got.Err)
				}
				os.Remove(dir + "/" + name)
			}
		}}
	}
	return []row{
		warned("R01-control-sockets", "granted by name", "bus", "connect", listen),
		warned("R54-fifos", "granted by name", "control", "write", func(t *testing.T, path string) {
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			reader, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { reader.Close() })
		}),
		{
			id: "R40-options", what: "of flags and profiles",
			do: func(t *testing.T, w *world.World) {
				w.Write(t, w.Home+"/src/x", "")
				src, p := w.Home+"/src", w.Profile(t, "")
				for _, o := range []string{"rshared", "shared", "rslave", "slave", "rprivate", "dev", "suid", "O=1", "U", "z", "upperdir=/x", "overlay,upperdir=/x", "O,lowerdir=/", "ro,rshared", "rw,dev,exec", "ro:rshared", "remount", ""} {
					denies(t, w, "-v with "+o, w.Sbx, "run", "-v", src+":/mnt/x:"+o, p, "--")
				}
				for _, o := range []string{"bind-propagation=rshared", "propagation=shared", "bind-nonrecursive", "relabel=shared", "suid", "U=true", "type=overlay,lowerdir=/x", "type=overlay,upper=/x", "type=overlay,redirect_dir=on", "type=devpts", "type=proc", "ro,rw=maybe", "upperdir=/x"} {
					denies(t, w, "--mount with "+o, w.Sbx, "run", "--mount", "type=bind,source="+src+",target=/mnt/x,"+o, p, "--")
				}
				for _, o := range []string{"suid", "dev", "uid=0", "mode=99999", "size=1,huge=always", "mpol=bind:0"} {
					denies(t, w, "--tmpfs with "+o, w.Sbx, "run", "--tmpfs", "/mnt/x:"+o, p, "--")
				}
				for _, text := range []string{"access = \"rw,dev\"", "access = \"rshared\"", "type = \"overlay\"\nupper = \"/x\"", "type = \"overlay\"\nlowerdir = \"/\"", "type = \"overlay\"\nsource = \"/tmp:/usr\"", "type = \"proc\"", "options = [\"suid\"]", "propagation = \"shared\"", "suid = true", "mode = \"4755\"", "source = [\"/\"]"} {
					denies(t, w, text, w.Sandboxed(w.Profile(t, "[mounts.\"/mnt/x\"]\nsource = \""+src+"\"\n"+text+"\n"))...)
				}
				w.Profile(t, "")
				for _, flags := range [][]string{{"-v", src + ":/mnt/x:ro,noexec"}, {"--mount", "type=bind,source=" + src + ",target=/mnt/x,ro"}, {"--tmpfs", "/mnt/x:size=1M,mode=0700"}} {
					allows(t, w, flags[1], append(append([]string{w.Sbx, "run"}, flags...), p, "--")...)
				}
			},
		},
		{
			id: "R49-state", what: "a store of trust that others can write or that is a link",
			do: func(t *testing.T, w *world.World) {
				file, state := w.Work+"/.sbx.toml", w.Home+"/.local/state/sbx"
				w.Write(t, file, "version = 1\n[mounts.\""+w.Victim+"\"]\n")
				run := []string{w.Sbx, "run", "-q", file, "--"}
				denies(t, w, "before it is trusted", run...)
				if got := w.Run(t, w.Sbx, "trust", file); got.Code != 0 {
					t.Fatalf("sbx trust: %d %s", got.Code, got.Err)
				}
				allows(t, w, "trusted", run...)
				for _, dir := range []string{state, state + "/trust"} {
					for _, mode := range []os.FileMode{0o777, 0o770} {
						st, err := os.Stat(dir)
						if err != nil {
							t.Fatal(err)
						}
						if err := os.Chmod(dir, mode); err != nil {
							t.Fatal(err)
						}
						denies(t, w, fmt.Sprintf("%s with mode %o", dir, mode), run...)
						if err := os.Chmod(dir, st.Mode().Perm()); err != nil {
							t.Fatal(err)
						}
					}
					allows(t, w, dir+" as it was", run...)
					if err := os.Rename(dir, w.Work+"/planted"); err != nil {
						t.Fatal(err)
					}
					if err := os.Symlink(w.Work+"/planted", dir); err != nil {
						t.Fatal(err)
					}
					denies(t, w, dir+" as a link into the project", run...)
					if err := os.Remove(dir); err != nil {
						t.Fatal(err)
					}
					if err := os.Rename(w.Work+"/planted", dir); err != nil {
						t.Fatal(err)
					}
				}
			},
		},
		{
			id: "R59-id-maps", what: "ids that are not one's own, overlaps, the host's root", needs: []sbxtest.Feature{sbxtest.Subuid},
			do: func(t *testing.T, w *world.World) {
				uid, gid := os.Getuid(), os.Getgid()
				own := fmt.Sprintf("%d:%d:1", uid, uid)
				group := fmt.Sprintf("gid_map = [\"%d:%d:1\"]\n", gid, gid)
				for _, m := range []string{
					`"0:0:1", "` + own + `"`, `"0:0:65536"`, `"` + own + `", "1:1:1"`, `"` + own + `", "1:65534:1"`, `"` + own + `", "70000:4294967294:2"`,
					fmt.Sprintf(`"%s", "1:%d:1"`, own, uid), `"` + own + `", "1:-1:1"`, `"` + own + `", "1:1:0"`, `"` + own + `", "1:1:4294967296"`,
				} {
					denies(t, w, m, w.Sandboxed(w.Profile(t, "[user]\nuid_map = ["+m+"]\n"+group))...)
				}
				allows(t, w, own, w.Sandboxed(w.Profile(t, "[user]\nuid_map = [\""+own+"\"]\n"+group))...)
			},
		},
	}
}

// hostile names begin what a terminal would act on: a title, a control
// sequence of 8 bits, text that runs backwards.
const hostile = "\x1b]0;X\a\u009b2J\u202egpj"

func ownRows() []row {
	return []row{
		{
			id: "R46-escapes", what: "in names, paths and profiles that sbx prints",
			do: func(t *testing.T, w *world.World) {
				dir := w.Work + "/" + hostile
				w.Write(t, dir+"/file", "")
				if got := w.Run(t, "sh", "-c", `cd "$1" && pwd`, "sh", dir); raw(got.Out) == "" {
					t.Errorf("control: a careless tool prints %q", got.Out)
				}
				quoted := `\u001b]0;X\u0007\u009b2J\u202egpj`
				profiles := []string{
					"", "\"" + quoted + "\" = 1\n", "name = \"" + quoted + "\"\n", "description = \"" + quoted + "\"\n[mounts.\"" + w.Victim + "\"]\n",
					"[mounts.\"/" + quoted + "\"]\nsource = \"/" + quoted + "\"\n", "extends = [\"./" + quoted + "\"]\n", "[environment]\nset = {X = \"" + quoted + "\"}\n",
					"[workspace]\nhide = [\"" + quoted + "\"]\n", "[process]\nhostname = \"" + quoted + "\"\n", "[process]\ncommand = [\"" + quoted + "\"]\n", "[home]\nmode = \"" + quoted + "\"\n", "nonsense" + hostile,
				}
				for _, text := range profiles {
					w.Write(t, dir+"/.sbx.toml", "version = 1\n"+text)
					for _, argv := range [][]string{
						{"run"}, {"run", "--json-errors"}, {"run", "--", hostile}, {"run", "-v", hostile + "/x:/y"}, {"run", "-e", hostile}, {"run", "--" + hostile}, {hostile}, {"run", hostile},
						{"explain"}, {"explain", "--steps"}, {"explain", "--json"}, {"trust"}, {"untrust"}, {"profile", "check", ".sbx.toml"}, {"profile", "show", "./.sbx.toml"}, {"profile", "show", "--resolved", "./.sbx.toml"}, {"profile", "ls"},
					} {
						if argv[0] == "profile" && argv[1] == "show" && strings.HasPrefix(text, "nonsense") {
							continue // it shows the file as it is
						}
						cmd := w.Command(append([]string{w.Sbx}, argv...)...)
						cmd.Dir = dir
						if got := world.Wait(t, cmd); raw(got.Out) != "" || raw(got.Err) != "" {
							t.Errorf("%q of the profile %q: it prints %s raw: %q %q", argv, text, raw(got.Out+got.Err), got.Out, got.Err)
						}
					}
				}
			},
		},
		{
			id: "R61-own-files", what: "sockets, files and programs of sbx's own",
			setup: func(t *testing.T, w *world.World) { ownFiles(t, w) },
			// /usr and /opt are shown as they are, and sbx may be installed there.
			probe:   []string{"sh", "-c", `find / \( -type s -o -path '*/sbx' -o -name 'sbx-*' -o -name '.sbx*' \) ! -path '/proc/*' ! -path '/usr/*' ! -path '/opt/*' 2>/dev/null; echo end`},
			outside: []string{"sh", "-c", "find HOMEDIR -path '*/sbx' | sort | head -1"},
			control: "HOMEDIR/.config/sbx", want: "end",
		},
		{
			id: "R61-own-files", what: "making the place of records and kept starts",
			do: plantRecords,
		},
		{
			id: "R62-end", what: "a time that is over while nobody reads what the command writes",
			do: func(t *testing.T, w *world.World) {
				// The command is deaf to signals, and its output goes into a full pipe.
				run := func(profile string, patience time.Duration) (code int, took time.Duration) {
					r, pipe, err := os.Pipe()
					if err != nil {
						t.Fatal(err)
					}
					defer r.Close()
					cmd := w.Command(w.Sandboxed(w.Profile(t, profile), "sh", "-c", "trap '' TERM HUP INT; exec yes")...)
					cmd.Stdout, cmd.Stderr = pipe, pipe
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					pipe.Close()
					timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
					defer timer.Stop()
					began := time.Now()
					_ = cmd.Wait()
					return world.Code(cmd), time.Since(began)
				}
				const ends = "timeout = \"500ms\"\nstop_timeout = \"300ms\"\n"
				for _, tty := range []string{"never", "always"} {
					own := "[process]\ntty = \"" + tty + "\"\n"
					if code, took := run(own+ends, 10*time.Second); code != 124 || took > 6*time.Second {
						t.Errorf("tty = %s: status %d, want 124, after %v", tty, code, took)
					}
				}
				if code, took := run("", 2*time.Second); code != 128+9 || took < 2*time.Second {
					t.Errorf("control: with no time set: status %d after %v", code, took)
				}
			},
		},
	}
}

// raw is what of a text a terminal would act on.
func raw(text string) string {
	for _, bad := range []string{"\x1b", "\a", "\u009b", "\u202e"} {
		if strings.Contains(text, bad) {
			return fmt.Sprintf("%q", bad)
		}
	}
	return ""
}

// plantRecords makes, inside, what a later run would believe: in a runtime directory
// that is missing and lies in the project, behind a link there, and in the place of
// those who have none.
func plantRecords(t *testing.T, w *world.World) {
	own := fmt.Sprintf("/tmp/sbx-%d", os.Getuid())
	before := world.Exists(own)
	if !before {
		t.Cleanup(func() { os.Remove(own) })
	}
	run := w.Work + "/run"
	if err := os.Symlink(w.Home+"/run", w.Work+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		runtime, profile, dir string
		code                  int
		err                   string
	}{
		{run, "", run + "/sbx", 1, "Read-only file system"},
		{run + "/deeper", "", run + "/deeper/sbx", 1, "Read-only file system"},
		{w.Work + "/link", "", w.Work + "/link/sbx", 125, "link is a symbolic link that the command could replace"},
		{w.Home + "/run", "[mounts.\"/tmp\"]\naccess = \"rw\"\n", own, 1, "ermission denied"},
		{run, "[security]\nfallback = \"landlock\"\n", run + "/sbx", 125, "can't be"},
	} {
		plant := []string{"mkdir", "-p", "-m", "700", x.dir + "/starts"}
		argv := w.Sandboxed(w.Profile(t, x.profile), plant...)
		if strings.Contains(x.profile, "fallback") {
			argv = world.Refused(argv...)
			if sbxtest.Landlock.Missing() != nil {
				continue // said by test/bare
			}
		}
		cmd := w.Command(argv...)
		cmd.Env = append(slices.DeleteFunc(slices.Clone(w.Env), func(v string) bool { return strings.HasPrefix(v, "XDG_RUNTIME_DIR=") }), "XDG_RUNTIME_DIR="+x.runtime)
		got := world.Wait(t, cmd)
		if got.Code != x.code || !strings.Contains(got.Err, x.err) {
			t.Errorf("with XDG_RUNTIME_DIR=%s it ends with %d, want %d: %s", x.runtime, got.Code, x.code, got.Err)
		}
		if world.Exists(x.dir + "/starts") {
			t.Errorf("with XDG_RUNTIME_DIR=%s it was made", x.runtime)
		}
		if x.dir == own {
			continue // the host's
		}
		if got := w.Run(t, plant...); got.Code != 0 {
			t.Errorf("control: outside it ends with %d: %s", got.Code, got.Err)
		}
		for _, dir := range []string{run, w.Home + "/run/sbx"} {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
}
