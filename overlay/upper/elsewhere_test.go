package upper

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestElsewhere: an overlay in another directory is found by its name, and its note
// goes with it.
func TestElsewhere(t *testing.T) {
	s, at := Store{filepath.Join(t.TempDir(), "overlays")}, t.TempDir()
	if err := os.Chmod(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Point("a", at); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("noted and not there: %v", err)
	}
	h, err := Store{at}.Create(record(t, "a", 0o755), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Dir("a"); got != filepath.Join(at, "a") {
		t.Errorf("it lies in %s", got)
	}
	if list, errs := s.List(); len(list) != 1 || list[0].Name != "a" || len(errs) > 0 {
		t.Errorf("listed: %v, %v", list, errs)
	}
	if err := s.Point("a", t.TempDir()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("noted twice: %v", err)
	}
	if h, err := s.Create(record(t, "a", 0o755), ""); !errors.Is(err, fs.ErrExist) {
		h.Close()
		t.Errorf("made twice: %v", err)
	}
	if err := s.Forget("a"); err != nil || s.Dir("a") != filepath.Join(at, "a") {
		t.Errorf("forgotten while it is there: %v", err)
	}
	if err := h.Remove(); err != nil {
		t.Fatal(err)
	}
	h.Close()
	s.Sweep() // the note is young: the overlay may be about to be made
	if _, ok := s.elsewhere("a"); !ok {
		t.Error("a young note was removed")
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(s.Root, "a"), past, past); err != nil {
		t.Fatal(err)
	}
	s.Sweep()
	if left, err := os.ReadDir(s.Root); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := s.Point("b", filepath.Join(at, "unplugged")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(s.Root, "b"), past, past); err != nil {
		t.Fatal(err)
	}
	s.Sweep()
	if _, ok := s.elsewhere("b"); !ok {
		t.Error("the note of an overlay on a disk that is not there was removed")
	}
	for _, text := range []string{"", "relative", "/a/../b", "/a\x00b"} {
		if err := os.WriteFile(filepath.Join(s.Root, "c"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if at, ok := s.elsewhere("c"); ok {
			t.Errorf("%q leads to %s", text, at)
		}
	}
}
