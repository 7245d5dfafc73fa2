//go:build !cgo

package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/vbatts/tar-split/archive/tar"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/overlay/change"
)

// layer is the changes of a directory as a tar archive: what was deleted as
// whiteouts, the rest as it is now (OCI image specification, layer.md).
type layer struct {
	up   int // descriptor of the directory
	list *change.List
	w    *tar.Writer
	done map[string]bool // directories that have an entry
}

// archived is the archive of the changes. The caller closes it and sees to it
// that nobody changes the directory meanwhile.
func archived(up int, list *change.List) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		l := &layer{up: up, list: list, w: tar.NewWriter(w), done: map[string]bool{"": true}}
		err := l.write()
		if err == nil {
			err = l.w.Close()
		}
		w.CloseWithError(err)
	}()
	return r
}

const whiteout = ".wh."

// unfit is the change that no layer of an image can say, "" if there is none:
// such names mean that others are deleted.
func unfit(list *change.List) string {
	for i := range list.Changes {
		if c := &list.Changes[i]; !c.Gone() && strings.HasPrefix(path.Base(c.Path), whiteout) {
			return c.Path
		}
	}
	return ""
}

func (l *layer) write() error {
	closed := "" // a directory of which nothing more is to be said
	for i := range l.list.Changes {
		c := &l.list.Changes[i]
		if closed != "" && change.Under(c.Path, closed) {
			continue
		}
		var err error
		switch {
		case c.Gone():
			closed = c.Path
			err = l.deleted(c)
		default:
			if c.Was == change.Dir && c.Type != change.Dir {
				closed = c.Path
			}
			err = l.entry(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deleted writes a whiteout.
func (l *layer) deleted(c *change.Change) error {
	dir, name := path.Split(c.Path)
	if err := l.parents(dir); err != nil {
		return err
	}
	return l.w.WriteHeader(&tar.Header{Name: dir + whiteout + name, Typeflag: tar.TypeReg, Mode: 0o600, ModTime: time.Unix(0, 0), Format: tar.FormatPAX})
}

// parents writes the directories on the way to what comes, as they are: whoever
// unpacks the layer would make them otherwise, with the wrong mode.
func (l *layer) parents(dir string) error {
	dir = strings.TrimSuffix(dir, "/")
	if l.done[dir] {
		return nil
	}
	up, _ := path.Split(dir)
	if err := l.parents(up); err != nil {
		return err
	}
	return l.put(dir, nil)
}

func (l *layer) entry(c *change.Change) error {
	switch c.Type {
	case change.Socket: // lasts no longer than who made it
		return nil
	case change.Device:
		return fmt.Errorf("/%s is a device, which no sandbox can make", c.Path)
	}
	if c.Type == change.Dir && l.done[c.Path] {
		return nil
	}
	dir, _ := path.Split(c.Path)
	if err := l.parents(dir); err != nil {
		return err
	}
	return l.put(c.Path, c)
}

// put writes the entry of a path. Without a change it is a directory that has
// none.
func (l *layer) put(rel string, c *change.Change) error {
	if rel == "" {
		return nil
	}
	dir, name, err := beneath.Parent(l.up, rel)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/" + rel, Err: err}
	}
	defer unix.Close(dir)
	i, err := beneath.Stat(dir, name)
	if err != nil {
		return &os.PathError{Op: "stat", Path: "/" + rel, Err: err}
	}
	if c == nil && !i.IsDir() {
		return fmt.Errorf("/%s is no directory any more", rel)
	}
	h := &tar.Header{
		Name: rel, Mode: int64(i.Mode), Uid: int(i.UID), Gid: int(i.GID), ModTime: time.Unix(i.Mtime.Sec, int64(i.Mtime.Nsec)), Format: tar.FormatPAX,
	}
	if h.PAXRecords, err = attributes(dir, name); err != nil {
		return &os.PathError{Op: "getxattr", Path: "/" + rel, Err: err}
	}
	switch i.Type {
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, rel+"/"
		l.done[rel] = true
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		h.Linkname, err = beneath.Readlink(dir, name)
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFREG:
		if c.Link != "" {
			h.Typeflag, h.Linkname, h.PAXRecords = tar.TypeLink, c.Link, nil
			break
		}
		h.Typeflag, h.Size = tar.TypeReg, i.Size
		return l.file(h, dir, name)
	default:
		err = fmt.Errorf("/%s became something else meanwhile", rel)
	}
	if err != nil {
		return err
	}
	return l.w.WriteHeader(h)
}

// file writes a regular file.
func (l *layer) file(h *tar.Header, dir int, name string) error {
	fd, err := beneath.Open(dir, name, unix.O_RDONLY)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/" + h.Name, Err: err}
	}
	f := os.NewFile(uintptr(fd), h.Name)
	defer f.Close()
	if err := l.w.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(l.w, f, h.Size); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it became shorter while it was read")
		}
		return fmt.Errorf("/%s: %w", h.Name, err)
	}
	return nil
}

// attributes are the extended attributes of a file that images have: the user's
// own, and capabilities, which the kernel translates for this user namespace.
func attributes(dir int, name string) (map[string]string, error) {
	names, err := beneath.Xattrs(dir, name)
	if err != nil {
		return nil, err
	}
	var records map[string]string
	for _, n := range names {
		if change.Driver(n) || !strings.HasPrefix(n, "user.") && n != "security.capability" {
			continue
		}
		v, err := beneath.Xattr(dir, name, n)
		if err != nil {
			return nil, err
		}
		if records == nil {
			records = map[string]string{}
		}
		records["SCHILY.xattr."+n] = string(v)
	}
	return records, nil
}
