package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/world"
)

// planted is a row of which a first run, or the repository, leaves a symbolic
// link where a second run makes something. Nothing may appear in the victim's
// directory, and the command must not run with a tree that is not the profile's.
func planted(what, profile, link string, naive func(w *world.World) string) row {
	return row{
		id: "R12-links", what: what,
		do: func(t *testing.T, w *world.World) {
			plant := fmt.Sprintf(`p=%q; mkdir -p "$(dirname "$p")"; rm -rf "$p"; ln -s %q "$p"`, expander(w).Replace(link), w.Victim)
			if got := w.Run(t, w.Sandboxed(w.Profile(t, expander(w).Replace(withoutMounts(profile))), "sh", "-c", plant)...); got.Code != 0 {
				t.Fatalf("planting: %d %s", got.Code, got.Err)
			}
			p := w.Profile(t, expander(w).Replace(profile))
			got := w.Run(t, w.Sandboxed(p, "true")...)
			if got.Code != 0 && got.Code != 125 {
				t.Errorf("sbx ended with %d: %s", got.Code, got.Err)
			}
			w.Intact(t)
			// What a careless tool does: the same path, followed.
			if err := os.MkdirAll(naive(w), 0o755); err != nil {
				t.Fatal(err)
			}
			if names, _ := os.ReadDir(w.Victim); len(names) < 2 {
				t.Error("control: making the directory by its path did not reach the victim")
			}
		},
	}
}

// withoutMounts is a profile for the run that plants.
func withoutMounts(profile string) string {
	text, _, _ := strings.Cut(profile, "[mounts.")
	return text
}

func fileRows() []row {
	persistent := "[home]\nmode = \"persistent\"\nshare = []\n"
	home := func(rel string) func(w *world.World) string {
		return func(w *world.World) string { return w.Home + "/.local/share/sbx/homes/p/" + rel }
	}
	return []row{{
		id: "R11-cwd", what: "a working directory that is not granted",
		setup:   func(t *testing.T, w *world.World) { w.Write(t, w.Home+"/x/key", "k") },
		profile: "[workspace]\naccess = \"none\"\n[mounts.\"WORK\"]\n",
		do: func(t *testing.T, w *world.World) {
			p := w.Profile(t, expander(w).Replace("[workspace]\naccess = \"none\"\n[mounts.\"WORK\"]\n"))
			cmd := w.Command(w.Sandboxed(p, w.Probe, "all", "cwd", "--", "read", "key", "--", "read", "../victim/key")...)
			cmd.Dir = w.Home + "/x"
			if got := world.Wait(t, cmd); got.Out != "cwd: "+w.Home+"\nread key: denied: ENOENT\nread ../victim/key: denied: ENOENT\n" {
				t.Errorf("inside it says %q, %q", got.Out, got.Err)
			}
			cmd = w.Command(w.Probe, "all", "cwd", "--", "read", "key", "--", "read", "../victim/key")
			cmd.Dir = w.Home + "/x"
			if got := world.Wait(t, cmd); got.Out != "cwd: "+w.Home+"/x\nread key: reached\nread ../victim/key: reached\n" {
				t.Errorf("control: outside it says %q", got.Out)
			}
		},
	}, {
		id: "R11-cwd", what: "a working directory that is gone",
		do: func(t *testing.T, w *world.World) {
			dir := w.Home + "/gone"
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			p := w.Profile(t, "")
			script := fmt.Sprintf("rmdir %s; exec %s run %s -- %s marker %s/ran", dir, w.Sbx, p, w.Probe, w.Work)
			cmd := w.Command("sh", "-c", script)
			cmd.Dir = dir
			if got := world.Wait(t, cmd); got.Code != 125 || world.Exists(w.Work+"/ran") {
				t.Errorf("status %d, want 125; the command ran: %v; %s", got.Code, world.Exists(w.Work+"/ran"), got.Err)
			}
		},
	}, {
		id: "R11-cwd", what: "a working directory behind a descriptor or a process",
		do: func(t *testing.T, w *world.World) {
			dir, err := os.Open(w.Victim)
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			for _, wd := range []string{"/proc/self/fd/3", "/proc/thread-self/fd/3", "/proc/self/cwd", "/proc/1/cwd", "/proc/1/root" + w.Victim, "/dev/fd/3"} {
				p := w.Profile(t, fmt.Sprintf("[process]\nworking_dir = %q\n", wd))
				cmd := w.Command(w.Sandboxed(p, w.Probe, "all", "read", "key", "--", "read", w.Victim+"/key")...)
				cmd.ExtraFiles = []*os.File{dir}
				if got := world.Wait(t, cmd); strings.Contains(got.Out, "reached") {
					t.Errorf("working_dir %s: it says %q, %q", wd, got.Out, got.Err)
				}
			}
			cmd := w.Command("sh", "-c", "cd /proc/self/fd/3 && "+w.Probe+" read key")
			cmd.ExtraFiles = []*os.File{dir}
			if got := world.Wait(t, cmd); got.Out != "reached\n" {
				t.Errorf("control: outside it says %q, %q", got.Out, got.Err)
			}
		},
	},
		planted("in the project, under a mount", "[mounts.\"WORK/sub/new\"]\ntype = \"tmpfs\"\n", "WORK/sub",
			func(w *world.World) string { return w.Work + "/sub/new" }),
		planted("in a kept home, under a tmpfs", persistent+"[mounts.\"HOMEDIR/cache/new\"]\ntype = \"tmpfs\"\n", "HOMEDIR/cache", home("cache/new")),
		planted("in a kept home, under a bind", persistent+"[mounts.\"HOMEDIR/cache/deep/new\"]\nsource = \"/usr\"\n", "HOMEDIR/cache", home("cache/deep/new")),
		planted("in a kept home, under a deeper directory", persistent+"[mounts.\"HOMEDIR/a/b/c\"]\ntype = \"tmpfs\"\n", "HOMEDIR/a/b", home("a/b/c")),
		planted("in a kept home, under a file", persistent+"[mounts.\"HOMEDIR/conf/f\"]\ntype = \"file\"\ncontent = \"x\"\n", "HOMEDIR/conf", home("conf/f")),
		planted("in a kept home, under a writable file", persistent+"[mounts.\"HOMEDIR/conf/f\"]\ntype = \"file\"\naccess = \"rw\"\ncontent = \"x\"\n", "HOMEDIR/conf", home("conf/f")),
		planted("in a kept home, under a link", persistent+"[mounts.\"HOMEDIR/conf/l\"]\ntype = \"symlink\"\nsource = \"x\"\n", "HOMEDIR/conf", home("conf/l")),
		planted("in a kept home, at a mount", persistent+"[mounts.\"HOMEDIR/cache\"]\ntype = \"tmpfs\"\n", "HOMEDIR/cache", home("cache/x")),
		row{
			id: "R12-links", what: "in the profile, above what it makes",
			do: func(t *testing.T, w *world.World) {
				for _, made := range []string{"type = \"file\"\ncontent = \"x\"\n", "type = \"tmpfs\"\n", "type = \"bind\"\nsource = \"/usr\"\n", "type = \"symlink\"\nsource = \"x\"\n"} {
					for _, root := range []string{"host", "empty"} {
						p := w.Profile(t, fmt.Sprintf("[root]\nsource = %q\n[mounts.\"/a\"]\ntype = \"symlink\"\nsource = %q\n[mounts.\"/a/made\"]\n%s", root, w.Victim, made))
						if got := w.Run(t, w.Sandboxed(p, w.Probe, "env")...); got.Code != 0 && got.Code != 125 {
							t.Errorf("status %d: %s", got.Code, got.Err)
						}
						w.Intact(t)
					}
				}
				if err := os.Symlink(w.Victim, w.Home+"/a"); err != nil {
					t.Fatal(err)
				}
				w.Run(t, w.Probe, "put", w.Home+"/a/made", "x")
				if !world.Exists(w.Victim + "/made") {
					t.Error("control: writing by the path did not reach the victim")
				}
			},
		},
		row{
			id: "R12-links", what: "/var/tmp, above the project",
			do: func(t *testing.T, w *world.World) {
				dir, err := os.MkdirTemp("/var/tmp", "sbx-attack-")
				if err != nil {
					t.Fatal(err)
				}
				defer os.RemoveAll(dir)
				cmd := w.Command(w.Sandboxed(w.Profile(t, ""), "sh", "-c", "echo x >made; readlink /var/tmp; ls")...)
				cmd.Dir = dir
				got := world.Wait(t, cmd)
				if got.Out != "made\n" {
					t.Errorf("inside it says %q, %q", got.Out, got.Err)
				}
				if other := "/tmp/" + filepath.Base(dir); world.Exists(other) {
					os.Remove(other)
					t.Errorf("%s was made on the host", other)
				}
				if got := w.Run(t, w.Sandboxed(w.Profile(t, ""), "readlink", "/var/tmp")...); got.Out != "/tmp\n" {
					t.Errorf("control: elsewhere /var/tmp leads to %q", got.Out)
				}
			},
		},
		row{
			id: "R12-links", what: "a name that leads out of the homes",
			do: func(t *testing.T, w *world.World) {
				for _, name := range []string{"../../../../victim", "..", "/", "a/../../x"} {
					p := w.Profile(t, fmt.Sprintf("name = %q\n[home]\nmode = \"persistent\"\n", name))
					if got := w.Run(t, w.Sandboxed(p, "sh", "-c", "touch ~/made")...); got.Code != 125 {
						t.Errorf("name %q: status %d, want 125; %s", name, got.Code, got.Err)
					}
					w.Intact(t)
				}
				p := w.Profile(t, "name = \"good\"\n[home]\nmode = \"persistent\"\n")
				if got := w.Run(t, w.Sandboxed(p, "sh", "-c", "touch ~/made")...); got.Code != 0 || !world.Exists(w.Home+"/.local/share/sbx/homes/good/made") {
					t.Errorf("control: a good name: status %d; %s", got.Code, got.Err)
				}
			},
		},
		row{
			id: "R12-links", what: "a kept home that is a link itself",
			do: func(t *testing.T, w *world.World) {
				homes := w.Home + "/.local/share/sbx/homes"
				if err := os.MkdirAll(homes, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(w.Victim, homes+"/p"); err != nil {
					t.Fatal(err)
				}
				p := w.Profile(t, "[home]\nmode = \"persistent\"\n")
				if got := w.Run(t, w.Sandboxed(p, "sh", "-c", "touch ~/made")...); got.Code != 125 {
					t.Errorf("status %d, want 125; %s", got.Code, got.Err)
				}
				w.Intact(t)
				if got := w.Run(t, "touch", homes+"/p/made"); got.Code != 0 || !world.Exists(w.Victim+"/made") {
					t.Error("control: the link does not lead to the victim")
				}
			},
		},
		row{
			id: "R12-links", what: "in a kept home, above a shared file",
			do: func(t *testing.T, w *world.World) {
				w.Write(t, w.Home+"/.config/git/config", "[user]\n")
				p := w.Profile(t, "[home]\nmode = \"persistent\"\n")
				if got := w.Run(t, w.Sandboxed(p, "sh", "-c", "mkdir -p ~/.config/git; ls -A ~ ~/.config")...); got.Code != 0 {
					t.Fatalf("first run: %d %s", got.Code, got.Err)
				}
				// The mount point itself can't be replaced, a directory above it may be.
				w.Run(t, w.Sandboxed(p, "sh", "-c", "mv ~/.config ~/.away; ln -s "+w.Victim+" ~/.config")...)
				got := w.Run(t, w.Sandboxed(p, "true")...)
				if got.Code != 0 && got.Code != 125 {
					t.Errorf("sbx ended with %d: %s", got.Code, got.Err)
				}
				w.Intact(t)
				if err := os.MkdirAll(w.Home+"/.local/share/sbx/homes/p/.config/git", 0o755); err != nil {
					t.Fatal(err)
				}
				if names, _ := os.ReadDir(w.Victim); len(names) < 2 {
					t.Error("control: making the directory by its path did not reach the victim")
				}
			},
		},
		row{
			id: "R13-race", what: "a bind's source that is swapped for a link",
			do: func(t *testing.T, w *world.World) {
				race(t, w, "[mounts.\"/mnt/a\"]\nsource = \"WORK/a\"\n", "/mnt/a/key", "WORK/a/key", "a", "b")
			},
		},
		row{
			id: "R13-race", what: "a directory above a bind's source that is swapped for a link",
			do: func(t *testing.T, w *world.World) {
				race(t, w, "[mounts.\"/mnt/a\"]\nsource = \"WORK/d/victim\"\n", "/mnt/a/key", "WORK/d/victim/key", "d", "b")
			},
		},
		row{
			id: "R30-images", what: "a root directory whose /dev and /proc are traps",
			do: func(t *testing.T, w *world.World) {
				root := w.Home + "/root"
				for _, d := range []string{"", "/bin", "/tmp"} {
					if err := os.Mkdir(root+d, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				for _, l := range [][2]string{{w.Victim, "dev"}, {w.Victim, "proc"}, {w.Victim, "sys"}, {w.Victim, "run"}, {w.Victim, "home"}, {w.Victim, "etc"}, {"../victim", "mnt"}, {w.Victim, "tmp2"}} {
					if err := os.Symlink(l[0], root+"/"+l[1]); err != nil {
						t.Fatal(err)
					}
				}
				text, err := os.ReadFile(w.Probe)
				if err != nil {
					t.Fatal(err)
				}
				w.Write(t, root+"/bin/probe", string(text))
				if err := os.Chmod(root+"/bin/probe", 0o755); err != nil {
					t.Fatal(err)
				}
				p := w.Profile(t, fmt.Sprintf("[root]\nsource = %q\nsys = \"ro\"\n[mounts.\"/etc/made\"]\ntype = \"file\"\ncontent = \"x\"\n[mounts.\"/mnt/x\"]\ntype = \"tmpfs\"\n", root))
				got := w.Run(t, w.Sandboxed(p, "/bin/probe", "all", "fstype", "/proc", "--", "fstype", "/dev/null", "--", "read", w.Victim+"/key", "--", "read", "/etc/key")...)
				want := "fstype /proc: proc\nfstype /dev/null: device 1:3\nread " + w.Victim + "/key: denied: ENOENT\nread /etc/key: denied: ENOENT\n"
				if got.Code != 125 && got.Out != want {
					t.Errorf("inside it says\n%s\nwant\n%s\n%s", got.Out, want, got.Err)
				}
				w.Intact(t)
				if got := w.Run(t, w.Probe, "put", root+"/etc/made", "x"); got.Out != "reached\n" || !world.Exists(w.Victim+"/made") {
					t.Errorf("control: writing by the path says %q and reached the victim: %v", got.Out, world.Exists(w.Victim+"/made"))
				}
			},
		},
		row{
			id: "R63-hard-links", what: "another name of a hidden file",
			do: func(t *testing.T, w *world.World) {
				w.Write(t, w.Work+"/.env", "s")
				p := w.Profile(t, "[workspace]\nhide = [\".env\"]\naudit = \"off\"\n")
				if got := w.Run(t, w.Sandboxed(p, "true")...); strings.Contains(got.Err, ".env") {
					t.Errorf("control: with one name it says %q", got.Err)
				}
				if err := os.Link(w.Work+"/.env", w.Work+"/alias"); err != nil {
					t.Fatal(err)
				}
				if got := w.Run(t, w.Sandboxed(p, w.Probe, "read", ".env")...); got.Out != "denied: empty\n" {
					t.Errorf("inside .env says %q", got.Out)
				}
				if got := w.Run(t, w.Sandboxed(p, "true")...); !strings.Contains(got.Err, ".env") {
					t.Errorf("it does not warn that .env has a second name by which it can be read; it says %q", got.Err)
				}
			},
		},
		row{ // without Landlock, which would let nothing be made in /dev
			id: "R43-memory", what: "the size of each file system in memory",
			profile: noLandlock + "[root]\ntmp = \"1M\"\nshm = \"1M\"\n[home]\nsize = \"1M\"\n[mounts.\"/mnt/t\"]\ntype = \"tmpfs\"\nsize = \"1M\"\n",
			probe: []string{"PROBE", "all", "fill", "/tmp", "2048", "--", "fill", "/dev/shm", "2048", "--", "fill", "HOMEDIR", "2048",
				"--", "fill", "/mnt/t", "2048", "--", "fill", "/run/user/" + fmt.Sprint(os.Getuid()), "20000", "--", "fill", "/", "2048", "--", "fill", "/dev", "2048"},
			outside: []string{"PROBE", "all", "fill", "HOMEDIR", "2048"},
			control: "fill HOMEDIR 2048: reached",
			want: fmt.Sprintf("fill /tmp 2048: denied: ENOSPC\nfill /dev/shm 2048: denied: ENOSPC\nfill HOMEDIR 2048: denied: ENOSPC\n"+
				"fill /mnt/t 2048: denied: ENOSPC\nfill /run/user/%d 20000: denied: ENOSPC\nfill / 2048: denied: EROFS\nfill /dev 2048: denied: ENOSPC", os.Getuid()),
		},
		row{
			id: "R43-memory", what: "the number of files in each",
			profile: noLandlock + "[root]\ntmp = \"1M\"\nshm = \"1M\"\n[home]\nsize = \"1M\"\n[mounts.\"/mnt/t\"]\ntype = \"tmpfs\"\nsize = \"1M\"\ninodes = 50\n",
			probe: []string{"PROBE", "all", "inodes", "/tmp", "600", "--", "inodes", "/dev/shm", "600", "--", "inodes", "HOMEDIR", "600",
				"--", "inodes", "/mnt/t", "60", "--", "inodes", "/run/user/" + fmt.Sprint(os.Getuid()), "5000", "--", "inodes", "/dev", "600"},
			outside: []string{"PROBE", "all", "inodes", "HOMEDIR", "600"},
			control: "inodes HOMEDIR 600: reached",
			want: fmt.Sprintf("inodes /tmp 600: denied: ENOSPC\ninodes /dev/shm 600: denied: ENOSPC\ninodes HOMEDIR 600: denied: ENOSPC\n"+
				"inodes /mnt/t 60: denied: ENOSPC\ninodes /run/user/%d 5000: denied: ENOSPC\ninodes /dev 600: denied: ENOSPC", os.Getuid()),
		},
	}
}

// race runs sandboxes while two names of the project are exchanged: `name`,
// and a link that leads to the victim.
func race(t *testing.T, w *world.World, profile, inside, outside, name, link string) {
	t.Helper()
	runs, patience := 200, 20*time.Second
	if testing.Short() {
		runs, patience = 40, 5*time.Second
	}
	if name == "d" { // the link is to what holds the victim
		w.Write(t, w.Work+"/d/victim/own", "")
		if err := os.Symlink(w.Home, w.Work+"/"+link); err != nil {
			t.Fatal(err)
		}
	} else {
		w.Write(t, w.Work+"/a/own", "")
		if err := os.Symlink(w.Victim, w.Work+"/"+link); err != nil {
			t.Fatal(err)
		}
	}
	p := w.Profile(t, expander(w).Replace(profile))
	stop := w.Home + "/racing"
	w.Write(t, stop, "")
	swap := w.Command(w.Probe, "exchange", w.Work+"/"+name, w.Work+"/"+link, stop)
	if err := swap.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		os.Remove(stop)
		if err := swap.Wait(); err != nil {
			t.Errorf("the exchange ended: %v", err)
		}
	}()
	// The control: to a reader by path, the victim's file shows now and then.
	seen := 0
	looks := 0
	for end := time.Now().Add(time.Minute); looks < 5000 || seen == 0 && time.Now().Before(end); looks++ { // who exchanges may not have had a turn yet
		if text, err := os.ReadFile(expander(w).Replace(outside)); err == nil && string(text) == world.Secret {
			seen++
		}
	}
	if seen == 0 {
		t.Error("control: the exchange never led outside")
	}
	var started, refused int
	begin := time.Now()
	for i := 0; i < runs && (time.Since(begin) < patience || started == 0 && time.Since(begin) < time.Minute); i++ {
		got := w.Run(t, w.Sandboxed(p, w.Probe, "read", inside)...)
		switch {
		case got.Code == 125:
			refused++
		case got.Code == 0 && got.Out == "denied: ENOENT\n":
			started++
		default:
			t.Fatalf("run %d: status %d, %q, %q", i, got.Code, got.Out, got.Err)
		}
	}
	if started == 0 {
		t.Errorf("control: none of %d runs started, so nothing was raced", refused)
	}
	t.Logf("the victim was seen %d of %d times by path; %d sandboxes started, %d were refused", seen, looks, started, refused)
}
