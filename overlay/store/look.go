//go:build !cgo

package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/overlay/stack"
)

// link is the short name by which containers/storage's overlay driver knows a
// layer's directory.
func (s *Store) link(id string) (string, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, image.Layers, id, "link"))
	if err != nil {
		return "", fmt.Errorf("a layer has no directory: %w", err)
	}
	link := "l/" + strings.TrimSpace(string(text))
	if err := image.CheckLayer(link); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(s.dir, image.Layers, link)); err != nil {
		return "", fmt.Errorf("a layer has no directory: %w", err)
	}
	return link, nil
}

// look reads from the image's files what a run needs to know: who its user is,
// its names of ids, the links at its top. The layers are stacked for that as a
// run stacks them, in this process's own mount namespace.
func (s *Store) look(r *image.Record) error {
	root, err := s.stack(r.Layers)
	if err != nil {
		return fmt.Errorf("stacking its layers: %w", err)
	}
	defer root.close()
	if r.Links, err = root.links(); err != nil {
		return fmt.Errorf("reading its topmost directory: %w", err)
	}
	// An image without them, or with something else in their place, has no names.
	r.Passwd, _ = root.text("etc/passwd")
	r.Group, _ = root.text("etc/group")
	r.EtcOwner = root.owner("etc")
	r.Account = account(r.Config.User, r.Passwd, r.Group)
	return nil
}

// tree is an image's file tree, by a descriptor of its root.
type tree struct {
	fd    int
	mount string // to be unmounted
}

// stack mounts the layers read-only.
func (s *Store) stack(layers []string) (*tree, error) {
	base := filepath.Join(s.dir, image.Layers)
	path := filepath.Join(base, layers[0])
	t := &tree{}
	if len(layers) > 1 { // overlayfs without an upper wants two
		path = filepath.Join(s.dir, image.Scratch)
		if err := stack.Mount(base, path, layers); err != nil {
			return nil, err
		}
		t.mount = path
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.unmount()
		return nil, err
	}
	t.fd = fd
	return t, nil
}

func (t *tree) unmount() {
	if t.mount != "" {
		_ = unix.Unmount(t.mount, unix.MNT_DETACH) // the namespace ends with this process
	}
}

func (t *tree) close() {
	unix.Close(t.fd)
	t.unmount()
}

// open opens a regular file of the image as the image itself sees its path: no
// link leads out of it, and nothing that is no file is waited for
// (CVE-2024-9676).
func (t *tree) open(path string) (*os.File, error) {
	fd, err := unix.Openat2(t.fd, path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
		return os.NewFile(uintptr(fd), path), nil
	}
	unix.Close(fd)
	return nil, fmt.Errorf("%s is no regular file", path)
}

// owner is the id that path belongs to, 0 if it is not there.
func (t *tree) owner(path string) uint32 {
	fd, err := unix.Openat2(t.fd, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Uid
}

// maxText bounds what is read of an image's file.
const maxText = 1 << 20

func (t *tree) text(path string) (string, error) {
	f, err := t.open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxText || strings.IndexByte(string(b), 0) >= 0 {
		return "", fmt.Errorf("%s is no text of at most %d bytes", path, maxText)
	}
	return string(b), nil
}

// links are the symbolic links in the root.
func (t *tree) links() (map[string]string, error) {
	fd, err := unix.Openat(t.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(fd), ".")
	defer d.Close()
	const most = 4096
	entries, err := d.ReadDir(most)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(entries) == most { // a run relies on knowing every link there
		return nil, fmt.Errorf("it has %d names or more", most)
	}
	var links map[string]string
	for _, e := range entries {
		if e.Type()&os.ModeSymlink == 0 {
			continue
		}
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(t.fd, e.Name(), buf)
		if err != nil {
			return nil, err
		}
		if links == nil {
			links = map[string]string{}
		}
		links[e.Name()] = string(buf[:n])
	}
	for _, name := range []string{"etc/hosts", "etc/resolv.conf", "etc/passwd", "etc/group"} {
		if text, ok := t.link(name); ok {
			if links == nil {
				links = map[string]string{}
			}
			links[name] = text
		}
	}
	return links, nil
}

// link is the text of a symbolic link, if path is one.
func (t *tree) link(path string) (string, bool) {
	fd, err := unix.Openat2(t.fd, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return "", false
	}
	defer unix.Close(fd)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf) // EINVAL for anything else
	if err != nil {
		return "", false
	}
	return string(buf[:n]), true
}

// account is who user is: "", "name", "uid", each with ":group" or ":gid".
func account(user, passwd, group string) (a image.Account) {
	who, grp, withGroup := strings.Cut(user, ":")
	if who == "" {
		who = "0"
	}
	line := find(passwd, who, 7)
	switch id, err := strconv.ParseUint(who, 10, 32); {
	case line != nil:
		uid, err := strconv.ParseUint(line[2], 10, 32)
		gid, err2 := strconv.ParseUint(line[3], 10, 32)
		if err != nil || err2 != nil {
			a.Problem = fmt.Sprintf("the image's /etc/passwd has no ids for %q", who)
			return a
		}
		a = image.Account{UID: uint32(uid), GID: uint32(gid), Name: line[0], Home: line[5]}
	case err != nil:
		a.Problem = fmt.Sprintf("the image's /etc/passwd has no user %q", who)
		return a
	default:
		a.UID = uint32(id)
	}
	if !strings.HasPrefix(a.Home, "/") {
		a.Home = "/"
		if a.UID == 0 {
			a.Home = "/root"
		}
	}
	if !withGroup {
		return a
	}
	if line := find(group, grp, 4); line != nil {
		grp = line[2]
	}
	gid, err := strconv.ParseUint(grp, 10, 32)
	if err != nil {
		a.Problem = fmt.Sprintf("the image's /etc/group has no group %q", grp)
	}
	a.GID = uint32(gid)
	return a
}

// find is the line of a name, or of an id, in a file like passwd(5).
func find(text, who string, columns int) []string {
	var byID []string
	for line := range strings.Lines(text) {
		col := strings.Split(strings.TrimRight(line, "\n"), ":")
		switch {
		case len(col) < columns:
		case col[0] == who:
			return col
		case col[2] == who && byID == nil:
			byID = col
		}
	}
	return byID
}
