package changes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/test/faults/inject"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// mutating are the calls by which apply changes anything, or brings it to disk.
// What happens at any other call is the same as at the next one of these.
var mutating = []int{
	unix.SYS_OPENAT, unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_COPY_FILE_RANGE, unix.SYS_FTRUNCATE, unix.SYS_FSYNC, unix.SYS_SYNCFS,
	unix.SYS_MKDIRAT, unix.SYS_SYMLINKAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_UNLINKAT,
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHOWN, unix.SYS_UTIMENSAT, unix.SYS_FSETXATTR, unix.SYS_SETXATTR, unix.SYS_REMOVEXATTR,
}

// All that apply can do, at once.
const (
	allBefore = `mkdir -p gone/deep ro kept todir.d; echo 1 >gone/a; echo 2 >gone/deep/b; echo 3 >changed; echo 4 >removed; echo 5 >mode
echo 6 >time; ln -s old link; echo 7 >tolink; echo 8 >todir; echo 9 >todir.d/x; echo 10 >ro/a; chmod 555 ro; echo 11 >kept/a; echo 12 >kept/b; setfattr -n user.a -v 1 mode
mkdir opaque; echo o >opaque/1; echo p >opaque/p`
	allDo = `rm -r gone; echo x >changed; rm removed; chmod 700 mode; setfattr -n user.a -v 2 mode; touch -d 2001-01-01 time; ln -sfn new link; rm tolink; ln -s changed tolink
rm todir; mkdir todir; echo y >todir/y; rm -r todir.d; echo z >todir.d; chmod 755 ro; echo n >ro/n; chmod 555 ro; rm kept/a; mkdir -p new/deeper; echo new >new/deeper/f; chmod 500 new; ln -s f new/deeper/l 2>/dev/null || true; chmod 711 kept; rm -r opaque; mkdir opaque; for i in 1 2 3 4; do echo o$i >opaque/$i; done`
)

// outcome says whether a tree is as before or as after, by path: "old", "new" or,
// if there is a path that is neither, which.
func outcome(before, after, now map[string]file) (all, torn string) {
	old, new := true, true
	for _, m := range []map[string]file{before, after, now} {
		for p := range m {
			if strings.HasPrefix(p, ".sbx-apply-") {
				continue
			}
			a, hadA := before[p]
			b, hadB := after[p]
			n, has := now[p]
			isOld, isNew := has == hadA && n == a, has == hadB && n == b
			// A directory's mode may be open until all in it is done.
			if !isOld && !isNew && has && n.mode.IsDir() && n.mode.Perm()|0o700 == n.mode.Perm() {
				if hadA && a.mode.IsDir() && n.mode.Perm() == a.mode.Perm()|0o700 || hadB && b.mode.IsDir() && n.mode.Perm() == b.mode.Perm()|0o700 {
					old, new = false, false
					continue
				}
			}
			if !isOld && !isNew {
				return "torn", fmt.Sprintf("%q is %+v, was %+v, is to be %+v", p, n, a, b)
			}
			old, new = old && isOld, new && isNew
		}
	}
	switch {
	case old:
		return "old", ""
	case new:
		return "new", ""
	}
	return "both", ""
}

// breakable is a tree with an apply to be broken.
type breakable struct {
	*layered
	before, after map[string]file
}

func newBreakable(t *testing.T) *breakable {
	l := under(t, upper.Kernel, allBefore)
	l.inside(t, allDo)
	return &breakable{l, tree(t, l.tree), l.seen(t)}
}

// calls are how often an apply that is not broken makes each of the calls.
func (b *breakable) calls(t *testing.T) map[int]int {
	t.Helper()
	said, err := os.Create(b.home + "/said")
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cmd := b.command(t, "apply")
	cmd.Stderr = said
	rep, err := inject.Run(cmd, inject.Record)
	if err != nil || rep.Code() != 0 {
		text, _ := os.ReadFile(said.Name())
		t.Fatalf("unbroken: status %d, %v, %s", rep.Code(), err, text)
	}
	if all, torn := outcome(b.before, b.after, tree(t, b.tree)); all != "new" {
		t.Fatalf("unbroken: %s %s", all, torn)
	}
	n := map[int]int{}
	for who, calls := range rep.Calls {
		if who != "0" {
			t.Errorf("there is a process %s", who)
		}
		for _, c := range calls {
			if slices.Contains(mutating, c.Nr) && (counted(c.Nr) == nil || counted(c.Nr)(c.Args)) {
				n[c.Nr]++
			}
		}
	}
	return n
}

// apart is how many calls of a number are passed over after one at which all was
// done already: what is left then is to clear up.
const apart = 2

// counted says which calls of a number count, nil for all: opening a file changes
// something only if it makes it.
func counted(nr int) func([6]uint64) bool {
	if nr != unix.SYS_OPENAT {
		return nil
	}
	return func(args [6]uint64) bool { return args[2]&unix.O_CREAT != 0 }
}

// TestKilled: killed at any call, each file is the old or the new one; the next
// sbx apply --abort puts back the tree, or ends what was done; nothing is left,
// and apply works after it.
// It runs alone: a tracer waits for all children of its thread, and that thread may
// have started what another test waits for.
func TestKilled(t *testing.T) {
	b := newBreakable(t)
	counts := b.calls(t)
	ends := map[string]int{}
	b = newBreakable(t)
	tries := 0
	for _, nr := range mutating {
		for n := 0; n < counts[nr]; n++ {
			rep, err := inject.Run(b.command(t, "apply"), &inject.Fault{Kind: inject.Kill, Who: "0", Nr: nr, N: n, Arg: counted(nr)})
			if err != nil {
				t.Fatal(err)
			}
			if !rep.Fired {
				continue // the runtime made one call less
			}
			tries++
			at := fmt.Sprintf("killed at call %d number %d", nr, n)
			all, torn := outcome(b.before, b.after, tree(t, b.tree))
			if all == "torn" {
				t.Fatalf("%s: %s", at, torn)
			}
			ends[all]++
			if got := b.sbx(t, "apply", "--abort"); got.code != 0 {
				t.Fatalf("%s: --abort: status %d, %s", at, got.code, got.err)
			}
			b.clean(t)
			all, torn = outcome(b.before, b.after, tree(t, b.tree))
			if all != "old" && all != "new" {
				t.Fatalf("%s: after --abort: %s %s", at, all, torn)
			}
			if all == "new" { // all was done: it takes another tree
				b.finish(t, at)
				b = newBreakable(t)
				n += apart
			}
		}
	}
	b.finish(t, "in the end")
	t.Logf("%d kills; the trees were %v", tries, ends)
	for _, all := range []string{"old", "both", "new"} {
		if ends[all] == 0 {
			t.Errorf("no kill left a tree that was %s", all)
		}
	}
}

// finish applies what is left.
func (b *breakable) finish(t *testing.T, at string) {
	t.Helper()
	if got := b.sbx(t, "apply"); got.code != 0 {
		t.Fatalf("%s: apply: status %d, %s", at, got.code, got.err)
	}
	if all, torn := outcome(b.before, b.after, tree(t, b.tree)); all != "new" {
		t.Fatalf("%s: after apply: %s %s", at, all, torn)
	}
	b.clean(t)
}

// TestNoRoom: where any call finds no room, all is as it was or all is taken over,
// and nothing is left but what --abort clears.
func TestNoRoom(t *testing.T) {
	b := newBreakable(t)
	counts := b.calls(t)
	b = newBreakable(t)
	ends := map[string]int{}
	for _, nr := range mutating {
		for n := 0; n < counts[nr]; n++ {
			rep, err := inject.Run(b.command(t, "apply"), &inject.Fault{Kind: inject.Fail, Errno: unix.ENOSPC, Who: "0", Nr: nr, N: n, Arg: counted(nr)})
			if err != nil {
				t.Fatal(err)
			}
			if !rep.Fired {
				continue
			}
			at := fmt.Sprintf("no room at call %d number %d: status %d", nr, n, rep.Code())
			all, torn := outcome(b.before, b.after, tree(t, b.tree))
			if all == "torn" {
				t.Fatalf("%s: %s", at, torn)
			}
			if got := b.sbx(t, "apply", "--abort"); got.code != 0 {
				t.Fatalf("%s: --abort: %d %s", at, got.code, got.err)
			}
			b.clean(t)
			all, torn = outcome(b.before, b.after, tree(t, b.tree))
			ends[fmt.Sprintf("%s with %d", all, rep.Code())]++
			switch {
			case all != "old" && all != "new":
				t.Fatalf("%s: %s %s", at, all, torn)
			case all == "old" && rep.Code() == 0:
				t.Fatalf("%s: nothing was taken over", at)
			case all == "new":
				b.finish(t, at)
				b = newBreakable(t)
				n += apart
			}
		}
	}
	b.finish(t, "in the end")
	t.Logf("%v", ends)
}

// TestFull: on a file system that is really full.
func TestFull(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS)
	l := under(t, upper.Kernel, "")
	sbx := sbxtest.Sbx(t)
	script := preamble + `mkdir -p "$H/full"; mount -t tmpfs -o size=512k none "$H/full"; cd "$H/full"; mkdir tree lower
echo old >tree/a; echo old >tree/b; mkdir -p "$H/o" "$H/w" "$H/m"
mount -t overlay -o userxattr,lowerdir=tree,upperdir=$H/o,workdir=$H/w overlay "$H/m"
head -c 100000 /dev/urandom >"$H/m/a"; head -c 600000 /dev/urandom >"$H/m/b"; echo x >"$H/m/c"; umount "$H/m"
S="$H/.local/share/sbx/overlays/x"; rm -rf "$S/upper"; mv "$H/o" "$S/upper"
I=$(stat -c %i tree); sed -z -i "s#\"$H/tree\"#\"$H/full/tree\"#g; s#\"inode\": \[[^]]*\]#\"inode\": [$I]#" "$S/record.json"
cd tree; before=$(cat a b | sha256sum); rc=0; "$SBX" apply --force-conflicts x >"$H/said" 2>&1 || rc=$?
cat "$H/said"; test $rc = 125; test "$before" = "$(cat a b | sha256sum)"; test "$(ls -A | tr '\n' ' ')" = "a b "; test ! -e "$S/upper.journal"
"$SBX" apply --force-conflicts --exclude b x; cmp a "$S/upper/a" 2>/dev/null || test ! -e "$S/upper/a"; test "$(cat c)" = x; test "$(cat b)" = old; test "$(ls -A | tr '\n' ' ')" = "a b c "
`
	cmd := exec.Command("unshare", "-Urm", "sh", "-xc", script)
	cmd.Env = []string{"HOME=" + l.home, "H=" + l.home, "SBX=" + sbx, "PATH=/usr/local/bin:/usr/bin:/bin"}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "no space left on device") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestEdited: what the host changed between a kill and the abort stays, and what it
// would have replaced is kept.
func TestEdited(t *testing.T) {
	// Killed before the second exchange.
	l := under(t, upper.Kernel, "echo a >a; echo b >b; echo c >c; echo d >d")
	l.inside(t, "echo 1 >a; echo 2 >b; rm c; echo 3 >n; echo 4 >d")
	n := 0
	for { // the fifth exchange, counted in renameat2
		rep, err := inject.Run(l.command(t, "apply"), &inject.Fault{Kind: inject.Kill, Who: "0", Nr: unix.SYS_RENAMEAT2, N: n})
		if err != nil || !rep.Fired {
			t.Fatalf("there is no such moment: %v", err)
		}
		if _, err := os.Stat(l.tree + "/c"); err != nil {
			break
		}
		if got := l.sbx(t, "apply", "--abort"); got.code != 0 {
			t.Fatal(got.err)
		}
		n++
	}
	l.host(t, "echo edited >a; echo mine >c")
	got := l.sbx(t, "apply", "--abort")
	if got.code != 1 || !strings.Contains(got.err, "is kept in ") || !strings.Contains(got.err, "a (as ") || !strings.Contains(got.err, "c (as ") {
		t.Errorf("status %d, %s", got.code, got.err)
	}
	for name, want := range map[string]string{"a": "edited\n", "b": "b\n", "c": "mine\n", "d": "d\n"} {
		if text, err := os.ReadFile(filepath.Join(l.tree, name)); err != nil || string(text) != want {
			t.Errorf("%s holds %q, %v; want %q", name, text, err, want)
		}
	}
	saved, _ := filepath.Glob(l.tree + "/.sbx-saved-*/*")
	var texts []string
	for _, s := range saved {
		text, _ := os.ReadFile(s)
		texts = append(texts, string(text))
	}
	slices.Sort(texts)
	if !slices.Equal(texts, []string{"a\n", "c\n"}) {
		t.Errorf("kept is %q", texts)
	}
	if got := l.sbx(t, "apply"); got.code != 1 || !strings.Contains(got.err, "a: held back: it changed on the host") || strings.Contains(got.err, "b: held") {
		t.Errorf("afterwards: status %d, %s", got.code, got.err)
	}
}

// TestSwapped: while changes are taken over, the directories that they go to are
// exchanged for links that lead elsewhere. Nothing comes there.
func TestSwapped(t *testing.T) {
	l := under(t, upper.Kernel, "mkdir -p d/e; for i in $(seq 40); do echo $i >d/e/$i; done; mkdir ../victim; echo v >../victim/1")
	if err := os.Symlink(l.home+"/victim", l.tree+"/link"); err != nil {
		t.Fatal(err)
	}
	l.record.Base = base()
	l.inside(t, "for i in $(seq 40); do echo x >d/e/$i; done; for i in $(seq 41 60); do echo n >d/e/$i; done; rm d/e/7")
	victim := tree(t, l.home+"/victim")
	stop := sbxtest.Exchange(t, l.tree+"/link", l.tree+"/d/e")
	codes := map[int]int{}
	end := time.Now().Add(4 * time.Second)
	for time.Now().Before(end) {
		got := l.sbx(t, "apply", "--force-conflicts")
		codes[got.code]++
		for range 20 {
			if got := l.sbx(t, "apply", "--abort"); got.code == 0 {
				break
			}
		}
	}
	n := stop()
	if now := tree(t, l.home+"/victim"); len(differences(victim, now)) > 0 || n < 100 {
		t.Errorf("after %d exchanges, applies ended with %v; elsewhere:\n%s", n, codes, strings.Join(differences(victim, now), "\n"))
	}
	t.Logf("%d exchanges; applies ended with %v", n, codes)
}
