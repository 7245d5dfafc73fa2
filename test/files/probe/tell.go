package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// fixtureTime is the modification time of all that was planted.
var fixtureTime = unix.Timespec{Sec: 1e9, Nsec: 7}

// old gives all below dir the time of fixtures.
func old(dir string) {
	times := []unix.Timespec{fixtureTime, fixtureTime}
	_ = filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err == nil && p != dir {
			err = unix.UtimesNanoAt(unix.AT_FDCWD, p, times, unix.AT_SYMLINK_NOFOLLOW)
		}
		must(err)
		return nil
	})
}

// tell says what a program could see of a tree.
func tell(dir string, say func(string)) {
	names := map[uint64]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(p, &st)
		}
		if err != nil {
			say(fmt.Sprintf("%q %s", p, word(err)))
			return nil
		}
		line := fmt.Sprintf("%q %o", p, st.Mode)
		if p != "." {
			if st.Mtim == fixtureTime {
				line += " old"
			} else {
				line += " new"
			}
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			line += fmt.Sprintf(" %d %s", st.Size, hash(p))
			if st.Nlink > 1 {
				if first, ok := names[st.Ino]; ok {
					line += fmt.Sprintf(" the same as %q", first)
				} else {
					names[st.Ino] = p
				}
			}
		case unix.S_IFLNK:
			to, err := os.Readlink(p)
			line += fmt.Sprintf(" -> %q %s", to, word(err))
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			line += attributes(p)
		}
		say(line)
		return nil
	})
	if err != nil {
		say(err.Error())
	}
}

func hash(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return word(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))[:12]
}

// attributes lists the user's extended attributes.
func attributes(path string) string {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		return " xattrs " + word(err)
	}
	var list []string
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if !strings.HasPrefix(name, "user.") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			list = append(list, name+" "+word(err))
		} else {
			list = append(list, fmt.Sprintf("%s=%q", name, value[:n]))
		}
	}
	if len(list) == 0 {
		return ""
	}
	slices.Sort(list)
	return " " + strings.Join(list, " ")
}

// raw tells all that the kernel keeps of a tree, but for access times.
func raw(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) { // told already, but for what is in it
			return nil
		}
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		fmt.Printf("%q %d %o %d %d:%d %d %d %d %d", p, st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Blocks, st.Mtim.Nano(), st.Ctim.Nano())
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			fmt.Print(" ", hash(p))
		case unix.S_IFLNK:
			to, err := os.Readlink(p)
			fmt.Printf(" %q %s", to, word(err))
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			fmt.Print(attributes(p))
		}
		fmt.Println()
		return nil
	})
}
