package rig

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// restartWithCgroup2 executes this program anew in a mount namespace of its own,
// with cgroup v2 on /sys/fs/cgroup. It returns only on error.
//
// Precondition: the caller is root and no process was started yet.
func restartWithCgroup2() error {
	// unshare(2) concerns this thread; execve(2) makes it the only one.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("cgroup2 on /sys/fs/cgroup: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(self, os.Args, append(os.Environ(), inPrivate+"=1"))
}
