// Package output keeps what a detached sandbox's command writes: the last of it,
// in a file that never grows beyond a limit, a line each with when it came and
// by which stream.
//
// The form is that of the container runtime interface, which log collectors
// know: the time (RFC 3339), "stdout" or "stderr", "F" for a whole line or "P"
// for a part of one, and the text; what is in it stays as it is, byte by byte.
//
//	2026-11-26T01:02:03.456789012Z stdout F hello
package output

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Stream is where output came from.
type Stream byte

// The streams.
const (
	Stdout Stream = 'o'
	Stderr Stream = 'e'
)

func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// Older is what the name of the file with the earlier half of the log ends in.
const Older = ".1"

// longest is how long a line may be before it is kept in parts.
const longest = 16 << 10

// Writer appends to a log. What can't be written is dropped and counted: the
// command is not to suffer from a full disk.
type Writer struct {
	path    string
	most    int64 // bytes of both files
	fd      int   // -1 while there is none
	size    int64
	partial [2][]byte // lines that are not whole yet, of stdout and stderr
	// Dropped is how many bytes of the command's output were lost, and Err why.
	Dropped int64
	Err     error
}

// Create makes the log at path, which takes at most so many bytes. Half of it is
// what can be relied on: the older half goes when the newer one is full.
func Create(path string, most int64) (*Writer, error) {
	w := &Writer{path: path, most: most, fd: -1}
	if err := w.open(); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *Writer) open() error {
	fd, err := unix.Open(w.path, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: w.path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return &os.PathError{Op: "stat", Path: w.path, Err: err}
	}
	w.fd, w.size = fd, st.Size
	return nil
}

// Write keeps text of a stream that came now.
func (w *Writer) Write(s Stream, text []byte, now time.Time) {
	rest := &w.partial[0]
	if s == Stderr {
		rest = &w.partial[1]
	}
	var b bytes.Buffer
	add := func(tag byte) {
		before := b.Len()
		entry(&b, s, tag, *rest, now)
		*rest = (*rest)[:0]
		// Many short lines take far more room than they came in: each file ends with
		// the last that fits.
		if before > 0 && w.size+int64(b.Len()) > w.most/2 {
			w.put(b.Next(before))
		}
	}
	for len(text) > 0 {
		line, whole := text, false
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, whole = text[:i], true
		}
		if room := longest - len(*rest); len(line) > room {
			line, whole = line[:room], false
		}
		text = text[len(line):]
		*rest = append(*rest, line...)
		switch {
		case whole:
			text = text[1:]
			add('F')
		case len(*rest) == longest:
			add('P')
		}
	}
	w.put(b.Bytes())
}

// Flush keeps what is no whole line, as a prompt that was left waiting is none.
func (w *Writer) Flush(now time.Time) {
	for i, s := range []Stream{Stdout, Stderr} {
		if len(w.partial[i]) > 0 {
			var b bytes.Buffer
			entry(&b, s, 'P', w.partial[i], now)
			w.partial[i] = w.partial[i][:0]
			w.put(b.Bytes())
		}
	}
}

func entry(b *bytes.Buffer, s Stream, tag byte, line []byte, now time.Time) {
	b.Write(now.UTC().AppendFormat(b.AvailableBuffer(), "2006-01-02T15:04:05.000000000Z"))
	fmt.Fprintf(b, " %s %c ", s, tag)
	b.Write(line)
	b.WriteByte('\n')
}

func (w *Writer) put(b []byte) {
	if len(b) == 0 {
		return
	}
	if w.size > 0 && w.size+int64(len(b)) > w.most/2 {
		w.rotate()
	}
	for len(b) > 0 && w.fd >= 0 {
		n, err := unix.Write(w.fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			w.Err = &os.PathError{Op: "write", Path: w.path, Err: err}
			break
		}
		w.size += int64(n)
		b = b[n:]
	}
	w.Dropped += int64(len(b))
}

// rotate makes the file the older one and begins another.
func (w *Writer) rotate() {
	unix.Close(w.fd)
	w.fd, w.size = -1, 0
	err := unix.Rename(w.path, w.path+Older)
	if err == nil {
		err = w.open()
	}
	if err != nil {
		w.Err = err
	}
}

// Close ends the log.
func (w *Writer) Close() {
	w.Flush(time.Now())
	if w.fd >= 0 {
		unix.Close(w.fd)
	}
	w.fd = -1
}
