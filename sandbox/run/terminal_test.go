package run

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTerminalReleased: the sandbox's terminal keeps its number as long as its output is
// waited for, as when somebody outside has the other side; what comes then is nobody's.
func TestTerminalReleased(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	var out [2]int
	if err := unix.Pipe2(out[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(out[0])
	defer unix.Close(out[1])
	term := &terminal{master: pair[0], host: -1, out: out[1], typing: typing{fd: -1}, idle: make(chan struct{})}
	if err := term.open(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // it waits for output
	term.close()
	time.Sleep(50 * time.Millisecond)
	if _, err := unix.FcntlInt(uintptr(pair[0]), unix.F_GETFD, 0); err != nil {
		t.Fatalf("it is closed while it is read: %v", err)
	}
	if _, err := unix.Write(pair[1], []byte("late")); err != nil {
		t.Fatal(err)
	}
	<-term.idle
	var b [8]byte
	if n, err := unix.Read(out[0], b[:]); n > 0 {
		t.Errorf("%q is passed on, %v", b[:n], err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := unix.FcntlInt(uintptr(pair[0]), unix.F_GETFD, 0); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it is not closed")
		}
	}
}
