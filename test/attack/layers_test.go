package attack

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// backends are those that make layers here, with the flag that chooses one.
func backends(t *testing.T) map[string]string {
	t.Helper()
	have := map[string]string{}
	if sbxtest.Overlay.Missing() == nil {
		have["kernel"] = "overlay.backend=kernel"
	}
	if sbxtest.FUSE.Missing() == nil && sbxtest.Tool("fuse-overlayfs").Missing() == nil {
		have["fuse-overlayfs"] = "overlay.backend=fuse-overlayfs"
	}
	if len(have) == 0 {
		sbxtest.Require(t, sbxtest.Overlay)
	}
	return have
}

// layered runs a script in an overlay of dir, which is the current directory too.
func layered(t *testing.T, w *world.World, dir, backend, name, script string, flags ...string) world.Result {
	t.Helper()
	argv := append([]string{w.Sbx, "run", "-q", "--overlay=" + name, "--set", backend}, flags...)
	cmd := w.Command(append(argv, "build", "--", "sh", "-c", script)...)
	cmd.Dir = dir
	return world.Wait(t, cmd)
}

// thrownAway discards what is kept: only sbx removes all of it.
func thrownAway(t *testing.T, w *world.World) {
	t.Helper()
	t.Cleanup(func() {
		list, _ := os.ReadDir(w.Home + "/.local/share/sbx/overlays")
		for _, e := range list {
			if got := w.Run(t, w.Sbx, "discard", e.Name()); got.Code != 0 {
				t.Errorf("discarding %s: %s", e.Name(), got.Err)
			}
		}
	})
}

// forgedRecord has a sandbox write to an overlay that another profile keeps in a
// directory that this one may write: what it says is believed when it is applied.
func forgedRecord(t *testing.T, w *world.World) {
	shared, data := filepath.Join(w.Home, "shared"), filepath.Join(w.Home, "data")
	for _, f := range []string{shared + "/ov/free", data + "/f"} {
		w.Write(t, f, "before\n")
	}
	keeps := w.Profile(t, "[mounts.\""+data+"\"]\ntype = \"overlay\"\n[overlay]\nupper = \"disk\"\nname = \"kept\"\npath = \""+shared+"/ov\"\n")
	got := w.Run(t, w.Sbx, "run", "-q", keeps, "sh", "-c", "echo after >"+data+"/f")
	record := shared + "/ov/kept/record.json"
	was, err := os.ReadFile(record)
	if got.Code != 0 || err != nil {
		t.Fatalf("status %d: %s, %v", got.Code, got.Err, err)
	}
	t.Cleanup(func() { w.Run(t, w.Sbx, "discard", "kept") })
	writes := w.Profile(t, "[mounts.\""+shared+"\"]\naccess = \"rw\"\n")
	script := "cd " + shared + "/ov; echo forged >kept/record.json; echo x >kept/upper/planted; mv kept away; cd ..; mv ov away; echo forged >" + shared + "/ov/free"
	w.Run(t, w.Sbx, "run", "-q", writes, "sh", "-c", script)
	if is, err := os.ReadFile(record); err != nil || string(is) != string(was) || world.Exists(shared+"/ov/kept/upper/planted") {
		t.Errorf("the record is %q, %v", is, err)
	}
	// The control: what lies beside it is written.
	if text, err := os.ReadFile(shared + "/ov/free"); err != nil || string(text) != "forged\n" {
		t.Errorf("control: %q, %v", text, err)
	}
}

// inNamespaces runs a script as root of new user and mount namespaces: what an
// overlay made by hand does.
func inNamespaces(t *testing.T, w *world.World, script string) string {
	t.Helper()
	out, err := w.Command("unshare", "-Urm", "sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Logf("%v: %s", err, out)
	}
	return string(out)
}

func layerRows() []row {
	return []row{
		{id: "R23-driver", what: "a layer that another driver wrote", do: otherDriver},
		{id: "R23-marks", what: "marks that the command makes itself", do: ownMarks},
		{id: "R24-options", what: "a directory whose name is mount options", do: optionsInPath},
		{id: "R45-disk", what: "filling the disk through a layer", do: fillLayer},
		{id: "R53-setuid-files", what: "in a layer", do: setuidInLayer},
		{id: "R54-fifo", what: "writing to one through an overlay", do: fifoInLayer},
		{id: "R49-state", what: "a place of layers that others can write or that is a link", do: placeOfLayers},
		{id: "R49-state", what: "an overlay that another profile keeps where this one may write", needs: []sbxtest.Feature{sbxtest.Overlay}, do: forgedRecord},
	}
}

// otherDriver: what is gone by one driver's marks is back with the other.
func otherDriver(t *testing.T, w *world.World) {
	have := backends(t)
	if len(have) < 2 {
		sbxtest.Require(t, sbxtest.Overlay, sbxtest.FUSE, sbxtest.Tool("fuse-overlayfs"))
	}
	thrownAway(t, w)
	w.Write(t, w.Work+"/d/gone", "lower")
	for by, flag := range have {
		name := by[:4]
		if got := layered(t, w, w.Work, flag, name, "rm -r d; mkdir d; touch d/new"); got.Code != 0 {
			t.Fatalf("%s: %d %s", by, got.Code, got.Err)
		}
		if got := layered(t, w, w.Work, flag, name, "ls d"); got.Out != "new\n" {
			t.Errorf("%s itself shows %q", by, got.Out)
		}
		other := have["kernel"]
		if by == "kernel" {
			other = have["fuse-overlayfs"]
		}
		denies(t, w, "a layer of "+by+" with "+other, w.Sbx, "run", "-q", "--overlay="+name, "--set", other, "build", "--")
	}
	dir := w.Home + "/.local/share/sbx/overlays/fuse"
	shown := inNamespaces(t, w, "mkdir -p "+w.Home+"/m "+w.Home+"/wk; mount -t overlay x -o lowerdir="+w.Work+",upperdir="+dir+"/upper,workdir="+dir+"/work,userxattr "+w.Home+"/m; ls "+w.Home+"/m/d")
	if !strings.Contains(shown, "gone") {
		t.Errorf("control: the kernel shows of what fuse-overlayfs wrote %q, where the removed file should be", shown)
	}
}

// ownMarks: whatever attributes the command sets, a later run sees what it left
// and the files of the lower layer that it did not remove.
func ownMarks(t *testing.T, w *world.World) {
	sbxtest.Require(t, sbxtest.Tool("setfattr"))
	have := backends(t)
	thrownAway(t, w)
	w.Write(t, w.Work+"/d/kept", "lower")
	const marks = `for a in user.overlay.opaque user.overlay.whiteout user.overlay.redirect user.overlay.metacopy; do setfattr -n $a -v y d 2>/dev/null; done; touch d/x; true`
	for by, flag := range have {
		name := "m" + by[:4]
		if got := layered(t, w, w.Work, flag, name, marks); got.Code != 0 {
			t.Fatalf("%s: %d %s", by, got.Code, got.Err)
		}
		got := layered(t, w, w.Work, flag, name, "cat d/kept; ls d")
		if by == "fuse-overlayfs" && got.Out == "x\n" {
			// It takes the kernel's mark for its own: the command has removed the
			// file in a roundabout way, from its layer.
			continue
		}
		if got.Out != "lowerkept\nx\n" {
			t.Errorf("%s: a later run shows %q; %s", by, got.Out, got.Err)
		}
	}
	if text, err := os.ReadFile(w.Work + "/d/kept"); err != nil || string(text) != "lower" {
		t.Errorf("the host's file: %q, %v", text, err)
	}
	if have["kernel"] == "" {
		return
	}
	dir := w.Home + "/.local/share/sbx/overlays/mkern"
	if out, err := exec.Command("setfattr", "-n", "user.overlay.opaque", "-v", "y", dir+"/upper/d").CombinedOutput(); err != nil {
		t.Fatalf("control: %v: %s", err, out)
	}
	if got := layered(t, w, w.Work, have["kernel"], "mkern", "ls d"); got.Out != "x\n" {
		t.Errorf("control: with the mark set from outside it shows %q", got.Out)
	}
}

// optionsInPath: a project called so that its path, put into mount options,
// names another layer.
func optionsInPath(t *testing.T, w *world.World) {
	have := backends(t)
	thrownAway(t, w)
	victim := "/" + filepath.Base(w.Victim)
	for i, name := range []string{"p,lowerdir=" + w.Victim + ",x=", "p:" + w.Victim, `p\`, "p\nlowerdir=" + victim, "a,b:c\\,d", "p,upperdir=/tmp"} {
		dir := w.Home + "/hostile" + string(rune('0'+i)) + "/" + name
		w.Write(t, dir+"/mine", "own")
		for by, flag := range have {
			got := layered(t, w, dir, flag, by[:4]+string(rune('0'+i)), "ls; cat mine; echo new >made; rm mine")
			if got.Code != 0 || got.Out != "mine\nown" {
				t.Errorf("%s in %q: status %d, %q, %s", by, name, got.Code, got.Out, got.Err)
			}
			if names, _ := os.ReadDir(dir); len(names) != 1 || names[0].Name() != "mine" {
				t.Errorf("%s in %q: the host's directory has %v", by, name, names)
			}
		}
	}
	w.Intact(t)
	if have["fuse-overlayfs"] == "" {
		return
	}
	// As it is done by hand, the victim's key is there.
	shown := inNamespaces(t, w, "cd "+w.Home+`; mkdir m2 u2 w2; for d in hostile0/*/; do cd "$d"; break; done; while [ ! -e mine ]; do cd "$(ls -d */ | head -1)"; done; `+
		`fuse-overlayfs -o "lowerdir=$(pwd),upperdir=`+w.Home+`/u2,workdir=`+w.Home+`/w2" `+w.Home+`/m2; ls `+w.Home+`/m2; fusermount3 -u `+w.Home+`/m2 2>/dev/null || umount `+w.Home+`/m2`)
	if !strings.Contains(shown, "key") {
		t.Errorf("control: fuse-overlayfs by hand shows %q, where the victim's key should be", shown)
	}
}

// fillLayer: a bound on disk ends who writes past it.
func fillLayer(t *testing.T, w *world.World) {
	const size = 16 << 20
	script := "dd if=/dev/zero of=big bs=1M count=64 status=none; echo written; sleep 30"
	for by, flag := range backends(t) {
		thrownAway(t, w)
		begin := time.Now()
		got := layered(t, w, w.Work, flag, "f"+by[:4], script, "--set", "overlay.size=16M")
		if got.Code != 137 || time.Since(begin) > 20*time.Second {
			t.Errorf("%s: status %d after %v: %s", by, got.Code, time.Since(begin), got.Err)
		}
		if got := layered(t, w, w.Work, flag, "c"+by[:4], "dd if=/dev/zero of=big bs=1M count=64 status=none; echo written"); got.Out != "written\n" {
			t.Errorf("control: %s without a bound: %q %s", by, got.Out, got.Err)
		}
	}
	got := layered(t, w, w.Work, "overlay.upper=tmpfs", "x", "dd if=/dev/zero of=big bs=1M count=64 status=none || ls -l big", "--set", "overlay.size=16M")
	if f := strings.Fields(got.Out); len(f) < 5 || f[4] != "16777216" || size != 16777216 {
		t.Errorf("in memory: %q %s", got.Out, got.Err)
	}
}

// setuidInLayer: the filter refuses to make one, none of its rights hold inside,
// and nobody else gets at the layer.
func setuidInLayer(t *testing.T, w *world.World) {
	thrownAway(t, w)
	for by, flag := range backends(t) {
		name := "s" + by[:4]
		if got := layered(t, w, w.Work, flag, name, "cp /usr/bin/id s; chmod 4755 s"); got.Code == 0 {
			t.Errorf("%s: chmod 4755 succeeded", by)
		}
		got := layered(t, w, w.Work, flag, name, "chmod 4755 s; grep ' "+w.Work+" ' /proc/self/mountinfo", "--set", "security.seccomp=unconfined")
		if !strings.Contains(got.Out, "nosuid") || !strings.Contains(got.Out, "nodev") {
			t.Errorf("%s: mounted as %q", by, got.Out)
		}
		planted := w.Home + "/.local/share/sbx/overlays/" + name + "/upper/s"
		if st, err := os.Stat(planted); err != nil || st.Mode()&os.ModeSetuid == 0 {
			t.Errorf("control: %s without a filter plants %v, %v", by, st, err)
		}
		for _, dir := range []string{"overlays", "overlays/" + name} {
			if st, err := os.Stat(w.Home + "/.local/share/sbx/" + dir); err != nil || st.Mode().Perm() != 0o700 {
				t.Errorf("%s can be entered by others: %v, %v", dir, st.Mode(), err)
			}
		}
		if world.Exists(w.Work + "/s") {
			t.Errorf("%s: it is in the project", by)
		}
	}
}

// fifoInLayer: a FIFO below an overlay is one of the sandbox's own.
func fifoInLayer(t *testing.T, w *world.World) {
	thrownAway(t, w)
	fifo := w.Work + "/fifo"
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := unix.Open(fifo, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(reader)
	came := func() string {
		b := make([]byte, 64)
		n, _ := unix.Read(reader, b)
		return string(b[:max(n, 0)])
	}
	const script = "timeout 2 sh -c 'echo hostile >fifo'; echo tried"
	if w.Run(t, "sh", "-c", script); came() != "hostile\n" {
		t.Error("control: the host's reader gets nothing")
	}
	for by, flag := range backends(t) {
		if got := layered(t, w, w.Work, flag, "p"+by[:4], script); got.Out != "tried\n" {
			t.Errorf("%s: %q %s", by, got.Out, got.Err)
		}
		if got := came(); got != "" {
			t.Errorf("%s: the host's reader got %q", by, got)
		}
	}
}

// placeOfLayers: an overlay's directory that was swapped for a link, or that
// others can write, is not written to.
func placeOfLayers(t *testing.T, w *world.World) {
	thrownAway(t, w)
	var flag string
	for _, f := range slices.Sorted(mapValues(backends(t))) {
		flag = f
	}
	if got := layered(t, w, w.Work, flag, "it", "touch x"); got.Code != 0 {
		t.Fatalf("%d %s", got.Code, got.Err)
	}
	again := []string{w.Sbx, "run", "-q", "--overlay=it", "--set", flag, "build", "--"}
	dir := w.Home + "/.local/share/sbx/overlays/it"
	control := func(what string) {
		t.Helper()
		if got := w.Run(t, append(again, "ls", "x")...); got.Code != 0 {
			t.Errorf("control: %s: %d %s", what, got.Code, got.Err)
		}
	}
	control("as it was left")
	for _, c := range []struct {
		what     string
		do, undo func() error
	}{
		{"a link", func() error { return swap(dir, w.Victim) }, func() error { os.Remove(dir); return os.Rename(dir+".away", dir) }},
		{"a directory that others can write", func() error { return os.Chmod(dir, 0o777) }, func() error { return os.Chmod(dir, 0o700) }},
		{"a link in place of the upper layer", func() error { return swap(dir+"/upper", w.Victim) }, func() error { os.Remove(dir + "/upper"); return os.Rename(dir+"/upper.away", dir+"/upper") }},
		{"a record of another", func() error { return os.Rename(dir, dir+"2") }, func() error { return os.Rename(dir+"2", dir) }},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		argv := again
		if c.what == "a record of another" {
			argv = slices.Clone(again)
			argv[3] = "--overlay=it2"
		}
		denies(t, w, c.what, argv...)
		if err := c.undo(); err != nil {
			t.Fatal(err)
		}
		control("after " + c.what)
	}
	w.Intact(t)
}

func swap(path, to string) error {
	if err := os.Rename(path, path+".away"); err != nil {
		return err
	}
	return os.Symlink(to, path)
}

func mapValues(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}
