// Package pty opens pseudo-terminals, as a terminal's window does.
package pty

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Terminal is a pseudo-terminal, see pty(7).
type Terminal struct {
	Master, Slave *os.File

	mu   sync.Mutex
	got  bytes.Buffer
	more chan struct{}
	done chan struct{}
}

// Open opens one of 80 columns and 24 rows, and reads what is written to it.
// It is closed when the test ends.
func Open(t testing.TB) *Terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("/dev/ptmx: %v", err)
	}
	master := os.NewFile(uintptr(fd), "/dev/ptmx")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &Terminal{Master: master, Slave: slave, more: make(chan struct{}, 1), done: make(chan struct{})}
	p.Resize(t, 80, 24)
	go p.read()
	t.Cleanup(func() {
		slave.Close()
		master.Close()
		<-p.done
	})
	return p
}

func (p *Terminal) read() {
	defer close(p.done)
	var b [65536]byte
	for {
		n, err := p.Master.Read(b[:])
		p.mu.Lock()
		p.got.Write(b[:n])
		p.mu.Unlock()
		select {
		case p.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// Output is all that was written to the terminal so far.
func (p *Terminal) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got.String()
}

// Expect waits until the output from byte `from` on holds text. It returns
// where the text ends, for the next call.
func (p *Terminal) Expect(t testing.TB, from int, text string) int {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		out := p.Output()
		if i := bytes.Index([]byte(out[min(from, len(out)):]), []byte(text)); i >= 0 {
			return from + i + len(text)
		}
		if time.Now().After(end) {
			t.Fatalf("the terminal shows %q, want %q", out[min(from, len(out)):], text)
		}
		select {
		case <-p.more:
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Type types text.
func (p *Terminal) Type(t testing.TB, text string) {
	t.Helper()
	if _, err := p.Master.WriteString(text); err != nil {
		t.Fatalf("typing %q: %v", text, err)
	}
}

// Resize changes the window; the foreground process group gets SIGWINCH.
func (p *Terminal) Resize(t testing.TB, columns, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(p.Slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		t.Fatal(err)
	}
}

// Mode is the terminal's settings, as stty -g shows them.
func (p *Terminal) Mode(t testing.TB) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(p.Slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}

// Pending is how many bytes were typed that nobody has read.
func (p *Terminal) Pending(t testing.TB) int {
	t.Helper()
	// A line that is not complete does not count in canonical mode.
	m := p.Mode(t)
	raw := m
	raw.Lflag &^= unix.ICANON
	if err := unix.IoctlSetTermios(int(p.Slave.Fd()), unix.TCSETS, &raw); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(p.Slave.Fd()), unix.TIOCINQ)
	if err == nil {
		err = unix.IoctlSetTermios(int(p.Slave.Fd()), unix.TCSETS, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Name is what the kernel calls the device: its file system's number and its
// own.
func (p *Terminal) Name(t testing.TB) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(p.Slave.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x:%x", st.Dev, st.Rdev)
}
