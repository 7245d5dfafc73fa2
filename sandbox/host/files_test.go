package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestText: only a small regular file is read that no link leads to, and
// nothing else is waited for.
func TestText(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Mkdir(at("d"), 0o755), os.WriteFile(at("d/f"), []byte("text\n"), 0o644), os.WriteFile(at("large"), make([]byte, 65), 0o644),
		os.WriteFile(at("full"), make([]byte, 64), 0o644), os.Symlink("d/f", at("link")), os.Symlink("d", at("way")), unix.Mkfifo(at("fifo"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ file, want, fault string }{
		{"d/f", "text\n", ""},
		{"full", strings.Repeat("\x00", 64), ""},
		{"large", "", "more than 64 bytes"},
		{"link", "", "symbolic links"},
		{"way/f", "", "symbolic links"},
		{"fifo", "", "is not a regular file"},
		{"d", "", "is not a regular file"},
		{"none", "", "no such file"},
	} {
		got, err := OS{}.Text(at(tt.file), 64)
		if got != tt.want || (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s: %q, %v, want %q, %q", tt.file, got, err, tt.want, tt.fault)
		}
	}
}
