package transfer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// deepest is how many directories may lie in one another: each takes a
// descriptor while it is read.
const deepest = 500

// permissions are the bits of a mode that are copied. What a sandbox made is not
// to run as its owner for others on the host.
const permissions = 0o777

// packer writes one archive.
type packer struct {
	w    *tar.Writer
	skip func(path, what string)
}

// Pack writes what a source is of as a tar archive, in which it has the name top;
// "" is for a directory's contents. skip is told of what is no file, directory or
// link: it is passed over.
func Pack(w io.Writer, src *Source, top string, skip func(path, what string)) error {
	p := &packer{tar.NewWriter(w), skip}
	if err := p.entry(src.fd, src.path, top, 0); err != nil {
		return err
	}
	return p.w.Close()
}

// Name is what a source is called in an archive.
func (s *Source) Name() string {
	if s.contents {
		return ""
	}
	return s.base
}

// entry packs what the descriptor, of O_PATH, is of.
func (p *packer) entry(fd int, from, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: from, Err: err}
	}
	h := &tar.Header{Name: name, Mode: int64(st.Mode & permissions), ModTime: time.Unix(st.Mtim.Unix()), Uid: int(st.Uid), Gid: int(st.Gid), Format: tar.FormatPAX}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
		return p.file(fd, from, h)
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, path.Join(".", name)+"/"
		return p.dir(fd, from, name, h, depth)
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		b := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", b)
		if err != nil {
			return &os.PathError{Op: "readlink", Path: from, Err: err}
		}
		h.Linkname = string(b[:n])
		return p.w.WriteHeader(h)
	default:
		p.skip(from, special(st.Mode))
	}
	return nil
}

// special says what is none of what is copied, "" for a file, directory or link.
func special(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
		return ""
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFIFO:
		return "a FIFO"
	}
	return "a device"
}

// file packs as many bytes as the file had when it was looked at.
func (p *packer) file(fd int, from string, h *tar.Header) error {
	r, err := reopen(fd, unix.O_RDONLY)
	if err != nil {
		return &os.PathError{Op: "open", Path: from, Err: err}
	}
	f := os.NewFile(uintptr(r), from)
	defer f.Close()
	if err := p.w.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(p.w, f, h.Size); errors.Is(err, io.EOF) {
		return fmt.Errorf("%s became shorter while it was copied", from)
	} else if err != nil {
		return err
	}
	return nil
}

func (p *packer) dir(fd int, from, name string, h *tar.Header, depth int) error {
	if depth == deepest {
		return fmt.Errorf("%s: more than %d directories lie in one another", from, deepest)
	}
	if err := p.w.WriteHeader(h); err != nil {
		return err
	}
	r, err := reopen(fd, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return &os.PathError{Op: "open", Path: from, Err: err}
	}
	f := os.NewFile(uintptr(r), from)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, n := range names {
		child, err := within(r, n, 0)
		if errors.Is(err, unix.ENOENT) {
			continue // it went meanwhile
		}
		if err != nil {
			return &os.PathError{Op: "open", Path: path.Join(from, n), Err: err}
		}
		err = p.entry(child, path.Join(from, n), path.Join(name, n), depth+1)
		unix.Close(child)
		if err != nil {
			return err
		}
	}
	return nil
}
