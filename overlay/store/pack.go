//go:build !cgo

package store

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/vbatts/tar-split/archive/tar"
)

// pack is the directory root as a tar archive. Links are taken as they are,
// other file systems below it and sockets are left out.
func pack(root *os.Root, note func(string, ...any)) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		p := &packer{root: root, w: tw, note: note, names: map[inode]string{}}
		err := fs.WalkDir(root.FS(), ".", p.add)
		if err == nil {
			err = tw.Close()
		}
		w.CloseWithError(err)
	}()
	return r
}

type inode struct{ dev, ino uint64 }

type packer struct {
	root  *os.Root
	w     *tar.Writer
	note  func(string, ...any)
	names map[inode]string // of files with several
	dev   uint64           // of the root
}

func (p *packer) add(name string, _ fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	st, err := p.root.Lstat(name)
	if err != nil {
		return err
	}
	sys := st.Sys().(*syscall.Stat_t)
	link := ""
	switch mode := st.Mode(); {
	case name == ".":
		p.dev = sys.Dev
	case mode&fs.ModeSocket != 0:
		return nil
	case mode&fs.ModeSymlink != 0:
		if link, err = p.root.Readlink(name); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(st, link)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname, h.Format = name, "", "", tar.FormatPAX
	if st.IsDir() {
		h.Name += "/"
	}
	if sys.Dev != p.dev { // the mount point is there, what is mounted is not
		p.note("%s is on another file system and is left empty", name)
		if err := p.w.WriteHeader(h); err != nil || !st.IsDir() {
			return err
		}
		return fs.SkipDir
	}
	if !st.Mode().IsRegular() {
		return p.w.WriteHeader(h)
	}
	if sys.Nlink > 1 {
		if first, ok := p.names[inode{sys.Dev, sys.Ino}]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.w.WriteHeader(h)
		}
		p.names[inode{sys.Dev, sys.Ino}] = name
	}
	f, err := p.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.w.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(p.w, f, h.Size); err != nil {
		return fmt.Errorf("%s became shorter while it was read: %w", name, err)
	}
	return nil
}
