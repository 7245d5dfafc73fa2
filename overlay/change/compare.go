package change

import (
	"bytes"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
)

// comparer compares files, with buffers that it keeps.
type comparer struct{ a, b []byte }

const block = 128 << 10

// same reports whether two open regular files of size bytes have the same
// content. Where both have holes nothing is read.
func (c *comparer) same(x, y int, size int64) (bool, error) {
	if c.a == nil {
		c.a, c.b = make([]byte, block), make([]byte, block)
	}
	for at := int64(0); at < size; {
		next, err := data(x, y, at, size)
		if err != nil {
			return false, err
		}
		if at = next; at >= size {
			return true, nil
		}
		n := int(min(int64(block), size-at))
		if err := full(x, c.a[:n], at); err != nil {
			return false, err
		}
		if err := full(y, c.b[:n], at); err != nil {
			return false, err
		}
		if !bytes.Equal(c.a[:n], c.b[:n]) {
			return false, nil
		}
		at += int64(n)
	}
	return true, nil
}

// data is the first byte from at on that is not in a hole of both files.
func data(x, y int, at, size int64) (int64, error) {
	first := size
	for _, fd := range [...]int{x, y} {
		next, err := unix.Seek(fd, at, unix.SEEK_DATA)
		switch {
		case errors.Is(err, unix.ENXIO): // a hole up to the end
			continue
		case errors.Is(err, unix.EINVAL): // the file system knows no holes
			return at, nil
		case err != nil:
			return 0, err
		}
		first = min(first, next)
	}
	return max(at, first), nil
}

// full reads len(b) bytes. A file that has become shorter reads as other content.
func full(fd int, b []byte, at int64) error {
	for len(b) > 0 {
		n, err := unix.Pread(fd, b, at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return errShorter
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

var errShorter = errors.New("it became shorter while it was read")

// open opens a regular file that Stat showed, and makes sure that it is it.
func open(dir int, name string, want *beneath.Info) (int, error) {
	fd, err := beneath.Open(dir, name, unix.O_RDONLY)
	if err != nil {
		return -1, err
	}
	is, err := beneath.Stat(fd, "")
	if err == nil && (!is.Same(want) || !is.IsRegular()) {
		err = errors.New("it was replaced while it was looked at")
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// weighty are those of names whose attributes matter.
func weighty(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		// Labels differ between any two places; policy sets them, not people.
		return Driver(n) || n == "security.selinux" || n == "security.ima" || n == "security.evm"
	})
}
