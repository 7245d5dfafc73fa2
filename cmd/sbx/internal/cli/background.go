package cli

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Background is a supervisor that nobody sits in front of.
type Background struct {
	Report int    // where the id goes once the command runs, -1 then
	Stderr int    // the caller's, until then
	Output [2]int // what the command writes comes from here
	Input  int    // what it reads goes here, -1 for nothing
	Later  later  // what sbx has to say once nobody sits in front of it
}

// later keeps what there is to say at the end, for the sandbox's log and for who
// ends it.
type later struct {
	Text bytes.Buffer
}

// mostLater bounds it, in bytes.
const mostLater = 32 << 10

// Write implements io.Writer; it never fails.
func (l *later) Write(b []byte) (int, error) {
	l.Text.Write(b[:min(len(b), mostLater-l.Text.Len())])
	return len(b), nil
}

// Told says that the command runs: the caller need wait no longer, and this
// process holds on to nothing of the caller's.
func (b *Background) Told(id string) error {
	_, err := unix.Write(b.Report, []byte(id))
	unix.Close(b.Report)
	b.Report = -1
	if err != nil {
		return fmt.Errorf("telling the id: %w", err) // whoever waited was killed: nobody knows of the sandbox
	}
	null, err := unix.Open(os.DevNull, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Dup3(null, b.Stderr, unix.O_CLOEXEC)
		unix.Close(null)
	}
	if err == nil {
		err = unix.Chdir("/") // the caller's file systems can be unmounted
	}
	return err
}
