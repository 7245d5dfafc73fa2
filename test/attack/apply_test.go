package attack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

func applyRows() []row {
	needs := []sbxtest.Feature{sbxtest.Overlay}
	return []row{
		{id: "R21-apply", what: "a directory that became a link on the host", needs: needs, do: appliedThroughLink},
		{id: "R21-apply", what: "a directory that is exchanged for a link all the time", needs: needs, do: appliedInRace},
		{id: "R21-apply", what: "a link that the command made, and files by it", needs: needs, do: appliedLink},
		{id: "R21-apply", what: "hard links between files and into the layer", needs: needs, do: appliedHardLinks},
		{id: "R22-apply", what: "FIFOs, sockets, setuid files and attributes of drivers", needs: append(needs, sbxtest.Tool("setfattr")), do: appliedSpecial},
	}
}

// kept runs a script on the overlay o of the project.
func kept(t *testing.T, w *world.World, script string) {
	t.Helper()
	// The kernel leaves a directory that even its owner may not enter.
	t.Cleanup(func() { _ = exec.Command("chmod", "-R", "u+rwx", w.Home+"/.local").Run() })
	p := w.Profile(t, "[security]\nseccomp = \"unconfined\"\n")
	if got := w.Run(t, w.Sbx, "run", "-q", "--overlay=o", p, "--", "sh", "-ec", script); got.Code != 0 {
		t.Fatalf("inside: status %d: %s%s", got.Code, got.Out, got.Err)
	}
}

// layer is the directory that the overlay o was written to.
func layer(w *world.World) string { return w.Home + "/.local/share/sbx/overlays/o/upper" }

// takenOver applies the overlay o, whatever is held back.
func takenOver(t *testing.T, w *world.World, flags ...string) world.Result {
	t.Helper()
	return w.Run(t, append([]string{"timeout", "20", w.Sbx, "apply", "o"}, flags...)...)
}

// naive takes a layer over as a script would.
func naive(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", "--remove-destination", from, to).CombinedOutput(); err != nil {
		t.Logf("control: %v %s", err, out)
	}
}

func appliedThroughLink(t *testing.T, w *world.World) {
	w.Write(t, w.Work+"/d/key", "mine\n")
	kept(t, w, "echo stolen >d/key; echo planted >d/new")
	if err := os.Rename(w.Work+"/d", w.Work+"/e"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(w.Victim, w.Work+"/d"); err != nil {
		t.Fatal(err)
	}
	if got := takenOver(t, w); got.Code != 1 || !strings.Contains(got.Err, "d: held back") {
		t.Errorf("status %d: %s", got.Code, got.Err)
	}
	w.Intact(t)
	takenOver(t, w, "--force-conflicts")
	w.Intact(t)
	_ = os.RemoveAll(w.Work + "/d")
	if err := os.Symlink(w.Victim, w.Work+"/d"); err != nil {
		t.Fatal(err)
	}
	w.Write(t, w.Home+"/made/new", "planted\n")
	naive(t, w.Home+"/made/.", w.Work+"/d")
	if _, err := os.Stat(w.Victim + "/new"); err != nil {
		t.Error("control: copying did not follow the link")
	}
	os.Remove(w.Victim + "/new")
}

func appliedInRace(t *testing.T, w *world.World) {
	for _, n := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
		w.Write(t, w.Work+"/d/e/"+n, n)
	}
	if err := os.Symlink(w.Victim, w.Home+"/link"); err != nil {
		t.Fatal(err)
	}
	kept(t, w, "for f in d/e/*; do echo stolen >$f; done; echo planted >d/e/planted; echo stolen >d/e/key")
	stop := sbxtest.Exchange(t, w.Home+"/link", w.Work+"/d/e")
	control := false
	look := func() { // the careless one, which follows
		if _, err := os.Stat(w.Work + "/d/e/key"); err == nil {
			text, _ := os.ReadFile(w.Work + "/d/e/key")
			control = control || string(text) == world.Secret
		}
	}
	// Before anything is taken over: that can put a directory in the link's place.
	for end := time.Now().Add(30 * time.Second); !control && time.Now().Before(end); {
		look()
	}
	long := 3 * time.Second
	if testing.Short() { // one run of many
		long = time.Second
	}
	for end := time.Now().Add(long); time.Now().Before(end); look() {
		takenOver(t, w, "--force-conflicts")
		for range 50 { // until the directory is where it was, for an instant
			if takenOver(t, w, "--abort").Code == 0 {
				break
			}
		}
	}
	if n := stop(); n < 100 || !control {
		t.Errorf("control: %d exchanges; what is read by the path was never the victim's", n)
	}
	w.Intact(t)
	if _, err := os.Stat(w.Victim + "/planted"); err == nil {
		t.Error("a file came to the victim")
	}
}

func appliedLink(t *testing.T, w *world.World) {
	w.Write(t, w.Work+"/d/key", "mine\n")
	kept(t, w, "rm -r d; ln -s "+w.Victim+" d; ln -s ../../victim/key up; ln -s d/../../victim over; mkdir n; ln -s ../.. n/top")
	got := takenOver(t, w)
	for _, l := range []string{"d", "up", "over", "n/top"} {
		if to, err := os.Readlink(filepath.Join(w.Work, l)); err == nil {
			t.Errorf("%s leads to %s", l, to)
		}
		if !strings.Contains(got.Err, "sbx: "+l+": held back: it leads out of the tree") {
			t.Errorf("%s is not named: %s", l, got.Err)
		}
	}
	if got.Code != 1 {
		t.Errorf("status %d", got.Code)
	}
	w.Intact(t)
	naive(t, layer(w)+"/d", w.Work+"/copied")
	if _, err := os.Stat(w.Work + "/copied/key"); err != nil {
		t.Error("control: the copied link does not lead to the victim")
	}
}

func appliedHardLinks(t *testing.T, w *world.World) {
	kept(t, w, "echo 1 >a; ln a b; ln a c")
	if err := os.Link(layer(w)+"/a", w.Home+"/another"); err != nil {
		t.Fatal(err)
	}
	links := func(file string) uint64 {
		st, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return uint64(st.Sys().(*syscall.Stat_t).Nlink)
	}
	if n := links(layer(w) + "/a"); n != 4 {
		t.Fatalf("control: the layer's file has %d names", n)
	}
	if got := takenOver(t, w); got.Code != 0 {
		t.Errorf("status %d: %s", got.Code, got.Err)
	}
	for _, f := range []string{"a", "b", "c"} {
		if n := links(w.Work + "/" + f); n != 1 {
			t.Errorf("%s has %d names, one of which may be somebody else's", f, n)
		}
	}
	w.Intact(t)
}

func appliedSpecial(t *testing.T, w *world.World) {
	w.Write(t, w.Work+"/d/a", "a\n")
	w.Write(t, w.Work+"/tool", "#!/bin/sh\n")
	if err := os.Chmod(w.Work+"/tool", 0o755); err != nil {
		t.Fatal(err)
	}
	kept(t, w, `mkfifo f d/f; cp /bin/true s; chmod 6755 s; chmod 4755 tool; mkdir g; chmod 3775 g; setfattr -n user.overlay.opaque -v y d; setfattr -n user.fuseoverlayfs.opaque -v y d
mkdir o; setfattr -n user.containers.override_stat -v 0:0:4755 s; setfattr -n user.ok -v y s`)
	dangers := func(dir string) string {
		out, _ := exec.Command("find", dir, "-perm", "/6000", "-o", "-type", "p", "-o", "-type", "s").CombinedOutput()
		attrs, _ := exec.Command("getfattr", "-R", "--absolute-names", "-m", `^(user\.(overlay|fuseoverlayfs|containers)\.|security\.|trusted\.)`, dir).CombinedOutput()
		return string(out) + string(attrs)
	}
	got := takenOver(t, w, "--allow-triggers", "--allow-links")
	if got.Code != 1 {
		t.Errorf("status %d: %s", got.Code, got.Err)
	}
	if found := dangers(w.Work); found != "" {
		t.Errorf("the project has\n%s", found)
	}
	for _, said := range []string{"f: held back: a fifo", "d/f: held back: a fifo", "s: taken over without set-user-ID, set-group-ID", "tool: held back: set-user-ID", "g: taken over without set-group-ID, sticky"} {
		if !strings.Contains(got.Err, said) {
			t.Errorf("it does not say %q: %s", said, got.Err)
		}
	}
	if _, err := os.Stat(w.Work + "/d/a"); err != nil {
		t.Errorf("d/a is gone, by an attribute that the command set: %v", err)
	}
	if v := make([]byte, 8); true {
		if n, err := unix.Getxattr(w.Work+"/s", "user.ok", v); err != nil || string(v[:n]) != "y" {
			t.Errorf("an attribute of the person's own was lost: %q %v", v, err)
		}
	}
	naive(t, layer(w), w.Home+"/copied")
	if found := dangers(w.Home + "/copied"); !strings.Contains(found, "/f\n") || !strings.Contains(found, "user.overlay.overlay.opaque") {
		t.Errorf("control: a copy of the layer has only\n%s", found)
	}
	w.Intact(t)
}
