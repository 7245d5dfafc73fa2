// Package changes holds diff, apply and compare to what overlayfs and
// fuse-overlayfs really write: after an apply the host's tree is what was seen in
// the sandbox.
package changes

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/userns"
)

// drivers are both, as far as the host has them.
var drivers = []string{upper.Kernel, upper.Fuse}

// layered is an overlay on a tree.
type layered struct {
	home, tree, snap string
	store            upper.Store
	record           *upper.Record
	driver           string
}

const preamble = "set -e; umask 022\n"

// under makes an overlay on a tree that the shell script prepare makes.
func under(t testing.TB, driver, prepare string) *layered {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("runs as root; make test runs this as an unprivileged account")
	}
	if driver == upper.Fuse {
		sbxtest.Require(t, sbxtest.UserNS, sbxtest.FUSE, sbxtest.Tool("fuse-overlayfs"))
	} else {
		sbxtest.Require(t, sbxtest.UserNS, sbxtest.Overlay)
	}
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command("chmod", "-R", "u+rwx", home).Run() })
	l := &layered{home: home, tree: home + "/tree", snap: home + "/snap", driver: driver, store: upper.Store{Root: home + "/.local/share/sbx/overlays"}}
	if err := os.Mkdir(l.tree, 0o755); err != nil {
		t.Fatal(err)
	}
	l.host(t, prepare)
	self := func(id int) userns.Map { return userns.Self(uint32(id), uint32(id)) }
	l.record = &upper.Record{
		Version: upper.RecordVersion, Name: "x", Driver: driver, Dir: l.tree, Created: time.Now(), Used: time.Now(), Base: base(),
		Layers: []upper.Layer{{Target: l.tree, Lower: []string{l.tree}, Upper: "upper", Work: "work"}},
		IDs:    upper.IDs{Mode: "single", UIDs: self(os.Getuid()), GIDs: self(os.Getgid())},
	}
	h, err := l.store.Create(l.record, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	return l
}

func base() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &ts)
	return ts.Nano()
}

func (l *layered) dir() string   { return l.store.Dir("x") }
func (l *layered) upper() string { return l.dir() + "/upper" }

// host runs a script in the tree, as the person does on the host.
func (l *layered) host(t testing.TB, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", preamble+script)
	cmd.Dir = l.tree
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("on the host: %v\n%s", err, out)
	}
}

// inside runs a script in the merged tree, and keeps a copy of what it looked like
// then.
func (l *layered) inside(t testing.TB, script string) {
	t.Helper()
	mount := "mount -t overlay -o userxattr,lowerdir=tree,upperdir=$D/upper,workdir=$D/work overlay merged"
	if l.driver == upper.Fuse {
		mount = "fuse-overlayfs -o lowerdir=tree,upperdir=$D/upper,workdir=$D/work merged"
	}
	all := preamble + "cd \"$H\"; rm -rf snap; mkdir -p merged\n" + mount + "\n(cd merged; " + preamble + script + "\n)\n" +
		"cp -a --sparse=always merged snap 2>/dev/null || true\numount merged\n"
	cmd := exec.Command("unshare", "-Urm", "sh", "-c", all)
	cmd.Env = append(os.Environ(), "H="+l.home, "D="+strings.TrimPrefix(l.dir(), l.home+"/"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("inside: %v\n%s", err, out)
	}
}

// result is what sbx said.
type result struct {
	code     int
	out, err string
}

// sbx runs it in the tree.
func (l *layered) sbx(t testing.TB, args ...string) result {
	t.Helper()
	return ran(t, l.command(t, args...))
}

func (l *layered) command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(sbxtest.Sbx(t), args...)
	cmd.Dir = l.tree
	cmd.Env = []string{"HOME=" + l.home, "USER=" + os.Getenv("USER"), "LANG=C.UTF-8", "TERM=xterm", "PATH=/usr/local/bin:/usr/bin:/bin"}
	return cmd
}

func ran(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	late := time.AfterFunc(60*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// file is all that a tree's comparison looks at.
type file struct {
	mode  fs.FileMode
	text  string // a hash of it, or where a link leads
	mtime time.Time
}

// tree reads one, by relative path. A file that may not be read counts by its size.
func tree(t testing.TB, dir string) map[string]file {
	t.Helper()
	files := map[string]file{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(p)
		if err != nil {
			return err
		}
		f := file{mode: st.Mode(), mtime: st.ModTime()}
		switch {
		case st.Mode()&fs.ModeSymlink != 0:
			f.text, err = os.Readlink(p)
			f.mtime = time.Time{}
		case st.Size() > 1<<30: // holes, which nobody wants to read
			f.text = fmt.Sprint(st.Size())
		case st.Mode().IsRegular():
			f.text, err = hash(p)
			if errors.Is(err, fs.ErrPermission) {
				f.text, err = fmt.Sprint(st.Size()), nil
			}
		default:
			f.mtime = time.Time{}
		}
		rel, _ := filepath.Rel(dir, p)
		files[rel] = f
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func hash(p string) (string, error) {
	f, err := os.Open(p)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// seen is the tree as it looked inside. fuse-overlayfs shows times of files that
// were written that are some ticks of the clock from those on disk; those are
// taken for the same.
func (l *layered) seen(t testing.TB) map[string]file {
	t.Helper()
	files := tree(t, l.snap)
	if l.driver != upper.Fuse {
		return files
	}
	for p, f := range files {
		if st, err := os.Lstat(filepath.Join(l.upper(), p)); err == nil && f.mtime.Sub(st.ModTime()).Abs() < 100*time.Millisecond {
			if !f.mtime.IsZero() {
				f.mtime = st.ModTime()
				files[p] = f
			}
		}
	}
	return files
}

// differences are the paths that are not the same in two trees, sorted.
func differences(a, b map[string]file) (list []string) {
	for p, f := range a {
		g, ok := b[p]
		switch {
		case !ok:
			list = append(list, fmt.Sprintf("%q is missing", p))
		case f.mode != g.mode:
			list = append(list, fmt.Sprintf("%q has the mode %v, want %v", p, g.mode, f.mode))
		case f.text != g.text:
			list = append(list, fmt.Sprintf("%q has other content", p))
		case !f.mtime.Equal(g.mtime):
			list = append(list, fmt.Sprintf("%q is of %v, want %v", p, g.mtime, f.mtime))
		}
	}
	for p := range b {
		if _, ok := a[p]; !ok {
			list = append(list, fmt.Sprintf("%q should not be there", p))
		}
	}
	sort.Strings(list)
	return list
}

// clean fails the test if apply left anything of its own.
func (l *layered) clean(t testing.TB) {
	t.Helper()
	left, err := filepath.Glob(l.tree + "/.sbx-*")
	if err != nil || len(left) > 0 {
		t.Errorf("in the tree there is %v", left)
	}
	names, err := os.ReadDir(l.dir())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		switch n.Name() {
		case "record.json", "record.json.new", "lock", "upper", "work", "upper.known": // .new goes with the next record
		default:
			t.Errorf("the overlay's directory has %s", n.Name())
		}
	}
}
