package files

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestElsewhere: changes that are kept in a directory of the person's choice are
// found by their name all the same, and leave nothing.
func TestElsewhere(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			sbxtest.Require(t, w.needs...)
			p := newPlace(t)
			sbxtest.Leftovers(t)
			big := filepath.Join(p.Home, "big,upperdir=x \\\t\"disk")
			if w.backend == "kernel" {
				big += ":x"
			}
			if err := os.Mkdir(big, 0o700); err != nil {
				t.Fatal(err)
			}
			p.Write(t, p.Work+"/f", "lower\n")
			there := w.flags("--overlay=it", "--set", "overlay.path="+big)
			p.ok(t, p.sbx(there, "sh", "-c", "echo more >>f; rm -f gone; mkdir d; echo x >d/new")...)
			if !world.Exists(big+"/it/upper/d/new") || world.Exists(p.Work+"/d") {
				t.Error("the changes are not where they were to be")
			}
			if got := p.ok(t, p.sbx(w.flags("--overlay=it"), "cat", "f", "d/new")...); got != "lower\nmore\nx\n" {
				t.Errorf("going on by the name alone: %q", got)
			}
			got := p.Run(t, p.sbx(w.flags("--overlay=it", "--set", "overlay.path="+p.Home+"/tools"), "true")...)
			if got.Code != 125 || !strings.Contains(got.Err, "the overlay it is kept in "+big) {
				t.Errorf("in another directory: status %d, %s", got.Code, got.Err)
			}
			if out := p.ok(t, p.Sbx, "overlay", "ls"); !strings.Contains(out, "it ") {
				t.Errorf("overlay ls: %s", out)
			}
			p.ok(t, p.Sbx, "snapshot", "it", "one")
			p.ok(t, p.sbx(there, "rm", "d/new")...)
			p.ok(t, p.Sbx, "restore", "it", "one")
			if out := p.ok(t, p.Sbx, "diff", "it"); !strings.Contains(out, "M  f\n") || !strings.Contains(out, "A  d/new\n") {
				t.Errorf("diff: %s", out)
			}
			p.ok(t, p.Sbx, "apply", "it")
			if text, err := os.ReadFile(p.Work + "/f"); err != nil || string(text) != "lower\nmore\n" {
				t.Errorf("applied: %q, %v", text, err)
			}
			p.ok(t, p.Sbx, "discard", "it")
			if left, err := os.ReadDir(big); err != nil || len(left) > 0 || len(p.overlays()) > 0 {
				t.Errorf("left: %v, %v, %v", left, p.overlays(), err)
			}
		})
	}
}

// TestElsewhereWrong: a place where changes can't be, or would be seen, is refused
// before anything is made.
func TestElsewhereWrong(t *testing.T) {
	sbxtest.Require(t, sbxtest.Overlay)
	p := newPlace(t)
	sbxtest.Leftovers(t)
	p.Write(t, p.Work+"/in/x", "")
	p.Write(t, p.Home+"/open/x", "")
	if err := os.Chmod(p.Home+"/open", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p.Home+"/a:b", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ at, want string }{
		{p.Home + "/none", "keeping changes in " + p.Home + "/none: no such file or directory; make that directory"},
		{p.probe, "not a directory"},
		{p.Work + "/in", "holds sbx's own directory " + p.Work + "/in, where the changes are kept"},
		{p.Work, "lies in sbx's own directory"},
		{p.Home + "/open", "a directory of yours that nobody else can write"},
		{p.Home + "/a:b", "whose name has a colon"},
		{"/usr", "a directory of yours that nobody else can write"},
	} {
		backend := "kernel"
		if strings.Contains(tt.at, ":") {
			if sbxtest.FUSE.Missing() != nil || sbxtest.Tool("fuse-overlayfs").Missing() != nil {
				continue
			}
			backend = "fuse-overlayfs"
		}
		got := p.Run(t, p.sbx([]string{"--overlay=it", "--set", "overlay.backend=" + backend, "--set", "overlay.path=" + tt.at}, "touch", "ran")...)
		if got.Code != 125 || !strings.Contains(got.Err, tt.want) {
			t.Errorf("%s: status %d: %s; want %q", tt.at, got.Code, got.Err, tt.want)
		}
	}
	if left := p.overlays(); len(left) > 0 || world.Exists(p.Work+"/ran") || world.Exists(p.Home+"/open/it") {
		t.Errorf("left: %v", left)
	}
	// A bind of what holds the place shows it read-only, even if it may be written.
	big := p.Home + "/tools/big"
	if err := os.Mkdir(big, 0o700); err != nil {
		t.Fatal(err)
	}
	got := p.Run(t, p.sbx([]string{"--overlay=it", "--set", "overlay.path=" + big, "-v", p.Home + "/tools:rw"}, "sh", "-c", "touch "+p.Home+"/tools/ok; touch "+big+"/x 2>/dev/null || echo refused")...)
	if got.Code != 0 || got.Out != "refused\n" {
		t.Errorf("bound: status %d, %q, %s", got.Code, got.Out, got.Err)
	}
}
