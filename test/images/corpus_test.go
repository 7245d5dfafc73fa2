package images

import (
	"bytes"
	"compress/bzip2"
	"encoding/base64"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// TestForeignCorpus imports the archives by which Go's own reader is tested:
// wrong sizes, headers, times, names and sparse files. Each is taken in or
// refused, changes nothing outside, and leaves nothing when it is refused.
func TestForeignCorpus(t *testing.T) {
	s := newSite(t)
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	list, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "src/archive/tar/testdata/*.tar*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		sbxtest.Require(t, sbxtest.Missing("archive/tar/testdata", "this Go came without the data of its own tests"))
	}
	before := fingerprint(t, s.Victim)
	taken, refused := 0, 0
	for _, path := range list {
		t.Run(filepath.Base(path), func(t *testing.T) {
			local := filepath.Join(s.Home, "foreign.tar")
			if err := os.WriteFile(local, unfolded(t, path), 0o644); err != nil {
				t.Fatal(err)
			}
			got := s.sbx(t, "image", "import", "--name", "foreign", local)
			if now := fingerprint(t, s.Victim); now != before {
				t.Fatal("what lies outside was changed")
			}
			switch {
			case got.Code == 0:
				taken++
				s.must(t, "image", "rm", "foreign")
			case got.Code == 125 || got.Code == 1:
				refused++
			default:
				t.Errorf("status %d: %s", got.Code, got.Err)
			}
			if strings.Contains(got.Err, "goroutine ") || got.Code != 0 && !strings.Contains(got.Err, "sbx: importing ") {
				t.Errorf("it says %s", got.Err)
			}
			if left := s.layers(t); len(left) > 0 {
				t.Errorf("layers are left: %v", left)
			}
			if used := s.used(t); used > 1<<20 {
				t.Errorf("%d bytes are still in use", used)
			}
		})
	}
	t.Logf("%d were taken in, %d refused", taken, refused)
	if taken < 10 || refused < 5 {
		t.Errorf("%d were taken in, %d refused", taken, refused)
	}
}

// unfolded is a file without the form in which it is kept.
func unfolded(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var from io.Reader = bytes.NewReader(text)
	switch filepath.Ext(path) {
	case ".base64":
		from = base64.NewDecoder(base64.StdEncoding, from)
	case ".bz2":
		from = bzip2.NewReader(from)
	}
	text, err = io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
