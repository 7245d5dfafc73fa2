package attack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/world"
)

// copyRows attack sbx cp: what is copied lies where the command can change it at
// any moment.
func copyRows() []row {
	return []row{
		{id: "R21-copy", what: "out of a sandbox, while a directory is exchanged for a link to the victim's", do: copiedOutInRace},
		{id: "R21-copy", what: "into a sandbox, while the directory is exchanged for a link to the victim's", do: copiedInInRace},
		{id: "R22-copy", what: "FIFOs, devices, set-user-ID files and endless depth", do: copiedOddities},
		{id: "R29-copy", what: "a file that is mounted read-only loses its mount to a copy of its name", do: copiedOverMount},
		{id: "R29-live", what: "a mount that was granted read-only while it runs: writing, remounting, unmounting it", do: grantedLive},
		{id: "R37-copy", what: "an archive for the host that leads out of its directory", do: copiedTwice},
	}
}

// copyWorld is a sandbox that exchanges two names in its /tmp all the time: d, a
// directory with a file key, and l, a link to the victim's directory.
func copyWorld(t *testing.T, w *world.World) {
	t.Helper()
	// With the host's tree inside, the link leads to the victim's path; that has a
	// key inside, too, so that the exchange can be seen to work.
	p := w.Profile(t, "")
	script := `mkdir -p /tmp/d ` + w.Victim + ` && echo own >/tmp/d/key && echo decoy >` + w.Victim + `/key && ln -s ` + w.Victim + ` /tmp/l && touch /tmp/stop && echo ready && exec ` + w.Probe + ` exchange /tmp/d /tmp/l /tmp/stop`
	detached(t, w, "--name", "x", p, "sh", "-c", script)
	for range 200 {
		if got := w.Run(t, w.Sbx, "logs", "x"); strings.Contains(got.Out, "ready") {
			return
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 5e7}, nil)
	}
	t.Fatal("the sandbox never got ready")
}

// rounds is how often a copy is tried in a race.
func rounds() int {
	if testing.Short() { // one run of many
		return 20
	}
	return 60
}

func copiedOutInRace(t *testing.T, w *world.World) {
	copyWorld(t, w)
	seen := map[string]bool{}
	for range rounds() {
		// Nobody who copies can tell which of the two it meets: none is the victim's.
		for _, path := range []string{"/tmp/d/key", "/tmp/d", "/tmp/d/.", "/tmp"} {
			out := filepath.Join(w.Home, "out")
			if err := os.RemoveAll(out); err != nil {
				t.Fatal(err)
			}
			w.Run(t, w.Sbx, "cp", "x:"+path, out)
			_ = filepath.WalkDir(out, func(path string, d os.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					text, _ := os.ReadFile(path)
					seen[string(text)] = true
				}
				return nil
			})
		}
	}
	if seen[world.Secret] {
		t.Error("the victim's file was copied")
	}
	if !seen["own\n"] || !seen["decoy\n"] {
		t.Errorf("control: the exchange was never met: %v", seen)
	}
}

func copiedInInRace(t *testing.T, w *world.World) {
	copyWorld(t, w)
	w.Write(t, w.Work+"/new/key", "brought in\n")
	w.Write(t, w.Work+"/new/more/key", "brought in\n")
	for range rounds() {
		for _, path := range []string{"/tmp/d", "/tmp/d/key", "/tmp/d/more/key"} {
			w.Run(t, w.Sbx, "cp", "new/.", "x:"+path)
			w.Run(t, w.Sbx, "cp", "new/key", "x:"+path)
		}
	}
	if text, err := os.ReadFile(w.Victim + "/key"); err != nil || string(text) != world.Secret {
		t.Errorf("the victim's file is %q, %v", text, err)
	}
	if names, _ := filepath.Glob(w.Victim + "/*"); len(names) != 1 {
		t.Errorf("the victim's directory holds %q", names)
	}
	got := w.Run(t, w.Sbx, "exec", "x", "cat", w.Victim+"/key")
	if got.Out != "brought in\n" {
		t.Errorf("control: what the link leads to inside was never written: %q", got.Out)
	}
}

// copiedOverMount copies over a file that a mount keeps from being written, in a
// directory that may be: the mount goes when the host removes the file under it.
func copiedOverMount(t *testing.T, w *world.World) {
	dir := filepath.Join(w.Home, "shared")
	kept, free := dir+"/kept", dir+"/free"
	w.Write(t, kept, "kept\n")
	w.Write(t, free, "free\n")
	w.Write(t, w.Work+"/new/kept", "brought in\n")
	w.Write(t, w.Work+"/new/free", "brought in\n")
	p := w.Profile(t, "[mounts.\""+dir+"\"]\naccess = \"rw\"\n[mounts.\""+kept+"\"]\n")
	detached(t, w, "--name", "x", p, "sleep", "1000")
	tar := "tar -C new -c kept | " + w.Sbx + " cp - x:" + dir
	for _, argv := range [][]string{{w.Sbx, "cp", "new/kept", "x:" + dir}, {w.Sbx, "cp", "new/.", "x:" + dir}, {"sh", "-c", tar}} {
		if got := w.Run(t, argv...); got.Code != exitSbxFailed || !strings.Contains(got.Err, "read-only file system") {
			t.Errorf("%q: status %d: %s", argv, got.Code, got.Err)
		}
		w.Run(t, w.Sbx, "exec", "x", "sh", "-c", "echo planted >"+kept+"; rm -f "+kept)
		if text, err := os.ReadFile(kept); err != nil || string(text) != "kept\n" {
			t.Fatalf("%q: the file is %q, %v", argv, text, err)
		}
	}
	// The control: without a mount the file is replaced, and written inside.
	if text, err := os.ReadFile(free); err != nil || string(text) != "brought in\n" {
		t.Errorf("control: %q, %v", text, err)
	}
	w.Run(t, w.Sbx, "exec", "x", "sh", "-c", "echo inside >"+free)
	if text, err := os.ReadFile(free); err != nil || string(text) != "inside\n" {
		t.Errorf("control: %q, %v", text, err)
	}
}

func copiedOddities(t *testing.T, w *world.World) {
	p := w.Profile(t, "[security]\nseccomp = \"unconfined\"\n") // which keeps nobody from making them
	script := `mkdir /tmp/d && cd /tmp/d && mkfifo p && touch s && chmod 6755 s && ln -s /dev/zero z && i=0 && cd /tmp && mkdir deep && cd deep && while [ $i -lt 600 ]; do mkdir d && cd d || break; i=$((i+1)); done; echo ready; sleep 1000`
	detached(t, w, "--name", "x", p, "sh", "-c", script)
	for range 200 {
		if got := w.Run(t, w.Sbx, "logs", "x"); strings.Contains(got.Out, "ready") {
			break
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 5e7}, nil)
	}
	out := filepath.Join(w.Home, "out")
	if got := w.Run(t, w.Sbx, "cp", "x:/tmp/d", out); got.Code != 0 || !strings.Contains(got.Err, "p is a FIFO") {
		t.Errorf("status %d: %s", got.Code, got.Err)
	}
	st, err := os.Lstat(out + "/s")
	if err != nil || st.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 || st.Mode().Perm() != 0o755 {
		t.Errorf("a set-user-ID file: %v, %v", st, err)
	}
	if st, err := os.Lstat(out + "/p"); err == nil {
		t.Errorf("there is %v", st)
	}
	if got := w.Run(t, w.Sbx, "cp", "x:/dev", filepath.Join(w.Home, "dev")); got.Code != 0 || !strings.Contains(got.Err, "is a device") {
		t.Errorf("/dev: status %d: %s", got.Code, got.Err)
	}
	if got := w.Run(t, w.Sbx, "cp", "x:/tmp/deep", filepath.Join(w.Home, "deep")); got.Code != exitSbxFailed || !strings.Contains(got.Err, "more than 500 directories") {
		t.Errorf("depth: status %d: %s", got.Code, got.Err)
	}
}

// grantedLive has fake root try what it can on what was granted.
func grantedLive(t *testing.T, w *world.World) {
	for _, profile := range []string{"", "[user]\nas = \"root\"\n", "[security]\nseccomp = \"unconfined\"\n[user]\nas = \"root\"\n"} {
		p := w.Profile(t, profile+"[mounts.\"/srv/v\"]\nsource = \""+w.Victim+"\"\naccess = \"rw\"\ngrantable = true\n")
		detached(t, w, "--name", "x", p, "sleep", "100")
		if got := w.Run(t, w.Sbx, "exec", "x", "cat", "/srv/v/key"); got.Code == 0 {
			t.Errorf("profile %q: it is there before it is granted: %q", profile, got.Out)
		}
		if got := w.Run(t, w.Sbx, "grant", "x", "/srv/v"); got.Code != 0 {
			t.Fatalf("profile %q: %s", profile, got.Err)
		}
		script := "cat /srv/v/key; mount -o remount,bind,rw /srv/v; umount /srv/v; umount -l /srv/v; mount --bind /tmp /srv/v; echo x >/srv/v/key; echo x >/srv/v/new; chmod 0777 /srv/v/key; cat /srv/v/key"
		got := w.Run(t, w.Sbx, "exec", "x", "sh", "-c", "{ "+script+"; } 2>/dev/null")
		if got.Out != world.Secret+world.Secret { // the control: it can be read, before and after
			t.Errorf("profile %q: %q %s", profile, got.Out, got.Err)
		}
		if got := w.Run(t, w.Sbx, "revoke", "x", "/srv/v"); got.Code != 0 {
			t.Errorf("profile %q: revoking it: %s", profile, got.Err)
		}
		if got := w.Run(t, w.Sbx, "exec", "x", "cat", "/srv/v/key"); got.Code == 0 {
			t.Errorf("profile %q: it is there after it was revoked: %q", profile, got.Out)
		}
		w.Run(t, w.Sbx, "rm", "-f", "x")
		if names, _ := filepath.Glob(w.Victim + "/*"); len(names) != 1 {
			t.Errorf("profile %q: the victim's directory holds %q", profile, names)
		}
	}
}

// exitSbxFailed is sbx's status when it could not do something.
const exitSbxFailed = 125

// copiedTwice has a first copy bring a link, through which the second would write.
func copiedTwice(t *testing.T, w *world.World) {
	p := w.Profile(t, "")
	detached(t, w, "--name", "x", p, "sh", "-c", "mkdir -p /tmp/d && ln -s "+w.Victim+" /tmp/d/a; sleep 1000")
	out := filepath.Join(w.Home, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if w.Run(t, w.Sbx, "cp", "x:/tmp/d/.", out); world.Exists(out + "/a") {
			break
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 5e7}, nil)
	}
	if to, err := os.Readlink(out + "/a"); err != nil || to != w.Victim {
		t.Fatalf("control: the link is not there: %q, %v", to, err)
	}
	w.Run(t, w.Sbx, "exec", "x", "sh", "-c", "rm /tmp/d/a && mkdir /tmp/d/a && echo planted >/tmp/d/a/key")
	got := w.Run(t, w.Sbx, "cp", "x:/tmp/d/.", out)
	if got.Code == 0 || !strings.Contains(got.Err, "is not followed") {
		t.Errorf("status %d: %s", got.Code, got.Err)
	}
	if text, err := os.ReadFile(w.Victim + "/key"); err != nil || string(text) != world.Secret {
		t.Errorf("the victim's file is %q, %v", text, err)
	}
	// The control: what follows links writes there.
	cmd := exec.Command("sh", "-c", "echo through >"+out+"/a/through")
	if err := cmd.Run(); err != nil || !world.Exists(w.Victim+"/through") {
		t.Errorf("control: %v", err)
	}
	if err := os.Remove(w.Victim + "/through"); err != nil {
		t.Error(err)
	}
}
