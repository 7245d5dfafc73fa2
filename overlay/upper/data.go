package upper

import (
	"errors"

	"golang.org/x/sys/unix"
)

// piece is how much is copied before anybody is asked whether to go on, in bytes.
const piece = 8 << 20

// CopyData copies size bytes between two open files, of which to is empty; holes stay
// holes. File systems that can share the data do (FICLONE, ioctl_ficlone(2)). stop
// is asked again and again; its error ends it.
func CopyData(to, from int, size int64, stop func() error) error {
	if size == 0 {
		return nil
	}
	if err := unix.IoctlFileClone(to, from); err == nil {
		return nil
	}
	if err := unix.Ftruncate(to, size); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		start, err := unix.Seek(from, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // a hole up to the end
			return nil
		}
		if err != nil {
			start = at // the file system knows no holes
		}
		end, err := unix.Seek(from, start, unix.SEEK_HOLE)
		if err != nil {
			end = size
		}
		end = min(end, size) // it may be growing
		if err := copyRange(to, from, start, end, stop); err != nil {
			return err
		}
		at = end
	}
	return nil
}

func copyRange(to, from int, at, end int64, stop func() error) error {
	for at < end {
		if err := stop(); err != nil {
			return err
		}
		in, out := at, at
		n, err := unix.CopyFileRange(from, &in, to, &out, int(min(end-at, piece)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), err == nil && n == 0:
			return copyBytes(to, from, at, end, stop)
		case err != nil:
			return err
		}
		at += int64(n)
	}
	return nil
}

// copyBytes copies by hand what the kernel does not copy by itself.
func copyBytes(to, from int, at, end int64, stop func() error) error {
	buf := make([]byte, min(end-at, 1<<20))
	for at < end {
		if err := stop(); err != nil {
			return err
		}
		n, err := unix.Pread(from, buf[:min(int64(len(buf)), end-at)], at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("it became shorter while it was copied")
		}
		for b := buf[:n]; len(b) > 0; {
			m, err := unix.Pwrite(to, b, at)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return err
			}
			b, at = b[m:], at+int64(m)
		}
	}
	return nil
}
