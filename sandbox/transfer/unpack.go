package transfer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
)

// unpacker writes what an archive holds below one directory.
type unpacker struct {
	t    *Target
	dirs []made // whose times are set when nothing is written there any more
	skip func(path, what string)
}

type made struct {
	name string
	when time.Time
	mode uint32
}

// Unpack writes what an archive holds to a target: files belong to the caller,
// with the archive's modes and times. A file or a link that is in the way is
// replaced, a directory gone on with, and a link to a directory is not followed.
// skip is told of what is no file, directory or link: it is passed over.
func Unpack(r io.Reader, t *Target, skip func(path, what string)) error {
	u := &unpacker{t: t, skip: skip}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			// A program that writes to us is not to die of a closed pipe: the end of
			// an archive is padded.
			if _, err := io.Copy(io.Discard, r); err != nil {
				return err
			}
			return u.finish()
		}
		if err != nil {
			return fmt.Errorf("reading the archive: %w", err)
		}
		if err := u.entry(h, archive); err != nil {
			return err
		}
	}
}

// finish gives directories their modes and times, the deepest first.
func (u *unpacker) finish() error {
	for i := len(u.dirs) - 1; i >= 0; i-- {
		d := u.dirs[i]
		fd, err := within(u.t.dir, d.name, unix.O_DIRECTORY)
		if err != nil {
			return u.failed("open", d.name, err)
		}
		at := fmt.Sprintf("/proc/self/fd/%d", fd)
		if err = unix.Chmod(at, d.mode); err == nil {
			err = setTime(unix.AT_FDCWD, at, d.when, 0)
		}
		unix.Close(fd)
		if err != nil {
			return u.failed("chmod", d.name, err)
		}
	}
	return nil
}

func (u *unpacker) failed(op, name string, err error) error {
	return &os.PathError{Op: op, Path: path.Join(u.t.path, name), Err: err}
}

// local is the name of an entry below the target.
func local(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("the archive names %q, which leads out of where it is unpacked", name)
		}
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("the archive names %q, which has a NUL byte", name)
	}
	return path.Clean(strings.TrimLeft(name, "/")), nil // "." for none
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name, err := local(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		return nil // the target itself
	}
	dir, base, err := u.parent(name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont: // of a sparse one the holes are read as zeros
		err = u.file(dir, base, h, content)
	case tar.TypeDir:
		return u.dir(dir, base, name, h)
	case tar.TypeSymlink:
		if err = clear(dir, base); err == nil {
			err = unix.Symlinkat(h.Linkname, dir, base)
		}
		if err == nil {
			err = setTime(dir, base, h.ModTime, unix.AT_SYMLINK_NOFOLLOW)
		}
	case tar.TypeLink:
		err = u.link(dir, base, h.Linkname)
	case tar.TypeXGlobalHeader:
	default:
		u.skip(path.Join(u.t.path, name), "neither file, directory nor link")
	}
	if err != nil {
		return u.failed("write", name, err)
	}
	return nil
}

// parent opens the directory that a name lies in. One that an archive does not
// list is made.
func (u *unpacker) parent(name string) (int, string, error) {
	at, err := unix.FcntlInt(uintptr(u.t.dir), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, "", err
	}
	parts := strings.Split(name, "/")
	for i, part := range parts[:len(parts)-1] {
		next, err := within(at, part, unix.O_DIRECTORY)
		if errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdirat(at, part, 0o755); err == nil || errors.Is(err, unix.EEXIST) {
				next, err = within(at, part, unix.O_DIRECTORY)
			}
		}
		unix.Close(at)
		if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
			return -1, "", fmt.Errorf("%s is a file or a symbolic link, which is not followed; remove it first", path.Join(u.t.path, path.Join(parts[:i+1]...)))
		}
		if err != nil {
			return -1, "", u.failed("open", path.Join(parts[:i+1]...), err)
		}
		at = next
	}
	return at, parts[len(parts)-1], nil
}

// clear removes what is in the way, unless it is a directory or something is mounted
// there. The kernel would remove a file under another namespace's mount, and that
// mount with it (mount_namespaces(7)): what a sandbox is kept from writing would lie
// open to it.
func clear(dir int, base string) error {
	at, err := beneath.Openat2(dir, base, &unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV})
	switch {
	case errors.Is(err, unix.EXDEV):
		return unix.EBUSY
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return err
	}
	unix.Close(at)
	if err := unix.Unlinkat(dir, base, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func (u *unpacker) file(dir int, base string, h *tar.Header, content io.Reader) error {
	const flags = unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	err := clear(dir, base)
	fd := -1
	switch {
	case err == nil:
		fd, err = unix.Openat(dir, base, flags|unix.O_CREAT|unix.O_EXCL, 0o600)
	case errors.Is(err, unix.EBUSY): // something is mounted there
		fd, err = overwrite(dir, base, flags)
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	holes := &holed{f: f}
	if _, err = io.Copy(holes, content); err == nil {
		err = holes.end()
	}
	if err == nil {
		err = unix.Fchmod(fd, uint32(h.Mode)&permissions)
	}
	if err == nil {
		err = setTime(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), h.ModTime, 0)
	}
	if closed := f.Close(); err == nil {
		err = closed // some file systems find no room only now
	}
	return err
}

// holed writes a file, with holes for blocks of zeros: a command can have a file as long
// as it likes that takes no room, and its copy is to take none either.
type holed struct {
	f   *os.File
	at  int64
	gap bool // what came last was left out
}

func (h *holed) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		n := 0
		n, h.gap = stretch(b[done:], h.at)
		if !h.gap {
			if _, err := h.f.WriteAt(b[done:done+n], h.at); err != nil {
				return done, err
			}
		}
		done, h.at = done+n, h.at+int64(n)
	}
	return len(b), nil
}

// end gives the file its length.
func (h *holed) end() error {
	if !h.gap {
		return nil
	}
	return h.f.Truncate(h.at)
}

var zeros [4096]byte // a block of most file systems

// stretch is how much of b, which comes at a place in a file, is blocks of zeros alone,
// or of anything else.
func stretch(b []byte, at int64) (n int, gap bool) {
	for n < len(b) {
		end := min(len(b), n+len(zeros)-int((at+int64(n))%int64(len(zeros))))
		none := bytes.Equal(b[n:end], zeros[:end-n])
		if n > 0 && none != gap {
			break
		}
		n, gap = end, none
	}
	return n, gap
}

// overwrite opens a plain file that can't be replaced.
func overwrite(dir int, base string, flags int) (int, error) {
	at, err := within(dir, base, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, unix.EBUSY
	}
	return reopen(at, flags&^unix.O_NOFOLLOW|unix.O_TRUNC)
}

func (u *unpacker) dir(dir int, base, name string, h *tar.Header) error {
	err := unix.Mkdirat(dir, base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		fd, err := within(dir, base, unix.O_DIRECTORY)
		if err != nil {
			return fmt.Errorf("%s is a file or a symbolic link, which is not followed; remove it first", path.Join(u.t.path, name))
		}
		unix.Close(fd)
		return nil // its mode and time are its own
	}
	if err != nil {
		return u.failed("mkdir", name, err)
	}
	u.dirs = append(u.dirs, made{name, h.ModTime, uint32(h.Mode) & permissions})
	return nil
}

// link gives a file that the archive has brought another name.
func (u *unpacker) link(dir int, base, to string) error {
	name, err := local(to)
	if err != nil {
		return err
	}
	from, old, err := u.parent(name)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	if err := clear(dir, base); err != nil {
		return err
	}
	return unix.Linkat(from, old, dir, base, 0)
}

func setTime(dir int, name string, when time.Time, flags int) error {
	if when.Unix() < 0 {
		when = time.Unix(0, 0)
	}
	ts := unix.NsecToTimespec(when.UnixNano())
	return unix.UtimesNanoAt(dir, name, []unix.Timespec{ts, ts}, flags)
}

// Copy copies a source to a target.
func Copy(src *Source, t *Target, skip func(path, what string)) error {
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := Pack(w, src, t.top, skip)
		w.CloseWithError(err)
		packed <- err
	}()
	err := Unpack(r, t, skip)
	r.CloseWithError(errStopped)
	if failed := <-packed; failed != nil && !errors.Is(failed, errStopped) {
		return failed // and what was read was cut short by it
	}
	return err
}

// errStopped ends the packing when unpacking has failed.
var errStopped = errors.New("what was to be copied can't be written")
