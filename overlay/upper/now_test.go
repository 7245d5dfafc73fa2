package upper

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNow: what is changed before it is not later, what is changed after it is.
func TestNow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	change := func() int64 {
		t.Helper()
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(file, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ctim.Nano()
	}
	for range 50 {
		before, now, after := change(), Now(), change()
		if before > now || after <= now {
			t.Fatalf("changed at %d and %d, which is told apart by %d", before, after, now)
		}
		_ = os.Remove(file) // a new inode has the tick's time
	}
}
