package run

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// claim locks the workspace against other sandboxes, shared or exclusively, until
// the descriptor is closed, -1 for none. The lock is on the directory itself
// (flock(2)): it needs no file that would be left behind, and ends with this
// process however that ends.
func claim(c *sandbox.Claim) (fd int, err error) {
	if c.Dir == "" {
		return -1, nil
	}
	fd, err = unix.Open(c.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		how := unix.LOCK_SH
		if c.Exclusive {
			how = unix.LOCK_EX
		}
		if err = unix.Flock(fd, how|unix.LOCK_NB); err == nil {
			return fd, nil
		}
		unix.Close(fd)
	}
	taken := errors.Is(err, unix.EWOULDBLOCK)
	switch {
	case taken && c.Exclusive:
		return -1, fmt.Errorf("another sandbox writes the workspace %s, or a program has locked it (flock), which this one is to have to itself (workspace.exclusive); wait for its end, see sbx ps, or give this one an overlay", c.Dir)
	case taken && locked(c.Dir):
		return -1, fmt.Errorf("another sandbox has the workspace %s to itself (workspace.exclusive); wait for its end, see sbx ps, or give this one an overlay", c.Dir)
	case c.Exclusive:
		return -1, fmt.Errorf("locking the workspace %s against other sandboxes (workspace.exclusive): %w; its file system may have no locks, or you may not read it", c.Dir, err)
	}
	return -1, nil // nobody can have it exclusively there, or it is locked by who is no sandbox
}

// locked says whether it is an sbx that has locked a directory exclusively, and
// not a command, or whoever started this one by flock(1). See proc_locks(5).
func locked(dir string) bool {
	var st unix.Stat_t
	text, err := os.ReadFile("/proc/locks")
	own, err2 := os.Readlink("/proc/self/exe")
	if err := errors.Join(err, err2, unix.Stat(dir, &st)); err != nil {
		return true
	}
	for line := range strings.Lines(string(text)) {
		// 1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[3] != "WRITE" || !strings.HasSuffix(f[5], fmt.Sprintf(":%d", st.Ino)) {
			continue
		}
		exe, err := os.Readlink("/proc/" + f[4] + "/exe")
		if err == nil && path.Base(strings.TrimSuffix(exe, " (deleted)")) == path.Base(own) || errors.Is(err, unix.EACCES) {
			return true
		}
	}
	return false
}
