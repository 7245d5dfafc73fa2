package output

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Line is one entry of a log.
type Line struct {
	Time   time.Time
	Stream Stream
	Whole  bool // a line's end follows
	Text   []byte
}

// parse reads an entry without the line's end.
func parse(b []byte) (Line, error) {
	bad := errors.New("it is no line of a log")
	when, rest, ok := bytes.Cut(b, []byte(" "))
	if !ok {
		return Line{}, bad
	}
	stream, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok || len(rest) < 2 || rest[1] != ' ' || rest[0] != 'F' && rest[0] != 'P' {
		return Line{}, bad
	}
	l := Line{Whole: rest[0] == 'F', Text: rest[2:]}
	switch string(stream) {
	case "stdout":
		l.Stream = Stdout
	case "stderr":
		l.Stream = Stderr
	default:
		return Line{}, bad
	}
	var err error
	l.Time, err = time.Parse(time.RFC3339Nano, string(when))
	return l, err
}

// Reader reads a log from its oldest line on, while it is being written to.
type Reader struct {
	path string
	file *os.File
	buf  *bufio.Reader
	part []byte // of a line that is not whole in the file yet
}

// Open begins to read the log at path.
func Open(path string) (*Reader, error) {
	r := &Reader{path: path}
	if err := r.open(path + Older); err == nil {
		return r, nil
	}
	return r, r.open(path)
}

func (r *Reader) open(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	if r.file != nil {
		r.file.Close()
	}
	r.file = os.NewFile(uintptr(fd), path)
	r.buf = bufio.NewReaderSize(r.file, 64<<10)
	return nil
}

// Next returns the next line, or io.EOF where there is none yet. What is no line
// is passed over.
func (r *Reader) Next() (Line, error) {
	for {
		b, err := r.buf.ReadBytes('\n')
		r.part = append(r.part, b...)
		if err == nil {
			l, bad := parse(r.part[:len(r.part)-1])
			r.part = nil
			if bad == nil {
				return l, nil
			}
			continue
		}
		if !errors.Is(err, io.EOF) {
			return Line{}, err
		}
		if more, err := r.advance(); err != nil || !more {
			if err == nil {
				err = io.EOF
			}
			return Line{}, err
		}
	}
}

// advance goes on to the newer file, if there is one. A file that was renamed
// gets nothing more, but may have got something since it was read last.
func (r *Reader) advance() (bool, error) {
	var ours, now unix.Stat_t
	if err := unix.Lstat(r.path, &now); err != nil {
		return false, nil // just being renamed, or removed with the sandbox
	}
	if err := unix.Fstat(int(r.file.Fd()), &ours); err != nil { // second: its size is the last one, if it was renamed
		return false, err
	}
	if ours.Ino == now.Ino && ours.Dev == now.Dev {
		return false, nil
	}
	at, err := r.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return false, err
	}
	if at < ours.Size {
		return true, nil
	}
	r.part = nil
	return true, r.open(r.path)
}

// Close ends reading.
func (r *Reader) Close() { r.file.Close() }

// Tail returns the last n lines that there are now. Parts belong to the line
// that they are parts of.
func (r *Reader) Tail(n int) ([]Line, error) {
	var list []Line
	lines := 0
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		if n <= 0 {
			continue
		}
		list = append(list, l)
		if l.Whole {
			lines++
		}
		for lines > n { // the oldest goes with its parts
			if list[0].Whole {
				lines--
			}
			list = list[1:]
		}
	}
}
