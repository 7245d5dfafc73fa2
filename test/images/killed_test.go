package images

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/test/faults/inject"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
	"github.com/sbx-sandbox/sbx/userns"
)

// tries is how often something random is tried: SBX_FAULT_RUNS, else few.
func tries(few int) int {
	if n, err := strconv.Atoi(os.Getenv("SBX_FAULT_RUNS")); err == nil {
		return n
	}
	return few
}

// breakable is a store with an image steady:1, of which another one shares a layer.
type breakable struct {
	*site
	layout string
	hub    *hub
	ref    string
}

func newBreakable(t *testing.T) *breakable {
	t.Helper()
	s := newSite(t, "umoci", "skopeo", "tar")
	world.Adopt(t)
	b := &breakable{site: s, layout: s.layout(t), hub: newHub(t)}
	b.ref = b.hub.addr() + "/made:v1"
	s.outside(t, "skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:"+b.layout+":v1", "docker://"+b.ref)
	// The tree of the first layer and a file more, so that no layer is shared.
	s.outside(t, "sh", "-c", "echo x >"+s.Home+"/tree/srv/more")
	s.must(t, "image", "import", "--name", "steady:1", s.Home+"/tree")
	return b
}

// usable fails the test unless what was there before can be used, and what was
// broken is there whole or not at all. It clears away what is left.
func (b *breakable) usable(t *testing.T, at string) (whole bool) {
	t.Helper()
	if left := world.Gone(t); len(left) > 0 {
		t.Fatalf("%s: there are %v", at, left)
	}
	same(t, at+", the image of before", b.on(t, "steady:1", "cat /srv/marker"), "first\n")
	if whole = strings.Contains(b.must(t, "image", "ls"), "killed"); whole {
		same(t, at+", the new image", b.sbx(t, "run", "--image", "killed"), "second\n")
		b.must(t, "image", "rm", "killed")
	}
	b.must(t, "image", "prune")
	if left := b.layers(t); len(left) != 1 {
		t.Fatalf("%s: one layer is in use, and %d are kept", at, len(left))
	}
	return whole
}

// done fails the test unless an image can be taken in after all, and nothing is
// left when it is removed.
func (b *breakable) done(t *testing.T, argv ...string) {
	t.Helper()
	b.must(t, argv...)
	same(t, "taken in after all", b.sbx(t, "run", "--image", "killed"), "second\n")
	b.must(t, "image", "prune")
	if left := b.layers(t); len(left) != 3 {
		t.Errorf("three layers are in use, and %d are kept", len(left))
	}
	for _, dir := range []string{"tmp", "storage/overlay/tempdirs", "storage/overlay/staging"} {
		left, err := os.ReadDir(filepath.Join(b.images(), dir))
		for _, e := range left {
			if !strings.HasSuffix(e.Name(), ".lock") {
				t.Errorf("%s: %s is left", dir, e.Name())
			}
		}
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	}
	b.must(t, "image", "rm", "killed", "steady:1")
	if used := b.used(t); used > 1<<20 {
		t.Errorf("without images %d bytes are in use", used)
	}
}

// slow answers with a blob in pieces, so that there are moments between them.
func slow(w http.ResponseWriter, b []byte) {
	for piece := range slices.Chunk(b, max(1, len(b)/20)) {
		if _, err := w.Write(piece); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		time.Sleep(5 * time.Millisecond)
	}
}

// TestKilled: an import or a pull, of which any process is killed at any moment,
// leaves a store that works, and nothing that is not cleared away.
func TestKilled(t *testing.T) {
	for _, verb := range []string{"import", "pull"} {
		t.Run(verb, func(t *testing.T) {
			b := newBreakable(t)
			argv := []string{"image", verb, "-q", "--name", "killed", b.layout}
			if verb == "pull" {
				b.hub.set(slow)
				argv[len(argv)-1] = b.ref
			}
			start := time.Now()
			b.must(t, argv...)
			span := time.Since(start)
			b.usable(t, "unbroken")
			hit := map[string]int{}
			for i := range tries(16) {
				cmd := b.Command(append([]string{b.Sbx}, argv...)...)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(rand.N(span))
				// sbx, the sbx-store that it started, the one in the namespace, the unpacker.
				line := append([]world.Process{{PID: cmd.Process.Pid, Name: "sbx"}}, world.Below(t, cmd.Process.Pid)...)
				victim := rand.IntN(len(line))
				if i%4 == 0 {
					victim = len(line) - 1
				}
				if unix.Kill(line[victim].PID, unix.SIGKILL) == nil {
					hit[fmt.Sprintf("%s %d", line[victim].Name, victim)]++
				}
				stuck := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill(); t.Errorf("kill %d: sbx was stuck", i) })
				_ = cmd.Wait()
				stuck.Stop()
				at := fmt.Sprintf("kill %d, of process %d of %d", i, victim, len(line))
				if whole := b.usable(t, at); cmd.ProcessState.Success() && !whole {
					t.Errorf("%s: it succeeded, and there is no image", at)
				}
			}
			t.Logf("killed: %v", hit)
			b.done(t, argv...)
		})
	}
}

// changing are the calls by which sbx-store changes anything.
var changing = []int{
	unix.SYS_OPENAT, unix.SYS_WRITE, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_MKDIRAT,
	unix.SYS_UNLINKAT, unix.SYS_SYMLINKAT, unix.SYS_LINKAT, unix.SYS_FTRUNCATE, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_MOUNT, unix.SYS_SETXATTR,
}

// making says which calls of a number count, nil for all: of openat(2) those that
// make a file.
func making(nr int) func([6]uint64) bool {
	if nr != unix.SYS_OPENAT {
		return nil
	}
	return func(args [6]uint64) bool { return args[2]&unix.O_CREAT != 0 }
}

// store is a command that is sbx-store as it runs in its namespace, for a tracer.
func (b *breakable) store(t *testing.T, verb string) *exec.Cmd {
	t.Helper()
	ids := image.IDs{Mode: "single", UIDs: userns.Self(0, uint32(os.Getuid())), GIDs: userns.Self(0, uint32(os.Getgid()))}
	text, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	req := image.Request{Protocol: image.Protocol, Verb: verb, Dir: b.images(), Path: b.layout, Name: "killed", Limits: image.Limits{Free: 1}}
	if verb == image.VerbPull {
		req.Path, req.Names = "", []string{b.ref}
	}
	ask, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(t, b.Home+"/request", string(ask))
	in, err := os.Open(b.Home + "/request")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	out, err := os.Create(b.Home + "/answer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	cmd := b.Command(filepath.Join(filepath.Dir(b.Sbx), "sbx-store"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, out
	cmd.Env = append(cmd.Env, "SBX_STORE_STAGE="+string(text), "_CONTAINERS_USERNS_CONFIGURED=done",
		fmt.Sprintf("_CONTAINERS_ROOTLESS_UID=%d", os.Getuid()), fmt.Sprintf("_CONTAINERS_ROOTLESS_GID=%d", os.Getgid()))
	one := func(id int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: id, Size: 1}} }
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: one(os.Getuid()), GidMappings: one(os.Getgid()),
	}
	return cmd
}

// traced runs sbx-store with a fault and returns what it answered.
func (b *breakable) traced(t *testing.T, verb string, f *inject.Fault) (*inject.Report, string) {
	t.Helper()
	rep, err := inject.Run(b.store(t, verb), f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(b.Home + "/answer")
	if err != nil {
		t.Fatal(err)
	}
	return rep, string(text)
}

// TestBrokenAtCall kills sbx-store at each call by which it changes anything, and
// lets each of them find no room: the store works, and nothing is left.
func TestBrokenAtCall(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS)
	for _, verb := range []string{image.VerbImport, image.VerbPull} {
		for _, kind := range []inject.Kind{inject.Kill, inject.Fail} {
			t.Run(fmt.Sprintf("%s/%s", verb, map[inject.Kind]string{inject.Kill: "killed", inject.Fail: "no room"}[kind]), func(t *testing.T) {
				b := newBreakable(t)
				whole, said := b.traced(t, verb, inject.Record)
				if whole.Code() != 0 {
					t.Fatalf("unbroken: status %d, %s", whole.Code(), said)
				}
				b.usable(t, "unbroken")
				var moments []inject.Fault
				for _, nr := range changing {
					n := 0
					for _, c := range whole.Calls["0"] {
						if c.Nr == nr && (making(nr) == nil || making(nr)(c.Args)) {
							moments = append(moments, inject.Fault{Kind: kind, Errno: unix.ENOSPC, Who: "0", Nr: nr, N: n, Arg: making(nr)})
							n++
						}
					}
				}
				all := len(moments)
				if n := tries(14); n < all { // some of them, others each time
					rand.Shuffle(all, func(i, j int) { moments[i], moments[j] = moments[j], moments[i] })
					moments = moments[:n]
				}
				ends := map[string]int{}
				for i := range moments {
					f := &moments[i]
					rep, said := b.traced(t, verb, f)
					at := fmt.Sprintf("broken at call %d number %d", f.Nr, f.N)
					if rep.Stuck != "" {
						t.Fatalf("%s: it was stuck; %s%s", at, said, rep.Stuck)
					}
					if !rep.Fired {
						continue // the runtime made one call less
					}
					there := b.usable(t, at)
					ends[fmt.Sprintf("status %d, image: %v", rep.Code(), there)]++
					if rep.Code() == 0 && !there {
						t.Errorf("%s: status 0, and there is no image: %s", at, said)
					}
					if kind == inject.Fail && f.Nr != unix.SYS_WRITE && rep.Code() != 0 && !strings.Contains(said, `"kind":"error"`) {
						t.Errorf("%s: status %d without a word: %s", at, rep.Code(), said)
					}
				}
				t.Logf("%d of %d moments: %v", len(moments), all, ends)
				if all < 20 {
					t.Errorf("control: it changes something by %d calls only", all)
				}
				b.done(t, "image", "import", "--name", "killed", b.layout)
			})
		}
	}
}
