package sbxtest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Exchange exchanges what two paths name (renameat2(2), RENAME_EXCHANGE), again
// and again, until stop is called, which says how often it did.
func Exchange(t testing.TB, a, b string) (stop func() int) {
	t.Helper()
	over, done := make(chan bool), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-over:
				done <- n
				return
			default:
			}
			if unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil {
				n++
			}
		}
	}()
	return func() int {
		close(over)
		return <-done
	}
}
