package change

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
	"github.com/sbx-sandbox/sbx/overlay/upper"
)

// What the drivers leave in an upper. overlayfs with userxattr: whiteouts are
// character devices 0:0; a directory that hides the lower one has
// user.overlay.opaque=y; a copy has an empty user.overlay.origin. It never
// redirects, nor copies up the inode alone (Documentation/filesystems/
// overlayfs.rst, "User xattr"), and what a command inside calls user.overlay.X
// comes out as user.overlay.overlay.X.
//
// fuse-overlayfs: whiteouts are character devices 0:0 or, where it can't make
// those, files .wh.NAME; a directory that hides the lower one has
// user.fuseoverlayfs.opaque=y, and a file .wh..wh..opq in it; a copy has its
// former path in user.fuseoverlayfs.origin. Names that begin with .wh. can't be
// made inside, but user.overlay.opaque can be set there and means nothing here.
const (
	kernelPrefix = "user.overlay."
	fusePrefix   = "user.fuseoverlayfs."
	whPrefix     = ".wh."
	whOpaque     = ".wh..wh..opq"
)

// marks reads a driver's marks.
type marks struct {
	fuse   bool
	opaque string // the attribute
	origin string
	alien  []string // marks whose meaning this driver's uppers have no place for
}

func marksOf(driver string) (*marks, error) {
	switch driver {
	case upper.Kernel:
		return &marks{opaque: kernelPrefix + "opaque", origin: kernelPrefix + "origin", alien: []string{
			kernelPrefix + "redirect", kernelPrefix + "metacopy", kernelPrefix + "whiteout", kernelPrefix + "xwhiteouts",
		}}, nil
	case upper.Fuse:
		return &marks{fuse: true, opaque: fusePrefix + "opaque", origin: fusePrefix + "origin", alien: []string{
			fusePrefix + "override_stat", "user.containers.override_stat",
		}}, nil
	}
	return nil, fmt.Errorf("the driver %q is not known", driver)
}

// whiteout reports whether an entry of an upper stands for something deleted.
func (m *marks) whiteout(i *beneath.Info) bool { return i.Type == unix.S_IFCHR && i.Rdev == 0 }

// hidden takes out of a directory's entries those that are marks themselves, and
// gives the names that they say are deleted.
func (m *marks) hidden(list []beneath.Entry) (rest []beneath.Entry, gone []string, opaque bool) {
	if !m.fuse {
		return list, nil, false
	}
	for _, e := range list {
		name, mark := strings.CutPrefix(e.Name, whPrefix)
		switch {
		case !mark:
			rest = append(rest, e)
		case e.Name == whOpaque:
			opaque = true
		case e.Kind != unix.DT_CHR && name != "":
			gone = append(gone, name)
		}
	}
	return rest, gone, opaque
}

// read tells what the attributes of an entry mean. own are those that are no
// marks; the caller finds out what they are worth.
func (m *marks) read(dir int, name string, names []string) (opaque bool, origin string, own []string, err error) {
	for _, n := range names {
		for _, a := range m.alien {
			if n == a {
				return false, "", nil, fmt.Errorf("it has the attribute %s, which the driver that wrote this layer does not set", n)
			}
		}
		switch {
		case n == m.opaque:
			v, err := beneath.Xattr(dir, name, n)
			if err != nil {
				return false, "", nil, err
			}
			if string(v) != "y" {
				return false, "", nil, fmt.Errorf("the attribute %s is %q, which is not known", n, v)
			}
			opaque = true
		case n == m.origin:
			origin = "?"
			if m.fuse {
				v, err := beneath.Xattr(dir, name, n)
				if err != nil && !errors.Is(err, unix.ENODATA) {
					return false, "", nil, err
				}
				if v := strings.TrimRight(string(v), "\x00"); v != "" {
					origin = v
				}
			}
		case !Driver(n):
			own = append(own, n)
		}
	}
	return opaque, origin, own, nil
}

// Driver reports whether the extended attribute is one that a driver of overlays
// takes for its own. Such an attribute is never copied out of an upper.
func Driver(attr string) bool {
	for _, p := range []string{kernelPrefix, "trusted.overlay.", fusePrefix, "user.containers."} {
		if strings.HasPrefix(attr, p) {
			return true
		}
	}
	return false
}

// Opaque reports whether a directory of an upper, open as fd, hides what the host
// has in it.
func Opaque(driver string, fd int) (bool, error) {
	m, err := marksOf(driver)
	if err != nil {
		return false, err
	}
	names, err := beneath.Xattrs(fd, "")
	if err != nil {
		return false, err
	}
	opaque, _, _, err := m.read(fd, "", names)
	if m.fuse && !opaque && err == nil {
		_, serr := beneath.Stat(fd, whOpaque)
		opaque = serr == nil
	}
	return opaque, err
}

// Reveal takes the marks from a directory of an upper, open as fd, by which it
// hides what the host has in it. Until all are gone it hides it.
func Reveal(driver string, fd int) error {
	m, err := marksOf(driver)
	if err != nil {
		return err
	}
	if m.fuse {
		for _, name := range []string{whOpaque, whPrefix + ".opq"} {
			if err := unix.Unlinkat(fd, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
	err = unix.Fremovexattr(fd, m.opaque)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

// Mark reports whether an entry of an upper is a mark about its directory.
func Mark(driver, name string) bool {
	return driver == upper.Fuse && (name == whOpaque || name == whPrefix+".opq")
}

// Shown is the path that an entry of an upper is about: its own, or that of what
// it says is deleted. A mark about its directory is about that.
func Shown(driver, dir, name string) string {
	if m, err := marksOf(driver); err == nil && m.fuse {
		if rest, mark := strings.CutPrefix(name, whPrefix); mark {
			if name == whOpaque {
				return dir
			}
			name = rest
		}
	}
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
