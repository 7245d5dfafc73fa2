// Package stack mounts layers of directories on top of one another, read-only,
// so that what lies beneath an image's topmost layer can be looked at as one.
package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount stacks layers, the topmost first, on the directory at. They and at are
// relative to base, or at is absolute: options are a page in all, and no path of a person's becomes
// part of one.
//
// Precondition: the caller has CAP_SYS_ADMIN in the user namespace of its mount
// namespace, and there are two layers at least: overlayfs without an upper wants
// them.
func Mount(base, at string, layers []string) error {
	old, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := unix.Chdir(base); err != nil {
		return &os.PathError{Op: "chdir", Path: base, Err: err}
	}
	err = unix.Mount("overlay", at, "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "userxattr,lowerdir="+strings.Join(layers, ":"))
	if err != nil {
		err = &os.PathError{Op: "mount", Path: at, Err: err}
	}
	if back := unix.Chdir(old); err == nil && back != nil {
		err = &os.PathError{Op: "chdir", Path: old, Err: back}
	}
	return err
}

// Apart is the top of the layers, mounted by Mount where nobody else sees it: the
// mount lasts as long as the descriptor, and as the calling goroutine's thread,
// which does nothing else from then on.
func Apart(base, at string, layers []string) (fd int, err error) {
	type result struct {
		fd  int
		err error
	}
	c := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: this thread's mounts are not the others'
		fd, err := apart(base, at, layers)
		c <- result{fd, err}
	}()
	r := <-c
	return r.fd, r.err
}

func apart(base, at string, layers []string) (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return -1, fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return -1, fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := Mount(base, at, layers); err != nil {
		return -1, err
	}
	top := at
	if !filepath.IsAbs(at) {
		top = filepath.Join(base, at)
	}
	fd, err := unix.Open(top, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: top, Err: err}
	}
	return fd, nil
}
