package files

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// tries is how often something random is tried: SBX_FAULT_RUNS, else few.
func tries(few int) int {
	if n, err := strconv.Atoi(os.Getenv("SBX_FAULT_RUNS")); err == nil {
		return n
	}
	return few
}

// acknowledged writes numbers to a file, each written out before it is said.
const acknowledged = `i=1; while echo $i >>log && sync log; do echo $i; i=$((i+1)); done`

// victim is the process of that name below sbx, or sbx itself.
func victim(t *testing.T, name string, sbx int) int {
	if name == "sbx" {
		return sbx
	}
	for _, p := range world.Below(t, sbx) {
		if p.Name == name {
			return p.PID
		}
	}
	return 0
}

// TestKilled kills sbx, PID 1 and fuse-overlayfs while the sandbox writes. There
// is nothing left of it, what was written out is in the layer, the layer can be
// used at once, and what the host has is as it was.
func TestKilled(t *testing.T) {
	for _, w := range ways {
		for _, who := range []string{"sbx", "sbx-init", "fuse-overlayfs"} {
			if who == "fuse-overlayfs" && w.backend != who {
				continue
			}
			t.Run(w.name+"/"+who, func(t *testing.T) {
				sbxtest.Require(t, w.needs...)
				p := newPlace(t)
				sbxtest.Leftovers(t)
				world.Adopt(t)
				p.Write(t, p.Work+"/log", "lower\n")
				before := ""
				for i := range tries(6) {
					cmd := p.Command(p.sbx(w.flags("--overlay=it"), "sh", "-c", acknowledged)...)
					out, err := cmd.StdoutPipe()
					if err != nil {
						t.Fatal(err)
					}
					var errs strings.Builder
					cmd.Stderr = &errs
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					said := make(chan string)
					go func() {
						var all []byte
						buf := make([]byte, 4096)
						for {
							n, err := out.Read(buf)
							if all = append(all, buf[:n]...); err != nil {
								said <- string(all)
								return
							}
						}
					}()
					time.Sleep(50*time.Millisecond + rand.N(150*time.Millisecond))
					pid := victim(t, who, cmd.Process.Pid)
					hit := pid != 0 && unix.Kill(pid, unix.SIGKILL) == nil
					if !hit {
						_ = cmd.Process.Kill() // it is not there yet, and may be by now
					}
					stuck := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill(); t.Errorf("run %d: sbx was stuck", i) })
					lines := strings.Fields(<-said)
					_ = cmd.Wait()
					stuck.Stop()
					if left := world.Gone(t); len(left) > 0 {
						t.Fatalf("run %d: there are %v", i, left)
					}
					if who == "fuse-overlayfs" && hit && len(lines) > 0 && (world.Code(cmd) != 125 || !strings.Contains(errs.String(), "fuse-overlayfs was killed by SIGKILL")) {
						t.Errorf("run %d: status %d, %q", i, world.Code(cmd), errs.String())
					}
					if len(p.overlays()) == 0 { // killed before it had begun
						continue
					}
					log := p.ok(t, p.sbx(w.flags("--overlay=it"), "cat", "log")...)
					if !strings.HasPrefix(log, "lower\n"+before) {
						t.Errorf("run %d: what the run before had written is gone", i)
					}
					if n := len(lines); n > 0 && !strings.Contains(log[len("lower\n"+before):], lines[n-1]+"\n") {
						t.Errorf("run %d: %s was written out and is not there", i, lines[n-1])
					}
					before = strings.TrimPrefix(log, "lower\n")
				}
				if text, err := os.ReadFile(p.Work + "/log"); err != nil || string(text) != "lower\n" {
					t.Errorf("the host's file is %q, %v", text, err)
				}
			})
		}
	}
}

// TestKeptKilled kills sbx while it snapshots, restores and discards. What is
// there afterwards is whole, or is said to be not.
func TestKeptKilled(t *testing.T) {
	for _, w := range ways[:2] {
		t.Run(w.name, func(t *testing.T) {
			sbxtest.Require(t, w.needs...)
			p := newPlace(t)
			sbxtest.Leftovers(t)
			world.Adopt(t)
			p.ok(t, p.sbx(w.flags("--overlay=it"), "sh", "-c", "for i in $(seq 300); do mkdir d$i; echo $i >d$i/f; done")...)
			want := p.ok(t, p.sbx(w.flags("--overlay=it"), "sh", "-c", "cat d*/f | sort | md5sum")...)
			p.ok(t, p.Sbx, "snapshot", "it", "good")
			whole := func(what string) {
				t.Helper()
				got := p.Run(t, p.sbx(w.flags("--overlay=it"), "sh", "-c", "cat d*/f | sort | md5sum")...)
				if got.Code == 125 && strings.Contains(got.Err, "restoring the snapshot good of the overlay it was interrupted; do it again: sbx restore it good") {
					p.ok(t, p.Sbx, "restore", "it", "good")
					got = p.Run(t, p.sbx(w.flags("--overlay=it"), "sh", "-c", "cat d*/f | sort | md5sum")...)
				}
				if got.Code != 0 || got.Out != want {
					t.Errorf("%s: %d %q %s, want %q", what, got.Code, got.Out, got.Err, want)
				}
			}
			killed := func(argv ...string) {
				t.Helper()
				cmd := p.Command(argv...)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(rand.N(60 * time.Millisecond))
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				if left := world.Gone(t); len(left) > 0 {
					t.Errorf("%q left %v", argv, left)
				}
			}
			for i := range tries(6) {
				killed(p.Sbx, "snapshot", "it", "s"+strconv.Itoa(i))
				whole("after a snapshot that was killed")
				killed(p.Sbx, "restore", "it", "good")
				whole("after a restore that was killed")
			}
			killed(p.Sbx, "discard", "it")
			got := p.Run(t, p.Sbx, "discard", "it")
			if got.Code != 0 && !strings.Contains(got.Err, `no overlay "it"`) {
				t.Errorf("discarding again: %d %s", got.Code, got.Err)
			}
			p.ok(t, p.Sbx, "overlay", "ls")
			if left := p.overlays(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// inMounts runs sbx in user and mount namespaces of a test's own, where it can
// mount what a host might have. sbx is root there, and all its files are.
func (p *place) inMounts(t *testing.T, script string) world.Result {
	t.Helper()
	return p.Run(t, "unshare", "-Urm", "sh", "-c", "set -e; SBX="+p.Sbx+"; "+script)
}

// TestUnfit puts the workspace, and the place of changes, on file systems that
// the kernel's overlayfs does not take.
func TestUnfit(t *testing.T) {
	sbxtest.Require(t, sbxtest.Overlay)
	p := newPlace(t)
	sbxtest.Leftovers(t)
	p.Write(t, p.Work+"/f", "lower\n")
	p.Write(t, p.Work+"/sub/hidden", "")
	p.Write(t, p.Home+"/data/low/x", "")
	const overlay = `cd $HOME/data; mkdir -p up wk m; mount -t overlay x -o lowerdir=low,upperdir=up,workdir=wk,userxattr m; cd $HOME/work; export XDG_DATA_HOME=$HOME/data/m; `
	const below = `mount -t tmpfs x sub; touch sub/mounted; `
	fuse := sbxtest.FUSE.Missing() == nil && sbxtest.Tool("fuse-overlayfs").Missing() == nil
	for _, tt := range []struct{ name, set, how, want string }{
		{"kept on an overlay, by the kernel", overlay, "--set overlay.backend=kernel", "lies on overlay, which overlayfs does not write to"},
		{"something mounted below, by the kernel", below, "--set overlay.backend=kernel", "in " + p.Work + " something else is mounted (" + p.Work + "/sub), and the kernel does not show what lies below"},
		{"kept on an overlay, by whom it can", overlay, "", ""},
		{"something mounted below, by whom it can", below, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := p.inMounts(t, tt.set+"$SBX run -q "+tt.how+" --overlay=it -- sh -c 'cat f; echo more >>f; ls sub'; $SBX run -q --overlay=it -- cat f; $SBX discard it")
			if tt.want != "" {
				if got.Code != 125 || !strings.Contains(got.Err, tt.want) {
					t.Errorf("status %d: %s", got.Code, got.Err)
				}
				return
			}
			if !fuse {
				if got.Code != 125 || !strings.Contains(got.Err, "fuse-overlayfs can't be used") {
					t.Errorf("status %d: %s", got.Code, got.Err)
				}
				return
			}
			sub := "hidden"
			if tt.set == below {
				sub = "mounted"
			}
			if got.Code != 0 || got.Out != "lower\n"+sub+"\nlower\nmore\n" {
				t.Errorf("status %d: %q %s", got.Code, got.Out, got.Err)
			}
		})
	}
	if left := p.overlays(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	_ = exec.Command("chmod", "-R", "u+rwx", p.Home+"/data").Run()
}

// TestNoRoom: where there is no room for what is written the command is told,
// and what it wrote before is there; where there is none for the layer itself,
// nothing runs and nothing is left.
func TestNoRoom(t *testing.T) {
	sbxtest.Require(t, sbxtest.Overlay)
	p := newPlace(t)
	sbxtest.Leftovers(t)
	p.Write(t, p.Work+"/f", "lower\n")
	const small = `mkdir -p $HOME/small; mount -t tmpfs -o size=512k x $HOME/small; export XDG_DATA_HOME=$HOME/small; cd $HOME/work; `
	got := p.inMounts(t, small+`$SBX run -q --set overlay.backend=kernel --overlay=it -- sh -c 'echo first >first; dd if=/dev/zero of=big bs=64k count=20 2>/dev/null || echo full; echo more >>f || true'; `+
		`rm -f $HOME/small/sbx/overlays/it/upper/big; $SBX run -q --overlay=it -- sh -c 'cat first; head -1 f'; $SBX discard it; ls $HOME/small/sbx/overlays`)
	if got.Code != 0 || got.Out != "full\nfirst\nlower\n" {
		t.Errorf("status %d: %q %s", got.Code, got.Out, got.Err)
	}
	for _, fill := range []string{"dd if=/dev/zero of=$HOME/small/fill bs=4k 2>/dev/null || true; ", "i=0; while touch $HOME/small/n$i 2>/dev/null; do i=$((i+1)); done; "} {
		got = p.inMounts(t, strings.Replace(small, "size=512k", "size=512k,nr_inodes=40", 1)+fill+"$SBX run -q --overlay=it -- touch "+p.Work+"/ran; echo status $?")
		if world.Exists(p.Work + "/ran") {
			t.Errorf("the command ran on the host's files: %s", got.Err)
		}
		if !strings.Contains(got.Err, "no space left on device; make room there, or name another place as overlay.path") {
			t.Errorf("%s: status %d: %q %s", fill, got.Code, got.Out, got.Err)
		}
	}
}

// TestBoundedPlace: a bound on disk is hard where the place of changes can hold no
// more, and the command is told when that is full.
func TestBoundedPlace(t *testing.T) {
	sbxtest.Require(t, sbxtest.Overlay)
	p := newPlace(t)
	sbxtest.Leftovers(t)
	const small = `mkdir -p $HOME/small; mount -t tmpfs -o size=8m x $HOME/small; export XDG_DATA_HOME=$HOME/small; cd $HOME/work; `
	run := func(size string) string {
		return `$SBX run -q --set overlay.backend=kernel --overlay=it --set overlay.size=` + size + ` --require overlay_size -- sh -c 'dd if=/dev/zero of=big bs=64k count=200 2>/dev/null || echo full'`
	}
	got := p.inMounts(t, small+run("8M")+`; $SBX discard it`)
	if got.Code != 0 || got.Out != "full\n" {
		t.Errorf("as large as the place: status %d: %q %s", got.Code, got.Out, got.Err)
	}
	got = p.inMounts(t, small+run("4M"))
	if got.Code != 125 || got.Out != "" || !strings.Contains(got.Err, "overlay_size is required and is degraded here") {
		t.Errorf("smaller: status %d: %q %s", got.Code, got.Out, got.Err)
	}
}

// TestForeignFiles: files of subordinate ids, which their owner's owner can't
// delete, are removed, copied and gone back to.
func TestForeignFiles(t *testing.T) {
	sbxtest.Require(t, sbxtest.Overlay, sbxtest.Subuid)
	p := newPlace(t)
	sbxtest.Leftovers(t)
	w := ways[1]
	flags := w.flags("--overlay=it", "--user=root")
	p.ok(t, p.sbx(flags, "sh", "-c", "mkdir -m 700 theirs; echo x >theirs/f; mkdir -m 0 theirs/shut; chmod 600 theirs/f; chown -R 100:100 theirs")...)
	dir := filepath.Join(p.Home, ".local/share/sbx/overlays/it/upper/theirs")
	if err := os.RemoveAll(dir); err == nil {
		t.Fatal("control: the owner of the range can remove it")
	}
	look := []string{"sh", "-c", "stat -c '%n %a %u %g' theirs theirs/f theirs/shut; cat theirs/f"}
	want := p.ok(t, p.sbx(flags, look...)...)
	if !strings.HasPrefix(want, "theirs 700 100 100\n") {
		t.Fatalf("inside they are %q", want)
	}
	p.ok(t, p.Sbx, "snapshot", "it")
	p.ok(t, p.sbx(flags, "rm", "-rf", "theirs")...)
	p.ok(t, p.Sbx, "restore", "it", "1")
	if got := p.ok(t, p.sbx(flags, look...)...); got != want {
		t.Errorf("after going back they are %q, want %q", got, want)
	}
	p.ok(t, p.Sbx, "discard", "it")
	if left := p.overlays(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestForks: several at once over one tree, none sees another's changes.
func TestForks(t *testing.T) {
	for _, w := range []way{ways[0], ways[2]} {
		t.Run(w.name, func(t *testing.T) {
			sbxtest.Require(t, w.needs...)
			p := newPlace(t)
			sbxtest.Leftovers(t)
			p.Write(t, p.Work+"/f", "lower\n")
			got := p.Run(t, p.Sbx, "fork", "-n", "4", "--prefix=f", "--set", "overlay.backend="+w.backend, "build", "--", "sh", "-c",
				"echo $SBX_FORK >>f; sleep 0.3; cat f; ls; exit $((SBX_FORK % 3))")
			if got.Code != 2 {
				t.Errorf("status %d: %s", got.Code, got.Err)
			}
			for i := 1; i <= 4; i++ {
				for _, want := range []string{fmt.Sprintf("f-%d| %d\n", i, i), fmt.Sprintf("f-%d: exit status %d\n", i, i%3)} {
					if !strings.Contains(got.Out, want) {
						t.Errorf("no %q in\n%s", want, got.Out)
					}
				}
			}
			names := p.overlays()
			slices.Sort(names)
			if !slices.Equal(names, []string{"f-1", "f-2", "f-3", "f-4"}) {
				t.Errorf("kept: %q", names)
			}
			if text, _ := os.ReadFile(p.Work + "/f"); string(text) != "lower\n" {
				t.Errorf("the host's file is %q", text)
			}
		})
	}
}

// TestNested: mounts on an overlay, and an overlay on what another mount shows,
// are each their own.
func TestNested(t *testing.T) {
	for _, w := range []way{ways[0], ways[2]} {
		t.Run(w.name, func(t *testing.T) {
			sbxtest.Require(t, w.needs...)
			p := newPlace(t)
			sbxtest.Leftovers(t)
			for _, f := range []string{"work/f", "work/bind/f", "work/over/f", "work/mem/f", "work/.env", "other/f", "other/deep/f", "data/sub/f"} {
				p.Write(t, filepath.Join(p.Home, f), f)
			}
			before := p.ok(t, p.probe, "raw", p.Home+"/work")
			text := fmt.Sprintf(`
[workspace]
access = "overlay"
hide = [".env"]
[overlay]
name = "it"
backend = %q
[mounts."${WORKSPACE}/bind"]
source = "%[2]s/other"
access = "rw"
[mounts."${WORKSPACE}/over"]
type = "overlay"
source = "%[2]s/other"
[mounts."${WORKSPACE}/mem"]
type = "tmpfs"
[mounts."/data"]
source = "%[2]s/data"
[mounts."/data/sub"]
type = "overlay"
source = "%[2]s/other/deep"
[mounts."%[3]s"]
`, w.backend, p.Home, filepath.Dir(p.probe))
			script := `cat .env; for d in . bind over mem /data/sub; do echo new >$d/new; echo $d $(ls $d | tr '\n' ' '); done; echo w >/data/new || echo refused`
			got := p.Run(t, p.Sandboxed(p.Profile(t, text), "sh", "-c", script)...)
			for _, line := range []string{". bind f mem new over probe", "bind deep f new", "mem new", "/data/sub f new", "refused"} {
				if !strings.Contains(got.Out, line+"\n") {
					t.Errorf("no %q in\n%s%s", line, got.Out, got.Err)
				}
			}
			if after := p.ok(t, p.probe, "raw", p.Home+"/work"); after != before {
				t.Errorf("the workspace changed: %s", firstDifference(before, after))
			}
			if !world.Exists(p.Home+"/other/new") || world.Exists(p.Home+"/other/deep/new") {
				t.Error("of the other directory the bind is written through, and the overlay not")
			}
			top := p.Home + "/.local/share/sbx/overlays/it"
			var uppers []string
			list, _ := os.ReadDir(top)
			for _, e := range list {
				if strings.HasPrefix(e.Name(), "upper") {
					names, _ := os.ReadDir(filepath.Join(top, e.Name()))
					for _, n := range names {
						if !strings.HasPrefix(n.Name(), ".wh.") {
							uppers = append(uppers, e.Name()+"/"+n.Name())
						}
					}
				}
			}
			if want := []string{"upper/new", "upper-1/new", "upper-2/new"}; !sameSet(uppers, want) {
				t.Errorf("written: %q, want %q", uppers, want)
			}
		})
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
