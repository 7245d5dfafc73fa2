// Package files runs a table of what programs do to files on the bare file
// system and in overlays, by each backend and with each kind of id map, and
// compares: what came out, what is there afterwards, inside and in a later run,
// and that the host's files are as they were.
package files

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// way is a backend with a kind of id map.
type way struct {
	name, backend, ids string
	needs              []sbxtest.Feature
}

var ways = []way{
	{"kernel", "kernel", "single", []sbxtest.Feature{sbxtest.Overlay}},
	{"kernel, range", "kernel", "range", []sbxtest.Feature{sbxtest.Overlay, sbxtest.Subuid}},
	{"fuse", "fuse-overlayfs", "single", []sbxtest.Feature{sbxtest.FUSE, sbxtest.Tool("fuse-overlayfs")}},
	{"fuse, range", "fuse-overlayfs", "range", []sbxtest.Feature{sbxtest.FUSE, sbxtest.Tool("fuse-overlayfs"), sbxtest.Subuid}},
}

func (w way) flags(more ...string) []string {
	return append([]string{"--set", "overlay.backend=" + w.backend, "--userns=" + w.ids}, more...)
}

// probe is the built test/files/probe.
var probe = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "sbx-test")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "files-probe")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, "./probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		os.Stderr.Write(out)
	}
	return path, err
})

// place is a world with the probe where sandboxes see it.
type place struct {
	*world.World
	probe string // in a directory of its own
}

func newPlace(t *testing.T) *place {
	t.Helper()
	built, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	w := world.New(t)
	p := &place{w, filepath.Join(w.Home, "tools", "probe")}
	if err := os.MkdirAll(filepath.Dir(p.probe), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("cp", built, p.probe).Run(); err != nil {
		t.Fatal(err)
	}
	// What an overlay leaves has directories that only sbx can remove.
	t.Cleanup(func() {
		p.discardAll(t)
		_ = exec.Command("chmod", "-R", "u+rwx", p.Work).Run()
	})
	return p
}

func (p *place) overlays() (names []string) {
	list, _ := os.ReadDir(filepath.Join(p.Home, ".local/share/sbx/overlays"))
	for _, e := range list {
		if !strings.HasPrefix(e.Name(), ".") { // one whose making was killed; the next verb sweeps it up
			names = append(names, e.Name())
		}
	}
	return names
}

func (p *place) discardAll(t *testing.T) {
	t.Helper()
	if names := p.overlays(); len(names) > 0 {
		p.ok(t, append([]string{p.Sbx, "discard"}, names...)...)
	}
	p.ok(t, p.Sbx, "overlay", "ls")
	if left, _ := os.ReadDir(filepath.Join(p.Home, ".local/share/sbx/overlays")); len(left) > 0 {
		t.Errorf("left of overlays: %v", left)
	}
}

// sbx is a command line of sbx run with the probe shown.
func (p *place) sbx(flags []string, argv ...string) []string {
	line := append([]string{p.Sbx, "run", "-q", "-v", filepath.Dir(p.probe)}, flags...)
	return append(append(line, "--"), argv...)
}

// ok runs a command that must succeed and gives what it said.
func (p *place) ok(t *testing.T, argv ...string) string {
	t.Helper()
	got := p.Run(t, argv...)
	if got.Code != 0 {
		t.Fatalf("%q: status %d\n%s%s", argv, got.Code, got.Out, got.Err)
	}
	return got.Out
}

func TestBehaviour(t *testing.T) {
	sbxtest.Leftovers(t)
	bare := newPlace(t)
	bare.ok(t, bare.probe, "plant", bare.Work)
	want := byTrial(bare.ok(t, bare.probe, "act", bare.Work))
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			sbxtest.Require(t, w.needs...)
			p := newPlace(t)
			p.ok(t, p.probe, "plant", p.Work)
			before := p.ok(t, p.probe, "raw", p.Work)

			acted := p.ok(t, p.sbx(w.flags("--overlay=it"), p.probe, "act", p.Work)...)
			got := byTrial(acted)
			compare(t, w, want, got)
			if after := p.ok(t, p.probe, "raw", p.Work); after != before {
				t.Errorf("the host's files changed: %s", firstDifference(before, after))
			}

			// A later run finds what the first one left, and so does one on a
			// snapshot that was gone back to.
			told := p.ok(t, p.sbx(w.flags("--overlay=it"), p.probe, "tell", p.Work)...)
			for name, lines := range byTrial(told) {
				if slices.Contains(later[w.backend], name) {
					continue
				}
				if all := got[name]; !slices.Equal(lines, all[max(0, len(all)-len(lines)):]) {
					t.Errorf("%s: a later run sees\n%s\nafter\n%s", name, strings.Join(lines, "\n"), strings.Join(all, "\n"))
				}
			}
			p.ok(t, p.Sbx, "snapshot", "it", "s")
			p.ok(t, p.sbx(w.flags("--overlay=it"), "sh", "-c", "rm -rf ./*; echo x >y")...)
			p.ok(t, p.Sbx, "restore", "it", "s")
			if again := p.ok(t, p.sbx(w.flags("--overlay=it"), p.probe, "tell", p.Work)...); again != told {
				t.Errorf("the snapshot differs: %s", firstDifference(told, again))
			}
			if after := p.ok(t, p.probe, "raw", p.Work); after != before {
				t.Errorf("the host's files changed: %s", firstDifference(before, after))
			}
		})
	}
}

// byTrial sorts lines "NAME: LINE" by name.
func byTrial(out string) map[string][]string {
	list := map[string][]string{}
	for line := range strings.Lines(out) {
		if name, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok {
			list[name] = append(list[name], rest)
		}
	}
	return list
}

// compare wants the same as on the bare file system, but for what is known to
// differ, which must differ just so.
func compare(t *testing.T, w way, want, got map[string][]string) {
	t.Helper()
	for name := range want {
		lines := slices.Clone(want[name])
		for _, d := range differences {
			if d.trial != name || !slices.Contains(d.backends, w.backend) {
				continue
			}
			for _, l := range d.less {
				at := slices.Index(lines, l)
				if at < 0 {
					t.Errorf("%s: the bare file system does not say %q", name, l)
					continue
				}
				lines = slices.Delete(lines, at, at+1)
			}
			lines = append(lines, d.more...)
		}
		have := slices.Clone(got[name])
		if w.backend == "fuse-overlayfs" {
			timeless(lines)
			timeless(have)
		}
		slices.Sort(lines)
		slices.Sort(have)
		if !slices.Equal(lines, have) {
			t.Errorf("%s\n got %s\nwant %s", name, strings.Join(have, "\n     "), strings.Join(lines, "\n     "))
		}
	}
}

// directory is a line about one, up to its time.
var directory = regexp.MustCompile(`^(".*" 4[0-7]{4} )(old|new)`)

// timeless leaves out the times of directories: fuse-overlayfs changes those
// above what it copies up.
func timeless(lines []string) {
	for i, l := range lines {
		lines[i] = directory.ReplaceAllString(l, "${1}at some time")
	}
}

func firstDifference(a, b string) string {
	la, lb := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range la {
		if i >= len(lb) || la[i] != lb[i] {
			return "before\n" + la[i] + "\nafter\n" + strings.Join(lb[min(i, len(lb)):min(i+1, len(lb))], "")
		}
	}
	return "there is more now"
}

// TestLongestName: fuse-overlayfs 1.10 aborts when it copies up a file whose
// name is as long as names can be. Then the sandbox is ended with its last
// words, and what it had written is kept.
func TestLongestName(t *testing.T) {
	sbxtest.Leftovers(t)
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			sbxtest.Require(t, w.needs...)
			p := newPlace(t)
			long := strings.Repeat("n", 255)
			p.Write(t, filepath.Join(p.Work, long), "lower\n")
			got := p.Run(t, p.sbx(w.flags("--overlay=it"), "sh", "-c", "echo first >first; echo more >>"+long)...)
			switch {
			case got.Code == 0:
			case w.backend == "fuse-overlayfs" && got.Code == 125 && strings.Contains(got.Err, "fuse-overlayfs was killed by SIGABRT: "):
			default:
				t.Errorf("status %d: %s", got.Code, got.Err)
			}
			if out := p.ok(t, p.sbx(w.flags("--overlay=it"), "cat", "first")...); out != "first\n" {
				t.Errorf("kept: %q", out)
			}
		})
	}
}
