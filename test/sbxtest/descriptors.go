package sbxtest

import (
	"os"
	"testing"
)

// Descriptors is how many descriptors this process has open, and one that the
// look itself takes.
func Descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
